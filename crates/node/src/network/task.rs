//! The loop that drives the swarm.

use super::{
    ContentMeter, LISTEN_TIMEOUT, NetworkEvent, Request, Snapshot, StartError, Willing,
    announcements::Announcements,
    begun::Begun,
    detours::Detours,
    first_contact::{FirstContact, JoinState},
    lookups::Lookups,
    memory::Memory,
    neighbours::Neighbours,
    peers::{self, Peers, Scope, Source, scope_of},
    reservations::Reservations,
};
use crate::{
    behaviour::{Behaviour, BehaviourEvent},
    config::{NodeConfig, Role},
    exchange::PathTable,
    limits,
    node::Traffic,
    platform,
};
use futures::{
    FutureExt, SinkExt, StreamExt,
    channel::{mpsc, oneshot},
    future::{Either, select},
};
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{ConnectedPoint, transport::ListenerId},
    identify, kad, relay,
    swarm::{ConnectionId, DialError, SwarmEvent},
};
use meganet_core::remembered::RememberedPeer;
use meganet_transport::{
    Error, StunServers,
    proto::address::Signalled,
    signalling::{self, Way},
};
use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::Arc,
    time::Duration,
};

/// The task looks at its timers at least this often.
const TICK: Duration = Duration::from_secs(1);
/// How often a node that still has other peers tries a first contact that went away: it may have restarted empty.
const FIRST_CONTACT_CHECK: Duration = Duration::from_secs(15);

mod beside;
mod detour;
mod identified;
mod joining;
mod meeting;
mod providers;
mod remembering;
mod upkeep;

use providers::ProviderDials;

pub(super) struct Task {
    swarm: Swarm<Behaviour>,
    role: Role,
    inbox: mpsc::Receiver<Request>,
    events: mpsc::Sender<NetworkEvent>,
    /// Events of this turn of the loop: the swarm goes on once they are handed over, so none is lost.
    untold: Vec<NetworkEvent>,
    peers: Peers,
    lookups: Lookups,
    first: FirstContact,
    join: JoinState,
    /// Dials a command waits for, and dials to first contacts.
    dials: HashMap<ConnectionId, Dial>,
    reservations: Reservations,
    neighbours: Neighbours,
    memory: Memory,
    begun: Begun,
    providers: ProviderDials,
    fallbacks: Vec<Fallback>,
    paths: PathTable,
    /// Wakes when a WebSocket connection is wanted beside another.
    wishes: mpsc::Receiver<()>,
    /// WebSocket connections that were opened, or are being opened, for that.
    beside: HashMap<ConnectionId, PeerId>,
    detours: Detours,
    willing: Willing,
    /// What this relay grants for content.
    content: Option<ContentMeter>,
    announcements: Announcements,
    /// Who is asked for this node's address as others see it, unless that was configured.
    stun: Option<StunServers>,
    /// No external addresses were configured: the listen addresses are taken for reachable.
    listens_publicly: bool,
    first_checked_ms: u64,
    /// How long until first contacts that went away are tried once more.
    first_check_every: Duration,
    idle_checked_ms: u64,
    traffic: Arc<Traffic>,
}

enum Dial {
    Command(oneshot::Sender<Result<(), String>>),
    FirstContact { peer: PeerId, addresses: Vec<Multiaddr> },
}

/// What else to dial a peer at when it does not answer.
struct Fallback {
    peer: PeerId,
    /// One after the other.
    ways: VecDeque<Vec<Multiaddr>>,
    /// Monotonic ms.
    at_ms: u64,
}

/// Starts every configured listener.
pub(super) fn listen(
    swarm: &mut Swarm<Behaviour>,
    config: &NodeConfig,
) -> Result<Vec<(ListenerId, Multiaddr)>, StartError> {
    let mut listeners = Vec::new();
    for address in &config.listen {
        let id = swarm
            .listen_on(address.clone())
            .map_err(|error| StartError::Listen { address: address.clone(), reason: explained(&error) })?;
        listeners.push((id, address.clone()));
    }
    Ok(listeners)
}

/// An error with everything behind it: libp2p's own text for a transport's error is empty.
fn explained(error: &dyn std::error::Error) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    let mut texts: Vec<String> = chain.filter(|text| !text.is_empty()).collect();
    texts.dedup();
    texts.join(": ")
}

impl Task {
    pub fn new(
        swarm: Swarm<Behaviour>,
        config: &NodeConfig,
        remembered: Vec<RememberedPeer>,
        traffic: Arc<Traffic>,
        (inbox, events): (mpsc::Receiver<Request>, mpsc::Sender<NetworkEvent>),
        (paths, wishes): (PathTable, mpsc::Receiver<()>),
        (willing, content): (Willing, Option<ContentMeter>),
    ) -> Self {
        let memory = Memory::new(remembered, platform::unix_ms());
        let reach = swarm.behaviour().kademlia.lens().reach().clone();
        config.listen.iter().for_each(|address| reach.trust(address));
        let peers = Peers::new(reach);
        let mut task = Self {
            swarm,
            role: config.role,
            inbox,
            events,
            untold: Vec::new(),
            peers,
            lookups: Lookups::default(),
            first: FirstContact::new(config.role.join_retry_max()),
            join: JoinState::Joining,
            dials: HashMap::new(),
            reservations: Reservations::default(),
            neighbours: Neighbours::default(),
            memory,
            begun: Begun::default(),
            providers: ProviderDials::default(),
            fallbacks: Vec::new(),
            paths,
            wishes,
            beside: HashMap::new(),
            detours: Detours::default(),
            willing,
            content,
            announcements: Announcements::default(),
            stun: config.stun.get().is_empty().then(|| config.stun.clone()),
            listens_publicly: config.external.is_empty(),
            first_checked_ms: 0,
            first_check_every: FIRST_CONTACT_CHECK,
            idle_checked_ms: 0,
            traffic,
        };
        task.add_bootstrap(config.bootstrap.clone());
        task.dial_remembered(limits::REMEMBERED_DIALS);
        task
    }

    /// Waits until every listener has an address, so that a taken port is an error of the start.
    pub async fn listening(&mut self, mut listeners: Vec<(ListenerId, Multiaddr)>) -> Result<(), StartError> {
        let mut timeout = pin!(platform::sleep(LISTEN_TIMEOUT).fuse());
        while let Some((_, address)) = listeners.first().cloned() {
            let next = select(self.swarm.next(), &mut timeout).await;
            match next {
                Either::Left((Some(SwarmEvent::NewListenAddr { listener_id, address }), _)) => {
                    listeners.retain(|(id, _)| *id != listener_id);
                    self.on_swarm_event(SwarmEvent::NewListenAddr { listener_id, address });
                }
                Either::Left((Some(SwarmEvent::ListenerClosed { listener_id, reason, .. }), _)) => {
                    if let Some((_, address)) = listeners.iter().find(|(id, _)| *id == listener_id) {
                        let reason = reason.err().map_or_else(|| "closed".into(), |error| explained(&error));
                        return Err(StartError::Listen { address: address.clone(), reason });
                    }
                }
                Either::Left((Some(event), _)) => self.on_swarm_event(event),
                Either::Left((None, _)) | Either::Right(_) => {
                    return Err(StartError::Listen { address, reason: "no address after 10 s".into() });
                }
            }
        }
        Ok(())
    }

    /// Runs until every handle is dropped.
    pub async fn run(mut self) {
        #[allow(clippy::large_enum_variant, reason = "lives for one turn of the loop, on the stack")]
        enum Next {
            Request(Option<Request>),
            Swarm(Option<SwarmEvent<BehaviourEvent>>),
            Wish,
            Timer,
        }
        loop {
            let now = platform::monotonic_ms();
            self.on_timers(now);
            for event in std::mem::take(&mut self.untold) {
                // The node takes events without waiting for anything of this task.
                if self.events.send(event).await.is_err() {
                    return;
                }
            }
            let due_ms = self.lookups.next_due_ms().into_iter().chain(self.begun.next_due_ms(now)).min();
            let wait = due_ms.map_or(TICK, |at| TICK.min(Duration::from_millis(at.saturating_sub(now))));
            let next = {
                let mut timer = pin!(platform::sleep(wait).fuse());
                let mut request = self.inbox.next().fuse();
                let mut event = self.swarm.next().fuse();
                futures::select! {
                    request = request => Next::Request(request),
                    event = event => Next::Swarm(event),
                    _ = self.wishes.next() => Next::Wish,
                    () = timer => Next::Timer,
                }
            };
            match next {
                Next::Request(Some(Request::ShutDown { reply })) => {
                    self.close_all().await;
                    let _ = reply.send(());
                    return;
                }
                Next::Request(Some(request)) => self.on_request(request),
                Next::Swarm(Some(event)) => self.on_swarm_event(event),
                Next::Wish => self.dial_beside(),
                Next::Timer => {}
                Next::Request(None) | Next::Swarm(None) => return,
            }
        }
    }

    fn on_timers(&mut self, now_ms: u64) {
        self.lookups.tell_due(now_ms);
        self.providers.under_way.retain(|_, (patience_ms, _)| *patience_ms > now_ms);
        self.dial_waiting_providers(now_ms);
        self.dial_neighbour(now_ms);
        self.dial_fallbacks(now_ms);
        self.close_idle_beside();
        self.take_detours(now_ms);
        self.announce_again(now_ms);
        self.close_idle(now_ms);
        if self.first.is_due(now_ms) {
            self.dial_everybody_known();
        }
        self.check_first_contact(now_ms);
    }

    fn tell(&mut self, event: NetworkEvent) {
        self.untold.push(event);
    }

    fn set_join(&mut self, state: Option<JoinState>) {
        let Some(state) = state else { return };
        if self.join != state {
            self.join = state.clone();
            self.tell(NetworkEvent::Join(state));
        }
    }

    fn jitter() -> f64 {
        platform::random_bytes::<1>().map_or(0.5, |[byte]| f64::from(byte) / 255.0)
    }

    // --- requests ---------------------------------------------------------------------------------------------

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Dial { address, reply } => self.dial(address, reply),
            Request::FindHead { blinded, answers } => {
                // Over the bound the channel ends without an answer.
                if !self.lookups.is_full() {
                    let key = blinded.head_record_key();
                    let id = self.swarm.behaviour_mut().kademlia.get_record(kad::RecordKey::new(&key));
                    self.lookups.wait_for_head(id, key.to_vec(), answers);
                }
            }
            Request::FindProviders { blinded, found } => {
                if !self.lookups.is_full() {
                    let key = kad::RecordKey::new(&blinded.provider_record_key());
                    let id = self.swarm.behaviour_mut().kademlia.get_providers(key);
                    self.lookups.wait_for_providers(id, found);
                }
            }
            Request::PutHead { reply, .. } if self.lookups.is_full() => {
                let _ = reply.send(0);
            }
            Request::PutHead { head, reply } => {
                let key = kad::RecordKey::new(&head.blinded_key().head_record_key());
                let record = kad::Record::new(key.clone(), head.as_bytes().to_vec());
                match self.swarm.behaviour_mut().kademlia.put_record(record, kad::Quorum::All) {
                    Ok(id) => self.lookups.wait_for_put(id, key, reply),
                    Err(error) => {
                        tracing::debug!(%error, "the head was not put");
                        let _ = reply.send(0);
                    }
                }
            }
            Request::Provide { blinded, on } => {
                let key = kad::RecordKey::new(&blinded.provider_record_key());
                let kademlia = &mut self.swarm.behaviour_mut().kademlia;
                if !on {
                    self.announcements.withdrawn(&key);
                    kademlia.stop_providing(&key);
                    // Nor its head, which would be announced again and again without the user's consent.
                    kademlia.remove_record(&kad::RecordKey::new(&blinded.head_record_key()));
                } else if let Err(error) = kademlia.start_providing(key) {
                    tracing::warn!(%error, "the site cannot be announced");
                }
            }
            Request::AddBootstrap { addresses } => self.add_bootstrap(addresses),
            // The loop ends on it before it gets here.
            Request::ShutDown { .. } => {}
            Request::RetryNow => self.first.retry_now(),
            Request::Ban { peer } => {
                tracing::info!(%peer, "banned for this session");
                self.swarm.behaviour_mut().gate.ban(peer);
                self.swarm.behaviour_mut().kademlia.remove_peer(&peer);
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            Request::KnownPeers { to, reply } => {
                let _ = reply.send(self.known_peers(to));
            }
            Request::Remembered { reply } => {
                let _ = reply.send(self.remembered());
            }
            Request::LearnPeers { from, peers } => self.learn_peers(from, peers),
            Request::Snapshot { reply } => {
                let local = *self.swarm.local_peer_id();
                let with_peer = |address: &Multiaddr| address.clone().with_p2p(local).unwrap_or_else(|address| address);
                let mut addresses = Vec::new();
                for address in self.swarm.external_addresses().chain(self.swarm.listeners()).map(with_peer) {
                    if !addresses.contains(&address) {
                        addresses.push(address);
                    }
                }
                let no_direct_path = self.no_direct_path();
                let _ = reply.send(Snapshot { peers: self.peers.list(), addresses, no_direct_path });
            }
        }
    }

    fn dial(&mut self, address: Multiaddr, reply: oneshot::Sender<Result<(), String>>) {
        let Some((peer, plain)) = peers::split_peer(address) else {
            let _ = reply.send(Err("the address does not end in /p2p/PEER".into()));
            return;
        };
        if self.peers.is_direct(&peer) {
            let _ = reply.send(Ok(()));
            return;
        }
        self.peers.remember(peer, plain.clone(), Source::Own);
        let options = self.dial_options(peer, vec![plain]);
        let id = options.connection_id();
        match self.begin(options) {
            Ok(()) => {
                self.dials.insert(id, Dial::Command(reply));
            }
            Err(error) => {
                let _ = reply.send(Err(error.to_string()));
            }
        }
    }

    // --- swarm events -----------------------------------------------------------------------------------------

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                let way = Way::of(&endpoint);
                let relayed = way == Way::Relayed;
                let address = match &endpoint {
                    // The other one names nobody but the peer.
                    ConnectedPoint::Listener { local_addr, .. } if relayed => local_addr.clone(),
                    other => other.get_remote_address().clone(),
                };
                if relayed {
                    self.circuit_established(peer_id, connection_id, &address);
                } else {
                    self.detours.connected(&peer_id);
                    self.paths.appeared(peer_id, way);
                }
                let mut dialled = None;
                // What was signalled has an address that says nothing of the way.
                if endpoint.is_dialer() && !relayed && scope_of(&address).is_some() {
                    let plain = peers::split_peer(address.clone()).map_or_else(|| address.clone(), |(_, plain)| plain);
                    self.peers.remember(peer_id, plain.clone(), Source::Own);
                    dialled = Some(plain);
                }
                let is_dialled = endpoint.is_dialer() && !relayed;
                let first_direct = self.peers.connected(peer_id, connection_id, address, relayed);
                if is_dialled {
                    self.peers.chosen(&peer_id);
                }
                if let Some(plain) = dialled {
                    self.peers.dialled(&peer_id, plain);
                }
                self.dial_ended(connection_id, None);
                if first_direct {
                    self.memory.connected(peer_id, platform::monotonic_ms());
                    self.tell(NetworkEvent::Connected(peer_id));
                    if self.first.is_known(&peer_id) && self.join == JoinState::Joined {
                        // Back after a restart, or one more: what is held is announced there too.
                        self.tell(NetworkEvent::Join(JoinState::Joined));
                    }
                    let state = self.first.check(self.joining_now());
                    self.set_join(state);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, endpoint, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "connection closed");
                self.beside.remove(&connection_id);
                let way = Way::of(&endpoint);
                if way != Way::Relayed {
                    self.paths.vanished(peer_id, way);
                }
                let is_gone = self.peers.disconnected(peer_id, connection_id);
                if way == Way::Relayed {
                    self.circuit_closed(peer_id, connection_id);
                }
                if is_gone {
                    self.reservations.disconnected(&peer_id);
                    self.memory.disconnected(&peer_id);
                    self.willing.forget(&peer_id);
                    if !self.detours.carries(&peer_id) {
                        self.tell(NetworkEvent::Disconnected(peer_id));
                    }
                    if self.peers.direct_count() == 0 {
                        self.nobody_is_left();
                    }
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error, .. } => {
                tracing::debug!(peer = ?peer_id, %error, "dial failed");
                if let Some(peer) = self.beside.remove(&connection_id) {
                    self.paths.no_websocket(&peer);
                }
                self.detours.useless(connection_id, platform::monotonic_ms());
                self.begun.ended(&connection_id);
                self.providers.ended(&connection_id);
                if let Some(peer) = &peer_id {
                    self.fall_back_now(peer);
                }
                let is_own = |error| Error::within(error).is_some_and(Error::is_own);
                if let (Some(peer), DialError::Transport(failed)) = (peer_id, &error) {
                    for (address, _) in failed.iter().filter(|(_, error)| !is_own(error)) {
                        // Content may go through the relays that failed to bring a direct connection about.
                        if Signalled::parse(address).is_ok() && !self.detours.is_wanted(&peer) {
                            self.swarm.behaviour().signalling.routes().forget(&peer);
                            self.peers.forget_signalled(&peer);
                        }
                        let plain = peers::split_peer(address.clone()).map_or(address.clone(), |(_, plain)| plain);
                        self.peers.forget(&peer, &plain);
                    }
                }
                let is_answering = |peer: &PeerId| self.swarm.behaviour().signalling.is_answering(peer);
                if peer_id.as_ref().is_some_and(is_answering) && self.providers.under_way.contains_key(&connection_id) {
                    // The other end dialled at the same moment, and its dial goes on; patience ends the waiting.
                    return;
                }
                // Of what this node refuses itself the peer knows nothing.
                let is_of_peer = match &error {
                    DialError::Transport(failed) => failed.iter().any(|(_, error)| !is_own(error)),
                    other => matches!(other, DialError::WrongPeerId { .. }),
                };
                if is_of_peer && let Some(Dial::FirstContact { peer, .. }) = self.dials.get(&connection_id) {
                    self.not_reached(&peer.clone());
                }
                self.dial_ended(connection_id, Some(error.to_string()));
            }
            // Those of behaviours: lookups, and circuits to signal over.
            SwarmEvent::Dialing { peer_id: Some(peer), connection_id } => {
                self.begun.begun(connection_id, peer, platform::monotonic_ms());
            }
            SwarmEvent::NewListenAddr { .. } | SwarmEvent::ExpiredListenAddr { .. }
                if self.role.is_server() && self.listens_publicly =>
            {
                self.announce_listen_addresses();
            }
            SwarmEvent::ListenerClosed { listener_id, .. } if self.reservations.closed(listener_id) => self.reserve(),
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            _ => {}
        }
    }

    fn dial_ended(&mut self, id: ConnectionId, error: Option<String>) {
        self.begun.ended(&id);
        self.providers.ended(&id);
        match self.dials.remove(&id) {
            Some(Dial::Command(reply)) => {
                let _ = reply.send(error.map_or(Ok(()), Err));
            }
            Some(Dial::FirstContact { .. }) => {
                let state = self.first.dial_ended(error, self.joining_now());
                self.set_join(state);
            }
            None if self.providers.under_way.remove(&id).is_some() => {
                self.dial_waiting_providers(platform::monotonic_ms());
            }
            None => {}
        }
    }

    /// A relay must name addresses in its reservations, and a provider in its announcements. Without configured ones these
    /// are the addresses it listens on; those of its own network only while it has no public one.
    fn announce_listen_addresses(&mut self) {
        let all: Vec<_> = self.swarm.listeners().filter(|address| !peers::is_relayed(address)).cloned().collect();
        let has_global = all.iter().any(|address| scope_of(address) == Some(Scope::Global));
        for address in all {
            if has_global && scope_of(&address) != Some(Scope::Global) {
                self.swarm.remove_external_address(&address);
            } else {
                self.swarm.add_external_address(address);
            }
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { connection_id, peer_id, info }) => {
                self.on_identified(peer_id, connection_id, info);
            }
            BehaviourEvent::Relay(event) => match event {
                relay::Event::ReservationReqAccepted { src_peer_id, .. } => {
                    self.peers.reserved_here(&src_peer_id, true);
                }
                // Said of each connection that closes, whichever has the reservation.
                relay::Event::ReservationClosed { src_peer_id } if self.peers.is_direct(&src_peer_id) => {}
                relay::Event::ReservationTimedOut { src_peer_id } | relay::Event::ReservationClosed { src_peer_id } => {
                    self.peers.reserved_here(&src_peer_id, false);
                }
                relay::Event::CircuitReqDenied { src_peer_id, status, .. } => {
                    // That one is what the meter itself says.
                    if let Some(content) = &self.content
                        && !matches!(status, relay::StatusCode::ResourceLimitExceeded)
                    {
                        content.give_back(&src_peer_id);
                    }
                }
                _ => {}
            },
            BehaviourEvent::RelayClient(event) => self.on_relay_client(event),
            BehaviourEvent::Signalling(signalling::Event::NoDirectPath { peer }) => self.on_no_direct_path(peer),
            BehaviourEvent::Ping(ping) => {
                if let Ok(rtt) = ping.result {
                    self.peers.measured(ping.peer, rtt);
                }
            }
            BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed { id, result, stats, step }) => {
                let todo = self.lookups.progressed(id, result, &stats, &step, platform::monotonic_ms());
                if let Some((found, searcher)) = todo.dial {
                    self.dial_providers(found, &searcher);
                }
                if let Some(id) = todo.finish
                    && let Some(mut query) = self.swarm.behaviour_mut().kademlia.query_mut(&id)
                {
                    query.finish();
                }
                if let Some((key, what)) = todo.failed {
                    self.announcements.failed(key, what, platform::monotonic_ms());
                }
                if let Some(peer) = todo.liar {
                    tracing::warn!(%peer, "returned a record that does not verify");
                    self.on_request(Request::Ban { peer });
                }
            }
            _ => {}
        }
    }
}
