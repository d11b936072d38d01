//! Good peers, remembered for the next start: the bootstrap may be gone by then, or lie (threats 42 to 44). No I/O.
//!
//! Who surrounds this node must not be able to flush the list: the half known longest stays while it answers, no network has more
//! than a few places, and a peer that came by itself never takes the place of one that this node chose and dialled.

use crate::{gate, limits};
use libp2p::{Multiaddr, PeerId};
use meganet_core::{
    limits::{PEER_LIST_ADDRESS_MAX_BYTES, REMEMBERED_ADDRESSES_MAX, REMEMBERED_PEERS_MAX},
    peer_list::PeerEntry,
    remembered::RememberedPeer,
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
};

const HOUR_MS: u64 = 3_600_000;

/// A peer that is good now.
pub(super) struct Good {
    pub peer: PeerId,
    /// Where it was reached, or seen to listen; best first.
    pub addresses: Vec<Multiaddr>,
    /// This node dialled it.
    pub is_dialled: bool,
}

struct Entry {
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    since_ms: u64,
    last_ms: u64,
    failures: u32,
    is_dialled: bool,
}

impl Entry {
    fn is_failing(&self) -> bool {
        self.failures >= limits::REMEMBERED_FAILURES_MAX
    }

    /// The network it is counted in; nobody has to share with others on this very machine.
    fn subnet(&self) -> Option<IpAddr> {
        self.addresses.first().and_then(gate::subnet)
    }
}

/// The list.
#[derive(Default)]
pub(super) struct Memory {
    entries: Vec<Entry>,
    /// Since when each connected peer is there, monotonic ms.
    connected: HashMap<PeerId, u64>,
    /// When each was tried, monotonic ms; forgotten once it answers.
    tried: HashMap<PeerId, u64>,
    /// When connections were begun, monotonic ms.
    begun: VecDeque<u64>,
    /// Something changed that is worth storing.
    is_changed: bool,
}

impl Memory {
    /// What the last run stored. A clock that was ahead then must not make a peer known for longer than this run can tell.
    pub fn new(stored: Vec<RememberedPeer>, now_ms: u64) -> Self {
        let mut memory = Self::default();
        for RememberedPeer { peer: PeerEntry { peer_id, addresses }, since_ms, last_ms, failures, is_dialled } in stored
        {
            let Ok(peer) = PeerId::from_bytes(&peer_id) else { continue };
            let addresses: Vec<_> = addresses.iter().filter_map(|text| text.parse().ok()).collect();
            if !addresses.is_empty() && !memory.knows(&peer) {
                let (since_ms, last_ms) = (since_ms.min(now_ms), last_ms.min(now_ms));
                memory.entries.push(Entry { peer, addresses, since_ms, last_ms, failures, is_dialled });
            }
        }
        memory.entries.truncate(REMEMBERED_PEERS_MAX);
        memory
    }

    /// The list to store, if it has changed since it was taken last.
    pub fn take_changed(&mut self) -> Option<Vec<RememberedPeer>> {
        std::mem::take(&mut self.is_changed).then(|| self.entries.iter().map(stored).collect())
    }

    pub fn knows(&self, peer: &PeerId) -> bool {
        self.entries.iter().any(|entry| entry.peer == *peer)
    }

    /// A direct connection exists now.
    pub fn connected(&mut self, peer: PeerId, now_ms: u64) {
        self.connected.entry(peer).or_insert(now_ms);
        self.tried.remove(&peer);
    }

    /// The last direct connection is gone.
    pub fn disconnected(&mut self, peer: &PeerId) {
        self.connected.remove(peer);
    }

    /// Since when a peer is connected, monotonic ms.
    pub fn connected_since(&self, peer: &PeerId) -> Option<u64> {
        self.connected.get(peer).copied()
    }

    /// Whether a connected peer has been there for long enough to be good.
    pub fn is_proven(&self, peer: &PeerId, now_ms: u64) -> bool {
        let since = self.connected_since(peer);
        since.is_some_and(|since| now_ms.saturating_sub(since) >= limits::REMEMBERED_AFTER.as_millis() as u64)
    }

    /// A peer did not answer, while this node is connected to another: its own network is not to blame.
    pub fn failed(&mut self, peer: &PeerId) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.peer == *peer) {
            entry.failures = entry.failures.saturating_add(1);
            self.is_changed = true;
        }
    }

    /// A peer is good now (`now_ms` is the wall clock).
    pub fn good(&mut self, good: Good, now_ms: u64) {
        let Good { peer, mut addresses, is_dialled } = good;
        addresses.retain(|address| address.to_string().len() <= PEER_LIST_ADDRESS_MAX_BYTES);
        addresses.truncate(REMEMBERED_ADDRESSES_MAX);
        if addresses.is_empty() {
            return;
        }
        let entry = Entry { peer, addresses, since_ms: now_ms, last_ms: now_ms, failures: 0, is_dialled };
        // Whoever moves into a network is one more there.
        let is_crowded = self.is_crowded(&entry);
        if let Some(known) = self.entries.iter_mut().find(|known| known.peer == peer) {
            let addresses = if is_crowded { known.addresses.clone() } else { entry.addresses };
            let touch = now_ms.saturating_sub(known.last_ms) >= limits::REMEMBERED_TOUCH.as_millis() as u64;
            let is_news = known.failures > 0 || known.addresses != addresses || (is_dialled && !known.is_dialled);
            if touch || is_news {
                known.last_ms = now_ms;
                known.addresses = addresses;
                known.failures = 0;
                known.is_dialled |= is_dialled;
                self.is_changed = true;
            }
            return;
        }
        if self.make_room(&entry) {
            self.entries.push(entry);
            self.is_changed = true;
        }
    }

    /// Whether as many others as may be are in an entry's network.
    fn is_crowded(&self, newcomer: &Entry) -> bool {
        let others = self.entries.iter().filter(|entry| entry.peer != newcomer.peer && shares(entry, newcomer));
        others.count() >= limits::REMEMBERED_PER_SUBNET_MAX
    }

    /// Whether there is a place for a newcomer, after the entry that is worth least gave up its own if need be.
    fn make_room(&mut self, newcomer: &Entry) -> bool {
        let is_crowded = self.is_crowded(newcomer);
        if !is_crowded && self.entries.len() < REMEMBERED_PEERS_MAX {
            return true;
        }
        let mut answering: Vec<_> =
            self.entries.iter().filter(|entry| !entry.is_failing()).map(|entry| (entry.since_ms, entry.peer)).collect();
        answering.sort();
        let stays: HashSet<PeerId> =
            answering.into_iter().take(REMEMBERED_PEERS_MAX / 2).map(|(_, peer)| peer).collect();
        let may_go = |entry: &Entry| {
            entry.is_failing() || (!stays.contains(&entry.peer) && (newcomer.is_dialled || !entry.is_dialled))
        };
        let worth = |entry: &Entry| (!entry.is_failing(), entry.is_dialled, entry.last_ms);
        let least = (0..self.entries.len())
            .filter_map(|place| Some((place, self.entries.get(place)?)))
            .filter(|(_, entry)| (!is_crowded || shares(entry, newcomer)) && may_go(entry))
            .min_by_key(|(_, entry)| worth(entry));
        let Some((place, _)) = least else { return false };
        self.entries.swap_remove(place);
        true
    }

    /// The next peers to try: the one known longest, then those seen last; who failed often comes after all others. One that was
    /// tried is left alone for a while, and no more than `per_hour` are given within an hour.
    pub fn next(&mut self, count: usize, per_hour: usize, now_ms: u64) -> Vec<(PeerId, Vec<Multiaddr>)> {
        self.begun.retain(|at| now_ms.saturating_sub(*at) < HOUR_MS);
        self.tried.retain(|_, at| now_ms.saturating_sub(*at) < limits::REMEMBERED_RETRY.as_millis() as u64);
        let count = count.min(per_hour.saturating_sub(self.begun.len()));
        let (connected, tried) = (&self.connected, &self.tried);
        let is_due = |entry: &&Entry| !connected.contains_key(&entry.peer) && !tried.contains_key(&entry.peer);
        let mut due: Vec<&Entry> = self.entries.iter().filter(is_due).collect();
        let oldest = due.iter().map(|entry| (entry.is_failing(), entry.since_ms)).min();
        due.sort_by_key(|entry| {
            let is_oldest = Some((entry.is_failing(), entry.since_ms)) == oldest;
            (entry.is_failing(), !is_oldest, std::cmp::Reverse(entry.last_ms))
        });
        let next: Vec<_> = due.into_iter().take(count).map(|entry| (entry.peer, entry.addresses.clone())).collect();
        self.tried.extend(next.iter().map(|(peer, _)| (*peer, now_ms)));
        self.begun.extend(next.iter().map(|_| now_ms));
        next
    }

    /// Whether anybody is remembered at all.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Whether both are in one network.
fn shares(one: &Entry, other: &Entry) -> bool {
    one.subnet().is_some() && one.subnet() == other.subnet()
}

fn stored(entry: &Entry) -> RememberedPeer {
    let addresses = entry.addresses.iter().map(Multiaddr::to_string).collect();
    RememberedPeer {
        peer: PeerEntry { peer_id: entry.peer.to_bytes(), addresses },
        since_ms: entry.since_ms,
        last_ms: entry.last_ms,
        failures: entry.failures,
        is_dialled: entry.is_dialled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn good(address: &str, is_dialled: bool) -> Good {
        Good { peer: PeerId::random(), addresses: vec![address.parse().unwrap()], is_dialled }
    }

    /// A peer in a network of its own.
    fn alone(number: usize, is_dialled: bool) -> Good {
        good(&format!("/ip4/10.{}.{}.1/udp/1/quic-v1", number / 256, number % 256), is_dialled)
    }

    /// A full list of peers that were dialled, one a minute.
    fn full() -> (Memory, Vec<PeerId>) {
        let mut memory = Memory::default();
        let mut peers = Vec::new();
        for number in 0..REMEMBERED_PEERS_MAX {
            let good = alone(number, true);
            peers.push(good.peer);
            memory.good(good, number as u64 * MINUTE_MS);
        }
        (memory, peers)
    }

    fn kept(memory: &Memory, peers: &[PeerId]) -> usize {
        peers.iter().filter(|peer| memory.knows(peer)).count()
    }

    #[test]
    fn case_42_a_flood_of_newcomers_leaves_those_known_longest() {
        let (mut memory, peers) = full();
        for number in 0..1_000 {
            memory.good(alone(1_000 + number, true), 1_000 * MINUTE_MS + number as u64);
        }
        assert_eq!(memory.entries.len(), REMEMBERED_PEERS_MAX);
        let (oldest, younger) = peers.split_at(REMEMBERED_PEERS_MAX / 2);
        assert_eq!((kept(&memory, oldest), kept(&memory, younger)), (oldest.len(), 0));
    }

    #[test]
    fn case_42_who_came_by_itself_takes_no_place_of_one_that_was_dialled() {
        let (mut memory, peers) = full();
        for number in 0..100 {
            memory.good(alone(1_000 + number, false), 1_000 * MINUTE_MS);
        }
        assert_eq!(kept(&memory, &peers), REMEMBERED_PEERS_MAX);
    }

    #[test]
    fn case_42_one_network_has_a_few_places_and_this_machine_is_no_network() {
        let mut memory = Memory::default();
        for number in 0..100 {
            memory.good(good(&format!("/ip4/192.0.2.{number}/udp/1/quic-v1"), true), number);
        }
        assert_eq!(memory.entries.len(), limits::REMEMBERED_PER_SUBNET_MAX);
        memory.good(alone(1, true), 100);
        assert_eq!(memory.entries.len(), limits::REMEMBERED_PER_SUBNET_MAX + 1);
        for port in 1..100 {
            memory.good(good(&format!("/ip4/127.0.0.1/udp/{port}/quic-v1"), true), 100);
        }
        assert_eq!(memory.entries.len(), REMEMBERED_PEERS_MAX);
    }

    #[test]
    fn who_fails_often_is_tried_last_and_gives_up_its_place() {
        let (mut memory, peers) = full();
        let oldest = peers[0];
        assert_eq!(memory.next(1, usize::MAX, 0)[0].0, oldest);
        for _ in 0..limits::REMEMBERED_FAILURES_MAX {
            memory.failed(&oldest);
        }
        let mut again = Memory::new(memory.take_changed().unwrap(), u64::MAX);
        let order: Vec<_> = again.next(usize::MAX, usize::MAX, 0).into_iter().map(|(peer, _)| peer).collect();
        assert_eq!((order[0], order[1], order.last()), (peers[1], peers[31], Some(&oldest)));
        memory.good(alone(1_000, true), 0);
        assert!(!memory.knows(&oldest));
        assert_eq!(kept(&memory, &peers), REMEMBERED_PEERS_MAX - 1);
    }

    #[test]
    fn tries_have_a_budget_and_do_not_repeat_themselves() {
        let (mut memory, peers) = full();
        let per_hour = limits::REMEMBERED_DIALS_PER_HOUR;
        let first = memory.next(limits::REMEMBERED_DIALS, per_hour, 0);
        assert_eq!(first.len(), limits::REMEMBERED_DIALS);
        let second = memory.next(limits::REMEMBERED_DIALS, per_hour, 0);
        assert!(second.iter().all(|one| !first.contains(one)));
        memory.connected(peers[30], 0);
        assert_eq!(memory.next(usize::MAX, per_hour, 1).len(), per_hour - 2 * limits::REMEMBERED_DIALS);
        assert_eq!(memory.next(1, per_hour, HOUR_MS - 1), [], "an hour is not over");
        let after = memory.next(usize::MAX, per_hour, HOUR_MS + 1);
        assert!(after.len() == per_hour - 1 || after.len() == per_hour, "{}", after.len());
        assert!(after.iter().all(|(peer, _)| *peer != peers[30]), "it is connected");
    }

    #[test]
    fn only_news_are_worth_writing_down() {
        let mut memory = Memory::default();
        let peer = PeerId::random();
        let at = |address: &str| Good { peer, addresses: vec![address.parse().unwrap()], is_dialled: false };
        memory.good(at("/ip4/192.0.2.1/tcp/1"), 0);
        assert_eq!(memory.take_changed().map(|list| list.len()), Some(1));
        let touch = limits::REMEMBERED_TOUCH.as_millis() as u64;
        memory.good(at("/ip4/192.0.2.1/tcp/1"), touch - 1);
        assert_eq!(memory.take_changed(), None);
        memory.good(at("/ip4/192.0.2.1/tcp/1"), touch);
        assert_eq!(memory.take_changed().map(|list| (list[0].since_ms, list[0].last_ms)), Some((0, touch)));
        memory.good(at("/ip4/192.0.2.2/tcp/1"), touch);
        assert!(memory.take_changed().is_some(), "it moved");
        // Nobody gets into a network that is full by moving there.
        for _ in 0..limits::REMEMBERED_PER_SUBNET_MAX {
            memory.good(good("/ip4/198.51.100.1/tcp/1", false), touch);
        }
        memory.take_changed();
        memory.good(at("/ip4/198.51.100.2/tcp/1"), touch);
        assert_eq!(memory.take_changed(), None);
        memory.failed(&peer);
        assert!(memory.take_changed().is_some());
        memory.failed(&PeerId::random());
        assert_eq!(memory.take_changed(), None);
    }

    #[test]
    fn a_peer_is_good_after_a_while_and_one_without_a_place_to_dial_is_none() {
        let mut memory = Memory::default();
        let peer = PeerId::random();
        let while_ms = limits::REMEMBERED_AFTER.as_millis() as u64;
        memory.connected(peer, 5);
        assert!(!memory.is_proven(&peer, 4 + while_ms) && memory.is_proven(&peer, 5 + while_ms));
        memory.disconnected(&peer);
        assert!(!memory.is_proven(&peer, 5 + while_ms));
        memory.good(Good { peer, addresses: Vec::new(), is_dialled: true }, 0);
        memory.good(good(&format!("/dns4/{}/tcp/1", "x".repeat(PEER_LIST_ADDRESS_MAX_BYTES)), true), 0);
        assert!(memory.is_empty());
    }

    #[test]
    fn what_is_stored_comes_back_and_a_clock_that_was_ahead_makes_nobody_older() {
        let (mut memory, peers) = full();
        let list = memory.take_changed().unwrap();
        let mut again = Memory::new(list.clone(), 5 * MINUTE_MS);
        assert_eq!(again.take_changed(), None, "nothing is new");
        assert_eq!(kept(&again, &peers), REMEMBERED_PEERS_MAX);
        assert!(again.entries.iter().all(|entry| entry.since_ms <= 5 * MINUTE_MS && entry.last_ms <= 5 * MINUTE_MS));
        let twice = [list.clone(), list].concat();
        assert_eq!(Memory::new(twice, u64::MAX).entries.len(), REMEMBERED_PEERS_MAX);
    }
}
