//! Fuzz targets for every parser and state machine. `cargo test` runs each for a bounded number of cases and seconds;
//! `cargo bolero test -p meganet-core --engine libfuzzer fuzz_head` runs one with coverage feedback for as long as one likes.
//!
//! Most cases are valid messages that were damaged in a few places: random bytes alone hardly get past the first field.
//! What every target asks: no panic, no value that breaks its own rules, and whatever is read is written back as the same
//! bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that panics has failed, and that is its job"
)]

use std::time::Duration;

use bolero::{ValueGenerator, check, produce};
use bytes::Bytes;
use meganet_core::address::{Address, Link};
use meganet_core::chunk::{self, ChunkKey, ChunkRef};
use meganet_core::exchange::{Answerer, Asker};
use meganet_core::fetch::{Action, Config, Failure, Planner};
use meganet_core::hash::{ChunkId, HeadHash};
use meganet_core::head::{Head, HeadInner};
use meganet_core::keys::{BlindedKey, ReadKey, SiteKey};
use meganet_core::limits::{CHUNK_MAX_BYTES, CHUNKS_IN_FLIGHT, FRAME_MAX_BYTES, REQUESTS_OPEN_MAX};
use meganet_core::manifest::{Entry, Manifest};
use meganet_core::path;
use meganet_core::peer_list::{self, PeerEntry, PeerList};
use meganet_core::publish::local_references;
use meganet_core::wire::{Code, FrameDecoder, Request, Response, frame};

/// How long one target runs in `cargo test` at most.
const SECONDS: Duration = Duration::from_secs(4);

/// Input for a state machine: some hundred operations.
fn operations() -> impl ValueGenerator<Output = Vec<u8>> {
    produce::<Vec<u8>>().with().len(0_usize..2_000)
}

fn site() -> SiteKey {
    SiteKey::from_seed([7; 32])
}

fn read() -> ReadKey {
    ReadKey::public(&site().address())
}

fn chunk_ref(number: u8, size: u32) -> ChunkRef {
    ChunkRef { id: ChunkId::from_bytes([number; 32]), key: ChunkKey::from_bytes([number; 32]), size }
}

fn chunk_id(number: u8) -> ChunkId {
    ChunkId::of(&[number])
}

/// Fuzzer input, read as numbers and bytes; zeros when it is used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> usize {
        usize::from(self.byte()) << 8 | usize::from(self.byte())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A message to parse: now and then the input itself, otherwise a seed that the input damages.
fn damaged(input: &[u8], seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = Input(input);
    let choice = usize::from(input.byte());
    if choice >= 224 {
        return input.0.to_vec();
    }
    let mut bytes = seeds[choice % seeds.len()].clone();
    // At most eight changes, so that something of the message stays.
    for _ in 0..1 + input.byte() % 8 {
        if bytes.is_empty() {
            break;
        }
        let (kind, place, value) = (input.byte(), input.number() % bytes.len(), input.byte());
        match kind % 8 {
            0 => bytes[place] ^= 1 << (value % 8),
            1 => bytes[place] = value,
            2 => bytes.truncate(place),
            3 => bytes.insert(place, value),
            4 => _ = bytes.remove(place),
            // Numbers at their ends: a varint of all ones, or a length that reaches far.
            5 => _ = bytes.splice(place..place, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            6 => {
                let end = (place + usize::from(value)).min(bytes.len());
                let copy = bytes[place..end].to_vec();
                _ = bytes.splice(place..place, copy);
            }
            _ => {
                let other = &seeds[usize::from(value) % seeds.len()];
                let cut = place.min(other.len());
                bytes.truncate(place);
                bytes.extend_from_slice(&other[cut..]);
            }
        }
    }
    bytes
}

fn inner(chunks: u8) -> HeadInner {
    let full = 262_128_u32;
    let sizes = (1..=chunks).map(|number| if number == chunks { 64 } else { full });
    let manifest: Vec<ChunkRef> = sizes.enumerate().map(|(place, size)| chunk_ref(place as u8, size)).collect();
    HeadInner {
        time_ms: 1_800_000_000_000,
        total_size: 12_345,
        manifest_size: u32::from(chunks - 1) * full + 64,
        manifest,
        previous: (chunks > 1).then(|| HeadHash::from_bytes([3; 32])),
    }
}

#[test]
fn fuzz_head() {
    let seeds: Vec<Vec<u8>> = [(1, 1), (1 << 40, 2), (u64::MAX, 5)]
        .map(|(sequence, chunks)| Head::sign(&site(), &read(), sequence, &inner(chunks)).expect("signable"))
        .map(|head| head.as_bytes().to_vec())
        .into();
    let blinded = site().address().blinded();
    check!().with_test_time(SECONDS).with_iterations(200_000).with_max_len(64).for_each(|input: &[u8]| {
        let bytes = damaged(input, &seeds);
        if let Ok(head) = Head::parse(&bytes) {
            assert!(seeds.contains(&bytes), "a forged head");
            assert_eq!(head.as_bytes(), bytes);
            assert!(head.open(&read()).is_ok());
            assert!(Head::parse_for(&bytes, &blinded).is_ok());
        }
    });
}

/// The same with signatures that are right, so that what follows them is reached.
#[test]
fn fuzz_head_body_and_inner() {
    use tor_llcrypto::pk::ed25519::{ExpandedKeypair, Keypair};
    let h = blake3::derive_key("meganet 2026 blinding v1", site().address().public_key());
    let pair = ExpandedKeypair::from(&Keypair::from_bytes(site().seed()));
    let blinded = tor_llcrypto::pk::keymanip::blind_keypair(&pair, h).expect("blindable");
    let field = |tag: u8, bytes: &[u8]| {
        let mut length = frame(bytes);
        length.insert(0, tag << 3 | 2);
        length
    };
    let bodies: Vec<Vec<u8>> = [1, 3]
        .map(|chunks| Head::sign(&site(), &read(), 9, &inner(chunks)).expect("signable"))
        .map(|head| head.as_bytes()[3..head.as_bytes().len() - 66].to_vec())
        .into();
    check!().with_test_time(SECONDS).with_iterations(20_000).with_max_len(64).for_each(|input: &[u8]| {
        let body = damaged(input, &bodies);
        let signature = blinded.sign(&[b"meganet-head-v1\0", &body[..]].concat()).to_bytes();
        let bytes = [field(1, &body), field(2, &signature)].concat();
        if let Ok(head) = Head::parse(&bytes) {
            assert_eq!(head.as_bytes(), bytes);
            assert!(head.sequence() > 0);
            let opened = head.open(&read());
            assert_eq!(opened.is_ok(), bodies.contains(&body), "{opened:?}");
        }
    });
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    let entry = |path: &str, size, first_chunk, offset| Entry {
        path: path.into(),
        media_type: "text/html; charset=utf-8".into(),
        size,
        first_chunk,
        offset,
    };
    let chunks = vec![chunk_ref(1, 1_000), chunk_ref(2, 262_128), chunk_ref(3, 500)];
    let entries = vec![
        entry("a/b/c.html", 300, 0, 100),
        entry("empty", 0, 0, 0),
        entry("index.html", 1_000, 0, 0),
        entry("ä/日本.webm", 262_628, 1, 0),
    ];
    let first = Manifest::build(chunks, entries, Some("index.html".into()), Some(0), "Title".into()).expect("valid");
    let many = (0..200).map(|place| entry(&format!("{place:03}"), 10, place % 50, 0)).collect();
    let second = Manifest::build((0..50).map(|place| chunk_ref(place, 10)).collect(), many, None, None, String::new());
    vec![first.encode(), second.expect("valid").encode()]
}

#[test]
fn fuzz_manifest() {
    let seeds = manifest_seeds();
    check!().with_test_time(SECONDS).with_iterations(60_000).with_max_len(64).for_each(|input: &[u8]| {
        let bytes = damaged(input, &seeds);
        let Ok(manifest) = Manifest::parse(&bytes) else { return };
        assert_eq!(manifest.encode(), bytes);
        let _ = (manifest.total_size(), manifest.resolve(""), manifest.starter_chunk());
        for entry in &manifest.entries {
            assert_eq!(path::check(&entry.path), Ok(()));
            assert_eq!(manifest.resolve(&entry.path), Some(entry));
            let middle = entry.size / 2;
            for range in [0..entry.size, middle..entry.size, 0..middle] {
                let spans = manifest.spans(entry, range.clone()).expect("every file lies inside its chunks");
                let sum: u64 = spans.iter().map(|span| u64::from(span.end - span.start)).sum();
                assert_eq!(sum, range.end - range.start);
            }
        }
    });
}

#[test]
fn fuzz_peer_list() {
    let peer = |number: u8| PeerEntry { peer_id: vec![number; 38], addresses: vec!["/ip4/127.0.0.1/tcp/1".into()] };
    let list = PeerList { issued_ms: 1_000, expires_ms: 9_000, peers: vec![peer(1), peer(2)] };
    let empty = PeerList { peers: vec![], ..list.clone() };
    let seeds: Vec<Vec<u8>> = [list, empty].map(|list| peer_list::sign(&[3; 32], &list).expect("signable")).into();
    check!().with_test_time(SECONDS).with_iterations(100_000).with_max_len(64).for_each(|input: &[u8]| {
        let bytes = damaged(input, &seeds);
        if peer_list::parse(&bytes, 5_000).is_ok() {
            assert!(seeds.contains(&bytes), "a forged list");
        }
    });
}

fn request_seeds() -> Vec<Vec<u8>> {
    let blinded = site().address().blinded();
    let chunks = (0..200).map(chunk_id).collect();
    [
        Request::Head { id: 1, blinded },
        Request::Chunk { id: 300, chunk: chunk_id(1) },
        Request::Have { id: u32::MAX, blinded, chunks },
        Request::Credit { bytes: 1 << 20 },
        Request::Cancel { id: 5 },
    ]
    .map(|request| request.encode())
    .into()
}

fn response_seeds() -> Vec<Vec<u8>> {
    [
        Response::Head { id: 1, bytes: vec![1; 500] },
        Response::Part { id: 2, total: 262_144, offset: 15_968, data: Bytes::from(vec![2; 300]) },
        Response::Part { id: 300, total: 272, offset: 0, data: Bytes::from(vec![2; 272]) },
        Response::Refused { id: 3, code: Code::Busy },
        Response::Held { id: 4, bitmap: vec![5; 25] },
    ]
    .map(|response| response.encode())
    .into()
}

#[test]
fn fuzz_wire_request() {
    let seeds = request_seeds();
    check!().with_test_time(SECONDS).with_iterations(200_000).with_max_len(64).for_each(|input: &[u8]| {
        let bytes = damaged(input, &seeds);
        if let Ok(request) = Request::decode(&bytes) {
            assert_eq!(request.encode(), bytes);
        }
    });
}

#[test]
fn fuzz_wire_response() {
    let seeds = response_seeds();
    check!().with_test_time(SECONDS).with_iterations(200_000).with_max_len(64).for_each(|input: &[u8]| {
        let bytes = damaged(input, &seeds);
        if let Ok(response) = Response::decode(&bytes) {
            assert_eq!(response.encode(), bytes);
            if let Response::Part { total, offset, data, .. } = response {
                assert!(offset as usize + data.len() <= total as usize && total as usize <= CHUNK_MAX_BYTES);
            }
        }
    });
}

#[test]
fn fuzz_frame_decoder() {
    let stream: Vec<u8> = response_seeds().iter().flat_map(|body| frame(body)).collect();
    check!().with_test_time(SECONDS).with_iterations(40_000).with_generator(operations()).for_each(|input| {
        let bytes = damaged(input, std::slice::from_ref(&stream));
        let mut whole = FrameDecoder::new(FRAME_MAX_BYTES);
        whole.push(&bytes);
        let all: Vec<_> = whole.by_ref().collect();
        // However the stream is cut, the same frames come out of it.
        let mut cuts = Input(input);
        let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
        let (mut pieces, mut rest) = (Vec::new(), &bytes[..]);
        while !rest.is_empty() {
            let len = (usize::from(cuts.byte()) + 1).min(rest.len());
            decoder.push(&rest[..len]);
            pieces.extend(decoder.by_ref());
            rest = &rest[len..];
            assert!(decoder.buffered() <= FRAME_MAX_BYTES);
        }
        assert_eq!(pieces, all);
        for body in all.into_iter().flatten() {
            assert!(frame(&body).len() <= FRAME_MAX_BYTES);
        }
    });
}

#[test]
fn fuzz_chunk_open() {
    let contents: [&[u8]; 3] = [b"content", &[5; 1_000], &[0; 300]];
    let made = contents.map(|content| chunk::seal(&read(), content).expect("seals"));
    let seeds: Vec<Vec<u8>> = made.iter().map(|(_, sealed)| sealed.clone()).collect();
    check!().with_test_time(SECONDS).with_iterations(100_000).with_max_len(64).for_each(|input: &[u8]| {
        let sealed = damaged(input, &seeds);
        let mut input = Input(input);
        let (chunk, right) = &made[usize::from(input.byte()) % 3];
        match chunk::open(chunk, &sealed) {
            Ok(content) => assert!(sealed == *right && content.len() == chunk.size as usize),
            Err(_) => assert_ne!(sealed, *right),
        }
        // The right hash of damaged bytes, and any size: the key is what fails, or the padding.
        let size = input.number() as u32;
        let forged = ChunkRef { id: ChunkId::of(&sealed), key: chunk.key, size };
        if let Ok(content) = chunk::open(&forged, &sealed) {
            assert!(sealed == *right && content.len() == size as usize);
        }
    });
}

#[test]
fn fuzz_address_and_link() {
    let address = site().address().to_string();
    let seeds: Vec<Vec<u8>> = [
        address.clone(),
        format!("{address}/docs/index.html"),
        format!("web+meganet:{address}/a%20b?x#y"),
        format!("https://example.org/#/{address}/%E6%97%A5/"),
    ]
    .map(String::into_bytes)
    .into();
    check!().with_test_time(SECONDS).with_iterations(200_000).with_max_len(64).for_each(|input: &[u8]| {
        let bytes = damaged(input, &seeds);
        let text = String::from_utf8_lossy(&bytes);
        if let Ok(address) = text.parse::<Address>() {
            assert_eq!(address.to_string(), text.to_ascii_lowercase());
            let _ = address.short();
        }
        if let Ok(link) = text.parse::<Link>() {
            assert_eq!(link.to_scheme().parse::<Link>().as_ref(), Ok(&link));
            assert_eq!(link.to_page("https://example.org/").parse::<Link>(), Ok(link));
        }
        let _ = text.parse::<ChunkId>();
        let _ = BlindedKey::from_bytes(&bytes);
    });
}

#[test]
fn fuzz_path() {
    let seeds: Vec<Vec<u8>> =
        ["a/b/c.html", "日本/é.txt", "..%2e/C:\\x", "a\u{202e}b/STRASSE"].map(|path| path.as_bytes().to_vec()).into();
    check!().with_test_time(SECONDS).with_iterations(200_000).with_max_len(64).for_each(|input: &[u8]| {
        let bytes = damaged(input, &seeds);
        let text = String::from_utf8_lossy(&bytes);
        let folded = path::fold(&text);
        assert_eq!(path::fold(&folded), folded);
        if path::check(&text).is_ok() {
            let joined = std::path::Path::new("root").join(text.as_ref());
            assert!(joined.components().all(|part| matches!(part, std::path::Component::Normal(_))));
        }
        for reference in local_references(&text, "<script src='../x'><img src=a%2fb><link href=/y/../../z>") {
            assert_eq!(path::check(&reference), Ok(()));
        }
        for reference in local_references("dir/index.html", &text) {
            assert_eq!(path::check(&reference), Ok(()));
        }
    });
}

/// An asker under any order of questions, cancels and answers, of which many answer nothing.
#[test]
fn fuzz_asker() {
    check!().with_test_time(SECONDS).with_iterations(15_000).with_generator(operations()).for_each(|input| {
        let mut input = Input(input);
        let mut asker = Asker::new();
        let blinded = site_blinded();
        let mut granted = 0_u64;
        let mut received = 0_u64;
        while !input.is_empty() {
            let (operation, a, b) = (input.byte(), input.byte(), input.byte());
            let id = u32::from(a % 8);
            let response = match operation % 10 {
                0 => {
                    let _ = asker.ask_chunk(chunk_id(a % 16));
                    continue;
                }
                1 => {
                    let _ = asker.ask_head(blinded);
                    continue;
                }
                2 => {
                    let _ = asker.ask_have(blinded, vec![chunk_id(a); usize::from(b)]);
                    continue;
                }
                3 => {
                    asker.cancel(id);
                    continue;
                }
                4 => {
                    while let Some(request) = asker.poll_send() {
                        assert_eq!(Request::decode(&request.encode()), Ok(request.clone()));
                        if let Request::Credit { bytes } = request {
                            granted += bytes;
                        }
                    }
                    continue;
                }
                5 => Response::Head { id, bytes: vec![b; 10] },
                6 => Response::Held { id, bitmap: vec![b; usize::from(a % 3)] },
                7 => Response::Refused { id, code: Code::NotFound },
                _ => Response::Part {
                    id,
                    total: u32::from(b % 4) * 100,
                    offset: u32::from(b / 4 % 4) * 100,
                    data: Bytes::from(vec![b; usize::from(b / 16 % 3) * 100]),
                },
            };
            let len = if let Response::Part { data, .. } = &response { data.len() as u64 } else { 0 };
            if asker.handle(response).is_ok() {
                received += len;
            }
            assert!(received <= granted, "data beyond the credit was taken");
            assert!(asker.open_questions() <= REQUESTS_OPEN_MAX);
        }
    });
}

fn site_blinded() -> BlindedKey {
    // Blinding is too slow to repeat it for every case.
    static BLINDED: std::sync::OnceLock<BlindedKey> = std::sync::OnceLock::new();
    *BLINDED.get_or_init(|| site().address().blinded())
}

/// An answerer under any order of questions, look-ups and frames: bounded, and never a byte beyond its credit.
#[test]
fn fuzz_answerer() {
    check!().with_test_time(SECONDS).with_iterations(15_000).with_generator(operations()).for_each(|input| {
        let mut input = Input(input);
        let mut answerer = Answerer::new(FRAME_MAX_BYTES);
        let (mut credit, mut sent, mut now_ms) = (0_u64, 0_u64, 0_u64);
        let mut asked = Vec::new();
        while !input.is_empty() {
            let (operation, a, b) = (input.byte(), input.byte(), input.byte());
            let id = u32::from(a) + 1;
            match operation % 10 {
                0 | 1 => _ = answerer.handle(Request::Chunk { id, chunk: chunk_id(b) }),
                2 => _ = answerer.handle(Request::Head { id, blinded: site_blinded() }),
                3 => _ = answerer.handle(Request::Cancel { id }),
                4 => {
                    let bytes = u64::from(b) * 100;
                    let _ = answerer.handle(Request::Credit { bytes });
                    credit += bytes;
                }
                5 => asked.extend(answerer.next_ask().map(|ask| ask.id())),
                6 => answerer.answer_chunk(id, Bytes::from(vec![b; usize::from(b) * 40])),
                7 => {
                    if let Some(id) = asked.pop() {
                        match b % 3 {
                            0 => answerer.answer_chunk(id, Bytes::from(vec![b; 5_000])),
                            1 => answerer.answer_head(id, vec![b; 100]),
                            _ => answerer.refuse(id, Code::NotFound),
                        }
                    }
                }
                _ => {
                    now_ms += u64::from(b);
                    if let Some(response) = answerer.next_frame(now_ms) {
                        assert!(response.encode_frame().len() <= FRAME_MAX_BYTES);
                        assert_eq!(Response::decode(&response.encode()), Ok(response.clone()));
                        if let Response::Part { data, .. } = response {
                            sent += data.len() as u64;
                        }
                    }
                    let _ = (answerer.is_stalled(now_ms), answerer.next_timeout());
                }
            }
            assert!(sent <= credit, "data beyond the credit was sent");
            assert!(answerer.open_questions() <= REQUESTS_OPEN_MAX);
        }
    });
}

/// A planner under any order of reports. Its books must agree with a count from outside.
#[test]
fn fuzz_planner() {
    check!().with_test_time(SECONDS).with_iterations(10_000).with_generator(operations()).for_each(|input| {
        let mut input = Input(input);
        let mut planner: Planner<u8> = Planner::new(Config::default());
        let mut requests: Vec<(u8, ChunkId)> = Vec::new();
        let mut now_ms = 0_u64;
        while !input.is_empty() {
            let (operation, a, b) = (input.byte(), input.byte(), input.byte());
            let (peer, chunk) = (a % 6, chunk_id(b % 20));
            // Half of the reports are about requests that are under way.
            let (peer, chunk) = match requests.get(usize::from(b)) {
                Some(known) if operation & 0x80 == 0 => *known,
                _ => (peer, chunk),
            };
            match operation % 12 {
                0 => _ = planner.add_peer(peer),
                1 => planner.remove_peer(peer, now_ms),
                2 | 3 => _ = planner.want(chunk, u32::from(a % 3), u32::from(b) * 2_000, now_ms),
                4 => planner.unwant(chunk),
                5 => planner.on_progress(peer, chunk, u64::from(b) * 1_000, now_ms),
                6 => planner.on_done(peer, chunk, 262_144, now_ms),
                7 => {
                    let failures =
                        [Failure::NotFound, Failure::Busy, Failure::TimedOut, Failure::Disconnected, Failure::Lied];
                    planner.on_failed(peer, chunk, failures[usize::from(a) % 5], now_ms);
                }
                8 => planner.on_missing(peer, chunk),
                9 => now_ms += u64::from(a) * 50,
                _ => now_ms = planner.next_timeout().unwrap_or(now_ms).max(now_ms),
            }
            let mut actions = 0;
            while let Some(action) = planner.poll(now_ms) {
                actions += 1;
                assert!(actions < 1_000, "polling does not come to an end");
                if let Action::Request { peer, chunk } = action {
                    requests.push((peer, chunk));
                    assert!(!planner.is_banned(peer));
                }
            }
            requests.truncate(256);
            assert!(planner.in_flight() <= CHUNKS_IN_FLIGHT && planner.wanted() <= 20);
            let by_peer: usize = planner.peers().map(|stats| stats.in_flight).sum();
            assert_eq!(by_peer, planner.in_flight());
            assert!(planner.next_timeout().is_none_or(|time| time > now_ms));
        }
    });
}
