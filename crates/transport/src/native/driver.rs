//! One connection's task: str0m decides, this moves datagrams, data and time.

use super::{
    caught::caught,
    datagram::{Datagram, Local},
    effort::Effort,
    filter::Filter,
    pacer::Pacer,
    quarantine::Quarantine,
    talk::{Order, Report, Wake, next_order},
    whereabouts::Whereabouts,
    window::{WINDOW_MAX_BYTES, Window},
};
use crate::{
    census::{Census, Counted, Kind},
    clock,
    connection::{Backend, Closed, LOST_AFTER},
    proto::{
        fingerprint::Fingerprint,
        frame::{FRAME_MAX_BYTES, FrameError},
        signal::INIT_LABEL,
    },
    rate::Rate,
    stream::Channel,
};
use bytes::Bytes;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};
use str0m::{
    Event, IceConnectionState, Input, Output, Rtc, RtcError,
    channel::{ChannelConfig, ChannelId},
    net::{Protocol, Receive, Transmit},
};
use tokio::sync::mpsc;

/// Streams that are reset at once, and a second after that: sctp-proto asks for all that the other end has not answered in one
/// datagram, and one of more than 2,000 bytes, some 965 streams, ends the connection in str0m.
const RESETS_AT_ONCE: u32 = 256;
const RESETS_PER_S: u32 = 400;
/// Streams whose resets the other end has not answered: it may be slow, and what is asked for meanwhile goes out together.
const RESETS_UNANSWERED_MAX: usize = 512;
/// What has to wait for that is tried again after this.
pub(super) const RESET_PAUSE: Duration = Duration::from_millis(10);
/// Datagrams taken in before streams are looked after again.
const DATAGRAMS_AT_ONCE: usize = 32;
/// So many datagrams that wait are a burst.
const BURST: usize = 24;
/// Datagrams of a burst that are acknowledged together.
const ACKNOWLEDGED_AT_ONCE: usize = 6;
/// Bytes that str0m buffers for one connection; less are handed to it, see [`Window`].
pub(super) const BUFFERED_MAX_BYTES: usize = WINDOW_MAX_BYTES + FRAME_MAX_BYTES;

/// A connection that is closed while SCTP still begins has this long to come to where its end can be said.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The channel `init` of a connection that is signalled.
enum Init {
    None,
    /// The other end makes it: the first of that name is no stream.
    Expected,
    Made {
        id: ChannelId,
        open: bool,
        close: bool,
    },
}

/// One stream's data channel.
struct Entry {
    channel: Channel,
    /// Closing was asked for; its end is still to come.
    closing: bool,
    /// Something was handed to str0m that may not be acknowledged yet.
    is_sending: bool,
    /// Both ends know its stream id without a word: it may be the other end's to use again.
    negotiated: bool,
    /// The stream id that this end chose, once it is known.
    own_id: Option<u16>,
    _counted: Counted,
}

pub(super) struct Driver {
    rtc: Rtc,
    locals: Vec<Local>,
    datagrams: mpsc::Receiver<Datagram>,
    wake: Arc<Wake>,
    backend: Backend,
    channels: HashMap<ChannelId, Entry>,
    /// Whose turn it is to send.
    turns: VecDeque<ChannelId>,
    /// A message that str0m had no room for: what it buffers is bounded for all channels together, so the others wait too.
    held_back: Option<(ChannelId, Vec<u8>)>,
    window: Window,
    pacer: Pacer,
    /// Bytes handed to str0m in all.
    written: u64,
    /// To the owner; full only when nobody reads it any more.
    reports: mpsc::Sender<Report>,
    /// From the owner, until it is gone.
    orders: Option<mpsc::Receiver<Order>>,
    init: Init,
    quarantine: Quarantine,
    filter: Filter,
    whereabouts: Whereabouts,
    resets: Rate,
    /// Streams of the other end that are not kept; to be reset when there is a turn for it.
    refused: VecDeque<ChannelId>,
    effort: Effort,
    /// Whether the ids of streams that this end opens are odd, once one was.
    opens_odd: Option<bool>,
    /// When str0m wants to be called again; `None` once something was told to it since it was asked.
    drained_until: Option<Instant>,
    lost_at: Option<Instant>,
    /// Set once closing was asked for.
    close_by: Option<Instant>,
    closed: Option<Closed>,
    census: Census,
    _counted: Counted,
}

impl Driver {
    pub fn new(
        rtc: Rtc,
        locals: Vec<Local>,
        datagrams: mpsc::Receiver<Datagram>,
        (wake, backend): (Arc<Wake>, Backend),
        (reports, orders): (mpsc::Sender<Report>, mpsc::Receiver<Order>),
        census: &Census,
    ) -> Self {
        Self {
            rtc,
            locals,
            datagrams,
            wake,
            backend,
            channels: HashMap::new(),
            turns: VecDeque::new(),
            held_back: None,
            window: Window::default(),
            pacer: Pacer::new(Instant::now()),
            written: 0,
            reports,
            orders: Some(orders),
            init: Init::None,
            quarantine: Quarantine::default(),
            filter: Filter::default(),
            whereabouts: Whereabouts::default(),
            resets: Rate::new(RESETS_PER_S, RESETS_AT_ONCE),
            refused: VecDeque::new(),
            effort: Effort::default(),
            opens_odd: None,
            drained_until: None,
            lost_at: None,
            close_by: None,
            closed: None,
            census: census.clone(),
            _counted: census.count(Kind::Connections),
        }
    }

    /// Has it known elsewhere when ICE and DTLS are done.
    pub fn tell_when_proven(&mut self, is_proven: Arc<AtomicBool>) {
        self.filter.tell_when_proven(is_proven);
    }

    /// The other end makes a channel `init`.
    pub fn expect_init(&mut self) {
        self.init = Init::Expected;
    }

    /// This end has made the channel `init`.
    pub fn has_init(&mut self, id: ChannelId) {
        self.init = Init::Made { id, open: false, close: false };
    }

    /// Gives a stream the data channel that both ends know without a word: the one for Noise.
    pub fn add_negotiated(&mut self, stream_id: u16, channel: Channel) {
        let config = ChannelConfig { negotiated: Some(stream_id), ..ChannelConfig::default() };
        let id = self.rtc.direct_api().create_data_channel(config);
        self.add(id, channel);
        if let Some(entry) = self.channels.get_mut(&id) {
            entry.negotiated = true;
        }
    }

    fn add(&mut self, id: ChannelId, channel: Channel) {
        let entry = Entry {
            channel,
            closing: false,
            is_sending: false,
            negotiated: false,
            own_id: None,
            _counted: self.census.count(Kind::Channels),
        };
        self.channels.insert(id, entry);
        self.turns.push_back(id);
    }

    /// Runs until the connection is over.
    pub async fn run(mut self) {
        let reason = match caught(self.turn()).await {
            Ok(reason) => reason,
            // Descriptions are read elsewhere: this is what str0m says of another fingerprint than the description's.
            Err(RtcError::RemoteSdp(_)) => Closed::Certificate,
            Err(error) => Closed::Backend(error.to_string()),
        };
        tracing::debug!(%reason, "connection over");
        for entry in self.channels.values() {
            entry.channel.on_closed();
        }
        self.backend.on_closed(reason);
    }

    async fn turn(&mut self) -> Result<Closed, RtcError> {
        loop {
            let now = Instant::now();
            let mut wake_at = self.look_after_streams().await?;
            if let Some(closed) = self.closed.take() {
                let is_its_doing =
                    matches!(closed, Closed::Violated(_) | Closed::Flooded | Closed::StreamId | Closed::Costly);
                // It is told that it has lost the connection, if that can still be said.
                if is_its_doing && self.rtc.close().is_ok() {
                    let _ = self.say_goodbye().await;
                }
                return Ok(closed);
            }
            if !self.rtc.is_alive() {
                return Ok(Closed::Remote);
            }
            if self.backend.is_closing() {
                let close_by = *self.close_by.get_or_insert(now + CLOSE_WITHIN);
                match self.rtc.close() {
                    Ok(()) => {
                        self.say_goodbye().await?;
                        return Ok(Closed::Local);
                    }
                    // SCTP has only begun, and str0m says no word of the end before it has: the other end would wait until it
                    // takes this one for lost.
                    Err(RtcError::Sctp(_)) if now < close_by => wake_at = wake_at.min(close_by),
                    Err(error) => {
                        tracing::debug!(%error, "closed without a word to the other end");
                        return Ok(Closed::Local);
                    }
                }
            }
            if let Some(lost_at) = self.lost_at {
                if lost_at <= now {
                    return Ok(Closed::Lost);
                }
                wake_at = wake_at.min(lost_at);
            }
            tokio::select! {
                datagram = self.datagrams.recv() => match datagram {
                    None => return Ok(Closed::Local),
                    Some(datagram) => {
                        self.effort.begin();
                        self.take_in(datagram)?;
                        let mut undrained = 1;
                        for _ in 1..DATAGRAMS_AT_ONCE {
                            // A browser's socket has room for some 150 small datagrams. When the last ones of a burst of
                            // acknowledgements are lost, the sender waits for its timer: 5 MB/s of 18 at 50 ms, and 10 where
                            // only as many were spared as do not fit. In a trickle every other datagram is acknowledged, because
                            // the sender's window grows with each.
                            let together = if self.datagrams.len() < BURST { 1 } else { ACKNOWLEDGED_AT_ONCE };
                            if undrained >= together {
                                self.drain().await?;
                                undrained = 0;
                            }
                            if self.effort.is_spent() {
                                break;
                            }
                            let Ok(datagram) = self.datagrams.try_recv() else { break };
                            self.take_in(datagram)?;
                            undrained += 1;
                        }
                        if undrained > 0 {
                            self.drain().await?;
                        }
                        self.effort.end();
                        if self.effort.is_spent() {
                            self.closed.get_or_insert(Closed::Costly);
                        }
                    }
                },
                order = next_order(&mut self.orders) => match order {
                    Some(order) => self.on_order(order),
                    None => self.orders = None,
                },
                () = self.wake.0.notified() => {}
                () = tokio::time::sleep_until(wake_at.into()) => {
                    self.drained_until = None;
                    self.rtc.handle_input(Input::Timeout(Instant::now()))?;
                }
            }
        }
    }

    fn on_order(&mut self, order: Order) {
        self.drained_until = None;
        match order {
            Order::AddCandidate(candidate) => self.rtc.add_remote_candidate(candidate),
            Order::CloseInit => {
                if let Init::Made { close, .. } = &mut self.init {
                    *close = true;
                    self.close_init();
                } else {
                    let _ = self.reports.try_send(Report::InitClosed);
                }
            }
        }
    }

    /// Closes `init` if that is wanted and it is open: what was never open cannot be closed in order.
    fn close_init(&mut self) {
        if let Init::Made { id, open: true, close: true } = self.init {
            self.rtc.direct_api().close_data_channel(id);
        }
    }

    fn take_in(&mut self, Datagram { bytes, source, destination }: Datagram) -> Result<(), RtcError> {
        // What is no datagram of WebRTC is not for us.
        let Ok(contents) = bytes.as_slice().try_into() else { return Ok(()) };
        let receive = Receive { proto: Protocol::Udp, source, destination, contents };
        let input = Input::Receive(Instant::now(), receive);
        if !self.filter.lets_through(&bytes, source, || self.rtc.accepts(&input)) {
            return Ok(());
        }
        if !self.filter.is_proven() {
            self.whereabouts.on_received(&bytes, source);
        }
        self.effort.on_datagram(self.channels.len() + self.quarantine.len());
        self.drained_until = None;
        self.effort.of(|| self.rtc.handle_input(input))
    }

    /// Does all that str0m wants done; when it wants to be called again.
    async fn drain(&mut self) -> Result<Instant, RtcError> {
        loop {
            match self.effort.of(|| self.rtc.poll_output())? {
                Output::Timeout(at) => {
                    self.pacer.set_rate(self.window.pace(Instant::now()));
                    while let Some(datagram) = self.pacer.next(Instant::now()) {
                        self.transmit(&datagram).await;
                    }
                    let until = self.pacer.next_at().map_or(at, |next| next.min(at));
                    self.drained_until = Some(until);
                    return Ok(until);
                }
                Output::Transmit(datagram) => {
                    if !self.filter.is_proven() {
                        self.whereabouts.on_sent(&datagram.contents, datagram.destination);
                    }
                    self.effort.on_datagram(self.channels.len() + self.quarantine.len());
                    self.pacer.push(datagram);
                }
                Output::Event(event) => self.on_event(event),
            }
        }
    }

    /// Says the last word: what str0m still wants sent, and nothing that waits before it.
    async fn say_goodbye(&mut self) -> Result<(), RtcError> {
        self.pacer.clear();
        self.pacer.set_rate(None);
        self.drain().await.map(drop)
    }

    /// Where the socket's buffer is full this waits, and the others' tasks go on.
    async fn transmit(&self, datagram: &Transmit) {
        let from = |(address, _): &&Local| *address == datagram.source;
        let Some((_, socket)) = self.locals.iter().find(from).or(self.locals.first()) else { return };
        if socket.try_send_to(&datagram.contents, datagram.destination).is_err() {
            let _ = socket.send_to(&datagram.contents, datagram.destination).await;
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected => {
                self.filter.set_proven();
                let direct = self.rtc.direct_api();
                let digest = direct.remote_dtls_fingerprint().and_then(|found| found.bytes.as_slice().try_into().ok());
                if let Some(digest) = digest {
                    let (certificate, host) = (Fingerprint(digest), self.whereabouts.host());
                    let _ = self.reports.try_send(Report::Connected { certificate, host });
                }
            }
            Event::ChannelOpen(id, _) if matches!(self.init, Init::Made { id: init, .. } if init == id) => {
                if let Init::Made { open, .. } = &mut self.init {
                    *open = true;
                }
                self.close_init();
            }
            Event::ChannelClose(id) if matches!(self.init, Init::Made { id: init, .. } if init == id) => {
                self.init = Init::None;
                let _ = self.reports.try_send(Report::InitClosed);
            }
            Event::ChannelOpen(id, label) if matches!(self.init, Init::Expected) && label == INIT_LABEL => {
                self.init = Init::Made { id, open: true, close: false };
            }
            Event::ChannelOpen(id, _) if self.quarantine.contains(id) => self.quarantine.on_opened(&mut self.rtc, id),
            Event::ChannelClose(id) if self.quarantine.on_closed(id) => {}
            Event::ChannelOpen(id, _) if self.channels.contains_key(&id) => {
                let own_id = self.rtc.direct_api().sctp_stream_id_by_channel_id(id);
                if let Some(entry) = self.channels.get_mut(&id)
                    && !entry.negotiated
                {
                    entry.own_id = own_id;
                    self.opens_odd = own_id.map(|id| id % 2 == 1);
                }
            }
            Event::ChannelOpen(id, label) => {
                tracing::trace!(?id, label, "inbound data channel");
                // RFC 8832, 6: one end's ids are odd and the other's even. str0m would go round in circles over an id twice.
                let stream_id = self.rtc.direct_api().sctp_stream_id_by_channel_id(id);
                if self.opens_odd.is_some() && stream_id.map(|id| id % 2 == 1) == self.opens_odd {
                    self.closed.get_or_insert(Closed::StreamId);
                    return;
                }
                match self.backend.accept(clock::now_ms()) {
                    Ok(Some(channel)) => self.add(id, channel),
                    Ok(None) => self.refused.push_back(id),
                    Err(closed) => _ = self.closed.get_or_insert(closed),
                }
            }
            Event::ChannelData(data) => {
                let Some(entry) = self.channels.get(&data.id) else { return };
                let taken = if data.binary {
                    entry.channel.on_message(Bytes::from(data.data))
                } else {
                    Err(entry.channel.on_malformed(FrameError::Text))
                };
                if let Err(error) = taken {
                    self.closed = self.closed.take().or_else(|| self.backend.on_violation(error));
                }
            }
            Event::ChannelClose(id) => {
                if let Some(entry) = self.channels.remove(&id) {
                    let in_order = entry.channel.on_closed();
                    self.turns.retain(|other| *other != id);
                    self.held_back.take_if(|(other, _)| *other == id);
                    self.backend.on_stream_over(in_order);
                    if let Some(stream_id) = entry.own_id {
                        let counted = self.census.count(Kind::RestingIds);
                        self.quarantine.hold(&mut self.rtc, stream_id, Instant::now(), counted);
                    }
                }
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.lost_at.get_or_insert(Instant::now() + LOST_AFTER);
            }
            Event::IceConnectionStateChange(_) => self.lost_at = None,
            Event::Closed => self.closed = Some(Closed::Remote),
            _ => {}
        }
    }

    /// Opens, sends and closes what streams want; when to come back without being woken.
    async fn look_after_streams(&mut self) -> Result<Instant, RtcError> {
        while let Some(channel) = self.backend.next_fresh() {
            let id = self.rtc.direct_api().create_data_channel(ChannelConfig::default());
            self.add(id, channel);
            self.drain().await?;
        }
        self.send().await?;
        let (now_ms, resets, held) = (clock::now_ms(), &mut self.resets, self.quarantine.waiting());
        let let_go_at = self.quarantine.handle_timeout(&mut self.rtc, Instant::now(), || resets.take(now_ms));
        let drained_until = self.drained_until.filter(|_| self.quarantine.waiting() == held);
        // Each question costs str0m a walk through all streams.
        let mut wake_at = match drained_until {
            Some(until) => until,
            None => self.drain().await?,
        };
        wake_at = let_go_at.map_or(wake_at, |at| at.min(wake_at));
        let mut over = Vec::new();
        while !self.refused.is_empty() && self.resets.take(now_ms) {
            over.extend(self.refused.pop_front());
        }
        if !self.refused.is_empty() {
            wake_at = wake_at.min(Instant::now() + RESET_PAUSE);
        }
        let closing = self.channels.values().filter(|entry| entry.closing).count();
        let unanswered = over.len() + closing + self.quarantine.unanswered();
        let mut turns = RESETS_UNANSWERED_MAX.saturating_sub(unanswered);
        let held_back = self.held_back.as_ref().map(|(id, _)| *id);
        for (id, entry) in &mut self.channels {
            entry.channel.handle_timeout(now_ms);
            if turns > 0 && !entry.closing && held_back != Some(*id) && entry.channel.may_close(now_ms) {
                if !self.resets.take(now_ms) {
                    wake_at = wake_at.min(Instant::now() + RESET_PAUSE);
                    continue;
                }
                turns -= 1;
                entry.closing = true;
                over.push(*id);
            }
            if !entry.closing
                && let Some(at) = entry.channel.next_timeout()
            {
                // What is due and has no turn yet is not asked again at once.
                let wait = Duration::from_millis(at.saturating_sub(now_ms)).max(RESET_PAUSE);
                wake_at = wake_at.min(Instant::now() + wait);
            }
        }
        for id in over {
            self.rtc.direct_api().close_data_channel(id);
            wake_at = wake_at.min(self.drain().await?);
        }
        Ok(wake_at)
    }

    /// Hands messages to str0m until the window is full or there is none.
    async fn send(&mut self) -> Result<(), RtcError> {
        let mut buffered = self.buffered_bytes();
        loop {
            if buffered >= self.window.bytes() && self.has_waiting() {
                self.window.on_full(self.written.saturating_sub(buffered as u64), Instant::now());
                return Ok(());
            }
            let Some(sent) = self.send_one() else { break };
            self.written += sent as u64;
            buffered += sent;
            self.drain().await?;
        }
        self.window.on_idle();
        Ok(())
    }

    fn has_waiting(&self) -> bool {
        self.held_back.is_some() || self.channels.values().any(|entry| entry.channel.has_message())
    }

    /// Bytes that the other end has not acknowledged. str0m walks all streams to find one: only those are asked for that may have
    /// some.
    fn buffered_bytes(&mut self) -> usize {
        let mut sum = 0;
        for (id, entry) in self.channels.iter_mut().filter(|(_, entry)| entry.is_sending) {
            let bytes = self.rtc.channel(*id).map_or(0, |mut channel| channel.buffered_amount());
            entry.is_sending = bytes > 0;
            sum += bytes;
        }
        sum
    }

    /// Hands the next message to str0m; its bytes, if it was taken.
    fn send_one(&mut self) -> Option<usize> {
        while let Some((id, message)) = self.held_back.take().or_else(|| self.next_message()) {
            let Some(mut channel) = self.rtc.channel(id) else { continue };
            match channel.write(true, &message) {
                Ok(true) => {
                    if let Some(entry) = self.channels.get_mut(&id) {
                        entry.is_sending = true;
                    }
                    return Some(message.len());
                }
                Ok(false) => {
                    self.held_back = Some((id, message));
                    return None;
                }
                // It closed in between; its event is on the way, and tells the stream. Who takes no full frames is not connected to,
                // see `sdp::check`.
                Err(error) => tracing::debug!(%error, "a data channel took nothing"),
            }
        }
        None
    }

    /// A message of the next stream that has one and an open channel.
    fn next_message(&mut self) -> Option<(ChannelId, Vec<u8>)> {
        for _ in 0..self.turns.len() {
            let id = self.turns.pop_front()?;
            self.turns.push_back(id);
            if let Some(entry) = self.channels.get(&id)
                && self.rtc.channel(id).is_some()
                && let Some(message) = entry.channel.next_message()
            {
                return Some((id, message));
            }
        }
        None
    }
}
