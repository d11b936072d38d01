//! `ci`.
use crate::workspace::Workspace;
use anyhow::Result;
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Step {
    Fmt,
}
pub fn run(_w: &Workspace, _o: &[Step]) -> Result<()> {
    anyhow::bail!("not yet")
}
