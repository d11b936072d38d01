//! Open sites that are looked up again, against a made-up network: what that may bring back, count as and announce.

use super::*;
use crate::{exchange::Exchange, network::Network, network::Request, signal::Problems, store::MemoryStore};
use libp2p::PeerId;
use meganet_core::{
    head::{Head, HeadInner},
    keys::{ReadKey, SiteKey},
    publish::{Builder, Plan, SiteFile},
};

/// Long enough for tasks that wait for nothing.
const SETTLED: Duration = Duration::from_millis(50);

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Provide(bool),
    Put { sequence: u64 },
}

struct Bench {
    sites: Sites,
    store: Arc<dyn Store>,
    /// The head that every lookup finds.
    newest: Arc<Mutex<Option<Head>>>,
    /// Whoever holds it keeps lookups from being answered.
    gate: Arc<AsyncMutex<()>>,
    asked: Arc<Mutex<Vec<Asked>>>,
    told: Arc<Mutex<Vec<Event>>>,
}

fn bench() -> Bench {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(1 << 20));
    let (network, mut requests) = Network::for_tests();
    let newest: Arc<Mutex<Option<Head>>> = Arc::default();
    let (gate, asked, told) = (Arc::new(AsyncMutex::new(())), Arc::<Mutex<Vec<_>>>::default(), Arc::default());
    let (finds, open_gate, log) = (newest.clone(), gate.clone(), asked.clone());
    platform::spawn(async move {
        let peer = PeerId::random();
        while let Some(request) = requests.next().await {
            match request {
                Request::FindHead { mut answers, .. } => {
                    let heads = lock(&finds).iter().map(|head| (head.clone(), Some(peer))).collect();
                    let _open = open_gate.lock().await;
                    let _ = answers.try_send(HeadsFound { heads, asked: 3, complete: true });
                }
                Request::Provide { on, .. } => lock(&log).push(Asked::Provide(on)),
                Request::PutHead { head, reply } => {
                    lock(&log).push(Asked::Put { sequence: head.sequence() });
                    let _ = reply.send(3);
                }
                _ => {}
            }
        }
    });
    let (received_much, much_received) = Signal::new();
    let means = Means {
        local: PeerId::random(),
        network,
        exchange: Exchange::for_tests(),
        store: store.clone(),
        connected: Arc::default(),
        problems: Problems::new().0,
        received_much,
    };
    let tell = {
        let told: Arc<Mutex<Vec<Event>>> = Arc::clone(&told);
        Arc::new(move |event| lock(&told).push(event))
    };
    let on = || Arc::new(AtomicBool::new(true));
    let sites = Sites::new(means, tell, on(), on(), 1 << 20, much_received);
    Bench { sites, store, newest, gate, asked, told }
}

impl Bench {
    /// A new version of the site, which the network knows and whose chunks are here.
    async fn version(&self, key: &SiteKey, sequence: u64) {
        let address = key.address();
        let read = ReadKey::public(&address);
        let text = format!("version {sequence}").into_bytes();
        let file = SiteFile { path: "index.html".into(), size: text.len() as u64 };
        let mut builder = Builder::new(Plan::new(vec![file], &[], "Test".into()).unwrap(), read.clone());
        let mut chunks = builder.feed(0, &text).unwrap();
        let (manifest, rest) = builder.finish().unwrap();
        chunks.extend(rest);
        let (refs, sealed) = manifest.seal(&read).unwrap();
        for bytes in chunks.into_iter().map(|chunk| chunk.sealed).chain(sealed) {
            self.sites.store_chunk(bytes).await.unwrap();
        }
        let inner = HeadInner {
            time_ms: 1_700_000_000_000,
            total_size: manifest.total_size(),
            manifest_size: manifest.encode().len() as u32,
            manifest: refs,
            previous: None,
        };
        *lock(&self.newest) = Some(Head::sign(key, &read, sequence, &inner).unwrap());
    }

    /// Opens a site's first version as its reader does.
    async fn opened(&self, key: &SiteKey) -> Arc<Site> {
        self.version(key, 1).await;
        let site = self.sites.open(key.address(), true).await.unwrap();
        platform::sleep(SETTLED).await;
        site
    }

    /// What the network was asked since the last look, lookups excepted.
    async fn asked(&self) -> Vec<Asked> {
        platform::sleep(SETTLED).await;
        std::mem::take(&mut *lock(&self.asked))
    }

    async fn is_gone(&self, key: &SiteKey) -> bool {
        let blinded = key.address().blinded();
        self.store.site(blinded).await.unwrap().is_none() && !lock(&self.sites.inner.open).contains_key(&blinded)
    }

    fn updates(&self) -> usize {
        lock(&self.told).iter().filter(|event| matches!(event, Event::SiteUpdated { .. })).count()
    }
}

#[tokio::test]
async fn a_forgotten_site_is_not_opened_by_looking_at_it_again() {
    let (bench, key) = (bench(), SiteKey::from_seed([1; 32]));
    let site = bench.opened(&key).await;
    bench.sites.forget(key.address()).await.unwrap();
    bench.version(&key, 2).await;
    bench.asked().await;
    bench.sites.reopen(&site, Look::Network).await;
    assert!(bench.is_gone(&key).await);
    assert_eq!((bench.asked().await, bench.updates()), (vec![], 0));
}

#[tokio::test]
async fn a_site_forgotten_while_it_is_looked_up_is_neither_kept_nor_announced() {
    let (bench, key) = (bench(), SiteKey::from_seed([2; 32]));
    let site = bench.opened(&key).await;
    bench.version(&key, 2).await;
    bench.asked().await;
    let closed = bench.gate.lock().await;
    let reopening = {
        let sites = bench.sites.clone();
        tokio::spawn(async move { sites.reopen(&site, Look::Network).await })
    };
    platform::sleep(SETTLED).await;
    bench.sites.forget(key.address()).await.unwrap();
    drop(closed);
    reopening.await.unwrap();
    assert!(bench.is_gone(&key).await);
    assert_eq!((bench.asked().await, bench.updates()), (vec![Asked::Provide(false)], 0));
}

#[tokio::test]
async fn looking_again_is_no_use_of_a_site() {
    let (bench, key) = (bench(), SiteKey::from_seed([3; 32]));
    let site = bench.opened(&key).await;
    for seed in 1..limits::OPEN_SITES_MAX as u8 {
        bench.sites.slot(SiteKey::from_seed([100 + seed; 32]).address().blinded());
    }
    bench.sites.change_record(key.address(), |record| record.used_ms = 7).await.unwrap();
    bench.version(&key, 2).await;
    platform::sleep(SETTLED).await;
    bench.sites.reopen(&site, Look::Network).await;
    assert_eq!(bench.updates(), 1);
    let record = bench.store.site(key.address().blinded()).await.unwrap().unwrap();
    let sequence = Head::parse(&record.head).unwrap().sequence();
    assert_eq!((sequence, record.used_ms), (2, 7), "evicted by when it was read");
    bench.sites.slot(SiteKey::from_seed([100; 32]).address().blinded());
    assert!(bench.sites.opened(&key.address().blinded()).is_none(), "and closed by it");
}

#[tokio::test]
async fn only_a_version_that_is_new_here_is_announced() {
    let (bench, key) = (bench(), SiteKey::from_seed([4; 32]));
    let site = bench.opened(&key).await;
    assert_eq!(bench.asked().await, [Asked::Provide(true), Asked::Put { sequence: 1 }]);
    bench.sites.reopen(&site, Look::Network).await;
    bench.sites.open(key.address(), true).await.unwrap();
    assert_eq!(bench.asked().await, []);
    bench.version(&key, 2).await;
    bench.sites.reopen(&site, Look::Network).await;
    assert_eq!(bench.asked().await, [Asked::Provide(true), Asked::Put { sequence: 2 }]);
}
