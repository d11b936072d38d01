//! A `webrtc-direct` listener: one UDP socket for all of its connections, and STUN for whoever asks.
//!
//! Datagrams go to connections by where they come from; a STUN request of somebody new begins one. Nothing is kept for a
//! stranger before its request is well formed, and then only within bounds: half-open attempts in all and per address, and
//! their rate. Where a request came from can be forged: when there are too many attempts, the oldest that went no further
//! than STUN makes room, for a forger never sees the answer that takes it further.

use super::{
    Certificate,
    attempt::{Attempt, Role, Started},
    driver::{DATAGRAM_MAX_BYTES, Datagram},
};
use crate::{
    census::{Census, Counted, Kind},
    error::Error,
    proto::{credentials, stun},
};
use libp2p::identity::Keypair;
use std::{
    collections::{HashMap, VecDeque},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use str0m::ice::StunMessage;
use tokio::{net::UdpSocket, sync::mpsc};

/// Attempts that are not authenticated yet, of one listener.
pub const HALF_OPEN_MAX: usize = 256;
/// The same of one IP address (an IPv6 /64); loopback is exempt.
pub const HALF_OPEN_PER_IP_MAX: usize = 8;
/// New attempts a second, after a burst of as many.
pub const ATTEMPTS_PER_S: u32 = 200;
/// Answers a second to STUN requests that are no attempt, after a burst of as many.
pub const STUN_PER_S: u32 = 500;
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
struct HalfOpen(Arc<Mutex<HashMap<IpAddr, usize>>>, Arc<AtomicUsize>);

/// One attempt's place; given back when it is authenticated or dropped.
pub(super) struct Place {
    table: HalfOpen,
    host: IpAddr,
    _counted: Counted,
}

fn host_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6((u128::from(ip) & (u128::MAX << 64)).into()),
    }
}

impl HalfOpen {
    fn is_full(&self) -> bool {
        self.1.load(Ordering::Relaxed) >= HALF_OPEN_MAX
    }

    fn admit(&self, from: IpAddr, census: &Census) -> Option<Place> {
        let host = host_of(from);
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_host = table.get(&host).copied().unwrap_or(0);
        if self.is_full() || (of_host >= HALF_OPEN_PER_IP_MAX && !from.is_loopback()) {
            return None;
        }
        table.insert(host, of_host + 1);
        self.1.fetch_add(1, Ordering::Relaxed);
        Some(Place { table: self.clone(), host, _counted: census.count(Kind::HalfOpen) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = self.table.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.table.1.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = table.get_mut(&self.host) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.host);
            }
        }
    }
}

/// So many a second, and as many at once.
struct Rate {
    per_s: u32,
    left: f64,
    at: Instant,
}

impl Rate {
    fn new(per_s: u32) -> Self {
        Self { per_s, left: f64::from(per_s), at: Instant::now() }
    }

    fn take(&mut self) -> bool {
        let now = Instant::now();
        let more = now.duration_since(self.at).as_secs_f64() * f64::from(self.per_s);
        self.at = now;
        self.left = (self.left + more).min(f64::from(self.per_s));
        let is_left = self.left >= 1.0;
        if is_left {
            self.left -= 1.0;
        }
        is_left
    }
}

/// Somebody who sends.
struct Remote {
    /// The connection ends when this is dropped.
    datagrams: mpsc::Sender<Datagram>,
    /// It answered to an answer: its address is its own.
    has_dtls: bool,
    _counted: Counted,
}

/// Whether a datagram is DTLS (RFC 7983 §7).
fn is_dtls(bytes: &[u8]) -> bool {
    matches!(bytes.first(), Some(20..=63))
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
        attempts: Rate::new(ATTEMPTS_PER_S),
        stun: Rate::new(STUN_PER_S),
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
                    Ok((len, from)) => self.on_datagram(buffer.get(..len).unwrap_or_default(), from),
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
        self.order.retain(|source| by_source.get(source).is_some_and(|remote| !remote.has_dtls));
    }

    fn on_datagram(&mut self, bytes: &[u8], from: SocketAddr) {
        if let Some(remote) = self.by_source.get_mut(&from)
            && !remote.datagrams.is_closed()
        {
            remote.has_dtls |= is_dtls(bytes);
            // A full queue drops, as the network does.
            let _ =
                remote.datagrams.try_send(Datagram { bytes: bytes.to_vec(), source: from, destination: self.local });
            return;
        }
        if let Some(stun::Message::Request(transaction)) = stun::parse(bytes) {
            self.answer_stun(transaction, from);
            return;
        }
        let Ok(message) = StunMessage::parse(bytes) else { return };
        if let (true, Some(name)) = (message.is_binding_request(), message.username())
            && let Err(error) = self.begin(name, bytes, from)
        {
            tracing::debug!(%from, %error, "no attempt");
        }
    }

    /// Tells somebody their address (RFC 8489 §7.3.1).
    fn answer_stun(&mut self, transaction: stun::Transaction, from: SocketAddr) {
        if self.stun.take() {
            let _ = self.socket.try_send_to(&stun::response(transaction, from), from);
        }
    }

    fn begin(&mut self, username: &str, first: &[u8], from: SocketAddr) -> Result<(), Error> {
        let names = credentials::Attempt::from_username(username)?;
        if self.by_source.len() >= CONNECTIONS_MAX || !self.attempts.take() {
            return Err(Error::Busy);
        }
        if self.half_open.is_full() {
            self.let_go_of_the_oldest();
        }
        let place = self.half_open.admit(from.ip(), &self.census).ok_or(Error::Busy)?;
        let slot = self.incoming.try_reserve().map_err(|_| Error::Busy)?;
        let attempt = Attempt {
            role: Role::Server,
            local_ice: names.server,
            remote_ice: names.client,
            local: self.local,
            remote: from,
            socket: self.socket.clone(),
            certificate: self.certificate.clone(),
            identity: self.identity.clone(),
            census: self.census.clone(),
        };
        let (started, datagrams) = attempt.start()?;
        let _ = datagrams.try_send(Datagram { bytes: first.to_vec(), source: from, destination: self.local });
        let _counted = self.census.count(Kind::Remotes);
        self.by_source.insert(from, Remote { datagrams, has_dtls: false, _counted });
        self.order.push_back(from);
        slot.send(Incoming { started, from, place });
        Ok(())
    }

    /// Ends the oldest attempt that went no further than STUN. Its place is free once its task has noticed; until then one
    /// more may be turned away, and asks again.
    fn let_go_of_the_oldest(&mut self) {
        while let Some(oldest) = self.order.pop_front() {
            let is_stuck = |remote: &Remote| !remote.has_dtls && !remote.datagrams.is_closed();
            if self.by_source.get(&oldest).is_some_and(is_stuck) {
                self.by_source.remove(&oldest);
                return;
            }
        }
    }
}
