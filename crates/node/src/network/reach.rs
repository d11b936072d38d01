//! Where dials may go that others have a say in: what a query names is hearsay, and there may be any number of it (threats 48).

use super::peers::{Scope, scope_of, scope_of_ip, split_peer};
use crate::{limits, platform, platform::lock};
use libp2p::{Multiaddr, core::ConnectedPoint, multiaddr::Protocol, swarm::FromSwarm};
use meganet_transport::signalling::Lens;
use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex},
};

/// The local networks that this node takes part in by its own or its user's choice, and the names that its user gave it.
#[derive(Clone, Default)]
pub struct Reach(Arc<Mutex<Trusted>>);

#[derive(Default)]
struct Trusted {
    private: bool,
    loopback: bool,
    named: VecDeque<Multiaddr>,
}

impl Reach {
    /// This node dialled the address, listens on it, or its user named it.
    pub(super) fn trust(&self, address: &Multiaddr) {
        let plain = without_peer(address);
        let mut trusted = lock(&self.0);
        match scope_of(&plain) {
            Some(Scope::Private) => trusted.private = true,
            Some(Scope::Loopback) => trusted.loopback = true,
            Some(Scope::Global | Scope::Nobody) => {}
            None if has_name(&plain) && !trusted.named.contains(&plain) => {
                if trusted.named.len() >= limits::BOOTSTRAP_ADDRESSES_MAX {
                    trusted.named.pop_front();
                }
                trusted.named.push_back(plain);
            }
            None => {}
        }
    }

    /// Whether an address of this scope may be dialled whoever names it.
    pub(super) fn allows_scope(&self, scope: Scope) -> bool {
        let trusted = lock(&self.0);
        match scope {
            Scope::Global => true,
            Scope::Private => trusted.private,
            Scope::Loopback => trusted.loopback,
            Scope::Nobody => false,
        }
    }

    fn allows(&self, address: &Multiaddr) -> bool {
        let plain = without_peer(address);
        if plain.len() > limits::ADDRESS_MAX_BYTES || !meganet_transport::can_dial(&plain) {
            return false;
        }
        if !meganet_transport::is_signalled(&plain) {
            let is_allowed = scope_of(&plain).is_some_and(|scope| self.allows_scope(scope));
            return is_allowed || lock(&self.0).named.contains(&plain);
        }
        // What is dialled is a relay; one without an IP address is connected, or it is not reached at all.
        !has_name(&plain)
            && plain.iter().all(|part| match part {
                Protocol::Ip4(ip) => self.allows_scope(scope_of_ip(IpAddr::V4(ip))),
                Protocol::Ip6(ip) => self.allows_scope(scope_of_ip(IpAddr::V6(ip))),
                _ => true,
            })
    }

    fn bounded(&self, addresses: Vec<Multiaddr>, is_tab: bool) -> Vec<Multiaddr> {
        let mut allowed: Vec<_> = addresses.into_iter().filter(|address| self.allows(address)).collect();
        let mut one = Vec::new();
        if is_tab {
            allowed = with_one_webrtc_direct(allowed, &[]);
            one.extend(allowed.iter().find(|address| is_webrtc_direct(address)).cloned());
        }
        few_of(allowed, &one)
    }
}

fn without_peer(address: &Multiaddr) -> Multiaddr {
    split_peer(address.clone()).map_or_else(|| address.clone(), |(_, plain)| plain)
}

fn has_name(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)))
}

fn is_webrtc_direct(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::WebRTCDirect))
}

/// Of the `webrtc-direct` addresses one, before all others: each costs a tab one of the few peer connections that it may begin. One
/// that is `known` comes first; failed ones are not known any more, and of all others each gets its turn by chance.
pub(super) fn with_one_webrtc_direct(addresses: Vec<Multiaddr>, known: &[Multiaddr]) -> Vec<Multiaddr> {
    let (webrtc, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_webrtc_direct);
    let one = match known.iter().find(|known| webrtc.contains(known)) {
        Some(known) => vec![known.clone()],
        None => platform::some_of(webrtc, 1),
    };
    one.into_iter().chain(others).collect()
}

/// As many addresses as one peer may have: those that are `known`, and of the others some of each way to reach it, by chance.
/// Whoever answers a query first must not be the one who chooses them.
pub(super) fn few_of(addresses: Vec<Multiaddr>, known: &[Multiaddr]) -> Vec<Multiaddr> {
    if addresses.len() <= limits::ADDRESSES_PER_PEER_MAX {
        return addresses;
    }
    let (mut few, hearsay): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| known.contains(address));
    few.truncate(limits::ADDRESSES_PER_PEER_MAX);
    let room = limits::ADDRESSES_PER_PEER_MAX - few.len();
    let (signalled, others): (Vec<_>, Vec<_>) =
        hearsay.into_iter().partition(|address| meganet_transport::is_signalled(&without_peer(address)));
    let of_others = room - signalled.len().min(room / 2);
    few.extend(platform::some_of(others, of_others));
    let room = limits::ADDRESSES_PER_PEER_MAX - few.len();
    few.extend(platform::some_of(signalled, room));
    few
}

/// For a behaviour that is asked where peers are: a few addresses within [`Reach`].
pub struct Within {
    reach: Reach,
    is_tab: bool,
}

impl Within {
    pub fn new(is_tab: bool) -> Self {
        Self { reach: Reach::default(), is_tab }
    }

    pub fn reach(&self) -> &Reach {
        &self.reach
    }
}

impl Lens for Within {
    fn shows(&self, event: &FromSwarm<'_>) -> bool {
        if let FromSwarm::ConnectionEstablished(established) = event
            && let ConnectedPoint::Dialer { address, .. } = established.endpoint
        {
            self.reach.trust(address);
        }
        true
    }

    fn dialled(&self, known: Vec<Multiaddr>) -> Vec<Multiaddr> {
        self.reach.bounded(known, self.is_tab)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::{
        PeerId,
        core::Endpoint,
        kad,
        swarm::{ConnectionId, NetworkBehaviour},
    };
    use meganet_transport::signalling::Through;
    use std::collections::HashSet;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_tab_dials_one_webrtc_direct_address_at_a_time_and_none_is_left_out_for_ever() {
        let at = |port: usize| address(&format!("/ip4/1.2.3.4/udp/{port}/webrtc-direct"));
        let all: Vec<_> = (1..=8).map(at).collect();
        assert_eq!(with_one_webrtc_direct(all.clone(), &[at(9), at(5), at(1)]), [at(5)]);
        let dialled: HashSet<_> = (0..1_000).flat_map(|_| with_one_webrtc_direct(all.clone(), &[])).collect();
        assert!((0..100).all(|_| with_one_webrtc_direct(all.clone(), &[]).len() == 1));
        assert_eq!(dialled.len(), all.len());
        assert_eq!(with_one_webrtc_direct(Vec::new(), &[at(1)]), []);
    }

    #[test]
    fn case_48_of_too_many_addresses_the_known_stay_and_each_of_the_others_has_its_chance() {
        let at = |port: usize| address(&format!("/ip4/1.2.3.4/tcp/{port}"));
        let through = |port: usize| address(&format!("{}/p2p/{}/p2p-circuit/webrtc", at(port), PeerId::random()));
        let max = limits::ADDRESSES_PER_PEER_MAX;
        let others: Vec<_> = (1..=40).map(at).collect();
        let signalled: Vec<_> = (1..=40).map(through).collect();
        let all: Vec<_> = others.iter().chain(&signalled).cloned().collect();
        let mut seen = HashSet::new();
        for _ in 0..2_000 {
            let few = few_of(all.clone(), &others[39..]);
            assert!(few.len() == max && few[0] == others[39]);
            assert_eq!(few.iter().filter(|address| signalled.contains(address)).count(), (max - 1) / 2);
            seen.extend(few);
        }
        assert_eq!(seen.len(), all.len());
        assert_eq!(few_of(signalled.clone(), &[]).len(), max);
        assert_eq!(few_of(others.clone(), &others).len(), max);
        assert_eq!(few_of(others[..max].to_vec(), &[]), others[..max]);
    }

    #[test]
    fn case_48_what_a_query_names_is_bounded_and_leads_into_no_local_network() {
        let (local, peer) = (PeerId::random(), PeerId::random());
        let kademlia = kad::Behaviour::new(local, kad::store::MemoryStore::new(local));
        let mut bounded = Through::with(Within::new(false), kademlia);
        let (loopback, private, global) =
            (address("/ip4/127.0.0.1/tcp/1"), address("/ip4/192.168.1.1/tcp/1"), address("/ip4/1.2.3.4/tcp/1"));
        let name = address("/dns4/router.example/tcp/1");
        for known in [&loopback, &private, &name, &global] {
            bounded.add_address(&peer, known.clone());
        }
        let id = ConnectionId::new_unchecked(1);
        let asked = |bounded: &mut Through<Within, _>| -> Vec<Multiaddr> {
            let known =
                NetworkBehaviour::handle_pending_outbound_connection(bounded, id, Some(peer), &[], Endpoint::Dialer);
            known.unwrap().iter().map(without_peer).collect()
        };
        assert_eq!(asked(&mut bounded), std::slice::from_ref(&global));
        bounded.lens().reach().trust(&loopback);
        assert_eq!(asked(&mut bounded), [loopback.clone(), global.clone()]);
        for trusted in [&private, &name] {
            bounded.lens().reach().trust(trusted);
        }
        assert_eq!(asked(&mut bounded).len(), 4 - usize::from(!meganet_transport::can_dial(&name)));
        for port in 2..1_200 {
            bounded.add_address(&peer, address(&format!("/ip4/1.2.3.4/tcp/{port}")));
        }
        assert_eq!(asked(&mut bounded).len(), limits::ADDRESSES_PER_PEER_MAX);
        // Kademlia names the peer at the end of each. Whoever fills its answers leaves room for the other way.
        let through = address(&format!("/ip4/1.2.3.5/tcp/1/p2p/{}/p2p-circuit/webrtc", PeerId::random()));
        bounded.add_address(&peer, through.clone());
        assert!(asked(&mut bounded).contains(&through));
    }

    #[test]
    fn case_48_no_relay_is_looked_for_in_a_local_network_and_names_are_bounded() {
        let (reach, relay) = (Reach::default(), PeerId::random());
        let through = |at: &str| address(&format!("{at}/p2p/{relay}/p2p-circuit/webrtc"));
        assert!(reach.allows(&through("/ip4/1.2.3.4/tcp/1")) && reach.allows(&through("/webrtc")));
        let inside = through("/ip4/10.0.0.1/tcp/1");
        assert!(!reach.allows(&inside) && !reach.allows(&through("/dns4/router.example/tcp/1")));
        reach.trust(&address("/ip4/10.0.0.2/tcp/1"));
        assert!(reach.allows(&inside) && !reach.allows_scope(Scope::Loopback));
        for number in 0..2 * limits::BOOTSTRAP_ADDRESSES_MAX {
            reach.trust(&address(&format!("/dns4/host{number}.example/tcp/1")));
        }
        assert_eq!(lock(&reach.0).named.len(), limits::BOOTSTRAP_ADDRESSES_MAX);
    }
}
