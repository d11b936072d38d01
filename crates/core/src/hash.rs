//! The two hashes that name things: a sealed chunk's and a signed head's. Both are BLAKE3 with 32 bytes.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD_NOCASE, HEXLOWER};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// CIDv1, raw codec, BLAKE3-256 multihash of 32 bytes, as the bytes before the hash.
const CID_PREFIX: [u8; 4] = [0x01, 0x55, 0x1e, 0x20];
/// The multibase letter of lowercase base32 without padding.
const CID_MULTIBASE: char = 'b';

/// The BLAKE3 hash of a sealed chunk: what a chunk is asked for, stored and verified by.
///
/// Shown to people as a CIDv1 (raw codec, BLAKE3-256 multihash) in lowercase base32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId([u8; 32]);

impl ChunkId {
    /// The id of these sealed bytes.
    #[must_use]
    pub fn of(sealed: &[u8]) -> Self {
        Self(*blake3::hash(sealed).as_bytes())
    }

    /// The id that these bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 36];
        bytes[..4].copy_from_slice(&CID_PREFIX);
        bytes[4..].copy_from_slice(&self.0);
        write!(f, "{CID_MULTIBASE}{}", BASE32_NOPAD_NOCASE.encode(&bytes).to_ascii_lowercase())
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({self})")
    }
}

/// The text is no chunk id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a chunk id (a CIDv1 in base32, raw codec, BLAKE3-256)")]
pub struct ChunkIdError;

impl FromStr for ChunkId {
    type Err = ChunkIdError;

    fn from_str(text: &str) -> Result<Self, ChunkIdError> {
        let encoded = text.strip_prefix(CID_MULTIBASE).ok_or(ChunkIdError)?;
        // 36 bytes are 58 characters; asked first so that a huge text is not decoded.
        if encoded.len() != 58 {
            return Err(ChunkIdError);
        }
        let bytes = BASE32_NOPAD_NOCASE.decode(encoded.as_bytes()).map_err(|_| ChunkIdError)?;
        let hash = bytes.strip_prefix(&CID_PREFIX).ok_or(ChunkIdError)?;
        Ok(Self(hash.try_into().map_err(|_| ChunkIdError)?))
    }
}

impl Serialize for ChunkId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for ChunkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// The BLAKE3 hash of a signed head's bytes: what the next head names as its predecessor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HeadHash([u8; 32]);

impl HeadHash {
    /// The hash of these bytes of a signed head.
    #[must_use]
    pub fn of(signed_head: &[u8]) -> Self {
        Self(*blake3::hash(signed_head).as_bytes())
    }

    /// The hash that these bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for HeadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for HeadHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeadHash({self})")
    }
}
