//! The fetch planner, one decision at a time.

use meganet_core::fetch::{Action, Config, Failure, Planner};
use meganet_core::hash::ChunkId;
use meganet_core::limits::{
    BACKOFF_MAX_MS, BUSY_BACKOFF_MS, CHUNK_FLOOR_BYTES_PER_S, CHUNK_FLOOR_GRACE_MS, CHUNK_MAX_BYTES, CHUNK_TIMEOUT_MS,
    CHUNKS_IN_FLIGHT, CHUNKS_IN_FLIGHT_PER_PEER, PLANNER_BANS_MAX, PLANNER_CHUNKS_MAX, PLANNER_PEERS_MAX,
};

use crate::common::chunk_id;

const SIZE: u32 = CHUNK_MAX_BYTES as u32;

fn planner(peers: u32, chunks: u64) -> Planner<u32> {
    let mut planner = Planner::new(Config::default());
    for peer in 1..=peers {
        assert!(planner.add_peer(peer));
    }
    for number in 0..chunks {
        assert!(planner.want(chunk_id(number), number as u32, SIZE, 0));
    }
    planner
}

fn drain(planner: &mut Planner<u32>, now_ms: u64) -> Vec<Action<u32>> {
    let actions: Vec<_> = std::iter::from_fn(|| planner.poll(now_ms)).take(100_000).collect();
    assert!(actions.len() < 100_000, "polling comes to an end");
    actions
}

fn requests(actions: &[Action<u32>]) -> Vec<(u32, ChunkId)> {
    let request = |action: &Action<u32>| match action {
        Action::Request { peer, chunk } => Some((*peer, *chunk)),
        _ => None,
    };
    actions.iter().filter_map(request).collect()
}

/// Makes a peer known as one that delivers a chunk in `ms`.
fn prove(planner: &mut Planner<u32>, peer: u32, ms: u64) {
    let chunk = chunk_id(1_000_000 + u64::from(peer));
    planner.want(chunk, 0, SIZE, 0);
    let actions = drain(planner, 0);
    assert!(requests(&actions).contains(&(peer, chunk)), "{actions:?}");
    planner.on_done(peer, chunk, SIZE.into(), ms);
}

#[test]
fn nothing_is_done_without_peers_or_wants() {
    let mut idle = planner(0, 0);
    assert_eq!((idle.poll(0), idle.next_timeout()), (None, None));
    let mut without_peers = planner(0, 5);
    assert_eq!((without_peers.poll(0), without_peers.next_timeout()), (None, None));
    let mut without_wants = planner(5, 0);
    assert_eq!((without_wants.poll(0), without_wants.next_timeout()), (None, None));
}

#[test]
fn unknown_peers_are_each_tried_early_with_little() {
    let mut planner = planner(4, 50);
    let asked = requests(&drain(&mut planner, 0));
    for peer in 1..=4 {
        assert_eq!(asked.iter().filter(|(name, _)| *name == peer).count(), 2, "{asked:?}");
    }
    assert_eq!(planner.in_flight(), 8);
    let chunks: Vec<ChunkId> = asked.iter().map(|(_, chunk)| *chunk).collect();
    assert_eq!(chunks, (0..8).map(chunk_id).collect::<Vec<_>>(), "in the order of priority");
}

#[test]
fn a_lower_priority_number_goes_first_and_can_be_brought_forward() {
    let mut planner = planner(0, 0);
    for (number, priority) in [(1, 9), (2, 5), (3, 7), (4, 5)] {
        planner.want(chunk_id(number), priority, SIZE, 0);
    }
    planner.want(chunk_id(1), 6, SIZE, 0);
    // A complete fetch that wants it too does not make the one who watches wait.
    planner.want(chunk_id(2), 99, SIZE, 0);
    planner.add_peer(1);
    planner.add_peer(2);
    let order: Vec<ChunkId> = requests(&drain(&mut planner, 0)).into_iter().map(|(_, chunk)| chunk).collect();
    assert_eq!(order, [2, 4, 1, 3].map(chunk_id));
    assert_eq!(planner.wanted(), 4);
}

#[test]
fn in_flight_bounds_hold_at_their_edges() {
    let mut planner = planner(0, 1_000);
    planner.add_peer(1);
    let mut now_ms = 0;
    let mut most = 0;
    // A very fast peer gets more and more at once, up to its bound.
    for _ in 0..50 {
        let actions = drain(&mut planner, now_ms);
        most = most.max(planner.in_flight());
        now_ms += 1;
        for (peer, chunk) in requests(&actions) {
            planner.on_done(peer, chunk, SIZE.into(), now_ms);
        }
    }
    assert_eq!(most, CHUNKS_IN_FLIGHT_PER_PEER);
    for peer in 2..=100 {
        planner.add_peer(peer);
    }
    drain(&mut planner, now_ms);
    assert_eq!(planner.in_flight(), CHUNKS_IN_FLIGHT);
}

#[test]
fn peers_chunks_and_bans_are_bounded() {
    let mut planner = planner(PLANNER_PEERS_MAX as u32, 0);
    assert!(!planner.add_peer(0) && !planner.add_peer(1));
    planner.remove_peer(1, 0);
    assert!(planner.add_peer(0));
    for number in 0..PLANNER_CHUNKS_MAX as u64 {
        assert!(planner.want(chunk_id(number), 0, SIZE, 0));
    }
    assert!(!planner.want(chunk_id(u64::MAX), 0, SIZE, 0));
    assert!(planner.want(chunk_id(0), 5, SIZE, 0), "known ones may change");
    let mut planner: Planner<u32> = Planner::new(Config::default());
    for peer in 0..PLANNER_BANS_MAX as u32 + 1 {
        planner.add_peer(peer);
        planner.on_failed(peer, chunk_id(0), Failure::Lied, 0);
        assert!(planner.is_banned(peer) && !planner.add_peer(peer));
    }
    assert!(!planner.is_banned(0) && planner.is_banned(1), "the oldest ban makes room");
}

#[test]
fn a_faster_peer_gets_the_urgent_chunk() {
    let mut planner = planner(1, 0);
    prove(&mut planner, 1, 2_000);
    planner.add_peer(2);
    prove(&mut planner, 2, 50);
    planner.want(chunk_id(1), 0, SIZE, 3_000);
    assert_eq!(requests(&drain(&mut planner, 3_000)), [(2, chunk_id(1))]);
    let stats: Vec<_> = planner.peers().collect();
    assert!(stats[0].bytes_per_s < stats[1].bytes_per_s);
    assert_eq!(stats[1].delivered_bytes, u64::from(SIZE));
}

#[test]
fn a_failing_peer_comes_after_a_slow_one_however_fast_it_was() {
    let mut planner = planner(1, 0);
    prove(&mut planner, 1, 3_000);
    planner.add_peer(2);
    prove(&mut planner, 2, 20);
    planner.want(chunk_id(1), 0, SIZE, 4_000);
    assert_eq!(requests(&drain(&mut planner, 4_000)), [(2, chunk_id(1))]);
    planner.on_failed(2, chunk_id(1), Failure::TimedOut, 5_000);
    planner.unwant(chunk_id(1));
    // Its time of being left alone is over, but not forgotten.
    planner.want(chunk_id(2), 0, SIZE, 60_000);
    assert_eq!(requests(&drain(&mut planner, 60_000)), [(1, chunk_id(2))]);
}

#[test]
fn a_chunk_nobody_has_is_reported_once_and_asked_for_after_a_new_peer() {
    let mut planner = planner(2, 1);
    let unavailable = Action::Unavailable { chunk: chunk_id(0) };
    assert_eq!(requests(&drain(&mut planner, 0)).len(), 1);
    planner.on_failed(1, chunk_id(0), Failure::NotFound, 10);
    assert_eq!(requests(&drain(&mut planner, 10)), [(2, chunk_id(0))]);
    planner.on_failed(2, chunk_id(0), Failure::NotFound, 20);
    assert_eq!(drain(&mut planner, 20), [unavailable]);
    assert_eq!(drain(&mut planner, 100_000), []);
    assert_eq!(planner.wanted(), 1);
    planner.add_peer(3);
    assert_eq!(requests(&drain(&mut planner, 100_000)), [(3, chunk_id(0))]);
    planner.on_failed(3, chunk_id(0), Failure::NotFound, 100_010);
    assert_eq!(drain(&mut planner, 100_010), [unavailable]);
    // A peer that left and came back is asked again.
    planner.remove_peer(1, 100_020);
    planner.add_peer(1);
    assert_eq!(requests(&drain(&mut planner, 100_020)), [(1, chunk_id(0))]);
}

#[test]
fn losing_the_last_peer_makes_chunks_unavailable() {
    let mut planner = planner(1, 2);
    drain(&mut planner, 0);
    planner.remove_peer(1, 5);
    let both = [0, 1].map(|number| Action::Unavailable { chunk: chunk_id(number) });
    assert_eq!(drain(&mut planner, 5), both);
    assert_eq!(planner.in_flight(), 0);
}

#[test]
fn what_a_peer_is_known_to_lack_it_is_not_asked_for() {
    let mut planner = planner(2, 3);
    planner.on_missing(1, chunk_id(0));
    planner.on_missing(1, chunk_id(1));
    planner.on_missing(9, chunk_id(1));
    let asked = requests(&drain(&mut planner, 0));
    assert!(
        asked.contains(&(2, chunk_id(0))) && asked.contains(&(2, chunk_id(1))) && asked.contains(&(1, chunk_id(2)))
    );
}

#[test]
fn a_busy_peer_is_left_alone_longer_and_longer() {
    let mut planner = planner(1, 1);
    let (mut now_ms, mut wait_ms) = (0, BUSY_BACKOFF_MS);
    for _ in 0..12 {
        assert_eq!(requests(&drain(&mut planner, now_ms)), [(1, chunk_id(0))]);
        planner.on_failed(1, chunk_id(0), Failure::Busy, now_ms);
        assert_eq!(drain(&mut planner, now_ms + wait_ms - 1), []);
        assert_eq!(planner.next_timeout(), Some(now_ms + wait_ms));
        now_ms += wait_ms;
        wait_ms = (wait_ms * 2).min(BACKOFF_MAX_MS);
    }
    assert_eq!(requests(&drain(&mut planner, now_ms)), [(1, chunk_id(0))]);
    planner.on_done(1, chunk_id(0), SIZE.into(), now_ms + 10);
    assert_eq!(planner.peers().next().map(|stats| stats.failures), Some(0));
}

#[test]
fn many_refusals_at_once_are_one_failure() {
    let mut planner = planner(1, 20);
    prove(&mut planner, 1, 1);
    let asked = requests(&drain(&mut planner, 1));
    assert!(asked.len() > 8);
    for (peer, chunk) in asked {
        planner.on_failed(peer, chunk, Failure::Busy, 10);
    }
    assert_eq!(planner.next_timeout(), Some(10 + BUSY_BACKOFF_MS));
}

#[test]
fn a_liar_is_banned_and_its_chunks_go_elsewhere() {
    let mut planner = planner(2, 4);
    let asked = requests(&drain(&mut planner, 0));
    let mine: Vec<ChunkId> = asked.iter().filter(|(peer, _)| *peer == 1).map(|(_, chunk)| *chunk).collect();
    assert_eq!(mine.len(), 2);
    planner.on_failed(1, mine[0], Failure::Lied, 10);
    planner.on_failed(1, mine[1], Failure::Lied, 10);
    let actions = drain(&mut planner, 10);
    assert_eq!(actions.iter().filter(|action| matches!(action, Action::Ban { peer: 1 })).count(), 1);
    for (peer, chunk) in asked.iter().filter(|(peer, _)| *peer == 2) {
        planner.on_done(*peer, *chunk, SIZE.into(), 20);
    }
    let again = requests(&drain(&mut planner, 20));
    assert!(mine.iter().all(|chunk| again.contains(&(2, *chunk))), "{again:?}");
    assert!(!planner.add_peer(1));
}

#[test]
fn a_late_answer_is_taken_and_a_late_failure_is_not_held_against_a_peer() {
    let mut planner = planner(2, 1);
    let (peer, chunk) = requests(&drain(&mut planner, 0))[0];
    let actions = drain(&mut planner, 10_000);
    assert_eq!(actions[0], Action::Cancel { peer, chunk });
    let (other, _) = requests(&actions)[0];
    assert_ne!(peer, other);
    // The cancelled one comes after all: the other request is taken back.
    planner.on_done(peer, chunk, SIZE.into(), 10_100);
    assert_eq!(drain(&mut planner, 10_100), [Action::Cancel { peer: other, chunk }]);
    planner.on_failed(other, chunk, Failure::TimedOut, 10_200);
    planner.on_failed(other, chunk, Failure::Busy, 10_200);
    planner.on_done(other, chunk, SIZE.into(), 10_300);
    let stats = planner.peers().find(|stats| stats.peer == other).expect("known");
    assert_eq!((stats.failures, stats.in_flight, planner.in_flight(), planner.wanted()), (0, 0, 0, 0));
}

#[test]
fn a_deadline_is_ten_seconds_to_the_millisecond() {
    let mut planner = planner(2, 1);
    let (peer, chunk) = requests(&drain(&mut planner, 0))[0];
    // Both peers are above the floor, the other one with its copy.
    for at_ms in (100..CHUNK_TIMEOUT_MS).step_by(100) {
        for name in 1..=2_u32 {
            planner.on_progress(name, chunk, at_ms * 25, at_ms);
        }
        let actions = drain(&mut planner, at_ms);
        assert!(!actions.contains(&Action::Cancel { peer, chunk }), "at {at_ms}: {actions:?}");
    }
    let cancelled = |actions: Vec<Action<u32>>| actions.contains(&Action::Cancel { peer, chunk });
    assert!(!cancelled(drain(&mut planner, CHUNK_TIMEOUT_MS - 1)));
    assert!(cancelled(drain(&mut planner, CHUNK_TIMEOUT_MS)));
}

#[test]
fn the_floor_rate_holds_at_its_edge() {
    for (bytes_per_s, is_moved_off) in [(CHUNK_FLOOR_BYTES_PER_S, false), (CHUNK_FLOOR_BYTES_PER_S - 1, true)] {
        let mut planner = planner(2, 1);
        let (peer, chunk) = requests(&drain(&mut planner, 0))[0];
        planner.on_progress(peer, chunk, 1, 10);
        planner.on_progress(peer, chunk, bytes_per_s * CHUNK_FLOOR_GRACE_MS / 1_000, CHUNK_FLOOR_GRACE_MS - 1);
        let actions = drain(&mut planner, CHUNK_FLOOR_GRACE_MS);
        assert_eq!(actions.contains(&Action::Cancel { peer, chunk }), is_moved_off, "{bytes_per_s}: {actions:?}");
    }
}

#[test]
fn unwanting_takes_requests_back() {
    let mut planner = planner(1, 2);
    drain(&mut planner, 0);
    planner.unwant(chunk_id(0));
    planner.unwant(chunk_id(77));
    assert_eq!(drain(&mut planner, 1), [Action::Cancel { peer: 1, chunk: chunk_id(0) }]);
    assert_eq!((planner.wanted(), planner.in_flight()), (1, 1));
    planner.on_progress(1, chunk_id(0), 100, 2);
    planner.on_failed(1, chunk_id(0), Failure::NotFound, 2);
    assert_eq!((planner.wanted(), planner.in_flight()), (1, 1));
}

#[test]
fn an_urgent_chunk_that_takes_long_is_asked_of_a_second_peer_once() {
    let mut planner = planner(3, 0);
    for peer in 1..=3_u32 {
        planner.want(chunk_id(u64::from(peer) + 10), 0, SIZE, 0);
    }
    for (peer, chunk) in requests(&drain(&mut planner, 0)) {
        planner.on_done(peer, chunk, SIZE.into(), 100);
    }
    planner.want(chunk_id(0), 0, SIZE, 1_000);
    let first = requests(&drain(&mut planner, 1_000));
    assert_eq!(first.len(), 1);
    assert_eq!(drain(&mut planner, 1_100), []);
    let (mut wake, mut second) = (1_100, vec![]);
    while second.is_empty() {
        wake = planner.next_timeout().expect("patience ends");
        second = requests(&drain(&mut planner, wake));
    }
    assert!((1_300..1_700).contains(&wake), "{wake}");
    assert_eq!(second.len(), 1);
    assert_ne!(first[0].0, second[0].0);
    assert_eq!(requests(&drain(&mut planner, wake + 500)), [], "two copies are enough");
    planner.on_done(second[0].0, chunk_id(0), SIZE.into(), wake + 100);
    assert_eq!(drain(&mut planner, wake + 100), [Action::Cancel { peer: first[0].0, chunk: chunk_id(0) }]);
}

#[test]
fn chunks_that_flow_well_are_not_asked_for_twice() {
    let mut planner = planner(2, 0);
    for peer in 1..=2_u32 {
        planner.want(chunk_id(u64::from(peer) + 10), 0, SIZE, 0);
    }
    for (peer, chunk) in requests(&drain(&mut planner, 0)) {
        planner.on_done(peer, chunk, SIZE.into(), 2_000);
    }
    planner.want(chunk_id(0), 0, SIZE, 3_000);
    let (peer, chunk) = requests(&drain(&mut planner, 3_000))[0];
    for part in 1..16 {
        planner.on_progress(peer, chunk, part * u64::from(SIZE) / 16, 3_000 + part * 150);
        assert_eq!(drain(&mut planner, 3_000 + part * 150), [], "part {part}");
    }
}

#[test]
fn time_outs_never_lie_in_the_past() {
    let mut planner = planner(3, 20);
    let mut now_ms = 0;
    for round in 0..200 {
        let actions = drain(&mut planner, now_ms);
        if let Some((peer, chunk)) = requests(&actions).first() {
            match round % 4 {
                0 => planner.on_progress(*peer, *chunk, 10, now_ms),
                1 => planner.on_failed(*peer, *chunk, Failure::Busy, now_ms),
                2 => planner.on_failed(*peer, *chunk, Failure::Disconnected, now_ms),
                _ => {}
            }
            drain(&mut planner, now_ms);
        }
        let Some(next) = planner.next_timeout() else { break };
        assert!(next > now_ms, "round {round}: {next} is not after {now_ms}");
        now_ms = next;
    }
}

#[test]
fn extreme_times_do_not_overflow() {
    let mut planner = planner(2, 3);
    for (peer, chunk) in requests(&drain(&mut planner, u64::MAX)) {
        planner.on_progress(peer, chunk, u64::MAX, u64::MAX);
        planner.on_failed(peer, chunk, Failure::Busy, u64::MAX);
    }
    drain(&mut planner, 0);
    drain(&mut planner, u64::MAX);
    let _ = planner.next_timeout();
    planner.on_done(1, chunk_id(0), u64::MAX, 0);
    planner.on_done(2, chunk_id(1), u64::MAX, u64::MAX);
    drain(&mut planner, 5);
}
