//! What a peer says of itself, and what of it the DHT is told.

use super::Task;
use crate::{
    limits::{self, protocol},
    network::peers::{self, Source},
    records::Records,
};
use libp2p::{Multiaddr, PeerId, identify, kad, multiaddr::Protocol, relay};

/// Of a peer's addresses those that others are told: few and short enough that an answer with as many peers and providers as it
/// may name is still one that they read. One of each kind comes first, so that everybody finds one to dial.
pub(crate) fn for_dht(addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let mut of_kind = [0; 4];
    let mut ranked: Vec<_> = addresses
        .into_iter()
        .map(|address| {
            let kind = kind(&address);
            let count = of_kind.get_mut(kind).map_or(0, |count| std::mem::replace(count, *count + 1));
            (count, kind, address)
        })
        .collect();
    ranked.sort_by_key(|(count, kind, _)| (*count, *kind));
    let mut left = limits::DHT_ADDRESSES_MAX_BYTES;
    ranked.retain(|(_, _, address)| {
        let bytes = address.len() + limits::DHT_PEER_SUFFIX_BYTES;
        let fits = bytes <= left;
        left -= if fits { bytes } else { 0 };
        fits
    });
    ranked.into_iter().map(|(_, _, address)| address).take(limits::ADDRESSES_PER_PEER_MAX).collect()
}

/// Kinds of addresses, the ones that a tab can dial first.
fn kind(address: &Multiaddr) -> usize {
    match address {
        _ if meganet_transport::is_signalled(address) => 1,
        _ if meganet_transport::is_websocket(address) => 2,
        _ if address.iter().any(|part| matches!(part, Protocol::WebRTCDirect)) => 0,
        _ => 3,
    }
}

impl Task {
    pub(super) fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
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
    fn what_others_are_told_of_a_peer_is_short_and_what_a_tab_can_dial_comes_first() {
        let long = format!("/dns4/{}/tcp/1", "a".repeat(10_000));
        let mut addresses: Vec<Multiaddr> = vec![long.parse().unwrap()];
        addresses.extend((1..100).map(|port| format!("/ip4/192.0.2.1/tcp/{port}").parse::<Multiaddr>().unwrap()));
        let hash = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";
        let webrtc: Multiaddr = format!("/ip4/192.0.2.1/udp/1/webrtc-direct/certhash/{hash}").parse().unwrap();
        let websocket: Multiaddr = "/ip4/192.0.2.1/tcp/1/ws".parse().unwrap();
        addresses.extend(std::iter::repeat_n(webrtc.clone(), 10));
        addresses.push(websocket.clone());
        let told = for_dht(addresses);
        assert_eq!(told.first(), Some(&webrtc));
        assert!(told.contains(&websocket), "one of each kind: {told:?}");
        let bytes: usize = told.iter().map(|address| address.len() + limits::DHT_PEER_SUFFIX_BYTES).sum();
        assert!(told.len() > 3 && bytes <= limits::DHT_ADDRESSES_MAX_BYTES, "{} of {bytes} bytes", told.len());
        // As many as an answer may name: the closest and the providers, with what a message adds for each.
        let peers = 20 + limits::PROVIDERS_PER_SITE_MAX;
        let each = limits::DHT_ADDRESSES_MAX_BYTES + 2 * limits::ADDRESSES_PER_PEER_MAX + 50;
        assert!(peers * each < 16_384, "{}", peers * each);
    }

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
