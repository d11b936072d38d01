//! What a peer says of itself, and what of it the DHT is told.

use super::Task;
use crate::{
    limits::{self, protocol},
    network::peers::{self, Source},
};
use libp2p::{Multiaddr, PeerId, identify, relay};

/// Of a peer's addresses those that others are told: few and short enough that an answer with as many peers and providers as it
/// may name is still one that they read. Those that a tab can dial come first.
pub(crate) fn for_dht(mut addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let rank = |address: &Multiaddr| match address {
        _ if meganet_transport::is_signalled(address) => 1,
        _ if meganet_transport::is_websocket(address) => 2,
        _ if address.iter().any(|part| matches!(part, libp2p::multiaddr::Protocol::WebRTCDirect)) => 0,
        _ => 3,
    };
    addresses.sort_by_key(rank);
    let mut left = limits::DHT_ADDRESSES_MAX_BYTES;
    addresses.retain(|address| {
        let bytes = address.len() + limits::DHT_PEER_SUFFIX_BYTES;
        let fits = bytes <= left;
        left -= if fits { bytes } else { 0 };
        fits
    });
    addresses.truncate(limits::ADDRESSES_PER_PEER_MAX);
    addresses
}

impl Task {
    pub(super) fn on_identified(&mut self, peer: PeerId, info: identify::Info) {
        let server = info.protocols.contains(&protocol::KADEMLIA);
        let verified = self.peers.identified(peer, &info.agent_version, server, &info.listen_addrs);
        if server {
            let plain = |address: Multiaddr| peers::split_peer(address.clone()).map_or(address, |(_, plain)| plain);
            let plain = verified.into_iter().map(plain).filter(meganet_transport::can_dial);
            let told = for_dht(plain.collect());
            for address in &told {
                self.peers.remember(peer, address.clone(), Source::Verified);
            }
            self.route(peer, told);
        }
        if server && let Some(stun) = &self.stun {
            stun.set(self.peers.stun_servers());
        }
        if self.is_private() && info.protocols.contains(&relay::HOP_PROTOCOL_NAME) && self.peers.is_direct(&peer) {
            self.reservations.relay(peer, server);
            self.reserve();
        }
    }

    /// Where the routing table has a server from now on. What it had before and was not named again goes: Kademlia would keep it,
    /// and a peer that names others again and again would be all that its answers hold.
    fn route(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        if addresses.is_empty() {
            return;
        }
        let kademlia = &mut self.swarm.behaviour_mut().kademlia;
        for address in &addresses {
            kademlia.add_address(&peer, address.clone());
        }
        let mut stale = Vec::new();
        if let Some(bucket) = kademlia.kbucket(peer) {
            let of_peer = bucket.iter().filter(|entry| *entry.node.key.preimage() == peer);
            for known in of_peer.flat_map(|entry| entry.node.value.iter().cloned().collect::<Vec<_>>()) {
                let plain = peers::split_peer(known.clone()).map_or(known, |(_, plain)| plain);
                if !addresses.contains(&plain) {
                    stale.push(plain);
                }
            }
        }
        for address in stale {
            kademlia.remove_address(&peer, &address);
        }
    }
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
        addresses.push(webrtc.clone());
        let told = for_dht(addresses);
        assert_eq!(told.first(), Some(&webrtc));
        let bytes: usize = told.iter().map(|address| address.len() + limits::DHT_PEER_SUFFIX_BYTES).sum();
        assert!(told.len() > 3 && bytes <= limits::DHT_ADDRESSES_MAX_BYTES, "{} of {bytes} bytes", told.len());
        // As many as an answer may name: the closest and the providers, with what a message adds for each.
        let peers = 20 + limits::PROVIDERS_PER_SITE_MAX;
        let each = limits::DHT_ADDRESSES_MAX_BYTES + 2 * limits::ADDRESSES_PER_PEER_MAX + 50;
        assert!(peers * each < 16_384, "{}", peers * each);
    }
}
