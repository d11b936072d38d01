//! How long to wait before the next attempt to reach the bootstrap: exponential, with jitter, bounded.

use std::time::Duration;

/// First wait.
pub const BACKOFF_MIN_MS: u64 = 1_000;
/// Longest wait.
pub const BACKOFF_MAX_MS: u64 = 60_000;

/// Longest wait before the first attempt after the last connection was lost.
pub const AFTER_LOSS_MAX_MS: u64 = 2_000;

/// How long to wait before the first attempt after a loss. `random` is any uniformly drawn number.
pub fn after_loss(random: u32) -> Duration {
    Duration::from_millis(u64::from(random) % (AFTER_LOSS_MAX_MS + 1))
}

/// Doubles from [`BACKOFF_MIN_MS`] to [`BACKOFF_MAX_MS`]; each wait is drawn from its upper half, so that many tabs that
/// lost one bootstrap together do not come back together.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The next wait. `random` is any uniformly drawn number.
    pub fn next_wait(&mut self, random: u32) -> Duration {
        let ceiling = BACKOFF_MIN_MS.checked_shl(self.attempts.min(16)).unwrap_or(BACKOFF_MAX_MS).min(BACKOFF_MAX_MS);
        self.attempts = self.attempts.saturating_add(1);
        let half = ceiling / 2;
        Duration::from_millis(half + u64::from(random) % (half + 1))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_within_its_bounds_and_starts_over() {
        let mut backoff = Backoff::default();
        let mut last_ceiling = 0;
        for attempt in 0..40 {
            let low = backoff.clone().next_wait(0).as_millis() as u64;
            let high = backoff.next_wait(u32::MAX).as_millis() as u64;
            assert!(low >= BACKOFF_MIN_MS / 2, "attempt {attempt}: {low} ms");
            assert!(high <= BACKOFF_MAX_MS, "attempt {attempt}: {high} ms");
            assert!(low >= last_ceiling / 2);
            last_ceiling = low * 2;
        }
        assert_eq!(last_ceiling, BACKOFF_MAX_MS);
        backoff.reset();
        assert!(backoff.next_wait(0).as_millis() as u64 <= BACKOFF_MIN_MS);
    }

    #[test]
    fn the_first_attempt_after_a_loss_comes_at_a_moment_of_its_own() {
        let waits: std::collections::HashSet<_> = (0..10_000).map(|random| after_loss(random * 7)).collect();
        assert!(waits.len() > 1_000, "{} moments", waits.len());
        assert!(waits.iter().all(|wait| wait.as_millis() as u64 <= AFTER_LOSS_MAX_MS));
    }

    #[test]
    fn case_44_two_tabs_do_not_wait_alike() {
        let (mut one, mut other) = (Backoff::default(), Backoff::default());
        assert_ne!(one.next_wait(17), other.next_wait(400));
    }
}
