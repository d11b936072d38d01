//! Which inbound streams are answered: bounded per peer and in all, the longest idle making room; and who broke the protocol
//! too often. No I/O; time is passed in.

use crate::{limits, platform::lock};
use futures::future::{AbortHandle, AbortRegistration};
use libp2p::PeerId;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// What one stream does, kept up to date by its task.
#[derive(Default)]
pub(super) struct Activity {
    /// Monotonic ms of the last bytes that came.
    pub heard_ms: AtomicU64,
    /// Questions are open.
    pub is_asked: AtomicBool,
}

struct Entry {
    peer: PeerId,
    activity: Arc<Activity>,
    abort: AbortHandle,
}

#[derive(Default)]
struct Table {
    entries: HashMap<u64, Entry>,
    next_id: u64,
}

/// The streams being answered.
#[derive(Clone, Default)]
pub(super) struct Streams(Arc<Mutex<Table>>);

/// One stream's place; given back when dropped.
pub(super) struct Place {
    streams: Streams,
    id: u64,
    pub activity: Arc<Activity>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.streams.0).entries.remove(&self.id);
    }
}

impl Streams {
    /// A place for one more stream of this peer, and what ends the stream if it has to make room. `None`: the peer has its
    /// share, or all places are taken by streams that are being answered.
    pub fn admit(&self, peer: PeerId, now_ms: u64) -> Option<(Place, AbortRegistration)> {
        let mut table = lock(&self.0);
        let of_peer = table.entries.values().filter(|entry| entry.peer == peer).count();
        if of_peer >= limits::EXCHANGE_STREAMS_PER_PEER_MAX {
            return None;
        }
        if table.entries.len() >= limits::EXCHANGE_STREAMS_MAX {
            let idle = table.entries.iter().filter(|(_, entry)| !entry.activity.is_asked.load(Ordering::Relaxed));
            let longest = idle.min_by_key(|(_, entry)| entry.activity.heard_ms.load(Ordering::Relaxed));
            let id = longest.map(|(id, _)| *id)?;
            if let Some(entry) = table.entries.remove(&id) {
                entry.abort.abort();
            }
        }
        let (abort, registration) = AbortHandle::new_pair();
        let activity = Arc::new(Activity { heard_ms: now_ms.into(), is_asked: false.into() });
        table.next_id += 1;
        let id = table.next_id;
        table.entries.insert(id, Entry { peer, activity: activity.clone(), abort });
        Some((Place { streams: self.clone(), id, activity }, registration))
    }
}

/// Violations of each peer, counted over [`limits::VIOLATIONS_WINDOW`].
#[derive(Clone, Default)]
pub(super) struct Violations(Arc<Mutex<HashMap<PeerId, (u64, u32)>>>);

impl Violations {
    /// Counts one; `true` when the peer has had its chances.
    pub fn count(&self, peer: PeerId, now_ms: u64) -> bool {
        let window_ms = limits::VIOLATIONS_WINDOW.as_millis() as u64;
        let mut peers = lock(&self.0);
        peers.retain(|_, (since_ms, _)| now_ms.saturating_sub(*since_ms) < window_ms);
        if !peers.contains_key(&peer) && peers.len() >= limits::BANNED_PEERS_MAX {
            return false;
        }
        let (_, count) = peers.entry(peer).or_insert((now_ms, 0));
        *count += 1;
        *count >= limits::VIOLATIONS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_its_share_and_the_longest_idle_stream_makes_room() {
        let streams = Streams::default();
        let peer = PeerId::random();
        let mut own: Vec<_> = (0..10).filter_map(|now_ms| streams.admit(peer, now_ms)).collect();
        assert_eq!(own.len(), limits::EXCHANGE_STREAMS_PER_PEER_MAX);
        own.pop();
        assert!(streams.admit(peer, 0).is_some(), "a place is given back");

        let mut all: Vec<_> = (own.len()..limits::EXCHANGE_STREAMS_MAX)
            .map(|n| streams.admit(PeerId::random(), 100 + n as u64).unwrap())
            .collect();
        for (place, _) in own.iter().chain(&all) {
            place.activity.is_asked.store(true, Ordering::Relaxed);
        }
        assert!(streams.admit(PeerId::random(), 0).is_none(), "those that are being answered stay");
        for (place, _) in &all {
            place.activity.is_asked.store(false, Ordering::Relaxed);
        }
        let (place, registration) = streams.admit(PeerId::random(), 10_000).unwrap();
        let (_, oldest) = all.remove(0);
        assert!(!registration.handle().is_aborted() && oldest.handle().is_aborted());
        assert!(all.iter().all(|(_, registration)| !registration.handle().is_aborted()));
        drop(place);
    }

    #[test]
    fn cases_30_and_31_a_peer_that_keeps_breaking_the_protocol_is_told_apart_from_one_that_did_once() {
        let violations = Violations::default();
        let (often, once) = (PeerId::random(), PeerId::random());
        assert!(!violations.count(once, 0));
        let banned = (0..100).position(|n| violations.count(often, n));
        assert_eq!(banned, Some(limits::VIOLATIONS_MAX as usize - 1));
        let window_ms = limits::VIOLATIONS_WINDOW.as_millis() as u64;
        assert!((0..100).all(|n| !violations.count(once, n * window_ms / 4)), "now and then is no flood");
    }
}
