//! One exchange stream, both ends: order, credit, cancelling, violations, bounds.

use bytes::Bytes;
use meganet_core::exchange::{Answerer, Ask, AskError, Asker, AskerEvent, Violation};
use meganet_core::hash::ChunkId;
use meganet_core::limits::{
    ANSWER_STALL_MS, ANSWERS_LOADED_MAX, CHUNK_MAX_BYTES, CREDIT_MAX_BYTES, CREDIT_WINDOW_BYTES, FRAME_MAX_BYTES,
    HAVE_MAX_CHUNKS, REFUSALS_WAITING_MAX, REQUESTS_OPEN_MAX,
};
use meganet_core::wire::{Code, Request, Response};

use crate::common::{Rng, chunk_id, site};

/// Both ends of a stream and the chunks that the answering one has.
struct Pair {
    asker: Asker,
    answerer: Answerer,
    chunks: Vec<(ChunkId, Bytes)>,
    events: Vec<AskerEvent>,
    frames: Vec<Response>,
    frame_max: usize,
}

impl Pair {
    fn new(frame_max: usize) -> Self {
        let asker = Asker::new();
        let answerer = Answerer::new(frame_max);
        Self { asker, answerer, chunks: vec![], events: vec![], frames: vec![], frame_max }
    }

    fn add_chunk(&mut self, seed: u64, len: usize) -> ChunkId {
        let bytes = Bytes::from(Rng(seed).bytes(len));
        let id = ChunkId::of(&bytes);
        self.chunks.push((id, bytes));
        id
    }

    /// Carries requests over and looks them up; true if there was something to do.
    fn ask(&mut self) -> bool {
        let mut moved = false;
        while let Some(request) = self.asker.poll_send() {
            moved = true;
            self.answerer.handle(Request::decode(&request.encode()).expect("canonical")).expect("within the rules");
        }
        while let Some(ask) = self.answerer.next_ask() {
            moved = true;
            match ask {
                Ask::Chunk { id, chunk } => match self.chunks.iter().find(|(known, _)| *known == chunk) {
                    Some((_, bytes)) => self.answerer.answer_chunk(id, bytes.clone()),
                    None => self.answerer.refuse(id, Code::NotFound),
                },
                Ask::Head { id, .. } => self.answerer.answer_head(id, b"a head".to_vec()),
                Ask::Have { id, chunks, .. } => {
                    let held: Vec<bool> =
                        chunks.iter().map(|chunk| self.chunks.iter().any(|(id, _)| id == chunk)).collect();
                    self.answerer.answer_held(id, meganet_core::wire::held_bitmap(&held));
                }
            }
        }
        moved
    }

    /// Carries one answer over; true if there was one.
    fn answer(&mut self) -> bool {
        let Some(response) = self.answerer.next_frame(0) else { return false };
        assert!(response.encode_frame().len() <= self.frame_max);
        self.frames.push(response.clone());
        let response = Response::decode(&response.encode()).expect("canonical");
        self.events.extend(self.asker.handle(response).expect("within the rules"));
        true
    }

    /// Carries everything over until nothing moves.
    fn drive(&mut self) {
        for _ in 0..100_000 {
            if !self.ask() && !self.answer() {
                return;
            }
        }
        panic!("the pair does not come to rest");
    }

    fn whole(&self) -> Vec<ChunkId> {
        let chunk = |event: &AskerEvent| match event {
            AskerEvent::Chunk { chunk, sealed, .. } => {
                assert_eq!(ChunkId::of(sealed), *chunk);
                Some(*chunk)
            }
            _ => None,
        };
        self.events.iter().filter_map(chunk).collect()
    }
}

#[test]
fn questions_of_every_kind_are_answered() {
    for frame_max in [FRAME_MAX_BYTES, 100] {
        let mut pair = Pair::new(frame_max);
        let chunk = pair.add_chunk(1, CHUNK_MAX_BYTES);
        let tiny = pair.add_chunk(2, 272);
        let blinded = site().address().blinded();
        let head = pair.asker.ask_head(blinded).expect("asked");
        let id = pair.asker.ask_chunk(chunk).expect("asked");
        let tiny_id = pair.asker.ask_chunk(tiny).expect("asked");
        let missing = pair.asker.ask_chunk(chunk_id(9)).expect("asked");
        let have = pair.asker.ask_have(blinded, vec![chunk_id(9), chunk, tiny]).expect("asked");
        pair.drive();
        let ends: Vec<&AskerEvent> =
            pair.events.iter().filter(|event| !matches!(event, AskerEvent::Progress { .. })).collect();
        let sealed = |seed, len| Rng(seed).bytes(len);
        assert_eq!(ends.len(), 5);
        for end in [
            AskerEvent::Head { id: head, bytes: b"a head".to_vec() },
            AskerEvent::Chunk { id, chunk, sealed: sealed(1, CHUNK_MAX_BYTES) },
            AskerEvent::Chunk { id: tiny_id, chunk: tiny, sealed: sealed(2, 272) },
            AskerEvent::Refused { id: missing, chunk: Some(chunk_id(9)), code: Code::NotFound },
            AskerEvent::Held { id: have, bitmap: vec![0b110] },
        ] {
            assert!(ends.contains(&&end), "{:?}", end.clone());
        }
        assert_eq!((pair.asker.open_questions(), pair.answerer.open_questions()), (0, 0));
    }
}

#[test]
fn many_chunks_flow_on_credit_and_in_turn() {
    let mut pair = Pair::new(FRAME_MAX_BYTES);
    let chunks: Vec<ChunkId> =
        (0..REQUESTS_OPEN_MAX as u64).map(|seed| pair.add_chunk(seed, CHUNK_MAX_BYTES)).collect();
    for chunk in &chunks {
        pair.asker.ask_chunk(*chunk).expect("asked");
    }
    pair.drive();
    assert_eq!(pair.whole().len(), chunks.len(), "16 MiB came on 1 MiB of first credit");
    // Fairness: all loaded chunks get a part before one gets a second, and between two parts of one chunk no other chunk
    // has more than one.
    let ids: Vec<u32> = pair.frames.iter().map(Response::id).collect();
    assert_eq!(ids[..ANSWERS_LOADED_MAX].iter().collect::<std::collections::BTreeSet<_>>().len(), ANSWERS_LOADED_MAX);
    for (place, id) in ids.iter().enumerate() {
        if let Some(next) = ids[place + 1..].iter().position(|other| other == id) {
            let between = &ids[place + 1..place + 1 + next];
            let mut seen = between.to_vec();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), between.len(), "question {id} waited for two parts of another");
        }
    }
}

#[test]
fn a_small_question_overtakes_loaded_chunks() {
    let mut pair = Pair::new(FRAME_MAX_BYTES);
    let chunks: Vec<ChunkId> = (0..20).map(|seed| pair.add_chunk(seed, CHUNK_MAX_BYTES)).collect();
    for chunk in chunks {
        pair.asker.ask_chunk(chunk).expect("asked");
    }
    pair.ask();
    assert!(pair.answer());
    let id = pair.asker.ask_head(site().address().blinded()).expect("asked");
    pair.ask();
    assert!(pair.answer());
    assert!(matches!(pair.frames.last(), Some(Response::Head { id: answered, .. }) if *answered == id));
}

#[test]
fn an_answerer_holds_few_chunks_in_memory() {
    let mut answerer = Answerer::new(FRAME_MAX_BYTES);
    for id in 1..=REQUESTS_OPEN_MAX as u32 {
        answerer.handle(Request::Chunk { id, chunk: chunk_id(id.into()) }).expect("within bounds");
    }
    let mut asks = Vec::new();
    while let Some(ask) = answerer.next_ask() {
        asks.push(ask.id());
    }
    assert_eq!(asks.len(), ANSWERS_LOADED_MAX);
    for id in asks {
        answerer.answer_chunk(id, Bytes::from(vec![0; 1_000]));
    }
    assert_eq!(answerer.next_ask(), None, "loaded, but not sent: no credit");
    assert_eq!(answerer.next_frame(0), None);
    answerer.handle(Request::Credit { bytes: 1_000 }).expect("credit");
    // A thousand bytes in parts of one, over eight chunks in turn, then the credit is used up.
    let sent: usize = std::iter::from_fn(|| answerer.next_frame(0))
        .map(|frame| if let Response::Part { data, .. } = frame { data.len() } else { 0 })
        .sum();
    assert_eq!(sent, 1_000);
}

/// Loads one chunk of `size` bytes as the answer to question `id`.
fn load(answerer: &mut Answerer, id: u32, size: usize) {
    answerer.handle(Request::Chunk { id, chunk: chunk_id(1) }).expect("asked");
    answerer.next_ask().expect("to be looked up");
    answerer.answer_chunk(id, Bytes::from(vec![0; size]));
}

#[test]
fn credit_is_bounded_and_its_lack_is_noticed() {
    let mut answerer = Answerer::new(FRAME_MAX_BYTES);
    assert_eq!(answerer.next_frame(0), None);
    assert_eq!(answerer.next_timeout(), None, "nothing waits");
    load(&mut answerer, 1, 10);
    assert_eq!(answerer.next_frame(1_000), None);
    assert_eq!(answerer.next_timeout(), Some(1_000 + ANSWER_STALL_MS));
    assert!(!answerer.is_stalled(999 + ANSWER_STALL_MS) && answerer.is_stalled(1_000 + ANSWER_STALL_MS));
    answerer.handle(Request::Credit { bytes: u64::MAX }).expect("credit");
    answerer.handle(Request::Credit { bytes: u64::MAX }).expect("credit");
    assert!(answerer.next_frame(2_000 + ANSWER_STALL_MS).is_some());
    assert!(!answerer.is_stalled(u64::MAX), "nothing waits any more");
    // 16 MiB and no more is remembered, ten bytes are used.
    let now_ms = 100_000;
    for id in 2..2 + (CREDIT_MAX_BYTES / CHUNK_MAX_BYTES as u64) as u32 {
        load(&mut answerer, id, CHUNK_MAX_BYTES);
        while answerer.next_frame(now_ms).is_some() {}
    }
    assert_eq!(answerer.next_timeout(), Some(now_ms + ANSWER_STALL_MS), "the last chunk lacks ten bytes");
}

#[test]
fn case_26_a_byte_of_credit_now_and_then_does_not_hold_an_answer_for_ever() {
    let mut answerer = Answerer::new(FRAME_MAX_BYTES);
    load(&mut answerer, 1, CHUNK_MAX_BYTES);
    let mut stalled_ms = None;
    for now_ms in (0..100_000).step_by(1_000) {
        answerer.handle(Request::Credit { bytes: 1 }).expect("credit");
        // A question that is answered at once does not help either.
        answerer
            .handle(Request::Have { id: 2, blinded: site().address().blinded(), chunks: vec![chunk_id(1)] })
            .expect("asked");
        answerer.next_ask().expect("to be looked up");
        answerer.answer_held(2, vec![0]);
        while answerer.next_frame(now_ms).is_some() {}
        if answerer.is_stalled(now_ms) {
            stalled_ms = Some(now_ms);
            break;
        }
    }
    assert_eq!(stalled_ms, Some(ANSWER_STALL_MS));
}

#[test]
fn a_peer_that_grants_credit_and_does_not_read_is_noticed_and_a_slow_one_is_not() {
    let mut answerer = Answerer::new(FRAME_MAX_BYTES);
    answerer.handle(Request::Credit { bytes: CREDIT_MAX_BYTES }).expect("credit");
    load(&mut answerer, 1, CHUNK_MAX_BYTES);
    // Nothing can be written, so no frame is taken.
    assert!(!answerer.is_stalled(5_000));
    assert_eq!(answerer.next_timeout(), Some(5_000 + ANSWER_STALL_MS));
    assert!(answerer.is_stalled(5_000 + ANSWER_STALL_MS));

    let mut answerer = Answerer::new(FRAME_MAX_BYTES);
    answerer.handle(Request::Credit { bytes: CREDIT_MAX_BYTES }).expect("credit");
    load(&mut answerer, 1, CHUNK_MAX_BYTES);
    let mut now_ms = 0;
    while answerer.next_frame(now_ms).is_some() {
        now_ms += 4_000;
        assert!(!answerer.is_stalled(now_ms), "4 KiB/s is slow, and enough");
    }
}

#[test]
fn a_cancelled_question_ends_once_whatever_its_state() {
    let run = |cancel_after_ask: bool, frames_before: usize| {
        let mut pair = Pair::new(FRAME_MAX_BYTES);
        let chunk = pair.add_chunk(1, 100_000);
        let id = pair.asker.ask_chunk(chunk).expect("asked");
        if cancel_after_ask {
            pair.ask();
        }
        for _ in 0..frames_before {
            pair.answer();
        }
        let before = pair.events.len();
        pair.asker.cancel(id);
        pair.asker.cancel(id);
        assert_eq!(pair.asker.id_of(&chunk), None);
        pair.drive();
        assert_eq!((pair.asker.open_questions(), pair.answerer.open_questions()), (0, 0));
        // It can be asked again, and comes.
        let after = pair.events.split_off(before);
        pair.events.clear();
        pair.asker.ask_chunk(chunk).expect("asked");
        pair.drive();
        assert_eq!(pair.whole(), [chunk]);
        after
    };
    assert_eq!(run(false, 0), [], "never sent: nothing comes of it");
    let cancelled = AskerEvent::Refused { id: 1, chunk: Some(chunk_of_run()), code: Code::Cancelled };
    assert_eq!(run(true, 0), std::slice::from_ref(&cancelled));
    assert_eq!(run(true, 3), [cancelled]);
    assert_eq!(run(true, 7), [], "it was whole before it was taken back");
}

fn chunk_of_run() -> ChunkId {
    ChunkId::of(&Rng(1).bytes(100_000))
}

#[test]
fn answers_already_under_way_to_a_cancelled_question_are_dropped() {
    let mut asker = Asker::new();
    let bytes = Bytes::from(Rng(1).bytes(1_000));
    let chunk = ChunkId::of(&bytes);
    let id = asker.ask_chunk(chunk).expect("asked");
    while asker.poll_send().is_some() {}
    let part = |range: std::ops::Range<usize>| Response::Part {
        id,
        total: 1_000,
        offset: range.start as u32,
        data: bytes.slice(range),
    };
    assert!(matches!(asker.handle(part(0..300)), Ok(Some(AskerEvent::Progress { received: 300, .. }))));
    asker.cancel(id);
    assert_eq!(asker.handle(part(300..600)), Ok(None));
    // The last part crossed the cancel: it is the end of the question.
    let end = AskerEvent::Refused { id, chunk: Some(chunk), code: Code::Cancelled };
    assert_eq!(asker.handle(part(600..1_000)), Ok(Some(end)));
    assert_eq!(asker.open_questions(), 0);
    // A head that crossed its cancel ends too, and is not an event of its own.
    let id = asker.ask_head(site().address().blinded()).expect("asked");
    while asker.poll_send().is_some() {}
    asker.cancel(id);
    let end = AskerEvent::Refused { id, chunk: None, code: Code::Cancelled };
    assert_eq!(asker.handle(Response::Head { id, bytes: vec![1] }), Ok(Some(end)));
}

#[test]
fn a_cancel_while_the_caller_looks_up_cannot_meet_a_later_question() {
    let mut answerer = Answerer::new(FRAME_MAX_BYTES);
    answerer.handle(Request::Credit { bytes: 1_000 }).expect("credit");
    answerer.handle(Request::Chunk { id: 1, chunk: chunk_id(1) }).expect("asked");
    answerer.next_ask().expect("looked up");
    answerer.handle(Request::Cancel { id: 1 }).expect("cancelled");
    assert_eq!(answerer.handle(Request::Chunk { id: 1, chunk: chunk_id(2) }), Err(Violation::IdInUse { id: 1 }));
    answerer.answer_chunk(1, Bytes::from_static(b"late"));
    assert_eq!(answerer.next_frame(0), Some(Response::Refused { id: 1, code: Code::Cancelled }));
    assert_eq!((answerer.next_frame(0), answerer.open_questions()), (None, 0));
    // Answers to what was not asked, or of another kind, are not sent.
    answerer.answer_chunk(1, Bytes::from_static(b"again"));
    answerer.answer_head(7, vec![1]);
    answerer.refuse(7, Code::Busy);
    assert_eq!(answerer.next_frame(0), None);
    answerer.handle(Request::Head { id: 2, blinded: site().address().blinded() }).expect("asked");
    answerer.next_ask().expect("looked up");
    answerer.answer_chunk(2, Bytes::from_static(b"no head"));
    assert_eq!(answerer.next_frame(0), Some(Response::Refused { id: 2, code: Code::NotFound }));
}

#[test]
fn case_28_unasked_data_resets_the_stream_and_is_not_kept() {
    let part = |id, total, offset, len| Response::Part { id, total, offset, data: Bytes::from(vec![1; len]) };
    let fresh = || {
        let mut asker = Asker::new();
        let id = asker.ask_chunk(chunk_id(1)).expect("asked");
        while asker.poll_send().is_some() {}
        (asker, id)
    };
    let first = |response| fresh().0.handle(response);
    let unasked = |id| Err(Violation::Unasked { id });
    assert_eq!(first(part(2, 100, 0, 10)), unasked(2));
    assert_eq!(first(Response::Head { id: 99, bytes: vec![1] }), unasked(99));
    assert_eq!(first(Response::Refused { id: 2, code: Code::Busy }), unasked(2));
    assert_eq!(first(Response::Head { id: 1, bytes: vec![1] }), Err(Violation::WrongKind { id: 1 }));
    assert_eq!(first(Response::Held { id: 1, bitmap: vec![1] }), Err(Violation::WrongKind { id: 1 }));
    assert_eq!(first(part(1, 100, 5, 10)), Err(Violation::Order { id: 1 }), "a gap at the start");
    assert_eq!(first(part(1, 100, 0, 101)), Err(Violation::Order { id: 1 }), "more than the total");
    assert_eq!(first(part(1, CHUNK_MAX_BYTES as u32 + 1, 0, 10)), Err(Violation::Order { id: 1 }), "too large a total");
    assert_eq!(first(part(1, u32::MAX, 0, 10)), Err(Violation::Order { id: 1 }));
    assert_eq!(first(part(1, 100, 0, 0)), Err(Violation::Order { id: 1 }), "no data");
    let then = |second: Response| {
        let (mut asker, id) = fresh();
        assert!(matches!(asker.handle(part(id, 100, 0, 40)), Ok(Some(AskerEvent::Progress { .. }))));
        asker.handle(second)
    };
    assert_eq!(then(part(1, 100, 50, 10)), Err(Violation::Order { id: 1 }), "a gap");
    assert_eq!(then(part(1, 100, 30, 10)), Err(Violation::Order { id: 1 }), "again");
    assert_eq!(then(part(1, 101, 40, 10)), Err(Violation::Order { id: 1 }), "another total");
    assert_eq!(then(part(1, 100, 40, 61)), Err(Violation::Order { id: 1 }), "beyond the total");
    // After its end a question is closed.
    let (mut asker, id) = fresh();
    assert_eq!(asker.handle(part(id, 10, 0, 10)), Ok(Some(AskerEvent::Lied { id, chunk: chunk_id(1) })));
    assert_eq!(asker.handle(part(id, 10, 0, 10)), unasked(id));
    // An answer before the question was even written.
    let mut asker = Asker::new();
    let id = asker.ask_chunk(chunk_id(1)).expect("asked");
    assert_eq!(asker.handle(part(id, 10, 0, 10)), unasked(id));
    // A bitmap of the wrong length.
    let mut asker = Asker::new();
    let id = asker.ask_have(site().address().blinded(), vec![chunk_id(1); 9]).expect("asked");
    while asker.poll_send().is_some() {}
    assert_eq!(asker.handle(Response::Held { id, bitmap: vec![1] }), Err(Violation::WrongKind { id }));
}

#[test]
fn case_28_more_than_the_credit_resets_the_stream() {
    let mut asker = Asker::new();
    let mut credit = 0;
    for number in 0..5 {
        asker.ask_chunk(chunk_id(number)).expect("asked");
        while let Some(request) = asker.poll_send() {
            if let Request::Credit { bytes } = request {
                credit += bytes;
            }
        }
    }
    // All five are asked for, but only a window is granted until something came.
    assert_eq!(credit, CREDIT_WINDOW_BYTES);
    let part = |id, offset: usize, len| Response::Part {
        id,
        total: CHUNK_MAX_BYTES as u32,
        offset: offset as u32,
        data: Bytes::from(vec![0; len]),
    };
    for id in 1..=4 {
        for offset in (0..CHUNK_MAX_BYTES).step_by(8_192) {
            asker.handle(part(id, offset, 8_192)).expect("granted");
        }
    }
    assert_eq!(asker.handle(part(5, 0, 1)), Err(Violation::OverCredit));
}

#[test]
fn an_answerer_refuses_what_is_too_much() {
    let mut answerer = Answerer::new(FRAME_MAX_BYTES);
    let ask = |id| Request::Chunk { id, chunk: chunk_id(1) };
    for id in 1..=REQUESTS_OPEN_MAX as u32 {
        assert_eq!(answerer.handle(ask(id)), Ok(()));
    }
    assert_eq!(answerer.handle(ask(1)), Err(Violation::IdInUse { id: 1 }));
    let beyond = 1_000..1_000 + REFUSALS_WAITING_MAX as u32;
    for id in beyond.clone() {
        assert_eq!(answerer.handle(ask(id)), Ok(()));
    }
    assert_eq!(answerer.handle(ask(5_000)), Err(Violation::Flood));
    for id in beyond {
        assert_eq!(answerer.next_frame(0), Some(Response::Refused { id, code: Code::Busy }));
    }
    assert_eq!(answerer.next_frame(0), None);
    assert_eq!(answerer.handle(ask(5_000)), Ok(()), "the refusals were read");
    assert_eq!(answerer.open_questions(), REQUESTS_OPEN_MAX);
    // Cancelling all frees all.
    for id in 1..=REQUESTS_OPEN_MAX as u32 {
        answerer.handle(Request::Cancel { id }).expect("cancelled");
    }
    while answerer.next_frame(0).is_some() {}
    assert_eq!(answerer.open_questions(), 0);
    // A question about too many chunks that was made past the decoder.
    let have =
        Request::Have { id: 1, blinded: site().address().blinded(), chunks: vec![chunk_id(1); HAVE_MAX_CHUNKS + 1] };
    answerer.handle(have).expect("refused, not reset");
    assert_eq!(answerer.next_frame(0), Some(Response::Refused { id: 1, code: Code::BadRequest }));
}

#[test]
fn an_asker_asks_no_more_than_it_may() {
    let mut asker = Asker::new();
    let blinded = site().address().blinded();
    assert_eq!(asker.ask_have(blinded, vec![]), Err(AskError::Count));
    assert_eq!(asker.ask_have(blinded, vec![chunk_id(1); HAVE_MAX_CHUNKS + 1]), Err(AskError::Count));
    for number in 0..REQUESTS_OPEN_MAX as u64 {
        asker.ask_chunk(chunk_id(number)).expect("asked");
    }
    assert_eq!(asker.ask_chunk(chunk_id(0)), Err(AskError::Asked));
    assert_eq!(asker.ask_chunk(chunk_id(1_000)), Err(AskError::Full));
    assert_eq!(asker.ask_head(blinded), Err(AskError::Full));
    assert_eq!(asker.poll_send(), Some(Request::Credit { bytes: CREDIT_MAX_BYTES }), "credit comes first");
    asker.cancel(1);
    assert_eq!(asker.ask_chunk(chunk_id(0)), Ok(65), "what was not sent yet is free at once");
}

#[test]
fn the_largest_chunk_from_an_answerer_with_tiny_frames_still_comes() {
    let mut pair = Pair::new(40);
    let chunk = pair.add_chunk(1, 20_000);
    pair.asker.ask_chunk(chunk).expect("asked");
    pair.drive();
    assert_eq!(pair.whole(), [chunk]);
}
