//! At which host the other end of a `/webrtc` connection is. Its address names none, so that whoever counts connections by host
//! would not see it: the host of the path that was found is written down here.

use hashlink::LruCache;
use libp2p::PeerId;
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Peers whose hosts are known; the least recently used is forgotten. A swarm asks as soon as there is a connection, and of all
/// attempts far fewer than this are under way at once.
pub const PEERS_MAX: usize = 1_000;

/// Hosts by peer, each of the peer's last `/webrtc` connection; clones share one table.
///
/// A host is there before the swarm hears of the connection: a behaviour finds it in `handle_established_inbound_connection`
/// and `handle_established_outbound_connection`. Where the connection goes later, should its path change, is not followed.
#[derive(Clone)]
pub struct Hosts(Arc<Mutex<LruCache<PeerId, IpAddr>>>);

impl Default for Hosts {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(PEERS_MAX))))
    }
}

impl Hosts {
    fn lock(&self) -> MutexGuard<'_, LruCache<PeerId, IpAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down where a peer's new connection leads. `None`: nobody knows, and what is known of the one before says nothing.
    pub fn record(&self, peer: PeerId, host: Option<IpAddr>) {
        let mut table = self.lock();
        match host {
            Some(host) => _ = table.insert(peer, host),
            None => _ = table.remove(&peer),
        }
    }

    /// The host of a peer's last connection, if it is known; of a peer on this machine a loopback address. A browser names neither
    /// a host of its own network that it hides, nor one that left its candidates out.
    #[must_use]
    pub fn of(&self, peer: &PeerId) -> Option<IpAddr> {
        self.lock().get(peer).copied()
    }

    /// Of how many peers the host is known, at most [`PEERS_MAX`](crate::signalling::HOSTS_MAX).
    #[must_use]
    pub fn known(&self) -> usize {
        self.lock().len()
    }
}

/// The host at the other end of a path: what is reached at one of this machine's `own` addresses is on it, whichever of them it
/// is.
pub(crate) fn host_beyond(own: impl IntoIterator<Item = IpAddr>, remote: IpAddr) -> IpAddr {
    let remote = remote.to_canonical();
    let is_here = own.into_iter().any(|own| own.to_canonical() == remote);
    if is_here { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { remote }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_last_connection_of_a_peer_counts_and_peers_are_bounded() {
        let (hosts, peer) = (Hosts::default(), PeerId::random());
        hosts.record(peer, Some(ip("198.51.100.7")));
        hosts.record(peer, Some(ip("198.51.100.8")));
        assert_eq!((hosts.clone().of(&peer), hosts.known()), (Some(ip("198.51.100.8")), 1));
        hosts.record(peer, None);
        assert_eq!((hosts.of(&peer), hosts.known()), (None, 0), "an unknown host is not the one before");
        hosts.record(peer, Some(ip("198.51.100.7")));
        for _ in 0..PEERS_MAX {
            hosts.record(PeerId::random(), Some(ip("198.51.100.7")));
        }
        assert_eq!((hosts.of(&peer), hosts.known()), (None, PEERS_MAX));
    }

    #[test]
    fn a_path_to_an_own_address_ends_on_this_machine() {
        let own = [ip("127.0.0.1"), ip("192.0.2.2"), ip("2001:db8::2")];
        for here in ["192.0.2.2", "::ffff:192.0.2.2", "2001:db8::2", "127.0.0.1"] {
            assert!(host_beyond(own, ip(here)).is_loopback(), "{here}");
        }
        assert_eq!(host_beyond(own, ip("::ffff:198.51.100.7")), ip("198.51.100.7"));
        assert_eq!(host_beyond([], ip("2001:db8::7")), ip("2001:db8::7"));
    }
}
