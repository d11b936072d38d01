//! One stream over one data channel: half-closing, resetting and ending it without losing data.
//!
//! The channel itself can only be closed in both directions at once, and closing it may drop what is still queued. So both
//! halves are closed by flags, and the channel only once both ends know of it: after FIN each way and FIN_ACK for ours, or
//! [`FIN_ACK_TIMEOUT`]. What comes in is handed out as it comes; what this end buffers unread is bounded by
//! [`UNREAD_MAX_BYTES`].

use super::frame::{Decoder, Flag, Frame, FrameError};
use bytes::Bytes;
use std::{collections::VecDeque, time::Duration};

/// How long a closed writing half waits to hear that everything arrived, and a reading half that was stopped for the other
/// end's FIN, before the channel is closed all the same. An end whose channel goes away while it still has something to say,
/// even an acknowledgement, takes its stream for broken.
pub const FIN_ACK_TIMEOUT: Duration = Duration::from_secs(10);
/// Data that came and was not read yet. A data channel tells its sender nothing about its reader, so a sender beyond it is
/// cut off; protocols that carry more than that ahead of their reader have flow control of their own.
pub const UNREAD_MAX_BYTES: usize = 8 * 1024 * 1024;
/// The same of all streams of a connection together; whoever adds up each stream's share with [`Stream::unread_bytes`] ends the
/// one beyond it with [`Stream::cut_off`].
pub const UNREAD_TOGETHER_MAX_BYTES: usize = 4 * UNREAD_MAX_BYTES;
/// Unread data counts as so much at least for each frame: what holds it takes room too.
pub const UNREAD_FRAME_MIN_BYTES: usize = 64;

/// Why a stream ended by force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
    #[error("the remote peer sent too much ahead of the reader")]
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
    /// This end reads no more; the other is told, and has until then (ms) to say its FIN.
    Stopped {
        until_ms: u64,
    },
    /// It read no more, and the other end's FIN has come or was waited for long enough.
    Given,
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
        self.decoder.push(message);
        let mut result = Ok(());
        loop {
            let taken = match self.decoder.next_frame() {
                Ok(None) => return result,
                // Nobody is told of it any more, but whether it breaks the protocol still counts.
                Ok(Some(frame)) if self.error.is_some() => self.check_late(&frame),
                Ok(Some(frame)) => self.on_frame(frame),
                Err(error) => {
                    // What follows is read afresh.
                    self.decoder = Decoder::default();
                    Err(error.into())
                }
            };
            if let Err(error) = taken {
                if self.error.is_none() {
                    self.fail(error);
                }
                result = result.and(taken);
            }
        }
    }

    /// A message came that no frames can be in, whatever it says: a text, or one that is too long. It breaks the stream as a
    /// malformed frame does.
    pub fn on_malformed(&mut self, error: FrameError) -> StreamError {
        self.decoder = Decoder::default();
        let error = error.into();
        if self.error.is_none() {
            self.fail(error);
        }
        error
    }

    /// A frame that comes after the stream was ended by force: the other end may not know of that yet.
    fn check_late(&self, frame: &Frame) -> Result<(), StreamError> {
        let follows_fin = self.read == ReadHalf::Ended && !frame.data.is_empty();
        if follows_fin { Err(StreamError::AfterFin) } else { Ok(()) }
    }

    fn on_frame(&mut self, frame: Frame) -> Result<(), StreamError> {
        // Data before the flag: the last data and FIN may share a frame.
        if !frame.data.is_empty() {
            match self.read {
                ReadHalf::Open if self.unread_bytes + cost(&frame.data) > UNREAD_MAX_BYTES => {
                    return Err(StreamError::Unread);
                }
                ReadHalf::Open => {
                    self.unread_bytes += cost(&frame.data);
                    self.unread.push_back(frame.data);
                }
                ReadHalf::Ended => return Err(StreamError::AfterFin),
                // It was sent before the other end knew.
                ReadHalf::Stopped { .. } | ReadHalf::Given => {}
            }
        }
        match frame.flag {
            None => {}
            Some(Flag::Fin) => {
                match self.read {
                    ReadHalf::Open => self.read = ReadHalf::Ended,
                    ReadHalf::Stopped { .. } => self.read = ReadHalf::Given,
                    ReadHalf::Ended | ReadHalf::Given => {}
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

    /// Whether the other end has sent all it wanted, and said so.
    #[must_use]
    pub fn has_ended_in_order(&self) -> bool {
        self.acked && self.error != Some(StreamError::RemoteReset)
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
    }

    /// Breaks the stream off because of what the other end did.
    fn fail(&mut self, error: StreamError) {
        self.flags.clear();
        self.flags.push_back(Flag::Reset);
        self.end(error);
    }

    /// Ends the stream because the connection's streams together have too much unread.
    pub fn cut_off(&mut self) -> StreamError {
        if self.error.is_none() {
            self.fail(StreamError::Unread);
        }
        StreamError::Unread
    }

    /// What the reader gets next.
    ///
    /// # Errors
    /// The stream was ended by force.
    pub fn read(&mut self) -> Result<Read, StreamError> {
        if let Some(data) = self.unread.pop_front() {
            self.unread_bytes -= cost(&data);
            return Ok(Read::Data(data));
        }
        match (self.error, self.read) {
            (Some(error), _) => Err(error),
            (None, ReadHalf::Open) if self.channel_closed => Err(StreamError::ChannelClosed),
            (None, ReadHalf::Open) => Ok(Read::Pending),
            (None, ReadHalf::Ended | ReadHalf::Stopped { .. } | ReadHalf::Given) => Ok(Read::End),
        }
    }

    /// Puts back what the reader had no room for.
    pub fn unread(&mut self, data: Bytes) {
        if !data.is_empty() && self.error.is_none() {
            self.unread_bytes += cost(&data);
            self.unread.push_front(data);
        }
    }

    /// Whether the writer may send. Data goes out as frames of at most [`super::frame::DATA_MAX_BYTES`], after every frame of [`Stream::next_frame`].
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
            self.write = WriteHalf::Closing { until_ms: deadline(now_ms) };
        }
    }

    /// Whether the writing half is closed and everything arrived.
    #[must_use]
    pub fn is_write_closed(&self) -> bool {
        self.error.is_some() || self.channel_closed || self.write == WriteHalf::Closed
    }

    /// Reads no more: what comes is dropped, and the other end is told.
    pub fn stop_reading(&mut self, now_ms: u64) {
        if self.error.is_none() && self.read == ReadHalf::Open {
            self.flags.push_back(Flag::StopSending);
            self.read = ReadHalf::Stopped { until_ms: deadline(now_ms) };
        }
        self.unread.clear();
        self.unread_bytes = 0;
    }

    /// The user let go of the stream: a half that was not closed in order is given up.
    pub fn on_dropped(&mut self, now_ms: u64) {
        match self.write {
            WriteHalf::Open if self.error.is_none() => {
                self.flags.push_back(Flag::Reset);
                self.end(StreamError::ChannelClosed);
            }
            _ => self.stop_reading(now_ms),
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

    /// Whether the other end reads no more, and was not told yet that nothing follows.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.write == WriteHalf::Refused && self.can_close_write()
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
        if matches!(self.read, ReadHalf::Stopped { until_ms } if until_ms <= now_ms) {
            self.read = ReadHalf::Given;
        }
    }

    /// When [`Stream::handle_timeout`] has something to do, ms.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        if self.error.is_some() || self.channel_closed {
            return None;
        }
        let write = if let WriteHalf::Closing { until_ms } = self.write { Some(until_ms) } else { None };
        let read = if let ReadHalf::Stopped { until_ms } = self.read { Some(until_ms) } else { None };
        write.into_iter().chain(read).min()
    }

    /// Whether the channel can be closed: both halves are over, and the other end has been told.
    #[must_use]
    pub fn is_over(&self) -> bool {
        let halves = self.write == WriteHalf::Closed && matches!(self.read, ReadHalf::Ended | ReadHalf::Given);
        self.channel_closed || (self.flags.is_empty() && (self.error.is_some() || halves))
    }

    /// Data that came and was not read.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }
}

/// What unread data counts as.
fn cost(data: &Bytes) -> usize {
    data.len().max(UNREAD_FRAME_MIN_BYTES)
}

fn deadline(now_ms: u64) -> u64 {
    now_ms.saturating_add(FIN_ACK_TIMEOUT.as_millis() as u64)
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
