//! Faults in the libraries below.

use crate::connection::Closed;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;

/// Where a library falls over, the connection ends and says so like any other: whoever waits for its end would wait for ever. Only
/// what ends then was being changed.
pub(super) async fn caught<E>(turn: impl Future<Output = Result<Closed, E>>) -> Result<Closed, E> {
    AssertUnwindSafe(turn).catch_unwind().await.unwrap_or_else(|_| Ok(Closed::Backend("WebRTC fell over".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_falls_over_is_closed_like_any_other() {
        let end = caught::<()>(async { panic!("as a library does") }).await;
        assert!(matches!(end, Ok(Closed::Backend(_))), "{end:?}");
        assert_eq!(caught::<()>(async { Ok(Closed::Remote) }).await, Ok(Closed::Remote));
    }
}
