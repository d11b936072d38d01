//! Manifests: bounds, amplification, arithmetic, encodings, look-ups.

use meganet_core::chunk::{ChunkError, ChunkRef};
use meganet_core::head::HeadInner;
use meganet_core::keys::ReadKey;
use meganet_core::limits::{MANIFEST_MAX_BYTES, MANIFEST_MAX_CHUNKS, MANIFEST_MAX_ENTRIES, SITE_AUTO_FETCH_MAX_BYTES};
use meganet_core::manifest::{Entry, Manifest, ManifestError, Span};
use proptest::prelude::*;

use crate::common::{Rng, chunk_ref, entry, inner, manifest, pb, read, site};

fn build(chunks: &[u32], entries: Vec<Entry>) -> Result<Manifest, ManifestError> {
    let chunks = chunks.iter().enumerate().map(|(place, size)| chunk_ref(place as u8, *size)).collect();
    Manifest::build(chunks, entries, None, None, String::new())
}

#[test]
fn a_manifest_reads_back() {
    let manifest = manifest();
    assert_eq!(Manifest::parse(&manifest.encode()).expect("valid"), manifest);
    assert_eq!(manifest.total_size(), 300 + 100 + 600 + 262_628);
    assert_eq!(manifest.starter_chunk().map(|chunk| chunk.size), Some(1_000));
}

#[test]
fn case_15_counting_stops_at_the_bound_before_memory_is_taken() {
    let entries = |count: usize| [pb::uint(1, 1), pb::bytes(3, &[]).repeat(count)].concat();
    assert_eq!(Manifest::parse(&entries(MANIFEST_MAX_ENTRIES + 1)), Err(ManifestError::TooManyEntries));
    assert_eq!(Manifest::parse(&entries(500_000)), Err(ManifestError::TooManyEntries));
    // At the bound it is the entries themselves that are wrong.
    assert!(matches!(Manifest::parse(&entries(MANIFEST_MAX_ENTRIES)), Err(ManifestError::Path { index: 0, .. })));
    let chunks = |count: usize| [pb::uint(1, 1), pb::bytes(2, &[]).repeat(count)].concat();
    assert_eq!(Manifest::parse(&chunks(MANIFEST_MAX_CHUNKS + 1)), Err(ManifestError::TooManyChunks));
    assert_eq!(Manifest::parse(&chunks(MANIFEST_MAX_CHUNKS)), Err(ManifestError::Chunk { index: 0 }));
    // What the bounds of an encoding leave out is bounded when it is built, too.
    let too_many = vec![chunk_ref(1, 1); MANIFEST_MAX_CHUNKS + 1];
    assert_eq!(Manifest::build(too_many, vec![], None, None, String::new()), Err(ManifestError::TooManyChunks));
    let too_many = vec![entry("a", 0, 0, 0); MANIFEST_MAX_ENTRIES + 1];
    assert_eq!(Manifest::build(vec![], too_many, None, None, String::new()), Err(ManifestError::TooManyEntries));
}

#[test]
fn case_15_a_manifest_over_a_mebibyte_is_refused_unread() {
    let huge = vec![0x1a; MANIFEST_MAX_BYTES + 1];
    assert_eq!(Manifest::parse(&huge), Err(ManifestError::TooLarge { found: MANIFEST_MAX_BYTES + 1 }));
    let none: [Vec<u8>; 0] = [];
    let open = Manifest::open_from(&[], &none, u32::MAX);
    assert_eq!(open, Err(ManifestError::TooLarge { found: u32::MAX as usize }));
    // The head that announces it is refused already, so nothing is downloaded: see case 25 of the heads.
}

#[test]
fn a_manifest_of_exactly_the_budgets_is_read() {
    // 10,000 files with paths as long as almost fill a mebibyte; the title fills it to the byte.
    let build_with = |extra: usize, title: usize| {
        let mut left = extra;
        let entries = (0..MANIFEST_MAX_ENTRIES).map(|place| {
            let more = left.min(400);
            left -= more;
            entry(&format!("{place:05}{}", "x".repeat(more)), 0, 0, 0)
        });
        Manifest::build(vec![], entries.collect(), None, None, "t".repeat(title))
    };
    let (mut fits, mut not) = (0, MANIFEST_MAX_BYTES);
    while not - fits > 1 {
        let middle = (fits + not) / 2;
        if build_with(middle, 100).is_ok() { fits = middle } else { not = middle }
    }
    let left = MANIFEST_MAX_BYTES - build_with(fits, 100).expect("fits").encode().len();
    let manifest = build_with(fits, 100 + left);
    let manifest = manifest.expect("one fits");
    let encoded = manifest.encode();
    assert_eq!(encoded.len(), MANIFEST_MAX_BYTES);
    assert_eq!(manifest.entries.len(), MANIFEST_MAX_ENTRIES);
    assert_eq!(Manifest::parse(&encoded).expect("at the edge"), manifest);
    let beyond = build_with(fits, 101 + left);
    assert_eq!(beyond, Err(ManifestError::TooLarge { found: MANIFEST_MAX_BYTES + 1 }));
    let (refs, sealed) = manifest.seal(&read()).expect("seals");
    assert_eq!(refs.len(), 5);
    let opened = Manifest::open_from(&refs, &sealed, encoded.len() as u32).expect("opens");
    assert_eq!(opened, manifest);
}

#[test]
fn case_18_sizes_that_do_not_fit_the_chunks_are_refused() {
    let outside = Err(ManifestError::Extent { index: 0 });
    assert!(build(&[100], vec![entry("a", 100, 0, 0)]).is_ok());
    assert!(build(&[100], vec![entry("a", 1, 0, 99)]).is_ok());
    assert_eq!(build(&[100], vec![entry("a", 101, 0, 0)]), outside);
    assert_eq!(build(&[100], vec![entry("a", 1, 0, 100)]), outside);
    assert_eq!(build(&[100], vec![entry("a", 1, 0, u32::MAX)]), outside);
    assert_eq!(build(&[100, 10], vec![entry("a", 1, 0, 100), entry("b", 110, 0, 0)]), outside, "it begins in the next");
    assert_eq!(build(&[100], vec![entry("a", 1, 1, 0)]), outside);
    assert_eq!(build(&[100], vec![entry("a", 1, u32::MAX, 0)]), outside);
    assert_eq!(build(&[100], vec![entry("a", u64::MAX, 0, 1)]), outside);
    assert_eq!(build(&[100], vec![entry("a", 0, 0, 1)]), outside);
    assert_eq!(build(&[100], vec![entry("a", 0, 1, 0)]), outside);
    assert_eq!(build(&[], vec![entry("a", 1, 0, 0)]), outside);
    assert_eq!(build(&[100], vec![entry("a", 100, 0, 0), entry("b", u64::MAX, 0, 0)]), Err(ManifestError::TotalSize));
    assert_eq!(build(&[100, 100], vec![entry("a", 100, 0, 0)]), Err(ManifestError::UnusedChunk { index: 1 }));
    assert_eq!(build(&[100, 100], vec![entry("a", 100, 1, 0)]), Err(ManifestError::UnusedChunk { index: 0 }));
    assert_eq!(build(&[100, 100], vec![entry("a", 100, 0, 50)]).map(|_| ()), Ok(()));
    assert_eq!(build(&[0], vec![]), Err(ManifestError::Chunk { index: 0 }));
    assert_eq!(build(&[262_129], vec![]), Err(ManifestError::Chunk { index: 0 }));
    // As they would come from the network, where sizes are what the sender wrote.
    let entry = |fields: Vec<u8>| [pb::bytes(1, b"a"), pb::bytes(2, b"a/b"), fields].concat();
    let negative = entry(pb::uint(3, (-1_i64) as u64));
    let parse = |entry: &[u8]| Manifest::parse(&[pb::uint(1, 1), pb::bytes(3, entry)].concat());
    assert_eq!(parse(&negative), outside);
    assert_eq!(parse(&entry(pb::uint(4, 1 << 32))), Err(ManifestError::Encoding), "more than 32 bits");
}

#[test]
fn case_19_amplification_shows_in_the_total_before_anything_is_fetched() {
    // 10,000 files that all are the same 64 MiB of chunks.
    let chunk = 262_128_u32;
    let count = (SITE_AUTO_FETCH_MAX_BYTES / u64::from(chunk)) as usize;
    let chunks: Vec<ChunkRef> = (0..count).map(|place| chunk_ref(place as u8, chunk)).collect();
    let size = count as u64 * u64::from(chunk);
    let entries = (0..MANIFEST_MAX_ENTRIES).map(|place| entry(&format!("{place:05}"), size, 0, 0)).collect();
    let manifest = Manifest::build(chunks, entries, None, None, String::new()).expect("allowed, but large");
    assert_eq!(manifest.total_size(), size * MANIFEST_MAX_ENTRIES as u64);
    assert!(manifest.total_size() > SITE_AUTO_FETCH_MAX_BYTES);
    // A head that announces less than its manifest lists is found out before the first chunk of a file.
    let (refs, sealed) = manifest.seal(&read()).expect("seals");
    let manifest_size = manifest.encode().len() as u32;
    let modest = HeadInner { total_size: 1_000, manifest_size, manifest: refs, ..inner() };
    let found = manifest.total_size();
    assert_eq!(Manifest::open_for(&modest, &sealed), Err(ManifestError::OtherTotal { announced: 1_000, found }));
    assert_eq!(Manifest::open_for(&HeadInner { total_size: found, ..modest }, &sealed), Ok(manifest));
}

#[test]
fn case_20_a_manifest_cannot_refer_to_itself() {
    // Its chunks' ids follow from its content, so it cannot name them; and its entries name bytes, not manifests. What can
    // be written is a table that names one chunk again and again: it is read as that many bytes, once through.
    let same = chunk_ref(1, 1_000);
    let manifest = Manifest::build(vec![same; 50], vec![entry("a", 50_000, 0, 0)], None, None, String::new());
    let manifest = manifest.expect("a file of repeated content");
    let spans = manifest.spans(&manifest.entries[0], 0..50_000).expect("in range");
    assert_eq!(spans.len(), 50);
    // A manifest whose own first chunk is in its table is just a site with that file.
    let (refs, _) = manifest.seal(&read()).expect("seals");
    let outer = Manifest::build(refs.clone(), vec![entry("m", refs[0].size.into(), 0, 0)], None, None, String::new());
    assert!(outer.is_ok());
}

#[test]
fn case_25_references_into_nowhere_are_refused() {
    let table = || vec![chunk_ref(1, 10)];
    let entries = || vec![entry("a", 10, 0, 0)];
    let build = |index: Option<&str>, starter| {
        Manifest::build(table(), entries(), index.map(Into::into), starter, String::new()).map(|_| ())
    };
    assert_eq!(build(Some("a"), Some(0)), Ok(()));
    assert_eq!(build(Some("b"), None), Err(ManifestError::Index));
    assert_eq!(build(None, Some(1)), Err(ManifestError::Starter));
    assert_eq!(build(None, Some(u32::MAX)), Err(ManifestError::Starter));
    let parse = |starter: u64| {
        let chunk = [pb::bytes(1, &[1; 32]), pb::bytes(2, &[2; 32]), pb::uint(3, 10)].concat();
        let entry = [pb::bytes(1, b"a"), pb::bytes(2, b"a/b"), pb::uint(3, 10)].concat();
        Manifest::parse(&[pb::uint(1, 1), pb::bytes(2, &chunk), pb::bytes(3, &entry), pb::uint(5, starter)].concat())
    };
    assert_eq!(parse(1).map(|manifest| manifest.starter), Ok(Some(0)));
    assert_eq!(parse(2).map(|_| ()), Err(ManifestError::Starter));
    assert_eq!(parse(u64::from(u32::MAX)).map(|_| ()), Err(ManifestError::Starter));
}

#[test]
fn case_12_only_the_canonical_encoding_is_read() {
    let bytes = manifest().encode();
    let refused = [
        ("unknown field", [bytes.clone(), pb::uint(7, 1)].concat()),
        ("version twice", [pb::uint(1, 1), bytes.clone()].concat()),
        ("trailing zero", [bytes.clone(), vec![0]].concat()),
        ("default written out", [bytes.clone(), pb::bytes(6, b"")].concat()),
        ("long varint", [vec![0x08, 0x81, 0x00], bytes[2..].to_vec()].concat()),
        ("group", [bytes.clone(), vec![0x3b, 0x3c]].concat()),
        ("nested groups", [bytes.clone(), vec![0x3b; 100_000]].concat()),
    ];
    for (what, bytes) in refused {
        assert_eq!(Manifest::parse(&bytes), Err(ManifestError::Encoding), "{what}");
    }
    assert_eq!(Manifest::parse(&[]), Err(ManifestError::Version { found: 0 }));
    assert_eq!(Manifest::parse(&pb::uint(1, 2)), Err(ManifestError::Version { found: 2 }));
}

#[test]
fn case_11_truncated_and_bit_flipped_manifests_never_panic() {
    let bytes = manifest().encode();
    for len in 0..bytes.len() {
        // What is cut between two fields may be another manifest; then it is that one's only encoding.
        if let Ok(manifest) = Manifest::parse(&bytes[..len]) {
            assert_eq!(manifest.encode(), bytes[..len], "truncated to {len}");
        }
    }
    let mut rng = Rng(1);
    for _ in 0..20_000 {
        let mut bytes = bytes.clone();
        for _ in 0..=rng.below(4) {
            let place = rng.below(bytes.len());
            bytes[place] ^= 1 << rng.below(8);
        }
        if let Ok(manifest) = Manifest::parse(&bytes) {
            assert_eq!(manifest.encode(), bytes);
        }
    }
}

#[test]
fn titles_and_media_types_are_bounded() {
    let title = |title: &str| Manifest::build(vec![], vec![], None, None, title.into()).map(|_| ());
    assert_eq!(title(&"x".repeat(200)), Ok(()));
    assert_eq!(title("Ünïcode 😀"), Ok(()));
    for bad in ["x".repeat(201), "a\nb".into(), "a\0".into(), "\u{202e}evil".into(), "\u{1b}[0m".into()] {
        assert_eq!(title(&bad), Err(ManifestError::Title), "{bad:?}");
    }
    let media = |media_type: &str| {
        let entry = Entry { media_type: media_type.into(), ..entry("a", 0, 0, 0) };
        Manifest::build(vec![], vec![entry], None, None, String::new()).map(|_| ())
    };
    let longest = format!("a/{}", "b".repeat(98));
    for good in ["text/html", "text/html; charset=utf-8", "image/svg+xml", "application/vnd.x-y.z", &longest] {
        assert_eq!(media(good), Ok(()), "{good}");
    }
    let too_long = format!("{longest}b");
    for bad in [
        "",
        "text",
        "/",
        "text/",
        "/html",
        "text/html;",
        "text/html;charset=utf-8",
        "text/html; charset=",
        "a/b/c",
        "a/b\r\nX: y",
        "tëxt/html",
        "text/html; charset=a; x=y",
        "text/html ",
        "text/html; boundary=x",
        &too_long,
    ] {
        assert_eq!(media(bad), Err(ManifestError::MediaType { index: 0 }), "{bad:?}");
    }
}

#[test]
fn requests_are_resolved_to_files_and_index_pages() {
    let manifest = manifest();
    let resolve = |path: &str| manifest.resolve(path).map(|entry| entry.path.as_str());
    assert_eq!(resolve(""), Some("index.html"));
    assert_eq!(resolve("/"), Some("index.html"));
    assert_eq!(resolve("style.css"), Some("style.css"));
    assert_eq!(resolve("/style.css"), Some("style.css"));
    assert_eq!(resolve("about"), Some("about/index.html"));
    assert_eq!(resolve("about/"), Some("about/index.html"));
    for missing in ["Style.css", "style.css/", "about//", "missing", "../index.html", "about/missing"] {
        assert_eq!(resolve(missing), None, "{missing}");
    }
    let other =
        Manifest::build(vec![], vec![entry("start.html", 0, 0, 0)], Some("start.html".into()), None, String::new());
    assert_eq!(other.expect("valid").resolve("").map(|entry| entry.path.clone()), Some("start.html".into()));
}

#[test]
fn spans_are_cut_at_chunks_and_ranges() {
    let manifest = manifest();
    let spans = |path: &str, range| manifest.spans(manifest.entry(path).expect("there"), range);
    assert_eq!(spans("style.css", 0..600), Ok(vec![Span { chunk: 0, start: 400, end: 1_000 }]));
    assert_eq!(spans("style.css", 10..11), Ok(vec![Span { chunk: 0, start: 410, end: 411 }]));
    assert_eq!(spans("style.css", 600..600), Ok(vec![]));
    assert_eq!(spans("empty.txt", 0..0), Ok(vec![]));
    let both = vec![Span { chunk: 1, start: 262_127, end: 262_128 }, Span { chunk: 2, start: 0, end: 1 }];
    assert_eq!(spans("video.webm", 262_127..262_129), Ok(both));
    assert_eq!(spans("video.webm", 262_128..262_628), Ok(vec![Span { chunk: 2, start: 0, end: 500 }]));
    let reversed = std::ops::Range { start: 2, end: 1 };
    for range in [0..601, 600..601, u64::MAX..u64::MAX, reversed, 0..u64::MAX] {
        assert_eq!(spans("style.css", range.clone()), Err(ManifestError::Range { size: 600 }), "{range:?}");
    }
    // An entry of another manifest cannot reach outside this one's table.
    let foreign = entry("x", u64::MAX, 2, 400);
    assert!(matches!(manifest.spans(&foreign, 0..200), Err(ManifestError::Range { .. })));
    assert!(matches!(manifest.spans(&entry("x", 5, 99, 0), 0..1), Err(ManifestError::Range { .. })));
}

#[test]
fn a_sealed_manifest_opens_only_whole_and_in_order() {
    let manifest = manifest();
    let size = manifest.encode().len() as u32;
    let (refs, sealed) = manifest.seal(&read()).expect("seals");
    assert_eq!(Manifest::open_from(&refs, &sealed, size), Ok(manifest.clone()));
    assert_eq!(Manifest::open_from(&refs, &sealed, size + 1), Err(ManifestError::Encoding));
    assert_eq!(Manifest::open_from(&refs, &sealed[..0], size), Err(ManifestError::Encoding));
    assert_eq!(Manifest::open_from(&refs[..0], &sealed[..0], 0), Err(ManifestError::Version { found: 0 }));
    let mut damaged = sealed.clone();
    damaged[0][5] ^= 1;
    assert_eq!(Manifest::open_from(&refs, &damaged, size), Err(ManifestError::Sealed(ChunkError::Hash)));
    let (private, sealed) = manifest.seal(&ReadKey::private(&site().address(), &[1; 32])).expect("seals");
    let wrong_key: Vec<ChunkRef> = private.iter().map(|chunk| ChunkRef { key: refs[0].key, ..*chunk }).collect();
    assert_eq!(Manifest::open_from(&wrong_key, &sealed, size), Err(ManifestError::Sealed(ChunkError::Seal)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_manifest_reads_back_and_its_spans_add_up(
        sizes in proptest::collection::vec(1_u32..=262_128, 1..12),
        names in proptest::collection::btree_set("[a-z]{1,8}(/[a-z]{1,8}){0,3}\\.x", 1..20),
        title in "[ -~äß]{0,40}",
        at in any::<(u16, u16)>(),
    ) {
        let table: u64 = sizes.iter().map(|size| u64::from(*size)).sum();
        // The first file is all of the table, so that every chunk is used; the others are some of it.
        let entries: Vec<Entry> = names.iter().enumerate().map(|(place, name)| {
            let first = if place == 0 { 0 } else { place % sizes.len() };
            let offset = if place == 0 { 0 } else { (place as u32 * 7_919) % sizes[first] };
            let before: u64 = sizes[..first].iter().map(|size| u64::from(*size)).sum();
            let left = table - before - u64::from(offset);
            entry(name, if place == 0 { left } else { left / 2 + 1 }, first as u32, offset)
        }).collect();
        let manifest = build(&sizes, entries).expect("valid");
        let manifest = Manifest::build(manifest.chunks, manifest.entries, None, Some(0), title).expect("valid");
        prop_assert_eq!(&Manifest::parse(&manifest.encode()).expect("valid"), &manifest);
        for entry in &manifest.entries {
            let (a, b) = (u64::from(at.0) * entry.size / 65_536, u64::from(at.1) * entry.size / 65_536);
            let range = a.min(b)..a.max(b);
            let spans = manifest.spans(entry, range.clone()).expect("in range");
            let sum: u64 = spans.iter().map(|span| u64::from(span.end - span.start)).sum();
            prop_assert_eq!(sum, range.end - range.start);
            for span in &spans {
                prop_assert!(span.start < span.end && span.end <= manifest.chunks[span.chunk as usize].size);
            }
            for pair in spans.windows(2) {
                prop_assert_eq!(pair[0].chunk + 1, pair[1].chunk);
                prop_assert_eq!((pair[0].end, pair[1].start), (manifest.chunks[pair[0].chunk as usize].size, 0));
            }
        }
    }
}
