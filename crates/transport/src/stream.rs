//! A libp2p stream over one data channel, whichever backend carries it.
//!
//! The user's end ([`Stream`]) and the backend's (`Channel`) share one small state: what came and was not read, and what
//! was written and not sent. Neither waits for the other while it holds the lock.

pub use crate::together::{
    UNREAD_EARLY_MAX_BYTES, UNREAD_FAIR_BYTES, UNREAD_OF_ALL_MAX_BYTES, UNSENT_CROWDED_MAX_BYTES, UNSENT_LEAST_BYTES,
    UNSENT_MAX_BYTES, UNSENT_TOGETHER_MAX_BYTES,
};
use crate::{
    clock,
    proto::{
        frame::{Frame, FrameError},
        state::{self, CanWrite, Read, StreamError},
    },
    together::{Excess, Together, Unread, Unsent},
};
use bytes::Bytes;
use futures::{AsyncRead, AsyncWrite};
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// The end that opened a data channel closes it, and the other follows; if it does not, it is closed after this all the same.
/// libdatachannel gives the id of a channel that it has closed to the next one at once: a reset that comes then of the other
/// end's own accord closes the wrong channel.
pub const OPENER_CLOSES_WITHIN: Duration = Duration::from_secs(2);

/// Who opened a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opener {
    Local,
    Remote,
    /// Each end made the channel under a number agreed before. This end leaves it open until the connection ends.
    Both,
}

/// Wakes a backend: a stream has something to send, or is over.
pub(crate) trait Notify: Send + Sync {
    fn notify(&self);
}

struct Inner {
    state: state::Stream,
    unsent: Unsent,
    unread: Unread,
    /// The writer has closed its half; FIN follows what is unsent.
    closing: bool,
    opener: Opener,
    /// When both halves were over, ms.
    over_since_ms: Option<u64>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Shared {
    inner: Mutex<Inner>,
    backend: Arc<dyn Notify>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing leaves the state half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user's end. Each direction is closed by itself; dropping it gives up what was not closed in order.
///
/// # Back-pressure
/// A writer waits when [`UNSENT_MAX_BYTES`] of its stream have not gone to the connection; once all streams of the connection
/// have [`UNSENT_TOGETHER_MAX_BYTES`] of that, when [`DATA_MAX_BYTES`](crate::proto::frame::DATA_MAX_BYTES) have not, and beyond [`UNSENT_CROWDED_MAX_BYTES`] when
/// [`UNSENT_LEAST_BYTES`] have not. Flushing waits until nothing is left of it.
/// Neither says that the other end has read anything: a data channel does not tell its sender how far the reader is.
///
/// # Limits
/// So this end keeps what nobody has read, and bounds it: a stream with more than [`UNREAD_MAX_BYTES`](state::UNREAD_MAX_BYTES)
/// unread is lost, and so is the one that brings its connection over [`UNREAD_TOGETHER_MAX_BYTES`](state::UNREAD_TOGETHER_MAX_BYTES), or its transport's over
/// [`UNREAD_OF_ALL_MAX_BYTES`] where its connection has more than [`UNREAD_FAIR_BYTES`]. A protocol for more than
/// that needs a flow control of its own: the reader asks for each part, or grants credit.
///
/// # Errors
/// A stream that was ended by force gives an [`io::Error`] with the [`StreamError`] that says why inside, of the kind
/// `ConnectionReset` for [`StreamError::RemoteReset`], `ConnectionAborted` for [`StreamError::ChannelClosed`] and `InvalidData`
/// for what the other end must not do: [`StreamError::Unread`], [`StreamError::Frame`], [`StreamError::AfterFin`]. The other
/// end sees a reset of a stream that was lost here. Writing to a half that is closed, or that nobody reads any more, gives
/// `BrokenPipe`.
pub struct Stream(Arc<Shared>);

/// The backend's end.
pub(crate) struct Channel(Arc<Shared>);

/// Both ends of a new stream.
pub(crate) fn pair(backend: Arc<dyn Notify>, opener: Opener, together: Together) -> (Stream, Channel) {
    let (unsent, unread) = together.stream();
    let inner = Inner {
        state: state::Stream::default(),
        unsent,
        unread,
        closing: false,
        opener,
        over_since_ms: None,
        reader: None,
        writer: None,
    };
    let shared = Arc::new(Shared { inner: Mutex::new(inner), backend });
    (Stream(shared.clone()), Channel(shared))
}

impl Inner {
    /// To be called after all that reads or drops; whether there is too much unread.
    fn count_unread(&mut self) -> Excess {
        self.unread.count(self.state.unread_bytes())
    }

    fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl Channel {
    /// Whether [`Channel::next_message`] has one.
    pub fn has_message(&self) -> bool {
        self.0.lock().has_message()
    }

    /// A message came.
    ///
    /// # Errors
    /// It breaks the protocol: the stream is reset.
    pub fn on_message(&self, message: Bytes) -> Result<(), StreamError> {
        let mut inner = self.0.lock();
        let mut result = inner.state.on_message(message);
        let excess = inner.count_unread();
        if excess != Excess::None && result.is_ok() {
            let cut_off = inner.state.cut_off();
            inner.count_unread();
            // Who is cut off because others have too much did nothing that it must not do.
            result = if excess == Excess::Own { Err(cut_off) } else { Ok(()) };
        }
        inner.wake();
        result
    }

    /// A message came that no frames can be in: a text, or one that is too long.
    pub fn on_malformed(&self, error: FrameError) -> StreamError {
        let mut inner = self.0.lock();
        let error = inner.state.on_malformed(error);
        inner.count_unread();
        inner.wake();
        error
    }

    /// The data channel is closed.
    /// Returns whether the other end had opened the stream and ended it in order.
    pub fn on_closed(&self) -> bool {
        let mut inner = self.0.lock();
        let in_order = matches!(inner.opener, Opener::Remote) && inner.state.has_ended_in_order();
        inner.unsent.clear();
        inner.state.on_channel_closed();
        inner.wake();
        in_order
    }

    /// The next message to send.
    pub fn next_message(&self) -> Option<Vec<u8>> {
        let mut inner = self.0.lock();
        let message = inner.next_message();
        if message.is_some()
            && inner.unsent.room() > 0
            && let Some(writer) = inner.writer.take()
        {
            writer.wake();
        }
        message
    }

    /// Whether the data channel is to be closed now.
    pub fn may_close(&self, now_ms: u64) -> bool {
        let mut inner = self.0.lock();
        if inner.has_message() || !inner.state.is_over() {
            return false;
        }
        match inner.opener {
            Opener::Local => true,
            Opener::Remote => {
                let since = *inner.over_since_ms.get_or_insert(now_ms);
                now_ms.saturating_sub(since) >= OPENER_CLOSES_WITHIN.as_millis() as u64
            }
            Opener::Both => false,
        }
    }

    /// When to call [`Channel::handle_timeout`] and [`Channel::may_close`] again, ms.
    pub fn next_timeout(&self) -> Option<u64> {
        let inner = self.0.lock();
        // What waits to be sent comes before, and whoever sends it looks here again.
        let over_since_ms = inner.over_since_ms.filter(|_| !inner.has_message());
        let close = over_since_ms.map(|since| since + OPENER_CLOSES_WITHIN.as_millis() as u64);
        inner.state.next_timeout().into_iter().chain(close).min()
    }

    /// Ends what has waited long enough.
    pub fn handle_timeout(&self, now_ms: u64) {
        self.0.lock().state.handle_timeout(now_ms);
    }
}

impl Inner {
    fn has_message(&self) -> bool {
        self.state.has_frame()
            || (!self.unsent.bytes.is_empty() && self.state.can_write() == Ok(CanWrite::Yes))
            || (self.closing && self.state.can_close_write())
            || self.state.is_refused()
    }

    fn next_message(&mut self) -> Option<Vec<u8>> {
        if let Some(frame) = self.state.next_frame() {
            return Some(frame.encode());
        }
        match self.state.can_write() {
            Ok(CanWrite::Yes) if !self.unsent.bytes.is_empty() => {
                return Some(Frame::data(self.unsent.take()).encode());
            }
            Ok(CanWrite::Yes) => {}
            // Nobody reads it any more.
            Ok(CanWrite::Closed) | Err(_) => self.unsent.clear(),
        }
        // Who reads no more is told all the same that nothing follows: it waits for that.
        if self.closing || self.state.is_refused() {
            self.state.close_write(clock::now_ms());
        }
        self.state.next_frame().map(Frame::encode)
    }
}

fn broken(error: StreamError) -> io::Error {
    let kind = match error {
        StreamError::RemoteReset => io::ErrorKind::ConnectionReset,
        StreamError::ChannelClosed => io::ErrorKind::ConnectionAborted,
        StreamError::Frame(_) | StreamError::Unread | StreamError::AfterFin => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.0.lock();
        let result = match inner.state.read() {
            Ok(Read::Data(mut data)) => {
                let taken = data.split_to(data.len().min(buffer.len()));
                if let Some(place) = buffer.get_mut(..taken.len()) {
                    place.copy_from_slice(&taken);
                }
                inner.state.unread(data);
                Poll::Ready(Ok(taken.len()))
            }
            Ok(Read::End) => Poll::Ready(Ok(0)),
            Ok(Read::Pending) => {
                inner.reader = Some(context.waker().clone());
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(broken(error))),
        };
        inner.count_unread();
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.0.lock();
        match inner.state.can_write() {
            Ok(CanWrite::Yes) if !inner.closing => {}
            Ok(_) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            Err(error) => return Poll::Ready(Err(broken(error))),
        }
        let room = inner.unsent.room();
        if room == 0 {
            inner.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let taken = buffer.get(..room).unwrap_or(buffer);
        inner.unsent.push(taken);
        drop(inner);
        self.0.backend.notify();
        Poll::Ready(Ok(taken.len()))
    }

    /// Ready when everything written was handed to the data channel.
    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        match inner.state.can_write() {
            Err(error) => Poll::Ready(Err(broken(error))),
            Ok(CanWrite::Yes) if !inner.unsent.bytes.is_empty() => {
                inner.writer = Some(context.waker().clone());
                Poll::Pending
            }
            Ok(_) => Poll::Ready(Ok(())),
        }
    }

    /// Ready when the end was handed to the data channel. The channel stays until the other end has acknowledged it; a
    /// request need not wait for that before it reads its answer.
    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        if let Err(error) = inner.state.can_write() {
            return Poll::Ready(Err(broken(error)));
        }
        let is_new = !std::mem::replace(&mut inner.closing, true);
        let result = if inner.state.can_close_write() {
            inner.writer = Some(context.waker().clone());
            Poll::Pending
        } else {
            Poll::Ready(Ok(()))
        };
        drop(inner);
        if is_new {
            self.0.backend.notify();
        }
        result
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        (inner.reader, inner.writer) = (None, None);
        if inner.closing {
            inner.state.stop_reading(clock::now_ms());
        } else {
            inner.unsent.clear();
            inner.state.on_dropped(clock::now_ms());
        }
        inner.count_unread();
        drop(inner);
        self.0.backend.notify();
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        census::Census,
        connection::STREAMS_MAX,
        proto::{
            frame::{DATA_MAX_BYTES, Flag},
            state::{UNREAD_MAX_BYTES, UNREAD_TOGETHER_MAX_BYTES},
        },
    };
    use futures::FutureExt;

    struct Nobody;

    impl Notify for Nobody {
        fn notify(&self) {}
    }

    /// Writes as much as a stream takes without waiting.
    fn fill(stream: &mut Stream) -> usize {
        let mut taken = 0;
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(written) = Pin::new(&mut *stream).poll_write(&mut context, &[7; 10_000]) {
            taken += written.unwrap();
        }
        taken
    }

    #[test]
    fn streams_of_one_connection_share_what_they_may_have_unsent() {
        let together = Together::default();
        let mut pairs: Vec<_> = (0..20).map(|_| pair(Arc::new(Nobody), Opener::Local, together.clone())).collect();
        let taken: Vec<_> = pairs.iter_mut().map(|(stream, _)| fill(stream)).collect();
        let full = UNSENT_TOGETHER_MAX_BYTES / UNSENT_MAX_BYTES;
        assert!(taken[..full].iter().all(|taken| *taken == UNSENT_MAX_BYTES), "{taken:?}");
        assert!(taken[full..].iter().all(|taken| *taken == DATA_MAX_BYTES), "none waits for the others: {taken:?}");
        assert_eq!(together.unsent_bytes(), taken.iter().sum::<usize>());

        // A stream that is given up makes room, and so does one that is sent.
        drop(pairs.drain(..full));
        let (stream, channel) = &mut pairs[0];
        assert_eq!(fill(stream), UNSENT_MAX_BYTES - DATA_MAX_BYTES);
        let mut sent = 0;
        while let Some(message) = channel.next_message() {
            sent += message.len();
        }
        assert!(sent > UNSENT_MAX_BYTES);
        assert_eq!(fill(stream), UNSENT_MAX_BYTES);
        pairs.clear();
        assert_eq!(together.unsent_bytes(), 0, "nothing of what is gone counts");
    }

    #[test]
    fn all_the_streams_that_a_connection_may_have_take_two_mebibytes_and_none_waits_for_the_others() {
        let together = Together::default();
        let mut pairs: Vec<_> =
            (0..STREAMS_MAX).map(|_| pair(Arc::new(Nobody), Opener::Local, together.clone())).collect();
        let taken: Vec<_> = pairs.iter_mut().map(|(stream, _)| fill(stream)).collect();
        let full = UNSENT_TOGETHER_MAX_BYTES / UNSENT_MAX_BYTES;
        let frames = (UNSENT_CROWDED_MAX_BYTES - UNSENT_TOGETHER_MAX_BYTES) / DATA_MAX_BYTES;
        assert!(frames >= 30, "{frames}");
        assert!(taken[..full].iter().all(|taken| *taken == UNSENT_MAX_BYTES), "{taken:?}");
        assert!(taken[full..full + frames].iter().all(|taken| *taken == DATA_MAX_BYTES), "{taken:?}");
        // The one after them meets the bound within its frame.
        assert!(taken[full + frames + 1..].iter().all(|taken| *taken == UNSENT_LEAST_BYTES), "{taken:?}");
        let sum = taken.iter().sum::<usize>();
        assert_eq!(together.unsent_bytes(), sum);
        assert!(sum <= 2 * 1024 * 1024, "{sum}");

        // Each goes on when its own was sent, those that had more before it was crowded too.
        for (stream, channel) in &mut pairs {
            let mut written = 0;
            while written == 0 {
                assert!(channel.next_message().is_some());
                written = fill(stream);
            }
        }
        assert!(together.unsent_bytes() <= 2 * 1024 * 1024);
    }

    #[test]
    fn a_writer_that_waits_in_a_crowd_goes_on_when_its_own_frame_was_sent() {
        let together = Together::default();
        together.set_unsent(UNSENT_TOGETHER_MAX_BYTES);
        let (mut stream, channel) = pair(Arc::new(Nobody), Opener::Local, together);
        assert_eq!(fill(&mut stream), DATA_MAX_BYTES);
        let mut writing = Box::pin(async { futures::AsyncWriteExt::write(&mut stream, b"more").await.unwrap() });
        assert_eq!(writing.as_mut().now_or_never(), None);
        assert!(channel.next_message().is_some());
        assert_eq!(writing.now_or_never(), Some(4));
    }

    #[test]
    fn streams_of_one_connection_share_what_they_may_have_unread() {
        let together = Together::default();
        together.set_authenticated();
        let unread = || together.unread_bytes();
        let new = || pair(Arc::new(Nobody), Opener::Remote, together.clone());
        let frame = Bytes::from(Frame::data(vec![7; 16_000].into()).encode());
        // Each is within its own bound.
        let mut pairs = Vec::new();
        for _ in 0..UNREAD_TOGETHER_MAX_BYTES / 16_000 {
            let last = pairs.pop().filter(|(_, _, frames)| *frames < 400);
            let (stream, channel, frames) = last.unwrap_or_else(|| {
                let (stream, channel) = new();
                (stream, channel, 0)
            });
            channel.on_message(frame.clone()).unwrap();
            pairs.push((stream, channel, frames + 1));
            if frames + 1 == 400 {
                let (stream, channel) = new();
                pairs.push((stream, channel, 0));
            }
        }
        let full = unread();
        assert!(full + 16_000 > UNREAD_TOGETHER_MAX_BYTES, "{full}");
        let (mut stream, channel) = new();
        assert_eq!(channel.on_message(frame.clone()), Err(StreamError::Unread));
        assert_eq!(unread(), full, "and its bytes are let go");
        let read = futures::AsyncReadExt::read(&mut stream, &mut [0; 8]).now_or_never().unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData);

        // What is read makes room, and so does what is given up.
        let (stream, _, _) = &mut pairs[0];
        let read = futures::AsyncReadExt::read(stream, &mut [0; 16_000]).now_or_never().unwrap();
        assert_eq!((read.unwrap(), unread()), (16_000, full - 16_000));
        let (_stream, channel) = new();
        channel.on_message(frame).unwrap();
        assert_eq!(unread(), full);
        let (stream, _channel, _) = pairs.swap_remove(0);
        drop(stream);
        assert_eq!(unread(), full - 399 * 16_000, "also while the channel is still there");
        drop((pairs, _stream, channel));
        assert_eq!(unread(), 0);
    }

    /// Connections of one transport, with so many bytes unread each.
    fn unread(census: &Census, connections: usize, bytes: usize) -> Vec<(Together, Vec<(Stream, Channel)>)> {
        let connection = |_| {
            let together = Together::new(census);
            together.set_authenticated();
            let streams = (0..bytes.div_ceil(UNREAD_MAX_BYTES)).map(|_| {
                let (stream, channel) = pair(Arc::new(Nobody), Opener::Remote, together.clone());
                // As many frames as that is.
                for _ in 0..bytes.min(UNREAD_MAX_BYTES) / 16_000 {
                    channel.on_message(Frame::data(vec![7; 16_000].into()).encode().into()).unwrap();
                }
                (stream, channel)
            });
            let streams = streams.collect();
            (together, streams)
        };
        (0..connections).map(connection).collect()
    }

    #[test]
    fn connections_of_one_transport_share_what_they_may_have_unread_and_who_has_little_is_not_cut_off_for_others() {
        let census = Census::default();
        let held = unread(&census, UNREAD_OF_ALL_MAX_BYTES / UNREAD_MAX_BYTES, UNREAD_MAX_BYTES);
        let _some = unread(&census, 1, UNREAD_FAIR_BYTES);
        let all = census.counts().unread_bytes;
        assert!(all > UNREAD_OF_ALL_MAX_BYTES, "{all}");
        let frame = || Bytes::from(Frame::data(vec![7; 16_000].into()).encode());
        let (together, _) = &held[0];
        let (mut stream, channel) = pair(Arc::new(Nobody), Opener::Remote, together.clone());
        assert_eq!(channel.on_message(frame()), Ok(()), "it broke no rule");
        let read = futures::AsyncReadExt::read(&mut stream, &mut [0; 8]).now_or_never().unwrap();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData, "but it has much");
        let little = unread(&census, 1, 16_000);
        little[0].1[0].1.on_message(frame()).unwrap();
        drop((held, little, _some));
        assert_eq!(census.counts().unread_bytes, 0);
        let again = unread(&census, 1, UNREAD_TOGETHER_MAX_BYTES);
        drop(again);
    }

    #[test]
    fn whoever_has_not_said_who_it_is_has_less_kept_for_it() {
        let census = Census::default();
        let together = Together::new(&census);
        let (_stream, channel) = pair(Arc::new(Nobody), Opener::Remote, together.clone());
        let frame = || Bytes::from(Frame::data(vec![7; 16_000].into()).encode());
        let kept = (0..1_000).take_while(|_| channel.on_message(frame()).is_ok()).count();
        assert_eq!(kept, UNREAD_EARLY_MAX_BYTES / 16_000);
        together.set_authenticated();
        let (_stream, channel) = pair(Arc::new(Nobody), Opener::Remote, together);
        let kept = (0..1_000).take_while(|_| channel.on_message(frame()).is_ok()).count();
        assert_eq!(kept, UNREAD_MAX_BYTES / 16_000);
    }

    #[test]
    fn a_stream_that_cannot_say_its_last_word_yet_asks_for_no_turn() {
        let (mut stream, channel) = pair(Arc::new(Nobody), Opener::Remote, Together::default());
        let send_all = || while channel.next_message().is_some() {};
        let _ = futures::AsyncWriteExt::close(&mut stream).now_or_never();
        send_all();
        drop(stream);
        send_all();
        // It acknowledges the end of this half, and does not end its own in time.
        channel.on_message(Frame::flag(Flag::FinAck).encode().into()).unwrap();
        let given_up = clock::now_ms() + state::FIN_ACK_TIMEOUT.as_millis() as u64 + 1_000;
        channel.handle_timeout(given_up);
        assert!(!channel.may_close(given_up));
        let due = channel.next_timeout().unwrap();
        assert_eq!(due, given_up + OPENER_CLOSES_WITHIN.as_millis() as u64);
        // Now it does, and is to be told that it was heard.
        channel.on_message(Frame::flag(Flag::Fin).encode().into()).unwrap();
        assert!(channel.has_message() && !channel.may_close(due));
        assert_eq!(channel.next_timeout(), None);
        send_all();
        assert!(channel.may_close(due));
    }
}
