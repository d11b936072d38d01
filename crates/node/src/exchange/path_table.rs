//! The ways to each connected peer, shared by those who ask (sessions), by who knows the connections (the network task), and by
//! who shows them (the status).

use super::paths::{Paths, ShownPath};
use crate::{
    platform::{self, lock},
    signal::Signal,
};
use futures::channel::mpsc;
use libp2p::PeerId;
use meganet_transport::signalling::Way;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

struct Entry {
    /// Tells this stay of the peer from earlier ones.
    stay: u64,
    paths: Paths,
}

#[derive(Default)]
struct Table {
    peers: HashMap<PeerId, Entry>,
    stays: u64,
}

/// See the module. Holds connected peers only, so it is bounded as connections are.
#[derive(Clone)]
pub(crate) struct PathTable {
    table: Arc<Mutex<Table>>,
    wish: Signal,
}

/// A chunk that is asked for over one way, until this is dropped.
pub(super) struct Asked {
    table: PathTable,
    peer: PeerId,
    stay: u64,
    pub way: Way,
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(entry) = lock(&self.table.table).peers.get_mut(&self.peer)
            && entry.stay == self.stay
        {
            entry.paths.ended(self.way, platform::monotonic_ms());
        }
    }
}

impl PathTable {
    /// The table, and what wakes the network task when there are [`Self::wishes`].
    pub fn new() -> (Self, mpsc::Receiver<()>) {
        let (wish, wishes) = Signal::new();
        (Self { table: Arc::default(), wish }, wishes)
    }

    /// A peer has one more connection.
    pub fn appeared(&self, peer: PeerId, way: Way) {
        let mut table = lock(&self.table);
        let Table { peers, stays } = &mut *table;
        let entry = peers.entry(peer).or_insert_with(|| {
            *stays += 1;
            Entry { stay: *stays, paths: Paths::default() }
        });
        entry.paths.appeared(way, platform::monotonic_ms());
    }

    /// It has one less.
    pub fn vanished(&self, peer: PeerId, way: Way) {
        let mut table = lock(&self.table);
        if let Some(entry) = table.peers.get_mut(&peer)
            && !entry.paths.vanished(way, platform::monotonic_ms())
        {
            table.peers.remove(&peer);
        }
    }

    fn with<T>(&self, peer: &PeerId, what: impl FnOnce(&mut Paths, u64) -> T) -> Option<T> {
        let mut table = lock(&self.table);
        table.peers.get_mut(peer).map(|entry| what(&mut entry.paths, platform::monotonic_ms()))
    }

    /// The way for the next chunk. A peer that is not connected is asked directly, which fails.
    pub(super) fn ask(&self, peer: PeerId) -> Asked {
        let mut table = lock(&self.table);
        let (stay, way) = match table.peers.get_mut(&peer) {
            Some(entry) => (entry.stay, entry.paths.ask(platform::monotonic_ms())),
            None => (0, Way::Direct),
        };
        drop(table);
        Asked { table: self.clone(), peer, stay, way }
    }

    /// Whether there is another direct way to a peer than this one.
    pub(super) fn has_other(&self, peer: &PeerId, way: Way) -> bool {
        self.with(peer, |paths, _| paths.has_other(way)).unwrap_or(false)
    }

    /// The way for what is not part of a transfer.
    pub fn current(&self, peer: &PeerId) -> Way {
        self.with(peer, |paths, _| paths.current()).unwrap_or(Way::Direct)
    }

    /// Bytes came from a peer.
    pub fn received(&self, peer: &PeerId, way: Way, bytes: u64) {
        let wishes = self.with(peer, |paths, now_ms| {
            paths.received(way, bytes, now_ms);
            paths.wishes_websocket()
        });
        if wishes == Some(true) {
            self.wish.wake();
        }
    }

    /// An exchange stream ended over which something was still to come.
    pub fn broke(&self, peer: &PeerId, way: Way) {
        self.with(peer, |paths, now_ms| paths.broke(way, now_ms));
    }

    /// Peers to which a WebSocket is wanted beside the connection there is; each is named once.
    pub fn wishes(&self) -> Vec<PeerId> {
        let mut table = lock(&self.table);
        table.peers.iter_mut().filter_map(|(peer, entry)| entry.paths.take_wish().then_some(*peer)).collect()
    }

    /// There is no WebSocket to this peer to be had now.
    pub fn no_websocket(&self, peer: &PeerId) {
        self.with(peer, Paths::no_websocket);
    }

    /// Whether nothing was asked for over one way to this peer for a while.
    pub fn is_idle(&self, peer: &PeerId, way: Way) -> bool {
        self.with(peer, |paths, now_ms| paths.is_idle(way, now_ms)).unwrap_or(true)
    }

    /// What came from a peer over one way since it is connected.
    pub fn received_over(&self, peer: &PeerId, way: Way) -> u64 {
        self.with(peer, |paths, _| paths.received_over(way)).unwrap_or(0)
    }

    /// The ways to a peer.
    pub fn shown(&self, peer: &PeerId) -> Vec<ShownPath> {
        self.with(peer, |paths, _| paths.shown().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_to_a_peer_that_left_and_came_back_does_not_count_for_it() {
        let (table, _wishes) = PathTable::new();
        let peer = PeerId::random();
        assert_eq!(table.ask(peer).way, Way::Direct);
        table.appeared(peer, Way::WebSocket);
        let asked = table.ask(peer);
        assert_eq!(asked.way, Way::WebSocket);
        table.vanished(peer, Way::WebSocket);
        assert!(table.shown(&peer).is_empty() && lock(&table.table).peers.is_empty());
        table.appeared(peer, Way::WebSocket);
        let again = table.ask(peer);
        drop(asked);
        assert!(!table.is_idle(&peer, Way::WebSocket) && again.stay != 0);
        let shown = ShownPath { way: Way::WebSocket, received_bytes: 0, is_connected: true, is_in_use: true };
        assert_eq!(table.shown(&peer), [shown]);
    }
}
