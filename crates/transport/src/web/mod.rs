//! In a tab: the browser's own WebRTC.
//!
//! JavaScript objects stay in one task a connection. Their callbacks do nothing but put an event into that task's queue and
//! wake it: nothing is called from within a callback, and every callback is detached before it is dropped, so a late event
//! finds nobody instead of a freed closure.

mod attempt;
mod budget;
mod connection;
mod js;
pub(crate) mod mixed_content;
mod signalled;
mod transport;

pub use budget::{begun as peer_connections_begun, is_lifetime_spent};
pub use transport::{Config, Transport};
