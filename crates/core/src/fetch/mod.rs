//! Which peer to ask for which chunk, now: a planner with virtual time.
//!
//! Its contract: tell it what happened (`add_peer`, `want`, `on_progress`, `on_done`, `on_failed`, …), then call
//! [`Planner::poll`] until it returns `None`, then sleep until [`Planner::next_timeout`] or the next event. All times are
//! milliseconds of one monotonic clock.
//!
//! * Chunks are asked for in the order of their priority, of the peer that is expected to be done soonest by its measured
//!   rate and latency. Unknown peers are tried early, failing and slow ones last.
//! * A peer gets as many requests at once as it answers in about a second, so that a deadline judges the peer and not
//!   the length of its queue.
//! * The most urgent chunks are asked of a second peer when it will be done much sooner than the first; whoever is first
//!   wins, the other request is taken back.
//! * A request that passes its deadline, or a peer that falls below the floor rate, loses its chunks to other peers as soon
//!   as one can serve them. Without one, a peer that still sends is left to go on.
//! * A peer that lied is banned for as long as this planner lives.

mod peer;
mod planner;

use std::fmt::Debug;

use crate::hash::ChunkId;
use crate::limits::{
    CHUNK_FLOOR_BYTES_PER_S, CHUNK_FLOOR_GRACE_MS, CHUNK_TIMEOUT_MS, CHUNKS_IN_FLIGHT, CHUNKS_IN_FLIGHT_PER_PEER,
};
pub use planner::Planner;

/// The planner's budgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Requests to one peer at a time.
    pub per_peer: usize,
    /// Requests to all peers together at a time.
    pub total: usize,
    /// How long a request may take while another peer could serve it, and how long it may be without progress, in
    /// milliseconds.
    pub timeout_ms: u64,
    /// The rate below which a peer is moved off, in bytes per second.
    pub floor_bytes_per_s: u64,
    /// How long a peer may be below that rate, in milliseconds.
    pub floor_grace_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            per_peer: CHUNKS_IN_FLIGHT_PER_PEER,
            total: CHUNKS_IN_FLIGHT,
            timeout_ms: CHUNK_TIMEOUT_MS,
            floor_bytes_per_s: CHUNK_FLOOR_BYTES_PER_S,
            floor_grace_ms: CHUNK_FLOOR_GRACE_MS,
        }
    }
}

/// What names a peer for the planner.
pub trait PeerName: Copy + Eq + Ord + Debug {}
impl<P: Copy + Eq + Ord + Debug> PeerName for P {}

/// What the caller is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<P> {
    /// Ask this peer for this chunk.
    Request {
        /// The peer.
        peer: P,
        /// The chunk.
        chunk: ChunkId,
    },
    /// Take the request back; no report about it is expected any more, a late one does no harm.
    Cancel {
        /// The peer.
        peer: P,
        /// The chunk.
        chunk: ChunkId,
    },
    /// Ask this peer for nothing any more: it lied. Its requests are taken back without further actions.
    Ban {
        /// The peer.
        peer: P,
    },
    /// No known peer has this chunk. It stays wanted, and is asked for again when a peer was added.
    Unavailable {
        /// The chunk.
        chunk: ChunkId,
    },
}

/// Why a request came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The peer does not have the chunk.
    NotFound,
    /// The peer has too much to do.
    Busy,
    /// The caller's own deadline passed.
    TimedOut,
    /// The peer sent other bytes than the ones asked for.
    Lied,
    /// The connection or stream to the peer ended.
    Disconnected,
}

/// What was measured of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStats<P> {
    /// The peer.
    pub peer: P,
    /// Requests it is working on.
    pub in_flight: usize,
    /// Its rate in bytes per second, once it sent something.
    pub bytes_per_s: Option<u64>,
    /// From a request to its first bytes, in milliseconds.
    pub latency_ms: Option<u64>,
    /// Bytes of chunks that it delivered.
    pub delivered_bytes: u64,
    /// Requests in a row that came to nothing.
    pub failures: u32,
}
