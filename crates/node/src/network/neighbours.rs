//! Other tabs that a tab stays connected to. They are what is left of the swarm when every server is gone. No I/O.

use crate::limits;
use libp2p::PeerId;
use std::collections::{HashMap, VecDeque};

/// Peers that were told of, kept until there is room.
const CANDIDATES_MAX: usize = 64;
const HOUR_MS: u64 = 3_600_000;

/// Whom to connect to next.
#[derive(Default)]
pub(super) struct Neighbours {
    candidates: VecDeque<PeerId>,
    /// When each was tried, monotonic ms.
    tried: HashMap<PeerId, u64>,
    /// When connections were begun, monotonic ms.
    begun: VecDeque<u64>,
}

impl Neighbours {
    /// Somebody told of a peer that can be dialled.
    pub fn told_of(&mut self, peer: PeerId) {
        if !self.candidates.contains(&peer) {
            if self.candidates.len() >= CANDIDATES_MAX {
                self.candidates.pop_front();
            }
            self.candidates.push_back(peer);
        }
    }

    /// The peer to dial now, while `connected` others are there; `is_connected` tells who need not be dialled.
    pub fn next(&mut self, connected: usize, now_ms: u64, is_connected: impl Fn(&PeerId) -> bool) -> Option<PeerId> {
        self.begun.retain(|at| now_ms.saturating_sub(*at) < HOUR_MS);
        self.tried.retain(|_, at| now_ms.saturating_sub(*at) < limits::NEIGHBOUR_RETRY.as_millis() as u64);
        if connected >= limits::NEIGHBOURS_WANTED || self.begun.len() >= limits::NEIGHBOUR_DIALS_PER_HOUR {
            return None;
        }
        self.candidates.retain(|peer| !is_connected(peer));
        let place = self.candidates.iter().position(|peer| !self.tried.contains_key(peer))?;
        let peer = self.candidates.remove(place)?;
        self.tried.insert(peer, now_ms);
        self.begun.push_back(now_ms);
        Some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_enough_and_their_dials_have_a_budget() {
        let mut neighbours = Neighbours::default();
        let peer = PeerId::random();
        neighbours.told_of(peer);
        assert_eq!(neighbours.next(limits::NEIGHBOURS_WANTED, 0, |_| false), None);
        assert_eq!(neighbours.next(0, 0, |_| false), Some(peer));
        neighbours.told_of(peer);
        assert_eq!(neighbours.next(0, 1, |_| false), None, "it was tried just now");
        let later = limits::NEIGHBOUR_RETRY.as_millis() as u64;
        assert_eq!(neighbours.next(0, later, |_| false), Some(peer));
        let mut dials = 2;
        for _ in 0..100 {
            neighbours.told_of(PeerId::random());
            dials += usize::from(neighbours.next(0, later, |_| false).is_some());
        }
        assert_eq!(dials, limits::NEIGHBOUR_DIALS_PER_HOUR);
        assert!(neighbours.candidates.len() <= CANDIDATES_MAX);
        assert!(neighbours.next(0, later + HOUR_MS, |_| false).is_some(), "an hour later there are more");
    }
}
