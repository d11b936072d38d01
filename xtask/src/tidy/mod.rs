//! tidy
use crate::workspace::Workspace;
use anyhow::Result;
pub fn run(_w: &Workspace) -> Result<()> {
    Ok(())
}
