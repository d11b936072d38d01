//! Where binaries, the built app, samples and results are.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// The workspace's root.
pub fn workspace() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().unwrap_or(crate_dir).to_path_buf()
}

/// The folder of a sample site of this repository.
pub fn sample(name: &str) -> PathBuf {
    workspace().join("samples").join(name)
}

/// What `cargo xtask build` made: the app in `app`, a site's frame in `site`. Fails, with what to do, when it is missing.
pub fn dist() -> Result<PathBuf> {
    let dir = workspace().join("dist");
    ensure!(
        dir.join("app/index.html").is_file(),
        "{} holds no built app: run `cargo xtask build` first",
        dir.display()
    );
    Ok(dir)
}

/// A binary of this workspace, built with the profile of the running executable.
pub fn binary(name: &str) -> Result<PathBuf> {
    let path = profile_dir()?.join(name);
    ensure!(path.is_file(), "{} is missing: run `cargo xtask build` first", path.display());
    Ok(path)
}

/// A program of another project that `cargo xtask setup --tests` compiles.
pub fn tool(name: &str) -> Result<PathBuf> {
    Ok(target_dir()?.join("tools/bin").join(name))
}

/// Where results that people look at go: `target/NAME`.
pub fn results(name: &str) -> Result<PathBuf> {
    let dir = target_dir()?.join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// `target`.
fn target_dir() -> Result<PathBuf> {
    let profile = profile_dir()?;
    Ok(profile.parent().unwrap_or(&profile).to_path_buf())
}

/// `target/PROFILE`, where the running executable lies (tests lie one level deeper, in `deps`).
fn profile_dir() -> Result<PathBuf> {
    let executable = std::env::current_exe().context("the path of the running executable is unknown")?;
    let mut dir = executable.parent().context("the running executable lies nowhere")?;
    if dir.ends_with("deps") {
        dir = dir.parent().unwrap_or(dir);
    }
    Ok(dir.to_path_buf())
}
