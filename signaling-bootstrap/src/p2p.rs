//! The node behind the list: a relay for signalling and a server of the DHT, and the addresses it is dialled at.

use crate::{identity::Identity, peers::PeerSource};
use futures::future::BoxFuture;
use libp2p::multiaddr::Protocol;
use meganet_core::peer_list::PeerEntry;
use meganet_host::tls::Tls;
use meganet_node::{
    Multiaddr, Node, NodeHandle, PeerId, StartError, api::Command, config::NodeConfig, store::MemoryStore,
};
use meganet_transport::WebSocketTls;
use std::{net::IpAddr, net::SocketAddr, sync::Arc};

/// Peers that one list is drawn from.
const CANDIDATES_MAX: usize = 64;
/// Default ports lie this far above the HTTP port, so that servers side by side do not meet.
const DIRECT_PORT_OFFSET: u16 = 1_000;
const QUIC_PORT_OFFSET: u16 = 2_000;
const WEBSOCKET_PORT_OFFSET: u16 = 3_000;
/// Ports from 1024 on to which no browser connects (Fetch standard, "bad port").
const BAD_PORTS: [u16; 19] =
    [1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080];

/// The running node.
#[derive(Clone)]
pub struct P2p {
    node: NodeHandle,
    external: Vec<Multiaddr>,
}

/// Where to listen when nothing is said: on the IP address of the HTTP server, at ports derived from its port, or at
/// any free ones when that is 0.
pub fn default_listen(http: SocketAddr) -> Vec<Multiaddr> {
    let port = |offset: u16| if http.port() == 0 { 0 } else { http.port().checked_add(offset).unwrap_or(0) };
    let base = Multiaddr::from(http.ip());
    vec![
        base.clone().with(Protocol::Udp(port(DIRECT_PORT_OFFSET))).with(Protocol::WebRTCDirect),
        base.clone().with(Protocol::Udp(port(QUIC_PORT_OFFSET))).with(Protocol::QuicV1),
        base.clone().with(Protocol::Tcp(port(DIRECT_PORT_OFFSET))),
        base.with(Protocol::Tcp(browsable(port(WEBSOCKET_PORT_OFFSET)))).with(Protocol::Ws("/".into())),
    ]
}

/// This port, or the next one that browsers connect to.
fn browsable(port: u16) -> u16 {
    (port..).find(|port| !BAD_PORTS.contains(port)).unwrap_or(0)
}

impl P2p {
    /// Starts the node; it is listening when this returns.
    ///
    /// # Errors
    /// [`StartError`], for example when a port is taken.
    pub async fn start(
        identity: Identity,
        listen: Vec<Multiaddr>,
        external: Vec<Multiaddr>,
        tls: Option<Tls>,
    ) -> Result<Self, StartError> {
        let mut config = NodeConfig::bootstrap(identity.seed);
        config.agent = format!("meganet-bootstrap/{}", env!("CARGO_PKG_VERSION"));
        config.webrtc_certificate_pem = Some(identity.webrtc_certificate_pem);
        // The certificate's hash is not known yet; a webrtc-direct address without it leads nowhere.
        config.external = advertised(&external, &listen);
        config.external.retain(|address| address.iter().last() != Some(Protocol::WebRTCDirect));
        config.listen = listen;
        config.websocket_tls =
            tls.map(|tls| WebSocketTls { certificates_der: tls.certificates_der, key_der: tls.key_der });
        let node = Node::start(config, Arc::new(MemoryStore::new(0))).await?;
        Ok(Self { node, external })
    }

    pub fn peer_id(&self) -> PeerId {
        self.node.peer_id()
    }

    /// The addresses to dial this server at, each ending in `/p2p/PEER`.
    pub async fn addresses(&self) -> Vec<Multiaddr> {
        let listening = self.node.listen_addresses().await;
        let chosen =
            if self.external.is_empty() { reachable(listening) } else { advertised(&self.external, &listening) };
        let full = chosen.into_iter().filter_map(|address| address.with_p2p(self.peer_id()).ok());
        unique(full)
    }

    /// Stops the node. Its peers see their connections close.
    pub async fn stop(&self) {
        if let Err(error) = self.node.call(Command::Shutdown).await {
            tracing::debug!(%error, "the node had stopped already");
        }
    }
}

impl PeerSource for P2p {
    fn own(&self) -> BoxFuture<'_, PeerEntry> {
        Box::pin(async move { entry(self.peer_id(), self.addresses().await) })
    }

    fn others(&self) -> BoxFuture<'_, Vec<PeerEntry>> {
        Box::pin(async move {
            let local_only = self.addresses().await.iter().all(is_loopback);
            let known = self.node.known_peers(CANDIDATES_MAX).await;
            known
                .into_iter()
                .map(|(peer, mut addresses)| {
                    // A loopback address means something on this machine only.
                    addresses.retain(|address| local_only || !is_loopback(address));
                    let full = addresses.into_iter().filter_map(|address| address.with_p2p(peer).ok());
                    entry(peer, full.collect())
                })
                .collect()
        })
    }
}

fn entry(peer: PeerId, mut addresses: Vec<Multiaddr>) -> PeerEntry {
    // A tab can dial webrtc-direct only: it must not be what a full list drops.
    addresses.sort_by_key(|address| !address.iter().any(|part| part == Protocol::WebRTCDirect));
    PeerEntry { peer_id: peer.to_bytes(), addresses: addresses.iter().map(ToString::to_string).collect() }
}

/// Listen addresses without the loopback ones, unless there are no others.
fn reachable(listening: Vec<Multiaddr>) -> Vec<Multiaddr> {
    if listening.iter().all(is_loopback) {
        return listening;
    }
    listening.into_iter().filter(|address| !is_loopback(address)).collect()
}

/// What `--external` says, completed from the listeners: a bare host (`/ip4/203.0.113.5`, `/dns/example.org`) stands for
/// all of them, and a `webrtc-direct` address gets the certificate's hash.
fn advertised(external: &[Multiaddr], listening: &[Multiaddr]) -> Vec<Multiaddr> {
    let mut all = Vec::new();
    for address in external {
        if address.iter().count() == 1 {
            let same_family = listening.iter().filter(|listener| has_family_of(listener, address));
            all.extend(
                same_family.map(|listener| address.iter().chain(listener.iter().skip(1)).collect::<Multiaddr>()),
            );
        } else if address.iter().last() == Some(Protocol::WebRTCDirect) {
            all.push(
                listening
                    .iter()
                    .find_map(certificate_hash)
                    .map_or_else(|| address.clone(), |hash| address.clone().with(hash)),
            );
        } else {
            all.push(address.clone());
        }
    }
    // Port 0 is no address.
    all.retain(|address| !address.iter().any(|part| matches!(part, Protocol::Udp(0) | Protocol::Tcp(0))));
    unique(all)
}

/// Without repetitions, in order: a listener may also be known as an external address, or once for each interface.
fn unique(addresses: impl IntoIterator<Item = Multiaddr>) -> Vec<Multiaddr> {
    let mut unique: Vec<Multiaddr> = Vec::new();
    for address in addresses {
        if !unique.contains(&address) {
            unique.push(address);
        }
    }
    unique
}

fn has_family_of(listener: &Multiaddr, host: &Multiaddr) -> bool {
    match (listener.iter().next(), host.iter().next()) {
        (Some(Protocol::Ip4(_)), Some(Protocol::Ip6(_))) | (Some(Protocol::Ip6(_)), Some(Protocol::Ip4(_))) => false,
        (listener, host) => listener.is_some() && host.is_some(),
    }
}

fn certificate_hash(address: &Multiaddr) -> Option<Protocol<'_>> {
    address.iter().find(|part| matches!(part, Protocol::Certhash(_)))
}

fn is_loopback(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_loopback(),
        Some(Protocol::Ip6(ip)) => IpAddr::from(ip).to_canonical().is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "/certhash/uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";

    fn addresses(texts: &[&str]) -> Vec<Multiaddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_browser_connects_to_the_default_websocket_port() {
        for http in [8080, 7080, 3000, 3665, 0, 65_000] {
            let listen = default_listen(SocketAddr::from(([127, 0, 0, 1], http)));
            let websocket = listen.iter().find(|address| meganet_transport::is_websocket(address)).unwrap();
            let Some(Protocol::Tcp(port)) = websocket.iter().nth(1) else { panic!("{websocket}") };
            assert!(!BAD_PORTS.contains(&port) && (port == 0) == (http == 0 || http > 62_000), "{http}: {port}");
        }
    }

    #[test]
    fn default_ports_follow_the_http_port() {
        let fixed = default_listen(([127, 0, 0, 1], 8080).into());
        let expected = [
            "/ip4/127.0.0.1/udp/9080/webrtc-direct",
            "/ip4/127.0.0.1/udp/10080/quic-v1",
            "/ip4/127.0.0.1/tcp/9080",
            "/ip4/127.0.0.1/tcp/11080/ws",
        ];
        assert_eq!(fixed, addresses(&expected));
        for address in default_listen(([127, 0, 0, 1], 0).into()) {
            assert!(address.iter().any(|part| matches!(part, Protocol::Udp(0) | Protocol::Tcp(0))), "{address}");
        }
        assert_eq!(default_listen(([127, 0, 0, 1], 65_000).into())[2], addresses(&["/ip4/127.0.0.1/tcp/0"])[0]);
    }

    #[test]
    fn a_bare_external_host_stands_for_every_listener() {
        let direct = format!("/ip4/10.0.0.2/udp/9080/webrtc-direct{HASH}");
        let listening = addresses(&[&direct, "/ip4/127.0.0.1/tcp/9080", "/ip4/10.0.0.2/tcp/9080", "/ip6/::1/tcp/9080"]);
        let public = format!("/ip4/203.0.113.5/udp/9080/webrtc-direct{HASH}");
        let all = advertised(&addresses(&["/ip4/203.0.113.5"]), &listening);
        assert_eq!(all, addresses(&[&public, "/ip4/203.0.113.5/tcp/9080"]));
        assert_eq!(
            advertised(&addresses(&["/dns/example.org"]), &listening[3..]),
            addresses(&["/dns/example.org/tcp/9080"])
        );
    }

    #[test]
    fn a_direct_address_gets_the_certificates_hash() {
        let listening = addresses(&[&format!("/ip4/10.0.0.2/udp/9080/webrtc-direct{HASH}")]);
        let all = advertised(
            &addresses(&["/ip4/203.0.113.5/udp/4000/webrtc-direct", "/ip4/203.0.113.5/tcp/4001"]),
            &listening,
        );
        let full = format!("/ip4/203.0.113.5/udp/4000/webrtc-direct{HASH}");
        assert_eq!(all, addresses(&[&full, "/ip4/203.0.113.5/tcp/4001"]));
    }

    #[test]
    fn loopback_is_listed_only_when_there_is_nothing_else() {
        let local = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"]);
        assert_eq!(reachable(local.clone()), local);
        let mixed = addresses(&["/ip4/127.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1"]);
        assert_eq!(reachable(mixed), addresses(&["/ip4/10.0.0.2/tcp/1"]));
    }

    #[test]
    fn what_a_tab_can_dial_comes_first() {
        let listed = entry(PeerId::random(), addresses(&["/ip4/10.0.0.2/tcp/1", "/ip4/10.0.0.2/udp/1/webrtc-direct"]));
        assert!(listed.addresses[0].contains("webrtc-direct"));
    }
}
