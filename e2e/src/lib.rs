//! The harness of the end-to-end tests and benches: real processes, real browsers, nothing simulated.
//!
//! | module | gives |
//! |---|---|
//! | [`scenario`] | one test's frame: directories, time limit, logs and screenshots when it fails |
//! | [`process`] | child processes that end with the test, whatever happens to it |
//! | [`swarm`] | a bootstrap and native peers, the `meganet` command line |
//! | [`budget`] | a tab that looks up and browses, and the peer connections that it begins |
//! | [`browser`] | Chromium and Firefox, each under its own WebDriver |
//! | [`app`] | the app in a tab, by its test ids and `window.meganet` |
//! | [`authored`] | a site whose author is a tab |
//! | [`site_frame`] | what is shown inside the site's own frame |
//! | [`folder`] | folders as maps from path to bytes, hashes, made-up content |
//! | [`wait`] | waiting for a condition, never for a time |
//! | [`http`] | a small HTTP client, for WebDriver and for looking at what the bootstrap serves |
//! | [`static_server`] | a stand-in for the bootstrap that serves the app with one answer spoiled |
//! | [`raw_channel`] | the yardstick: a bare `RTCDataChannel` between two tabs |
//! | [`bare_str0m`] | its native end |
//! | [`delay`] | a network with a delay, in user space |
//! | [`throttle`] | a slow line, in user space |
//! | [`test_peer`] | bare peers on a transport alone, ours and js-libp2p's |
//! | [`nat`] | private networks behind NATs, made of namespaces |
//! | [`liar`] | a peer that lies |
//! | [`places`] | where binaries, the built app and results are |

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test program ends where it finds a fault"
)]

pub mod app;
pub mod authored;
pub mod bare_str0m;
pub mod browser;
pub mod budget;
pub mod delay;
pub mod folder;
pub mod http;
pub mod liar;
pub mod nat;
pub mod places;
pub mod process;
pub mod raw_channel;
pub mod scenario;
pub mod site_frame;
pub mod static_server;
pub mod swarm;
pub mod test_peer;
pub mod throttle;
pub mod wait;
