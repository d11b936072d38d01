//! Sites: opening them by address, reading their files, keeping and announcing them.

mod keep;
mod open;
mod publish;
mod site;

pub(crate) use keep::make_room;
pub(crate) use site::Site;

use crate::{
    api::{ApiError, Event, Progress, SiteInfo, Stage},
    fetch::{Fetcher, Means},
    limits,
    platform::{self, lock},
    store::{SiteRecord, Store, StoreError},
};
use futures::lock::Mutex as AsyncMutex;
use libp2p::PeerId;
use meganet_core::{address::Address, keys::BlindedKey};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        ApiError::Storage { reason: error.to_string() }
    }
}

/// Tells every listener of the node.
pub(crate) type Tell = Arc<dyn Fn(Event) + Send + Sync>;

/// The sites of a node.
#[derive(Clone)]
pub(crate) struct Sites {
    inner: Arc<Inner>,
}

struct Inner {
    means: Means,
    tell: Tell,
    contributing: Arc<AtomicBool>,
    joined: Arc<AtomicBool>,
    quota_bytes: u64,
    open: Mutex<HashMap<BlindedKey, Slot>>,
}

/// One site's place in the table. The asynchronous lock lets a second reader wait for the first one's opening.
#[derive(Clone)]
struct Slot {
    fetcher: Fetcher,
    site: Arc<AsyncMutex<Option<Arc<Site>>>>,
    /// The same once it is open, for those who only look.
    ready: Arc<Mutex<Option<Arc<Site>>>>,
    used_ms: u64,
}

impl Sites {
    pub fn new(
        means: Means,
        tell: Tell,
        contributing: Arc<AtomicBool>,
        joined: Arc<AtomicBool>,
        quota_bytes: u64,
    ) -> Self {
        let open = Mutex::default();
        Self { inner: Arc::new(Inner { means, tell, contributing, joined, quota_bytes, open }) }
    }

    fn store(&self) -> &Arc<dyn Store> {
        &self.inner.means.store
    }

    fn slot(&self, blinded: BlindedKey) -> Slot {
        let mut open = lock(&self.inner.open);
        let now = platform::monotonic_ms();
        if !open.contains_key(&blinded)
            && open.len() >= limits::OPEN_SITES_MAX
            && let Some(oldest) = open.iter().min_by_key(|(_, slot)| slot.used_ms).map(|(key, _)| *key)
        {
            open.remove(&oldest);
        }
        let slot = open.entry(blinded).or_insert_with(|| Slot {
            fetcher: Fetcher::start(blinded, self.inner.means.clone()),
            site: Arc::default(),
            ready: Arc::default(),
            used_ms: now,
        });
        slot.used_ms = now;
        slot.clone()
    }

    /// The site if it is open already.
    pub fn opened(&self, blinded: &BlindedKey) -> Option<Arc<Site>> {
        let slot = lock(&self.inner.open).get(blinded).cloned()?;
        lock(&slot.ready).clone()
    }

    /// The open site, opening it when needed. With `refresh` the network is asked for a newer head even if it is open.
    pub async fn open(&self, address: Address, refresh: bool) -> Result<Arc<Site>, ApiError> {
        let slot = self.slot(address.blinded());
        let mut place = slot.site.lock().await;
        if let Some(site) = place.as_ref()
            && !refresh
        {
            return Ok(site.clone());
        }
        let site = Arc::new(open::open(self, address, place.as_deref(), slot.fetcher.clone()).await?);
        *place = Some(site.clone());
        *lock(&slot.ready) = Some(site.clone());
        drop(place);
        self.announce(&site).await;
        self.keep_within_quota().await;
        Ok(site)
    }

    /// Announces this node as provider of a site, and its head, if its user contributes: a site is to be found when its
    /// author is gone. Nobody waits for the head to be put.
    async fn announce(&self, site: &Site) {
        if self.inner.contributing.load(Ordering::Relaxed) {
            let mut network = self.inner.means.network.clone();
            let head = site.head.clone();
            let _ = network.provide(site.blinded(), true).await;
            platform::spawn(async move {
                let _ = network.put_head(head).await;
            });
        }
    }

    /// Announces every stored site, or withdraws every announcement.
    pub async fn announce_all(&self) -> Result<(), ApiError> {
        let on = self.inner.contributing.load(Ordering::Relaxed);
        let mut network = self.inner.means.network.clone();
        for record in self.store().sites().await?.into_iter().filter(|record| !record.chunks.is_empty()) {
            let _ = network.provide(record.address.blinded(), on).await;
            if on && let Ok(head) = meganet_core::head::Head::parse(&record.head) {
                let _ = network.put_head(head).await;
            }
        }
        Ok(())
    }

    pub async fn list(&self) -> Result<Vec<SiteInfo>, ApiError> {
        let mut records = self.store().sites().await?;
        // Of an evicted site only the head is left.
        records.retain(|record| !record.chunks.is_empty());
        records.sort_by_key(|record| std::cmp::Reverse(record.used_ms));
        let mut infos = Vec::with_capacity(records.len());
        for record in records {
            infos.push(self.info_of(record).await?);
        }
        Ok(infos)
    }

    /// What is known of a site without asking anybody.
    pub async fn info(&self, address: Address) -> Result<SiteInfo, ApiError> {
        if let Some(site) = self.opened(&address.blinded()) {
            return site.info(self.store().as_ref()).await;
        }
        match self.store().site(address.blinded()).await? {
            Some(record) => self.info_of(record).await,
            None => Err(ApiError::NotFound { asked: 0 }),
        }
    }

    async fn info_of(&self, record: SiteRecord) -> Result<SiteInfo, ApiError> {
        if let Some(site) = self.opened(&record.address.blinded()) {
            return site.info(self.store().as_ref()).await;
        }
        let sequence = meganet_core::head::Head::parse(&record.head).map_or(0, |head| head.sequence());
        let mut held_chunks = 0;
        for chunk in &record.chunks {
            held_chunks += u32::from(self.store().has_chunk(*chunk).await?);
        }
        Ok(SiteInfo {
            address: record.address,
            title: record.title,
            index: None,
            sequence,
            time_ms: 0,
            confirmed_ms: (record.confirmed_ms > 0).then_some(record.confirmed_ms),
            confirmed: false,
            total_bytes: record.total_bytes,
            files: None,
            chunks: record.chunks.len() as u32,
            held_chunks,
            held_bytes: None,
            holders: 0,
            sources: Vec::new(),
            conflicting: record.conflict.is_some(),
            pinned: record.pinned,
            own: record.own,
            timings: Default::default(),
        })
    }

    pub async fn pin(&self, address: Address, pinned: bool) -> Result<(), ApiError> {
        let mut record = self.store().site(address.blinded()).await?.ok_or(ApiError::NotFound { asked: 0 })?;
        record.pinned = pinned;
        self.store().put_site(record).await?;
        if let Some(site) = self.opened(&address.blinded()) {
            site.set_pinned(pinned);
        }
        Ok(())
    }

    pub async fn forget(&self, address: Address) -> Result<(), ApiError> {
        let blinded = address.blinded();
        let mut network = self.inner.means.network.clone();
        let _ = network.provide(blinded, false).await;
        self.close(&blinded);
        keep::drop_site(self.store().as_ref(), blinded).await?;
        Ok(())
    }

    /// Forgets the open version: the next reader opens the site anew.
    fn close(&self, blinded: &BlindedKey) {
        lock(&self.inner.open).remove(blinded);
    }

    async fn keep_within_quota(&self) {
        if let Err(error) = make_room(self.store().as_ref(), self.inner.quota_bytes).await {
            tracing::warn!(%error, "the quota could not be enforced");
        }
    }

    pub fn peer_connected(&self, peer: PeerId) {
        self.fetchers().iter().for_each(|fetcher| fetcher.connected(peer));
    }

    pub fn peer_disconnected(&self, peer: PeerId) {
        self.fetchers().iter().for_each(|fetcher| fetcher.disconnected(peer));
    }

    /// The swarm was joined (again): providers of every open site are looked for, and heads that nobody confirmed yet.
    pub fn joined(&self) {
        self.fetchers().iter().for_each(Fetcher::look_up);
        let slots: Vec<_> = lock(&self.inner.open).values().cloned().collect();
        for site in slots.iter().filter_map(|slot| lock(&slot.ready).clone()).filter(|site| !site.confirmed) {
            let sites = self.clone();
            platform::spawn(async move {
                if let Ok(newer) = sites.open(site.address, true).await
                    && newer.head.sequence() > site.head.sequence()
                {
                    let (address, sequence) = (site.address, newer.head.sequence());
                    (sites.inner.tell)(Event::SiteUpdated { address, sequence });
                }
            });
        }
    }

    fn fetchers(&self) -> Vec<Fetcher> {
        lock(&self.inner.open).values().map(|slot| slot.fetcher.clone()).collect()
    }

    fn progress(&self, address: Address, stage: Stage, since_ms: u64) {
        let elapsed_ms = platform::monotonic_ms().saturating_sub(since_ms);
        (self.inner.tell)(Event::Progress(Progress { address, stage, elapsed_ms }));
    }
}
