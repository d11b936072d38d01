//! The native WebRTC transport as libp2p sees it: `webrtc-direct` and `/webrtc`, dialled and listened on.

use super::{
    Certificate,
    attempt::{Attempt, Role},
    gather,
    listener::{self, Incoming},
    signalled::Signalled,
};
use crate::{
    CONNECT_TIMEOUT,
    census::{Census, Kind},
    clock,
    connection::Connection,
    direct,
    error::Error,
    proto::{
        address::{self, AddressError, Direct},
        credentials::{self, Ice, RANDOM_CHARS, Version},
        signal,
    },
    signalling::{self, Link, Opened},
    stun::StunServers,
};
use futures::{FutureExt, StreamExt, channel::oneshot, future::BoxFuture, stream::SelectAll};
use if_watch::{IfEvent, tokio::IfWatcher};
use libp2p::core::{
    Multiaddr,
    transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use libp2p::{PeerId, identity::Keypair};
use std::{
    collections::VecDeque,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::mpsc;

/// What a transport needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this peer is.
    pub identity: Keypair,
    /// Its certificate, for all roles.
    pub certificate: Certificate,
    /// Whether a server that does not answer version 2 is asked in version 1.
    pub version_1: bool,
    /// Who tells this peer how it looks from outside, for `/webrtc`.
    pub stun: StunServers,
    /// Where what is alive is counted.
    pub census: Census,
}

/// Dials and listens on `webrtc-direct` and `/webrtc`.
pub struct Transport {
    config: Config,
    listeners: SelectAll<Listening>,
    link: Link,
    /// The listener of `/webrtc`.
    signalled: Option<ListenerId>,
    events: VecDeque<Event>,
}

impl Transport {
    /// A transport without listeners, and the behaviour that its swarm must run for `/webrtc`.
    #[must_use]
    pub fn new(config: Config) -> (Self, signalling::Behaviour) {
        let (link, behaviour) = signalling::new(config.identity.public().to_peer_id());
        let transport = Self { config, listeners: SelectAll::new(), link, signalled: None, events: VecDeque::new() };
        (transport, behaviour)
    }
}

type Upgrade = BoxFuture<'static, Result<(PeerId, Connection), Error>>;
type Event = TransportEvent<Upgrade, Error>;

impl libp2p::core::Transport for Transport {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = Upgrade;
    type Dial = Upgrade;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        if address::Signalled::is_listen(&address) {
            self.signalled = Some(id);
            return Ok(());
        }
        let socket = Direct::parse_listen(&address).map_err(|_| TransportError::MultiaddrNotSupported(address))?;
        let other = |error: io::Error| TransportError::Other(error.into());
        let Config { identity, certificate, .. } = self.config.clone();
        let (bound, incoming) = listener::listen(socket, certificate, identity, &self.config.census).map_err(other)?;
        let mut events = VecDeque::new();
        let mut interfaces = None;
        let address = self.address(bound);
        if bound.ip().is_unspecified() {
            interfaces = Some(IfWatcher::new().map_err(other)?);
        } else {
            events.push_back(TransportEvent::NewAddress { listener_id: id, listen_addr: address.clone() });
        }
        let certificate = self.config.certificate.clone();
        self.listeners.push(Listening {
            id,
            bound,
            address,
            certificate,
            incoming: Some(incoming),
            interfaces,
            events,
        });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        if self.signalled == Some(id) {
            self.signalled = None;
            self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
            return true;
        }
        match self.listeners.iter_mut().find(|listener| listener.id == id) {
            Some(listener) => {
                listener.incoming = None;
                true
            }
            None => false,
        }
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Upgrade, TransportError<Error>> {
        match Direct::parse(&address) {
            Ok(direct) => {
                let config = self.config.clone();
                let attempt = async move {
                    direct::dial(&direct, config.version_1, |version| {
                        dial_version(config.clone(), direct.clone(), version)
                    })
                    .await
                };
                return Ok(attempt.boxed());
            }
            Err(AddressError::Other) => {}
            Err(error) => return Err(TransportError::Other(Error::of_address(error, &address))),
        }
        match self.link.routes.learn(&address).and_then(|short| address::Signalled::parse(&short)) {
            Ok(signalled) => {
                let opening = signalling::in_time(signalled.peer, self.link.open(signalled.peer));
                let config = self.config.clone();
                Ok(async move { signal(config, signal::Role::Initiator, signalled.peer, opening.await?).await }.boxed())
            }
            Err(AddressError::Other) => Err(TransportError::MultiaddrNotSupported(address)),
            Err(error) => Err(TransportError::Other(Error::of_address(error, &address))),
        }
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Event> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        if let Poll::Ready(Some(event)) = self.listeners.poll_next_unpin(context) {
            return Poll::Ready(event);
        }
        let Some(listener_id) = self.signalled else {
            self.link.turn_away(context);
            return Poll::Pending;
        };
        match self.link.poll_inbound(context) {
            Poll::Ready(signalling::Inbound { peer, opened }) => Poll::Ready(TransportEvent::Incoming {
                listener_id,
                upgrade: signal(self.config.clone(), signal::Role::Responder, peer, opened).boxed(),
                local_addr: Multiaddr::empty().with(libp2p::multiaddr::Protocol::WebRTC),
                send_back_addr: address::Signalled::short(peer),
            }),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Runs one `/webrtc` attempt in a task of its own: the end of signalling comes after the connection is there.
async fn signal(
    config: Config,
    role: signal::Role,
    peer: PeerId,
    opened: Opened,
) -> Result<(PeerId, Connection), Error> {
    let (connected, result) = oneshot::channel();
    let Config { certificate, stun, census, .. } = config;
    let counted = census.count(Kind::Attempts);
    let backend = Signalled::new(peer, certificate, stun, census.clone());
    census.spawn(async move {
        signalling::run(role, peer, opened, backend, connected).await;
        drop(counted);
    });
    result.await.unwrap_or(Err(Error::NotConnected)).map_err(|error| error.naming(peer))
}

impl Transport {
    fn address(&self, socket: SocketAddr) -> Multiaddr {
        Direct::address(socket, Some(self.config.certificate.fingerprint()))
    }
}

/// One listener's events.
struct Listening {
    id: ListenerId,
    bound: SocketAddr,
    address: Multiaddr,
    certificate: Certificate,
    /// `None` once it was removed.
    incoming: Option<mpsc::Receiver<Incoming>>,
    interfaces: Option<IfWatcher>,
    events: VecDeque<Event>,
}

impl Listening {
    fn poll_interfaces(&mut self, context: &mut Context<'_>) {
        let Some(watcher) = &mut self.interfaces else { return };
        while let Poll::Ready(event) = watcher.poll_if_event(context) {
            let of = |ip| Direct::address(SocketAddr::new(ip, self.bound.port()), Some(self.certificate.fingerprint()));
            let event = match event {
                Ok(IfEvent::Up(net)) if net.addr().is_ipv4() == self.bound.is_ipv4() => {
                    TransportEvent::NewAddress { listener_id: self.id, listen_addr: of(net.addr()) }
                }
                Ok(IfEvent::Down(net)) if net.addr().is_ipv4() == self.bound.is_ipv4() => {
                    TransportEvent::AddressExpired { listener_id: self.id, listen_addr: of(net.addr()) }
                }
                Ok(_) => continue,
                Err(error) => TransportEvent::ListenerError { listener_id: self.id, error: error.into() },
            };
            self.events.push_back(event);
        }
    }
}

impl futures::Stream for Listening {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_interfaces(context);
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        let Some(incoming) = &mut self.incoming else {
            return if self.bound.port() == 0 {
                Poll::Ready(None)
            } else {
                // Told once; the stream ends after it.
                self.bound.set_port(0);
                Poll::Ready(Some(TransportEvent::ListenerClosed { listener_id: self.id, reason: Ok(()) }))
            };
        };
        match incoming.poll_recv(context) {
            Poll::Ready(Some(Incoming { started, from, place })) => {
                let upgrade = async move {
                    let authenticated = clock::within(CONNECT_TIMEOUT, started.authenticated()).await;
                    drop(place);
                    authenticated
                };
                Poll::Ready(Some(TransportEvent::Incoming {
                    listener_id: self.id,
                    upgrade: upgrade.boxed(),
                    local_addr: self.address.clone(),
                    send_back_addr: Direct::address(from, None),
                }))
            }
            Poll::Ready(None) => {
                self.incoming = None;
                self.poll_next(context)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

async fn dial_version(config: Config, direct: Direct, version: Version) -> Result<(PeerId, Connection), Error> {
    let mut random = [0; 2 * RANDOM_CHARS];
    getrandom::fill(&mut random).map_err(|_| Error::Backend("no random numbers".to_owned()))?;
    let (one, other) = random.split_at(RANDOM_CHARS);
    let text = |bytes: &[u8]| credentials::ice_text(bytes);
    let (local_ice, remote_ice) = match version {
        Version::V1 => {
            let ufrag = credentials::v1_ufrag(one);
            let ice = Ice { ufrag: ufrag.clone(), pwd: ufrag };
            (ice.clone(), ice)
        }
        Version::V2 => {
            let local = Ice { ufrag: text(one), pwd: text(other) };
            let remote = credentials::v2_server(&local.pwd).ok_or(Error::NotConnected)?;
            (local, remote)
        }
    };
    // The address from which the server is reached: a candidate must be one.
    let any = if direct.socket.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let probe = std::net::UdpSocket::bind(SocketAddr::new(any, 0))?;
    probe.connect(direct.socket)?;
    let socket = Arc::new(listener::bind(SocketAddr::new(probe.local_addr()?.ip(), 0))?);
    let local = socket.local_addr()?;
    let (started, datagrams) = Attempt {
        role: Role::Client { server: direct.fingerprint },
        local_ice,
        remote_ice,
        local,
        remote: direct.socket,
        socket: socket.clone(),
        certificate: config.certificate,
        identity: config.identity,
        is_proven: Arc::default(),
        census: config.census.clone(),
    }
    .start()?;
    gather::listen(&[(local, socket)], &datagrams, &config.census);
    started.authenticated().await
}
