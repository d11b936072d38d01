//! The local socket between commands and the running node.
//!
//! Both sides open with [`MAGIC`] and a version, and the client sends nothing else before it has read the server's.
//! After that come frames: a length of four bytes (big-endian, at most [`FRAME_MAX_BYTES`]) and a message of this module
//! as [`meganet_node::api::encode`] writes it. Calls carry an id, so that many are in flight; events come between the
//! replies once asked for. The socket file is for its owner alone, and the server checks the caller's user id as well.

pub mod client;
pub mod server;

use futures::{future::BoxFuture, stream::BoxStream};
use meganet_node::api::{ApiError, Command, Event, Reply};
use serde::{Deserialize, Serialize};
use std::{io, path::PathBuf, time::Duration};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// First bytes of either side.
const MAGIC: [u8; 8] = *b"meganet\0";
/// Version of the messages. The other side must speak the same.
pub const VERSION: u32 = 1;
/// Bytes of one message; a longer one ends the connection before it is read.
pub const FRAME_MAX_BYTES: u32 = 2 * 1024 * 1024;
/// Calls one connection has in flight; the next are read when one is answered.
pub const CALLS_MAX: usize = 64;
/// How long either side waits for the other's first bytes.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToServer {
    Call {
        id: u32,
        command: Command,
    },
    /// Forward events from now on.
    Events,
}

/// What a server sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToClient {
    Reply { id: u32, result: Result<Reply, ApiError> },
    Event(Event),
}

/// What the server asks: a node, or a stand-in in tests.
pub trait Backend: Send + Sync + 'static {
    fn call(&self, command: Command) -> BoxFuture<'static, Result<Reply, ApiError>>;
    fn events(&self) -> BoxStream<'static, Event>;
}

/// A failure of the socket, not of a command.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("the peer on “{}” cannot be reached: {source}", .path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the connection to the peer broke: {0}. Nothing half-done stays; try again")]
    Io(#[from] io::Error),
    #[error(
        "the running peer is of another version (it speaks {theirs}, this command {VERSION}). Restart it: stop `meganet peer` and start it again"
    )]
    Version { theirs: u32 },
    #[error("what answers on the socket is not a meganet peer")]
    Foreign,
    #[error("a message of {bytes} bytes is more than the {FRAME_MAX_BYTES} allowed")]
    TooLong { bytes: u32 },
    #[error("a message is malformed")]
    Malformed,
    #[error("the path “{}” is too long for a socket ({} bytes, the system takes 107). Choose a shorter --data-dir", .path.display(), .path.as_os_str().len())]
    PathTooLong { path: PathBuf },
}

/// Sends this side's opening bytes.
async fn send_hello(stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), SocketError> {
    let mut hello = MAGIC.to_vec();
    hello.extend(VERSION.to_be_bytes());
    stream.write_all(&hello).await?;
    Ok(())
}

/// Reads the other side's opening bytes.
async fn read_hello(stream: &mut (impl AsyncRead + Unpin)) -> Result<(), SocketError> {
    let read = async {
        let mut hello = [0; 12];
        stream.read_exact(&mut hello).await?;
        Ok::<_, io::Error>(hello)
    };
    let hello =
        tokio::time::timeout(HANDSHAKE_TIMEOUT, read).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let (magic, version) = hello.split_at(8);
    if magic != MAGIC {
        return Err(SocketError::Foreign);
    }
    match version.try_into().map(u32::from_be_bytes) {
        Ok(VERSION) => Ok(()),
        Ok(theirs) => Err(SocketError::Version { theirs }),
        Err(_) => Err(SocketError::Foreign),
    }
}

/// Reads one frame; `None` at a clean end.
async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>, SocketError> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let bytes = u32::from_be_bytes(length);
    if bytes > FRAME_MAX_BYTES {
        return Err(SocketError::TooLong { bytes });
    }
    let mut body = vec![0; bytes as usize];
    stream.read_exact(&mut body).await?;
    Ok(Some(body))
}

/// A message with its length in front.
fn frame<T: Serialize>(message: &T) -> Result<Vec<u8>, SocketError> {
    let body = meganet_node::api::encode(message);
    let bytes = u32::try_from(body.len()).unwrap_or(u32::MAX);
    if bytes > FRAME_MAX_BYTES {
        return Err(SocketError::TooLong { bytes });
    }
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend(bytes.to_be_bytes());
    frame.extend(body);
    Ok(frame)
}

#[cfg(test)]
mod tests;
