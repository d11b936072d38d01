//! Bare peers on a transport alone: ours (`e2e/peer`) and js-libp2p's (`e2e/js-peer`), in a tab or as a process. All take the
//! same calls, so each can stand where another does.

use crate::{browser::Browser, places, process::Process, static_server::StaticServer};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{cell::RefCell, path::Path, rc::Rc};

/// Whose implementation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ours,
    Js,
}

/// A transfer's figures.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Transferred {
    pub bytes: u64,
    pub elapsed_ms: f64,
    /// The most that the sender had buffered, where it can be seen.
    pub max_buffered: Option<u64>,
}

impl Transferred {
    /// 10⁶ bytes a second.
    #[must_use]
    pub fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / self.elapsed_ms / 1_000.0
    }
}

/// A dial that succeeded.
#[derive(Debug, Clone, Deserialize)]
pub struct Dialled {
    pub peer: String,
    pub address: String,
    pub ms: f64,
}

/// Who a remote says it is.
#[derive(Debug, Clone, Deserialize)]
pub struct Identified {
    pub agent: String,
    pub protocols: Vec<String>,
}

enum At {
    Tab(Rc<Browser>),
    Process(RefCell<(Process, u64)>),
}

/// A running peer.
pub struct TestPeer {
    pub name: String,
    pub kind: Kind,
    at: At,
    /// Its peer id.
    pub id: String,
    started_with: Vec<String>,
}

#[derive(Deserialize)]
struct About {
    #[serde(rename = "peerId")]
    id: String,
    addresses: Vec<String>,
}

/// The pages that tabs load, at an origin of their own.
pub async fn pages(dir: &Path) -> Result<StaticServer> {
    let to = dir.join("pages");
    std::fs::create_dir_all(&to)?;
    let ours = places::results("test-peer")?;
    for name in ["peer.js", "peer_bg.wasm"] {
        std::fs::copy(ours.join(name), to.join(name))
            .with_context(|| format!("{name} is missing: run `cargo xtask ci build` first"))?;
    }
    let js = places::workspace().join("e2e/js-peer/dist/tab.js");
    std::fs::copy(&js, to.join("tab.js")).context("tab.js is missing: run `cargo xtask ci build` first")?;
    std::fs::write(to.join("index.html"), "<!doctype html><title>test peer</title><script src=tab.js></script>")?;
    StaticServer::start(Some(to), Vec::new()).await
}

/// Loads our peer as the page would: what a driver's script imports itself belongs, in Firefox, to a world of its own, in which
/// no event of the page is an `Event`.
const OURS: &str = r#"
    const script = document.createElement('script');
    script.type = 'module';
    script.textContent = "import * as peer from '/peer.js'; await peer.default(); window.ours = peer; window.oursLoaded();";
    const loaded = new Promise(done => { window.oursLoaded = done; });
    document.head.append(script);
    await loaded;
    return JSON.parse(await window.ours.start(JSON.stringify(given[0])));"#;

impl TestPeer {
    /// Loads the page in a browser's current tab and starts a peer there.
    pub async fn in_tab(browser: &Rc<Browser>, pages: &StaticServer, kind: Kind, options: Value) -> Result<Self> {
        Self::in_tab_at(browser, &pages.url(), kind, options).await
    }

    /// The same, with the page at another of its addresses.
    pub async fn in_tab_at(browser: &Rc<Browser>, url: &str, kind: Kind, options: Value) -> Result<Self> {
        browser.goto(url).await?;
        let about: About = match kind {
            Kind::Ours => browser.run(OURS, &[options]).await?,
            Kind::Js => browser.run("return await jsPeer.start(given[0]);", &[options]).await?,
        };
        let name = format!("{kind:?} tab");
        Ok(Self { name, kind, at: At::Tab(browser.clone()), id: about.id, started_with: about.addresses })
    }

    /// Starts a peer of ours as a process in a network namespace.
    pub async fn in_namespace(dir: &Path, namespace: &str, options: Value) -> Result<Self> {
        let program = places::binary("meganet-test-peer")?;
        let program = program.to_str().context("a path that is not UTF-8")?;
        let arguments = ["netns", "exec", namespace, program, &options.to_string()];
        let process = Process::start_listening(&format!("peer-{namespace}"), dir, Path::new("ip"), arguments)?;
        Self::running(process, Kind::Ours).await
    }

    /// Starts a peer as a process.
    pub async fn process(dir: &Path, kind: Kind, options: Value) -> Result<Self> {
        let options = options.to_string();
        let process = match kind {
            Kind::Ours => {
                Process::start_listening("our-peer", dir, &places::binary("meganet-test-peer")?, [options.as_str()])?
            }
            Kind::Js => {
                let program = places::workspace().join("e2e/js-peer/node.mjs");
                let program = program.to_str().context("a path that is not UTF-8")?;
                Process::start_listening("js-peer", dir, Path::new("node"), [program, options.as_str()])?
            }
        };
        Self::running(process, kind).await
    }

    async fn running(mut process: Process, kind: Kind) -> Result<Self> {
        let about: About = process.json_line("who it is").await?;
        let name = format!("{kind:?} process");
        let at = At::Process(RefCell::new((process, 0)));
        Ok(Self { name, kind, at, id: about.id, started_with: about.addresses })
    }

    /// The id of its process, if it is one.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        match &self.at {
            At::Tab(_) => None,
            At::Process(process) => Some(process.borrow().0.id()),
        }
    }

    /// Ends its process, if it is one, without a word to anybody.
    pub fn kill(&self) {
        if let At::Process(process) = &self.at {
            process.borrow_mut().0.kill();
        }
    }

    /// Calls it by name.
    pub async fn call<T: DeserializeOwned>(&self, name: &str, arguments: &[Value]) -> Result<T> {
        let calling = async {
            match &self.at {
                At::Tab(browser) => match self.kind {
                    Kind::Ours => {
                        let call = "return JSON.parse(await window.ours.call(given[0], JSON.stringify(given[1])));";
                        browser.run(call, &[json!(name), json!(arguments)]).await
                    }
                    Kind::Js => {
                        let call = "return await jsPeer[given[0]](...given[1]);";
                        browser.run(call, &[json!(name), json!(arguments)]).await
                    }
                },
                At::Process(process) => {
                    let id = {
                        let (process, last) = &mut *process.borrow_mut();
                        *last += 1;
                        process.tell(&json!({ "id": *last, "call": name, "args": arguments }).to_string())?;
                        *last
                    };
                    answer(process, id).await
                }
            }
        };
        calling.await.with_context(|| format!("{} ({}): {name} {arguments:?}", self.name, self.id))
    }

    /// Calls it several times at once; the answers in the same order.
    pub async fn call_all<T: DeserializeOwned>(&self, name: &str, each: &[Value]) -> Result<Vec<T>> {
        let At::Tab(browser) = &self.at else {
            let calls = each.iter().map(|arguments| async {
                self.call(name, arguments.as_array().context("arguments are a list")?).await
            });
            return futures::future::try_join_all(calls).await;
        };
        let calls = match self.kind {
            Kind::Ours => {
                "return await Promise.all(given[1].map(async one =>
                    JSON.parse(await window.ours.call(given[0], JSON.stringify(one)))));"
            }
            Kind::Js => "return await Promise.all(given[1].map(one => jsPeer[given[0]](...one)));",
        };
        let calling = browser.run(calls, &[json!(name), json!(each)]).await;
        calling.with_context(|| format!("{} ({}): {name} {each:?}", self.name, self.id))
    }

    /// Its addresses.
    pub async fn addresses(&self) -> Result<Vec<String>> {
        self.call("addresses", &[]).await
    }

    /// One of the addresses that it named when it was started; with its id at its end.
    pub fn address(&self, contains: &str) -> Result<String> {
        let found = self.started_with.iter().find(|address| address.contains(contains));
        let found = found.with_context(|| format!("{}: no {contains} among {:?}", self.name, self.started_with))?;
        Ok(if found.contains(&self.id) { found.clone() } else { format!("{found}/p2p/{}", self.id) })
    }

    pub async fn dial(&self, address: &str) -> Result<Dialled> {
        self.call("dial", &[json!(address)]).await
    }

    pub async fn ping(&self, peer: &str) -> Result<f64> {
        self.call("ping", &[json!(peer)]).await
    }

    pub async fn identified(&self, peer: &str) -> Result<Identified> {
        self.call("identified", &[json!(peer)]).await
    }

    pub async fn echo(&self, peer: &str, bytes: u64) -> Result<bool> {
        self.call("echo", &[json!(peer), json!(bytes)]).await
    }

    pub async fn send(&self, peer: &str, bytes: u64, message_bytes: u64) -> Result<Transferred> {
        self.call("send", &[json!(peer), json!(bytes), json!(message_bytes)]).await
    }

    pub async fn receive(&self, peer: &str, bytes: u64) -> Result<Transferred> {
        self.call("receive", &[json!(peer), json!(bytes)]).await
    }
}

/// Waits for one answer; others may come before it.
async fn answer<T: DeserializeOwned>(process: &RefCell<(Process, u64)>, id: u64) -> Result<T> {
    let find = |line: &str| serde_json::from_str::<Value>(line).ok().filter(|answer| answer["id"] == json!(id));
    let answer = crate::wait::until("an answer", async || {
        let (process, _) = &mut *process.borrow_mut();
        let output = process.stdout()?;
        let whole = output.rfind('\n').map_or("", |end| &output[..end]);
        Ok(match (whole.lines().rev().find_map(find), process.is_running()?) {
            (Some(answer), _) => crate::wait::Look::Yes(answer),
            (None, true) => crate::wait::Look::NotYet("none".to_owned()),
            (None, false) => crate::wait::Look::Never(format!("it has ended. {}", process.stderr_tail())),
        })
    })
    .await?;
    if let Some(error) = answer.get("error") {
        bail!("{}", error.as_str().unwrap_or_default());
    }
    Ok(serde_json::from_value(answer["result"].clone())?)
}
