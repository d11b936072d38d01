//! Circuits that carry content: opened for providers without a direct path, closed when nobody uses them (`network::detours`).

use super::Task;
use crate::{network::NetworkEvent, platform};
use libp2p::{
    Multiaddr, PeerId,
    multiaddr::Protocol,
    relay,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use meganet_transport::signalling::{Way, relay_of};
use std::collections::{HashMap, HashSet};

impl Task {
    /// Opens circuits to the providers whose time has come.
    pub(super) fn take_detours(&mut self, now_ms: u64) {
        for peer in self.detours.due(now_ms) {
            if self.peers.is_direct(&peer) {
                self.detours.connected(&peer);
                continue;
            }
            // Signalling may have gone over one that is good for content too.
            if let Some((id, relay)) = self.willing_circuit(&peer) {
                self.carry(peer, relay, id);
                continue;
            }
            let relays = self.swarm.behaviour().signalling.routes().relays(&peer);
            let Some((relay, address)) = self.detours.next_relay(&peer, &relays, &self.willing, now_ms) else {
                tracing::info!(%peer, "no relay is willing to carry content from there");
                self.tell(NetworkEvent::Paths);
                continue;
            };
            let circuit: Multiaddr = address.with(Protocol::P2pCircuit).with(Protocol::P2p(peer));
            let options = DialOpts::peer_id(peer).addresses(vec![circuit]).condition(PeerCondition::Always).build();
            let id = options.connection_id();
            self.detours.dialling(&peer, relay, id);
            if self.swarm.dial(options).is_err() {
                self.detours.useless(id, now_ms);
            }
        }
    }

    /// A circuit to a peer through a relay that carries content, and that relay.
    fn willing_circuit(&self, peer: &PeerId) -> Option<(ConnectionId, PeerId)> {
        self.peers.circuits(peer).into_iter().find_map(|(id, address)| {
            let relay = relay_of(&address)?;
            (self.willing.is_willing(&relay) == Some(true)).then_some((id, relay))
        })
    }

    /// Peers without a direct path, and the relay that carries content between them and this node.
    pub(super) fn no_direct_path(&self) -> Vec<(PeerId, Option<PeerId>)> {
        let told = self.detours.told(platform::monotonic_ms());
        told.into_iter().map(|peer| (peer, self.willing_circuit(&peer).map(|(_, relay)| relay))).collect()
    }

    /// Who relays the circuits that carry content to this node.
    pub(super) fn relays_in_use(&self) -> HashSet<PeerId> {
        let carrying = self.detours.circuits();
        carrying.flat_map(|(id, peer)| self.peers.relay_of_circuit(&peer, id)).collect()
    }

    fn carry(&mut self, peer: PeerId, relay: PeerId, id: ConnectionId) {
        tracing::info!(%peer, %relay, "content comes through a relay");
        self.detours.carry(peer, id, self.paths.received_over(&peer, Way::Relayed));
        self.paths.appeared(peer, Way::Relayed);
        self.tell(NetworkEvent::Carried(peer));
    }

    /// A circuit is there: this node's, for content, or anybody's, for signalling.
    pub(super) fn circuit_established(&mut self, peer: PeerId, id: ConnectionId, address: &Multiaddr) {
        self.detours.opened(id, peer, platform::monotonic_ms());
        let relay = relay_of(address).filter(|relay| self.willing.is_willing(relay) == Some(true));
        if let Some(relay) = relay.filter(|_| self.detours.is_dialling(id)) {
            self.carry(peer, relay, id);
        } else if self.detours.useless(id, platform::monotonic_ms()) {
            // Left open it would take the place of the direct connection that may still come.
            self.swarm.close_connection(id);
        }
    }

    pub(super) fn circuit_closed(&mut self, peer: PeerId, id: ConnectionId) {
        let received = self.paths.received_over(&peer, Way::Relayed);
        let is_in_use = !self.paths.is_idle(&peer, Way::Relayed);
        if self.detours.closed(id, received, is_in_use, platform::monotonic_ms()) {
            self.paths.vanished(peer, Way::Relayed);
            if !self.peers.is_direct(&peer) && !self.detours.carries(&peer) {
                self.tell(NetworkEvent::Disconnected(peer));
            }
        }
    }

    /// When chunks last went between this node and each connected peer, monotonic ms.
    pub(super) fn used(&self) -> HashMap<PeerId, u64> {
        self.traffic.used(|peer| self.peers.is_direct(peer) || !self.peers.circuits(peer).is_empty())
    }

    /// Closes circuits that nobody uses any more, `used` being [`Self::used`]. Those that others opened take up what this node has
    /// room for.
    pub(super) fn close_idle_circuits(&mut self, used: &HashMap<PeerId, u64>, now_ms: u64) {
        for (id, peer) in self.detours.idle(used, now_ms) {
            if !self.swarm.behaviour().signalling.is_signalling(&peer) {
                self.swarm.close_connection(id);
            }
        }
        for (id, peer) in self.detours.circuits() {
            if self.paths.is_idle(&peer, Way::Relayed) {
                self.swarm.close_connection(id);
            }
        }
    }

    pub(super) fn on_no_direct_path(&mut self, peer: PeerId) {
        if self.peers.is_direct(&peer) {
            return;
        }
        tracing::info!(%peer, "no direct path");
        self.detours.no_direct_path(peer, platform::monotonic_ms());
        self.tell(NetworkEvent::Paths);
    }

    /// What relays say of how much they carry.
    pub(super) fn on_relay_client(&mut self, event: relay::client::Event) {
        match event {
            relay::client::Event::ReservationReqAccepted { relay_peer_id, limit, .. }
            | relay::client::Event::OutboundCircuitEstablished { relay_peer_id, limit } => {
                self.willing.learn(relay_peer_id, limit.and_then(|limit| limit.data_in_bytes()));
            }
            relay::client::Event::InboundCircuitEstablished { .. } => {}
        }
    }
}
