//! The native `webrtc-direct` transport as libp2p sees it.

use super::{
    Certificate,
    attempt::{Attempt, Role},
    listener::{self, Incoming},
};
use crate::{
    connection::Connection,
    proto::{
        address::{AddressError, Direct},
        credentials::{self, Ice, RANDOM_CHARS, UsernameError, Version},
    },
};
use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, Either, select},
    stream::SelectAll,
};
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
    time::Duration,
};
use tokio::sync::mpsc;

/// An attempt that is not authenticated by then has failed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that does not answer version 2 within this is asked in version 1 as well.
pub const VERSION_PATIENCE: Duration = Duration::from_millis(1_500);

/// Why there is no connection, or no listener.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one to dial or listen on.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A STUN request that is none of ours.
    #[error(transparent)]
    Username(#[from] UsernameError),
    /// Too many attempts at once; the peer tries again.
    #[error("too many connection attempts")]
    Busy,
    /// WebRTC itself failed.
    #[error("{0}")]
    Backend(String),
    /// Nobody answered, or the certificate was not the one in the address.
    #[error("no connection: nobody answered there with the certificate in the address")]
    NotConnected,
    /// The peer could not prove who it is.
    #[error("the peer could not be authenticated: {0}")]
    Noise(#[from] libp2p::noise::Error),
    /// Somebody else answered.
    #[error("the peer is {found}, not {expected}")]
    WrongPeer {
        /// Whom the address names.
        expected: Box<PeerId>,
        /// Who answered.
        found: Box<PeerId>,
    },
    /// It took too long.
    #[error("no connection within {} s", CONNECT_TIMEOUT.as_secs())]
    TimedOut,
}

/// What a transport needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this peer is.
    pub identity: Keypair,
    /// Its certificate, for both roles.
    pub certificate: Certificate,
}

/// Dials and listens on `webrtc-direct`.
pub struct Transport {
    config: Config,
    listeners: SelectAll<Listening>,
}

impl Transport {
    /// A transport without listeners.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, listeners: SelectAll::new() }
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
        let socket = Direct::parse_listen(&address).map_err(|_| TransportError::MultiaddrNotSupported(address))?;
        let other = |error: io::Error| TransportError::Other(error.into());
        let Config { identity, certificate } = self.config.clone();
        let (bound, incoming) = listener::listen(socket, certificate, identity).map_err(other)?;
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
        match self.listeners.iter_mut().find(|listener| listener.id == id) {
            Some(listener) => {
                listener.incoming = None;
                true
            }
            None => false,
        }
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Upgrade, TransportError<Error>> {
        let direct = match Direct::parse(&address) {
            Ok(direct) => direct,
            Err(AddressError::Other) => return Err(TransportError::MultiaddrNotSupported(address)),
            Err(error) => return Err(TransportError::Other(error.into())),
        };
        Ok(dial(self.config.clone(), direct).boxed())
    }

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Event> {
        match self.listeners.poll_next_unpin(context) {
            Poll::Ready(Some(event)) => Poll::Ready(event),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
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
                    let authenticated = within(CONNECT_TIMEOUT, started.authenticated()).await;
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

async fn within<T>(limit: Duration, future: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(limit, future).await.unwrap_or(Err(Error::TimedOut))
}

/// Dials in version 2, and in version 1 beside it when nobody answers: servers that know only that one stay silent.
async fn dial(config: Config, direct: Direct) -> Result<(PeerId, Connection), Error> {
    let second = {
        let (config, direct) = (config.clone(), direct.clone());
        async move {
            tokio::time::sleep(VERSION_PATIENCE).await;
            dial_version(config, direct, Version::V1).await
        }
    };
    let first = dial_version(config, direct.clone(), Version::V2);
    let (peer, connection) = within(CONNECT_TIMEOUT, async {
        match select(first.boxed(), second.boxed()).await {
            Either::Left((Ok(done), _)) | Either::Right((Ok(done), _)) => Ok(done),
            // What fails at once (no network, another certificate) fails in either version.
            Either::Left((Err(error), _)) => Err(error),
            Either::Right((Err(_), first)) => first.await,
        }
    })
    .await?;
    match direct.peer {
        Some(expected) if expected != peer => Err(Error::WrongPeer { expected: expected.into(), found: peer.into() }),
        _ => Ok((peer, connection)),
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
    }
    .start()?;
    tokio::spawn(async move {
        let mut buffer = vec![0; 2_048];
        loop {
            tokio::select! {
                received = socket.recv_from(&mut buffer) => {
                    if let Ok((len, from)) = received {
                        let _ = datagrams.try_send((buffer.get(..len).unwrap_or_default().to_vec(), from));
                    }
                }
                () = datagrams.closed() => return,
            }
        }
    });
    started.authenticated().await
}
