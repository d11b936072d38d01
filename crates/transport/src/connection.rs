//! A connection as libp2p sees it: a muxer whose streams are data channels.

use crate::{
    census::Census,
    proto::state::StreamError,
    rate::Rate,
    stream::{self, Channel, Notify, Opener, Stream},
    together::Together,
};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Streams that the other end opened and nobody has taken yet; those beyond it are closed at once.
pub const INBOUND_WAITING_MAX: usize = 64;
/// Streams of one connection, both directions.
pub const STREAMS_MAX: usize = 1_024;
/// Streams that the other end may open without a pause and not end in order, with those that this end does not keep. It is twice
/// what there can be: a peer that opens all it may, breaks them off and does so again is not taken for one that floods.
pub const INBOUND_BURST: u32 = 2_048;
/// Such streams a second that the other end may open after that. Each costs this end a channel, a task to negotiate on it, and some
/// datagrams. Those that end in order do not count: each question to the DHT is one, and there are hundreds a second.
pub const INBOUND_PER_S: u32 = 64;
/// Messages that break the protocol on one connection before it is closed.
pub const VIOLATIONS_MAX: u32 = 32;
/// A connection that heard nothing is given up after this; ICE alone would call it lost sooner, and find it again.
pub const LOST_AFTER: Duration = Duration::from_secs(15);

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// This end closed it.
    #[error("the connection was closed")]
    Local,
    /// The other end closed it.
    #[error("the remote peer closed the connection")]
    Remote,
    /// Nothing was heard for too long.
    #[error("the connection was lost")]
    Lost,
    /// The other end broke the protocol too often, last in this way.
    #[error("the remote peer broke the protocol {VIOLATIONS_MAX} times: {0}")]
    Violated(#[from] StreamError),
    /// The other end opened streams and broke them off faster than this end takes them.
    #[error(
        "the remote peer broke off more than {INBOUND_BURST} streams, and went on faster than {INBOUND_PER_S} a second"
    )]
    Flooded,
    /// What the other end sent took far more processor time than as many datagrams take.
    #[error("what the remote peer sent cost this end far more than it carried")]
    Costly,
    /// The other end opened a stream with an id that is this end's (RFC 8832 §6).
    #[error("the remote peer opened a stream with an id that only this end may use")]
    StreamId,
    /// One of the two did not take the other's certificate.
    #[error("one end's certificate is not the one that was named")]
    Certificate,
    /// More came at once than this end can look at.
    #[error("more came on the connection at once than this end takes")]
    Overrun,
    /// The backend gave up.
    #[error("{0}")]
    Backend(String),
}

struct Inner {
    inbound: VecDeque<Stream>,
    inbound_waker: Option<Waker>,
    /// Streams that the other end may still open and break off.
    may_open: Rate,
    /// Streams that this end has opened and the backend has no data channel for yet.
    fresh: VecDeque<Channel>,
    streams: usize,
    violations: u32,
    outbound_waker: Option<Waker>,
    closing: bool,
    closed: Option<Closed>,
    close_waker: Option<Waker>,
    poll_waker: Option<Waker>,
}

struct Shared {
    inner: Mutex<Inner>,
    backend: Arc<dyn Notify>,
    together: Together,
}

impl Inner {
    fn new() -> Self {
        Self {
            inbound: VecDeque::new(),
            inbound_waker: None,
            may_open: Rate::new(INBOUND_PER_S, INBOUND_BURST),
            fresh: VecDeque::new(),
            streams: 0,
            violations: 0,
            outbound_waker: None,
            closing: false,
            closed: None,
            close_waker: None,
            poll_waker: None,
        }
    }
}

impl Shared {
    fn stream(&self, opener: Opener) -> (Stream, Channel) {
        stream::pair(self.backend.clone(), opener, self.together.clone())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user's end. Dropping it closes the connection.
///
/// # Limits
/// It has at most [`STREAMS_MAX`] streams. At that, this end's `poll_outbound` waits until one is over, and a stream that the
/// other end opens is closed at once; so is one beyond the [`INBOUND_WAITING_MAX`] that nobody has taken with `poll_inbound`.
/// Who breaks the protocol [`VIOLATIONS_MAX`] times loses the connection. One of those is to send more than is kept for a
/// reader. Who has broken off [`INBOUND_BURST`] streams and goes on faster than [`INBOUND_PER_S`] a second loses it as well, and
/// so does, natively on Unix, who costs far more processor time than as many datagrams and streams do.
///
/// # Back-pressure
/// Opening a stream waits for no word of the other end. What may be written to streams and read late is bounded for each, and
/// for all of a connection together: see [`Stream`].
///
/// # Errors
/// A connection that is over gives an [`io::Error`] with the [`Closed`] that says why inside, of the kind `NotConnected` for
/// [`Closed::Local`], `ConnectionReset` for [`Closed::Remote`], `TimedOut` for [`Closed::Lost`], `InvalidData` for
/// [`Closed::Violated`], [`Closed::StreamId`] and [`Closed::Certificate`], and `ConnectionAborted` for [`Closed::Flooded`],
/// [`Closed::Costly`], [`Closed::Overrun`] and [`Closed::Backend`]. A boxed muxer, as [`crate::build`] gives it, wraps it once more. Streams that are
/// not over fail with [`StreamError::ChannelClosed`] then.
pub struct Connection(Arc<Shared>);

/// The backend's end.
#[derive(Clone)]
pub(crate) struct Backend(Arc<Shared>);

/// Both ends of a new connection.
pub(crate) fn pair(backend: Arc<dyn Notify>, census: &Census) -> (Connection, Backend) {
    let shared = Arc::new(Shared { inner: Mutex::new(Inner::new()), backend, together: Together::new(census) });
    (Connection(shared.clone()), Backend(shared))
}

impl Backend {
    /// A stream of this connection that libp2p does not see: the one for Noise. It counts as any other.
    /// Its channel stays open for as long as the connection, unless the other end closes it (as the specification of
    /// webrtc-direct has it): Firefox gives its id to the next stream before the reset of the other direction has come, which
    /// then ends that one. Where both ends closed it, three of a hundred new connections lost their first stream, where one
    /// did, one of four hundred on a busy machine.
    pub fn hidden_stream(&self) -> (Stream, Channel) {
        self.0.lock().streams += 1;
        self.0.stream(Opener::Both)
    }

    /// The other end opened a data channel. `None`: too many wait, close it.
    ///
    /// # Errors
    /// Why the connection is over: it opens them and breaks them off too fast.
    pub fn accept(&self, now_ms: u64) -> Result<Option<Channel>, Closed> {
        let mut inner = self.0.lock();
        // One that is not kept costs as much.
        if !inner.may_open.take(now_ms) {
            return Err(Closed::Flooded);
        }
        if inner.inbound.len() >= INBOUND_WAITING_MAX || inner.streams >= STREAMS_MAX || inner.closing {
            return Ok(None);
        }
        let (stream, channel) = self.0.stream(Opener::Remote);
        inner.streams += 1;
        inner.inbound.push_back(stream);
        if let Some(waker) = inner.inbound_waker.take() {
            waker.wake();
        }
        Ok(Some(channel))
    }

    /// The next stream that this end opened: it needs a data channel.
    pub fn next_fresh(&self) -> Option<Channel> {
        self.0.lock().fresh.pop_front()
    }

    /// A stream's data channel is closed. `in_order`: the other end had opened it, and ended it as streams are ended.
    pub fn on_stream_over(&self, in_order: bool) {
        let mut inner = self.0.lock();
        if in_order {
            inner.may_open.give_back();
        }
        inner.streams = inner.streams.saturating_sub(1);
        if let Some(waker) = inner.outbound_waker.take() {
            waker.wake();
        }
    }

    /// The other end broke the protocol; why the connection is over, if it did so too often.
    pub fn on_violation(&self, error: StreamError) -> Option<Closed> {
        tracing::debug!(%error, "stream broken off");
        let mut inner = self.0.lock();
        inner.violations = inner.violations.saturating_add(1);
        (inner.violations >= VIOLATIONS_MAX).then_some(Closed::Violated(error))
    }

    /// Whether the user has closed the connection.
    pub fn is_closing(&self) -> bool {
        self.0.lock().closing
    }

    /// The connection is over.
    pub fn on_closed(&self, reason: Closed) {
        let mut inner = self.0.lock();
        inner.closed.get_or_insert(reason);
        let fresh = std::mem::take(&mut inner.fresh);
        let wakers = [
            inner.inbound_waker.take(),
            inner.outbound_waker.take(),
            inner.close_waker.take(),
            inner.poll_waker.take(),
        ];
        drop(inner);
        fresh.iter().for_each(|channel| _ = channel.on_closed());
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl Inner {
    fn error(&self) -> Option<io::Error> {
        let closed = self.closed.clone()?;
        let kind = match closed {
            Closed::Local => io::ErrorKind::NotConnected,
            Closed::Remote => io::ErrorKind::ConnectionReset,
            Closed::Lost => io::ErrorKind::TimedOut,
            Closed::Violated(_) | Closed::StreamId | Closed::Certificate => io::ErrorKind::InvalidData,
            Closed::Flooded | Closed::Costly | Closed::Overrun | Closed::Backend(_) => io::ErrorKind::ConnectionAborted,
        };
        Some(io::Error::new(kind, closed))
    }
}

impl Connection {
    /// It is known who is at the other end: more of what it sends is kept.
    pub(crate) fn set_authenticated(&self) {
        self.0.together.set_authenticated();
    }

    /// Waits until it is over.
    pub(crate) async fn closed(&self) -> Closed {
        let closed = |context: &mut Context<'_>| {
            let mut inner = self.0.lock();
            if let Some(closed) = &inner.closed {
                return Poll::Ready(closed.clone());
            }
            inner.poll_waker = Some(context.waker().clone());
            Poll::Pending
        };
        std::future::poll_fn(closed).await
    }
}

impl StreamMuxer for Connection {
    type Substream = Stream;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let mut inner = self.0.lock();
        if let Some(stream) = inner.inbound.pop_front() {
            return Poll::Ready(Ok(stream));
        }
        if let Some(error) = inner.error() {
            return Poll::Ready(Err(error));
        }
        inner.inbound_waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// Nobody waits for the data channel to be open: what is written meanwhile waits in the stream.
    fn poll_outbound(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let mut inner = self.0.lock();
        if let Some(error) = inner.error() {
            return Poll::Ready(Err(error));
        }
        if inner.streams >= STREAMS_MAX {
            inner.outbound_waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let (stream, channel) = self.0.stream(Opener::Local);
        inner.streams += 1;
        inner.fresh.push_back(channel);
        drop(inner);
        self.0.backend.notify();
        Poll::Ready(Ok(stream))
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        if inner.closed.is_some() {
            return Poll::Ready(Ok(()));
        }
        inner.closing = true;
        inner.close_waker = Some(context.waker().clone());
        drop(inner);
        self.0.backend.notify();
        Poll::Pending
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        let mut inner = self.0.lock();
        if let Some(error) = inner.error() {
            return Poll::Ready(Err(error));
        }
        inner.poll_waker = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.lock().closing = true;
        self.0.backend.notify();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::frame::{Flag, Frame};
    use libp2p::core::muxing::StreamMuxerExt;
    use std::sync::atomic::{AtomicBool, Ordering};

    struct Nobody;

    impl Notify for Nobody {
        fn notify(&self) {}
    }

    /// A stream that the other end opens, if it is kept.
    fn accept(backend: &Backend) -> Option<Channel> {
        backend.accept(0).unwrap()
    }

    #[test]
    fn the_stream_for_noise_makes_room_for_no_more_than_itself() {
        let (_connection, backend) = pair(Arc::new(Nobody), &Census::default());
        let _noise = backend.hidden_stream();
        let _channel = accept(&backend);
        backend.on_stream_over(false);
        assert_eq!(backend.0.lock().streams, 1);
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn streams_that_nobody_takes_wait_up_to_a_bound_and_one_that_is_taken_makes_room() {
        let (mut connection, backend) = pair(Arc::new(Nobody), &Census::default());
        let accepted = (0..INBOUND_WAITING_MAX + 1).filter_map(|_| accept(&backend)).count();
        assert_eq!(accepted, INBOUND_WAITING_MAX);
        let mut context = Context::from_waker(Waker::noop());
        assert!(connection.poll_inbound_unpin(&mut context).is_ready());
        assert!(accept(&backend).is_some());
        assert!(accept(&backend).is_none());
    }

    #[test]
    fn a_connection_with_all_its_streams_takes_none_and_opens_the_next_when_one_is_over() {
        let (mut connection, backend) = pair(Arc::new(Nobody), &Census::default());
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let mut streams = Vec::new();
        while let Poll::Ready(stream) = connection.poll_outbound_unpin(&mut context) {
            streams.push(stream.unwrap());
        }
        assert_eq!(streams.len(), STREAMS_MAX);
        assert!(accept(&backend).is_none(), "in neither direction");
        assert!(!woken.0.load(Ordering::Relaxed));
        backend.on_stream_over(false);
        assert!(woken.0.load(Ordering::Relaxed), "whoever waits is told");
        assert!(connection.poll_outbound_unpin(&mut context).is_ready());
        assert!(connection.poll_outbound_unpin(&mut context).is_pending());
        backend.on_stream_over(false);
        assert!(accept(&backend).is_some());
        assert!(connection.poll_outbound_unpin(&mut context).is_pending());
    }

    #[test]
    fn who_opens_streams_in_a_flood_loses_the_connection_and_those_that_are_not_kept_count() {
        let (mut connection, backend) = pair(Arc::new(Nobody), &Census::default());
        let opened: Vec<_> = (0..INBOUND_BURST).map(|_| accept(&backend)).collect();
        assert_eq!(opened.iter().flatten().count(), INBOUND_WAITING_MAX);
        assert_eq!(backend.accept(0).err(), Some(Closed::Flooded));
        backend.on_closed(Closed::Flooded);
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Err(error)) = connection.poll_outbound_unpin(&mut context) else { panic!("it goes on") };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(error.get_ref().and_then(|error| error.downcast_ref::<Closed>()), Some(&Closed::Flooded));
    }

    #[test]
    fn streams_that_end_in_order_do_not_count() {
        let (mut connection, backend) = pair(Arc::new(Nobody), &Census::default());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..3 * INBOUND_BURST {
            let channel = backend.accept(0).unwrap().expect("room");
            let Poll::Ready(Ok(stream)) = connection.poll_inbound_unpin(&mut context) else { panic!("no stream") };
            channel.on_message(Frame::flag(Flag::Fin).encode().into()).unwrap();
            drop(stream);
            backend.on_stream_over(channel.on_closed());
        }
    }

    #[test]
    fn who_opens_a_burst_and_goes_on_at_the_rate_keeps_the_connection() {
        let (mut connection, backend) = pair(Arc::new(Nobody), &Census::default());
        let mut context = Context::from_waker(Waker::noop());
        let begin_ms = 7_000_000;
        for number in 0..3 * u64::from(INBOUND_BURST) {
            let after = number.saturating_sub(u64::from(INBOUND_BURST) - 1);
            let now_ms = begin_ms + (1_000 * after).div_ceil(u64::from(INBOUND_PER_S));
            assert!(matches!(backend.accept(now_ms), Ok(Some(_))), "the {number}th");
            assert!(connection.poll_inbound_unpin(&mut context).is_ready());
            backend.on_stream_over(false);
        }
        assert!(connection.poll_outbound_unpin(&mut context).is_ready());
    }

    #[test]
    fn the_channel_of_noise_outlives_the_handshake() {
        let (_connection, backend) = pair(Arc::new(Nobody), &Census::default());
        let (stream, channel) = backend.hidden_stream();
        drop(stream);
        // What was dropped waits for the other end's word that it knows.
        let over_ms = 2 * crate::proto::state::FIN_ACK_TIMEOUT.as_millis() as u64;
        while channel.next_message().is_some() {}
        channel.handle_timeout(over_ms);
        while channel.next_message().is_some() {}
        assert!(!channel.may_close(over_ms));
        assert!(!channel.may_close(10 * over_ms));
        assert_eq!(channel.next_timeout(), None, "and wakes nobody");
    }
}
