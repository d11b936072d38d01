//! Compressed copies beside each file that gains from them, so that the server never compresses anything itself.

use std::io::Write;

use anyhow::Result;
use brotli::enc::BrotliEncoderParams;
use flate2::{Compression, write::GzEncoder};

use super::Files;

/// Endings of files that are not compressed already.
const COMPRESSIBLE: [&str; 7] = [".html", ".js", ".css", ".svg", ".webmanifest", ".json", ".wasm"];
/// Brotli's strongest setting: the bundle is compressed once and loaded by every newcomer.
const BROTLI_QUALITY: i32 = 11;
/// The largest window every browser accepts, as a power of two.
const BROTLI_WINDOW_BITS: i32 = 22;

/// Adds `NAME.br` and `NAME.gz` for text and wasm. Copies in `old` of an equal file are taken from there.
///
/// # Errors
/// None in practice: the encoders write to memory.
pub fn add_compressed(files: Files, old: &Files) -> Result<Files> {
    let mut all = files.clone();
    for (name, content) in files {
        if !COMPRESSIBLE.iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let (br, gz) = (format!("{name}.br"), format!("{name}.gz"));
        let known = if old.get(&name) == Some(&content) { old.get(&br).zip(old.get(&gz)) } else { None };
        let (brotli, gzip) = match known {
            Some((brotli, gzip)) => (brotli.clone(), gzip.clone()),
            None => (brotli(&content)?, gzip(&content)?),
        };
        all.insert(br, brotli);
        all.insert(gz, gzip);
    }
    Ok(all)
}

fn brotli(content: &[u8]) -> Result<Vec<u8>> {
    let parameters = BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW_BITS,
        size_hint: content.len(),
        ..BrotliEncoderParams::default()
    };
    let mut compressed = Vec::new();
    brotli::BrotliCompress(&mut &*content, &mut compressed, &parameters)?;
    Ok(compressed)
}

fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn compressed_copies_open_to_the_same_bytes() {
        let page = "<p>again and again</p>".repeat(200).into_bytes();
        let files = Files::from([("index.html".to_owned(), page.clone()), ("photo.jpg".to_owned(), page.clone())]);
        let all = add_compressed(files, &Files::new()).expect("compressed");
        assert_eq!(all.keys().collect::<Vec<_>>(), ["index.html", "index.html.br", "index.html.gz", "photo.jpg"]);
        let mut opened = Vec::new();
        brotli::BrotliDecompress(&mut &*all["index.html.br"], &mut opened).expect("brotli");
        assert_eq!(opened, page);
        opened.clear();
        flate2::read::GzDecoder::new(&*all["index.html.gz"]).read_to_end(&mut opened).expect("gzip");
        assert_eq!(opened, page);
        assert!(all["index.html.br"].len() < page.len() / 10);
    }

    #[test]
    fn an_old_copy_serves_an_unchanged_file_only() {
        let old = Files::from([
            ("a.js".to_owned(), b"same".to_vec()),
            ("a.js.br".to_owned(), b"known".to_vec()),
            ("a.js.gz".to_owned(), b"known".to_vec()),
        ]);
        let same = add_compressed(Files::from([("a.js".to_owned(), b"same".to_vec())]), &old).expect("compressed");
        assert_eq!(same["a.js.br"], b"known");
        let changed = add_compressed(Files::from([("a.js".to_owned(), b"other".to_vec())]), &old).expect("compressed");
        assert_ne!(changed["a.js.br"], b"known");
    }
}
