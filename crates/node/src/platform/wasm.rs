//! In a tab: the browser's event loop.

use std::{future::Future, time::Duration};

/// The monotonic clock libp2p's records are stamped with here.
pub use web_time::Instant;

/// A boxed future; a tab's window has one thread.
pub type BoxFuture<'a, T> = futures::future::LocalBoxFuture<'a, T>;

/// Nothing to ask where there is one thread.
pub trait MaybeSendSync {}
impl<T: ?Sized> MaybeSendSync for T {}

/// Boxes a future.
pub fn boxed<'a, T>(future: impl Future<Output = T> + 'a) -> BoxFuture<'a, T> {
    Box::pin(future)
}

/// Runs a task to its end in the background.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    wasm_bindgen_futures::spawn_local(task);
}

/// Waits on the browser's timer (hidden tabs: whole seconds).
pub async fn sleep(duration: Duration) {
    futures_timer::Delay::new(duration).await;
}

/// Wall clock, milliseconds since 1970; for validity checks only.
pub fn unix_ms() -> u64 {
    web_time::SystemTime::now().duration_since(web_time::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
}

/// Milliseconds since the page's time origin; never goes back.
pub fn monotonic_ms() -> u64 {
    thread_local!(static START: web_time::Instant = web_time::Instant::now());
    START.with(|start| start.elapsed().as_millis() as u64)
}
