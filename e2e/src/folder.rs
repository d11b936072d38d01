//! Folders as maps from path to bytes, hashes of them, and made-up content.

use anyhow::{Context, Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{collections::BTreeMap, path::Path};

/// Every file of a folder: path with `/`, and bytes.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Reads a folder and everything below it.
pub fn read(dir: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(current) = waiting.pop() {
        for entry in std::fs::read_dir(&current).with_context(|| format!("cannot list {}", current.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                files.insert(relative(dir, &path)?, std::fs::read(&path)?);
            }
        }
    }
    ensure!(!files.is_empty(), "{} is empty", dir.display());
    Ok(files)
}

/// Writes files below a folder, which need not exist.
pub fn write(dir: &Path, files: &Files) -> Result<()> {
    for (path, bytes) in files {
        let path = dir.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, bytes)?;
    }
    Ok(())
}

/// Sum of the files' sizes.
pub fn total_bytes(files: &Files) -> u64 {
    files.values().map(|bytes| bytes.len() as u64).sum()
}

/// Fails, naming the paths, unless both have the same files with the same bytes.
pub fn ensure_equal(found: &Files, expected: &Files) -> Result<()> {
    let differing: Vec<&str> = expected
        .keys()
        .chain(found.keys().filter(|path| !expected.contains_key(*path)))
        .filter(|path| found.get(*path) != expected.get(*path))
        .map(String::as_str)
        .take(10)
        .collect();
    ensure!(differing.is_empty(), "files missing, unexpected or different: {differing:?}");
    Ok(())
}

/// SHA-256 in hexadecimal, as the page computes it with WebCrypto.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The SHA-256 of every file.
pub fn hashes(files: &Files) -> BTreeMap<String, String> {
    files.iter().map(|(path, bytes)| (path.clone(), sha256(bytes))).collect()
}

/// A site whose entry page shows `text` and says that it is ready, with `random_bytes` of incompressible data beside it.
pub fn made_up(text: &str, seed: u64, random_bytes: usize) -> Files {
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{text}</title><h1>{text}</h1>\
         <script src=ready.js></script></html>"
    );
    let mut data = vec![0; random_bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut data);
    Files::from([
        ("index.html".to_owned(), page.into_bytes()),
        ("ready.js".to_owned(), b"document.documentElement.dataset.ready = 'yes';\n".to_vec()),
        ("data.bin".to_owned(), data),
    ])
}

fn relative(dir: &Path, path: &Path) -> Result<String> {
    let relative = path.strip_prefix(dir)?;
    relative.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", relative.display()))
}
