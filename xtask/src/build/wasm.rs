//! Rust code for tabs as a WebAssembly module and the JavaScript that loads it.

use std::fs;

use anyhow::{Context, Result, anyhow};
use wasm_bindgen_cli_support::Bindgen;

use super::Files;
use crate::command::{run, say};
use crate::setup::WASM_TARGET;
use crate::workspace::Workspace;

/// The cargo profile of the bundle: small first.
const PROFILE: &str = "wasm";
/// wasm-bindgen's name for what it makes of the module `app`.
pub const GENERATED_WASM: &str = "app_bg.wasm";
/// The JavaScript module that loads it.
pub const GENERATED_JS: &str = "app.js";

/// Compiles the app, and with it what only checks need: a call for each alone would compile their dependencies twice.
pub fn compile(workspace: &Workspace, for_checks: bool) -> Result<()> {
    let mut build = workspace.cargo();
    build.args(["build", "-p", "meganet-app", "--target", WASM_TARGET, "--profile", PROFILE]);
    if for_checks {
        build.args(["-p", "meganet-test-peer"]);
    }
    // RUSTFLAGS would replace the flags that .cargo/config.toml sets for this target.
    build.env_remove("RUSTFLAGS");
    run(&mut build)
}

/// A module as the linker wrote it.
pub fn module(workspace: &Workspace, name: &str) -> Result<Vec<u8>> {
    let path = workspace.target.join(WASM_TARGET).join(PROFILE).join(format!("{name}.wasm"));
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// wasm-bindgen as a library: its version is the one Cargo.lock gives the app, so the two always fit. Makes `NAME.js` and
/// `NAME_bg.wasm`.
pub fn bind(name: &str, compiled: Vec<u8>) -> Result<Files> {
    say("wasm-bindgen");
    let failed = |error| anyhow!("wasm-bindgen: {error:#}");
    let mut output = Bindgen::new()
        .input_bytes(name, compiled)
        .web(true)
        .map_err(failed)?
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .omit_default_module_path(false)
        .generate_output()
        .map_err(failed)?;
    let mut files = Files::new();
    files.insert(format!("{name}.js"), output.js().as_bytes().to_vec());
    for (folder, sources) in output.snippets() {
        for (index, source) in sources.iter().enumerate() {
            files.insert(format!("snippets/{folder}/inline{index}.js"), source.as_bytes().to_vec());
        }
    }
    for (path, source) in output.local_modules() {
        files.insert(format!("snippets/{path}"), source.as_bytes().to_vec());
    }
    files.insert(format!("{name}_bg.wasm"), output.wasm_mut().emit_wasm());
    Ok(files)
}
