//! Attempts at a listener that are not authenticated yet: how many there are, in all and of one host or network.

use crate::census::{Census, Counted, Kind};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Attempts that are not authenticated yet, of one listener: half of what a node has pending of strangers over all of its
/// transports, so that who floods this one with forged requests keeps nobody from the others.
pub const HALF_OPEN_MAX: usize = 128;
/// The same of one IP address (an IPv6 /64); loopback is exempt.
pub const HALF_OPEN_PER_IP_MAX: usize = 8;
/// The same of one IPv6 /48, which may be all of one customer's; local networks are exempt.
pub const HALF_OPEN_PER_NETWORK_MAX: usize = 32;

/// Attempts that are not authenticated yet.
#[derive(Clone, Default)]
pub(super) struct HalfOpen(Arc<Mutex<HashMap<Group, usize>>>, Arc<AtomicUsize>);

/// One attempt's place; given back when it is authenticated or dropped.
pub(super) struct Place {
    table: HalfOpen,
    groups: Groups,
    _counted: Counted,
}

/// What is counted together. A host and its network may begin alike, and are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// An IPv6 host has a whole /64, but in a local network.
    Host(IpAddr),
    /// A /48.
    Network(Ipv6Addr),
}

/// Those that one address is counted in; of two the narrower first.
type Groups = [Option<Group>; 2];

fn groups_of(ip: IpAddr) -> Groups {
    let IpAddr::V6(six) = ip else { return [Some(Group::Host(ip)), None] };
    if six.is_unique_local() || six.is_unicast_link_local() {
        // The others in it are the neighbours of a home or an office.
        return [Some(Group::Host(ip)), None];
    }
    let prefix = |bits: u32| Ipv6Addr::from(u128::from(six) & (u128::MAX << (128 - bits)));
    [Some(Group::Host(prefix(64).into())), Some(Group::Network(prefix(48)))]
}

/// Whether two addresses are counted as one host's.
pub(super) fn is_one_host(one: IpAddr, other: IpAddr) -> bool {
    groups_of(one).first() == groups_of(other).first()
}

impl Group {
    fn max(self) -> usize {
        match self {
            Group::Host(_) => HALF_OPEN_PER_IP_MAX,
            Group::Network(_) => HALF_OPEN_PER_NETWORK_MAX,
        }
    }

    pub fn has(self, ip: IpAddr) -> bool {
        groups_of(ip).contains(&Some(self))
    }
}

impl HalfOpen {
    pub fn len(&self) -> usize {
        self.1.load(Ordering::Relaxed)
    }

    pub fn is_full(&self) -> bool {
        self.len() >= HALF_OPEN_MAX
    }

    /// The host of this address, or its network, if it has its share.
    pub fn at_its_share(&self, from: IpAddr) -> Option<Group> {
        if from.is_loopback() {
            return None;
        }
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |group: &Group| table.get(group).copied().unwrap_or(0);
        groups_of(from).into_iter().flatten().find(|group| held(group) >= group.max())
    }

    pub fn admit(&self, from: IpAddr, census: &Census) -> Option<Place> {
        if self.is_full() || self.at_its_share(from).is_some() {
            return None;
        }
        let groups = groups_of(from);
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for group in groups.into_iter().flatten() {
            *table.entry(group).or_default() += 1;
        }
        self.1.fetch_add(1, Ordering::Relaxed);
        Some(Place { table: self.clone(), groups, _counted: census.count(Kind::HalfOpen) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.table.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.table.1.fetch_sub(1, Ordering::Relaxed);
        for group in self.groups.into_iter().flatten() {
            if let Some(count) = table.get_mut(&group) {
                *count -= 1;
                if *count == 0 {
                    table.remove(&group);
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::net::SocketAddr;

    /// A host of a /48, and one of its addresses.
    pub fn source_v6(network: &str, host: u16, number: u16) -> SocketAddr {
        SocketAddr::new(format!("{network}:{host:x}::{number:x}").parse().unwrap(), 1)
    }

    #[test]
    fn places_are_given_back_to_host_and_network_and_neighbours_are_no_network() {
        let (table, census) = (HalfOpen::default(), Census::default());
        let ask = |network: &str, host: u16, number: u16| table.admit(source_v6(network, host, number).ip(), &census);
        let of_host: Vec<_> = (0..100).filter_map(|number| ask("2001:db8:1", 7, number)).collect();
        assert_eq!(of_host.len(), HALF_OPEN_PER_IP_MAX);
        let of_network: Vec<_> = (8..100).filter_map(|host| ask("2001:db8:1", host, 1)).collect();
        assert_eq!(of_host.len() + of_network.len(), HALF_OPEN_PER_NETWORK_MAX);
        assert!(ask("2001:db8:2", 7, 1).is_some(), "others still get in");
        drop(of_host);
        assert!(ask("2001:db8:1", 7, 1).is_some());
        let neighbours: Vec<_> = (0..50).filter_map(|number| ask("fd00:0:0", 7, number)).collect();
        assert_eq!(neighbours.len(), 50, "a local network's hosts are counted one by one");
        drop((of_network, neighbours));
        assert!(table.0.lock().unwrap().is_empty() && table.1.load(Ordering::Relaxed) == 0);
    }
}
