//! The multiaddrs of both flavours.
//!
//! - `/ip4|ip6/…/udp/PORT/webrtc-direct/certhash/HASH[/p2p/PEER]`: a native peer, dialled without signalling.
//! - `RELAY/p2p/R/p2p-circuit/webrtc/p2p/B`: a peer to which a relayed connection carries the signalling.
//! - `/webrtc/p2p/B`: the same, with the relay known otherwise (a route). This is what connections are told as their
//!   address, because they do not go through the relay.

use super::fingerprint::Fingerprint;
use libp2p::PeerId;
use libp2p::multiaddr::{Multiaddr, Protocol};
use std::net::{IpAddr, SocketAddr};

/// Circuits in one address: the peer's own, and the one to a relay that is itself private.
pub const CIRCUITS_MAX: usize = 2;

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
    /// The relayed connection that carries the signalling, `RELAY/p2p/R/p2p-circuit/p2p/B`, if the address names it.
    pub circuit: Option<Multiaddr>,
    /// Who must answer.
    pub peer: PeerId,
}

/// Why an address cannot be dialled or listened on by this transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
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
    /// A relay that is reached through a relay that is reached through a relay.
    #[error("more than {CIRCUITS_MAX} circuits in one address")]
    TooDeep,
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

/// Whom an address leads to, if it says so: whoever is named after its last relay.
pub(crate) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().fold(None, |named, part| match part {
        Protocol::P2p(peer) => Some(peer),
        Protocol::P2pCircuit => None,
        _ => named,
    })
}

impl Signalled {
    /// Reads an address to dial.
    ///
    /// # Errors
    /// [`AddressError`]; with [`AddressError::Other`] another transport may know it.
    pub fn parse(address: &Multiaddr) -> Result<Self, AddressError> {
        let parts: Vec<_> = address.iter().collect();
        let Some(at) = parts.iter().rposition(|part| matches!(part, Protocol::WebRTC)) else {
            return Err(AddressError::Other);
        };
        let (before, after) = (parts.get(..at).unwrap_or_default(), parts.get(at + 1..).unwrap_or_default());
        if after.iter().any(|part| matches!(part, Protocol::P2pCircuit)) {
            // A circuit through this peer.
            return Err(AddressError::Other);
        }
        let peer = match after {
            [Protocol::P2p(peer)] => *peer,
            [] => return Err(AddressError::NoPeer),
            _ => return Err(AddressError::Trailing),
        };
        match before {
            [] => Ok(Self { circuit: None, peer }),
            [.., Protocol::P2p(_), Protocol::P2pCircuit] => {
                let circuits = before.iter().filter(|part| matches!(part, Protocol::P2pCircuit)).count();
                if circuits > CIRCUITS_MAX {
                    return Err(AddressError::TooDeep);
                }
                let circuit = before.iter().cloned().chain([Protocol::P2p(peer)]).collect();
                Ok(Self { circuit: Some(circuit), peer })
            }
            _ => Err(AddressError::Other),
        }
    }

    /// The address that names only the peer: `/webrtc/p2p/B`.
    #[must_use]
    pub fn short(peer: PeerId) -> Multiaddr {
        Multiaddr::empty().with(Protocol::WebRTC).with(Protocol::P2p(peer))
    }

    /// Whether an address is one to listen on: `/webrtc`. Who is to be found needs a reservation at a relay besides it.
    #[must_use]
    pub fn is_listen(address: &Multiaddr) -> bool {
        let mut parts = address.iter();
        matches!((parts.next(), parts.next()), (Some(Protocol::WebRTC), None))
    }

    /// The relay of a circuit address, as an address to dial: `RELAY/p2p/R`.
    #[must_use]
    pub fn relay_of(circuit: &Multiaddr) -> Option<Multiaddr> {
        let parts: Vec<_> = circuit.iter().collect();
        let at = parts.iter().rposition(|part| matches!(part, Protocol::P2pCircuit))?;
        Some(parts.get(..at)?.iter().cloned().collect())
    }

    /// The `/webrtc` form of a relayed address: `RELAY/p2p/R/p2p-circuit[/p2p/B]` → `RELAY/p2p/R/p2p-circuit/webrtc[/p2p/B]`.
    /// `None`: it is no circuit to a peer, or has that form already.
    #[must_use]
    pub fn from_circuit(circuit: &Multiaddr) -> Option<Multiaddr> {
        let parts: Vec<_> = circuit.iter().collect();
        let at = parts.iter().rposition(|part| matches!(part, Protocol::P2pCircuit))?;
        let after = parts.get(at + 1..)?;
        if !matches!(after, [] | [Protocol::P2p(_)]) {
            return None;
        }
        let before = parts.get(..=at)?.iter().cloned();
        Some(before.chain([Protocol::WebRTC]).chain(after.iter().cloned()).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libp2p::multihash::Multihash;
    use proptest::prelude::*;

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
        let signalled = Signalled::from_circuit(&circuit).unwrap();
        assert_eq!(signalled, address(&format!("{relay}/webrtc/p2p/{other}")));
        assert_eq!(Signalled::from_circuit(&signalled), None, "it has that form");
        assert_eq!(Signalled::parse(&signalled), Ok(Signalled { circuit: Some(circuit.clone()), peer: other }));
        assert_eq!(Signalled::relay_of(&circuit), Some(address(relay.strip_suffix("/p2p-circuit").unwrap())));
        assert_eq!(Signalled::parse(&Signalled::short(other)), Ok(Signalled { circuit: None, peer: other }));
        assert!(Signalled::is_listen(&address("/webrtc")) && !Signalled::is_listen(&Signalled::short(other)));
        let through_a_tab = format!("{relay}/webrtc/p2p/{other}/p2p-circuit");
        let parsed = Signalled::parse(&address(&format!("{through_a_tab}/webrtc/p2p/{PEER}"))).unwrap();
        assert_eq!(parsed.circuit, Some(address(&format!("{through_a_tab}/p2p/{PEER}"))));
        assert_eq!(Signalled::relay_of(&parsed.circuit.unwrap()), Some(signalled.clone()));
        for (text, error) in [
            (relay.clone(), AddressError::Other),
            (format!("/ip4/1.2.3.4/udp/1/webrtc/p2p/{other}"), AddressError::Other),
            (format!("{signalled}/p2p-circuit"), AddressError::Other),
            (format!("{signalled}/p2p-circuit/p2p/{PEER}"), AddressError::Other),
            (format!("{relay}/webrtc"), AddressError::NoPeer),
            ("/webrtc".to_owned(), AddressError::NoPeer),
            (format!("{relay}/webrtc/p2p/{other}/tcp/1"), AddressError::Trailing),
            (format!("{through_a_tab}/webrtc/p2p/{PEER}/p2p-circuit/webrtc/p2p/{other}"), AddressError::TooDeep),
        ] {
            assert_eq!(Signalled::parse(&address(&text)), Err(error), "{text}");
        }
    }
    fn hash(code: u64) -> impl Strategy<Value = Protocol<'static>> {
        any::<[u8; 32]>().prop_map(move |digest| Protocol::Certhash(Multihash::wrap(code, &digest).unwrap()))
    }

    fn peer() -> impl Strategy<Value = Protocol<'static>> {
        // SHA-256's code.
        any::<[u8; 32]>()
            .prop_map(|digest| Protocol::P2p(PeerId::from_multihash(Multihash::wrap(0x12, &digest).unwrap()).unwrap()))
    }

    fn ip() -> impl Strategy<Value = Protocol<'static>> {
        prop_oneof![
            any::<[u8; 4]>().prop_map(|ip| Protocol::Ip4(ip.into())),
            any::<[u8; 16]>().prop_map(|ip| Protocol::Ip6(ip.into())),
        ]
    }

    /// Parts that belong together, and single ones that do not.
    fn parts() -> impl Strategy<Value = Vec<Protocol<'static>>> {
        let single = prop_oneof![
            ip(),
            peer(),
            hash(0x12),
            hash(0x13),
            any::<u16>().prop_map(Protocol::Udp),
            any::<u16>().prop_map(Protocol::Tcp),
            any::<u64>().prop_map(Protocol::Memory),
            "[a-z]{1,12}".prop_map(|name| Protocol::Dns(name.into())),
            Just(Protocol::WebRTCDirect),
            Just(Protocol::WebRTC),
            Just(Protocol::P2pCircuit),
            Just(Protocol::QuicV1),
        ];
        prop_oneof![
            2 => single.prop_map(|part| vec![part]),
            3 => (ip(), any::<u16>(), hash(0x12))
                .prop_map(|(ip, port, hash)| vec![ip, Protocol::Udp(port), Protocol::WebRTCDirect, hash]),
            3 => peer().prop_map(|peer| vec![peer, Protocol::P2pCircuit]),
            3 => peer().prop_map(|peer| vec![Protocol::WebRTC, peer]),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn any_address_is_an_error_or_prints_back_to_what_reads_the_same(parts in prop::collection::vec(parts(), 0..5)) {
            let address: Multiaddr = parts.into_iter().flatten().collect();
            if let Ok(direct) = Direct::parse(&address) {
                let mut printed = Direct::address(direct.socket, Some(direct.fingerprint));
                if let Some(peer) = direct.peer {
                    printed.push(Protocol::P2p(peer));
                }
                prop_assert_eq!(&printed, &address);
                let read: Multiaddr = printed.to_string().parse().unwrap();
                prop_assert_eq!(peer_of(&read), direct.peer);
                prop_assert_eq!(Direct::parse(&read), Ok(direct));
            }
            if let Ok(socket) = Direct::parse_listen(&address) {
                prop_assert_eq!(Direct::address(socket, None), address.clone());
            }
            if let Ok(signalled) = Signalled::parse(&address) {
                let printed = match &signalled.circuit {
                    Some(circuit) => Signalled::from_circuit(circuit).unwrap(),
                    None => Signalled::short(signalled.peer),
                };
                prop_assert_eq!(&printed, &address);
                prop_assert_eq!(signalled.circuit.is_some(), signalled.circuit.as_ref().and_then(Signalled::relay_of).is_some());
                let read: Multiaddr = printed.to_string().parse().unwrap();
                prop_assert_eq!(peer_of(&read), Some(signalled.peer));
                prop_assert_eq!(Signalled::parse(&read), Ok(signalled));
            }
            // None of these says anything of other addresses, and none falls over.
            let _ = (Signalled::is_listen(&address), Signalled::relay_of(&address), Signalled::from_circuit(&address));
        }
    }

    #[test]
    fn an_address_leads_to_whoever_is_named_after_its_last_relay() {
        let other = PeerId::random();
        for (text, named) in [
            (format!("/ip4/1.2.3.4/udp/1/webrtc-direct/p2p/{other}"), Some(other)),
            (format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit/webrtc/p2p/{other}"), Some(other)),
            (format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}/p2p-circuit/webrtc"), None),
            ("/webrtc".to_owned(), None),
        ] {
            assert_eq!(peer_of(&address(&text)), named, "{text}");
        }
    }
}
