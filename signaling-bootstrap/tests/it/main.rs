//! The real program on real sockets: what it serves, what it refuses, how it starts and stops.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests: a panic is a failed test"
)]

mod files;
mod hosts;
mod lifecycle;
mod limits;
mod peer_list;
mod support;
mod wss;
