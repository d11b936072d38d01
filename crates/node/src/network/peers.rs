//! Who this node is connected to, and at which addresses peers can be reached.

use crate::limits;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::Duration,
};

/// A connected peer, as others see it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub peer: PeerId,
    pub agent: String,
    pub address: Multiaddr,
    /// No direct connection: only a circuit through a relay.
    pub relayed: bool,
    pub rtt: Option<Duration>,
    /// Takes part in the DHT as a server.
    pub server: bool,
    /// Listen addresses on the very IP address the peer is connected from: they were seen to be the peer's.
    pub verified: Vec<Multiaddr>,
}

struct Entry {
    connections: Vec<(ConnectionId, Multiaddr, bool)>,
    agent: String,
    rtt: Option<Duration>,
    server: bool,
    verified: Vec<Multiaddr>,
}

/// Connected peers and the address book.
#[derive(Default)]
pub(crate) struct Peers {
    connected: HashMap<PeerId, Entry>,
    book: HashMap<PeerId, Vec<Multiaddr>>,
    /// Peers of the book, the least recently added first.
    order: VecDeque<PeerId>,
}

/// Whether an address goes through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

/// The first IP address in a multiaddr.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    })
}

/// Splits `…/p2p/PEER` into the peer and the address without that last part.
pub(crate) fn split_peer(mut address: Multiaddr) -> Option<(PeerId, Multiaddr)> {
    match address.pop()? {
        Protocol::P2p(peer) => Some((peer, address)),
        _ => None,
    }
}

impl Peers {
    /// Returns whether this is the peer's first direct connection.
    pub fn connected(&mut self, peer: PeerId, id: ConnectionId, address: Multiaddr) -> bool {
        let relayed = is_relayed(&address);
        let entry = self.connected.entry(peer).or_insert_with(|| Entry {
            connections: Vec::new(),
            agent: String::new(),
            rtt: None,
            server: false,
            verified: Vec::new(),
        });
        let first = !relayed && !entry.connections.iter().any(|(_, _, relayed)| !relayed);
        entry.connections.push((id, address, relayed));
        first
    }

    /// Returns whether the peer's last direct connection is gone.
    pub fn disconnected(&mut self, peer: PeerId, id: ConnectionId) -> bool {
        let Some(entry) = self.connected.get_mut(&peer) else { return false };
        let was_direct = entry.connections.iter().any(|(_, _, relayed)| !relayed);
        entry.connections.retain(|(connection, _, _)| *connection != id);
        let is_direct = entry.connections.iter().any(|(_, _, relayed)| !relayed);
        if entry.connections.is_empty() {
            self.connected.remove(&peer);
        }
        was_direct && !is_direct
    }

    /// What identify told: returns the addresses that are verified to be the peer's.
    pub fn identified(&mut self, peer: PeerId, agent: &str, server: bool, listen: &[Multiaddr]) -> Vec<Multiaddr> {
        let Some(entry) = self.connected.get_mut(&peer) else { return Vec::new() };
        entry.agent = agent.chars().filter(|c| !c.is_control()).take(limits::AGENT_MAX_CHARS).collect();
        entry.server = server;
        let seen: Vec<_> = entry
            .connections
            .iter()
            .filter(|(_, _, relayed)| !relayed)
            .filter_map(|(_, address, _)| ip_of(address))
            .collect();
        entry.verified = listen
            .iter()
            .filter(|address| !is_relayed(address) && ip_of(address).is_some_and(|ip| seen.contains(&ip)))
            .take(limits::ADDRESSES_PER_PEER_MAX)
            .cloned()
            .collect();
        entry.verified.clone()
    }

    pub fn measured(&mut self, peer: PeerId, rtt: Duration) {
        if let Some(entry) = self.connected.get_mut(&peer) {
            entry.rtt = Some(rtt);
        }
    }

    pub fn is_direct(&self, peer: &PeerId) -> bool {
        self.connected.get(peer).is_some_and(|entry| entry.connections.iter().any(|(_, _, relayed)| !relayed))
    }

    pub fn direct_count(&self) -> usize {
        self.connected.keys().filter(|peer| self.is_direct(peer)).count()
    }

    pub fn remember(&mut self, peer: PeerId, address: Multiaddr) {
        if !self.book.contains_key(&peer) {
            if self.book.len() >= limits::ADDRESS_BOOK_PEERS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.book.remove(&oldest);
            }
            self.order.push_back(peer);
        }
        let addresses = self.book.entry(peer).or_default();
        if !addresses.contains(&address) {
            addresses.truncate(limits::ADDRESSES_PER_PEER_MAX - 1);
            addresses.insert(0, address);
        }
    }

    pub fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.book.get(peer).cloned().unwrap_or_default()
    }

    pub fn list(&self) -> Vec<Peer> {
        self.connected
            .iter()
            .filter_map(|(peer, entry)| {
                let best = entry.connections.iter().min_by_key(|(_, _, relayed)| *relayed)?;
                Some(Peer {
                    peer: *peer,
                    agent: entry.agent.clone(),
                    address: best.1.clone(),
                    relayed: best.2,
                    rtt: entry.rtt,
                    server: entry.server,
                    verified: entry.verified.clone(),
                })
            })
            .collect()
    }
}
