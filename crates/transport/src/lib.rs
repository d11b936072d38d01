//! The transports of a MegaNet node: one [`build`] for a tab and for a native peer.
//!
//! | | dials | listens |
//! |---|---|---|
//! | tab | `webrtc-direct`, relay circuits | relay circuits |
//! | native | QUIC, TCP, `webrtc-direct`, relay circuits | all of these |
//!
//! Today this wraps the released libp2p crates and names their limits in [`message`]; everything above it sees only
//! boxed connections and those limits, so that the project's own WebRTC backends can take their place.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod web;

#[cfg(not(target_arch = "wasm32"))]
use native as imp;
#[cfg(target_arch = "wasm32")]
use web as imp;

#[cfg(not(target_arch = "wasm32"))]
pub use native::generate_certificate_pem;

use libp2p::{
    Multiaddr, PeerId, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, timeout::TransportTimeout},
    },
    identity::Keypair,
    relay,
};
use std::time::Duration;

/// A connection attempt, dialled or accepted, that is not done by then has failed. Without it a dial to a peer that is gone would
/// last for as long as the browser's ICE agent keeps trying.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Largest messages the released WebRTC crates carry. A sender flushes after each, because a coalesced SCTP message over
/// 16 KiB is dropped by the browser, and a native peer cannot receive one over 8 KiB (rust-libp2p issues 6557, 4049).
pub mod message {
    /// What a tab may write before it flushes, bytes.
    pub const FROM_TAB_MAX_BYTES: usize = 8_000;
    /// What a native peer may write before it flushes, bytes.
    pub const FROM_NATIVE_MAX_BYTES: usize = 16_000;
    /// What this platform may write before it flushes, bytes.
    #[cfg(target_arch = "wasm32")]
    pub const MAX_BYTES: usize = FROM_TAB_MAX_BYTES;
    /// What this platform may write before it flushes, bytes.
    #[cfg(not(target_arch = "wasm32"))]
    pub const MAX_BYTES: usize = FROM_NATIVE_MAX_BYTES;
}

/// What a transport needs besides the identity.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The DTLS certificate of `webrtc-direct` listeners, as [`generate_certificate_pem`] made it. Its hash is part of the
    /// listener's address, so it must be kept across restarts. `None`: no `webrtc-direct` (tabs never listen on it).
    pub webrtc_certificate_pem: Option<String>,
}

/// Whether this platform has a direct transport for an address. Dialling another would only cost an attempt.
pub fn can_dial(address: &Multiaddr) -> bool {
    imp::can_dial(address)
}

/// A transport and the relay client that belongs to it.
pub struct Built {
    pub transport: Boxed<(PeerId, StreamMuxerBox)>,
    pub relay_client: relay::client::Behaviour,
}

/// Why no transport could be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(
        "the WebRTC certificate cannot be read: {0}. Delete the file to make a new one; the address of this peer changes then"
    )]
    Certificate(String),
    #[error("the Noise handshake cannot be set up: {0}")]
    Noise(String),
}

/// Builds every transport this platform has, with the relay client's circuits among them.
///
/// # Errors
/// [`BuildError`] when the certificate is not one or the identity key cannot be used.
pub fn build(identity: &Keypair, options: Options) -> Result<Built, BuildError> {
    let Built { transport, relay_client } = imp::build(identity, options)?;
    Ok(Built { transport: TransportTimeout::new(transport, CONNECT_TIMEOUT).boxed(), relay_client })
}
