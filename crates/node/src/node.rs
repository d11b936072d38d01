//! Starting a node and talking to it.

use crate::{
    api::{
        ApiError, Command, Contribution, Event, IDS_MAX, NoDirectPath, PathInfo, PeerInfo, Phase, Reply, Stage, Status,
    },
    config::{NodeConfig, Role},
    exchange::{self, Exchange, PathTable},
    fetch::Means,
    limits,
    network::{self, JoinState, Network, NetworkEvent, StartError},
    peer_exchange,
    platform::{self, lock},
    remember,
    signal::{Problems, Signal},
    sites::Sites,
    store::{Store, StoreError},
};
use futures::{Stream, StreamExt, channel::mpsc};
use libp2p::{Multiaddr, PeerId};
use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

/// Commands carried out at once.
const COMMANDS_MAX: usize = 1_024;
/// Progress events of one complete fetch come at most this often.
const PROGRESS_EVERY_MS: u64 = 100;

/// A node. [`Node::start`] gives the handle that everything is done through.
pub struct Node;

/// A handle on a running node; cheap to clone.
#[derive(Clone)]
pub struct NodeHandle {
    inner: Arc<Inner>,
}

struct Inner {
    local: PeerId,
    agent: String,
    network: Network,
    paths: PathTable,
    store: Arc<dyn Store>,
    sites: Sites,
    listeners: Listeners,
    state: Mutex<State>,
    contributing: Arc<AtomicBool>,
    traffic: Arc<Traffic>,
    status_changed: Signal,
    running: AtomicUsize,
    stopped: AtomicBool,
}

struct State {
    phase: Phase,
    joined_ms: Option<u64>,
}

/// Chunk bytes sent and received since the start.
#[derive(Default)]
pub(crate) struct Traffic {
    pub sent_bytes: AtomicU64,
    pub received_bytes: AtomicU64,
    /// When a chunk went to or came from each connected peer last, monotonic ms. Who looks for idle connections clears it up.
    used: Mutex<HashMap<PeerId, u64>>,
}

impl Traffic {
    fn note_use(&self, peer: PeerId) {
        lock(&self.used).insert(peer, platform::monotonic_ms());
    }

    /// Bytes of a chunk went to a peer.
    pub fn sent(&self, peer: PeerId, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.note_use(peer);
    }

    /// A chunk came from a peer.
    pub fn received(&self, peer: PeerId, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.note_use(peer);
    }

    /// When each of these peers was used last; nobody else is remembered.
    pub fn used(&self, is_connected: impl Fn(&PeerId) -> bool) -> HashMap<PeerId, u64> {
        let mut used = lock(&self.used);
        used.retain(|peer, _| is_connected(peer));
        used.clone()
    }
}

type Listeners = Arc<Mutex<Vec<mpsc::Sender<Event>>>>;

/// Events of a node. A listener that falls [`limits::EVENT_QUEUE`] events behind misses some.
pub struct EventStream {
    receiver: mpsc::Receiver<Event>,
}

impl Stream for EventStream {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.receiver.poll_next_unpin(context)
    }
}

fn tell(listeners: &Listeners, event: &Event) {
    lock(listeners).retain_mut(|listener| match listener.try_send(event.clone()) {
        Ok(()) => true,
        Err(error) => error.is_full(),
    });
}

impl Node {
    /// Opens the network and begins to join. Returns once every listener has its address.
    ///
    /// # Errors
    /// [`StartError`] when a listener's port is taken, the certificate cannot be read, or the store fails.
    pub async fn start(config: NodeConfig, store: Arc<dyn Store>) -> Result<NodeHandle, StartError> {
        let started_ms = platform::monotonic_ms();
        store.usage().await?;
        let traffic = Arc::<Traffic>::default();
        let mut remembered = remember::load(store.as_ref()).await;
        let network::Started { network, events, mut streams, exchange: mut controls, paths, local } =
            network::start(&config, std::mem::take(&mut remembered.peers), traffic.clone()).await?;
        let inbound = controls.accept().ok_or(StartError::Exchange)?;
        let asked = streams.accept(limits::protocol::PEERS).map_err(|_| StartError::Exchange)?;
        let (newly_connected, new_peers) = mpsc::channel(limits::EVENT_QUEUE);
        if config.role != Role::ShortLived {
            let keeping = remembered.keep(network.clone(), Arc::downgrade(&store), limits::REMEMBERED_INTERVAL);
            platform::spawn(keeping);
            platform::spawn(peer_exchange::serve(asked, network.clone()));
            platform::spawn(peer_exchange::run(streams.clone(), network.clone(), new_peers));
        }

        let listeners: Listeners = Arc::default();
        let contributing = Arc::new(AtomicBool::new(config.contribute));
        let joined = Arc::new(AtomicBool::new(false));
        let connected = Arc::new(Mutex::new(HashSet::new()));
        let (problems, problems_told) = Problems::new();
        let (received_much, much_received) = Signal::new();
        let (status_changed, status_changes) = Signal::new();
        let exchange = Exchange::new(controls, paths.clone(), config.role, traffic.clone());
        let means = Means {
            local,
            network: network.clone(),
            exchange,
            store: store.clone(),
            connected: connected.clone(),
            problems,
            received_much,
        };
        let sites = {
            let listeners = listeners.clone();
            let tell = Arc::new(move |event: Event| tell(&listeners, &event));
            Sites::new(means, tell, contributing.clone(), joined.clone(), config.store_quota_bytes, much_received)
        };
        let answering = exchange::Answering {
            store: store.clone(),
            network: network.clone(),
            contributing: contributing.clone(),
            traffic: traffic.clone(),
        };
        platform::spawn(exchange::serve(inbound, answering));

        let inner = Arc::new(Inner {
            local,
            agent: config.agent.clone(),
            network,
            paths,
            store,
            sites,
            listeners,
            state: Mutex::new(State { phase: Phase::Joining, joined_ms: None }),
            contributing,
            traffic,
            status_changed,
            running: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let follow = Follow { joined, connected, newly_connected, started_ms, role: config.role };
        platform::spawn(follow_network(Arc::downgrade(&inner), events, follow));
        platform::spawn(follow_problems(Arc::downgrade(&inner), problems_told));
        platform::spawn(follow_status(Arc::downgrade(&inner), status_changes));
        Ok(NodeHandle { inner })
    }
}

type Weak = std::sync::Weak<Inner>;

/// What follows the network's events.
struct Follow {
    joined: Arc<AtomicBool>,
    connected: Arc<Mutex<HashSet<PeerId>>>,
    /// Peers to be asked whom they know.
    newly_connected: mpsc::Sender<PeerId>,
    started_ms: u64,
    role: Role,
}

/// Turns what the network task tells into the node's state. Waits for nothing but the next event: the network task waits
/// for this one.
async fn follow_network(node: Weak, mut events: mpsc::Receiver<NetworkEvent>, follow: Follow) {
    let Follow { joined, connected, mut newly_connected, started_ms, role } = follow;
    while let Some(event) = events.next().await {
        let Some(inner) = node.upgrade() else { return };
        match event {
            NetworkEvent::Connected(peer) => {
                lock(&connected).insert(peer);
                // Over the bound it is asked with the others later.
                let _ = newly_connected.try_send(peer);
                inner.sites.peers_changed();
            }
            NetworkEvent::Carried(peer) => {
                lock(&connected).insert(peer);
                inner.sites.peers_changed();
            }
            NetworkEvent::Paths => {}
            NetworkEvent::Disconnected(peer) => {
                lock(&connected).remove(&peer);
                inner.sites.peers_changed();
            }
            NetworkEvent::Join(JoinState::Joined) => {
                joined.store(true, Ordering::Relaxed);
                inner.set_phase(Phase::Joined, Some(platform::monotonic_ms().saturating_sub(started_ms)));
                inner.sites.joined();
                if role != Role::Bootstrap && inner.contributing.load(Ordering::Relaxed) {
                    inner.sites.announce_all_soon();
                }
            }
            NetworkEvent::Join(JoinState::Joining) => {
                joined.store(false, Ordering::Relaxed);
                inner.set_phase(Phase::Joining, None);
            }
            NetworkEvent::Join(JoinState::Offline { retry_in, reason }) => {
                joined.store(false, Ordering::Relaxed);
                inner.set_phase(Phase::Offline { retry_in_ms: retry_in.as_millis() as u64, reason }, None);
            }
        }
        inner.status_changed.wake();
    }
    if let Some(inner) = node.upgrade() {
        inner.stopped.store(true, Ordering::Relaxed);
        inner.set_phase(Phase::Stopped, None);
        inner.status_changed.wake();
    }
}

async fn follow_status(node: Weak, mut changes: mpsc::Receiver<()>) {
    while changes.next().await.is_some() {
        let Some(inner) = node.upgrade() else { return };
        let node = NodeHandle { inner };
        if let Ok(status) = node.status().await {
            tell(&node.inner.listeners, &Event::Status(status));
        }
    }
}

async fn follow_problems(node: Weak, mut problems: mpsc::Receiver<StoreError>) {
    while let Some(error) = problems.next().await {
        let Some(inner) = node.upgrade() else { return };
        let message = format!("Not everything could be stored ({error}). Pages are shown all the same.");
        tell(&inner.listeners, &Event::Problem { message });
    }
}

impl Inner {
    fn set_phase(&self, phase: Phase, joined_ms: Option<u64>) {
        let mut state = lock(&self.state);
        state.phase = phase;
        state.joined_ms = state.joined_ms.or(joined_ms);
    }
}

/// Counts a command as running until it is dropped.
struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl NodeHandle {
    /// This node's peer id.
    pub fn peer_id(&self) -> PeerId {
        self.inner.local
    }

    /// Carries one command out. Dropping the future cancels what only this command needs.
    ///
    /// # Errors
    /// [`ApiError`]; nothing is lost by any of them.
    pub async fn call(&self, command: Command) -> Result<Reply, ApiError> {
        if self.inner.stopped.load(Ordering::Relaxed) {
            return Err(ApiError::Stopped);
        }
        let before = self.inner.running.fetch_add(1, Ordering::Relaxed);
        let _running = Running(&self.inner.running);
        if before >= COMMANDS_MAX {
            return Err(ApiError::Busy);
        }
        self.carry_out(command).await
    }

    async fn carry_out(&self, command: Command) -> Result<Reply, ApiError> {
        let sites = &self.inner.sites;
        let store = self.inner.store.as_ref();
        match command {
            Command::Status => Ok(Reply::Status(self.status().await?)),
            Command::OpenSite { address } => {
                let site = sites.open(address, true).await?;
                Ok(Reply::Site(site.info(store).await?))
            }
            Command::Site { address } => Ok(Reply::Site(sites.info(address).await?)),
            Command::Sites => Ok(Reply::Sites(sites.list().await?)),
            Command::Files { address } => Ok(Reply::Files(sites.open(address, false).await?.files())),
            Command::Read { address, path, offset, max_bytes, sequence } => {
                let site = sites.open(address, false).await?;
                site.check_sequence(sequence)?;
                Ok(Reply::Content(site.read(store, &path, offset, max_bytes).await?))
            }
            Command::FetchAll { address, allow_large } => {
                self.fetch_all(address, allow_large).await?;
                Ok(Reply::Done)
            }
            Command::Pin { address, pinned } => sites.pin(address, pinned).await.map(|()| Reply::Done),
            Command::Forget { address } => sites.forget(address).await.map(|()| Reply::Done),
            Command::SetContribution { contribution } => {
                self.inner.contributing.store(contribution == Contribution::On, Ordering::Relaxed);
                sites.announce_all_soon();
                self.inner.status_changed.wake();
                Ok(Reply::Done)
            }
            Command::CurrentHead { address } => Ok(Reply::Head(sites.current_head(address).await?)),
            Command::HeldChunks { ids } => {
                if ids.len() > IDS_MAX {
                    return Err(ApiError::Refused { reason: format!("at most {IDS_MAX} ids at once") });
                }
                let mut held = Vec::with_capacity(ids.len());
                for id in ids {
                    held.push(store.has_chunk(id).await?);
                }
                Ok(Reply::Held(held))
            }
            Command::StoreChunk { sealed } => Ok(Reply::Chunk(sites.store_chunk(sealed).await?)),
            Command::Publish { address, head } => Ok(Reply::Published(sites.publish(address, head).await?)),
            Command::Connect { multiaddr } => self.connect(&multiaddr).await,
            Command::Providers { address } => self.providers(address).await,
            Command::RetryNow => {
                let _ = self.inner.network.clone().retry_now().await;
                Ok(Reply::Done)
            }
            Command::Shutdown => {
                self.inner.stopped.store(true, Ordering::Relaxed);
                let _ = self.inner.network.clone().shut_down().await;
                Ok(Reply::Done)
            }
        }
    }

    async fn connect(&self, multiaddr: &str) -> Result<Reply, ApiError> {
        let refused = |reason: String| ApiError::Refused { reason };
        let address: Multiaddr =
            multiaddr.parse().map_err(|error| refused(format!("“{multiaddr}” is no multiaddr: {error}")))?;
        match self.inner.network.clone().dial(address).await {
            Ok(Ok(())) => Ok(Reply::Done),
            Ok(Err(reason)) => Err(refused(reason)),
            Err(_) => Err(ApiError::Stopped),
        }
    }

    async fn providers(&self, address: meganet_core::address::Address) -> Result<Reply, ApiError> {
        let mut network = self.inner.network.clone();
        let mut lookup = network.find_providers(address.blinded()).await.map_err(|_| ApiError::Stopped)?;
        let mut found = HashSet::new();
        while let Some(peer) = lookup.next().await {
            found.insert(peer);
        }
        let mut ids: Vec<_> = found.iter().map(PeerId::to_string).collect();
        ids.sort();
        Ok(Reply::Providers(ids))
    }

    async fn fetch_all(&self, address: meganet_core::address::Address, allow_large: bool) -> Result<(), ApiError> {
        let site = self.inner.sites.open(address, false).await?;
        let since = platform::monotonic_ms();
        let last = AtomicU64::new(0);
        let progress = |done, total, bytes| {
            let now = platform::monotonic_ms();
            if done < total && now.saturating_sub(last.load(Ordering::Relaxed)) < PROGRESS_EVERY_MS {
                return;
            }
            last.store(now, Ordering::Relaxed);
            let stage = Stage::FetchingChunks { done, total, bytes };
            let progress = crate::api::Progress { address, stage, elapsed_ms: now.saturating_sub(since) };
            tell(&self.inner.listeners, &Event::Progress(progress));
        };
        self.inner.sites.fetch_all(&site, allow_large, progress).await
    }

    /// Events from now on. With [`limits::LISTENERS_MAX`] listeners the oldest is let go.
    pub fn events(&self) -> EventStream {
        let (sender, receiver) = mpsc::channel(limits::EVENT_QUEUE);
        let mut listeners = lock(&self.inner.listeners);
        if listeners.len() >= limits::LISTENERS_MAX {
            listeners.remove(0);
        }
        listeners.push(sender);
        EventStream { receiver }
    }

    /// More first-contact addresses, each ending in `/p2p/PEER`; they are dialled at once.
    pub async fn add_bootstrap(&self, addresses: Vec<Multiaddr>) {
        let _ = self.inner.network.clone().add_bootstrap(addresses).await;
    }

    /// Connected DHT servers with listen addresses that were verified to be theirs: what a peer list is made of.
    pub async fn known_peers(&self, max: usize) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let Ok(snapshot) = self.inner.network.clone().snapshot().await else { return Vec::new() };
        snapshot
            .peers
            .into_iter()
            .filter(|peer| peer.server && !peer.verified.is_empty())
            .take(max)
            .map(|peer| (peer.peer, peer.verified))
            .collect()
    }

    /// This node's addresses, each with `/p2p/PEER`.
    pub async fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.inner.network.clone().snapshot().await.map(|snapshot| snapshot.addresses).unwrap_or_default()
    }

    async fn status(&self) -> Result<Status, ApiError> {
        let inner = &self.inner;
        let snapshot = inner.network.clone().snapshot().await;
        let (peers, addresses, no_direct_path) =
            snapshot.map(|snapshot| (snapshot.peers, snapshot.addresses, snapshot.no_direct_path)).unwrap_or_default();
        let no_direct_path = no_direct_path.into_iter().map(|(peer, relay)| NoDirectPath {
            peer_id: peer.to_string(),
            relay: relay.map(|relay| relay.to_string()),
        });
        let usage = inner.store.usage().await?;
        let state = lock(&inner.state);
        let info = |peer: network::Peer| PeerInfo {
            peer_id: peer.peer.to_string(),
            agent: peer.agent,
            address: peer.address.to_string(),
            relayed: peer.relayed,
            rtt_ms: peer.rtt.map(|rtt| rtt.as_millis() as u32),
            paths: inner.paths.shown(&peer.peer).into_iter().map(PathInfo::from).collect(),
        };
        Ok(Status {
            peer_id: inner.local.to_string(),
            agent: inner.agent.clone(),
            phase: state.phase.clone(),
            joined_ms: state.joined_ms,
            contribution: if inner.contributing.load(Ordering::Relaxed) { Contribution::On } else { Contribution::Off },
            peers: peers.into_iter().take(limits::STATUS_PEERS_MAX).map(info).collect(),
            no_direct_path: no_direct_path.collect(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            stored_bytes: usage.bytes,
            stored_chunks: usage.chunks,
            sites: usage.sites,
            sent_bytes: inner.traffic.sent_bytes.load(Ordering::Relaxed),
            received_bytes: inner.traffic.received_bytes.load(Ordering::Relaxed),
            memory_only: inner.store.memory_only(),
            connections_spent: meganet_transport::is_lifetime_spent(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_used_is_noted_until_it_is_gone() {
        let (traffic, there, gone) = (Traffic::default(), PeerId::random(), PeerId::random());
        traffic.sent(there, 1);
        traffic.received(gone, 1);
        let used = traffic.used(|peer| *peer == there);
        assert!(used.contains_key(&there) && used.len() == 1 && lock(&traffic.used).len() == 1);
    }
}
