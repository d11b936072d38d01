//! Joining the swarm through first contacts.

use super::{Dial, Task};
use crate::{
    network::{
        first_contact::{self, JoinState, Now},
        peers::{self, Source},
    },
    platform,
};
use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

impl Task {
    pub(super) fn add_bootstrap(&mut self, addresses: Vec<Multiaddr>) {
        let usable: Vec<_> = addresses
            .into_iter()
            .filter_map(peers::split_peer)
            .filter(|(peer, address)| peer != self.swarm.local_peer_id() && meganet_transport::can_dial(address))
            .collect();
        let fresh = self.first.add(usable.clone());
        for (peer, address) in &fresh {
            self.swarm.behaviour().kademlia.lens().reach().trust(address);
            self.peers.remember(*peer, address.clone(), Source::Own);
            // First contacts are DHT servers by definition, so lookups need not wait for identify.
            self.swarm.behaviour_mut().kademlia.add_address(peer, address.clone());
        }
        // Whoever names known addresses again has a reason to: while nobody is connected they are tried at once.
        let retry = self.join != JoinState::Joined;
        self.dial_first_contacts(if retry { usable } else { fresh });
    }

    /// What joining depends on.
    pub(super) fn joining_now(&self) -> Now {
        Now {
            connected: self.peers.direct_count(),
            has_others: !self.memory.is_empty(),
            at_ms: platform::monotonic_ms(),
            jitter: Self::jitter(),
        }
    }

    pub(super) fn dial_first_contacts(&mut self, contacts: Vec<(PeerId, Multiaddr)>) {
        for (peer, addresses) in first_contact::to_try(contacts, self.role.first_contacts_at_once()) {
            if self.peers.is_direct(&peer) || self.is_being_dialled(&peer, &addresses) {
                continue;
            }
            // A dial to an address the peer had before a restart must not hold up one to its new address; the number of
            // dials under way has its own bound.
            self.dial_to_join(peer, addresses);
        }
        let state = self.first.check(self.joining_now());
        self.set_join(state);
    }

    /// A fallback to a first contact counts as another try at joining.
    pub(super) fn fallback_started(&mut self, id: ConnectionId, peer: PeerId, addresses: Vec<Multiaddr>) {
        if self.first.is_known(&peer) || self.memory.knows(&peer) {
            self.first.dial_started();
            self.dials.insert(id, Dial::FirstContact { peer, addresses });
        }
    }
}
