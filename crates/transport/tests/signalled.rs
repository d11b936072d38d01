//! Real swarms on loopback: a relay, and peers that only it brings together.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it finds a fault"
)]

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm,
    core::ConnectedPoint,
    identity::Keypair,
    multiaddr::Protocol,
    relay,
    swarm::{Config, DialError, NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle, dial_opts::DialOpts},
};
use meganet_transport::{
    Options, build,
    proto::address::Signalled,
    signalling::{self, DirectOnly, is_relayed},
};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Questions to a node, and what it has seen, that wait.
const WAITING_MAX: usize = 1_024;
const ECHO: StreamProtocol = StreamProtocol::new("/test/echo/1");

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay_client: relay::client::Behaviour,
    signalling: signalling::Behaviour,
    relay: Toggle<relay::Behaviour>,
    streams: DirectOnly<libp2p_stream::Behaviour>,
}

#[derive(Debug)]
enum Seen {
    Direct(PeerId, ConnectedPoint),
    Relayed,
    Closed { peer: PeerId, relayed: bool },
    DialFailed(String),
    NoDirectPath,
    Reserved,
}

type Ask = Box<dyn FnOnce(&mut Swarm<Behaviour>) + Send>;

/// A swarm in a task of its own.
struct Node {
    peer: PeerId,
    ask: mpsc::Sender<Ask>,
    seen: mpsc::Receiver<Seen>,
    streams: libp2p_stream::Control,
    address: Multiaddr,
}

impl Node {
    async fn new(is_relay: bool) -> Self {
        Self::with(Keypair::generate_ed25519(), is_relay).await
    }

    async fn with(identity: Keypair, is_relay: bool) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let built = build(&identity, Options::default()).unwrap();
        let peer = identity.public().to_peer_id();
        let behaviour = Behaviour {
            relay_client: built.relay_client,
            signalling: built.signalling,
            relay: is_relay.then(|| relay::Behaviour::new(peer, relay::Config::default())).into(),
            streams: DirectOnly::new(libp2p_stream::Behaviour::new()),
        };
        let config = Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
        let mut swarm = Swarm::new(built.transport, behaviour, peer, config);
        swarm.listen_on("/webrtc".parse().unwrap()).unwrap();
        let mut address = Multiaddr::empty();
        if is_relay {
            swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
            address = loop {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    break address.with(Protocol::P2p(peer));
                }
            };
            swarm.add_external_address(address.clone());
        }
        let mut streams = swarm.behaviour().streams.new_control();
        let mut echoes = streams.accept(ECHO).unwrap();
        tokio::spawn(async move {
            while let Some((_, stream)) = echoes.next().await {
                let (mut reader, mut writer) = stream.split();
                let _ = futures::io::copy(&mut reader, &mut writer).await;
                let _ = writer.close().await;
            }
        });
        let (ask, mut asked) = mpsc::channel::<Ask>(WAITING_MAX);
        let (tell, seen) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = swarm.select_next_some() => event,
                    asked = asked.recv() => match asked {
                        Some(ask) => {
                            ask(&mut swarm);
                            continue;
                        }
                        None => return,
                    },
                };
                tracing::debug!(%peer, ?event, "seen");
                let seen = match event {
                    SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                        let through = match &endpoint {
                            ConnectedPoint::Dialer { address, .. } => address,
                            ConnectedPoint::Listener { local_addr, .. } => local_addr,
                        };
                        if is_relayed(through) { Seen::Relayed } else { Seen::Direct(peer_id, endpoint) }
                    }
                    SwarmEvent::ConnectionClosed { peer_id, endpoint, .. } => {
                        let relayed = endpoint.is_relayed();
                        Seen::Closed { peer: peer_id, relayed }
                    }
                    SwarmEvent::OutgoingConnectionError { error, .. } => Seen::DialFailed(match error {
                        DialError::Transport(errors) => format!("{:?}", errors),
                        other => other.to_string(),
                    }),
                    SwarmEvent::Behaviour(BehaviourEvent::Signalling(signalling::Event::NoDirectPath { .. })) => {
                        Seen::NoDirectPath
                    }
                    SwarmEvent::Behaviour(BehaviourEvent::RelayClient(
                        relay::client::Event::ReservationReqAccepted { .. },
                    )) => Seen::Reserved,
                    _ => continue,
                };
                let _ = tell.try_send(seen);
            }
        });
        Self { peer, ask, seen, streams, address }
    }

    async fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut Swarm<Behaviour>) -> T + Send + 'static) -> T {
        let (reply, answer) = oneshot::channel();
        let _ = self.ask.try_send(Box::new(move |swarm| _ = reply.send(what(swarm))));
        answer.await.unwrap()
    }

    async fn until<T>(&mut self, what: &str, mut is_it: impl FnMut(Seen) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = is_it(self.seen.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(40), waiting).await.unwrap_or_else(|_| panic!("no {what}"))
    }

    async fn reserve(&mut self, relay: &Multiaddr) {
        let address = relay.clone().with(Protocol::P2pCircuit);
        self.ask(|swarm| swarm.listen_on(address)).await.unwrap();
        self.until("reservation", |seen| matches!(seen, Seen::Reserved).then_some(())).await;
    }

    /// Dials through a relay, the way a node does: the connection's address names no relay.
    async fn dial(&self, address: Multiaddr) {
        let peer = Signalled::parse(&address).unwrap().peer;
        self.ask(move |swarm| {
            let short = swarm.behaviour().signalling.routes().learn(&address).unwrap();
            swarm.dial(DialOpts::peer_id(peer).addresses(vec![short]).build())
        })
        .await
        .unwrap();
    }

    async fn direct(&mut self, peer: PeerId) -> ConnectedPoint {
        self.until("direct connection", |seen| match seen {
            Seen::Direct(other, endpoint) if other == peer => Some(endpoint),
            Seen::DialFailed(error) => panic!("{error}"),
            _ => None,
        })
        .await
    }

    async fn echo(&mut self, peer: PeerId, bytes: usize) {
        let sent: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        let (mut reader, mut writer) = self.streams.open_stream(peer, ECHO).await.unwrap().split();
        let writing = async {
            writer.write_all(&sent).await.unwrap();
            writer.close().await.unwrap();
        };
        let mut answer = Vec::new();
        let (_, read) = futures::join!(writing, reader.read_to_end(&mut answer));
        read.unwrap();
        assert!(answer == sent, "{bytes} bytes there and back are the same");
    }
}

fn through(relay: &Multiaddr, peer: PeerId) -> Multiaddr {
    relay.clone().with(Protocol::P2pCircuit).with(Protocol::WebRTC).with(Protocol::P2p(peer))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_private_peers_meet_and_leave_the_relay() {
    let (relay, mut a, mut b) = (Node::new(true).await, Node::new(false).await, Node::new(false).await);
    b.reserve(&relay.address).await;
    a.dial(through(&relay.address, b.peer)).await;
    let endpoint = a.direct(b.peer).await;
    assert_eq!(endpoint.get_remote_address(), &Signalled::short(b.peer));
    b.direct(a.peer).await;
    a.echo(b.peer, 1 << 20).await;
    b.echo(a.peer, 1 << 20).await;
    let relayed_is_closed =
        |peer| move |seen| matches!(seen, Seen::Closed { peer: of, relayed: true } if of == peer).then_some(());
    a.until("end of the relayed connection", relayed_is_closed(b.peer)).await;
    b.until("end of the relayed connection", relayed_is_closed(a.peer)).await;
    for node in [&a, &b] {
        assert_eq!(node.ask(|swarm| swarm.behaviour().signalling.under_way()).await, (0, 0));
    }
    a.echo(b.peer, 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dial_at_once_and_one_connection_comes_of_it() {
    let relay = Node::new(true).await;
    for _ in 0..10 {
        let (mut a, mut b) = (Node::new(false).await, Node::new(false).await);
        a.reserve(&relay.address).await;
        b.reserve(&relay.address).await;
        futures::join!(a.dial(through(&relay.address, b.peer)), b.dial(through(&relay.address, a.peer)));
        let (lower, higher) = if a.peer.to_bytes() < b.peer.to_bytes() { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let endpoint = lower.direct(higher.peer).await;
        assert!(endpoint.is_dialer(), "the lower peer id's dial wins");
        higher.until("direct connection", |seen| matches!(seen, Seen::Direct(..)).then_some(())).await;
        lower.echo(higher.peer, 1_000).await;
        let (one, other) = (a.peer, b.peer);
        assert_eq!(a.ask(move |swarm| count_direct(swarm, other)).await, 1);
        assert_eq!(b.ask(move |swarm| count_direct(swarm, one)).await, 1);
    }
}

fn count_direct(swarm: &Swarm<Behaviour>, peer: PeerId) -> usize {
    usize::from(swarm.is_connected(&peer))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_peer_relays_for_others() {
    // Peer `middle` listens nowhere but `/webrtc`; it signals for two that it is connected to.
    let (relay, mut middle) = (Node::new(true).await, Node::new(true).await);
    let (mut a, mut b) = (Node::new(false).await, Node::new(false).await);
    middle.ask(|swarm| swarm.add_external_address("/webrtc".parse().unwrap())).await;
    middle.reserve(&relay.address).await;
    for node in [&mut a, &mut b] {
        node.dial(through(&relay.address, middle.peer)).await;
        node.direct(middle.peer).await;
    }
    drop(relay);
    b.reserve(&Signalled::short(middle.peer)).await;
    a.dial(through(&Signalled::short(middle.peer), b.peer)).await;
    a.direct(b.peer).await;
    a.echo(b.peer, 1 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_reservation_is_a_typed_error() {
    let (relay, mut a) = (Node::new(true).await, Node::new(false).await);
    let stranger = PeerId::random();
    a.dial(through(&relay.address, stranger)).await;
    let error = a
        .until("failure", |seen| match seen {
            Seen::DialFailed(error) if error.contains("NoRelay") => Some(error),
            _ => None,
        })
        .await;
    assert!(error.contains(&stranger.to_string()), "{error}");
    a.dial(Signalled::short(stranger)).await;
    a.until("failure", |seen| matches!(seen, Seen::DialFailed(_)).then_some(())).await;
}
