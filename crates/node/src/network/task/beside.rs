//! A WebSocket connection beside a direct one, for transfers that last: over which of the two they go is measured
//! (`exchange::paths`). It costs no peer connection, and is closed when nobody uses it.

use super::Task;
use crate::config::Role;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use meganet_transport::signalling::Way;

impl Task {
    /// Opens those that are wanted. Only tabs do: natively QUIC and TCP carry as much.
    pub(super) fn dial_beside(&mut self) {
        for peer in self.paths.wishes() {
            let addresses = if self.role == Role::Tab { self.peers.websockets(&peer) } else { Vec::new() };
            if addresses.is_empty() {
                self.paths.no_websocket(&peer);
                continue;
            }
            let options = DialOpts::peer_id(peer).addresses(addresses).condition(PeerCondition::Always).build();
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => _ = self.beside.insert(id, peer),
                Err(error) => {
                    tracing::debug!(%peer, %error, "no WebSocket beside");
                    self.paths.no_websocket(&peer);
                }
            }
        }
    }

    /// Closes those that nobody uses any more. The last direct connection of a peer stays.
    pub(super) fn close_idle_beside(&mut self) {
        for (id, peer) in &self.beside {
            if self.peers.has_another(peer, *id) && self.paths.is_idle(peer, Way::WebSocket) {
                self.swarm.close_connection(*id);
            }
        }
    }
}
