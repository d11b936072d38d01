//! What stays when the store is full, and what goes when a site is forgotten.

use crate::{
    limits,
    store::{SiteRecord, Store, StoreError},
};
use meganet_core::{hash::ChunkId, keys::BlindedKey};
use std::collections::HashSet;

/// Drops the chunks of the least recently read sites that are neither pinned nor own until they fit the quota. Their heads
/// stay: what was seen once is never rolled back, even after it was evicted.
pub(crate) async fn make_room(store: &dyn Store, quota_bytes: u64) -> Result<(), StoreError> {
    if store.usage().await?.bytes <= quota_bytes {
        return Ok(());
    }
    let mut records = store.sites().await?;
    records.sort_by_key(|record| record.used_ms);
    for record in records.iter().filter(|record| is_evictable(record) && !record.chunks.is_empty()) {
        store.put_site(SiteRecord { chunks: Vec::new(), ..record.clone() }).await?;
        delete_unused(store, record.chunks.clone(), &store.sites().await?).await?;
        tracing::info!(address = %record.address, "evicted to keep within the quota");
        if store.usage().await?.bytes <= quota_bytes {
            break;
        }
    }
    let evicted: Vec<_> = records.iter().filter(|record| is_evictable(record) && record.chunks.is_empty()).collect();
    for record in evicted.iter().take(evicted.len().saturating_sub(limits::EVICTED_HEADS_MAX)) {
        store.delete_site(record.address.blinded()).await?;
    }
    Ok(())
}

fn is_evictable(record: &SiteRecord) -> bool {
    !record.pinned && !record.own
}

/// Deletes a site's record, then the chunks that no other site uses. Stopping in between leaves unused chunks, never a
/// record that points to nothing.
pub(super) async fn drop_site(store: &dyn Store, blinded: BlindedKey) -> Result<(), StoreError> {
    let Some(gone) = store.site(blinded).await? else { return Ok(()) };
    store.delete_site(blinded).await?;
    delete_unused(store, gone.chunks, &store.sites().await?).await
}

/// Deletes those of `chunks` that no record names.
pub(super) async fn delete_unused(
    store: &dyn Store,
    chunks: Vec<ChunkId>,
    records: &[SiteRecord],
) -> Result<(), StoreError> {
    let used: HashSet<_> = records.iter().flat_map(|record| &record.chunks).collect();
    for chunk in chunks.iter().filter(|chunk| !used.contains(chunk)) {
        store.delete_chunk(*chunk).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, contract};
    use bytes::Bytes;

    async fn put(store: &MemoryStore, seed: u8, used_ms: u64, pinned: bool, shared: Option<ChunkId>) -> ChunkId {
        let sealed = Bytes::from(vec![seed; 1_000]);
        let id = ChunkId::of(&sealed);
        store.put_chunk(id, sealed).await.unwrap();
        let chunks = std::iter::once(id).chain(shared).collect();
        let record = SiteRecord { used_ms, pinned, ..contract::record(seed, chunks) };
        store.put_site(record).await.unwrap();
        id
    }

    #[tokio::test]
    async fn the_least_recently_read_goes_first_and_pinned_and_shared_chunks_stay() {
        let store = MemoryStore::new(1 << 20);
        let pinned = put(&store, 1, 10, true, None).await;
        let oldest = put(&store, 2, 20, false, Some(pinned)).await;
        let newest = put(&store, 3, 30, false, None).await;
        make_room(&store, 3_000).await.unwrap();
        assert!(store.has_chunk(oldest).await.unwrap(), "within the quota nothing goes");
        make_room(&store, 2_500).await.unwrap();
        assert!(!store.has_chunk(oldest).await.unwrap());
        assert!(store.has_chunk(pinned).await.unwrap() && store.has_chunk(newest).await.unwrap());
        make_room(&store, 0).await.unwrap();
        assert!(store.has_chunk(pinned).await.unwrap(), "a pinned site is never evicted");
        assert!(!store.has_chunk(newest).await.unwrap());
        let heads: Vec<_> = store.sites().await.unwrap().into_iter().map(|record| record.head).collect();
        assert_eq!(heads.len(), 3, "evicted sites keep their heads");
    }
}
