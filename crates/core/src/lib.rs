//! The protocol of MegaNet: formats, keys, and decisions, without I/O, clock or randomness.
//!
//! Every state machine here takes inputs with the time they happened at and hands out what to do next; the caller
//! owns sockets, storage, clocks and entropy. Times are `u64` milliseconds: wall-clock milliseconds since the Unix
//! epoch where a validity is judged, any monotonic origin where a duration is measured. `docs/formats.md` is the
//! specification of every byte that is made or read here.
//!
//! * names and keys: [`address`], [`keys`], [`hash`]
//! * what a site is made of: [`head`], [`manifest`], [`chunk`], [`path`], [`media`]
//! * making a site: [`publish`]
//! * getting a site: [`fetch`] (which peer to ask for what), [`exchange`] (one stream of questions and answers),
//!   [`wire`] (its frames)
//! * finding a first peer: [`peer_list`], [`remembered`]
//! * every budget in one place: [`limits`]

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod address;
pub mod chunk;
pub mod exchange;
pub mod fetch;
pub mod hash;
pub mod head;
pub mod keys;
pub mod limits;
mod link;
pub mod manifest;
pub mod media;
pub mod path;
pub mod peer_list;
mod proto;
pub mod publish;
mod references;
pub mod remembered;
pub mod wire;
