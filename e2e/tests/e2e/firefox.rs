//! What a reader and a sharer do, in Firefox.

use crate::{read_samples, restarts, sharing};
use anyhow::{Context, bail, ensure};
use meganet_e2e::{app::App, browser::Options, scenario};
use meganet_node::api::{ApiError, Command};

#[test]
fn a_fresh_firefox_joins_and_reads_both_sample_sites() {
    scenario::run("firefox-reads", async |scenario| read_samples::joins_and_reads(scenario, Options::firefox()).await);
}

#[test]
fn a_native_peer_gets_a_site_from_firefox_when_its_publisher_is_gone() {
    scenario::run("firefox-shares", async |scenario| sharing::outlives_its_author(scenario, Options::firefox()).await);
}

#[test]
fn an_open_firefox_notices_that_its_peers_are_gone_and_reads_from_them_when_they_are_back() {
    scenario::run("firefox-restarts", async |scenario| restarts::goes_on(scenario, Options::firefox()).await);
}

/// Firefox closes the channel then, before the transport gives up: that is no failed authentication.
#[test]
fn firefox_says_that_nobody_answered_with_the_certificate_in_the_address() {
    scenario::run("firefox-certificate", async |scenario| {
        let swarm = scenario.swarm().await?;
        let browser = scenario.browser_with("dialler", Options::firefox()).await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        // Not in the list that the tab got from its page: of a peer that is connected already any address is good.
        let author = swarm.peer("author").await?;
        let direct = author.addresses().iter().find(|address| address.contains("webrtc-direct"));
        let direct = direct.context("the author has no webrtc-direct address")?;

        let certificate =
            |address: &str| address.split('/').skip_while(|part| *part != "certhash").nth(1).map(str::to_owned);
        let other = swarm.bootstrap().addresses.iter().find_map(|address| certificate(address));
        let own = certificate(direct).context("an address without a certificate")?;
        let wrong = direct.replace(&own, &other.context("the bootstrap has no certificate")?);
        match app.ask(&Command::Connect { multiaddr: wrong }).await? {
            Err(ApiError::Refused { reason }) => ensure!(reason.contains("nobody answered there"), "{reason}"),
            other => bail!("another certificate gave {other:?}"),
        }
        // The address that this was made from is good.
        app.call(&Command::Connect { multiaddr: direct.clone() }).await?;
        Ok(())
    });
}
