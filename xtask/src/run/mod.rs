//! `run`.
use crate::workspace::Workspace;
use anyhow::Result;
#[derive(clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 8080)]
    port: u16,
}
pub fn run(_w: &Workspace, _o: &Options) -> Result<()> {
    anyhow::bail!("not yet")
}
