//! The asking side: one session for each way to a peer that is used, many questions in flight.

use super::{
    READ_BUFFER_BYTES,
    path_table::{Asked, PathTable},
    writable, write_frames,
};
use crate::{
    config::Role,
    limits::{self, protocol},
    node::Traffic,
    platform::{self, lock},
};
use bytes::Bytes;
use futures::{
    AsyncRead, AsyncReadExt, FutureExt, SinkExt, StreamExt,
    channel::{mpsc, oneshot},
    future::{Either, select},
    pin_mut,
};
use libp2p::PeerId;
use meganet_core::{
    exchange::{AskError, Asker, AskerEvent},
    hash::ChunkId,
    head::Head,
    keys::BlindedKey,
    limits::FRAME_MAX_BYTES,
    wire::{Code, FrameDecoder, Response},
};
use meganet_transport::signalling::Way;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Questions and withdrawals waiting for one session.
const SESSION_QUEUE: usize = 128;

/// Why a peer did not deliver a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    NotFound,
    Busy,
    /// It broke the protocol or served other bytes.
    Violation,
    Disconnected,
}

/// What came of asking a peer for a chunk.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// So many bytes have come so far.
    Progress {
        peer: PeerId,
        chunk: ChunkId,
        received: u32,
    },
    /// The whole chunk; its hash was checked.
    Done {
        peer: PeerId,
        chunk: ChunkId,
        sealed: Bytes,
    },
    Failed {
        peer: PeerId,
        chunk: ChunkId,
        failure: Failure,
    },
}

enum Ask {
    Chunk { chunk: ChunkId, waiting: Waiting },
    Cancel { chunk: ChunkId, answers: mpsc::Sender<Answer> },
    Head { blinded: BlindedKey, reply: oneshot::Sender<Vec<u8>> },
}

/// Who waits for a chunk.
struct Waiting {
    answers: mpsc::Sender<Answer>,
    /// Until it is dropped, the chunk counts as asked for over the session's way.
    _asked: Asked,
}

/// What opens exchange streams over one kind of connection each, and who takes those of others.
#[derive(Clone)]
pub(crate) struct Controls {
    pub direct: libp2p_stream::Control,
    pub websocket: libp2p_stream::Control,
    /// Through relays that are willing to carry content.
    pub relayed: libp2p_stream::Control,
}

impl Controls {
    fn over(&mut self, way: Way) -> &mut libp2p_stream::Control {
        match way {
            Way::Direct => &mut self.direct,
            Way::WebSocket => &mut self.websocket,
            Way::Relayed => &mut self.relayed,
        }
    }

    /// The streams that others open. `None`: they are taken already.
    pub fn accept(&mut self) -> Option<impl futures::Stream<Item = (PeerId, libp2p::Stream)> + use<>> {
        let direct = self.direct.accept(protocol::EXCHANGE).ok()?;
        let websocket = self.websocket.accept(protocol::EXCHANGE).ok()?;
        let relayed = self.relayed.accept(protocol::EXCHANGE).ok()?;
        Some(futures::stream::select_all([direct, websocket, relayed]))
    }
}

type Sessions = HashMap<(PeerId, Way), mpsc::Sender<Ask>>;

/// The sessions of a node.
#[derive(Clone)]
pub(crate) struct Exchange {
    streams: Controls,
    paths: PathTable,
    sessions: Arc<Mutex<Sessions>>,
    traffic: Arc<Traffic>,
    role: Role,
}

impl Exchange {
    pub fn new(streams: Controls, paths: PathTable, role: Role, traffic: Arc<Traffic>) -> Self {
        Self { streams, paths, sessions: Arc::default(), traffic, role }
    }

    /// An exchange without a network.
    #[cfg(test)]
    pub fn for_tests() -> Self {
        let control = || libp2p_stream::Behaviour::new().new_control();
        let streams = Controls { direct: control(), websocket: control(), relayed: control() };
        Self::new(streams, PathTable::new().0, Role::Native, Arc::default())
    }

    /// Asks a connected peer for a chunk. `false`: the session's queue is full. Otherwise one [`Answer::Done`] or
    /// [`Answer::Failed`] follows, unless it is cancelled.
    pub fn ask(&self, peer: PeerId, chunk: ChunkId, answers: mpsc::Sender<Answer>) -> bool {
        debug_assert!(self.role != Role::Bootstrap, "a bootstrap fetches nothing");
        let asked = self.paths.ask(peer);
        let way = asked.way;
        let mut sessions = lock(&self.sessions);
        let session = sessions.entry((peer, way)).or_insert_with(|| self.start(peer, way));
        match session.try_send(Ask::Chunk { chunk, waiting: Waiting { answers, _asked: asked } }) {
            Ok(()) => true,
            Err(error) if error.is_disconnected() => {
                // The session ended in between; the next question starts a new one.
                sessions.remove(&(peer, way));
                false
            }
            Err(_) => false,
        }
    }

    /// Asks a connected peer for its newest head of a site. `None`: it has none, or did not answer in time.
    pub async fn head(&self, peer: PeerId, blinded: BlindedKey) -> Option<Head> {
        let (reply, answer) = oneshot::channel();
        {
            let way = self.paths.current(&peer);
            let mut sessions = lock(&self.sessions);
            let session = sessions.entry((peer, way)).or_insert_with(|| self.start(peer, way));
            session.try_send(Ask::Head { blinded, reply }).ok()?;
        }
        let timeout = platform::sleep(limits::HEAD_ANSWER_TIMEOUT).fuse();
        pin_mut!(timeout);
        match select(answer, timeout).await {
            Either::Left((bytes, _)) => Head::parse_for(&bytes.ok()?, &blinded).ok(),
            Either::Right(_) => None,
        }
    }

    /// Takes a question back.
    pub fn cancel(&self, peer: PeerId, chunk: ChunkId, answers: mpsc::Sender<Answer>) {
        let mut sessions = lock(&self.sessions);
        for way in Way::ALL {
            if let Some(session) = sessions.get_mut(&(peer, way)) {
                let _ = session.try_send(Ask::Cancel { chunk, answers: answers.clone() });
            }
        }
    }

    /// Has the questions to one peer answered by a test: `None` leaves one open for ever.
    #[cfg(test)]
    pub fn answer_for(&self, peer: PeerId, answer: impl Fn(ChunkId) -> Option<Answer> + Send + 'static) {
        let (sender, mut inbox) = mpsc::channel(SESSION_QUEUE);
        lock(&self.sessions).insert((peer, Way::Direct), sender);
        platform::spawn(async move {
            while let Some(ask) = inbox.next().await {
                if let Ask::Chunk { chunk, mut waiting } = ask
                    && let Some(answer) = answer(chunk)
                {
                    let _ = waiting.answers.send(answer).await;
                }
            }
        });
    }

    fn start(&self, peer: PeerId, way: Way) -> mpsc::Sender<Ask> {
        let (sender, inbox) = mpsc::channel(SESSION_QUEUE);
        let exchange = self.clone();
        platform::spawn(async move { exchange.session(peer, way, inbox).await });
        sender
    }

    async fn open(&mut self, peer: PeerId, way: Way) -> Option<libp2p::Stream> {
        let open = self.streams.over(way).open_stream(peer, protocol::EXCHANGE).fuse();
        let timeout = platform::sleep(limits::EXCHANGE_OPEN_TIMEOUT).fuse();
        pin_mut!(open, timeout);
        match select(open, timeout).await {
            Either::Left((Ok(stream), _)) => Some(stream),
            Either::Left((Err(error), _)) => {
                tracing::debug!(%peer, ?way, %error, "no exchange stream");
                None
            }
            Either::Right(_) => None,
        }
    }

    async fn session(mut self, peer: PeerId, way: Way, mut inbox: mpsc::Receiver<Ask>) {
        let opened = self.open(peer, way).await;
        let is_open = opened.is_some();
        let mut session = Session {
            peer,
            way,
            paths: self.paths.clone(),
            asker: Asker::new(),
            waiting: HashMap::new(),
            heads: HashMap::new(),
            traffic: self.traffic.clone(),
        };
        let mut failure = Failure::Disconnected;
        if let Some(stream) = opened {
            let (reader, writer) = stream.split();
            let (frames, outgoing) = mpsc::channel(0);
            let reading = session.run(reader, &mut inbox, frames);
            let writing = write_frames(writer, outgoing);
            pin_mut!(reading, writing);
            if let Either::Left((ended, _)) = select(reading, writing).await {
                failure = ended;
            }
        }
        // Questions after this start a new session; those already here fail like the open ones.
        lock(&self.sessions).remove(&(peer, way));
        inbox.close();
        // Who asked for a head may have given up long ago.
        let awaits_head = session.heads.values().any(|reply| !reply.is_canceled());
        if !is_open || !session.waiting.is_empty() || awaits_head {
            // Before anybody learns of it, and asks again.
            self.paths.broke(&peer, way);
        }
        session.fail_all(failure).await;
        while let Some(ask) = inbox.next().await {
            if let Ask::Chunk { chunk, mut waiting } = ask {
                let _ = waiting.answers.send(Answer::Failed { peer, chunk, failure: Failure::Disconnected }).await;
            }
        }
    }
}

struct Session {
    peer: PeerId,
    way: Way,
    paths: PathTable,
    asker: Asker,
    /// Who waits for which chunk.
    waiting: HashMap<ChunkId, Vec<Waiting>>,
    /// Who waits for the answer to which question for a head.
    heads: HashMap<u32, oneshot::Sender<Vec<u8>>>,
    traffic: Arc<Traffic>,
}

impl Session {
    /// Runs until the stream ends or breaks the protocol; says what that means for open questions.
    async fn run(
        &mut self,
        mut reader: impl AsyncRead + Unpin,
        inbox: &mut mpsc::Receiver<Ask>,
        mut frames: mpsc::Sender<Bytes>,
    ) -> Failure {
        enum Next {
            Ask(Option<Ask>),
            Read(std::io::Result<usize>),
            Writable(bool),
            Timer,
        }
        let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut next_frame: Option<Bytes> = None;
        // Since when the peer owes an answer and has said nothing (monotonic ms).
        let mut silent_since_ms = None;
        loop {
            let now = platform::monotonic_ms();
            let has_other = self.paths.has_other(&self.peer, self.way);
            let silence = if has_other { limits::EXCHANGE_SILENCE_ELSEWHERE } else { limits::EXCHANGE_SILENCE_TIMEOUT };
            let silence = silence.as_millis() as u64;
            if self.asker.open_questions() == 0 {
                silent_since_ms = None;
            }
            let patience = (self.asker.open_questions() > 0).then(|| *silent_since_ms.get_or_insert(now) + silence);
            if patience.is_some_and(|at| at <= now) {
                tracing::debug!(peer = %self.peer, "an exchange stream went silent");
                return Failure::Disconnected;
            }
            if next_frame.is_none() {
                next_frame = self.asker.poll_send().map(|request| request.encode_frame());
            }
            let has_frame = next_frame.is_some();
            let next = {
                let mut read = reader.read(&mut buffer).fuse();
                let write =
                    async { if has_frame { writable(&mut frames).await } else { std::future::pending().await } }.fuse();
                let timer = async {
                    match patience {
                        // Another way may appear meanwhile.
                        Some(at) => {
                            let wait = Duration::from_millis(at - now).min(limits::EXCHANGE_SILENCE_ELSEWHERE);
                            platform::sleep(wait).await;
                        }
                        None => std::future::pending().await,
                    }
                }
                .fuse();
                pin_mut!(write, timer);
                futures::select! {
                    ask = inbox.next() => Next::Ask(ask),
                    count = read => Next::Read(count),
                    ready = write => Next::Writable(ready),
                    () = timer => Next::Timer,
                }
            };
            match next {
                Next::Ask(Some(ask)) => self.on_ask(ask).await,
                Next::Writable(true) => {
                    if let Some(frame) = next_frame.take()
                        && frames.start_send(frame).is_err()
                    {
                        return Failure::Disconnected;
                    }
                }
                Next::Ask(None) | Next::Writable(false) | Next::Read(Ok(0) | Err(_)) => return Failure::Disconnected,
                Next::Timer => {}
                Next::Read(Ok(count)) => {
                    silent_since_ms = None;
                    self.paths.received(&self.peer, self.way, count as u64);
                    decoder.push(buffer.get(..count).unwrap_or_default());
                    for frame in decoder.by_ref() {
                        let event = frame
                            .and_then(Response::decode_shared)
                            .map_err(|error| error.to_string())
                            .and_then(|response| self.asker.handle(response).map_err(|error| error.to_string()));
                        match event {
                            Ok(Some(event)) => self.on_event(event).await,
                            Ok(None) => {}
                            Err(error) => {
                                tracing::warn!(peer = %self.peer, error, "exchange violation");
                                return Failure::Violation;
                            }
                        }
                    }
                }
            }
        }
    }

    async fn on_ask(&mut self, ask: Ask) {
        match ask {
            Ask::Chunk { chunk, mut waiting } => match self.asker.ask_chunk(chunk) {
                Ok(_) => {
                    self.waiting.insert(chunk, vec![waiting]);
                }
                Err(AskError::Asked) => {
                    if let Some(others) = self.waiting.get_mut(&chunk) {
                        others.push(waiting);
                    }
                }
                Err(_) => {
                    let _ =
                        waiting.answers.send(Answer::Failed { peer: self.peer, chunk, failure: Failure::Busy }).await;
                }
            },
            // Over the bound its dropping is the answer.
            Ask::Head { blinded, reply } => {
                if let Ok(id) = self.asker.ask_head(blinded) {
                    self.heads.insert(id, reply);
                }
            }
            Ask::Cancel { chunk, answers } => {
                let Some(waiting) = self.waiting.get_mut(&chunk) else { return };
                waiting.retain(|other| !other.answers.same_receiver(&answers));
                if waiting.is_empty() {
                    self.waiting.remove(&chunk);
                    if let Some(id) = self.asker.id_of(&chunk) {
                        self.asker.cancel(id);
                    }
                }
            }
        }
    }

    async fn on_event(&mut self, event: AskerEvent) {
        let peer = self.peer;
        match event {
            AskerEvent::Progress { chunk, received, .. } => {
                if let Some(waiting) = self.waiting.get_mut(&chunk) {
                    for Waiting { answers, .. } in waiting {
                        // Progress may be missed: the next one or the end tells more.
                        let _ = answers.try_send(Answer::Progress { peer, chunk, received });
                    }
                }
            }
            AskerEvent::Chunk { chunk, sealed, .. } => {
                self.traffic.received(self.peer, sealed.len());
                let sealed = Bytes::from(sealed);
                self.finish(chunk, |chunk| Answer::Done { peer, chunk, sealed: sealed.clone() }).await;
            }
            AskerEvent::Lied { chunk, .. } => {
                tracing::warn!(%peer, %chunk, "served bytes that are not the chunk");
                self.finish(chunk, |chunk| Answer::Failed { peer, chunk, failure: Failure::Violation }).await;
            }
            AskerEvent::Refused { chunk: Some(chunk), code, .. } if code != Code::Cancelled => {
                let failure = if code == Code::Busy { Failure::Busy } else { Failure::NotFound };
                self.finish(chunk, |chunk| Answer::Failed { peer, chunk, failure }).await;
            }
            AskerEvent::Head { id, bytes } => {
                if let Some(reply) = self.heads.remove(&id) {
                    let _ = reply.send(bytes);
                }
            }
            AskerEvent::Refused { id, chunk: None, .. } => _ = self.heads.remove(&id),
            AskerEvent::Refused { .. } | AskerEvent::Held { .. } => {}
        }
    }

    async fn finish(&mut self, chunk: ChunkId, answer: impl Fn(ChunkId) -> Answer) {
        if let Some(waiting) = self.waiting.remove(&chunk) {
            for Waiting { mut answers, .. } in waiting {
                let _ = answers.send(answer(chunk)).await;
            }
        }
    }

    async fn fail_all(&mut self, failure: Failure) {
        let peer = self.peer;
        let chunks: Vec<_> = self.waiting.keys().copied().collect();
        for chunk in chunks {
            self.finish(chunk, |chunk| Answer::Failed { peer, chunk, failure }).await;
        }
    }
}
