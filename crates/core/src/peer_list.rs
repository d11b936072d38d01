//! The signed list of peers that a bootstrap serves, so that a tab can make its first contact.
//!
//! A bootstrap can leave peers out but cannot speak for another bootstrap: whoever reads the list compares the public key
//! with the one it trusts, if it trusts one.

use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use prost::Message;
use serde::{Deserialize, Serialize};
use tor_llcrypto::pk::ed25519::Keypair;

use crate::keys::check_point;
use crate::limits::{
    CLOCK_SKEW_MAX_MS, PEER_LIST_ADDRESS_MAX_BYTES, PEER_LIST_MAX_ADDRESSES, PEER_LIST_MAX_BYTES, PEER_LIST_MAX_PEERS,
    PEER_LIST_PEER_ID_MAX_BYTES,
};
use crate::proto;

const SIGNATURE_DOMAIN: &[u8] = b"meganet-peer-list-v1\0";
const VERSION: u32 = 1;

/// Peers that can be dialled, for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerList {
    /// When it was signed, in wall-clock milliseconds since the Unix epoch.
    pub issued_ms: u64,
    /// When it ends, in wall-clock milliseconds since the Unix epoch.
    pub expires_ms: u64,
    /// The peers, best first.
    pub peers: Vec<PeerEntry>,
}

/// One peer of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerEntry {
    /// The bytes of its peer id, a multihash of at most 64 bytes.
    pub peer_id: Vec<u8>,
    /// Multiaddresses as text.
    pub addresses: Vec<String>,
}

/// Why bytes are not a peer list, or a list cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeerListError {
    /// Over 16 KiB.
    #[error("a peer list has at most {PEER_LIST_MAX_BYTES} bytes, this has {found}; it was dropped")]
    TooLarge {
        /// Bytes given.
        found: usize,
    },
    /// Not the one encoding of a peer list.
    #[error("these bytes are not a peer list (or not its only encoding); they were dropped")]
    Encoding,
    /// Of a version that this program does not know.
    #[error("this peer list has version {found}, which this MegaNet does not know; update it")]
    Version {
        /// Version in the list.
        found: u32,
    },
    /// The public key is no key.
    #[error("the key of this peer list is unusable; it was dropped")]
    Key,
    /// The signature is not the key's over these bytes.
    #[error("this peer list's signature is wrong; it was dropped, try another bootstrap")]
    Signature,
    /// A peer or address breaks a bound.
    #[error("peer {index} of the list has a wrong id or address, or is one too many; the list was dropped")]
    Peer {
        /// Place in the list.
        index: usize,
    },
    /// Ends before it begins.
    #[error("this peer list ends before it begins; it was dropped")]
    Times,
    /// Over.
    #[error("this peer list ended {ago_ms} ms ago; get a new one, or check this device's clock")]
    Expired {
        /// Milliseconds since its end.
        ago_ms: u64,
    },
    /// Dated ahead of the clock.
    #[error("this peer list is dated {ahead_ms} ms ahead of this device's clock; check the clock")]
    Future {
        /// Milliseconds ahead of the reader's clock.
        ahead_ms: u64,
    },
}

fn check(list: &PeerList) -> Result<(), PeerListError> {
    if list.expires_ms <= list.issued_ms {
        return Err(PeerListError::Times);
    }
    check_peers(&list.peers)
}

pub(crate) fn check_peers(peers: &[PeerEntry]) -> Result<(), PeerListError> {
    for (index, peer) in peers.iter().enumerate() {
        let is_address = |address: &String| {
            let printable = address.bytes().all(|byte| byte.is_ascii_graphic());
            address.len() <= PEER_LIST_ADDRESS_MAX_BYTES && address.starts_with('/') && printable
        };
        let within_bounds = index < PEER_LIST_MAX_PEERS
            && (1..=PEER_LIST_PEER_ID_MAX_BYTES).contains(&peer.peer_id.len())
            && peer.addresses.len() <= PEER_LIST_MAX_ADDRESSES
            && peer.addresses.iter().all(is_address);
        if !within_bounds {
            return Err(PeerListError::Peer { index });
        }
    }
    Ok(())
}

fn signed_text(body: &[u8]) -> Vec<u8> {
    [SIGNATURE_DOMAIN, body].concat()
}

/// What one peer answers another that asks whom it knows: hearsay, so nobody signs it.
///
/// # Errors
/// If the list breaks a bound or is too large encoded.
pub fn encode_known(peers: &[PeerEntry]) -> Result<Vec<u8>, PeerListError> {
    check_peers(peers)?;
    let bytes = proto::KnownPeers { peers: peers.iter().map(to_proto).collect() }.encode_to_vec();
    if bytes.len() > PEER_LIST_MAX_BYTES { Err(PeerListError::TooLarge { found: bytes.len() }) } else { Ok(bytes) }
}

/// Reads such an answer.
///
/// # Errors
/// The first rule that the bytes break.
pub fn parse_known(bytes: &[u8]) -> Result<Vec<PeerEntry>, PeerListError> {
    if bytes.len() > PEER_LIST_MAX_BYTES {
        return Err(PeerListError::TooLarge { found: bytes.len() });
    }
    let known: proto::KnownPeers = proto::decode(Bytes::copy_from_slice(bytes)).map_err(|_| PeerListError::Encoding)?;
    let peers: Vec<_> = known.peers.into_iter().map(from_proto).collect();
    check_peers(&peers)?;
    Ok(peers)
}

pub(crate) fn to_proto(peer: &PeerEntry) -> proto::PeerEntry {
    proto::PeerEntry { peer_id: peer.peer_id.clone(), addresses: peer.addresses.clone() }
}

pub(crate) fn from_proto(peer: proto::PeerEntry) -> PeerEntry {
    PeerEntry { peer_id: peer.peer_id, addresses: peer.addresses }
}

/// Signs a list with the Ed25519 key that `seed` is.
///
/// # Errors
/// If the list breaks a bound or is too large encoded.
pub fn sign(seed: &[u8; 32], list: &PeerList) -> Result<Vec<u8>, PeerListError> {
    check(list)?;
    let body = proto::PeerListBody {
        version: VERSION,
        issued_ms: list.issued_ms,
        expires_ms: list.expires_ms,
        peers: list.peers.iter().map(to_proto).collect(),
    };
    let body = body.encode_to_vec();
    let key = Keypair::from_bytes(seed);
    let signature = key.sign(&signed_text(&body)).to_bytes().to_vec();
    let public_key = key.verifying_key().to_bytes().to_vec();
    let bytes = proto::SignedPeerList { body, public_key, signature }.encode_to_vec();
    if bytes.len() > PEER_LIST_MAX_BYTES { Err(PeerListError::TooLarge { found: bytes.len() }) } else { Ok(bytes) }
}

/// Reads a list that is valid now, and the public key that signed it. `now_ms` is the wall clock.
///
/// # Errors
/// The first rule that the bytes break, the cheap ones first.
pub fn parse(bytes: &[u8], now_ms: u64) -> Result<(PeerList, [u8; 32]), PeerListError> {
    if bytes.len() > PEER_LIST_MAX_BYTES {
        return Err(PeerListError::TooLarge { found: bytes.len() });
    }
    let signed: proto::SignedPeerList =
        proto::decode(Bytes::copy_from_slice(bytes)).map_err(|_| PeerListError::Encoding)?;
    let signature: [u8; 64] = signed.signature.as_slice().try_into().map_err(|_| PeerListError::Encoding)?;
    let public_key: [u8; 32] = signed.public_key.as_slice().try_into().map_err(|_| PeerListError::Encoding)?;
    let signed_text = signed_text(&signed.body);
    let body: proto::PeerListBody = proto::decode(Bytes::from(signed.body)).map_err(|_| PeerListError::Encoding)?;
    if body.version != VERSION {
        return Err(PeerListError::Version { found: body.version });
    }
    let peers = body.peers.into_iter().map(from_proto).collect();
    let list = PeerList { issued_ms: body.issued_ms, expires_ms: body.expires_ms, peers };
    check(&list)?;
    let verifier: VerifyingKey = check_point(&public_key).map_err(|_| PeerListError::Key)?;
    verifier.verify_strict(&signed_text, &Signature::from_bytes(&signature)).map_err(|_| PeerListError::Signature)?;
    let ahead_ms = list.issued_ms.saturating_sub(now_ms);
    if ahead_ms > CLOCK_SKEW_MAX_MS {
        return Err(PeerListError::Future { ahead_ms });
    }
    if list.expires_ms <= now_ms {
        return Err(PeerListError::Expired { ago_ms: now_ms - list.expires_ms });
    }
    Ok((list, public_key))
}
