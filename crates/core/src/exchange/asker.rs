//! The asking end: numbers questions, puts parts together, gives credit.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::Violation;
use crate::chunk;
use crate::hash::ChunkId;
use crate::keys::BlindedKey;
use crate::limits::{CHUNK_MAX_BYTES, CREDIT_MAX_BYTES, CREDIT_WINDOW_BYTES, HAVE_MAX_CHUNKS, REQUESTS_OPEN_MAX};
use crate::wire::{Code, Request, Response};

/// The state of the end that asks.
#[derive(Debug)]
pub struct Asker {
    last_id: u32,
    open: BTreeMap<u32, Question>,
    outgoing: VecDeque<Request>,
    /// Bytes of part data that the other side may still send.
    credit: u64,
}

#[derive(Debug)]
struct Question {
    kind: Kind,
    is_cancelled: bool,
}

#[derive(Debug)]
enum Kind {
    Head,
    Have { count: usize },
    Chunk { chunk: ChunkId, total: u32, received: u32, sealed: Vec<u8> },
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskerEvent {
    /// A head; its bytes are not checked yet.
    Head {
        /// The question.
        id: u32,
        /// What [`Head::parse_for`](crate::head::Head::parse_for) reads.
        bytes: Vec<u8>,
    },
    /// More of a chunk came.
    Progress {
        /// The question.
        id: u32,
        /// The chunk.
        chunk: ChunkId,
        /// Bytes so far.
        received: u32,
        /// Bytes of the whole.
        total: u32,
    },
    /// A chunk is whole, and its bytes are the ones that its id names: they need not be verified again.
    Chunk {
        /// The question.
        id: u32,
        /// The chunk.
        chunk: ChunkId,
        /// Its sealed bytes.
        sealed: Vec<u8>,
    },
    /// A chunk is whole, but its bytes are others than its id names. They were dropped; the peer lied.
    Lied {
        /// The question.
        id: u32,
        /// The chunk.
        chunk: ChunkId,
    },
    /// There is no answer. Also the end of a cancelled question, with [`Code::Cancelled`].
    Refused {
        /// The question.
        id: u32,
        /// The chunk, if one was asked for.
        chunk: Option<ChunkId>,
        /// Why.
        code: Code,
    },
    /// Which chunks the other side holds.
    Held {
        /// The question.
        id: u32,
        /// One bit per chunk asked about; read it with [`is_held`](crate::wire::is_held).
        bitmap: Vec<u8>,
    },
}

/// Why a question was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// As many questions are open as may be.
    #[error("{REQUESTS_OPEN_MAX} questions to this peer are open; ask when one has ended")]
    Full,
    /// A question about no or too many chunks.
    #[error("a question names 1 to {HAVE_MAX_CHUNKS} chunks; ask in several")]
    Count,
    /// This chunk is being asked for on this stream.
    #[error("this chunk is already being asked for from this peer")]
    Asked,
}

impl Default for Asker {
    fn default() -> Self {
        Self::new()
    }
}

impl Asker {
    /// The state of a stream that was just opened. The first message it sends grants credit.
    #[must_use]
    pub fn new() -> Self {
        Self { last_id: 0, open: BTreeMap::new(), outgoing: VecDeque::new(), credit: 0 }
    }

    /// Asks for a site's head; gives the question's number.
    ///
    /// # Errors
    /// [`AskError::Full`].
    pub fn ask_head(&mut self, blinded: BlindedKey) -> Result<u32, AskError> {
        let id = self.open(Kind::Head)?;
        self.outgoing.push_back(Request::Head { id, blinded });
        Ok(id)
    }

    /// Asks for a chunk; gives the question's number.
    ///
    /// # Errors
    /// [`AskError::Full`], or [`AskError::Asked`] if it is being asked for already.
    pub fn ask_chunk(&mut self, chunk: ChunkId) -> Result<u32, AskError> {
        if self.id_of(&chunk).is_some() {
            return Err(AskError::Asked);
        }
        let id = self.open(Kind::Chunk { chunk, total: 0, received: 0, sealed: Vec::new() })?;
        self.outgoing.push_back(Request::Chunk { id, chunk });
        Ok(id)
    }

    /// Asks which of these chunks of a site the other side holds; gives the question's number.
    ///
    /// # Errors
    /// [`AskError::Full`], or [`AskError::Count`] unless there are 1..=200 chunks.
    pub fn ask_have(&mut self, blinded: BlindedKey, chunks: Vec<ChunkId>) -> Result<u32, AskError> {
        if !(1..=HAVE_MAX_CHUNKS).contains(&chunks.len()) {
            return Err(AskError::Count);
        }
        let id = self.open(Kind::Have { count: chunks.len() })?;
        self.outgoing.push_back(Request::Have { id, blinded, chunks });
        Ok(id)
    }

    fn open(&mut self, kind: Kind) -> Result<u32, AskError> {
        if self.open.len() >= REQUESTS_OPEN_MAX {
            return Err(AskError::Full);
        }
        let mut id = self.last_id.wrapping_add(1).max(1);
        while self.open.contains_key(&id) {
            id = id.wrapping_add(1).max(1);
        }
        self.last_id = id;
        self.open.insert(id, Question { kind, is_cancelled: false });
        Ok(id)
    }

    /// The open question that asks for this chunk and was not taken back.
    #[must_use]
    pub fn id_of(&self, chunk: &ChunkId) -> Option<u32> {
        let asks = |question: &Question| {
            !question.is_cancelled && matches!(&question.kind, Kind::Chunk { chunk: asked, .. } if asked == chunk)
        };
        self.open.iter().find(|(_, question)| asks(question)).map(|(id, _)| *id)
    }

    /// Takes a question back. No more events come of it but its end, which is a refusal with [`Code::Cancelled`]; if it was
    /// not sent yet, not even that.
    pub fn cancel(&mut self, id: u32) {
        let Some(question) = self.open.get_mut(&id) else { return };
        if question.is_cancelled {
            return;
        }
        let is_this = |request: &Request| request.id() == id;
        if let Some(place) = self.outgoing.iter().position(is_this) {
            self.outgoing.remove(place);
            self.open.remove(&id);
            return;
        }
        question.is_cancelled = true;
        if let Kind::Chunk { sealed, .. } = &mut question.kind {
            *sealed = Vec::new();
        }
        self.outgoing.push_back(Request::Cancel { id });
    }

    /// Open questions, cancelled ones included until they ended.
    #[must_use]
    pub fn open_questions(&self) -> usize {
        self.open.len()
    }

    /// The next message to write.
    pub fn poll_send(&mut self) -> Option<Request> {
        // Half a window at a time keeps the other side sending without a message for every part.
        let bytes = self.window().saturating_sub(self.credit);
        if bytes >= CREDIT_WINDOW_BYTES / 2 {
            self.credit += bytes;
            return Some(Request::Credit { bytes });
        }
        self.outgoing.pop_front()
    }

    /// What the other side may have under way: all that was asked for, as each question has room for its answer. Less would
    /// make the distance between the two the limit of their rate.
    fn window(&self) -> u64 {
        let chunks = self.open.values().filter(|question| matches!(question.kind, Kind::Chunk { .. })).count();
        (chunks as u64 * CHUNK_MAX_BYTES as u64).clamp(CREDIT_WINDOW_BYTES, CREDIT_MAX_BYTES)
    }

    /// Takes an answer in.
    ///
    /// # Errors
    /// A [`Violation`]: reset the stream.
    pub fn handle(&mut self, response: Response) -> Result<Option<AskerEvent>, Violation> {
        let id = response.id();
        let is_waiting =
            self.outgoing.iter().any(|request| request.id() == id && !matches!(request, Request::Cancel { .. }));
        let Some(question) = self.open.get_mut(&id).filter(|_| !is_waiting) else {
            return Err(Violation::Unasked { id });
        };
        let is_cancelled = question.is_cancelled;
        let event = match (response, &mut question.kind) {
            (Response::Part { total, offset, data, .. }, Kind::Chunk { .. }) => {
                return self.handle_part(id, total, offset, &data);
            }
            (Response::Refused { code, .. }, kind) => {
                let chunk = if let Kind::Chunk { chunk, .. } = kind { Some(*chunk) } else { None };
                self.open.remove(&id);
                return Ok(Some(AskerEvent::Refused { id, chunk, code }));
            }
            (Response::Head { bytes, .. }, Kind::Head) => AskerEvent::Head { id, bytes },
            (Response::Held { bitmap, .. }, Kind::Have { count }) if bitmap.len() == count.div_ceil(8) => {
                AskerEvent::Held { id, bitmap }
            }
            _ => return Err(Violation::WrongKind { id }),
        };
        self.open.remove(&id);
        Ok(Some(if is_cancelled { AskerEvent::Refused { id, chunk: None, code: Code::Cancelled } } else { event }))
    }

    fn handle_part(&mut self, id: u32, total: u32, offset: u32, data: &Bytes) -> Result<Option<AskerEvent>, Violation> {
        let Some(Question { kind: Kind::Chunk { chunk, total: known, received, sealed }, is_cancelled }) =
            self.open.get_mut(&id)
        else {
            return Err(Violation::WrongKind { id });
        };
        let (chunk, is_cancelled) = (*chunk, *is_cancelled);
        let len = data.len() as u64;
        if len > self.credit {
            return Err(Violation::OverCredit);
        }
        let is_first = *received == 0;
        let end = u64::from(offset) + len;
        if offset != *received || (!is_first && total != *known) || data.is_empty() || end > u64::from(total) {
            return Err(Violation::Order { id });
        }
        if total as usize > CHUNK_MAX_BYTES {
            return Err(Violation::Order { id });
        }
        self.credit -= len;
        *known = total;
        *received = u32::try_from(end).map_err(|_| Violation::Order { id })?;
        if !is_cancelled {
            if is_first {
                sealed.reserve_exact(total as usize);
            }
            sealed.extend_from_slice(data);
        }
        if *received < total {
            let received = *received;
            return Ok((!is_cancelled).then_some(AskerEvent::Progress { id, chunk, received, total }));
        }
        let sealed = std::mem::take(sealed);
        self.open.remove(&id);
        Ok(Some(if is_cancelled {
            AskerEvent::Refused { id, chunk: Some(chunk), code: Code::Cancelled }
        } else if chunk::verify(&chunk, &sealed).is_ok() {
            AskerEvent::Chunk { id, chunk, sealed }
        } else {
            AskerEvent::Lied { id, chunk }
        }))
    }
}
