//! Two tabs in two profiles read one site, agree to share it, and are announced as providers.

use anyhow::{Context, Result, ensure};
use meganet_core::address::Address;
use meganet_e2e::{
    app::App,
    browser::Options,
    folder,
    scenario::{self, Scenario},
    swarm::Commands,
    wait::{Look, until},
};
use meganet_node::api::Command;

#[test]
fn two_tabs_that_agreed_are_announced_as_providers() {
    scenario::run("sharing", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let folder = scenario.dir().join("site");
        folder::write(&folder, &folder::made_up("Shared by two tabs", 1, 600_000))?;
        let address = author.commands().publish(&folder).await?.address;
        // A peer that has nothing to do with the site asks who provides it.
        let bystander = swarm.peer("bystander").await?;

        let mut identities = Vec::new();
        let first = scenario.browser("first").await?;
        let second = scenario.browser("second").await?;
        for browser in [&first, &second] {
            let app = App::open(browser, &swarm.link(&address, "")).await?;
            app.until_shown().await?;
            identities.push(app.status().await?.peer_id);
        }
        ensure!(identities[0] != identities[1], "two profiles have one identity");
        let before = bystander.commands().providers(&address).await?;
        ensure!(identities.iter().all(|tab| !before.contains(tab)), "announced without consent: {before:?}");

        for browser in [&first, &second] {
            App::open(browser, &swarm.url()).await?;
            browser.click("consent-share").await?;
        }
        until_provided_by(bystander.commands(), address, &identities).await?;
        for browser in [&first, &second] {
            let app = App::at(browser);
            let seen = app.providers(address).await?;
            ensure!(identities.iter().all(|tab| seen.contains(tab)), "a tab does not see both: {seen:?}");
        }
        Ok(())
    });
}

#[test]
fn a_native_peer_gets_a_site_from_a_tab_when_its_publisher_is_gone() {
    scenario::run("sharing-outlives", async |scenario| outlives_its_author(scenario, Options::default()).await);
}

/// A site that this browser's tab has fetched and shares is fetched from it alone.
pub async fn outlives_its_author(scenario: &mut Scenario, options: Options) -> Result<()> {
    let swarm = scenario.swarm().await?;
    let author = swarm.peer("author").await?;
    let folder = scenario.dir().join("site");
    let files = folder::made_up("Outlives its author", 5, 600_000);
    folder::write(&folder, &files)?;
    let address = author.commands().publish(&folder).await?.address;

    let browser = scenario.browser_with("reader", options).await?;
    let app = App::open(&browser, &swarm.url()).await?;
    browser.click("consent-share").await?;
    app.enter_address(&address.to_string()).await?;
    app.until_shown().await?;
    app.call(&Command::FetchAll { address, allow_large: false }).await?;
    let tab = app.status().await?.peer_id;
    // It is announced while the author is there: this is about what is left afterwards.
    until_provided_by(author.commands(), address, std::slice::from_ref(&tab)).await?;
    author.kill();

    // A tab cannot be dialled yet, but it dials: over that connection the newcomer asks it.
    let newcomer = swarm.peer("newcomer").await?;
    let direct = newcomer.addresses().iter().find(|address| address.contains("webrtc-direct"));
    let multiaddr = direct.context("the newcomer has no webrtc-direct address")?.clone();
    until("a connection to the newcomer", async || {
        let peers = app.status().await?.peers;
        let is_there = peers.iter().any(|peer| peer.peer_id == newcomer.peer_id() && !peer.relayed);
        if !is_there {
            // Refused while the tab dials it by itself.
            let _ = app.ask(&Command::Connect { multiaddr: multiaddr.clone() }).await?;
        }
        Ok(Look::holds(is_there, format!("{peers:?}")))
    })
    .await?;
    until_provided_by(newcomer.commands(), address, &[tab]).await?;
    let into = scenario.dir().join("fetched");
    newcomer.commands().get(&address, &into).await?;
    folder::ensure_equal(&folder::read(&into)?, &files)
}

async fn until_provided_by(asking: &Commands, address: Address, wanted: &[String]) -> Result<()> {
    until("both tabs among the providers", async || {
        let providers = asking.providers(&address).await?;
        Ok(Look::holds(wanted.iter().all(|peer| providers.contains(peer)), format!("{providers:?}, not {wanted:?}")))
    })
    .await
}
