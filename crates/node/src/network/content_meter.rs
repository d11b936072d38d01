//! How many circuits a relay that carries content grants: so many an hour to all, and to one host a share of them, however many
//! peer ids it has. Each counts as if it was used up, so that the bytes an hour are bounded whatever goes through it. No I/O; time is passed in.

use crate::limits;
use libp2p::PeerId;
use std::{
    collections::VecDeque,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const HOUR_MS: u64 = 3_600_000;

#[derive(Debug, PartialEq, Eq)]
struct Granted {
    at_ms: u64,
    to: PeerId,
    /// Its host, unless that is this very machine, or nobody knows it.
    host: Option<IpAddr>,
}

#[derive(Debug, Default)]
struct Meter {
    circuits: usize,
    /// Those of the last hour.
    begun: VecDeque<Granted>,
}

/// See the module; clones share one meter.
#[derive(Debug, Clone)]
pub(crate) struct ContentMeter(Arc<Mutex<Meter>>);

impl ContentMeter {
    /// For so many bytes an hour: one circuit at least.
    pub fn new(bytes_per_hour: u64) -> Self {
        let circuits = usize::try_from(bytes_per_hour / limits::CONTENT_CIRCUIT_BYTES).unwrap_or(usize::MAX);
        let circuits = circuits.clamp(1, limits::CONTENT_CIRCUITS_PER_HOUR_MAX);
        Self(Arc::new(Mutex::new(Meter { circuits, begun: VecDeque::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Meter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Grants one to this peer at this host, or refuses it.
    pub fn take(&self, to: PeerId, host: Option<IpAddr>, at_ms: u64) -> bool {
        let mut meter = self.lock();
        while meter.begun.front().is_some_and(|granted| at_ms.saturating_sub(granted.at_ms) >= HOUR_MS) {
            meter.begun.pop_front();
        }
        let is_own = |granted: &&Granted| granted.to == to || (host.is_some() && granted.host == host);
        let own = meter.begun.iter().filter(is_own).count();
        let share = meter.circuits.div_ceil(limits::CONTENT_HOST_SHARE);
        if meter.begun.len() >= meter.circuits || own >= share {
            return false;
        }
        meter.begun.push_back(Granted { at_ms, to, host });
        true
    }

    /// The one that was granted last came to nothing: whom it was to reach has no place here, or would not have it. Without this,
    /// asking for circuits to nobody would use the hour up.
    pub fn give_back(&self, peer: &PeerId) {
        let mut meter = self.lock();
        if let Some(place) = meter.begun.iter().rposition(|granted| granted.to == *peer) {
            meter.begun.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_has_its_circuits_and_one_host_its_share() {
        let circuits = 10;
        let meter = ContentMeter::new(circuits * limits::CONTENT_CIRCUIT_BYTES);
        let (greedy, host) = (PeerId::random(), Some(IpAddr::from([192, 0, 2, 1])));
        let granted = (0..100).filter(|now_ms| meter.take(greedy, host, *now_ms)).count();
        assert_eq!(granted, 10usize.div_ceil(limits::CONTENT_HOST_SHARE));
        assert!(!meter.take(PeerId::random(), host, 0), "it has only another name");
        let others = (0..100).filter(|now_ms| meter.take(PeerId::random(), None, *now_ms)).count();
        assert_eq!(granted + others, 10);
        assert!(!meter.take(greedy, host, HOUR_MS - 1) && !meter.take(PeerId::random(), None, HOUR_MS - 1));
        assert!(meter.take(greedy, host, HOUR_MS) && meter.lock().begun.len() == 10);
        let least = ContentMeter::new(0);
        assert!(least.take(greedy, host, 0) && !least.take(PeerId::random(), None, 0));
        assert_eq!(ContentMeter::new(u64::MAX).lock().circuits, limits::CONTENT_CIRCUITS_PER_HOUR_MAX);
    }

    #[test]
    fn circuits_to_nobody_use_nothing_up() {
        let meter = ContentMeter::new(4 * limits::CONTENT_CIRCUIT_BYTES);
        let (liar, honest) = (PeerId::random(), PeerId::random());
        assert!(meter.take(honest, None, 0));
        for now_ms in 0..1_000 {
            assert!(meter.take(liar, None, now_ms));
            meter.give_back(&liar);
        }
        meter.give_back(&liar);
        assert_eq!(meter.lock().begun, [Granted { at_ms: 0, to: honest, host: None }], "nobody else's is given back");
    }
}
