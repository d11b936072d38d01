//! What is known of one peer, and how good a choice it is.

use super::{Config, PeerStats};
use crate::limits::{BACKOFF_MAX_MS, BUSY_BACKOFF_MS, CHUNK_MAX_BYTES};

/// Requests given at once to a peer of which nothing is known yet.
const FIRST_WINDOW: usize = 2;
/// How much work a peer is given, measured in the time it takes.
const WINDOW_MS: u64 = 1_000;
/// How much of a peer's latency is added to that at most, in milliseconds.
const WINDOW_LATENCY_MAX_MS: u64 = 4_000;
/// How long one sample of a peer's rate is, in milliseconds, unless a chunk is done earlier.
const SAMPLE_MS: u64 = 500;
/// Chunks that end sooner than this after one another share a sample, in milliseconds.
const SAMPLE_MIN_MS: u64 = 50;
/// What an unknown peer is taken for when a chunk is urgent, in milliseconds for one chunk.
const UNKNOWN_CHUNK_MS: u64 = 1_000;
/// Chunks a peer may lack in a row before it is asked last.
const MISSES_MAX: u32 = 4;
/// How long such a peer is left alone at most, in milliseconds.
const MISS_BACKOFF_MAX_MS: u64 = 2_000;
/// Weight of the newest sample in a moving average, as a divisor.
const AVERAGE_OVER: u64 = 3;

#[derive(Debug)]
pub(super) struct Peer {
    /// Tells this stay of the peer from earlier ones.
    pub epoch: u64,
    pub in_flight: usize,
    pub failures: u32,
    misses: u32,
    is_slow: bool,
    backoff_until_ms: u64,
    bytes_per_s: Option<u64>,
    latency_ms: Option<u64>,
    delivered_bytes: u64,
    /// The running sample of the rate.
    sample_start_ms: u64,
    sample_bytes: u64,
    /// The running check of the floor rate.
    floor_start_ms: u64,
    floor_bytes: u64,
}

fn average(old: Option<u64>, sample: u64) -> u64 {
    match old {
        None => sample,
        Some(old) => (old / AVERAGE_OVER).saturating_mul(AVERAGE_OVER - 1).saturating_add(sample / AVERAGE_OVER),
    }
}

impl Peer {
    pub(super) fn new(epoch: u64) -> Self {
        Self {
            epoch,
            in_flight: 0,
            failures: 0,
            misses: 0,
            is_slow: false,
            backoff_until_ms: 0,
            bytes_per_s: None,
            latency_ms: None,
            delivered_bytes: 0,
            sample_start_ms: 0,
            sample_bytes: 0,
            floor_start_ms: 0,
            floor_bytes: 0,
        }
    }

    pub(super) fn stats<P>(&self, peer: P) -> PeerStats<P> {
        PeerStats {
            peer,
            in_flight: self.in_flight,
            bytes_per_s: self.bytes_per_s,
            latency_ms: self.latency_ms,
            delivered_bytes: self.delivered_bytes,
            failures: self.failures,
        }
    }

    /// Requests it may have at once.
    fn window(&self, config: &Config) -> usize {
        if !self.is_reliable() {
            return 1.min(config.per_peer);
        }
        let window = match self.bytes_per_s {
            None => FIRST_WINDOW,
            Some(rate) => {
                // Its own latency must not make a distant peer look slower and slower.
                let window_ms = WINDOW_MS + self.latency_ms.unwrap_or(0).saturating_mul(2).min(WINDOW_LATENCY_MAX_MS);
                let chunks = rate.saturating_mul(window_ms) / 1_000 / CHUNK_MAX_BYTES as u64;
                usize::try_from(chunks).unwrap_or(usize::MAX).max(1)
            }
        };
        window.min(config.per_peer)
    }

    pub(super) fn may_take(&self, config: &Config, now_ms: u64) -> bool {
        now_ms >= self.backoff_until_ms && self.in_flight < self.window(config)
    }

    /// Whether nothing speaks against it.
    pub(super) fn is_reliable(&self) -> bool {
        self.failures == 0 && !self.is_slow
    }

    /// When a peer that is left alone comes back.
    pub(super) fn backoff_until_ms(&self, now_ms: u64) -> Option<u64> {
        (self.backoff_until_ms > now_ms).then_some(self.backoff_until_ms)
    }

    /// How long one more request of `size` bytes is expected to take, in milliseconds.
    pub(super) fn expected_ms(&self, size: u32) -> u64 {
        let Some(rate) = self.bytes_per_s else {
            return UNKNOWN_CHUNK_MS * (1 + self.in_flight as u64);
        };
        let queued = (self.in_flight as u64).saturating_mul(CHUNK_MAX_BYTES as u64) + u64::from(size);
        let latency = self.latency_ms.unwrap_or(0);
        latency.saturating_add(queued.saturating_mul(1_000) / rate.max(1))
    }

    /// Smaller is better: reliable before slow before failing ones, then by expected time. A peer of which nothing is known
    /// is tried before all others, except for an urgent chunk.
    pub(super) fn rank(&self, size: u32, is_urgent: bool) -> (u8, u64) {
        let tier = match () {
            () if self.failures > 0 || self.misses >= MISSES_MAX => 2,
            () if self.is_slow => 1,
            () => 0,
        };
        let is_untried = self.bytes_per_s.is_none() && self.in_flight == 0;
        let expected_ms = if is_untried && !is_urgent { 0 } else { self.expected_ms(size) };
        (tier, expected_ms)
    }

    pub(super) fn on_request(&mut self, now_ms: u64) {
        if self.in_flight == 0 {
            (self.sample_start_ms, self.sample_bytes) = (now_ms, 0);
            (self.floor_start_ms, self.floor_bytes) = (now_ms, 0);
        }
        self.in_flight += 1;
    }

    /// A request ended, however it did.
    pub(super) fn on_end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(super) fn on_first_bytes(&mut self, latency_ms: u64) {
        self.latency_ms = Some(average(self.latency_ms, latency_ms));
    }

    pub(super) fn on_bytes(&mut self, bytes: u64, is_chunk_end: bool, config: &Config, now_ms: u64) {
        self.sample_bytes = self.sample_bytes.saturating_add(bytes);
        self.floor_bytes = self.floor_bytes.saturating_add(bytes);
        // A slow peer that sends what is enough until its next judgement need not wait for that.
        let enough_bytes = config.floor_bytes_per_s.saturating_mul(config.floor_grace_ms) / 1_000;
        self.is_slow &= self.floor_bytes < enough_bytes;
        let elapsed_ms = now_ms.saturating_sub(self.sample_start_ms);
        let is_sample = match self.bytes_per_s {
            None => is_chunk_end,
            Some(_) => is_chunk_end && elapsed_ms >= SAMPLE_MIN_MS,
        };
        if is_sample || elapsed_ms >= SAMPLE_MS {
            let rate = self.sample_bytes.saturating_mul(1_000) / elapsed_ms.max(1);
            self.bytes_per_s = Some(average(self.bytes_per_s, rate));
            (self.sample_start_ms, self.sample_bytes) = (now_ms, 0);
        }
    }

    pub(super) fn on_delivered(&mut self, bytes: u64) {
        self.delivered_bytes = self.delivered_bytes.saturating_add(bytes);
        self.failures = 0;
        self.misses = 0;
    }

    /// A peer that has nothing of what it is asked for is asked less and less.
    pub(super) fn on_miss(&mut self, now_ms: u64) {
        self.misses = self.misses.saturating_add(1);
        if let Some(beyond) = self.misses.checked_sub(MISSES_MAX) {
            self.leave_alone(beyond, MISS_BACKOFF_MAX_MS, now_ms);
        }
    }

    fn leave_alone(&mut self, doublings: u32, max_ms: u64, now_ms: u64) {
        let wait_ms = BUSY_BACKOFF_MS.saturating_mul(1 << doublings.min(16)).min(max_ms);
        self.backoff_until_ms = now_ms.saturating_add(wait_ms);
    }

    /// Leaves the peer alone for a while that doubles with each failure in a row.
    pub(super) fn on_failure(&mut self, now_ms: u64) {
        // Many requests that fail together are one failure.
        if now_ms < self.backoff_until_ms {
            return;
        }
        self.leave_alone(self.failures, BACKOFF_MAX_MS, now_ms);
        self.failures = self.failures.saturating_add(1);
    }

    /// When the floor rate is judged next.
    pub(super) fn floor_check_ms(&self, config: &Config) -> Option<u64> {
        // Bytes of a distant peer come in bursts, one for each way there and back.
        let distance_ms = self.latency_ms.unwrap_or(0).min(WINDOW_LATENCY_MAX_MS).saturating_mul(2);
        let window_ms = config.floor_grace_ms.max(distance_ms);
        (self.in_flight > 0).then(|| self.floor_start_ms.saturating_add(window_ms))
    }

    /// Judges the floor rate if it is time to; whether the peer is below it now.
    pub(super) fn check_floor(&mut self, config: &Config, now_ms: u64) -> bool {
        if self.floor_check_ms(config).is_some_and(|due| due <= now_ms) {
            let elapsed_ms = now_ms.saturating_sub(self.floor_start_ms).max(1);
            self.is_slow = self.floor_bytes.saturating_mul(1_000) / elapsed_ms < config.floor_bytes_per_s;
            (self.floor_start_ms, self.floor_bytes) = (now_ms, 0);
        }
        self.is_slow
    }
}
