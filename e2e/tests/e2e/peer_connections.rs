//! What a tab begins of the few peer connections that a browser gives it, and what it says when there are none left.

use anyhow::{Context, Result, ensure};
use meganet_e2e::{
    app::App,
    browser::Browser,
    folder,
    scenario::{self, Scenario},
    static_server::StaticServer,
    test_peer::{Kind::Ours, TestPeer, pages},
    wait::{Look, until},
};
use serde_json::{Value, json};
use std::rc::Rc;

/// From now on `window.constructed` counts the peer connections that this page makes.
const COUNT: &str = "
    window.constructed = 0;
    window.RTCPeerConnection = new Proxy(window.RTCPeerConnection, {
        construct(target, given, newTarget) {
            window.constructed++;
            return Reflect.construct(target, given, newTarget);
        },
    });
    return null;";

/// Until `window.restore()` this page's browser makes no peer connection, and says so as Chromium does.
const REFUSE: &str = "
    const own = window.RTCPeerConnection;
    window.restore = () => { window.RTCPeerConnection = own; };
    window.RTCPeerConnection = class {
        constructor() { throw new DOMException('Cannot create so many PeerConnections', 'UnknownError'); }
    };
    return null;";

/// Until `window.restore()` no data channel can be made, as in a connection that has no stream id left.
const REFUSE_CHANNELS: &str = "
    const own = RTCPeerConnection.prototype.createDataChannel;
    window.restore = () => { RTCPeerConnection.prototype.createDataChannel = own; };
    RTCPeerConnection.prototype.createDataChannel = () => { throw new DOMException('no id is left', 'OperationError'); };
    return null;";

/// A tab's ledger, as the transport keeps it, after its whole life.
const SPEND: &str = "sessionStorage.setItem('libp2p-webrtc-peer-connections', '[400,0,[]]'); return null;";

/// What it says, for this tab so far.
const BEGUN: &str = "
    const [own, others] = JSON.parse(sessionStorage.getItem('libp2p-webrtc-peer-connections'));
    return own + others;";

async fn constructed(tab: &Browser) -> Result<u64> {
    tab.run("return window.constructed;", &[]).await
}

/// A tab, and a process at an address.
struct Pair {
    browser: Rc<Browser>,
    tab: TestPeer,
    process: TestPeer,
    address: String,
    _pages: StaticServer,
}

impl Pair {
    async fn start(scenario: &mut Scenario) -> Result<Self> {
        let pages = pages(scenario.dir()).await?;
        let listen = json!({ "listen": ["/ip4/127.0.0.1/udp/0/webrtc-direct"] });
        let process = TestPeer::process(scenario.dir(), Ours, listen).await?;
        let address = process.address("webrtc-direct")?;
        let browser = scenario.browser("tab").await?;
        let tab = TestPeer::in_tab(&browser, &pages, Ours, Value::Null).await?;
        Ok(Self { browser, tab, process, address, _pages: pages })
    }
}

/// The error of a dial that must fail.
async fn refused(tab: &TestPeer, address: &str) -> Result<String> {
    let error = tab.dial(address).await.err().context("it was connected")?;
    Ok(format!("{error:#}"))
}

/// A search finds the provider, the lookup itself asks it, and others tell of it: each would dial.
#[test]
fn a_link_that_is_opened_costs_one_peer_connection_for_each_peer() {
    scenario::run("peer-connections-link", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let folder = scenario.dir().join("site");
        folder::write(&folder, &folder::made_up("One for each", 8, 100_000))?;
        let link = swarm.link(&author.commands().publish(&folder).await?.address, "");
        let browser = scenario.browser("reader").await?;
        for number in 1..=3 {
            let app = App::open(&browser, &link).await?;
            app.until_shown().await?;
            until("a peer connection for each peer", async || {
                let (peers, begun) = (app.status().await?.peers.len(), browser.run::<usize>(BEGUN, &[]).await?);
                let seen = format!("{begun} after page {number}, with {peers} peers");
                Ok(Look::holds(peers == 2 && begun == number * peers, seen))
            })
            .await?;
        }
        Ok(())
    });
}

#[test]
fn a_tab_begins_no_more_than_its_budget_within_an_hour_reloads_included() {
    const PER_HOUR: u64 = 2;
    const SPENT: &str = "2 connections were begun within an hour: the next one is possible later";
    scenario::run("peer-connections-hour", async |scenario| {
        let pages = pages(scenario.dir()).await?;
        let listen = json!({ "listen": ["/ip4/127.0.0.1/udp/0/webrtc-direct"] });
        let process = TestPeer::process(scenario.dir(), Ours, listen).await?;
        let address = process.address("webrtc-direct")?;
        let browser = scenario.browser("tab").await?;
        let options = json!({ "per_hour": PER_HOUR, "version_2_only": true });
        let tab = TestPeer::in_tab(&browser, &pages, Ours, options.clone()).await?;
        browser.run::<Value>(COUNT, &[]).await?;
        for number in 1..=PER_HOUR {
            tab.dial(&address).await?;
            let begun = constructed(&browser).await?;
            ensure!(begun == number, "{begun} after dial {number}");
        }
        let error = refused(&tab, &address).await?;
        ensure!(error.contains(SPENT) && error.contains(&process.id), "{error}");
        let begun = constructed(&browser).await?;
        ensure!(begun == PER_HOUR, "{begun} after a dial that was refused");
        ensure!(tab.echo(&process.id, 10_000).await?, "what is open is not of use any more");

        // The same tab: its page is loaded anew.
        let tab = TestPeer::in_tab(&browser, &pages, Ours, options).await?;
        browser.run::<Value>(COUNT, &[]).await?;
        let error = refused(&tab, &address).await?;
        ensure!(error.contains(SPENT), "{error}");
        let begun = constructed(&browser).await?;
        ensure!(begun == 0, "{begun} after a reload");
        Ok(())
    });
}

#[test]
fn a_browser_that_refuses_a_peer_connection_is_named_with_what_to_do_and_the_next_one_is_made() {
    scenario::run("peer-connections-refused", async |scenario| {
        let Pair { browser, tab, process, address, _pages } = Pair::start(scenario).await?;
        browser.run::<Value>(REFUSE, &[]).await?;
        let error = refused(&tab, &address).await?;
        for part in ["Cannot create so many PeerConnections", "close other tabs", process.id.as_str()] {
            ensure!(error.contains(part), "no {part:?}: {error}");
        }
        browser.run::<Value>("window.restore(); return null;", &[]).await?;
        tab.dial(&address).await?;
        ensure!(tab.echo(&process.id, 10_000).await?, "no echo");
        Ok(())
    });
}

#[test]
fn a_data_channel_that_the_browser_refuses_costs_its_stream_and_not_the_tab() {
    scenario::run("peer-connections-channel-refused", async |scenario| {
        let Pair { browser, tab, process, address, _pages } = Pair::start(scenario).await?;
        tab.dial(&address).await?;
        browser.run::<Value>(REFUSE_CHANNELS, &[]).await?;
        ensure!(tab.echo(&process.id, 10_000).await.is_err(), "it has a stream without a channel");
        let error = refused(&tab, &address).await?;
        ensure!(error.contains("no id is left") && error.contains(&process.id), "{error}");
        browser.run::<Value>("window.restore(); return null;", &[]).await?;
        ensure!(tab.echo(&process.id, 10_000).await?, "the connection did not outlive it");
        tab.dial(&address).await?;
        ensure!(tab.echo(&process.id, 10_000).await?, "no echo");
        Ok(())
    });
}

/// Case 58 of the threats.
#[test]
fn a_tab_that_has_begun_all_it_may_says_so_and_what_to_do() {
    scenario::run("peer-connections-spent", async |scenario| {
        let swarm = scenario.swarm().await?;
        let browser = scenario.browser("spent").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        ensure!(browser.maybe("banner-connections").await?.is_none(), "it was said too early");
        browser.run::<Value>(SPEND, &[]).await?;
        browser.reload().await?;
        browser.element("banner-connections").await?;
        let said = browser.text("banner-connections").await?.context("the banner has gone")?;
        ensure!(
            said.contains("as many connections as a browser allows one") && said.contains("in a new one"),
            "{said}"
        );
        Ok(())
    });
}

#[test]
fn a_peer_without_a_reservation_costs_no_peer_connection() {
    scenario::run("peer-connections-no-reservation", async |scenario| {
        let pages = pages(scenario.dir()).await?;
        let listen = "/ip4/127.0.0.1/udp/0/webrtc-direct";
        let options = json!({ "listen": [listen], "is_relay": true });
        let relay = TestPeer::process(scenario.dir(), Ours, options).await?;
        let relay_address = relay.address("webrtc-direct")?;
        // Connected to the relay, and without a reservation there.
        let stranger = TestPeer::process(scenario.dir(), Ours, json!({ "listen": [listen] })).await?;
        stranger.dial(&relay_address).await?;
        let browser = scenario.browser("tab").await?;
        let tab = TestPeer::in_tab(&browser, &pages, Ours, json!({ "relay": relay_address })).await?;
        browser.run::<Value>(COUNT, &[]).await?;
        let routed = format!("{relay_address}/p2p-circuit/webrtc/p2p/{}", stranger.id);
        // By the relay, and then by what is known of it.
        for address in [routed, format!("/webrtc/p2p/{}", stranger.id)] {
            let error = refused(&tab, &address).await?;
            ensure!(error.contains(&format!("no relay to {}", stranger.id)), "{address}: {error}");
        }
        let begun = constructed(&browser).await?;
        ensure!(begun == 0, "{begun} peer connections for nothing");
        // They are counted.
        tab.dial(&relay_address).await?;
        let begun = constructed(&browser).await?;
        ensure!(begun >= 1, "nothing is counted");
        Ok(())
    });
}
