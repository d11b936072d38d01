//! The address of a site: 56 characters that are its public key and their own integrity check.
//!
//! Built as a Tor v3 onion address is (rend-spec-v3 §6): base32 of key, checksum and version.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD_NOCASE;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tor_llcrypto::pk::ed25519::PublicKey;
use tor_llcrypto::pk::keymanip::blind_pubkey;

use crate::keys::{BlindedKey, blinding_parameter, check_point, derive};
pub use crate::link::{Link, LinkError};

const CONTEXT_CHECKSUM: &str = "meganet 2026 address checksum v1";
/// The version that addresses are made with.
const VERSION: u8 = 1;
/// Characters of an address.
pub(crate) const ADDRESS_CHARS: usize = 56;

/// The name of a site: its Ed25519 public key, checked to be a usable one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 32]);

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not 56 characters.
    #[error("an address has 56 characters, this has {found}: copy it again, whole")]
    Length {
        /// Characters given.
        found: usize,
    },
    /// A character that no address has.
    #[error("the character {found:?} at place {} is in no address (they have a–z and 2–7): copy it again", .position + 1)]
    Alphabet {
        /// Place of the character, counted from 0.
        position: usize,
        /// The character.
        found: char,
    },
    /// Made by a version of MegaNet that this one does not know.
    #[error("this address has version {found}, which this MegaNet does not know: update it, or copy the address again")]
    Version {
        /// The version byte.
        found: u8,
    },
    /// Characters were changed or swapped.
    #[error("this address has a typing error in it (its checksum does not fit): copy it again")]
    Checksum,
    /// Whole, but not the address of any key.
    #[error("this address is not one of a usable key: no site can be behind it; ask whoever gave it to you")]
    Key,
}

fn checksum(public_key: &[u8; 32]) -> [u8; 2] {
    let hash = derive(CONTEXT_CHECKSUM, &[public_key, &[VERSION]]);
    [hash[0], hash[1]]
}

impl Address {
    /// The address of an Ed25519 public key.
    ///
    /// # Errors
    /// [`AddressError::Key`] if the bytes are not the one encoding of a point of the curve's prime-order group.
    pub fn from_public_key(public_key: [u8; 32]) -> Result<Self, AddressError> {
        let key = check_point(&public_key).map_err(|_| AddressError::Key)?;
        // A point with a torsion part is a second name for the same author, as rend-spec-v3 says.
        if !key.to_edwards().is_torsion_free() {
            return Err(AddressError::Key);
        }
        Ok(Self(public_key))
    }

    /// The address of a public key that was just computed from a seed, which makes it usable.
    pub(crate) fn of_own_key(public_key: [u8; 32]) -> Self {
        Self(public_key)
    }

    /// The 32 bytes of the Ed25519 public key.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key that the site is filed and announced under.
    ///
    /// # Panics
    /// Never: an address is made only of keys that blinding accepts.
    #[must_use]
    #[expect(clippy::expect_used, reason = "an address is only ever made of a key that blinding accepts")]
    pub fn blinded(&self) -> BlindedKey {
        let blinded =
            PublicKey::from_bytes(&self.0).ok().and_then(|key| blind_pubkey(&key, blinding_parameter(&self.0)).ok());
        BlindedKey::of_point(blinded.expect("an address holds a checked point").to_bytes())
    }

    /// The first and last six characters, for places where the whole does not fit.
    #[must_use]
    pub fn short(&self) -> String {
        let text = self.to_string();
        let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
        format!("{}…{}", part(0..6), part(ADDRESS_CHARS - 6..ADDRESS_CHARS))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 35];
        bytes[..32].copy_from_slice(&self.0);
        bytes[32..34].copy_from_slice(&checksum(&self.0));
        bytes[34] = VERSION;
        f.pad(&BASE32_NOPAD_NOCASE.encode(&bytes).to_ascii_lowercase())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let found = text.chars().count();
        if found != ADDRESS_CHARS {
            return Err(AddressError::Length { found });
        }
        let foreign = |(_, c): &(usize, char)| !(c.is_ascii_alphabetic() || ('2'..='7').contains(c));
        if let Some((position, found)) = text.chars().enumerate().find(foreign) {
            return Err(AddressError::Alphabet { position, found });
        }
        // 56 characters of the alphabet always decode to 35 bytes.
        let bytes = BASE32_NOPAD_NOCASE.decode(text.as_bytes()).map_err(|_| AddressError::Length { found })?;
        let Some((public_key, [check0, check1, version])) = bytes.split_first_chunk::<32>() else {
            return Err(AddressError::Length { found });
        };
        if *version != VERSION {
            return Err(AddressError::Version { found: *version });
        }
        if [*check0, *check1] != checksum(public_key) {
            return Err(AddressError::Checksum);
        }
        Self::from_public_key(*public_key)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
