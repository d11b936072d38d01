//! A `webrtc-direct` listener: one UDP socket for all of its connections, and STUN for whoever asks.
//!
//! Datagrams go to connections by where they come from; a STUN request of somebody new begins one, or is another way of one whose
//! user name it has: a client with several addresses asks from each, and one behind a NAT from another when that forgets it. Nothing is kept for a
//! stranger before its request is well formed, and then only within bounds: half-open attempts in all, per address and per IPv6
//! network, and their rate. Where a request came from can be forged, and so can all that needs no answer: when there are too many
//! attempts, in all or of one host or network, the oldest of them that has not done with ICE and DTLS makes room, for a forger
//! never sees the answers that take it so far.

use super::{
    Certificate,
    attempt::{Attempt, Role, Started},
    datagram::{DATAGRAM_MAX_BYTES, Datagram},
    half_open::{HalfOpen, Place},
};
use crate::{
    census::{Census, Counted, Kind},
    clock,
    error::Error,
    proto::{credentials, stun},
    rate::Rate,
};
use libp2p::identity::Keypair;
use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use str0m::ice::StunMessage;
use tokio::{net::UdpSocket, sync::mpsc};

/// New attempts a second, after a burst of as many.
pub const ATTEMPTS_PER_S: u32 = 200;
/// Answers a second to STUN requests that are no attempt, after a burst of as many.
pub const STUN_PER_S: u32 = 500;
/// An attempt makes room for another once it is this old, ms: several times there and back on a long way. Whoever asks without end
/// from the address of an honest peer would else end that one's attempts faster than they can succeed.
const ATTEMPT_HAS_MS: u64 = 500;
/// Connections of one listener.
pub const CONNECTIONS_MAX: usize = 4_096;
/// Addresses that one connection's client is heard at.
const WAYS_MAX: usize = 8;
/// Attempts that wait for the swarm to take them.
const INCOMING_WAITING_MAX: usize = 64;
/// Bytes the kernel is asked to buffer for the socket, each way.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// An attempt that somebody makes.
pub(super) struct Incoming {
    pub started: Started,
    pub from: SocketAddr,
    pub place: Place,
}

/// Somebody who sends.
struct Remote {
    /// The connection ends when this is dropped.
    datagrams: mpsc::Sender<Datagram>,
    /// ICE and DTLS are done: it answered to an answer, so its address is its own.
    is_proven: Arc<AtomicBool>,
    begun_ms: u64,
    /// The user name in its requests (RFC 8445 §7.2.2).
    name: Arc<str>,
    _counted: Counted,
}

/// What has one user name.
struct Named {
    /// The first address that it came from.
    first: SocketAddr,
    ways: usize,
}

impl Remote {
    /// Whether it can make room for another.
    fn is_unproven(&self) -> bool {
        !self.is_proven.load(Ordering::Relaxed) && !self.datagrams.is_closed()
    }
}

/// A listening socket's task.
pub(super) struct Listener {
    socket: Arc<UdpSocket>,
    /// What str0m takes for this end's address.
    local: SocketAddr,
    certificate: Certificate,
    identity: Keypair,
    incoming: mpsc::Sender<Incoming>,
    by_source: HashMap<SocketAddr, Remote>,
    by_name: HashMap<Arc<str>, Named>,
    /// Attempts in the order they began; those that are over or went further fall out when they are met.
    order: VecDeque<SocketAddr>,
    half_open: HalfOpen,
    attempts: Rate,
    /// Attempts that make room for another one of their host or network.
    replaced: Rate,
    stun: Rate,
    census: Census,
}

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

/// Listens until the receiver is dropped, and carries the connections there are until they end. Returns the address that was bound.
pub(super) fn listen(
    address: SocketAddr,
    certificate: Certificate,
    identity: Keypair,
    census: &Census,
) -> io::Result<(SocketAddr, mpsc::Receiver<Incoming>)> {
    let socket = Arc::new(bind(address)?);
    let bound = socket.local_addr()?;
    // An unspecified address is no candidate. Which one stands here does not matter: a lite agent answers to where it was
    // asked from.
    let ip = match bound.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let (incoming, receiver) = mpsc::channel(INCOMING_WAITING_MAX);
    let listener = Listener {
        socket,
        local: SocketAddr::new(ip, bound.port()),
        certificate,
        identity,
        incoming,
        by_source: HashMap::new(),
        by_name: HashMap::new(),
        order: VecDeque::new(),
        half_open: HalfOpen::default(),
        attempts: Rate::new(ATTEMPTS_PER_S, ATTEMPTS_PER_S),
        replaced: Rate::new(ATTEMPTS_PER_S, ATTEMPTS_PER_S),
        stun: Rate::new(STUN_PER_S, STUN_PER_S),
        census: census.clone(),
    };
    census.spawn(listener.run());
    Ok((bound, receiver))
}

impl Listener {
    async fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        // Whoever listens no more keeps the connections that it has.
        let mut is_removed = false;
        while !is_removed || !self.by_source.is_empty() {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((len, from)) => self.on_datagram(buffer.get(..len).unwrap_or_default(), from, clock::now_ms()),
                    // ICMP's answer to something sent earlier: not this socket's end.
                    Err(error) => tracing::trace!(%error, "receive"),
                },
                _ = sweep.tick() => self.sweep(),
                () = self.incoming.closed(), if !is_removed => {
                    is_removed = true;
                    self.sweep();
                }
            }
        }
    }

    /// Forgets who is gone.
    fn sweep(&mut self) {
        self.by_source.retain(|_, remote| !remote.datagrams.is_closed());
        let by_source = &self.by_source;
        self.by_name.retain(|_, named| by_source.contains_key(&named.first));
        self.order.retain(|source| by_source.get(source).is_some_and(Remote::is_unproven));
    }

    fn on_datagram(&mut self, bytes: &[u8], from: SocketAddr, now_ms: u64) {
        if let Some(remote) = self.by_source.get(&from)
            && !remote.datagrams.is_closed()
        {
            // A full queue drops, as the network does.
            let _ =
                remote.datagrams.try_send(Datagram { bytes: bytes.to_vec(), source: from, destination: self.local });
            return;
        }
        if self.incoming.is_closed() {
            return;
        }
        if let Some(stun::Message::Request(transaction)) = stun::parse(bytes) {
            self.answer_stun(transaction, from, now_ms);
            return;
        }
        let Ok(message) = StunMessage::parse(bytes) else { return };
        if let (true, Some(name)) = (message.is_binding_request(), message.username())
            && let Err(error) = self.begin(name, bytes, from, now_ms)
        {
            tracing::debug!(%from, %error, "no attempt");
        }
    }

    /// Tells somebody their address (RFC 8489 §7.3.1).
    fn answer_stun(&mut self, transaction: stun::Transaction, from: SocketAddr, now_ms: u64) {
        if self.stun.take(now_ms) {
            let _ = self.socket.try_send_to(&stun::response(transaction, from), from);
        }
    }

    fn begin(&mut self, username: &str, first: &[u8], from: SocketAddr, now_ms: u64) -> Result<(), Error> {
        let names = credentials::Attempt::from_username(username)?;
        if self.by_source.len() >= CONNECTIONS_MAX {
            return Err(Error::Busy);
        }
        if let Some(way) = self.another_way(username, now_ms) {
            let _ = way.datagrams.try_send(Datagram { bytes: first.to_vec(), source: from, destination: self.local });
            self.by_source.insert(from, way);
            return Ok(());
        }
        if let Some(group) = self.half_open.at_its_share(from.ip()) {
            // A host or network that has its share takes none of the others' turns, and clears nothing faster than they come.
            if self.replaced.take(now_ms) {
                self.let_go_of_the_oldest(now_ms, |source| group.has(source.ip()));
            }
        } else if !self.attempts.take(now_ms) {
            return Err(Error::Busy);
        } else if self.half_open.is_full() {
            self.let_go_of_the_oldest(now_ms, |_| true);
        }
        let place = self.half_open.admit(from.ip(), &self.census).ok_or(Error::Busy)?;
        let slot = self.incoming.try_reserve().map_err(|_| Error::Busy)?;
        let is_proven = Arc::<AtomicBool>::default();
        let attempt = Attempt {
            role: Role::Server,
            local_ice: names.server,
            remote_ice: names.client,
            local: self.local,
            remote: from,
            socket: self.socket.clone(),
            certificate: self.certificate.clone(),
            identity: self.identity.clone(),
            is_proven: is_proven.clone(),
            census: self.census.clone(),
        };
        let (started, datagrams) = attempt.start()?;
        let _ = datagrams.try_send(Datagram { bytes: first.to_vec(), source: from, destination: self.local });
        let _counted = self.census.count(Kind::Remotes);
        let name = Arc::<str>::from(username);
        self.by_name.insert(name.clone(), Named { first: from, ways: 1 });
        self.by_source.insert(from, Remote { datagrams, is_proven, begun_ms: now_ms, name, _counted });
        self.order.push_back(from);
        slot.send(Incoming { started, from, place });
        Ok(())
    }

    /// Of the connection that has this name, if there is one and it may have another. Whether the sender knows the password the
    /// connection sees itself.
    fn another_way(&mut self, username: &str, now_ms: u64) -> Option<Remote> {
        let named = self.by_name.get_mut(username)?;
        let remote = self.by_source.get(&named.first)?;
        if &*remote.name != username || remote.datagrams.is_closed() || named.ways >= WAYS_MAX {
            return None;
        }
        named.ways += 1;
        Some(Remote {
            datagrams: remote.datagrams.clone(),
            is_proven: remote.is_proven.clone(),
            begun_ms: now_ms,
            name: remote.name.clone(),
            _counted: self.census.count(Kind::Remotes),
        })
    }

    /// Ends the oldest of these attempts that is not proven, if it has had its time. Its place is free once its task has noticed;
    /// until then one more may be turned away, and asks again.
    fn let_go_of_the_oldest(&mut self, now_ms: u64, is_one: impl Fn(&SocketAddr) -> bool) {
        let by_source = &self.by_source;
        let unproven = |source: &SocketAddr| by_source.get(source).filter(|remote| remote.is_unproven());
        let oldest = self.order.iter().enumerate().find_map(|(place, source)| {
            let remote = unproven(source).filter(|_| is_one(source))?;
            Some((place, remote.begun_ms))
        });
        if let Some((place, begun_ms)) = oldest
            && now_ms.saturating_sub(begun_ms) >= ATTEMPT_HAS_MS
            && let Some(gone) = self.order.remove(place).and_then(|source| self.by_source.remove(&source))
        {
            // With all of its ways.
            self.by_source.retain(|_, remote| !remote.datagrams.same_channel(&gone.datagrams));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::{
        gather,
        half_open::{HALF_OPEN_MAX, HALF_OPEN_PER_IP_MAX, HALF_OPEN_PER_NETWORK_MAX, tests::source_v6},
    };
    use std::net::Ipv6Addr;

    const USERNAME: &str = "libp2p+webrtc+v1/abcdefgh:libp2p+webrtc+v1/abcdefgh";

    /// Another one for each.
    fn username(from: SocketAddr) -> String {
        let number = from.to_string().replace([':', '[', ']'], "+").replace('.', "/");
        let ufrag = format!("libp2p+webrtc+v1/{number}abcd");
        format!("{ufrag}:{ufrag}")
    }

    /// A listener that is driven by hand.
    fn listener() -> (Listener, mpsc::Receiver<Incoming>) {
        let socket = Arc::new(bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let (incoming, receiver) = mpsc::channel(2 * HALF_OPEN_MAX);
        let listener = Listener {
            local: socket.local_addr().unwrap(),
            socket,
            certificate: Certificate::generate().unwrap(),
            identity: Keypair::generate_ed25519(),
            incoming,
            by_source: HashMap::new(),
            by_name: HashMap::new(),
            order: VecDeque::new(),
            half_open: HalfOpen::default(),
            attempts: Rate::new(10_000, 10_000),
            replaced: Rate::new(10_000, 10_000),
            stun: Rate::new(STUN_PER_S, STUN_PER_S),
            census: Census::default(),
        };
        (listener, receiver)
    }

    impl Listener {
        /// A request of somebody new; nothing is answered to it, for it is none.
        fn ask(&mut self, from: SocketAddr) -> Result<(), Error> {
            self.begin(&username(from), &[], from, 0)
        }

        /// The same, once those before have had their time.
        fn ask_later(&mut self, from: SocketAddr) -> Result<(), Error> {
            self.begin(&username(from), &[], from, ATTEMPT_HAS_MS)
        }

        fn knows(&self, source: SocketAddr) -> bool {
            self.by_source.contains_key(&source)
        }
    }

    fn source(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], port))
    }

    #[tokio::test]
    async fn a_host_at_its_share_loses_its_own_oldest_attempt_and_no_other_host_does() {
        let (mut listener, mut incoming) = listener();
        listener.ask(source(9, 1)).unwrap();
        let _other = incoming.recv().await.unwrap();
        for port in 1..=HALF_OPEN_PER_IP_MAX as u16 {
            listener.ask(source(1, port)).unwrap();
        }
        let oldest = incoming.recv().await.unwrap();
        assert!(matches!(listener.ask(source(1, 100)), Err(Error::Busy)));
        assert!(listener.knows(source(1, 1)), "it has its time");
        assert!(matches!(listener.ask_later(source(1, 100)), Err(Error::Busy)), "its place is not free yet");
        assert!(!listener.knows(source(1, 1)) && listener.knows(source(1, 2)) && listener.knows(source(9, 1)));
        drop(oldest);
        listener.ask(source(1, 100)).unwrap();
        assert!(listener.knows(source(1, 2)) && listener.knows(source(9, 1)));
    }

    #[tokio::test]
    async fn an_ipv6_network_at_its_share_loses_its_own_oldest_attempt_and_no_other_network_does() {
        let (mut listener, mut incoming) = listener();
        listener.local = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 1);
        let (hosts, per_host) = (HALF_OPEN_PER_NETWORK_MAX / HALF_OPEN_PER_IP_MAX, HALF_OPEN_PER_IP_MAX as u16);
        let (network, other) = ("2001:db8:1", source_v6("2001:db8:2", 0, 1));
        listener.ask(other).unwrap();
        let _other = incoming.recv().await.unwrap();
        // The first host begins as the network does, and has its share none the less.
        for host in 0..hosts as u16 {
            (0..per_host).for_each(|number| listener.ask(source_v6(network, host, number)).unwrap());
        }
        let oldest = incoming.recv().await.unwrap();
        let late = source_v6(network, 0xff, 1);
        assert!(matches!(listener.ask_later(late), Err(Error::Busy)), "its place is not free yet");
        assert!(!listener.knows(source_v6(network, 0, 0)) && listener.knows(source_v6(network, 0, 1)));
        assert!(listener.knows(other), "it is older, and of another network");
        drop(oldest);
        listener.ask(late).unwrap();
        assert!(listener.knows(late) && listener.knows(source_v6(network, 0, 1)) && listener.knows(other));
    }

    #[tokio::test]
    async fn who_asks_from_several_addresses_has_one_connection_within_bounds() {
        let (mut listener, mut incoming) = listener();
        for host in 1..=WAYS_MAX as u8 {
            listener.begin(USERNAME, &[], source(host, 1), 0).unwrap();
        }
        assert!((1..=WAYS_MAX as u8).all(|host| listener.knows(source(host, 1))));
        let _one = incoming.recv().await.unwrap();
        assert!(incoming.try_recv().is_err(), "the others are ways of it");
        assert_eq!(listener.half_open.len(), 1);
        // All of them go together.
        listener.let_go_of_the_oldest(ATTEMPT_HAS_MS, |_| true);
        assert!(listener.by_source.is_empty());
        listener.sweep();
        assert!(listener.by_name.is_empty());
        // One way too many is an attempt of its own: nobody else is at that name any more, or is to be.
        for host in 1..=WAYS_MAX as u8 + 1 {
            listener.begin(USERNAME, &[], source(host, 2), 0).unwrap();
        }
        assert!(incoming.recv().await.is_some() && incoming.recv().await.is_some());
    }

    #[tokio::test]
    async fn what_a_forger_can_send_proves_nothing() {
        let (mut listener, _incoming) = listener();
        for host in 0..HALF_OPEN_MAX as u8 {
            listener.ask(source(host, 1)).unwrap();
            // A first byte of DTLS (RFC 7983).
            listener.on_datagram(&[22; 64], source(host, 1), 0);
        }
        listener.sweep();
        assert!(matches!(listener.ask_later(source(200, 1)), Err(Error::Busy)), "its place is not free yet");
        assert!(!listener.knows(source(0, 1)) && listener.knows(source(1, 1)));
    }

    #[tokio::test]
    async fn a_listener_with_all_its_connections_turns_the_next_away_until_one_is_gone() {
        let (mut listener, _incoming) = listener();
        let mut connections = Vec::new();
        for port in 0..CONNECTIONS_MAX as u16 {
            let (datagrams, connection) = mpsc::channel(1);
            let remote = Remote {
                datagrams,
                is_proven: Arc::new(AtomicBool::new(true)),
                begun_ms: 0,
                name: USERNAME.into(),
                _counted: listener.census.count(Kind::Remotes),
            };
            listener.by_source.insert(source(1, port), remote);
            connections.push(connection);
        }
        for _ in 0..2 {
            let busy = listener.ask(source(2, 1));
            assert!(matches!(busy, Err(Error::Busy)), "{busy:?}");
            listener.sweep();
        }
        assert!(!listener.knows(source(2, 1)) && listener.by_source.len() == CONNECTIONS_MAX);
        connections.pop();
        listener.sweep();
        listener.ask(source(2, 1)).unwrap();
        assert!(listener.knows(source(2, 1)));
        let busy = listener.ask(source(2, 2));
        assert!(matches!(busy, Err(Error::Busy)), "there was one place: {busy:?}");
    }

    #[tokio::test]
    async fn no_more_stun_is_answered_than_the_rate_allows() {
        let (mut listener, _incoming) = listener();
        let asker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let from = asker.local_addr().unwrap();
        listener.socket.writable().await.unwrap();
        let request = stun::request([7; 12]);
        let mut buffer = [0; 64];
        // A second later there are as many again.
        for now_ms in [0, 1_000] {
            for number in 0..2 * STUN_PER_S {
                listener.on_datagram(&request, from, now_ms);
                if number < STUN_PER_S {
                    let len = asker.recv(&mut buffer).await.unwrap();
                    assert_eq!(stun::parse(&buffer[..len]), Some(stun::Message::Response([7; 12], from)), "{number}");
                }
            }
            listener.socket.send_to(b"end", from).await.unwrap();
            let len = asker.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..len], b"end", "nothing else was sent before it");
        }
        assert!(listener.by_source.is_empty(), "and nobody is kept who only asks");
    }

    #[tokio::test]
    async fn attempts_beyond_the_rate_are_turned_away_until_there_is_room_again() {
        let (mut listener, _incoming) = listener();
        listener.attempts = Rate::new(ATTEMPTS_PER_S, ATTEMPTS_PER_S);
        assert_eq!((0..).take_while(|_| listener.attempts.take(0)).count(), ATTEMPTS_PER_S as usize);
        let busy = listener.begin(USERNAME, &[], source(1, 1), 0);
        assert!(matches!(busy, Err(Error::Busy)), "{busy:?}");
        assert!(!listener.knows(source(1, 1)));
        listener.begin(USERNAME, &[], source(1, 1), 1_000).unwrap();
        assert!(listener.knows(source(1, 1)));
    }

    #[tokio::test]
    async fn who_is_done_with_ice_and_dtls_makes_room_for_nobody() {
        let (mut listener, _incoming) = listener();
        let socket = Arc::new(bind("127.0.0.1:0".parse().unwrap()).unwrap());
        let local = socket.local_addr().unwrap();
        let names = credentials::Attempt::from_username(USERNAME).unwrap();
        let census = Census::default();
        let client = Attempt {
            role: Role::Client { server: listener.certificate.fingerprint() },
            local_ice: names.client,
            remote_ice: names.server,
            local,
            remote: listener.local,
            socket: socket.clone(),
            certificate: Certificate::generate().unwrap(),
            identity: Keypair::generate_ed25519(),
            is_proven: Arc::default(),
            census: census.clone(),
        };
        let (_started, datagrams) = client.start().unwrap();
        gather::listen(&[(local, socket)], &datagrams, &census);
        let mut buffer = vec![0; DATAGRAM_MAX_BYTES];
        while !listener.by_source.get(&local).is_some_and(|remote| remote.is_proven.load(Ordering::Relaxed)) {
            let (len, from) = listener.socket.recv_from(&mut buffer).await.unwrap();
            listener.on_datagram(&buffer[..len], from, 0);
            tokio::task::yield_now().await;
        }
        listener.let_go_of_the_oldest(ATTEMPT_HAS_MS, |_| true);
        assert!(listener.knows(local));
    }
}
