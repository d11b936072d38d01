//! Swarms on loopback in tasks of their own, which a test asks and listens to.

#![allow(dead_code, reason = "each test program uses a part of it")]

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm,
    core::{ConnectedPoint, transport::ListenerId},
    identity::Keypair,
    multiaddr::Protocol,
    relay,
    swarm::{
        Config, ConnectionError, DialError, NetworkBehaviour, SwarmEvent,
        behaviour::toggle::Toggle,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use meganet_transport::{
    Census, Options, build,
    proto::address::Signalled,
    signalling::{self, DirectOnly, is_relayed},
};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Questions to a node, and what it has seen, that wait.
const WAITING_MAX: usize = 1_024;
pub const ECHO: StreamProtocol = StreamProtocol::new("/test/echo/1");

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    pub relay_client: relay::client::Behaviour,
    /// A liar signals by hand.
    pub signalling: Toggle<signalling::Behaviour>,
    pub relay: Toggle<relay::Behaviour>,
    pub streams: DirectOnly<libp2p_stream::Behaviour>,
    /// A liar's, on relayed connections too.
    pub raw: Toggle<libp2p_stream::Behaviour>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Private,
    Relay,
    Liar,
}

#[derive(Debug)]
pub enum Seen {
    Direct(PeerId, ConnectedPoint),
    Relayed,
    Closed {
        peer: PeerId,
        relayed: bool,
        cause: Option<ConnectionError>,
    },
    /// An attempt of somebody else's failed.
    IncomingFailed(String),
    DialFailed(String),
    NoDirectPath,
    Reserved,
    Listens(Multiaddr),
}

type Ask = Box<dyn FnOnce(&mut Swarm<Behaviour>) + Send>;

/// A swarm in a task of its own.
pub struct Node {
    pub peer: PeerId,
    /// That of `/webrtc`.
    pub listener: ListenerId,
    ask: mpsc::Sender<Ask>,
    pub seen: mpsc::Receiver<Seen>,
    pub streams: libp2p_stream::Control,
    pub raw: Option<libp2p_stream::Control>,
    pub address: Multiaddr,
    pub census: Census,
}

/// Not the default's limits, which are for strangers: all of a test's peers are at one address.
fn relay_config() -> relay::Config {
    relay::Config {
        max_reservations: 1_000,
        max_circuits: 1_000,
        max_circuits_per_peer: 1_000,
        // What a liar sends comes to its victim.
        max_circuit_bytes: 1 << 30,
        reservation_rate_limiters: Vec::new(),
        circuit_src_rate_limiters: Vec::new(),
        ..relay::Config::default()
    }
}

impl Node {
    pub async fn new(kind: Kind) -> Self {
        Self::with(Keypair::generate_ed25519(), kind).await
    }

    pub async fn with(identity: Keypair, kind: Kind) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let census = Census::default();
        let options = Options { census: census.clone(), ..Options::default() };
        let built = build(&identity, options).unwrap();
        let is_relay = kind == Kind::Relay;
        let peer = identity.public().to_peer_id();
        let behaviour = Behaviour {
            relay_client: built.relay_client,
            signalling: (kind != Kind::Liar).then_some(built.signalling).into(),
            relay: is_relay.then(|| relay::Behaviour::new(peer, relay_config())).into(),
            streams: DirectOnly::new(libp2p_stream::Behaviour::new()),
            raw: (kind == Kind::Liar).then(libp2p_stream::Behaviour::new).into(),
        };
        let config = Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
        let mut swarm = Swarm::new(built.transport, behaviour, peer, config);
        let listener = swarm.listen_on("/webrtc".parse().unwrap()).unwrap();
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
        let raw = swarm.behaviour().raw.as_ref().map(libp2p_stream::Behaviour::new_control);
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
                    SwarmEvent::ConnectionClosed { peer_id, endpoint, cause, .. } => {
                        let relayed = endpoint.is_relayed();
                        Seen::Closed { peer: peer_id, relayed, cause }
                    }
                    SwarmEvent::NewListenAddr { address, .. } => Seen::Listens(address),
                    SwarmEvent::IncomingConnectionError { error, .. } => Seen::IncomingFailed(format!("{error:?}")),
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
        Self { peer, listener, ask, seen, streams, raw, address, census }
    }

    pub async fn ask<T: Send + 'static>(&self, what: impl FnOnce(&mut Swarm<Behaviour>) -> T + Send + 'static) -> T {
        let (reply, answer) = oneshot::channel();
        let _ = self.ask.try_send(Box::new(move |swarm| _ = reply.send(what(swarm))));
        answer.await.unwrap()
    }

    pub async fn until<T>(&mut self, what: &str, mut is_it: impl FnMut(Seen) -> Option<T>) -> T {
        let waiting = async {
            loop {
                if let Some(found) = is_it(self.seen.recv().await.unwrap()) {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(40), waiting).await.unwrap_or_else(|_| panic!("no {what}"))
    }

    pub async fn reserve(&mut self, relay: &Multiaddr) {
        let address = relay.clone().with(Protocol::P2pCircuit);
        self.ask(|swarm| swarm.listen_on(address)).await.unwrap();
        self.until("reservation", |seen| matches!(seen, Seen::Reserved).then_some(())).await;
    }

    /// Listens on `webrtc-direct` too; where.
    pub async fn listen_directly(&mut self) -> Multiaddr {
        self.ask(|swarm| swarm.listen_on("/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap())).await.unwrap();
        self.until("listener", |seen| match seen {
            Seen::Listens(address) if address.iter().any(|part| part == Protocol::WebRTCDirect) => Some(address),
            _ => None,
        })
        .await
    }

    /// Dials through a relay, the way a node does: the connection's address names no relay. What is still open to the peer is no
    /// reason not to.
    pub async fn dial(&self, address: Multiaddr) {
        let peer = Signalled::parse(&address).unwrap().peer;
        self.ask(move |swarm| {
            let short = swarm.behaviour().signalling.as_ref().unwrap().routes().learn(&address).unwrap();
            swarm.dial(DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![short]).build())
        })
        .await
        .unwrap();
    }

    pub async fn direct(&mut self, peer: PeerId) -> ConnectedPoint {
        self.until("direct connection", |seen| match seen {
            Seen::Direct(other, endpoint) if other == peer => Some(endpoint),
            Seen::DialFailed(error) => panic!("{error}"),
            _ => None,
        })
        .await
    }

    /// Dials through a relay and waits for that connection; one that the other end dialled is none of it.
    pub async fn connect(&mut self, peer: PeerId, relay: &Multiaddr) {
        self.dial(through(relay, peer)).await;
        self.until("direct connection", |seen| match seen {
            Seen::Direct(other, endpoint) if other == peer && endpoint.is_dialer() => Some(()),
            Seen::DialFailed(error) => panic!("{error}"),
            _ => None,
        })
        .await;
    }

    /// Waits for the end of the connection that [`Node::connect`] made.
    pub async fn ended(&mut self, peer: PeerId) {
        let is_end = |seen| matches!(seen, Seen::Closed { peer: of, relayed: false, .. } if of == peer).then_some(());
        self.until("end of the direct connection", is_end).await;
    }

    /// Waits until these are all the connections there are: a relayed one ends soon after the direct one is open, and either
    /// end may hear of the two in either order.
    pub async fn settled(&self, connections: u32) {
        let established = || self.ask(|swarm| swarm.network_info().connection_counters().num_established());
        let waiting = async {
            while established().await != connections {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(40), waiting).await;
        waited.unwrap_or_else(|_| panic!("not {connections} connections"));
    }

    pub async fn close(&self, peer: PeerId) {
        self.ask(move |swarm| swarm.disconnect_peer_id(peer)).await.unwrap();
    }

    pub async fn echo(&mut self, peer: PeerId, bytes: usize) {
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

pub fn through(relay: &Multiaddr, peer: PeerId) -> Multiaddr {
    relay.clone().with(Protocol::P2pCircuit).with(Protocol::WebRTC).with(Protocol::P2p(peer))
}
