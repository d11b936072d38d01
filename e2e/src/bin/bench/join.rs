//! `bench join`: from opening the page until a site is there, cold and warm, and the rate at which a tab receives.
//!
//! *Cold* is a fresh profile: nothing cached, no identity. *Warm* is the same profile again: the app kept by its service
//! worker, the identity kept, the sample site forgotten, so that it comes over the network both times. The bare data channel
//! between two tabs is measured in every round, next to the app's own fetching: the ratio of the two is what compares
//! across machines.
//!
//! A round takes some 20 s: twice 4 until the sample says that all of its parts have worked, 6 to 10 for the app's fetching, 2
//! for the bare channel, the rest for a browser that starts and ends.

use crate::figures::{median, print, rounded};
use anyhow::{Context, Result, bail, ensure};
use meganet_core::address::Address;
use meganet_e2e::{
    app::{App, Timings},
    browser::{Browser, Options as BrowserOptions},
    folder::{self, Files},
    places, raw_channel,
    static_server::StaticServer,
    swarm::Swarm,
};
use meganet_node::api::Command;
use serde_json::{Map, Value, json};
use std::{path::Path, time::Instant};

/// Random bytes that a tab fetches for the rate: 128 chunks.
const BULK_BYTES: usize = 32 * 1024 * 1024;

/// What is reported of each opening, in the order in which it usually happens.
const MOMENTS: [&str; 9] = [
    "started_ms",
    "node_ms",
    "joined_ms",
    "head_found_ms",
    "manifest_ms",
    "bridge_ready_ms",
    "first_bytes_ms",
    "first_paint_ms",
    "loaded_ms",
];

/// What to measure, and how to print it.
#[derive(clap::Args)]
pub struct Options {
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Rounds; each figure is the median of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
}

/// One round's figures.
struct Round {
    cold: Timings,
    warm: Timings,
    native_to_tab_mb_s: f64,
    raw_tab_to_tab_mb_s: f64,
}

/// Measures and prints.
pub async fn run(options: &Options) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("meganet-bench-").tempdir()?;
    let swarm = Swarm::start(dir.path()).await?;
    let author = swarm.peer("author").await?;
    let sample = author.commands().publish(&places::sample("gallery")).await?.address;
    let bulk_folder = dir.path().join("bulk");
    folder::write(&bulk_folder, &bulk())?;
    let bulk = author.commands().publish(&bulk_folder).await?.address;

    let empty_page = StaticServer::start(None, Vec::new()).await?;
    let sender = Browser::start(dir.path(), "sender", BrowserOptions::default()).await?;
    let receiver = Browser::start(dir.path(), "receiver", BrowserOptions::default()).await?;
    for tab in [&sender, &receiver] {
        tab.goto(&empty_page.url()).await?;
    }

    let mut rounds = Vec::new();
    for number in 0..options.runs {
        let start = Instant::now();
        let raw_tab_to_tab_mb_s = raw_channel::measure(&sender, &receiver, BULK_BYTES as u64).await?;
        let round = round(dir.path(), &swarm, number, sample, bulk, raw_tab_to_tab_mb_s).await?;
        let (took_s, rate) = (start.elapsed().as_secs_f64(), round.native_to_tab_mb_s);
        let (of, raw) = (options.runs, raw_tab_to_tab_mb_s);
        eprintln!("round {} of {of}: {took_s:.1} s; native to tab {rate:.2} MB/s, bare {raw:.2}", number + 1);
        rounds.push(round);
    }
    print(options.json, options.runs, &figures(&rounds)?)
}

fn bulk() -> Files {
    folder::made_up("Random bytes", 32, BULK_BYTES)
}

async fn round(
    dir: &Path,
    swarm: &Swarm,
    number: u32,
    sample: Address,
    bulk: Address,
    raw_tab_to_tab_mb_s: f64,
) -> Result<Round> {
    let browser = Browser::start(dir, &format!("reader-{number}"), BrowserOptions::default()).await?;
    let link = swarm.link(&sample, "");
    let app = App::open(&browser, &link).await?;
    let cold = app.until_painted().await?;
    app.until_complete().await?;

    let app = App::open(&browser, &swarm.url()).await?;
    app.until_kept_offline().await?;
    app.call(&Command::Forget { address: sample }).await?;
    let app = App::open(&browser, &link).await?;
    let warm = app.until_painted().await?;
    app.until_complete().await?;

    let app = App::open(&browser, &swarm.url()).await?;
    app.until_joined().await?;
    let native_to_tab_mb_s = fetch_rate(&app, bulk).await?;
    browser.quit().await?;
    Ok(Round { cold, warm, native_to_tab_mb_s, raw_tab_to_tab_mb_s })
}

/// Fetches every chunk of a site through the app's node: MB (10⁶ bytes) a second.
async fn fetch_rate(app: &App<'_>, address: Address) -> Result<f64> {
    app.call(&Command::OpenSite { address }).await?;
    let received = app.status().await?.received_bytes;
    let start_ms = app.page_clock_ms().await?;
    app.call(&Command::FetchAll { address, allow_large: false }).await?;
    let elapsed_ms = app.page_clock_ms().await? - start_ms;
    let received = app.status().await?.received_bytes - received;
    ensure!(received >= BULK_BYTES as u64 / 2, "only {received} bytes came: some were there before");
    Ok(received as f64 / elapsed_ms / 1_000.0)
}

fn figures(rounds: &[Round]) -> Result<Map<String, Value>> {
    let mut figures = Map::new();
    for (prefix, of) in [("", (|round| &round.warm) as fn(&Round) -> &Timings), ("cold_", |round| &round.cold)] {
        for name in MOMENTS {
            let median = median(rounds.iter().filter_map(|round| of(round).at(name)))
                .with_context(|| format!("the app does not tell {name}"))?;
            figures.insert(format!("{prefix}{name}"), json!(rounded(median, 0)));
        }
    }
    for (name, value) in wasm_sizes()? {
        figures.insert(name, value);
    }
    let native = median(rounds.iter().map(|round| round.native_to_tab_mb_s))?;
    let raw = median(rounds.iter().map(|round| round.raw_tab_to_tab_mb_s))?;
    let ratio = median(rounds.iter().map(|round| round.native_to_tab_mb_s / round.raw_tab_to_tab_mb_s))?;
    figures.insert("native_to_tab_mb_s".into(), json!(rounded(native, 2)));
    figures.insert("raw_tab_to_tab_mb_s".into(), json!(rounded(raw, 2)));
    figures.insert("native_to_tab_ratio".into(), json!(rounded(ratio, 3)));
    figures.insert("runs".into(), json!(rounds.len()));
    Ok(figures)
}

/// What the build wrote down about the module, as it is served.
fn wasm_sizes() -> Result<Vec<(String, Value)>> {
    let path = places::dist()?.join("sizes.json");
    let text = std::fs::read(&path).with_context(|| format!("{} is missing", path.display()))?;
    let sizes: Value = serde_json::from_slice(&text)?;
    ["raw", "gzip", "brotli"]
        .into_iter()
        .map(|form| match sizes["wasm"][format!("{form}_bytes")].as_u64() {
            Some(bytes) => Ok((format!("wasm_{form}_bytes"), json!(bytes))),
            None => bail!("{} does not give the {form} size", path.display()),
        })
        .collect()
}
