//! Rates of sealing and opening chunks beside those of the primitives they are made of, and of a chunk's way through the
//! exchange. Prints medians; `cargo bench -p meganet-core`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a bench runs on fixed input, and stops when something is wrong"
)]

use std::hint::black_box;
use std::time::Instant;

use bytes::Bytes;
use meganet_core::chunk;
use meganet_core::exchange::{Answerer, Ask, Asker, AskerEvent};
use meganet_core::hash::ChunkId;
use meganet_core::head::{Head, HeadInner};
use meganet_core::keys::{ReadKey, SiteKey};
use meganet_core::limits::{CHUNK_CONTENT_MAX_BYTES, FRAME_MAX_BYTES};
use meganet_core::wire::{FrameDecoder, Request, Response};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

const ROUNDS: usize = 201;

/// The median time of one call, in nanoseconds.
fn median_ns(mut call: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed().as_nanos() as f64
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[ROUNDS / 2]
}

fn report(what: &str, ns: f64) {
    println!("{what:<48} {:>9.1} us {:>9.0} MB/s", ns / 1_000.0, CHUNK_CONTENT_MAX_BYTES as f64 * 1_000.0 / ns);
}

/// Moves one chunk from an answerer to an asker through frames, as the node does.
fn exchange(id: ChunkId, sealed: &Bytes) {
    let (mut asker, mut answerer) = (Asker::new(), Answerer::new(FRAME_MAX_BYTES));
    let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
    asker.ask_chunk(id).expect("asked");
    while let Some(request) = asker.poll_send() {
        answerer.handle(Request::decode_shared(request.encode().into()).expect("canonical")).expect("within the rules");
    }
    while let Some(Ask::Chunk { id, .. }) = answerer.next_ask() {
        answerer.answer_chunk(id, sealed.clone());
    }
    while let Some(response) = answerer.next_frame(0) {
        decoder.push(&response.encode_frame());
        for body in decoder.by_ref() {
            let response = Response::decode_shared(body.expect("a frame")).expect("canonical");
            let event = asker.handle(response).expect("within the rules");
            if let Some(AskerEvent::Lied { .. }) = black_box(event) {
                panic!("the chunk is right");
            }
        }
    }
}

fn main() {
    let site = SiteKey::from_seed([7; 32]);
    let read = ReadKey::public(&site.address());
    let content: Vec<u8> = (0..CHUNK_CONTENT_MAX_BYTES).map(|place| (place * 31 % 251) as u8).collect();
    let (chunk, sealed) = chunk::seal(&read, &content).expect("seals");

    let hash_ns = median_ns(|| _ = black_box(blake3::hash(black_box(&content))));
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[1; 32]).expect("32 bytes"));
    let mut buffer = content.clone();
    let cipher_ns = median_ns(|| {
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        _ = black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut buffer));
    });
    report("BLAKE3", hash_ns);
    report("ring ChaCha20-Poly1305", cipher_ns);
    report(
        "seal: twice the hash, once the cipher",
        median_ns(|| _ = black_box(chunk::seal(&read, black_box(&content)))),
    );
    report("  the sum of its primitives", 2.0 * hash_ns + cipher_ns);
    report("open: once each, and a copy", median_ns(|| _ = black_box(chunk::open(&chunk, black_box(&sealed)))));
    report("  the sum of its primitives", hash_ns + cipher_ns);
    let shared = Bytes::from(sealed.clone());
    report("exchange: frames both ways and one hash", median_ns(|| exchange(chunk.id, black_box(&shared))));

    let inner = HeadInner { time_ms: 1, total_size: 1, manifest_size: 100, manifest: vec![chunk; 1], previous: None };
    let inner = HeadInner { manifest_size: inner.manifest[0].size, ..inner };
    let head = Head::sign(&site, &read, 1, &inner).expect("signable");
    println!("head: parse and verify {:>32.1} us", median_ns(|| _ = black_box(Head::parse(head.as_bytes()))) / 1_000.0);
}
