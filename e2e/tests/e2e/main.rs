//! End to end: real processes, real browsers. One binary (linking is the slow part), one module a scenario.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test program ends where it finds a fault"
)]

mod bad_input;
mod bootstrap_gone;
mod budget;
mod bulk;
mod cookies;
mod engines;
mod firefox;
mod harness;
mod interop;
mod killed_while_publishing;
mod leaks;
mod left;
mod liar;
mod nat;
mod network_gone;
mod no_server;
mod not_found;
mod peer_connections;
mod pictures;
mod read_samples;
mod remembered;
mod restarts;
mod rust_book;
mod same_profile;
mod sharing;
mod site_requests;
mod storage_full;
mod websocket;
mod worker_port;
