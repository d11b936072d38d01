//! One open site: reading its files, and telling about it.

use crate::{
    api::{ApiError, Content, FileInfo, Files, READ_MAX_BYTES, SiteInfo, Source, Timings},
    fetch::{FetchError, Fetcher},
    network::HeadsFound,
    platform::{self, lock},
    store::{SiteRecord, Store},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use libp2p::PeerId;
use meganet_core::{
    address::Address,
    chunk,
    head::{Head, HeadDecision, HeadInner, compare},
    keys::BlindedKey,
    limits::SITE_AUTO_FETCH_MAX_BYTES,
    manifest::{Manifest, Span},
};
use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Opened chunks kept in memory: small files share packs, and a video is read in pieces.
const OPENED_CHUNKS_MAX: usize = 12;
/// Chunks of one read or one complete fetch that are asked for at once.
const CHUNKS_AT_ONCE: usize = 64;

/// An open version of a site.
pub(crate) struct Site {
    pub address: Address,
    blinded: BlindedKey,
    pub head: Head,
    inner: HeadInner,
    manifest: Arc<Manifest>,
    pub fetcher: Fetcher,
    pub conflicting: bool,
    pinned: AtomicBool,
    own: bool,
    /// The network confirmed the head in this session.
    confirmed: AtomicBool,
    confirmed_ms: AtomicU64,
    timings: Timings,
    /// Milliseconds from the opening until the starter was here.
    starter_ms: Arc<OnceLock<u64>>,
    /// Content of chunks opened lately, by place in the manifest's table; the oldest first.
    opened: Arc<Mutex<VecDeque<(u32, Bytes)>>>,
    allowed_large: AtomicBool,
}

/// A version of a site whose head and manifest are there and checked.
pub(super) struct Version {
    pub head: Head,
    pub inner: HeadInner,
    pub manifest: Manifest,
    /// The network confirmed that this is the newest head.
    pub confirmed: bool,
}

impl Site {
    pub(super) fn new(version: Version, record: SiteRecord, fetcher: Fetcher, timings: Timings) -> Self {
        let Version { head, inner, manifest, confirmed } = version;
        Self {
            address: record.address,
            blinded: record.address.blinded(),
            head,
            inner,
            manifest: Arc::new(manifest),
            fetcher,
            conflicting: record.conflict.is_some(),
            pinned: AtomicBool::new(record.pinned),
            own: record.own,
            confirmed: confirmed.into(),
            confirmed_ms: record.confirmed_ms.into(),
            timings,
            starter_ms: Arc::default(),
            opened: Arc::default(),
            allowed_large: AtomicBool::new(false),
        }
    }

    /// The same version, looked up again.
    pub fn again(&self, confirmed: bool, fetcher: Fetcher) -> Self {
        Self {
            address: self.address,
            blinded: self.blinded,
            head: self.head.clone(),
            inner: self.inner.clone(),
            manifest: self.manifest.clone(),
            fetcher,
            conflicting: self.conflicting,
            pinned: AtomicBool::new(self.pinned.load(Ordering::Relaxed)),
            own: self.own,
            confirmed: (self.is_confirmed() || confirmed).into(),
            confirmed_ms: if confirmed { platform::unix_ms() } else { self.confirmed_ms.load(Ordering::Relaxed) }
                .into(),
            timings: self.timings,
            starter_ms: self.starter_ms.clone(),
            opened: self.opened.clone(),
            allowed_large: AtomicBool::new(self.allowed_large.load(Ordering::Relaxed)),
        }
    }

    pub fn blinded(&self) -> BlindedKey {
        self.blinded
    }

    pub fn set_pinned(&self, pinned: bool) {
        self.pinned.store(pinned, Ordering::Relaxed);
    }

    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// The network confirmed that this is the newest head.
    pub fn confirm(&self, now_ms: u64) {
        self.confirmed.store(true, Ordering::Relaxed);
        self.confirmed_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Whether a peer returned this very head.
    pub fn is_confirmed_by(&self, found: &HeadsFound) -> bool {
        found.heads.iter().any(|(head, from)| *head == self.head && from.is_some())
    }

    /// Whether another version, or a proof of two of them, would be shown with these heads.
    pub fn would_change(&self, found: &HeadsFound) -> bool {
        found.heads.iter().any(|(head, _)| match compare(&self.head, head) {
            HeadDecision::Newer => true,
            HeadDecision::Conflict => !self.conflicting,
            HeadDecision::Same | HeadDecision::Older => false,
        })
    }

    /// Fetches what a first look needs while the page's frame is still being made.
    pub fn fetch_starter(&self, store: Arc<dyn Store>, since_ms: u64) {
        let Some(starter) = self.manifest.starter_chunk().copied() else { return };
        let (fetcher, starter_ms) = (self.fetcher.clone(), self.starter_ms.clone());
        platform::spawn(async move {
            let is_held = store.has_chunk(starter.id).await.unwrap_or(false);
            if is_held || fetcher.get(starter.id, starter.size, 0).await.is_ok() {
                let _ = starter_ms.set(platform::monotonic_ms().saturating_sub(since_ms));
            }
        });
    }

    /// Refuses to be read as another version.
    pub fn check_sequence(&self, wanted: Option<u64>) -> Result<(), ApiError> {
        let sequence = self.head.sequence();
        if wanted.is_some_and(|wanted| wanted != sequence) {
            return Err(ApiError::VersionChanged { sequence });
        }
        Ok(())
    }

    pub fn files(&self) -> Files {
        let info = |entry: &meganet_core::manifest::Entry| FileInfo {
            path: entry.path.clone(),
            media_type: entry.media_type.clone(),
            size: entry.size,
        };
        Files { sequence: self.head.sequence(), files: self.manifest.entries.iter().map(info).collect() }
    }

    fn nobody_serves(&self) -> ApiError {
        ApiError::NobodyServes { sequence: self.head.sequence(), providers: self.fetcher.seen.providers() }
    }

    /// A piece of a file, from the store or from peers.
    pub async fn read(&self, store: &dyn Store, path: &str, offset: u64, max_bytes: u32) -> Result<Content, ApiError> {
        let entry = self.manifest.resolve(path).ok_or_else(|| ApiError::NoSuchPath { path: path.into() })?;
        let start = offset.min(entry.size);
        let end = start.saturating_add(u64::from(max_bytes.min(READ_MAX_BYTES))).min(entry.size);
        let spans =
            self.manifest.spans(entry, start..end).map_err(|error| ApiError::Refused { reason: error.to_string() })?;
        // Bounded without a time-out of its own: the fetcher gives up on chunks that do not come.
        let pieces: Vec<_> = stream::iter(spans.clone().into_iter().enumerate())
            .map(|(order, span)| self.piece(store, span, order as u32))
            .buffered(CHUNKS_AT_ONCE)
            .try_collect()
            .await?;
        let mut bytes = Vec::with_capacity((end - start) as usize);
        for (piece, span) in pieces.iter().zip(&spans) {
            bytes.extend_from_slice(piece.get(span.start as usize..span.end as usize).unwrap_or_default());
        }
        Ok(Content {
            sequence: self.head.sequence(),
            path: entry.path.clone(),
            media_type: entry.media_type.clone(),
            size: entry.size,
            offset: start,
            bytes,
        })
    }

    /// The opened content of the chunk a span lies in.
    async fn piece(&self, store: &dyn Store, span: Span, order: u32) -> Result<Bytes, ApiError> {
        if let Some((_, content)) = lock(&self.opened).iter().find(|(place, _)| *place == span.chunk) {
            return Ok(content.clone());
        }
        let damaged = || ApiError::Refused { reason: "the manifest names a chunk that does not exist".into() };
        let reference = self.manifest.chunks.get(span.chunk as usize).ok_or_else(damaged)?;
        let sealed = match store.chunk(reference.id).await {
            Ok(Some(sealed)) => sealed,
            // A store that fails must not keep a page from being read while peers serve it.
            Ok(None) | Err(_) => {
                // What the user waits for comes before a complete fetch, in order.
                self.fetcher.get(reference.id, reference.size, order).await.map_err(|error| self.because(error))?
            }
        };
        let content =
            chunk::open(reference, &sealed).map_err(|error| ApiError::Refused { reason: error.to_string() })?;
        let content = Bytes::from(content);
        let mut opened = lock(&self.opened);
        if opened.len() >= OPENED_CHUNKS_MAX {
            opened.pop_front();
        }
        opened.push_back((span.chunk, content.clone()));
        Ok(content)
    }

    fn because(&self, error: FetchError) -> ApiError {
        match error {
            FetchError::NobodyServes => self.nobody_serves(),
            FetchError::Stopped => ApiError::Stopped,
        }
    }

    /// Fetches every chunk that is not held. `progress` is called with (done, total, bytes of this fetch).
    pub async fn fetch_all(
        &self,
        store: &dyn Store,
        allow_large: bool,
        quota_bytes: u64,
        progress: impl Fn(u32, u32, u64),
    ) -> Result<(), ApiError> {
        let size_bytes = self.inner.total_size;
        let is_allowed = self.allowed_large.fetch_or(allow_large, Ordering::Relaxed) || allow_large;
        // Even a site that is allowed must not drive out everything else only to be cut short itself.
        let limit_bytes = if is_allowed { quota_bytes } else { quota_bytes.min(SITE_AUTO_FETCH_MAX_BYTES) };
        if size_bytes > limit_bytes && !self.own {
            return Err(ApiError::TooLarge { size_bytes, limit_bytes });
        }
        let total = self.manifest.chunks.len() as u32;
        let mut missing = Vec::new();
        for (place, reference) in self.manifest.chunks.iter().enumerate() {
            if !store.has_chunk(reference.id).await? {
                missing.push((place as u32, *reference));
            }
        }
        let mut done = total - missing.len() as u32;
        let mut received = 0;
        progress(done, total, received);
        let mut fetches = stream::iter(missing)
            .map(|(place, reference)| self.fetcher.get(reference.id, reference.size, CHUNKS_AT_ONCE as u32 + place))
            .buffer_unordered(CHUNKS_AT_ONCE);
        while let Some(sealed) = fetches.next().await {
            received += sealed.map_err(|error| self.because(error))?.len() as u64;
            done += 1;
            progress(done, total, received);
        }
        self.fetcher.flush().await?;
        Ok(())
    }

    pub async fn info(&self, store: &dyn Store) -> Result<SiteInfo, ApiError> {
        let mut held_chunks = 0;
        let mut held_bytes = 0;
        let mut counted = HashSet::new();
        for reference in self.inner.manifest.iter().chain(&self.manifest.chunks) {
            if counted.insert(reference.id) && store.has_chunk(reference.id).await? {
                held_chunks += 1;
                held_bytes += u64::from(reference.size);
            }
        }
        let mut sources: Vec<_> = lock(&self.fetcher.seen.sources)
            .iter()
            .map(|(peer, bytes)| Source { peer_id: PeerId::to_string(peer), bytes: *bytes })
            .collect();
        sources.sort_by_key(|source| std::cmp::Reverse(source.bytes));
        Ok(SiteInfo {
            address: self.address,
            title: self.manifest.title.clone(),
            index: self.manifest.resolve("").map(|entry| entry.path.clone()),
            sequence: self.head.sequence(),
            time_ms: self.inner.time_ms,
            confirmed_ms: Some(self.confirmed_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0),
            confirmed: self.is_confirmed(),
            total_bytes: self.inner.total_size,
            files: Some(self.manifest.entries.len() as u32),
            chunks: counted.len() as u32,
            held_chunks,
            held_bytes: Some(held_bytes),
            holders: self.fetcher.seen.providers(),
            sources,
            conflicting: self.conflicting,
            pinned: self.pinned.load(Ordering::Relaxed),
            own: self.own,
            timings: Timings { starter_ms: self.starter_ms.get().copied(), ..self.timings },
        })
    }
}
