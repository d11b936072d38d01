//! When datagrams leave.
//!
//! A path of 50 ms is filled by bursts: SCTP sends as much as its window opens at once, and what comes back keeps that shape. A
//! browser's UDP socket has room for some 56 full datagrams (Chromium asks for 128 KiB, of which each takes 2,304 bytes), and
//! what is lost there halves the window. So they leave little faster than they are acknowledged (as RFC 9002, 7.7 has it for QUIC).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use str0m::net::Transmit;

/// Bytes that leave at once: the initial window of RFC 6928, or what is due when a timer is late.
const BURST_BYTES: f64 = 12.0 * 1024.0;
/// The least pace (bytes a second).
const PACE_MIN: f64 = 1e6;
/// The pace, of the rate at which the other end acknowledges: more than it, or that could not grow.
const GAIN: f64 = 1.5;
/// Datagrams that wait; more are dropped, as a network drops them. A whole window fits.
const WAITING_MAX: usize = 2_048;
/// Timers are no finer, and later by up to as much.
const TICK: Duration = Duration::from_millis(1);

/// The datagrams of one connection that wait for their time.
pub(super) struct Pacer {
    waiting: VecDeque<Transmit>,
    /// Bytes a second; none: whenever they come.
    pace: Option<f64>,
    /// Bytes that may leave at `at`; what is sent beyond is owed.
    credit: f64,
    at: Instant,
}

impl Pacer {
    pub fn new(now: Instant) -> Self {
        Self { waiting: VecDeque::new(), pace: None, credit: BURST_BYTES, at: now }
    }

    /// Bytes that the other end acknowledges a second; none: nothing is held back, once what waits has left.
    pub fn set_rate(&mut self, rate: Option<f64>) {
        if rate.is_some() || self.waiting.is_empty() {
            self.pace = rate.map(|rate| (GAIN * rate).max(PACE_MIN));
        }
    }

    pub fn push(&mut self, datagram: Transmit) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(datagram);
        }
    }

    /// The next that may leave now.
    pub fn next(&mut self, now: Instant) -> Option<Transmit> {
        let Some(pace) = self.pace else { return self.waiting.pop_front() };
        let bytes = self.waiting.front()?.contents.len() as f64;
        if self.credit <= 0.0 || self.at < now {
            let earned = now.saturating_duration_since(self.at).as_secs_f64() * pace;
            let most = BURST_BYTES.max(2.0 * TICK.as_secs_f64() * pace);
            self.credit = (self.credit + earned).min(most);
            self.at = self.at.max(now);
        }
        if self.credit <= 0.0 {
            return None;
        }
        self.credit -= bytes;
        self.waiting.pop_front()
    }

    /// When to ask for the next; `None` if none waits.
    pub fn next_at(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then(|| self.at + TICK)
    }

    /// Forgets what waits: the connection is over, and the word of that is not to be lost behind it.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use str0m::net::Protocol;

    fn datagram(bytes: usize) -> Transmit {
        let address = "127.0.0.1:9".parse().unwrap();
        Transmit { proto: Protocol::Udp, source: address, destination: address, contents: vec![0; bytes].into() }
    }

    fn with_waiting(begin: Instant, rate: Option<f64>, datagrams: usize) -> Pacer {
        let mut pacer = Pacer::new(begin);
        pacer.set_rate(rate);
        (0..datagrams).for_each(|_| pacer.push(datagram(1_200)));
        pacer
    }

    /// Bytes that leave within so many ticks.
    fn leave(pacer: &mut Pacer, begin: Instant, ticks: u32) -> usize {
        let at = |tick| begin + tick * TICK;
        let leave_at =
            |tick| std::iter::from_fn(|| pacer.next(at(tick))).map(|datagram| datagram.contents.len()).sum::<usize>();
        (0..ticks).map(leave_at).sum()
    }

    #[test]
    fn a_few_leave_at_once_and_the_rest_at_their_pace() {
        let begin = Instant::now();
        let mut pacer = with_waiting(begin, Some(2e6), 1_000);
        let at_once = leave(&mut pacer, begin, 1);
        assert!((12 * 1024..13_500).contains(&at_once), "{at_once}");
        assert_eq!(pacer.next_at(), Some(begin + TICK));
        let later = leave(&mut pacer, begin + TICK, 20);
        assert!((58_000..62_000).contains(&later), "{later}");
        pacer.set_rate(Some(20e6));
        let faster = leave(&mut pacer, begin + 21 * TICK, 10);
        assert!((298_000..303_000).contains(&faster), "{faster}");
        pacer.set_rate(None);
        assert!(leave(&mut pacer, begin + 31 * TICK, 1) < 60_000, "what waits is not set free at once");
        pacer.clear();
        assert_eq!(pacer.next_at(), None);
    }

    #[test]
    fn without_a_rate_nothing_is_held_back() {
        let begin = Instant::now();
        let mut pacer = with_waiting(begin, None, 1_000);
        assert_eq!(leave(&mut pacer, begin, 1), 1_200_000);
    }

    #[test]
    fn a_late_timer_is_made_up_for_and_a_long_silence_is_not() {
        let begin = Instant::now();
        let mut pacer = with_waiting(begin, Some(20e6), 2 * WAITING_MAX);
        assert_eq!(pacer.waiting.len(), WAITING_MAX, "more are dropped");
        leave(&mut pacer, begin, 1);
        let late = leave(&mut pacer, begin + 2 * TICK, 1);
        assert!((58_000..62_000).contains(&late), "{late}");
        let silent = leave(&mut pacer, begin + Duration::from_secs(60), 1);
        assert!((58_000..62_000).contains(&silent), "{silent}");
    }
}
