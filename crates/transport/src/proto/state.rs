//! One stream over one data channel: half-closing, resetting and ending it without losing data.
//!
//! The channel itself can only be closed in both directions at once, and closing it may drop what is still queued. So both
//! halves are closed by flags, and the channel only once both ends know of it: after FIN each way and FIN_ACK for ours, or
//! [`FIN_ACK_TIMEOUT`]. What comes in is handed out as it comes; what this end buffers unread is bounded by
//! [`UNREAD_MAX_BYTES`].

use super::frame::{DATA_MAX_BYTES, Decoder, Flag, Frame, FrameError};
use bytes::Bytes;
use std::{collections::VecDeque, time::Duration};

/// How long a closed writing half waits to hear that everything arrived before the channel is closed all the same.
pub const FIN_ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// Data that came and was not read yet. A data channel tells its sender nothing about its reader, so a sender beyond it is
/// cut off; protocols that carry more than that ahead of their reader have flow control of their own.
pub const UNREAD_MAX_BYTES: usize = 8 * 1024 * 1024;

/// Why a stream ended by force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The other end gave the stream up.
    #[error("the stream was reset by the remote peer")]
    RemoteReset,
    /// The channel or the connection went away before the stream was over.
    #[error("the data channel closed before the stream ended")]
    ChannelClosed,
    /// It sent something that is no frame.
    #[error("the remote peer sent {0}")]
    Frame(#[from] FrameError),
    /// It sent more than is kept for a reader.
    #[error("the remote peer sent {UNREAD_MAX_BYTES} bytes ahead of the reader")]
    Unread,
    /// It sent data after it had said that none would follow.
    #[error("the remote peer sent data after the end of its stream")]
    AfterFin,
}

/// What the reader finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Some bytes, in order.
    Data(Bytes),
    /// The other end has sent everything.
    End,
    /// Nothing yet.
    Pending,
}

/// What the writer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanWrite {
    /// Send data.
    Yes,
    /// Nobody reads it any more, or this half is closed.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadHalf {
    Open,
    /// FIN has come: what is unread is the rest.
    Ended,
    /// This end reads no more; the other is told and may not know yet.
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WriteHalf {
    Open,
    /// The other end reads no more.
    Refused,
    /// FIN is sent; waits for FIN_ACK until then (ms).
    Closing {
        until_ms: u64,
    },
    /// Everything arrived, or was waited for long enough.
    Closed,
}

/// The state of one stream. Messages that came go in with [`Stream::on_message`]; frames to send come out of
/// [`Stream::next_frame`]; the channel is to be closed when [`Stream::is_over`].
#[derive(Debug)]
pub struct Stream {
    decoder: Decoder,
    read: ReadHalf,
    write: WriteHalf,
    unread: VecDeque<Bytes>,
    unread_bytes: usize,
    flags: VecDeque<Flag>,
    error: Option<StreamError>,
    /// FIN_ACK for the other end's FIN has been handed out for sending.
    acked: bool,
    channel_closed: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            decoder: Decoder::default(),
            read: ReadHalf::Open,
            write: WriteHalf::Open,
            unread: VecDeque::new(),
            unread_bytes: 0,
            flags: VecDeque::new(),
            error: None,
            acked: false,
            channel_closed: false,
        }
    }
}

impl Stream {
    /// Takes a message of the channel in.
    ///
    /// # Errors
    /// [`StreamError`] when it breaks the protocol; the stream is reset then, and the connection of a peer that does this
    /// again and again may be closed.
    pub fn on_message(&mut self, message: Bytes) -> Result<(), StreamError> {
        if self.error.is_some() {
            return Ok(());
        }
        self.decoder.push(message);
        loop {
            let taken = match self.decoder.next_frame() {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => self.on_frame(frame),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = taken {
                self.fail(error);
                return Err(error);
            }
            if self.error.is_some() {
                return Ok(());
            }
        }
    }

    fn on_frame(&mut self, frame: Frame) -> Result<(), StreamError> {
        // Data before the flag: the last data and FIN may share a frame.
        if !frame.data.is_empty() {
            match self.read {
                ReadHalf::Open if self.unread_bytes + frame.data.len() > UNREAD_MAX_BYTES => {
                    return Err(StreamError::Unread);
                }
                ReadHalf::Open => {
                    self.unread_bytes += frame.data.len();
                    self.unread.push_back(frame.data);
                }
                ReadHalf::Ended => return Err(StreamError::AfterFin),
                // It was sent before the other end knew.
                ReadHalf::Stopped => {}
            }
        }
        match frame.flag {
            None => {}
            Some(Flag::Fin) => {
                if self.read == ReadHalf::Open {
                    self.read = ReadHalf::Ended;
                }
                // Also when this end reads no more: the other must not wait for its time-out.
                if !self.acked {
                    self.acked = true;
                    self.flags.push_back(Flag::FinAck);
                }
            }
            Some(Flag::FinAck) if matches!(self.write, WriteHalf::Closing { .. }) => self.write = WriteHalf::Closed,
            // Only the writing half ends: what the other end has yet to send still comes.
            Some(Flag::StopSending) if self.write == WriteHalf::Open => self.write = WriteHalf::Refused,
            Some(Flag::FinAck | Flag::StopSending) => {}
            Some(Flag::Reset) => {
                self.flags.clear();
                self.end(StreamError::RemoteReset);
            }
        }
        Ok(())
    }

    /// The channel is closed: nothing comes or goes any more. What came before is still read.
    pub fn on_channel_closed(&mut self) {
        self.channel_closed = true;
        self.flags.clear();
        // An end that has sent its own FIN has lost nothing that it could learn of, whatever became of the acknowledgement.
        if matches!(self.write, WriteHalf::Closing { .. }) {
            self.write = WriteHalf::Closed;
        }
    }

    /// Ends both halves by force. What was received before is dropped.
    fn end(&mut self, error: StreamError) {
        self.error.get_or_insert(error);
        self.unread.clear();
        self.unread_bytes = 0;
        self.decoder = Decoder::default();
    }

    /// Breaks the stream off because of what the other end did.
    fn fail(&mut self, error: StreamError) {
        self.flags.clear();
        self.flags.push_back(Flag::Reset);
        self.end(error);
    }

    /// What the reader gets next.
    ///
    /// # Errors
    /// The stream was ended by force.
    pub fn read(&mut self) -> Result<Read, StreamError> {
        if let Some(data) = self.unread.pop_front() {
            self.unread_bytes -= data.len();
            return Ok(Read::Data(data));
        }
        match (self.error, self.read) {
            (Some(error), _) => Err(error),
            (None, ReadHalf::Open) if self.channel_closed => Err(StreamError::ChannelClosed),
            (None, ReadHalf::Open) => Ok(Read::Pending),
            (None, ReadHalf::Ended | ReadHalf::Stopped) => Ok(Read::End),
        }
    }

    /// Puts back what the reader had no room for.
    pub fn unread(&mut self, data: Bytes) {
        if !data.is_empty() && self.error.is_none() {
            self.unread_bytes += data.len();
            self.unread.push_front(data);
        }
    }

    /// Whether the writer may send. Data goes out as frames of at most [`DATA_MAX_BYTES`] by [`super::frame::encode`], after
    /// every frame of [`Stream::next_frame`].
    ///
    /// # Errors
    /// The stream was ended by force.
    pub fn can_write(&self) -> Result<CanWrite, StreamError> {
        match (self.error, self.write) {
            (Some(error), _) => Err(error),
            (None, WriteHalf::Open) if self.channel_closed => Err(StreamError::ChannelClosed),
            (None, WriteHalf::Open) => Ok(CanWrite::Yes),
            (None, WriteHalf::Refused | WriteHalf::Closing { .. } | WriteHalf::Closed) => Ok(CanWrite::Closed),
        }
    }

    /// Closes the writing half, once everything written was handed to the channel.
    pub fn close_write(&mut self, now_ms: u64) {
        if self.can_close_write() {
            self.flags.push_back(Flag::Fin);
            self.write = WriteHalf::Closing { until_ms: now_ms.saturating_add(FIN_ACK_TIMEOUT.as_millis() as u64) };
        }
    }

    /// Whether the writing half is closed and everything arrived.
    #[must_use]
    pub fn is_write_closed(&self) -> bool {
        self.error.is_some() || self.channel_closed || self.write == WriteHalf::Closed
    }

    /// Reads no more: what comes is dropped, and the other end is told.
    pub fn stop_reading(&mut self) {
        if self.error.is_none() && self.read == ReadHalf::Open {
            self.flags.push_back(Flag::StopSending);
            self.read = ReadHalf::Stopped;
        }
        self.unread.clear();
        self.unread_bytes = 0;
    }

    /// The user let go of the stream: a half that was not closed in order is given up.
    pub fn on_dropped(&mut self) {
        match self.write {
            WriteHalf::Open if self.error.is_none() => {
                self.flags.push_back(Flag::Reset);
                self.end(StreamError::ChannelClosed);
            }
            _ => self.stop_reading(),
        }
    }

    /// The next frame to send before any more data. A data channel that does not take it now is asked again later.
    #[must_use]
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.flags.pop_front().map(Frame::flag)
    }

    /// Whether [`Stream::next_frame`] has one.
    #[must_use]
    pub fn has_frame(&self) -> bool {
        !self.flags.is_empty()
    }

    /// Whether [`Stream::close_write`] would still have something to say.
    #[must_use]
    pub fn can_close_write(&self) -> bool {
        let is_over = self.error.is_some() || self.channel_closed;
        !is_over && matches!(self.write, WriteHalf::Open | WriteHalf::Refused)
    }

    /// Ends what has waited long enough.
    pub fn handle_timeout(&mut self, now_ms: u64) {
        if matches!(self.write, WriteHalf::Closing { until_ms } if until_ms <= now_ms) {
            self.write = WriteHalf::Closed;
        }
    }

    /// When [`Stream::handle_timeout`] has something to do, ms.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        match self.write {
            WriteHalf::Closing { until_ms } if self.error.is_none() => Some(until_ms),
            _ => None,
        }
    }

    /// Whether the channel can be closed: both halves are over, and the other end has been told.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let halves = self.write == WriteHalf::Closed && self.read != ReadHalf::Open;
        // A stopped reader waits for the other end's FIN only as long as its own writing half takes.
        self.channel_closed || (self.flags.is_empty() && (self.error.is_some() || halves))
    }

    /// Data that came and was not read.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }
}

/// Splits what a writer gives into what one frame takes.
#[must_use]
pub fn one_frame(data: &[u8]) -> &[u8] {
    data.get(..DATA_MAX_BYTES).unwrap_or(data)
}

#[cfg(test)]
mod tests {
    use super::{super::frame::encode, *};
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
        pair.ends[1].stop_reading();
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
    fn a_reset_ends_both_halves_at_once() {
        let mut pair = Pair::default();
        pair.write(0, b"lost");
        pair.ends[0].on_dropped();
        pair.settle();
        assert_eq!(pair.ends[1].read(), Err(StreamError::RemoteReset));
        assert_eq!(pair.ends[1].can_write(), Err(StreamError::RemoteReset));
        assert!(pair.ends.iter().all(Stream::is_over));
    }

    #[test]
    fn an_unanswered_fin_is_given_up_after_its_time() {
        let mut stream = Stream::default();
        stream.stop_reading();
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
                    pair.ends[end].stop_reading();
                }
                Operation::Drop(end) => pair.ends[end].on_dropped(),
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
                pair.ends[end].stop_reading();
                while pair.ends[end].next_frame().is_some() {}
                if let Some(at) = pair.ends[end].next_timeout() {
                    pair.ends[end].handle_timeout(at);
                }
                prop_assert!(pair.ends[end].is_over());
            }
        }
    }
}
