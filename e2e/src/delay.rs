//! A network with a delay, in user space: each address behind it gets one of its own here, and what is sent there arrives
//! later, in order. Answers take the same way back.

use anyhow::{Context, Result};
use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{net::UdpSocket, runtime::Runtime, sync::mpsc, time::Instant};

/// Bytes the kernel is asked to buffer for each socket.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A network. What is behind it is cut off when this is dropped.
pub struct Delay {
    one_way: Duration,
    /// A thread of its own: it must not wait for a harness that is busy.
    runtime: Option<Runtime>,
    proxies: Mutex<HashMap<SocketAddr, SocketAddr>>,
}

impl Drop for Delay {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Datagrams on the way; more are dropped, as a network drops them.
const ON_THE_WAY_MAX: usize = 16_384;

fn socket() -> Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let sockopt = socket2::SockRef::from(&socket);
    sockopt.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    sockopt.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket)?)
}

/// Sends what comes from `from` on through `to`, to `target`, later.
fn later(one_way: Duration, to: Arc<UdpSocket>, target: SocketAddr) -> mpsc::Sender<(Instant, Vec<u8>)> {
    let (sender, mut waiting) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY_MAX);
    tokio::spawn(async move {
        while let Some((came, bytes)) = waiting.recv().await {
            if came + one_way > Instant::now() {
                tokio::time::sleep_until(came + one_way).await;
            }
            let _ = to.send_to(&bytes, target).await;
        }
    });
    sender
}

/// One address: every sender gets a socket through which the other end sees it.
async fn proxy(one_way: Duration, outside: Arc<UdpSocket>, inside: SocketAddr) -> Result<()> {
    let mut senders = HashMap::new();
    let mut buffer = vec![0; 2_048];
    loop {
        let Ok((len, from)) = outside.recv_from(&mut buffer).await else { continue };
        let there = match senders.get(&from) {
            Some(there) => there,
            None => {
                let inner = Arc::new(socket()?);
                let back = later(one_way, outside.clone(), from);
                let answers = inner.clone();
                tokio::spawn(async move {
                    let mut buffer = vec![0; 2_048];
                    loop {
                        let Ok((len, _)) = answers.recv_from(&mut buffer).await else { continue };
                        let _ = back.try_send((Instant::now(), buffer[..len].to_vec()));
                    }
                });
                senders.entry(from).or_insert(later(one_way, inner, inside))
            }
        };
        let _ = there.try_send((Instant::now(), buffer[..len].to_vec()));
    }
}

impl Delay {
    /// One that takes this long from one end to the other and back.
    pub fn of_round_trip(round_trip: Duration) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Self { one_way: round_trip / 2, runtime: Some(runtime), proxies: Mutex::default() })
    }

    /// The address at which that one is reached slowly.
    pub fn to(&self, inside: SocketAddr) -> Result<SocketAddr> {
        let mut proxies = self.proxies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = proxies.get(&inside) {
            return Ok(*known);
        }
        let runtime = self.runtime.as_ref().context("it has ended")?;
        let _entered = runtime.enter();
        let outside = Arc::new(socket()?);
        let address = outside.local_addr()?;
        runtime.spawn(proxy(self.one_way, outside, inside));
        proxies.insert(inside, address);
        Ok(address)
    }

    /// A `webrtc-direct` multiaddr on loopback, reached slowly.
    pub fn multiaddr(&self, address: &str) -> Result<String> {
        let (before, rest) = address.split_once("/udp/").context("no UDP port")?;
        let (port, after) = rest.split_once('/').context("nothing after the port")?;
        let slow = self.to(SocketAddr::from(([127, 0, 0, 1], port.parse()?)))?;
        Ok(format!("{before}/udp/{}/{after}", slow.port()))
    }

    /// A description with its IPv4 candidates reached slowly, and no others. Pages without leave to record name none on loopback,
    /// only this machine's own address; what is sent there stays on the machine too.
    pub fn description(&self, sdp: &str) -> Result<String> {
        let mut changed = String::new();
        for line in sdp.lines() {
            if !line.starts_with("a=candidate:") {
                changed.push_str(line);
            } else if let Some(candidate) = self.candidate(line)? {
                changed.push_str(&candidate);
            } else {
                continue;
            }
            changed.push_str("\r\n");
        }
        Ok(changed)
    }

    /// The same for one candidate: `candidate:foundation component protocol priority address port typ …`.
    pub fn candidate(&self, line: &str) -> Result<Option<String>> {
        let mut parts: Vec<&str> = line.split(' ').collect();
        let (true, Some(Ok(ip))) =
            (parts.len() >= 8 && parts[2].eq_ignore_ascii_case("udp"), parts.get(4).map(|ip| ip.parse::<Ipv4Addr>()))
        else {
            return Ok(None);
        };
        let slow = self.to(SocketAddr::from((ip, parts[5].parse()?)))?;
        let (ip, port) = (slow.ip().to_string(), slow.port().to_string());
        (parts[4], parts[5]) = (&ip, &port);
        Ok(Some(parts.join(" ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn datagrams_come_late_and_answers_too() -> Result<()> {
        let delay = Delay::of_round_trip(Duration::from_millis(40))?;
        let (one, other) = (socket()?, socket()?);
        let slow = delay.to(other.local_addr()?)?;
        let started = Instant::now();
        one.send_to(b"there", slow).await?;
        let mut buffer = [0; 16];
        let (len, from) = other.recv_from(&mut buffer).await?;
        assert_eq!(&buffer[..len], b"there");
        assert!(started.elapsed() >= Duration::from_millis(20));
        other.send_to(b"back", from).await?;
        let (len, from) = one.recv_from(&mut buffer).await?;
        assert_eq!((&buffer[..len], from), (&b"back"[..], slow));
        assert!(started.elapsed() >= Duration::from_millis(40));
        Ok(())
    }

    #[test]
    fn only_udp_candidates_over_ipv4_remain() -> Result<()> {
        let delay = Delay::of_round_trip(Duration::ZERO)?;
        let changed = delay.description(
            "v=0\r\na=candidate:1 1 udp 9 127.0.0.1 4000 typ host\r\na=candidate:2 1 udp 9 fd00::2 4001 typ host\r\na=candidate:3 1 tcp 9 \
             127.0.0.1 9 typ host tcptype active\r\n",
        )?;
        let port = delay.to("127.0.0.1:4000".parse()?)?.port();
        assert_eq!(changed, format!("v=0\r\na=candidate:1 1 udp 9 127.0.0.1 {port} typ host\r\n"));
        Ok(())
    }
}
