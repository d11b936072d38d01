//! Reservations at relays, so that others can signal to this node through them. No I/O.

use crate::limits;
use libp2p::{PeerId, core::transport::ListenerId};
use std::collections::{HashMap, HashSet};

/// Relays that are connected, and those that keep a place for this node.
#[derive(Default)]
pub(super) struct Reservations {
    /// Connected relays, and whether each is a server: those stay longer than tabs.
    relays: HashMap<PeerId, bool>,
    /// Relays that refused, until they are connected anew.
    refused: HashSet<PeerId>,
    held: HashMap<ListenerId, PeerId>,
}

impl Reservations {
    /// A connected peer relays.
    pub fn relay(&mut self, peer: PeerId, is_server: bool) {
        self.relays.insert(peer, is_server);
    }

    /// A peer is gone.
    pub fn disconnected(&mut self, peer: &PeerId) {
        self.relays.remove(peer);
        self.refused.remove(peer);
    }

    /// Whether a relay keeps a place for this node, or was asked to.
    pub fn holds(&self, peer: &PeerId) -> bool {
        self.held.values().any(|held| held == peer)
    }

    /// The relay to ask next, servers first.
    pub fn next(&self) -> Option<PeerId> {
        if self.held.len() >= limits::RESERVATIONS_WANTED {
            return None;
        }
        let is_free = |peer: &&PeerId| !self.refused.contains(peer) && !self.holds(peer);
        self.relays.keys().filter(is_free).max_by_key(|peer| self.relays.get(peer)).copied()
    }

    /// A relay was asked, by this listener.
    pub fn asked(&mut self, listener: ListenerId, relay: PeerId) {
        self.held.insert(listener, relay);
    }

    /// A relay cannot be asked.
    pub fn cannot_ask(&mut self, relay: PeerId) {
        self.refused.insert(relay);
    }

    /// A listener is closed: refused, or the relay is gone. Whether it was one of these.
    pub fn closed(&mut self, listener: ListenerId) -> bool {
        let Some(relay) = self.held.remove(&listener) else { return false };
        self.refused.insert(relay);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_asked_first_and_who_refuses_is_not_asked_again() {
        let mut reservations = Reservations::default();
        let [tab, server] = [PeerId::random(), PeerId::random()];
        reservations.relay(tab, false);
        reservations.relay(server, true);
        assert_eq!(reservations.next(), Some(server));
        let listener = ListenerId::next();
        reservations.asked(listener, server);
        assert_eq!(reservations.next(), Some(tab));
        assert!(reservations.closed(listener) && !reservations.closed(listener));
        reservations.cannot_ask(tab);
        assert_eq!(reservations.next(), None);
        reservations.disconnected(&server);
        reservations.relay(server, true);
        assert_eq!(reservations.next(), Some(server), "connected anew, it may have room");
        for _ in 0..limits::RESERVATIONS_WANTED {
            let relay = PeerId::random();
            reservations.relay(relay, true);
            reservations.asked(ListenerId::next(), relay);
        }
        assert_eq!(reservations.next(), None, "enough");
    }
}
