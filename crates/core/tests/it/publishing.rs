//! Publishing: layout, deduplication, stability across versions, refusals before signing.

use std::collections::HashSet;

use meganet_core::limits::{CHUNK_CONTENT_MAX_BYTES, MANIFEST_MAX_ENTRIES, PACK_FILE_MAX_BYTES};
use meganet_core::manifest::{Manifest, ManifestError};
use meganet_core::path::PathError;
use meganet_core::publish::{Builder, Plan, PublishError, SiteFile, local_references};
use proptest::prelude::*;

use crate::common::{Rng, publish, read, read_file};

fn content(seed: u64, len: usize) -> Vec<u8> {
    Rng(seed).bytes(len)
}

fn sample() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("video.webm", content(1, 700_000)),
        ("index.html", content(2, 3_000)),
        ("style.css", content(3, 5_000)),
        ("about/index.html", content(4, 2_000)),
        ("empty.txt", vec![]),
        ("edge.bin", content(5, PACK_FILE_MAX_BYTES as usize)),
        ("over.bin", content(6, PACK_FILE_MAX_BYTES as usize + 1)),
        ("exact.bin", content(7, CHUNK_CONTENT_MAX_BYTES)),
        ("double.bin", content(8, CHUNK_CONTENT_MAX_BYTES * 2)),
    ]
}

#[test]
fn every_file_reads_back_however_it_is_fed() {
    let files = sample();
    let expected = publish(&files, &["index.html", "style.css"], usize::MAX).expect("published");
    for piece in [usize::MAX, 300_000, 262_128, 65_536, 4_093, 1_000] {
        let (manifest, sealed) = publish(&files, &["index.html", "style.css"], piece).expect("published");
        assert_eq!((&manifest, &sealed), (&expected.0, &expected.1), "pieces of {piece}");
        for (path, bytes) in &files {
            let size = bytes.len() as u64;
            assert_eq!(&read_file(&manifest, &sealed, path, 0..size), bytes, "{path}");
            let (from, to) = (size / 3, size * 2 / 3);
            assert_eq!(read_file(&manifest, &sealed, path, from..to), bytes[from as usize..to as usize], "{path}");
        }
        assert_eq!(Manifest::parse(&manifest.encode()).expect("valid"), manifest);
    }
    assert_eq!(expected.0.index.as_deref(), Some("index.html"));
    // A file of 64 KiB is packed with others, one of a byte more has its own chunk.
    let is_shared = |path: &str| {
        let first = expected.0.entry(path).expect("there").first_chunk;
        expected.0.entries.iter().filter(|entry| entry.first_chunk == first && entry.size > 0).count() > 1
    };
    assert!(is_shared("edge.bin") && !is_shared("over.bin"));
}

#[test]
fn the_starter_holds_the_entry_page_and_what_it_needs() {
    let (manifest, _) =
        publish(&sample(), &["index.html", "style.css", "missing.js", "style.css"], 1_000).expect("published");
    assert_eq!(manifest.starter, Some(0));
    let place = |path: &str| manifest.entry(path).map(|entry| (entry.first_chunk, entry.offset)).expect("there");
    assert_eq!(place("index.html"), (0, 0));
    assert_eq!(place("style.css"), (0, 3_000));
    assert_eq!(manifest.starter_chunk().expect("there").size, 8_000);
    assert_ne!(place("about/index.html").0, 0);
    // A large entry page: its first chunk.
    let (manifest, _) =
        publish(&[("a.txt", vec![1; 10]), ("big.html", content(1, 300_000))], &["big.html"], 9_999).expect("ok");
    assert_eq!(manifest.starter, Some(manifest.entry("big.html").expect("there").first_chunk));
    // Without an entry page there is no starter; an empty one needs no chunk.
    assert_eq!(publish(&sample(), &[], 1_000).expect("published").0.starter, None);
    assert_eq!(publish(&[("a", vec![])], &["a"], 1).expect("published").0.starter, None);
    // What does not fit into one chunk with the rest is packed elsewhere.
    let names: Vec<String> = (0..9).map(|place| format!("{place}.js")).collect();
    let files: Vec<(&str, Vec<u8>)> = names
        .iter()
        .map(|name| (name.as_str(), content(name.len() as u64 + u64::from(name.as_bytes()[0]), 60_000)))
        .collect();
    let starter: Vec<&str> = names.iter().map(String::as_str).collect();
    let (manifest, sealed) = publish(&files, &starter, 60_000).expect("published");
    let in_starter = manifest.entries.iter().filter(|entry| entry.first_chunk == 0).count();
    assert_eq!(in_starter, 4);
    for (path, bytes) in &files {
        assert_eq!(&read_file(&manifest, &sealed, path, 0..60_000), bytes);
    }
}

#[test]
fn identical_files_share_one_place() {
    let (small, large) = (content(1, 10_000), content(2, 600_000));
    let files = [
        ("a/small", small.clone()),
        ("b/small", small.clone()),
        ("a/large", large.clone()),
        ("b/large", large.clone()),
        ("c/large", [&large[..], b"!"].concat()),
        ("zeros", vec![0; CHUNK_CONTENT_MAX_BYTES * 3]),
    ];
    let (manifest, sealed) = publish(&files, &[], 50_000).expect("published");
    let place = |path: &str| manifest.entry(path).map(|entry| (entry.first_chunk, entry.offset)).expect("there");
    assert_eq!(place("a/small"), place("b/small"));
    assert_eq!(place("a/large"), place("b/large"));
    assert_ne!(place("a/large"), place("c/large"));
    let ids: HashSet<_> = sealed.iter().map(|sealed| sealed.chunk.id).collect();
    assert_eq!(ids.len(), sealed.len(), "each chunk is given out once");
    // The pack, three of the first large file, the last of the other, and the one of zeros.
    assert_eq!(sealed.len(), 1 + 3 + 1 + 1);
    for (path, bytes) in &files {
        assert_eq!(&read_file(&manifest, &sealed, path, 0..bytes.len() as u64), bytes, "{path}");
    }
    assert_eq!(manifest.total_size(), files.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>());
}

#[test]
fn the_layout_does_not_depend_on_the_order_of_reading() {
    let mut files = sample();
    let expected = publish(&files, &["index.html"], 10_000).expect("published").0;
    files.reverse();
    assert_eq!(publish(&files, &["index.html"], 10_000).expect("published").0, expected);
    files.rotate_left(4);
    assert_eq!(publish(&files, &["index.html"], 10_000).expect("published").0, expected);
}

#[test]
fn one_changed_file_leaves_most_chunks_as_they_are() {
    let names: Vec<String> = (0..600).map(|place| format!("docs/{place:04}.html")).collect();
    let site = |changed: Option<usize>| -> Vec<(&str, Vec<u8>)> {
        let file = |(place, name): (usize, &'static str)| {
            let len = 2_000 + place * 37 % 9_000 + if changed == Some(place) { 5_000 } else { 0 };
            (name, content(place as u64, len))
        };
        names.iter().map(|name| &*name.clone().leak()).enumerate().map(file).collect()
    };
    let ids = |changed| -> HashSet<_> {
        publish(&site(changed), &[], usize::MAX).expect("published").1.iter().map(|sealed| sealed.chunk.id).collect()
    };
    let before = ids(None);
    assert!(before.len() > 15, "{} chunks", before.len());
    for changed in [0, 99, 300, 599] {
        let after = ids(Some(changed));
        let new = after.difference(&before).count();
        assert!(new <= 4, "{new} of {} chunks are new after file {changed} grew", after.len());
    }
}

#[test]
fn case_67_what_cannot_be_published_is_refused_before_signing() {
    let plan = |files: &[(&str, u64)], starter: &[&str]| {
        let files = files.iter().map(|(path, size)| SiteFile { path: (*path).into(), size: *size }).collect();
        let starter: Vec<String> = starter.iter().map(|path| (*path).into()).collect();
        Plan::new(files, &starter, String::new()).map(|_| ())
    };
    assert_eq!(plan(&[], &[]), Err(PublishError::Empty));
    let path = |path: &str, reason| Err(PublishError::Path { path: path.into(), reason });
    assert_eq!(plan(&[("a\nb", 1)], &[]), path("a\nb", PathError::Control));
    assert_eq!(plan(&[("../a", 1)], &[]), path("../a", PathError::DotSegment));
    assert!(matches!(plan(&[("five.iso", 5 << 30)], &[]), Err(PublishError::TooLarge { .. })));
    assert!(matches!(plan(&[("a", u64::MAX), ("b", u64::MAX)], &[]), Err(PublishError::TooLarge { .. })));
    assert_eq!(plan(&[("a", 1)], &["b"]), Err(PublishError::EntryPage { path: "b".into() }));
    let same = ManifestError::SamePath { first: "A".into(), second: "a".into() };
    assert_eq!(plan(&[("a", 1), ("A", 1)], &[]), Err(PublishError::Manifest(same)));
    let twice = ManifestError::SamePath { first: "a".into(), second: "a".into() };
    assert_eq!(plan(&[("a", 1), ("a", 1)], &[]), Err(PublishError::Manifest(twice)));
    assert!(matches!(
        plan(&[("a", 1), ("a/b", 1)], &[]),
        Err(PublishError::Manifest(ManifestError::FileAndDirectory { .. }))
    ));
    let many = |count: usize| {
        let files = (0..count).map(|place| SiteFile { path: format!("{place}"), size: 1 }).collect();
        Plan::new(files, &[], String::new()).map(|_| ())
    };
    assert_eq!(many(MANIFEST_MAX_ENTRIES), Ok(()));
    assert_eq!(many(MANIFEST_MAX_ENTRIES + 1), Err(PublishError::TooManyFiles { found: MANIFEST_MAX_ENTRIES + 1 }));
    assert_eq!(
        Plan::new(vec![SiteFile { path: "a".into(), size: 1 }], &[], "a\nb".into()).map(|_| ()),
        Err(PublishError::Manifest(ManifestError::Title))
    );
}

#[test]
fn a_plan_that_is_accepted_gives_a_manifest_that_fits() {
    // The largest site by chunks, found by halving, must also build.
    let files = |chunks: u64| vec![SiteFile { path: "a".into(), size: chunks * CHUNK_CONTENT_MAX_BYTES as u64 }];
    let (mut fits, mut not) = (1, 1 << 20);
    while not - fits > 1 {
        let middle = (fits + not) / 2;
        if Plan::new(files(middle), &[], String::new()).is_ok() { fits = middle } else { not = middle }
    }
    assert!(fits > 14_000, "{fits} chunks");
    let chunks = vec![crate::common::chunk_ref(1, CHUNK_CONTENT_MAX_BYTES as u32); fits as usize];
    let entry = crate::common::entry("a", files(fits)[0].size, 0, 0);
    assert!(Manifest::build(chunks, vec![entry], None, None, String::new()).is_ok());
}

#[test]
fn case_66_a_file_that_changes_while_it_is_read_stops_publishing() {
    let builder = || {
        let files = vec![SiteFile { path: "a".into(), size: 10 }, SiteFile { path: "b".into(), size: 10 }];
        Builder::new(Plan::new(files, &[], String::new()).expect("planned"), read())
    };
    let changed = |path: &str| PublishError::SizeChanged { path: path.into(), planned: 10 };
    assert_eq!(builder().feed(0, &[0; 11]), Err(changed("a")));
    assert_eq!(builder().feed(1, &[0; 10]), Err(PublishError::OutOfOrder { expected: "a".into() }));
    assert_eq!(builder().feed(7, &[0; 10]), Err(PublishError::OutOfOrder { expected: "a".into() }));
    assert_eq!(builder().finish().map(|_| ()), Err(changed("a")));
    let mut shrunk = builder();
    shrunk.feed(0, &[0; 9]).expect("fed");
    assert_eq!(shrunk.feed(1, &[0; 1]), Err(changed("a")));
    let mut grown = builder();
    grown.feed(0, &[0; 10]).expect("fed");
    assert_eq!(grown.feed(0, &[0; 1]), Err(changed("a")));
    let mut last = builder();
    last.feed(0, &[0; 10]).expect("fed");
    last.feed(1, &[1; 10]).expect("fed");
    assert_eq!(last.feed(1, &[0; 1]), Err(changed("b")));
    assert_eq!(last.feed(1, &[]), Ok(vec![]));
    assert_eq!(last.feed(9, &[1]), Err(PublishError::OutOfOrder { expected: String::new() }));
}

#[test]
fn what_a_page_loads_is_found() {
    let html = r##"<!doctype html><html><head>
        <link rel="stylesheet" href="style.css?v=2"><LINK REL=icon HREF=/favicon.ico>
        <!-- <script src="commented.js"></script> -->
        <script type="module" src='../app.js#x' defer></script>
        <script>if (a < b) { load("no.js"); write("<img src=no.png>", it's) }</script>
        </head><body title="a > b"><a href="next.html">next</a>
        <img alt="x > y" src="pictures/a%20b.png" srcset="no.png"><img src=""><img src="#x">
        <img src="https://example.org/x.png"><img src="//example.org/y.png"><img src="data:image/png;base64,AA">
        <img data-src="lazy.png"><script src="../../../outside.js"></script><img src="pictures/a%20b.png">
        <video poster=poster.jpg src="film.webm"><source src="./film.webm"></video></body></html>"##;
    let found = local_references("docs/guide/index.html", html);
    let expected = [
        "docs/guide/style.css",
        "favicon.ico",
        "docs/app.js",
        "docs/guide/pictures/a b.png",
        "docs/guide/poster.jpg",
        "docs/guide/film.webm",
    ];
    assert_eq!(found, expected);
    let many: String = (0..1_000).map(|place| format!("<img src={place}.png>")).collect();
    assert_eq!(local_references("index.html", &many).len(), 256);
    for broken in [
        "<",
        "<img",
        "<img src",
        "<img src=",
        "<img src=\"",
        "<!--",
        "<img src='a",
        "<é src=x>",
        "<img é='\u{0}' src=ä.png",
    ] {
        let _ = local_references("index.html", broken);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_site_reads_back(
        sizes in proptest::collection::btree_map("[a-f]{1,3}(/[a-f]{1,3})?\\.x", (0_usize..90_000, 0_u64..6), 1..14),
        piece in 1_000_usize..400_000,
        big in 262_000_usize..530_000,
    ) {
        let mut files: Vec<(&str, Vec<u8>)> =
            sizes.iter().map(|(path, (len, seed))| (path.as_str(), content(*seed, *len))).collect();
        files.push(("zz/big.bin", content(9, big)));
        let starter = files[0].0;
        let (manifest, sealed) = publish(&files, &[starter], piece).expect("published");
        for (path, bytes) in &files {
            prop_assert_eq!(&read_file(&manifest, &sealed, path, 0..bytes.len() as u64), bytes);
        }
    }

    #[test]
    fn no_page_panics(path in "[a-z/.]{0,20}", html in "(<(img|link|a|!--)|src=|href|[\"' >=<a-z/.%ä#?:]){0,60}") {
        for reference in local_references(&path, &html) {
            prop_assert!(meganet_core::path::check(&reference).is_ok());
        }
    }
}
