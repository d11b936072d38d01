//! The swarm and its calls.

use crate::{
    platform::{self, Instant},
    protocols,
};
use anyhow::{Context, Result, anyhow, bail};
use futures::{
    FutureExt, StreamExt,
    channel::{mpsc, oneshot},
    future::{Either, select},
    select,
};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, TransportError, identify,
    identity::Keypair,
    multiaddr::Protocol,
    ping, relay,
    swarm::{
        self, ConnectionId, DialError, NetworkBehaviour, SwarmEvent, behaviour::toggle::Toggle, dial_opts::DialOpts,
    },
};
use meganet_transport::{
    Budget, Census, Options as TransportOptions, StunServers, census,
    proto::{address::AddressError, signal::PROTOCOL as SIGNALLING},
    signalling::{self, DirectOnly, HostsOnly, Through, WithoutCircuits, is_relayed, is_relayed_endpoint},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    future::Future,
    net::SocketAddr,
    pin::{Pin, pin},
    time::Duration,
};

/// Calls that wait for the swarm.
const CALLS_WAITING_MAX: usize = 64;
/// How long a relay may take until this peer has an address through it, and a remote to identify itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// Attempts at a dial whose connection the other end replaced by its own.
const POLL: Duration = Duration::from_millis(5);

/// How a peer is started.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// A relay to be reachable through, `…/p2p/R`.
    pub relay: Option<Multiaddr>,
    /// Whether to be a relay.
    pub is_relay: bool,
    /// STUN servers.
    pub stun: Vec<SocketAddr>,
    /// Peer connections that a tab may begin in an hour.
    pub per_hour: Option<u32>,
    /// Whether `webrtc-direct` is dialled in version 2 alone: a dial costs one peer connection then, however late the answer is.
    pub version_2_only: bool,
    /// Whether it signals by hand, and badly.
    pub lies: bool,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: Through<HostsOnly, identify::Behaviour>,
    ping: DirectOnly<ping::Behaviour>,
    relay_client: relay::client::Behaviour,
    signalling: Toggle<signalling::Behaviour>,
    relay: Toggle<Through<WithoutCircuits, relay::Behaviour>>,
    streams: DirectOnly<libp2p_stream::Behaviour>,
    /// A liar's, on relayed connections too.
    raw: Toggle<libp2p_stream::Behaviour>,
}

/// Who a remote says it is.
#[derive(Debug, Clone, Serialize)]
pub struct Identified {
    pub agent: String,
    pub protocols: Vec<String>,
}

/// What there is at a moment.
#[derive(Debug, Clone, Serialize)]
pub struct Counts {
    pub connections: usize,
    pub direct: usize,
    pub transport: census::Counts,
}

/// A dial that succeeded.
#[derive(Debug, Clone, Serialize)]
pub struct Dialled {
    pub peer: String,
    pub address: String,
    pub ms: f64,
}

type Answering = Pin<Box<dyn Future<Output = Result<()>> + Send>>;
type Waiting = oneshot::Sender<Result<Multiaddr, String>>;

/// What the swarm's task knows.
#[derive(Default)]
struct Known {
    dials: HashMap<ConnectionId, Waiting>,
    connections: HashMap<ConnectionId, (PeerId, bool)>,
    identified: HashMap<PeerId, Identified>,
}

type Call = Box<dyn FnOnce(&mut Swarm<Behaviour>, &mut Known) + Send>;

/// A running peer; ends when dropped.
#[derive(Clone)]
pub struct Peer {
    id: PeerId,
    calls: mpsc::Sender<Call>,
    streams: libp2p_stream::Control,
    raw: Option<libp2p_stream::Control>,
    census: Census,
}

fn relay_config() -> relay::Config {
    relay::Config {
        max_reservations: 2_000,
        max_circuits: 2_000,
        max_circuits_per_peer: 1_000,
        // What a liar sends comes to its victim.
        max_circuit_bytes: 1 << 30,
        reservation_rate_limiters: Vec::new(),
        circuit_src_rate_limiters: Vec::new(),
        ..relay::Config::default()
    }
}

impl Peer {
    /// Starts one. With a relay it is ready when it has a `/webrtc` address.
    pub async fn start(options: Options) -> Result<Self> {
        let identity = Keypair::generate_ed25519();
        let id = identity.public().to_peer_id();
        let stun = StunServers::default();
        stun.set(options.stun);
        let census = Census::default();
        let mut transport = TransportOptions { stun, census: census.clone(), ..TransportOptions::default() };
        transport.dial_version_1 = !options.version_2_only;
        if let Some(per_hour) = options.per_hour {
            transport.budget = Budget { per_hour, lifetime: per_hour.max(transport.budget.lifetime) };
        }
        let built = meganet_transport::build(&identity, transport)?;
        let identify = identify::Config::new("/meganet/test/1".to_owned(), identity.public())
            .with_agent_version("meganet-test-peer/1".to_owned());
        let behaviour = Behaviour {
            identify: Through::new(identify::Behaviour::new(identify)),
            ping: DirectOnly::new(ping::Behaviour::default()),
            relay_client: built.relay_client,
            signalling: (!options.lies).then_some(built.signalling).into(),
            relay: options.is_relay.then(|| Through::new(relay::Behaviour::new(id, relay_config()))).into(),
            streams: DirectOnly::new(libp2p_stream::Behaviour::new()),
            raw: options.lies.then(libp2p_stream::Behaviour::new).into(),
        };
        let executor = |task: Pin<Box<dyn Future<Output = ()> + Send>>| platform::spawn(task);
        let config = swarm::Config::with_executor(executor).with_idle_connection_timeout(Duration::from_secs(3_600));
        let mut swarm = Swarm::new(built.transport, behaviour, id, config);
        let webrtc = Multiaddr::empty().with(Protocol::WebRTC);
        swarm.listen_on(webrtc.clone())?;
        if options.is_relay && options.listen.is_empty() {
            // Good for those that are connected: a relay must name some address.
            swarm.add_external_address(webrtc);
        }
        for address in options.listen {
            swarm.listen_on(address)?;
        }
        let streams = swarm.behaviour().streams.new_control();
        let raw = swarm.behaviour().raw.as_ref().map(libp2p_stream::Behaviour::new_control);
        answer(streams.clone(), protocols::ECHO, |stream| protocols::answer_echo(stream).boxed())?;
        answer(streams.clone(), protocols::TRANSFER, |stream| protocols::answer_transfer(stream).boxed())?;
        let (calls, waiting) = mpsc::channel(CALLS_WAITING_MAX);
        platform::spawn(run(swarm, waiting, options.is_relay));
        let peer = Self { id, calls, streams, raw, census };
        if let Some(relay) = options.relay {
            peer.reserve(relay).await?;
        }
        Ok(peer)
    }

    /// Asks a relay for a reservation, and waits for the `/webrtc` address that comes of it.
    pub async fn reserve(&self, relay: Multiaddr) -> Result<()> {
        let circuit = relay.with(Protocol::P2pCircuit);
        self.call(move |swarm, _| swarm.listen_on(circuit).map_err(|error| error.to_string()))
            .await?
            .map_err(|e| anyhow!(e))?;
        // Whoever signals by hand has no address of that kind.
        let wanted = if self.raw.is_some() { "/p2p-circuit/p2p/" } else { "/p2p-circuit/webrtc/p2p/" };
        until("an address through the relay", || async {
            let addresses = self.addresses().await.ok()?;
            addresses.iter().any(|address| address.contains(wanted)).then_some(())
        })
        .await
    }

    async fn call<T: Send + 'static>(
        &self,
        what: impl FnOnce(&mut Swarm<Behaviour>, &mut Known) -> T + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let call: Call = Box::new(move |swarm, known| _ = reply.send(what(swarm, known)));
        self.calls.clone().try_send(call).map_err(|_| anyhow!("the peer has stopped, or too many calls wait"))?;
        answer.await.context("the peer has stopped")
    }

    pub fn id(&self) -> PeerId {
        self.id
    }

    /// Where others may dial it, each ending in its peer id.
    pub async fn addresses(&self) -> Result<Vec<String>> {
        let id = self.id;
        self.call(move |swarm, _| {
            let all = swarm.external_addresses().chain(swarm.listeners());
            let full = |address: &Multiaddr| address.clone().with_p2p(id).unwrap_or_else(|address| address).to_string();
            let mut all: Vec<_> = all.map(full).collect();
            all.sort();
            all.dedup();
            all
        })
        .await
    }

    /// Connects directly.
    pub async fn dial(&self, address: Multiaddr) -> Result<Dialled> {
        let peer = peer_of(&address).context("the address names no peer")?;
        let started = Instant::now();
        let (sender, established) = oneshot::channel();
        self.call(move |swarm, known| {
            let signalling = swarm.behaviour().signalling.as_ref();
            let address = match signalling.map(|signalling| signalling.routes().learn(&address)) {
                Some(Ok(short)) => short,
                Some(Err(AddressError::Other)) | None => address,
                Some(Err(error)) => {
                    let _ = sender.send(Err(error.to_string()));
                    return;
                }
            };
            let opts = DialOpts::peer_id(peer)
                .condition(swarm::dial_opts::PeerCondition::Always)
                .addresses(vec![address])
                .build();
            let id = opts.connection_id();
            match swarm.dial(opts) {
                Ok(()) => _ = known.dials.insert(id, sender),
                Err(error) => _ = sender.send(Err(error.to_string())),
            }
        })
        .await?;
        let address = established.await.context("the peer has stopped")?.map_err(|error| anyhow!(error))?;
        let ms = started.elapsed().as_secs_f64() * 1_000.0;
        Ok(Dialled { peer: peer.to_string(), address: address.to_string(), ms })
    }

    /// Who the peer says it is.
    pub async fn identified(&self, peer: PeerId) -> Result<Identified> {
        until(
            "identify",
            move || async move { self.call(move |_, known| known.identified.get(&peer).cloned()).await.ok()? },
        )
        .await
    }

    async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> Result<Stream> {
        Ok(self.streams.clone().open_stream(peer, protocol).await?)
    }

    pub async fn ping(&self, peer: PeerId) -> Result<f64> {
        protocols::open_ping(self.open(peer, protocols::PING).await?).await
    }

    pub async fn echo(&self, peer: PeerId, bytes: usize) -> Result<()> {
        protocols::open_echo(self.open(peer, protocols::ECHO).await?, bytes).await
    }

    /// Sends so many bytes, so many at once; ms.
    pub async fn send(&self, peer: PeerId, bytes: u64, piece_bytes: Option<usize>) -> Result<f64> {
        let stream = self.open(peer, protocols::TRANSFER).await?;
        protocols::open_send(stream, bytes, piece_bytes.unwrap_or(protocols::PIECE_BYTES)).await
    }

    /// Receives so many bytes; ms.
    pub async fn receive(&self, peer: PeerId, bytes: u64) -> Result<f64> {
        protocols::open_receive(self.open(peer, protocols::TRANSFER).await?, bytes).await
    }

    /// Opens so many streams to a peer; half-closes, resets and drops them in a random order, the same for the same seed.
    pub async fn churn(&self, peer: PeerId, total: usize, seed: u64) -> Result<()> {
        protocols::churn(self.streams.clone(), peer, total, seed).await
    }

    fn raw(&self) -> Result<libp2p_stream::Control> {
        self.raw.clone().context("only a liar signals by hand")
    }

    /// Opens a signalling stream on the connection there is and writes this so many times; how often it could.
    pub async fn rave(&self, peer: PeerId, bytes: &[u8], times: usize) -> Result<usize> {
        let stream = self.raw()?.open_stream(peer, StreamProtocol::new(SIGNALLING)).await?;
        protocols::rave(stream, bytes, times).await
    }

    /// Answers the next one that signals with this, so many times; how often it could.
    pub async fn rave_back(&self, bytes: &[u8], times: usize) -> Result<usize> {
        let mut asked = self.raw()?.accept(StreamProtocol::new(SIGNALLING)).context("it listens already")?;
        let (_, stream) = asked.next().await.context("the peer has stopped")?;
        protocols::rave(stream, bytes, times).await
    }

    /// Opens a stream and leaves it to the caller.
    pub async fn stream(&self, peer: PeerId) -> Result<Stream> {
        self.open(peer, protocols::ECHO).await
    }

    pub async fn counts(&self) -> Result<Counts> {
        let transport = self.census.counts();
        self.call(move |_, known| Counts {
            connections: known.connections.len(),
            direct: known.connections.values().filter(|(_, relayed)| !relayed).count(),
            transport,
        })
        .await
    }

    /// Closes the connections to a peer.
    pub async fn close(&self, peer: PeerId) -> Result<()> {
        self.call(move |swarm, _| _ = swarm.disconnect_peer_id(peer)).await
    }

    /// Closes every connection.
    pub async fn close_all(&self) -> Result<()> {
        self.call(|swarm, known| {
            for (peer, _) in known.connections.values() {
                let _ = swarm.disconnect_peer_id(*peer);
            }
        })
        .await
    }
}

fn answer(
    mut streams: libp2p_stream::Control,
    protocol: StreamProtocol,
    answer: fn(Stream) -> Answering,
) -> Result<()> {
    let mut incoming = streams.accept(protocol)?;
    platform::spawn(async move {
        while let Some((_, stream)) = incoming.next().await {
            platform::spawn(async move {
                // Whoever asked sees it at its end.
                let _ = answer(stream).await;
            });
        }
    });
    Ok(())
}

async fn run(mut swarm: Swarm<Behaviour>, mut calls: mpsc::Receiver<Call>, is_relay: bool) {
    let mut known = Known::default();
    loop {
        select! {
            event = swarm.select_next_some() => on_event(&mut swarm, &mut known, event, is_relay),
            call = calls.next() => match call {
                Some(call) => call(&mut swarm, &mut known),
                None => return,
            },
        }
    }
}

fn on_event(swarm: &mut Swarm<Behaviour>, known: &mut Known, event: SwarmEvent<BehaviourEvent>, is_relay: bool) {
    match event {
        SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
            let address = endpoint.get_remote_address().clone();
            known.connections.insert(connection_id, (peer_id, is_relayed_endpoint(&endpoint)));
            if let Some(waiting) = known.dials.remove(&connection_id) {
                let _ = waiting.send(Ok(address));
            }
        }
        SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
            known.connections.remove(&connection_id);
            if num_established == 0 {
                known.identified.remove(&peer_id);
            }
        }
        SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
            if let Some(waiting) = known.dials.remove(&connection_id) {
                let _ = waiting.send(Err(plain(&error)));
            }
        }
        // A relay names its addresses in the reservations it gives.
        SwarmEvent::NewListenAddr { address, .. } if is_relay && !is_relayed(&address) => {
            swarm.add_external_address(address);
        }
        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. })) => {
            let protocols = info.protocols.iter().map(ToString::to_string).collect();
            known.identified.insert(peer_id, Identified { agent: info.agent_version, protocols });
        }
        _ => {}
    }
}

/// An address, and why it failed.
type Failed = (Multiaddr, TransportError<std::io::Error>);

/// A dial's error with its causes.
fn plain(error: &DialError) -> String {
    match error {
        DialError::Transport(errors) => {
            let one = |(address, error): &Failed| match error {
                TransportError::Other(error) => format!("{address}: {error}"),
                TransportError::MultiaddrNotSupported(_) => format!("{address}: not supported"),
            };
            errors.iter().map(one).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

pub(crate) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().filter_map(|part| if let Protocol::P2p(peer) = part { Some(peer) } else { None }).last()
}

/// Waits for something; there is no event for what is waited for here.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> Result<T> {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            platform::sleep(POLL).await;
        }
    };
    match select(pin!(looking), pin!(platform::sleep(PATIENCE))).await {
        Either::Left((found, _)) => Ok(found),
        Either::Right(_) => bail!("no {what} within {} s", PATIENCE.as_secs()),
    }
}
