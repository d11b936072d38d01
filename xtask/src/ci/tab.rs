//! `ci tab-test`: tests that need a browser's own interfaces, such as IndexedDB, run inside Chromium.

use std::fs;

use anyhow::{Context, Result};

use super::suites;
use crate::command::find;
use crate::setup::WASM_TARGET;
use crate::tools;
use crate::workspace::Workspace;

/// Runs the tab crates' tests for wasm32; the profile is the bundle's, whose dependencies are compiled already.
pub fn test(workspace: &Workspace, results: &mut Vec<String>) -> Result<()> {
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let version = locked_version(&lock, "wasm-bindgen").context("Cargo.lock has no wasm-bindgen")?;
    let runner = tools::installed(workspace, "wasm-bindgen-cli", version, "wasm-bindgen-test-runner")?;
    let mut test = workspace.cargo();
    test.args(["test", "-p", "meganet-web-node", "--target", WASM_TARGET, "--profile", "wasm", "--test", "*"]);
    test.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", runner).env_remove("RUSTFLAGS");
    if let Some(driver) = find("chromedriver") {
        test.env("CHROMEDRIVER", driver);
    }
    suites::run(&mut test, results)
}

/// The version of a package in a lock file.
fn locked_version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    lines.next()?.strip_prefix("version = \"")?.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locked_version_is_the_packages_own() {
        let lock = "[[package]]\nname = \"wasm-bindgen-macro\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"wasm-bindgen\"\nversion = \"0.2.108\"\nsource = \"x\"\n";
        assert_eq!(locked_version(lock, "wasm-bindgen"), Some("0.2.108"));
        assert_eq!(locked_version(lock, "other"), None);
    }
}
