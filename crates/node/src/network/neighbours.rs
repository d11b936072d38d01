//! Other tabs that a tab stays connected to. They are what is left of the swarm when every server is gone. No I/O.

use crate::limits;
use libp2p::PeerId;
use std::collections::{HashMap, VecDeque};

/// Peers that were told of, kept until there is room.
const CANDIDATES_MAX: usize = 64;
/// Of what one peer tells so many are kept: it must not fill the list.
const CANDIDATES_PER_TELLER_MAX: usize = 16;
const HOUR_MS: u64 = 3_600_000;

/// Whom to connect to next.
#[derive(Default)]
pub(super) struct Neighbours {
    /// With who told of each: several may tell of the same.
    candidates: VecDeque<(PeerId, PeerId)>,
    /// When each was tried, monotonic ms.
    tried: HashMap<PeerId, u64>,
    /// When connections were begun (monotonic ms), and who had told of the peer.
    begun: VecDeque<(u64, PeerId)>,
}

impl Neighbours {
    /// Somebody told of a peer that can be dialled.
    pub fn told_of(&mut self, peer: PeerId, by: PeerId) {
        if self.candidates.contains(&(peer, by)) {
            return;
        }
        let is_by = |(_, teller): &(PeerId, PeerId)| *teller == by;
        if self.candidates.iter().filter(|told| is_by(told)).count() >= CANDIDATES_PER_TELLER_MAX
            && let Some(oldest) = self.candidates.iter().position(is_by)
        {
            self.candidates.remove(oldest);
        }
        if self.candidates.len() >= CANDIDATES_MAX {
            self.candidates.pop_front();
        }
        self.candidates.push_back((peer, by));
    }

    /// What was begun last may cost a second peer connection: it is dialled directly first, and signalled to if nobody answers.
    pub fn costs_another(&mut self) {
        self.begun.extend(self.begun.back().copied());
    }

    /// The peer to dial now, while `connected` others are there, unless it is connected itself or being dialled. It is one of whoever
    /// told of the fewest that were dialled within the hour: who tells of many gets what the others leave.
    pub fn next(
        &mut self,
        connected: usize,
        now_ms: u64,
        is_connected: impl Fn(&PeerId) -> bool,
        is_dialled: impl Fn(&PeerId) -> bool,
    ) -> Option<PeerId> {
        self.begun.retain(|(at, _)| now_ms.saturating_sub(*at) < HOUR_MS);
        self.tried.retain(|_, at| now_ms.saturating_sub(*at) < limits::NEIGHBOUR_RETRY.as_millis() as u64);
        if connected >= limits::NEIGHBOURS_WANTED || self.begun.len() >= limits::NEIGHBOUR_DIALS_PER_HOUR {
            return None;
        }
        self.candidates.retain(|(peer, _)| !is_connected(peer));
        let begun_of = |by: &PeerId| self.begun.iter().filter(|(_, teller)| teller == by).count();
        let untried = self.candidates.iter().filter(|(peer, _)| !self.tried.contains_key(peer) && !is_dialled(peer));
        let (peer, by) = *untried.min_by_key(|(_, by)| begun_of(by))?;
        self.candidates.retain(|(other, _)| *other != peer);
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
        assert_eq!(neighbours.next(limits::NEIGHBOURS_WANTED, 0, |_| false, |_| false), None);
        assert_eq!(neighbours.next(0, 0, |_| false, |_| true), None, "it is being dialled, and that may fail");
        assert_eq!(neighbours.next(0, 0, |_| false, |_| false), Some(peer));
        neighbours.told_of(peer, PeerId::random());
        assert_eq!(neighbours.next(0, 1, |_| false, |_| false), None, "it was tried just now");
        let later = limits::NEIGHBOUR_RETRY.as_millis() as u64;
        assert_eq!(neighbours.next(0, later, |_| false, |_| false), Some(peer));
        let mut dials = 2;
        for _ in 0..100 {
            neighbours.told_of(PeerId::random(), PeerId::random());
            dials += usize::from(neighbours.next(0, later, |_| false, |_| false).is_some());
        }
        assert_eq!(dials, limits::NEIGHBOUR_DIALS_PER_HOUR);
        assert!(neighbours.candidates.len() <= CANDIDATES_MAX);
        assert!(neighbours.next(0, later + HOUR_MS, |_| false, |_| false).is_some(), "an hour later there are more");
    }

    #[test]
    fn who_tells_of_many_gets_what_the_others_leave() {
        let mut neighbours = Neighbours::default();
        let (liar, honest) = (PeerId::random(), PeerId::random());
        let living: Vec<_> = (0..5).map(|_| PeerId::random()).collect();
        // It names the living ones first, when its own have been dialled: they are not its to keep.
        for _ in 0..10 * CANDIDATES_MAX {
            neighbours.told_of(PeerId::random(), liar);
        }
        let alone = (0..10).filter(|_| neighbours.next(0, 0, |_| false, |_| false).is_some()).count();
        assert_eq!(alone, 10, "nobody else told of any");
        living.iter().for_each(|peer| neighbours.told_of(*peer, liar));
        living.iter().for_each(|peer| neighbours.told_of(*peer, honest));
        for _ in 0..10 * CANDIDATES_MAX {
            neighbours.told_of(PeerId::random(), liar);
        }
        let next: Vec<_> = (0..5).filter_map(|_| neighbours.next(0, 0, |_| false, |_| false)).collect();
        assert_eq!(next, living);
        let before = neighbours.begun.len();
        neighbours.costs_another();
        assert_eq!(neighbours.begun.len(), before + 1);
    }
}
