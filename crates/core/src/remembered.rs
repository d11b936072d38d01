//! The list of good peers that a node keeps for its next start, as it is stored.
//!
//! Who is good, and who is kept when there are too many, is the node's to decide; here are the bytes. They are read like a
//! stranger's, because a disk or another program may have damaged them.

use bytes::Bytes;
use prost::Message;

use crate::limits::{REMEMBERED_ADDRESSES_MAX, REMEMBERED_MAX_BYTES, REMEMBERED_PEERS_MAX};
use crate::peer_list::{PeerEntry, check_peers, from_proto, to_proto};
use crate::proto;

const VERSION: u32 = 1;

/// A peer that was good, and how long it has been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedPeer {
    /// Its id, and addresses at which it was reached (multiaddresses as text, without `/p2p/PEER` at their end), best first.
    pub peer: PeerEntry,
    /// When it was good for the first time, in wall-clock milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// When it was good last, in wall-clock milliseconds since the Unix epoch.
    pub last_ms: u64,
    /// Attempts in a row in which it did not answer while another peer did.
    pub failures: u32,
    /// Whether the keeper of the list chose and dialled it; otherwise it came by itself.
    pub is_dialled: bool,
}

/// Why bytes are not such a list, or one cannot be encoded. The node starts without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RememberedError {
    /// Over 32 KiB.
    #[error("a list of remembered peers has at most {REMEMBERED_MAX_BYTES} bytes, this has {found}; it was dropped")]
    TooLarge {
        /// Bytes given.
        found: usize,
    },
    /// Not the one encoding of such a list.
    #[error("these bytes are no list of remembered peers (or not its only encoding); they were dropped")]
    Encoding,
    /// Of a version that this program does not know; a newer one may still need it.
    #[error(
        "this list of remembered peers has version {found}, which this MegaNet does not know; it was left as it is"
    )]
    Version {
        /// Version in the list.
        found: u32,
    },
    /// A peer or address breaks a bound.
    #[error("peer {index} of the remembered ones has a wrong id or address, or is one too many; the list was dropped")]
    Peer {
        /// Place in the list.
        index: usize,
    },
}

fn check<'a>(peers: impl Iterator<Item = &'a PeerEntry>) -> Result<(), RememberedError> {
    for (index, peer) in peers.enumerate() {
        let has_room = index < REMEMBERED_PEERS_MAX && peer.addresses.len() <= REMEMBERED_ADDRESSES_MAX;
        if !has_room || check_peers(std::slice::from_ref(peer)).is_err() {
            return Err(RememberedError::Peer { index });
        }
    }
    Ok(())
}

/// Encodes a list.
///
/// # Errors
/// If it breaks a bound.
pub fn encode(peers: &[RememberedPeer]) -> Result<Vec<u8>, RememberedError> {
    check(peers.iter().map(|remembered| &remembered.peer))?;
    let message = |remembered: &RememberedPeer| proto::RememberedPeer {
        peer: Some(to_proto(&remembered.peer)),
        since_ms: remembered.since_ms,
        last_ms: remembered.last_ms,
        failures: remembered.failures,
        is_dialled: remembered.is_dialled,
    };
    let list = proto::RememberedPeers { version: VERSION, peers: peers.iter().map(message).collect() };
    Ok(list.encode_to_vec())
}

/// Reads a list.
///
/// # Errors
/// The first rule that the bytes break.
pub fn parse(bytes: &[u8]) -> Result<Vec<RememberedPeer>, RememberedError> {
    if bytes.len() > REMEMBERED_MAX_BYTES {
        return Err(RememberedError::TooLarge { found: bytes.len() });
    }
    // A later version may have other fields: its number is read before the rest is judged.
    let version = proto::RememberedVersion::decode(bytes).map_err(|_| RememberedError::Encoding)?.version;
    if version > VERSION {
        return Err(RememberedError::Version { found: version });
    }
    let list: proto::RememberedPeers =
        proto::decode(Bytes::copy_from_slice(bytes)).map_err(|_| RememberedError::Encoding)?;
    if list.version != VERSION {
        return Err(RememberedError::Encoding);
    }
    let mut peers = Vec::new();
    for (index, message) in list.peers.into_iter().enumerate() {
        let proto::RememberedPeer { peer, since_ms, last_ms, failures, is_dialled } = message;
        let peer = from_proto(peer.ok_or(RememberedError::Peer { index })?);
        peers.push(RememberedPeer { peer, since_ms, last_ms, failures, is_dialled });
    }
    check(peers.iter().map(|remembered| &remembered.peer))?;
    Ok(peers)
}
