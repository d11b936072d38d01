//! The accept loop: how many connections, from where, for how long. A client that dawdles loses its connection.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use meganet_node::{host_of, network_of};
use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// What the server holds against. [`Limits::default`] is what runs; tests shorten the times.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; further ones wait in the system's queue.
    pub connections_max: usize,
    /// Connections at once from one host, which has an IPv4 address or an IPv6 /64; loopback is exempt.
    pub connections_per_host_max: usize,
    /// The same of one IPv6 /48, which may be all of one customer's.
    pub connections_per_network_max: usize,
    /// A request's line and headers must arrive within this, and a kept connection may idle this long.
    pub header_timeout: Duration,
    /// A connection ends after this, whatever it does: the app's largest file takes 4 minutes at 10 kB/s.
    pub connection_lifetime: Duration,
    /// Bytes of a request's line and headers.
    pub header_max_bytes: usize,
    pub headers_max: usize,
    /// Requests under way may finish within this when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 1_024,
            connections_per_host_max: 64,
            connections_per_network_max: 256,
            header_timeout: Duration::from_secs(10),
            connection_lifetime: Duration::from_secs(300),
            header_max_bytes: HEADER_MAX_BYTES,
            headers_max: 64,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// Bytes of a request's line and headers: the 180 cookies of 4 KiB that Chromium sends at most, and the rest. A site can set
/// cookies for the app's host and every other site; a request that carries them must reach the answer that clears them.
pub const HEADER_MAX_BYTES: usize = 768 * 1024;

/// Waiting after a failed accept (out of file descriptors), so that others can finish.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The HTTP port could not be had. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "port {} on {} is taken by another program. Stop that program, or choose another port with --listen {}:PORT \
         (port 0 takes any free one)",
        .0.port(), .0.ip(), .0.ip()
    )]
    Taken(SocketAddr),
    #[error("cannot listen on {address}: {error}. Choose another address with --listen")]
    Other { address: SocketAddr, error: io::Error },
}

/// Listens for HTTP.
///
/// # Errors
/// [`BindError`], which names the port.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken(address),
        _ => BindError::Other { address, error },
    })
}

/// Serves until `stop` resolves, then lets requests under way finish.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let by_group = ByGroup::default();
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        let Some((stream, from, place)) = accepted else { continue };
        let Some(counted) = by_group.enter(from.ip(), &limits) else { continue };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_header_size(limits.header_max_bytes)
            .max_buf_size(limits.header_max_bytes)
            .max_headers(limits.headers_max)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _held = (place, counted);
            match tokio::time::timeout(limits.connection_lifetime, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%from, %error, "connection ended"),
                Err(_) => tracing::debug!(%from, "connection closed after its lifetime"),
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await.is_err() {
        tracing::info!("some requests did not finish in time");
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, from)) => {
            // Responses are written whole: waiting to coalesce would only delay them.
            let _ = stream.set_nodelay(true);
            Some((stream, from, place))
        }
        Err(error) => {
            tracing::warn!(%error, "no connection accepted; trying again");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Group {
    Host(IpAddr),
    Network(IpAddr),
}

/// Open connections by host and network; at most two entries for each of [`Limits::connections_max`].
#[derive(Clone, Default)]
struct ByGroup(Arc<Mutex<HashMap<Group, usize>>>);

struct Counted {
    table: ByGroup,
    groups: [Option<Group>; 2],
}

impl ByGroup {
    fn enter(&self, ip: IpAddr, limits: &Limits) -> Option<Counted> {
        let ip = ip.to_canonical();
        let mut groups = [Some(Group::Host(host_of(ip))), network_of(ip).map(Group::Network)];
        if ip.is_loopback() {
            groups = [None; 2];
        }
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |group: Group| {
            let max = match group {
                Group::Host(_) => limits.connections_per_host_max,
                Group::Network(_) => limits.connections_per_network_max,
            };
            table.get(&group).is_some_and(|count| *count >= max)
        };
        if groups.into_iter().flatten().any(is_full) {
            return None;
        }
        groups.into_iter().flatten().for_each(|group| *table.entry(group).or_default() += 1);
        Some(Counted { table: self.clone(), groups })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut table = self.table.0.lock().unwrap_or_else(PoisonError::into_inner);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { connections_per_host_max: 2, connections_per_network_max: 3, ..Limits::default() }
    }

    #[test]
    fn one_host_gets_its_share_and_loopback_any() {
        let by_group = ByGroup::default();
        let enter = |ip: &str| by_group.enter(ip.parse().unwrap(), &limits());
        let first = enter("203.0.113.5");
        let second = enter("::ffff:203.0.113.5");
        assert!(first.is_some() && second.is_some());
        assert!(enter("203.0.113.5").is_none());
        assert!(enter("203.0.113.6").is_some(), "another address has its own share");
        drop(first);
        assert!(enter("203.0.113.5").is_some());
        drop(second);
        assert!(by_group.0.lock().unwrap().is_empty(), "closed connections leave nothing behind");
        let local: Vec<_> = ["127.0.0.1", "::1"].into_iter().cycle().take(10).map(enter).collect();
        assert!(local.iter().all(Option::is_some));
    }

    #[test]
    fn all_addresses_of_an_ipv6_host_have_one_share_and_so_have_all_hosts_of_a_network() {
        let by_group = ByGroup::default();
        let enter = |ip: &str| by_group.enter(ip.parse().unwrap(), &limits());
        let held = [enter("2001:db8:1:7::1"), enter("2001:db8:1:7::2")];
        assert!(enter("2001:db8:1:7::3").is_none(), "the host has its share");
        let other = enter("2001:db8:1:8::1");
        assert!(enter("2001:db8:1:9::1").is_none(), "the network has its share");
        assert!(enter("2001:db8:2:7::1").is_some(), "another one has its own");
        assert!(held.iter().chain([&other]).all(Option::is_some));
        drop((held, other));
        assert!(by_group.0.lock().unwrap().is_empty());
    }
}
