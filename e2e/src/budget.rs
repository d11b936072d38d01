//! One tab in a swarm of native peers and other tabs: it looks sites up, then browses while peers leave and come, and the peer
//! connections that it begins are counted. The count is the browser's: the page's `RTCPeerConnection` is wrapped before the
//! app starts.

use crate::{
    app::App,
    authored::Authored,
    browser::{Browser, Options},
    folder,
    swarm::{Peer, Swarm},
};
use anyhow::{Context, Result, ensure};
use meganet_core::{address::Address, keys::SiteKey};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Native peers, each with some of the sites.
    pub natives: usize,
    /// Other tabs, in profiles of their own.
    pub tabs: usize,
    /// Addresses that are looked up.
    pub lookups: usize,
    /// How long the tab browses after that.
    pub browsing: Duration,
    /// The longest that it stays on a page.
    pub pause_max: Duration,
    /// How often a peer leaves; the one before it is back by then.
    pub leaving_every: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// All that the tab began.
    pub peer_connections: u32,
    /// Until it had joined, and was connected to whom it wants to be.
    pub joining: u32,
    /// During the lookups.
    pub during_lookups: u32,
    /// While it browsed.
    pub during_browsing: u32,
    pub lookups: usize,
    /// Lookups that found a site, and those that did not, as it should be.
    pub found: usize,
    pub not_found: usize,
    /// Lookups of sites that are there, which failed all the same.
    pub failed: usize,
    pub minutes: f64,
    /// Sites opened while browsing, and those of them that could be shown whole.
    pub visits: usize,
    pub read: usize,
    /// Peers that left, and came back.
    pub left: usize,
    /// Peer connections that were open at the end.
    pub open_at_the_end: u32,
    pub natives: usize,
    pub tabs: usize,
}

/// Counts in the tab's own storage, which outlives a reload.
const COUNTING: &str = "
    (() => {
        const Native = window.RTCPeerConnection;
        const open = new Set();
        window.peerConnectionsOpen = () => [...open].filter(one => one.connectionState === 'connected').length;
        window.RTCPeerConnection = new Proxy(Native, {
            construct(target, given, newTarget) {
                const made = Reflect.construct(target, given, newTarget);
                sessionStorage.setItem('counted', Number(sessionStorage.getItem('counted') ?? 0) + 1);
                open.add(made);
                return made;
            },
        });
    })();";

/// Looks sites up, a few at once, and says of each what came.
const LOOK_UP: &str = "
    const waiting = [...given[0].entries()];
    const results = [];
    const one = async () => {
        for (let next = waiting.shift(); next; next = waiting.shift()) {
            const [place, address] = next;
            try {
                await window.meganet.command(JSON.stringify({ OpenSite: { address } }));
                results[place] = 'found';
            } catch (error) {
                results[place] = String(error?.cause ?? error);
            }
        }
    };
    await Promise.all([one(), one(), one(), one()]);
    return results;";
/// Lookups in one call: it ends long before the driver's patience.
const LOOKUPS_AT_ONCE: usize = 10;

#[derive(Deserialize, Clone, Copy)]
struct Counted {
    begun: u32,
    open: u32,
}

async fn counted(tab: &Browser) -> Result<Counted> {
    let count = "return { begun: Number(sessionStorage.getItem('counted') ?? 0), open: window.peerConnectionsOpen() };";
    tab.run(count, &[]).await
}

/// A swarm, sites in it, and the tab that is watched.
struct Run<'run> {
    plan: Plan,
    dir: &'run Path,
    swarm: Swarm,
    natives: Vec<Option<Peer>>,
    others: Vec<Browser>,
    sites: Vec<Address>,
    random: StdRng,
}

/// Runs the plan, with all files below `dir`.
pub async fn run(dir: &Path, plan: Plan) -> Result<Figures> {
    let mut run = Run {
        plan,
        dir,
        swarm: Swarm::start(dir).await?,
        natives: Vec::new(),
        others: Vec::new(),
        sites: Vec::new(),
        random: StdRng::seed_from_u64(1),
    };
    run.fill().await?;

    let tab = Browser::start(dir, "watched", Options::default()).await?;
    tab.devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": COUNTING })).await?;
    let app = App::open(&tab, &run.swarm.url()).await?;
    app.until_joined().await?;
    // Whom it wants as neighbours it finds within a few rounds of asking.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let joined = counted(&tab).await?;
    ensure!(joined.begun > 0, "nothing is counted");

    let (found, not_found, failed) = run.look_up(&tab).await?;
    let looked_up = counted(&tab).await?;
    let start = Instant::now();
    let (visits, read, left) = run.browse(&app).await?;
    let browsed = counted(&tab).await?;
    Ok(Figures {
        peer_connections: browsed.begun,
        joining: joined.begun,
        during_lookups: looked_up.begun - joined.begun,
        during_browsing: browsed.begun - looked_up.begun,
        lookups: plan.lookups,
        found,
        not_found,
        failed,
        minutes: start.elapsed().as_secs_f64() / 60.0,
        visits,
        read,
        left,
        open_at_the_end: browsed.open,
        natives: plan.natives,
        tabs: plan.tabs,
    })
}

impl Run<'_> {
    /// Starts everybody else. Seven in ten of the addresses are sites of native peers, one in ten a site that only a tab has.
    async fn fill(&mut self) -> Result<()> {
        for number in 0..self.plan.natives {
            self.natives.push(Some(self.swarm.peer(&format!("native-{number}")).await?));
        }
        for number in 0..self.plan.lookups * 7 / 10 {
            let folder = self.dir.join(format!("site-{number}"));
            folder::write(&folder, &folder::made_up(&format!("Site {number}"), number as u64, 100_000))?;
            let peer = self.natives[number % self.plan.natives].as_ref().context("it was just started")?;
            self.sites.push(peer.commands().publish(&folder).await?.address);
        }
        for number in 0..self.plan.tabs {
            let browser = Browser::start(self.dir, &format!("other-{number}"), Options::default()).await?;
            let app = App::open(&browser, &self.swarm.url()).await?;
            app.until_joined().await?;
            browser.click("consent-share").await?;
            self.others.push(browser);
        }
        for number in 0..self.plan.lookups / 10 {
            let mut site = Authored::new()?;
            let files = folder::made_up(&format!("A tab's site {number}"), 1_000 + number as u64, 50_000);
            let author = App::at(&self.others[number % self.plan.tabs]);
            site.publish(&author, "A tab's", &files).await?;
            self.sites.push(site.address());
        }
        Ok(())
    }

    /// Looks up every site, and addresses that nobody has.
    async fn look_up(&mut self, tab: &Browser) -> Result<(usize, usize, usize)> {
        let mut addresses: Vec<(Address, bool)> = self.sites.iter().map(|address| (*address, true)).collect();
        while addresses.len() < self.plan.lookups {
            addresses.push((SiteKey::from_seed(self.random.random()).address(), false));
        }
        let (mut found, mut not_found, mut failed) = (0, 0, 0);
        for some in addresses.chunks(LOOKUPS_AT_ONCE) {
            let texts: Vec<String> = some.iter().map(|(address, _)| address.to_string()).collect();
            let results: Vec<String> = tab.run(LOOK_UP, &[json!(texts)]).await?;
            for ((address, exists), result) in some.iter().zip(results) {
                match (result.as_str(), exists) {
                    ("found", true) => found += 1,
                    ("found", false) => anyhow::bail!("{address} does not exist, and was found"),
                    (_, false) => not_found += 1,
                    (reason, true) => {
                        eprintln!("{address}: {reason}");
                        failed += 1;
                    }
                }
            }
        }
        Ok((found, not_found, failed))
    }

    /// Opens sites, reads all of each, stays a while; native peers and tabs leave and come back meanwhile.
    async fn browse(&mut self, app: &App<'_>) -> Result<(usize, usize, usize)> {
        let (mut visits, mut read, mut left) = (0, 0, 0_usize);
        let start = Instant::now();
        while start.elapsed() < self.plan.browsing {
            let address = *self.sites.choose(&mut self.random).context("no site")?;
            app.enter_address(&address.to_string()).await?;
            visits += 1;
            if app.read_hashes(address, &["index.html", "data.bin"]).await.is_ok() {
                read += 1;
            }
            let pause = self.plan.pause_max.mul_f64(self.random.random_range(0.1..1.0));
            tokio::time::sleep(pause.min(self.plan.browsing.saturating_sub(start.elapsed()))).await;
            if start.elapsed() >= self.plan.leaving_every * (left as u32 + 1) {
                left += 1;
                self.churn(left).await?;
            }
        }
        Ok((visits, read, left))
    }

    /// One peer leaves, and the one that left before it comes back; every third time it is a tab.
    async fn churn(&mut self, turn: usize) -> Result<()> {
        if turn.is_multiple_of(3) && !self.others.is_empty() {
            let browser = &self.others[turn / 3 % self.others.len()];
            let app = App::open(browser, &self.swarm.url()).await?;
            return app.until_joined().await;
        }
        for (number, place) in self.natives.iter_mut().enumerate() {
            if place.is_none() {
                *place = Some(self.swarm.peer(&format!("native-{number}")).await?);
            }
        }
        let leaving = turn % self.natives.len();
        if let Some(peer) = self.natives[leaving].take() {
            peer.kill();
        }
        Ok(())
    }
}
