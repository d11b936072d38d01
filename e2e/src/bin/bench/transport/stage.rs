//! Browsers, pages, the relay and native peers that all competitors use.

use super::contest::Contest;
use anyhow::{Context, Result};
use meganet_e2e::{
    browser::{self, Browser},
    delay::Delay,
    static_server::StaticServer,
    test_peer::{Kind, TestPeer, pages},
};
use serde_json::{Value, json};
use std::{path::Path, rc::Rc, sync::Arc, time::Duration};
use thirtyfour::WindowHandle;

/// Peers at the other end at most.
pub const PEERS_MAX: usize = 4;
/// Peer connections that a tab of ours may begin: the bench begins many.
pub const PER_HOUR: u32 = 10_000;

/// Where everything is.
pub struct Stage {
    /// The tab that all others meet.
    pub hub: Rc<Browser>,
    /// The browser of the other tabs.
    pub others: Rc<Browser>,
    pub tabs: Vec<WindowHandle>,
    pub pages: StaticServer,
    pub relay: TestPeer,
    /// They listen on `webrtc-direct`.
    pub natives: Vec<TestPeer>,
    /// A native peer that is reached through the relay.
    pub private: TestPeer,
    pub delay: Arc<Delay>,
    slow_candidates: SlowCandidates,
}

/// A native peer with an address of its own.
pub async fn native(dir: &Path, is_relay: bool) -> Result<TestPeer> {
    let options = json!({ "listen": ["/ip4/127.0.0.1/udp/0/webrtc-direct"], "is_relay": is_relay });
    TestPeer::process(dir, Kind::Ours, options).await
}

impl Stage {
    pub async fn start(dir: &Path, kind: browser::Kind) -> Result<Self> {
        let delay = Arc::new(Delay::of_round_trip(Duration::from_millis(50))?);
        let start = async |name: &str| {
            let options = browser::Options { kind, ..browser::Options::default() };
            anyhow::Ok(Rc::new(Browser::start(dir, &format!("{kind:?}-{name}"), options).await?))
        };
        let (hub, others) = (start("hub").await?, start("others").await?);
        let mut tabs = vec![others.tab().await?];
        while tabs.len() < PEERS_MAX {
            tabs.push(others.new_tab().await?);
        }
        let relay = native(dir, true).await?;
        let mut natives = Vec::new();
        while natives.len() < PEERS_MAX {
            natives.push(native(dir, false).await?);
        }
        let through = json!({ "relay": relay.address("webrtc-direct")? });
        let private = TestPeer::process(dir, Kind::Ours, through).await?;
        let slow_candidates = SlowCandidates::start(delay.clone()).await?;
        let pages = pages(dir).await?;
        Ok(Self { hub, others, tabs, pages, relay, natives, private, delay, slow_candidates })
    }

    /// Loads the page anew and starts a peer there, reachable through the relay.
    pub async fn peer(&self, tab: &Rc<Browser>, kind: Kind, contest: &Contest) -> Result<TestPeer> {
        let mut options = json!({ "relay": self.relay.address("webrtc-direct")? });
        if kind == Kind::Ours {
            options["per_hour"] = json!(PER_HOUR);
        }
        let peer = TestPeer::in_tab(tab, &self.pages, kind, options).await?;
        if contest.is_delayed {
            self.slow_candidates.insist(tab).await?;
        }
        Ok(peer)
    }

    /// The same in as many tabs of the other browser as the contest has peers; the first is its current tab then.
    pub async fn other_peers(&self, kind: Kind, contest: &Contest) -> Result<Vec<TestPeer>> {
        let mut peers = Vec::new();
        for tab in self.tabs[..contest.peers].iter().rev() {
            self.others.switch_to(tab).await?;
            peers.push(self.peer(&self.others, kind, contest).await?);
        }
        Ok(peers)
    }

    /// A native peer's address, for this contest.
    pub fn address(&self, native: &TestPeer, contest: &Contest) -> Result<String> {
        let address = native.address("webrtc-direct")?;
        if contest.is_delayed { self.delay.multiaddr(&address) } else { Ok(address) }
    }

    /// A description on its way from one end to the other.
    pub fn description(&self, sdp: String, contest: &Contest) -> Result<String> {
        if contest.is_delayed { self.delay.description(&sdp) } else { Ok(sdp) }
    }
}

/// Lets pages ask for the slow address of a candidate, so that two tabs that meet by themselves meet over the delay.
struct SlowCandidates {
    url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for SlowCandidates {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const INSIST: &str = "
    const [url] = given;
    const add = RTCPeerConnection.prototype.addIceCandidate;
    RTCPeerConnection.prototype.addIceCandidate = async function (given) {
        const asked = await fetch(url, { method: 'POST', body: given?.candidate ?? '' });
        const candidate = await asked.text();
        if (candidate !== '') {
            await add.call(this, { candidate, sdpMid: given.sdpMid, sdpMLineIndex: given.sdpMLineIndex });
        }
    };
    return null;";

impl SlowCandidates {
    async fn start(delay: Arc<Delay>) -> Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://127.0.0.1:{}/", listener.local_addr()?.port());
        let answer = move |candidate: String| async move {
            let slow = delay.candidate(&candidate).ok().flatten().unwrap_or_default();
            ([("access-control-allow-origin", "*")], slow)
        };
        let router = axum::Router::new().fallback(answer);
        let task = tokio::spawn(async move {
            // Ends only with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, task })
    }

    async fn insist(&self, tab: &Browser) -> Result<()> {
        tab.run(INSIST, &[Value::from(self.url.clone())]).await.context("addIceCandidate")
    }
}
