//! How many bytes of one connection are on their way at once.
//!
//! What is on its way costs: sctp-proto looks at every chunk that is not acknowledged yet each time it is polled. Measured
//! between two native peers on loopback, sender's CPU per MiB: 13 ms with 64 KiB on the way, 65 ms with 1 MiB, and 33 MB/s
//! against 10. A long path needs more on the way than a short one, so the window is found by trying: it is doubled, and stays so
//! if that moved more; it is halved, and stays so if that moved as much.

use std::time::{Duration, Instant};

/// The window at first, and the least.
pub(super) const WINDOW_MIN_BYTES: usize = 64 * 1024;
/// The most: what the slowest reader of a fast path makes this end hold.
pub(super) const WINDOW_MAX_BYTES: usize = 1024 * 1024;
/// Below this rate (bytes a second) what is on its way costs little, and the window is at least what is moved in [`SLOW_TIME`]: a
/// path of 50 ms that loses now and then is kept full by that, and the frames of other streams wait no longer for it.
const SLOW_RATE: f64 = 4e6;
const SLOW_TIME: Duration = Duration::from_millis(150);
/// The least window of a slow path is no more than this.
const SLOW_MIN_BYTES: usize = 256 * 1024;
/// A round is two windows, and no shorter than this: less says more about the scheduler than about the path.
const ROUND_MIN: Duration = Duration::from_millis(20);
/// A turn is one least window, and no shorter than this.
const TURN_MIN: Duration = Duration::from_millis(5);
/// What was measured says something for so long: a path gets better, too.
const RATE_HOLDS: Duration = Duration::from_secs(1);
/// A path on which a window takes this long is a long one.
const LONG_TURN: Duration = Duration::from_millis(20);
/// Rounds between two trials.
const ROUNDS_BETWEEN: u32 = 16;
/// A doubled window stays if it moves so much more.
const GAIN: f64 = 1.25;
/// A halved window stays if it moves so much of what was moved before.
const KEPT: f64 = 0.95;

#[derive(Debug, Clone, Copy)]
enum Trial {
    Doubled {
        before: f64,
    },
    Halved {
        before: f64,
    },
    /// None under way; the next one halves or doubles.
    None {
        rounds: u32,
        next_halves: bool,
    },
}

/// The least window at a rate, bytes a second.
fn least(rate: f64) -> usize {
    if rate > SLOW_RATE {
        return WINDOW_MIN_BYTES;
    }
    let moved = (rate * SLOW_TIME.as_secs_f64()) as usize;
    moved.next_power_of_two().clamp(WINDOW_MIN_BYTES, SLOW_MIN_BYTES)
}

/// The window of one connection.
#[derive(Debug)]
pub(super) struct Window {
    bytes: usize,
    /// What was acknowledged in the turn before, bytes a second, and when that ended.
    rate: Option<(f64, Instant)>,
    /// When the turn began, and what had been acknowledged by then.
    turn: Option<(Instant, u64)>,
    trial: Trial,
    /// When the round began, and what had been acknowledged by then. None runs while there is too little to send.
    round: Option<(Instant, u64)>,
}

impl Default for Window {
    fn default() -> Self {
        // The first round ends with a trial.
        let trial = Trial::None { rounds: ROUNDS_BETWEEN, next_halves: false };
        Self { bytes: WINDOW_MIN_BYTES, rate: None, turn: None, trial, round: None }
    }
}

impl Window {
    /// The bytes that may be on their way.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the other end acknowledges, bytes a second, if more is on a long path than its socket has room for at once. On a short
    /// one it reads meanwhile, and timers are too coarse for it.
    pub fn pace(&self, now: Instant) -> Option<f64> {
        let (rate, at) = self.rate?;
        let is_long = self.bytes as f64 >= rate * LONG_TURN.as_secs_f64();
        let is_recent = now.saturating_duration_since(at) < RATE_HOLDS;
        (self.bytes > WINDOW_MIN_BYTES && is_long && is_recent).then_some(rate)
    }

    /// There was nothing more to send: what this round moves says nothing of the path.
    pub fn on_idle(&mut self) {
        (self.round, self.turn) = (None, None);
    }

    /// The window is full and more waits; so much has been acknowledged in all.
    pub fn on_full(&mut self, acknowledged: u64, now: Instant) {
        self.on_turn(acknowledged, now);
        let Some((since, before)) = self.round else {
            self.round = Some((now, acknowledged));
            return;
        };
        let (elapsed, moved) = (now.saturating_duration_since(since), acknowledged.saturating_sub(before));
        if elapsed < ROUND_MIN || moved < 2 * self.bytes as u64 {
            return;
        }
        self.round = Some((now, acknowledged));
        self.on_round(moved as f64 / elapsed.as_secs_f64());
    }

    fn on_turn(&mut self, acknowledged: u64, now: Instant) {
        let Some((since, before)) = self.turn else {
            self.turn = Some((now, acknowledged));
            return;
        };
        let (elapsed, moved) = (now.saturating_duration_since(since), acknowledged.saturating_sub(before));
        if elapsed >= TURN_MIN && moved >= WINDOW_MIN_BYTES as u64 {
            self.turn = Some((now, acknowledged));
            self.rate = Some((moved as f64 / elapsed.as_secs_f64(), now));
        }
    }

    fn on_round(&mut self, rate: f64) {
        let none = |next_halves| Trial::None { rounds: 0, next_halves };
        self.trial = match self.trial {
            // More may be better still.
            Trial::Doubled { before } if rate >= GAIN * before => self.double(rate).unwrap_or(none(true)),
            Trial::Doubled { .. } => {
                self.bytes /= 2;
                none(true)
            }
            Trial::Halved { before } if rate >= KEPT * before => self.halve(rate).unwrap_or(none(false)),
            Trial::Halved { .. } => {
                self.bytes *= 2;
                none(false)
            }
            Trial::None { rounds, next_halves } if rounds < ROUNDS_BETWEEN => {
                Trial::None { rounds: rounds + 1, next_halves }
            }
            Trial::None { next_halves: true, .. } => self.halve(rate).unwrap_or(none(false)),
            Trial::None { next_halves: false, .. } => self.double(rate).unwrap_or(none(true)),
        };
        self.bytes = self.bytes.max(least(rate));
    }

    fn double(&mut self, before: f64) -> Option<Trial> {
        (self.bytes < WINDOW_MAX_BYTES).then(|| {
            self.bytes *= 2;
            Trial::Doubled { before }
        })
    }

    fn halve(&mut self, before: f64) -> Option<Trial> {
        (self.bytes > least(before)).then(|| {
            self.bytes /= 2;
            Trial::Halved { before }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that moves one window in a round trip, and no more than its link does.
    struct Path {
        round_trip: f64,
        /// Bytes a second, by the window.
        link: fn(usize) -> f64,
    }

    /// Keeps a window full on a path for so long; how often it was of which size, in round trips.
    fn runs(window: &mut Window, path: &Path, for_s: f64) -> Vec<usize> {
        let begin = Instant::now();
        window.on_idle();
        let (mut at, mut acknowledged) = (0.0, 0.0);
        let mut sizes = Vec::new();
        while at < for_s {
            let rate = (window.bytes() as f64 / path.round_trip).min((path.link)(window.bytes()));
            let step = path.round_trip.max(0.001);
            (at, acknowledged) = (at + step, acknowledged + rate * step);
            window.on_full(acknowledged as u64, begin + Duration::from_secs_f64(at));
            sizes.push(window.bytes());
        }
        sizes.sort_unstable();
        sizes
    }

    fn median(sizes: &[usize]) -> usize {
        sizes[sizes.len() / 2]
    }

    const LOOPBACK: Path =
        Path { round_trip: 0.0002, link: |window| if window > WINDOW_MIN_BYTES { 15e6 } else { 33e6 } };
    const FAR: Path = Path { round_trip: 0.05, link: |_| 100e6 };

    #[test]
    fn a_short_path_keeps_little_on_the_way() {
        assert_eq!(median(&runs(&mut Window::default(), &LOOPBACK, 3.0)), WINDOW_MIN_BYTES);
    }

    #[test]
    fn a_long_path_gets_all_it_can_use_within_a_second() {
        let mut window = Window::default();
        runs(&mut window, &FAR, 1.0);
        assert_eq!(window.bytes(), WINDOW_MAX_BYTES);
        assert_eq!(median(&runs(&mut window, &FAR, 10.0)), WINDOW_MAX_BYTES);
    }

    #[test]
    fn a_slow_link_needs_no_more_than_it_moves_in_a_round_trip() {
        let slow = Path { round_trip: 0.05, link: |_| 2e6 };
        let size = median(&runs(&mut Window::default(), &slow, 20.0));
        assert!((100_000..=256 * 1024).contains(&size), "{size}");
    }

    #[test]
    fn a_slower_link_still_makes_nobody_wait_long() {
        assert_eq!([1e5, 4e5, 8e5, 1.3e6, 4e6, 5e6].map(least), [64, 64, 128, 256, 256, 64].map(|kib| kib * 1024));
    }

    #[test]
    fn only_what_fills_a_long_path_is_paced_and_not_for_long() {
        let mut window = Window::default();
        let begin = Instant::now();
        runs(&mut window, &FAR, 2.0);
        let at = begin + Duration::from_secs(2);
        assert!(window.pace(at).is_some_and(|rate| rate > 10e6), "{window:?}");
        assert_eq!(window.pace(at + 2 * RATE_HOLDS), None, "it is idle since");
        let mut window = Window::default();
        runs(&mut window, &LOOPBACK, 2.0);
        assert_eq!(window.pace(begin + Duration::from_secs(2)), None);
    }

    #[test]
    fn a_path_that_changes_is_followed() {
        let mut window = Window::default();
        runs(&mut window, &FAR, 3.0);
        runs(&mut window, &LOOPBACK, 5.0);
        assert_eq!(median(&runs(&mut window, &LOOPBACK, 5.0)), WINDOW_MIN_BYTES);
        runs(&mut window, &FAR, 5.0);
        assert_eq!(median(&runs(&mut window, &FAR, 5.0)), WINDOW_MAX_BYTES);
    }

    #[test]
    fn who_has_little_to_send_learns_nothing() {
        let mut window = Window::default();
        let begin = Instant::now();
        for round in 0..1_000_u32 {
            window.on_full(u64::from(round) << 30, begin + round * ROUND_MIN);
            window.on_idle();
        }
        assert_eq!(window.bytes(), WINDOW_MIN_BYTES);
    }
}
