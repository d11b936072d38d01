//! How many of many dials fail, of each kind, and how long they take: `dial_failures_KIND`, their sum `dial_failures`, and the
//! medians `connect_ms_KIND`. Of another browser than Chromium: `firefox_dial_failures_KIND`, `connect_ms_firefox_KIND`. The sums are
//! of the kinds that were chosen.

use super::{
    Options,
    stage::{PER_HOUR, native},
};
use crate::figures::{median, rounded};
use anyhow::{Context, Result};
use meganet_e2e::{
    browser::{self, Browser},
    static_server::StaticServer,
    test_peer::{Kind, TestPeer, pages},
};
use serde_json::{Map, Value, json};
use std::{path::Path, rc::Rc};

/// Dials of one tab before another takes its place. Chrome counts 500 against a tab, those that are closed and those before a
/// reload too.
const PER_TAB: u32 = 50;

/// Who dials or is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Tab,
    /// A native peer that listens on `webrtc-direct`.
    Listening,
    /// A native peer that is reached through the relay alone.
    Private,
}

/// A kind of dial, and the name under which it is reported.
#[derive(Debug, Clone, Copy)]
struct DialKind {
    name: &'static str,
    from: End,
    to: End,
}

const KINDS: [DialKind; 6] = [
    DialKind { name: "webrtc_direct_tab", from: End::Tab, to: End::Listening },
    DialKind { name: "webrtc_direct_native", from: End::Private, to: End::Listening },
    DialKind { name: "webrtc_tab_tab", from: End::Tab, to: End::Tab },
    DialKind { name: "webrtc_native_tab", from: End::Private, to: End::Tab },
    DialKind { name: "webrtc_tab_native", from: End::Tab, to: End::Private },
    DialKind { name: "webrtc_native_native", from: End::Private, to: End::Private },
];

impl DialKind {
    /// Where no tab takes part the browser does not matter: Chromium's turn has those.
    fn is_of(self, browser: browser::Kind) -> bool {
        browser == browser::Kind::Chromium || [self.from, self.to].contains(&End::Tab)
    }
}

/// Those who dial, or those who are dialled.
struct Side {
    browser: Rc<Browser>,
    private: Rc<TestPeer>,
}

/// Where everything is.
struct Scene {
    dialling: Side,
    dialled: Side,
    listening: Rc<TestPeer>,
    pages: StaticServer,
    /// How a peer is started that is reached through the relay.
    through: Value,
    _relay: TestPeer,
}

/// What came of dials of one kind.
#[derive(Debug, Default)]
struct Outcome {
    failed: u32,
    /// How long each of the others took.
    ms: Vec<f64>,
}

impl Scene {
    async fn start(dir: &Path, kind: browser::Kind) -> Result<Self> {
        let relay = native(dir, true).await?;
        let through = json!({ "relay": relay.address("webrtc-direct")?, "per_hour": PER_HOUR });
        let side = async |name: &str| {
            let options = browser::Options { kind, ..browser::Options::default() };
            let browser = Browser::start(dir, &format!("{kind:?}-{name}"), options).await?;
            let private = TestPeer::process(dir, Kind::Ours, through.clone()).await?;
            anyhow::Ok(Side { browser: Rc::new(browser), private: Rc::new(private) })
        };
        let (dialling, dialled) = (side("dialling").await?, side("dialled").await?);
        let listening = Rc::new(native(dir, false).await?);
        let pages = pages(dir).await?;
        Ok(Self { dialling, dialled, listening, pages, through, _relay: relay })
    }

    /// A peer of this side: a new one where it is a tab's.
    async fn peer(&self, end: End, side: &Side) -> Result<Rc<TestPeer>> {
        Ok(match end {
            End::Listening => self.listening.clone(),
            End::Private => side.private.clone(),
            End::Tab => {
                side.browser.replace_tab().await?;
                Rc::new(TestPeer::in_tab(&side.browser, &self.pages, Kind::Ours, self.through.clone()).await?)
            }
        })
    }

    /// Who dials, who is dialled, and where.
    async fn ends(&self, kind: DialKind) -> Result<(Rc<TestPeer>, Rc<TestPeer>, String)> {
        let dialler = self.peer(kind.from, &self.dialling).await?;
        let dialled = self.peer(kind.to, &self.dialled).await?;
        let address = dialled.address(if kind.to == End::Listening { "webrtc-direct" } else { "/webrtc/" })?;
        Ok((dialler, dialled, address))
    }

    /// Dials and closes so many times.
    async fn dial(&self, kind: DialKind, count: u32, outcome: &mut Outcome) -> Result<()> {
        let (dialler, dialled, address) = self.ends(kind).await.context("no two peers to dial with")?;
        for _ in 0..count {
            match dialler.dial(&address).await {
                Ok(done) => outcome.ms.push(done.ms),
                Err(error) => {
                    outcome.failed += 1;
                    eprintln!("dial {}: {error:#}", kind.name);
                }
            }
            if let Err(error) = dialler.call::<Value>("close", &[json!(dialled.id)]).await {
                eprintln!("close {}: {error:#}", kind.name);
            }
        }
        Ok(())
    }
}

/// Dials of each kind that takes part in this browser and is wanted.
pub async fn measure(
    dir: &Path,
    browser: browser::Kind,
    prefix: &str,
    options: &Options,
) -> Result<Map<String, Value>> {
    let field = |kind: DialKind| format!("{prefix}dial_failures_{}", kind.name);
    let kinds: Vec<DialKind> =
        KINDS.into_iter().filter(|kind| kind.is_of(browser) && options.wants(&field(*kind))).collect();
    let mut figures = Map::new();
    if kinds.is_empty() {
        return Ok(figures);
    }
    let scene = Scene::start(dir, browser).await?;
    let mut failed = 0;
    for kind in kinds {
        let (mut outcome, mut left) = (Outcome::default(), options.dials);
        while left > 0 {
            let now = left.min(PER_TAB);
            left -= now;
            // Told and counted, as a transfer that fails: the other figures are still worth having.
            if let Err(error) = scene.dial(kind, now, &mut outcome).await {
                outcome.failed += now;
                eprintln!("dial {}: {error:#}", kind.name);
            }
        }
        failed += outcome.failed;
        eprintln!("{}: {} of {}", field(kind), outcome.failed, options.dials);
        figures.insert(field(kind), json!(outcome.failed));
        if !outcome.ms.is_empty() {
            let median = rounded(median(outcome.ms.into_iter())?, 2);
            figures.insert(format!("connect_ms_{prefix}{}", kind.name), json!(median));
        }
    }
    figures.insert(format!("{prefix}dial_failures"), json!(failed));
    figures.insert("dials_of_each_kind".into(), json!(options.dials));
    Ok(figures)
}
