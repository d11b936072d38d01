//! Monotonic milliseconds and waiting, in a tab and natively.

use crate::error::Error;
use futures::future::{Either, select};
use std::{future::Future, pin::pin, time::Duration};

#[cfg(target_arch = "wasm32")]
use web_time::Instant;

#[cfg(not(target_arch = "wasm32"))]
use std::time::Instant;

/// Milliseconds of a clock that never goes back.
pub(crate) fn now_ms() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

/// Waits; in a hidden tab in whole seconds.
#[cfg(target_arch = "wasm32")]
pub(crate) async fn sleep(duration: Duration) {
    futures_timer::Delay::new(duration).await;
}

/// Waits.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Gives an attempt so long.
pub(crate) async fn within<T>(limit: Duration, attempt: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match select(pin!(attempt), pin!(sleep(limit))).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(Error::TimedOut { limit }),
    }
}
