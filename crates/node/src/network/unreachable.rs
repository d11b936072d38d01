//! Peers that did not answer, so that a tab does not begin connection after connection to who is gone. No I/O.
//!
//! Records outlive those that they name: a site's provider that left is found by every search for two days.

use crate::limits;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use std::{collections::HashMap, time::Duration};

struct Silent {
    /// Where it did not answer; none: wherever it is.
    addresses: Vec<Multiaddr>,
    failures: u32,
    /// Monotonic ms.
    until_ms: u64,
}

/// Who did not answer, where, and until when that counts.
#[derive(Default)]
pub(crate) struct Unreachable {
    peers: HashMap<PeerId, Silent>,
}

/// An address as it is compared: which relay signals to a peer makes no difference to whether it is there.
fn plain(mut address: Multiaddr) -> Multiaddr {
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    if meganet_transport::is_signalled(&address) { Multiaddr::empty().with(Protocol::WebRTC) } else { address }
}

fn wait(failures: u32) -> Duration {
    let doubled = limits::UNREACHABLE_RETRY_MIN * 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
    doubled.min(limits::UNREACHABLE_RETRY_MAX)
}

impl Unreachable {
    /// A peer did not answer at these addresses.
    pub fn failed(&mut self, peer: PeerId, addresses: impl Iterator<Item = Multiaddr>, now_ms: u64) {
        if self.peers.len() >= limits::UNREACHABLE_PEERS_MAX && !self.peers.contains_key(&peer) {
            self.peers.retain(|_, silent| silent.until_ms > now_ms);
            if self.peers.len() >= limits::UNREACHABLE_PEERS_MAX {
                return;
            }
        }
        let silent = self.peers.entry(peer).or_insert(Silent { addresses: Vec::new(), failures: 0, until_ms: 0 });
        silent.failures = silent.failures.saturating_add(1);
        silent.until_ms = now_ms + wait(silent.failures).as_millis() as u64;
        for address in addresses.map(plain) {
            if !silent.addresses.contains(&address) {
                silent.addresses.truncate(limits::ADDRESSES_PER_PEER_MAX - 1);
                silent.addresses.insert(0, address);
            }
        }
    }

    /// A peer let this node in at this address, and turned it out again at once. The first time it may have had a reason, as a page
    /// that is loaded anew.
    pub fn turned_out(&mut self, peer: PeerId, address: Multiaddr, now_ms: u64) {
        self.failed(peer, std::iter::once(address), now_ms);
        if let Some(silent) = self.peers.get_mut(&peer).filter(|silent| silent.failures == 1) {
            silent.until_ms = now_ms;
        }
    }

    /// A peer is there. Whether it stays is still to be seen.
    pub fn reached(&mut self, peer: &PeerId) {
        if let Some(silent) = self.peers.get_mut(peer) {
            silent.until_ms = 0;
        }
    }

    /// A peer was there for a while.
    pub fn stayed(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// Whether a peer need not be tried now, wherever that may be.
    pub fn is_silent(&self, peer: &PeerId, now_ms: u64) -> bool {
        self.peers.get(peer).is_some_and(|silent| silent.until_ms > now_ms)
    }

    /// Whether a peer need not be tried now at this address: at another it may have come back.
    pub fn is_silent_at(&self, peer: &PeerId, address: &Multiaddr, now_ms: u64) -> bool {
        let silent = self.peers.get(peer).filter(|silent| silent.until_ms > now_ms);
        silent.is_some_and(|silent| silent.addresses.is_empty() || silent.addresses.contains(&plain(address.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_did_not_answer_is_left_alone_longer_and_longer_and_only_there() {
        let mut unreachable = Unreachable::default();
        let peer = PeerId::random();
        let (old, new) = (address("/ip4/127.0.0.1/udp/1/webrtc-direct"), address("/ip4/127.0.0.1/udp/2/webrtc-direct"));
        let min = limits::UNREACHABLE_RETRY_MIN.as_millis() as u64;
        unreachable.failed(peer, [old.clone().with(Protocol::P2p(peer))].into_iter(), 0);
        assert!(unreachable.is_silent(&peer, min - 1) && !unreachable.is_silent(&peer, min));
        assert!(unreachable.is_silent_at(&peer, &old, 0) && !unreachable.is_silent_at(&peer, &new, 0));
        assert!(!unreachable.is_silent(&PeerId::random(), 0));
        unreachable.failed(peer, [old.clone()].into_iter(), min);
        assert!(unreachable.is_silent(&peer, 3 * min - 1) && !unreachable.is_silent(&peer, 3 * min));
        for _ in 0..100 {
            unreachable.failed(peer, [old.clone()].into_iter(), 0);
        }
        assert!(!unreachable.is_silent(&peer, limits::UNREACHABLE_RETRY_MAX.as_millis() as u64));
        unreachable.reached(&peer);
        assert!(!unreachable.is_silent(&peer, 0) && !unreachable.is_silent_at(&peer, &old, 0));
    }

    #[test]
    fn who_turns_this_node_out_again_and_again_is_left_alone_longer_and_longer_until_it_lets_it_stay() {
        let mut unreachable = Unreachable::default();
        let (peer, address) = (PeerId::random(), address("/ip4/127.0.0.1/udp/1/webrtc-direct"));
        let mut turned_out = |at_ms| {
            unreachable.reached(&peer);
            assert!(!unreachable.is_silent(&peer, at_ms), "it is connected");
            unreachable.turned_out(peer, address.clone(), at_ms);
            (0..).find(|wait_s| !unreachable.is_silent_at(&peer, &address, at_ms + wait_s * 1_000)).unwrap()
        };
        let waits: Vec<u64> = (0..8).map(|number| turned_out(number * 1_000_000)).collect();
        let max_s = limits::UNREACHABLE_RETRY_MAX.as_secs();
        assert_eq!((waits[0], waits[1], waits[7]), (0, 2 * limits::UNREACHABLE_RETRY_MIN.as_secs(), max_s));
        unreachable.reached(&peer);
        unreachable.stayed(&peer);
        unreachable.turned_out(peer, address.clone(), 0);
        assert!(!unreachable.is_silent(&peer, 0) && unreachable.peers.len() == 1);
    }

    #[test]
    fn one_that_this_node_itself_refused_is_left_alone_wherever_it_is() {
        let mut unreachable = Unreachable::default();
        let peer = PeerId::random();
        unreachable.failed(peer, std::iter::empty(), 0);
        assert!(unreachable.is_silent_at(&peer, &address("/ip4/192.0.2.1/udp/1/webrtc-direct"), 0));
    }

    #[test]
    fn it_makes_no_difference_who_signals() {
        let mut unreachable = Unreachable::default();
        let [peer, relay] = [PeerId::random(), PeerId::random()];
        unreachable.failed(peer, [address(&format!("/webrtc/p2p/{peer}"))].into_iter(), 0);
        assert!(unreachable.is_silent_at(&peer, &address(&format!("/webrtc/p2p/{relay}/p2p-circuit/webrtc")), 0));
        assert!(!unreachable.is_silent_at(&peer, &address("/ip4/127.0.0.1/udp/1/webrtc-direct"), 0));
    }

    #[test]
    fn the_table_is_bounded_and_what_is_over_makes_room() {
        let mut unreachable = Unreachable::default();
        for number in 0..2 * limits::UNREACHABLE_PEERS_MAX {
            unreachable.failed(PeerId::random(), [address(&format!("/ip4/127.0.0.1/tcp/{number}"))].into_iter(), 0);
        }
        assert_eq!(unreachable.peers.len(), limits::UNREACHABLE_PEERS_MAX);
        let late = PeerId::random();
        unreachable.failed(late, std::iter::empty(), limits::UNREACHABLE_RETRY_MAX.as_millis() as u64);
        assert_eq!(unreachable.peers.len(), 1);
        let ports = (1..100).map(|port| address(&format!("/ip4/127.0.0.1/tcp/{port}")));
        unreachable.failed(late, ports, 0);
        assert_eq!(unreachable.peers[&late].addresses.len(), limits::ADDRESSES_PER_PEER_MAX);
    }
}
