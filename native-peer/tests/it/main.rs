//! `meganet` as its users run it: real processes, real folders, loopback only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, and that is its job"
)]

mod cli;
mod daemon;
mod full_disk;
mod get;
mod killed;
mod odd_paths;
mod publish;
mod refused;
mod support;
