//! Whole fetches from good, slow, lying, silent and vanishing peers, on virtual time.

use std::collections::BTreeSet;

use meganet_core::fetch::Action;
use meganet_core::limits::{CHUNK_MAX_BYTES, CHUNK_TIMEOUT_MS};

use crate::swarm::{Manner, Swarm};

const MB: u64 = 1_000_000;

/// Part data that came for each byte that was wanted.
fn overhead(swarm: &Swarm, chunks: usize) -> f64 {
    swarm.data_bytes as f64 / (chunks * CHUNK_MAX_BYTES) as f64
}

#[test]
fn two_honest_peers_share_the_work_by_their_rates() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(200);
    swarm.add_peer(1, Manner::Honest, 20, 8 * MB);
    swarm.add_peer(2, Manner::Honest, 20, 2 * MB);
    swarm.want_all(&chunks);
    assert!(swarm.run(60_000));
    assert_eq!(swarm.got.len(), 200);
    let (fast, slow) = (swarm.requests_to(1), swarm.requests_to(2));
    assert!(fast > slow * 2 && slow > 20, "{fast} and {slow}");
    assert!(overhead(&swarm, 200) < 1.05, "{}", overhead(&swarm, 200));
    // 52 MB at 10 MB/s.
    let took_ms = swarm.now_ms - 1_000;
    assert!(took_ms < 6_500, "{took_ms} ms");
    swarm.settle(5_000);
    assert!(swarm.peers.values().all(|peer| peer.open_questions() == 0));
}

#[test]
fn one_peer_is_used_at_the_full_rate_of_its_link() {
    for (latency_ms, bytes_per_s) in [(0, 50 * MB), (10, 20 * MB), (25, 5 * MB), (100, MB), (20, 100_000)] {
        let mut swarm = Swarm::new();
        let count = (bytes_per_s * 10 / CHUNK_MAX_BYTES as u64).clamp(4, 200);
        let chunks = swarm.make_chunks(count);
        swarm.add_peer(1, Manner::Honest, latency_ms, bytes_per_s);
        swarm.want_all(&chunks);
        assert!(swarm.run(200_000), "{latency_ms} ms, {bytes_per_s} B/s");
        let ideal_ms = count * CHUNK_MAX_BYTES as u64 * 1_000 / bytes_per_s;
        let took_ms = swarm.now_ms - 1_000;
        assert!(
            took_ms * 10 <= ideal_ms * 12 + 4_000,
            "{latency_ms} ms, {bytes_per_s} B/s: {took_ms} of {ideal_ms} ms"
        );
        assert_eq!(swarm.requests_to(1) as u64, count, "nothing is asked for twice");
    }
}

#[test]
fn case_21_a_liar_is_banned_and_the_page_comes_all_the_same() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(40);
    swarm.add_peer(1, Manner::Liar, 1, 50 * MB);
    swarm.add_peer(2, Manner::Honest, 30, 5 * MB);
    swarm.want_all(&chunks);
    assert!(swarm.run(20_000));
    assert_eq!((swarm.got.len(), swarm.banned.as_slice()), (40, &[1][..]));
    assert!(swarm.requests_to(1) <= 2, "it was asked for no more than a first look");
}

#[test]
fn case_26_a_slow_loris_delays_a_page_by_less_than_one_time_out() {
    let mut alone = Swarm::new();
    let chunks = alone.make_chunks(12);
    alone.add_peer(2, Manner::Honest, 30, 2 * MB);
    alone.want_all(&chunks);
    assert!(alone.run(60_000));
    for loris in [1, 3] {
        let mut swarm = Swarm::new();
        let chunks = swarm.make_chunks(12);
        swarm.add_peer(loris, Manner::Trickles(5_000), 5, MB);
        swarm.add_peer(2, Manner::Honest, 30, 2 * MB);
        swarm.want_all(&chunks);
        assert!(swarm.run(60_000));
        let delay_ms = swarm.now_ms - alone.now_ms;
        assert!(delay_ms < CHUNK_TIMEOUT_MS, "{delay_ms} ms");
        assert!(swarm.requests_to(loris) <= 3);
    }
}

#[test]
fn case_27_a_peer_that_never_answers_or_stalls_at_99_percent_costs_one_deadline_at_most() {
    for manner in [Manner::Silent, Manner::StallsAtTheEnd] {
        let mut swarm = Swarm::new();
        let chunks = swarm.make_chunks(30);
        swarm.add_peer(1, manner, 5, 20 * MB);
        swarm.add_peer(2, Manner::Honest, 30, 5 * MB);
        swarm.want_all(&chunks);
        assert!(swarm.run(60_000), "{manner:?}");
        let took_ms = swarm.now_ms - 1_000;
        assert!(took_ms < CHUNK_TIMEOUT_MS, "{manner:?}: {took_ms} ms");
        assert!(overhead(&swarm, 30) < 1.2, "{manner:?}: {}", overhead(&swarm, 30));
    }
}

#[test]
fn a_silent_peer_alone_is_tried_again_and_then_given_up() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(1);
    swarm.add_peer(1, Manner::Silent, 5, MB);
    swarm.want_all(&chunks);
    assert!(!swarm.run(300_000));
    assert_eq!(swarm.unavailable, chunks);
    assert_eq!(swarm.requests_to(1), 3);
    // Somebody else comes.
    swarm.add_peer(2, Manner::Honest, 5, MB);
    assert!(swarm.run(5_000));
}

#[test]
fn case_29_fake_providers_are_asked_last_and_the_page_loads() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(100);
    for fake in 1..=20 {
        let manner = if fake % 2 == 0 { Manner::Empty } else { Manner::Busy };
        swarm.add_peer(fake, manner, 1, 50 * MB);
    }
    swarm.add_peer(99, Manner::Honest, 50, 5 * MB);
    swarm.want_all(&chunks);
    assert!(swarm.run(60_000));
    let took_ms = swarm.now_ms - 1_000;
    assert!(took_ms < 10_000, "{took_ms} ms for 26 MB at 5 MB/s");
    for fake in 1..=20 {
        // An empty peer costs a message per chunk at worst, a busy one is left alone.
        assert!(swarm.requests_to(fake) < 60, "{} to {fake}", swarm.requests_to(fake));
    }
}

#[test]
fn case_32_a_thousand_disconnects_in_mid_chunk_leave_nothing_behind() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(10);
    swarm.want_all(&chunks);
    for round in 0..1_000 {
        swarm.add_peer(round, Manner::Honest, 5, MB);
        // 262 KB would take 262 ms.
        assert!(!swarm.run(100));
        swarm.remove_peer(round);
        assert_eq!(swarm.planner.in_flight(), 0);
    }
    assert_eq!((swarm.planner.wanted(), swarm.planner.peers().count()), (10, 0));
    swarm.add_peer(5_000, Manner::Honest, 5, 10 * MB);
    assert!(swarm.run(10_000));
    assert_eq!((swarm.planner.wanted(), swarm.planner.in_flight()), (0, 0));
}

#[test]
fn case_47_content_with_two_live_holders_survives_churn() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(150);
    swarm.want_all(&chunks);
    let mut next = 0;
    let mut is_done = false;
    for _ in 0..200 {
        while swarm.peers.len() < 4 {
            swarm.add_peer(next, Manner::Honest, 20 + u64::from(next % 60), MB);
            next += 1;
        }
        if swarm.run(400) {
            is_done = true;
            break;
        }
        // Half of the peers vanish, the oldest first.
        let gone: Vec<u32> = swarm.peers.keys().copied().take(2).collect();
        for name in gone {
            swarm.remove_peer(name);
        }
    }
    assert!(is_done && swarm.got.len() == 150);
    assert_eq!(swarm.unavailable, []);
}

#[test]
fn the_last_chunks_are_asked_of_two_peers_and_the_loser_is_cancelled() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(30);
    swarm.add_peer(1, Manner::Honest, 10, 10 * MB);
    // Above the floor, but a chunk takes it five seconds.
    swarm.add_peer(2, Manner::Honest, 10, 50_000);
    swarm.want_all(&chunks);
    assert!(swarm.run(60_000));
    let took_ms = swarm.now_ms - 1_000;
    assert!(took_ms < 4_000, "{took_ms} ms: the fast peer repeats what the slow one holds up");
    let cancels = swarm.log.iter().filter(|(_, action)| matches!(action, Action::Cancel { peer: 2, .. })).count();
    assert!(cancels >= 1);
    assert!(overhead(&swarm, 30) < 1.15, "{}", overhead(&swarm, 30));
}

#[test]
fn an_unurgent_chunk_at_a_slow_peer_does_not_starve() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(300);
    let (rare, common) = chunks.split_first().expect("some");
    swarm.add_peer(1, Manner::Honest, 10, 5 * MB).has = Some(common.iter().copied().collect());
    swarm.add_peer(2, Manner::Honest, 10, MB).has = Some(BTreeSet::from([*rare]));
    swarm.want_all(common);
    // What a peer answered when it was asked which chunks it has.
    for chunk in common {
        swarm.planner.on_missing(2, *chunk);
    }
    swarm.planner.want(*rare, u32::MAX, CHUNK_MAX_BYTES as u32, swarm.now_ms);
    assert!(swarm.run(60_000));
    let when_ms = swarm.got[rare] - 1_000;
    assert!(when_ms < 10_000, "{when_ms} ms");
    assert_eq!(swarm.unavailable, []);
}

#[test]
fn a_distant_peer_is_not_taken_for_a_slow_one() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(100);
    // Three seconds there and back, as through a bad satellite link or several relays.
    swarm.add_peer(1, Manner::Honest, 1_500, 4 * MB);
    swarm.want_all(&chunks);
    assert!(swarm.run(120_000));
    let took_ms = swarm.now_ms - 1_000;
    // 16 chunks for each way there and back would be 20 seconds.
    assert!(took_ms < 40_000, "{took_ms} ms");
    assert!(overhead(&swarm, 100) < 1.1, "{}", overhead(&swarm, 100));
}

#[test]
fn a_slow_but_only_peer_is_left_to_go_on() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(3);
    // Ten seconds pass before a chunk is here: past the deadline, above the floor.
    swarm.add_peer(1, Manner::Honest, 100, 15_000);
    swarm.want_all(&chunks);
    assert!(swarm.run(120_000));
    assert_eq!(overhead(&swarm, 3), 1.0, "nothing came twice");
}

#[test]
fn a_stream_watched_in_order_comes_in_order() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(120);
    for (name, latency_ms, rate) in [(1, 5, 4 * MB), (2, 40, 2 * MB), (3, 90, MB)] {
        swarm.add_peer(name, Manner::Honest, latency_ms, rate);
    }
    swarm.want_all(&chunks);
    assert!(swarm.run(60_000));
    // How long the player would have waited for each chunk beyond an even pace.
    let took_ms = swarm.now_ms - 1_000;
    for (place, chunk) in chunks.iter().enumerate() {
        let even_ms = took_ms * place as u64 / 120;
        let came_ms = swarm.got[chunk] - 1_000;
        assert!(came_ms < even_ms + 2_500, "chunk {place} came at {came_ms}, evenly it would be {even_ms}");
    }
}

#[test]
fn a_swarm_of_many_good_peers_is_used_in_parallel() {
    let mut swarm = Swarm::new();
    let chunks = swarm.make_chunks(400);
    for name in 0..30 {
        swarm.add_peer(name, Manner::Honest, 20 + u64::from(name) * 5, 500_000);
    }
    swarm.want_all(&chunks);
    assert!(swarm.run(60_000));
    let took_ms = swarm.now_ms - 1_000;
    assert!(took_ms < 12_000, "{took_ms} ms for 105 MB at 15 MB/s together");
    assert!(overhead(&swarm, 400) < 1.1, "{}", overhead(&swarm, 400));
}
