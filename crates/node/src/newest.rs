//! Which connections each peer has here: its newest. No I/O.
//!
//! A page that is reloaded, or whose process died, comes back as the peer that it was, and its old connections look alive until
//! they are given up. Were the newest refused instead, it would be kept out for as long. (It is, by a node that is full.)

use crate::limits;
use libp2p::{PeerId, swarm::ConnectionId};
use meganet_transport::signalling::Way;
use std::collections::{HashMap, VecDeque};

/// Established connections that are not superseded, each peer's oldest first.
#[derive(Default)]
pub(crate) struct Newest {
    by_peer: HashMap<PeerId, VecDeque<(ConnectionId, Way)>>,
    /// Those to be closed.
    superseded: VecDeque<(PeerId, ConnectionId)>,
}

impl Newest {
    /// One more. A peer has some of each way; one too many takes the place of the oldest.
    pub fn established(&mut self, peer: PeerId, id: ConnectionId, way: Way) {
        let held = self.by_peer.entry(peer).or_default();
        held.push_back((id, way));
        let is_same = |(_, other): &(ConnectionId, Way)| *other == way;
        if held.iter().filter(|other| is_same(other)).count() > limits::CONNECTIONS_PER_WAY_MAX
            && let Some(oldest) = held.iter().position(is_same)
            && let Some((oldest, _)) = held.remove(oldest)
        {
            tracing::debug!(%peer, "its newest connection takes the place of its oldest");
            self.superseded.push_back((peer, oldest));
        }
    }

    pub fn closed(&mut self, peer: PeerId, id: ConnectionId) {
        if let Some(held) = self.by_peer.get_mut(&peer) {
            held.retain(|(other, _)| *other != id);
            if held.is_empty() {
                self.by_peer.remove(&peer);
            }
        }
    }

    /// The next that is to be closed.
    pub fn next_superseded(&mut self) -> Option<(PeerId, ConnectionId)> {
        self.superseded.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    #[test]
    fn a_peers_newest_connection_takes_the_place_of_its_oldest_of_that_way() {
        let mut newest = Newest::default();
        let [peer, other] = [PeerId::random(), PeerId::random()];
        let max = limits::CONNECTIONS_PER_WAY_MAX;
        newest.established(other, id(1_000), Way::Direct);
        newest.established(peer, id(100), Way::Relayed);
        newest.established(peer, id(101), Way::WebSocket);
        for number in 0..max {
            newest.established(peer, id(number), Way::Direct);
        }
        assert_eq!(newest.next_superseded(), None);
        newest.established(peer, id(max), Way::Direct);
        newest.established(peer, id(max + 1), Way::Direct);
        assert_eq!(newest.next_superseded(), Some((peer, id(0))));
        assert_eq!(newest.next_superseded(), Some((peer, id(1))));
        assert_eq!(newest.next_superseded(), None, "its other ways are others, and so are other peers");
        // Those that are being closed count no more; one that closed by itself makes room.
        newest.closed(peer, id(0));
        newest.closed(peer, id(max + 1));
        newest.established(peer, id(max + 2), Way::Direct);
        assert_eq!(newest.next_superseded(), None);
    }

    #[test]
    fn nothing_is_left_of_who_is_gone() {
        let mut newest = Newest::default();
        let peer = PeerId::random();
        for number in 0..10 {
            newest.established(peer, id(number), Way::ALL[number % 3]);
        }
        (0..10).for_each(|number| newest.closed(peer, id(number)));
        assert!(newest.by_peer.is_empty());
    }
}
