//! Shows a behaviour the swarm with some addresses left out.

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};
use std::{
    marker::PhantomData,
    task::{Context, Poll},
};

/// What is left out.
pub trait Lens: 'static {
    /// The remote address of a connection as the behaviour sees it.
    fn remote(address: &Multiaddr) -> Multiaddr {
        address.clone()
    }

    /// Whether the behaviour sees this external address.
    fn shows(_address: &Multiaddr) -> bool {
        true
    }
}

/// For identify, which tells a peer how it looks from outside. Over `/webrtc` nobody knows: its address names no host. js-libp2p
/// gives up identifying a peer that tells it such an address, so it is told none, as js-libp2p itself does.
pub enum HostsOnly {}

impl Lens for HostsOnly {
    fn remote(address: &Multiaddr) -> Multiaddr {
        let is_signalled = matches!(address.iter().next(), Some(Protocol::WebRTC));
        if is_signalled { Multiaddr::empty() } else { address.clone() }
    }
}

/// For a relay, which names its addresses in the reservations it gives: a circuit through a circuit helps nobody.
pub enum WithoutCircuits {}

impl Lens for WithoutCircuits {
    fn shows(address: &Multiaddr) -> bool {
        !address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
    }
}

/// A behaviour behind a lens.
pub struct Through<L, B>(B, PhantomData<L>);

impl<L: Lens, B> Through<L, B> {
    /// Wraps a behaviour.
    pub fn new(inner: B) -> Self {
        Self(inner, PhantomData)
    }
}

impl<L, B> std::ops::Deref for Through<L, B> {
    type Target = B;
    fn deref(&self) -> &B {
        &self.0
    }
}

impl<L, B> std::ops::DerefMut for Through<L, B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.0
    }
}

impl<L: Lens, B: NetworkBehaviour> NetworkBehaviour for Through<L, B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.0.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0.handle_established_inbound_connection(id, peer, local, &L::remote(remote))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.0.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0.handle_established_outbound_connection(id, peer, &L::remote(address), role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let shows = match &event {
            FromSwarm::ExternalAddrConfirmed(event) => L::shows(event.addr),
            FromSwarm::ExternalAddrExpired(event) => L::shows(event.addr),
            _ => true,
        };
        if shows {
            self.0.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.0.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.0.poll(context)
    }
}
