//! A slow line in user space: what is sent to its address arrives at another one, so many bytes a second each way.

use anyhow::Result;
use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};

/// Bytes passed on at once.
const PIECE_BYTES: usize = 4 * 1024;

/// A line that leads nowhere at first. Cut when dropped.
pub struct Throttle {
    address: SocketAddr,
    target: Arc<Mutex<Option<SocketAddr>>>,
    /// A thread of its own: it must not wait for a harness that is busy.
    runtime: Option<Runtime>,
}

impl Drop for Throttle {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Throttle {
    /// A line of this speed.
    pub fn new(bytes_per_s: u32) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let target: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let to = target.clone();
        runtime.spawn(async move {
            let Ok(listener) = TcpListener::from_std(listener) else { return };
            while let Ok((near, _)) = listener.accept().await {
                let target = *to.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(target) = target {
                    tokio::spawn(carry(near, target, bytes_per_s));
                }
            }
        });
        Ok(Self { address, target, runtime: Some(runtime) })
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it leads from now on.
    pub fn leads_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
    }
}

async fn carry(near: TcpStream, target: SocketAddr, bytes_per_s: u32) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(pass(near_in, far_out, bytes_per_s), pass(far_in, near_out, bytes_per_s));
}

async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, bytes_per_s: u32) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(Duration::from_secs(1).mul_f64(count as f64 / f64::from(bytes_per_s))).await;
        if to.write_all(&piece[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
