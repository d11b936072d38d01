//! Keeps a protocol off relayed connections: circuits are short and small, for signalling.

use either::Either;
use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished, dummy,
    },
};
use std::{
    collections::{HashMap, HashSet},
    task::{Context, Poll},
};

/// Whether a connection at this address goes through a relay. One whose signalling went through it does not.
#[must_use]
pub fn is_relayed(address: &Multiaddr) -> bool {
    let mut relayed = false;
    for part in address {
        match part {
            Protocol::P2pCircuit => relayed = true,
            Protocol::WebRTC => relayed = false,
            _ => {}
        }
    }
    relayed
}

/// A behaviour that sees direct connections only.
pub struct DirectOnly<B> {
    inner: B,
    relayed: HashSet<ConnectionId>,
    direct: HashMap<PeerId, Vec<ConnectionId>>,
}

impl<B> DirectOnly<B> {
    /// Keeps `inner` off relayed connections.
    pub fn new(inner: B) -> Self {
        Self { inner, relayed: HashSet::new(), direct: HashMap::new() }
    }
}

impl<B> std::ops::Deref for DirectOnly<B> {
    type Target = B;
    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<B> std::ops::DerefMut for DirectOnly<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for DirectOnly<B> {
    type ConnectionHandler = Either<THandler<B>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if is_relayed(local) || is_relayed(remote) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner.handle_established_inbound_connection(id, peer, local, remote).map(Either::Left)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if is_relayed(address) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner.handle_established_outbound_connection(id, peer, address, role, port_use).map(Either::Left)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                if is_relayed_endpoint(event.endpoint) {
                    self.relayed.insert(event.connection_id);
                    return;
                }
                let direct = self.direct.entry(event.peer_id).or_default();
                let other_established = direct.len();
                direct.push(event.connection_id);
                self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                    other_established,
                    ..event
                }));
            }
            FromSwarm::ConnectionClosed(event) => {
                if self.relayed.remove(&event.connection_id) {
                    return;
                }
                let direct = self.direct.entry(event.peer_id).or_default();
                direct.retain(|id| *id != event.connection_id);
                let remaining_established = direct.len();
                if remaining_established == 0 {
                    self.direct.remove(&event.peer_id);
                }
                self.inner
                    .on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed { remaining_established, ..event }));
            }
            other => self.inner.on_swarm_event(other),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(event) => self.inner.on_connection_handler_event(peer, id, event),
            Either::Right(never) => match never {},
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            let event = match self.inner.poll(context) {
                Poll::Ready(event) => event.map_in(Either::Left),
                Poll::Pending => return Poll::Pending,
            };
            // "Any" connection would be a relayed one too.
            let ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event } = event else {
                return Poll::Ready(event);
            };
            if let Some(id) = self.direct.get(&peer_id).and_then(|direct| direct.last()) {
                return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(*id), event });
            }
        }
    }
}

/// The same of an established connection.
#[must_use]
pub fn is_relayed_endpoint(endpoint: &ConnectedPoint) -> bool {
    match endpoint {
        ConnectedPoint::Listener { local_addr, send_back_addr } => is_relayed(local_addr) || is_relayed(send_back_addr),
        ConnectedPoint::Dialer { address, .. } => is_relayed(address),
    }
}
