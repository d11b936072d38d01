//! What goes between a socket and a connection's task.

use std::{io, net::SocketAddr, sync::Arc};
use tokio::net::UdpSocket;

/// Datagrams of one connection that wait for its task; more are dropped, as a network drops them. What a sender may have on
/// its way (SCTP's receive window, 1 MiB) fits, or a task that is late would cost it half its speed.
pub(super) const DATAGRAMS_WAITING_MAX: usize = 1_024;
/// Bytes the kernel is asked to buffer for the socket, each way.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
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

/// Binds a socket for either side.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::DGRAM,
        Some(socket2::Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As much as the kernel allows; less only means more datagrams sent again.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
