//! Everything that touches the browser.

pub mod bridge;
mod broadcast;
pub mod client;
mod contact;
pub mod events;
mod fetch;
mod identity;
pub mod js_api;
mod lifecycle;
mod lock;
pub mod panic;
mod proxy;
mod serve;
mod signal;
pub mod site_port;
pub mod storage;
pub mod timings;
