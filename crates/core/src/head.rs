//! Heads: the small signed records that say which version of a site is current.
//!
//! The outer part (blinded key, sequence, signature) is for everybody who stores it; the inner part is sealed for
//! readers. A [`Head`] value is always one whose signature was verified, so nothing needs to be checked twice.

use std::fmt;

use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use prost::Message;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::chunk::{ChunkRef, TAG_BYTES};
use crate::hash::HeadHash;
use crate::keys::{BlindedKey, KeyError, ReadKey, SiteKey, derive};
use crate::limits::{
    CHUNK_CONTENT_MAX_BYTES, CLOCK_SKEW_MAX_MS, HEAD_MANIFEST_CHUNKS_MAX, HEAD_MAX_BYTES, MANIFEST_MAX_BYTES,
    SEQUENCE_JUMP_MAX,
};
use crate::proto;

const SIGNATURE_DOMAIN: &[u8] = b"meganet-head-v1\0";
const CONTEXT_SEAL_KEY: &str = "meganet 2026 head seal key v1";
const VERSION: u32 = 1;
const NONCE_BYTES: usize = 12;

/// Why bytes are not a head, or a head is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Over 4 KiB.
    #[error("a head has at most {HEAD_MAX_BYTES} bytes, this has {found}; it was dropped unread")]
    TooLarge {
        /// Bytes given.
        found: usize,
    },
    /// Not the one encoding of a head.
    #[error("these bytes are not a head (or not its only encoding); they were dropped")]
    Encoding,
    /// Of a version that this program does not know.
    #[error("this head has version {found}, which this MegaNet does not know; update it")]
    Version {
        /// Version in the head.
        found: u32,
    },
    /// The blinded key is no key.
    #[error("the key in this head is unusable ({0}); it was dropped")]
    Key(KeyError),
    /// A head of another site than the one asked for.
    #[error("this is the head of another site than the one that was asked for; it was dropped")]
    OtherSite,
    /// Sequence numbers begin with 1.
    #[error("a head's sequence number begins with 1, this is 0; it was dropped")]
    SequenceZero,
    /// The signature is not the site's over these bytes.
    #[error("this head's signature is not the site's; it was dropped, ask another peer")]
    Signature,
    /// The read key does not open it.
    #[error("this head does not open with the key at hand: the link may lack a private site's secret")]
    Sealed,
    /// What is sealed in it breaks a rule.
    #[error("this head is signed, but its content breaks the rule “{rule}”; only the site's author can repair that")]
    Inner {
        /// The rule.
        rule: &'static str,
    },
    /// Dated ahead of the clock.
    #[error("this head is dated {ahead_ms} ms ahead of this device's clock; check the clock, or wait")]
    Future {
        /// Milliseconds ahead of the reader's clock.
        ahead_ms: u64,
    },
    /// The requested sequence number is not above the current one.
    #[error("the sequence number {requested} is not above the published {current}; nothing was signed")]
    NotNewer {
        /// Highest sequence number so far.
        current: u64,
        /// Sequence number that was asked for.
        requested: u64,
    },
    /// The requested sequence number is too far ahead.
    #[error(
        "the sequence number would rise from {current} to {requested}, by more than {SEQUENCE_JUMP_MAX}; nothing was \
         signed: such a jump uses numbers up for good"
    )]
    Jump {
        /// Highest sequence number so far.
        current: u64,
        /// Sequence number that was asked for.
        requested: u64,
    },
    /// There is no higher sequence number.
    #[error("the highest possible sequence number is published already; this key can publish no more: use a new one")]
    Exhausted,
}

/// A signed head whose signature is valid. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    bytes: Bytes,
    blinded_key: BlindedKey,
    sequence: u64,
    sealed: Bytes,
}

/// What a head tells its readers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadInner {
    /// When it was signed, in wall-clock milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Sum of the sizes of the site's files, in bytes.
    pub total_size: u64,
    /// Bytes of the encoded manifest.
    pub manifest_size: u32,
    /// The chunks that the encoded manifest is cut into, 1..=5.
    pub manifest: Vec<ChunkRef>,
    /// Hash of the head before this one; `None` for a site's first.
    pub previous: Option<HeadHash>,
}

/// What a candidate head is beside the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadDecision {
    /// It takes the current one's place.
    Newer,
    /// It is the current one.
    Same,
    /// It stays out: a lower sequence number, or another site's.
    Older,
    /// Same sequence number, different bytes: keep the current one, and both as a proof.
    Conflict,
}

impl Head {
    /// Reads a head of any site: size, encoding, version, key, sequence and signature, the cheap ones first.
    ///
    /// # Errors
    /// The first rule that the bytes break. They are then worthless, and their sender lied or is broken.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeadError> {
        Self::parse_expecting(bytes, None)
    }

    /// Reads a head of the site with this blinded key; another site's is refused before its sequence is looked at.
    ///
    /// # Errors
    /// As [`Head::parse`], and [`HeadError::OtherSite`].
    pub fn parse_for(bytes: &[u8], expected: &BlindedKey) -> Result<Self, HeadError> {
        Self::parse_expecting(bytes, Some(expected))
    }

    fn parse_expecting(bytes: &[u8], expected: Option<&BlindedKey>) -> Result<Self, HeadError> {
        if bytes.len() > HEAD_MAX_BYTES {
            return Err(HeadError::TooLarge { found: bytes.len() });
        }
        let bytes = Bytes::copy_from_slice(bytes);
        let signed: proto::SignedHead = proto::decode(bytes.clone()).map_err(|_| HeadError::Encoding)?;
        let signature: [u8; 64] = signed.signature.as_ref().try_into().map_err(|_| HeadError::Encoding)?;
        let body: proto::HeadBody = proto::decode(signed.body.clone()).map_err(|_| HeadError::Encoding)?;
        if body.version != VERSION {
            return Err(HeadError::Version { found: body.version });
        }
        if expected.is_some_and(|expected| *expected.as_bytes() != *body.blinded_key) {
            return Err(HeadError::OtherSite);
        }
        if body.sequence == 0 {
            return Err(HeadError::SequenceZero);
        }
        if body.sealed.len() < NONCE_BYTES + TAG_BYTES {
            return Err(HeadError::Encoding);
        }
        let blinded_key = BlindedKey::from_bytes(&body.blinded_key).map_err(HeadError::Key)?;
        let verifier = VerifyingKey::from_bytes(blinded_key.as_bytes()).map_err(|_| HeadError::Key(KeyError::Point))?;
        verifier
            .verify_strict(&signed_text(&signed.body), &Signature::from_bytes(&signature))
            .map_err(|_| HeadError::Signature)?;
        Ok(Self { bytes, blinded_key, sequence: body.sequence, sealed: body.sealed })
    }

    /// Seals and signs a head.
    ///
    /// # Errors
    /// [`HeadError::Inner`] if `inner` breaks a rule, [`HeadError::SequenceZero`] for sequence 0.
    pub fn sign(site: &SiteKey, read: &ReadKey, sequence: u64, inner: &HeadInner) -> Result<Self, HeadError> {
        inner.check()?;
        if sequence == 0 {
            return Err(HeadError::SequenceZero);
        }
        let blinded = site.blinded().ok_or(HeadError::Key(KeyError::Point))?;
        let blinded_key = BlindedKey::of_point(blinded.public().to_bytes());
        let sealed = Bytes::from(seal(read, &blinded_key, sequence, &inner.encode())?);
        let body = proto::HeadBody {
            version: VERSION,
            blinded_key: Bytes::copy_from_slice(blinded_key.as_bytes()),
            sequence,
            sealed: sealed.clone(),
        };
        let body = Bytes::from(body.encode_to_vec());
        let signature = Bytes::copy_from_slice(&blinded.sign(&signed_text(&body)).to_bytes());
        let bytes = Bytes::from(proto::SignedHead { body, signature }.encode_to_vec());
        if bytes.len() > HEAD_MAX_BYTES {
            return Err(HeadError::TooLarge { found: bytes.len() });
        }
        Ok(Self { bytes, blinded_key, sequence, sealed })
    }

    /// Opens the part that only readers see.
    ///
    /// # Errors
    /// [`HeadError::Sealed`] if the read key is not this site's, [`HeadError::Inner`] if the content breaks a rule.
    pub fn open(&self, read: &ReadKey) -> Result<HeadInner, HeadError> {
        let key = seal_key(read, self.sequence);
        let (nonce, ciphertext) = self.sealed.split_first_chunk::<NONCE_BYTES>().ok_or(HeadError::Sealed)?;
        let mut inner = ciphertext.to_vec();
        let aad = Aad::from(associated_data(&self.blinded_key, self.sequence));
        let opened = cipher(&key)?
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut inner)
            .map_err(|_| HeadError::Sealed)?;
        if seal_nonce(&key, opened) != *nonce {
            return Err(HeadError::Inner { rule: "the nonce follows from the content" });
        }
        HeadInner::decode(opened)
    }

    /// The signed bytes, as they are stored and sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The signed bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// The key it is filed under.
    #[must_use]
    pub fn blinded_key(&self) -> BlindedKey {
        self.blinded_key
    }

    /// Its place in the site's history, 1 or more.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The hash that the next head names as its predecessor.
    #[must_use]
    pub fn hash(&self) -> HeadHash {
        HeadHash::of(&self.bytes)
    }

    /// Whether the two prove that the site's key signed two versions under one sequence number.
    #[must_use]
    pub fn equivocates(&self, other: &Self) -> bool {
        self.blinded_key == other.blinded_key && self.sequence == other.sequence && self.bytes != other.bytes
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({:?}, sequence {}, {} bytes)", self.blinded_key, self.sequence, self.bytes.len())
    }
}

/// What to do with a candidate when `current` is the head one has.
#[must_use]
pub fn compare(current: &Head, candidate: &Head) -> HeadDecision {
    if current.blinded_key != candidate.blinded_key || candidate.sequence < current.sequence {
        HeadDecision::Older
    } else if candidate.sequence > current.sequence {
        HeadDecision::Newer
    } else if candidate.bytes == current.bytes {
        HeadDecision::Same
    } else {
        HeadDecision::Conflict
    }
}

/// The sequence number of the next head: the requested one if it is allowed, otherwise one above the current.
///
/// # Errors
/// [`HeadError::NotNewer`], [`HeadError::Jump`] beyond 2³², or [`HeadError::Exhausted`] at the last number.
pub fn next_sequence(current: Option<u64>, requested: Option<u64>) -> Result<u64, HeadError> {
    let current = current.unwrap_or(0);
    let Some(requested) = requested else {
        return current.checked_add(1).ok_or(HeadError::Exhausted);
    };
    match requested.checked_sub(current) {
        None | Some(0) => Err(HeadError::NotNewer { current, requested }),
        Some(step) if step > SEQUENCE_JUMP_MAX => Err(HeadError::Jump { current, requested }),
        Some(_) => Ok(requested),
    }
}

impl HeadInner {
    /// Refuses a head from further ahead of the reader's clock than clocks differ.
    ///
    /// # Errors
    /// [`HeadError::Future`]. The verdict changes as the clock goes on: do not remember it.
    pub fn check_time(&self, now_ms: u64) -> Result<(), HeadError> {
        let ahead_ms = self.time_ms.saturating_sub(now_ms);
        if ahead_ms > CLOCK_SKEW_MAX_MS { Err(HeadError::Future { ahead_ms }) } else { Ok(()) }
    }

    fn check(&self) -> Result<(), HeadError> {
        let broken = |rule| Err(HeadError::Inner { rule });
        let manifest_size = self.manifest_size as usize;
        if manifest_size == 0 || manifest_size > MANIFEST_MAX_BYTES {
            return broken("a manifest has 1 byte to 1 MiB");
        }
        if self.manifest.len() != manifest_size.div_ceil(CHUNK_CONTENT_MAX_BYTES)
            || self.manifest.len() > HEAD_MANIFEST_CHUNKS_MAX
        {
            return broken("a manifest is cut every 262,128 bytes");
        }
        let mut left = manifest_size;
        for chunk in &self.manifest {
            let expected = left.min(CHUNK_CONTENT_MAX_BYTES);
            if chunk.size as usize != expected {
                return broken("a manifest is cut every 262,128 bytes");
            }
            left -= expected;
        }
        Ok(())
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let message = proto::HeadInner {
            time_ms: self.time_ms,
            total_size: self.total_size,
            manifest_size: self.manifest_size,
            manifest: self.manifest.iter().map(Into::into).collect(),
            previous: self.previous.map_or_else(Vec::new, |hash| hash.as_bytes().to_vec()),
        };
        Zeroizing::new(message.encode_to_vec())
    }

    fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        let broken = |rule| HeadError::Inner { rule };
        let message: proto::HeadInner =
            proto::decode(Bytes::copy_from_slice(bytes)).map_err(|_| broken("canonical encoding"))?;
        let manifest: Option<Vec<ChunkRef>> = message.manifest.iter().map(proto::ChunkRefMessage::check).collect();
        let previous = match message.previous.as_slice() {
            [] => None,
            hash => {
                let hash = hash.try_into().map_err(|_| broken("the previous head is named by 32 bytes"))?;
                Some(HeadHash::from_bytes(hash))
            }
        };
        let inner = Self {
            time_ms: message.time_ms,
            total_size: message.total_size,
            manifest_size: message.manifest_size,
            manifest: manifest.ok_or(broken("chunk references are whole"))?,
            previous,
        };
        inner.check()?;
        Ok(inner)
    }
}

fn signed_text(body: &[u8]) -> Vec<u8> {
    [SIGNATURE_DOMAIN, body].concat()
}

fn associated_data(blinded_key: &BlindedKey, sequence: u64) -> [u8; 40] {
    let mut data = [0; 40];
    data[..32].copy_from_slice(blinded_key.as_bytes());
    data[32..].copy_from_slice(&sequence.to_be_bytes());
    data
}

fn seal_key(read: &ReadKey, sequence: u64) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(derive(CONTEXT_SEAL_KEY, &[read.head_seal.as_ref(), &sequence.to_be_bytes()]))
}

/// The nonce follows from the content, so that two heads under one sequence never share key and nonce.
fn seal_nonce(key: &[u8; 32], inner: &[u8]) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce.copy_from_slice(&blake3::keyed_hash(key, inner).as_bytes()[..NONCE_BYTES]);
    nonce
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, HeadError> {
    UnboundKey::new(&CHACHA20_POLY1305, key).map(LessSafeKey::new).map_err(|_| HeadError::Sealed)
}

fn seal(read: &ReadKey, blinded_key: &BlindedKey, sequence: u64, inner: &[u8]) -> Result<Vec<u8>, HeadError> {
    let key = seal_key(read, sequence);
    let nonce = seal_nonce(&key, inner);
    let mut ciphertext = inner.to_vec();
    let aad = Aad::from(associated_data(blinded_key, sequence));
    cipher(&key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut ciphertext)
        .map_err(|_| HeadError::Sealed)?;
    Ok([&nonce[..], &ciphertext].concat())
}
