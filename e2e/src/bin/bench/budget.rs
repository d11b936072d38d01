//! `bench budget`: how many peer connections a tab begins. Chrome gives it 500 for its lifetime.

use anyhow::Result;
use meganet_e2e::budget::{self, Plan};
use std::time::Duration;

/// What to run, and how to print it.
#[derive(clap::Args)]
pub struct Options {
    /// Print one line of JSON instead of a table
    #[arg(long)]
    json: bool,
    /// How long the tab browses
    #[arg(long, default_value_t = 30)]
    minutes: u32,
    /// Addresses that are looked up before
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=1_000))]
    lookups: u32,
    /// A peer leaves, and the one before it comes back, this often: seconds
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..))]
    leaving_every_s: u32,
    /// Native peers
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    natives: u32,
    /// Other tabs
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    tabs: u32,
}

/// Runs it once and prints.
pub async fn run(options: &Options) -> Result<()> {
    let dir = tempfile::Builder::new().prefix("meganet-budget-").tempdir()?;
    let plan = Plan {
        natives: options.natives as usize,
        tabs: options.tabs as usize,
        lookups: options.lookups as usize,
        browsing: Duration::from_secs(60 * u64::from(options.minutes)),
        pause_max: Duration::from_secs(20),
        leaving_every: Duration::from_secs(options.leaving_every_s.into()),
    };
    let figures = budget::run(dir.path(), plan).await?;
    let serde_json::Value::Object(figures) = serde_json::to_value(&figures)? else { anyhow::bail!("no object") };
    crate::figures::print(options.json, 1, &figures)
}
