//! The browser's `webrtc-direct` transport as libp2p sees it: it dials, and cannot listen.

use super::{
    attempt,
    budget::{Budget, BudgetError},
};
use crate::{
    clock,
    connection::Connection,
    proto::{
        address::{AddressError, Direct},
        credentials::Version,
        sdp::SdpError,
    },
};
use futures::{
    FutureExt,
    channel::oneshot,
    future::{BoxFuture, Either, select},
    pin_mut,
};
use libp2p::core::{
    Multiaddr,
    transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use libp2p::{PeerId, identity::Keypair};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// An attempt that is not authenticated by then has failed.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A server that does not answer version 2 within this is asked in version 1 as well.
pub const VERSION_PATIENCE: Duration = Duration::from_millis(1_500);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is not one to dial.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No more peer connections may be begun.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The browser's own description is not as expected.
    #[error("the browser's session description: {0}")]
    Sdp(#[from] SdpError),
    /// The browser refused something.
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
    /// How many peer connections may be begun.
    pub budget: Budget,
    /// Whether a server that does not answer version 2 is asked in version 1: it costs a second peer connection.
    pub version_1: bool,
}

/// Dials `webrtc-direct`.
pub struct Transport {
    config: Config,
}

impl Transport {
    /// A transport.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

type Dial = BoxFuture<'static, Result<(PeerId, Connection), Error>>;

impl libp2p::core::Transport for Transport {
    type Output = (PeerId, Connection);
    type Error = Error;
    type ListenerUpgrade = Dial;
    type Dial = Dial;

    fn listen_on(&mut self, _: ListenerId, address: Multiaddr) -> Result<(), TransportError<Error>> {
        Err(TransportError::MultiaddrNotSupported(address))
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(&mut self, address: Multiaddr, _: DialOpts) -> Result<Dial, TransportError<Error>> {
        let direct = match Direct::parse(&address) {
            Ok(direct) => direct,
            Err(AddressError::Other) => return Err(TransportError::MultiaddrNotSupported(address)),
            Err(error) => return Err(TransportError::Other(error.into())),
        };
        Ok(elsewhere(dial(self.config.clone(), direct)).boxed())
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Dial, Error>> {
        Poll::Pending
    }
}

/// Runs a future that holds JavaScript objects in a task of its own, and ends it when nobody waits any more: libp2p's
/// futures must be `Send`.
fn elsewhere<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + 'static,
) -> impl Future<Output = Result<T, Error>> + Send {
    let (mut done, result) = oneshot::channel();
    wasm_bindgen_futures::spawn_local(async move {
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

/// Dials in version 2, and in version 1 beside it when nobody answers: servers that know only that one stay silent.
async fn dial(config: Config, direct: Direct) -> Result<(PeerId, Connection), Error> {
    let attempt = |version| attempt::connect(config.identity.clone(), config.budget, direct.clone(), version);
    let first = attempt(Version::V2);
    let second = async {
        clock::sleep(VERSION_PATIENCE).await;
        if !config.version_1 {
            return std::future::pending().await;
        }
        attempt(Version::V1).await
    };
    let timeout = clock::sleep(CONNECT_TIMEOUT);
    pin_mut!(first, second, timeout);
    let either = async {
        match select(first, second).await {
            Either::Left((Ok(done), _)) | Either::Right((Ok(done), _)) => Ok(done),
            // What fails at once fails in either version.
            Either::Left((Err(error), _)) => Err(error),
            Either::Right((Err(_), first)) => first.await,
        }
    };
    pin_mut!(either);
    match select(either, timeout).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(Error::TimedOut),
    }
}
