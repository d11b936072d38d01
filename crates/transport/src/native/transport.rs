//! The native WebRTC transport as libp2p sees it: `webrtc-direct` and `/webrtc`, dialled and listened on.

use super::{
    Certificate,
    attempt::{Attempt, Role},
    datagram, gather,
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
    task::{Context, Poll, Waker},
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
            if self.signalled.is_some() {
                return Err(TransportError::Other(Error::ListensAlready));
            }
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
            waker: None,
        });
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        if self.signalled == Some(id) {
            self.signalled = None;
            self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
            return true;
        }
        self.listeners.iter_mut().find(|listener| listener.id == id).is_some_and(Listening::close)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Upgrade, TransportError<Error>> {
        if options.role.is_listener() {
            // Both ends dial at once where a NAT is to be opened. ICE does that here by itself, and says who is which end.
            return Err(TransportError::MultiaddrNotSupported(address));
        }
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
    /// `None` once it was removed: what is left of `events` is said, and the stream ends.
    incoming: Option<mpsc::Receiver<Incoming>>,
    interfaces: Option<IfWatcher>,
    events: VecDeque<Event>,
    /// Of whoever polled last: nothing else tells it of a removal.
    waker: Option<Waker>,
}

impl Listening {
    fn poll_interfaces(&mut self, context: &mut Context<'_>) {
        while let Some(watcher) = &mut self.interfaces
            && let Poll::Ready(event) = watcher.poll_if_event(context)
        {
            self.on_interface(event);
        }
    }

    fn on_interface(&mut self, event: io::Result<IfEvent>) {
        let of = |ip| Direct::address(SocketAddr::new(ip, self.bound.port()), Some(self.certificate.fingerprint()));
        let event = match event {
            Ok(IfEvent::Up(net)) if net.addr().is_ipv4() == self.bound.is_ipv4() => {
                TransportEvent::NewAddress { listener_id: self.id, listen_addr: of(net.addr()) }
            }
            Ok(IfEvent::Down(net)) if net.addr().is_ipv4() == self.bound.is_ipv4() => {
                TransportEvent::AddressExpired { listener_id: self.id, listen_addr: of(net.addr()) }
            }
            Ok(_) => return,
            Err(error) => {
                // A watcher that is broken stays so, and would say it as often as it is asked.
                self.interfaces = None;
                TransportEvent::ListenerError { listener_id: self.id, error: error.into() }
            }
        };
        self.events.push_back(event);
    }

    /// Listens no more, and says so; whether it listened.
    fn close(&mut self) -> bool {
        let is_open = self.incoming.take().is_some();
        if is_open {
            self.interfaces = None;
            self.events.push_back(TransportEvent::ListenerClosed { listener_id: self.id, reason: Ok(()) });
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        is_open
    }
}

impl futures::Stream for Listening {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_interfaces(context);
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(Some(event));
        }
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
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
                self.close();
                Poll::Ready(self.events.pop_front())
            }
            Poll::Pending => {
                self.waker = Some(context.waker().clone());
                Poll::Pending
            }
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
    let socket = Arc::new(datagram::bind(SocketAddr::new(probe.local_addr()?.ip(), 0))?);
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

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::{
        core::{Endpoint, Transport as _, transport::PortUse},
        multiaddr::Protocol,
    };
    use std::time::Duration;

    fn transport() -> (Transport, signalling::Behaviour) {
        Transport::new(Config {
            identity: Keypair::generate_ed25519(),
            certificate: Certificate::generate().unwrap(),
            version_1: false,
            stun: StunServers::default(),
            census: Census::default(),
        })
    }

    fn poll(transport: &mut Transport) -> Poll<Event> {
        libp2p::core::Transport::poll(Pin::new(transport), &mut Context::from_waker(Waker::noop()))
    }

    fn is_closed(event: &Poll<Event>, id: ListenerId) -> bool {
        matches!(event, Poll::Ready(TransportEvent::ListenerClosed { listener_id, reason: Ok(()) }) if *listener_id == id)
    }

    #[tokio::test]
    async fn a_removed_listener_says_so_once_and_gives_its_port_back() {
        let ((mut transport, _behaviour), id) = (transport(), ListenerId::next());
        transport.listen_on(id, "/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap()).unwrap();
        let Poll::Ready(TransportEvent::NewAddress { listen_addr, .. }) = poll(&mut transport) else {
            panic!("no address")
        };
        assert!(poll(&mut transport).is_pending());
        assert!(transport.remove_listener(id));
        assert!(!transport.remove_listener(id), "it is removed already");
        assert!(is_closed(&poll(&mut transport), id));
        assert!(poll(&mut transport).is_pending(), "said once");
        let port = listen_addr.iter().find_map(|part| if let Protocol::Udp(port) = part { Some(port) } else { None });
        let address = SocketAddr::from(([127, 0, 0, 1], port.unwrap()));
        let free = async {
            while std::net::UdpSocket::bind(address).is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), free).await.expect("a free port");
    }

    #[tokio::test]
    async fn a_broken_watcher_of_interfaces_says_so_once_and_is_asked_no_more() {
        let (_sender, incoming) = mpsc::channel(1);
        let mut listening = Listening {
            id: ListenerId::next(),
            bound: SocketAddr::from(([0, 0, 0, 0], 1)),
            address: Multiaddr::empty(),
            certificate: Certificate::generate().unwrap(),
            incoming: Some(incoming),
            interfaces: Some(IfWatcher::new().unwrap()),
            events: VecDeque::new(),
            waker: None,
        };
        listening.on_interface(Err(io::ErrorKind::BrokenPipe.into()));
        assert!(listening.interfaces.is_none());
        let mut context = Context::from_waker(Waker::noop());
        let said = listening.poll_next_unpin(&mut context);
        assert!(matches!(said, Poll::Ready(Some(TransportEvent::ListenerError { error: Error::Io(_), .. }))));
        assert!(listening.poll_next_unpin(&mut context).is_pending(), "it goes on listening");
    }

    #[test]
    fn the_listeners_part_in_a_dial_is_left_to_other_transports() {
        let (mut transport, _behaviour) = transport();
        let direct =
            Direct::address(SocketAddr::from(([192, 0, 2, 1], 9)), Some(transport.config.certificate.fingerprint()));
        for address in [direct, address::Signalled::short(PeerId::random())] {
            let mut dial = |role| transport.dial(address.clone(), DialOpts { role, port_use: PortUse::New });
            assert!(dial(Endpoint::Dialer).is_ok());
            let refused = dial(Endpoint::Listener).err();
            assert!(matches!(refused, Some(TransportError::MultiaddrNotSupported(named)) if named == address));
        }
    }

    #[test]
    fn a_second_listener_on_webrtc_is_refused_until_the_first_is_removed() {
        let (mut transport, _behaviour) = transport();
        let (first, second) = (ListenerId::next(), ListenerId::next());
        let webrtc: Multiaddr = "/webrtc".parse().unwrap();
        transport.listen_on(first, webrtc.clone()).unwrap();
        let refused = transport.listen_on(second, webrtc.clone()).err();
        assert!(matches!(refused, Some(TransportError::Other(Error::ListensAlready))), "{refused:?}");
        assert!(!transport.remove_listener(second) && transport.remove_listener(first));
        assert!(is_closed(&poll(&mut transport), first));
        transport.listen_on(second, webrtc).unwrap();
        assert!(transport.remove_listener(second));
    }
}
