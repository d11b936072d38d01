//! Shows a behaviour the swarm, and the swarm a behaviour, with some addresses left out.

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
        ToSwarm,
    },
};
use std::task::{Context, Poll};

/// What is left out.
pub trait Lens: 'static {
    /// The remote address of a connection as the behaviour sees it.
    fn remote(&self, address: &Multiaddr) -> Multiaddr {
        address.clone()
    }

    /// Whether the behaviour sees this event.
    fn shows(&self, _event: &FromSwarm<'_>) -> bool {
        true
    }

    /// Which of the addresses that the behaviour knows of a peer are dialled.
    fn dialled(&self, known: Vec<Multiaddr>) -> Vec<Multiaddr> {
        known
    }
}

/// For identify, which tells a peer how it looks from outside. A `/webrtc` address names no host. js-libp2p gives up
/// identifying a peer that tells it such an address, so it is told none, as js-libp2p itself does.
#[derive(Default)]
pub struct HostsOnly;

impl Lens for HostsOnly {
    fn remote(&self, address: &Multiaddr) -> Multiaddr {
        let is_signalled = matches!(address.iter().next(), Some(Protocol::WebRTC));
        if is_signalled { Multiaddr::empty() } else { address.clone() }
    }
}

/// For a relay, which names its addresses in the reservations it gives: a circuit through a circuit helps nobody.
#[derive(Default)]
pub struct WithoutCircuits;

impl Lens for WithoutCircuits {
    fn shows(&self, event: &FromSwarm<'_>) -> bool {
        let address = match event {
            FromSwarm::ExternalAddrConfirmed(event) => event.addr,
            FromSwarm::ExternalAddrExpired(event) => event.addr,
            _ => return true,
        };
        !address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
    }
}

/// A behaviour behind a lens.
pub struct Through<L, B> {
    lens: L,
    inner: B,
}

impl<L: Lens, B> Through<L, B> {
    /// Wraps a behaviour.
    pub fn new(inner: B) -> Self
    where
        L: Default,
    {
        Self::with(L::default(), inner)
    }

    /// The same with a lens that needs to know something.
    pub fn with(lens: L, inner: B) -> Self {
        Self { lens, inner }
    }

    /// What is left out.
    pub fn lens(&self) -> &L {
        &self.lens
    }
}

impl<L, B> std::ops::Deref for Through<L, B> {
    type Target = B;
    fn deref(&self) -> &B {
        &self.inner
    }
}

impl<L, B> std::ops::DerefMut for Through<L, B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.inner
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
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, &self.lens.remote(remote))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let known = self.inner.handle_pending_outbound_connection(id, peer, addresses, role)?;
        Ok(self.lens.dialled(known))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, &self.lens.remote(address), role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if self.lens.shows(&event) {
            self.inner.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(context)
    }
}
