//! The swarm's half of `/webrtc`: relayed connections for signalling, who signals with whom, and the end of what is no longer
//! needed.
//!
//! - A dial asks for a signalling stream. It is opened on a relayed connection to the peer; if there is none, it is dialled
//!   through its relays: first those that are connected, all at once, then the others.
//! - When both ends dial at once, the dial of the lower peer id goes on and the other gives way to it.
//! - When a connection came of it, the relayed one has done its work and is closed. It is spent from the moment that connection
//!   is there, which the other end may know first: a dial takes none that is spent, and dials its relays anew where one that it
//!   took turns out to be. What is left to tidy up of the attempt before is in no other's way.
//! - Who breaks the rules of signalling loses the connection it did that on.
//! - Whoever only opens a stream and says nothing, or takes its time, keeps nobody out: when too many attempts of others are
//!   under way, the oldest of the former kind makes room, or else of the latter.
//! - An address with a reservation at a relay is made known in its `/webrtc` form too.

use super::{
    handler::{Handler, In, NoStream, Out},
    hosts::Hosts,
    link::{self, End, HowFar, Inbound, Opened, Request},
    only::is_relayed_endpoint,
    routes::Routes,
    under_way::Attempt,
};
use crate::{clock, error::Error, proto::address::Signalled};
use futures::{
    FutureExt, StreamExt,
    channel::{mpsc, oneshot},
    future::BoxFuture,
    stream::FuturesUnordered,
};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, NotifyHandler, Stream,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

/// Attempts of others under way at once; further ones take the place of one that has said nothing yet or is slow, or are
/// turned away.
pub const INBOUND_ATTEMPTS_MAX: usize = 16;
/// Dials of this node's under way at once; further ones are refused.
pub const OUTBOUND_ATTEMPTS_MAX: usize = 32;
/// Relays that are dialled at once to signal through, beside those that are connected: which they are is hearsay, and each dial
/// may cost a tab one of its few peer connections.
pub const STRANGE_RELAYS_AT_ONCE: usize = 2;

/// What a node may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Both ends described themselves and no direct path was found between them. The relayed connection is still there. An
    /// attempt that failed in another way says nothing about paths, and is none of these.
    NoDirectPath {
        /// To whom.
        peer: PeerId,
    },
}

/// One end of an attempt that is this node's.
enum Stage {
    /// Waits for this relayed connection or a stream on it.
    Opening {
        reply: oneshot::Sender<Result<Opened, Error>>,
        on: ConnectionId,
        /// It was there before this dial, and may be lost without this end knowing it yet.
        is_reused: bool,
        /// Relays to try when nothing comes of this.
        others: Vec<Multiaddr>,
    },
    /// The transport has the stream.
    Signalling(Attempt),
}

/// A relayed connection.
struct Relayed {
    id: ConnectionId,
    since_ms: u64,
    /// A stream was asked for, and neither it nor an error has come.
    is_opening: bool,
    /// Dialled by this end, for signalling.
    is_own: bool,
    /// It has done its work, or is being closed.
    is_spent: bool,
}

/// An attempt that ended.
struct Over {
    number: u64,
    peer: PeerId,
    role: Endpoint,
    /// The connection that carried its stream.
    on: ConnectionId,
    end: End,
}

type Action = ToSwarm<Event, In>;

/// The swarm's half of `/webrtc`: opens and takes signalling streams, on relayed connections that it dials, and closes those when
/// they have done their work.
pub struct Behaviour {
    local: PeerId,
    routes: Routes,
    hosts: Hosts,
    requests: mpsc::Receiver<Request>,
    inbound: mpsc::Sender<Inbound>,
    /// Relayed connections, the newest last.
    relayed: HashMap<PeerId, Vec<Relayed>>,
    /// Direct connections: only over those a relay is asked for circuits.
    direct: HashMap<PeerId, usize>,
    /// Relayed connections that this end dials.
    dialled: HashSet<ConnectionId>,
    /// This node's dials.
    dials: HashMap<PeerId, Stage>,
    /// Attempts of others.
    answering: HashMap<PeerId, Attempt>,
    over: FuturesUnordered<BoxFuture<'static, Over>>,
    next_attempt: u64,
    actions: VecDeque<Action>,
}

/// Whether the dial of the local peer gives way to that of the other.
fn gives_way(local: &PeerId, remote: &PeerId) -> bool {
    remote.to_bytes() < local.to_bytes()
}

impl Behaviour {
    pub(super) fn new(
        local: PeerId,
        routes: Routes,
        requests: mpsc::Receiver<Request>,
        inbound: mpsc::Sender<Inbound>,
    ) -> Self {
        Self {
            local,
            routes,
            hosts: Hosts::default(),
            requests,
            inbound,
            relayed: HashMap::new(),
            direct: HashMap::new(),
            dialled: HashSet::new(),
            dials: HashMap::new(),
            answering: HashMap::new(),
            over: FuturesUnordered::new(),
            next_attempt: 0,
            actions: VecDeque::new(),
        }
    }

    /// The relays by which peers are reached. A `/webrtc` address is made one to dial with [`Routes::learn`].
    #[must_use]
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The hosts at which `/webrtc` connections end.
    #[must_use]
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Attempts under way: this node's and those of others.
    #[must_use]
    pub fn under_way(&self) -> (usize, usize) {
        (self.dials.len(), self.answering.len())
    }

    /// Whether an attempt of this peer's is under way: its connection may come in the place of a failed dial's.
    #[must_use]
    pub fn is_answering(&self, peer: &PeerId) -> bool {
        self.answering.contains_key(peer)
    }

    /// Whether an attempt with this peer is under way, whoever dials.
    #[must_use]
    pub fn is_signalling(&self, peer: &PeerId) -> bool {
        self.dials.contains_key(peer) || self.answering.contains_key(peer)
    }

    /// Forgets attempts with this peer that have come to a connection and are only being tidied up: that connection is no more,
    /// or nobody would ask for another. So it does with dials to anybody whose time was up before they came to a stream.
    fn settle(&mut self, peer: &PeerId) {
        self.dials.retain(|_, stage| !matches!(stage, Stage::Opening { reply, .. } if reply.is_canceled()));
        if let Some(Stage::Signalling(attempt)) = self.dials.get(peer)
            && attempt.is_connected()
        {
            let (on, since_ms) = (attempt.on, attempt.since_ms);
            self.dials.remove(peer);
            self.spend(peer, on, since_ms);
        }
        if let Some(attempt) = self.answering.get(peer)
            && attempt.is_connected()
        {
            let (on, since_ms) = (attempt.on, attempt.since_ms);
            self.answering.remove(peer);
            self.spend(peer, on, since_ms);
        }
    }

    /// A connection has come of an attempt that began then, on this relayed connection. Those that the other end dialled since are
    /// for what comes next.
    fn spend(&mut self, peer: &PeerId, on: ConnectionId, since_ms: u64) {
        let waited_for = match self.dials.get(peer) {
            Some(Stage::Opening { on, .. } | Stage::Signalling(Attempt { on, .. })) => Some(*on),
            None => None,
        };
        for relayed in self.relayed.get_mut(peer).into_iter().flatten() {
            let is_before = relayed.is_own || relayed.since_ms < since_ms;
            relayed.is_spent |= relayed.id == on || (is_before && waited_for != Some(relayed.id));
        }
    }

    /// A relayed connection to signal on.
    fn usable(&self, peer: &PeerId) -> Option<ConnectionId> {
        let relayed = self.relayed.get(peer)?;
        relayed.iter().rev().find(|relayed| !relayed.is_spent).map(|relayed| relayed.id)
    }

    fn on_request(&mut self, Request { peer, reply }: Request) {
        self.settle(&peer);
        let refusal = if self.dials.contains_key(&peer) || self.dials.len() >= OUTBOUND_ATTEMPTS_MAX {
            Some(Error::Busy)
        } else if self.answering.get(&peer).is_some_and(|attempt| !attempt.is_ended()) && gives_way(&self.local, &peer)
        {
            Some(Error::Superseded { peer: peer.into() })
        } else {
            None
        };
        match (refusal, self.usable(&peer)) {
            (Some(error), _) => _ = reply.send(Err(error)),
            (None, Some(on)) => {
                let others = Vec::new();
                self.dials.insert(peer, Stage::Opening { reply, on, is_reused: true, others });
                self.open(peer, on);
            }
            (None, None) => self.dial_relays(peer, reply, self.routes.relays(&peer)),
        }
    }

    /// Dials a peer through those of these relays that are connected, or else through the first that are not.
    fn dial_relays(&mut self, peer: PeerId, reply: oneshot::Sender<Result<Opened, Error>>, relays: Vec<Multiaddr>) {
        let is_connected = |relay: &Multiaddr| match relay.iter().last() {
            Some(Protocol::P2p(id)) => self.direct.contains_key(&id),
            _ => false,
        };
        let (mut now, mut others): (Vec<_>, Vec<_>) = relays.into_iter().partition(is_connected);
        if now.is_empty() {
            now = others.drain(..others.len().min(STRANGE_RELAYS_AT_ONCE)).collect();
        }
        if now.is_empty() {
            let _ = reply.send(Err(Error::NoRelay { peer: peer.into(), reason: "none is known".to_owned() }));
            return;
        }
        let circuits = now.into_iter().map(|relay| relay.with(Protocol::P2pCircuit).with(Protocol::P2p(peer)));
        // Always: there may be a connection that is about to be noticed as lost.
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(circuits.collect()).build();
        self.dialled.insert(opts.connection_id());
        self.dials.insert(peer, Stage::Opening { reply, on: opts.connection_id(), is_reused: false, others });
        self.actions.push_back(ToSwarm::Dial { opts });
    }

    /// Asks for a stream, unless one is asked for: a dial that gave way may have left it to the next.
    fn open(&mut self, peer_id: PeerId, id: ConnectionId) {
        let relayed = self.relayed.get_mut(&peer_id).into_iter().flatten().find(|relayed| relayed.id == id);
        if relayed.is_some_and(|relayed| std::mem::replace(&mut relayed.is_opening, true)) {
            return;
        }
        let handler = NotifyHandler::One(id);
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: In::Open });
    }

    /// Whether a dial waits for this connection or a stream on it.
    fn waits_for(&self, peer: &PeerId, id: ConnectionId) -> bool {
        matches!(self.dials.get(peer), Some(Stage::Opening { on, .. }) if *on == id)
    }

    /// A stream for a dial, or none.
    fn on_outbound(&mut self, peer: PeerId, id: ConnectionId, stream: Result<Stream, NoStream>) {
        for relayed in self.relayed.get_mut(&peer).into_iter().flatten() {
            relayed.is_opening &= relayed.id != id;
        }
        if !self.waits_for(&peer, id) {
            // A stream that nobody waits for any more is dropped.
            return;
        }
        let Some(Stage::Opening { reply, is_reused, others, .. }) = self.dials.remove(&peer) else { return };
        match stream {
            Err(NoStream::Refused(reason)) => _ = reply.send(Err(Error::NoRelay { peer: peer.into(), reason })),
            Err(NoStream::Lost(reason)) => {
                self.give_up(peer, id);
                match self.usable(&peer) {
                    Some(on) => {
                        self.dials.insert(peer, Stage::Opening { reply, on, is_reused, others });
                        self.open(peer, on);
                    }
                    None if reply.is_canceled() => {}
                    None if is_reused => self.dial_relays(peer, reply, self.routes.relays(&peer)),
                    None if !others.is_empty() => self.dial_relays(peer, reply, others),
                    None => _ = reply.send(Err(Error::NoRelay { peer: peer.into(), reason })),
                }
            }
            Ok(stream) => {
                let (attempt, opened) = self.begin(peer, Endpoint::Dialer, id, stream);
                if reply.send(Ok(opened)).is_ok() {
                    self.dials.insert(peer, Stage::Signalling(attempt));
                }
            }
        }
    }

    /// Somebody signals.
    fn on_inbound(&mut self, peer: PeerId, id: ConnectionId, stream: Stream) {
        let Some(replaced) = self.make_way(peer, clock::now_ms()) else { return };
        let (attempt, opened) = self.begin(peer, Endpoint::Listener, id, stream);
        let attempt = Attempt { replaced, ..attempt };
        if self.inbound.try_send(Inbound { peer, opened }).is_ok() {
            self.answering.insert(peer, attempt);
        }
    }

    /// Ends what an attempt of this peer's takes the place of: the how manieth of its own. `None`: it is turned away.
    fn make_way(&mut self, peer: PeerId, now_ms: u64) -> Option<u8> {
        self.settle(&peer);
        if self.dials.contains_key(&peer) && !gives_way(&self.local, &peer) {
            tracing::debug!(%peer, "dials too, and gives way");
            return None;
        }
        // Before anything ends for it.
        if !link::is_ready(&mut self.inbound) {
            return None;
        }
        // Whoever dials anew has given up its dial before, as far as that can be seen; and not without end.
        let Some(replaced) = self.answering.get(&peer).map_or(Some(0), |before| before.replaceable(now_ms)) else {
            tracing::debug!(%peer, "signals already");
            return None;
        };
        if let Some(Attempt { displace, .. }) = self.answering.remove(&peer) {
            let _ = displace.send(Error::Busy);
        }
        if self.answering.len() >= INBOUND_ATTEMPTS_MAX && !self.make_room(now_ms) {
            tracing::debug!(%peer, "signals, and is turned away");
            return None;
        }
        match self.dials.remove(&peer) {
            Some(Stage::Opening { reply, .. }) => _ = reply.send(Err(Error::Superseded { peer: peer.into() })),
            Some(Stage::Signalling(Attempt { displace, .. })) => {
                _ = displace.send(Error::Superseded { peer: peer.into() })
            }
            None => {}
        }
        Some(replaced)
    }

    /// Ends the oldest attempt of others that is nothing but an open stream, or else is slow; whether there was one.
    fn make_room(&mut self, now_ms: u64) -> bool {
        // The silent ones first, then by age.
        let rank = |attempt: &Attempt| (attempt.has_begun(), attempt.number);
        let may_go = |attempt: &Attempt| !attempt.has_begun() || attempt.is_slow(now_ms);
        let candidates = self.answering.iter().filter(|(_, answering)| may_go(answering));
        let Some(peer) = candidates.min_by_key(|(_, answering)| rank(answering)).map(|(peer, _)| *peer) else {
            return false;
        };
        if let Some(Attempt { displace, .. }) = self.answering.remove(&peer) {
            tracing::debug!(%peer, "said nothing or is slow, and makes room");
            let _ = displace.send(Error::Busy);
        }
        true
    }

    fn begin(&mut self, peer: PeerId, role: Endpoint, on: ConnectionId, stream: Stream) -> (Attempt, Opened) {
        let number = self.next_attempt;
        self.next_attempt += 1;
        let (displace, displaced) = oneshot::channel();
        let (over, ended) = oneshot::channel();
        let over_with =
            move |result: Result<End, _>| Over { number, peer, role, on, end: result.unwrap_or(End::Failed) };
        self.over.push(ended.map(over_with).boxed());
        let how_far = Arc::<HowFar>::default();
        let attempt =
            Attempt { number, on, since_ms: clock::now_ms(), displace, how_far: how_far.clone(), replaced: 0 };
        let gives_way = role == Endpoint::Dialer && gives_way(&self.local, &peer);
        (attempt, Opened { stream, displaced, how_far, over, hosts: self.hosts.clone(), gives_way })
    }

    /// Removes an attempt that ended. `None`: another has its place, or it is forgotten.
    fn take(&mut self, peer: &PeerId, role: Endpoint, number: u64) -> Option<Attempt> {
        match role {
            Endpoint::Dialer => match self.dials.remove(peer)? {
                Stage::Signalling(attempt) if attempt.number == number => Some(attempt),
                other => {
                    self.dials.insert(*peer, other);
                    None
                }
            },
            Endpoint::Listener => {
                let is_it = self.answering.get(peer)?.number == number;
                if is_it { self.answering.remove(peer) } else { None }
            }
        }
    }

    fn on_over(&mut self, Over { number, peer, role, on, end }: Over) {
        let taken = self.take(&peer, role, number);
        match end {
            // The other end's dial may still go on.
            End::NoPath if !self.answering.contains_key(&peer) => {
                self.actions.push_back(ToSwarm::GenerateEvent(Event::NoDirectPath { peer }));
            }
            End::NoPath | End::Failed => {}
            // Also where it is a direct one that it signalled on.
            End::Violated => {
                self.close(peer, on);
                self.close_spent(peer);
            }
            End::Connected => {
                if let Some(Attempt { on, since_ms, .. }) = taken {
                    self.spend(&peer, on, since_ms);
                }
                self.close_spent(peer);
            }
        }
    }

    /// Closes what has done its work and carries no other attempt.
    fn close_spent(&mut self, peer: PeerId) {
        let of_dial = match self.dials.get(&peer) {
            Some(Stage::Opening { on, .. } | Stage::Signalling(Attempt { on, .. })) => Some(*on),
            None => None,
        };
        let of_answering = self.answering.get(&peer).map(|attempt| attempt.on);
        let carries = |id| of_dial == Some(id) || of_answering == Some(id);
        let of_peer = self.relayed.get(&peer).into_iter().flatten();
        let spent = of_peer.filter(|relayed| relayed.is_spent && !carries(relayed.id)).map(|relayed| relayed.id);
        for id in spent.collect::<Vec<_>>() {
            self.close(peer, id);
        }
    }

    /// Dials take another relayed connection than this. Others' may still be good for what they were opened for.
    fn give_up(&mut self, peer: PeerId, id: ConnectionId) {
        let Some(relayed) = self.relayed.get_mut(&peer).into_iter().flatten().find(|relayed| relayed.id == id) else {
            return;
        };
        relayed.is_spent = true;
        if relayed.is_own {
            self.close(peer, id);
        }
    }

    fn close(&mut self, peer_id: PeerId, id: ConnectionId) {
        for relayed in self.relayed.get_mut(&peer_id).into_iter().flatten() {
            relayed.is_spent |= relayed.id == id;
        }
        self.actions.push_back(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) });
    }

    /// A dial that waited for a stream on it waits for one on another.
    fn on_relayed_closed(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(attempt) = self.answering.get(&peer).filter(|attempt| attempt.on == id) {
            attempt.how_far.is_ended.store(true, Ordering::Relaxed);
        }
        let Some(relayed) = self.relayed.get_mut(&peer) else { return };
        relayed.retain(|other| other.id != id);
        if relayed.is_empty() {
            self.relayed.remove(&peer);
        }
        self.on_outbound(peer, id, Err(NoStream::Lost("the relayed connection was closed".to_owned())));
    }

    /// Without a reason: this end refused itself.
    fn on_dial_failure(&mut self, id: ConnectionId, reason: Option<String>) {
        let is_it = |stage: &Stage| matches!(stage, Stage::Opening { on, .. } if *on == id);
        let Some(peer) = self.dials.iter().find(|(_, stage)| is_it(stage)).map(|(peer, _)| *peer) else { return };
        match (reason, self.dials.remove(&peer)) {
            (Some(_), Some(Stage::Opening { reply, others, .. })) if !others.is_empty() && !reply.is_canceled() => {
                self.dial_relays(peer, reply, others);
            }
            (Some(reason), Some(Stage::Opening { reply, .. })) => {
                _ = reply.send(Err(Error::NoRelay { peer: peer.into(), reason }));
            }
            (None, Some(Stage::Opening { reply, .. })) => _ = reply.send(Err(Error::Busy)),
            _ => {}
        }
    }
}

impl NetworkBehaviour for Behaviour {
    // On direct connections too: js-libp2p signals on the first connection it has to the peer, whichever that is.
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::default())
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                let (peer, id) = (event.peer_id, event.connection_id);
                if !is_relayed_endpoint(event.endpoint) {
                    *self.direct.entry(peer).or_default() += 1;
                    return;
                }
                let is_own = self.dialled.remove(&id);
                let relayed = Relayed { id, since_ms: clock::now_ms(), is_own, is_opening: false, is_spent: false };
                self.relayed.entry(peer).or_default().push(relayed);
                // A dial that was given up may have brought about what the next one waits for.
                if is_own && let Some(Stage::Opening { on, is_reused: false, .. }) = self.dials.get_mut(&peer) {
                    *on = id;
                }
                if self.waits_for(&peer, id) {
                    self.open(peer, id);
                } else if is_own && !self.answering.contains_key(&peer) {
                    // The dial gave way in the meantime, and what it gave way to is done.
                    self.close(peer, id);
                }
            }
            FromSwarm::ConnectionClosed(event) => {
                if is_relayed_endpoint(event.endpoint) {
                    self.on_relayed_closed(event.peer_id, event.connection_id);
                } else if let Some(count) = self.direct.get_mut(&event.peer_id) {
                    *count -= 1;
                    if *count == 0 {
                        self.direct.remove(&event.peer_id);
                    }
                }
            }
            FromSwarm::DialFailure(failure) => {
                self.dialled.remove(&failure.connection_id);
                // What this end refuses itself says nothing of the peer.
                let is_own = matches!(failure.error, DialError::Denied { .. } | DialError::Aborted);
                self.on_dial_failure(failure.connection_id, (!is_own).then(|| failure.error.to_string()));
            }
            FromSwarm::ExternalAddrConfirmed(event) => {
                if let Some(address) = Signalled::from_circuit(event.addr) {
                    self.actions.push_back(ToSwarm::ExternalAddrConfirmed(address));
                }
            }
            FromSwarm::ExternalAddrExpired(event) => {
                if let Some(address) = Signalled::from_circuit(event.addr) {
                    self.actions.push_back(ToSwarm::ExternalAddrExpired(address));
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Out::Inbound(stream) => self.on_inbound(peer, id, stream),
            Out::Outbound(stream) => self.on_outbound(peer, id, stream),
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Poll::Ready(action);
            }
            if let Poll::Ready(Some(over)) = self.over.poll_next_unpin(context) {
                self.on_over(over);
                continue;
            }
            match link::poll_request(&mut self.requests, context) {
                Poll::Ready(request) => self.on_request(request),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
#[path = "behaviour_tests.rs"]
mod tests;
