//! The network task: owns the swarm, answers [`Request`]s, and is the only place that sees libp2p events.
//!
//! The rest of the node talks to it through [`Network`], whose calls are short: dial, look a head up, find providers,
//! announce, list peers. Bulk data never passes through here; it flows on exchange streams of its own.

mod announcements;
mod begun;
mod content_meter;
mod detours;
mod first_contact;
mod idle;
mod lookups;
mod memory;
mod neighbours;
mod peers;
mod reach;
mod reservations;
mod task;
mod unreachable;

use crate::{
    config::{NodeConfig, Role},
    exchange::{Controls, PathTable},
    limits,
    node::Traffic,
    store::StoreError,
};
use futures::{
    SinkExt,
    channel::{mpsc, oneshot},
};
use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol, swarm};
use meganet_core::{head::Head, keys::BlindedKey, peer_list::PeerEntry, remembered::RememberedPeer};
use std::{sync::Arc, time::Duration};

pub(crate) use content_meter::ContentMeter;
pub(crate) use detours::Willing;
pub(crate) use first_contact::JoinState;
pub(crate) use peers::Peer;
pub(crate) use reach::Within;
pub(crate) use unreachable::Unreachable;

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Transport(#[from] meganet_transport::BuildError),
    #[error("cannot listen on {address}: {reason}")]
    Listen { address: Multiaddr, reason: String },
    #[error("the exchange protocol is registered twice")]
    Exchange,
    #[error("storage: {0}")]
    Store(#[from] StoreError),
}

/// What the rest of the node asks of the network task.
pub(crate) enum Request {
    Dial {
        address: Multiaddr,
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// What is known soon after the first valid head, and again when every peer near the key was asked.
    FindHead {
        blinded: BlindedKey,
        answers: mpsc::Sender<HeadsFound>,
    },
    /// Providers as they are found; each is dialled. The channel ends when the search and those dials have.
    FindProviders {
        blinded: BlindedKey,
        found: mpsc::Sender<PeerId>,
    },
    PutHead {
        head: Head,
        reply: oneshot::Sender<u32>,
    },
    Provide {
        blinded: BlindedKey,
        on: bool,
    },
    AddBootstrap {
        addresses: Vec<Multiaddr>,
    },
    RetryNow,
    ShutDown {
        reply: oneshot::Sender<()>,
    },
    Ban {
        peer: PeerId,
    },
    Snapshot {
        reply: oneshot::Sender<Snapshot>,
    },
    /// Whom this node is connected to, for a peer that asks.
    KnownPeers {
        to: PeerId,
        reply: oneshot::Sender<Vec<PeerEntry>>,
    },
    /// Whom a peer says that it knows.
    LearnPeers {
        from: PeerId,
        peers: Vec<PeerEntry>,
    },
    /// The good peers to remember, if they changed since they were asked for last.
    Remembered {
        reply: oneshot::Sender<Option<Vec<RememberedPeer>>>,
    },
}

/// The result of looking a head up.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeadsFound {
    /// Valid heads filed under the key, from independent peers; `None` is this node's own record store.
    pub heads: Vec<(Head, Option<PeerId>)>,
    /// Peers that answered, with the head or without.
    pub asked: u32,
    /// Every peer near the key was asked, or enough of them: one that replays an old head is not alone any more.
    pub complete: bool,
}

/// The network's state at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub peers: Vec<peers::Peer>,
    /// Own addresses, each with `/p2p/PEER`.
    pub addresses: Vec<Multiaddr>,
    /// Peers to which no direct path was found, and the relay that carries their content.
    pub no_direct_path: Vec<(PeerId, Option<PeerId>)>,
}

/// What the network task tells the node.
#[derive(Debug, Clone)]
pub(crate) enum NetworkEvent {
    Join(JoinState),
    /// A direct (not relayed) connection exists now, or the last one is gone.
    Connected(PeerId),
    Disconnected(PeerId),
    /// A relay carries content from this peer, to which there is no direct connection, until it is disconnected.
    Carried(PeerId),
    /// What is known of the ways to peers changed.
    Paths,
}

/// A handle on the network task.
#[derive(Clone)]
pub(crate) struct Network {
    requests: mpsc::Sender<Request>,
}

/// The network task is gone: the node is stopping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub(crate) struct Gone;

impl Network {
    /// A network whose requests a test answers.
    #[cfg(test)]
    pub fn for_tests() -> (Self, mpsc::Receiver<Request>) {
        let (requests, inbox) = mpsc::channel(limits::COMMAND_QUEUE);
        (Self { requests }, inbox)
    }

    async fn send(&mut self, request: Request) -> Result<(), Gone> {
        self.requests.send(request).await.map_err(|_| Gone)
    }

    async fn ask<T>(&mut self, make: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Gone> {
        let (reply, answer) = oneshot::channel();
        self.send(make(reply)).await?;
        answer.await.map_err(|_| Gone)
    }

    pub async fn dial(&mut self, address: Multiaddr) -> Result<Result<(), String>, Gone> {
        self.ask(|reply| Request::Dial { address, reply }).await
    }

    /// Up to two answers: see [`Request::FindHead`]. None at all: too many lookups are under way.
    pub async fn find_head(&mut self, blinded: BlindedKey) -> Result<mpsc::Receiver<HeadsFound>, Gone> {
        let (answers, receiver) = mpsc::channel(1);
        self.send(Request::FindHead { blinded, answers }).await?;
        Ok(receiver)
    }

    pub async fn find_providers(&mut self, blinded: BlindedKey) -> Result<mpsc::Receiver<PeerId>, Gone> {
        let (found, receiver) = mpsc::channel(limits::PROVIDERS_PER_SITE_MAX);
        self.send(Request::FindProviders { blinded, found }).await?;
        Ok(receiver)
    }

    pub async fn put_head(&mut self, head: Head) -> Result<u32, Gone> {
        self.ask(|reply| Request::PutHead { head, reply }).await
    }

    pub async fn provide(&mut self, blinded: BlindedKey, on: bool) -> Result<(), Gone> {
        self.send(Request::Provide { blinded, on }).await
    }

    pub async fn add_bootstrap(&mut self, addresses: Vec<Multiaddr>) -> Result<(), Gone> {
        self.send(Request::AddBootstrap { addresses }).await
    }

    pub async fn retry_now(&mut self) -> Result<(), Gone> {
        self.send(Request::RetryNow).await
    }

    /// Answers when the other ends have been told.
    pub async fn shut_down(&mut self) -> Result<(), Gone> {
        self.ask(|reply| Request::ShutDown { reply }).await
    }

    pub async fn ban(&mut self, peer: PeerId) -> Result<(), Gone> {
        self.send(Request::Ban { peer }).await
    }

    pub async fn known_peers(&mut self, to: PeerId) -> Result<Vec<PeerEntry>, Gone> {
        self.ask(|reply| Request::KnownPeers { to, reply }).await
    }

    pub async fn learn_peers(&mut self, from: PeerId, peers: Vec<PeerEntry>) -> Result<(), Gone> {
        self.send(Request::LearnPeers { from, peers }).await
    }

    pub async fn remembered(&mut self) -> Result<Option<Vec<RememberedPeer>>, Gone> {
        self.ask(|reply| Request::Remembered { reply }).await
    }

    pub async fn snapshot(&mut self) -> Result<Snapshot, Gone> {
        self.ask(|reply| Request::Snapshot { reply }).await
    }
}

/// What [`start`] gives back.
pub(crate) struct Started {
    pub network: Network,
    pub events: mpsc::Receiver<NetworkEvent>,
    /// For `/meganet/peers/1`.
    pub streams: libp2p_stream::Control,
    /// For `/meganet/exchange/1`.
    pub exchange: Controls,
    /// The connections to each peer, as the exchange sees them.
    pub paths: PathTable,
    pub local: PeerId,
}

/// Builds the swarm, listens, and runs the network task until every [`Network`] handle is dropped. `remembered` are the good
/// peers of the last run; `traffic` tells which connections carry something.
pub(crate) async fn start(
    config: &NodeConfig,
    remembered: Vec<RememberedPeer>,
    traffic: Arc<Traffic>,
) -> Result<Started, StartError> {
    let mut seed = config.identity_seed;
    let identity = Keypair::ed25519_from_bytes(&mut seed).unwrap_or_else(|_| Keypair::generate_ed25519());
    let local = identity.public().to_peer_id();
    let willing = Willing::default();
    let content = config.relay_content_bytes_per_hour.map(ContentMeter::new);
    let mut swarm = crate::swarm::build(config, &identity, (willing.clone(), content.clone()))?;
    let listeners = task::listen(&mut swarm, config)?;
    if config.role != Role::ShortLived {
        let webrtc = Multiaddr::empty().with(Protocol::WebRTC);
        if let Err(error) = swarm.listen_on(webrtc.clone()) {
            return Err(StartError::Listen { address: webrtc, reason: error.to_string() });
        }
        if config.role == Role::Tab {
            // A relay must name an address in the reservations it gives. This one is good for those that are connected.
            swarm.add_external_address(webrtc);
        }
    }
    for address in &config.external {
        swarm.add_external_address(address.clone());
    }
    let behaviour = swarm.behaviour();
    let streams = behaviour.streams.new_control();
    let exchange = Controls {
        direct: behaviour.exchange.new_control(),
        websocket: behaviour.exchange_websocket.new_control(),
        relayed: behaviour.exchange_relayed.new_control(),
    };
    let (paths, wishes) = PathTable::new();
    let (requests, inbox) = mpsc::channel(limits::COMMAND_QUEUE);
    let (events_sender, events) = mpsc::channel(limits::EVENT_QUEUE);
    let channels = (inbox, events_sender);
    let mut task =
        task::Task::new(swarm, config, remembered, traffic, channels, (paths.clone(), wishes), (willing, content));
    task.listening(listeners).await?;
    crate::platform::spawn(task.run());
    Ok(Started { network: Network { requests }, events, streams, exchange, paths, local })
}

/// How the swarm itself is set.
pub(crate) fn swarm_config(config: swarm::Config, role: Role) -> swarm::Config {
    let config = config
        .with_idle_connection_timeout(limits::IDLE_CONNECTION_TIMEOUT)
        .with_max_negotiating_inbound_streams(limits::NEGOTIATING_STREAMS_MAX)
        .with_per_connection_event_buffer_size(32);
    match role {
        // A tab has one transport; ranking would only delay it.
        Role::Tab => config,
        // QUIC first, TCP after it, WebRTC last: each gets a head start over the next (Happy Eyeballs, RFC 8305).
        Role::Native | Role::Bootstrap | Role::ShortLived => config.with_smart_dial(),
    }
}

/// Time a listener may take to tell its address.
pub(crate) const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);
