//! Both sides of the socket with a stand-in for the node.

use super::{client::RemoteNode, server::Server, *};
use futures::{FutureExt, StreamExt, stream};
use meganet_core::keys::SiteKey;
use meganet_node::api::Published;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::{net::UnixStream, task::JoinHandle};

/// Answers `Connect` with a refusal that repeats its text, after as many milliseconds as the text has bytes from 'z'.
#[derive(Default)]
struct Echo {
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Backend for Echo {
    fn call(&self, command: Command) -> BoxFuture<'static, Result<Reply, ApiError>> {
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let running = Running(self.running.clone());
        async move {
            let _running = running;
            match command {
                Command::Connect { multiaddr } => {
                    tokio::time::sleep(Duration::from_millis(multiaddr.len() as u64 * 5)).await;
                    Err(ApiError::Refused { reason: multiaddr })
                }
                Command::StoreChunk { sealed } => {
                    Ok(Reply::Published(Published { sequence: sealed.len() as u64, stored_on: 0 }))
                }
                Command::Providers { .. } => Ok(Reply::Providers(vec!["x".repeat(FRAME_MAX_BYTES as usize)])),
                Command::Shutdown => std::future::pending().await,
                _ => Ok(Reply::Done),
            }
        }
        .boxed()
    }

    fn events(&self) -> BoxStream<'static, Event> {
        stream::iter((0..3).map(|n| Event::Problem { message: n.to_string() })).chain(stream::pending()).boxed()
    }
}

struct Rig {
    directory: tempfile::TempDir,
    task: JoinHandle<()>,
    backend: Arc<Echo>,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let backend = Arc::new(Echo::default());
        let server = Server::bind(&directory.path().join("socket")).unwrap();
        let task = tokio::spawn(server.run(backend.clone()));
        Rig { directory, task, backend }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    async fn client(&self) -> RemoteNode {
        RemoteNode::connect(&self.path()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn replies_find_their_calls_whatever_their_order() {
    let rig = Rig::new();
    let client = rig.client().await;
    let calls = (0..40).rev().map(|n| client.call(Command::Connect { multiaddr: "z".repeat(n) }));
    for (n, result) in (0..40).rev().zip(futures::future::join_all(calls).await) {
        assert_eq!(result.unwrap_err(), ApiError::Refused { reason: "z".repeat(n) });
    }
    assert!(rig.backend.most.load(Ordering::SeqCst) > 20, "calls run at the same time");
}

#[tokio::test]
async fn calls_in_flight_are_bounded() {
    let rig = Rig::new();
    let client = rig.client().await;
    let calls = (0..CALLS_MAX * 3).map(|_| client.call(Command::Connect { multiaddr: "zz".into() }));
    futures::future::join_all(calls).await;
    assert_eq!(rig.backend.most.load(Ordering::SeqCst), CALLS_MAX);
}

#[tokio::test]
async fn messages_at_the_limit() {
    let rig = Rig::new();
    let client = rig.client().await;
    let room = FRAME_MAX_BYTES as usize
        - frame(&ToServer::Call { id: 1, command: Command::StoreChunk { sealed: vec![] } }).unwrap().len();
    let reply = client.call(Command::StoreChunk { sealed: vec![7; room] }).await.unwrap();
    assert!(matches!(reply, Reply::Published(published) if published.sequence == room as u64));
    let over = client.call(Command::StoreChunk { sealed: vec![7; room + 10] }).await;
    assert!(matches!(over, Err(ApiError::Refused { .. })), "refused before it is sent");
    let long = client.call(Command::Providers { address: SiteKey::from_seed([1; 32]).address() }).await;
    assert!(matches!(long, Err(ApiError::Refused { .. })), "a reply too long for a frame is a refusal");
    assert!(matches!(client.call(Command::Status).await, Ok(Reply::Done)), "the connection lives on");
}

#[tokio::test]
async fn events_come_when_asked_for() {
    let rig = Rig::new();
    let client = rig.client().await;
    let mut events = client.events().await;
    for n in 0..3 {
        let Event::Problem { message } = events.recv().await.unwrap() else { panic!("another event") };
        assert_eq!(message, n.to_string());
    }
}

#[tokio::test]
async fn hanging_up_drops_what_was_asked_for() {
    let rig = Rig::new();
    let client = rig.client().await;
    assert!(tokio::time::timeout(Duration::from_millis(200), client.call(Command::Shutdown)).await.is_err());
    assert_eq!(rig.backend.running.load(Ordering::SeqCst), 1);
    drop(client);
    for _ in 0..100 {
        if rig.backend.running.load(Ordering::SeqCst) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the call still runs");
}

#[tokio::test]
async fn a_server_that_ends_ends_its_calls() {
    let rig = Rig::new();
    let client = Arc::new(rig.client().await);
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.call(Command::Shutdown).await }
    });
    while rig.backend.running.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.task.abort();
    assert_eq!(waiting.await.unwrap().unwrap_err(), ApiError::Stopped);
    assert_eq!(client.call(Command::Status).await.unwrap_err(), ApiError::Stopped);
    assert!(!rig.path().exists(), "the socket file goes with the server");
    assert!(RemoteNode::connect(&rig.path()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stale_socket_file_is_nobody_and_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert!(RemoteNode::connect(&path).await.unwrap().is_none());
    let _server = Server::bind(&path).unwrap();
    let long = directory.path().join("x".repeat(120));
    assert!(matches!(Server::bind(&long), Err(SocketError::PathTooLong { .. })));
    assert!(RemoteNode::connect(&long).await.unwrap().is_none());
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_block_others() {
    let rig = Rig::new();
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(UnixStream::connect(rig.path()).await.unwrap());
    }
    assert!(matches!(rig.client().await.call(Command::Status).await, Ok(Reply::Done)));
}
