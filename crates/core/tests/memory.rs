//! How much memory hostile input can make a parser take, counted by the allocator.
#![allow(unsafe_code, reason = "only an allocator can count what is allocated")]
#![allow(clippy::expect_used, reason = "a test that panics has failed")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use meganet_core::head::Head;
use meganet_core::limits::{FRAME_MAX_BYTES, HEAD_MAX_BYTES, MANIFEST_MAX_BYTES, PEER_LIST_MAX_BYTES};
use meganet_core::manifest::Manifest;
use meganet_core::wire::{FrameDecoder, Request, Response};
use meganet_core::{chunk, hash, peer_list};

struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that is ending has no counters any more, and nobody asks for them.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call is passed on to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that were held at a time during the call, and those still held after it.
fn measure<T>(call: impl FnOnce() -> T) -> (usize, isize) {
    let before = NOW.get();
    PEAK.set(before);
    drop(call());
    (usize::try_from(PEAK.get() - before).expect("a peak is not below its start"), NOW.get() - before)
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field that announces `len` bytes and has few.
fn long_field(tag: u8, len: u64) -> Vec<u8> {
    [vec![tag << 3 | 2], varint(len), vec![0; 50]].concat()
}

#[test]
fn case_10_a_gigabyte_that_is_announced_is_not_allocated() {
    for len in [1 << 20, 1 << 30, u64::MAX] {
        for tag in 1..=6 {
            let bytes = long_field(tag, len);
            let peaks = [
                measure(|| Head::parse(&bytes)),
                measure(|| Manifest::parse(&bytes)),
                measure(|| peer_list::parse(&bytes, 0)),
                measure(|| Request::decode(&bytes)),
                measure(|| Response::decode(&bytes)),
            ];
            for (parser, (peak, left)) in peaks.into_iter().enumerate() {
                assert!(peak <= HEAD_MAX_BYTES && left == 0, "parser {parser}, tag {tag}: {peak} bytes, {left} left");
            }
        }
    }
    let huge = vec![0x0a; 64 << 20];
    for (peak, _) in
        [measure(|| Head::parse(&huge)), measure(|| Manifest::parse(&huge)), measure(|| peer_list::parse(&huge, 0))]
    {
        assert_eq!(peak, 0, "refused by its size alone");
    }
    let (peak, _) = measure(|| chunk::verify(&hash::ChunkId::from_bytes([0; 32]), &huge));
    assert_eq!(peak, 0);
}

#[test]
fn case_10_a_frame_decoder_holds_one_read_and_one_frame() {
    let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
    let mut frame = varint(15_998);
    frame.extend(vec![7; 15_998]);
    let stream = frame.repeat(100);
    let (peak, left) = measure(|| {
        for piece in stream.chunks(10_000) {
            decoder.push(piece);
            for body in decoder.by_ref() {
                assert!(body.is_ok());
            }
        }
    });
    assert!(peak < 5 * FRAME_MAX_BYTES && left < 5 * FRAME_MAX_BYTES as isize, "{peak} bytes, {left} left");
    let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
    let prefix = varint(1 << 30);
    let (peak, left) = measure(|| {
        decoder.push(&prefix);
        assert!(matches!(decoder.next(), Some(Err(_))));
        for _ in 0..100 {
            decoder.push(&stream);
        }
    });
    assert!(peak < 1_000 && left < 1_000, "{peak} bytes, {left} left");
}

#[test]
fn case_15_and_25_a_megabyte_of_nothing_stays_a_megabyte() {
    // Entries and chunks of two bytes each would become structures of a hundred.
    for tag in [2_u8, 3] {
        let mut bytes = vec![0x08, 0x01];
        bytes.extend([tag << 3 | 2, 0].repeat((MANIFEST_MAX_BYTES - 2) / 2));
        let (peak, left) = measure(|| Manifest::parse(&bytes));
        assert!(peak < 1_000 && left == 0, "tag {tag}: {peak} bytes, {left} left");
    }
    // At the bound of entries memory is in proportion.
    let mut bytes = vec![0x08, 0x01];
    bytes.extend([3 << 3 | 2, 0].repeat(10_000));
    let (peak, left) = measure(|| Manifest::parse(&bytes));
    assert!(peak < 8 << 20 && left == 0, "{peak} bytes, {left} left");
    // The same with everything else that repeats, inside its own bound.
    let mut have = vec![0x08, 0x01, 0x22];
    let chunks = [0x12, 0].repeat(7_000);
    have.extend(varint(chunks.len() as u64));
    have.extend(chunks);
    let (peak, _) = measure(|| Request::decode(&have));
    assert!(peak < 1 << 20, "{peak} bytes");
    let peers = [vec![0x08, 0x01], [0x22, 0].repeat(8_000)].concat();
    let list = [vec![0x0a], varint(peers.len() as u64), peers].concat();
    assert!(list.len() <= PEER_LIST_MAX_BYTES);
    let (peak, _) = measure(|| peer_list::parse(&list, 0));
    assert!(peak < 2 << 20, "{peak} bytes");
}
