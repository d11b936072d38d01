//! Joining through peers that were good before this start, and noting who is good now.

use super::{Dial, Task};
use crate::{config::Role, limits, platform};
use libp2p::{Multiaddr, PeerId};
use meganet_core::remembered::RememberedPeer;

impl Task {
    /// Dials a peer through which this node may join.
    pub(super) fn dial_to_join(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let options = self.dial_options(peer, addresses.clone());
        let id = options.connection_id();
        match self.begin(options) {
            Ok(()) => {
                self.first.dial_started();
                self.dials.insert(id, Dial::FirstContact { peer, addresses });
            }
            Err(error) => tracing::debug!(%peer, %error, "not dialled"),
        }
    }

    /// Whether all of these are tried already: a list may name a peer that is remembered too.
    pub(super) fn is_being_dialled(&self, peer: &PeerId, addresses: &[Multiaddr]) -> bool {
        self.dials.values().any(|dial| match dial {
            Dial::FirstContact { peer: other, addresses: tried } => {
                other == peer && addresses.iter().all(|address| tried.contains(address))
            }
            Dial::Command(_) => false,
        })
    }

    /// The last direct connection is gone.
    pub(super) fn nobody_is_left(&mut self) {
        if self.first.is_worth_retrying_now(platform::monotonic_ms()) {
            return self.dial_everybody_known();
        }
        let state = self.first.check(self.joining_now());
        self.set_join(state);
    }

    /// First contacts and a few remembered peers, while nobody is connected.
    pub(super) fn dial_everybody_known(&mut self) {
        self.dial_remembered(limits::REMEMBERED_DIALS);
        let known = self.first.known().to_vec();
        self.dial_first_contacts(known);
    }

    /// Tries some of those who were good before.
    pub(super) fn dial_remembered(&mut self, count: usize) {
        let per_hour = if self.role == Role::Tab { limits::REMEMBERED_DIALS_PER_HOUR } else { usize::MAX };
        for (peer, addresses) in self.memory.next(count, per_hour, platform::monotonic_ms()) {
            if peer != *self.swarm.local_peer_id() && !self.is_being_dialled(&peer, &addresses) {
                tracing::debug!(%peer, "dialling a remembered peer");
                self.dial_to_join(peer, addresses);
            }
        }
    }

    /// A peer through which this node might have joined did not answer.
    pub(super) fn not_reached(&mut self, peer: &PeerId) {
        if self.peers.direct_count() == 0 {
            // The next one at once: the wait is for when nobody is left to try.
            self.dial_remembered(1);
        } else if !self.peers.is_direct(peer) {
            self.memory.failed(peer);
        }
    }

    /// The list of good peers, if it has changed.
    pub(super) fn remembered(&mut self) -> Option<Vec<RememberedPeer>> {
        let (now_ms, unix_ms) = (platform::monotonic_ms(), platform::unix_ms());
        for good in self.peers.good() {
            if self.memory.is_proven(&good.peer, now_ms) {
                self.memory.good(good, unix_ms);
            }
        }
        self.memory.take_changed()
    }
}
