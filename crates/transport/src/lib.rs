//! libp2p over WebRTC, and over what stands in for it: one [`build`] for a tab and for a native peer.
//!
#![doc = include_str!("../README.md")]
//!
//! ## Modules
//!
//! QUIC, TCP, WebSocket, circuits and Noise are libp2p's. WebRTC is this crate's own:
//!
//! | module | purpose |
//! |---|---|
//! | [`proto`] | the protocol without I/O |
//! | [`stream`], [`connection`] | what libp2p sees of it, and the limits of both |
//! | [`signalling`] | brings private peers together; keeps other protocols off the connections through relays |
//! | `web` | the browser's WebRTC carries it |
//! | `native` | str0m carries it |
//! | [`budget`] | how many peer connections a tab may begin |
//! | [`census`] | what is alive, counted |
#![warn(missing_docs)]

pub mod budget;
pub mod census;
mod clock;
pub mod connection;
mod direct;
mod error;
#[cfg(not(target_arch = "wasm32"))]
pub mod native;
#[cfg(any(test, target_arch = "wasm32"))]
#[path = "web/pace.rs"]
mod pace;
pub mod proto;
mod rate;
pub mod signalling;
#[cfg(any(test, target_arch = "wasm32"))]
#[path = "web/stats.rs"]
mod stats;
pub mod stream;
mod stun;
mod together;
#[cfg(any(test, target_arch = "wasm32"))]
#[path = "web/waiting.rs"]
mod waiting;
#[cfg(target_arch = "wasm32")]
pub mod web;

#[cfg(not(target_arch = "wasm32"))]
#[path = "build_native.rs"]
mod imp;
#[cfg(target_arch = "wasm32")]
#[path = "build_web.rs"]
mod imp;

pub use budget::Budget;
pub use census::{Census, Counts};
pub use direct::VERSION_PATIENCE;
pub use error::Error;
#[cfg(not(target_arch = "wasm32"))]
pub use imp::generate_certificate_pem;
pub use stun::{ASKED_MAX, StunServers};

use either::Either;
use libp2p::{
    Multiaddr, PeerId,
    core::{muxing::StreamMuxerBox, transport::Boxed},
    identity::Keypair,
    multiaddr::Protocol,
    relay, yamux,
};
use std::{io, time::Duration};

/// An attempt at `webrtc-direct` or one of libp2p's own transports, dialled or accepted, that is not done by then has failed.
/// Without it a dial to a peer that is gone would last for as long as the browser's ICE agent keeps trying.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Streams of one circuit. The window of each begins at 256 KiB.
const CIRCUIT_STREAMS_MAX: usize = 32;

/// A TLS certificate for `wss` listeners.
#[derive(Clone)]
pub struct WebSocketTls {
    /// The certificate and those that vouch for it, DER.
    pub certificates_der: Vec<Vec<u8>>,
    /// Its private key, DER (PKCS#8).
    pub key_der: Vec<u8>,
}

impl std::fmt::Debug for WebSocketTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketTls").field("certificates", &self.certificates_der.len()).finish_non_exhaustive()
    }
}

/// What a transport needs besides the identity.
#[derive(Debug, Clone)]
pub struct Options {
    /// The DTLS certificate of `webrtc-direct` listeners, as `generate_certificate_pem` made it. Its hash is part of the
    /// listener's address, so it must be kept across restarts. `None`: one for this run only (tabs never listen on it).
    pub webrtc_certificate_pem: Option<String>,
    /// For `wss` listeners; `ws` needs none. Tabs never listen on either.
    pub websocket_tls: Option<WebSocketTls>,
    /// Who is asked for this peer's address as others see it. Keep a clone to name others later.
    pub stun: StunServers,
    /// Whether a `webrtc-direct` server that does not answer version 2 is asked in version 1: js-libp2p's know only that one. In
    /// a tab this costs a second peer connection, and browsers are about to refuse what it needs.
    pub dial_version_1: bool,
    /// How many peer connections a tab may begin.
    pub budget: Budget,
    /// Where what is alive is counted. Keep a clone to look at it.
    pub census: Census,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            webrtc_certificate_pem: None,
            websocket_tls: None,
            stun: StunServers::default(),
            dial_version_1: true,
            budget: Budget::default(),
            census: Census::default(),
        }
    }
}

/// Whether this platform has a transport for an address of a peer (without `/p2p/PEER` at its end) that leads to a direct
/// connection. Dialling another would only cost an attempt.
pub fn can_dial(address: &Multiaddr) -> bool {
    is_signalled(address)
        || (!address.iter().any(|part| matches!(part, Protocol::P2pCircuit)) && imp::can_dial(address))
}

/// Whether this tab has begun as many peer connections as [`Budget::lifetime`] allows, and one more was wanted: only another tab
/// can begin more. Never so natively.
#[must_use]
pub fn is_lifetime_spent() -> bool {
    imp::is_lifetime_spent()
}

/// Whether an address is a WebSocket's.
pub fn is_websocket(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Ws(_) | Protocol::Wss(_)))
}

/// Whether an address (without `/p2p/PEER` at its end) is a `/webrtc` one: dialling it costs signalling through a relay.
pub fn is_signalled(address: &Multiaddr) -> bool {
    matches!(address.iter().last(), Some(Protocol::WebRTC))
}

/// A transport, and the behaviours that belong to it: its swarm must run both.
pub struct Built {
    /// Every transport of this platform as one. Connections that come out of it are authenticated.
    pub transport: Boxed<(PeerId, StreamMuxerBox)>,
    /// Makes the circuits and reservations that the transport is asked for. Without it they wait for ever.
    pub relay_client: relay::client::Behaviour,
    /// Opens the signalling streams of `/webrtc`, and knows the relays by which peers are reached.
    pub signalling: signalling::Behaviour,
}

/// Why no transport could be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// [`Options::webrtc_certificate_pem`] is no certificate with its key, or none could be made.
    #[error(
        "the WebRTC certificate cannot be read: {0}. Delete the file to make a new one; the address of this peer changes then"
    )]
    Certificate(String),
    /// The identity cannot sign for a Noise handshake.
    #[error("the Noise handshake cannot be set up: {0}")]
    Noise(String),
    /// [`Options::websocket_tls`] is of no use.
    #[error("the TLS certificate or its key for wss cannot be used: {0}")]
    Tls(String),
    /// Natively: whom this system asks for names cannot be found out.
    #[error("names cannot be looked up here: {0}")]
    Names(String),
}

/// What carries the streams of a circuit: a few, for signalling or a transfer. Those of a connection over TCP or WebSocket are
/// left at libp2p's 512, because each circuit of a relay to a peer is one of them, and a connection ends that has too many.
fn circuit_multiplexer() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(CIRCUIT_STREAMS_MAX);
    config
}

/// An error of either kind so that [`Error::within`] finds it, which it would not within an `Either`.
fn flat<A, B>(error: Either<A, B>) -> io::Error
where
    A: std::error::Error + Send + Sync + 'static,
    B: std::error::Error + Send + Sync + 'static,
{
    match error {
        Either::Left(error) => io::Error::other(error),
        Either::Right(error) => io::Error::other(error),
    }
}

/// Builds every transport this platform has, with the relay client's circuits among them.
///
/// # Panics
/// Not here; natively the transport does where it listens or dials outside a Tokio runtime.
///
/// # Errors
/// [`BuildError`] when the certificate is not one or the identity key cannot be used.
pub fn build(identity: &Keypair, options: Options) -> Result<Built, BuildError> {
    imp::build(identity, options)
}
