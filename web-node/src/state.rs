//! What a tab shows besides the node's own status: where the node runs, how first contact goes, what storage is like.

use meganet_node::api::Event;
use serde::{Deserialize, Serialize};

/// Where this tab's node runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Seat {
    /// Not known yet: the lock is being asked for, or the node is starting.
    #[default]
    Starting,
    /// In this tab.
    Here,
    /// In another tab of this browser; commands cross a channel.
    OtherTab,
    /// Nowhere: the node could not start.
    Failed { reason: String },
}

/// Where the addresses of first contact came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListSource {
    /// The page's origin, just now.
    Origin,
    /// The last good list, kept in storage: the origin is not answering.
    Cache,
}

/// The state of first contact.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Contact {
    /// Why the last attempt to get the list failed.
    pub problem: Option<ContactProblem>,
    /// Addresses the node was given to dial.
    pub addresses: u32,
    pub source: Option<ListSource>,
    /// Attempts in a row that have not led to a connection so far.
    pub attempts: u32,
    /// When the next attempt comes, in milliseconds from when this value was sent.
    pub retry_in_ms: Option<u64>,
}

/// Why the list of peers could not be used. Nothing is lost by any of these: what is kept still opens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ContactProblem {
    #[error("the page's server does not answer ({reason})")]
    Unreachable { reason: String },
    #[error("the page's server did not answer within {seconds} s")]
    TimedOut { seconds: u32 },
    #[error("the page's server answered {status} instead of a list of peers")]
    Status { status: u16 },
    #[error("the list of peers is larger than {limit_bytes} bytes, so it was not read")]
    TooLarge { limit_bytes: u32 },
    #[error("the list of peers is malformed ({reason})")]
    Malformed { reason: String },
    #[error("the list of peers has expired: the page's server or this device's clock is wrong")]
    Expired,
    #[error("the list of peers names no address that can be dialled")]
    Empty,
}

impl ContactProblem {
    /// A short stable name, for tests and styles.
    pub fn code(&self) -> &'static str {
        match self {
            ContactProblem::Unreachable { .. } => "bootstrap-unreachable",
            ContactProblem::TimedOut { .. } => "bootstrap-timeout",
            ContactProblem::Status { .. } => "bootstrap-status",
            ContactProblem::TooLarge { .. } => "list-too-large",
            ContactProblem::Malformed { .. } => "list-malformed",
            ContactProblem::Expired => "list-expired",
            ContactProblem::Empty => "list-empty",
        }
    }
}

/// Why nothing can be kept on this device, or nothing more. What is read is then shown from memory until the tab closes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum StorageProblem {
    #[error("the browser refuses storage to this page ({reason})")]
    Denied { reason: String },
    #[error("storage was written by a newer version of MegaNet and is left as it is; reload to get that version")]
    NewerSchema,
    #[error("another tab holds an older version of the storage open; close the other MegaNet tabs and reload")]
    Blocked,
    #[error("the browser's storage did not open within {seconds} s; reload to try again")]
    Slow { seconds: u32 },
    #[error("storage could not be used ({reason})")]
    Failed { reason: String },
    #[error("another tab needs the storage for a newer version of MegaNet; reload to get that version")]
    Replaced,
    #[error("the browser closed the storage, as it does when site data is deleted; reload to open it again")]
    Closed,
}

/// Everything a listener of the client hears.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Update {
    Event(Event),
    Contact(Contact),
    /// `None`: what is fetched is kept.
    Storage(Option<StorageProblem>),
    Seat(Seat),
}
