//! What the app looks like: home, progress, a site, an error; on a phone and a desk, light and dark.

use anyhow::{Context, Result, ensure};
use meganet_core::keys::SiteKey;
use meganet_e2e::{app::App, browser::Browser, places, scenario};
use rustix::process::Signal;
use serde_json::json;
use std::path::Path;

/// CSS pixels.
const SCREENS: [(&str, u32, u32); 2] = [("phone", 390, 844), ("desktop", 1280, 800)];
/// The picture that README.md shows.
const README_PICTURE: &str = "site-desktop-light.png";

#[test]
fn every_view_is_photographed_and_fits_its_screen() {
    scenario::run("pictures", async |scenario| {
        let mut swarm = scenario.swarm().await?;
        let mut author = swarm.peer("author").await?;
        let gallery = author.commands().publish(&places::sample("gallery")).await?.address;
        let unknown = SiteKey::from_seed([9; 32]).address();
        let kept = places::results("e2e-screenshots")?;

        for (screen, width, height) in SCREENS {
            for scheme in ["light", "dark"] {
                let browser = scenario.browser(&format!("{screen}-{scheme}")).await?;
                emulate(&browser, width, height, scheme).await?;
                let picture = |view: &str| kept.join(format!("{view}-{screen}-{scheme}.png"));

                let app = App::open(&browser, &swarm.url()).await?;
                app.until_joined().await?;
                take(&browser, &picture("home")).await?;
                // A silent swarm keeps the app waiting for as long as the picture takes.
                swarm.signal_bootstrap(Signal::STOP)?;
                author.signal(Signal::STOP)?;
                app.enter_address(&unknown.to_string()).await?;
                browser.element("progress").await?;
                take(&browser, &picture("progress")).await?;
                swarm.signal_bootstrap(Signal::CONT)?;
                author.signal(Signal::CONT)?;
                app.until_error_of(&unknown).await?;
                take(&browser, &picture("not-found")).await?;
                let app = App::open(&browser, &swarm.link(&gallery, "")).await?;
                app.until_complete().await?;
                take(&browser, &picture("site")).await?;
                scenario.quit(browser).await?;
            }
        }
        if std::env::var_os("MEGANET_UPDATE_SCREENSHOT").is_some() {
            let docs = places::workspace().join("docs").join("screenshot.png");
            std::fs::copy(kept.join(README_PICTURE), &docs)
                .with_context(|| format!("cannot write {}", docs.display()))?;
        }
        Ok(())
    });
}

async fn emulate(browser: &Browser, width: u32, height: u32, scheme: &str) -> Result<()> {
    let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
    browser.devtools("Emulation.setDeviceMetricsOverride", metrics).await?;
    let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
    browser.devtools("Emulation.setEmulatedMedia", media).await?;
    Ok(())
}

/// Takes a picture, and fails when the page is wider than the screen.
async fn take(browser: &Browser, path: &Path) -> Result<()> {
    let overflow: f64 =
        browser.run("return document.documentElement.scrollWidth - document.documentElement.clientWidth;", &[]).await?;
    ensure!(overflow <= 0.0, "{} is {overflow} px too wide", path.display());
    browser.screenshot(path).await
}
