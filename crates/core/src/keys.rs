//! The keys of a site: the secret that signs it, the blinded key it is filed under, and the key that reads it.
//!
//! Blinding follows Tor's rend-spec-v3 appendix A.2 with a parameter that depends on the address alone, so there is
//! one blinded key per site for good. It lets any node check a head without learning the address.

use std::fmt;

use data_encoding::HEXLOWER;
use ed25519_dalek::VerifyingKey;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tor_llcrypto::pk::ed25519::{ExpandedKeypair, Keypair};
use tor_llcrypto::pk::keymanip::blind_keypair;
use zeroize::Zeroizing;

use crate::address::Address;

const CONTEXT_BLINDING: &str = "meganet 2026 blinding v1";
const CONTEXT_HEAD_RECORD: &str = "meganet 2026 head record v1";
const CONTEXT_PROVIDER_RECORD: &str = "meganet 2026 provider record v1";
const CONTEXT_READ_KEY: &str = "meganet 2026 read key v1";
const CONTEXT_HEAD_SEAL: &str = "meganet 2026 head seal v1";
const CONTEXT_CHUNK_SEAL: &str = "meganet 2026 chunk seal v1";

/// Why bytes are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A key is 32 bytes.
    #[error("a key is 32 bytes long, this is {found}; nothing was accepted")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// Not a usable point of the curve.
    #[error("these 32 bytes are not a usable Ed25519 public key; nothing was accepted")]
    Point,
}

/// BLAKE3's `derive_key` mode over the concatenation of `parts`.
pub(crate) fn derive(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// The point of `bytes`, if it is one and not of small order.
pub(crate) fn check_point(bytes: &[u8; 32]) -> Result<VerifyingKey, KeyError> {
    // Decompression reduces the coordinate, so 19 points have a second encoding; two names for one key are refused.
    let unreduced = bytes[0] >= 0xed && bytes[1..31].iter().all(|byte| *byte == 0xff) && bytes[31] | 0x80 == 0xff;
    let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
    if unreduced || key.is_weak() { Err(KeyError::Point) } else { Ok(key) }
}

/// The blinding parameter of a site's public key.
pub(crate) fn blinding_parameter(public_key: &[u8; 32]) -> [u8; 32] {
    derive(CONTEXT_BLINDING, &[public_key])
}

/// The secret that a site is published with. Whoever has its seed is the site's author.
#[derive(Clone)]
pub struct SiteKey {
    seed: Zeroizing<[u8; 32]>,
    address: Address,
}

impl SiteKey {
    /// The key that these 32 secret bytes (an Ed25519 seed, RFC 8032) are. The caller draws them at random.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let public_key = Keypair::from_bytes(&seed).verifying_key().to_bytes();
        Self { seed: Zeroizing::new(seed), address: Address::of_own_key(public_key) }
    }

    /// The secret bytes, to be stored encrypted.
    #[must_use]
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The address of the site.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// The blinded pair that heads are signed with; `None` cannot happen for a key made from a seed.
    pub(crate) fn blinded(&self) -> Option<ExpandedKeypair> {
        let pair = ExpandedKeypair::from(&Keypair::from_bytes(&self.seed));
        blind_keypair(&pair, blinding_parameter(self.address.public_key())).ok()
    }
}

impl fmt::Debug for SiteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteKey({}, secret hidden)", self.address)
    }
}

/// The public key that a site is filed, announced and signed under. It does not tell the address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlindedKey([u8; 32]);

impl BlindedKey {
    /// Reads a blinded key.
    ///
    /// # Errors
    /// If the bytes are not 32, or not a point of the curve, or one of small order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        let bytes: [u8; 32] = bytes.try_into().map_err(|_| KeyError::Length { found: bytes.len() })?;
        check_point(&bytes)?;
        Ok(Self(bytes))
    }

    /// A key that curve arithmetic has just produced.
    pub(crate) fn of_point(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Where the site's head is filed in the DHT.
    #[must_use]
    pub fn head_record_key(&self) -> [u8; 32] {
        derive(CONTEXT_HEAD_RECORD, &[&self.0])
    }

    /// Where the site's providers are announced in the DHT.
    #[must_use]
    pub fn provider_record_key(&self) -> [u8; 32] {
        derive(CONTEXT_PROVIDER_RECORD, &[&self.0])
    }
}

impl fmt::Debug for BlindedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlindedKey({})", HEXLOWER.encode(&self.0))
    }
}

impl Serialize for BlindedKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for BlindedKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(&<[u8; 32]>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What opens a site's head and seals its chunks: follows from the address, and for a private site from a secret too.
#[derive(Clone)]
pub struct ReadKey {
    pub(crate) head_seal: Zeroizing<[u8; 32]>,
    pub(crate) chunk_seal: Zeroizing<[u8; 32]>,
}

impl ReadKey {
    /// The read key of a public site: whoever has the address can read.
    #[must_use]
    pub fn public(address: &Address) -> Self {
        Self::derived(address, &[])
    }

    /// The read key of a private site: the address alone does not read it.
    #[must_use]
    pub fn private(address: &Address, secret: &[u8; 32]) -> Self {
        Self::derived(address, secret)
    }

    fn derived(address: &Address, secret: &[u8]) -> Self {
        let read_key = Zeroizing::new(derive(CONTEXT_READ_KEY, &[address.public_key(), secret]));
        Self {
            head_seal: Zeroizing::new(derive(CONTEXT_HEAD_SEAL, &[read_key.as_ref()])),
            chunk_seal: Zeroizing::new(derive(CONTEXT_CHUNK_SEAL, &[read_key.as_ref()])),
        }
    }
}

impl fmt::Debug for ReadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ReadKey(secret hidden)")
    }
}
