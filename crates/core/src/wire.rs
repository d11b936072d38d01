//! Frames of `/meganet/exchange/1`: questions and answers as protobuf, each behind an unsigned-varint length.
//!
//! Decoding is canonical, as everywhere: what does not encode back to the same bytes is refused. A part's data shares the
//! buffer it was received in.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::hash::ChunkId;
use crate::keys::BlindedKey;
use crate::limits::{CHUNK_MAX_BYTES, FRAME_MAX_BYTES, HAVE_MAX_CHUNKS, HEAD_MAX_BYTES};
use crate::proto::{self, request, response};

/// A question, or a word about earlier ones, from the side that opened the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Asks for a site's head.
    Head {
        /// Chosen by the asker, not 0, not in use.
        id: u32,
        /// The site.
        blinded: BlindedKey,
    },
    /// Asks for a chunk.
    Chunk {
        /// Chosen by the asker, not 0, not in use.
        id: u32,
        /// The chunk.
        chunk: ChunkId,
    },
    /// Asks which of these chunks of a site the other side holds.
    Have {
        /// Chosen by the asker, not 0, not in use.
        id: u32,
        /// The site.
        blinded: BlindedKey,
        /// 1..=200 chunks.
        chunks: Vec<ChunkId>,
    },
    /// Allows the other side to send this much more part data.
    Credit {
        /// Bytes, 1 or more.
        bytes: u64,
    },
    /// Takes a question back. Its answer ends all the same: with its last part if that is under way, or with `CANCELLED`.
    Cancel {
        /// The question.
        id: u32,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// A site's head: signed bytes, 1..=4,096, not looked at yet.
    Head {
        /// The question.
        id: u32,
        /// What [`Head::parse_for`](crate::head::Head::parse_for) reads.
        bytes: Vec<u8>,
    },
    /// A piece of a sealed chunk.
    Part {
        /// The question.
        id: u32,
        /// Bytes of the whole sealed chunk, the same in every part.
        total: u32,
        /// Where in the chunk the data begins.
        offset: u32,
        /// 1 byte or more.
        data: Bytes,
    },
    /// There will be no answer.
    Refused {
        /// The question.
        id: u32,
        /// Why.
        code: Code,
    },
    /// Which of the chunks asked about are held.
    Held {
        /// The question.
        id: u32,
        /// One bit per chunk, lowest bit first; read it with [`is_held`].
        bitmap: Vec<u8>,
    },
}

/// Why a question is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// The other side does not have it.
    NotFound = 1,
    /// The other side has too much to do; ask again later.
    Busy = 2,
    /// The question breaks a rule.
    BadRequest = 3,
    /// The asker took it back.
    Cancelled = 4,
}

impl Code {
    fn from_number(number: i32) -> Option<Self> {
        [Self::NotFound, Self::Busy, Self::BadRequest, Self::Cancelled].into_iter().find(|code| *code as i32 == number)
    }
}

/// Why bytes are not a frame. The stream they came on is of no more use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not the one encoding of a message.
    #[error("these bytes are not an exchange message (or not its only encoding); the stream is closed")]
    Encoding,
    /// A message that says nothing this version understands.
    #[error("this exchange message has no content that this MegaNet knows; the stream is closed")]
    Kind,
    /// Question 0, or credit with a number.
    #[error("an exchange question has the wrong number {id}; the stream is closed")]
    Id {
        /// The number.
        id: u32,
    },
    /// A key, hash, count or size is out of bounds.
    #[error("an exchange message breaks the bound of its {field}; the stream is closed")]
    Field {
        /// The field.
        field: &'static str,
    },
    /// The length prefix announces more than is allowed.
    #[error("a frame announces more than {max} bytes; the stream is closed and nothing was read")]
    FrameTooLarge {
        /// Bytes allowed, with the prefix.
        max: usize,
    },
    /// The length prefix is longer than it needs to be.
    #[error("a frame's length is not in its shortest form; the stream is closed")]
    Prefix,
}

fn field<T>(value: Option<T>, field: &'static str) -> Result<T, WireError> {
    value.ok_or(WireError::Field { field })
}

fn blinded_key(bytes: &[u8]) -> Result<BlindedKey, WireError> {
    field(BlindedKey::from_bytes(bytes).ok(), "blinded key")
}

fn chunk_id(bytes: &[u8]) -> Result<ChunkId, WireError> {
    field(bytes.try_into().ok().map(ChunkId::from_bytes), "chunk id")
}

fn key_bytes(key: &BlindedKey) -> Bytes {
    Bytes::copy_from_slice(key.as_bytes())
}

fn id_bytes(id: &ChunkId) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}

impl Request {
    /// The question's number; 0 for credit.
    #[must_use]
    pub fn id(&self) -> u32 {
        match self {
            Self::Head { id, .. } | Self::Chunk { id, .. } | Self::Have { id, .. } | Self::Cancel { id } => *id,
            Self::Credit { .. } => 0,
        }
    }

    fn message(&self) -> proto::Request {
        let kind = match self {
            Self::Head { blinded, .. } => request::Kind::Head(key_bytes(blinded)),
            Self::Chunk { chunk, .. } => request::Kind::Chunk(id_bytes(chunk)),
            Self::Have { blinded, chunks, .. } => request::Kind::Have(proto::Have {
                blinded_key: key_bytes(blinded),
                chunks: chunks.iter().map(id_bytes).collect(),
            }),
            Self::Credit { bytes } => request::Kind::Credit(*bytes),
            Self::Cancel { .. } => request::Kind::Cancel(true),
        };
        proto::Request { id: self.id(), kind: Some(kind) }
    }

    /// The message, without its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.message().encode_to_vec()
    }

    /// The message behind its length, ready to be written.
    #[must_use]
    pub fn encode_frame(&self) -> Bytes {
        self.message().encode_length_delimited_to_vec().into()
    }

    /// Reads a message without its length.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::decode_shared(Bytes::copy_from_slice(bytes))
    }

    /// As [`Request::decode`], without copying what need not be.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn decode_shared(bytes: Bytes) -> Result<Self, WireError> {
        if bytes.len() > FRAME_MAX_BYTES {
            return Err(WireError::FrameTooLarge { max: FRAME_MAX_BYTES });
        }
        let message: proto::Request = proto::decode(bytes).map_err(|_| WireError::Encoding)?;
        let id = message.id;
        let kind = message.kind.ok_or(WireError::Kind)?;
        if (id == 0) != matches!(kind, request::Kind::Credit(_)) {
            return Err(WireError::Id { id });
        }
        match kind {
            request::Kind::Head(key) => Ok(Self::Head { id, blinded: blinded_key(&key)? }),
            request::Kind::Chunk(chunk) => Ok(Self::Chunk { id, chunk: chunk_id(&chunk)? }),
            request::Kind::Have(have) => {
                if !(1..=HAVE_MAX_CHUNKS).contains(&have.chunks.len()) {
                    return Err(WireError::Field { field: "count of chunks" });
                }
                let chunks = have.chunks.iter().map(|chunk| chunk_id(chunk)).collect::<Result<_, _>>()?;
                Ok(Self::Have { id, blinded: blinded_key(&have.blinded_key)?, chunks })
            }
            request::Kind::Credit(0) => Err(WireError::Field { field: "credit" }),
            request::Kind::Credit(bytes) => Ok(Self::Credit { bytes }),
            request::Kind::Cancel(false) => Err(WireError::Field { field: "cancel flag" }),
            request::Kind::Cancel(true) => Ok(Self::Cancel { id }),
        }
    }
}

/// The bytes of a part's message up to its data. Data is the last field of the last field, so this is all of the message
/// but the data itself, and the only way to write it.
fn part_head(id: u32, total: u32, offset: u32, data_len: usize) -> BytesMut {
    let varint = |tag: u32, value: u32, out: &mut BytesMut| {
        if value != 0 {
            encode_key(tag, WireType::Varint, out);
            encode_varint(value.into(), out);
        }
    };
    let mut part = BytesMut::with_capacity(20);
    varint(1, total, &mut part);
    varint(2, offset, &mut part);
    encode_key(3, WireType::LengthDelimited, &mut part);
    encode_varint(data_len as u64, &mut part);
    let mut head = BytesMut::with_capacity(40);
    varint(1, id, &mut head);
    encode_key(3, WireType::LengthDelimited, &mut head);
    encode_varint((part.len() + data_len) as u64, &mut head);
    head.extend_from_slice(&part);
    head
}

impl Response {
    /// The number of the question that this answers.
    #[must_use]
    pub fn id(&self) -> u32 {
        match self {
            Self::Head { id, .. } | Self::Part { id, .. } | Self::Refused { id, .. } | Self::Held { id, .. } => *id,
        }
    }

    fn message(&self) -> proto::Response {
        let kind = match self {
            Self::Head { bytes, .. } => response::Kind::Head(Bytes::copy_from_slice(bytes)),
            Self::Part { total, offset, data, .. } => {
                response::Kind::Part(proto::ChunkPart { total: *total, offset: *offset, data: data.clone() })
            }
            Self::Refused { code, .. } => response::Kind::Refused(*code as i32),
            Self::Held { bitmap, .. } => response::Kind::Held(Bytes::copy_from_slice(bitmap)),
        };
        proto::Response { id: self.id(), kind: Some(kind) }
    }

    /// The message, without its length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.message().encode_to_vec()
    }

    /// The message behind its length, ready to be written; a part's data is copied once.
    #[must_use]
    pub fn encode_frame(&self) -> Bytes {
        self.message().encode_length_delimited_to_vec().into()
    }

    /// Reads a message without its length.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        Self::decode_shared(Bytes::copy_from_slice(bytes))
    }

    /// As [`Response::decode`], but a part's data is a slice of `bytes` instead of a copy.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn decode_shared(bytes: Bytes) -> Result<Self, WireError> {
        if bytes.len() > FRAME_MAX_BYTES {
            return Err(WireError::FrameTooLarge { max: FRAME_MAX_BYTES });
        }
        let message = proto::Response::decode(bytes.clone()).map_err(|_| WireError::Encoding)?;
        let is_canonical = match &message.kind {
            // Almost all bytes that are ever received come this way: compare the head, the data cannot differ.
            Some(response::Kind::Part(part)) => {
                let head = part_head(message.id, part.total, part.offset, part.data.len());
                bytes.len() == head.len() + part.data.len() && bytes.starts_with(&head)
            }
            _ => message.encode_to_vec() == bytes,
        };
        if !is_canonical {
            return Err(WireError::Encoding);
        }
        let id = message.id;
        let kind = message.kind.ok_or(WireError::Kind)?;
        if id == 0 {
            return Err(WireError::Id { id });
        }
        match kind {
            response::Kind::Head(head) if (1..=HEAD_MAX_BYTES).contains(&head.len()) => {
                Ok(Self::Head { id, bytes: head.into() })
            }
            response::Kind::Head(_) => Err(WireError::Field { field: "head" }),
            response::Kind::Part(part) => {
                let (total, offset) = (part.total, part.offset);
                let end = (offset as usize).saturating_add(part.data.len());
                if part.data.is_empty() || total as usize > CHUNK_MAX_BYTES || end > total as usize {
                    return Err(WireError::Field { field: "part" });
                }
                Ok(Self::Part { id, total, offset, data: part.data })
            }
            response::Kind::Refused(number) => {
                Ok(Self::Refused { id, code: field(Code::from_number(number), "code")? })
            }
            response::Kind::Held(bitmap) if (1..=HAVE_MAX_CHUNKS.div_ceil(8)).contains(&bitmap.len()) => {
                Ok(Self::Held { id, bitmap: bitmap.into() })
            }
            response::Kind::Held(_) => Err(WireError::Field { field: "bitmap" }),
        }
    }
}

/// The bitmap that answers a [`Request::Have`].
#[must_use]
pub fn held_bitmap(held: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| bits.iter().enumerate().fold(0, |byte, (place, held)| byte | u8::from(*held) << place);
    held.chunks(8).map(byte).collect()
}

/// Whether the chunk at `index` of a [`Request::Have`] is held, by the bitmap that answered it.
#[must_use]
pub fn is_held(bitmap: &[u8], index: usize) -> bool {
    bitmap.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

/// Puts the length before a message.
#[must_use]
pub fn frame(body: &[u8]) -> Vec<u8> {
    let length = body.len() as u64;
    let mut frame = Vec::with_capacity(encoded_len_varint(length) + body.len());
    encode_varint(length, &mut frame);
    frame.put_slice(body);
    frame
}

/// Cuts a stream of bytes into frames. Its items are the frames' bodies that are complete so far; after an error there
/// are no more.
#[derive(Debug)]
pub struct FrameDecoder {
    max: usize,
    buffer: BytesMut,
    is_broken: bool,
}

impl FrameDecoder {
    /// A decoder of frames of at most `max` bytes, their length prefix included.
    #[must_use]
    pub fn new(max: usize) -> Self {
        // More than a prefix of three bytes can say is never asked for.
        Self { max: max.min((1 << 21) - 1), buffer: BytesMut::new(), is_broken: false }
    }

    /// Adds bytes of the stream. Take all frames out before the next call, and memory stays below one frame and one read.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.is_broken {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Length of the prefix and of the body, once the prefix is there.
    fn lengths(&self) -> Result<Option<(usize, usize)>, WireError> {
        let too_large = WireError::FrameTooLarge { max: self.max };
        let mut body = 0_usize;
        for (place, byte) in self.buffer.iter().enumerate() {
            // Four bytes of prefix could announce no less than 2 MiB.
            if place == 3 {
                return Err(too_large);
            }
            body |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                let prefix = place + 1;
                if *byte == 0 && place > 0 {
                    return Err(WireError::Prefix);
                }
                return if prefix + body > self.max { Err(too_large) } else { Ok(Some((prefix, body))) };
            }
        }
        Ok(None)
    }
}

impl Iterator for FrameDecoder {
    type Item = Result<Bytes, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_broken {
            return None;
        }
        match self.lengths() {
            Ok(Some((prefix, body))) if self.buffer.len() >= prefix + body => {
                self.buffer.advance(prefix);
                Some(Ok(self.buffer.split_to(body).freeze()))
            }
            Ok(_) => None,
            Err(error) => {
                self.is_broken = true;
                self.buffer = BytesMut::new();
                Some(Err(error))
            }
        }
    }
}
