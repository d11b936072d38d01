//! What a peer says of itself, and what of it the DHT is told.

use super::Task;
use crate::{
    limits::protocol,
    network::peers::{self, Source},
    records::{Records, for_dht},
};
use libp2p::{Multiaddr, PeerId, identify, kad, relay, swarm::ConnectionId};

impl Task {
    pub(super) fn on_identified(&mut self, peer: PeerId, id: ConnectionId, info: identify::Info) {
        // Over a circuit a peer names fewer protocols, and would no longer be taken for the server that it is.
        if self.peers.is_direct(&peer) && self.peers.relay_of_circuit(&peer, id).is_some() {
            return;
        }
        let server = info.protocols.contains(&protocol::KADEMLIA);
        let verified = self.peers.identified(peer, &info.agent_version, server, &info.listen_addrs);
        if server {
            let plain = |address: Multiaddr| peers::split_peer(address.clone()).map_or(address, |(_, plain)| plain);
            let plain: Vec<_> = verified.into_iter().map(plain).filter(meganet_transport::can_dial).collect();
            for address in &plain {
                self.peers.remember(peer, address.clone(), Source::Verified);
            }
            route(&mut self.swarm.behaviour_mut().kademlia, peer, &for_dht(plain));
        }
        if server && let Some(stun) = &self.stun {
            stun.set(self.peers.stun_servers());
        }
        if self.is_private() && info.protocols.contains(&relay::HOP_PROTOCOL_NAME) && self.peers.is_direct(&peer) {
            self.reservations.relay(peer, server);
            self.reserve();
        }
    }
}

/// Where the routing table has a server from now on. What it had before and was not named again goes: Kademlia would keep it, and
/// a peer that names others again and again would be all that its answers hold.
fn route(kademlia: &mut kad::Behaviour<Records>, peer: PeerId, addresses: &[Multiaddr]) {
    if addresses.is_empty() {
        return;
    }
    for address in addresses {
        kademlia.add_address(&peer, address.clone());
    }
    for known in routed(kademlia, peer) {
        let plain = peers::split_peer(known.clone()).map_or(known, |(_, plain)| plain);
        if !addresses.contains(&plain) {
            kademlia.remove_address(&peer, &plain);
        }
    }
}

/// Where the routing table has a peer.
fn routed(kademlia: &mut kad::Behaviour<Records>, peer: PeerId) -> Vec<Multiaddr> {
    let Some(bucket) = kademlia.kbucket(peer) else { return Vec::new() };
    let of_peer = bucket.iter().filter(|entry| *entry.node.key.preimage() == peer);
    of_peer.flat_map(|entry| entry.node.value.iter().cloned().collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_names_others_again_and_again_has_a_few_addresses_in_the_routing_table() {
        let (local, peer) = (PeerId::random(), PeerId::random());
        let mut kademlia = kad::Behaviour::new(local, Records::new(local));
        let mut last = Vec::new();
        for round in 1..100 {
            let named = (1..10).map(|port| format!("/ip4/192.0.2.1/tcp/{}", round * 10 + port).parse().unwrap());
            last = for_dht(named.collect());
            route(&mut kademlia, peer, &last);
        }
        let mut plain: Vec<_> =
            routed(&mut kademlia, peer).into_iter().map(|known| peers::split_peer(known).unwrap().1).collect();
        plain.sort();
        last.sort();
        assert!(plain == last && !plain.is_empty(), "{plain:?}");
        route(&mut kademlia, peer, &[]);
        assert_eq!(routed(&mut kademlia, peer).len(), last.len(), "who names none stays where it is");
    }
}
