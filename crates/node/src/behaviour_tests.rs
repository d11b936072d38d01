//! The limits that a node sets to libp2p's behaviours, at their edges: connections by hand, and a relay between real swarms.

#![allow(dead_code, reason = "libp2p's derive makes an event of each behaviour, and most are looked at by nobody")]

use super::*;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    PeerId, StreamProtocol, Swarm,
    connection_limits::Exceeded,
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    multiaddr::Protocol,
    swarm::{
        self, ConnectionId, FromSwarm, SwarmEvent,
        behaviour::{ConnectionClosed, ConnectionEstablished},
    },
};
use std::{pin::Pin, time::Duration};
use tokio::sync::mpsc;

/// The node's limits on connections, driven by hand.
struct Bench {
    limits: connection_limits::Behaviour,
    next_id: usize,
}

fn address() -> Multiaddr {
    "/ip4/192.0.2.1/udp/1/quic-v1".parse().unwrap()
}

/// Who has opened a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opener {
    Node,
    Other,
}

impl Opener {
    fn endpoint(self) -> ConnectedPoint {
        match self {
            Opener::Node => {
                ConnectedPoint::Dialer { address: address(), role_override: Endpoint::Dialer, port_use: PortUse::New }
            }
            Opener::Other => ConnectedPoint::Listener { local_addr: address(), send_back_addr: address() },
        }
    }
}

impl Bench {
    fn of(role: Role) -> Self {
        Self { limits: connection_limits::Behaviour::new(connections_of(role)), next_id: 0 }
    }

    fn id(&mut self) -> ConnectionId {
        self.next_id += 1;
        ConnectionId::new_unchecked(self.next_id)
    }

    /// One more connection with this peer, or the limit that refuses it.
    fn connect(&mut self, peer_id: PeerId, opener: Opener) -> Result<ConnectionId, Exceeded> {
        let (connection_id, address) = (self.id(), address());
        let admitted = match opener {
            Opener::Node => {
                let (role, port) = (Endpoint::Dialer, PortUse::New);
                self.limits.handle_established_outbound_connection(connection_id, peer_id, &address, role, port)
            }
            Opener::Other => {
                self.limits.handle_established_inbound_connection(connection_id, peer_id, &address, &address)
            }
        };
        if let Err(denied) = admitted {
            return Err(denied.downcast::<Exceeded>().unwrap());
        }
        let endpoint = &opener.endpoint();
        self.limits.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id,
            connection_id,
            endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
        Ok(connection_id)
    }

    /// So many connections, each with another peer.
    fn fill(&mut self, count: u32, opener: Opener) -> Vec<(PeerId, ConnectionId)> {
        let peers = (0..count).map(|_| PeerId::random());
        peers.map(|peer| (peer, self.connect(peer, opener).unwrap())).collect()
    }

    fn close(&mut self, (peer_id, connection_id): (PeerId, ConnectionId), opener: Opener) {
        let endpoint = &opener.endpoint();
        self.limits.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id,
            connection_id,
            endpoint,
            cause: None,
            remaining_established: 0,
        }));
    }

    /// A stranger's connection is refused by this limit.
    fn refuses(&mut self, opener: Opener, limit: u32, kind: &str) {
        let exceeded = self.connect(PeerId::random(), opener).unwrap_err();
        assert_eq!(exceeded.limit(), limit, "{exceeded}");
        assert!(exceeded.to_string().contains(kind), "{exceeded}");
    }
}

#[test]
fn a_full_node_refuses_the_next_connection_until_one_is_closed_and_keeps_a_quarter_for_its_own() {
    const ALL: &str = "established connections are";
    const INCOMING: &str = "established incoming connections are";
    for (role, max) in [
        (Role::Tab, limits::TAB_CONNECTIONS_MAX),
        (Role::ShortLived, limits::TAB_CONNECTIONS_MAX),
        (Role::Native, limits::NATIVE_CONNECTIONS_MAX),
        (Role::Bootstrap, limits::NATIVE_CONNECTIONS_MAX),
    ] {
        let mut bench = Bench::of(role);
        let own_max = max / 4;
        let others = bench.fill(max - own_max, Opener::Other);
        bench.refuses(Opener::Other, max - own_max, INCOMING);
        let own = bench.fill(own_max, Opener::Node);
        bench.refuses(Opener::Node, max, ALL);
        bench.close(own[0], Opener::Node);
        bench.refuses(Opener::Other, max - own_max, INCOMING);
        bench.fill(1, Opener::Node);
        bench.refuses(Opener::Node, max, ALL);
        bench.close(others[0], Opener::Other);
        bench.fill(1, Opener::Other);
        bench.refuses(Opener::Other, max - own_max, INCOMING);
        bench.refuses(Opener::Node, max, ALL);
    }
}

#[test]
fn one_peer_has_so_many_connections_whoever_opens_them() {
    for role in [Role::Tab, Role::Native] {
        let mut bench = Bench::of(role);
        let peer = PeerId::random();
        let openers = [Opener::Node, Opener::Other];
        let opener = |number: u32| openers[number as usize % openers.len()];
        let held: Vec<_> =
            (0..limits::CONNECTIONS_PER_PEER_MAX).map(|number| bench.connect(peer, opener(number)).unwrap()).collect();
        for opener in openers {
            let exceeded = bench.connect(peer, opener).unwrap_err();
            assert_eq!(exceeded.limit(), limits::CONNECTIONS_PER_PEER_MAX);
            assert!(exceeded.to_string().contains("per peer"), "{exceeded}");
            bench.fill(1, opener);
        }
        bench.close((peer, held[0]), opener(0));
        bench.connect(peer, Opener::Other).unwrap();
        bench.connect(peer, Opener::Node).unwrap_err();
    }
}

#[test]
fn handshakes_under_way_are_bounded_in_both_directions_and_one_that_is_done_makes_room() {
    let mut bench = Bench::of(Role::Native);
    let address = address();
    let ids: Vec<_> = (0..limits::PENDING_INBOUND_MAX.max(limits::PENDING_OUTBOUND_MAX)).map(|_| bench.id()).collect();
    let (late, by_hand) = (bench.id(), &mut bench.limits);
    for id in &ids[..limits::PENDING_INBOUND_MAX as usize] {
        by_hand.handle_pending_inbound_connection(*id, &address, &address).unwrap();
    }
    let denied = by_hand.handle_pending_inbound_connection(late, &address, &address).unwrap_err();
    assert_eq!(denied.downcast::<Exceeded>().unwrap().limit(), limits::PENDING_INBOUND_MAX);
    let _done = by_hand.handle_established_inbound_connection(ids[0], PeerId::random(), &address, &address).unwrap();
    by_hand.handle_pending_inbound_connection(late, &address, &address).unwrap();

    let mut dial = |id| by_hand.handle_pending_outbound_connection(id, None, &[], Endpoint::Dialer);
    for id in &ids[..limits::PENDING_OUTBOUND_MAX as usize] {
        dial(*id).unwrap();
    }
    let denied = dial(late).unwrap_err();
    assert_eq!(denied.downcast::<Exceeded>().unwrap().limit(), limits::PENDING_OUTBOUND_MAX);
    let (role, port) = (Endpoint::Dialer, PortUse::New);
    let _done = by_hand.handle_established_outbound_connection(ids[0], PeerId::random(), &address, role, port).unwrap();
    by_hand.handle_pending_outbound_connection(late, None, &[], role).unwrap();
}

#[test]
fn one_host_is_granted_its_share_of_content_circuits_over_webrtc_too() {
    let hosts = Hosts::default();
    let meter = ContentMeter::new(10 * limits::CONTENT_CIRCUIT_BYTES);
    let mut config = relay_config(Some(meter), hosts.clone());
    // Somebody new at this host.
    let mut is_granted = |host: [u8; 4]| {
        let peer = PeerId::random();
        hosts.record(peer, Some(host.into()));
        let address = Multiaddr::empty().with(Protocol::WebRTC).with(Protocol::P2p(peer));
        let now = std::time::Instant::now();
        config.circuit_src_rate_limiters.iter_mut().all(|limiter| limiter.try_next(peer, &address, now))
    };
    let share = 10 / limits::CONTENT_HOST_SHARE;
    assert_eq!((0..20).filter(|_| is_granted([192, 0, 2, 1])).count(), share, "peer ids are free");
    assert_eq!((0..20).filter(|_| is_granted([192, 0, 2, 2])).count(), 10 - share, "others have what is left");
}

/// What a test waits for takes a second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// A relay's events that wait to be looked at.
const EVENTS_MAX: usize = 1_024;
const TRANSFER: StreamProtocol = StreamProtocol::new("/test/transfer/1");

/// What uses the relay.
#[derive(NetworkBehaviour)]
struct Client {
    relay_client: relay::client::Behaviour,
    streams: libp2p_stream::Behaviour,
}

fn client() -> Swarm<Client> {
    let identity = Keypair::generate_ed25519();
    let built = meganet_transport::build(&identity, meganet_transport::Options::default()).unwrap();
    let behaviour = Client { relay_client: built.relay_client, streams: libp2p_stream::Behaviour::new() };
    let executor = |task: Pin<Box<dyn Future<Output = ()> + Send>>| platform::spawn(task);
    let config = swarm::Config::with_executor(executor).with_idle_connection_timeout(PATIENCE);
    Swarm::new(built.transport, behaviour, identity.public().to_peer_id(), config)
}

/// Runs a swarm until the test ends.
fn run(mut swarm: Swarm<Client>) {
    platform::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
}

/// A native peer's swarm, where it is reached as a relay, and what it says as one.
struct Relay {
    address: Multiaddr,
    events: mpsc::Receiver<relay::Event>,
}

impl Relay {
    async fn start() -> Self {
        let identity = Keypair::generate_ed25519();
        let config = NodeConfig::native([7; 32]);
        let mut swarm = crate::swarm::build(&config, &identity, (Willing::default(), None)).unwrap();
        swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        // Who knows no address of its own is no relay.
        swarm.add_external_address(address.clone());
        let (tell, events) = mpsc::channel(EVENTS_MAX);
        platform::spawn(async move {
            loop {
                if let SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) = swarm.select_next_some().await {
                    let _ = tell.try_send(event);
                }
            }
        });
        Self { address: address.with(Protocol::P2p(identity.public().to_peer_id())), events }
    }

    async fn until<T>(&mut self, what: &str, is_it: impl Fn(relay::Event) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = is_it(self.events.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("no {what}"))
    }

    /// Asks for a reservation for this peer; whether it has got one, or why not.
    async fn reserve(&mut self, mut client: Swarm<Client>) -> Result<(), relay::StatusCode> {
        let peer = *client.local_peer_id();
        client.listen_on(self.address.clone().with(Protocol::P2pCircuit)).unwrap();
        run(client);
        self.until("answer to a reservation", |event| match event {
            relay::Event::ReservationReqAccepted { src_peer_id, .. } if src_peer_id == peer => Some(Ok(())),
            relay::Event::ReservationReqDenied { src_peer_id, status } if src_peer_id == peer => Some(Err(status)),
            _ => None,
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_ip_address_gets_its_share_of_reservations_and_no_more() {
    let mut relay = Relay::start().await;
    let mut granted = 0;
    let refusal = loop {
        match relay.reserve(client()).await {
            Ok(()) => granted += 1,
            Err(refusal) => break refusal,
        }
        assert!(granted <= limits::RESERVATIONS_PER_IP_PER_HOUR, "{granted} reservations of one IP address");
    };
    assert!(matches!(refusal, relay::StatusCode::ResourceLimitExceeded), "{refusal:?}");
    assert_eq!(granted, limits::RESERVATIONS_PER_IP_PER_HOUR);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_circuit_is_cut_after_its_bytes_and_the_next_one_is_not() {
    /// The relay looks at its count after each piece, of up to 8 KiB in each direction.
    const BEYOND_MAX_BYTES: u64 = 16 * 1024;
    let mut relay = Relay::start().await;
    let listener = client();
    let to = *listener.local_peer_id();
    let mut incoming = listener.behaviour().streams.new_control().accept(TRANSFER).unwrap();
    relay.reserve(listener).await.unwrap();
    for _ in 0..2 {
        let mut dialler = client();
        let from = *dialler.local_peer_id();
        dialler.dial(relay.address.clone().with(Protocol::P2pCircuit).with(Protocol::P2p(to))).unwrap();
        loop {
            match dialler.select_next_some().await {
                SwarmEvent::ConnectionEstablished { endpoint, .. } if endpoint.is_relayed() => break,
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
        let mut streams = dialler.behaviour().streams.new_control();
        run(dialler);
        let sending = async {
            let mut stream = streams.open_stream(to, TRANSFER).await.unwrap();
            // Being cut off is what is to come.
            let _ = stream.write_all(&vec![7; 4 * limits::CIRCUIT_MAX_BYTES as usize]).await;
            let _ = stream.close().await;
        };
        let receiving = async {
            let (_, mut stream) = incoming.next().await.unwrap();
            let (mut received, mut buffer) = (0, vec![0; 4_096]);
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                received += read as u64;
            }
            received
        };
        let both = async { tokio::join!(sending, receiving).1 };
        let received = tokio::time::timeout(PATIENCE, both).await.expect("the circuit is cut");
        // What was on its way when it was cut may be lost.
        let expected = limits::CIRCUIT_MAX_BYTES / 4..=limits::CIRCUIT_MAX_BYTES + BEYOND_MAX_BYTES;
        assert!(expected.contains(&received), "{received} bytes, and not {expected:?}");
        let error = relay
            .until("end of the circuit", |event| match event {
                relay::Event::CircuitClosed { src_peer_id, error, .. } if src_peer_id == from => Some(error),
                _ => None,
            })
            .await;
        assert!(error.is_some_and(|error| error.to_string().contains("bytes")), "it ended in another way");
    }
}
