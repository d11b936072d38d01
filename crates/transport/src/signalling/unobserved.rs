//! Identify tells a peer how it looks from outside. Over `/webrtc` nobody knows: its address names no host. js-libp2p gives up
//! identifying a peer that tells it such an address, so it is told none, as js-libp2p itself does.

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

/// A behaviour (identify) that takes the remote address of `/webrtc` connections for empty.
pub struct Unobserved<B>(B);

impl<B> Unobserved<B> {
    /// Wraps a behaviour.
    pub fn new(inner: B) -> Self {
        Self(inner)
    }
}

impl<B> std::ops::Deref for Unobserved<B> {
    type Target = B;
    fn deref(&self) -> &B {
        &self.0
    }
}

impl<B> std::ops::DerefMut for Unobserved<B> {
    fn deref_mut(&mut self) -> &mut B {
        &mut self.0
    }
}

fn observed(address: &Multiaddr) -> Multiaddr {
    let is_signalled = matches!(address.iter().next(), Some(Protocol::WebRTC));
    if is_signalled { Multiaddr::empty() } else { address.clone() }
}

impl<B: NetworkBehaviour> NetworkBehaviour for Unobserved<B> {
    type ConnectionHandler = B::ConnectionHandler;
    type ToSwarm = B::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.0.handle_established_inbound_connection(id, peer, local, &observed(remote))
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
        self.0.handle_established_outbound_connection(id, peer, &observed(address), role, port_use)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.0.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.0.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.0.poll(context)
    }
}
