//! Programs of other projects that tests and checks need, compiled once into `target/tools`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::command::{output, run, say};
use crate::workspace::Workspace;

/// Where a compiled program lies.
pub fn path(workspace: &Workspace, program: &str) -> PathBuf {
    tools(workspace).join("bin").join(format!("{program}{}", std::env::consts::EXE_SUFFIX))
}

fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target.join("tools")
}

/// The path of `program`, which package `package` holds. Compiled when it is missing or of another version.
pub fn installed(workspace: &Workspace, package: &str, version: &str, program: &str) -> Result<PathBuf> {
    let tools = tools(workspace);
    let path = path(workspace, program);
    let found = output(Command::new(&path).arg("--version"));
    if found.is_some_and(|text| text.split_whitespace().any(|word| word == version)) {
        return Ok(path);
    }
    say(&format!("compiling {program} {version} once, into {}", tools.display()));
    let mut install = workspace.cargo();
    // Unoptimised: they run for seconds, and compile in a fraction of the time.
    install.args(["install", package, "--debug", "--locked", "--force", "--version", version, "--bin", program]);
    run(install.arg("--root").arg(&tools).arg("--target-dir").arg(tools.join("build")))?;
    Ok(path)
}
