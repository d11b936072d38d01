//! The signed list of peers that a tab makes its first contact with: this server and a few others.

use axum::body::Bytes;
use futures::future::BoxFuture;
use meganet_core::{
    limits::{PEER_LIST_ADDRESS_MAX_BYTES, PEER_LIST_MAX_ADDRESSES},
    peer_list::{self, PeerEntry, PeerList, PeerListError},
};
use meganet_node::platform;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Other peers in one list: enough for a second contact, too few to map the network by asking.
pub const OTHERS_MAX: usize = 8;
/// A list is signed at most this often, whatever is asked.
const REFRESH: Duration = Duration::from_secs(10);
/// The longest that a registration may live (threats.md, budgets).
const TTL_MS: u64 = 2 * 3_600 * 1_000;

/// Who is in the list.
pub trait PeerSource: Send + Sync {
    /// This server's own entry.
    fn own(&self) -> BoxFuture<'_, PeerEntry>;
    /// Connected peers with addresses that were seen to be theirs.
    fn others(&self) -> BoxFuture<'_, Vec<PeerEntry>>;
}

/// The current list, signed again when it is older than ten seconds.
pub struct ListCache {
    source: Box<dyn PeerSource>,
    seed: [u8; 32],
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl ListCache {
    /// `seed` is that of the server's identity: its key stays the same as long as its peer id.
    pub fn new(source: impl PeerSource + 'static, seed: [u8; 32]) -> Self {
        Self { source: Box::new(source), seed, last: Mutex::new(None) }
    }

    /// The encoded and signed list.
    ///
    /// # Errors
    /// When the list breaks a rule of the format.
    pub async fn current(&self) -> Result<Bytes, PeerListError> {
        let mut last = self.last.lock().await;
        if let Some((made, bytes)) = last.as_ref()
            && made.elapsed() < REFRESH
        {
            return Ok(bytes.clone());
        }
        let own = bounded(self.source.own().await);
        let mut others: Vec<_> = self.source.others().await.into_iter().map(bounded).collect();
        others.retain(|entry| !entry.addresses.is_empty() && entry.peer_id != own.peer_id);
        sample(&mut others);
        let issued_ms = platform::unix_ms();
        let peers = [vec![own], others].concat();
        let list = PeerList { issued_ms, expires_ms: issued_ms.saturating_add(TTL_MS), peers };
        let bytes = Bytes::from(peer_list::sign(&self.seed, &list)?);
        *last = Some((Instant::now(), bytes.clone()));
        Ok(bytes)
    }
}

fn bounded(mut entry: PeerEntry) -> PeerEntry {
    entry.addresses.retain(|address| address.len() <= PEER_LIST_ADDRESS_MAX_BYTES);
    entry.addresses.truncate(PEER_LIST_MAX_ADDRESSES);
    entry
}

/// Keeps a random few, so that no peer can choose to be in every list.
fn sample(entries: &mut Vec<PeerEntry>) {
    // Without randomness the list is this server alone: a list that can be steered would be worse.
    let random = platform::random_bytes::<{ OTHERS_MAX * 4 }>().unwrap_or_else(|_| {
        entries.clear();
        [0; OTHERS_MAX * 4]
    });
    for (place, bytes) in random.chunks_exact(4).enumerate() {
        let left = entries.len().saturating_sub(place);
        if left == 0 {
            break;
        }
        let number = bytes.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        entries.swap(place, place + number % left);
    }
    entries.truncate(OTHERS_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    struct Fixed {
        others: Vec<PeerEntry>,
    }

    fn entry(number: u8) -> PeerEntry {
        PeerEntry { peer_id: vec![0, 1, number], addresses: vec![format!("/ip4/127.0.0.1/udp/{number}/quic-v1")] }
    }

    impl PeerSource for Fixed {
        fn own(&self) -> BoxFuture<'_, PeerEntry> {
            Box::pin(async { entry(0) })
        }
        fn others(&self) -> BoxFuture<'_, Vec<PeerEntry>> {
            Box::pin(async { self.others.clone() })
        }
    }

    async fn listed(others: Vec<PeerEntry>) -> PeerList {
        let bytes = ListCache::new(Fixed { others }, [3; 32]).current().await.unwrap();
        peer_list::parse(&bytes, platform::unix_ms()).unwrap().0
    }

    #[tokio::test]
    async fn the_list_begins_with_the_server_and_lives_two_hours_at_most() {
        let list = listed(vec![]).await;
        assert_eq!(list.peers, [entry(0)]);
        assert!(list.expires_ms - list.issued_ms <= 2 * 3_600_000);
    }

    #[tokio::test]
    async fn others_are_a_random_few() {
        let many: Vec<_> = (1..=60).map(entry).collect();
        let mut seen = HashSet::new();
        for _ in 0..50 {
            let list = listed(many.clone()).await;
            assert_eq!(list.peers.len(), 1 + OTHERS_MAX);
            assert_eq!(list.peers[0], entry(0));
            let unique: HashSet<_> = list.peers.iter().map(|peer| peer.peer_id.clone()).collect();
            assert_eq!(unique.len(), list.peers.len());
            seen.extend(unique);
        }
        assert!(seen.len() > 40, "50 samples of 8 named only {} of 60 peers", seen.len());
    }

    #[tokio::test]
    async fn entries_beyond_the_formats_bounds_do_not_spoil_the_list() {
        let mut long = entry(1);
        long.addresses = vec![format!("/{}", "x".repeat(300))];
        let mut many = entry(2);
        many.addresses = vec!["/ip4/127.0.0.1/tcp/1".into(); 20];
        let mut list = listed(vec![long, many, entry(0)]).await;
        assert_eq!(list.peers.len(), 2, "no address left, or the server itself again: not listed");
        assert_eq!(list.peers.pop().unwrap().addresses.len(), PEER_LIST_MAX_ADDRESSES);
    }

    #[tokio::test]
    async fn asking_often_signs_once() {
        let cache = ListCache::new(Fixed { others: vec![entry(1)] }, [3; 32]);
        let first = cache.current().await.unwrap();
        assert_eq!(first, cache.current().await.unwrap());
    }
}
