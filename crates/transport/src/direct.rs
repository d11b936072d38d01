//! Dialling `webrtc-direct`, whichever backend does it: which version when, and whether the right peer answered.

use crate::{
    CONNECT_TIMEOUT, clock,
    connection::Connection,
    error::Error,
    proto::{address::Direct, credentials::Version},
};
use futures::future::{Either, select};
use libp2p::PeerId;
use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Stream id of the data channel that carries Noise.
pub(crate) const NOISE_CHANNEL: u16 = 0;
/// A server that does not answer version 2 within this is asked in version 1 as well.
pub const VERSION_PATIENCE: Duration = Duration::from_millis(1_500);

/// Dials in version 2, and in version 1 beside it (if that is wanted) when nobody answers: servers that know only that one stay
/// silent.
pub(crate) async fn dial<F: Future<Output = Result<(PeerId, Connection), Error>>>(
    direct: &Direct,
    version_1: bool,
    attempt: impl Fn(Version) -> F,
) -> Result<(PeerId, Connection), Error> {
    let is_second_under_way = AtomicBool::new(false);
    let second = async {
        clock::sleep(VERSION_PATIENCE).await;
        if !version_1 {
            return std::future::pending().await;
        }
        is_second_under_way.store(true, Ordering::Relaxed);
        attempt(Version::V1).await
    };
    let attempt = clock::within(CONNECT_TIMEOUT, async {
        match select(pin!(attempt(Version::V2)), pin!(second)).await {
            Either::Left((Ok(done), _)) | Either::Right((Ok(done), _)) => Ok(done),
            // Firefox gives the first up while the second is on its way.
            Either::Left((Err(error), second)) if is_second_under_way.load(Ordering::Relaxed) => {
                second.await.map_err(|_| error)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::{self, Backend, Closed};
    use std::sync::{Arc, Mutex};

    struct Quiet;

    impl crate::stream::Notify for Quiet {
        fn notify(&self) {}
    }

    fn direct() -> Direct {
        let hash = "uEiBUyzThiCVClrs7zuf0G9uBPdo6FswqdSkqSXArAX2ulw";
        let address = format!("/ip4/127.0.0.1/udp/9/webrtc-direct/certhash/{hash}");
        Direct::parse(&address.parse().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_version_that_fails_late_does_not_end_the_other_that_is_under_way() {
        let kept = Mutex::new(Vec::<Backend>::new());
        let connect = |version, first_fails_ms, second_ms| {
            let kept = &kept;
            async move {
                if matches!(version, Version::V2) {
                    clock::sleep(Duration::from_millis(first_fails_ms)).await;
                    return Err(Error::NotConnected);
                }
                clock::sleep(Duration::from_millis(second_ms)).await;
                let (connection, backend) = connection::pair(Arc::new(Quiet), &crate::Census::default());
                kept.lock().unwrap().push(backend);
                Ok((PeerId::random(), connection))
            }
        };
        let late = dial(&direct(), true, |version| connect(version, 2_000, 800)).await;
        assert!(late.is_ok(), "{late:?}");
        let at_once = dial(&direct(), true, |version| connect(version, 10, 10)).await;
        assert!(matches!(at_once, Err(Error::NotConnected)), "{at_once:?}");
        let unwanted = dial(&direct(), false, |version| connect(version, 2_000, 10)).await;
        assert!(matches!(unwanted, Err(Error::NotConnected)), "{unwanted:?}");
        for backend in kept.into_inner().unwrap() {
            backend.on_closed(Closed::Local);
        }
    }
}
