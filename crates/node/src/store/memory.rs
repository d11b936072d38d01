//! A store that is gone with the process or tab: for tests, and for browsers that deny storage.

use super::{SiteRecord, Store, StoreError, Usage};
use crate::platform::{self, BoxFuture, boxed};
use bytes::Bytes;
use meganet_core::{chunk, hash::ChunkId, keys::BlindedKey};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

/// Keeps everything in memory, up to a number of bytes of chunks.
pub struct MemoryStore {
    inner: Mutex<Inner>,
    capacity_bytes: u64,
}

#[derive(Default)]
struct Inner {
    chunks: HashMap<ChunkId, Bytes>,
    chunk_bytes: u64,
    sites: HashMap<BlindedKey, SiteRecord>,
    values: HashMap<&'static str, Vec<u8>>,
}

impl MemoryStore {
    pub fn new(capacity_bytes: u64) -> Self {
        Self { inner: Mutex::default(), capacity_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        platform::lock(&self.inner)
    }

    fn ready<'a, T: Send + 'a>(value: Result<T, StoreError>) -> BoxFuture<'a, Result<T, StoreError>> {
        boxed(std::future::ready(value))
    }
}

impl Store for MemoryStore {
    fn chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        let found = self.lock().chunks.get(&id).cloned();
        Self::ready(Ok(found.filter(|sealed| chunk::verify(&id, sealed).is_ok())))
    }

    fn has_chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Self::ready(Ok(self.lock().chunks.contains_key(&id)))
    }

    fn put_chunk(&self, id: ChunkId, sealed: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut inner = self.lock();
        let size = sealed.len() as u64;
        if inner.chunks.contains_key(&id) {
            return Self::ready(Ok(()));
        }
        if inner.chunk_bytes + size > self.capacity_bytes {
            return Self::ready(Err(StoreError::Full(format!("{} bytes of memory", self.capacity_bytes))));
        }
        inner.chunk_bytes += size;
        inner.chunks.insert(id, sealed);
        Self::ready(Ok(()))
    }

    fn delete_chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut inner = self.lock();
        if let Some(sealed) = inner.chunks.remove(&id) {
            inner.chunk_bytes -= sealed.len() as u64;
        }
        Self::ready(Ok(()))
    }

    fn site(&self, blinded: BlindedKey) -> BoxFuture<'_, Result<Option<SiteRecord>, StoreError>> {
        Self::ready(Ok(self.lock().sites.get(&blinded).cloned()))
    }

    fn put_site(&self, record: SiteRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.lock().sites.insert(record.address.blinded(), record);
        Self::ready(Ok(()))
    }

    fn delete_site(&self, blinded: BlindedKey) -> BoxFuture<'_, Result<(), StoreError>> {
        self.lock().sites.remove(&blinded);
        Self::ready(Ok(()))
    }

    fn sites(&self) -> BoxFuture<'_, Result<Vec<SiteRecord>, StoreError>> {
        Self::ready(Ok(self.lock().sites.values().cloned().collect()))
    }

    fn value(&self, name: &'static str) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Self::ready(Ok(self.lock().values.get(name).cloned()))
    }

    fn put_value(&self, name: &'static str, value: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.lock().values.insert(name, value);
        Self::ready(Ok(()))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        let inner = self.lock();
        let usage =
            Usage { chunks: inner.chunks.len() as u64, bytes: inner.chunk_bytes, sites: inner.sites.len() as u64 };
        Self::ready(Ok(usage))
    }

    fn memory_only(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_contract() {
        super::super::contract::run(&MemoryStore::new(1024 * 1024)).await;
    }

    #[tokio::test]
    async fn a_full_store_refuses_and_recovers() {
        let store = MemoryStore::new(600);
        let (a, b) = (Bytes::from(vec![1; 400]), Bytes::from(vec![2; 400]));
        let (a_id, b_id) = (ChunkId::of(&a), ChunkId::of(&b));
        store.put_chunk(a_id, a).await.unwrap();
        assert!(matches!(store.put_chunk(b_id, b.clone()).await, Err(StoreError::Full(_))));
        assert!(store.chunk(a_id).await.unwrap().is_some());
        store.delete_chunk(a_id).await.unwrap();
        store.put_chunk(b_id, b).await.unwrap();
        assert_eq!(store.usage().await.unwrap(), Usage { chunks: 1, bytes: 400, sites: 0 });
    }
}
