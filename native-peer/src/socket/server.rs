//! The node's side of the local socket.

use super::{Backend, CALLS_MAX, SocketError, ToClient, ToServer, frame, read_frame, read_hello, send_hello};
use futures::StreamExt;
use meganet_node::api::{ApiError, decode};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncWriteExt,
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

/// Clients connected at once; further ones wait to be accepted.
const CLIENTS_MAX: usize = 32;
/// Frames waiting to be written to one client. Events beyond are dropped, replies wait.
const FRAMES_WAITING_MAX: usize = 32;
/// Pause after a failed accept: descriptors come back when connections close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest path of a Unix socket on Linux, without the closing zero.
const PATH_MAX_BYTES: usize = 107;

/// A listening socket; its file goes when this is dropped.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Takes over the socket's path. The caller holds the data directory's lock, so an old file there is stale.
    ///
    /// # Errors
    /// [`SocketError`]: the path is too long, or cannot be written.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        if path.as_os_str().len() > PATH_MAX_BYTES {
            return Err(SocketError::PathTooLong { path: path.to_owned() });
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener =
            UnixListener::bind(path).map_err(|source| SocketError::Connect { path: path.to_owned(), source })?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Server { listener, path: path.to_owned() })
    }

    /// Serves until dropped.
    pub async fn run(self, backend: Arc<dyn Backend>) {
        let places = Arc::new(Semaphore::new(CLIENTS_MAX));
        let mut clients = JoinSet::new();
        loop {
            while clients.try_join_next().is_some() {}
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let backend = backend.clone();
                    clients.spawn(async move {
                        if let Err(error) = serve(stream, backend).await {
                            tracing::debug!(%error, "a local client was dropped");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the local socket cannot accept: waiting");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// One client, until it hangs up: then what it asked for is dropped.
async fn serve(mut stream: UnixStream, backend: Arc<dyn Backend>) -> Result<(), SocketError> {
    let caller = stream.peer_cred()?.uid();
    if caller != rustix::process::geteuid().as_raw() && caller != 0 {
        return Err(SocketError::Foreign);
    }
    send_hello(&mut stream).await?;
    read_hello(&mut stream).await?;
    let (mut reader, mut writer) = stream.into_split();
    let (frames, mut waiting) = mpsc::channel::<Vec<u8>>(FRAMES_WAITING_MAX);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(frame) = waiting.recv().await {
            if writer.write_all(&frame).await.is_err() {
                return;
            }
        }
    });
    let calls = Arc::new(Semaphore::new(CALLS_MAX));
    let mut forwarding = false;
    while let Some(body) = read_frame(&mut reader).await? {
        while tasks.try_join_next().is_some() {}
        match decode::<ToServer>(&body).map_err(|_| SocketError::Malformed)? {
            ToServer::Call { id, command } => {
                let Ok(permit) = calls.clone().acquire_owned().await else { break };
                let (backend, frames) = (backend.clone(), frames.clone());
                tasks.spawn(async move {
                    let reply = answer(id, backend.call(command).await);
                    let _ = frames.send(reply).await;
                    drop(permit);
                });
            }
            ToServer::Events if !forwarding => {
                forwarding = true;
                let (mut events, frames) = (backend.events(), frames.clone());
                tasks.spawn(async move {
                    while let Some(event) = events.next().await {
                        if let Ok(frame) = frame(&ToClient::Event(event))
                            && let Err(mpsc::error::TrySendError::Closed(_)) = frames.try_send(frame)
                        {
                            return;
                        }
                    }
                });
            }
            ToServer::Events => {}
        }
    }
    Ok(())
}

/// The frame of a reply, or of a refusal when the reply is too long for one.
fn answer(id: u32, result: Result<meganet_node::api::Reply, ApiError>) -> Vec<u8> {
    let refusal = |error: SocketError| {
        frame(&ToClient::Reply { id, result: Err(ApiError::Refused { reason: error.to_string() }) })
    };
    frame(&ToClient::Reply { id, result }).or_else(refusal).unwrap_or_default()
}
