//! A bare libp2p peer on `meganet-transport`, for tests and benches of the transport alone: no node, no sites. The same code
//! runs in a tab and natively, and it takes the calls of `e2e/js-peer`, so that each can stand where the other does.
//!
//! | file | purpose |
//! |---|---|
//! | `peer` | the swarm and its calls |
//! | `protocols` | what test peers say to each other: echo, transfer, ping |
//! | `calls` | calls by name, JSON in and out |
//! | `platform` | time and tasks, in a tab and natively |
//! | `tab` | the calls as a page sees them |
//! | `main.rs` | the calls as lines on standard input |

#![allow(clippy::missing_errors_doc, reason = "a test program: every error is told to whoever called")]

pub mod calls;
pub mod peer;
mod platform;
mod protocols;
#[cfg(target_arch = "wasm32")]
mod tab;
