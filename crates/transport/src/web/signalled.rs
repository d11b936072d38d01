//! A `/webrtc` connection in a tab: descriptions and candidates for the browser's peer connection. The browser itself insists
//! on the certificate in the other end's description.

use super::{
    budget,
    connection::{Task, Wake},
    js::{Listener, Shared, forget, js},
};
use crate::{
    budget::{Budget, By},
    census::Census,
    clock,
    connection::{self, Closed, Connection},
    error::Error,
    proto::{
        sdp::{self, Target},
        signal::INIT_LABEL,
    },
    signalling::{PeerConnection, Progress},
    stats,
    stun::StunServers,
    waiting::{Overrun, Waiting},
};
use futures::{FutureExt, TryFutureExt, pin_mut, select_biased};
use libp2p::PeerId;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    RtcConfiguration, RtcDataChannel, RtcDataChannelState, RtcIceCandidateInit, RtcIceServer, RtcPeerConnection,
    RtcPeerConnectionIceEvent, RtcPeerConnectionState, RtcSdpType,
};

/// How long `init` stays open: Firefox misses a close that comes with the opening.
const INIT_OPEN_MIN: Duration = Duration::from_millis(50);

/// Events of one attempt that wait: a browser names a handful of candidates, and the rest happens once or twice.
const EVENTS_WAITING_MAX: usize = 256;

/// How long a connection waits to be told its path: browsers tell it within some milliseconds, and one that does not must not
/// keep two peers apart, nor outlast the other end's patience with `init` (see `connection::INIT_OPEN_MAX`).
const STATS_PATIENCE: Duration = Duration::from_millis(300);
/// Entries of a browser's statistics that are looked at: each end names a handful of candidates, and they are paired.
const STATS_MAX: usize = 1_024;

/// What callbacks report.
enum Event {
    Candidate(String),
    State,
    /// The host at the other end of the path that was found.
    Path(Option<IpAddr>),
    InitOpen,
    InitClosed,
}

/// Events of one attempt.
#[derive(Clone, Default)]
struct Events {
    queue: Shared<Waiting<Event, EVENTS_WAITING_MAX>>,
    wake: Arc<Wake>,
}

impl Events {
    fn push(&self, event: Event) {
        self.queue.borrow_mut().push(event);
        crate::stream::Notify::notify(&*self.wake);
    }

    async fn next(&self) -> Result<Event, Overrun> {
        loop {
            let event = self.queue.borrow_mut().pop()?;
            match event {
                Some(event) => return Ok(event),
                None => self.wake.woken().await,
            }
        }
    }
}

/// A peer connection and what is heard of it while it is being connected.
struct Begun {
    // Before the peer connection: callbacks are detached first.
    _listeners: Vec<Listener>,
    peer_connection: RtcPeerConnection,
    connection: Option<Connection>,
    /// The channel `init`, at the end that makes it.
    init: Option<RtcDataChannel>,
    close_init: bool,
    /// It was connected, and its path is known or asked for.
    has_path: bool,
}

/// One attempt; see [`PeerConnection`].
pub(super) struct Signalled {
    peer: PeerId,
    budget: Budget,
    stun: StunServers,
    census: Census,
    events: Events,
    begun: Option<Begun>,
    /// How this end looks from outside, by its own address.
    outside: BTreeMap<String, BTreeSet<String>>,
}

fn configuration(stun: &StunServers) -> RtcConfiguration {
    let servers = js_sys::Array::new();
    for server in stun.get() {
        let entry = RtcIceServer::new();
        entry.set_urls(&JsValue::from_str(&format!("stun:{server}")));
        servers.push(&entry);
    }
    let configuration = RtcConfiguration::new();
    configuration.set_ice_servers(&servers);
    configuration
}

/// The JSON of a candidate; `None` for the end of candidates, of which others are told nothing.
fn candidate_json(event: &RtcPeerConnectionIceEvent) -> Option<String> {
    let candidate = event.candidate()?;
    if candidate.candidate().is_empty() {
        return None;
    }
    let json = js_sys::JSON::stringify(&candidate).ok()?;
    json.as_string()
}

/// The host at the other end of the path that a peer connection uses, as far as the browser says. Whatever else it says leaves
/// it unknown.
async fn host(peer_connection: &RtcPeerConnection) -> Option<IpAddr> {
    let told = JsFuture::from(peer_connection.get_stats()).map_err(js);
    let report = clock::within(STATS_PATIENCE, told).await.ok()?;
    let entries = js_sys::Array::new();
    for entry in js_sys::try_iter(&report).ok()??.take(STATS_MAX) {
        entries.push(&entry.ok()?);
    }
    let json = js_sys::JSON::stringify(&entries).ok()?;
    stats::remote_host(&json.as_string()?)
}

impl Signalled {
    pub fn new(peer: PeerId, budget: Budget, stun: StunServers, census: Census) -> Self {
        Self { peer, budget, stun, census, events: Events::default(), begun: None, outside: BTreeMap::new() }
    }

    /// The other end's description is not one.
    fn refused(&self, error: &JsValue) -> Error {
        Error::Refused { peer: self.peer.into(), reason: super::js::reason(error) }
    }

    /// Creates the peer connection, and starts the task that carries its streams later.
    fn begin(&mut self, make_init: bool) -> Result<RtcPeerConnection, Error> {
        let by = if make_init { By::Itself } else { By::Others };
        let peer_connection = budget::peer_connection(self.budget, by, &configuration(&self.stun), &self.census)?;
        let raw = peer_connection.raw.clone();
        let wake = Arc::new(Wake::default());
        let (connection, backend) = connection::pair(wake.clone(), &self.census);
        // By whoever signals for it: its certificate is the one that was named.
        connection.set_authenticated();
        let mut task = Task::new(peer_connection, backend, wake, &self.census);
        task.pace();
        let candidate = {
            let events = self.events.clone();
            Listener::new(&self.census, &raw, "icecandidate", move |event| {
                if let Some(json) = event.dyn_ref::<RtcPeerConnectionIceEvent>().and_then(candidate_json) {
                    events.push(Event::Candidate(json));
                }
            })
        };
        let on = |target: &web_sys::EventTarget, name, event: fn() -> Event| {
            let events = self.events.clone();
            Listener::new(&self.census, target, name, move |_| events.push(event()))
        };
        let mut listeners = vec![candidate, on(&raw, "connectionstatechange", || Event::State)];
        let mut init = None;
        if make_init {
            let channel = super::js::data_channel(&raw, INIT_LABEL, None).map_err(js)?;
            listeners.push(on(&channel, "open", || Event::InitOpen));
            listeners.push(on(&channel, "close", || Event::InitClosed));
            init = Some(channel);
        } else {
            task.expect_init();
        }
        self.census.spawn(task.run());
        let begun = Begun {
            _listeners: listeners,
            peer_connection: raw.clone(),
            connection: Some(connection),
            init,
            close_init: false,
            has_path: false,
        };
        self.begun = Some(begun);
        Ok(raw)
    }

    fn peer_connection(&self) -> Result<&RtcPeerConnection, Error> {
        self.begun.as_ref().map(|begun| &begun.peer_connection).ok_or(Error::NotConnected)
    }

    /// Waits until the connection is over that is being made; why it is.
    async fn closed(&self) -> Closed {
        match self.begun.as_ref().and_then(|begun| begun.connection.as_ref()) {
            Some(connection) => connection.closed().await,
            None => std::future::pending().await,
        }
    }

    /// Waits for what the browser was asked to do, or until the connection is over, of which [`PeerConnection::progress`] tells.
    /// In the latter case the promise may keep its two callbacks for ever: some hundred bytes, of as many as the budget has
    /// peer connections.
    async fn settled(&self, promise: js_sys::Promise) -> Result<(), JsValue> {
        let (done, closed) = (JsFuture::from(promise).fuse(), self.closed().fuse());
        pin_mut!(done, closed);
        select_biased! {
            result = done => result.map(drop),
            _ = closed => Ok(()),
        }
    }

    fn close_init_if_open(&self) {
        if let Some(Begun { init: Some(init), close_init: true, .. }) = &self.begun
            && init.ready_state() == RtcDataChannelState::Open
        {
            let init = init.clone();
            wasm_bindgen_futures::spawn_local(async move {
                clock::sleep(INIT_OPEN_MIN).await;
                init.close();
            });
        }
    }
}

impl PeerConnection for Signalled {
    async fn offer(&mut self) -> Result<String, Error> {
        let peer_connection = self.begin(true)?;
        super::attempt::create(peer_connection.create_offer()).await
    }

    async fn answer(&mut self, offer: &str) -> Result<String, Error> {
        let peer_connection = self.begin(false)?;
        let offer = super::attempt::description(RtcSdpType::Offer, offer);
        let taken = JsFuture::from(peer_connection.set_remote_description(&offer)).await;
        taken.map_err(|error| self.refused(&error))?;
        super::attempt::create(peer_connection.create_answer()).await
    }

    async fn set_local(&mut self, sdp: &str) -> Result<(), Error> {
        let offers = self.begun.as_ref().is_some_and(|begun| begun.init.is_some());
        let kind = if offers { RtcSdpType::Offer } else { RtcSdpType::Answer };
        let description = super::attempt::description(kind, sdp);
        self.settled(self.peer_connection()?.set_local_description(&description)).await.map_err(js)
    }

    async fn set_remote(&mut self, sdp: &str) -> Result<(), Error> {
        let answer = super::attempt::description(RtcSdpType::Answer, sdp);
        let taken = self.settled(self.peer_connection()?.set_remote_description(&answer)).await;
        taken.map_err(|error| self.refused(&error))
    }

    fn add_candidate(&mut self, json: &str, _: Target) {
        let Ok(peer_connection) = self.peer_connection() else { return };
        let Ok(value) = js_sys::JSON::parse(json) else { return };
        let candidate: RtcIceCandidateInit = value.unchecked_into();
        // One that the browser does not like costs only itself.
        forget(&peer_connection.add_ice_candidate_with_opt_rtc_ice_candidate_init(Some(&candidate)));
    }

    async fn progress(&mut self) -> Progress {
        loop {
            let event = {
                let (next, closed) = (self.events.next().fuse(), self.closed().fuse());
                pin_mut!(next, closed);
                select_biased! {
                    event = next => event,
                    reason = closed => return Progress::Failed(reason),
                }
            };
            let Ok(event) = event else { return Progress::Failed(Closed::Overrun) };
            match event {
                Event::Candidate(json) => {
                    if let Some((inside, outside)) = sdp::reflexive(&json) {
                        self.outside.entry(inside).or_default().insert(outside);
                    }
                    return Progress::Candidate(json);
                }
                Event::Path(host) => {
                    if let Some(connection) = self.begun.as_mut().and_then(|begun| begun.connection.take()) {
                        return Progress::Connected { connection, host };
                    }
                }
                Event::InitOpen => self.close_init_if_open(),
                Event::InitClosed => return Progress::InitClosed,
                Event::State => {
                    let Some(begun) = &mut self.begun else { continue };
                    match begun.peer_connection.connection_state() {
                        RtcPeerConnectionState::Connected if !std::mem::replace(&mut begun.has_path, true) => {
                            let (raw, events) = (begun.peer_connection.clone(), self.events.clone());
                            self.census.spawn(async move { events.push(Event::Path(host(&raw).await)) });
                        }
                        // It came and went; of one that did not come its task knows why.
                        RtcPeerConnectionState::Failed | RtcPeerConnectionState::Closed
                            if begun.connection.is_none() =>
                        {
                            return Progress::InitClosed;
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn close_init(&mut self) {
        if let Some(begun) = &mut self.begun {
            begun.close_init = true;
        }
        self.close_init_if_open();
    }

    fn is_behind_symmetric_nat(&self) -> bool {
        self.outside.values().any(|outside| outside.len() > 1)
    }
}
