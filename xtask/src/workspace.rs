//! Where the repository and its build outputs are, and how cargo is called from inside a cargo-run program.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The crates of the tab. Their default feature is the browser; without it their decisions are tested natively.
pub const BROWSER_CRATES: [&str; 2] = ["meganet-app", "meganet-web-node"];

/// Selects the packages of every native check. Cargo unites the features of what is selected together: with one selection
/// for linting, building and testing, nothing is compiled twice. xtask keeps the features it was built with.
pub const NATIVE: [&str; 4] = ["--workspace", "--exclude", "xtask", "--no-default-features"];

/// Paths of this workspace.
pub struct Workspace {
    /// The repository's root.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
    metadata: Value,
}

impl Workspace {
    /// Asks `cargo metadata`, so that `CARGO_TARGET_DIR` and configuration files count.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies directly in the repository's root")?
            .to_path_buf();
        let output = cargo(&root)
            .args(["metadata", "--format-version=1", "--no-deps"])
            .output()
            .context("cannot run cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata printed no JSON")?;
        let target = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?.into();
        Ok(Self { root, target, metadata })
    }

    /// A cargo command in the repository's root.
    pub fn cargo(&self) -> Command {
        cargo(&self.root)
    }

    /// `cargo metadata --no-deps` as JSON.
    pub fn metadata(&self) -> &Value {
        &self.metadata
    }

    /// The folder of the web bundle: `dist/app` is the app's origin, `dist/site` what a site's origin needs.
    pub fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// A native program of the dev profile.
    pub fn program(&self, name: &str) -> PathBuf {
        self.target.join("debug").join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }
}

/// `cargo run` tells xtask about its own package through environment variables. Handed on, they make build scripts that
/// watch them (ring's does) run again whenever the caller changes between `cargo` and `cargo xtask`.
fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    for (name, _) in env::vars_os() {
        let is_own = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_PRIMARY_PACKAGE"
        });
        if is_own {
            command.env_remove(name);
        }
    }
    command
}
