//! `cargo xtask`: every repeated task of this repository as one program, so that nobody needs a shell script.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a developer's tool may end at a fault in its own input"
)]

mod bench;
mod build;
mod ci;
mod command;
mod run;
mod setup;
mod tidy;
mod tools;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Builds, runs, checks and measures MegaNet",
    after_help = "Examples:
  cargo xtask run             build everything, start a small swarm, print the link to open
  cargo xtask run --port 9000 the same, with the page on another port
  cargo xtask test            everything that is checked before a change lands
  cargo xtask ci clippy       one step of it (see `cargo xtask ci --help`)
  cargo xtask bench join      measure how fast a tab joins, with real browsers"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what is missing on this machine: the wasm target and clang
    Setup {
        /// Also what the tests need: Chromium, Firefox, their drivers, rustfmt, clippy
        #[arg(long)]
        tests: bool,
    },
    /// Build the native programs and the web bundle (dist/)
    Build,
    /// Build, start a bootstrap and a native peer, publish the sample sites, print the link to open
    Run(run::Options),
    /// Run all checks, or the named ones in the order given
    #[command(after_help = "Examples:
  cargo xtask ci              all steps
  cargo xtask ci fmt clippy   two of them")]
    Ci {
        /// Steps to run; all when none is named
        #[arg(value_enum)]
        steps: Vec<ci::Step>,
    },
    /// Set up this machine for tests, then run all checks: what `.ci/run` calls
    Test,
    /// Run a bench of the e2e crate with real browsers and processes
    #[command(after_help = "Examples:
  cargo xtask bench           list the benches
  cargo xtask bench join --json")]
    Bench(bench::Options),
}

fn main() -> ExitCode {
    match perform(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: Arguments) -> Result<()> {
    let workspace = Workspace::find()?;
    match arguments.task {
        Task::Setup { tests: false } => setup::ensure(&workspace, setup::For::Building),
        Task::Setup { tests: true } => setup::ensure(&workspace, setup::For::Testing),
        Task::Build => {
            setup::ensure(&workspace, setup::For::Building)?;
            build::all(&workspace)
        }
        Task::Run(options) => run::run(&workspace, &options),
        Task::Ci { steps } => ci::run(&workspace, &steps),
        Task::Test => {
            setup::ensure(&workspace, setup::For::Testing)?;
            ci::run(&workspace, &[])
        }
        Task::Bench(options) => bench::run(&workspace, &options),
    }
}
