//! The multiaddrs of both flavours.
//!
//! - `/ip4|ip6/…/udp/PORT/webrtc-direct/certhash/HASH[/p2p/PEER]`: a native peer, dialled without signalling.
//! - `RELAY/p2p/R/p2p-circuit/webrtc/p2p/B`: a peer to which a relayed connection carries the signalling.

use super::fingerprint::Fingerprint;
use libp2p::PeerId;
use libp2p::multiaddr::{Multiaddr, Protocol};
use std::net::{IpAddr, SocketAddr};

/// A `webrtc-direct` address that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Direct {
    /// Where it listens.
    pub socket: SocketAddr,
    /// Of its certificate.
    pub fingerprint: Fingerprint,
    /// Who must answer, if the address says it.
    pub peer: Option<PeerId>,
}

/// A `/webrtc` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signalled {
    /// The relayed connection that carries the signalling: `RELAY/p2p/R/p2p-circuit/p2p/B`.
    pub circuit: Multiaddr,
    /// Who must answer.
    pub peer: PeerId,
}

/// Why an address cannot be dialled or listened on by this transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is an address of another transport: try that one.
    #[error("not an address of this transport")]
    Other,
    /// It has no certificate hash, or one that is not SHA-256.
    #[error("the address has no SHA-256 certificate hash")]
    Certhash,
    /// Nobody can be reached there.
    #[error("port 0, an unspecified or a multicast address cannot be dialled")]
    Unreachable,
    /// More follows than this transport understands.
    #[error("the address goes on after its end")]
    Trailing,
    /// A `/webrtc` address must name its peer.
    #[error("the address names no peer")]
    NoPeer,
}

fn socket(parts: &mut libp2p::multiaddr::Iter<'_>) -> Result<SocketAddr, AddressError> {
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => IpAddr::from(ip),
        Some(Protocol::Ip6(ip)) => IpAddr::from(ip),
        _ => return Err(AddressError::Other),
    };
    match (parts.next(), parts.next()) {
        (Some(Protocol::Udp(port)), Some(Protocol::WebRTCDirect)) => Ok(SocketAddr::new(ip, port)),
        _ => Err(AddressError::Other),
    }
}

impl Direct {
    /// Reads an address to dial.
    ///
    /// # Errors
    /// [`AddressError`]; with [`AddressError::Other`] another transport may know it.
    pub fn parse(address: &Multiaddr) -> Result<Self, AddressError> {
        let mut parts = address.iter();
        let socket = socket(&mut parts)?;
        let Some(Protocol::Certhash(hash)) = parts.next() else { return Err(AddressError::Certhash) };
        let fingerprint = Fingerprint::from_multihash(&hash).ok_or(AddressError::Certhash)?;
        let peer = match parts.next() {
            None => None,
            Some(Protocol::P2p(peer)) => Some(peer),
            // A circuit through this peer, or anything else: not ours.
            Some(_) => return Err(AddressError::Other),
        };
        match parts.next() {
            None => {}
            Some(Protocol::P2pCircuit) => return Err(AddressError::Other),
            Some(_) => return Err(AddressError::Trailing),
        }
        if socket.port() == 0 || socket.ip().is_unspecified() || socket.ip().is_multicast() {
            return Err(AddressError::Unreachable);
        }
        Ok(Self { socket, fingerprint, peer })
    }

    /// Reads an address to listen on: port 0 and unspecified addresses are fine.
    ///
    /// # Errors
    /// [`AddressError::Other`] for another transport's, [`AddressError::Trailing`] when it names a certificate or peer.
    pub fn parse_listen(address: &Multiaddr) -> Result<SocketAddr, AddressError> {
        let mut parts = address.iter();
        let socket = socket(&mut parts)?;
        if parts.next().is_some() { Err(AddressError::Trailing) } else { Ok(socket) }
    }

    /// The address of a listener, or of whoever connected from somewhere (`None`: it has no known certificate).
    #[must_use]
    pub fn address(socket: SocketAddr, fingerprint: Option<Fingerprint>) -> Multiaddr {
        let address =
            Multiaddr::empty().with(socket.ip().into()).with(Protocol::Udp(socket.port())).with(Protocol::WebRTCDirect);
        match fingerprint.and_then(Fingerprint::to_multihash) {
            Some(hash) => address.with(Protocol::Certhash(hash)),
            None => address,
        }
    }
}

impl Signalled {
    /// Reads an address to dial.
    ///
    /// # Errors
    /// [`AddressError`]; with [`AddressError::Other`] another transport may know it.
    pub fn parse(address: &Multiaddr) -> Result<Self, AddressError> {
        let mut circuit = Multiaddr::empty();
        let mut parts = address.iter();
        let mut has_circuit = false;
        for part in parts.by_ref() {
            if matches!(part, Protocol::WebRTC) {
                if !has_circuit {
                    return Err(AddressError::Other);
                }
                let Some(Protocol::P2p(peer)) = parts.next() else { return Err(AddressError::NoPeer) };
                if parts.next().is_some() {
                    return Err(AddressError::Trailing);
                }
                return Ok(Self { circuit: circuit.with(Protocol::P2p(peer)), peer });
            }
            has_circuit |= matches!(part, Protocol::P2pCircuit);
            circuit.push(part);
        }
        Err(AddressError::Other)
    }

    /// Reads an address to listen on, `RELAY/p2p/R/p2p-circuit/webrtc`: gives the circuit that is to be reserved.
    ///
    /// # Errors
    /// [`AddressError::Other`] for another transport's.
    pub fn parse_listen(address: &Multiaddr) -> Result<Multiaddr, AddressError> {
        let mut circuit = address.clone();
        match (circuit.pop(), circuit.iter().last()) {
            (Some(Protocol::WebRTC), Some(Protocol::P2pCircuit)) => Ok(circuit),
            _ => Err(AddressError::Other),
        }
    }

    /// The `/webrtc` form of a relayed address: `RELAY/p2p/R/p2p-circuit[/p2p/B]` → `RELAY/p2p/R/p2p-circuit/webrtc[/p2p/B]`.
    #[must_use]
    pub fn from_circuit(circuit: &Multiaddr) -> Multiaddr {
        let mut address = Multiaddr::empty();
        for part in circuit.iter() {
            let is_circuit = matches!(part, Protocol::P2pCircuit);
            address.push(part);
            if is_circuit {
                address.push(Protocol::WebRTC);
            }
        }
        address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const HASH: &str = "uEiDikp5KVUgkLta1EjUN-IKbHk-dUBg8VzKgf5nXxLK46w";

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_direct_address_reads_back() {
        for peer in ["", &format!("/p2p/{PEER}")] {
            for ip in ["/ip4/1.2.3.4", "/ip6/2001:db8::1"] {
                let text = format!("{ip}/udp/1234/webrtc-direct/certhash/{HASH}");
                let direct = Direct::parse(&address(&format!("{text}{peer}"))).unwrap();
                assert_eq!(Direct::address(direct.socket, Some(direct.fingerprint)), address(&text));
                assert_eq!(direct.peer.is_some(), !peer.is_empty());
            }
        }
    }

    #[test]
    fn what_is_no_direct_address_is_told_apart() {
        for (text, error) in [
            ("/ip4/1.2.3.4/tcp/1234".to_owned(), AddressError::Other),
            ("/ip4/1.2.3.4/udp/1234/quic-v1".to_owned(), AddressError::Other),
            ("/dns4/example.org/udp/1234/webrtc-direct".to_owned(), AddressError::Other),
            ("/ip4/1.2.3.4/udp/1234/webrtc-direct".to_owned(), AddressError::Certhash),
            (format!("/ip4/1.2.3.4/udp/0/webrtc-direct/certhash/{HASH}"), AddressError::Unreachable),
            (format!("/ip4/0.0.0.0/udp/1/webrtc-direct/certhash/{HASH}"), AddressError::Unreachable),
            (format!("/ip4/224.0.0.1/udp/1/webrtc-direct/certhash/{HASH}"), AddressError::Unreachable),
            (format!("/ip6/ff02::1/udp/1/webrtc-direct/certhash/{HASH}"), AddressError::Unreachable),
            (format!("/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/{HASH}/p2p/{PEER}/tcp/1"), AddressError::Trailing),
            (format!("/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/{HASH}/p2p/{PEER}/p2p-circuit"), AddressError::Other),
        ] {
            assert_eq!(Direct::parse(&address(&text)), Err(error), "{text}");
        }
    }

    #[test]
    fn listening_needs_no_hash() {
        let listen = |text: &str| Direct::parse_listen(&address(text));
        assert_eq!(listen("/ip4/0.0.0.0/udp/0/webrtc-direct"), Ok("0.0.0.0:0".parse().unwrap()));
        assert_eq!(listen("/ip4/0.0.0.0/udp/0/quic-v1"), Err(AddressError::Other));
        assert_eq!(listen(&format!("/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/{HASH}")), Err(AddressError::Trailing));
    }

    #[test]
    fn a_signalled_address_names_its_circuit_and_its_peer() {
        let relay = format!("/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/{HASH}/p2p/{PEER}/p2p-circuit");
        let other = PeerId::random();
        let circuit = address(&format!("{relay}/p2p/{other}"));
        let signalled = Signalled::from_circuit(&circuit);
        assert_eq!(signalled, address(&format!("{relay}/webrtc/p2p/{other}")));
        assert_eq!(Signalled::parse(&signalled), Ok(Signalled { circuit, peer: other }));
        assert_eq!(Signalled::parse_listen(&address(&format!("{relay}/webrtc"))), Ok(address(&relay)));
        for (text, error) in [
            (relay.clone(), AddressError::Other),
            (format!("/ip4/1.2.3.4/udp/1/webrtc/p2p/{other}"), AddressError::Other),
            (format!("{relay}/webrtc"), AddressError::NoPeer),
            (format!("{relay}/webrtc/p2p/{other}/tcp/1"), AddressError::Trailing),
        ] {
            assert_eq!(Signalled::parse(&address(&text)), Err(error), "{text}");
        }
    }
}
