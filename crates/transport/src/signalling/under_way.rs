//! An attempt that is under way, and when another may take its place.

use super::link::HowFar;
use crate::error::Error;
use futures::channel::oneshot;
use libp2p::swarm::ConnectionId;
use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// An attempt of others that is not connected after this makes room where it is needed: most that succeed do so in less.
pub const SLOW_AFTER: Duration = Duration::from_secs(5);
/// So often one after the other an attempt of a peer's takes the place of its own before that was not connected.
pub const REPLACEMENTS_MAX: u8 = 3;

/// An attempt of this or the other end's with a stream of its own.
pub(super) struct Attempt {
    pub number: u64,
    /// The connection that carries the stream.
    pub on: ConnectionId,
    pub since_ms: u64,
    /// Dropping it does not end the attempt.
    pub displace: oneshot::Sender<Error>,
    pub how_far: Arc<HowFar>,
    /// How many of the same peer's went before it in this place.
    pub replaced: u8,
}

impl Attempt {
    pub fn has_begun(&self) -> bool {
        self.how_far.has_begun.load(Ordering::Relaxed)
    }

    pub fn is_connected(&self) -> bool {
        self.how_far.is_connected.load(Ordering::Relaxed)
    }

    /// The other end gave it up.
    pub fn is_ended(&self) -> bool {
        self.how_far.is_ended.load(Ordering::Relaxed)
    }

    /// Whether the same peer's next takes its place: the how manieth that is.
    pub fn replaceable(&self, now_ms: u64) -> Option<u8> {
        let may_go = !self.has_begun() || self.is_ended() || self.is_slow(now_ms);
        (may_go && self.replaced < REPLACEMENTS_MAX).then_some(self.replaced + 1)
    }

    pub fn is_slow(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= SLOW_AFTER.as_millis() as u64 && !self.is_connected()
    }
}
