//! A `webrtc-direct` listener: one UDP socket for all of its connections, and STUN for whoever asks.
//!
//! Datagrams go to connections by where they come from; a STUN request of somebody new begins one, or is another way of one whose
//! user name it has, if it comes from the same host: a NAT that forgets a client gives it another port. From another host it would
//! be the client who says where what it asked for goes, and nobody would have asked whoever is there. Nothing is kept for a
//! stranger before its request is well formed, and then only within bounds: half-open attempts in all, per address and per IPv6
//! network, and their rate. Where a request came from can be forged, and so can all that needs no answer: when there are too many
//! attempts, in all or of one host or network, the oldest of them that has not done with ICE and DTLS makes room, for a forger
//! never sees the answers that take it so far.

use super::{
    Certificate,
    attempt::{Attempt, Role, Started},
    datagram::{DATAGRAM_MAX_BYTES, Datagram, bind},
    half_open::{HalfOpen, Place, is_one_host},
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
/// Ports that one connection's client is heard at; of one that has proven itself the oldest is forgotten.
const WAYS_MAX: usize = 8;
/// Attempts that wait for the swarm to take them.
const INCOMING_WAITING_MAX: usize = 64;
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

/// Whether something comes of a user name.
enum Name {
    Free,
    /// It is a connection's, and comes from elsewhere.
    Taken,
    Way(Remote),
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
    /// Where those are that have a name, the last one last.
    by_name: HashMap<Arc<str>, VecDeque<SocketAddr>>,
    /// Attempts in the order they began, and when that was; those that are over or went further fall out when they are met.
    order: VecDeque<(SocketAddr, u64)>,
    half_open: HalfOpen,
    attempts: Rate,
    /// Attempts that make room for another one of their host or network.
    replaced: Rate,
    stun: Rate,
    census: Census,
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
        self.by_name.retain(|name, ways| {
            ways.retain(|way| by_source.get(way).is_some_and(|remote| remote.name == *name));
            !ways.is_empty()
        });
        self.order.retain(|(source, begun_ms)| {
            by_source.get(source).is_some_and(|remote| remote.begun_ms == *begun_ms && remote.is_unproven())
        });
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
        if !self.incoming.is_closed() && self.stun.take(now_ms) {
            let _ = self.socket.try_send_to(&stun::response(transaction, from), from);
        }
    }

    fn begin(&mut self, username: &str, first: &[u8], from: SocketAddr, now_ms: u64) -> Result<(), Error> {
        let names = credentials::Attempt::from_username(username)?;
        if self.by_source.len() >= CONNECTIONS_MAX {
            return Err(Error::Busy);
        }
        match self.name(username, from, now_ms) {
            Name::Free if !self.incoming.is_closed() => {}
            Name::Way(way) if self.attempts.take(now_ms) => {
                let request = Datagram { bytes: first.to_vec(), source: from, destination: self.local };
                let _ = way.datagrams.try_send(request);
                self.add(username, from, way);
                return Ok(());
            }
            Name::Free | Name::Taken | Name::Way(_) => return Err(Error::Busy),
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
        let slot = self.incoming.clone().try_reserve_owned().map_err(|_| Error::Busy)?;
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
        self.by_name.remove(username);
        self.add(username, from, Remote { datagrams, is_proven, begun_ms: now_ms, name: username.into(), _counted });
        self.order.push_back((from, now_ms));
        slot.send(Incoming { started, from, place });
        Ok(())
    }

    /// What comes of a user name: another way of the connection that has it, if there is one. Whether the sender knows the password
    /// the connection sees itself.
    fn name(&self, username: &str, from: SocketAddr, now_ms: u64) -> Name {
        let last = self.by_name.get(username).and_then(VecDeque::back);
        let Some((last, remote)) = last.and_then(|last| Some((last, self.by_source.get(last)?))) else {
            return Name::Free;
        };
        if &*remote.name != username || remote.datagrams.is_closed() {
            return Name::Free;
        }
        let ways = self.by_name.get(username).map_or(0, VecDeque::len);
        if !is_one_host(last.ip(), from.ip()) || (ways >= WAYS_MAX && remote.is_unproven()) {
            return Name::Taken;
        }
        Name::Way(Remote {
            datagrams: remote.datagrams.clone(),
            is_proven: remote.is_proven.clone(),
            begun_ms: now_ms,
            name: remote.name.clone(),
            _counted: self.census.count(Kind::Remotes),
        })
    }

    /// Hands what comes from there to this connection.
    fn add(&mut self, username: &str, from: SocketAddr, remote: Remote) {
        let ways = self.by_name.entry(username.into()).or_default();
        ways.push_back(from);
        let forgotten = if ways.len() > WAYS_MAX { ways.pop_front() } else { None };
        self.by_source.insert(from, remote);
        if let Some(forgotten) = forgotten.filter(|forgotten| *forgotten != from)
            && self.by_source.get(&forgotten).is_some_and(|remote| &*remote.name == username)
        {
            self.by_source.remove(&forgotten);
        }
    }

    /// Ends the oldest of these attempts that is not proven, if it has had its time. Its place is free once its task has noticed;
    /// until then one more may be turned away, and asks again.
    fn let_go_of_the_oldest(&mut self, now_ms: u64, is_one: impl Fn(&SocketAddr) -> bool) {
        let by_source = &self.by_source;
        // Who began another one since stands in line with that.
        let is_it = |remote: &Remote, begun_ms| remote.begun_ms == begun_ms && remote.is_unproven();
        let oldest = self.order.iter().position(|(source, begun_ms)| {
            is_one(source) && by_source.get(source).is_some_and(|remote| is_it(remote, *begun_ms))
        });
        let had_its_time = |(_, begun_ms): &(SocketAddr, u64)| now_ms.saturating_sub(*begun_ms) >= ATTEMPT_HAS_MS;
        if let Some(place) = oldest.filter(|place| self.order.get(*place).is_some_and(had_its_time))
            && let Some(gone) = self.order.remove(place).and_then(|(source, _)| self.by_source.remove(&source))
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
    async fn a_client_that_asks_from_another_port_has_one_connection_and_its_last_ports_count() {
        let (mut listener, mut incoming) = listener();
        let ask = |listener: &mut Listener, port| listener.begin(USERNAME, &[], source(1, port), 0);
        for port in 1..=WAYS_MAX as u16 {
            ask(&mut listener, port).unwrap();
        }
        assert!((1..=WAYS_MAX as u16).all(|port| listener.knows(source(1, port))));
        let _one = incoming.recv().await.unwrap();
        assert!(incoming.try_recv().is_err(), "the others are ways of it");
        assert_eq!(listener.half_open.len(), 1);
        let busy = ask(&mut listener, 100);
        assert!(matches!(busy, Err(Error::Busy)), "before it has proven itself it has no more: {busy:?}");
        // All of them go together.
        listener.let_go_of_the_oldest(ATTEMPT_HAS_MS, |_| true);
        assert!(listener.by_source.is_empty());
        listener.sweep();
        assert!(listener.by_name.is_empty() && listener.order.is_empty());
        // One that has proven itself is heard at its last ports.
        ask(&mut listener, 1).unwrap();
        let _two = incoming.recv().await.unwrap();
        listener.by_source[&source(1, 1)].is_proven.store(true, Ordering::Relaxed);
        for port in 2..=100 {
            ask(&mut listener, port).unwrap();
        }
        assert_eq!(listener.by_source.len(), WAYS_MAX);
        assert!(listener.knows(source(1, 100)) && !listener.knows(source(1, 1)));
        assert!(incoming.try_recv().is_err());
    }

    /// Until the listener hears that the attempt from there is over.
    async fn over(listener: &Listener, source: SocketAddr) {
        while !listener.by_source[&source].datagrams.is_closed() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn nobody_elses_address_is_a_way_of_a_connection() {
        let (mut listener, mut incoming) = listener();
        listener.begin(USERNAME, &[], source(1, 1), 0).unwrap();
        let one = incoming.recv().await.unwrap();
        let refused = listener.begin(USERNAME, &[], source(2, 1), 0);
        assert!(matches!(refused, Err(Error::Busy)), "{refused:?}");
        assert!(!listener.knows(source(2, 1)) && incoming.try_recv().is_err());
        // Once it is over the name is anybody's.
        drop(one);
        over(&listener, source(1, 1)).await;
        listener.begin(USERNAME, &[], source(2, 1), 0).unwrap();
        assert!(incoming.recv().await.is_some());
    }

    #[tokio::test]
    async fn who_begins_again_and_again_keeps_no_others_attempt_from_its_end() {
        let (mut listener, mut incoming) = listener();
        let begin = |listener: &mut Listener, source, at| listener.begin(&username(source), &[], source, at).unwrap();
        begin(&mut listener, source(1, 1), 0);
        drop(incoming.recv().await);
        over(&listener, source(1, 1)).await;
        begin(&mut listener, source(2, 1), 10);
        begin(&mut listener, source(1, 1), ATTEMPT_HAS_MS);
        listener.let_go_of_the_oldest(10 + ATTEMPT_HAS_MS, |_| true);
        assert!(listener.knows(source(1, 1)) && !listener.knows(source(2, 1)));
        listener.sweep();
        assert_eq!(listener.order.len(), 1);
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
