//! What a connection costs this end in processor time, beside what it carries.
//!
//! Some of what the other end may send costs str0m and sctp-proto far more than it costs the sender: fragments of a message that
//! never ends are looked through again for each new one, streams that nobody declared are walked at each poll. It is encrypted
//! until it is there, so it cannot be told by its looks; it can by what it takes. Of an
//! honest connection that opened and reset 1,000 streams one call in two took 13 to 36 µs here, one in a hundred 170 to 480.

use std::time::{Duration, Instant};

/// What a datagram may take, either way, µs.
const PER_DATAGRAM_US: u64 = 250;
/// And for each stream that was opened in order, µs: str0m looks at each, several times.
const PER_STREAM_US: u64 = 6;
/// What may be taken beyond that, µs.
const AT_ONCE_US: u64 = 2_000_000;

/// What may still be taken, µs.
#[derive(Debug)]
struct Left(u64);

impl Left {
    fn took(&mut self, time: Duration) {
        self.0 = self.0.saturating_sub(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn earn(&mut self, us: u64) {
        self.0 = self.0.saturating_add(us).min(AT_ONCE_US);
    }
}

/// The processor time that one connection may still take.
#[derive(Debug)]
pub(super) struct Effort {
    /// By the clock on the wall, which costs next to nothing to read, and runs while others work too.
    passed: Left,
    /// By the processor's, which is a call into the kernel: only while the other one has run down by half.
    worked: Left,
    is_counted: bool,
}

impl Default for Effort {
    fn default() -> Self {
        Self { passed: Left(AT_ONCE_US), worked: Left(AT_ONCE_US), is_counted: false }
    }
}

impl Effort {
    /// What is done from now on, the other end's datagrams have brought about.
    pub fn begin(&mut self) {
        self.is_counted = true;
    }

    /// What is done from now on, this end wants itself.
    pub fn end(&mut self) {
        self.is_counted = false;
    }

    /// Does something, and counts what it takes if the other end has brought it about.
    pub fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if !self.is_counted {
            return work();
        }
        let before = self.is_suspect().then(thread_time).flatten();
        let begun = Instant::now();
        let done = work();
        self.passed.took(begun.elapsed());
        if let Some(before) = before
            && let Some(after) = thread_time()
        {
            self.worked.took(after.saturating_sub(before));
        }
        done
    }

    fn is_suspect(&self) -> bool {
        self.passed.0 < AT_ONCE_US / 2
    }

    /// A datagram came, or goes because of one, of a connection with so many streams. What this end sends of its own earns nothing,
    /// for what that takes is not counted either.
    pub fn on_datagram(&mut self, streams: usize) {
        if !self.is_counted {
            return;
        }
        let us = PER_DATAGRAM_US + PER_STREAM_US * streams as u64;
        self.passed.earn(us);
        self.worked.earn(us);
    }

    /// It took too much.
    pub fn is_spent(&self) -> bool {
        self.worked.0 == 0
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

    /// Datagrams that take so long each, until it is spent; how many that were.
    fn datagrams(effort: &mut Effort, each_us: u64, max: u64) -> u64 {
        effort.begin();
        for number in 0..max {
            if effort.is_spent() {
                return number;
            }
            effort.on_datagram(0);
            effort.worked.took(Duration::from_micros(each_us));
        }
        max
    }

    #[test]
    fn what_honest_datagrams_take_is_never_too_much() {
        let mut effort = Effort::default();
        assert_eq!(datagrams(&mut effort, PER_DATAGRAM_US, 100_000), 100_000);
        // A burst of work that comes seldom.
        effort.worked.took(Duration::from_millis(500));
        assert_eq!(datagrams(&mut effort, PER_DATAGRAM_US, 100_000), 100_000);
    }

    #[test]
    fn what_takes_more_than_it_carries_is_soon_too_much() {
        for (each_us, at_most_us) in [(1_000, 3_000_000), (300, 13_000_000), (500_000, 3_000_000)] {
            let datagrams = datagrams(&mut Effort::default(), each_us, 100_000);
            assert!(datagrams * each_us <= at_most_us, "{datagrams} datagrams of {each_us} µs");
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_the_time_of_this_thread_counts_and_only_where_there_is_reason() {
        let mut effort = Effort::default();
        effort.begin();
        let work = |ms| {
            let begun = thread_time().unwrap();
            while thread_time().unwrap() - begun < Duration::from_millis(ms) {}
        };
        effort.of(|| work(1_100));
        assert!(effort.is_suspect() && effort.worked.0 == AT_ONCE_US, "{effort:?}");
        effort.of(|| std::thread::sleep(Duration::from_millis(100)));
        assert!(effort.worked.0 > AT_ONCE_US - 50_000, "{effort:?}");
        effort.worked = Left(50_000);
        effort.end();
        effort.of(|| work(100));
        assert!(!effort.is_spent(), "this end's own doing: {effort:?}");
        effort.on_datagram(1_000);
        assert_eq!(effort.worked.0, 50_000, "it earns nothing either");
        effort.begin();
        effort.of(|| work(50));
        assert!(effort.is_spent(), "{effort:?}");
    }
}
