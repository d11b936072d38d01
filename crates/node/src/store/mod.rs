//! What a node keeps: the one storage interface, implemented in memory here, with files natively and in the browser.

use crate::platform::BoxFuture;
pub use crate::platform::MaybeSendSync;
use bytes::Bytes;
use meganet_core::{address::Address, hash::ChunkId, keys::BlindedKey};
use serde::{Deserialize, Serialize};

#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod memory;
pub use memory::MemoryStore;

/// A failed storage operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the disk or the browser's quota is full: {0}")]
    Full(String),
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    #[error("{0}")]
    Io(String),
}

/// What is stored for a site besides its chunks. Written in one durable transaction: the head is always whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteRecord {
    pub address: Address,
    /// `SignedHead` bytes of the highest valid head seen.
    pub head: Vec<u8>,
    /// A second head with the same sequence: proof of equivocation.
    pub conflict: Option<Vec<u8>>,
    /// Every chunk the head's manifest needs, the manifest's own first; for eviction and counting.
    pub chunks: Vec<ChunkId>,
    /// Bytes of files, from the head.
    pub total_bytes: u64,
    pub title: String,
    /// Unix ms at which the network last confirmed this head.
    pub confirmed_ms: u64,
    /// Unix ms of the last read, for eviction.
    pub used_ms: u64,
    pub pinned: bool,
    /// Published from here: never evicted.
    pub own: bool,
    /// The version before, held whole, until the current one is: with nobody there to serve the rest it can still be read.
    pub previous: Option<Previous>,
}

/// A version that a newer one replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// `SignedHead` bytes.
    pub head: Vec<u8>,
    /// Every chunk it needs.
    pub chunks: Vec<ChunkId>,
}

impl SiteRecord {
    /// Every chunk this record keeps from being deleted.
    pub fn all_chunks(&self) -> impl Iterator<Item = &ChunkId> {
        self.chunks.iter().chain(self.previous.iter().flat_map(|previous| &previous.chunks))
    }
}

/// Totals, for the status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub chunks: u64,
    pub bytes: u64,
    pub sites: u64,
}

/// Where a node keeps chunks and sites. Order of writes is the caller's: chunks first, the site record last.
///
/// Contract (the `contract` module, feature `contract`, runs it on every backend): a chunk that was put is there after a restart; `chunk` verifies the
/// hash and returns `None` after deleting a damaged one; `put_site` replaces whole records durably or not at all.
pub trait Store: MaybeSendSync + 'static {
    fn chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>>;
    fn has_chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<bool, StoreError>>;
    /// The id must be the hash of the bytes: the caller has verified it.
    fn put_chunk(&self, id: ChunkId, sealed: Bytes) -> BoxFuture<'_, Result<(), StoreError>>;
    fn delete_chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<(), StoreError>>;
    fn site(&self, blinded: BlindedKey) -> BoxFuture<'_, Result<Option<SiteRecord>, StoreError>>;
    fn put_site(&self, record: SiteRecord) -> BoxFuture<'_, Result<(), StoreError>>;
    fn delete_site(&self, blinded: BlindedKey) -> BoxFuture<'_, Result<(), StoreError>>;
    fn sites(&self) -> BoxFuture<'_, Result<Vec<SiteRecord>, StoreError>>;
    /// Small named values: identity key, good peers, settings. `name` is a constant of the caller, ≤ 32 bytes.
    fn value(&self, name: &'static str) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>>;
    fn put_value(&self, name: &'static str, value: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>>;
    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>>;
    /// Whether nothing survives the end of the process or tab.
    fn memory_only(&self) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;

    /// Both backends keep a record as these bytes. A change here is a change of what is on people's disks: it needs a new
    /// schema version in both, and a way to read the old one.
    #[test]
    fn the_bytes_of_a_record_are_kept() {
        let bytes = api::encode(&contract::record(1, vec![ChunkId::of(b"chunk")]));
        assert_eq!(ChunkId::of(&bytes).to_string(), "bafkr4ibjbjphlcjtbhueweb3eygggf74krjr5cd3uz36rbngn3qfjkfppi");
    }
}
