//! The node in a tab: storage, one node per browser, first contact, the sites' bridge, and the typed JavaScript API.
//!
//! The modules here hold decisions without a browser in them and are tested natively; everything that touches the
//! browser is in `browser`, behind the feature of that name, and compiles for `wasm32` alone.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod frames;
pub mod rate;
pub mod site_request;
pub mod state;

#[cfg(feature = "browser")]
mod browser;
#[cfg(feature = "browser")]
pub use browser::{
    bridge::{Bridge, BridgeEvent},
    client::{Client, Subscription},
    events::Listener,
    js_api, panic,
    site_port::ShownVersion,
    storage::{self, ask_to_persist},
    timings,
};
