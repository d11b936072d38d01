//! What stays when the store is full, and what goes when a site is forgotten.

use crate::{
    limits,
    store::{SiteRecord, Store, StoreError},
};
use meganet_core::{address::Address, hash::ChunkId, head::Head, keys::BlindedKey};
use std::collections::HashSet;

/// Drops versions that a newer one replaces, then the chunks of the least recently read sites that are neither pinned nor
/// own, until they fit the quota. Their heads stay: what was seen once is never rolled back, even after it was evicted.
/// Returns the sites whose chunks went.
pub(crate) async fn make_room(store: &dyn Store, quota_bytes: u64) -> Result<Vec<BlindedKey>, StoreError> {
    let is_over = async || Ok::<_, StoreError>(store.usage().await?.bytes > quota_bytes);
    let mut evicted = Vec::new();
    if !is_over().await? {
        return Ok(evicted);
    }
    let mut records = store.sites().await?;
    records.sort_by_key(|record| record.used_ms);
    for record in records.iter_mut().filter(|record| record.previous.is_some()) {
        let gone = record.previous.take();
        store.put_site(record.clone()).await?;
        delete_unused(store, gone.map(|previous| previous.chunks).unwrap_or_default()).await?;
        if !is_over().await? {
            return Ok(evicted);
        }
    }
    for record in records.iter().filter(|record| is_evictable(record) && !record.chunks.is_empty()) {
        store.put_site(SiteRecord { chunks: Vec::new(), previous: None, ..record.clone() }).await?;
        delete_unused(store, record.chunks.clone()).await?;
        tracing::info!(address = %record.address, "evicted to keep within the quota");
        evicted.push(record.address.blinded());
        if !is_over().await? {
            break;
        }
    }
    let empty: Vec<_> = records.iter().filter(|record| is_evictable(record) && record.chunks.is_empty()).collect();
    for record in empty.iter().take(empty.len().saturating_sub(limits::EVICTED_HEADS_MAX)) {
        store.delete_site(record.address.blinded()).await?;
    }
    Ok(evicted)
}

/// Lets go of the version before this one, which is held whole now.
pub(super) async fn drop_previous(store: &dyn Store, address: Address, head: &Head) -> Result<(), StoreError> {
    let Some(mut record) = store.site(address.blinded()).await? else { return Ok(()) };
    if record.head != head.as_bytes() {
        return Ok(());
    }
    let Some(gone) = record.previous.take() else { return Ok(()) };
    store.put_site(record).await?;
    delete_unused(store, gone.chunks).await
}

fn is_evictable(record: &SiteRecord) -> bool {
    !record.pinned && !record.own
}

/// Deletes a site's record, then the chunks that no other site uses. Stopping in between leaves unused chunks, never a
/// record that points to nothing.
pub(super) async fn drop_site(store: &dyn Store, blinded: BlindedKey) -> Result<(), StoreError> {
    let Some(gone) = store.site(blinded).await? else { return Ok(()) };
    store.delete_site(blinded).await?;
    delete_unused(store, gone.all_chunks().copied().collect()).await
}

/// Deletes those of `chunks` that no record names.
pub(super) async fn delete_unused(store: &dyn Store, chunks: Vec<ChunkId>) -> Result<(), StoreError> {
    let records = store.sites().await?;
    let used: HashSet<_> = records.iter().flat_map(SiteRecord::all_chunks).collect();
    for chunk in chunks.iter().filter(|chunk| !used.contains(chunk)) {
        store.delete_chunk(*chunk).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Previous, contract};
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

    #[tokio::test]
    async fn a_replaced_version_goes_before_any_site_does() {
        let store = MemoryStore::new(1 << 20);
        let oldest = put(&store, 1, 10, false, None).await;
        let before = put(&store, 9, 15, false, None).await;
        store.delete_site(contract::address(9).blinded()).await.unwrap();
        let newest = put(&store, 2, 20, true, None).await;
        let mut record = store.site(contract::address(2).blinded()).await.unwrap().unwrap();
        record.previous = Some(Previous { head: vec![1], chunks: vec![before, newest] });
        store.put_site(record).await.unwrap();
        assert_eq!(make_room(&store, 2_500).await.unwrap(), []);
        assert!(!store.has_chunk(before).await.unwrap());
        assert!(store.has_chunk(oldest).await.unwrap() && store.has_chunk(newest).await.unwrap());
        assert_eq!(make_room(&store, 1_500).await.unwrap(), [contract::address(1).blinded()]);
    }
}
