//! The answering end: a bounded queue of questions, part data against credit, every loaded chunk in turn.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::Violation;
use crate::hash::ChunkId;
use crate::keys::BlindedKey;
use crate::limits::{
    ANSWER_FLOOR_BYTES, ANSWER_STALL_MS, ANSWERS_LOADED_MAX, CHUNK_MAX_BYTES, CREDIT_MAX_BYTES, HAVE_MAX_CHUNKS,
    HEAD_MAX_BYTES, PART_OVERHEAD_BYTES, REFUSALS_WAITING_MAX, REQUESTS_OPEN_MAX,
};
use crate::wire::{Code, Request, Response};

/// A question that the caller looks up. It answers each exactly once, with [`Answerer::answer_head`],
/// [`Answerer::answer_chunk`], [`Answerer::answer_held`] or [`Answerer::refuse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A site's head.
    Head {
        /// The question.
        id: u32,
        /// The site.
        blinded: BlindedKey,
    },
    /// A chunk.
    Chunk {
        /// The question.
        id: u32,
        /// The chunk.
        chunk: ChunkId,
    },
    /// Which of these are held.
    Have {
        /// The question.
        id: u32,
        /// The site.
        blinded: BlindedKey,
        /// 1..=200 chunks.
        chunks: Vec<ChunkId>,
    },
}

impl Ask {
    /// The question's number.
    #[must_use]
    pub fn id(&self) -> u32 {
        match self {
            Self::Head { id, .. } | Self::Chunk { id, .. } | Self::Have { id, .. } => *id,
        }
    }
}

/// The state of the end that answers.
#[derive(Debug)]
pub struct Answerer {
    /// Bytes of data that fit into one part.
    part_max: usize,
    open: BTreeMap<u32, State>,
    waiting: VecDeque<Ask>,
    /// Chunks being looked up or loaded.
    chunks_held: usize,
    loaded: VecDeque<Loaded>,
    ready: VecDeque<Response>,
    refusals_waiting: usize,
    credit: u64,
    /// While answers wait: since when the pace is measured (ms), and the bytes sent since.
    pace: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    LookedUp { is_chunk: bool, is_cancelled: bool },
    Loaded,
    Ready,
}

#[derive(Debug)]
struct Loaded {
    id: u32,
    sealed: Bytes,
    offset: usize,
}

impl Answerer {
    /// The state of a stream that was just accepted, on which frames have at most `frame_max` bytes with their prefix.
    #[must_use]
    pub fn new(frame_max: usize) -> Self {
        Self {
            part_max: frame_max.saturating_sub(PART_OVERHEAD_BYTES).max(1),
            open: BTreeMap::new(),
            waiting: VecDeque::new(),
            chunks_held: 0,
            loaded: VecDeque::new(),
            ready: VecDeque::new(),
            refusals_waiting: 0,
            credit: 0,
            pace: None,
        }
    }

    /// Takes a message in.
    ///
    /// # Errors
    /// A [`Violation`]: reset the stream.
    pub fn handle(&mut self, request: Request) -> Result<(), Violation> {
        let ask = match request {
            Request::Credit { bytes } => {
                self.credit = self.credit.saturating_add(bytes).min(CREDIT_MAX_BYTES);
                return Ok(());
            }
            Request::Cancel { id } => {
                self.cancel(id);
                return Ok(());
            }
            Request::Head { id, blinded } => Ask::Head { id, blinded },
            Request::Chunk { id, chunk } => Ask::Chunk { id, chunk },
            Request::Have { id, blinded, chunks } => Ask::Have { id, blinded, chunks },
        };
        let id = ask.id();
        if self.open.contains_key(&id) {
            return Err(Violation::IdInUse { id });
        }
        if self.open.len() >= REQUESTS_OPEN_MAX {
            if self.refusals_waiting >= REFUSALS_WAITING_MAX {
                return Err(Violation::Flood);
            }
            self.refusals_waiting += 1;
            self.ready.push_back(Response::Refused { id, code: Code::Busy });
            return Ok(());
        }
        let is_valid = match &ask {
            Ask::Have { chunks, .. } => (1..=HAVE_MAX_CHUNKS).contains(&chunks.len()),
            Ask::Head { .. } | Ask::Chunk { .. } => true,
        };
        if is_valid {
            self.open.insert(id, State::Waiting);
            self.waiting.push_back(ask);
        } else {
            self.end(Response::Refused { id, code: Code::BadRequest });
        }
        Ok(())
    }

    /// The next question to look up: small ones first, chunks while few enough are in memory.
    pub fn next_ask(&mut self) -> Option<Ask> {
        let may_load = self.chunks_held < ANSWERS_LOADED_MAX;
        let is_small = |ask: &Ask| !matches!(ask, Ask::Chunk { .. });
        let place =
            self.waiting.iter().position(is_small).or_else(|| (may_load && !self.waiting.is_empty()).then_some(0))?;
        let ask = self.waiting.remove(place)?;
        let is_chunk = !is_small(&ask);
        self.chunks_held += usize::from(is_chunk);
        self.open.insert(ask.id(), State::LookedUp { is_chunk, is_cancelled: false });
        Some(ask)
    }

    /// Answers a question for a head with its signed bytes.
    pub fn answer_head(&mut self, id: u32, bytes: Vec<u8>) {
        let is_head = (1..=HEAD_MAX_BYTES).contains(&bytes.len());
        if self.ends_lookup(id, false) {
            self.end(if is_head {
                Response::Head { id, bytes }
            } else {
                Response::Refused { id, code: Code::NotFound }
            });
        }
    }

    /// Answers a question for a chunk with its sealed bytes; they go out against credit.
    pub fn answer_chunk(&mut self, id: u32, sealed: Bytes) {
        if !self.ends_lookup(id, true) {
            return;
        }
        if sealed.is_empty() || sealed.len() > CHUNK_MAX_BYTES {
            self.end(Response::Refused { id, code: Code::NotFound });
            return;
        }
        self.chunks_held += 1;
        self.open.insert(id, State::Loaded);
        self.loaded.push_back(Loaded { id, sealed, offset: 0 });
    }

    /// Answers the question which chunks are held, with [`held_bitmap`](crate::wire::held_bitmap).
    pub fn answer_held(&mut self, id: u32, bitmap: Vec<u8>) {
        if self.ends_lookup(id, false) {
            self.end(Response::Held { id, bitmap });
        }
    }

    /// Ends any question that is being looked up without an answer.
    pub fn refuse(&mut self, id: u32, code: Code) {
        let is_chunk = matches!(self.open.get(&id), Some(State::LookedUp { is_chunk: true, .. }));
        if self.ends_lookup(id, is_chunk) {
            self.end(Response::Refused { id, code });
        }
    }

    /// Whether the answer to a question of this kind is still wanted; the look-up is over either way.
    fn ends_lookup(&mut self, id: u32, is_chunk: bool) -> bool {
        let Some(State::LookedUp { is_chunk: was_chunk, is_cancelled }) = self.open.get(&id).copied() else {
            return false;
        };
        self.chunks_held -= usize::from(was_chunk);
        if is_cancelled {
            self.end(Response::Refused { id, code: Code::Cancelled });
            return false;
        }
        if is_chunk != was_chunk {
            self.end(Response::Refused { id, code: Code::NotFound });
            return false;
        }
        true
    }

    /// Queues a question's last frame.
    fn end(&mut self, response: Response) {
        self.open.insert(response.id(), State::Ready);
        self.ready.push_back(response);
    }

    fn cancel(&mut self, id: u32) {
        match self.open.get_mut(&id) {
            // The caller is at it: the answer is replaced when it comes, so that it cannot meet a later question.
            Some(State::LookedUp { is_cancelled, .. }) => *is_cancelled = true,
            Some(State::Waiting) => {
                self.waiting.retain(|ask| ask.id() != id);
                self.end(Response::Refused { id, code: Code::Cancelled });
            }
            Some(State::Loaded) => {
                self.loaded.retain(|loaded| loaded.id != id);
                self.chunks_held -= 1;
                self.end(Response::Refused { id, code: Code::Cancelled });
            }
            // Its last frame is on its way, or it was never asked.
            Some(State::Ready) | None => {}
        }
    }

    /// The next frame to write. Call it only when it can be written: what it gives counts as sent.
    ///
    /// `now_ms` is any monotonic time.
    pub fn next_frame(&mut self, now_ms: u64) -> Option<Response> {
        if let Some(response) = self.ready.pop_front() {
            match self.open.get(&response.id()) {
                Some(State::Ready) => _ = self.open.remove(&response.id()),
                _ => self.refusals_waiting = self.refusals_waiting.saturating_sub(1),
            }
            // Small answers keep a stream alive only while no chunk waits behind them.
            self.paced(if self.loaded.is_empty() { ANSWER_FLOOR_BYTES } else { 0 }, now_ms);
            return Some(response);
        }
        self.paced(0, now_ms);
        if self.loaded.is_empty() || self.credit == 0 {
            return None;
        }
        let mut loaded = self.loaded.pop_front()?;
        let left = loaded.sealed.len() - loaded.offset;
        let len = left.min(self.part_max).min(usize::try_from(self.credit).unwrap_or(usize::MAX));
        let data = loaded.sealed.slice(loaded.offset..loaded.offset + len);
        self.credit -= len as u64;
        // A chunk has at most 256 KiB, so both fit.
        let (total, offset) = (loaded.sealed.len() as u32, loaded.offset as u32);
        let id = loaded.id;
        loaded.offset += len;
        if len == left {
            self.chunks_held -= 1;
            self.open.remove(&id);
        } else {
            self.loaded.push_back(loaded);
        }
        self.paced(len as u64, now_ms);
        Some(Response::Part { id, total, offset, data })
    }

    /// Counts sent bytes; without anything left to send there is no pace to keep.
    fn paced(&mut self, bytes: u64, now_ms: u64) {
        self.pace = if self.loaded.is_empty() && self.ready.is_empty() {
            None
        } else {
            let (since_ms, sent) = self.pace.unwrap_or((now_ms, 0));
            Some((since_ms, sent.saturating_add(bytes)))
        };
    }

    /// When to call [`Answerer::is_stalled`] next.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        self.pace.map(|(since_ms, _)| since_ms.saturating_add(ANSWER_STALL_MS))
    }

    /// Whether answers have waited so long, for credit or for the peer to read, that the stream should be reset to free
    /// their memory. Call it whenever answers were added, and at [`Answerer::next_timeout`].
    pub fn is_stalled(&mut self, now_ms: u64) -> bool {
        self.paced(0, now_ms);
        let Some((since_ms, sent)) = self.pace else { return false };
        if now_ms.saturating_sub(since_ms) < ANSWER_STALL_MS {
            return false;
        }
        self.pace = Some((now_ms, 0));
        sent < ANSWER_FLOOR_BYTES
    }

    /// Questions that have not ended.
    #[must_use]
    pub fn open_questions(&self) -> usize {
        self.open.len()
    }
}
