//! The MegaNet node: the same code in a tab and in a native process.
//!
//! * [`api`] – commands, replies, events: all that an interface sees
//! * [`Node`], [`NodeHandle`] – starting a node and talking to it
//! * [`config`], [`limits`] – presets and bounds
//! * [`store`] – what a node keeps, behind one trait
//! * [`platform`] – what differs between a tab and a process
//!
//! Inside: `network` owns the swarm; `exchange` asks and answers for heads and chunks on long-lived streams; `fetch` decides
//! with the core's planner whom to ask; `sites` opens, reads and keeps sites; `node` carries commands out.

#![allow(
    clippy::arc_with_non_send_sync,
    reason = "one code for both worlds: natively the handles cross threads, a tab has only one"
)]

pub mod api;
mod behaviour;
pub mod config;
mod exchange;
mod fetch;
mod gate;
pub mod limits;
mod network;
mod newest;
mod node;
mod peer_exchange;
pub mod platform;
mod records;
mod remember;
mod signal;
mod sites;
pub mod store;
mod swarm;

pub use gate::{host_of, network_of};
pub use libp2p::{Multiaddr, PeerId};
pub use network::StartError;
pub use node::{EventStream, Node, NodeHandle};
