//! Frames: round trips, refusals, cutting a stream.

use bytes::Bytes;
use meganet_core::hash::ChunkId;
use meganet_core::limits::{CHUNK_MAX_BYTES, FRAME_MAX_BYTES, HAVE_MAX_CHUNKS, HEAD_MAX_BYTES};
use meganet_core::wire::{Code, FrameDecoder, Request, Response, WireError, frame, held_bitmap, is_held};
use proptest::prelude::*;

use crate::common::{chunk_id, head, pb, site};

pub fn requests() -> Vec<Request> {
    let blinded = site().address().blinded();
    vec![
        Request::Head { id: 1, blinded },
        Request::Chunk { id: u32::MAX, chunk: chunk_id(1) },
        Request::Have { id: 3, blinded, chunks: vec![chunk_id(1), chunk_id(2)] },
        Request::Credit { bytes: 1_048_576 },
        Request::Cancel { id: 300 },
    ]
}

pub fn responses() -> Vec<Response> {
    vec![
        Response::Head { id: 1, bytes: head(1).as_bytes().to_vec() },
        Response::Part { id: 2, total: 272, offset: 0, data: Bytes::from_static(b"first") },
        Response::Part { id: 2, total: 272, offset: 5, data: Bytes::from(vec![7; 267]) },
        Response::Refused { id: 3, code: Code::NotFound },
        Response::Refused { id: 3, code: Code::Busy },
        Response::Refused { id: 3, code: Code::BadRequest },
        Response::Refused { id: 3, code: Code::Cancelled },
        Response::Held { id: 4, bitmap: vec![0b101] },
    ]
}

#[test]
fn every_kind_of_frame_reads_back() {
    for request in requests() {
        assert_eq!(Request::decode(&request.encode()), Ok(request.clone()));
        assert_eq!(request.encode_frame(), frame(&request.encode()));
    }
    for response in responses() {
        assert_eq!(Response::decode(&response.encode()), Ok(response.clone()));
        assert_eq!(response.encode_frame(), frame(&response.encode()));
    }
}

#[test]
fn a_parts_data_is_not_copied() {
    let part = Response::Part { id: 9, total: 1_000, offset: 10, data: Bytes::from(vec![1; 500]) };
    let bytes = Bytes::from(part.encode());
    let Ok(Response::Part { data, .. }) = Response::decode_shared(bytes.clone()) else { panic!("a part") };
    assert_eq!(data.as_ptr(), bytes[bytes.len() - 500..].as_ptr());
}

#[test]
fn the_largest_messages_fit_into_a_frame() {
    let blinded = site().address().blinded();
    let chunks: Vec<ChunkId> = (0..HAVE_MAX_CHUNKS as u64).map(chunk_id).collect();
    let have = Request::Have { id: u32::MAX, blinded, chunks };
    assert!(have.encode_frame().len() <= FRAME_MAX_BYTES);
    assert_eq!(Request::decode(&have.encode()), Ok(have));
    let head = Response::Head { id: u32::MAX, bytes: vec![0; HEAD_MAX_BYTES] };
    assert!(head.encode_frame().len() <= FRAME_MAX_BYTES);
    assert_eq!(Response::decode(&head.encode()), Ok(head));
}

#[test]
fn case_12_only_the_canonical_encoding_is_read() {
    let key = site().address().blinded();
    let hash = [5; 32];
    let refused = [
        ("other order", [pb::bytes(3, &hash), pb::uint(1, 1)].concat()),
        ("two kinds", [pb::uint(1, 1), pb::bytes(2, key.as_bytes()), pb::bytes(3, &hash)].concat()),
        ("twice", [pb::uint(1, 1), pb::uint(1, 1), pb::bytes(3, &hash)].concat()),
        ("unknown", [pb::uint(1, 1), pb::bytes(3, &hash), pb::uint(15, 1)].concat()),
        ("long varint", [vec![0x08, 0x81, 0x00], pb::bytes(3, &hash)].concat()),
        ("zero written out", [pb::uint(1, 0), pb::uint(5, 1)].concat()),
        ("truth of two", [pb::uint(1, 1), pb::uint(6, 2)].concat()),
    ];
    for (what, bytes) in refused {
        assert_eq!(Request::decode(&bytes), Err(WireError::Encoding), "{what}");
    }
    let part = |parts: &[Vec<u8>]| [pb::uint(1, 1), pb::bytes(3, &parts.concat())].concat();
    let (total, data) = (pb::uint(1, 272), pb::bytes(3, b"data"));
    assert!(Response::decode(&part(&[total.clone(), data.clone()])).is_ok());
    let refused = [
        ("data first", part(&[data.clone(), total.clone()])),
        ("zero offset", part(&[total.clone(), pb::uint(2, 0), data.clone()])),
        ("twice", part(&[total.clone(), data.clone(), data.clone()])),
        ("unknown", part(&[total.clone(), data.clone(), pb::uint(4, 1)])),
        ("split", [pb::uint(1, 1), pb::bytes(3, &total), pb::bytes(3, &data)].concat()),
        ("id behind", [pb::bytes(3, &[total.clone(), data.clone()].concat()), pb::uint(1, 1)].concat()),
        ("trailing", [part(&[total.clone(), data.clone()]), vec![0]].concat()),
        ("code of 64 bits", [pb::uint(1, 1), pb::uint(4, (1 << 32) + 1)].concat()),
    ];
    for (what, bytes) in refused {
        assert_eq!(Response::decode(&bytes), Err(WireError::Encoding), "{what}");
    }
}

#[test]
fn requests_out_of_bounds_are_refused() {
    let key = *site().address().blinded().as_bytes();
    let with_id = |id: u64, kind: Vec<u8>| if id == 0 { kind } else { [pb::uint(1, id), kind].concat() };
    let decode = |id, kind| Request::decode(&with_id(id, kind));
    assert_eq!(decode(0, pb::bytes(3, &[1; 32])), Err(WireError::Id { id: 0 }));
    assert_eq!(decode(7, pb::uint(5, 1)), Err(WireError::Id { id: 7 }));
    assert_eq!(decode(0, pb::uint(5, 0)), Err(WireError::Field { field: "credit" }));
    assert_eq!(decode(1, pb::uint(6, 0)), Err(WireError::Field { field: "cancel flag" }));
    assert_eq!(decode(1, pb::bytes(3, &[1; 31])), Err(WireError::Field { field: "chunk id" }));
    assert_eq!(decode(1, pb::bytes(2, &key[1..])), Err(WireError::Field { field: "blinded key" }));
    assert_eq!(decode(1, vec![]), Err(WireError::Kind));
    assert_eq!(Request::decode(&[]), Err(WireError::Kind));
    let have = |count: usize| pb::bytes(4, &[pb::bytes(1, &key), pb::bytes(2, &[1; 32]).repeat(count)].concat());
    assert!(decode(1, have(HAVE_MAX_CHUNKS)).is_ok());
    for count in [0, HAVE_MAX_CHUNKS + 1] {
        assert_eq!(decode(1, have(count)), Err(WireError::Field { field: "count of chunks" }));
    }
    let huge = vec![0; FRAME_MAX_BYTES + 1];
    assert_eq!(Request::decode(&huge), Err(WireError::FrameTooLarge { max: FRAME_MAX_BYTES }));
    assert_eq!(Response::decode(&huge), Err(WireError::FrameTooLarge { max: FRAME_MAX_BYTES }));
}

#[test]
fn responses_out_of_bounds_are_refused() {
    let decode = |kind: Vec<u8>| Response::decode(&[pb::uint(1, 1), kind].concat());
    let part = |total: u64, offset: u64, len: usize| {
        let offset = if offset == 0 { vec![] } else { pb::uint(2, offset) };
        let data = if len == 0 { vec![] } else { pb::bytes(3, &vec![1; len]) };
        pb::bytes(3, &[pb::uint(1, total), offset, data].concat())
    };
    let max = CHUNK_MAX_BYTES as u64;
    assert!(decode(part(max, max - 10, 10)).is_ok());
    assert_eq!(decode(part(max, max - 10, 11)), Err(WireError::Field { field: "part" }));
    assert_eq!(decode(part(max + 1, 0, 10)), Err(WireError::Field { field: "part" }));
    assert_eq!(decode(part(u64::from(u32::MAX), u64::from(u32::MAX), 10)), Err(WireError::Field { field: "part" }));
    // Without data the field is absent, which is no part's encoding.
    assert!(decode(part(10, 0, 0)).is_err());
    assert_eq!(decode(pb::uint(4, 0)), Err(WireError::Field { field: "code" }));
    assert_eq!(decode(pb::uint(4, 5)), Err(WireError::Field { field: "code" }));
    assert_eq!(decode(pb::bytes(2, &[])), Err(WireError::Field { field: "head" }));
    assert_eq!(decode(pb::bytes(2, &[0; HEAD_MAX_BYTES + 1])), Err(WireError::Field { field: "head" }));
    assert_eq!(decode(pb::bytes(5, &[])), Err(WireError::Field { field: "bitmap" }));
    assert_eq!(decode(pb::bytes(5, &[0; 26])), Err(WireError::Field { field: "bitmap" }));
    assert_eq!(decode(vec![]), Err(WireError::Kind));
    assert_eq!(Response::decode(&pb::bytes(5, &[1])), Err(WireError::Id { id: 0 }));
}

#[test]
fn bitmaps_count_from_the_lowest_bit() {
    let held = [true, false, true, false, false, false, false, false, true];
    let bitmap = held_bitmap(&held);
    assert_eq!(bitmap, [0b101, 1]);
    for (place, expected) in held.iter().enumerate() {
        assert_eq!(is_held(&bitmap, place), *expected);
    }
    assert!(!is_held(&bitmap, 16) && !is_held(&bitmap, usize::MAX) && !is_held(&[], 0));
}

#[test]
fn case_10_an_oversized_frame_is_refused_from_its_prefix() {
    for prefix in
        [pb::varint(16_000), pb::varint(1 << 30), pb::varint(u64::MAX), vec![0xff; 20], vec![0xff, 0xff, 0xff]]
    {
        let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
        decoder.push(&prefix);
        decoder.push(&[0]);
        assert_eq!(decoder.next(), Some(Err(WireError::FrameTooLarge { max: FRAME_MAX_BYTES })), "{prefix:?}");
        decoder.push(&vec![0; 100_000]);
        assert_eq!((decoder.next(), decoder.buffered()), (None, 0), "nothing is kept after an error");
    }
    // 16,000 bytes with the prefix of two is the edge.
    let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
    decoder.push(&frame(&vec![1; FRAME_MAX_BYTES - 2]));
    assert_eq!(decoder.next().map(|body| body.map(|body| body.len())), Some(Ok(FRAME_MAX_BYTES - 2)));
    decoder.push(&frame(&vec![1; FRAME_MAX_BYTES - 1])[..2]);
    assert_eq!(decoder.next(), Some(Err(WireError::FrameTooLarge { max: FRAME_MAX_BYTES })));
    // Even a decoder of any size reads no prefix of four bytes.
    let mut decoder = FrameDecoder::new(usize::MAX);
    decoder.push(&[0x80, 0x80, 0x80, 0x01]);
    assert!(matches!(decoder.next(), Some(Err(WireError::FrameTooLarge { .. }))));
}

#[test]
fn a_length_in_a_longer_form_is_refused() {
    for prefix in [&[0x80, 0x00][..], &[0x81, 0x00], &[0x81, 0x80, 0x00]] {
        let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
        decoder.push(prefix);
        assert_eq!(decoder.next(), Some(Err(WireError::Prefix)));
    }
}

#[test]
fn an_empty_frame_is_a_frame_and_no_message() {
    let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
    decoder.push(&[0, 0]);
    assert_eq!(decoder.next(), Some(Ok(Bytes::new())));
    assert_eq!(decoder.next(), Some(Ok(Bytes::new())));
    assert_eq!(decoder.next(), None);
}

fn any_request() -> impl Strategy<Value = Request> {
    let id = 1_u32..;
    let blinded = site().address().blinded();
    let chunk = any::<[u8; 32]>().prop_map(ChunkId::from_bytes);
    prop_oneof![
        id.clone().prop_map(move |id| Request::Head { id, blinded }),
        (id.clone(), chunk.clone()).prop_map(|(id, chunk)| Request::Chunk { id, chunk }),
        (id.clone(), proptest::collection::vec(chunk, 1..=HAVE_MAX_CHUNKS))
            .prop_map(move |(id, chunks)| Request::Have { id, blinded, chunks }),
        (1_u64..).prop_map(|bytes| Request::Credit { bytes }),
        id.prop_map(|id| Request::Cancel { id }),
    ]
}

fn any_response() -> impl Strategy<Value = Response> {
    let id = 1_u32..;
    let bytes = |max: usize| proptest::collection::vec(any::<u8>(), 1..=max);
    prop_oneof![
        (id.clone(), bytes(HEAD_MAX_BYTES)).prop_map(|(id, bytes)| Response::Head { id, bytes }),
        (id.clone(), bytes(9_000), 0_u32..=253_144, 0_u32..=9_000).prop_map(|(id, data, offset, more)| {
            let end = offset + data.len() as u32;
            Response::Part { id, total: (end + more).min(CHUNK_MAX_BYTES as u32), offset, data: data.into() }
        }),
        (id.clone(), 0_usize..4).prop_map(|(id, code)| {
            let codes = [Code::NotFound, Code::Busy, Code::BadRequest, Code::Cancelled];
            Response::Refused { id, code: codes[code] }
        }),
        (id, bytes(25)).prop_map(|(id, bitmap)| Response::Held { id, bitmap }),
    ]
}

proptest! {
    #[test]
    fn every_request_reads_back(request in any_request()) {
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
    }

    #[test]
    fn every_response_reads_back(response in any_response()) {
        prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
    }

    #[test]
    fn case_11_random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(request.encode(), bytes.clone());
        }
        if let Ok(response) = Response::decode(&bytes) {
            prop_assert_eq!(response.encode(), bytes);
        }
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_frames(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 0..12),
        cuts in proptest::collection::vec(1_usize..300, 1..40),
    ) {
        let stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
        let (mut frames, mut rest) = (Vec::new(), &stream[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            decoder.push(now);
            for body in decoder.by_ref() {
                frames.push(body.expect("a frame").to_vec());
            }
            rest = later;
        }
        prop_assert_eq!(frames, bodies);
        prop_assert_eq!(decoder.buffered(), 0);
    }
}
