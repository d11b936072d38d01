//! Real nodes on loopback: joining, publishing, finding, reading, keeping, leaving. Liars are in e2e/.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test ends where it finds a fault"
)]

use futures::StreamExt;
use libp2p::{
    Swarm,
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{self, SwarmEvent, dummy},
};
use meganet_core::{
    head::{Head, HeadInner},
    keys::{ReadKey, SiteKey},
    publish::{Builder, Plan, SiteFile},
    remembered,
};
use meganet_node::{
    Multiaddr, Node, NodeHandle,
    api::{ApiError, Command, Content, Contribution, Event, Phase, Published, Reply, SiteInfo, Status},
    config::NodeConfig,
    store::{MemoryStore, Store},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);

fn quic() -> Multiaddr {
    "/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()
}

async fn bootstrap(seed: u8) -> (NodeHandle, Vec<Multiaddr>) {
    let mut config = NodeConfig::bootstrap([seed; 32]);
    config.listen = vec![quic()];
    let node = Node::start(config, Arc::new(MemoryStore::new(0))).await.unwrap();
    let addresses = node.listen_addresses().await;
    (node, addresses)
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(256 << 20))
}

async fn native(seed: u8, bootstrap: &[Multiaddr]) -> NodeHandle {
    native_on(memory(), true, seed, bootstrap).await
}

/// A native peer that keeps what it holds in `store`; with `contribute` it announces and serves that.
async fn native_on(store: Arc<dyn Store>, contribute: bool, seed: u8, bootstrap: &[Multiaddr]) -> NodeHandle {
    let mut config = NodeConfig::native([seed; 32]);
    config.listen = vec![quic()];
    config.bootstrap = bootstrap.to_vec();
    config.contribute = contribute;
    let node = Node::start(config, store).await.unwrap();
    if !bootstrap.is_empty() {
        joined(&node).await;
    }
    node
}

async fn fetch_all(node: &NodeHandle, key: &SiteKey) -> Result<(), ApiError> {
    node.call(Command::FetchAll { address: key.address(), allow_large: false }).await.map(drop)
}

/// Polls a condition of the node itself; the test fails if it does not come true.
async fn until<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..600 {
        if check().await {
            return;
        }
        tokio::time::sleep(SECOND / 20).await;
    }
    panic!("{what} did not happen");
}

async fn joined(node: &NodeHandle) {
    until("joining", || async {
        match node.call(Command::Status).await.unwrap() {
            Reply::Status(status) => status.phase == meganet_node::api::Phase::Joined,
            other => panic!("unexpected {other:?}"),
        }
    })
    .await;
}

/// A first contact that lets everybody in and turns them out again: where, and how often it has done so.
async fn turns_out() -> (Multiaddr, Arc<AtomicUsize>) {
    let identity = Keypair::generate_ed25519();
    let built = meganet_transport::build(&identity, meganet_transport::Options::default()).unwrap();
    let peer = identity.public().to_peer_id();
    let mut swarm = Swarm::new(built.transport, dummy::Behaviour, peer, swarm::Config::with_tokio_executor());
    swarm.listen_on(quic()).unwrap();
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address;
        }
    };
    let times = Arc::new(AtomicUsize::new(0));
    let counted = times.clone();
    tokio::spawn(async move {
        loop {
            if let SwarmEvent::ConnectionEstablished { connection_id, .. } = swarm.select_next_some().await {
                counted.fetch_add(1, Ordering::Relaxed);
                swarm.close_connection(connection_id);
            }
        }
    });
    (address.with(Protocol::P2p(peer)), times)
}

struct Built {
    head: Head,
    chunks: Vec<Vec<u8>>,
}

/// A site made of these files, sealed and signed.
fn build(key: &SiteKey, sequence: u64, files: &[(&str, Vec<u8>)]) -> Built {
    let address = key.address();
    let read = ReadKey::public(&address);
    let listed =
        files.iter().map(|(path, bytes)| SiteFile { path: (*path).into(), size: bytes.len() as u64 }).collect();
    let plan = Plan::new(listed, &[], "Test".into()).unwrap();
    let order: Vec<_> = plan.order().iter().map(|file| file.file_index).collect();
    let mut builder = Builder::new(plan, read.clone());
    let mut chunks = Vec::new();
    for index in order {
        chunks.extend(builder.feed(index, &files[index].1).unwrap().into_iter().map(|chunk| chunk.sealed));
    }
    let (manifest, rest) = builder.finish().unwrap();
    chunks.extend(rest.into_iter().map(|chunk| chunk.sealed));
    let (refs, sealed) = manifest.seal(&read).unwrap();
    chunks.extend(sealed);
    let inner = HeadInner {
        time_ms: 1_700_000_000_000,
        total_size: manifest.total_size(),
        manifest_size: manifest.encode().len() as u32,
        manifest: refs,
        previous: None,
    };
    Built { head: Head::sign(key, &read, sequence, &inner).unwrap(), chunks }
}

async fn publish(node: &NodeHandle, key: &SiteKey, built: &Built) -> Published {
    for sealed in &built.chunks {
        node.call(Command::StoreChunk { sealed: sealed.clone() }).await.unwrap();
    }
    let head = built.head.as_bytes().to_vec();
    match node.call(Command::Publish { address: key.address(), head }).await.unwrap() {
        Reply::Published(published) => published,
        other => panic!("unexpected {other:?}"),
    }
}

async fn open(node: &NodeHandle, key: &SiteKey) -> Result<SiteInfo, ApiError> {
    match node.call(Command::OpenSite { address: key.address() }).await? {
        Reply::Site(info) => Ok(info),
        other => panic!("unexpected {other:?}"),
    }
}

async fn read(node: &NodeHandle, key: &SiteKey, path: &str, offset: u64) -> Result<Content, ApiError> {
    let command =
        Command::Read { address: key.address(), path: path.into(), offset, max_bytes: 1 << 20, sequence: None };
    match node.call(command).await? {
        Reply::Content(content) => Ok(content),
        other => panic!("unexpected {other:?}"),
    }
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let large = (0..900_000u32).flat_map(|n| n.to_le_bytes()).collect();
    vec![("index.html", b"<h1>hello</h1>".to_vec()), ("large.bin", large), ("docs/index.html", b"docs".to_vec())]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_site_is_found_by_address_and_read_whole() {
    let (_bootstrap, contacts) = bootstrap(1).await;
    let (author, reader) = (native(2, &contacts).await, native(3, &contacts).await);
    let key = SiteKey::from_seed([7; 32]);
    let published = publish(&author, &key, &build(&key, 1, &files())).await;
    assert_eq!(published.stored_on, 2, "the bootstrap and the reader took the head");

    let info = open(&reader, &key).await.unwrap();
    assert_eq!((info.sequence, info.files), (1, Some(3)));
    assert_eq!(read(&reader, &key, "", 0).await.unwrap().bytes, files()[0].1);
    assert_eq!(read(&reader, &key, "docs/", 0).await.unwrap().path, "docs/index.html");
    let large = &files()[1].1;
    let mut got = Vec::new();
    while got.len() < large.len() {
        let piece = read(&reader, &key, "large.bin", got.len() as u64).await.unwrap();
        assert!(!piece.bytes.is_empty());
        got.extend(piece.bytes);
    }
    assert_eq!(&got, large);
    let middle = read(&reader, &key, "large.bin", 1_234_567).await.unwrap();
    assert_eq!(middle.bytes, large[1_234_567..1_234_567 + (1 << 20)]);
    assert!(matches!(read(&reader, &key, "nope", 0).await, Err(ApiError::NoSuchPath { .. })));

    let info = open(&reader, &key).await.unwrap();
    assert_eq!(info.sources.len(), 1, "everything came from the author");
    assert_eq!(info.sources[0].peer_id, author.peer_id().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_reader_is_served_by_the_first_when_the_author_is_gone() {
    let (_bootstrap, contacts) = bootstrap(11).await;
    let (author, first) = (native(12, &contacts).await, native(13, &contacts).await);
    let key = SiteKey::from_seed([17; 32]);
    publish(&author, &key, &build(&key, 1, &files())).await;
    open(&first, &key).await.unwrap();
    first.call(Command::FetchAll { address: key.address(), allow_large: false }).await.unwrap();
    author.call(Command::Shutdown).await.unwrap();
    assert_eq!(author.call(Command::Status).await.unwrap_err(), ApiError::Stopped);

    let second = native(14, &contacts).await;
    open(&second, &key).await.unwrap();
    second.call(Command::FetchAll { address: key.address(), allow_large: false }).await.unwrap();
    let info = open(&second, &key).await.unwrap();
    assert_eq!(info.held_chunks, info.chunks);
    assert_eq!(info.sources[0].peer_id, first.peer_id().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_address_is_not_found_and_an_unserved_one_is_told_apart() {
    let (_bootstrap, contacts) = bootstrap(21).await;
    let (author, reader) = (native(22, &contacts).await, native(23, &contacts).await);
    let unknown = SiteKey::from_seed([27; 32]);
    assert!(matches!(open(&reader, &unknown).await, Err(ApiError::NotFound { asked }) if asked >= 1));

    let key = SiteKey::from_seed([28; 32]);
    publish(&author, &key, &build(&key, 4, &files())).await;
    author.call(Command::Shutdown).await.unwrap();
    assert!(matches!(open(&reader, &key).await, Err(ApiError::NobodyServes { sequence: 4, .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn case_3_a_reader_follows_newer_heads_and_never_goes_back() {
    let (_bootstrap, contacts) = bootstrap(31).await;
    let (author, reader) = (native(32, &contacts).await, native(33, &contacts).await);
    let key = SiteKey::from_seed([37; 32]);
    let (old, new) = (build(&key, 1, &files()), build(&key, 2, &[("index.html", b"second".to_vec())]));
    publish(&author, &key, &old).await;
    assert_eq!(open(&reader, &key).await.unwrap().sequence, 1);
    publish(&author, &key, &new).await;
    assert_eq!(open(&reader, &key).await.unwrap().sequence, 2);
    assert_eq!(read(&reader, &key, "", 0).await.unwrap().bytes, b"second");
    let head = old.head.as_bytes().to_vec();
    let refused = author.call(Command::Publish { address: key.address(), head }).await;
    assert!(matches!(refused, Err(ApiError::Refused { .. })), "an old head is not published again");
    assert_eq!(open(&reader, &key).await.unwrap().sequence, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_a_head_whose_chunks_are_missing_changes_nothing() {
    let (_bootstrap, contacts) = bootstrap(41).await;
    let author = native(42, &contacts).await;
    let key = SiteKey::from_seed([47; 32]);
    publish(&author, &key, &build(&key, 1, &files())).await;
    let next = build(&key, 2, &[("index.html", b"never stored".to_vec())]);
    let head = next.head.as_bytes().to_vec();
    let refused = author.call(Command::Publish { address: key.address(), head }).await;
    assert!(matches!(refused, Err(ApiError::Refused { .. })));
    assert_eq!(open(&author, &key).await.unwrap().sequence, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_contact_says_offline_and_still_opens_what_it_holds() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(256 << 20));
    let key = SiteKey::from_seed([57; 32]);
    let mut config = NodeConfig::native([52; 32]);
    config.bootstrap =
        vec!["/ip4/127.0.0.1/udp/9/quic-v1/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN".parse().unwrap()];
    let node = Node::start(config, store).await.unwrap();
    assert_eq!(open(&node, &key).await.unwrap_err(), ApiError::Offline);
    publish(&node, &key, &build(&key, 1, &files())).await;
    assert_eq!(open(&node, &key).await.unwrap().sequence, 1);
    assert_eq!(read(&node, &key, "", 0).await.unwrap().bytes, files()[0].1);
}

#[tokio::test(flavor = "multi_thread")]
async fn case_43_a_node_that_starts_again_without_a_bootstrap_joins_through_a_good_peer() {
    let (first, contacts) = bootstrap(131).await;
    let store = memory();
    let (author, reader) = (native(132, &contacts).await, native_on(store.clone(), true, 133, &contacts).await);
    let key = SiteKey::from_seed([137; 32]);
    publish(&author, &key, &build(&key, 1, &files())).await;
    open(&reader, &key).await.unwrap();
    fetch_all(&reader, &key).await.unwrap();
    until("remembering", || async { remembered(&*store).await.contains(&author.peer_id().to_bytes()) }).await;
    first.call(Command::Shutdown).await.unwrap();
    reader.call(Command::Shutdown).await.unwrap();

    let key = SiteKey::from_seed([138; 32]);
    publish(&author, &key, &build(&key, 1, &files())).await;
    for contacts in [&contacts[..], &[]] {
        let reader = native_on(store.clone(), true, 133, contacts).await;
        joined(&reader).await;
        open(&reader, &key).await.unwrap();
        fetch_all(&reader, &key).await.unwrap();
        reader.call(Command::Shutdown).await.unwrap();
    }
    // A damaged list is as good as none.
    store.put_value("remembered-peers", b"damaged".to_vec()).await.unwrap();
    let reader = native_on(store.clone(), true, 133, &[]).await;
    assert!(matches!(open(&reader, &SiteKey::from_seed([139; 32])).await, Err(ApiError::Offline)));
}

/// The ids of the peers that a node has written down.
async fn remembered(store: &dyn Store) -> Vec<Vec<u8>> {
    let stored = store.value("remembered-peers").await.unwrap().unwrap_or_default();
    remembered::parse(&stored).unwrap_or_default().into_iter().map(|one| one.peer.peer_id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn case_3_a_network_that_knows_only_an_older_head_takes_nobody_back() {
    let (_first, contacts) = bootstrap(61).await;
    let key = SiteKey::from_seed([67; 32]);
    let (old, new) = (build(&key, 1, &files()), build(&key, 2, &[("index.html", b"second".to_vec())]));
    let store = memory();
    let (author, reader) = (native(62, &contacts).await, native_on(store.clone(), true, 63, &contacts).await);
    publish(&author, &key, &new).await;
    assert_eq!(open(&reader, &key).await.unwrap().sequence, 2);
    fetch_all(&reader, &key).await.unwrap();
    reader.call(Command::Shutdown).await.unwrap();

    let (_second, contacts) = bootstrap(64).await;
    let replayer = native(65, &contacts).await;
    publish(&replayer, &key, &old).await;
    let newcomer = native(66, &contacts).await;
    assert_eq!(open(&newcomer, &key).await.unwrap().sequence, 1, "this network knows the old head");
    let reader = native_on(store, true, 63, &contacts).await;
    let info = open(&reader, &key).await.unwrap();
    assert_eq!((info.sequence, info.confirmed), (2, false));
    assert_eq!(read(&reader, &key, "", 0).await.unwrap().bytes, b"second");
    until("the newer head reaching the others", || async { open(&newcomer, &key).await.unwrap().sequence == 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn case_4_two_heads_with_one_sequence_are_told_and_the_first_stays() {
    let (_bootstrap, contacts) = bootstrap(71).await;
    let key = SiteKey::from_seed([77; 32]);
    let (one, other) = (build(&key, 3, &files()), build(&key, 3, &[("index.html", b"another".to_vec())]));
    let store = memory();
    let offline = native_on(store.clone(), true, 72, &[]).await;
    publish(&offline, &key, &one).await;
    offline.call(Command::Shutdown).await.unwrap();
    let author = native(73, &contacts).await;
    publish(&author, &key, &other).await;

    let reader = native_on(store, true, 72, &contacts).await;
    let info = open(&reader, &key).await.unwrap();
    assert!(info.conflicting);
    assert_eq!(read(&reader, &key, "", 0).await.unwrap().bytes, files()[0].1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_contribute_announces_and_serves_nothing_until_asked_to() {
    let (_bootstrap, contacts) = bootstrap(81).await;
    let (author, silent) = (native(82, &contacts).await, native_on(memory(), false, 83, &contacts).await);
    let key = SiteKey::from_seed([87; 32]);
    publish(&author, &key, &build(&key, 1, &files())).await;
    open(&silent, &key).await.unwrap();
    fetch_all(&silent, &key).await.unwrap();
    author.call(Command::Shutdown).await.unwrap();
    let reader = native(84, &contacts).await;
    let providers = async || match reader.call(Command::Providers { address: key.address() }).await.unwrap() {
        Reply::Providers(providers) => providers,
        other => panic!("unexpected {other:?}"),
    };
    assert!(!providers().await.contains(&silent.peer_id().to_string()));
    // Even who knows it gets nothing from it.
    reader.call(Command::Connect { multiaddr: silent.listen_addresses().await[0].to_string() }).await.unwrap();
    assert!(matches!(open(&reader, &key).await, Err(ApiError::NobodyServes { .. })));

    silent.call(Command::SetContribution { contribution: Contribution::On }).await.unwrap();
    until("the announcement", || async { providers().await.contains(&silent.peer_id().to_string()) }).await;
    open(&reader, &key).await.unwrap();
    fetch_all(&reader, &key).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_version_stays_readable_until_the_next_is_whole() {
    let (_bootstrap, contacts) = bootstrap(91).await;
    let store = memory();
    let (author, reader) = (native(92, &contacts).await, native_on(store.clone(), true, 93, &contacts).await);
    let key = SiteKey::from_seed([97; 32]);
    publish(&author, &key, &build(&key, 1, &files())).await;
    open(&reader, &key).await.unwrap();
    fetch_all(&reader, &key).await.unwrap();
    let larger = vec![
        ("index.html", b"second".to_vec()),
        ("large.bin", (9..700_000u32).flat_map(|n| n.to_le_bytes()).collect()),
    ];
    publish(&author, &key, &build(&key, 2, &larger)).await;
    assert_eq!(open(&reader, &key).await.unwrap().sequence, 2);
    author.call(Command::Shutdown).await.unwrap();
    reader.call(Command::Shutdown).await.unwrap();

    // Of version 2 only the beginning is here, and nobody is there: version 1 is shown, whole.
    let alone = native_on(store.clone(), true, 93, &[]).await;
    assert_eq!(open(&alone, &key).await.unwrap().sequence, 1);
    assert_eq!(read(&alone, &key, "large.bin", 0).await.unwrap().bytes, files()[1].1[..1 << 20]);
    let at_two = Command::Read {
        address: key.address(),
        path: "large.bin".into(),
        offset: 1 << 20,
        max_bytes: 1,
        sequence: Some(2),
    };
    assert_eq!(alone.call(at_two).await.unwrap_err(), ApiError::VersionChanged { sequence: 1 });
    alone.call(Command::Shutdown).await.unwrap();

    let (_bootstrap, contacts) = bootstrap(94).await;
    let author = native(95, &contacts).await;
    publish(&author, &key, &build(&key, 2, &larger)).await;
    let reader = native_on(store.clone(), true, 93, &contacts).await;
    assert_eq!(open(&reader, &key).await.unwrap().sequence, 2);
    fetch_all(&reader, &key).await.unwrap();
    let record = store.site(key.address().blinded()).await.unwrap().unwrap();
    assert_eq!(record.previous, None, "the new version is whole");
    assert_eq!(store.usage().await.unwrap().chunks, record.chunks.len() as u64, "and the old one's chunks are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_is_not_undone_by_readers_of_the_version_before() {
    let (_bootstrap, contacts) = bootstrap(101).await;
    let (store, key) = (memory(), SiteKey::from_seed([107; 32]));
    let author = native_on(store.clone(), true, 102, &contacts).await;
    publish(&author, &key, &build(&key, 1, &files())).await;
    let reading = tokio::spawn({
        let (author, key) = (author.clone(), key.clone());
        async move {
            loop {
                let _ = open(&author, &key).await;
                let _ = author.call(Command::Pin { address: key.address(), pinned: true }).await;
                // Neither waits for anything while the node is offline: this task would keep its thread for itself.
                tokio::task::yield_now().await;
            }
        }
    });
    for sequence in 2..20 {
        let text = format!("version {sequence}").into_bytes();
        publish(&author, &key, &build(&key, sequence, &[("index.html", text)])).await;
        let record = store.site(key.address().blinded()).await.unwrap().unwrap();
        assert_eq!(Head::parse(&record.head).unwrap().sequence(), sequence);
    }
    reading.abort();
    let record = store.site(key.address().blinded()).await.unwrap().unwrap();
    assert_eq!(Head::parse(&record.head).unwrap().sequence(), 19);
    assert!(record.pinned && record.own);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_while_it_is_fetched_does_not_come_back() {
    let (_bootstrap, contacts) = bootstrap(111).await;
    let store = memory();
    let (author, reader) = (native(112, &contacts).await, native_on(store.clone(), true, 113, &contacts).await);
    let key = SiteKey::from_seed([117; 32]);
    let large = (0..5_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
    publish(&author, &key, &build(&key, 1, &[("index.html", b"x".to_vec()), ("large.bin", large)])).await;
    open(&reader, &key).await.unwrap();
    let fetching = tokio::spawn({
        let (reader, key) = (reader.clone(), key.clone());
        async move { fetch_all(&reader, &key).await }
    });
    until("some chunks", || async { store.usage().await.unwrap().chunks > 3 }).await;
    reader.call(Command::Forget { address: key.address() }).await.unwrap();
    let _ = fetching.await.unwrap();
    assert_eq!(store.site(key.address().blinded()).await.unwrap(), None);
    let usage = store.usage().await.unwrap();
    assert!(usage.chunks < 20, "{usage:?}: what was being stored at that moment may be left, nothing after it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_let_in_and_turned_out_asks_less_and_less_often() {
    /// Five times by itself, while the wait doubles from 1 s until it is 4 s or more with its jitter, and a few times by the lookups
    /// that each joining begins, until they leave such a peer alone.
    const TIMES_MAX: usize = 12;
    const WAIT_MS: u64 = 4_000;
    let (contact, times) = turns_out().await;
    // What it holds makes it look for others, and announce it, each time that it has joined.
    let node = native_on(memory(), true, 125, &[]).await;
    let key = SiteKey::from_seed([126; 32]);
    publish(&node, &key, &build(&key, 1, &files())).await;
    let mut events = node.events();
    node.add_bootstrap(vec![contact]).await;
    let mut wait_ms = 0;
    while wait_ms < WAIT_MS {
        let event = tokio::time::timeout(60 * SECOND, events.next()).await.expect("it is offline").unwrap();
        if let Event::Status(Status { phase: Phase::Offline { retry_in_ms, .. }, .. }) = event {
            wait_ms = retry_in_ms;
        }
        let times = times.load(Ordering::Relaxed);
        assert!(times <= TIMES_MAX, "turned out {times} times, and it waits {wait_ms} ms");
    }
    assert!(times.load(Ordering::Relaxed) > 2, "it was hardly ever there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_restarted_elsewhere_is_found_again_by_those_who_knew_it() {
    let (_bootstrap, contacts) = bootstrap(121).await;
    let store = memory();
    let author = native_on(store.clone(), true, 122, &contacts).await;
    // It listens nowhere: the author cannot come to it.
    let mut config = NodeConfig::native([123; 32]);
    config.bootstrap = contacts.clone();
    config.contribute = false;
    let reader = Node::start(config, memory()).await.unwrap();
    joined(&reader).await;
    let key = SiteKey::from_seed([124; 32]);
    publish(&author, &key, &build(&key, 1, &files())).await;
    let (peer, before) = (author.peer_id(), author.listen_addresses().await);
    reader.call(Command::Connect { multiaddr: before[0].to_string() }).await.unwrap();
    author.call(Command::Shutdown).await.unwrap();
    drop(author);
    // At one address that it had, somebody listens who never says a word: one dial there follows another.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let multiaddr = format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", silent.local_addr().unwrap().port());
    let dialling = tokio::spawn({
        let reader = reader.clone();
        async move {
            loop {
                let _ = reader.call(Command::Connect { multiaddr: multiaddr.clone() }).await;
                tokio::time::sleep(SECOND / 100).await;
            }
        }
    });
    let (_held, _) = tokio::time::timeout(15 * SECOND, silent.accept()).await.expect("a dial").unwrap();
    let author = native_on(store, true, 122, &contacts).await;
    assert_ne!(author.listen_addresses().await, before, "it has another port now");
    let found = until("the site of the restarted peer", || async { open(&reader, &key).await.is_ok() });
    tokio::time::timeout(30 * SECOND, found).await.expect("the site of the restarted peer");
    fetch_all(&reader, &key).await.unwrap();
    dialling.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_is_noticed_without_being_asked_for() {
    let (_bootstrap, contacts) = bootstrap(131).await;
    let (author, reader) = (native(132, &contacts).await, native(133, &contacts).await);
    let key = SiteKey::from_seed([137; 32]);
    publish(&author, &key, &build(&key, 1, &files())).await;
    open(&reader, &key).await.unwrap();
    let mut events = reader.events();
    publish(&author, &key, &build(&key, 2, &[("index.html", b"second".to_vec())])).await;
    let noticed = async {
        while let Some(event) = events.next().await {
            if let Event::SiteUpdated { sequence, .. } = event {
                return Some(sequence);
            }
        }
        None
    };
    let noticed = tokio::time::timeout(60 * SECOND, noticed).await.expect("the event");
    assert_eq!(noticed, Some(2));
    assert_eq!(read(&reader, &key, "", 0).await.unwrap().bytes, b"second");
}
