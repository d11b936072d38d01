//! A fresh profile opens the page, joins, and reads both sample sites; every byte is the folder's.

use anyhow::{Context, Result, ensure};
use meganet_core::address::Address;
use meganet_e2e::{
    app::App,
    browser::Options,
    folder::{self, Files},
    places,
    scenario::{self, Scenario},
};
use meganet_node::api::{Command, Contribution, Reply};
use std::collections::BTreeSet;

/// Does what version 1 of `webrtc-direct` asks of a browser.
const CHANGED_OFFER: &str = "
    const peer = new RTCPeerConnection();
    peer.createDataChannel('');
    const { type, sdp } = await peer.createOffer();
    const credential = 'libp2p+webrtc+v1/abcdefghijklmnopqrstuvwx';
    const changed = sdp.replace(/^a=ice-(ufrag|pwd):.*$/gm, `a=ice-$1:${credential}`);
    const taken = peer.setLocalDescription({ type, sdp: changed }).then(() => true, () => false);
    return taken.finally(() => peer.close());";

#[test]
fn a_fresh_profile_joins_and_reads_both_sample_sites() {
    scenario::run("read-samples", async |scenario| joins_and_reads(scenario, Options::default()).await);
}

#[test]
fn a_chromium_that_refuses_changed_offers_joins_and_reads() {
    scenario::run("read-samples-unchanged-offers", async |scenario| {
        let options = Options::chromium_without_changed_offers();
        ensure!(takes_changed_offers(scenario, "usual", Options::default()).await?, "no browser takes changed offers");
        ensure!(
            !takes_changed_offers(scenario, "strict", options.clone()).await?,
            "the argument does nothing any more"
        );
        joins_and_reads(scenario, options).await
    });
}

async fn takes_changed_offers(scenario: &mut Scenario, name: &str, options: Options) -> Result<bool> {
    let browser = scenario.browser_with(name, options).await?;
    let takes = browser.run(CHANGED_OFFER, &[]).await?;
    scenario.quit(browser).await?;
    Ok(takes)
}

/// A fresh profile of this browser joins, and reads both samples.
pub async fn joins_and_reads(scenario: &mut Scenario, options: Options) -> Result<()> {
    let swarm = scenario.swarm().await?;
    let author = swarm.peer("author").await?;
    let guide = author.commands().publish(&places::sample("guide")).await?.address;
    let gallery = author.commands().publish(&places::sample("gallery")).await?.address;

    let browser = scenario.browser_with("reader", options).await?;
    let app = App::open(&browser, &swarm.url()).await?;
    app.until_joined().await?;
    let status = app.status().await?;
    ensure!(status.joined_ms.is_some() && !status.peers.is_empty(), "joined without a peer: {status:?}");

    // The first by typing the address, the second by its link.
    app.enter_address(&guide.to_string()).await?;
    app.until_complete().await?;
    ensure_whole(&app, guide, "guide", &swarm.site_url(&guide)).await?;

    let app = App::open(&browser, &swarm.link(&gallery, "")).await?;
    app.until_complete().await?;
    ensure_whole(&app, gallery, "gallery", &swarm.site_url(&gallery)).await?;
    let parts = app.site_parts().await?;
    ensure!(parts.images > 0 && parts.style_sheets > 0 && parts.modules > 0, "not everything works: {parts:?}");
    let seek = app.seek_video().await?;
    ensure!(seek.width > 0, "the video has no picture: {seek:?}");

    let site = app.site(gallery).await?;
    let from_author: u64 =
        site.sources.iter().filter(|source| source.peer_id == author.peer_id()).map(|s| s.bytes).sum();
    ensure!(from_author > 0, "nothing came from the author: {:?}", site.sources);
    ensure!(app.status().await?.contribution == Contribution::Off, "the tab serves without having been asked to");
    Ok(())
}

/// Compares every file of a sample's folder with what the page inside the frame fetches, and with what the node reads;
/// and what the panel says with what is true.
async fn ensure_whole(app: &App<'_>, address: Address, sample: &str, origin: &str) -> Result<()> {
    let expected = folder::read(&places::sample(sample))?;
    let parts = app.site_parts().await?;
    ensure!(parts.broken_images.is_empty(), "broken images: {:?}", parts.broken_images);
    ensure!(origin.starts_with(&parts.origin), "shown at {}, not at {origin}", parts.origin);

    let paths: Vec<&str> = expected.keys().map(String::as_str).collect();
    let hashes = app.site_hashes(&paths).await?;
    ensure!(hashes == folder::hashes(&expected), "in the frame: {hashes:?}");
    let through_api = app.read_hashes(address, &paths).await?;
    ensure!(through_api == folder::hashes(&expected), "through the API: {through_api:?}");

    let Reply::Files(files) = app.call(&Command::Files { address }).await? else { anyhow::bail!("not files") };
    let listed: BTreeSet<&str> = files.files.iter().map(|file| file.path.as_str()).collect();
    ensure!(listed == paths.iter().copied().collect(), "listed: {listed:?}");
    panel_tells_the_truth(app, address, &expected).await
}

async fn panel_tells_the_truth(app: &App<'_>, address: Address, expected: &Files) -> Result<()> {
    let site = app.site(address).await?;
    ensure!(site.sequence == 1, "sequence {}", site.sequence);
    ensure!(site.total_bytes == folder::total_bytes(expected), "{} bytes", site.total_bytes);
    let count = site.files.context("an open site's files are not counted")?;
    ensure!(count as usize == expected.len(), "{count} files");
    app.show_panel().await?;
    for (part, value) in [("panel-sequence", site.sequence.to_string()), ("panel-files", count.to_string())] {
        let text = app.browser().text(part).await?.with_context(|| format!("no {part}"))?;
        ensure!(text.contains(&value), "{part} says {text:?}, not {value}");
    }
    for part in ["panel-size", "panel-holders", "panel-sources"] {
        let text = app.browser().text(part).await?.with_context(|| format!("no {part}"))?;
        ensure!(text.chars().any(|character| character.is_ascii_digit()), "{part} says {text:?}");
    }
    Ok(())
}
