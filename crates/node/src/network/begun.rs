//! Dials that have not ended, so that nobody is dialled twice in one moment: a search, a lookup, and what others tell of a peer may
//! each want it. No I/O.

use crate::limits;
use libp2p::{PeerId, swarm::ConnectionId};
use std::collections::HashMap;

const PATIENCE_MS: u64 = limits::ANOTHER_DIAL_PATIENCE.as_millis() as u64;

/// To whom, and when they were begun (monotonic ms). As many as the swarm lets be under way.
#[derive(Default)]
pub(super) struct Begun(HashMap<ConnectionId, (PeerId, u64)>);

impl Begun {
    pub fn begun(&mut self, id: ConnectionId, peer: PeerId, now_ms: u64) {
        self.0.insert(id, (peer, now_ms));
    }

    /// One has ended, one way or the other.
    pub fn ended(&mut self, id: &ConnectionId) {
        self.0.remove(id);
    }

    /// When a dial that was begun just now has taken so long that its peer is left to it no more, monotonic ms.
    pub fn next_due_ms(&self, now_ms: u64) -> Option<u64> {
        let due = self.0.values().map(|(_, at_ms)| at_ms + PATIENCE_MS);
        due.filter(|at_ms| *at_ms > now_ms).min()
    }

    /// Whether a peer is left to a dial that was begun just now. One that takes longer may lead to where nobody is.
    pub fn is_recent(&self, peer: &PeerId, now_ms: u64) -> bool {
        self.0.values().any(|(other, at_ms)| other == peer && now_ms.saturating_sub(*at_ms) < PATIENCE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_being_dialled_is_not_dialled_again_unless_that_takes_long() {
        let mut dials = Begun::default();
        let (peer, id) = (PeerId::random(), ConnectionId::new_unchecked(1));
        dials.begun(id, peer, 5);
        assert!(dials.is_recent(&peer, 5) && dials.is_recent(&peer, 4 + PATIENCE_MS));
        assert_eq!((dials.next_due_ms(5), dials.next_due_ms(5 + PATIENCE_MS)), (Some(5 + PATIENCE_MS), None));
        assert!(!dials.is_recent(&peer, 5 + PATIENCE_MS) && !dials.is_recent(&PeerId::random(), 5));
        dials.ended(&id);
        assert!(!dials.is_recent(&peer, 5) && dials.0.is_empty());
    }
}
