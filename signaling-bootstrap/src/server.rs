//! The accept loop: how many connections, from where, for how long. A client that dawdles loses its connection.

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
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
    /// Connections at once from one IP address; loopback is exempt.
    pub connections_per_ip_max: usize,
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
            connections_per_ip_max: 64,
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
    let per_ip = PerIp::default();
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        let Some((stream, from, place)) = accepted else { continue };
        let Some(counted) = per_ip.enter(from.ip(), limits.connections_per_ip_max) else { continue };
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

/// Open connections by address; at most [`Limits::connections_max`] entries.
#[derive(Clone, Default)]
struct PerIp(Arc<Mutex<HashMap<IpAddr, usize>>>);

struct Counted {
    table: PerIp,
    ip: IpAddr,
}

impl PerIp {
    fn enter(&self, ip: IpAddr, max: usize) -> Option<Counted> {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = table.entry(ip).or_default();
        if *count >= max && !ip.is_loopback() {
            return None;
        }
        *count += 1;
        Some(Counted { table: self.clone(), ip })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut table = self.table.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = table.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                table.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_its_share_and_loopback_any() {
        let per_ip = PerIp::default();
        let foreign: IpAddr = [203, 0, 113, 5].into();
        let first = per_ip.enter(foreign, 2);
        let second = per_ip.enter(foreign, 2);
        assert!(first.is_some() && second.is_some());
        assert!(per_ip.enter(foreign, 2).is_none());
        assert!(per_ip.enter([203, 0, 113, 6].into(), 2).is_some(), "another address has its own share");
        drop(first);
        assert!(per_ip.enter(foreign, 2).is_some());
        drop(second);
        assert!(per_ip.0.lock().unwrap().is_empty(), "closed connections leave nothing behind");
        let local: Vec<_> = (0..5).map(|_| per_ip.enter([127, 0, 0, 1].into(), 2)).collect();
        assert!(local.iter().all(Option::is_some));
    }
}
