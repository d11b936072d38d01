//! `bench`: builds everything, then hands over to the e2e crate's bench program.

use std::process::Command;

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{build, command, setup};

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// The bench and its own arguments, handed on as they are; lists the benches when empty
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs one bench in real browsers against real processes.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    setup::ensure(workspace, setup::For::Testing)?;
    build::for_checks(workspace)?;
    let mut bench = Command::new(workspace.program("bench"));
    command::run(setup::with_browsers(workspace, bench.current_dir(&workspace.root).args(&options.arguments)))
}
