//! The swarm's half of `/webrtc`: relayed connections for signalling, who signals with whom, and the end of what is no longer
//! needed.
//!
//! - A dial asks for a signalling stream. It is opened on a relayed connection to the peer; if there is none, its relays are
//!   dialled, all at once.
//! - When both ends dial at once, the dial of the lower peer id goes on and the other gives way to it.
//! - When a connection came of it, the relayed one has done its work and is closed.
//! - An address with a reservation at a relay is made known in its `/webrtc` form too.

use super::{
    handler::{Handler, In, Out},
    link::{self, Inbound, Opened, Request},
    only::is_relayed_endpoint,
    routes::Routes,
};
use crate::{error::Error, proto::address::Signalled};
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
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, Stream, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use std::{
    collections::{HashMap, VecDeque},
    task::{Context, Poll},
};

/// Attempts of others under way at once; further ones are turned away.
pub const INBOUND_ATTEMPTS_MAX: usize = 16;
/// The same of dials.
pub const OUTBOUND_ATTEMPTS_MAX: usize = 32;

/// What a node may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Signalling went through and no connection came of it: no direct path was found, or the other end gave up. The relayed
    /// connection is still there.
    NoDirectPath {
        /// To whom.
        peer: PeerId,
    },
}

/// One end of an attempt that is this node's.
enum Stage {
    /// Waits for a relayed connection or a stream on it.
    Opening { reply: oneshot::Sender<Result<Opened, Error>>, dial: Option<ConnectionId> },
    /// The transport has the stream.
    Signalling { attempt: u64, supersede: oneshot::Sender<()> },
}

/// An attempt that ended, and whether a connection came of it.
struct Over {
    attempt: u64,
    peer: PeerId,
    role: Endpoint,
    connected: bool,
}

type Action = ToSwarm<Event, In>;

/// See the module.
pub struct Behaviour {
    local: PeerId,
    routes: Routes,
    requests: mpsc::Receiver<Request>,
    inbound: mpsc::Sender<Inbound>,
    /// Relayed connections.
    relayed: HashMap<PeerId, Vec<ConnectionId>>,
    /// This node's dials.
    dials: HashMap<PeerId, Stage>,
    /// Attempts of others; dropping one's sender does not end it.
    answering: HashMap<PeerId, oneshot::Sender<()>>,
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
            requests,
            inbound,
            relayed: HashMap::new(),
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

    fn on_request(&mut self, Request { peer, reply }: Request) {
        let refusal = if self.dials.contains_key(&peer) || self.dials.len() >= OUTBOUND_ATTEMPTS_MAX {
            Some(Error::Busy)
        } else if self.answering.contains_key(&peer) && gives_way(&self.local, &peer) {
            Some(Error::Superseded { peer: peer.into() })
        } else {
            None
        };
        if let Some(error) = refusal {
            let _ = reply.send(Err(error));
            return;
        }
        if let Some(id) = self.relayed.get(&peer).and_then(|ids| ids.last()).copied() {
            self.dials.insert(peer, Stage::Opening { reply, dial: None });
            self.open(peer, id);
            return;
        }
        let circuit = |relay: Multiaddr| relay.with(Protocol::P2pCircuit).with(Protocol::P2p(peer));
        let circuits: Vec<_> = self.routes.relays(&peer).into_iter().map(circuit).collect();
        if circuits.is_empty() {
            let _ = reply.send(Err(Error::NoRelay { peer: peer.into(), reason: "none is known".to_owned() }));
            return;
        }
        // Always: there may be a connection that is about to be noticed as lost.
        let opts = DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(circuits).build();
        self.dials.insert(peer, Stage::Opening { reply, dial: Some(opts.connection_id()) });
        self.actions.push_back(ToSwarm::Dial { opts });
    }

    fn open(&mut self, peer_id: PeerId, id: ConnectionId) {
        let handler = NotifyHandler::One(id);
        self.actions.push_back(ToSwarm::NotifyHandler { peer_id, handler, event: In::Open });
    }

    /// A stream for a dial, or none.
    fn on_outbound(&mut self, peer: PeerId, stream: Result<Stream, String>) {
        let reply = match self.dials.remove(&peer) {
            Some(Stage::Opening { reply, .. }) => reply,
            // A stream that nobody waits for any more is dropped.
            other => {
                self.dials.extend(other.map(|stage| (peer, stage)));
                return;
            }
        };
        match stream {
            Err(reason) => _ = reply.send(Err(Error::NoRelay { peer: peer.into(), reason })),
            Ok(stream) => {
                let (attempt, supersede, opened) = self.begin(peer, Endpoint::Dialer, stream);
                if reply.send(Ok(opened)).is_ok() {
                    self.dials.insert(peer, Stage::Signalling { attempt, supersede });
                }
            }
        }
    }

    /// Somebody signals.
    fn on_inbound(&mut self, peer: PeerId, stream: Stream) {
        if self.dials.contains_key(&peer) && !gives_way(&self.local, &peer) {
            tracing::debug!(%peer, "dials too, and gives way");
            return;
        }
        if self.answering.contains_key(&peer) || self.answering.len() >= INBOUND_ATTEMPTS_MAX {
            tracing::debug!(%peer, "signals, and is turned away");
            return;
        }
        match self.dials.remove(&peer) {
            Some(Stage::Opening { reply, .. }) => _ = reply.send(Err(Error::Superseded { peer: peer.into() })),
            Some(Stage::Signalling { supersede, .. }) => _ = supersede.send(()),
            None => {}
        }
        let (_, supersede, opened) = self.begin(peer, Endpoint::Listener, stream);
        if self.inbound.try_send(Inbound { peer, opened }).is_ok() {
            self.answering.insert(peer, supersede);
        }
    }

    fn begin(&mut self, peer: PeerId, role: Endpoint, stream: Stream) -> (u64, oneshot::Sender<()>, Opened) {
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        let (supersede, superseded) = oneshot::channel();
        let (over, ended) = oneshot::channel();
        let over_with = move |result: Result<bool, _>| Over { attempt, peer, role, connected: result.unwrap_or(false) };
        self.over.push(ended.map(over_with).boxed());
        (attempt, supersede, Opened { stream, superseded, over })
    }

    fn on_over(&mut self, Over { attempt: ended, peer, role, connected }: Over) {
        match role {
            // A superseded dial ends too; its place may be another's already.
            Endpoint::Dialer => {
                if matches!(self.dials.get(&peer), Some(Stage::Signalling { attempt, .. }) if *attempt == ended) {
                    self.dials.remove(&peer);
                }
            }
            Endpoint::Listener => _ = self.answering.remove(&peer),
        }
        if !connected {
            // The other end's dial may still go on.
            if !self.answering.contains_key(&peer) {
                self.actions.push_back(ToSwarm::GenerateEvent(Event::NoDirectPath { peer }));
            }
            return;
        }
        for id in self.relayed.get(&peer).into_iter().flatten() {
            let connection = CloseConnection::One(*id);
            self.actions.push_back(ToSwarm::CloseConnection { peer_id: peer, connection });
        }
    }

    fn on_dial_failure(&mut self, id: ConnectionId, reason: String) {
        let is_it = |stage: &Stage| matches!(stage, Stage::Opening { dial: Some(dial), .. } if *dial == id);
        let Some(peer) = self.dials.iter().find(|(_, stage)| is_it(stage)).map(|(peer, _)| *peer) else { return };
        self.on_outbound(peer, Err(reason));
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
                    return;
                }
                self.relayed.entry(peer).or_default().push(id);
                if matches!(self.dials.get(&peer), Some(Stage::Opening { dial: Some(dial), .. }) if *dial == id) {
                    self.open(peer, id);
                }
            }
            FromSwarm::ConnectionClosed(event) => {
                if let Some(ids) = self.relayed.get_mut(&event.peer_id) {
                    ids.retain(|id| *id != event.connection_id);
                    if ids.is_empty() {
                        self.relayed.remove(&event.peer_id);
                        self.on_outbound(event.peer_id, Err("the relayed connection was closed".to_owned()));
                    }
                }
            }
            FromSwarm::DialFailure(failure) => {
                self.on_dial_failure(failure.connection_id, failure.error.to_string());
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

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Out::Inbound(stream) => self.on_inbound(peer, stream),
            Out::Outbound(stream) => self.on_outbound(peer, stream),
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
