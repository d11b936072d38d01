//! What a transport holds at this moment: connections, data channels, tasks, and the sizes of its tables. Whoever embeds it can
//! show the numbers, and see that they come back to what they were when connections have come and gone.
//!
//! Everything that is counted carries a `Counted`, so a number cannot be wrong about an early return.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A handle on one transport's numbers; clones share them. Give it in [`crate::Options`] and keep a clone.
#[derive(Debug, Clone, Default)]
pub struct Census(Arc<[AtomicUsize; KINDS]>);

/// The numbers at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Counts {
    /// WebRTC connections, from the first datagram or description until their task has ended.
    pub connections: usize,
    /// Data channels that carry a stream; the one of the Noise handshake is one too.
    pub channels: usize,
    /// Tasks: one a connection, and what reads sockets, listens and signals.
    pub tasks: usize,
    /// Attempts at a connection that are not decided yet or still tidy up, dialled and accepted.
    pub attempts: usize,
    /// Attempts at a listener that are not authenticated yet (natively).
    pub half_open: usize,
    /// Remote addresses that a listener knows (natively).
    pub remotes: usize,
    /// Stream ids that rest before they are used again (natively).
    pub resting_ids: usize,
    /// Bytes that came on streams and that nobody has read.
    pub unread_bytes: usize,
    /// Callbacks that JavaScript may call (in a tab).
    pub callbacks: usize,
    /// Peer connections that are not closed (in a tab).
    pub peer_connections: usize,
}

/// What is counted; see [`Counts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Connections,
    Channels,
    Tasks,
    Attempts,
    HalfOpen,
    Remotes,
    RestingIds,
    UnreadBytes,
    Callbacks,
    PeerConnections,
}

const KINDS: usize = Kind::PeerConnections as usize + 1;

/// Counts one until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Census, Kind);

impl Census {
    /// The numbers now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |kind| self.number(kind).map_or(0, |number| number.load(Ordering::Relaxed));
        Counts {
            connections: of(Kind::Connections),
            channels: of(Kind::Channels),
            tasks: of(Kind::Tasks),
            attempts: of(Kind::Attempts),
            half_open: of(Kind::HalfOpen),
            remotes: of(Kind::Remotes),
            resting_ids: of(Kind::RestingIds),
            unread_bytes: of(Kind::UnreadBytes),
            callbacks: of(Kind::Callbacks),
            peer_connections: of(Kind::PeerConnections),
        }
    }

    fn number(&self, kind: Kind) -> Option<&AtomicUsize> {
        self.0.get(kind as usize)
    }

    /// What one stream has unread; all of them.
    pub(crate) fn count_unread(&self, before: usize, now: usize) -> usize {
        let Some(number) = self.number(Kind::UnreadBytes) else { return 0 };
        // Its own part of the sum is never more than the sum.
        let without = number.fetch_sub(before, Ordering::Relaxed).saturating_sub(before);
        number.fetch_add(now, Ordering::Relaxed);
        without.saturating_add(now)
    }

    /// One more.
    pub(crate) fn count(&self, kind: Kind) -> Counted {
        if let Some(number) = self.number(kind) {
            number.fetch_add(1, Ordering::Relaxed);
        }
        Counted(self.clone(), kind)
    }

    /// Runs a task, and counts it.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.counting(task));
    }

    /// Runs a task, and counts it.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        wasm_bindgen_futures::spawn_local(self.counting(task));
    }

    fn counting<F: Future<Output = ()>>(&self, task: F) -> impl Future<Output = ()> + use<F> {
        let counted = self.count(Kind::Tasks);
        async move {
            task.await;
            drop(counted);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(number) = self.0.number(self.1) {
            number.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_counts_until_it_is_dropped() {
        let census = Census::default();
        let shared = census.clone();
        let held: Vec<_> = (0..3).map(|_| shared.count(Kind::Channels)).collect();
        let last = shared.count(Kind::PeerConnections);
        assert_eq!(census.counts(), Counts { channels: 3, peer_connections: 1, ..Counts::default() });
        drop((held, last));
        assert_eq!(census.counts(), Counts::default());
    }
}
