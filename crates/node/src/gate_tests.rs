//! The gate, driven by hand.

use super::*;
use libp2p::{core::ConnectedPoint, swarm::behaviour::ConnectionEstablished};

/// Where connections arrive that are no circuits.
const LOCAL: &str = "/ip4/192.0.2.1/udp/1/quic-v1";

fn inbound_at(gate: &mut Gate, id: usize, peer: PeerId, local: &str, from: &str) -> bool {
    let (id, local) = (ConnectionId::new_unchecked(id), local.parse().unwrap());
    gate.handle_established_inbound_connection(id, peer, &local, &from.parse().unwrap()).is_ok()
}

fn inbound_of(gate: &mut Gate, id: usize, peer: PeerId, from: &str) -> bool {
    inbound_at(gate, id, peer, LOCAL, from)
}

fn pending_at(gate: &mut Gate, id: usize, local: &str, from: &str) -> bool {
    let (id, local) = (ConnectionId::new_unchecked(id), local.parse().unwrap());
    gate.handle_pending_inbound_connection(id, &local, &from.parse().unwrap()).is_ok()
}

fn pending(gate: &mut Gate, id: usize, from: &str) -> bool {
    pending_at(gate, id, LOCAL, from)
}

/// Where circuits through this relay arrive.
fn circuits_of(relay: PeerId) -> String {
    format!("/ip4/198.51.100.1/tcp/1/ws/p2p/{relay}/p2p-circuit")
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
        let local = circuits_of(PeerId::random());
        assert!(inbound_at(&mut gate, id, peer, &local, &format!("/p2p/{peer}")));
        assert!(outbound_of(&mut gate, 100 + id, peer, &format!("{relay}/p2p-circuit/p2p/{peer}")));
    }
    assert!(gate.by_group.keys().all(|group| matches!(group, Group::InboundThrough(Some(_)))));
    let named = (200..300).filter(|id| {
        let (peer, _) = met(&gate, Some("198.51.100.7"));
        outbound_of(&mut gate, *id, peer, &format!("{relay}/p2p-circuit/webrtc/p2p/{peer}"))
    });
    assert_eq!(named.count(), limits::OUTBOUND_PER_SUBNET_MAX, "a relay that only signalled carries nothing");
}

/// A circuit of somebody new whose handshake is under way.
fn begun(gate: &mut Gate, id: usize, local: &str) -> bool {
    pending_at(gate, id, local, &format!("/p2p/{}", PeerId::random()))
}

/// A circuit of somebody new.
fn circuit(gate: &mut Gate, id: usize, local: &str) -> bool {
    let peer = PeerId::random();
    inbound_at(gate, id, peer, local, &format!("/p2p/{peer}"))
}

#[test]
fn one_relay_cannot_fill_a_nodes_inbound_places_with_circuits() {
    let mut gate = Gate::default();
    let [hostile, honest] = [PeerId::random(), PeerId::random()].map(circuits_of);
    let half_open = (0..100).filter(|id| begun(&mut gate, *id, &hostile)).count();
    assert_eq!(half_open, limits::CIRCUITS_INBOUND_PER_RELAY_MAX);
    assert!(begun(&mut gate, 100, &honest), "others still signal");
    let accepted = (0..100).filter(|id| circuit(&mut gate, *id, &hostile)).count();
    assert_eq!(accepted, limits::CIRCUITS_INBOUND_PER_RELAY_MAX);
    assert!(circuit(&mut gate, 201, &honest));
    let signalled = (300..400).filter(|id| {
        let (peer, address) = met(&gate, Some(&format!("203.0.113.{}", id - 300)));
        inbound_at(&mut gate, *id, peer, "/webrtc", &address)
    });
    assert_eq!(signalled.count(), 100, "what was signalled through a relay is no circuit");
    gate.release(ConnectionId::new_unchecked(0));
    assert!(circuit(&mut gate, 500, &hostile), "a closed circuit gives its place back");
    // A relay that dialled this node, and is named nowhere.
    let unnamed = "/ip4/198.51.100.2/tcp/1/p2p-circuit";
    let accepted = (600..700).filter(|id| circuit(&mut gate, *id, unnamed)).count();
    assert_eq!(accepted, limits::CIRCUITS_INBOUND_PER_RELAY_MAX);
}

#[test]
fn a_peers_circuits_through_one_relay_take_a_place_each() {
    let mut gate = Gate::default();
    let (local, peer) = (circuits_of(PeerId::random()), PeerId::random());
    let from = format!("/p2p/{peer}");
    let accepted = (0..100).filter(|id| inbound_at(&mut gate, *id, peer, &local, &from)).count();
    assert_eq!(accepted, limits::CIRCUITS_INBOUND_PER_RELAY_MAX);
}

#[test]
fn a_peers_further_connections_take_no_place_more() {
    let mut gate = Gate::default();
    let from: Multiaddr = "/ip4/198.51.100.7/udp/9/quic-v1".parse().unwrap();
    let peer = PeerId::random();
    let mut connect = |id: usize, peer| {
        let id = ConnectionId::new_unchecked(id);
        gate.handle_established_inbound_connection(id, peer, &from, &from).is_ok()
    };
    assert!((0..limits::CONNECTIONS_PER_IP_MAX - 1).all(|id| connect(id, PeerId::random())));
    assert!(connect(1_000, peer) && connect(1_001, peer));
    assert!(!connect(1_002, PeerId::random()));
    // Those that are superseded are there until they are closed.
    let places = limits::CONNECTIONS_PER_IP_MAX;
    let more = (2_000..3_000).filter(|id| connect(*id, peer)).count();
    assert_eq!(places - 1 + 2 + more, limits::CONNECTIONS_PER_PLACE_MAX * places);
    (2_000..3_000).for_each(|id| gate.release(ConnectionId::new_unchecked(id)));
    gate.release(ConnectionId::new_unchecked(1_000));
    assert!(!inbound(&mut gate, 1_003, "/ip4/198.51.100.7/udp/9/quic-v1"), "the peer is still there");
    gate.release(ConnectionId::new_unchecked(1_001));
    assert!(inbound(&mut gate, 1_004, "/ip4/198.51.100.7/udp/9/quic-v1"));
}

#[test]
fn a_page_that_is_reloaded_again_and_again_is_never_refused_for_what_it_left_behind() {
    let mut gate = Gate::default();
    let (peer, from) = (PeerId::random(), "/ip4/198.51.100.7/udp/9/quic-v1");
    let endpoint =
        ConnectedPoint::Listener { local_addr: LOCAL.parse().unwrap(), send_back_addr: from.parse().unwrap() };
    let mut closed = Vec::new();
    for number in 0..20 {
        let connection_id = ConnectionId::new_unchecked(number);
        assert!(inbound_of(&mut gate, number, peer, from));
        gate.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id,
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: number,
        }));
        let mut context = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) }) =
            gate.poll(&mut context)
        {
            assert_eq!(peer_id, peer);
            gate.release(id);
            closed.push(id);
        }
    }
    let oldest = (0..20 - limits::CONNECTIONS_PER_WAY_MAX).map(ConnectionId::new_unchecked);
    assert_eq!(closed, oldest.collect::<Vec<_>>());
}

#[test]
fn case_49_one_ipv6_host_is_one_whatever_its_addresses() {
    let mut gate = Gate::default();
    let accepted =
        (0..100).filter(|id| inbound(&mut gate, *id, &format!("/ip6/2001:db8::{id:x}/udp/9/quic-v1"))).count();
    assert_eq!(accepted, limits::CONNECTIONS_PER_IP_MAX);
    assert!(inbound(&mut gate, 200, "/ip6/2001:db8:0:1::1/udp/9/quic-v1"));
}

/// So many hosts of one /48, each of them as often as one host may.
fn from_hosts(network: &str, hosts: usize, per_host: usize) -> Vec<String> {
    let addresses = (0..hosts).flat_map(|host| (0..per_host).map(move |number| (host, number)));
    addresses.map(|(host, number)| format!("/ip6/{network}:{host:x}::{number:x}/udp/9/quic-v1")).collect()
}

#[test]
fn case_49_all_hosts_of_one_ipv6_customer_have_a_share_together() {
    let (half_open, connected) = (limits::PENDING_PER_IP_MAX, limits::CONNECTIONS_PER_IP_MAX);
    let mut gate = Gate::default();
    let silent = from_hosts("2001:db8:1", 32, half_open);
    let accepted = silent.iter().enumerate().filter(|(id, from)| pending(&mut gate, *id, from)).count();
    assert_eq!(accepted, limits::PENDING_PER_NETWORK_MAX);
    assert!(pending(&mut gate, 1_000, "/ip6/2001:db8:2::1/tcp/9"), "others still get in");
    assert!(inbound(&mut gate, 0, &silent[0]), "a finished handshake gives its place back");
    assert!(pending(&mut gate, 1_001, "/ip6/2001:db8:1:ff::1/tcp/9"));
    assert!(!pending(&mut gate, 1_002, "/ip6/2001:db8:1:fe::1/tcp/9"));

    let mut gate = Gate::default();
    let many = from_hosts("2001:db8:1", 32, connected);
    let accepted = many.iter().enumerate().filter(|(id, from)| inbound(&mut gate, *id, from)).count();
    assert_eq!(accepted, limits::CONNECTIONS_PER_NETWORK_MAX);
    assert!(!meets_us(&mut gate, 1_000, Some("2001:db8:1:ff::1")), "it has one share, however it connects");
    assert!(inbound(&mut gate, 1_001, "/ip6/2001:db8:2::1/tcp/9"), "others still get in");
    gate.release(ConnectionId::new_unchecked(0));
    assert!(meets_us(&mut gate, 1_002, Some("2001:db8:1:ff::1")), "a closed connection gives its place back");
    (0..2_000).for_each(|id| gate.release(ConnectionId::new_unchecked(id)));
    assert!(gate.by_group.is_empty() && gate.by_connection.is_empty(), "who was refused has taken no place");

    let mut gate = Gate::default();
    let neighbours = from_hosts("fd00:0:0", 32, 1);
    assert!(neighbours.iter().enumerate().all(|(id, from)| inbound(&mut gate, id, from)));
    assert!(inbound(&mut gate, 100, "/ip6/fd00:0:0:ff::1/tcp/9"), "neighbours of an office are counted one by one");
    let four = (200..400).filter(|id| inbound(&mut gate, *id, &format!("/ip4/203.0.113.{}/tcp/9", id - 200)));
    assert_eq!(four.count(), 200, "and so are hosts of IPv4");
    assert!((400..500).all(|id| pending(&mut gate, id, "/ip6/::1/tcp/9")), "loopback is exempt");
}

#[test]
fn half_open_connections_of_one_host_do_not_keep_others_out() {
    let mut gate = Gate::default();
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
    let accepted = (0..50).filter(|id| outbound(&mut gate, *id, &format!("/ip4/203.0.113.{id}/udp/9/quic-v1"))).count();
    assert_eq!(accepted, limits::OUTBOUND_PER_SUBNET_MAX);
    assert!(outbound(&mut gate, 60, "/ip4/203.0.114.1/udp/9/quic-v1"));
    let six = (70..90).filter(|id| outbound(&mut gate, *id, &format!("/ip6/2001:db8:1::{id}/udp/9/quic-v1"))).count();
    assert_eq!(six, limits::OUTBOUND_PER_SUBNET_MAX);
}

#[test]
fn lookups_of_a_tab_begin_few_connections_in_an_hour() {
    let mut dials = LookupDials { per_hour: Some(limits::LOOKUP_DIALS_PER_HOUR), ..LookupDials::default() };
    assert_eq!((0..100).filter(|at| dials.take(None, *at).is_ok()).count(), limits::LOOKUP_DIALS_PER_HOUR);
    assert!(dials.take(None, HOUR_MS).is_ok(), "the first is an hour old");
    assert!(dials.take(None, HOUR_MS).is_err());
    let gone = PeerId::random();
    let mut dials = LookupDials { per_hour: Some(1), ..LookupDials::default() };
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
    let mut dials = LookupDials { per_hour: Some(1), ..LookupDials::default() };
    dials.failed(peer, [&plain].into_iter(), 0);
    assert!(!dials.unreachable.is_silent(&peer, 0), "nobody is connected: this node may be offline");
    dials.connected(id(1), other, 0);
    dials.connected(id(2), peer, 0);
    dials.failed(peer, [&plain].into_iter(), 0);
    assert!(!dials.unreachable.is_silent(&peer, 0), "it is connected");
    dials.direct.remove(&id(2));
    dials.failed(peer, [&circuit].into_iter(), 0);
    assert!(!dials.unreachable.is_silent(&peer, 0), "its relay failed");
    dials.failed(peer, [&plain, &circuit].into_iter(), 0);
    assert!(dials.unreachable.is_silent_at(&peer, &plain, 0) && !dials.unreachable.is_silent_at(&peer, &circuit, 0));
    dials.connected(id(3), peer, 0);
    assert!(!dials.unreachable.is_silent(&peer, 0));
}

#[test]
fn who_ends_a_connection_as_soon_as_it_is_there_is_left_alone_for_a_while() {
    let peer = PeerId::random();
    let address: Multiaddr = "/ip4/192.0.2.1/udp/1/webrtc-direct".parse().unwrap();
    let (id, soon_ms) = (ConnectionId::new_unchecked, limits::TURNED_OUT_WITHIN.as_millis() as u64 - 1);
    for (dialled, is_its_doing, at_ms, is_held_against) in [
        (Some(&address), true, soon_ms, true),
        (Some(&address), true, soon_ms + 1, false),
        (Some(&address), false, soon_ms, false),
        (None, true, soon_ms, false),
    ] {
        // A native peer has no budget, and asks nobody again and again either.
        for per_hour in [None, Some(1)] {
            let mut dials = LookupDials { per_hour, ..LookupDials::default() };
            dials.closed(id(1), dialled, is_its_doing, at_ms);
            for _ in 0..2 {
                dials.connected(id(1), peer, 0);
                dials.closed(id(1), dialled, is_its_doing, at_ms);
            }
            assert_eq!(dials.unreachable.is_silent_at(&peer, &address, at_ms), is_held_against);
            assert_eq!(dials.take(Some(peer), at_ms).is_err(), is_held_against);
        }
    }
    let mut dials = LookupDials { per_hour: Some(1), ..LookupDials::default() };
    for number in 0..9 {
        dials.connected(id(number), peer, 0);
        dials.connected(id(number + 1), peer, 0);
        dials.closed(id(number), Some(&address), true, soon_ms);
    }
    assert!(!dials.unreachable.is_silent(&peer, soon_ms), "both ends had dialled, and one of two is enough");
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
        gate.lookups.unreachable.failed(peer, std::iter::empty(), platform::monotonic_ms());
        gate.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer,
            connection_id: ConnectionId::new_unchecked(number),
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
        let lookups = &gate.lookups;
        assert_eq!(!lookups.unreachable.is_silent(&peer, platform::monotonic_ms()), is_reached);
        assert_eq!(lookups.direct.len(), usize::from(is_reached));
    }
}
