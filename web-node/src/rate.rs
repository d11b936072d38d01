//! A token bucket: so many at once, so many a second after that.

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
    fn a_clock_that_stands_or_goes_back_gives_nothing() {
        let mut bucket = TokenBucket::new(1, 1_000, 5_000);
        assert!(bucket.take(5_000));
        assert!(!bucket.take(0));
        assert!(!bucket.take(5_000));
        assert!(bucket.take(u64::MAX));
    }
}
