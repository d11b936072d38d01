//! Opening a site: the highest valid head of the stored one and those the network returns, then its manifest.

use super::{Site, Sites, keep, site::Version};
use crate::{
    api::{ApiError, Stage, Timings},
    fetch::Fetcher,
    network::HeadsFound,
    platform,
    store::{SiteRecord, StoreError},
};
use futures::{FutureExt, future::Either, pin_mut};
use meganet_core::{
    address::Address,
    head::{Head, HeadDecision, HeadInner, compare},
    keys::ReadKey,
    manifest::Manifest,
};
use std::{sync::atomic::Ordering, time::Duration};

/// A stored site is shown after this even if the network has not confirmed its head yet.
const CONFIRM_MAX: Duration = Duration::from_millis(1_500);
/// A lookup ends by its own time-out before this; an event loop that is held up gets a little longer.
const ANSWER_MAX: Duration = Duration::from_secs(7);
/// A node that is still joining waits this long before it says that it is offline.
const JOIN_WAIT: Duration = Duration::from_secs(2);
const JOIN_POLL: Duration = Duration::from_millis(20);

/// What the network said, in time.
struct Answer {
    found: HeadsFound,
    in_time: bool,
}

pub(super) async fn open(
    sites: &Sites,
    address: Address,
    current: Option<&Site>,
    fetcher: Fetcher,
) -> Result<Site, ApiError> {
    let since = platform::monotonic_ms();
    let blinded = address.blinded();
    let read = ReadKey::public(&address);
    let stored = sites.inner.means.store.site(blinded).await?;
    let held = stored.as_ref().and_then(|record| Head::parse_for(&record.head, &blinded).ok());

    sites.progress(address, Stage::FindingHead { asked: 0 }, since);
    let answer = ask_network(sites, address, held.is_some()).await;
    let head_ms = platform::monotonic_ms().saturating_sub(since);

    let mut conflict = stored.as_ref().and_then(|record| record.conflict.clone());
    let mut best = held.clone();
    let mut confirmed = false;
    for (head, from) in &answer.found.heads {
        match best.as_ref().map(|best| compare(best, head)) {
            None | Some(HeadDecision::Newer) => {
                best = Some(head.clone());
                confirmed = from.is_some();
            }
            Some(HeadDecision::Same) => confirmed |= from.is_some(),
            // Two heads with one sequence: the first stays, both are the proof.
            Some(HeadDecision::Conflict) => conflict = Some(head.as_bytes().to_vec()),
            Some(HeadDecision::Older) => {}
        }
    }
    let Some(head) = best else {
        return Err(if answer.in_time { ApiError::NotFound { asked: answer.found.asked } } else { ApiError::Offline });
    };
    if let (Some(site), Some(held)) = (current, &held)
        && site.head == head
        && *held == head
        && conflict.is_some() == site.conflicting
    {
        return Ok(site.again(confirmed, fetcher));
    }

    let mut timings = Timings { head_ms: Some(head_ms), ..Timings::default() };
    let from_network = open_version(sites, address, &read, &head, &fetcher, since, &mut timings).await;
    let (head, inner, manifest) = match (from_network, held) {
        (Ok((inner, manifest)), _) => (head, inner, manifest),
        // The newer version cannot be had: what is held is shown, and the newer head is not taken over.
        (Err(error), Some(held)) if held != head => {
            tracing::info!(%address, %error, "a newer version exists that nobody serves; showing the stored one");
            confirmed = false;
            let (inner, manifest) = open_version(sites, address, &read, &held, &fetcher, since, &mut timings).await?;
            (held, inner, manifest)
        }
        (Err(error), _) => return Err(error),
    };

    let version = Version { head, inner, manifest, confirmed };
    let record = save(sites, address, stored, &version, conflict).await;
    sites.progress(address, Stage::Ready, since);
    Ok(Site::new(version, record, fetcher, timings))
}

/// Asks the DHT, waiting for a node that is still joining, and not for long when there is something to show already.
async fn ask_network(sites: &Sites, address: Address, has_stored: bool) -> Answer {
    let joined = || sites.inner.joined.load(Ordering::Relaxed);
    let wait_until = platform::monotonic_ms() + if has_stored { 0 } else { JOIN_WAIT.as_millis() as u64 };
    while !joined() && platform::monotonic_ms() < wait_until {
        platform::sleep(JOIN_POLL).await;
    }
    if has_stored && !joined() {
        // Nobody to ask yet: what is stored is shown at once, and looked up again when the swarm is joined.
        return Answer { found: HeadsFound::default(), in_time: false };
    }
    let mut network = sites.inner.means.network.clone();
    let lookup = async move { network.find_head(address.blinded()).await.unwrap_or_default() }.fuse();
    let limit = if has_stored { CONFIRM_MAX } else { ANSWER_MAX };
    let timeout = platform::sleep(limit).fuse();
    pin_mut!(lookup, timeout);
    match futures::future::select(lookup, timeout).await {
        Either::Left((found, _)) => Answer { in_time: joined() || !found.heads.is_empty(), found },
        Either::Right(_) => Answer { found: HeadsFound::default(), in_time: joined() },
    }
}

/// Opens a head and gets its manifest, from the store or from peers.
async fn open_version(
    sites: &Sites,
    address: Address,
    read: &ReadKey,
    head: &Head,
    fetcher: &Fetcher,
    since: u64,
    timings: &mut Timings,
) -> Result<(HeadInner, Manifest), ApiError> {
    let refused = |reason: String| ApiError::Refused { reason };
    let inner = head.open(read).map_err(|error| refused(error.to_string()))?;
    inner.check_time(platform::unix_ms()).map_err(|error| refused(error.to_string()))?;

    let store = &sites.inner.means.store;
    let mut sealed = Vec::with_capacity(inner.manifest.len());
    for part in &inner.manifest {
        let bytes = match store.chunk(part.id).await? {
            Some(bytes) => bytes,
            None => {
                sites.progress(address, Stage::FetchingManifest, since);
                fetcher.get(part.id, part.size, 0).await.map_err(|_| ApiError::NobodyServes {
                    sequence: head.sequence(),
                    providers: fetcher.seen.providers(),
                })?
            }
        };
        sealed.push(bytes);
    }
    let manifest = Manifest::open_for(&inner, &sealed).map_err(|error| refused(error.to_string()))?;
    timings.manifest_ms = Some(platform::monotonic_ms().saturating_sub(since));
    Ok((inner, manifest))
}

/// Stores what is known of the site now. A failure costs the record, not the page.
async fn save(
    sites: &Sites,
    address: Address,
    stored: Option<SiteRecord>,
    version: &Version,
    conflict: Option<Vec<u8>>,
) -> SiteRecord {
    let Version { head, inner, manifest, confirmed } = version;
    let now = platform::unix_ms();
    let old = stored.as_ref();
    let record = SiteRecord {
        address,
        head: head.as_bytes().to_vec(),
        conflict,
        chunks: inner.manifest.iter().chain(&manifest.chunks).map(|chunk| chunk.id).collect(),
        total_bytes: inner.total_size,
        title: manifest.title.clone(),
        confirmed_ms: if *confirmed { now } else { old.map_or(0, |record| record.confirmed_ms) },
        used_ms: now,
        pinned: old.is_some_and(|record| record.pinned),
        own: old.is_some_and(|record| record.own),
    };
    if let Err(error) = replace(sites, old, &record).await {
        let _ = sites.inner.means.problem.clone().try_send(error);
    }
    record
}

/// Writes the new record, then lets go of what only the old version used.
async fn replace(sites: &Sites, old: Option<&SiteRecord>, new: &SiteRecord) -> Result<(), StoreError> {
    let store = sites.inner.means.store.as_ref();
    store.put_site(new.clone()).await?;
    match old {
        Some(old) if old.head != new.head && !old.own => {
            keep::delete_unused(store, old.chunks.clone(), &store.sites().await?).await
        }
        _ => Ok(()),
    }
}
