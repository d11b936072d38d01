//! One site's fetching against made-up peers: real time, tasks and storage, no sockets.

use super::*;
use crate::{
    network::Request,
    store::{MemoryStore, SiteRecord, Usage},
};
use meganet_core::keys::SiteKey;
use std::sync::atomic::AtomicUsize;

/// A fetcher, and what it is connected to.
struct Bench {
    fetcher: Fetcher,
    exchange: Exchange,
    connected: Arc<Mutex<HashSet<PeerId>>>,
    /// What the next lookups find.
    announced: Arc<Mutex<Vec<PeerId>>>,
    lookups: Arc<AtomicUsize>,
}

fn bench(store: Arc<dyn Store>) -> Bench {
    let exchange = Exchange::for_tests();
    let (network, mut requests) = Network::for_tests();
    let announced: Arc<Mutex<Vec<PeerId>>> = Arc::default();
    let lookups: Arc<AtomicUsize> = Arc::default();
    let (found_next, count) = (announced.clone(), lookups.clone());
    platform::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Request::FindProviders { mut found, .. } = request {
                count.fetch_add(1, Ordering::Relaxed);
                let peers = lock(&found_next).clone();
                for peer in peers {
                    let _ = found.send(peer).await;
                }
            }
        }
    });
    let connected: Arc<Mutex<HashSet<PeerId>>> = Arc::default();
    let means = Means {
        local: PeerId::random(),
        network,
        exchange: exchange.clone(),
        store,
        connected: connected.clone(),
        problems: Problems::new().0,
        received_much: Signal::new().0,
    };
    let fetcher = Fetcher::start(SiteKey::from_seed([1; 32]).address().blinded(), means);
    Bench { fetcher, exchange, connected, announced, lookups }
}

impl Bench {
    /// A connected, announced peer that answers so.
    fn peer(&self, answer: impl Fn(PeerId, ChunkId) -> Option<Answer> + Send + 'static) -> PeerId {
        let peer = PeerId::random();
        self.exchange.answer_for(peer, move |chunk| answer(peer, chunk));
        lock(&self.connected).insert(peer);
        lock(&self.announced).push(peer);
        peer
    }
}

fn sealed(number: u32) -> (ChunkId, Bytes) {
    let bytes = Bytes::from(number.to_be_bytes().repeat(300));
    (ChunkId::of(&bytes), bytes)
}

fn honest(chunks: HashMap<ChunkId, Bytes>) -> impl Fn(PeerId, ChunkId) -> Option<Answer> {
    move |peer, chunk| {
        let sealed = chunks.get(&chunk).cloned();
        Some(match sealed {
            Some(sealed) => Answer::Done { peer, chunk, sealed },
            None => Answer::Failed { peer, chunk, failure: Failure::NotFound },
        })
    }
}

#[tokio::test]
async fn case_29_peers_that_are_only_busy_or_only_silent_do_not_hang_a_reader() {
    let busy = |peer, chunk| Some(Answer::Failed { peer, chunk, failure: Failure::Busy });
    for answer in [busy as fn(PeerId, ChunkId) -> Option<Answer>, |_, _| None] {
        let bench = bench(Arc::new(MemoryStore::new(1 << 20)));
        bench.peer(answer);
        let (chunk, bytes) = sealed(1);
        let got = tokio::time::timeout(2 * limits::NO_PROGRESS_AFTER, bench.fetcher.get(chunk, bytes.len() as u32, 0));
        assert_eq!(got.await.expect("an end"), Err(FetchError::NobodyServes));
        assert!(bench.lookups.load(Ordering::Relaxed) > 1, "other providers were looked for meanwhile");
        // And it goes on once somebody serves.
        bench.peer(honest(HashMap::from([(chunk, bytes.clone())])));
        assert_eq!(bench.fetcher.get(chunk, bytes.len() as u32, 0).await, Ok(bytes));
    }
}

#[tokio::test]
async fn case_40_names_that_nobody_answers_to_do_not_keep_a_provider_out() {
    let bench = bench(Arc::new(MemoryStore::new(1 << 20)));
    lock(&bench.announced).extend((0..limits::PROVIDERS_PER_SITE_MAX).map(|_| PeerId::random()));
    let (chunk, bytes) = sealed(1);
    assert_eq!(bench.fetcher.get(chunk, bytes.len() as u32, 0).await, Err(FetchError::NobodyServes));
    assert_eq!(bench.fetcher.seen.providers() as usize, limits::PROVIDERS_PER_SITE_MAX);
    lock(&bench.announced).clear();
    bench.peer(honest(HashMap::from([(chunk, bytes.clone())])));
    assert_eq!(bench.fetcher.get(chunk, bytes.len() as u32, 0).await, Ok(bytes));
    assert_eq!(bench.fetcher.seen.providers(), 1, "and who is not announced any more is not counted");
}

#[tokio::test]
async fn a_chunk_nobody_has_does_not_wait_for_those_that_come() {
    let bench = bench(Arc::new(MemoryStore::new(1 << 20)));
    let chunks: HashMap<_, _> = (0..200).map(sealed).collect();
    bench.peer(honest(chunks.clone()));
    let (missing, _) = sealed(1_000);
    let stop = AtomicBool::new(false);
    let coming = async {
        for (chunk, bytes) in chunks.iter().cycle() {
            bench.fetcher.get(*chunk, bytes.len() as u32, 9).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    let waiting = async {
        let got = tokio::time::timeout(2 * limits::STARVED_AFTER, bench.fetcher.get(missing, 1_000, 0)).await;
        assert_eq!(got.expect("an end"), Err(FetchError::NobodyServes));
        stop.store(true, Ordering::Relaxed);
    };
    futures::join!(coming, waiting);
}

/// Takes chunks and never finishes storing one.
struct StuckStore {
    under_way: AtomicUsize,
}

impl Store for StuckStore {
    fn put_chunk(&self, _: ChunkId, _: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        platform::boxed(std::future::pending())
    }

    fn chunk(&self, _: ChunkId) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        platform::boxed(async { Ok(None) })
    }

    fn has_chunk(&self, _: ChunkId) -> BoxFuture<'_, Result<bool, StoreError>> {
        platform::boxed(async { Ok(false) })
    }

    fn delete_chunk(&self, _: ChunkId) -> BoxFuture<'_, Result<(), StoreError>> {
        platform::boxed(async { Ok(()) })
    }

    fn site(&self, _: BlindedKey) -> BoxFuture<'_, Result<Option<SiteRecord>, StoreError>> {
        platform::boxed(async { Ok(None) })
    }

    fn put_site(&self, _: SiteRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        platform::boxed(async { Ok(()) })
    }

    fn delete_site(&self, _: BlindedKey) -> BoxFuture<'_, Result<(), StoreError>> {
        platform::boxed(async { Ok(()) })
    }

    fn sites(&self) -> BoxFuture<'_, Result<Vec<SiteRecord>, StoreError>> {
        platform::boxed(async { Ok(Vec::new()) })
    }

    fn value(&self, _: &'static str) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        platform::boxed(async { Ok(None) })
    }

    fn put_value(&self, _: &'static str, _: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        platform::boxed(async { Ok(()) })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        platform::boxed(async { Ok(Usage::default()) })
    }

    fn memory_only(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_store_slower_than_the_network_bounds_what_is_asked_for() {
    let store = Arc::new(StuckStore { under_way: AtomicUsize::new(0) });
    let bench = bench(store.clone());
    let chunks: HashMap<_, _> = (0..1_000).map(sealed).collect();
    bench.peer(honest(chunks.clone()));
    let gets: FuturesUnordered<_> =
        chunks.iter().map(|(chunk, bytes)| bench.fetcher.get(*chunk, bytes.len() as u32, 0)).collect();
    let delivered = gets.filter(|got| std::future::ready(got.is_ok())).count().await;
    let in_flight = Config::default().total;
    assert!(delivered >= limits::PUTS_WAITING_MAX && delivered <= limits::PUTS_WAITING_MAX + in_flight, "{delivered}");
    assert_eq!(store.under_way.load(Ordering::Relaxed), delivered);
}
