//! Natively: str0m drives WebRTC without I/O of its own; here are its sockets, timers and tasks.

mod attempt;
mod caught;
mod certificate;
mod datagram;
mod driver;
mod effort;
mod filter;
mod gather;
mod half_open;
mod listener;
mod pacer;
mod quarantine;
mod signalled;
mod talk;
mod transport;
mod whereabouts;
mod window;

pub use certificate::{Certificate, CertificateError};
pub use half_open::{HALF_OPEN_MAX, HALF_OPEN_PER_IP_MAX, HALF_OPEN_PER_NETWORK_MAX};
pub use listener::{ATTEMPTS_PER_S, CONNECTIONS_MAX, STUN_PER_S};
pub use transport::{Config, Transport};
