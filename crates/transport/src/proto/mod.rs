//! The protocol without I/O: what both backends speak, tested and fuzzed without a socket.
//!
//! Source: the libp2p specification, `webrtc/README.md` (multiplexing), `webrtc/webrtc.md` (signalling) and
//! `webrtc/webrtc-direct.md` (versions 1 and 2).

pub mod address;
pub mod credentials;
pub mod fingerprint;
pub mod frame;
pub mod sdp;
pub mod signal;
pub mod signal_message;
pub mod state;
pub mod stun;
