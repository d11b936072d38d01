//! Benches in real browsers against real processes. They print figures; judging them is the reader's part.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test program ends where it finds a fault"
)]

mod budget;
mod figures;
mod join;
mod transport;

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
    /// How many peer connections a tab begins that looks sites up and browses
    Budget(budget::Options),
    /// The transport alone, beside bare data channels and js-libp2p
    Transport(transport::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    match Arguments::parse().bench {
        Bench::Join(options) => join::run(&options).await,
        Bench::Budget(options) => budget::run(&options).await,
        Bench::Transport(options) => transport::run(&options).await,
    }
}
