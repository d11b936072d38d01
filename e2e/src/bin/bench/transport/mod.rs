//! `bench transport`: our transport beside bare data channels and js-libp2p, between two tabs and between a tab and a native
//! peer. Competitors take turns in every round: the machine's own speed changes, and the ratio of neighbours does not.
//!
//! | file | measures |
//! |---|---|
//! | `contest` | who moves what, and under what name it is reported |
//! | `stage` | browsers, pages, the relay and native peers that all of them use |
//! | `bare` | bare data channels |
//! | `peers` | our transport and js-libp2p |
//! | `dials` | how many of many dials fail, of each kind, and how long they take |
//! | `memory` | what an idle connection costs a native peer |

mod bare;
mod contest;
mod dials;
mod memory;
mod peers;
mod stage;

use crate::figures::{median, print, rounded};
use anyhow::{Context, Result};
use contest::{Contest, Way, Who};
use meganet_e2e::browser;
use serde_json::{Map, Value, json};
use stage::Stage;
use std::collections::BTreeMap;

/// What to measure, and how to print it.
#[derive(clap::Args)]
pub struct Options {
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Rounds; each figure is the median of them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// Dials of each kind, in each browser
    #[arg(long, default_value_t = 200)]
    dials: u32,
    /// Idle connections of a native peer
    #[arg(long, default_value_t = 500)]
    connections: u32,
    /// Only figures whose names begin like this; may be given several times
    #[arg(long)]
    only: Vec<String>,
    /// Not these
    #[arg(long)]
    without: Vec<String>,
}

impl Options {
    fn wants(&self, name: &str) -> bool {
        let begins = |start: &String| name.starts_with(start.as_str());
        (self.only.is_empty() || self.only.iter().any(begins)) && !self.without.iter().any(begins)
    }
}

/// Moved before the time is taken, whoever moves it: a page's program has just been loaded and is compiled better once it has run a
/// while, and a congestion window is somewhere else in its slow start than after it.
const WARM_BYTES: u64 = 4 * 1024 * 1024;

/// What one transfer showed.
#[derive(Debug, Default)]
pub struct Sample {
    mb_s: f64,
    connect_ms: f64,
    /// Of a page that has just been loaded: its program is compiled as it runs.
    first_connect_ms: Option<f64>,
    /// The most that the sender had buffered.
    buffered: Option<u64>,
}

/// Figures by name, one of each round.
#[derive(Default)]
struct Samples {
    each: BTreeMap<String, Vec<f64>>,
    /// Where the bare channel was measured last, in this round, and its rate.
    bare: Option<(Way, &'static str, f64)>,
    most: BTreeMap<String, u64>,
    failures: u32,
}

impl Samples {
    fn add(&mut self, name: &str, contest: &Contest, sample: &Sample) {
        self.each.entry(name.to_owned()).or_default().push(sample.mb_s);
        let Contest { who, way, suffix, .. } = *contest;
        match self.bare {
            _ if who == Who::Bare => self.bare = Some((way, suffix, sample.mb_s)),
            // Neighbours in one round: between rounds the machine's own speed changes.
            Some((of_way, of_suffix, bare)) if who == Who::Ours && (of_way, of_suffix) == (way, suffix) => {
                self.each.entry(format!("ratio_{name}")).or_default().push(sample.mb_s / bare);
            }
            _ => {}
        }
        if contest.is_plain() {
            self.each.entry(format!("connect_ms_{name}")).or_default().push(sample.connect_ms);
            if let Some(ms) = sample.first_connect_ms {
                self.each.entry(format!("first_connect_ms_{name}")).or_default().push(ms);
            }
        }
        if let Some(bytes) = sample.buffered {
            let who = if contest.who == Who::Js { "js" } else { "ours" };
            let most = self.most.entry(format!("max_buffered_{who}")).or_default();
            *most = bytes.max(*most);
        }
    }
}

/// Measures and prints.
pub async fn run(options: &Options) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("meganet-bench-").tempdir()?;
    let mut figures = Map::new();
    let mut samples = Samples::default();
    for (kind, prefix) in [(browser::Kind::Chromium, ""), (browser::Kind::Firefox, "firefox_")] {
        let contests: Vec<_> = Contest::all()
            .into_iter()
            .map(|contest| (format!("{prefix}{}", contest.name()), contest))
            .filter(|(name, _)| options.wants(name))
            .collect();
        if !contests.is_empty() {
            let stage = Stage::start(dir.path(), kind).await?;
            for round in 0..options.runs {
                rounds(&stage, &contests, round, &mut samples).await;
            }
        }
        figures.extend(dials::measure(dir.path(), kind, prefix, options).await?);
        if kind == browser::Kind::Chromium && options.wants(memory::FIELD) {
            figures.insert(memory::FIELD.into(), json!(memory::measure(dir.path(), options.connections).await?));
        }
    }
    for (name, values) in samples.each {
        figures.insert(name, json!(rounded(median(values.into_iter())?, 2)));
    }
    figures.extend(samples.most.into_iter().map(|(name, bytes)| (name, Value::from(bytes))));
    figures.insert("transfer_failures".into(), json!(samples.failures));
    figures.insert("runs".into(), json!(options.runs));
    print(options.json, options.runs, &figures)
}

/// Lets everybody run once. One that fails is told and counted: the others' figures are still worth having.
async fn rounds(stage: &Stage, contests: &[(String, Contest)], round: u32, samples: &mut Samples) {
    samples.bare = None;
    for (name, contest) in contests {
        let sample = match contest.who {
            Who::Bare => bare::transfer(stage, contest).await,
            Who::Ours | Who::Js => peers::transfer(stage, contest).await,
        };
        match sample.with_context(|| name.clone()) {
            Ok(sample) => {
                let buffered = sample.buffered.map(|bytes| format!(", {} KiB buffered", bytes / 1024));
                let (mb_s, ms) = (sample.mb_s, sample.connect_ms);
                eprintln!("{round} {name:>32} {mb_s:6.2} MB/s, open in {ms:4.0} ms{}", buffered.unwrap_or_default());
                samples.add(name, contest, &sample);
            }
            Err(error) => {
                samples.failures += 1;
                eprintln!("{round} {error:#}");
            }
        }
    }
}
