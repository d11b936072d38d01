//! Publishing from this node: chunks are stored first, then the head in one durable step, then it is announced.

use super::Sites;
use crate::{
    api::{ApiError, CurrentHead, HeadInfo, Published},
    network::HeadsFound,
    platform,
    store::SiteRecord,
};
use bytes::Bytes;
use futures::StreamExt;
use meganet_core::{
    address::Address,
    hash::ChunkId,
    head::{Head, HeadDecision, compare},
    keys::ReadKey,
    limits::CHUNK_MAX_BYTES,
    manifest::Manifest,
};
use std::sync::atomic::Ordering;

impl Sites {
    /// The head a publisher chains to: the highest of the stored one and those of the network.
    pub async fn current_head(&self, address: Address) -> Result<CurrentHead, ApiError> {
        let blinded = address.blinded();
        let stored = self.inner.means.store.site(blinded).await?;
        let mut best = stored.and_then(|record| Head::parse_for(&record.head, &blinded).ok());
        // Also while no peer is connected: this node may store the head for the DHT itself.
        let mut network = self.inner.means.network.clone();
        let mut answers = network.find_head(blinded).await.map_err(|_| ApiError::Stopped)?;
        let mut found = HeadsFound::default();
        // Whoever publishes waits for everybody who answers.
        while let Some(answer) = answers.next().await {
            found = answer;
        }
        for (head, _) in found.heads {
            if best.as_ref().is_none_or(|best| compare(best, &head) == HeadDecision::Newer) {
                best = Some(head);
            }
        }
        let head = best.map(|head| HeadInfo { bytes: head.as_bytes().to_vec(), sequence: head.sequence() });
        Ok(CurrentHead { head, asked: found.asked })
    }

    pub async fn store_chunk(&self, sealed: Vec<u8>) -> Result<ChunkId, ApiError> {
        if sealed.len() > CHUNK_MAX_BYTES {
            return Err(ApiError::Refused { reason: format!("a chunk has at most {CHUNK_MAX_BYTES} bytes") });
        }
        let id = ChunkId::of(&sealed);
        self.inner.means.store.put_chunk(id, Bytes::from(sealed)).await?;
        Ok(id)
    }

    /// Takes a signed head as the current one. Every chunk it needs must be stored; an older or conflicting head is refused.
    pub async fn publish(&self, address: Address, bytes: Vec<u8>) -> Result<Published, ApiError> {
        let refused = |reason: String| ApiError::Refused { reason };
        let store = &self.inner.means.store;
        let blinded = address.blinded();
        let head = Head::parse_for(&bytes, &blinded).map_err(|error| refused(error.to_string()))?;
        let writing = self.write_records().await;
        let stored = store.site(blinded).await?;
        if let Some(current) = stored.as_ref().and_then(|record| Head::parse_for(&record.head, &blinded).ok()) {
            match compare(&current, &head) {
                HeadDecision::Newer | HeadDecision::Same => {}
                HeadDecision::Older | HeadDecision::Conflict => {
                    return Err(refused(format!(
                        "sequence {} is not above the published {}: nothing was changed",
                        head.sequence(),
                        current.sequence()
                    )));
                }
            }
        }
        let inner = head.open(&ReadKey::public(&address)).map_err(|error| refused(error.to_string()))?;
        let mut sealed = Vec::new();
        for part in &inner.manifest {
            let missing = || refused("the manifest is not stored: nothing was changed".into());
            sealed.push(store.chunk(part.id).await?.ok_or_else(missing)?);
        }
        let manifest = Manifest::open_for(&inner, &sealed).map_err(|error| refused(error.to_string()))?;
        for reference in &manifest.chunks {
            if !store.has_chunk(reference.id).await? {
                return Err(refused(format!("chunk {} is not stored: nothing was changed", reference.id)));
            }
        }
        let now = platform::unix_ms();
        let record = SiteRecord {
            address,
            head: bytes,
            conflict: stored.as_ref().and_then(|record| record.conflict.clone()),
            chunks: inner.manifest.iter().chain(&manifest.chunks).map(|chunk| chunk.id).collect(),
            total_bytes: inner.total_size,
            title: manifest.title.clone(),
            confirmed_ms: now,
            used_ms: now,
            pinned: stored.as_ref().is_some_and(|record| record.pinned),
            own: true,
            previous: None,
        };
        store.put_site(record).await?;
        drop(writing);
        // The version before keeps its chunks: somebody may be reading it. They are swept when the store is next opened.
        self.close(&blinded);
        let sequence = head.sequence();
        let mut network = self.inner.means.network.clone();
        let stored_on = network.put_head(head).await.unwrap_or(0);
        if self.inner.contributing.load(Ordering::Relaxed) {
            let _ = network.provide(blinded, true).await;
        }
        Ok(Published { sequence, stored_on })
    }
}
