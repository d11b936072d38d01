//! What is shown inside the site's own frame, asked from inside it.

use crate::app::App;
use anyhow::{Result, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What a shown page consists of.
#[derive(Debug, Deserialize)]
pub struct Parts {
    pub origin: String,
    /// Images that are loaded and have a size, and those that failed.
    pub images: u32,
    pub broken_images: Vec<String>,
    /// Style sheets with rules.
    pub style_sheets: u32,
    /// Scripts of the type `module`.
    pub modules: u32,
}

const PARTS: &str = "
    const images = [...document.images];
    await Promise.allSettled(images.map(image => { image.loading = 'eager'; return image.decode(); }));
    const whole = image => image.complete && image.naturalWidth > 0;
    return {
        origin: location.origin,
        images: images.filter(whole).length,
        broken_images: images.filter(image => !whole(image)).map(image => image.src),
        style_sheets: [...document.styleSheets].filter(sheet => sheet.cssRules.length > 0).length,
        modules: document.querySelectorAll('script[type=module]').length,
    };";

const HASHES: &str = "
    const hashes = {};
    for (const path of given[0]) {
        const url = '/' + path.split('/').map(encodeURIComponent).join('/');
        const response = await fetch(url);
        if (!response.ok) { hashes[path] = 'status ' + response.status; continue; }
        const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', await response.arrayBuffer()));
        hashes[path] = [...digest].map(byte => byte.toString(16).padStart(2, '0')).join('');
    }
    return hashes;";

const SEEK: &str = "
    const video = document.querySelector('video');
    video.scrollIntoView();
    const until = name => new Promise((done, failed) => {
        video.addEventListener(name, done, { once: true });
        video.addEventListener('error', () => failed(new Error(video.error?.message ?? 'the video failed')), { once: true });
    });
    video.preload = 'auto';
    if (video.readyState < HTMLMediaElement.HAVE_METADATA) { const ready = until('loadedmetadata'); video.load(); await ready; }
    const target = video.duration * 0.8;
    const seeked = until('seeked');
    video.currentTime = target;
    await seeked;
    return { duration: video.duration, target, reached: video.currentTime, width: video.videoWidth };";

/// Where a video stood after seeking to four fifths of it, seconds.
#[derive(Debug, Deserialize)]
pub struct Seek {
    pub duration: f64,
    pub target: f64,
    pub reached: f64,
    /// Pixels; 0 for sound alone.
    pub width: u32,
}

impl App<'_> {
    /// Runs a function body inside the site's page.
    pub async fn run_in_site<T: DeserializeOwned>(&self, body: &str, arguments: &[Value]) -> Result<T> {
        self.browser().in_frame("site-frame", async || self.browser().run(body, arguments).await).await
    }

    /// What the shown page consists of, once all of its images are decoded or have failed.
    pub async fn site_parts(&self) -> Result<Parts> {
        self.run_in_site(PARTS, &[]).await
    }

    /// SHA-256 of files of the site, fetched by the page itself.
    pub async fn site_hashes(&self, paths: &[&str]) -> Result<BTreeMap<String, String>> {
        self.run_in_site(HASHES, &[json!(paths)]).await
    }

    /// Seeks the page's video and fails unless it arrives there.
    pub async fn seek_video(&self) -> Result<Seek> {
        let seek: Seek = self.run_in_site(SEEK, &[]).await?;
        ensure!((seek.reached - seek.target).abs() < 1.0, "asked for {} s, got {} s", seek.target, seek.reached);
        Ok(seek)
    }
}
