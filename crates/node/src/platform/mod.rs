//! Everything that differs between a tab and a native process: clock, tasks, timers, randomness.

#[cfg(not(target_arch = "wasm32"))]
#[path = "native.rs"]
mod imp;
#[cfg(target_arch = "wasm32")]
#[path = "wasm.rs"]
mod imp;

pub use imp::{BoxFuture, Instant, MaybeSendSync, boxed, monotonic_ms, sleep, spawn, unix_ms};

/// Random bytes from the operating system or the browser.
///
/// # Errors
/// When the platform has no randomness to give: no key may be made then.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| RandomError)?;
    Ok(bytes)
}

/// The platform gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the platform gave no random bytes")]
pub struct RandomError;

/// Some of these, chosen at random so that every one gets its turn.
pub(crate) fn some_of<T>(mut all: Vec<T>, count: usize) -> Vec<T> {
    let mut chosen = Vec::with_capacity(count.min(all.len()));
    while chosen.len() < count && !all.is_empty() {
        let [low, high] = random_bytes::<2>().unwrap_or_default();
        let place = usize::from(u16::from_le_bytes([low, high])) % all.len();
        chosen.push(all.swap_remove(place));
    }
    chosen
}

/// Locks a mutex whose guarded data is whole even if a holder panicked: nothing in this crate leaves it half changed.
pub(crate) fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
