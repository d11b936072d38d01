//! Benches in real browsers against real processes. They print figures; judging them is the reader's part.

mod join;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Benches of MegaNet.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From opening the page to reading a site, and how fast bytes come
    Join(join::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Arguments::parse().bench {
        Bench::Join(options) => join::run(&options).await,
    }
}
