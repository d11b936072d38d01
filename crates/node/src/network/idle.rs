//! Which of a tab's connections carry nothing any more. No I/O.

use crate::limits;
use libp2p::PeerId;
use std::cmp::Reverse;

/// A peer with a direct connection.
pub(super) struct Held {
    pub peer: PeerId,
    pub is_server: bool,
    /// A first contact, or a relay that keeps a place for this node or carries a circuit of its: stays however little it carries.
    pub is_needed: bool,
    /// Others reach it through this node: of these the few that came first stay too.
    pub is_reserved_here: bool,
    /// This node dialled it: of these the few that are there longest stay, however many come by themselves.
    pub is_chosen: bool,
    /// When it connected, monotonic ms.
    pub since_ms: u64,
    /// When it connected, or chunks went over the connection, monotonic ms.
    pub used_ms: u64,
}

/// Whom to let go of. A few of each kind stay: servers for lookups, tabs so that the swarm holds together without servers.
pub(super) fn to_close(mut held: Vec<Held>, now_ms: u64) -> Vec<PeerId> {
    held.sort_by_key(|held| held.since_ms);
    for held in held.iter_mut().filter(|held| held.is_reserved_here).take(limits::IDLE_RESERVED_KEPT) {
        held.is_needed = true;
    }
    for is_server in [true, false] {
        let chosen = held.iter_mut().filter(|held| held.is_chosen && held.is_server == is_server);
        chosen.take(limits::IDLE_KEPT / 2).for_each(|held| held.is_needed = true);
    }
    let (mut servers, mut tabs): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| held.is_server);
    let is_idle = |held: &Held| now_ms.saturating_sub(held.used_ms) >= limits::IDLE_AFTER.as_millis() as u64;
    let mut close = Vec::new();
    for kind in [&mut servers, &mut tabs] {
        kind.sort_by_key(|held| (!held.is_needed, Reverse(held.used_ms)));
        let surplus = kind.iter().skip(limits::IDLE_KEPT).filter(|held| !held.is_needed && is_idle(held));
        close.extend(surplus.map(|held| held.peer));
    }
    close
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE_MS: u64 = limits::IDLE_AFTER.as_millis() as u64;

    fn held(is_server: bool, is_needed: bool, used_ms: u64) -> Held {
        Held {
            peer: PeerId::random(),
            is_server,
            is_needed,
            is_reserved_here: false,
            is_chosen: false,
            since_ms: 0,
            used_ms,
        }
    }

    #[test]
    fn who_carries_nothing_goes_when_there_are_enough_of_its_kind() {
        let kept = limits::IDLE_KEPT as u64;
        for is_server in [true, false] {
            let few = (0..kept).map(|at| held(is_server, false, at)).collect();
            assert_eq!(to_close(few, u64::MAX), [], "the swarm is held together by them");
            let many: Vec<_> = (0..kept + 3).map(|at| held(is_server, false, at)).collect();
            let mut oldest: Vec<_> = many.iter().take(3).map(|held| held.peer).collect();
            let mut closed = to_close(many, IDLE_MS + kept + 3);
            oldest.sort();
            closed.sort();
            assert_eq!(closed, oldest);
        }
    }

    #[test]
    fn who_is_used_or_needed_stays() {
        let kept = limits::IDLE_KEPT;
        let used = (0..2 * kept).map(|_| held(true, false, 1)).collect();
        assert_eq!(to_close(used, IDLE_MS), [], "a moment is missing");
        let needed = (0..2 * kept).map(|_| held(true, true, 0)).collect();
        assert_eq!(to_close(needed, u64::MAX), []);
        // Those that are needed take the places of the kind.
        let mut mixed: Vec<_> = (0..kept).map(|_| held(true, true, 0)).collect();
        let idle = held(true, false, 5);
        let peer = idle.peer;
        mixed.push(idle);
        mixed.extend((0..kept).map(|_| held(false, false, 0)));
        assert_eq!(to_close(mixed, IDLE_MS + 5), [peer]);
    }

    #[test]
    fn whom_this_node_chose_is_not_crowded_out_by_who_came() {
        let kept = limits::IDLE_KEPT;
        let chosen: Vec<_> =
            (0..kept).map(|at| Held { is_chosen: true, since_ms: at as u64, ..held(false, false, 0) }).collect();
        let stay: Vec<_> = chosen.iter().take(kept / 2).map(|held| held.peer).collect();
        let came = (0..3 * kept).map(|_| Held { since_ms: 100, ..held(false, false, 100) });
        let closed = to_close(chosen.into_iter().chain(came).collect(), IDLE_MS + 100);
        assert!(closed.len() == 3 * kept && stay.iter().all(|peer| !closed.contains(peer)), "{}", closed.len());
    }

    #[test]
    fn the_first_of_those_that_are_reached_through_this_node_stay() {
        let reserved = limits::IDLE_RESERVED_KEPT as u64;
        let made = |since_ms: u64| Held { is_reserved_here: true, since_ms, ..held(false, false, 0) };
        // The longest connected comes last, so that the order in which they are named decides nothing.
        let all: Vec<_> = (0..reserved + 3).rev().map(made).collect();
        let mut late: Vec<_> = all.iter().take(3).map(|held| held.peer).collect();
        let mut closed = to_close(all, u64::MAX);
        late.sort();
        closed.sort();
        assert_eq!(closed, late);
    }
}
