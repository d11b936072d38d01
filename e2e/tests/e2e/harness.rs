//! The harness itself: what every other scenario leans on.

use anyhow::ensure;
use meganet_e2e::{http, raw_channel, scenario, static_server::StaticServer};

#[test]
fn a_browser_loads_a_page_and_runs_scripts() {
    scenario::run("harness-browser", async |scenario| {
        let server = StaticServer::start(None, Vec::new()).await?;
        ensure!(http::get(&server.url()).await?.status() == 200, "the stand-in does not serve");
        let browser = scenario.browser("tab").await?;
        browser.goto(&server.url()).await?;
        let title: String = browser.run("return document.title;", &[]).await?;
        ensure!(title == "empty", "title {title}");
        let secure: bool = browser.run("return isSecureContext;", &[]).await?;
        ensure!(secure, "meganet.localhost is not a secure context");
        Ok(())
    });
}

#[test]
fn two_tabs_exchange_bytes_over_a_bare_data_channel() {
    scenario::run("harness-channel", async |scenario| {
        let server = StaticServer::start(None, Vec::new()).await?;
        let sender = scenario.browser("sender").await?;
        let receiver = scenario.browser("receiver").await?;
        for browser in [&sender, &receiver] {
            browser.goto(&server.url()).await?;
        }
        let rate = raw_channel::measure(&sender, &receiver, 16 << 20).await?;
        ensure!(rate > 0.0, "no rate");
        eprintln!("{rate:.1} MB/s");
        Ok(())
    });
}
