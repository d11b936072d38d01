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
    network::HeadsFound,
    platform::{self, BoxFuture, lock},
    signal::Signal,
    store::{SiteRecord, Store, StoreError},
};
use futures::{
    StreamExt,
    channel::mpsc,
    lock::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard},
    stream,
};
use meganet_core::{address::Address, keys::BlindedKey};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// Waiting before everything held is announced, so that several reasons for it cost one announcement.
const ANNOUNCE_DELAY: Duration = Duration::from_millis(300);

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
    /// Held while a site's record is read, changed and written: see [`Sites::write_records`].
    records: AsyncMutex<()>,
    announce: Signal,
}

/// Where an opening takes heads from.
enum Look {
    /// Nowhere, if the site is open already.
    Open,
    /// The network is asked.
    Network,
    /// A lookup that went on has found these.
    Found(HeadsFound),
}

/// One site's place in the table. The asynchronous lock lets a second reader wait for the first one's opening.
#[derive(Clone)]
struct Slot {
    fetcher: Fetcher,
    site: Arc<AsyncMutex<Option<Arc<Site>>>>,
    /// The same once it is open, for those who only look.
    ready: Arc<Mutex<Option<Arc<Site>>>>,
    used_ms: u64,
    /// Monotonic ms at which the last use was written down.
    touched_ms: Arc<AtomicU64>,
}

impl Sites {
    /// `received_much` is the other end of the signal in `means`.
    pub fn new(
        means: Means,
        tell: Tell,
        contributing: Arc<AtomicBool>,
        joined: Arc<AtomicBool>,
        quota_bytes: u64,
        received_much: mpsc::Receiver<()>,
    ) -> Self {
        let (announce, announcements) = Signal::new();
        let inner = Inner {
            means,
            tell,
            contributing,
            joined,
            quota_bytes,
            open: Mutex::default(),
            records: AsyncMutex::new(()),
            announce,
        };
        let sites = Self { inner: Arc::new(inner) };
        platform::spawn(keep_announcing(Arc::downgrade(&sites.inner), announcements));
        platform::spawn(keep_the_quota(Arc::downgrade(&sites.inner), received_much));
        platform::spawn(keep_looking(Arc::downgrade(&sites.inner)));
        sites
    }

    /// The right to change site records. Whoever changes one reads it again under this, so that two changes at one time
    /// (a publication while a reader confirms the version before, a pin, an eviction) are both kept.
    async fn write_records(&self) -> AsyncMutexGuard<'_, ()> {
        self.inner.records.lock().await
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
            touched_ms: Arc::new(now.into()),
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
        self.touch(address, &slot);
        self.open_in(&slot, address, if refresh { Look::Network } else { Look::Open }).await
    }

    async fn open_in(&self, slot: &Slot, address: Address, look: Look) -> Result<Arc<Site>, ApiError> {
        let mut place = slot.site.lock().await;
        if let Some(site) = place.as_ref()
            && matches!(look, Look::Open)
        {
            return Ok(site.clone());
        }
        let open::Opened { site, later } =
            open::open(self, address, place.as_deref(), slot.fetcher.clone(), look).await?;
        let site = Arc::new(site);
        let before = place.replace(site.clone());
        *lock(&slot.ready) = Some(site.clone());
        drop(place);
        if let Some(later) = later {
            platform::spawn(self.clone().follow(site.clone(), later));
        }
        // What was open already is announced by the DHT's own clock, and has its place in the quota.
        if before.is_none_or(|before| before.head != site.head) {
            self.announce(&site).await;
            self.keep_within_quota().await;
        }
        Ok(site)
    }

    /// Writes down now and then that a site is being read, so that the least recently read one is evicted first.
    fn touch(&self, address: Address, slot: &Slot) {
        let now = platform::monotonic_ms();
        let touched = slot.touched_ms.load(Ordering::Relaxed);
        if now.saturating_sub(touched) < limits::TOUCH_INTERVAL.as_millis() as u64 {
            return;
        }
        slot.touched_ms.store(now, Ordering::Relaxed);
        let sites = self.clone();
        platform::spawn(async move {
            let _ = sites.change_record(address, |record| record.used_ms = platform::unix_ms()).await;
        });
    }

    /// Changes the record of a site that is stored.
    async fn change_record(
        &self,
        address: Address,
        change: impl FnOnce(&mut SiteRecord),
    ) -> Result<SiteRecord, ApiError> {
        let _writing = self.write_records().await;
        let mut record = self.store().site(address.blinded()).await?.ok_or(ApiError::NotFound { asked: 0 })?;
        change(&mut record);
        self.store().put_site(record.clone()).await?;
        Ok(record)
    }

    /// Waits for what a lookup finds after its first answer was shown: a newer head replaces it, the same one confirms it.
    fn follow(self, site: Arc<Site>, mut later: mpsc::Receiver<HeadsFound>) -> BoxFuture<'static, ()> {
        platform::boxed(async move {
            while let Some(found) = later.next().await {
                if site.would_change(&found) {
                    return self.reopen(&site, Look::Found(found)).await;
                }
                if found.complete && site.is_confirmed_by(&found) {
                    let now = platform::unix_ms();
                    site.confirm(now);
                    let _ = self.change_record(site.address, |record| record.confirmed_ms = now).await;
                }
            }
        })
    }

    /// Opens a newer version of what is open. Only readers bring a closed site back and count as its use.
    async fn reopen(&self, site: &Site, look: Look) {
        let Some(slot) = lock(&self.inner.open).get(&site.blinded()).cloned() else { return };
        if let Ok(newer) = self.open_in(&slot, site.address, look).await
            && newer.head.sequence() > site.head.sequence()
            && !slot.fetcher.seen.is_forgotten()
        {
            let (address, sequence) = (site.address, newer.head.sequence());
            (self.inner.tell)(Event::SiteUpdated { address, sequence });
        }
    }

    /// The newest heads that connected peers hold. Who has one holds the site, and is asked for its chunks too. Those who are
    /// known to hold it are asked first: a question keeps a connection from being closed as idle.
    async fn ask_neighbours(&self, blinded: BlindedKey, fetcher: &Fetcher) -> HeadsFound {
        let connected = lock(&self.inner.means.connected).clone();
        let holders: Vec<_> = lock(&fetcher.seen.providers).intersection(&connected).copied().collect();
        let asked = if holders.is_empty() { connected.into_iter().collect() } else { holders };
        let asked = platform::some_of(asked, limits::HEAD_PEERS_ASKED_MAX);
        let exchange = &self.inner.means.exchange;
        let asking = asked.into_iter().map(|peer| async move { (exchange.head(peer, blinded).await, peer) });
        let mut found = HeadsFound::default();
        for (head, peer) in futures::future::join_all(asking).await {
            if let Some(head) = head {
                fetcher.holds(peer);
                found.asked += 1;
                found.heads.push((head, Some(peer)));
            }
        }
        found
    }

    /// Announces this node as provider of a site, and its head, if its user contributes: a site is to be found when its
    /// author is gone. Nobody waits for the head to be put.
    async fn announce(&self, site: &Site) {
        if self.inner.contributing.load(Ordering::Relaxed) && !site.fetcher.seen.is_forgotten() {
            let mut network = self.inner.means.network.clone();
            let head = site.head.clone();
            let _ = network.provide(site.blinded(), true).await;
            platform::spawn(async move {
                let _ = network.put_head(head).await;
            });
        }
    }

    /// Soon announces every stored site if the user contributes, or withdraws every announcement.
    pub fn announce_all_soon(&self) {
        self.inner.announce.wake();
    }

    async fn announce_all(&self) -> Result<(), StoreError> {
        let records = self.store().sites().await?;
        stream::iter(records.into_iter().filter(|record| !record.chunks.is_empty()))
            .for_each_concurrent(limits::ANNOUNCEMENTS_AT_ONCE, |record| async move {
                // Asked anew for each: the user may have withdrawn consent meanwhile.
                let on = self.inner.contributing.load(Ordering::Relaxed);
                let mut network = self.inner.means.network.clone();
                let _ = network.provide(record.address.blinded(), on).await;
                if on && let Ok(head) = meganet_core::head::Head::parse(&record.head) {
                    let _ = network.put_head(head).await;
                }
            })
            .await;
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
        self.change_record(address, |record| record.pinned = pinned).await?;
        if let Some(site) = self.opened(&address.blinded()) {
            site.set_pinned(pinned);
        }
        Ok(())
    }

    pub async fn forget(&self, address: Address) -> Result<(), ApiError> {
        let blinded = address.blinded();
        let _writing = self.write_records().await;
        // Before the announcement is withdrawn: who is opening it right now must not announce it after that.
        self.stop_storing(&blinded);
        let _ = self.inner.means.network.clone().provide(blinded, false).await;
        keep::drop_site(self.store().as_ref(), blinded).await?;
        Ok(())
    }

    /// Fetches every chunk of a site that is not held. See [`Site::fetch_all`].
    pub async fn fetch_all(
        &self,
        site: &Site,
        allow_large: bool,
        progress: impl Fn(u32, u32, u64),
    ) -> Result<(), ApiError> {
        site.fetch_all(self.store().as_ref(), allow_large, self.inner.quota_bytes, progress).await?;
        // Whole: the version before it is not needed any more.
        let _writing = self.write_records().await;
        keep::drop_previous(self.store().as_ref(), site.address, &site.head).await?;
        Ok(())
    }

    /// Closes a site whose chunks go: readers that are under way still get what they wait for, and nothing of it is stored.
    fn stop_storing(&self, blinded: &BlindedKey) {
        if let Some(slot) = lock(&self.inner.open).remove(blinded) {
            slot.fetcher.seen.forgotten.store(true, Ordering::Relaxed);
        }
    }

    /// Forgets the open version: the next reader opens the site anew.
    fn close(&self, blinded: &BlindedKey) {
        lock(&self.inner.open).remove(blinded);
    }

    async fn keep_within_quota(&self) {
        let _writing = self.write_records().await;
        match make_room(self.store().as_ref(), self.inner.quota_bytes).await {
            Ok(evicted) => evicted.iter().for_each(|blinded| self.stop_storing(blinded)),
            Err(error) => tracing::warn!(%error, "the quota could not be enforced"),
        }
    }

    pub fn peers_changed(&self) {
        self.fetchers().iter().for_each(Fetcher::peers_changed);
    }

    /// The swarm was joined (again): providers of every open site are looked for, and heads that nobody confirmed yet.
    pub fn joined(&self) {
        self.fetchers().iter().for_each(Fetcher::look_up);
        for site in self.open_sites().into_iter().filter(|site| !site.is_confirmed()) {
            let sites = self.clone();
            platform::spawn(async move { sites.reopen(&site, Look::Network).await });
        }
    }

    fn open_sites(&self) -> Vec<Arc<Site>> {
        let slots: Vec<_> = lock(&self.inner.open).values().cloned().collect();
        slots.iter().filter_map(|slot| lock(&slot.ready).clone()).collect()
    }

    fn fetchers(&self) -> Vec<Fetcher> {
        lock(&self.inner.open).values().map(|slot| slot.fetcher.clone()).collect()
    }

    fn progress(&self, address: Address, stage: Stage, since_ms: u64) {
        let elapsed_ms = platform::monotonic_ms().saturating_sub(since_ms);
        (self.inner.tell)(Event::Progress(Progress { address, stage, elapsed_ms }));
    }
}

async fn keep_announcing(sites: Weak<Inner>, mut wanted: mpsc::Receiver<()>) {
    while wanted.next().await.is_some() {
        platform::sleep(ANNOUNCE_DELAY).await;
        let Some(inner) = sites.upgrade() else { return };
        if let Err(error) = (Sites { inner }).announce_all().await {
            tracing::warn!(%error, "stored sites could not be announced");
        }
    }
}

async fn keep_the_quota(sites: Weak<Inner>, mut received_much: mpsc::Receiver<()>) {
    while received_much.next().await.is_some() {
        let Some(inner) = sites.upgrade() else { return };
        (Sites { inner }).keep_within_quota().await;
    }
}

/// Looks whether there are newer versions of what is open, so that readers need not ask: connected peers often, the DHT less.
async fn keep_looking(sites: Weak<Inner>) {
    let mut looked_ms = platform::monotonic_ms();
    loop {
        platform::sleep(limits::NEIGHBOURS_INTERVAL).await;
        let Some(inner) = sites.upgrade() else { return };
        let sites = Sites { inner };
        if !sites.inner.joined.load(Ordering::Relaxed) {
            continue;
        }
        let now = platform::monotonic_ms();
        let is_due = now.saturating_sub(looked_ms) >= limits::REFRESH_INTERVAL.as_millis() as u64;
        if is_due {
            looked_ms = now;
        }
        // A silent peer must not hold up the other sites.
        let looking = sites.open_sites().into_iter().map(|site| {
            let sites = &sites;
            async move {
                if is_due {
                    return sites.reopen(&site, Look::Network).await;
                }
                let found = sites.ask_neighbours(site.blinded(), &site.fetcher).await;
                if site.would_change(&found) {
                    sites.reopen(&site, Look::Found(found)).await;
                }
            }
        });
        futures::future::join_all(looking).await;
    }
}

#[cfg(test)]
mod tests;
