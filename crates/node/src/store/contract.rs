//! What every storage backend must do. Each backend's tests call [`run`] on a fresh, empty store.

#![allow(clippy::unwrap_used, reason = "a breach of the contract ends the test that runs it")]

use super::{Previous, SiteRecord, Store, Usage};
use bytes::Bytes;
use meganet_core::{address::Address, chunk, hash::ChunkId, keys::SiteKey};

fn sealed(fill: u8, length: usize) -> (ChunkId, Bytes) {
    let bytes = Bytes::from(vec![fill; length]);
    (ChunkId::of(&bytes), bytes)
}

/// The address of a site that exists only in these tests.
pub fn address(seed: u8) -> Address {
    SiteKey::from_seed([seed; 32]).address()
}

/// A record with every field set.
pub fn record(seed: u8, chunks: Vec<ChunkId>) -> SiteRecord {
    SiteRecord {
        address: address(seed),
        head: vec![seed; 200],
        conflict: Some(vec![seed, 1]),
        chunks,
        total_bytes: 1 << 40,
        title: "Ein Titel – с юникодом".into(),
        confirmed_ms: 1_700_000_000_000,
        used_ms: 1_700_000_000_001,
        pinned: true,
        own: false,
        previous: Some(Previous { head: vec![seed, 2], chunks: vec![sealed(seed, 7).0] }),
    }
}

/// Runs the whole contract. Panics on the first breach.
pub async fn run(store: &dyn Store) {
    assert_eq!(store.usage().await.unwrap(), Usage::default(), "the store must start empty");
    chunks(store).await;
    sites(store).await;
    values(store).await;
}

async fn chunks(store: &dyn Store) {
    let (small_id, small) = sealed(1, chunk::pad_len(1) + 16);
    let (large_id, large) = sealed(2, meganet_core::limits::CHUNK_MAX_BYTES);
    assert!(store.chunk(small_id).await.unwrap().is_none());
    assert!(!store.has_chunk(small_id).await.unwrap());
    store.put_chunk(small_id, small.clone()).await.unwrap();
    store.put_chunk(small_id, small.clone()).await.unwrap();
    store.put_chunk(large_id, large.clone()).await.unwrap();
    assert_eq!(store.chunk(small_id).await.unwrap(), Some(small.clone()));
    assert_eq!(store.chunk(large_id).await.unwrap(), Some(large.clone()));
    assert!(store.has_chunk(large_id).await.unwrap());
    let usage = store.usage().await.unwrap();
    assert_eq!((usage.chunks, usage.bytes), (2, (small.len() + large.len()) as u64), "a chunk put twice counts once");
    store.delete_chunk(small_id).await.unwrap();
    store.delete_chunk(small_id).await.unwrap();
    assert!(store.chunk(small_id).await.unwrap().is_none());
    assert_eq!(store.usage().await.unwrap().chunks, 1);
    store.delete_chunk(large_id).await.unwrap();
    assert_eq!(store.usage().await.unwrap(), Usage::default());
}

async fn sites(store: &dyn Store) {
    let (first, second) = (address(1), address(2));
    assert!(store.site(first.blinded()).await.unwrap().is_none());
    let mut one = record(1, vec![sealed(1, 1).0]);
    store.put_site(one.clone()).await.unwrap();
    store.put_site(record(2, Vec::new())).await.unwrap();
    assert_eq!(store.site(first.blinded()).await.unwrap(), Some(one.clone()));
    one.head = vec![9; 300];
    one.pinned = false;
    store.put_site(one.clone()).await.unwrap();
    assert_eq!(store.site(first.blinded()).await.unwrap(), Some(one), "a record is replaced whole");
    let mut all: Vec<_> = store.sites().await.unwrap().into_iter().map(|site| site.address).collect();
    all.sort();
    let mut expected = vec![first, second];
    expected.sort();
    assert_eq!(all, expected);
    store.delete_site(first.blinded()).await.unwrap();
    store.delete_site(first.blinded()).await.unwrap();
    assert!(store.site(first.blinded()).await.unwrap().is_none());
    store.delete_site(second.blinded()).await.unwrap();
    assert_eq!(store.usage().await.unwrap().sites, 0);
}

async fn values(store: &dyn Store) {
    assert!(store.value("contract").await.unwrap().is_none());
    store.put_value("contract", vec![1, 2, 3]).await.unwrap();
    store.put_value("contract", vec![4]).await.unwrap();
    assert_eq!(store.value("contract").await.unwrap(), Some(vec![4]));
}
