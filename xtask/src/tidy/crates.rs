//! Rules about the workspace's crates: who may depend on whom, and that all share one set of lints.

use std::fs;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Violation;

/// What each crate may depend on: dependencies point downward only.
struct Layer {
    name: &'static str,
    /// Crates of this workspace that it may use.
    may_use: &'static [&'static str],
    /// Crates of others that it must not use.
    must_not_use: &'static [&'static str],
}

const NETWORK: [&str; 4] = ["libp2p", "libp2p-stream", "str0m", "meganet-transport"];

const LAYERS: [Layer; 11] = [
    Layer {
        name: "meganet-core",
        may_use: &[],
        must_not_use: &["libp2p", "tokio", "futures", "web-sys", "js-sys", "wasm-bindgen", "getrandom", "rand"],
    },
    // Of use to others as it is: nothing of MegaNet is in it.
    Layer { name: "meganet-transport", may_use: &[], must_not_use: &[] },
    Layer { name: "meganet-node", may_use: &["meganet-transport", "meganet-core"], must_not_use: &["web-sys"] },
    Layer { name: "meganet-web-node", may_use: &["meganet-node", "meganet-core"], must_not_use: &["str0m", "yew"] },
    // The interface talks to the node through commands and events, never in libp2p's types.
    Layer {
        name: "meganet-app",
        may_use: &["meganet-web-node", "meganet-node", "meganet-core"],
        must_not_use: &NETWORK,
    },
    Layer {
        name: "meganet-native-peer",
        may_use: &["meganet-node", "meganet-transport", "meganet-core", "meganet-host"],
        must_not_use: &[],
    },
    Layer {
        name: "meganet-bootstrap",
        may_use: &["meganet-node", "meganet-transport", "meganet-core", "meganet-host"],
        must_not_use: &[],
    },
    Layer {
        name: "meganet-e2e",
        may_use: &["meganet-node", "meganet-transport", "meganet-core"],
        must_not_use: &["meganet-native-peer", "meganet-bootstrap"],
    },
    Layer { name: "meganet-test-peer", may_use: &["meganet-transport"], must_not_use: &[] },
    Layer { name: "meganet-host", may_use: &[], must_not_use: &[] },
    Layer { name: "xtask", may_use: &[], must_not_use: &[] },
];

/// Checks `cargo metadata --no-deps`.
pub fn check(metadata: &Value) -> Result<Vec<Violation>> {
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut violations = Vec::new();
    for package in packages {
        let manifest = package["manifest_path"].as_str().context("a package without a manifest")?;
        let text = fs::read_to_string(manifest).with_context(|| format!("cannot read {manifest}"))?;
        for message in check_package(package, &text)? {
            violations.push(Violation { path: manifest.to_owned(), line: 1, message });
        }
    }
    Ok(violations)
}

fn check_package(package: &Value, manifest: &str) -> Result<Vec<String>> {
    let name = package["name"].as_str().context("a package without a name")?;
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) else {
        return Ok(vec![format!("{name} has no place in the layers: give it one in xtask/src/tidy/crates.rs")]);
    };
    let mut messages = Vec::new();
    for dependency in package["dependencies"].as_array().context("a package without a dependency list")? {
        let used = dependency["name"].as_str().context("a dependency without a name")?;
        // Tests may look at a layer from above, but never at the network in the core.
        let is_ours = LAYERS.iter().any(|layer| layer.name == used);
        if (is_ours && used != name && !layer.may_use.contains(&used)) || layer.must_not_use.contains(&used) {
            messages.push(format!("{name} must not depend on {used}"));
        }
    }
    let mut lines = manifest.lines().skip_while(|line| line.trim() != "[lints]").skip(1);
    if lines.next().map(str::trim) != Some("workspace = true") {
        messages.push(format!("{name} does not share the workspace's lints ([lints] workspace = true)"));
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LINTS: &str = "[package]\n\n[lints]\nworkspace = true\n";

    fn messages(name: &str, dependency: &str, manifest: &str) -> Vec<String> {
        let package = json!({ "name": name, "dependencies": [{ "name": dependency, "kind": null }] });
        check_package(&package, manifest).expect("readable")
    }

    #[test]
    fn a_dependency_that_points_upward_is_found() {
        assert_eq!(messages("meganet-core", "meganet-node", LINTS).len(), 1);
        assert_eq!(messages("meganet-node", "meganet-web-node", LINTS).len(), 1);
        assert_eq!(messages("meganet-bootstrap", "meganet-native-peer", LINTS).len(), 1);
        assert!(messages("meganet-web-node", "meganet-node", LINTS).is_empty());
    }

    #[test]
    fn a_core_or_interface_that_knows_the_network_is_found() {
        assert_eq!(messages("meganet-core", "tokio", LINTS).len(), 1);
        for dependency in NETWORK {
            assert_eq!(messages("meganet-app", dependency, LINTS).len(), 1, "{dependency}");
        }
        assert!(messages("meganet-node", "libp2p", LINTS).is_empty());
    }

    #[test]
    fn a_crate_without_a_layer_or_lints_is_found() {
        assert_eq!(messages("meganet-new", "serde", LINTS).len(), 1);
        assert_eq!(messages("meganet-core", "serde", "[package]\n").len(), 1);
        assert_eq!(messages("meganet-core", "serde", "[lints]\n\n[package]\nworkspace = true\n").len(), 1);
        assert!(messages("meganet-core", "serde", LINTS).is_empty());
    }
}
