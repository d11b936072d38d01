//! How many circuits a relay that carries content grants: so many an hour to all, and to one peer a share of them. Each counts
//! as if it was used up, so that the bytes an hour are bounded whatever goes through it. No I/O; time is passed in.

use crate::limits;
use libp2p::PeerId;
use std::collections::VecDeque;

const HOUR_MS: u64 = 3_600_000;

/// See the module.
pub(crate) struct ContentMeter {
    circuits: usize,
    /// Those of the last hour: when (monotonic ms), and who asked for it.
    begun: VecDeque<(u64, PeerId)>,
}

impl ContentMeter {
    /// For so many bytes an hour: one circuit at least.
    pub fn new(bytes_per_hour: u64) -> Self {
        let circuits = usize::try_from(bytes_per_hour / limits::CONTENT_CIRCUIT_BYTES).unwrap_or(usize::MAX);
        Self { circuits: circuits.clamp(1, limits::CONTENT_CIRCUITS_PER_HOUR_MAX), begun: VecDeque::new() }
    }

    /// Grants one to this peer, or refuses it.
    pub fn take(&mut self, peer: PeerId, now_ms: u64) -> bool {
        while self.begun.front().is_some_and(|(at, _)| now_ms.saturating_sub(*at) >= HOUR_MS) {
            self.begun.pop_front();
        }
        let own = self.begun.iter().filter(|(_, other)| *other == peer).count();
        let share = self.circuits.div_ceil(limits::CONTENT_PEER_SHARE);
        if self.begun.len() >= self.circuits || own >= share {
            return false;
        }
        self.begun.push_back((now_ms, peer));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_its_circuits_and_one_peer_its_share() {
        let circuits = 10;
        let mut meter = ContentMeter::new(circuits * limits::CONTENT_CIRCUIT_BYTES);
        let greedy = PeerId::random();
        let granted = (0..100).filter(|now_ms| meter.take(greedy, *now_ms)).count();
        assert_eq!(granted, 10usize.div_ceil(limits::CONTENT_PEER_SHARE));
        let others = (0..100).filter(|now_ms| meter.take(PeerId::random(), *now_ms)).count();
        assert_eq!(granted + others, 10);
        assert!(!meter.take(greedy, HOUR_MS - 1) && !meter.take(PeerId::random(), HOUR_MS - 1));
        assert!(meter.take(greedy, HOUR_MS) && meter.begun.len() == 10);
        let mut least = ContentMeter::new(0);
        assert!(least.take(greedy, 0) && !least.take(PeerId::random(), 0));
        assert_eq!(ContentMeter::new(u64::MAX).circuits, limits::CONTENT_CIRCUITS_PER_HOUR_MAX);
    }
}
