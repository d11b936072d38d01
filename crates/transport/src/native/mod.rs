//! Natively: str0m drives WebRTC without I/O of its own; here are its sockets, timers and tasks.

mod attempt;
mod caught;
mod certificate;
mod driver;
mod effort;
mod filter;
mod gather;
mod listener;
mod pacer;
mod quarantine;
mod signalled;
mod talk;
mod transport;
mod window;

pub use certificate::{Certificate, CertificateError};
pub use transport::{Config, Transport};
