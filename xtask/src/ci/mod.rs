//! `ci` and `test`: the checks a change passes before it lands, each by its own name, with the time each took.

mod deny;
mod suites;
mod tab;

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use crate::command::{run as run_command, say};
use crate::setup::{self, WASM_TARGET};
use crate::workspace::{BROWSER_CRATES, NATIVE, Workspace};
use crate::{build, tidy};

/// One check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Step {
    /// rustfmt changes nothing
    Fmt,
    /// The repository's own rules: see xtask/src/tidy
    Tidy,
    /// Lints of everything native, tests included
    Clippy,
    /// Lints of everything that runs in a tab, for wasm32
    ClippyWasm,
    /// The documentation builds without a warning
    Doc,
    /// Licences, duplicates, sources and known vulnerabilities of the dependencies
    Deny,
    /// The native programs and the web bundle
    Build,
    /// Unit and integration tests
    Test,
    /// Tests of the tab's own storage, inside Chromium
    TabTest,
    /// Real browsers against real processes
    E2e,
}

/// These pages are for people who change the code: private items are documented too, and may be linked to.
const RUSTDOCFLAGS: &str = "-D warnings -A rustdoc::private_intra_doc_links";

/// What is linted for the tab.
const WASM_CRATES: [&str; 5] = ["meganet-core", "meganet-transport", "meganet-node", "meganet-web-node", "meganet-app"];

/// What is built without the rest of the workspace: by `run`, and by who uses the transport elsewhere.
const ALONE: [&[&str]; 2] = [&["meganet-native-peer", "meganet-bootstrap"], &["meganet-transport"]];

/// The package this program is: see [`NATIVE`].
const XTASK: [&str; 2] = ["-p", "xtask"];

/// The test program with the real browsers, in meganet-e2e.
const E2E_SUITE: &str = "e2e";

/// What the steps leave for the end of the output.
#[derive(Default)]
struct Report {
    times: Vec<(Step, Duration)>,
    /// Things a green run must not hide.
    warnings: Vec<String>,
    /// The test runner's closing lines, as it wrote them.
    test_results: Vec<String>,
}

/// Runs `steps`, or all of them when none is named, and stops at the first that fails.
pub fn run(workspace: &Workspace, steps: &[Step]) -> Result<()> {
    let steps = if steps.is_empty() { Step::value_variants() } else { steps };
    let mut report = Report::default();
    for step in steps {
        say(&format!("── {} ──", name(*step)));
        let start = Instant::now();
        let result = step.run(workspace, &mut report);
        report.times.push((*step, start.elapsed()));
        if result.is_err() {
            eprintln!("{}", report.text());
        }
        result.with_context(|| format!("step {0} failed; alone: cargo xtask ci {0}", name(*step)))?;
    }
    println!("{}", report.text());
    Ok(())
}

impl Step {
    fn run(self, workspace: &Workspace, report: &mut Report) -> Result<()> {
        match self {
            Self::Fmt => run_command(workspace.cargo().args(["fmt", "--all", "--check"])),
            Self::Tidy => tidy::run(workspace),
            Self::Clippy => {
                for packages in [&NATIVE[..], &XTASK] {
                    let mut clippy = workspace.cargo();
                    clippy.arg("clippy").args(packages).args(["--all-targets", "--", "-D", "warnings"]);
                    run_command(&mut clippy)?;
                }
                // A feature that only another crate of the workspace asks for is missing where that is not built.
                for alone in ALONE {
                    run_command(workspace.cargo().arg("check").args(alone.iter().flat_map(|name| ["-p", *name])))?;
                }
                Ok(())
            }
            Self::ClippyWasm => {
                let mut clippy = workspace.cargo();
                clippy.args(["clippy", "--target", WASM_TARGET]).env_remove("RUSTFLAGS");
                clippy.args(WASM_CRATES.iter().flat_map(|name| ["-p", name]));
                run_command(clippy.args(["--", "-D", "warnings"]))
            }
            Self::Doc => {
                let mut doc = workspace.cargo();
                doc.args(["doc", "--no-deps", "--document-private-items"])
                    .args(NATIVE)
                    .env("RUSTDOCFLAGS", RUSTDOCFLAGS);
                // The crates of the tab are documented as what they are in a tab, and the transport as both.
                run_command(doc.args(BROWSER_CRATES.iter().flat_map(|name| ["--exclude", name])))?;
                let mut doc = workspace.cargo();
                doc.args(["doc", "--no-deps", "--document-private-items", "--target", WASM_TARGET])
                    .env("RUSTDOCFLAGS", RUSTDOCFLAGS);
                let in_a_tab = BROWSER_CRATES.iter().chain(&["meganet-transport"]);
                doc.args(in_a_tab.flat_map(|name| ["-p", name])).env_remove("RUSTFLAGS");
                run_command(&mut doc)
            }
            Self::Deny => {
                report.warnings.extend(deny::check(workspace)?);
                Ok(())
            }
            Self::Build => build::for_checks(workspace),
            Self::Test => {
                let results = &mut report.test_results;
                suites::run(workspace.cargo().arg("test").args(XTASK), results)?;
                // A suite of the transport starts its examples, and a test run that names its suites builds none.
                run_command(workspace.cargo().arg("build").args(NATIVE).arg("--examples"))?;
                // The programs in documents.
                suites::run(workspace.cargo().arg("test").args(NATIVE).arg("--doc"), results)?;
                let mut test = workspace.cargo();
                test.args(["test", "--no-fail-fast"]).args(NATIVE).args(["--lib", "--bins"]);
                let suites = integration_suites(workspace.metadata());
                test.args(suites.iter().flat_map(|name| ["--test", name]));
                suites::run(&mut test, results)
            }
            Self::TabTest => tab::test(workspace, &mut report.test_results),
            Self::E2e => {
                let mut test = workspace.cargo();
                test.args(["test", "--no-fail-fast"]).args(NATIVE).args(["--test", E2E_SUITE]);
                suites::run(setup::with_browsers(workspace, &mut test), &mut report.test_results)
            }
        }
    }
}

/// The names of all integration test programs but the end-to-end one, which is a step of its own.
fn integration_suites(metadata: &Value) -> Vec<&str> {
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let targets = packages.filter_map(|package| package["targets"].as_array()).flatten();
    let mut names: Vec<_> = targets
        .filter(|target| target["kind"][0] == "test")
        .filter_map(|target| target["name"].as_str())
        .filter(|name| *name != E2E_SUITE)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn name(step: Step) -> String {
    step.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::from("\n");
        let mut total = Duration::ZERO;
        for (step, time) in &self.times {
            total += *time;
            line(&mut text, &name(*step), *time);
        }
        line(&mut text, "total", total);
        for warning in &self.warnings {
            text.push_str(&format!("\nWARNING: {warning}\n"));
        }
        if !self.test_results.is_empty() {
            text.push_str("\nWhat cargo test said:\n");
        }
        for result in &self.test_results {
            text.push_str(result);
            text.push('\n');
        }
        text
    }
}

fn line(text: &mut String, name: &str, time: Duration) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{name:12} {:>7.1} s", time.as_secs_f64());
}

/// Whether people are watching: colours are kept then.
fn has_terminal() -> bool {
    io::IsTerminal::is_terminal(&io::stdout())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_integration_suite_but_the_browsers_one_is_a_test() {
        let target = |kind: &str, name: &str| serde_json::json!({ "kind": [kind], "name": name });
        let metadata = serde_json::json!({ "packages": [
            { "targets": [target("lib", "a"), target("test", "it")] },
            { "targets": [target("test", "swarm"), target("test", "it"), target("test", "e2e")] },
        ] });
        assert_eq!(integration_suites(&metadata), ["it", "swarm"]);
    }

    #[test]
    fn the_report_ends_with_the_test_runners_own_lines() {
        let report = Report {
            times: vec![(Step::Fmt, Duration::from_millis(1_240)), (Step::ClippyWasm, Duration::from_secs(60))],
            warnings: vec!["advisories NOT CHECKED".to_owned()],
            test_results: vec!["test result: ok. 3 passed".to_owned()],
        };
        let text = report.text();
        assert!(text.contains("fmt              1.2 s\nclippy-wasm     60.0 s\ntotal           61.2 s\n"), "{text}");
        assert!(text.contains("WARNING: advisories NOT CHECKED"), "{text}");
        assert!(text.ends_with("test result: ok. 3 passed\n"), "{text}");
    }
}
