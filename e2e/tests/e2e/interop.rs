//! Our transport and js-libp2p's, each at either end: identify, ping, a half-closed echo, bulk in both directions.

use anyhow::{Context, Result, ensure};
use meganet_e2e::{
    browser::Options,
    scenario::{self, Scenario},
    test_peer::{
        Kind::{self, Js, Ours},
        TestPeer, pages,
    },
};
use serde_json::{Value, json};

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

/// A tab: whose implementation, in which browser.
pub type Tab = (Kind, Options);

/// Two tabs meet through our relay: the first dials the second, and, if they differ, anew the other way round.
pub fn tabs(name: &'static str, one: Tab, other: Tab) {
    let directions: &[(usize, usize)] = if one == other { &[(0, 1)] } else { &[(0, 1), (1, 0)] };
    meet(name, [one, other], directions);
}

/// Two tabs meet through our relay: the first dials the second.
pub fn tab_dials_tab(name: &'static str, dialler: Tab, listener: Tab) {
    meet(name, [dialler, listener], &[(0, 1)]);
}

fn meet(name: &'static str, tabs: [Tab; 2], directions: &[(usize, usize)]) {
    scenario::run(name, async |scenario| {
        let pages = pages(scenario.dir()).await?;
        let relay = relay(scenario).await?;
        let through = json!({ "relay": relay.address("webrtc-direct")? });
        let browsers = [
            scenario.browser_with("one", tabs[0].1.clone()).await?,
            scenario.browser_with("other", tabs[1].1.clone()).await?,
        ];
        let start = async |place: usize| {
            let (kind, options) = &tabs[place];
            let mut peer = TestPeer::in_tab(&browsers[place], &pages, *kind, through.clone()).await?;
            peer.name = format!("{} ({:?})", peer.name, options.kind);
            anyhow::Ok(peer)
        };
        for &(dialler, listener) in directions {
            let (dialler, listener) = (start(dialler).await?, start(listener).await?);
            exercise(&dialler, &listener, &listener.address("/webrtc/")?).await?;
        }
        Ok(())
    });
}

/// A tab of ours, and processes of ours: public, and private, which are signalled to and signal.
pub async fn our_tab_and_our_processes(scenario: &mut Scenario, options: Options) -> Result<()> {
    let pages = pages(scenario.dir()).await?;
    let relay = relay(scenario).await?;
    let through = json!({ "relay": relay.address("webrtc-direct")? });
    let browser = scenario.browser_with("tab", options).await?;
    let tab = TestPeer::in_tab(&browser, &pages, Ours, through.clone()).await?;
    exercise(&tab, &relay, &relay.address("webrtc-direct")?).await?;
    private_and_tab(scenario, &tab, Ours, &through).await
}

/// A private process and a tab: each dials the other.
async fn private_and_tab(scenario: &Scenario, tab: &TestPeer, kind: Kind, through: &Value) -> Result<()> {
    let private = TestPeer::process(scenario.dir(), kind, through.clone()).await?;
    exercise(tab, &private, &private.address("/webrtc/")?).await?;
    let private = TestPeer::process(scenario.dir(), kind, through.clone()).await?;
    exercise(&private, tab, &tab.address("/webrtc/")?).await
}

#[test]
fn our_tabs_meet() {
    tabs("interop-ours-ours", (Ours, Options::default()), (Ours, Options::default()));
}

/// From now on this page's data channels send as one message what it hands them at once, up to 128 KiB: frames are a stream of
/// bytes, and released versions of rust-libp2p join them.
const JOIN: &str = "
    const prototype = RTCDataChannel.prototype;
    const { send, close } = prototype;
    const waiting = new Map();
    window.joined = 0;
    const flush = channel => {
        const parts = waiting.get(channel) ?? [];
        waiting.delete(channel);
        if (parts.length > 1) { window.joined += 1; }
        if (parts.length > 0) { send.call(channel, join(parts)); }
    };
    const join = parts => {
        const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
        let at = 0;
        for (const part of parts) { whole.set(part, at); at += part.length; }
        return whole;
    };
    prototype.send = function (data) {
        const parts = waiting.get(this) ?? [];
        if (parts.length === 0) { queueMicrotask(() => flush(this)); }
        parts.push(Uint8Array.from(data));
        waiting.set(this, parts);
        if (parts.length >= 8) { flush(this); }
    };
    prototype.close = function () {
        flush(this);
        close.call(this);
    };
    return null;";

#[test]
fn frames_that_come_joined_in_one_message_are_read() {
    scenario::run("interop-joined", async |scenario| {
        let pages = pages(scenario.dir()).await?;
        let relay = relay(scenario).await?;
        let through = json!({ "relay": relay.address("webrtc-direct")? });
        let (joining, reading) = (scenario.browser("joining").await?, scenario.browser("reading").await?);
        let reader = TestPeer::in_tab(&reading, &pages, Ours, through.clone()).await?;
        let joiner = TestPeer::in_tab(&joining, &pages, Ours, through).await?;
        joining.run::<Value>(JOIN, &[]).await?;
        joiner.dial(&reader.address("/webrtc/")?).await?;
        ensure!(joiner.echo(&reader.id, ECHO_BYTES).await?, "it read something else");
        joiner.send(&reader.id, BULK_BYTES / 4, WRITE_BYTES).await?;
        let joined: u64 = joining.run("return window.joined;", &[]).await?;
        ensure!(joined > 10, "{joined} messages were joined");
        Ok(())
    });
}

#[test]
fn our_tab_and_a_js_tab_dial_each_other() {
    tabs("interop-ours-js", (Ours, Options::default()), (Js, Options::default()));
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
            private_and_tab(scenario, &tab, kind, &through).await?;
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
