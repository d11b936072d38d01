//! A port for the page that nobody else answers on.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};

use anyhow::{Context, Result};

/// How many ports are tried.
const TRIES: u16 = 100;

/// Where `meganet-bootstrap` listens for peers, as distances from the page's port: see its `--help`.
const SWARM_OFFSETS: [u16; 3] = [1000, 2000, 3000];

/// The first port from `wanted` on that is free together with those of its swarm.
///
/// # Errors
/// When none of a hundred is.
pub fn free_from(wanted: u16) -> Result<u16> {
    (wanted..=wanted.saturating_add(TRIES))
        .find(|port| is_free(*port))
        .with_context(|| format!("no free port from {wanted} on; choose another with --port"))
}

/// Browsers try `::1` for `*.localhost` too, so a program that listens there alone would get our visitors.
fn is_free(port: u16) -> bool {
    let taken_v6 =
        matches!(TcpListener::bind((Ipv6Addr::LOCALHOST, port)), Err(error) if error.kind() == ErrorKind::AddrInUse);
    let swarm_free = SWARM_OFFSETS.iter().filter_map(|offset| port.checked_add(*offset)).all(|port| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
    });
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && !taken_v6 && swarm_free
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port");
        let port = taken.local_addr().expect("an address").port();
        assert!(!is_free(port));
        let next = free_from(port).expect("another port");
        assert!(next > port);
    }

    #[test]
    fn a_port_whose_swarm_has_no_room_is_passed_over() {
        let taken = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("some port");
        let port = taken.local_addr().expect("an address").port();
        for offset in SWARM_OFFSETS {
            assert!(!is_free(port - offset));
        }
    }
}
