//! A browser and a native peer behind two different NATs.

use anyhow::{Context, Result, ensure};
use meganet_e2e::{
    nat::{Nat, Networks, SERVER},
    scenario,
    test_peer::{Kind::Ours, TestPeer, pages},
};
use serde_json::json;
use std::{env, process::Command};

/// Set inside the browser's network: the namespaces of the server and of the other host.
const INSIDE: &str = "MEGANET_E2E_INSIDE_NAT";

/// Runs this very test again inside the browser's network, where it finds [`INSIDE`] set.
fn outside(test: &str, name: &str, nat: Nat) -> Result<()> {
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
