//! What stays when the store is full, and what goes when a site is forgotten.

use crate::store::{SiteRecord, Store, StoreError};
use meganet_core::{hash::ChunkId, keys::BlindedKey};
use std::collections::HashSet;

/// Drops the least recently read sites that are neither pinned nor own until the chunks fit the quota.
pub(crate) async fn make_room(store: &dyn Store, quota_bytes: u64) -> Result<(), StoreError> {
    if store.usage().await?.bytes <= quota_bytes {
        return Ok(());
    }
    let mut candidates: Vec<_> =
        store.sites().await?.into_iter().filter(|record| !record.pinned && !record.own).collect();
    candidates.sort_by_key(|record| record.used_ms);
    for record in candidates {
        drop_site(store, record.address.blinded()).await?;
        tracing::info!(address = %record.address, "evicted to keep within the quota");
        if store.usage().await?.bytes <= quota_bytes {
            break;
        }
    }
    Ok(())
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
    }
}
