//! Whether addresses can be listened on, looked at before anything starts.
//!
//! libp2p opens TCP ports so that several sockets may share one, which hides that another program has it, and what it says
//! of a UDP port that it cannot have is empty.

use libp2p::{Multiaddr, multiaddr::Protocol};
use socket2::{Domain, Socket, Type};
use std::{
    io,
    net::{IpAddr, SocketAddr},
};

/// Why an address cannot be listened on. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "cannot listen on {address}: the port is taken by another program. Stop that program, or choose another port (0 takes any free one)"
    )]
    Taken { address: Multiaddr },
    #[error(
        "cannot listen on {address}: this machine has no such IP address. Choose one it has, or 0.0.0.0 or :: for all"
    )]
    NotOurs { address: Multiaddr },
    #[error("cannot listen on {address}: the system allows this port to the superuser only. Choose one above 1023")]
    NotAllowed { address: Multiaddr },
    #[error("cannot listen on {address}: {reason}. Choose another address")]
    Other { address: Multiaddr, reason: String },
}

/// Opens every address for a moment. What is no IP address with a TCP or UDP port is left to whoever listens.
///
/// # Errors
/// [`ListenError`], for the first that cannot be had.
pub fn check(addresses: &[Multiaddr]) -> Result<(), ListenError> {
    for address in addresses {
        let Some((socket, kind)) = socket_address(address) else { continue };
        let address = address.clone();
        open(socket, kind).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::Taken { address },
            io::ErrorKind::AddrNotAvailable => ListenError::NotOurs { address },
            io::ErrorKind::PermissionDenied => ListenError::NotAllowed { address },
            _ => ListenError::Other { address, reason: error.to_string() },
        })?;
    }
    Ok(())
}

fn socket_address(address: &Multiaddr) -> Option<(SocketAddr, Type)> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    match parts.next()? {
        Protocol::Tcp(port) => Some(((ip, port).into(), Type::STREAM)),
        Protocol::Udp(port) => Some(((ip, port).into(), Type::DGRAM)),
        _ => None,
    }
}

fn open(address: SocketAddr, kind: Type) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        // As libp2p does: the port of the same number for IPv4 is another one.
        socket.set_only_v6(true)?;
    }
    let is_stream = kind == Type::STREAM;
    if is_stream {
        // Connections that ended a minute ago do not keep the port; another listener does.
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if is_stream { socket.listen(1) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    fn check_one(address: &str) -> Result<(), ListenError> {
        check(&[address.parse().unwrap()])
    }

    #[test]
    fn a_taken_port_is_noticed_and_a_free_one_stays_free() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at_tcp = format!("/ip4/127.0.0.1/tcp/{}", tcp.local_addr().unwrap().port());
        let at_udp = format!("/ip4/127.0.0.1/udp/{}/quic-v1", udp.local_addr().unwrap().port());
        for address in [&at_tcp, &at_udp] {
            let error = check_one(address).unwrap_err();
            assert!(matches!(error, ListenError::Taken { .. }), "{error}");
            assert!(error.to_string().contains(address.as_str()), "{error}");
        }
        drop((tcp, udp));
        for address in [&at_tcp, &at_udp] {
            check_one(address).unwrap();
            check_one(address).unwrap();
        }
    }

    #[test]
    fn a_port_that_others_share_is_taken() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_reuse_port(true).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(1).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        assert!(matches!(check_one(&format!("/ip4/127.0.0.1/tcp/{port}")), Err(ListenError::Taken { .. })));
    }

    #[test]
    fn another_machines_address_is_told_apart_and_others_are_left_alone() {
        for address in ["/ip4/203.0.113.7/tcp/0", "/ip4/203.0.113.7/udp/4801/quic-v1"] {
            assert!(matches!(check_one(address), Err(ListenError::NotOurs { .. })), "{address}");
        }
        check_one("/dns/example.org/tcp/1").unwrap();
        check_one("/ip4/127.0.0.1/udp/0/webrtc-direct").unwrap();
    }
}
