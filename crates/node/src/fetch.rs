//! Getting one site's chunks: drives the core's planner with real peers, time and storage.

use crate::{
    exchange::{Answer, Exchange, Failure},
    limits,
    network::Network,
    platform::{self, BoxFuture, lock},
    store::{Store, StoreError},
};
use bytes::Bytes;
use futures::{
    FutureExt, SinkExt, StreamExt,
    channel::{mpsc, oneshot},
    stream::FuturesUnordered,
};
use libp2p::PeerId;
use meganet_core::{
    fetch::{Action, Config, Planner},
    hash::ChunkId,
    keys::BlindedKey,
};
use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// Why a chunk did not come.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("no peer delivered it")]
    NobodyServes,
    #[error("the node has stopped")]
    Stopped,
}

/// Commands waiting for one site's fetch task.
const QUEUE: usize = 512;
/// Answers of exchange sessions waiting for one site's fetch task: every chunk in flight may send a few.
const ANSWERS: usize = 256;
/// Chunks one site may want at once.
const WANTED_MAX: usize = 1_024;
/// With nobody to ask for this long, waiting readers are told.
const STARVED: Duration = Duration::from_secs(6);
/// While chunks are wanted and nobody has them, providers are looked up again this often.
const LOOKUP_AGAIN: Duration = Duration::from_secs(5);
/// The task looks at its timers at least this often.
const TICK: Duration = Duration::from_millis(500);

enum Command {
    Get {
        chunk: ChunkId,
        size_bytes: u32,
        priority: u32,
        reply: oneshot::Sender<Result<Bytes, FetchError>>,
    },
    Connected(PeerId),
    Disconnected(PeerId),
    LookUp,
    /// Answered when everything received so far is stored.
    Flush {
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// What a site's fetching has seen, readable at any time.
#[derive(Default)]
pub(crate) struct Seen {
    /// Chunk bytes received, by peer.
    pub sources: Mutex<HashMap<PeerId, u64>>,
    /// Peers known to provide the site, this node excepted.
    pub providers: Mutex<HashSet<PeerId>>,
    /// Peers that lied and were banned.
    pub banned: AtomicU32,
}

impl Seen {
    pub fn providers(&self) -> u32 {
        lock(&self.providers).len() as u32
    }
}

/// What the fetch task needs from the node.
#[derive(Clone)]
pub(crate) struct Means {
    pub local: PeerId,
    pub network: Network,
    pub exchange: Exchange,
    pub store: Arc<dyn Store>,
    /// Peers with a direct connection now.
    pub connected: Arc<Mutex<HashSet<PeerId>>>,
    /// Tells the user that storing failed.
    pub problem: mpsc::Sender<StoreError>,
}

/// A handle on one site's fetch task; the task ends when every handle is dropped.
#[derive(Clone)]
pub(crate) struct Fetcher {
    commands: mpsc::Sender<Command>,
    pub seen: Arc<Seen>,
}

impl Fetcher {
    pub fn start(blinded: BlindedKey, means: Means) -> Self {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let seen = Arc::new(Seen::default());
        let (answers_sender, answers) = mpsc::channel(ANSWERS);
        let task = Task {
            blinded,
            planner: Planner::new(Config::default()),
            waiting: HashMap::new(),
            seen: seen.clone(),
            means,
            answers_sender,
            puts: FuturesUnordered::new(),
            put_error: None,
            flushes: Vec::new(),
            lookup: None,
            lookup_at_ms: 0,
            starved_since_ms: None,
            unavailable: HashSet::new(),
        };
        platform::spawn(task.run(inbox, answers));
        Self { commands, seen }
    }

    /// One chunk, hash checked, from a peer. `priority`: lower comes first.
    pub async fn get(&self, chunk: ChunkId, size_bytes: u32, priority: u32) -> Result<Bytes, FetchError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Get { chunk, size_bytes, priority, reply };
        self.commands.clone().send(command).await.map_err(|_| FetchError::Stopped)?;
        answer.await.map_err(|_| FetchError::Stopped)?
    }

    /// Waits until every chunk received so far is stored, or says why one is not.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let stopped = || StoreError::Io("the node has stopped".into());
        self.commands.clone().send(Command::Flush { reply }).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    pub fn connected(&self, peer: PeerId) {
        let _ = self.commands.clone().try_send(Command::Connected(peer));
    }

    /// Looks for providers again.
    pub fn look_up(&self) {
        let _ = self.commands.clone().try_send(Command::LookUp);
    }

    pub fn disconnected(&self, peer: PeerId) {
        let _ = self.commands.clone().try_send(Command::Disconnected(peer));
    }
}

type Put = BoxFuture<'static, Result<(), StoreError>>;

struct Task {
    blinded: BlindedKey,
    planner: Planner<PeerId>,
    waiting: HashMap<ChunkId, Vec<oneshot::Sender<Result<Bytes, FetchError>>>>,
    seen: Arc<Seen>,
    means: Means,
    answers_sender: mpsc::Sender<Answer>,
    puts: FuturesUnordered<Put>,
    put_error: Option<StoreError>,
    flushes: Vec<oneshot::Sender<Result<(), StoreError>>>,
    /// Providers as the running lookup finds them.
    lookup: Option<mpsc::Receiver<PeerId>>,
    /// Monotonic ms of the last lookup; 0: one is due.
    lookup_at_ms: u64,
    starved_since_ms: Option<u64>,
    /// Chunks that every known peer refused.
    unavailable: HashSet<ChunkId>,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>, mut answers: mpsc::Receiver<Answer>) {
        enum Next {
            Command(Option<Command>),
            Answer(Option<Answer>),
            Provider(Option<PeerId>),
            Put(Result<(), StoreError>),
            Timer,
        }
        loop {
            let now = platform::monotonic_ms();
            self.act(now).await;
            if self.lookup_at_ms == 0 {
                self.look_up().await;
            }
            self.check_starved(now).await;
            let wait =
                self.planner.next_timeout().map_or(TICK, |at| TICK.min(Duration::from_millis(at.saturating_sub(now))));
            let next = {
                let mut timer = pin!(platform::sleep(wait).fuse());
                let mut lookup = self.lookup.as_mut();
                let mut provider = pin!(
                    async {
                        match lookup.as_mut() {
                            Some(lookup) => lookup.next().await,
                            None => std::future::pending().await,
                        }
                    }
                    .fuse()
                );
                let mut put = self.puts.select_next_some();
                futures::select! {
                    command = inbox.next() => Next::Command(command),
                    answer = answers.next() => Next::Answer(answer),
                    peer = provider => Next::Provider(peer),
                    result = put => Next::Put(result),
                    () = timer => Next::Timer,
                }
            };
            let now = platform::monotonic_ms();
            match next {
                Next::Command(Some(command)) => self.on_command(command, now),
                Next::Command(None) => return,
                Next::Answer(Some(answer)) => self.on_answer(answer, now).await,
                Next::Answer(None) | Next::Timer => {}
                Next::Provider(Some(peer)) => self.on_provider(peer),
                Next::Provider(None) => self.lookup = None,
                Next::Put(result) => self.on_put(result),
            }
            if self.puts.is_empty() {
                for reply in self.flushes.drain(..) {
                    let _ = reply.send(self.put_error.clone().map_or(Ok(()), Err));
                }
            }
        }
    }

    async fn look_up(&mut self) {
        self.lookup_at_ms = platform::monotonic_ms().max(1);
        self.lookup = self.means.network.find_providers(self.blinded).await.ok();
    }

    fn on_command(&mut self, command: Command, now: u64) {
        match command {
            Command::Get { chunk, size_bytes, priority, reply } => {
                let waiting = self.waiting.len();
                let waiters = self.waiting.entry(chunk).or_default();
                if waiters.is_empty() && waiting >= WANTED_MAX {
                    self.waiting.remove(&chunk);
                    let _ = reply.send(Err(FetchError::NobodyServes));
                    return;
                }
                waiters.push(reply);
                // Refused only beyond a bound that `WANTED_MAX` stays below.
                self.planner.want(chunk, priority, size_bytes, now);
            }
            Command::Connected(peer) => {
                let known = lock(&self.seen.providers).contains(&peer);
                if known {
                    self.add_peer(peer);
                }
            }
            Command::Disconnected(peer) => {
                self.planner.remove_peer(peer, now);
            }
            Command::LookUp => self.lookup_at_ms = 0,
            Command::Flush { reply } => self.flushes.push(reply),
        }
    }

    fn on_provider(&mut self, peer: PeerId) {
        if peer == self.means.local {
            return;
        }
        let mut providers = lock(&self.seen.providers);
        if providers.len() < limits::PROVIDERS_PER_SITE_MAX {
            providers.insert(peer);
        }
        drop(providers);
        if lock(&self.means.connected).contains(&peer) {
            self.add_peer(peer);
        }
    }

    fn add_peer(&mut self, peer: PeerId) {
        if self.planner.add_peer(peer) {
            self.unavailable.clear();
            self.starved_since_ms = None;
        }
    }

    async fn on_answer(&mut self, answer: Answer, now: u64) {
        match answer {
            Answer::Progress { peer, chunk, received } => {
                self.planner.on_progress(peer, chunk, u64::from(received), now);
            }
            Answer::Done { peer, chunk, sealed } => {
                self.planner.on_done(peer, chunk, sealed.len() as u64, now);
                *lock(&self.seen.sources).entry(peer).or_default() += sealed.len() as u64;
                self.unavailable.remove(&chunk);
                for reply in self.waiting.remove(&chunk).unwrap_or_default() {
                    let _ = reply.send(Ok(sealed.clone()));
                }
                let store = self.means.store.clone();
                self.puts.push(platform::boxed(async move { store.put_chunk(chunk, sealed).await }));
            }
            Answer::Failed { peer, chunk, failure } => self.planner.on_failed(peer, chunk, failure.into(), now),
        }
    }

    fn on_put(&mut self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            // The page is shown from memory all the same; the user learns it once per failure burst.
            if self.put_error.as_ref() != Some(&error) {
                let _ = self.means.problem.try_send(error.clone());
            }
            self.put_error = Some(error);
        }
    }

    /// Carries out what the planner decides.
    async fn act(&mut self, now: u64) {
        while let Some(action) = self.planner.poll(now) {
            match action {
                Action::Request { peer, chunk } => {
                    let asked = self.means.exchange.ask(peer, chunk, self.answers_sender.clone());
                    if !asked {
                        self.planner.on_failed(peer, chunk, meganet_core::fetch::Failure::Busy, now);
                    }
                }
                Action::Cancel { peer, chunk } => {
                    self.means.exchange.cancel(peer, chunk, self.answers_sender.clone());
                }
                Action::Ban { peer } => {
                    self.seen.banned.fetch_add(1, Ordering::Relaxed);
                    let _ = self.means.network.ban(peer).await;
                }
                Action::Unavailable { chunk } => {
                    self.unavailable.insert(chunk);
                }
            }
        }
    }

    /// Tells readers when nobody can be asked, and looks for more providers meanwhile.
    async fn check_starved(&mut self, now: u64) {
        self.waiting.retain(|chunk, waiters| {
            waiters.retain(|reply| !reply.is_canceled());
            if waiters.is_empty() {
                self.planner.unwant(*chunk);
            }
            !waiters.is_empty()
        });
        let nobody = self.planner.peers().next().is_none();
        let starved =
            !self.waiting.is_empty() && (nobody || self.waiting.keys().all(|chunk| self.unavailable.contains(chunk)));
        if !starved {
            self.starved_since_ms = None;
            return;
        }
        let since = *self.starved_since_ms.get_or_insert(now);
        if self.lookup.is_none() && now.saturating_sub(self.lookup_at_ms) >= LOOKUP_AGAIN.as_millis() as u64 {
            self.look_up().await;
        }
        if now.saturating_sub(since) >= STARVED.as_millis() as u64 {
            self.starved_since_ms = None;
            for (chunk, waiters) in self.waiting.drain() {
                self.planner.unwant(chunk);
                for reply in waiters {
                    let _ = reply.send(Err(FetchError::NobodyServes));
                }
            }
            self.unavailable.clear();
        }
    }
}

impl From<Failure> for meganet_core::fetch::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound => Self::NotFound,
            Failure::Busy => Self::Busy,
            Failure::Violation => Self::Lied,
            Failure::Disconnected => Self::Disconnected,
        }
    }
}
