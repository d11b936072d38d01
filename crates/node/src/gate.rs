//! Who may connect: a gate by IP address, because peer ids are free and addresses are not.

use crate::{limits, network::Unreachable, newest::Newest, platform};
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished, dummy,
    },
};
use meganet_transport::{
    Error,
    proto::address::Signalled,
    signalling::{Hosts, Way, is_relayed, relay_of},
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
    by_connection: HashMap<ConnectionId, (Groups, Holder)>,
    by_group: HashMap<Group, HashMap<Holder, usize>>,
    newest: Newest,
    banned: HashSet<PeerId>,
    lookups: LookupDials,
    /// Where `/webrtc` connections lead.
    hosts: Hosts,
}

/// Connections that lookups begin: to whomever they hear of, where a tab has few to begin.
#[derive(Default)]
struct LookupDials {
    /// In a tab. Elsewhere only who turned this node out is left alone.
    per_hour: Option<usize>,
    /// Monotonic ms.
    begun: VecDeque<u64>,
    unreachable: Unreachable,
    /// Direct connections, and since when, monotonic ms.
    direct: HashMap<ConnectionId, (PeerId, u64)>,
}

impl LookupDials {
    /// A dial failed. That says nothing of a peer that is connected, of one behind a relay that failed, or while nobody is
    /// connected: this node may be offline.
    fn failed<'a>(&mut self, peer: PeerId, addresses: impl Iterator<Item = &'a Multiaddr>, now_ms: u64) {
        let mut addresses = addresses.filter(|address| !is_relayed(address)).cloned().peekable();
        let says_nothing = self.per_hour.is_none() || self.direct.is_empty() || self.is_direct(&peer);
        if !says_nothing && addresses.peek().is_some() {
            self.unreachable.failed(peer, addresses, now_ms);
        }
    }

    /// This node refused a peer that it had dialled.
    fn refused(&mut self, peer: PeerId, now_ms: u64) {
        if self.per_hour.is_some() {
            self.unreachable.failed(peer, std::iter::empty(), now_ms);
        }
    }

    fn is_direct(&self, peer: &PeerId) -> bool {
        self.direct.values().any(|(direct, _)| direct == peer)
    }

    fn connected(&mut self, id: ConnectionId, peer: PeerId, now_ms: u64) {
        self.unreachable.reached(&peer);
        self.direct.insert(id, (peer, now_ms));
    }

    /// A connection is over that this node had begun to this address, if it had. A peer that ends it as soon as it is there would do
    /// so again.
    fn closed(&mut self, id: ConnectionId, dialled: Option<&Multiaddr>, is_its_doing: bool, now_ms: u64) {
        let Some((peer, since_ms)) = self.direct.remove(&id) else { return };
        if now_ms.saturating_sub(since_ms) >= limits::TURNED_OUT_WITHIN.as_millis() as u64 {
            self.unreachable.stayed(&peer);
        } else if let Some(address) = dialled.filter(|_| is_its_doing && !self.is_direct(&peer)) {
            self.unreachable.turned_out(peer, address.clone(), now_ms);
        }
    }

    fn take(&mut self, peer: Option<PeerId>, now_ms: u64) -> Result<(), ConnectionDenied> {
        self.begun.retain(|at| now_ms.saturating_sub(*at) < HOUR_MS);
        let is_silent = peer.is_some_and(|peer| self.unreachable.is_silent(&peer, now_ms));
        if is_silent || self.per_hour.is_some_and(|per_hour| self.begun.len() >= per_hour) {
            return Err(ConnectionDenied::new(Denied::Lookups));
        }
        if self.per_hour.is_some() {
            self.begun.push_back(now_ms);
        }
        Ok(())
    }
}

/// What is counted together. An IPv6 host has a whole /64, so that counts as one address; its provider may have given it a whole
/// /48, so what comes from there is counted once more. Circuits come from no address: what they have in common is the relay,
/// which can make up the peers at their other ends. A relay that dialled this node may not be named in their addresses: such
/// ones have a share together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Group {
    PendingInbound(IpAddr),
    PendingNetwork(IpAddr),
    PendingThrough(Option<PeerId>),
    Inbound(IpAddr),
    InboundNetwork(IpAddr),
    InboundThrough(Option<PeerId>),
    /// `/webrtc` peers whose host nobody knows.
    InboundHidden,
    OutboundSubnet(IpAddr),
}

/// Those that one connection is counted in.
type Groups = [Option<Group>; 2];

impl Group {
    fn max(self) -> usize {
        match self {
            Group::PendingInbound(_) => limits::PENDING_PER_IP_MAX,
            Group::PendingNetwork(_) => limits::PENDING_PER_NETWORK_MAX,
            Group::PendingThrough(_) | Group::InboundThrough(_) => limits::CIRCUITS_INBOUND_PER_RELAY_MAX,
            Group::Inbound(_) => limits::CONNECTIONS_PER_IP_MAX,
            Group::InboundNetwork(_) => limits::CONNECTIONS_PER_NETWORK_MAX,
            Group::InboundHidden => limits::CONNECTIONS_HIDDEN_MAX,
            Group::OutboundSubnet(_) => limits::OUTBOUND_PER_SUBNET_MAX,
        }
    }

    fn denied(self) -> Denied {
        match self {
            Group::PendingInbound(_) | Group::Inbound(_) => Denied::PerIp,
            Group::PendingNetwork(_) | Group::InboundNetwork(_) => Denied::PerNetwork,
            Group::PendingThrough(_) | Group::InboundThrough(_) => Denied::PerRelay,
            Group::InboundHidden => Denied::Hidden,
            Group::OutboundSubnet(_) => Denied::PerSubnet,
        }
    }
}

/// What takes a place in a group. A peer's further connections, of which [`Newest`] lets it have few, take none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    /// Nobody knows yet whose it is, or it takes a place whoever has it.
    Connection(ConnectionId),
    Peer(PeerId),
}

/// Why a connection was refused.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error("too many connections from this address")]
    PerIp,
    #[error("too many connections from this network")]
    PerNetwork,
    #[error("too many circuits through this relay")]
    PerRelay,
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
        let lookups = LookupDials { per_hour: lookup_dials_per_hour, ..LookupDials::default() };
        Self { lookups, hosts, ..Self::default() }
    }

    /// Whether this node need not try a peer at this address now.
    pub fn is_silent_at(&self, peer: &PeerId, address: &Multiaddr) -> bool {
        self.lookups.unreachable.is_silent_at(peer, address, platform::monotonic_ms())
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

    /// Counts a connection in its groups, in place of those it was counted in before: in all of them, or in none.
    fn admit(&mut self, id: ConnectionId, groups: Groups, holder: Holder) -> Result<(), ConnectionDenied> {
        self.release(id);
        let in_groups = || groups.into_iter().flatten();
        if let Some(full) = in_groups().find(|group| !self.has_place(*group, holder)) {
            return Err(ConnectionDenied::new(full.denied()));
        }
        for group in in_groups() {
            *self.by_group.entry(group).or_default().entry(holder).or_default() += 1;
        }
        if in_groups().next().is_some() {
            self.by_connection.insert(id, (groups, holder));
        }
        Ok(())
    }

    fn has_place(&self, group: Group, holder: Holder) -> bool {
        let Some(holders) = self.by_group.get(&group) else { return true };
        let connections: usize = holders.values().sum();
        (holders.contains_key(&holder) || holders.len() < group.max())
            && connections < limits::CONNECTIONS_PER_PLACE_MAX * group.max()
    }

    fn release(&mut self, id: ConnectionId) {
        let Some((groups, holder)) = self.by_connection.remove(&id) else { return };
        for group in groups.into_iter().flatten() {
            let Some(holders) = self.by_group.get_mut(&group) else { continue };
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
}

/// The IP address at the other end of an established connection; `None` where none is counted. That of a `/webrtc` connection is
/// where it turned out to lead.
fn ip_at(hosts: &Hosts, peer: &PeerId, address: &Multiaddr) -> Option<IpAddr> {
    if Signalled::parse(address).is_ok() { hosts.of(peer).and_then(counted) } else { ip_of(address) }
}

/// The host at the other end of an established connection; `None` for loopback, names, circuits, and `/webrtc` connections that
/// lead nobody knows where.
pub(crate) fn host_at(hosts: &Hosts, peer: &PeerId, address: &Multiaddr) -> Option<IpAddr> {
    ip_at(hosts, peer, address).map(host_of)
}

/// Loopback is exempt.
fn counted(ip: IpAddr) -> Option<IpAddr> {
    (!ip.is_loopback()).then_some(ip)
}

/// The IP address that an address names; `None` for loopback (exempt), for circuits (see [`Group`]) and for `/webrtc` (see
/// [`ip_at`]).
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

/// What one host has at least: an IPv4 address, an IPv6 /64; in a local network one address.
#[must_use]
pub fn host_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(local) if local.is_unique_local() || local.is_unicast_link_local() => ip,
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

/// The network whose hosts may all be one customer's, an IPv6 /48; of a local network the address itself. `None` for IPv4, where
/// addresses are dear.
#[must_use]
pub fn network_of(ip: IpAddr) -> Option<IpAddr> {
    ip.is_ipv6().then(|| subnet_of(ip))
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let groups = if is_relayed(local) {
            [Some(Group::PendingThrough(relay_of(local))), None]
        } else {
            let ip = ip_of(remote);
            [ip.map(host_of).map(Group::PendingInbound), ip.and_then(network_of).map(Group::PendingNetwork)]
        };
        self.admit(id, groups, Holder::Connection(id))
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check_peer(&peer)?;
        if is_relayed(local) {
            // Each takes a place, whoever is at its other end.
            let through = [Some(Group::InboundThrough(relay_of(local))), None];
            self.admit(id, through, Holder::Connection(id))?;
            return Ok(dummy::ConnectionHandler);
        }
        // Those that a browser hides share some places: they may be of one host, or one neighbour each.
        let is_hidden = Signalled::parse(remote).is_ok() && self.hosts.of(&peer).is_none();
        let groups = if is_hidden {
            [Some(Group::InboundHidden), None]
        } else {
            let ip = ip_at(&self.hosts, &peer, remote);
            [ip.map(host_of).map(Group::Inbound), ip.and_then(network_of).map(Group::InboundNetwork)]
        };
        self.admit(id, groups, Holder::Peer(peer))?;
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
        if addresses.is_empty() {
            self.lookups.take(peer, platform::monotonic_ms())?;
        }
        Ok(Vec::new())
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
        let group = ip_at(&self.hosts, &peer, address).map(subnet_of).map(Group::OutboundSubnet);
        self.admit(id, [group, None], Holder::Peer(peer))?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, endpoint, cause, .. }) => {
                self.release(connection_id);
                self.newest.closed(peer_id, connection_id);
                let dialled = Some(endpoint.get_remote_address()).filter(|_| endpoint.is_dialer());
                self.lookups.closed(connection_id, dialled, cause.is_some(), platform::monotonic_ms());
            }
            // Another behaviour refused a connection that this one had counted.
            FromSwarm::ListenFailure(failure) => self.release(failure.connection_id),
            FromSwarm::DialFailure(failure) => {
                self.release(failure.connection_id);
                // It would connect again, and be refused again, each time that a lookup finds it.
                if let (Some(peer), DialError::Denied { cause }) = (failure.peer_id, failure.error)
                    && matches!(cause.downcast_ref(), Some(Denied::PerSubnet))
                {
                    self.lookups.refused(peer, platform::monotonic_ms());
                }
                if let (Some(peer), DialError::Transport(errors)) = (failure.peer_id, failure.error) {
                    // Not where this node itself would not, or may not, nor where no relay led to the peer: which ones were
                    // tried is what others say.
                    let says_nothing = |error: &Error| error.is_own() || matches!(error, Error::NoRelay { .. });
                    let counts = |error| !Error::within(error).is_some_and(says_nothing);
                    let addresses = errors.iter().filter(|(_, error)| counts(error)).map(|(address, _)| address);
                    self.lookups.failed(peer, addresses, platform::monotonic_ms());
                }
            }
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. }) => {
                let way = Way::of(endpoint);
                self.newest.established(peer_id, connection_id, way);
                if way != Way::Relayed {
                    self.lookups.connected(connection_id, peer_id, platform::monotonic_ms());
                }
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // What this node has too many of was added in an event, and after each the swarm comes here.
        match self.newest.next_superseded() {
            Some((peer_id, id)) => {
                Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) })
            }
            None => Poll::Pending,
        }
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
