//! Dialling `webrtc-direct`, whichever backend does it: which version when, and whether the right peer answered.

use crate::{
    CONNECT_TIMEOUT, clock,
    connection::Connection,
    error::Error,
    proto::{address::Direct, credentials::Version},
};
use futures::future::{Either, select};
use libp2p::PeerId;
use std::{future::Future, pin::pin, time::Duration};

/// A server that does not answer version 2 within this is asked in version 1 as well.
pub const VERSION_PATIENCE: Duration = Duration::from_millis(1_500);

/// Dials in version 2, and in version 1 beside it (if that is wanted) when nobody answers: servers that know only that one stay
/// silent.
pub(crate) async fn dial<F: Future<Output = Result<(PeerId, Connection), Error>>>(
    direct: &Direct,
    version_1: bool,
    attempt: impl Fn(Version) -> F,
) -> Result<(PeerId, Connection), Error> {
    let second = async {
        clock::sleep(VERSION_PATIENCE).await;
        if !version_1 {
            return std::future::pending().await;
        }
        attempt(Version::V1).await
    };
    let attempt = clock::within(CONNECT_TIMEOUT, async {
        match select(pin!(attempt(Version::V2)), pin!(second)).await {
            Either::Left((Ok(done), _)) | Either::Right((Ok(done), _)) => Ok(done),
            // What fails at once (no network, another certificate) fails in either version.
            Either::Left((Err(error), _)) => Err(error),
            Either::Right((Err(_), first)) => first.await,
        }
    });
    match (attempt.await, direct.peer) {
        (Ok((found, _)), Some(expected)) if expected != found => {
            Err(Error::WrongPeer { expected: expected.into(), found: found.into() })
        }
        (Err(error), Some(expected)) => Err(error.naming(expected)),
        (result, _) => result,
    }
}
