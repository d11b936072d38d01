//! The ways in which this machine can be reached: its own addresses, and how NATs in front of it look from outside
//! (RFC 8445 §5.1).

use super::datagram::{self, DATAGRAM_MAX_BYTES, Datagram, Local};
use crate::{
    census::Census,
    error::Error,
    proto::{
        sdp,
        stun::{self, Message, Transaction},
    },
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use str0m::Candidate;
use tokio::{net::UdpSocket, sync::mpsc};

/// Addresses of this machine that are used; one socket each.
pub const LOCAL_ADDRESSES_MAX: usize = 8;
/// Of those, places that are IPv6's if it has so many addresses: a machine may have any number of bridges with one of IPv4.
const IPV6_PLACES: usize = 2;
/// Whoever is spoken to from an address of this machine's stands for the internet: addresses of examples (RFC 5737, RFC 3849), to
/// which nothing is ever sent.
const OUTSIDE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9),
];
/// STUN servers are asked again after this; an answer is one round trip away.
const STUN_AGAIN: Duration = Duration::from_millis(200);
/// After that they get this long.
const STUN_PATIENCE: Duration = Duration::from_millis(400);

/// Sockets, and the candidates that are reached by them.
pub(super) struct Gathered {
    pub locals: Vec<Local>,
    pub candidates: Vec<Candidate>,
    /// A NAT gives each destination another port: only peers that are not behind such a one too can be met.
    pub is_symmetric: bool,
}

fn is_usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

/// From which addresses this machine speaks to the internet, of either family.
fn preferred() -> Vec<IpAddr> {
    let from = |target: SocketAddr| {
        let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = std::net::UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
        socket.connect(target).ok()?;
        socket.local_addr().ok().map(|local| local.ip())
    };
    OUTSIDE.into_iter().filter_map(from).collect()
}

/// Which of these addresses are used, the best first: the preferred, the others, and one of loopback of either family, for peers
/// on this machine when it has no network.
fn chosen(addresses: impl IntoIterator<Item = IpAddr>, preferred: &[IpAddr]) -> Vec<IpAddr> {
    let usable: BTreeSet<IpAddr> = addresses.into_iter().filter(is_usable).collect();
    let (mut loopback, mut others): (Vec<IpAddr>, Vec<IpAddr>) = usable.into_iter().partition(IpAddr::is_loopback);
    loopback.dedup_by_key(|ip| ip.is_ipv4());
    let is_second = |ip: &IpAddr| !preferred.contains(ip);
    others.sort_by_key(is_second);
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = others.into_iter().partition(IpAddr::is_ipv4);
    let places = LOCAL_ADDRESSES_MAX.saturating_sub(loopback.len());
    let of_v4 = v4.len().min(places.saturating_sub(v6.len().min(IPV6_PLACES)));
    let of_v6 = places.saturating_sub(of_v4);
    let mut chosen: Vec<IpAddr> = v4.into_iter().take(of_v4).chain(v6.into_iter().take(of_v6)).collect();
    chosen.sort_by_key(is_second);
    chosen.extend(loopback);
    chosen
}

/// Opens sockets and asks the STUN servers what they look like from there.
pub(super) async fn gather(stun: &[SocketAddr]) -> Result<Gathered, Error> {
    let addresses = if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip());
    let mut locals = Vec::new();
    for ip in chosen(addresses, &preferred()) {
        // An address may go while it is looked at.
        if let Ok(socket) = datagram::bind(SocketAddr::new(ip, 0))
            && let Ok(local) = socket.local_addr()
        {
            locals.push((local, Arc::new(socket)));
        }
    }
    // An address that is none, which any server may answer, costs only itself.
    let mut candidates = Vec::new();
    candidates.extend(locals.iter().filter_map(|(local, _)| Candidate::host(*local, "udp").ok()));
    let asked = locals.iter().map(|(local, socket)| async { (*local, mapped(*local, socket, stun).await) });
    let mut is_symmetric = false;
    for (local, mapped) in futures::future::join_all(asked).await {
        is_symmetric |= mapped.len() > 1;
        for outside in mapped.into_iter().filter(|outside| *outside != local) {
            candidates.extend(Candidate::server_reflexive(outside, local, "udp"));
        }
    }
    Ok(Gathered { locals, candidates, is_symmetric })
}

/// Whether a socket can look so from outside. Whoever is asked may answer anything, and the other end holds a description that
/// names what is no address of a peer to be broken as a whole.
fn can_look(local: SocketAddr, outside: SocketAddr) -> bool {
    let (ip, port) = (outside.ip().to_canonical(), outside.port());
    ip.is_ipv4() == local.is_ipv4()
        && ip.is_loopback() == local.ip().is_loopback()
        && sdp::check_candidate(&format!("candidate:1 1 udp 1 {ip} {port} typ srflx")).is_ok()
}

/// How a socket looks from each server; equal answers are one.
async fn mapped(local: SocketAddr, socket: &UdpSocket, servers: &[SocketAddr]) -> BTreeSet<SocketAddr> {
    let can_reach = |server: &&SocketAddr| {
        server.is_ipv4() == local.is_ipv4() && server.ip().is_loopback() == local.ip().is_loopback()
    };
    let unanswered = servers.iter().filter(can_reach).copied().collect();
    let mut asking = Asking { local, unanswered, found: BTreeSet::new() };
    let mut transaction = [0; 12];
    if getrandom::fill(&mut transaction).is_ok() {
        // Twice: a datagram may be lost.
        for patience in [STUN_AGAIN, STUN_PATIENCE] {
            if !asking.unanswered.is_empty() {
                let _ = tokio::time::timeout(patience, asking.ask(socket, transaction)).await;
            }
        }
    }
    asking.found
}

struct Asking {
    local: SocketAddr,
    unanswered: BTreeSet<SocketAddr>,
    found: BTreeSet<SocketAddr>,
}

impl Asking {
    /// Asks those that have not answered, and ends when all have.
    async fn ask(&mut self, socket: &UdpSocket, transaction: Transaction) {
        for server in &self.unanswered {
            let _ = socket.send_to(&stun::request(transaction), server).await;
        }
        let mut buffer = [0; DATAGRAM_MAX_BYTES];
        while !self.unanswered.is_empty() {
            let Ok((len, from)) = socket.recv_from(&mut buffer).await else { continue };
            // What nobody was asked is no answer: the transaction's number is random.
            if let Some(Message::Response(answered, outside)) = stun::parse(buffer.get(..len).unwrap_or_default())
                && answered == transaction
                && self.unanswered.remove(&from)
                && can_look(self.local, outside)
            {
                self.found.insert(outside);
            }
        }
    }
}

/// Hands what comes to these sockets on, until nobody takes it any more.
pub(super) fn listen(locals: &[Local], datagrams: &mpsc::Sender<Datagram>, census: &Census) {
    for (destination, socket) in locals.iter().cloned() {
        let datagrams = datagrams.clone();
        census.spawn(async move {
            let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
            loop {
                tokio::select! {
                    received = socket.recv_from(&mut buffer) => {
                        if let Ok((len, source)) = received {
                            let bytes = buffer.get(..len).unwrap_or_default().to_vec();
                            // A full queue drops, as the network does.
                            let _ = datagrams.try_send(Datagram { bytes, source, destination });
                        }
                    }
                    () = datagrams.closed() => return,
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::{Certificate, Config, Transport};
    use futures::StreamExt;
    use libp2p::{Transport as _, core::transport::TransportEvent, identity::Keypair};

    #[tokio::test]
    async fn a_listener_tells_how_a_socket_looks_from_outside() {
        let config = Config {
            identity: Keypair::generate_ed25519(),
            certificate: Certificate::generate().unwrap(),
            version_1: false,
            stun: crate::StunServers::default(),
            census: Census::default(),
        };
        let (mut listener, _behaviour) = Transport::new(config);
        let id = libp2p::core::transport::ListenerId::next();
        listener.listen_on(id, "/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap()).unwrap();
        let mut listener = listener.boxed();
        let Some(TransportEvent::NewAddress { listen_addr, .. }) = listener.next().await else { panic!("no address") };
        let server = listen_addr.iter().find_map(|part| match part {
            libp2p::multiaddr::Protocol::Udp(port) => Some(SocketAddr::from(([127, 0, 0, 1], port))),
            _ => None,
        });
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let local = socket.local_addr().unwrap();
        assert_eq!(mapped(local, &socket, &[server.unwrap()]).await, BTreeSet::from([local]));
    }

    #[tokio::test]
    async fn a_silent_stun_server_costs_only_patience() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let gathered = gather(&[silent.local_addr().unwrap()]).await.unwrap();
        assert!(gathered.locals.iter().any(|(local, _)| local.ip().is_loopback()));
        assert_eq!(gathered.locals.len(), gathered.candidates.len());
        assert!(!gathered.is_symmetric);
    }

    #[tokio::test]
    async fn a_stun_servers_absurd_answer_costs_only_itself() {
        for absurd in ["0.0.0.0:0", "127.0.0.1:0", "192.0.2.1:9", "[::1]:9", "255.255.255.255:9"] {
            let absurd: SocketAddr = absurd.parse().unwrap();
            let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = server.local_addr().unwrap();
            let answering = tokio::spawn(async move {
                let mut buffer = [0; DATAGRAM_MAX_BYTES];
                loop {
                    let (len, from) = server.recv_from(&mut buffer).await.unwrap();
                    let Some(Message::Request(transaction)) = stun::parse(&buffer[..len]) else { panic!("no request") };
                    server.send_to(&stun::response(transaction, absurd), from).await.unwrap();
                }
            });
            let gathered = gather(&[address]).await.unwrap();
            assert!(!gathered.locals.is_empty());
            assert_eq!(gathered.locals.len(), gathered.candidates.len(), "{absurd}");
            answering.abort();
        }
    }

    #[test]
    fn a_socket_looks_from_outside_like_one_that_is_reached_there() {
        let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (local, outside, can) in [
            ("10.0.0.1:5", "192.0.2.1:9", true),
            // The server is in the same network.
            ("10.0.0.1:5", "10.0.0.1:5", true),
            ("[2001:db8::1]:5", "[2001:db8::2]:9", true),
            ("127.0.0.1:5", "127.0.0.1:9", true),
            ("127.0.0.1:5", "192.0.2.1:9", false),
            ("10.0.0.1:5", "127.0.0.1:9", false),
            ("10.0.0.1:5", "192.0.2.1:0", false),
            ("10.0.0.1:5", "0.0.0.0:9", false),
            ("10.0.0.1:5", "224.0.0.1:9", false),
            ("10.0.0.1:5", "255.255.255.255:9", false),
            ("10.0.0.1:5", "[2001:db8::2]:9", false),
            ("[2001:db8::1]:5", "192.0.2.1:9", false),
            ("[2001:db8::1]:5", "[::ffff:192.0.2.1]:9", false),
            ("[2001:db8::1]:5", "[ff02::1]:9", false),
        ] {
            assert_eq!(can_look(socket(local), socket(outside)), can, "{outside} of {local}");
        }
    }

    fn ips<const N: usize>(texts: [&str; N]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn bridges_crowd_out_neither_the_way_outside_nor_ipv6_nor_loopback() {
        let bridges = (17..33).map(|bridge| IpAddr::from([172, bridge, 0, 1]));
        let others = ips([
            "127.0.0.1",
            "127.0.0.2",
            "169.254.1.1",
            "192.168.1.2",
            "::1",
            "2001:db8::5",
            "2001:db8::6",
            "2001:db8::7",
            "fe80::1",
        ]);
        let expected = ips([
            "192.168.1.2",
            "2001:db8::6",
            "172.17.0.1",
            "172.18.0.1",
            "172.19.0.1",
            "2001:db8::5",
            "127.0.0.1",
            "::1",
        ]);
        assert_eq!(chosen(bridges.chain(others), &ips(["192.168.1.2", "2001:db8::6"])), expected);
    }

    #[test]
    fn a_family_uses_the_places_that_the_other_has_no_address_for() {
        let v4 = (1..20).map(|host| IpAddr::from([10, 0, 0, host]));
        assert_eq!(chosen(v4.clone(), &[]), v4.take(LOCAL_ADDRESSES_MAX).collect::<Vec<_>>());
        let v6 = (1..20).map(|host| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, host]));
        let expected: Vec<_> = ips(["10.0.0.1"]).into_iter().chain(v6.clone().take(LOCAL_ADDRESSES_MAX - 1)).collect();
        assert_eq!(chosen(v6.chain(ips(["10.0.0.1"])), &[]), expected);
        let few = ips(["10.0.0.1", "127.0.0.1"]);
        assert_eq!(chosen(few.clone(), &ips(["192.0.2.7"])), few, "what is preferred may be gone");
    }
}
