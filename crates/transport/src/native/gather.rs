//! The ways in which this machine can be reached: its own addresses, and how NATs in front of it look from outside
//! (RFC 8445 §5.1).

use super::{
    driver::{DATAGRAM_MAX_BYTES, Datagram, Local},
    listener,
};
use crate::{
    census::Census,
    error::Error,
    proto::stun::{self, Message, Transaction},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use str0m::Candidate;
use tokio::{net::UdpSocket, sync::mpsc};

/// Addresses of this machine that are used; one socket each.
pub const LOCAL_ADDRESSES_MAX: usize = 8;
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

/// Opens sockets and asks the STUN servers what they look like from there.
pub(super) async fn gather(stun: &[SocketAddr]) -> Result<Gathered, Error> {
    let addresses: BTreeSet<IpAddr> = if_addrs::get_if_addrs()?.into_iter().map(|interface| interface.ip()).collect();
    let mut locals = Vec::new();
    for ip in addresses.into_iter().filter(is_usable).take(LOCAL_ADDRESSES_MAX) {
        // An address may go while it is looked at.
        if let Ok(socket) = listener::bind(SocketAddr::new(ip, 0))
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

/// How a socket looks from each server; equal answers are one.
async fn mapped(local: SocketAddr, socket: &UdpSocket, servers: &[SocketAddr]) -> BTreeSet<SocketAddr> {
    let can_reach = |server: &&SocketAddr| {
        server.is_ipv4() == local.is_ipv4() && server.ip().is_loopback() == local.ip().is_loopback()
    };
    let mut asking = Asking { unanswered: servers.iter().filter(can_reach).copied().collect(), found: BTreeSet::new() };
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
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        let absurd = tokio::spawn(async move {
            let mut buffer = [0; DATAGRAM_MAX_BYTES];
            loop {
                let (len, from) = server.recv_from(&mut buffer).await.unwrap();
                let Some(Message::Request(transaction)) = stun::parse(&buffer[..len]) else { panic!("no request") };
                let answer = stun::response(transaction, SocketAddr::from(([0, 0, 0, 0], 0)));
                server.send_to(&answer, from).await.unwrap();
            }
        });
        let gathered = gather(&[address]).await.unwrap();
        assert!(!gathered.locals.is_empty());
        assert_eq!(gathered.locals.len(), gathered.candidates.len());
        absurd.abort();
    }
}
