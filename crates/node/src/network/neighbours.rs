//! Other tabs that a tab stays connected to. They are what is left of the swarm when every server is gone. No I/O.

use crate::limits;
use libp2p::PeerId;
use std::collections::{HashMap, VecDeque};

/// Peers that were told of, kept until there is room.
const CANDIDATES_MAX: usize = 64;
/// What one peer tells of may take one part of so many of the list, and of the connections begun within an hour.
const TELLER_SHARE: usize = 4;
const HOUR_MS: u64 = 3_600_000;

/// Whom to connect to next.
#[derive(Default)]
pub(super) struct Neighbours {
    /// With who told of each.
    candidates: VecDeque<(PeerId, PeerId)>,
    /// When each was tried, monotonic ms.
    tried: HashMap<PeerId, u64>,
    /// When connections were begun, monotonic ms.
    begun: VecDeque<(u64, PeerId)>,
}

impl Neighbours {
    /// Somebody told of a peer that can be dialled. Of what one peer tells a few are kept: it must not fill the list.
    pub fn told_of(&mut self, peer: PeerId, by: PeerId) {
        if self.candidates.iter().any(|(known, _)| *known == peer) {
            return;
        }
        if self.candidates.iter().filter(|(_, teller)| *teller == by).count() >= CANDIDATES_MAX / TELLER_SHARE
            && let Some(oldest) = self.candidates.iter().position(|(_, teller)| *teller == by)
        {
            self.candidates.remove(oldest);
        }
        if self.candidates.len() >= CANDIDATES_MAX {
            self.candidates.pop_front();
        }
        self.candidates.push_back((peer, by));
    }

    /// The peer to dial now, while `connected` others are there; `is_connected` tells who need not be dialled.
    pub fn next(&mut self, connected: usize, now_ms: u64, is_connected: impl Fn(&PeerId) -> bool) -> Option<PeerId> {
        self.begun.retain(|(at, _)| now_ms.saturating_sub(*at) < HOUR_MS);
        self.tried.retain(|_, at| now_ms.saturating_sub(*at) < limits::NEIGHBOUR_RETRY.as_millis() as u64);
        if connected >= limits::NEIGHBOURS_WANTED || self.begun.len() >= limits::NEIGHBOUR_DIALS_PER_HOUR {
            return None;
        }
        self.candidates.retain(|(peer, _)| !is_connected(peer));
        let begun = &self.begun;
        let has_share = |by: &PeerId| {
            begun.iter().filter(|(_, teller)| teller == by).count() < limits::NEIGHBOUR_DIALS_PER_HOUR / TELLER_SHARE
        };
        let tried = &self.tried;
        let place = self.candidates.iter().position(|(peer, by)| !tried.contains_key(peer) && has_share(by))?;
        let (peer, by) = self.candidates.remove(place)?;
        self.tried.insert(peer, now_ms);
        self.begun.push_back((now_ms, by));
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
        neighbours.told_of(peer, PeerId::random());
        assert_eq!(neighbours.next(limits::NEIGHBOURS_WANTED, 0, |_| false), None);
        assert_eq!(neighbours.next(0, 0, |_| false), Some(peer));
        neighbours.told_of(peer, PeerId::random());
        assert_eq!(neighbours.next(0, 1, |_| false), None, "it was tried just now");
        let later = limits::NEIGHBOUR_RETRY.as_millis() as u64;
        assert_eq!(neighbours.next(0, later, |_| false), Some(peer));
        let mut dials = 2;
        for _ in 0..100 {
            neighbours.told_of(PeerId::random(), PeerId::random());
            dials += usize::from(neighbours.next(0, later, |_| false).is_some());
        }
        assert_eq!(dials, limits::NEIGHBOUR_DIALS_PER_HOUR);
        assert!(neighbours.candidates.len() <= CANDIDATES_MAX);
        assert!(neighbours.next(0, later + HOUR_MS, |_| false).is_some(), "an hour later there are more");
    }

    #[test]
    fn who_tells_of_many_takes_neither_the_list_nor_the_hour() {
        let mut neighbours = Neighbours::default();
        let (liar, honest, living) = (PeerId::random(), PeerId::random(), PeerId::random());
        neighbours.told_of(living, honest);
        for _ in 0..10 * CANDIDATES_MAX {
            neighbours.told_of(PeerId::random(), liar);
        }
        let dials: Vec<_> = std::iter::from_fn(|| neighbours.next(0, 0, |_| false)).collect();
        assert!(dials.contains(&living));
        assert_eq!(dials.len(), 1 + limits::NEIGHBOUR_DIALS_PER_HOUR / TELLER_SHARE);
    }
}
