//! So many of something a second, and more at once after a pause: a token bucket. It has no clock of its own.

/// What one of them is in [`Rate::left`]: a rate of one a second earns a thousandth in a millisecond.
const ONE: u64 = 1_000;

/// What may still be taken of something that others cause.
pub(crate) struct Rate {
    per_s: u32,
    /// The most that are saved up.
    burst: u32,
    /// Thousandths that were left at `at_ms`.
    left: u64,
    at_ms: u64,
}

impl Rate {
    /// So many a second, after a burst.
    pub fn new(per_s: u32, burst: u32) -> Self {
        Self { per_s, burst, left: u64::from(burst) * ONE, at_ms: 0 }
    }

    /// Takes one, if there is one. `now_ms` is of a clock that never goes back; if it does, nothing is earned.
    pub fn take(&mut self, now_ms: u64) -> bool {
        let earned = now_ms.saturating_sub(self.at_ms).saturating_mul(u64::from(self.per_s));
        self.at_ms = self.at_ms.max(now_ms);
        self.left = self.left.saturating_add(earned).min(u64::from(self.burst) * ONE);
        let taken = self.left.checked_sub(ONE);
        self.left = taken.unwrap_or(self.left);
        taken.is_some()
    }

    /// One that was taken was not worth counting.
    pub fn give_back(&mut self) {
        self.left = self.left.saturating_add(ONE).min(u64::from(self.burst) * ONE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of these are there at this moment.
    fn taken(rate: &mut Rate, now_ms: u64) -> usize {
        (0..).take_while(|_| rate.take(now_ms)).count()
    }

    #[test]
    fn a_burst_is_there_at_once_and_then_so_many_a_second() {
        // Whatever the clock says at first.
        for begin_ms in [0, 7_000_000] {
            let mut rate = Rate::new(500, 800);
            assert_eq!(taken(&mut rate, begin_ms), 800);
            assert_eq!(taken(&mut rate, begin_ms), 0);
            assert_eq!(taken(&mut rate, begin_ms + 500), 250);
            let later_ms = begin_ms + 100_000;
            assert_eq!(taken(&mut rate, later_ms), 800, "what nobody took is not saved up");
            // Parts of one add up.
            let steps: Vec<_> = (1..=4).map(|step| rate.take(later_ms + step)).collect();
            assert_eq!(steps, [false, true, false, true]);
        }
    }

    #[test]
    fn what_is_given_back_is_there_again_and_no_more_than_a_burst() {
        let mut rate = Rate::new(500, 2);
        assert_eq!(taken(&mut rate, 0), 2);
        (0..5).for_each(|_| rate.give_back());
        assert_eq!(taken(&mut rate, 0), 2);
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_earns_nothing_and_one_that_leaps_a_burst() {
        let mut rate = Rate::new(500, 500);
        assert_eq!(taken(&mut rate, 10_000), 500);
        assert_eq!(taken(&mut rate, 0), 0);
        assert_eq!(taken(&mut rate, 10_000), 0, "the way back is not earned twice");
        assert_eq!(taken(&mut rate, u64::MAX), 500);
        assert_eq!(taken(&mut rate, u64::MAX), 0);
    }
}
