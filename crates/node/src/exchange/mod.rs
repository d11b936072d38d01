//! Asking and answering for heads and chunks on long-lived streams, `/meganet/exchange/1` (docs/formats.md).
//!
//! The protocol's decisions (credit, order, violations) are in `meganet_core::exchange`; here are the streams: one task for each
//! way to a peer that is asked (`paths` chooses among them), one for each inbound stream that is answered. In each of them writing has a loop of its own beside
//! the one that reads and decides, so that neither side waits for the other to be read.

mod admission;
mod answer;
mod ask;
mod path_table;
mod paths;

pub(crate) use answer::{Answering, serve};
pub(crate) use ask::{Answer, Controls, Exchange, Failure};
pub(crate) use path_table::PathTable;
pub(crate) use paths::ShownPath;

use bytes::Bytes;
use futures::{AsyncWrite, AsyncWriteExt, StreamExt, channel::mpsc};
use std::{future::poll_fn, io};

/// Bytes read from a stream at once.
const READ_BUFFER_BYTES: usize = meganet_core::limits::FRAME_MAX_BYTES;

/// Writes frames until their channel closes. Flushes when no further frame waits: what is on its way is bounded by the stream.
async fn write_frames(mut stream: impl AsyncWrite + Unpin, mut frames: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(frame) = frames.next().await {
        stream.write_all(&frame).await?;
        while let Ok(next) = frames.try_recv() {
            stream.write_all(&next).await?;
        }
        stream.flush().await?;
    }
    stream.close().await
}

/// Waits until a frame can be handed to [`write_frames`].
async fn writable(frames: &mut mpsc::Sender<Bytes>) -> bool {
    poll_fn(|context| frames.poll_ready(context)).await.is_ok()
}
