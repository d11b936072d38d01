//! What tabs of one browser say to each other: one of them runs the node, the others ask it.
//!
//! Everything is a postcard-encoded value in a `Uint8Array` on a `BroadcastChannel`. All tabs listen on
//! [`HALL_CHANNEL`]; the leader answers a follower on the follower's own channel ([`reply_channel`]), so that a megabyte
//! meant for one tab is not copied into seven. A follower that hears a new leader sends its unanswered commands again:
//! every command of the API may be repeated.

use crate::state::{Contact, Seat, StorageProblem, Update};
use meganet_node::api::{self, ApiError, Command, DecodeError, READ_MAX_BYTES, Reply, Status};
use serde::{Deserialize, Serialize};

/// The name of the Web Lock whose holder runs the node.
pub const LEADER_LOCK: &str = "meganet-node";
/// The channel all tabs listen on. Its number is the version of these frames.
pub const HALL_CHANNEL: &str = "meganet-node-1";
/// Bytes of an encoded frame at most: the largest reply and its envelope.
pub const FRAME_MAX_BYTES: usize = READ_MAX_BYTES as usize + 64 * 1024;
/// Commands one tab may have unanswered at the leader.
pub const CALLS_PER_TAB_MAX: usize = 128;
/// Tabs the leader answers; the one unheard for longest makes room.
pub const TABS_MAX: usize = 32;
/// How long a follower waits for a command's answer. The node has shorter deadlines of its own; this one is for a
/// leader that froze.
pub const CALL_TIMEOUT_MS: u64 = 120_000;
/// As [`CALL_TIMEOUT_MS`], for commands that move a whole site.
pub const LONG_CALL_TIMEOUT_MS: u64 = 3_600_000;

/// On the hall channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Frame {
    /// A follower arrived or lost patience: the leader answers with [`Frame::Leader`].
    Hello {
        tab: u64,
    },
    /// The leader's state, sent when it takes the lock and to every `Hello`. `term` differs for each leader.
    Leader {
        term: u64,
        snapshot: Snapshot,
    },
    Call {
        tab: u64,
        id: u32,
        command: Command,
    },
    /// Try first contact now instead of at the end of the wait.
    RetryNow,
    Update(Update),
}

/// What a tab that just arrived must know to draw itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Snapshot {
    pub status: Option<Status>,
    pub contact: Contact,
    pub storage: Option<StorageProblem>,
    pub seat: Seat,
}

/// On a follower's own channel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    pub id: u32,
    pub result: Result<Reply, ApiError>,
}

/// The channel on which the leader answers one tab.
pub fn reply_channel(tab: u64) -> String {
    format!("{HALL_CHANNEL}-{tab:016x}")
}

/// How long a follower waits for this command.
pub fn timeout_ms(command: &Command) -> u64 {
    match command {
        Command::FetchAll { .. } | Command::Publish { .. } => LONG_CALL_TIMEOUT_MS,
        _ => CALL_TIMEOUT_MS,
    }
}

/// Decodes a frame or answer, its size first.
///
/// # Errors
/// When the bytes are too many, or are not a message of this version.
pub fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() > FRAME_MAX_BYTES {
        return Err(DecodeError);
    }
    api::decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use meganet_node::api::Content;

    #[test]
    fn frames_survive_the_channel() {
        let frame = Frame::Call { tab: 7, id: 9, command: Command::Connect { multiaddr: "/memory/1".into() } };
        let Ok(Frame::Call { tab: 7, id: 9, command: Command::Connect { multiaddr } }) = decode(&api::encode(&frame))
        else {
            panic!("another frame came out")
        };
        assert_eq!(multiaddr, "/memory/1");
    }

    #[test]
    fn the_largest_reply_fits_a_frame() {
        let content = Content {
            sequence: u64::MAX,
            path: "p".repeat(512),
            media_type: "text/html".into(),
            size: u64::MAX,
            offset: u64::MAX,
            bytes: vec![7; READ_MAX_BYTES as usize],
        };
        let answer = Answer { id: u32::MAX, result: Ok(Reply::Content(content)) };
        assert!(decode::<Answer>(&api::encode(&answer)).is_ok());
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert!(decode::<Frame>(&[]).is_err());
        assert!(decode::<Frame>(&[250, 1, 2, 3]).is_err());
        assert!(decode::<Frame>(&vec![0; FRAME_MAX_BYTES + 1]).is_err());
    }

    #[test]
    fn every_tab_has_a_channel_of_its_own() {
        assert_ne!(reply_channel(1), reply_channel(2));
        assert_ne!(reply_channel(1), HALL_CHANNEL);
    }
}
