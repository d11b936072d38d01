//! The browser's WebRTC transport as libp2p sees it: it dials `webrtc-direct`, and dials and listens on `/webrtc`.

use super::{attempt, signalled::Signalled};
use crate::{
    budget::Budget,
    census::{Census, Kind},
    connection::Connection,
    direct,
    error::Error,
    proto::{
        address::{self, AddressError, Direct},
        signal,
    },
    signalling::{self, Link, Opened},
    stun::StunServers,
};
use futures::{
    FutureExt,
    channel::oneshot,
    future::{BoxFuture, Either, select},
    pin_mut,
};
use libp2p::core::{
    Multiaddr,
    multiaddr::Protocol,
    transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use libp2p::{PeerId, identity::Keypair};
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// What a transport needs.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who this peer is.
    pub identity: Keypair,
    /// How many peer connections may be begun.
    pub budget: Budget,
    /// Whether a server that does not answer version 2 is asked in version 1: it costs a second peer connection.
    pub version_1: bool,
    /// Who tells this peer how it looks from outside, for `/webrtc`.
    pub stun: StunServers,
    /// Where what is alive is counted.
    pub census: Census,
}

/// Dials `webrtc-direct` and `/webrtc`, and listens on the latter.
pub struct Transport {
    config: Config,
    link: Link,
    listener: Option<ListenerId>,
    events: VecDeque<TransportEvent<Dial, Error>>,
}

impl Transport {
    /// A transport that does not listen, and the behaviour that its swarm must run for `/webrtc`.
    #[must_use]
    pub fn new(config: Config) -> (Self, signalling::Behaviour) {
        let (link, behaviour) = signalling::new(config.identity.public().to_peer_id());
        (Self { config, link, listener: None, events: VecDeque::new() }, behaviour)
    }
}

type Dial = BoxFuture<'static, Result<(PeerId, Connection), Error>>;

impl libp2p::core::Transport for Transport {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = Dial;
    type Dial = Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        if !address::Signalled::is_listen(&address) {
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        if self.listener.is_some() {
            return Err(TransportError::Other(Error::ListensAlready));
        }
        self.listener = Some(id);
        Ok(())
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        let found = self.listener == Some(id);
        if found {
            self.listener = None;
            self.events.push_back(TransportEvent::ListenerClosed { listener_id: id, reason: Ok(()) });
        }
        found
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Dial, TransportError<Error>> {
        if options.role.is_listener() {
            // Both ends dial at once where a NAT is to be opened. ICE does that here by itself, and says who is which end.
            return Err(TransportError::MultiaddrNotSupported(address));
        }
        match Direct::parse(&address) {
            Ok(target) => return Ok(elsewhere(&self.config.census, dial_direct(self.config.clone(), target)).boxed()),
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

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TransportEvent<Dial, Error>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(event);
        }
        let Some(listener_id) = self.listener else {
            self.link.turn_away(context);
            return Poll::Pending;
        };
        self.link.poll_inbound(context).map(|signalling::Inbound { peer, opened }| TransportEvent::Incoming {
            listener_id,
            upgrade: signal(self.config.clone(), signal::Role::Responder, peer, opened).boxed(),
            local_addr: Multiaddr::empty().with(Protocol::WebRTC),
            send_back_addr: address::Signalled::short(peer),
        })
    }
}

async fn dial_direct(config: Config, target: Direct) -> Result<(PeerId, Connection), Error> {
    let attempt = |version| attempt::connect(config.clone(), target.clone(), version);
    direct::dial(&target, config.version_1, attempt).await
}

/// Runs one `/webrtc` attempt in a task of its own: the end of signalling comes after the connection is there.
async fn signal(
    config: Config,
    role: signal::Role,
    peer: PeerId,
    opened: Opened,
) -> Result<(PeerId, Connection), Error> {
    let (connected, result) = oneshot::channel();
    let Config { budget, stun, census, .. } = config;
    let counted = census.count(Kind::Attempts);
    let backend = Signalled::new(peer, budget, stun, census.clone());
    census.spawn(async move {
        signalling::run(role, peer, opened, backend, connected).await;
        drop(counted);
    });
    result.await.unwrap_or(Err(Error::NotConnected)).map_err(|error| error.naming(peer))
}

/// Runs a future that holds JavaScript objects in a task of its own, and ends it when nobody waits any more: libp2p's
/// futures must be `Send`.
fn elsewhere<T: Send + 'static, W: Future<Output = Result<T, Error>> + 'static>(
    census: &Census,
    work: W,
) -> impl Future<Output = Result<T, Error>> + Send + use<T, W> {
    let (mut done, result) = oneshot::channel();
    census.spawn(async move {
        let ended = {
            let cancelled = done.cancellation().fuse();
            let work = work.fuse();
            pin_mut!(cancelled, work);
            match select(work, cancelled).await {
                Either::Left((ended, _)) => Some(ended),
                Either::Right(_) => None,
            }
        };
        if let Some(ended) = ended {
            let _ = done.send(ended);
        }
    });
    async move { result.await.unwrap_or(Err(Error::NotConnected)) }
}
