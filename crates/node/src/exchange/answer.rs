//! The answering side: one task per inbound stream, bounded per peer and in all.

use super::{READ_BUFFER_BYTES, writable, write_frames};
use crate::{
    limits,
    node::Traffic,
    platform::{self, BoxFuture, lock},
    store::Store,
};
use bytes::Bytes;
use futures::{
    AsyncRead, AsyncReadExt, FutureExt, StreamExt, channel::mpsc, future::select, pin_mut, stream::FuturesUnordered,
};
use libp2p::{PeerId, Stream};
use meganet_core::{
    exchange::{Answerer, Ask},
    limits::FRAME_MAX_TO_TAB,
    wire::{Code, FrameDecoder, Request, Response, held_bitmap},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What answering needs from the node.
#[derive(Clone)]
pub(crate) struct Answering {
    pub store: Arc<dyn Store>,
    /// Nothing is served while the user does not contribute.
    pub contributing: Arc<AtomicBool>,
    pub traffic: Arc<Traffic>,
}

/// Counts streams by peer for as long as they live.
#[derive(Clone, Default)]
struct Streams(Arc<Mutex<HashMap<PeerId, usize>>>);

struct Counted {
    streams: Streams,
    peer: PeerId,
}

impl Streams {
    fn admit(&self, peer: PeerId) -> Option<Counted> {
        let mut counts = lock(&self.0);
        let all: usize = counts.values().sum();
        let of_peer = counts.entry(peer).or_default();
        if all >= limits::EXCHANGE_STREAMS_MAX || *of_peer >= limits::EXCHANGE_STREAMS_PER_PEER_MAX {
            return None;
        }
        *of_peer += 1;
        Some(Counted { streams: self.clone(), peer })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = lock(&self.streams.0);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

/// Answers inbound streams until the node ends.
pub(crate) async fn serve(mut inbound: libp2p_stream::IncomingStreams, answering: Answering) {
    let streams = Streams::default();
    while let Some((peer, stream)) = inbound.next().await {
        // A stream over the bound is dropped, which resets it.
        let Some(counted) = streams.admit(peer) else { continue };
        let answering = answering.clone();
        platform::spawn(async move {
            answering.answer(peer, stream).await;
            drop(counted);
        });
    }
}

type Lookup = BoxFuture<'static, Found>;

enum Found {
    Head { id: u32, bytes: Option<Vec<u8>> },
    Chunk { id: u32, sealed: Option<Bytes> },
    Held { id: u32, bitmap: Vec<u8> },
}

impl Answering {
    async fn answer(&self, peer: PeerId, stream: Stream) {
        let (reader, writer) = stream.split();
        let (frames, outgoing) = mpsc::channel(0);
        let reading = self.run(peer, reader, frames);
        let writing = write_frames(writer, outgoing);
        pin_mut!(reading, writing);
        select(reading, writing).await;
    }

    async fn run(&self, peer: PeerId, mut reader: impl AsyncRead + Unpin, mut frames: mpsc::Sender<Bytes>) {
        enum Next {
            Read(std::io::Result<usize>),
            Found(Found),
            Writable(bool),
            Timer,
        }
        let mut answerer = Answerer::new(meganet_transport::message::MAX_BYTES);
        let mut decoder = FrameDecoder::new(FRAME_MAX_TO_TAB);
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut lookups: FuturesUnordered<Lookup> = FuturesUnordered::new();
        let mut is_writable = false;
        let mut heard_ms = platform::monotonic_ms();
        loop {
            while let Some(ask) = answerer.next_ask() {
                lookups.push(self.look_up(ask));
            }
            let now = platform::monotonic_ms();
            while is_writable && let Some(response) = answerer.next_frame(now) {
                if let Response::Part { data, .. } = &response {
                    self.traffic.sent_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
                if frames.start_send(response.encode_frame()).is_err() {
                    return;
                }
                is_writable =
                    frames.poll_ready(&mut std::task::Context::from_waker(futures::task::noop_waker_ref())).is_ready();
            }
            if answerer.is_stalled(now) {
                tracing::debug!(%peer, "asked, then gave no credit");
                return;
            }
            let idle_at = heard_ms + limits::EXCHANGE_IDLE_TIMEOUT.as_millis() as u64;
            if now >= idle_at && answerer.open_questions() == 0 {
                return;
            }
            let wake_at = answerer.next_timeout().map_or(idle_at, |at| at.min(idle_at)).max(now + 1);
            let next = {
                let mut read = reader.read(&mut buffer).fuse();
                let write =
                    async { if is_writable { std::future::pending().await } else { writable(&mut frames).await } }
                        .fuse();
                let timer = platform::sleep(Duration::from_millis(wake_at - now)).fuse();
                pin_mut!(write, timer);
                futures::select! {
                    count = read => Next::Read(count),
                    found = lookups.select_next_some() => Next::Found(found),
                    ready = write => Next::Writable(ready),
                    () = timer => Next::Timer,
                }
            };
            match next {
                Next::Read(Ok(0) | Err(_)) | Next::Writable(false) => return,
                Next::Read(Ok(count)) => {
                    heard_ms = platform::monotonic_ms();
                    decoder.push(buffer.get(..count).unwrap_or_default());
                    for frame in decoder.by_ref() {
                        let taken = frame
                            .and_then(Request::decode_shared)
                            .map_err(|error| error.to_string())
                            .and_then(|request| answerer.handle(request).map_err(|error| error.to_string()));
                        if let Err(error) = taken {
                            tracing::debug!(%peer, error, "exchange violation");
                            return;
                        }
                    }
                }
                Next::Found(found) => match found {
                    Found::Head { id, bytes: Some(bytes) } => answerer.answer_head(id, bytes),
                    Found::Chunk { id, sealed: Some(sealed) } => answerer.answer_chunk(id, sealed),
                    Found::Held { id, bitmap } => answerer.answer_held(id, bitmap),
                    Found::Head { id, .. } | Found::Chunk { id, .. } => answerer.refuse(id, Code::NotFound),
                },
                Next::Writable(true) => is_writable = true,
                Next::Timer => {}
            }
        }
    }

    /// Looks a question up in the store. A store that fails holds nothing, as far as others are concerned.
    fn look_up(&self, ask: Ask) -> Lookup {
        let store = self.store.clone();
        let contributing = self.contributing.load(Ordering::Relaxed);
        platform::boxed(async move {
            match ask {
                Ask::Head { id, blinded } => {
                    let record = if contributing { store.site(blinded).await.ok().flatten() } else { None };
                    Found::Head { id, bytes: record.map(|record| record.head) }
                }
                Ask::Chunk { id, chunk } => {
                    let sealed = if contributing { store.chunk(chunk).await.ok().flatten() } else { None };
                    Found::Chunk { id, sealed }
                }
                Ask::Have { id, chunks, .. } => {
                    let mut held = Vec::with_capacity(chunks.len());
                    for chunk in chunks {
                        held.push(contributing && store.has_chunk(chunk).await.unwrap_or(false));
                    }
                    Found::Held { id, bitmap: held_bitmap(&held) }
                }
            }
        })
    }
}
