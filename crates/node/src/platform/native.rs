//! Natively: tokio.

use std::{
    future::Future,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The monotonic clock libp2p's records are stamped with here.
pub use std::time::Instant;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = futures::future::BoxFuture<'a, T>;

/// `Send + Sync` where there are threads.
pub trait MaybeSendSync: Send + Sync {}
impl<T: Send + Sync + ?Sized> MaybeSendSync for T {}

/// Boxes a future.
pub fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> BoxFuture<'a, T> {
    Box::pin(future)
}

/// Runs a task to its end in the background. Needs a tokio runtime.
pub fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

/// Waits on the monotonic clock.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Wall clock, milliseconds since 1970; for validity checks only.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// Milliseconds since the process first asked; never goes back.
pub fn monotonic_ms() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}
