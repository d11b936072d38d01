//! Who this node is connected to, and at which addresses peers can be reached.

use super::{memory::Good, reach::Reach};
use crate::{gate, limits};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};
use meganet_transport::proto::address::Signalled;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
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
    /// Where this node dialled it, without `/p2p/PEER`.
    dialled: Vec<Multiaddr>,
    /// Where others may signal to it, as it says itself.
    signalled: Vec<Multiaddr>,
    /// It has a reservation at this node.
    is_reserved_here: bool,
    /// This node dialled it.
    is_chosen: bool,
}

impl Entry {
    fn is_direct(&self) -> bool {
        self.connections.iter().any(|(_, _, relayed)| !relayed)
    }
}

/// Where an address of the book comes from; the first is worth most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// This node dialled it, or was told to by its user.
    Own,
    /// The peer named it, and is connected from the same IP address.
    Verified,
    /// Others named it.
    Hearsay,
}

/// Connected peers and the address book.
#[derive(Default)]
pub(crate) struct Peers {
    connected: HashMap<PeerId, Entry>,
    /// Up to [`limits::ADDRESSES_PER_PEER_MAX`] of each peer, by their worth.
    book: HashMap<PeerId, Vec<(Source, Multiaddr)>>,
    /// Peers of the book, the least recently added first.
    order: VecDeque<PeerId>,
    reach: Reach,
}

pub(crate) use meganet_transport::signalling::is_relayed;

/// Whether a relay is needed to reach an address, be it for signalling alone.
fn goes_through_a_relay(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

/// The IP address that a multiaddr begins with, if that is its only host: of several it is for each transport to say which it dials.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    let mut hosts = address.iter().take_while(|part| !matches!(part, Protocol::P2pCircuit)).filter(is_host);
    match (address.iter().next(), hosts.next(), hosts.next()) {
        (Some(Protocol::Ip4(ip)), Some(_), None) => Some(IpAddr::V4(ip)),
        (Some(Protocol::Ip6(ip)), Some(_), None) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

fn is_host(part: &Protocol<'_>) -> bool {
    let is_name = matches!(part, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_));
    is_name || matches!(part, Protocol::Ip4(_) | Protocol::Ip6(_))
}

/// How far an address reaches; a wider one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Multicast, unspecified, documentation: nobody is reached there.
    Nobody,
    Loopback,
    /// Private, link-local, or shared by a provider's NAT.
    Private,
    Global,
}

/// The scope of a multiaddr's IP address; `None` for names and circuits.
pub(crate) fn scope_of(address: &Multiaddr) -> Option<Scope> {
    if goes_through_a_relay(address) {
        return None;
    }
    ip_of(address).map(scope_of_ip)
}

pub(super) fn scope_of_ip(ip: IpAddr) -> Scope {
    match ip {
        IpAddr::V4(ip) => match ip.octets() {
            _ if ip.is_loopback() => Scope::Loopback,
            [0 | 224..=255, ..] => Scope::Nobody,
            [100, 64..=127, ..] => Scope::Private,
            _ if ip.is_private() || ip.is_link_local() => Scope::Private,
            _ => Scope::Global,
        },
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(_) => Scope::Nobody,
            None if ip.is_loopback() => Scope::Loopback,
            None if ip.is_multicast() || ip.is_unspecified() => Scope::Nobody,
            None if ip.is_unique_local() || ip.is_unicast_link_local() => Scope::Private,
            None => Scope::Global,
        },
    }
}

/// Splits `…/p2p/PEER` into the peer and the address without that last part.
pub(crate) fn split_peer(mut address: Multiaddr) -> Option<(PeerId, Multiaddr)> {
    match address.pop()? {
        Protocol::P2p(peer) => Some((peer, address)),
        _ => None,
    }
}

/// A peer's address without the peer at its end.
fn plain_of(peer: PeerId, address: &Multiaddr) -> Multiaddr {
    match split_peer(address.clone()) {
        Some((named, plain)) if named == peer => plain,
        _ => address.clone(),
    }
}

impl Peers {
    pub fn new(reach: Reach) -> Self {
        Self { reach, ..Self::default() }
    }

    /// Returns whether this is the peer's first direct connection.
    pub fn connected(&mut self, peer: PeerId, id: ConnectionId, address: Multiaddr, relayed: bool) -> bool {
        let entry = self.connected.entry(peer).or_insert_with(|| Entry {
            connections: Vec::new(),
            agent: String::new(),
            rtt: None,
            server: false,
            verified: Vec::new(),
            dialled: Vec::new(),
            signalled: Vec::new(),
            is_reserved_here: false,
            is_chosen: false,
        });
        let first = !relayed && !entry.connections.iter().any(|(_, _, relayed)| !relayed);
        entry.connections.push((id, address, relayed));
        first
    }

    /// This node dialled a connected peer.
    pub fn chosen(&mut self, peer: &PeerId) {
        if let Some(entry) = self.connected.get_mut(peer) {
            entry.is_chosen = true;
        }
    }

    /// Whether this node dialled a connected peer.
    pub fn is_chosen(&self, peer: &PeerId) -> bool {
        self.connected.get(peer).is_some_and(|entry| entry.is_chosen)
    }

    /// This node reached a connected peer there.
    pub fn dialled(&mut self, peer: &PeerId, address: Multiaddr) {
        if let Some(entry) = self.connected.get_mut(peer)
            && !entry.dialled.contains(&address)
        {
            entry.dialled.insert(0, address);
            entry.dialled.truncate(limits::ADDRESSES_PER_PEER_MAX);
        }
    }

    /// Directly connected servers, where they can be dialled again after a restart, and whether this node did dial them. A
    /// `/webrtc` address is none of that: it is good as long as its relay is, which is remembered itself.
    pub fn good(&self) -> Vec<Good> {
        let servers = self.connected.iter().filter(|(_, entry)| entry.server && entry.is_direct());
        let good = |(peer, entry): (&PeerId, &Entry)| {
            let mut addresses = entry.dialled.clone();
            for address in &entry.verified {
                let plain = plain_of(*peer, address);
                if meganet_transport::can_dial(&plain) && !addresses.contains(&plain) {
                    addresses.push(plain);
                }
            }
            Good { peer: *peer, addresses, is_dialled: !entry.dialled.is_empty() }
        };
        servers.map(good).filter(|good| !good.addresses.is_empty()).collect()
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
            .filter(|address| !goes_through_a_relay(address) && ip_of(address).is_some_and(|ip| seen.contains(&ip)))
            .take(limits::ADDRESSES_PER_PEER_MAX)
            .cloned()
            .collect();
        let is_circuit = |address: &Multiaddr| meganet_transport::is_signalled(address) && address.iter().count() > 1;
        entry.signalled = listen
            .iter()
            .map(|address| plain_of(peer, address))
            .filter(is_circuit)
            .take(limits::ADDRESSES_PER_PEER_MAX / 2)
            .collect();
        entry.verified.clone()
    }

    /// A peer was given a reservation here, or it ended.
    pub fn reserved_here(&mut self, peer: &PeerId, is_reserved_here: bool) {
        if let Some(entry) = self.connected.get_mut(peer) {
            entry.is_reserved_here = is_reserved_here;
        }
    }

    /// Whether a peer has a reservation here.
    pub fn is_reserved_here(&self, peer: &PeerId) -> bool {
        self.connected.get(peer).is_some_and(|entry| entry.is_reserved_here)
    }

    /// Directly connected peers and where others can reach them, `local` being this node: at addresses that were seen to be
    /// theirs, through relays that they name, and through this node.
    pub fn reachable(&self, local: PeerId) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let through_here = Multiaddr::empty()
            .with(Protocol::WebRTC)
            .with(Protocol::P2p(local))
            .with(Protocol::P2pCircuit)
            .with(Protocol::WebRTC);
        let addresses = |entry: &Entry| {
            let here = entry.is_reserved_here.then(|| through_here.clone());
            let all = here.into_iter().chain(entry.verified.iter().cloned()).chain(entry.signalled.iter().cloned());
            all.take(limits::ADDRESSES_PER_PEER_MAX).collect::<Vec<_>>()
        };
        let direct = self.connected.iter().filter(|(_, entry)| entry.is_direct());
        direct.map(|(peer, entry)| (*peer, addresses(entry))).filter(|(_, addresses)| !addresses.is_empty()).collect()
    }

    /// Directly connected peers, and whether each is a server.
    pub fn direct(&self) -> impl Iterator<Item = (&PeerId, bool)> {
        self.connected.iter().filter(|(_, entry)| entry.is_direct()).map(|(peer, entry)| (peer, entry.server))
    }

    /// Where a connected server listens for WebSocket, as far as it may be dialled there.
    pub fn websockets(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let Some(entry) = self.connected.get(peer).filter(|entry| entry.server) else { return Vec::new() };
        let plain = |address: Multiaddr| split_peer(address.clone()).map_or(address, |(_, plain)| plain);
        // What others say of it is nothing to open one connection more for.
        let mut addresses = self.own_addresses(peer);
        addresses.extend(entry.verified.iter().cloned().map(plain));
        let usable = |address: &Multiaddr| {
            meganet_transport::is_websocket(address) && meganet_transport::can_dial(address) && self.may_dial(address)
        };
        addresses.retain(usable);
        addresses.sort();
        addresses.dedup();
        addresses
    }

    /// The circuits to a peer; their addresses name the relays.
    pub fn circuits(&self, peer: &PeerId) -> Vec<(ConnectionId, Multiaddr)> {
        let connections = self.connected.get(peer).into_iter().flat_map(|entry| &entry.connections);
        connections.filter(|(_, _, relayed)| *relayed).map(|(id, address, _)| (*id, address.clone())).collect()
    }

    /// The relay of a circuit to a peer.
    pub fn relay_of_circuit(&self, peer: &PeerId, id: ConnectionId) -> Option<PeerId> {
        let (_, address) = self.circuits(peer).into_iter().find(|(circuit, _)| *circuit == id)?;
        meganet_transport::signalling::relay_of(&address)
    }

    /// Whether a peer has a direct connection other than this one; `false` while this one is not established.
    pub fn has_another(&self, peer: &PeerId, id: ConnectionId) -> bool {
        let Some(entry) = self.connected.get(peer) else { return false };
        let is_other = |(other, _, relayed): &(ConnectionId, Multiaddr, bool)| *other != id && !relayed;
        entry.connections.iter().any(|(other, ..)| *other == id) && entry.connections.iter().any(is_other)
    }

    /// How many directly connected peers are no servers. Of those that came by themselves half as many as are wanted count: who
    /// surrounds this node must not end its search.
    pub fn neighbours(&self) -> usize {
        let tabs = self.connected.values().filter(|entry| entry.is_direct() && !entry.server);
        let (chosen, came): (Vec<_>, Vec<_>) = tabs.partition(|entry| entry.is_chosen);
        chosen.len() + came.len().min(limits::NEIGHBOURS_WANTED / 2)
    }

    /// UDP addresses of connected servers' `webrtc-direct` listeners: each answers STUN there. One of each host, for only a few of
    /// them are asked: a peer with several ports would be all that this node hears of its own address. Loopback is exempt.
    pub fn stun_servers(&self) -> Vec<SocketAddr> {
        let socket = |address: &Multiaddr| {
            let is_webrtc = address.iter().any(|part| matches!(part, Protocol::WebRTCDirect));
            let port =
                address.iter().find_map(|part| if let Protocol::Udp(port) = part { Some(port) } else { None })?;
            is_webrtc.then_some(SocketAddr::new(ip_of(address)?, port))
        };
        let mut hosts = HashSet::new();
        let mut is_another = |address: &Multiaddr| gate::host(address).is_none_or(|host| hosts.insert(host));
        let servers = self.connected.values().filter(|entry| entry.server);
        let verified = servers.flat_map(|entry| &entry.verified);
        verified.filter_map(|address| socket(address).filter(|_| is_another(address))).collect()
    }

    pub fn measured(&mut self, peer: PeerId, rtt: Duration) {
        if let Some(entry) = self.connected.get_mut(&peer) {
            entry.rtt = Some(rtt);
        }
    }

    pub fn is_direct(&self, peer: &PeerId) -> bool {
        self.connected.get(peer).is_some_and(Entry::is_direct)
    }

    pub fn direct_count(&self) -> usize {
        self.direct().count()
    }

    /// Whether an address that a stranger named may be dialled: a public one, or one of a local network that this node went
    /// into by itself: whoever comes from there has chosen it. Otherwise anybody could make this node knock at the doors of its own network (threats 48).
    pub fn may_dial(&self, address: &Multiaddr) -> bool {
        if meganet_transport::is_signalled(address) {
            // What is dialled is the relay: one that is connected, or one that may be dialled itself.
            let mut relay = address.clone();
            relay.pop();
            let Some(relay) = Signalled::relay_of(&relay) else { return false };
            return match split_peer(relay) {
                // Without an address it is used while it is connected. One that has any may be gone when it is needed, and would be
                // dialled there.
                Some((peer, plain)) if plain == Multiaddr::empty().with(Protocol::WebRTC) => self.is_direct(&peer),
                Some((peer, plain)) => self.may_dial(&plain) || self.own_addresses(&peer).contains(&plain),
                None => false,
            };
        }
        scope_of(address).is_some_and(|scope| self.reach.allows_scope(scope))
    }

    /// Notes where a peer may be. Hearsay takes the place of other hearsay only.
    pub fn remember(&mut self, peer: PeerId, address: Multiaddr, source: Source) {
        if !self.book.contains_key(&peer) {
            if self.book.len() >= limits::ADDRESS_BOOK_PEERS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.book.remove(&oldest);
            }
            self.order.push_back(peer);
        }
        let addresses = self.book.entry(peer).or_default();
        if let Some(place) = addresses.iter().position(|(_, known)| *known == address) {
            if addresses.get(place).is_some_and(|(known, _)| *known < source) {
                return;
            }
            addresses.remove(place);
        }
        if source == Source::Hearsay {
            if addresses.len() >= limits::ADDRESSES_PER_PEER_MAX {
                addresses.pop_if(|(known, _)| *known == Source::Hearsay);
            }
            addresses.push((source, address));
        } else {
            let place = addresses.partition_point(|(known, _)| *known < source);
            addresses.insert(place, (source, address));
        }
        addresses.truncate(limits::ADDRESSES_PER_PEER_MAX);
    }

    /// Nobody answered there.
    pub fn forget(&mut self, peer: &PeerId, address: &Multiaddr) {
        if let Some(addresses) = self.book.get_mut(peer) {
            addresses.retain(|(_, known)| known != address);
        }
    }

    /// None of the relays that were named reaches it.
    pub fn forget_signalled(&mut self, peer: &PeerId) {
        if let Some(addresses) = self.book.get_mut(peer) {
            addresses.retain(|(_, known)| !meganet_transport::is_signalled(known));
        }
    }

    /// Where a peer may be, as far as the book knows; the best first.
    pub fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.book.get(peer).into_iter().flatten().map(|(_, address)| address.clone()).collect()
    }

    /// The same without hearsay.
    pub fn own_addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let known = self.book.get(peer).into_iter().flatten();
        known.filter(|(source, _)| *source != Source::Hearsay).map(|(_, address)| address.clone()).collect()
    }

    /// Where to dial a peer that a query found: where this node knows it to be, then what the query says, then hearsay.
    pub fn with_found(&self, peer: &PeerId, found: Vec<Multiaddr>) -> Vec<Multiaddr> {
        let mut addresses = self.own_addresses(peer);
        for address in found.into_iter().chain(self.addresses(peer)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn case_48_a_stranger_cannot_make_this_node_dial_into_its_own_network() {
        let mut peers = Peers::default();
        let (global, private, loopback) =
            (address("/ip4/1.2.3.4/udp/1/quic-v1"), address("/ip4/192.168.1.1/tcp/22"), address("/ip6/::1/tcp/22"));
        assert!(peers.may_dial(&global) && !peers.may_dial(&private) && !peers.may_dial(&loopback));
        for nobody in ["/ip4/224.0.0.1/udp/1", "/ip4/0.0.0.0/udp/1", "/ip4/255.255.255.255/udp/1", "/ip6/ff02::1/udp/1"]
        {
            assert!(!peers.may_dial(&address(nobody)), "{nobody}");
        }
        // A transport may take another part for the host than the first.
        for two in ["/ip4/1.2.3.4/ip4/192.168.1.1/tcp/22", "/ip4/1.2.3.4/dns4/router.local/tcp/80/ws"] {
            assert!(!peers.may_dial(&address(two)), "{two}");
        }
        let relay = PeerId::random();
        peers.connected(relay, ConnectionId::new_unchecked(1), address("/ip4/192.168.1.7/tcp/1"), false);
        for (at, is_good) in [
            ("/webrtc", true),
            ("/ip4/1.2.3.4/udp/1/quic-v1", true),
            ("/ip4/192.168.1.1/tcp/22", false),
            ("/ip4/1.2.3.4/ip4/192.168.1.1/tcp/22", false),
            ("/dns4/router.local/tcp/80/ws", false),
        ] {
            let through = address(&format!("{at}/p2p/{relay}/p2p-circuit/webrtc"));
            assert_eq!(peers.may_dial(&through), is_good, "{through}");
        }
        assert!(!peers.may_dial(&private), "who comes from there has chosen it");
        peers.reach.trust(&address("/ip4/192.168.1.7/tcp/1"));
        assert!(peers.may_dial(&private) && !peers.may_dial(&loopback), "in a local network its peers are met");
    }

    #[test]
    fn hearsay_comes_last_and_takes_no_place_of_what_this_node_knows() {
        let (mut peers, peer) = (Peers::default(), PeerId::random());
        let at = |port: usize| address(&format!("/ip4/1.2.3.4/udp/{port}/quic-v1"));
        let (own, verified, found) = (at(9_000), at(9_001), at(9_002));
        peers.remember(peer, own.clone(), Source::Own);
        for port in 1..100 {
            peers.remember(peer, at(port), Source::Hearsay);
        }
        peers.remember(peer, own.clone(), Source::Hearsay);
        peers.remember(peer, verified.clone(), Source::Verified);
        let known = peers.addresses(&peer);
        assert_eq!(
            (known.len(), &known[..3]),
            (limits::ADDRESSES_PER_PEER_MAX, &[own.clone(), verified.clone(), at(1)][..])
        );
        assert_eq!(peers.own_addresses(&peer), [own.clone(), verified.clone()]);
        let dialled = peers.with_found(&peer, vec![found.clone(), own.clone()]);
        assert_eq!(dialled[..4], [own.clone(), verified, found, at(1)]);
        for port in 200..300 {
            peers.remember(peer, at(port), Source::Own);
        }
        peers.remember(peer, at(1), Source::Hearsay);
        let known = peers.addresses(&peer);
        assert_eq!((known.len(), &known[0]), (limits::ADDRESSES_PER_PEER_MAX, &at(299)));
        assert_eq!(known, peers.own_addresses(&peer), "full of what this node dialled");
    }

    #[test]
    fn no_host_is_more_than_one_of_the_stun_servers() {
        let mut peers = Peers::default();
        let mut serves = |number: usize, host: &str, ports: std::ops::Range<u16>| {
            let peer = PeerId::random();
            let at = |port: u16| address(&format!("{host}/udp/{port}/webrtc-direct"));
            peers.connected(peer, ConnectionId::new_unchecked(number), at(9), false);
            peers.identified(peer, "", true, &ports.map(at).collect::<Vec<_>>());
            let mut found: Vec<_> = peers.stun_servers().into_iter().map(|socket| socket.to_string()).collect();
            found.sort();
            found
        };
        assert_eq!(serves(1, "/ip4/1.2.3.4", 1..9), ["1.2.3.4:1"]);
        assert_eq!(serves(2, "/ip4/5.6.7.8", 7..8), ["1.2.3.4:1", "5.6.7.8:7"]);
        assert_eq!(serves(3, "/ip4/5.6.7.8", 7..8), ["1.2.3.4:1", "5.6.7.8:7"], "whoever it says it is");
        assert_eq!(serves(4, "/ip6/2a00::1", 1..2).len(), 3);
        assert_eq!(serves(5, "/ip6/2a00::2", 1..2).len(), 3, "an IPv6 host has many addresses");
        assert_eq!(serves(6, "/ip4/127.0.0.1", 1..3).len(), 5, "loopback is exempt");
    }

    #[test]
    fn no_websocket_is_opened_to_where_hearsay_says() {
        let (mut peers, peer) = (Peers::default(), PeerId::random());
        let (own, heard) = (address("/ip4/1.2.3.4/tcp/1/ws"), address("/ip4/5.6.7.8/tcp/1/ws"));
        peers.connected(peer, ConnectionId::new_unchecked(1), address("/ip4/1.2.3.4/udp/1/quic-v1"), false);
        peers.identified(peer, "", true, &[]);
        peers.remember(peer, heard, Source::Hearsay);
        assert_eq!(peers.websockets(&peer), []);
        peers.remember(peer, own.clone(), Source::Own);
        assert_eq!(peers.websockets(&peer), [own]);
    }
}
