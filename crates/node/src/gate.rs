//! Who may connect: a gate by IP address, because peer ids are free and addresses are not.

use crate::{limits, network::Unreachable, platform};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};
use meganet_transport::{
    Error,
    proto::address::Signalled,
    signalling::{Hosts, Way, is_relayed},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    convert::Infallible,
    net::IpAddr,
    task::{Context, Poll},
};

const HOUR_MS: u64 = 3_600_000;

/// Counts connections by IP address and turns away peers that were banned.
#[derive(Default)]
pub struct Gate {
    by_connection: HashMap<ConnectionId, (Group, Holder)>,
    by_group: HashMap<Group, HashMap<Holder, usize>>,
    banned: HashSet<PeerId>,
    lookups: Option<LookupDials>,
    /// Where `/webrtc` connections lead.
    hosts: Hosts,
}

/// Connections that lookups begin: to whomever they hear of, where a tab has few to begin.
struct LookupDials {
    per_hour: usize,
    /// Monotonic ms.
    begun: VecDeque<u64>,
    unreachable: Unreachable,
    /// Direct connections.
    direct: HashMap<ConnectionId, PeerId>,
}

impl LookupDials {
    fn new(per_hour: usize) -> Self {
        Self { per_hour, begun: VecDeque::new(), unreachable: Unreachable::default(), direct: HashMap::new() }
    }

    /// A dial failed. That says nothing of a peer that is connected, of one behind a relay that failed, or while nobody is
    /// connected: this node may be offline.
    fn failed<'a>(&mut self, peer: PeerId, addresses: impl Iterator<Item = &'a Multiaddr>, now_ms: u64) {
        let mut addresses = addresses.filter(|address| !is_relayed(address)).cloned().peekable();
        let says_nothing = self.direct.is_empty() || self.direct.values().any(|direct| *direct == peer);
        if !says_nothing && addresses.peek().is_some() {
            self.unreachable.failed(peer, addresses, now_ms);
        }
    }

    fn connected(&mut self, id: ConnectionId, peer: PeerId) {
        self.unreachable.reached(&peer);
        self.direct.insert(id, peer);
    }

    fn take(&mut self, peer: Option<PeerId>, now_ms: u64) -> Result<(), ConnectionDenied> {
        self.begun.retain(|at| now_ms.saturating_sub(*at) < HOUR_MS);
        let is_silent = peer.is_some_and(|peer| self.unreachable.is_silent(&peer, now_ms));
        if is_silent || self.begun.len() >= self.per_hour {
            return Err(ConnectionDenied::new(Denied::Lookups));
        }
        self.begun.push_back(now_ms);
        Ok(())
    }
}

/// What is counted together. An IPv6 host has a whole /64, so that counts as one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Group {
    PendingInbound(IpAddr),
    Inbound(IpAddr),
    /// `/webrtc` peers whose host nobody knows.
    InboundHidden,
    OutboundSubnet(IpAddr),
}

impl Group {
    fn max(self) -> usize {
        match self {
            Group::PendingInbound(_) => limits::PENDING_PER_IP_MAX,
            Group::Inbound(_) => limits::CONNECTIONS_PER_IP_MAX,
            Group::InboundHidden => limits::CONNECTIONS_HIDDEN_MAX,
            Group::OutboundSubnet(_) => limits::OUTBOUND_PER_SUBNET_MAX,
        }
    }

    fn denied(self) -> Denied {
        match self {
            Group::PendingInbound(_) | Group::Inbound(_) => Denied::PerIp,
            Group::InboundHidden => Denied::Hidden,
            Group::OutboundSubnet(_) => Denied::PerSubnet,
        }
    }
}

/// What takes a place in a group. A peer's second connection beside the first, which a long transfer may open, takes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    /// Nobody knows yet whose it is.
    Connection(ConnectionId),
    Peer(PeerId),
}

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error("too many connections from this address")]
    PerIp,
    #[error("too many connections of peers whose address the browser does not tell")]
    Hidden,
    #[error("too many connections into this network")]
    PerSubnet,
    #[error(
        "it did not answer just now, or lookups began many connections within an hour: they go on with who is connected"
    )]
    Lookups,
    #[error("the peer was banned for this session")]
    Banned,
}

impl Gate {
    /// With a bound on the connections that lookups begin in an hour, and the hosts of `/webrtc` connections.
    pub fn new(lookup_dials_per_hour: Option<usize>, hosts: Hosts) -> Self {
        let lookups = lookup_dials_per_hour.map(LookupDials::new);
        Self { lookups, hosts, ..Self::default() }
    }

    /// Whether a tab need not try a peer at this address now.
    pub fn is_silent_at(&self, peer: &PeerId, address: &Multiaddr) -> bool {
        let now_ms = platform::monotonic_ms();
        self.lookups.as_ref().is_some_and(|lookups| lookups.unreachable.is_silent_at(peer, address, now_ms))
    }

    /// Refuses this peer until the node restarts. The table is bounded; when it is full the newest ban is not remembered.
    pub fn ban(&mut self, peer: PeerId) {
        if self.banned.len() < limits::BANNED_PEERS_MAX {
            self.banned.insert(peer);
        }
    }

    pub fn is_banned(&self, peer: &PeerId) -> bool {
        self.banned.contains(peer)
    }

    fn check_peer(&self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        if self.is_banned(peer) { Err(ConnectionDenied::new(Denied::Banned)) } else { Ok(()) }
    }

    /// The IP address at the other end of an established connection; `None` where none is counted. That of a `/webrtc` connection
    /// is where it turned out to lead.
    fn ip_at(&self, peer: &PeerId, address: &Multiaddr) -> Option<IpAddr> {
        if Signalled::parse(address).is_ok() { self.hosts.of(peer).and_then(counted) } else { ip_of(address) }
    }

    /// Counts a connection in its group, in place of the group it was counted in before.
    fn admit(&mut self, id: ConnectionId, group: Option<Group>, holder: Holder) -> Result<(), ConnectionDenied> {
        self.release(id);
        let Some(group) = group else { return Ok(()) };
        let holders = self.by_group.entry(group).or_default();
        let held = holders.get(&holder).copied().unwrap_or(0);
        if held >= limits::CONNECTIONS_PER_HOLDER_MAX || (held == 0 && holders.len() >= group.max()) {
            return Err(ConnectionDenied::new(group.denied()));
        }
        holders.insert(holder, held + 1);
        self.by_connection.insert(id, (group, holder));
        Ok(())
    }

    fn release(&mut self, id: ConnectionId) {
        let Some((group, holder)) = self.by_connection.remove(&id) else { return };
        let Some(holders) = self.by_group.get_mut(&group) else { return };
        if let Some(count) = holders.get_mut(&holder) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                holders.remove(&holder);
            }
        }
        if holders.is_empty() {
            self.by_group.remove(&group);
        }
    }
}

/// Loopback is exempt.
fn counted(ip: IpAddr) -> Option<IpAddr> {
    (!ip.is_loopback()).then_some(ip)
}

/// The IP address that an address names; `None` for loopback (exempt), for circuits (counted at the relay) and for `/webrtc`
/// (see [`Gate::ip_at`]).
fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    if address.iter().any(|part| matches!(part, Protocol::P2pCircuit)) {
        return None;
    }
    match address.iter().next()? {
        Protocol::Ip4(ip) => counted(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => counted(IpAddr::V6(ip)),
        _ => None,
    }
}

/// The host of an address; `None` for loopback, names and circuits.
pub(crate) fn host(address: &Multiaddr) -> Option<IpAddr> {
    ip_of(address).map(host_of)
}

/// What one host has at least.
fn host_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & (u128::MAX << 64)).into()),
    }
}

/// The network that an address is in; `None` for loopback, names and circuits.
pub(crate) fn subnet(address: &Multiaddr) -> Option<IpAddr> {
    ip_of(address).map(subnet_of)
}

fn subnet_of(ip: IpAddr) -> IpAddr {
    match ip {
        // The neighbours of a home or an office.
        IpAddr::V4(local) if local.is_private() || local.is_link_local() => ip,
        IpAddr::V6(local) if local.is_unique_local() || local.is_unicast_link_local() => ip,
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) & 0xffff_ff00).into()),
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & (u128::MAX << 80)).into()),
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.admit(id, ip_of(remote).map(host_of).map(Group::PendingInbound), Holder::Connection(id))
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check_peer(&peer)?;
        // Those that a browser hides share some places: they may be of one host, or one neighbour each.
        let is_hidden = Signalled::parse(remote).is_ok() && self.hosts.of(&peer).is_none();
        let group = if is_hidden {
            Some(Group::InboundHidden)
        } else {
            self.ip_at(&peer, remote).map(host_of).map(Group::Inbound)
        };
        self.admit(id, group, Holder::Peer(peer))?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        // This node's own dials name their addresses; a lookup leaves it to the behaviours to know some.
        match &mut self.lookups {
            Some(lookups) if addresses.is_empty() => lookups.take(peer, platform::monotonic_ms()).map(|()| Vec::new()),
            _ => Ok(Vec::new()),
        }
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check_peer(&peer)?;
        let group = self.ip_at(&peer, address).map(subnet_of).map(Group::OutboundSubnet);
        self.admit(id, group, Holder::Peer(peer))?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.release(connection_id);
                if let Some(lookups) = &mut self.lookups {
                    lookups.direct.remove(&connection_id);
                }
            }
            // Another behaviour refused a connection that this one had counted.
            FromSwarm::ListenFailure(failure) => self.release(failure.connection_id),
            FromSwarm::DialFailure(failure) => {
                self.release(failure.connection_id);
                // It would connect again, and be refused again, each time that a lookup finds it.
                if let (Some(lookups), Some(peer), DialError::Denied { cause }) =
                    (&mut self.lookups, failure.peer_id, failure.error)
                    && matches!(cause.downcast_ref(), Some(Denied::PerSubnet))
                {
                    lookups.unreachable.failed(peer, std::iter::empty(), platform::monotonic_ms());
                }
                if let (Some(lookups), Some(peer), DialError::Transport(errors)) =
                    (&mut self.lookups, failure.peer_id, failure.error)
                {
                    // Not where this node itself would not, or may not, nor where no relay led to the peer: which ones were
                    // tried is what others say.
                    let says_nothing = |error: &Error| error.is_own() || matches!(error, Error::NoRelay { .. });
                    let counts = |error| !Error::within(error).is_some_and(says_nothing);
                    let addresses = errors.iter().filter(|(_, error)| counts(error)).map(|(address, _)| address);
                    lookups.failed(peer, addresses, platform::monotonic_ms());
                }
            }
            FromSwarm::ConnectionEstablished(established) => {
                if let Some(lookups) = &mut self.lookups
                    && Way::of(established.endpoint) != Way::Relayed
                {
                    lookups.connected(established.connection_id, established.peer_id);
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::{core::ConnectedPoint, swarm::behaviour::ConnectionEstablished};

    fn inbound_of(gate: &mut Gate, id: usize, peer: PeerId, from: &str) -> bool {
        let id = ConnectionId::new_unchecked(id);
        let local: Multiaddr = "/ip4/192.0.2.1/udp/1/quic-v1".parse().unwrap();
        gate.handle_established_inbound_connection(id, peer, &local, &from.parse().unwrap()).is_ok()
    }

    fn inbound(gate: &mut Gate, id: usize, from: &str) -> bool {
        inbound_of(gate, id, PeerId::random(), from)
    }

    fn outbound_of(gate: &mut Gate, id: usize, peer: PeerId, to: &str) -> bool {
        let (id, to) = (ConnectionId::new_unchecked(id), to.parse().unwrap());
        gate.handle_established_outbound_connection(id, peer, &to, Endpoint::Dialer, PortUse::Reuse).is_ok()
    }

    fn outbound(gate: &mut Gate, id: usize, to: &str) -> bool {
        outbound_of(gate, id, PeerId::random(), to)
    }

    /// Somebody new whose `/webrtc` connection leads there, and its address.
    fn met(gate: &Gate, host: Option<&str>) -> (PeerId, String) {
        let peer = PeerId::random();
        gate.hosts.record(peer, host.map(|host| host.parse().unwrap()));
        (peer, format!("/webrtc/p2p/{peer}"))
    }

    fn meets_us(gate: &mut Gate, id: usize, host: Option<&str>) -> bool {
        let (peer, address) = met(gate, host);
        inbound_of(gate, id, peer, &address)
    }

    fn is_met(gate: &mut Gate, id: usize, host: Option<&str>) -> bool {
        let (peer, address) = met(gate, host);
        outbound_of(gate, id, peer, &address)
    }

    #[test]
    fn case_49_many_peer_ids_from_one_ip_are_held_to_its_share() {
        let mut gate = Gate::default();
        let accepted = (0..100).filter(|id| inbound(&mut gate, *id, "/ip4/198.51.100.7/udp/9/quic-v1")).count();
        assert_eq!(accepted, limits::CONNECTIONS_PER_IP_MAX);
        assert!(inbound(&mut gate, 200, "/ip4/198.51.100.8/udp/9/quic-v1"), "others still get in");
        gate.release(ConnectionId::new_unchecked(0));
        assert!(inbound(&mut gate, 201, "/ip4/198.51.100.7/udp/9/quic-v1"), "a closed connection gives its place back");
        assert!(!inbound(&mut gate, 202, "/ip4/198.51.100.7/udp/9/quic-v1"));
        assert!((300..400).all(|id| inbound(&mut gate, id, "/ip4/127.0.0.1/udp/9/quic-v1")), "loopback is exempt");
    }

    #[test]
    fn case_49_many_peer_ids_of_one_host_are_held_to_its_share_over_webrtc_too() {
        let mut gate = Gate::default();
        let accepted = (0..100).filter(|id| meets_us(&mut gate, *id, Some("198.51.100.7"))).count();
        assert_eq!(accepted, limits::CONNECTIONS_PER_IP_MAX);
        assert!(!inbound(&mut gate, 200, "/ip4/198.51.100.7/udp/9/quic-v1"), "it has one share, however it connects");
        assert!(meets_us(&mut gate, 201, Some("198.51.100.8")), "others still get in");
        gate.release(ConnectionId::new_unchecked(0));
        assert!(meets_us(&mut gate, 202, Some("198.51.100.7")), "a closed connection gives its place back");
        let hidden = (300..400).filter(|id| meets_us(&mut gate, *id, None)).count();
        assert_eq!(hidden, limits::CONNECTIONS_HIDDEN_MAX, "those whose host nobody knows have a share of their own");
        assert!((400..500).all(|id| meets_us(&mut gate, id, Some("127.0.0.1"))), "loopback is exempt");
        let private = (500..600).filter(|id| meets_us(&mut gate, *id, Some("192.168.1.7"))).count();
        assert_eq!(private, limits::CONNECTIONS_PER_IP_MAX, "and private networks are not");
    }

    #[test]
    fn case_42_dials_spread_over_networks_over_webrtc_too() {
        let mut gate = Gate::default();
        let accepted = (0..50).filter(|id| is_met(&mut gate, *id, Some(&format!("203.0.113.{id}")))).count();
        assert_eq!(accepted, limits::OUTBOUND_PER_SUBNET_MAX);
        assert!(!outbound(&mut gate, 60, "/ip4/203.0.113.99/udp/9/quic-v1"));
        assert!(is_met(&mut gate, 61, Some("203.0.114.1")) && is_met(&mut gate, 62, None));
        assert!((100..200).all(|id| is_met(&mut gate, id, Some("::1"))), "loopback is exempt");
    }

    #[test]
    fn a_circuit_is_not_counted_where_its_peer_was_met_before() {
        let mut gate = Gate::default();
        // It is private itself.
        let (_, relay) = met(&gate, Some("198.51.100.9"));
        for id in 0..100 {
            let (peer, _) = met(&gate, Some("198.51.100.7"));
            assert!(inbound_of(&mut gate, id, peer, &format!("/p2p/{peer}")));
            assert!(outbound_of(&mut gate, 100 + id, peer, &format!("{relay}/p2p-circuit/p2p/{peer}")));
        }
        assert!(gate.by_connection.is_empty());
        let named = (200..300).filter(|id| {
            let (peer, _) = met(&gate, Some("198.51.100.7"));
            outbound_of(&mut gate, *id, peer, &format!("{relay}/p2p-circuit/webrtc/p2p/{peer}"))
        });
        assert_eq!(named.count(), limits::OUTBOUND_PER_SUBNET_MAX, "a relay that only signalled carries nothing");
    }

    #[test]
    fn a_peers_second_connection_takes_no_place_more() {
        let mut gate = Gate::default();
        let from: Multiaddr = "/ip4/198.51.100.7/udp/9/quic-v1".parse().unwrap();
        let peer = PeerId::random();
        let mut connect = |id: usize, peer| {
            let id = ConnectionId::new_unchecked(id);
            gate.handle_established_inbound_connection(id, peer, &from, &from).is_ok()
        };
        assert!((0..limits::CONNECTIONS_PER_IP_MAX - 1).all(|id| connect(id, PeerId::random())));
        assert!(connect(1_000, peer) && connect(1_001, peer));
        assert!(!connect(1_002, PeerId::random()) && !connect(1_005, peer), "nor a third one of the same");
        gate.release(ConnectionId::new_unchecked(1_000));
        assert!(!inbound(&mut gate, 1_003, "/ip4/198.51.100.7/udp/9/quic-v1"), "the peer is still there");
        gate.release(ConnectionId::new_unchecked(1_001));
        assert!(inbound(&mut gate, 1_004, "/ip4/198.51.100.7/udp/9/quic-v1"));
    }

    #[test]
    fn case_49_one_ipv6_host_is_one_whatever_its_addresses() {
        let mut gate = Gate::default();
        let accepted =
            (0..100).filter(|id| inbound(&mut gate, *id, &format!("/ip6/2001:db8::{id:x}/udp/9/quic-v1"))).count();
        assert_eq!(accepted, limits::CONNECTIONS_PER_IP_MAX);
        assert!(inbound(&mut gate, 200, "/ip6/2001:db8:0:1::1/udp/9/quic-v1"));
    }

    #[test]
    fn half_open_connections_of_one_host_do_not_keep_others_out() {
        let mut gate = Gate::default();
        let local: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
        let pending = |gate: &mut Gate, id: usize, from: &str| {
            let id = ConnectionId::new_unchecked(id);
            gate.handle_pending_inbound_connection(id, &local, &from.parse().unwrap()).is_ok()
        };
        let accepted = (0..100).filter(|id| pending(&mut gate, *id, "/ip4/198.51.100.7/tcp/9")).count();
        assert_eq!(accepted, limits::PENDING_PER_IP_MAX);
        assert!(pending(&mut gate, 200, "/ip4/198.51.100.8/tcp/9"), "others still get in");
        assert!(inbound(&mut gate, 0, "/ip4/198.51.100.7/tcp/9"), "a finished handshake counts as a connection");
        assert!(pending(&mut gate, 201, "/ip4/198.51.100.7/tcp/9"), "and gives its place back");
        gate.release(ConnectionId::new_unchecked(1));
        assert!(pending(&mut gate, 202, "/ip4/198.51.100.7/tcp/9"), "so does a failed one");
    }

    #[test]
    fn case_42_dials_spread_over_networks() {
        let mut gate = Gate::default();
        let accepted =
            (0..50).filter(|id| outbound(&mut gate, *id, &format!("/ip4/203.0.113.{id}/udp/9/quic-v1"))).count();
        assert_eq!(accepted, limits::OUTBOUND_PER_SUBNET_MAX);
        assert!(outbound(&mut gate, 60, "/ip4/203.0.114.1/udp/9/quic-v1"));
        let six =
            (70..90).filter(|id| outbound(&mut gate, *id, &format!("/ip6/2001:db8:1::{id}/udp/9/quic-v1"))).count();
        assert_eq!(six, limits::OUTBOUND_PER_SUBNET_MAX);
    }

    #[test]
    fn lookups_of_a_tab_begin_few_connections_in_an_hour() {
        let mut dials = LookupDials::new(limits::LOOKUP_DIALS_PER_HOUR);
        assert_eq!((0..100).filter(|at| dials.take(None, *at).is_ok()).count(), limits::LOOKUP_DIALS_PER_HOUR);
        assert!(dials.take(None, HOUR_MS).is_ok(), "the first is an hour old");
        assert!(dials.take(None, HOUR_MS).is_err());
        let gone = PeerId::random();
        let mut dials = LookupDials::new(1);
        dials.unreachable.failed(gone, std::iter::empty(), 0);
        assert!(dials.take(Some(gone), 0).is_err() && dials.take(Some(PeerId::random()), 0).is_ok());

        let id = ConnectionId::new_unchecked(1);
        let address: Multiaddr = "/ip4/127.0.0.1/udp/1/quic-v1".parse().unwrap();
        let dial = |gate: &mut Gate, addresses: &[Multiaddr]| {
            gate.handle_pending_outbound_connection(id, Some(PeerId::random()), addresses, Endpoint::Dialer).is_ok()
        };
        let mut gate = Gate::new(Some(1), Hosts::default());
        assert!(dial(&mut gate, &[]) && !dial(&mut gate, &[]));
        assert!(dial(&mut gate, &[address]), "a dial of this node's own choosing");
        assert!((0..100).all(|_| dial(&mut Gate::default(), &[])), "a native peer has no such budget");
    }

    #[test]
    fn a_banned_peer_is_turned_away_both_ways_and_the_table_is_bounded() {
        let mut gate = Gate::default();
        let peer = PeerId::random();
        gate.ban(peer);
        let address: Multiaddr = "/ip4/127.0.0.1/udp/1/quic-v1".parse().unwrap();
        let id = ConnectionId::new_unchecked(1);
        assert!(gate.handle_established_inbound_connection(id, peer, &address, &address).is_err());
        let out = gate.handle_established_outbound_connection(id, peer, &address, Endpoint::Dialer, PortUse::Reuse);
        assert!(out.is_err());
        for _ in 0..limits::BANNED_PEERS_MAX * 2 {
            gate.ban(PeerId::random());
        }
        assert_eq!(gate.banned.len(), limits::BANNED_PEERS_MAX);
        assert!(gate.is_banned(&peer));
    }

    #[test]
    fn a_failed_dial_is_held_against_a_peer_only_where_it_says_something_of_it() {
        let [peer, other] = [PeerId::random(), PeerId::random()];
        let (plain, circuit): (Multiaddr, Multiaddr) = (
            "/ip4/192.0.2.1/tcp/1/ws".parse().unwrap(),
            format!("/ip4/192.0.2.1/tcp/1/ws/p2p/{other}/p2p-circuit/p2p/{peer}").parse().unwrap(),
        );
        let id = ConnectionId::new_unchecked;
        let mut dials = LookupDials::new(1);
        dials.failed(peer, [&plain].into_iter(), 0);
        assert!(!dials.unreachable.is_silent(&peer, 0), "nobody is connected: this node may be offline");
        dials.connected(id(1), other);
        dials.connected(id(2), peer);
        dials.failed(peer, [&plain].into_iter(), 0);
        assert!(!dials.unreachable.is_silent(&peer, 0), "it is connected");
        dials.direct.remove(&id(2));
        dials.failed(peer, [&circuit].into_iter(), 0);
        assert!(!dials.unreachable.is_silent(&peer, 0), "its relay failed");
        dials.failed(peer, [&plain, &circuit].into_iter(), 0);
        assert!(
            dials.unreachable.is_silent_at(&peer, &plain, 0) && !dials.unreachable.is_silent_at(&peer, &circuit, 0)
        );
        dials.connected(id(3), peer);
        assert!(!dials.unreachable.is_silent(&peer, 0));
    }

    #[test]
    fn a_circuit_does_not_show_that_a_peer_can_be_reached() {
        let peer = PeerId::random();
        let relay = PeerId::random();
        let mut gate = Gate::new(Some(1), Hosts::default());
        let direct = format!("/ip4/192.0.2.1/tcp/1/ws/p2p/{peer}").parse().unwrap();
        let circuit = format!("/ip4/192.0.2.1/tcp/1/ws/p2p/{relay}/p2p-circuit/p2p/{peer}").parse().unwrap();
        for (number, address, is_reached) in [(1, circuit, false), (2, direct, true)] {
            let endpoint = ConnectedPoint::Dialer { address, role_override: Endpoint::Dialer, port_use: PortUse::New };
            gate.lookups.as_mut().unwrap().unreachable.failed(peer, std::iter::empty(), platform::monotonic_ms());
            gate.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: peer,
                connection_id: ConnectionId::new_unchecked(number),
                endpoint: &endpoint,
                failed_addresses: &[],
                other_established: 0,
            }));
            let lookups = gate.lookups.as_ref().unwrap();
            assert_eq!(!lookups.unreachable.is_silent(&peer, platform::monotonic_ms()), is_reached);
            assert_eq!(lookups.direct.len(), usize::from(is_reached));
        }
    }
}
