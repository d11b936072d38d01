//! What goes between a socket and a connection's task.

use std::{net::SocketAddr, sync::Arc};
use tokio::net::UdpSocket;

/// Datagrams of one connection that wait for its task; more are dropped, as a network drops them. What a sender may have on
/// its way (SCTP's receive window, 1 MiB) fits, or a task that is late would cost it half its speed.
pub(super) const DATAGRAMS_WAITING_MAX: usize = 1_024;
/// Largest datagram that WebRTC sends.
pub(super) const DATAGRAM_MAX_BYTES: usize = 2_048;

/// A datagram.
pub(super) struct Datagram {
    pub bytes: Vec<u8>,
    /// Where it came from.
    pub source: SocketAddr,
    /// Which of this end's addresses it came to, as str0m knows it.
    pub destination: SocketAddr,
}

/// A socket, and what str0m takes for its address.
pub(super) type Local = (SocketAddr, Arc<UdpSocket>);
