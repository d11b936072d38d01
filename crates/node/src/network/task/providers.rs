//! Connecting to the providers that a search has found.

use super::Task;
use crate::{limits, network::peers, platform};
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
}

pub(super) struct ProviderDial {
    pub peer: PeerId,
    /// Taken when the provider was found: only then the query knows them.
    pub addresses: Vec<Multiaddr>,
    /// Held until the dial was tried: its end tells the searcher that nobody is missing any more.
    searcher: mpsc::Sender<PeerId>,
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
            addresses.truncate(limits::ADDRESSES_PER_PEER_MAX);
            if !addresses.is_empty() {
                self.providers.waiting.push_back(ProviderDial { peer, addresses, searcher: searcher.clone() });
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
        while self.providers.under_way.len() < limits::PROVIDER_DIALS_MAX
            && let Some(dial) = self.providers.waiting.pop_front()
        {
            if self.peers.is_direct(&dial.peer) {
                continue;
            }
            let options = self.dial_options(dial.peer, dial.addresses.clone());
            let id = options.connection_id();
            let patience_ms = now_ms + limits::PROVIDER_DIAL_PATIENCE.as_millis() as u64;
            if dial.addresses.iter().all(meganet_transport::is_signalled) {
                // Without a direct path, or while it is not found, relays may carry what is wanted.
                let is_told = self.detours.is_told(&dial.peer, now_ms);
                let due_ms = if is_told { now_ms } else { patience_ms };
                self.detours.want(dial.peer, due_ms, Some(dial.searcher.clone()));
                if is_told {
                    continue;
                }
            }
            if self.swarm.dial(options).is_ok() {
                self.providers.under_way.insert(id, (patience_ms, dial));
            }
        }
    }
}
