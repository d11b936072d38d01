//! What a connection costs this end in processor time, beside what it carries.
//!
//! Some of what the other end may send costs str0m and sctp-proto far more than it costs the sender: fragments of a message that
//! never ends are looked through again for each new one, streams that nobody declared are walked at each poll. It is encrypted
//! until it is there, so it cannot be told by its looks; it can by what it takes. An honest datagram takes 10 to 60 µs here.

use std::time::Duration;

/// What a datagram may take, either way, µs.
const PER_DATAGRAM_US: u64 = 250;
/// And for each stream that was opened in order, µs: str0m looks at each, several times.
const PER_STREAM_US: u64 = 6;
/// What may be taken beyond that, µs.
const AT_ONCE_US: u64 = 2_000_000;
/// Of so many turns one is measured, and stands for the others: reading the clock is a call into the kernel.
const MEASURED_ONE_IN: u32 = 4;

/// The processor time that one connection may still take.
#[derive(Debug)]
pub(super) struct Effort {
    left_us: u64,
    turn: u32,
}

impl Default for Effort {
    fn default() -> Self {
        Self { left_us: AT_ONCE_US, turn: 0 }
    }
}

impl Effort {
    /// Begins a turn: some datagrams, and what comes of them.
    pub fn next_turn(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    fn is_measured(&self) -> bool {
        self.turn.is_multiple_of(MEASURED_ONE_IN)
    }

    /// Does something, and counts what it takes in a turn that is measured.
    pub fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let begun = self.is_measured().then(thread_time).flatten();
        let done = work();
        if let (Some(begun), Some(ended)) = (begun, begun.and_then(|_| thread_time())) {
            self.took(ended.saturating_sub(begun));
        }
        done
    }

    fn took(&mut self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.left_us = self.left_us.saturating_sub(us.saturating_mul(MEASURED_ONE_IN.into()));
    }

    /// A datagram came or goes, of a connection with so many streams.
    pub fn on_datagram(&mut self, streams: usize) {
        if self.is_measured() {
            let earned_us = PER_DATAGRAM_US + PER_STREAM_US * streams as u64;
            self.left_us = (self.left_us + earned_us * u64::from(MEASURED_ONE_IN)).min(AT_ONCE_US);
        }
    }

    /// It took too much.
    pub fn is_spent(&self) -> bool {
        self.left_us == 0
    }
}

/// The processor time of this thread: what others take meanwhile does not count. Only Unix tells it; elsewhere nothing is
/// counted.
#[cfg(unix)]
fn thread_time() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
}

#[cfg(not(unix))]
fn thread_time() -> Option<Duration> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of so many datagrams that take so long each, until it is spent.
    fn turns(effort: &mut Effort, datagrams: u32, each_us: u64, max: u32) -> u32 {
        for turn in 0..max {
            if effort.is_spent() {
                return turn;
            }
            effort.next_turn();
            for _ in 0..datagrams {
                effort.on_datagram(0);
                if effort.is_measured() {
                    effort.took(Duration::from_micros(each_us));
                }
            }
        }
        max
    }

    #[test]
    fn what_honest_datagrams_take_is_never_too_much() {
        let mut effort = Effort::default();
        assert_eq!(turns(&mut effort, 32, PER_DATAGRAM_US - 1, 10_000), 10_000);
        // A burst of work that comes seldom.
        effort.next_turn();
        effort.turn = 0;
        effort.took(Duration::from_millis(20));
        assert!(!effort.is_spent());
    }

    #[test]
    fn what_takes_more_than_it_carries_is_soon_too_much() {
        for (datagrams, each_us, at_most_us) in [(1, 1_000, 4_000_000), (32, 300, 14_000_000), (1, 500_000, 4_000_000)]
        {
            let turns = turns(&mut Effort::default(), datagrams, each_us, 10_000);
            assert!(u64::from(turns * datagrams) * each_us <= at_most_us, "{turns} turns of {each_us} µs");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_time_of_this_thread_counts() {
        let mut effort = Effort { turn: 0, ..Effort::default() };
        effort.of(|| std::thread::sleep(Duration::from_millis(600)));
        assert!(!effort.is_spent(), "{effort:?}");
        effort.of(|| {
            let begun = thread_time().unwrap();
            while thread_time().unwrap() - begun < Duration::from_millis(550) {}
        });
        assert!(effort.is_spent(), "{effort:?}");
    }
}
