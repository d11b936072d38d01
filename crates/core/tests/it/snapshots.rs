//! Every persisted or sent format in hex, from fixed keys. A snapshot that changes is a format that changed: others can
//! then no longer read what this version writes.

use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use meganet_core::chunk;
use meganet_core::keys::ReadKey;

use crate::common::{chunk_of, head, manifest, site};
use crate::{peer_lists, wire};

/// Hex in lines of 32 bytes.
fn hex(bytes: &[u8]) -> String {
    bytes.chunks(32).map(|line| HEXLOWER.encode(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn names() {
    let address = site().address();
    let blinded = address.blinded();
    let text = format!(
        "address {address}\nblinded {}\nhead record {}\nprovider record {}\nread {:?}\nchunk {}",
        HEXLOWER.encode(blinded.as_bytes()),
        HEXLOWER.encode(&blinded.head_record_key()),
        HEXLOWER.encode(&blinded.provider_record_key()),
        ReadKey::public(&address),
        chunk_of(b"content").0.id,
    );
    insta::assert_snapshot!(text);
}

#[test]
fn signed_head() {
    insta::assert_snapshot!(hex(head(1_000).as_bytes()));
}

#[test]
fn sealed_chunk() {
    let (public, sealed) = chunk_of(b"content");
    let private = ReadKey::private(&site().address(), &[5; 32]);
    let (private, _) = chunk::seal(&private, b"content").expect("seals");
    let text = |chunk: chunk::ChunkRef| {
        format!("{}\n{}\n{}", HEXLOWER.encode(chunk.id.as_bytes()), HEXLOWER.encode(chunk.key.as_bytes()), chunk.size)
    };
    insta::assert_snapshot!(format!("{}\n\n{}\n\nprivate\n{}", text(public), hex(&sealed), text(private)));
}

#[test]
fn encoded_manifest() {
    insta::assert_snapshot!(hex(&manifest().encode()));
}

#[test]
fn signed_peer_list() {
    let bytes = meganet_core::peer_list::sign(&[3; 32], &peer_lists::list()).expect("signable");
    insta::assert_snapshot!(hex(&bytes));
}

#[test]
fn exchange_frames() {
    let mut text = String::new();
    for request in wire::requests() {
        let _ = writeln!(text, "{}", hex(&request.encode_frame()));
    }
    text.push('\n');
    for response in wire::responses() {
        let _ = writeln!(text, "{}\n", hex(&response.encode_frame()));
    }
    insta::assert_snapshot!(text);
}

/// The layout of a site decides its chunks' ids: a change makes every site's next version all new.
#[test]
fn published_layout() {
    let files: Vec<(String, Vec<u8>)> = (0..40_usize)
        .map(|place| (format!("dir{}/file{place}.txt", place % 3), vec![place as u8; 1 + place * place * 40]))
        .chain([("index.html".into(), b"<html>".to_vec()), ("film.webm".into(), vec![9; 600_000])])
        .collect();
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    let (manifest, _) = crate::common::publish(&files, &["index.html"], 10_000).expect("published");
    let mut text = String::new();
    for chunk in &manifest.chunks {
        let _ = writeln!(text, "{} {}", chunk.id, chunk.size);
    }
    for entry in &manifest.entries {
        let _ = writeln!(text, "{} {} {} {}", entry.path, entry.size, entry.first_chunk, entry.offset);
    }
    insta::assert_snapshot!(text);
}
