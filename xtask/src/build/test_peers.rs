//! What tests and benches of the transport load into pages: the bare peer on our transport, and one of js-libp2p.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::wasm;
use crate::command::{run, say};
use crate::workspace::Workspace;

/// Fills `target/test-peer` and `e2e/js-peer/dist`.
pub fn build(workspace: &Workspace) -> Result<()> {
    let to = workspace.target.join("test-peer");
    for (name, content) in wasm::bind("peer", wasm::module(workspace, "meganet_test_peer")?)? {
        let path = to.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&to))?;
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    js(workspace)
}

/// Installs exactly what the lock file names, and bundles it; does nothing when no input changed.
fn js(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root.join("e2e/js-peer");
    let mut hasher = blake3::Hasher::new();
    for name in ["package-lock.json", "package.json", ".npmrc", "tab.js", "peer.js", "protocols.js"] {
        let content = fs::read(folder.join(name)).with_context(|| format!("cannot read e2e/js-peer/{name}"))?;
        hasher.update(&(content.len() as u64).to_le_bytes()).update(&content);
    }
    let fingerprint = hasher.finalize().to_hex().to_string();
    let stamp = folder.join("dist/stamp");
    if fs::read_to_string(&stamp).is_ok_and(|seen| seen == fingerprint) {
        return Ok(());
    }
    say("js-libp2p, the other end of the interoperability tests");
    run(Command::new("npm").args(["ci", "--silent"]).current_dir(&folder))?;
    run(Command::new("npm").args(["run", "--silent", "bundle"]).current_dir(&folder))?;
    Ok(fs::write(&stamp, fingerprint)?)
}
