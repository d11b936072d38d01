//! One connection's task: its peer connection, its data channels, and what streams want of them.

use super::js::{self, Listener, Shared};
use crate::{
    census::{Census, Counted, Kind},
    clock,
    connection::{Backend, Closed, LOST_AFTER},
    pace::Pace,
    proto::{
        frame::{FrameError, MESSAGE_MAX_BYTES},
        signal::INIT_LABEL,
    },
    stream::{Channel, Notify},
    waiting::{Overrun, Waiting},
};
use bytes::Bytes;
use futures::{FutureExt, future::poll_fn, pin_mut, select, task::AtomicWaker};
use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{
    MessageEvent, RtcDataChannel, RtcDataChannelEvent, RtcDataChannelState, RtcDataChannelType, RtcIceConnectionState,
    RtcPeerConnection, RtcPeerConnectionState,
};

/// Bytes that the data channels of one connection buffer together; each asks for more at half of what it has of them.
const BUFFERED_MAX_BYTES: u32 = 1024 * 1024;

/// Events of one connection that wait for its task. It runs right after each callback and takes in all there are, so that more
/// than a few are a sign of something else; in full frames, these are the 32 MiB that may wait for readers.
const EVENTS_WAITING_MAX: usize = 2_048;

/// The end that made `init` closes it at once. Firefox misses that when it comes with the opening (153: every other time from
/// Chromium), never closes its half, and the other end waits for that in vain: after this time this end closes it too.
const INIT_OPEN_MAX: Duration = Duration::from_secs(1);

/// Wakes a connection's task, from anywhere.
#[derive(Default)]
pub(super) struct Wake {
    waker: AtomicWaker,
    is_set: AtomicBool,
}

impl Notify for Wake {
    fn notify(&self) {
        self.is_set.store(true, Ordering::Release);
        self.waker.wake();
    }
}

impl Wake {
    pub async fn woken(&self) {
        poll_fn(|context| {
            self.waker.register(context.waker());
            if self.is_set.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// What callbacks report.
pub(super) enum Event {
    Opened(RtcDataChannel),
    Message(u32, Bytes),
    /// A message that no frames can be in.
    Malformed(u32, FrameError),
    /// It opened, or has room again.
    Ready,
    Ended(u32),
    State,
    /// The association under the data channels is closed: the other end has gone.
    Gone,
}

/// Events that wait for the task: it is woken by each, in the microtask after the callback, and takes them all.
#[derive(Clone)]
pub(super) struct Events {
    queue: Shared<Waiting<Event, EVENTS_WAITING_MAX>>,
    wake: Arc<Wake>,
}

impl Events {
    pub fn new(wake: Arc<Wake>) -> Self {
        Self { queue: Rc::new(RefCell::default()), wake }
    }

    pub fn push(&self, event: Event) {
        self.queue.borrow_mut().push(event);
        self.wake.notify();
    }

    fn pop(&self) -> Result<Option<Event>, Overrun> {
        self.queue.borrow_mut().pop()
    }
}

/// The other end's first message on a stream.
#[derive(Clone, Copy)]
enum Answer {
    NotAsked,
    /// This end sent the first message.
    Awaited {
        since_ms: u64,
    },
    Came,
}

/// A data channel and its stream.
struct Entry {
    data: RtcDataChannel,
    channel: Channel,
    /// What it had buffered when that was last looked at, bytes.
    buffered: u32,
    answer: Answer,
    closing: bool,
    _listeners: [Listener; 4],
    _counted: Counted,
}

/// A peer connection that is closed when this is dropped.
pub(super) struct PeerConnection {
    pub raw: RtcPeerConnection,
    _counted: Counted,
}

impl PeerConnection {
    pub fn new(peer_connection: RtcPeerConnection, census: &Census) -> Self {
        Self { raw: peer_connection, _counted: census.count(Kind::PeerConnections) }
    }
}

impl Drop for PeerConnection {
    fn drop(&mut self) {
        self.raw.close();
    }
}

/// The channel `init` that the other end of a signalled connection makes: no stream, and kept until it is closed.
enum Init {
    None,
    Expected,
    Made { channel: RtcDataChannel, close_at_ms: u64 },
    Closing { _channel: RtcDataChannel },
}

pub(super) struct Task {
    pub backend: Backend,
    pub events: Events,
    wake: Arc<Wake>,
    entries: BTreeMap<u32, Entry>,
    next_entry: u32,
    /// Whose turn it is to send.
    turn: u32,
    /// Where what is sent must not leave in bursts.
    pace: Option<Pace>,
    lost_at_ms: Option<u64>,
    init: Init,
    watches_association: bool,
    census: Census,
    _counted: Counted,
    // Before the peer connection: callbacks are detached first.
    _listeners: Vec<Listener>,
    peer_connection: PeerConnection,
}

impl Task {
    /// Takes a peer connection over before anything can happen on it.
    pub fn new(peer_connection: PeerConnection, backend: Backend, wake: Arc<Wake>, census: &Census) -> Self {
        let events = Events::new(wake.clone());
        let opened = {
            let events = events.clone();
            Listener::new(census, &peer_connection.raw, "datachannel", move |event| {
                if let Some(event) = event.dyn_ref::<RtcDataChannelEvent>() {
                    events.push(Event::Opened(event.channel()));
                }
            })
        };
        let state = {
            let events = events.clone();
            Listener::new(census, &peer_connection.raw, "connectionstatechange", move |_| events.push(Event::State))
        };
        Self {
            backend,
            events,
            wake,
            entries: BTreeMap::new(),
            next_entry: 0,
            turn: 0,
            pace: None,
            lost_at_ms: None,
            init: Init::None,
            watches_association: false,
            census: census.clone(),
            _counted: census.count(Kind::Connections),
            _listeners: vec![opened, state],
            peer_connection,
        }
    }

    /// The other end may be a tab, whose sockets have room for little.
    pub fn pace(&mut self) {
        self.pace = Some(Pace::default());
    }

    /// The other end makes a channel `init`.
    pub fn expect_init(&mut self) {
        self.init = Init::Expected;
    }

    /// Whether a path was found, and DTLS failed on it: while connecting, one end did not take the other's certificate.
    fn is_refused(&self) -> bool {
        let raw = &self.peer_connection.raw;
        let field = |object: &JsValue, name: &str| js_sys::Reflect::get(object, &name.into()).ok();
        let dtls = field(raw, "sctp").and_then(|sctp| field(&sctp, "transport")).and_then(|dtls| field(&dtls, "state"));
        let has_path =
            matches!(raw.ice_connection_state(), RtcIceConnectionState::Connected | RtcIceConnectionState::Completed);
        has_path && dtls.and_then(|state| state.as_string()).as_deref() == Some("failed")
    }

    /// Has the end of the SCTP association noticed: it comes at once where the state of the connection takes its time.
    fn watch_association(&mut self) {
        let sctp = js_sys::Reflect::get(&self.peer_connection.raw, &"sctp".into());
        let Some(sctp) = sctp.ok().and_then(|sctp| sctp.dyn_into::<web_sys::EventTarget>().ok()) else { return };
        let events = self.events.clone();
        let watched = sctp.clone();
        self._listeners.push(Listener::new(&self.census, &sctp, "statechange", move |_| {
            let state = js_sys::Reflect::get(&watched, &"state".into()).ok().and_then(|state| state.as_string());
            if state.as_deref() == Some("closed") {
                events.push(Event::Gone);
            }
        }));
    }

    /// Gives a stream its data channel.
    pub fn add(&mut self, data: RtcDataChannel, channel: Channel) {
        let id = self.next_entry;
        self.next_entry = self.next_entry.wrapping_add(1);
        data.set_binary_type(RtcDataChannelType::Arraybuffer);
        let on = |name, event: fn(u32) -> Event| {
            let events = self.events.clone();
            Listener::new(&self.census, &data, name, move |_| events.push(event(id)))
        };
        let events = self.events.clone();
        let message = Listener::new(&self.census, &data, "message", move |event| {
            let data = event.dyn_ref::<MessageEvent>().map(MessageEvent::data);
            let bytes = data.and_then(|data| data.dyn_into::<js_sys::ArrayBuffer>().ok());
            events.push(match bytes {
                Some(bytes) if bytes.byte_length() as usize > MESSAGE_MAX_BYTES => {
                    Event::Malformed(id, FrameError::Message { bytes: bytes.byte_length() })
                }
                Some(bytes) => Event::Message(id, js_sys::Uint8Array::new(&bytes).to_vec().into()),
                None => Event::Malformed(id, FrameError::Text),
            });
        });
        let listeners = [
            message,
            on("open", |_| Event::Ready),
            on("bufferedamountlow", |_| Event::Ready),
            on("close", Event::Ended),
        ];
        let _counted = self.census.count(Kind::Channels);
        let answer = Answer::NotAsked;
        self.entries
            .insert(id, Entry { data, channel, buffered: 0, answer, closing: false, _listeners: listeners, _counted });
    }

    /// Runs until the connection is over.
    pub async fn run(mut self) {
        let reason = loop {
            if let Some(reason) = self.take_in_events() {
                break reason;
            }
            if self.backend.is_closing() {
                break Closed::Local;
            }
            let now_ms = clock::now_ms();
            if self.lost_at_ms.is_some_and(|at| at <= now_ms) {
                break Closed::Lost;
            }
            let wake_at_ms = self.look_after_streams(now_ms);
            let woken = self.wake.woken().fuse();
            let timer = async {
                match wake_at_ms {
                    Some(at) => clock::sleep(Duration::from_millis(at.saturating_sub(now_ms).max(1))).await,
                    None => std::future::pending().await,
                }
            }
            .fuse();
            pin_mut!(woken, timer);
            select! {
                () = woken => {}
                () = timer => {}
            }
        };
        tracing::debug!(%reason, "connection over");
        for entry in self.entries.values() {
            entry.channel.on_closed();
            entry.data.close();
        }
        self.backend.on_closed(reason);
    }

    fn take_in_events(&mut self) -> Option<Closed> {
        loop {
            let event = match self.events.pop() {
                Ok(Some(event)) => event,
                Ok(None) => return None,
                Err(Overrun) => return Some(Closed::Overrun),
            };
            match event {
                Event::Opened(data) if matches!(self.init, Init::Expected) && data.label() == INIT_LABEL => {
                    let close_at_ms = clock::now_ms() + INIT_OPEN_MAX.as_millis() as u64;
                    self.init = Init::Made { channel: data, close_at_ms };
                }
                Event::Opened(data) => match self.backend.accept(clock::now_ms()) {
                    Ok(Some(channel)) => self.add(data, channel),
                    Ok(None) => data.close(),
                    Err(closed) => return Some(closed),
                },
                Event::Message(id, message) => {
                    let Some(entry) = self.entries.get_mut(&id) else { continue };
                    if let Answer::Awaited { since_ms } = std::mem::replace(&mut entry.answer, Answer::Came)
                        && let Some(pace) = &mut self.pace
                    {
                        pace.answered_within(clock::now_ms().saturating_sub(since_ms));
                    }
                    if let Err(error) = entry.channel.on_message(message)
                        && let Some(closed) = self.backend.on_violation(error)
                    {
                        return Some(closed);
                    }
                }
                Event::Malformed(id, error) => {
                    let Some(entry) = self.entries.get(&id) else { continue };
                    if let Some(closed) = self.backend.on_violation(entry.channel.on_malformed(error)) {
                        return Some(closed);
                    }
                }
                Event::Ready => {}
                Event::Ended(id) => {
                    if let Some(entry) = self.entries.remove(&id) {
                        self.backend.on_stream_over(entry.channel.on_closed());
                    }
                }
                Event::State => match self.peer_connection.raw.connection_state() {
                    RtcPeerConnectionState::Failed if !self.watches_association && self.is_refused() => {
                        return Some(Closed::Certificate);
                    }
                    RtcPeerConnectionState::Failed => return Some(Closed::Lost),
                    RtcPeerConnectionState::Closed => return Some(Closed::Remote),
                    RtcPeerConnectionState::Disconnected => {
                        self.lost_at_ms.get_or_insert(clock::now_ms() + LOST_AFTER.as_millis() as u64);
                    }
                    state => {
                        self.lost_at_ms = None;
                        if state == RtcPeerConnectionState::Connected && !self.watches_association {
                            self.watches_association = true;
                            self.watch_association();
                        }
                    }
                },
                Event::Gone => return Some(Closed::Remote),
            }
        }
    }

    /// Hands messages of all streams in turn to the browser, as many as it may buffer and as fast as the path takes them; when to
    /// come back without being woken, ms.
    fn send(&mut self, now_ms: u64) -> Option<u64> {
        let mut buffered = 0;
        for entry in self.entries.values_mut().filter(|entry| entry.buffered > 0) {
            entry.buffered = entry.data.buffered_amount();
            buffered += entry.buffered;
        }
        let paced = self.pace.as_mut().map_or(u32::MAX, |pace| pace.room(buffered, now_ms));
        let room = paced.min(BUFFERED_MAX_BYTES.saturating_sub(buffered));
        let turn = self.turn;
        let mut senders: VecDeque<_> = self.entries.iter_mut().filter(|(_, entry)| entry.can_send()).collect();
        senders.rotate_left(senders.iter().position(|(id, _)| **id >= turn).unwrap_or(0));
        let mut handed = 0;
        while handed < room
            && let Some((id, entry)) = senders.pop_front()
        {
            handed += entry.send(now_ms);
            if entry.channel.has_message() {
                senders.push_back((id, entry));
            }
        }
        let next = senders.front().map(|(next, _)| **next);
        let wake_at_ms = self.pace.as_mut().and_then(|pace| pace.handed(handed, next.is_some(), now_ms));
        self.turn = next?;
        // Whichever drains first makes room for whose turn it is.
        for entry in self.entries.values().filter(|entry| entry.buffered > 0) {
            entry.data.set_buffered_amount_low_threshold(entry.buffered / 2);
        }
        wake_at_ms
    }

    /// Closes `init` if the other end's closing of it is overdue; when it will be, ms.
    fn look_after_init(&mut self, now_ms: u64) -> Option<u64> {
        match std::mem::replace(&mut self.init, Init::None) {
            Init::Made { channel, close_at_ms } if close_at_ms <= now_ms => {
                channel.close();
                self.init = Init::Closing { _channel: channel };
                None
            }
            Init::Made { channel, close_at_ms } => {
                self.init = Init::Made { channel, close_at_ms };
                Some(close_at_ms)
            }
            other => {
                self.init = other;
                None
            }
        }
    }

    /// Opens, sends and closes what streams want; when to come back without being woken, ms.
    fn look_after_streams(&mut self, now_ms: u64) -> Option<u64> {
        while let Some(channel) = self.backend.next_fresh() {
            match js::data_channel(&self.peer_connection.raw, "", None) {
                Ok(data) => self.add(data, channel),
                // No id is left, or the connection is closed, of which an event tells.
                Err(error) => {
                    tracing::debug!(error = js::reason(&error), "no data channel");
                    channel.on_closed();
                    self.backend.on_stream_over(false);
                }
            }
        }
        let mut wake_at_ms =
            [self.send(now_ms), self.lost_at_ms, self.look_after_init(now_ms)].into_iter().flatten().min();
        for entry in self.entries.values_mut() {
            entry.channel.handle_timeout(now_ms);
            if !entry.closing && entry.channel.may_close(now_ms) {
                entry.closing = true;
                // The browser sends what is queued before it closes.
                entry.data.close();
            }
            if !entry.closing {
                wake_at_ms = [wake_at_ms, entry.channel.next_timeout()].into_iter().flatten().min();
            }
        }
        wake_at_ms
    }
}

impl Entry {
    fn can_send(&self) -> bool {
        self.channel.has_message() && self.data.ready_state() == RtcDataChannelState::Open
    }

    /// Hands one message to the browser; its size.
    fn send(&mut self, now_ms: u64) -> u32 {
        let Some(message) = self.channel.next_message() else { return 0 };
        // Fails only on a channel that just closed; its event is on the way. Who takes no full frames is not connected to, see
        // `sdp::check`.
        if self.data.send_with_u8_array(&message).is_err() {
            return 0;
        }
        if matches!(self.answer, Answer::NotAsked) {
            self.answer = Answer::Awaited { since_ms: now_ms };
        }
        let bytes = message.len() as u32;
        self.buffered += bytes;
        bytes
    }
}
