//! Tests of the formats and state machines through the public API. A test that covers a case of the project's table of
//! attacks carries its number: `case_16_…`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that panics has failed, and that is its job"
)]

mod budgets;
mod chunks;
mod common;
mod exchange;
mod heads;
mod independent;
mod manifests;
mod names;
mod paths;
mod peer_lists;
mod planner;
mod planner_faults;
mod publishing;
mod remembered;
mod snapshots;
mod swarm;
mod vectors;
mod wire;
