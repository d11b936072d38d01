//! The bootstrap is gone at the next start: who was good before is enough to join again.

use anyhow::ensure;
use meganet_core::address::Address;
use meganet_e2e::{
    app::App,
    folder::{self, Files},
    scenario::{self, Scenario},
    swarm::Commands,
    wait::{Look, until},
};
use std::path::Path;

/// What a node keeps under this name in its store.
const NAME: &str = "remembered-peers";

/// Whether a tab has written down a peer: its id, as bytes, is in the stored value.
const IS_WRITTEN: &str = "
    const opened = indexedDB.open('meganet');
    const database = await new Promise((done, failed) => { opened.onsuccess = () => done(opened.result); opened.onerror = failed; });
    const request = database.transaction('values').objectStore('values').get(given[0]);
    const value = await new Promise((done, failed) => { request.onsuccess = () => done(request.result); request.onerror = failed; });
    database.close();
    return value ? [...value].map(byte => byte.toString(16).padStart(2, '0')).join('') : '';";

async fn publish(scenario: &Scenario, by: &Commands, name: &str, seed: u64) -> anyhow::Result<(Address, Files)> {
    let folder = scenario.dir().join(name);
    let files = folder::made_up(name, seed, 300_000);
    folder::write(&folder, &files)?;
    Ok((by.publish(&folder).await?.address, files))
}

#[test]
fn a_tab_joins_through_a_native_peer_of_before() {
    scenario::run("remembered-tab", async |scenario| {
        let mut swarm = scenario.swarm().await?;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        app.until_kept_offline().await?;
        // Not in the list that the tab got from its page: it starts later.
        let author = swarm.peer("author").await?;
        let (before, files) = publish(scenario, author.commands(), "Read before", 21).await?;
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        app.read_hashes(before, &paths).await?;
        let id = author.peer_id().parse::<libp2p::PeerId>()?.to_bytes();
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        until("the author to be written down", async || {
            let written: String = browser.run(IS_WRITTEN, &[NAME.into()]).await?;
            Ok(Look::holds(written.contains(&id), written))
        })
        .await?;
        swarm.kill_bootstrap();
        let (address, files) = publish(scenario, author.commands(), "Read after", 22).await?;

        app.reload().await?;
        app.until_joined().await?;
        let peers = app.status().await?.peers;
        ensure!(peers.iter().all(|peer| peer.peer_id == author.peer_id()), "joined through {peers:?}");
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        ensure!(app.read_hashes(address, &paths).await? == folder::hashes(&files), "wrong bytes");
        Ok(())
    });
}

#[test]
fn a_native_peer_joins_through_another_of_before() {
    scenario::run("remembered-peer", async |scenario| {
        let mut swarm = scenario.swarm_without_app().await?;
        let author = swarm.peer("author").await?;
        let reader = swarm.peer("reader").await?;
        let (before, _) = publish(scenario, author.commands(), "Read before", 23).await?;
        reader.commands().get(&before, &scenario.dir().join("got-before")).await?;
        let id = author.peer_id().parse::<libp2p::PeerId>()?.to_bytes();
        let data = scenario.dir().join("reader-data");
        until("the author to be written down", async || Ok(Look::holds(is_written(&data, &id)?, "not there"))).await?;
        swarm.kill_bootstrap();
        reader.kill();
        let (address, files) = publish(scenario, author.commands(), "Read after", 24).await?;

        // It is started with the address of the bootstrap that does not answer, and waited for until it has joined.
        let reader = swarm.peer("reader").await?;
        let into = scenario.dir().join("got-after");
        reader.commands().get(&address, &into).await?;
        folder::ensure_equal(&folder::read(&into)?, &files)
    });
}

/// Whether the store's files name a peer.
fn is_written(data: &Path, id: &[u8]) -> anyhow::Result<bool> {
    for entry in std::fs::read_dir(data.join("store"))? {
        let path = entry?.path();
        if path.is_file() && std::fs::read(&path)?.windows(id.len()).any(|window| window == id) {
            return Ok(true);
        }
    }
    Ok(false)
}
