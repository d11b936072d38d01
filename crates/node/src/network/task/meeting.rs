//! How peers that cannot be dialled meet: reservations at relays, peers that others know, connections between tabs.

use super::{Fallback, Task};
use crate::{
    config::Role,
    limits,
    network::{
        announcements::What,
        peers::{Scope, Source, scope_of},
        reach::with_one_webrtc_direct,
    },
    platform,
};
use libp2p::{
    Multiaddr, PeerId,
    kad::{self, store::RecordStore},
    multiaddr::Protocol,
    swarm::{
        DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use meganet_core::{
    limits::{PEER_LIST_ADDRESS_MAX_BYTES, PEER_LIST_MAX_PEERS},
    peer_list::PeerEntry,
};
use std::{borrow::Cow, collections::VecDeque};

impl Task {
    /// How to connect directly to a peer that is not connected so: WebSocket is for when the others do not answer, and signalling
    /// for when nothing else does. Of what others say of a peer nothing keeps this node from signalling: it is left out only where
    /// an address is known to be theirs.
    pub(super) fn dial_options(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) -> DialOpts {
        let (mut signalled, others): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(meganet_transport::is_signalled);
        let known = self.peers.own_addresses(&peer);
        if others.iter().any(|address| known.contains(address)) {
            signalled.clear();
        }
        let (websocket, mut direct): (Vec<_>, Vec<_>) = others.into_iter().partition(meganet_transport::is_websocket);
        if self.role == Role::Tab {
            direct = with_one_webrtc_direct(direct, &known);
        }
        let routes = self.swarm.behaviour().signalling.routes().clone();
        // The newest route comes first.
        let routes =
            signalled.into_iter().rev().filter_map(|address| routes.learn(&address.with(Protocol::P2p(peer))).ok());
        let mut signalled: Vec<_> = routes.collect();
        signalled.dedup();
        let mut ways = [direct, websocket, signalled].into_iter().filter(|addresses| !addresses.is_empty());
        let now = ways.next().unwrap_or_default();
        self.fall_back_later(peer, ways.collect());
        // There may be a relayed connection, or a dial to an address of before a restart: neither must hold this one up.
        DialOpts::peer_id(peer).addresses(now).condition(PeerCondition::Always).build()
    }

    /// Begins a dial to a direct connection.
    pub(super) fn begin(&mut self, options: DialOpts) -> Result<(), DialError> {
        let (id, peer) = (options.connection_id(), options.get_peer_id());
        self.swarm.dial(options)?;
        if let Some(peer) = peer {
            self.begun.begun(id, peer, platform::monotonic_ms());
        }
        Ok(())
    }

    /// Remembers what else to try if nothing came of a dial: UDP may be blocked, or nobody be where others said.
    fn fall_back_later(&mut self, peer: PeerId, ways: VecDeque<Vec<Multiaddr>>) {
        if ways.is_empty() {
            return;
        }
        self.fallbacks.retain(|fallback| fallback.peer != peer);
        if self.fallbacks.len() < limits::FALLBACKS_MAX {
            let at_ms = platform::monotonic_ms() + limits::FALLBACK_AFTER.as_millis() as u64;
            self.fallbacks.push(Fallback { peer, ways, at_ms });
        }
    }

    /// A dial failed: its fallback need not wait.
    pub(super) fn fall_back_now(&mut self, peer: &PeerId) {
        self.fallbacks.iter_mut().filter(|fallback| fallback.peer == *peer).for_each(|fallback| fallback.at_ms = 0);
    }

    pub(super) fn dial_fallbacks(&mut self, now_ms: u64) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.fallbacks).into_iter().partition(|fallback| fallback.at_ms <= now_ms);
        self.fallbacks = later;
        for Fallback { peer, mut ways, .. } in due {
            let Some(addresses) = ways.pop_front().filter(|_| !self.peers.is_direct(&peer)) else { continue };
            self.fall_back_later(peer, ways);
            let options = DialOpts::peer_id(peer).addresses(addresses.clone()).condition(PeerCondition::Always).build();
            let id = options.connection_id();
            if self.begin(options).is_ok() {
                tracing::info!(%peer, "no answer: trying what else is known");
                self.fallback_started(id, peer, addresses);
            }
        }
    }

    /// Whom this node is connected to, and where others reach them.
    pub(super) fn known_peers(&self, to: PeerId) -> Vec<PeerEntry> {
        let known = self.peers.reachable(*self.swarm.local_peer_id());
        let known = known.into_iter().filter(|(peer, _)| *peer != to).take(PEER_LIST_MAX_PEERS);
        let text = |address: &Multiaddr| address.to_string();
        let fits = |address: &String| address.len() <= PEER_LIST_ADDRESS_MAX_BYTES;
        let entry = |(peer, addresses): (PeerId, Vec<Multiaddr>)| PeerEntry {
            peer_id: peer.to_bytes(),
            addresses: addresses.iter().map(text).filter(fits).collect(),
        };
        known.map(entry).collect()
    }

    /// What a peer says is hearsay: its addresses are kept within the usual rules, and nobody is believed to be anybody.
    pub(super) fn learn_peers(&mut self, from: PeerId, known: Vec<PeerEntry>) {
        for PeerEntry { peer_id, addresses } in known {
            let Ok(peer) = PeerId::from_bytes(&peer_id) else { continue };
            if peer == *self.swarm.local_peer_id() || self.peers.is_direct(&peer) {
                continue;
            }
            let addresses = addresses.iter().filter_map(|text| text.parse::<Multiaddr>().ok());
            let usable: Vec<_> = addresses
                .filter(|address| meganet_transport::can_dial(address) && self.peers.may_dial(address))
                .collect();
            tracing::debug!(%peer, %from, usable = usable.len(), "told of a peer");
            for address in &usable {
                self.peers.remember(peer, address.clone(), Source::Hearsay);
            }
            if usable.iter().any(meganet_transport::is_signalled) {
                self.neighbours.told_of(peer, from);
            }
        }
    }

    pub(super) fn dial_neighbour(&mut self, now_ms: u64) {
        if self.role != Role::Tab {
            return;
        }
        let connected = self.peers.neighbours();
        let (peers, begun) = (&self.peers, &self.begun);
        let (is_direct, is_dialled) =
            (|peer: &PeerId| peers.is_direct(peer), |peer: &PeerId| begun.is_recent(peer, now_ms));
        let Some(peer) = self.neighbours.next(connected, now_ms, is_direct, is_dialled) else { return };
        let mut addresses = self.peers.addresses(&peer);
        addresses.retain(|address| meganet_transport::can_dial(address) && self.peers.may_dial(address));
        if addresses.iter().any(meganet_transport::is_signalled)
            && addresses.iter().any(|address| scope_of(address).is_some() && !meganet_transport::is_websocket(address))
        {
            self.neighbours.costs_another();
        }
        if !addresses.is_empty() {
            let options = self.dial_options(peer, addresses);
            let _ = self.begin(options);
        }
    }

    /// Whether others need a relay's help to reach this node, as far as it can know.
    pub(super) fn is_private(&self) -> bool {
        match self.role {
            Role::Tab => true,
            Role::Native => !self.swarm.external_addresses().any(|address| scope_of(address) == Some(Scope::Global)),
            Role::Bootstrap | Role::ShortLived => false,
        }
    }

    /// Asks relays for reservations, so that others can signal to this node through them.
    pub(super) fn reserve(&mut self) {
        while let Some(relay) = self.reservations.next() {
            let is_own = |address: &Multiaddr| scope_of(address).is_some() && !meganet_transport::is_signalled(address);
            // A private relay is connected, or it would not be asked; its connection is named by this address.
            let address = self.peers.addresses(&relay).into_iter().find(is_own);
            let address = address.unwrap_or_else(|| Multiaddr::empty().with(Protocol::WebRTC));
            match self.swarm.listen_on(address.with(Protocol::P2p(relay)).with(Protocol::P2pCircuit)) {
                Ok(id) => self.reservations.asked(id, relay),
                Err(error) => {
                    tracing::debug!(%relay, %error, "no reservation");
                    self.reservations.cannot_ask(relay);
                }
            }
        }
    }

    /// Announces again what reached nobody.
    pub(super) fn announce_again(&mut self, now_ms: u64) {
        for (key, what) in self.announcements.due(now_ms) {
            let kademlia = &mut self.swarm.behaviour_mut().kademlia;
            match what {
                What::Provider => _ = kademlia.start_providing(key),
                // Without a record any more it was withdrawn, or its site forgotten.
                What::Record => {
                    if let Some(record) = kademlia.store_mut().get(&key).map(Cow::into_owned) {
                        let _ = kademlia.put_record(record, kad::Quorum::All);
                    }
                }
            }
        }
    }
}
