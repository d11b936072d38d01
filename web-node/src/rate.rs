//! A token bucket: so many at once, so many a second after that; and with it the gate of a site's bridge.

/// Counts what somebody asks for. Time is the caller's, in milliseconds of a monotonic clock.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    capacity: u32,
    per_second: u32,
    /// Thousandths of a token, so that slow rates do not round to nothing.
    millitokens: u64,
    filled_ms: u64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(capacity: u32, per_second: u32, now_ms: u64) -> Self {
        Self { capacity, per_second, millitokens: u64::from(capacity) * 1_000, filled_ms: now_ms }
    }

    /// Takes one token; `false` when there is none.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let elapsed_ms = now_ms.saturating_sub(self.filled_ms);
        self.filled_ms = self.filled_ms.max(now_ms);
        self.millitokens = self
            .millitokens
            .saturating_add(elapsed_ms.saturating_mul(u64::from(self.per_second)))
            .min(u64::from(self.capacity) * 1_000);
        let taken = self.millitokens >= 1_000;
        if taken {
            self.millitokens -= 1_000;
        }
        taken
    }
}

/// Messages a site's bridge frame may send at once, and a second after that. It says once that it is ready, and brings a
/// port whenever the service worker was restarted, which browsers do every half minute at most.
const BRIDGE_BURST_MAX: u32 = 16;
const BRIDGE_RATE_PER_S: u32 = 1;

/// What is let through of the messages of one bridge frame: the site's own scripts can send them too.
#[derive(Debug)]
pub struct BridgeGate {
    bucket: TokenBucket,
    ready: bool,
}

impl BridgeGate {
    /// Nothing was sent yet.
    pub fn new(now_ms: u64) -> Self {
        Self { bucket: TokenBucket::new(BRIDGE_BURST_MAX, BRIDGE_RATE_PER_S, now_ms), ready: false }
    }

    /// Whether one more message is looked at.
    pub fn admits(&mut self, now_ms: u64) -> bool {
        self.bucket.take(now_ms)
    }

    /// Whether the bridge says for the first time that it is ready.
    pub fn is_first_ready(&mut self) -> bool {
        !std::mem::replace(&mut self.ready, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_its_capacity_at_once_and_its_rate_after() {
        let mut bucket = TokenBucket::new(3, 2, 1_000);
        assert_eq!((0..5).filter(|_| bucket.take(1_000)).count(), 3);
        assert!(!bucket.take(1_499));
        assert!(bucket.take(1_500));
        assert!(!bucket.take(1_500));
        assert_eq!((0..9).filter(|_| bucket.take(90_000)).count(), 3, "never more than its capacity");
    }

    #[test]
    fn a_flood_from_a_bridge_is_dropped_and_it_is_ready_once() {
        let mut gate = BridgeGate::new(0);
        assert_eq!((0..10_000).filter(|_| gate.admits(0)).count(), BRIDGE_BURST_MAX as usize);
        assert!(gate.admits(1_000), "a worker that was restarted later still gets its port");
        assert!(gate.is_first_ready());
        assert!(!gate.is_first_ready());
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_gives_nothing() {
        let mut bucket = TokenBucket::new(1, 1_000, 5_000);
        assert!(bucket.take(5_000));
        assert!(!bucket.take(0));
        assert!(!bucket.take(5_000));
        assert!(bucket.take(u64::MAX));
    }
}
