//! A browser and a native peer behind two different NATs.

use anyhow::{Context, Result, ensure};
use meganet_core::peer_list::{self, PeerEntry, PeerList};
use meganet_e2e::{
    app::App,
    folder,
    nat::{Nat, Networks, SERVER},
    places, scenario,
    static_server::StaticServer,
    swarm::{self, Peer},
    test_peer::{Kind::Ours, TestPeer, pages},
    wait::{Look, until},
};
use meganet_node::api::{self, PathWay};
use serde_json::json;
use std::{
    env,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

/// Set inside the browser's network: the namespaces of the server and of the other host.
const INSIDE: &str = "MEGANET_E2E_INSIDE_NAT";

/// Runs this very test again inside the browser's network, where it finds [`INSIDE`] set.
fn outside(test: &str, name: &str, nat: Nat) -> Result<()> {
    let _shared = scenario::shared();
    let networks = Networks::new(name, nat)?;
    let [server, host, browser] = ["server", "host1", "host2"].map(|part| networks.namespace(part));
    let status = Command::new("ip")
        .args(["netns", "exec", &browser])
        .arg(env::current_exe()?)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, format!("{server} {host}"))
        .status()?;
    ensure!(status.success(), "inside the network: {status}");
    Ok(())
}

fn inside(name: &'static str, namespaces: &str, nat: Nat) {
    scenario::run(name, async |scenario| {
        let (server, host) = namespaces.split_once(' ').context("two namespaces")?;
        let listen = SERVER.map(|address| format!("/ip4/{address}/udp/4001/webrtc-direct"));
        let server =
            TestPeer::in_namespace(scenario.dir(), server, json!({ "listen": listen, "is_relay": true })).await?;
        // Every listener answers STUN; with two a symmetric NAT shows.
        let stun = SERVER.map(|address| format!("{address}:4001"));
        let options =
            |side: usize| -> Result<_> { Ok(json!({ "relay": server.address(SERVER[side])?, "stun": stun })) };
        let native = TestPeer::in_namespace(scenario.dir(), host, options(0)?).await?;
        let pages = pages(scenario.dir()).await?;
        let browser = scenario.browser("private").await?;
        let tab = TestPeer::in_tab(&browser, &pages, Ours, options(1)?).await?;
        match nat {
            Nat::KeepsPorts => {
                tab.dial(&native.address("/webrtc/")?).await?;
                ensure!(tab.echo(&native.id, 1 << 20).await?, "no echo");
                ensure!(native.echo(&tab.id, 1 << 20).await?, "no echo");
            }
            Nat::Symmetric => {
                for (one, other) in [(&tab, &native), (&native, &tab)] {
                    let refused = one.dial(&other.address("/webrtc/")?).await.err().context("a path that cannot be")?;
                    let told = format!("{refused:#}");
                    ensure!(
                        told.contains("no direct path") && told.contains("gives each destination another port"),
                        "{told}"
                    );
                }
            }
        }
        Ok(())
    });
}

/// Where a public peer listens: in each NAT's outer network.
fn listening(port: u16) -> String {
    SERVER.map(|ip| format!("/ip4/{ip}/udp/{port}/webrtc-direct,/ip4/{ip}/tcp/{port}")).join(",")
}

/// A tab reads a site from a native peer, both behind symmetric NATs; a bootstrap and another native peer are public.
fn content_inside(name: &'static str, namespaces: &str, is_willing: bool) {
    scenario::run(name, async |scenario| {
        let (server, host) = namespaces.split_once(' ').context("two namespaces")?;
        let (_bootstrap, ready) = {
            let listen = listening(4001);
            swarm::bootstrap_in(server, scenario.dir(), &listen.split(',').collect::<Vec<_>>()).await?
        };
        let on = |addresses: &[String], host: &str, transport: &str| -> Result<String> {
            let found = addresses.iter().find(|address| address.contains(host) && address.contains(transport));
            Ok(found.with_context(|| format!("no {transport} on {host}: {addresses:?}"))?.clone())
        };
        let contact = on(&ready.addresses, SERVER[0], "/tcp/")?;
        let more = if is_willing { vec!["--relay-content".into(), "256M".into()] } else { Vec::new() };
        let relay = Peer::start_in(Some(server), scenario.dir(), "relay", &contact, &[&listening(4801)], &more).await?;
        let contacts = format!("{contact},{}", on(relay.addresses(), SERVER[0], "/tcp/")?);
        let mut author =
            Peer::start_in(Some(host), scenario.dir(), "author", &contacts, &["/ip4/192.168.1.2/tcp/4801"], &[])
                .await?;
        // Two circuits' worth.
        let files = folder::made_up("Over a relay", 11, 20 << 20);
        let folder = scenario.dir().join("site");
        folder::write(&folder, &files)?;
        let address = author.commands().publish(&folder).await?.address;

        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
        let entry = |id: &str, addresses: &[String]| -> Result<PeerEntry> {
            let peer_id = id.parse::<libp2p::PeerId>()?.to_bytes();
            Ok(PeerEntry { peer_id, addresses: vec![on(addresses, SERVER[1], "/webrtc-direct/")?] })
        };
        let peers = vec![entry(&ready.peer_id, &ready.addresses)?, entry(relay.peer_id(), relay.addresses())?];
        let list = PeerList { issued_ms: now_ms, expires_ms: now_ms + 600_000, peers };
        let pages = StaticServer::start(Some(places::dist()?.join("app")), peer_list::sign(&[7; 32], &list)?).await?;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &pages.url()).await?;
        app.until_joined().await?;
        let fetched = app.ask(&api::Command::FetchAll { address, allow_large: false }).await?;
        if is_willing {
            fetched?;
            let status = app.status().await?;
            let peer = status.peers.iter().find(|peer| peer.peer_id == author.peer_id()).context("not connected")?;
            ensure!(peer.relayed, "there was a path after all: {peer:?}");
            ensure!(peer.paths.iter().all(|path| path.way == PathWay::Relayed), "{:?}", peer.paths);
            let paths: Vec<&str> = files.keys().map(String::as_str).collect();
            ensure!(app.read_hashes(address, &paths).await? == folder::hashes(&files), "wrong bytes");
        } else {
            ensure!(
                matches!(fetched, Err(api::ApiError::NobodyServes { .. } | api::ApiError::NotFound { .. })),
                "{fetched:?}"
            );
        }
        // Both are told, which takes as long as looking for a path does.
        until("the tab being told", async || {
            let told = app.status().await?.no_direct_path;
            let is_it =
                |told: &api::NoDirectPath| told.peer_id == author.peer_id() && (is_willing || told.relay.is_none());
            Ok(Look::holds(told.iter().any(is_it), format!("{told:?}")))
        })
        .await?;
        until("the word on it", async || {
            let text: String = browser.run("return document.body.textContent;", &[]).await?;
            Ok(Look::holds(text.contains("No direct path to"), text))
        })
        .await?;
        let tab = app.status().await?.peer_id;
        author.says(&format!("\"no_direct_path\":[{{\"peer_id\":\"{tab}\"")).await
    });
}

#[test]
fn behind_symmetric_nats_content_comes_over_a_willing_peers_relay() -> Result<()> {
    let test = "nat::behind_symmetric_nats_content_comes_over_a_willing_peers_relay";
    match env::var(INSIDE) {
        Ok(namespaces) => content_inside("nat-c", &namespaces, true),
        Err(_) => outside(test, "c", Nat::Symmetric)?,
    }
    Ok(())
}

#[test]
fn behind_symmetric_nats_nothing_comes_over_relays_that_are_not_willing() -> Result<()> {
    let test = "nat::behind_symmetric_nats_nothing_comes_over_relays_that_are_not_willing";
    match env::var(INSIDE) {
        Ok(namespaces) => content_inside("nat-u", &namespaces, false),
        Err(_) => outside(test, "u", Nat::Symmetric)?,
    }
    Ok(())
}

fn test(name: &'static str, test: &str, nat: Nat) -> Result<()> {
    match env::var(INSIDE) {
        Ok(namespaces) => inside(name, &namespaces, nat),
        Err(_) => outside(test, &name[4..], nat)?,
    }
    Ok(())
}

#[test]
fn a_tab_and_a_native_peer_behind_two_nats_meet() -> Result<()> {
    test("nat-k", "nat::a_tab_and_a_native_peer_behind_two_nats_meet", Nat::KeepsPorts)
}

#[test]
fn behind_symmetric_nats_they_are_told_why_they_cannot() -> Result<()> {
    test("nat-s", "nat::behind_symmetric_nats_they_are_told_why_they_cannot", Nat::Symmetric)
}
