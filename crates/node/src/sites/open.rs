//! Opening a site: the highest valid head of the stored one and those the network returns, then its manifest.

use super::{Look, Site, Sites, keep, site::Version};
use crate::{
    api::{ApiError, Stage, Timings},
    fetch::Fetcher,
    network::HeadsFound,
    platform,
    store::{Previous, SiteRecord, Store, StoreError},
};
use futures::{FutureExt, StreamExt, channel::mpsc, future::Either, pin_mut};
use meganet_core::{
    address::Address,
    head::{Head, HeadDecision, HeadInner, compare},
    keys::ReadKey,
    manifest::Manifest,
};
use std::{sync::atomic::Ordering, time::Duration};

/// A stored site is shown after this even if the network has not confirmed its head yet; the lookup goes on.
const CONFIRM_MAX: Duration = Duration::from_millis(1_500);
/// A lookup ends by its own time-out before this; an event loop that is held up gets a little longer.
const ANSWER_MAX: Duration = Duration::from_secs(7);
/// A node that is still joining waits this long before it says that it is offline.
const JOIN_WAIT: Duration = Duration::from_secs(2);
const JOIN_POLL: Duration = Duration::from_millis(20);

/// What the network said, in time.
#[derive(Default)]
struct Answer {
    found: HeadsFound,
    /// The lookup when it goes on.
    later: Option<mpsc::Receiver<HeadsFound>>,
}

/// An opened site, and the lookup that may still find a newer head.
pub(super) struct Opened {
    pub site: Site,
    pub later: Option<mpsc::Receiver<HeadsFound>>,
}

pub(super) async fn open(
    sites: &Sites,
    address: Address,
    current: Option<&Site>,
    fetcher: Fetcher,
    look: Look,
) -> Result<Opened, ApiError> {
    let since = platform::monotonic_ms();
    let blinded = address.blinded();
    let read = ReadKey::public(&address);
    let stored = sites.store().site(blinded).await?;
    let held = stored.as_ref().and_then(|record| Head::parse_for(&record.head, &blinded).ok());

    sites.progress(address, Stage::FindingHead { asked: 0 }, since);
    let Answer { found, later } = match look {
        Look::Found(found) => Answer { found, later: None },
        Look::Open | Look::Network => ask_network(sites, address, held.is_some(), &fetcher).await,
    };
    let head_ms = platform::monotonic_ms().saturating_sub(since);

    let mut conflict = stored.as_ref().and_then(|record| record.conflict.clone());
    let mut best = held.clone();
    let mut confirmed = false;
    for (head, from) in &found.heads {
        let is_confirmed = from.is_some() && found.complete;
        match best.as_ref().map(|best| compare(best, head)) {
            None | Some(HeadDecision::Newer) => {
                best = Some(head.clone());
                confirmed = is_confirmed;
            }
            Some(HeadDecision::Same) => confirmed |= is_confirmed,
            // Two heads with one sequence: the first stays, both are the proof.
            Some(HeadDecision::Conflict) => conflict = Some(head.as_bytes().to_vec()),
            Some(HeadDecision::Older) => {}
        }
    }
    let Some(head) = best else {
        // Nobody's silence says nothing about the address.
        return Err(if found.asked > 0 { ApiError::NotFound { asked: found.asked } } else { ApiError::Offline });
    };
    if let (Some(site), Some(held)) = (current, &held)
        && site.head == head
        && *held == head
        && conflict.is_some() == site.conflicting
    {
        return Ok(Opened { site: site.again(confirmed, fetcher), later });
    }

    let mut timings = Timings { head_ms: Some(head_ms), ..Timings::default() };
    let mut opening = Opening { sites, address, read: &read, fetcher: &fetcher, since, timings: &mut timings };
    let is_joined = sites.inner.joined.load(Ordering::Relaxed);
    let previous = stored.as_ref().and_then(|record| record.previous.as_ref()).filter(|_| !is_joined);
    if let Some(previous) = previous.and_then(|previous| Head::parse_for(&previous.head, &blinded).ok())
        && let Ok((inner, manifest)) = opening.version(&previous).await
        && let Some(record) = stored.clone()
    {
        // Of the newest version not everything is here, and nobody can be asked: the one before is here, whole.
        let version = Version { head: previous, inner, manifest, confirmed: false };
        return Ok(Opened { site: Site::new(version, record, fetcher, timings), later });
    }
    let (head, (inner, manifest)) = match (opening.version(&head).await, held) {
        (Ok(opened), _) => (head, opened),
        // The newer version cannot be had: what is held is shown, and the newer head is not taken over.
        (Err(error), Some(held)) if held != head => {
            tracing::info!(%address, %error, "a newer version exists that nobody serves; showing the stored one");
            confirmed = false;
            let opened = opening.version(&held).await?;
            (held, opened)
        }
        (Err(error), _) => return Err(error),
    };

    let version = Version { head, inner, manifest, confirmed };
    let record = save(sites, address, &fetcher, &version, conflict, current.is_some()).await;
    sites.progress(address, Stage::Ready, since);
    let site = Site::new(version, record, fetcher, timings);
    site.fetch_starter(sites.store().clone(), since);
    Ok(Opened { site, later })
}

/// Asks the DHT and the connected peers, waiting for a node that is still joining, and not for long when there is something to
/// show already.
async fn ask_network(sites: &Sites, address: Address, has_stored: bool, fetcher: &Fetcher) -> Answer {
    let joined = || sites.inner.joined.load(Ordering::Relaxed);
    let wait_until = platform::monotonic_ms() + if has_stored { 0 } else { JOIN_WAIT.as_millis() as u64 };
    while !joined() && platform::monotonic_ms() < wait_until {
        platform::sleep(JOIN_POLL).await;
    }
    if has_stored && !joined() {
        // Nobody to ask yet: what is stored is shown at once, and looked up again when the swarm is joined.
        return Answer::default();
    }
    let mut network = sites.inner.means.network.clone();
    let Ok(mut answers) = network.find_head(address.blinded()).await else { return Answer::default() };
    let found = {
        let limit = if has_stored { CONFIRM_MAX } else { ANSWER_MAX };
        let near = sites.ask_neighbours(address.blinded(), fetcher);
        let dht = first_answer(&mut answers, limit);
        pin_mut!(near, dht);
        match futures::future::select(dht, near).await {
            Either::Left((found, near)) if found.heads.is_empty() => {
                // The servers that answer for the DHT may be gone while readers are there.
                let near = near.await;
                HeadsFound { heads: near.heads, asked: found.asked + near.asked, complete: found.complete }
            }
            Either::Left((found, _)) => found,
            Either::Right((near, _)) if !near.heads.is_empty() => near,
            Either::Right((_, dht)) => dht.await,
        }
    };
    // A channel that ended without an answer was refused; a complete answer may still be followed by the query's end.
    let later = (!found.complete).then_some(answers);
    Answer { found, later }
}

async fn first_answer(answers: &mut mpsc::Receiver<HeadsFound>, limit: Duration) -> HeadsFound {
    let next = answers.next().fuse();
    let timeout = platform::sleep(limit).fuse();
    pin_mut!(next, timeout);
    match futures::future::select(next, timeout).await {
        Either::Left((found, _)) => found.unwrap_or_default(),
        Either::Right(_) => HeadsFound::default(),
    }
}

/// What it takes to open one version of a site.
struct Opening<'a> {
    sites: &'a Sites,
    address: Address,
    read: &'a ReadKey,
    fetcher: &'a Fetcher,
    since: u64,
    timings: &'a mut Timings,
}

impl Opening<'_> {
    /// Opens a head and gets its manifest, from the store or from peers.
    async fn version(&mut self, head: &Head) -> Result<(HeadInner, Manifest), ApiError> {
        let refused = |reason: String| ApiError::Refused { reason };
        let inner = head.open(self.read).map_err(|error| refused(error.to_string()))?;
        inner.check_time(platform::unix_ms()).map_err(|error| refused(error.to_string()))?;

        let mut sealed = Vec::with_capacity(inner.manifest.len());
        for part in &inner.manifest {
            let bytes = match self.sites.store().chunk(part.id).await? {
                Some(bytes) => bytes,
                None => {
                    self.sites.progress(self.address, Stage::FetchingManifest, self.since);
                    let fetched = self.fetcher.get(part.id, part.size, 0).await;
                    fetched.map_err(|_| ApiError::NobodyServes {
                        sequence: head.sequence(),
                        providers: self.fetcher.seen.providers(),
                    })?
                }
            };
            sealed.push(bytes);
        }
        let manifest = Manifest::open_for(&inner, &sealed).map_err(|error| refused(error.to_string()))?;
        self.timings.manifest_ms = Some(platform::monotonic_ms().saturating_sub(self.since));
        Ok((inner, manifest))
    }
}

/// Stores what is known of the site now. A failure costs the record, not the page. Of a site that `is_open` already, reads
/// are written down as they come: a newer version is none.
async fn save(
    sites: &Sites,
    address: Address,
    fetcher: &Fetcher,
    version: &Version,
    conflict: Option<Vec<u8>>,
    is_open: bool,
) -> SiteRecord {
    // Chunks first, the record last. Its failure was told when it happened.
    let _ = fetcher.flush().await;
    let _writing = sites.write_records().await;
    let store = sites.store().as_ref();
    // Read again: it may have changed while the network was asked.
    let stored = store.site(address.blinded()).await.unwrap_or_default();
    let Version { head, inner, manifest, confirmed } = version;
    let now = platform::unix_ms();
    let old = stored.as_ref();
    let mut record = SiteRecord {
        address,
        head: head.as_bytes().to_vec(),
        conflict: conflict.or_else(|| old.and_then(|record| record.conflict.clone())),
        chunks: inner.manifest.iter().chain(&manifest.chunks).map(|chunk| chunk.id).collect(),
        total_bytes: inner.total_size,
        title: manifest.title.clone(),
        confirmed_ms: if *confirmed { now } else { old.map_or(0, |record| record.confirmed_ms) },
        used_ms: old.filter(|_| is_open).map_or(now, |record| record.used_ms),
        pinned: old.is_some_and(|record| record.pinned),
        own: old.is_some_and(|record| record.own),
        previous: None,
    };
    let stored_head = old.and_then(|record| Head::parse_for(&record.head, &address.blinded()).ok());
    let is_newer = |stored: &Head| compare(head, stored) == HeadDecision::Newer;
    let was_forgotten = old.is_none() && fetcher.seen.is_forgotten();
    if was_forgotten || stored_head.is_some_and(|stored| is_newer(&stored)) {
        return record;
    }
    if let Err(error) = replace(store, old, &mut record).await {
        sites.inner.means.problems.tell(error);
    }
    record
}

/// Writes the new record, then lets go of what only versions used that are not needed any more. A version that is held
/// whole stays until the new one is.
async fn replace(store: &dyn Store, old: Option<&SiteRecord>, new: &mut SiteRecord) -> Result<(), StoreError> {
    let Some(old) = old else { return store.put_site(new.clone()).await };
    let mut gone = Vec::new();
    if is_whole(store, new).await? {
        gone.extend(old.all_chunks().copied());
    } else if old.head == new.head {
        new.previous = old.previous.clone();
    } else if !old.chunks.is_empty() && is_whole(store, old).await? {
        new.previous = Some(Previous { head: old.head.clone(), chunks: old.chunks.clone() });
        gone.extend(old.previous.iter().flat_map(|previous| previous.chunks.iter().copied()));
    } else {
        new.previous = old.previous.clone();
        gone.extend(old.chunks.iter().copied());
    }
    store.put_site(new.clone()).await?;
    if old.own { Ok(()) } else { keep::delete_unused(store, gone).await }
}

async fn is_whole(store: &dyn Store, record: &SiteRecord) -> Result<bool, StoreError> {
    for chunk in &record.chunks {
        if !store.has_chunk(*chunk).await? {
            return Ok(false);
        }
    }
    Ok(true)
}
