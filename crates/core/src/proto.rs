//! The protobuf messages of `docs/formats.md`, and the one way they are decoded: canonically.

use bytes::Bytes;
use prost::Message;

use crate::chunk::{ChunkKey, ChunkRef};
use crate::hash::ChunkId;
use crate::limits::CHUNK_CONTENT_MAX_BYTES;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SignedHead {
    #[prost(bytes = "bytes", tag = "1")]
    pub body: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub signature: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeadBody {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub blinded_key: Bytes,
    #[prost(uint64, tag = "3")]
    pub sequence: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub sealed: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct HeadInner {
    #[prost(uint64, tag = "1")]
    pub time_ms: u64,
    #[prost(uint64, tag = "2")]
    pub total_size: u64,
    #[prost(uint32, tag = "3")]
    pub manifest_size: u32,
    #[prost(message, repeated, tag = "4")]
    pub manifest: Vec<ChunkRefMessage>,
    #[prost(bytes = "vec", tag = "5")]
    pub previous: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChunkRefMessage {
    #[prost(bytes = "bytes", tag = "1")]
    pub id: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    #[prost(uint32, tag = "3")]
    pub size: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Manifest {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(message, repeated, tag = "2")]
    pub chunks: Vec<ChunkRefMessage>,
    #[prost(message, repeated, tag = "3")]
    pub entries: Vec<Entry>,
    #[prost(string, tag = "4")]
    pub index: String,
    #[prost(uint32, tag = "5")]
    pub starter: u32,
    #[prost(string, tag = "6")]
    pub title: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Entry {
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(string, tag = "2")]
    pub media_type: String,
    #[prost(uint64, tag = "3")]
    pub size: u64,
    #[prost(uint32, tag = "4")]
    pub first_chunk: u32,
    #[prost(uint32, tag = "5")]
    pub offset: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SignedPeerList {
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub public_key: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub signature: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PeerListBody {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(uint64, tag = "2")]
    pub issued_ms: u64,
    #[prost(uint64, tag = "3")]
    pub expires_ms: u64,
    #[prost(message, repeated, tag = "4")]
    pub peers: Vec<PeerEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KnownPeers {
    #[prost(message, repeated, tag = "1")]
    pub peers: Vec<PeerEntry>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PeerEntry {
    #[prost(bytes = "vec", tag = "1")]
    pub peer_id: Vec<u8>,
    #[prost(string, repeated, tag = "2")]
    pub addresses: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RememberedPeers {
    #[prost(uint32, tag = "1")]
    pub version: u32,
    #[prost(message, repeated, tag = "2")]
    pub peers: Vec<RememberedPeer>,
}

/// The part of [`RememberedPeers`] that every version has.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct RememberedVersion {
    #[prost(uint32, tag = "1")]
    pub version: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RememberedPeer {
    #[prost(message, optional, tag = "1")]
    pub peer: Option<PeerEntry>,
    #[prost(uint64, tag = "2")]
    pub since_ms: u64,
    #[prost(uint64, tag = "3")]
    pub last_ms: u64,
    #[prost(uint32, tag = "4")]
    pub failures: u32,
    #[prost(bool, tag = "5")]
    pub is_dialled: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(oneof = "request::Kind", tags = "2, 3, 4, 5, 6")]
    pub kind: Option<request::Kind>,
}

pub(crate) mod request {
    //! The kinds of a request.
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Kind {
        #[prost(bytes = "bytes", tag = "2")]
        Head(Bytes),
        #[prost(bytes = "bytes", tag = "3")]
        Chunk(Bytes),
        #[prost(message, tag = "4")]
        Have(super::Have),
        #[prost(uint64, tag = "5")]
        Credit(u64),
        #[prost(bool, tag = "6")]
        Cancel(bool),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Have {
    #[prost(bytes = "bytes", tag = "1")]
    pub blinded_key: Bytes,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    pub chunks: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Response {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(oneof = "response::Kind", tags = "2, 3, 4, 5")]
    pub kind: Option<response::Kind>,
}

pub(crate) mod response {
    //! The kinds of a response.
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(crate) enum Kind {
        #[prost(bytes = "bytes", tag = "2")]
        Head(Bytes),
        #[prost(message, tag = "3")]
        Part(super::ChunkPart),
        #[prost(int32, tag = "4")]
        Refused(i32),
        #[prost(bytes = "bytes", tag = "5")]
        Held(Bytes),
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChunkPart {
    #[prost(uint32, tag = "1")]
    pub total: u32,
    #[prost(uint32, tag = "2")]
    pub offset: u32,
    #[prost(bytes = "bytes", tag = "3")]
    pub data: Bytes,
}

/// The bytes are no protobuf message of the expected kind, or not its only encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotCanonical;

/// Decodes `bytes` and refuses them unless encoding the result gives the same bytes again.
///
/// Byte fields of the result share the buffer.
pub(crate) fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, NotCanonical> {
    let message = M::decode(bytes.clone()).map_err(|_| NotCanonical)?;
    // The length is cheap to compute and already tells most foreign encodings apart.
    if message.encoded_len() == bytes.len() && message.encode_to_vec() == bytes {
        Ok(message)
    } else {
        Err(NotCanonical)
    }
}

impl From<&ChunkRef> for ChunkRefMessage {
    fn from(chunk: &ChunkRef) -> Self {
        Self {
            id: Bytes::copy_from_slice(chunk.id.as_bytes()),
            key: Bytes::copy_from_slice(chunk.key.as_bytes()),
            size: chunk.size,
        }
    }
}

impl ChunkRefMessage {
    /// The chunk reference, if lengths and size are within bounds.
    pub(crate) fn check(&self) -> Option<ChunkRef> {
        let id = ChunkId::from_bytes(self.id.as_ref().try_into().ok()?);
        let key = ChunkKey::from_bytes(self.key.as_ref().try_into().ok()?);
        let size = self.size;
        (1..=CHUNK_CONTENT_MAX_BYTES).contains(&(size as usize)).then_some(ChunkRef { id, key, size })
    }
}
