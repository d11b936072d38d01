//! A port for the page that nobody else answers on.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

use anyhow::{Context, Result};

/// How many ports are tried.
const TRIES: u16 = 100;

/// The first free port from `wanted` on.
///
/// # Errors
/// When none of a hundred is free.
pub fn free_from(wanted: u16) -> Result<u16> {
    (wanted..=wanted.saturating_add(TRIES))
        .find(|port| is_free(*port))
        .with_context(|| format!("no free port from {wanted} on; choose another with --port"))
}

/// Browsers try `::1` for `*.localhost` too, so a program that listens there alone would get our visitors.
fn is_free(port: u16) -> bool {
    let taken_v6 =
        matches!(TcpListener::bind((Ipv6Addr::LOCALHOST, port)), Err(error) if error.kind() == ErrorKind::AddrInUse);
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && !taken_v6
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
}
