//! Getting one site's chunks: drives the core's planner with real peers, time and storage.

use crate::{
    exchange::{Answer, Exchange, Failure},
    limits,
    network::Network,
    platform::{self, BoxFuture, lock},
    signal::{Problems, Signal},
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
        atomic::{AtomicBool, AtomicU32, Ordering},
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
/// While chunks are wanted and do not come, providers are looked up again this often.
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
    LookUp,
    /// A connected peer holds the site.
    Holds {
        peer: PeerId,
    },
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
    /// The site was forgotten: what still comes is not stored.
    pub forgotten: AtomicBool,
}

impl Seen {
    pub fn providers(&self) -> u32 {
        lock(&self.providers).len() as u32
    }

    pub fn is_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Relaxed)
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
    pub problems: Problems,
    /// Has the quota looked at.
    pub received_much: Signal,
}

/// A handle on one site's fetch task; the task ends when every handle is dropped.
#[derive(Clone)]
pub(crate) struct Fetcher {
    commands: mpsc::Sender<Command>,
    peers_changed: Signal,
    pub seen: Arc<Seen>,
}

impl Fetcher {
    pub fn start(blinded: BlindedKey, means: Means) -> Self {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let seen = Arc::new(Seen::default());
        let (answers_sender, answers) = mpsc::channel(ANSWERS);
        let (peers_changed, changes) = Signal::new();
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
            found: HashSet::new(),
            progress_ms: 0,
            unchecked_bytes: 0,
            unavailable: HashSet::new(),
        };
        platform::spawn(task.run(inbox, answers, changes));
        Self { commands, peers_changed, seen }
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

    /// Looks for providers again.
    pub fn look_up(&self) {
        let _ = self.commands.clone().try_send(Command::LookUp);
    }

    /// A connected peer holds the site, whether it is announced or not.
    pub fn holds(&self, peer: PeerId) {
        let _ = self.commands.clone().try_send(Command::Holds { peer });
    }

    /// A peer connected or went away: the task looks who is there.
    pub fn peers_changed(&self) {
        self.peers_changed.wake();
    }
}

type Put = BoxFuture<'static, Result<(), StoreError>>;

struct Task {
    blinded: BlindedKey,
    planner: Planner<PeerId>,
    waiting: HashMap<ChunkId, Waiting>,
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
    /// Providers that the running lookup has found so far.
    found: HashSet<PeerId>,
    /// Monotonic ms of the last byte of a wanted chunk, or of the first want.
    progress_ms: u64,
    /// Bytes received since the quota was looked at.
    unchecked_bytes: u64,
    /// Chunks that every known peer refused.
    unavailable: HashSet<ChunkId>,
}

/// Who waits for a chunk.
#[derive(Default)]
struct Waiting {
    replies: Vec<oneshot::Sender<Result<Bytes, FetchError>>>,
    /// Monotonic ms since when nobody can be asked for it.
    stuck_since_ms: Option<u64>,
}

impl Task {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Command>,
        mut answers: mpsc::Receiver<Answer>,
        mut changes: mpsc::Receiver<()>,
    ) {
        enum Next {
            PeersChanged,
            Command(Option<Command>),
            Answer(Option<Answer>),
            Provider(Option<PeerId>),
            Put(Result<(), StoreError>),
            Timer,
        }
        loop {
            let now = platform::monotonic_ms();
            // A store that is slower than the network bounds what is asked for, or the difference would fill the memory.
            if self.puts.len() < limits::PUTS_WAITING_MAX {
                self.act(now).await;
            }
            self.give_up_starved(now);
            let is_due = now.saturating_sub(self.lookup_at_ms) >= LOOKUP_AGAIN.as_millis() as u64;
            if self.lookup_at_ms == 0 || (self.lookup.is_none() && is_due && self.is_short(now)) {
                self.look_up().await;
            }
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
                    _ = changes.next() => Next::PeersChanged,
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
                Next::Provider(None) => self.on_lookup_ended(),
                Next::PeersChanged => self.on_peers_changed(now),
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
        self.found.clear();
        self.lookup = self.means.network.find_providers(self.blinded).await.ok();
    }

    fn on_command(&mut self, command: Command, now: u64) {
        match command {
            Command::Get { chunk, size_bytes, priority, reply } => {
                if self.waiting.len() >= WANTED_MAX && !self.waiting.contains_key(&chunk) {
                    let _ = reply.send(Err(FetchError::NobodyServes));
                    return;
                }
                if self.waiting.is_empty() {
                    self.progress_ms = now;
                }
                self.waiting.entry(chunk).or_default().replies.push(reply);
                // Refused only beyond a bound that `WANTED_MAX` stays below.
                self.planner.want(chunk, priority, size_bytes, now);
            }
            Command::LookUp => self.lookup_at_ms = 0,
            Command::Holds { peer } => self.on_provider(peer),
            Command::Flush { reply } => self.flushes.push(reply),
        }
    }

    fn on_provider(&mut self, peer: PeerId) {
        if peer == self.means.local || self.found.len() >= limits::PROVIDERS_PER_SITE_MAX {
            return;
        }
        self.found.insert(peer);
        let is_connected = |peer: &PeerId| lock(&self.means.connected).contains(peer);
        let mut providers = lock(&self.seen.providers);
        if !providers.contains(&peer)
            && providers.len() >= limits::PROVIDERS_PER_SITE_MAX
            && let Some(gone) = providers.iter().find(|peer| !is_connected(peer)).copied()
        {
            // Names that nobody answers to must not keep a newcomer out.
            providers.remove(&gone);
        }
        if providers.len() < limits::PROVIDERS_PER_SITE_MAX {
            providers.insert(peer);
        }
        let is_known = providers.contains(&peer);
        drop(providers);
        if is_known && is_connected(&peer) {
            self.add_peer(peer);
        }
    }

    /// Who is not announced any more and not connected either is no provider.
    fn on_lookup_ended(&mut self) {
        self.lookup = None;
        let connected = lock(&self.means.connected);
        lock(&self.seen.providers).retain(|peer| self.found.contains(peer) || connected.contains(peer));
    }

    fn on_peers_changed(&mut self, now: u64) {
        let connected = lock(&self.means.connected).clone();
        let gone: Vec<_> =
            self.planner.peers().map(|stats| stats.peer).filter(|peer| !connected.contains(peer)).collect();
        for peer in gone {
            self.planner.remove_peer(peer, now);
        }
        let there: Vec<_> = lock(&self.seen.providers).intersection(&connected).copied().collect();
        for peer in there {
            self.add_peer(peer);
        }
    }

    fn add_peer(&mut self, peer: PeerId) {
        if self.planner.add_peer(peer) {
            self.unavailable.clear();
        }
    }

    async fn on_answer(&mut self, answer: Answer, now: u64) {
        match answer {
            Answer::Progress { peer, chunk, received } => {
                self.progress_ms = now;
                self.planner.on_progress(peer, chunk, u64::from(received), now);
            }
            Answer::Done { peer, chunk, sealed } => {
                self.progress_ms = now;
                self.planner.on_done(peer, chunk, sealed.len() as u64, now);
                *lock(&self.seen.sources).entry(peer).or_default() += sealed.len() as u64;
                self.unavailable.remove(&chunk);
                for reply in self.waiting.remove(&chunk).unwrap_or_default().replies {
                    let _ = reply.send(Ok(sealed.clone()));
                }
                if self.seen.is_forgotten() {
                    return;
                }
                self.unchecked_bytes += sealed.len() as u64;
                if self.unchecked_bytes >= limits::QUOTA_CHECK_BYTES {
                    self.unchecked_bytes = 0;
                    self.means.received_much.wake();
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
                self.means.problems.tell(error.clone());
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

    /// Whether chunks are wanted that do not come from the peers there are.
    fn is_short(&self, now: u64) -> bool {
        let is_stuck = self.waiting.values().any(|waiting| waiting.stuck_since_ms.is_some());
        let stands_still = now.saturating_sub(self.progress_ms) >= LOOKUP_AGAIN.as_millis() as u64;
        !self.waiting.is_empty() && (is_stuck || stands_still)
    }

    /// Tells readers when nobody can be asked for a chunk, and when nothing comes whatever peers promise.
    fn give_up_starved(&mut self, now: u64) {
        let nobody = self.planner.peers().next().is_none();
        let stands_still = now.saturating_sub(self.progress_ms) >= limits::NO_PROGRESS_AFTER.as_millis() as u64;
        // While providers are searched and dialled, one more may be about to come.
        let is_searching = self.lookup.is_some();
        let mut over = Vec::new();
        for (chunk, waiting) in &mut self.waiting {
            waiting.replies.retain(|reply| !reply.is_canceled());
            if !nobody && !self.unavailable.contains(chunk) {
                waiting.stuck_since_ms = None;
            } else {
                waiting.stuck_since_ms.get_or_insert(now);
            }
            let is_stuck = waiting
                .stuck_since_ms
                .is_some_and(|since| now.saturating_sub(since) >= limits::STARVED_AFTER.as_millis() as u64);
            if waiting.replies.is_empty() || stands_still || (is_stuck && !is_searching) {
                over.push(*chunk);
            }
        }
        for chunk in over {
            self.planner.unwant(chunk);
            self.unavailable.remove(&chunk);
            for reply in self.waiting.remove(&chunk).unwrap_or_default().replies {
                let _ = reply.send(Err(FetchError::NobodyServes));
            }
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

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
