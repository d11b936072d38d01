//! Chunks: sealing, padding, lies.

use meganet_core::chunk::{self, ChunkError, ChunkRef};
use meganet_core::hash::ChunkId;
use meganet_core::keys::{ReadKey, SiteKey};
use meganet_core::limits::{CHUNK_CONTENT_MAX_BYTES, CHUNK_MAX_BYTES};
use proptest::prelude::*;

use crate::common::{Rng, chunk_of, read, site};

#[test]
fn chunks_of_every_edge_size_read_back() {
    let mut rng = Rng(3);
    for len in
        [1, 2, 255, 256, 257, 65_535, 65_536, 258_048, 258_049, CHUNK_CONTENT_MAX_BYTES - 1, CHUNK_CONTENT_MAX_BYTES]
    {
        let content = rng.bytes(len);
        let (chunk, sealed) = chunk_of(&content);
        assert_eq!(chunk.size as usize, len);
        assert_eq!(sealed.len(), chunk::pad_len(len) + 16);
        assert!(sealed.len() <= CHUNK_MAX_BYTES);
        assert_eq!(chunk::verify(&chunk.id, &sealed), Ok(()));
        assert_eq!(chunk::open(&chunk, &sealed).expect("opens"), content);
        assert_eq!(chunk::open_owned(&chunk, sealed).expect("opens"), content);
    }
    for len in [0, CHUNK_CONTENT_MAX_BYTES + 1] {
        assert_eq!(chunk::seal(&read(), &vec![0; len]), Err(ChunkError::ContentSize { found: len }));
    }
}

#[test]
fn padding_says_little_about_sizes() {
    assert_eq!(chunk::pad_len(0), 256);
    assert_eq!(chunk::pad_len(1), 256);
    assert_eq!(chunk::pad_len(256), 256);
    // Padmé's own numbers: at most 12 % more, in steps that grow with the size.
    assert_eq!(chunk::pad_len(257), 272);
    assert_eq!(chunk::pad_len(1_000), 1_024);
    assert_eq!(chunk::pad_len(10_000), 10_240);
    assert_eq!(chunk::pad_len(100_000), 100_352);
    assert_eq!(chunk::pad_len(258_048), 258_048);
    assert_eq!(chunk::pad_len(258_049), CHUNK_CONTENT_MAX_BYTES);
    assert_eq!(chunk::pad_len(CHUNK_CONTENT_MAX_BYTES), CHUNK_CONTENT_MAX_BYTES);
    assert_eq!(chunk::pad_len(usize::MAX), CHUNK_CONTENT_MAX_BYTES);
    let mut lengths = std::collections::BTreeSet::new();
    for len in 1..=CHUNK_CONTENT_MAX_BYTES {
        let padded = chunk::pad_len(len);
        assert!(padded >= len && (padded - len) * 100 <= len * 12 + 25_600, "{len} -> {padded}");
        assert_eq!(chunk::pad_len(padded), padded);
        lengths.insert(padded);
    }
    assert!(lengths.len() < 300, "{} different sizes are visible", lengths.len());
}

#[test]
fn equal_content_dedupes_inside_a_site_and_not_across_sites() {
    let content = b"the same page on two sites".to_vec();
    let here = chunk_of(&content);
    assert_eq!(here, chunk_of(&content));
    let elsewhere = SiteKey::from_seed([99; 32]).address();
    let (there, _) = chunk::seal(&ReadKey::public(&elsewhere), &content).expect("seals");
    assert_ne!(here.0.id, there.id);
    let (private, _) = chunk::seal(&ReadKey::private(&site().address(), &[0; 32]), &content).expect("seals");
    assert_ne!(here.0.id, private.id, "a secret of zeros is not no secret");
}

#[test]
fn case_21_other_bytes_than_the_hash_are_refused_before_use() {
    let (chunk, sealed) = chunk_of(b"content");
    for place in 0..sealed.len() {
        let mut other = sealed.clone();
        other[place] ^= 0x80;
        assert_eq!(chunk::verify(&chunk.id, &other), Err(ChunkError::Hash));
        assert_eq!(chunk::open(&chunk, &other), Err(ChunkError::Hash));
    }
    for len in [0, 1, 271, CHUNK_MAX_BYTES + 1, CHUNK_MAX_BYTES * 4] {
        assert_eq!(chunk::verify(&chunk.id, &vec![0; len]), Err(ChunkError::SealedSize { found: len }));
    }
    // Even right bytes of an impossible size are refused without being hashed.
    let long = vec![1; CHUNK_MAX_BYTES + 1];
    assert!(matches!(chunk::verify(&ChunkId::of(&long), &long), Err(ChunkError::SealedSize { .. })));
}

#[test]
fn a_reference_that_does_not_fit_the_right_bytes_opens_nothing() {
    let (chunk, sealed) = chunk_of(&[5; 1_000]);
    let (other, _) = chunk_of(&[6; 1_000]);
    assert_eq!(chunk::open(&ChunkRef { key: other.key, ..chunk }, &sealed), Err(ChunkError::Seal));
    for size in [0, 1, 256, 999, 1_025, u32::MAX] {
        assert_eq!(chunk::open(&ChunkRef { size, ..chunk }, &sealed), Err(ChunkError::Padding), "{size}");
    }
    // Same padded length: a larger size would show padding as content, a smaller one hide content.
    assert_eq!(chunk::open(&ChunkRef { size: 1_010, ..chunk }, &sealed).map(|bytes| bytes.len()), Ok(1_010));
    assert_eq!(chunk::open(&ChunkRef { size: 993, ..chunk }, &sealed), Err(ChunkError::Padding));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_chunk_reads_back(content in proptest::collection::vec(any::<u8>(), 1..5_000), secret: [u8; 32]) {
        let read = ReadKey::private(&site().address(), &secret);
        let (chunk, sealed) = chunk::seal(&read, &content).expect("seals");
        prop_assert_eq!(ChunkId::of(&sealed), chunk.id);
        prop_assert_eq!(chunk::open(&chunk, &sealed).expect("opens"), content);
    }
}
