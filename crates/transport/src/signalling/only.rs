//! Keeps a protocol to connections of one kind: most stay off relayed ones, whose circuits are short and small, for signalling.

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

/// How a connection reaches the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// Directly, and not over WebSocket.
    Direct,
    /// Directly, over WebSocket.
    WebSocket,
    /// Through a relay.
    Relayed,
}

impl Way {
    /// All of them, the best first as long as nothing was measured.
    pub const ALL: [Self; 3] = [Self::Direct, Self::WebSocket, Self::Relayed];

    /// The way of an established connection.
    #[must_use]
    pub fn of(endpoint: &ConnectedPoint) -> Self {
        match endpoint {
            ConnectedPoint::Listener { local_addr, send_back_addr } => Self::between(local_addr, send_back_addr),
            ConnectedPoint::Dialer { address, .. } => Self::between(address, address),
        }
    }

    fn between(local: &Multiaddr, remote: &Multiaddr) -> Self {
        if is_relayed(local) || is_relayed(remote) {
            Self::Relayed
        } else if crate::is_websocket(local) || crate::is_websocket(remote) {
            Self::WebSocket
        } else {
            Self::Direct
        }
    }
}

/// The relay that an address leads through, of a circuit: the last one, if there are several.
#[must_use]
pub fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let mut last = None;
    let mut relay = None;
    for part in address {
        match part {
            Protocol::P2p(peer) => last = Some(peer),
            Protocol::P2pCircuit => relay = last,
            _ => {}
        }
    }
    relay
}

/// Which connections a behaviour sees.
pub trait Ways: 'static {
    /// Whether one of this way is among them, `relay` carrying it. Asked once, when it is established.
    fn has(&self, way: Way, relay: Option<PeerId>) -> bool;
}

/// Every connection that no relay carries.
#[derive(Default)]
pub struct Direct;

impl Ways for Direct {
    fn has(&self, way: Way, _: Option<PeerId>) -> bool {
        way != Way::Relayed
    }
}

/// Direct connections other than WebSocket.
#[derive(Default)]
pub struct WithoutWebSocket;

impl Ways for WithoutWebSocket {
    fn has(&self, way: Way, _: Option<PeerId>) -> bool {
        way == Way::Direct
    }
}

/// Direct connections over WebSocket.
#[derive(Default)]
pub struct OverWebSocket;

impl Ways for OverWebSocket {
    fn has(&self, way: Way, _: Option<PeerId>) -> bool {
        way == Way::WebSocket
    }
}

/// A behaviour that sees direct connections only.
pub type DirectOnly<B> = Only<Direct, B>;

/// A behaviour that sees some connections only.
pub struct Only<W, B> {
    inner: B,
    ways: W,
    hidden: HashSet<ConnectionId>,
    seen: HashMap<PeerId, Vec<ConnectionId>>,
}

impl<W: Ways, B> Only<W, B> {
    /// Keeps `inner` to the connections of these ways.
    pub fn new(inner: B) -> Self
    where
        W: Default,
    {
        Self::with(W::default(), inner)
    }

    /// The same; what the ways are may change.
    pub fn with(ways: W, inner: B) -> Self {
        Self { inner, ways, hidden: HashSet::new(), seen: HashMap::new() }
    }

    /// Whether a connection that is being established is hidden, which it stays.
    fn hides(&mut self, id: ConnectionId, local: &Multiaddr, remote: &Multiaddr) -> bool {
        let relay = relay_of(local).or_else(|| relay_of(remote));
        let hides = !self.ways.has(Way::between(local, remote), relay);
        if hides {
            self.hidden.insert(id);
        }
        hides
    }
}

impl<W, B> std::ops::Deref for Only<W, B> {
    type Target = B;
    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<W, B> std::ops::DerefMut for Only<W, B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
    }
}

impl<W: Ways, B: NetworkBehaviour> NetworkBehaviour for Only<W, B> {
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
        if self.hides(id, local, remote) {
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
        if self.hides(id, address, address) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner.handle_established_outbound_connection(id, peer, address, role, port_use).map(Either::Left)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                if self.hidden.contains(&event.connection_id) {
                    return;
                }
                let seen = self.seen.entry(event.peer_id).or_default();
                let other_established = seen.len();
                seen.push(event.connection_id);
                self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                    other_established,
                    ..event
                }));
            }
            FromSwarm::ConnectionClosed(event) => {
                if self.hidden.remove(&event.connection_id) {
                    return;
                }
                let seen = self.seen.entry(event.peer_id).or_default();
                seen.retain(|id| *id != event.connection_id);
                let remaining_established = seen.len();
                if remaining_established == 0 {
                    self.seen.remove(&event.peer_id);
                }
                self.inner
                    .on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed { remaining_established, ..event }));
            }
            other => {
                // Another behaviour refused it.
                match &other {
                    FromSwarm::DialFailure(failure) => _ = self.hidden.remove(&failure.connection_id),
                    FromSwarm::ListenFailure(failure) => _ = self.hidden.remove(&failure.connection_id),
                    _ => {}
                }
                self.inner.on_swarm_event(other);
            }
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
            // "Any" connection would be a hidden one too.
            let ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::Any, event } = event else {
                return Poll::Ready(event);
            };
            if let Some(id) = self.seen.get(&peer_id).and_then(|seen| seen.last()) {
                return Poll::Ready(ToSwarm::NotifyHandler { peer_id, handler: NotifyHandler::One(*id), event });
            }
        }
    }
}

/// The same of an established connection.
#[must_use]
pub fn is_relayed_endpoint(endpoint: &ConnectedPoint) -> bool {
    Way::of(endpoint) == Way::Relayed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_of_an_address() {
        let (relay, peer) = (PeerId::random(), PeerId::random());
        let way = |text: &str| {
            let address = text.replace("RELAY", &relay.to_string()).replace("PEER", &peer.to_string());
            let address = address.parse().unwrap();
            Way::between(&address, &address)
        };
        assert_eq!(way("/ip4/1.2.3.4/udp/1/quic-v1"), Way::Direct);
        assert_eq!(way("/webrtc/p2p/PEER"), Way::Direct);
        assert_eq!(way("/ip4/1.2.3.4/tcp/1/ws"), Way::WebSocket);
        assert_eq!(way("/dns4/a.example/tcp/443/tls/ws/p2p/PEER"), Way::WebSocket);
        assert_eq!(way("/ip4/1.2.3.4/tcp/1/ws/p2p/RELAY/p2p-circuit/p2p/PEER"), Way::Relayed);
        assert_eq!(way("/p2p-circuit"), Way::Relayed);
        let circuit: Multiaddr = format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/p2p/{peer}").parse().unwrap();
        assert_eq!(relay_of(&circuit), Some(relay));
        assert_eq!(relay_of(&format!("/webrtc/p2p/{peer}").parse().unwrap()), None);
    }
}
