//! `ci deny`: cargo-deny over the whole dependency tree.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::command::{run, say, shown};
use crate::tools;
use crate::workspace::Workspace;

/// The version that deny.toml is written for.
const VERSION: &str = "0.20.2";
/// The advisory database is some megabytes; a machine that cannot reach it must not wait for ever.
const FETCH_WITHIN: Duration = Duration::from_secs(60);

/// Checks licences, bans and sources, and advisories when their database can be had. Returns what was not checked.
///
/// # Errors
/// On any finding.
pub fn check(workspace: &Workspace) -> Result<Option<String>> {
    let deny = tools::installed(workspace, "cargo-deny", VERSION, "cargo-deny")?;
    let command = || {
        let mut command = Command::new(&deny);
        command.current_dir(&workspace.root).args(["--log-level", "warn"]);
        command
    };
    run(command().args(["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]))?;
    if fetched(command().args(["fetch", "db"]))? {
        run(command().args(["--offline", "check", "advisories"]))?;
        return Ok(None);
    }
    let warning = "advisories NOT CHECKED: database unreachable (github.com/rustsec/advisory-db)".to_owned();
    say(&format!("WARNING: {warning}"));
    Ok(Some(warning))
}

/// True when `fetch` ended well in time. Its own words are shown: they say why a host could not be reached.
fn fetched(fetch: &mut Command) -> Result<bool> {
    let shown = shown(fetch);
    say(&shown);
    let mut child = fetch.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start: {shown}"))?;
    let deadline = Instant::now() + FETCH_WITHIN;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.success());
        }
        if Instant::now() >= deadline {
            // Fails only when it has just ended.
            let _ = child.kill();
            child.wait()?;
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fetch_that_ends_well_counts() {
        assert!(fetched(&mut Command::new("true")).expect("started"));
        assert!(!fetched(&mut Command::new("false")).expect("started"));
        assert!(fetched(&mut Command::new("there-is-no-such-program")).is_err());
    }
}
