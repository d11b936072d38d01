//! What the streams of one connection, and of all, may have unsent and unread.

use crate::{
    census::Census,
    proto::{
        frame::{DATA_MAX_BYTES, FRAME_MAX_BYTES},
        state::UNREAD_TOGETHER_MAX_BYTES,
    },
};
use bytes::{Bytes, BytesMut};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

/// Bytes that one stream takes before its writer waits; what the connection itself buffers comes on top.
pub const UNSENT_MAX_BYTES: usize = 128 * 1024;
/// Bytes that the streams of one connection take together. Beyond it each of them takes one frame's worth, so that none of
/// many waits for the others.
pub const UNSENT_TOGETHER_MAX_BYTES: usize = 512 * 1024;
/// Beyond this, which some thirty streams reach, each of them takes [`UNSENT_LEAST_BYTES`] only. All that a connection may have
/// take 2 MiB together so, and few are as fast as before.
pub const UNSENT_CROWDED_MAX_BYTES: usize = 1024 * 1024 - FRAME_MAX_BYTES;
/// Bytes that a stream takes however many others there are.
pub const UNSENT_LEAST_BYTES: usize = 1024;
/// Bytes that a connection may have unread before it is known who is at its other end.
pub const UNREAD_EARLY_MAX_BYTES: usize = 256 * 1024;
/// Bytes that all connections of one transport have unread. Beyond it only those take more that have less than
/// [`UNREAD_FAIR_BYTES`].
pub const UNREAD_OF_ALL_MAX_BYTES: usize = 256 * 1024 * 1024;
/// Bytes that a connection may have unread however many others there are.
pub const UNREAD_FAIR_BYTES: usize = 1024 * 1024;

/// What the streams of one connection have unsent and unread, bytes.
#[derive(Clone, Default)]
pub(crate) struct Together {
    unsent: Arc<AtomicUsize>,
    unread: Arc<UnreadTogether>,
}

impl Together {
    /// Of one of the connections that are counted there.
    pub fn new(census: &Census) -> Self {
        let unread = UnreadTogether { census: census.clone(), ..UnreadTogether::default() };
        Self { unread: Arc::new(unread), ..Self::default() }
    }

    /// What a new stream has: nothing yet.
    pub fn stream(self) -> (Unsent, Unread) {
        let unsent = Unsent { bytes: BytesMut::new(), together: self.unsent };
        (unsent, Unread { bytes: 0, together: self.unread })
    }

    #[cfg(test)]
    pub fn unsent_bytes(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }

    /// As if all of them had so much unsent.
    #[cfg(test)]
    pub fn set_unsent(&self, bytes: usize) {
        self.unsent.store(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub fn unread_bytes(&self) -> usize {
        self.unread.bytes.load(Ordering::Relaxed)
    }

    /// It is known who is at the other end.
    pub fn set_authenticated(&self) {
        self.unread.is_authenticated.store(true, Ordering::Relaxed);
    }
}

/// What the streams of one connection have unread, and those of all.
#[derive(Default)]
struct UnreadTogether {
    bytes: AtomicUsize,
    is_authenticated: AtomicBool,
    census: Census,
}

/// Who has too much unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    None,
    /// The connection.
    Own,
    /// All together, and this one has more than its fair part.
    All,
}

/// What of one stream counts as unread.
pub(crate) struct Unread {
    bytes: usize,
    together: Arc<UnreadTogether>,
}

impl Unread {
    /// Counts what the stream has unread now; whether that is too much.
    pub fn count(&mut self, bytes: usize) -> Excess {
        let before = std::mem::replace(&mut self.bytes, bytes);
        let together = &self.together;
        // Its own part of the sum is never more than the sum.
        let without = together.bytes.fetch_sub(before, Ordering::Relaxed) - before;
        together.bytes.fetch_add(bytes, Ordering::Relaxed);
        let of_connection = without + bytes;
        let of_all = together.census.count_unread(before, bytes);
        let max = match together.is_authenticated.load(Ordering::Relaxed) {
            true => UNREAD_TOGETHER_MAX_BYTES,
            false => UNREAD_EARLY_MAX_BYTES,
        };
        match of_connection {
            bytes if bytes > max => Excess::Own,
            bytes if bytes > UNREAD_FAIR_BYTES && of_all > UNREAD_OF_ALL_MAX_BYTES => Excess::All,
            _ => Excess::None,
        }
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.count(0);
    }
}

/// What was written to one stream and not sent.
pub(crate) struct Unsent {
    pub bytes: BytesMut,
    together: Arc<AtomicUsize>,
}

impl Unsent {
    /// Bytes that the writer may add.
    pub fn room(&self) -> usize {
        let most = match self.together.load(Ordering::Relaxed) {
            ..UNSENT_TOGETHER_MAX_BYTES => UNSENT_MAX_BYTES,
            UNSENT_TOGETHER_MAX_BYTES..UNSENT_CROWDED_MAX_BYTES => DATA_MAX_BYTES,
            _ => UNSENT_LEAST_BYTES,
        };
        most.saturating_sub(self.bytes.len())
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.together.fetch_add(bytes.len(), Ordering::Relaxed);
    }

    /// One frame's worth.
    pub fn take(&mut self) -> Bytes {
        let taken = self.bytes.split_to(self.bytes.len().min(DATA_MAX_BYTES)).freeze();
        self.together.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }

    pub fn clear(&mut self) {
        self.together.fetch_sub(self.bytes.len(), Ordering::Relaxed);
        self.bytes = BytesMut::new();
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        self.clear();
    }
}
