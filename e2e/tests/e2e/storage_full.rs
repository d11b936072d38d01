//! Threat 50: a disk without room. What is read is shown all the same, and the app says that it is not kept.

use anyhow::{Context, ensure};
use meganet_e2e::{
    app::App,
    browser::Browser,
    folder, scenario,
    swarm::Swarm,
    wait::{Look, until},
};
use meganet_node::api::{ApiError, Command};
use serde_json::json;

/// Less than any database takes.
const TINY_BYTES: u64 = 1;

#[test]
fn without_any_room_the_node_runs_from_memory_and_says_so() {
    scenario::run("storage-full-at-start", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let folder = scenario.dir().join("site");
        folder::write(&folder, &folder::made_up("Read without room", 80, 300_000))?;
        let address = author.commands().publish(&folder).await?.address;

        let browser = scenario.browser("reader").await?;
        limit_storage(&browser, &swarm).await?;
        let app = App::open(&browser, &swarm.link(&address, "")).await?;
        app.until_shown().await?;
        browser.element("banner-memory").await?;
        ensure!(app.status().await?.memory_only, "the node believes that something is kept");
        Ok(())
    });
}

#[test]
fn a_disk_that_fills_up_later_is_told_and_pages_are_shown() {
    scenario::run("storage-full-later", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let folder = scenario.dir().join("site");
        let files = folder::made_up("Read when the disk is full", 81, 900_000);
        folder::write(&folder, &files)?;
        let address = author.commands().publish(&folder).await?.address;

        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        let identity = app.status().await?.peer_id;
        limit_storage(&browser, &swarm).await?;
        // The browser believes for up to half a minute that there is still the room that there was.
        until("a write that finds no room", async || {
            let sealed = rand::random::<[u8; 1_000]>().to_vec();
            let answer = app.ask(&Command::StoreChunk { sealed }).await?;
            Ok(Look::holds(matches!(answer, Err(ApiError::Storage { .. })), format!("{answer:?}")))
        })
        .await?;
        app.enter_address(&address.to_string()).await?;
        app.until_shown().await?;
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        ensure!(app.site_hashes(&paths).await? == folder::hashes(&files), "the page is not the author's");
        let said = browser.text("banner-problem").await?.context("the banner has gone")?;
        ensure!(said.contains("could be stored"), "the banner says {said:?}");

        // The identity was kept before, and is read all the same.
        let app = App::open(&browser, &swarm.url()).await?;
        ensure!(app.status().await?.peer_id == identity, "another identity");
        Ok(())
    });
}

/// The app's origin gets no room; the sites' own origins are not concerned.
async fn limit_storage(browser: &Browser, swarm: &Swarm) -> anyhow::Result<()> {
    // The quota belongs to an origin; the page asked through is any.
    let origin = swarm.url().trim_end_matches('/').to_owned();
    let parameters = json!({ "origin": origin, "quotaSize": TINY_BYTES });
    browser.devtools("Storage.overrideQuotaForOrigin", parameters).await?;
    Ok(())
}
