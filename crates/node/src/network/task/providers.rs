//! Connecting to the providers that a search has found.

use super::Task;
use crate::{
    limits,
    network::{peers, reach::few_of},
    platform,
};
use futures::channel::mpsc;
use libp2p::{
    Multiaddr, PeerId,
    core::Endpoint,
    swarm::{ConnectionId, NetworkBehaviour},
};
use std::collections::{HashMap, VecDeque};

/// Providers to connect to: a few at once, so that dead ones neither flood the network nor keep a living one waiting long.
#[derive(Default)]
pub(super) struct ProviderDials {
    pub waiting: VecDeque<ProviderDial>,
    /// By dial, with the time (monotonic ms) at which the next provider need not wait for it any longer.
    pub under_way: HashMap<ConnectionId, (u64, ProviderDial)>,
    /// All that were begun and have not ended, those that nobody waits for any longer among them.
    going_on: HashMap<ConnectionId, (PeerId, Vec<Multiaddr>)>,
}

pub(super) struct ProviderDial {
    pub peer: PeerId,
    /// Taken when the provider was found: only then the query knows them.
    pub addresses: Vec<Multiaddr>,
    /// Held until the dial was tried: their end tells the searchers that nobody is missing any more.
    searchers: Vec<mpsc::Sender<PeerId>>,
}

impl ProviderDials {
    /// Leaves a peer to a dial that is there already, for whichever search: many sites have one provider, and each is searched for
    /// in the same moment.
    fn is_left_to_another(&mut self, peer: &PeerId, addresses: &[Multiaddr], searcher: &mpsc::Sender<PeerId>) -> bool {
        let under_way = self.under_way.values_mut().map(|(_, dial)| dial);
        // Of too many each search draws others.
        let is_same = |tried: &[Multiaddr]| {
            tried.len() >= limits::ADDRESSES_PER_PEER_MAX || addresses.iter().all(|address| tried.contains(address))
        };
        let mut dials = self.waiting.iter_mut().chain(under_way);
        if let Some(dial) = dials.find(|dial| dial.peer == *peer && is_same(&dial.addresses)) {
            if dial.searchers.len() < limits::QUERIES_MAX {
                dial.searchers.push(searcher.clone());
            }
            return true;
        }
        self.going_on.values().any(|(other, tried)| other == peer && is_same(tried))
    }

    /// A dial has ended, one way or the other.
    pub fn ended(&mut self, id: &ConnectionId) {
        self.going_on.remove(id);
    }
}

impl Task {
    /// Queues the dials to providers that a search has just found.
    pub(super) fn dial_providers(&mut self, found: Vec<PeerId>, searcher: &mpsc::Sender<PeerId>) {
        for peer in found {
            let waiting = &self.providers.waiting;
            if self.peers.is_direct(&peer)
                || self.detours.carries(&peer)
                || peer == *self.swarm.local_peer_id()
                || waiting.len() >= limits::PROVIDER_DIALS_WAITING_MAX
            {
                continue;
            }
            let found = self.addresses_of_queries(peer);
            let mut addresses = self.peers.with_found(&peer, found);
            addresses.retain(|address| meganet_transport::can_dial(address) && self.peers.may_dial(address));
            // Who left is found by every search for as long as its record lives.
            addresses.retain(|address| !self.swarm.behaviour().gate.is_silent_at(&peer, address));
            let addresses = few_of(addresses, &self.peers.own_addresses(&peer));
            if !addresses.is_empty() && !self.providers.is_left_to_another(&peer, &addresses, searcher) {
                let searchers = vec![searcher.clone()];
                self.providers.waiting.push_back(ProviderDial { peer, addresses, searchers });
            }
        }
        self.dial_waiting_providers(platform::monotonic_ms());
    }

    /// The addresses that running queries and the routing table know of a peer; Kademlia tells them for a dial only.
    pub(super) fn addresses_of_queries(&mut self, peer: PeerId) -> Vec<Multiaddr> {
        let id = ConnectionId::new_unchecked(usize::MAX);
        let kademlia = &mut self.swarm.behaviour_mut().kademlia;
        let known = kademlia.handle_pending_outbound_connection(id, Some(peer), &[], Endpoint::Dialer);
        let plain = |address: Multiaddr| peers::split_peer(address.clone()).map_or(address, |(_, plain)| plain);
        known.unwrap_or_default().into_iter().map(plain).collect()
    }

    pub(super) fn dial_waiting_providers(&mut self, now_ms: u64) {
        let mut left = VecDeque::new();
        while self.providers.under_way.len() < limits::PROVIDER_DIALS_MAX
            && let Some(dial) = self.providers.waiting.pop_front()
        {
            if self.peers.is_direct(&dial.peer) {
                continue;
            }
            if self.begun.is_recent(&dial.peer, now_ms) {
                left.push_back(dial);
                continue;
            }
            let options = self.dial_options(dial.peer, dial.addresses.clone());
            let id = options.connection_id();
            let known = self.peers.own_addresses(&dial.peer);
            let is_signalled = dial.addresses.iter().any(meganet_transport::is_signalled);
            let is_only_signalled = dial.addresses.iter().all(meganet_transport::is_signalled);
            let mut patience = limits::PROVIDER_DIAL_PATIENCE;
            if is_signalled && !is_only_signalled {
                // Signalling is for when the others do not answer.
                patience += limits::FALLBACK_AFTER;
            }
            let patience_ms = now_ms + patience.as_millis() as u64;
            if is_signalled && !dial.addresses.iter().any(|address| known.contains(address)) {
                // Without a direct path, or while it is not found, relays may carry what is wanted.
                let is_told = self.detours.is_told(&dial.peer, now_ms);
                let due_ms = if is_told { now_ms } else { patience_ms };
                self.detours.want(dial.peer, due_ms, dial.searchers.clone());
                if is_told && is_only_signalled {
                    continue;
                }
            }
            if self.begin(options).is_ok() {
                self.providers.going_on.insert(id, (dial.peer, dial.addresses.clone()));
                self.providers.under_way.insert(id, (patience_ms, dial));
            }
        }
        // They keep their turn.
        left.append(&mut self.providers.waiting);
        self.providers.waiting = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_dial_serves_all_searches_until_it_has_ended() {
        let mut dials = ProviderDials::default();
        let (searcher, _found) = mpsc::channel(1);
        let peer = PeerId::random();
        let [one, other]: [Multiaddr; 2] =
            ["/ip4/127.0.0.1/tcp/1", "/ip4/127.0.0.1/tcp/2"].map(|text| text.parse().unwrap());
        let ones = [one.clone()];
        assert!(!dials.is_left_to_another(&peer, &ones, &searcher));
        let dial = ProviderDial { peer, addresses: vec![one.clone()], searchers: vec![searcher.clone()] };
        dials.waiting.push_back(dial);
        for _ in 0..2 * limits::QUERIES_MAX {
            assert!(dials.is_left_to_another(&peer, &ones, &searcher));
        }
        assert!(!dials.is_left_to_another(&PeerId::random(), &ones, &searcher));
        assert!(!dials.is_left_to_another(&peer, &[one.clone(), other], &searcher), "it may be at the other one");
        let id = ConnectionId::new_unchecked(1);
        let dial = dials.waiting.pop_front().unwrap();
        assert_eq!(dial.searchers.len(), limits::QUERIES_MAX);
        dials.under_way.insert(id, (0, dial));
        dials.going_on.insert(id, (peer, vec![one]));
        assert!(dials.is_left_to_another(&peer, &ones, &searcher));
        dials.under_way.clear();
        assert!(dials.is_left_to_another(&peer, &ones, &searcher), "nobody waits for it, and it may still succeed");
        dials.ended(&id);
        assert!(!dials.is_left_to_another(&peer, &ones, &searcher));
    }
}
