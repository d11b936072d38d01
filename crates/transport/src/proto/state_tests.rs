//! One stream's two ends, in every order of events.

use super::*;

fn encode(flag: Option<Flag>, data: &[u8]) -> Vec<u8> {
    Frame { flag, data: Bytes::copy_from_slice(data) }.encode()
}
use proptest::prelude::*;

/// Two ends of one channel, with what is on the way to each.
#[derive(Default)]
struct Pair {
    ends: [Stream; 2],
    wire: [VecDeque<Bytes>; 2],
    sent: [Vec<u8>; 2],
    received: [Vec<u8>; 2],
    ended: [bool; 2],
    stopped: [bool; 2],
    now_ms: u64,
}

impl Pair {
    fn flush(&mut self, end: usize) {
        while let Some(frame) = self.ends[end].next_frame() {
            self.wire[1 - end].push_back(frame.encode().into());
        }
    }

    fn write(&mut self, end: usize, data: &[u8]) {
        self.flush(end);
        if self.ends[end].can_write() == Ok(CanWrite::Yes) {
            self.wire[1 - end].push_back(encode(None, data).into());
            self.sent[end].extend_from_slice(data);
        }
    }

    fn deliver(&mut self, end: usize, count: usize) {
        for _ in 0..count {
            let Some(message) = self.wire[end].pop_front() else { break };
            let _ = self.ends[end].on_message(message);
        }
        self.flush(end);
    }

    fn read(&mut self, end: usize) {
        while let Ok(read) = self.ends[end].read() {
            match read {
                Read::Data(data) => self.received[end].extend_from_slice(&data),
                Read::End => {
                    self.ended[end] = true;
                    return;
                }
                Read::Pending => return,
            }
        }
    }

    fn settle(&mut self) {
        for end in [0, 1] {
            self.flush(end);
        }
        while !self.wire.iter().all(VecDeque::is_empty) {
            self.deliver(0, usize::MAX);
            self.deliver(1, usize::MAX);
        }
        self.read(0);
        self.read(1);
    }
}

#[test]
fn a_half_closed_request_is_answered_and_both_ends_are_over() {
    let mut pair = Pair::default();
    pair.write(0, b"question");
    pair.ends[0].close_write(0);
    pair.settle();
    assert!(pair.ended[1] && pair.received[1] == b"question");
    assert!(pair.ends[0].is_write_closed(), "FIN_ACK has come");
    assert!(!pair.ends[0].is_over() && !pair.ends[1].is_over());
    pair.write(1, b"answer");
    pair.ends[1].close_write(0);
    pair.settle();
    assert!(pair.ended[0] && pair.received[0] == b"answer");
    assert!(pair.ends[0].is_over() && pair.ends[1].is_over());
}

#[test]
fn data_and_fin_in_one_frame_both_count() {
    let mut stream = Stream::default();
    stream.on_message(encode(Some(Flag::Fin), b"last").into()).unwrap();
    assert_eq!(stream.read(), Ok(Read::Data(Bytes::from_static(b"last"))));
    assert_eq!(stream.read(), Ok(Read::End));
    assert_eq!(stream.next_frame(), Some(Frame::flag(Flag::FinAck)));
}

#[test]
fn stop_sending_is_no_end_of_the_other_direction() {
    let mut pair = Pair::default();
    pair.ends[1].stop_reading(0);
    pair.settle();
    assert_eq!(pair.ends[0].can_write(), Ok(CanWrite::Closed));
    assert_eq!(pair.ends[0].read(), Ok(Read::Pending), "no end was announced");
    pair.write(1, b"still here");
    pair.settle();
    assert_eq!(pair.received[0], b"still here");
    pair.ends[0].close_write(0);
    pair.settle();
    assert!(pair.ends[0].is_write_closed(), "FIN is acknowledged by an end that reads no more");
}

#[test]
fn who_reads_no_more_keeps_the_channel_until_the_other_end_has_said_its_fin() {
    let mut pair = Pair::default();
    pair.write(0, b"all");
    pair.ends[0].close_write(0);
    pair.ends[0].stop_reading(0);
    pair.settle();
    assert!(pair.ends[0].is_write_closed() && !pair.ends[0].is_over(), "the other end would find its channel gone");
    assert!(pair.ends[1].is_refused());
    pair.ends[1].close_write(0);
    pair.settle();
    assert!(pair.ends.iter().all(Stream::is_over) && !pair.ends[1].is_refused());
}

#[test]
fn a_reset_ends_both_halves_at_once() {
    let mut pair = Pair::default();
    pair.write(0, b"lost");
    pair.ends[0].on_dropped(0);
    pair.settle();
    assert_eq!(pair.ends[1].read(), Err(StreamError::RemoteReset));
    assert_eq!(pair.ends[1].can_write(), Err(StreamError::RemoteReset));
    assert!(pair.ends.iter().all(Stream::is_over));
}

#[test]
fn an_unanswered_fin_is_given_up_after_its_time() {
    let mut stream = Stream::default();
    stream.stop_reading(1_000);
    stream.close_write(1_000);
    while stream.next_frame().is_some() {}
    let at = stream.next_timeout().unwrap();
    assert_eq!(at, 1_000 + FIN_ACK_TIMEOUT.as_millis() as u64);
    stream.handle_timeout(at - 1);
    assert!(!stream.is_over());
    stream.handle_timeout(at);
    assert!(stream.is_over());
}

#[test]
fn who_sends_far_ahead_of_the_reader_is_cut_off_and_what_was_read_makes_room() {
    let mut stream = Stream::default();
    let frame: Bytes = encode(None, &[0; 16_000]).into();
    let mut fits = 0;
    let error = loop {
        match stream.on_message(frame.clone()) {
            Ok(()) => fits += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error, fits), (StreamError::Unread, UNREAD_MAX_BYTES / 16_000));
    assert_eq!(stream.unread_bytes(), 0, "and its bytes are let go");
    assert_eq!(stream.next_frame(), Some(Frame::flag(Flag::Reset)));
    let mut stream = Stream::default();
    for _ in 0..4 * fits {
        stream.on_message(frame.clone()).unwrap();
        assert!(matches!(stream.read(), Ok(Read::Data(_))));
    }
}

#[test]
fn tiny_frames_count_as_the_room_they_take() {
    let mut stream = Stream::default();
    let frame: Bytes = encode(None, &[7]).into();
    let fits = (0..).take_while(|_| stream.on_message(frame.clone()).is_ok()).count();
    assert_eq!(fits, UNREAD_MAX_BYTES / UNREAD_FRAME_MIN_BYTES);
    let mut stream = Stream::default();
    stream.on_message(encode(None, &[0; 100]).into()).unwrap();
    let Ok(Read::Data(mut data)) = stream.read() else { panic!("nothing to read") };
    let _read = data.split_to(90);
    stream.unread(data);
    assert_eq!(stream.unread_bytes(), UNREAD_FRAME_MIN_BYTES);
    assert!(matches!(stream.read(), Ok(Read::Data(_))));
    assert_eq!(stream.unread_bytes(), 0);
}

#[test]
fn a_lost_channel_is_an_error_unless_all_was_said() {
    let mut stream = Stream::default();
    stream.on_channel_closed();
    assert_eq!(stream.read(), Err(StreamError::ChannelClosed));
    assert!(stream.is_over());
    // The other end closed the channel right after its FIN and ours.
    let mut stream = Stream::default();
    stream.on_message(encode(Some(Flag::Fin), b"all").into()).unwrap();
    stream.close_write(0);
    stream.on_channel_closed();
    assert_eq!(stream.read(), Ok(Read::Data(Bytes::from_static(b"all"))));
    assert_eq!(stream.read(), Ok(Read::End));
    assert!(stream.is_write_closed());
    // The other end was done with both halves while this one had not yet read: it has all, and nothing to wait for.
    let mut stream = Stream::default();
    for frame in [encode(None, b"last words"), encode(Some(Flag::StopSending), &[]), encode(Some(Flag::Fin), &[])] {
        stream.on_message(frame.into()).unwrap();
    }
    stream.on_channel_closed();
    assert_eq!(stream.read(), Ok(Read::Data(Bytes::from_static(b"last words"))));
    assert_eq!(stream.read(), Ok(Read::End));
    assert!(!stream.can_close_write() && stream.is_over());
    // Cut off in the middle: what came is read, then it is an error.
    let mut stream = Stream::default();
    stream.on_message(encode(None, b"half").into()).unwrap();
    stream.on_channel_closed();
    assert_eq!(stream.read(), Ok(Read::Data(Bytes::from_static(b"half"))));
    assert_eq!(stream.read(), Err(StreamError::ChannelClosed));
    assert_eq!(stream.can_write(), Err(StreamError::ChannelClosed));
}

#[test]
fn data_after_the_end_breaks_the_stream() {
    let mut stream = Stream::default();
    stream.on_message(Frame::flag(Flag::Fin).encode().into()).unwrap();
    assert_eq!(stream.on_message(encode(None, b"x").into()), Err(StreamError::AfterFin));
}

#[test]
fn each_of_ten_thousand_malformed_frames_counts_and_what_an_honest_end_has_under_way_does_not() {
    let malformed: [&[u8]; 6] =
        [&[0x80, 0], &[0xff; 4], &[0xff, 0xff, 0x7f], &[2, 0x0b, 0], &[3, 0x12, 0x7f, 0], &[2, 0x08, 0xff]];
    let mut stream = Stream::default();
    for number in 0..10_000 {
        let error = stream.on_message(Bytes::from_static(malformed[number % malformed.len()]));
        assert!(matches!(error, Err(StreamError::Frame(_))), "{number}: {error:?}");
    }
    assert_eq!(stream.next_frame(), Some(Frame::flag(Flag::Reset)));
    assert_eq!(stream.next_frame(), None, "it is reset once");
    let data: Bytes = encode(None, &[7; 1_000]).into();
    let mut far_ahead = Stream::default();
    while far_ahead.on_message(data.clone()).is_ok() {}
    let mut dropped = Stream::default();
    dropped.on_dropped(0);
    for stream in [&mut far_ahead, &mut dropped] {
        for _ in 0..100 {
            // Also where frames are split between messages.
            for part in [data.slice(..500), data.slice(500..)] {
                assert_eq!(stream.on_message(part), Ok(()));
            }
        }
        assert_eq!(stream.on_message(Frame::flag(Flag::Fin).encode().into()), Ok(()));
        assert_eq!(stream.unread_bytes(), 0);
    }
    let mut after = Stream::default();
    after.on_message(encode(Some(Flag::Fin), b"all").into()).unwrap();
    for _ in 0..100 {
        assert_eq!(after.on_message(data.clone()), Err(StreamError::AfterFin));
    }
}

#[test]
fn a_text_message_breaks_the_stream_and_each_one_counts() {
    let mut stream = Stream::default();
    stream.on_message(encode(None, b"before").into()).unwrap();
    for _ in 0..3 {
        assert_eq!(stream.on_malformed(FrameError::Text), StreamError::Frame(FrameError::Text));
    }
    assert_eq!(stream.read(), Err(StreamError::Frame(FrameError::Text)));
    assert_eq!((stream.unread_bytes(), stream.next_frame()), (0, Some(Frame::flag(Flag::Reset))));
    assert_eq!(stream.next_frame(), None, "it is reset once");
}

#[derive(Debug, Clone)]
enum Operation {
    Write(usize, usize),
    CloseWrite(usize),
    StopReading(usize),
    Drop(usize),
    Deliver(usize, usize),
    Read(usize),
    Wait(u64),
    CloseChannel(usize),
    Garbage(usize, Vec<u8>),
}

fn operation(hostile: bool) -> impl Strategy<Value = Operation> {
    let garbage = if hostile { 2 } else { 0 };
    prop_oneof![
        6 => (0..2_usize, 1..400_usize).prop_map(|(end, len)| Operation::Write(end, len)),
        2 => (0..2_usize).prop_map(Operation::CloseWrite),
        1 => (0..2_usize).prop_map(Operation::StopReading),
        garbage => (0..2_usize).prop_map(Operation::Drop),
        6 => (0..2_usize, 1..4_usize).prop_map(|(end, count)| Operation::Deliver(end, count)),
        3 => (0..2_usize).prop_map(Operation::Read),
        1 => (0..12_000_u64).prop_map(Operation::Wait),
        garbage => (0..2_usize).prop_map(Operation::CloseChannel),
        garbage => (0..2_usize, prop::collection::vec(any::<u8>(), 0..9)).prop_map(|(end, bytes)| Operation::Garbage(end, bytes)),
    ]
}

fn run(operations: Vec<Operation>) -> Pair {
    let mut pair = Pair::default();
    for operation in operations {
        let now_ms = pair.now_ms;
        match operation {
            Operation::Write(end, len) => {
                let data: Vec<u8> = (0..len).map(|place| (place + pair.sent[end].len()) as u8).collect();
                pair.write(end, &data);
            }
            Operation::CloseWrite(end) => pair.ends[end].close_write(now_ms),
            Operation::StopReading(end) => {
                pair.stopped[end] = true;
                pair.ends[end].stop_reading(now_ms);
            }
            Operation::Drop(end) => pair.ends[end].on_dropped(now_ms),
            Operation::Deliver(end, count) => pair.deliver(end, count),
            Operation::Read(end) => pair.read(end),
            Operation::Wait(ms) => {
                pair.now_ms += ms;
                let now_ms = pair.now_ms;
                pair.ends.iter_mut().for_each(|end| end.handle_timeout(now_ms));
            }
            Operation::CloseChannel(end) => pair.ends[end].on_channel_closed(),
            Operation::Garbage(end, bytes) => pair.wire[end].push_back(bytes.into()),
        }
    }
    pair
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn honest_ends_lose_nothing_and_end_in_every_order(operations in prop::collection::vec(operation(false), 0..60)) {
        let mut pair = run(operations);
        for end in [0, 1] {
            pair.ends[end].close_write(pair.now_ms);
        }
        pair.settle();
        for end in [0, 1] {
            prop_assert_eq!(pair.ends[end].error, None);
            if !pair.stopped[end] {
                prop_assert_eq!(&pair.received[end], &pair.sent[1 - end]);
                prop_assert!(pair.ended[end]);
            } else {
                prop_assert!(pair.sent[1 - end].starts_with(&pair.received[end]));
            }
            prop_assert!(pair.ends[end].is_write_closed() && pair.ends[end].is_over());
            prop_assert_eq!(pair.ends[end].unread_bytes(), 0);
        }
    }

    #[test]
    fn hostile_ends_get_errors_and_every_stream_ends(operations in prop::collection::vec(operation(true), 0..60)) {
        let mut pair = run(operations);
        for end in [0, 1] {
            // What was read is the beginning of what was sent, unless garbage happened to be data.
            prop_assert!(pair.ends[end].unread_bytes() <= UNREAD_MAX_BYTES);
            pair.ends[end].close_write(pair.now_ms);
            pair.ends[end].stop_reading(pair.now_ms);
            while pair.ends[end].next_frame().is_some() {}
            while let Some(at) = pair.ends[end].next_timeout() {
                pair.ends[end].handle_timeout(at);
            }
            prop_assert!(pair.ends[end].is_over());
        }
    }
}
