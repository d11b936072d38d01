//! `ci tidy`: the repository's habits as rules that fail. What clippy can express is a lint in Cargo.toml or clippy.toml;
//! what it cannot is a rule here, and each rule has a test that shows it failing.

mod crates;
mod rust;
mod text;
mod tokens;

use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Workspace;

/// A file under version control, or about to be.
struct File {
    /// Relative to the root, with `/` between the parts.
    path: String,
    /// None for files that are not text.
    text: Option<String>,
}

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
struct Violation {
    path: String,
    line: usize,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks every rule.
///
/// # Errors
/// Names each place where one is broken.
pub fn run(workspace: &Workspace) -> Result<()> {
    let files = files(workspace)?;
    let mut violations = text::check(&files);
    violations.extend(rust::check(&files)?);
    violations.extend(crates::check(workspace.metadata())?);
    for violation in &violations {
        eprintln!("{violation}");
    }
    if !violations.is_empty() {
        bail!("{} places to tidy", violations.len());
    }
    println!("tidy: {} files", files.len());
    Ok(())
}

fn files(workspace: &Workspace) -> Result<Vec<File>> {
    let output = std::process::Command::new("git")
        .current_dir(&workspace.root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot start git")?;
    ensure!(output.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&output.stderr));
    let mut files = Vec::new();
    for path in String::from_utf8(output.stdout).context("a file name is not UTF-8")?.split_terminator('\0') {
        let full = workspace.root.join(path);
        // A file that was deleted and not yet committed is listed too.
        if !full.is_file() {
            continue;
        }
        let bytes = fs::read(&full).with_context(|| format!("cannot read {path}"))?;
        let text = if bytes.contains(&0) { None } else { String::from_utf8(bytes).ok() };
        files.push(File { path: path.to_owned(), text });
    }
    Ok(files)
}
