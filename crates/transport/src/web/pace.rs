//! How fast a tab hands messages to the browser on a long path. It knows no JavaScript, so that it is tested natively.
//!
//! A browser's SCTP sends as much as its window opens at once, and on a long path what comes back keeps that shape, while the
//! other browser's UDP socket has room for some 56 full datagrams: what is lost there halves the window, again and again, and a
//! path of 50 ms carries 1 MB/s. Nobody can slow a browser's SCTP down, but it sends no more than it is handed. So it is handed a
//! little at a time, and little waits in it (the native side does the same to datagrams: `native/pacer.rs`). Measured between
//! two tabs, 50 ms: of 12 MiB a bare channel loses 140 to 1,251 datagrams and ours none to 5; ours is 1.9 to 2.2 times as fast, in Firefox 1.4 to 1.6.

/// The other end's first answer takes this long at least where a path is long, ms.
const LONG_MS: u64 = 20;
/// The least pace, bytes a millisecond: a full message a tick.
const PACE_MIN: f64 = 3_300.0;
/// Bytes that are handed over at once at most, but for the rest of a message.
const BURST_MAX: f64 = 32.0 * 1024.0;
/// Bytes that wait in the browser at most, but for the rest of a message: they leave at once when its window opens.
const BUFFERED_MAX: u32 = 24 * 1024;
/// The pace, of the rate at which the browser sent: more than it, or that could not grow.
const GAIN: f64 = 1.5;
/// Timers of a tab are no finer, ms.
const TICK_MS: u64 = 5;
/// The rate is measured over this time at least, ms.
const ROUND_MIN_MS: u64 = 50;
/// Timers that are later than this, as a hidden tab's are, pace nothing, ms.
const LATE_MS: u64 = 250;
/// Without a pace is gone on for so long then, ms.
const UNPACED_MS: u64 = 60_000;

/// The pace of one connection. Times are monotonic ms.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// The least that the other end took to answer.
    answered_ms: Option<u64>,
    /// Bytes a millisecond.
    pace: f64,
    /// Bytes that may be handed over at `at_ms`; what was beyond is owed.
    credit: f64,
    at_ms: u64,
    round: Round,
    /// When a timer was asked for.
    due_ms: Option<u64>,
    unpaced_until_ms: u64,
}

/// What the browser sent since it began.
#[derive(Debug, Default)]
struct Round {
    began_ms: u64,
    /// Buffered when it began, and handed over since, bytes.
    taken: u64,
    /// More was there to be handed over, all the time.
    is_full: bool,
}

impl Pace {
    /// The other end answered a stream's first message.
    pub fn answered_within(&mut self, ms: u64) {
        self.answered_ms = Some(self.answered_ms.map_or(ms, |least| least.min(ms)));
    }

    fn is_paced(&self, now_ms: u64) -> bool {
        self.answered_ms.is_some_and(|ms| ms >= LONG_MS) && now_ms >= self.unpaced_until_ms
    }

    /// How many bytes may be handed over now, when so many are still buffered. One message may be the last beyond that.
    pub fn room(&mut self, buffered: u32, now_ms: u64) -> u32 {
        if self.due_ms.take_if(|due| *due <= now_ms).is_some_and(|due| now_ms - due >= LATE_MS) {
            self.unpaced_until_ms = now_ms + UNPACED_MS;
        }
        if !self.is_paced(now_ms) {
            self.round.is_full = false;
            return u32::MAX;
        }
        self.measure(buffered.into(), now_ms);
        let pace = self.pace.max(PACE_MIN);
        let passed_ms = now_ms.saturating_sub(self.at_ms) as f64;
        self.credit = (self.credit + passed_ms * pace).min(BURST_MAX.min(2.0 * TICK_MS as f64 * pace));
        self.at_ms = now_ms;
        (self.credit.max(0.0) as u32).min(BUFFERED_MAX.saturating_sub(buffered))
    }

    fn measure(&mut self, buffered: u64, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.round.began_ms);
        if passed_ms < self.answered_ms.unwrap_or(0).max(ROUND_MIN_MS) {
            return;
        }
        // Where there was nothing to send, that says nothing of how fast it could have been.
        if self.round.is_full {
            self.pace = GAIN * self.round.taken.saturating_sub(buffered) as f64 / passed_ms as f64;
        }
        self.round = Round { began_ms: now_ms, taken: buffered, is_full: true };
    }

    /// So many bytes were handed over. `is_more`: others wait. Returns when to come back for them, unless the browser asks sooner.
    pub fn handed(&mut self, bytes: u32, is_more: bool, now_ms: u64) -> Option<u64> {
        if !self.is_paced(now_ms) {
            return None;
        }
        self.credit -= f64::from(bytes);
        self.round.taken += u64::from(bytes);
        self.round.is_full &= is_more;
        self.due_ms = is_more.then_some(now_ms + TICK_MS);
        self.due_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: u32 = 16_384;

    /// Sends for so long to a browser that sends so much a millisecond; returns the most that was handed over in one tick, and
    /// all of it.
    fn send(pace: &mut Pace, from_ms: u64, for_ms: u64, carries: u32) -> (u32, u64) {
        let (mut buffered, mut most, mut all) = (0_u32, 0, 0);
        let mut now_ms = from_ms;
        while now_ms < from_ms + for_ms {
            let (room, mut handed) = (pace.room(buffered, now_ms), 0);
            while handed < room {
                handed += MESSAGE;
                buffered += MESSAGE;
            }
            (most, all) = (most.max(handed), all + u64::from(handed));
            let next_ms = pace.handed(handed, true, now_ms).unwrap_or(now_ms + TICK_MS);
            buffered = buffered.saturating_sub((next_ms - now_ms) as u32 * carries);
            now_ms = next_ms;
        }
        (most, all)
    }

    fn long() -> Pace {
        let mut pace = Pace::default();
        pace.answered_within(50);
        pace
    }

    #[test]
    fn on_a_short_path_nothing_is_held_back() {
        let mut pace = Pace::default();
        assert_eq!(pace.room(0, 0), u32::MAX, "nor as long as nobody knows");
        pace.answered_within(50);
        assert!(pace.room(0, 0) <= 2 * MESSAGE);
        pace.answered_within(LONG_MS - 1);
        pace.answered_within(50);
        assert_eq!((pace.room(0, 1), pace.handed(MESSAGE, true, 1)), (u32::MAX, None), "the least counts");
    }

    #[test]
    fn it_begins_slowly_and_grows_as_far_as_the_browser_sends() {
        let mut pace = long();
        let (most, all) = send(&mut pace, 1_000, 50, 1_000_000);
        assert!(most <= 3 * MESSAGE && all <= 15 * u64::from(MESSAGE), "{most} {all}");
        let (most, all) = send(&mut pace, 1_050, 2_000, 5_000);
        assert!((9_000_000..11_000_000).contains(&all), "5 MB/s for two seconds: {all}");
        assert!(most <= 3 * MESSAGE, "{most}");
        // The browser's window was halved: what it does not send it is not given.
        let (_, all) = send(&mut pace, 3_050, 1_000, 1_000);
        assert!((900_000..1_100_000).contains(&all), "{all}");
    }

    #[test]
    fn a_pause_changes_no_pace_and_earns_no_burst() {
        let mut pace = long();
        send(&mut pace, 1_000, 2_000, 5_000);
        let before = pace.pace;
        for now_ms in (3_000..4_000).step_by(10) {
            pace.room(0, now_ms);
            assert_eq!(pace.handed(100, false, now_ms), None);
        }
        assert!((pace.pace - before).abs() < before, "{} {before}", pace.pace);
        assert!(pace.room(0, 60_000) <= 2 * MESSAGE);
    }

    #[test]
    fn where_timers_are_late_there_is_no_pace() {
        let mut pace = long();
        let room = pace.room(0, 1_000);
        assert_eq!(pace.handed(room, true, 1_000), Some(1_000 + TICK_MS));
        assert!(pace.room(0, 1_000 + TICK_MS + LATE_MS - 1) < u32::MAX);
        let due_ms = pace.handed(MESSAGE, true, 2_000).unwrap();
        assert_eq!(pace.room(0, due_ms + LATE_MS), u32::MAX);
        assert_eq!(pace.handed(MESSAGE, true, due_ms + LATE_MS), None);
        assert!(pace.room(0, due_ms + LATE_MS + UNPACED_MS) < u32::MAX, "it is tried again");
    }
}
