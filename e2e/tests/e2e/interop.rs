//! Our transport and js-libp2p's, each at either end: identify, ping, a half-closed echo, bulk in both directions.

use anyhow::{Context, Result, ensure};
use meganet_e2e::{
    scenario::{self, Scenario},
    test_peer::{
        Kind::{self, Js, Ours},
        TestPeer, pages,
    },
};
use serde_json::json;

const ECHO_BYTES: u64 = 1 << 20;
const BULK_BYTES: u64 = 32 << 20;
const WRITE_BYTES: u64 = 64 << 10;

/// One dials, then both do everything.
async fn exercise(dialler: &TestPeer, listener: &TestPeer, address: &str) -> Result<()> {
    let what = format!("{} dials {} at {address}", dialler.name, listener.name);
    let exercise = async {
        let dialled = dialler.dial(address).await?;
        ensure!(dialled.peer == listener.id, "{} answered", dialled.peer);
        for (one, other) in [(dialler, listener), (listener, dialler)] {
            let identified = one.identified(&other.id).await?;
            let expected = if other.kind == Js { "js-libp2p" } else { "meganet-test-peer" };
            ensure!(identified.agent.contains(expected), "{} is {}", other.name, identified.agent);
            one.ping(&other.id).await?;
            ensure!(one.echo(&other.id, ECHO_BYTES).await?, "no echo");
            let sent = one.send(&other.id, BULK_BYTES, WRITE_BYTES).await?;
            let received = one.receive(&other.id, BULK_BYTES).await?;
            eprintln!(
                "{} to {}: {:.1} MB/s there, {:.1} back, open in {:.0} ms",
                one.name,
                other.name,
                sent.mb_per_s(),
                received.mb_per_s(),
                dialled.ms
            );
        }
        Ok(())
    };
    exercise.await.with_context(|| what)
}

/// A public peer that listens on `webrtc-direct`, and relays.
async fn relay(scenario: &Scenario) -> Result<TestPeer> {
    let options = json!({ "listen": ["/ip4/127.0.0.1/udp/0/webrtc-direct"], "is_relay": true });
    TestPeer::process(scenario.dir(), Ours, options).await
}

/// Two tabs meet through our relay.
fn tab_to_tab(name: &'static str, dialler: Kind, listener: Kind) {
    scenario::run(name, async |scenario| {
        let pages = pages(scenario.dir()).await?;
        let relay = relay(scenario).await?;
        let through = json!({ "relay": relay.address("webrtc-direct")? });
        let (one, other) = (scenario.browser("one").await?, scenario.browser("other").await?);
        let dialler = TestPeer::in_tab(&one, &pages, dialler, through.clone()).await?;
        let listener = TestPeer::in_tab(&other, &pages, listener, through).await?;
        exercise(&dialler, &listener, &listener.address("/webrtc/")?).await
    });
}

#[test]
fn our_tab_dials_our_tab() {
    tab_to_tab("interop-ours-ours", Ours, Ours);
}

#[test]
fn our_tab_dials_a_js_tab() {
    tab_to_tab("interop-ours-js", Ours, Js);
}

#[test]
fn a_js_tab_dials_our_tab() {
    tab_to_tab("interop-js-ours", Js, Ours);
}

#[test]
fn our_tab_and_processes_dial_each_other() {
    scenario::run("interop-our-tab-processes", async |scenario| {
        let pages = pages(scenario.dir()).await?;
        let relay = relay(scenario).await?;
        let through = json!({ "relay": relay.address("webrtc-direct")? });
        let browser = scenario.browser("tab").await?;
        let tab = TestPeer::in_tab(&browser, &pages, Ours, through.clone()).await?;
        exercise(&tab, &relay, &relay.address("webrtc-direct")?).await?;
        let listen = json!({ "listen": ["/ip4/127.0.0.1/udp/0/webrtc-direct"] });
        let node = TestPeer::process(scenario.dir(), Js, listen).await?;
        exercise(&tab, &node, &node.address("webrtc-direct")?).await?;
        for kind in [Ours, Js] {
            let private = TestPeer::process(scenario.dir(), kind, through.clone()).await?;
            exercise(&tab, &private, &private.address("/webrtc/")?).await?;
            let private = TestPeer::process(scenario.dir(), kind, through.clone()).await?;
            exercise(&private, &tab, &tab.address("/webrtc/")?).await?;
        }
        Ok(())
    });
}

#[test]
fn a_js_tab_and_our_processes_dial_each_other() {
    scenario::run("interop-js-tab-processes", async |scenario| {
        let pages = pages(scenario.dir()).await?;
        let relay = relay(scenario).await?;
        let through = json!({ "relay": relay.address("webrtc-direct")? });
        let browser = scenario.browser("tab").await?;
        let tab = TestPeer::in_tab(&browser, &pages, Js, through.clone()).await?;
        exercise(&tab, &relay, &relay.address("webrtc-direct")?).await?;
        let private = TestPeer::process(scenario.dir(), Ours, through.clone()).await?;
        exercise(&tab, &private, &private.address("/webrtc/")?).await?;
        let private = TestPeer::process(scenario.dir(), Ours, through).await?;
        exercise(&private, &tab, &tab.address("/webrtc/")?).await
    });
}

#[test]
fn a_js_process_and_our_processes_dial_each_other() {
    scenario::run("interop-processes", async |scenario| {
        let relay = relay(scenario).await?;
        let through = json!({ "relay": relay.address("webrtc-direct")? });
        let listen = json!({ "listen": ["/ip4/127.0.0.1/udp/0/webrtc-direct"] });
        let node = TestPeer::process(scenario.dir(), Js, listen).await?;
        exercise(&node, &relay, &relay.address("webrtc-direct")?).await?;
        let ours = TestPeer::process(scenario.dir(), Ours, through.clone()).await?;
        exercise(&ours, &node, &node.address("webrtc-direct")?).await?;
        let node = TestPeer::process(scenario.dir(), Js, through.clone()).await?;
        exercise(&node, &ours, &ours.address("/webrtc/")?).await?;
        let ours = TestPeer::process(scenario.dir(), Ours, through).await?;
        exercise(&ours, &node, &node.address("/webrtc/")?).await
    });
}
