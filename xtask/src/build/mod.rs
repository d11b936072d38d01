//! `build`: the native programs with one cargo call, and the web bundle in `dist/`.

mod bundle;
mod compress;
mod test_peers;
mod wasm;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;

use crate::command::{run, say};
use crate::workspace::{NATIVE, Workspace};

/// Files of a folder by their path relative to it, with `/` between the parts.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Builds what `cargo xtask run` starts.
pub fn all(workspace: &Workspace) -> Result<()> {
    native(workspace)?;
    wasm::compile(workspace, false)?;
    web(workspace)
}

/// The same, as the checks need it: with the features that tests bring, and the test programs themselves.
pub fn for_checks(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo().arg("build").args(NATIVE).args(["--bins", "--tests", "--examples"]))?;
    wasm::compile(workspace, true)?;
    test_peers::build(workspace)?;
    web(workspace)
}

/// `meganet` and `meganet-bootstrap`, in the profile that tests use too.
fn native(workspace: &Workspace) -> Result<()> {
    run(workspace.cargo().args(["build", "-p", "meganet-native-peer", "-p", "meganet-bootstrap"]))
}

/// The app as static files in `dist/app`, a site's frame in `dist/site`. Does nothing when no input changed.
fn web(workspace: &Workspace) -> Result<()> {
    let compiled = wasm::module(workspace, "meganet-app")?;
    let statics = read_folder(&workspace.root.join("app/static"))?;
    let frame = read_folder(&workspace.root.join("app/site-frame"))?;
    let dist = workspace.dist();
    let fingerprint = fingerprint(&compiled, &[&statics, &frame]);
    let stamp = dist.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|seen| seen == fingerprint) {
        say("dist/ is up to date");
        return Ok(());
    }

    let generated = wasm::bind("app", compiled)?;
    let app = bundle::app(generated, statics)?;
    let site = bundle::site(frame)?;
    say(&format!("compressing the bundle, version {}", app.version));
    let old = read_folder(&dist.join("app"))?;
    let app_files = compress::add_compressed(app.files, &old)?;
    let sizes = sizes(&app.version, &app_files)?;
    // The stamp is absent while dist/ changes: a build killed half-way is done again.
    remove_if_there(&stamp)?;
    replace_folder(&dist.join("app"), &app_files)?;
    replace_folder(&dist.join("site"), &compress::add_compressed(site, &Files::new())?)?;
    fs::write(dist.join("sizes.json"), sizes)?;
    fs::write(&stamp, fingerprint)?;
    Ok(())
}

/// Prints what the tab has to load, and returns it as JSON.
fn sizes(version: &str, files: &Files) -> Result<String> {
    let wasm = files.keys().find(|name| name.ends_with(".wasm")).context("the bundle has no wasm file")?;
    let size = |suffix: &str| files.get(&format!("{wasm}{suffix}")).map_or(0, Vec::len);
    let (raw, gzip, brotli) = (size(""), size(".gz"), size(".br"));
    let kib = |bytes: usize| bytes as f64 / 1024.0;
    say(&format!("{wasm}: {:.0} KiB raw, {:.0} KiB gzip, {:.0} KiB brotli", kib(raw), kib(gzip), kib(brotli)));
    let wasm = json!({ "file": wasm, "raw_bytes": raw, "gzip_bytes": gzip, "brotli_bytes": brotli });
    Ok(format!("{:#}\n", json!({ "version": version, "wasm": wasm })))
}

/// Changes whenever an input or the code of this module does. Cargo.lock's wasm-bindgen needs no place here: another
/// version of it changes the compiled module.
fn fingerprint(compiled: &[u8], folders: &[&Files]) -> String {
    let mut hasher = blake3::Hasher::new();
    for code in
        [include_str!("mod.rs"), include_str!("bundle.rs"), include_str!("compress.rs"), include_str!("wasm.rs")]
    {
        hasher.update(&(code.len() as u64).to_le_bytes()).update(code.as_bytes());
    }
    hasher.update(compiled);
    for files in folders {
        hasher.update(b"folder");
        for (name, content) in *files {
            hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
            hasher.update(&(content.len() as u64).to_le_bytes()).update(content);
        }
    }
    hasher.finalize().to_string()
}

/// All files below `folder`; none when it does not exist.
fn read_folder(folder: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut open: Vec<(PathBuf, String)> = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = open.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().with_context(|| format!("not a UTF-8 file name: {}", entry.path().display()))?;
            let name = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                open.push((entry.path(), format!("{name}/")));
            } else {
                let content =
                    fs::read(entry.path()).with_context(|| format!("cannot read {}", entry.path().display()))?;
                files.insert(name, content);
            }
        }
    }
    Ok(files)
}

/// Writes `files` beside `folder`, then swaps the two, so that a server never sees half a bundle for long.
fn replace_folder(folder: &Path, files: &Files) -> Result<()> {
    let new = folder.with_extension("new");
    let old = folder.with_extension("old");
    remove_folder_if_there(&new)?;
    remove_folder_if_there(&old)?;
    fs::create_dir_all(&new)?;
    for (name, content) in files {
        let path = new.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if folder.exists() {
        fs::rename(folder, &old)?;
    }
    fs::rename(&new, folder)?;
    remove_folder_if_there(&old)
}

fn remove_folder_if_there(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

fn remove_if_there(file: &Path) -> Result<()> {
    if file.exists() {
        fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(name, content)| ((*name).to_owned(), content.as_bytes().to_vec())).collect()
    }

    #[test]
    fn a_replaced_folder_holds_the_new_files_only() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let folder = temporary.path().join("app");
        replace_folder(&folder, &files(&[("a.css", "1"), ("deep/er/b.js", "2")])).expect("first");
        let second = files(&[("deep/c.js", "3")]);
        replace_folder(&folder, &second).expect("second");
        assert_eq!(read_folder(&folder).expect("readable"), second);
        assert_eq!(fs::read_dir(temporary.path()).expect("listable").count(), 1);
    }

    #[test]
    fn the_fingerprint_tells_every_input_apart() {
        let one = files(&[("a", "bc")]);
        let other = files(&[("ab", "c")]);
        let nothing = Files::new();
        let prints = [
            fingerprint(b"wasm", &[&one, &nothing]),
            fingerprint(b"wasm", &[&other, &nothing]),
            fingerprint(b"wasm", &[&nothing, &one]),
            fingerprint(b"other", &[&one, &nothing]),
        ];
        let distinct: std::collections::BTreeSet<_> = prints.iter().collect();
        assert_eq!(distinct.len(), prints.len());
        assert_eq!(prints[0], fingerprint(b"wasm", &[&one, &nothing]));
    }
}
