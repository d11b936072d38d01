//! Chunks: content that is padded, sealed under a key of its own, and named by the hash of what comes out.
//!
//! The key depends on the site's read key and on the plaintext: equal content dedupes within a site and across its
//! versions, and nobody without the read key can confirm a guess. Padding is Padmé (Nikitin et al., "Reducing Metadata
//! Leakage from Encrypted Files and Communication with PURBs", PETS 2019).

use std::fmt;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use crate::hash::ChunkId;
use crate::keys::ReadKey;
use crate::limits::{CHUNK_CONTENT_MAX_BYTES, CHUNK_MAX_BYTES, CHUNK_PAD_MIN_BYTES};

/// Bytes that sealing adds.
pub(crate) const TAG_BYTES: usize = 16;

/// The key that one chunk is sealed with. It seals that one plaintext only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkKey([u8; 32]);

impl ChunkKey {
    /// The key that these bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 secret bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ChunkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChunkKey(secret hidden)")
    }
}

/// What it takes to get and read one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkRef {
    /// The hash of the sealed bytes.
    pub id: ChunkId,
    /// The key they open with.
    pub key: ChunkKey,
    /// Bytes of content before padding, 1..=262,128.
    pub size: u32,
}

/// Why a chunk was not sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Content must be 1..=262,128 bytes.
    #[error("a chunk holds 1 to {CHUNK_CONTENT_MAX_BYTES} bytes, this is {found}; nothing was sealed")]
    ContentSize {
        /// Bytes given.
        found: usize,
    },
    /// Sealed bytes are of no size that sealing gives.
    #[error("a chunk of this size ({found} bytes) cannot be right; it was dropped, ask another peer")]
    SealedSize {
        /// Bytes given.
        found: usize,
    },
    /// The bytes are not the ones asked for.
    #[error("the bytes are not the chunk that was asked for (its hash differs); they were dropped, ask another peer")]
    Hash,
    /// The right bytes, but the key or size in the manifest does not open them.
    #[error(
        "the chunk is whole, but the site's manifest has a wrong key for it; only the site's author can repair that"
    )]
    Seal,
    /// The right bytes, opened, but what follows the content is not padding.
    #[error(
        "the chunk is whole, but the site's manifest has a wrong size for it; only the site's author can repair that"
    )]
    Padding,
}

/// Bytes that content of `len` bytes is padded to: Padmé, 256 at least, 262,128 at most.
#[must_use]
pub fn pad_len(len: usize) -> usize {
    if len <= CHUNK_PAD_MIN_BYTES {
        return CHUNK_PAD_MIN_BYTES;
    }
    if len >= CHUNK_CONTENT_MAX_BYTES {
        return CHUNK_CONTENT_MAX_BYTES;
    }
    let exponent = len.ilog2();
    let free_bits = exponent - (exponent.ilog2() + 1);
    let mask = (1 << free_bits) - 1;
    ((len + mask) & !mask).min(CHUNK_CONTENT_MAX_BYTES)
}

/// A key of ring's, always under the nonce of zeros: every chunk key is used for one plaintext.
fn cipher(key: &ChunkKey) -> Result<(LessSafeKey, Nonce), ChunkError> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_bytes()).map_err(|_| ChunkError::Seal)?;
    Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key([0; 12])))
}

/// Pads and seals `content`; gives the reference to it and the sealed bytes.
///
/// # Errors
/// [`ChunkError::ContentSize`] unless there are 1..=262,128 bytes.
pub fn seal(read: &ReadKey, content: &[u8]) -> Result<(ChunkRef, Vec<u8>), ChunkError> {
    let size_error = ChunkError::ContentSize { found: content.len() };
    if content.is_empty() || content.len() > CHUNK_CONTENT_MAX_BYTES {
        return Err(size_error);
    }
    let size = u32::try_from(content.len()).map_err(|_| size_error)?;
    let padded_len = pad_len(content.len());
    let mut bytes = Vec::with_capacity(padded_len + TAG_BYTES);
    bytes.extend_from_slice(content);
    bytes.resize(padded_len, 0);
    let plaintext_hash = blake3::hash(&bytes);
    let key = ChunkKey(*blake3::keyed_hash(&read.chunk_seal, plaintext_hash.as_bytes()).as_bytes());
    let (cipher, nonce) = cipher(&key)?;
    cipher.seal_in_place_append_tag(nonce, Aad::empty(), &mut bytes).map_err(|_| size_error)?;
    Ok((ChunkRef { id: ChunkId::of(&bytes), key, size }, bytes))
}

/// Checks that sealed bytes are the ones that `id` names. Whoever stores or passes on a chunk asks this first.
///
/// # Errors
/// [`ChunkError::SealedSize`] or [`ChunkError::Hash`]; the bytes are then worthless and their sender lied.
pub fn verify(id: &ChunkId, sealed: &[u8]) -> Result<(), ChunkError> {
    if !(CHUNK_PAD_MIN_BYTES + TAG_BYTES..=CHUNK_MAX_BYTES).contains(&sealed.len()) {
        return Err(ChunkError::SealedSize { found: sealed.len() });
    }
    if ChunkId::of(sealed) == *id { Ok(()) } else { Err(ChunkError::Hash) }
}

/// Verifies and opens a chunk; gives its content.
///
/// # Errors
/// As [`verify`]; and [`ChunkError::Seal`] or [`ChunkError::Padding`] if the reference does not fit the right bytes.
pub fn open(chunk: &ChunkRef, sealed: &[u8]) -> Result<Vec<u8>, ChunkError> {
    verify(&chunk.id, sealed)?;
    open_verified(chunk, sealed.to_vec())
}

/// Verifies and opens a chunk in the buffer it came in, without copying it.
///
/// # Errors
/// As [`open`].
pub fn open_owned(chunk: &ChunkRef, sealed: Vec<u8>) -> Result<Vec<u8>, ChunkError> {
    verify(&chunk.id, &sealed)?;
    open_verified(chunk, sealed)
}

fn open_verified(chunk: &ChunkRef, mut bytes: Vec<u8>) -> Result<Vec<u8>, ChunkError> {
    let size = chunk.size as usize;
    if size == 0 || size > CHUNK_CONTENT_MAX_BYTES || pad_len(size) + TAG_BYTES != bytes.len() {
        return Err(ChunkError::Padding);
    }
    let (cipher, nonce) = cipher(&chunk.key)?;
    cipher.open_in_place(nonce, Aad::empty(), &mut bytes).map_err(|_| ChunkError::Seal)?;
    bytes.truncate(bytes.len() - TAG_BYTES);
    if bytes.get(size..).is_none_or(|padding| padding.iter().any(|byte| *byte != 0)) {
        return Err(ChunkError::Padding);
    }
    bytes.truncate(size);
    Ok(bytes)
}
