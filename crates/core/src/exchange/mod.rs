//! One stream of `/meganet/exchange/1`, both of its ends, without the stream.
//!
//! The side that opens the stream has an [`Asker`], the other an [`Answerer`]. The caller feeds each the messages it
//! receives and writes out what each wants to send. Neither measures time limits for single chunks: that is the planner's
//! ([`crate::fetch`]), which takes a question back when it has waited long enough.
//!
//! * Each question ends with exactly one last frame, also a cancelled one.
//! * Part data flows only against credit, so a slow asker costs the answerer [`ANSWERS_LOADED_MAX`] chunks of memory and
//!   a fast answerer costs the asker one buffer for each question it asked.
//! * What breaks a rule is a [`Violation`]: the stream is reset and nothing of the message was kept.
//!
//! [`ANSWERS_LOADED_MAX`]: crate::limits::ANSWERS_LOADED_MAX

mod answerer;
mod asker;

pub use answerer::{Answerer, Ask};
pub use asker::{AskError, Asker, AskerEvent};

/// What the other side of a stream did against the rules. Reset the stream, and count it against the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// An answer to no open question.
    #[error("the peer answered question {id}, which is not open; the stream is reset and the bytes were dropped")]
    Unasked {
        /// The question.
        id: u32,
    },
    /// A chunk for a head, or the like.
    #[error("the peer answered question {id} with something else than was asked; the stream is reset")]
    WrongKind {
        /// The question.
        id: u32,
    },
    /// A part that does not continue where the last one ended, or speaks of another total.
    #[error("the peer's parts of chunk {id} do not follow each other; the stream is reset and the chunk dropped")]
    Order {
        /// The question.
        id: u32,
    },
    /// More part data than credit was given for.
    #[error("the peer sent more than it was allowed to; the stream is reset and the bytes were dropped")]
    OverCredit,
    /// A number that an open question has already.
    #[error("the peer used the number {id} for two questions at once; the stream is reset")]
    IdInUse {
        /// The question.
        id: u32,
    },
    /// Many questions more than may be open.
    #[error("the peer asks without reading the refusals; the stream is reset")]
    Flood,
}
