//! The answering side: one task per inbound stream, bounded per peer and in all.

use super::{
    READ_BUFFER_BYTES,
    admission::{Activity, Streams, Violations},
    writable, write_frames,
};
use crate::{
    limits,
    network::Network,
    node::Traffic,
    platform::{self, BoxFuture},
    store::Store,
};
use bytes::Bytes;
use futures::{
    AsyncRead, AsyncReadExt, FutureExt, StreamExt,
    channel::mpsc,
    future::{Abortable, Either, select},
    pin_mut,
    stream::FuturesUnordered,
};
use libp2p::{PeerId, Stream};
use meganet_core::{
    exchange::{Answerer, Ask},
    limits::FRAME_MAX_BYTES,
    wire::{Code, FrameDecoder, Request, Response, held_bitmap},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The loop looks at its timers at least this often.
const MINUTE_MS: u64 = 60_000;

/// What answering needs from the node.
#[derive(Clone)]
pub(crate) struct Answering {
    pub store: Arc<dyn Store>,
    pub network: Network,
    /// Nothing is served while the user does not contribute.
    pub contributing: Arc<AtomicBool>,
    pub traffic: Arc<Traffic>,
}

/// Answers inbound streams until the node ends.
pub(crate) async fn serve(mut inbound: impl futures::Stream<Item = (PeerId, Stream)> + Unpin, answering: Answering) {
    let streams = Streams::default();
    let violations = Violations::default();
    while let Some((peer, stream)) = inbound.next().await {
        // A stream over the bound is dropped, which resets it.
        let Some((place, registration)) = streams.admit(peer, platform::monotonic_ms()) else { continue };
        let (answering, violations) = (answering.clone(), violations.clone());
        platform::spawn(async move {
            let answered = Abortable::new(answering.answer(peer, stream, &place.activity), registration).await;
            drop(place);
            if answered == Ok(Ended::Violation) && violations.count(peer, platform::monotonic_ms()) {
                let _ = answering.network.clone().ban(peer).await;
            }
        });
    }
}

/// Why a stream is not answered any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It was closed, or nothing more is to be expected of it.
    Quietly,
    /// The peer broke the protocol.
    Violation,
}

type Lookup = BoxFuture<'static, Found>;

enum Found {
    Head { id: u32, bytes: Option<Vec<u8>> },
    Chunk { id: u32, sealed: Option<Bytes> },
    Held { id: u32, bitmap: Vec<u8> },
}

impl Answering {
    async fn answer(&self, peer: PeerId, stream: Stream, activity: &Activity) -> Ended {
        let (reader, writer) = stream.split();
        let (frames, outgoing) = mpsc::channel(0);
        let reading = self.run(peer, reader, frames, activity);
        let writing = write_frames(writer, outgoing);
        pin_mut!(reading, writing);
        match select(reading, writing).await {
            Either::Left((ended, _)) => ended,
            Either::Right(_) => Ended::Quietly,
        }
    }

    async fn run(
        &self,
        peer: PeerId,
        mut reader: impl AsyncRead + Unpin,
        mut frames: mpsc::Sender<Bytes>,
        activity: &Activity,
    ) -> Ended {
        enum Next {
            Read(std::io::Result<usize>),
            Found(Found),
            Writable(bool),
            Timer,
        }
        let mut answerer = Answerer::new(FRAME_MAX_BYTES);
        let mut decoder = FrameDecoder::new(FRAME_MAX_BYTES);
        let mut buffer = vec![0; READ_BUFFER_BYTES];
        let mut lookups: FuturesUnordered<Lookup> = FuturesUnordered::new();
        let mut is_writable = false;
        let mut silence = limits::EXCHANGE_FIRST_BYTE_TIMEOUT;
        loop {
            while let Some(ask) = answerer.next_ask() {
                lookups.push(self.look_up(ask));
            }
            let now = platform::monotonic_ms();
            while is_writable && let Some(response) = answerer.next_frame(now) {
                if let Response::Part { data, .. } = &response {
                    self.traffic.sent(peer, data.len());
                }
                if frames.start_send(response.encode_frame()).is_err() {
                    return Ended::Quietly;
                }
                is_writable =
                    frames.poll_ready(&mut std::task::Context::from_waker(futures::task::noop_waker_ref())).is_ready();
            }
            if answerer.is_stalled(now) {
                tracing::debug!(%peer, "asked, then neither gave credit nor read");
                return Ended::Quietly;
            }
            activity.is_asked.store(answerer.open_questions() > 0, Ordering::Relaxed);
            let idle_at = activity.heard_ms.load(Ordering::Relaxed) + silence.as_millis() as u64;
            if now >= idle_at && answerer.open_questions() == 0 {
                return Ended::Quietly;
            }
            let quiet_at = if answerer.open_questions() == 0 { idle_at } else { u64::MAX };
            let wake_at = answerer.next_timeout().unwrap_or(u64::MAX).min(quiet_at).min(now + MINUTE_MS).max(now + 1);
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
                Next::Read(Ok(0) | Err(_)) | Next::Writable(false) => return Ended::Quietly,
                Next::Read(Ok(count)) => {
                    activity.heard_ms.store(platform::monotonic_ms(), Ordering::Relaxed);
                    silence = limits::EXCHANGE_IDLE_TIMEOUT;
                    decoder.push(buffer.get(..count).unwrap_or_default());
                    for frame in decoder.by_ref() {
                        let taken = frame
                            .and_then(Request::decode_shared)
                            .map_err(|error| error.to_string())
                            .and_then(|request| answerer.handle(request).map_err(|error| error.to_string()));
                        if let Err(error) = taken {
                            tracing::debug!(%peer, error, "exchange violation");
                            return Ended::Violation;
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
