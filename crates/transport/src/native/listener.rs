//! A `webrtc-direct` listener: one UDP socket for all of its connections, and STUN for whoever asks.
//!
//! Datagrams go to connections by where they come from; a STUN request of somebody new begins one. Nothing is kept for a
//! stranger before its request is well formed, and then only within bounds: half-open attempts in all, per address and per IPv6
//! network, and their rate. Where a request came from can be forged, and so can all that needs no answer: when there are too many
//! attempts, in all or of one host or network, the oldest of them that has not done with ICE and DTLS makes room, for a forger
//! never sees the answers that take it so far.

use super::{
    Certificate,
    attempt::{Attempt, Role, Started},
    driver::{DATAGRAM_MAX_BYTES, Datagram},
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
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use str0m::ice::StunMessage;
use tokio::{net::UdpSocket, sync::mpsc};

/// Attempts that are not authenticated yet, of one listener: half of what a node has pending of strangers over all of its
/// transports, so that who floods this one with forged requests keeps nobody from the others.
pub const HALF_OPEN_MAX: usize = 128;
/// The same of one IP address (an IPv6 /64); loopback is exempt.
pub const HALF_OPEN_PER_IP_MAX: usize = 8;
/// The same of one IPv6 /48, which may be all of one customer's; local networks are exempt.
pub const HALF_OPEN_PER_NETWORK_MAX: usize = 32;
/// New attempts a second, after a burst of as many.
pub const ATTEMPTS_PER_S: u32 = 200;
/// Answers a second to STUN requests that are no attempt, after a burst of as many.
pub const STUN_PER_S: u32 = 500;
/// An attempt makes room for another once it is this old, ms: several times there and back on a long way. Whoever asks without end
/// from the address of an honest peer would else end that one's attempts faster than they can succeed.
const ATTEMPT_HAS_MS: u64 = 500;
/// Connections of one listener.
pub const CONNECTIONS_MAX: usize = 4_096;
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

/// Attempts that are not authenticated yet.
#[derive(Clone, Default)]
struct HalfOpen(Arc<Mutex<HashMap<Group, usize>>>, Arc<AtomicUsize>);

/// One attempt's place; given back when it is authenticated or dropped.
pub(super) struct Place {
    table: HalfOpen,
    groups: Groups,
    _counted: Counted,
}

/// What is counted together. A host and its network may begin alike, and are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Group {
    /// An IPv6 host has a whole /64.
    Host(IpAddr),
    /// A /48.
    Network(Ipv6Addr),
}

/// Those that one address is counted in; of two the narrower first.
type Groups = [Option<Group>; 2];

fn groups_of(ip: IpAddr) -> Groups {
    let IpAddr::V6(six) = ip else { return [Some(Group::Host(ip)), None] };
    let prefix = |bits: u32| Ipv6Addr::from(u128::from(six) & (u128::MAX << (128 - bits)));
    // In a local network it would be the neighbours of a home or an office.
    let is_local = six.is_unique_local() || six.is_unicast_link_local();
    [Some(Group::Host(prefix(64).into())), (!is_local).then(|| Group::Network(prefix(48)))]
}

impl Group {
    fn max(self) -> usize {
        match self {
            Group::Host(_) => HALF_OPEN_PER_IP_MAX,
            Group::Network(_) => HALF_OPEN_PER_NETWORK_MAX,
        }
    }

    fn has(self, ip: IpAddr) -> bool {
        groups_of(ip).contains(&Some(self))
    }
}

impl HalfOpen {
    fn is_full(&self) -> bool {
        self.1.load(Ordering::Relaxed) >= HALF_OPEN_MAX
    }

    /// The host of this address, or its network, if it has its share.
    fn at_its_share(&self, from: IpAddr) -> Option<Group> {
        if from.is_loopback() {
            return None;
        }
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |group: &Group| table.get(group).copied().unwrap_or(0);
        groups_of(from).into_iter().flatten().find(|group| held(group) >= group.max())
    }

    fn admit(&self, from: IpAddr, census: &Census) -> Option<Place> {
        if self.is_full() || self.at_its_share(from).is_some() {
            return None;
        }
        let groups = groups_of(from);
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for group in groups.into_iter().flatten() {
            *table.entry(group).or_default() += 1;
        }
        self.1.fetch_add(1, Ordering::Relaxed);
        Some(Place { table: self.clone(), groups, _counted: census.count(Kind::HalfOpen) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.table.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.table.1.fetch_sub(1, Ordering::Relaxed);
        for group in self.groups.into_iter().flatten() {
            if let Some(count) = table.get_mut(&group) {
                *count -= 1;
                if *count == 0 {
                    table.remove(&group);
                }
            }
        }
    }
}

/// Somebody who sends.
struct Remote {
    /// The connection ends when this is dropped.
    datagrams: mpsc::Sender<Datagram>,
    /// ICE and DTLS are done: it answered to an answer, so its address is its own.
    is_proven: Arc<AtomicBool>,
    begun_ms: u64,
    _counted: Counted,
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

/// Listens until the receiver is dropped. Returns the address that was bound.
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
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((len, from)) => self.on_datagram(buffer.get(..len).unwrap_or_default(), from, clock::now_ms()),
                    // ICMP's answer to something sent earlier: not this socket's end.
                    Err(error) => tracing::trace!(%error, "receive"),
                },
                _ = sweep.tick() => self.sweep(),
                () = self.incoming.closed() => return,
            }
        }
    }

    /// Forgets who is gone.
    fn sweep(&mut self) {
        self.by_source.retain(|_, remote| !remote.datagrams.is_closed());
        let by_source = &self.by_source;
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
        self.by_source.insert(from, Remote { datagrams, is_proven, begun_ms: now_ms, _counted });
        self.order.push_back(from);
        slot.send(Incoming { started, from, place });
        Ok(())
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
            && let Some(source) = self.order.remove(place)
        {
            self.by_source.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::gather;

    const USERNAME: &str = "libp2p+webrtc+v1/abcdefgh:libp2p+webrtc+v1/abcdefgh";

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
            self.begin(USERNAME, &[], from, 0)
        }

        /// The same, once those before have had their time.
        fn ask_later(&mut self, from: SocketAddr) -> Result<(), Error> {
            self.begin(USERNAME, &[], from, ATTEMPT_HAS_MS)
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

    /// A host of a /48, and one of its addresses.
    fn source_v6(network: &str, host: u16, number: u16) -> SocketAddr {
        SocketAddr::new(format!("{network}:{host:x}::{number:x}").parse().unwrap(), 1)
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

    #[test]
    fn places_are_given_back_to_host_and_network_and_neighbours_are_no_network() {
        let (table, census) = (HalfOpen::default(), Census::default());
        let ask = |network: &str, host: u16, number: u16| table.admit(source_v6(network, host, number).ip(), &census);
        let of_host: Vec<_> = (0..100).filter_map(|number| ask("2001:db8:1", 7, number)).collect();
        assert_eq!(of_host.len(), HALF_OPEN_PER_IP_MAX);
        let of_network: Vec<_> = (8..100).filter_map(|host| ask("2001:db8:1", host, 1)).collect();
        assert_eq!(of_host.len() + of_network.len(), HALF_OPEN_PER_NETWORK_MAX);
        assert!(ask("2001:db8:2", 7, 1).is_some(), "others still get in");
        drop(of_host);
        assert!(ask("2001:db8:1", 7, 1).is_some());
        let neighbours: Vec<_> = (0..50).filter_map(|host| ask("fd00:0:0", host, 1)).collect();
        assert_eq!(neighbours.len(), 50, "a local network's hosts are counted one by one");
        drop((of_network, neighbours));
        assert!(table.0.lock().unwrap().is_empty() && table.1.load(Ordering::Relaxed) == 0);
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
