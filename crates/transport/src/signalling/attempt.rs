//! One attempt at a `/webrtc` connection: the protocol core between a signalling stream and a backend.

use super::link::{End, Opened, displaced};
use crate::{
    clock,
    connection::Connection,
    error::Error,
    proto::{
        sdp::Target,
        signal::{Input, Output, Role, SignalError, Signalling},
        signal_message::Decoder,
    },
};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, channel::oneshot, io::ReadHalf, pin_mut, select};
use libp2p::PeerId;
use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Bytes read from the stream at once.
const READ_BYTES: usize = 4_096;
/// The responder gives the initiator this long to close the signalling stream once there is a connection.
const STREAM_END_TIMEOUT: Duration = Duration::from_secs(10);

/// Whoever waits for the connection.
pub(crate) type Waiting = oneshot::Sender<Result<(PeerId, Connection), Error>>;

/// What a backend reports of an attempt.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A candidate of this end, the JSON of an `RTCIceCandidateInit`.
    #[cfg_attr(
        not(target_arch = "wasm32"),
        expect(dead_code, reason = "natively all candidates are in the description")
    )]
    Candidate(String),
    /// Connected, and the other end's certificate is the one in its description.
    Connected(Connection),
    /// Nothing can come of it any more.
    Failed,
    /// The channel `init` is closed.
    InitClosed,
}

/// A backend's half of one attempt. Nothing is created before a description is asked for.
pub(crate) trait PeerConnection {
    /// Creates the connection, its channel `init`, and an offer.
    async fn offer(&mut self) -> Result<String, Error>;
    /// Creates the connection, takes the offer and creates an answer.
    async fn answer(&mut self, offer: &str) -> Result<String, Error>;
    /// The description has been sent.
    async fn set_local(&mut self, sdp: &str) -> Result<(), Error>;
    /// Takes the other's answer.
    async fn set_remote(&mut self, sdp: &str) -> Result<(), Error>;
    /// Takes a candidate of the other.
    async fn add_candidate(&mut self, json: &str, target: Target);
    /// What happens next; may be dropped and called again without losing anything.
    async fn progress(&mut self) -> Progress;
    /// Closes `init` once it is open.
    fn close_init(&mut self);
    /// Whether the NAT in front of this end gives each destination another port, as far as is known.
    fn is_behind_symmetric_nat(&self) -> bool;
}

/// Runs an attempt. The connection goes out as soon as it is there; what is left to say is said after that.
pub(crate) async fn run<P: PeerConnection>(
    role: Role,
    peer: PeerId,
    opened: Opened,
    mut backend: P,
    connected: Waiting,
) {
    let Opened { stream, displaced: mut cancel, has_begun, over } = opened;
    let mut connected = Some(connected);
    let result = {
        let attempt = trade(role, peer, (stream, &has_begun), &mut backend, &mut connected).fuse();
        let cancelled = displaced(&mut cancel).fuse();
        pin_mut!(attempt, cancelled);
        select! {
            result = attempt => result,
            error = cancelled => Err(error),
        }
    };
    let result = result.map_err(|error| match error {
        Error::Signalling { peer, error: SignalError::NoPath } => {
            Error::NoPath { peer, behind_symmetric_nat: backend.is_behind_symmetric_nat() }
        }
        other => other,
    });
    let end = match (&result, &connected) {
        (Err(error), _) if error.is_violation() => End::Violated,
        (_, None) => End::Connected,
        (Err(Error::NoPath { .. }), _) => End::NoPath,
        (_, Some(_)) => End::Failed,
    };
    match (result, connected) {
        (Err(error), Some(connected)) => _ = connected.send(Err(error)),
        (Ok(()), Some(connected)) => _ = connected.send(Err(Error::NotConnected)),
        // There is a connection; that its beginning was not tidied up matters to nobody.
        (Err(error), None) => tracing::debug!(%peer, %error, "after connecting"),
        (Ok(()), None) => {}
    }
    let _ = over.send(end);
}

async fn trade<P: PeerConnection>(
    role: Role,
    peer: PeerId,
    (stream, has_begun): (libp2p::swarm::Stream, &AtomicBool),
    backend: &mut P,
    connected: &mut Option<Waiting>,
) -> Result<(), Error> {
    let signalling = |error: SignalError| Error::Signalling { peer: peer.into(), error };
    let (mut reader, mut writer) = stream.split();
    let mut machine = Signalling::new(role, clock::now_ms());
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; READ_BYTES];
    let mut readable = true;
    loop {
        while let Some(output) = machine.next_output() {
            match output {
                Output::CreateOffer => {
                    let sdp = backend.offer().await?;
                    machine.handle(Input::Description(sdp)).map_err(signalling)?;
                }
                Output::CreateAnswer { offer } => {
                    let sdp = backend.answer(&offer).await?;
                    machine.handle(Input::Description(sdp)).map_err(signalling)?;
                }
                Output::Send(message) => {
                    writer.write_all(&message.encode()).await?;
                    writer.flush().await?;
                }
                Output::SetLocal(sdp) => backend.set_local(&sdp).await?,
                Output::SetRemote(sdp) => backend.set_remote(&sdp).await?,
                Output::AddCandidate { json, target } => backend.add_candidate(&json, target).await,
                Output::CloseInit => backend.close_init(),
                Output::Done => {
                    if role == Role::Responder {
                        // The initiator closes first: what it still sends is candidates, which nobody needs any more.
                        let end = async {
                            while readable && reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
                            Ok(())
                        };
                        let _ = clock::within(STREAM_END_TIMEOUT, end).await;
                    }
                    return Ok(writer.close().await?);
                }
            }
        }
        match next(&machine, readable, &mut reader, &mut buffer, backend, connected).await {
            // An end by force is none other than one in order: what counts is whether both descriptions are there.
            Next::Read(Ok(0) | Err(_)) => {
                readable = false;
                machine.handle(Input::StreamEnded).map_err(signalling)?;
            }
            Next::Read(Ok(read)) => {
                decoder.push(buffer.get(..read).unwrap_or_default());
                let broken = |error| Error::SignalMessage { peer: peer.into(), error };
                while let Some(message) = decoder.next_message().map_err(broken)? {
                    machine.handle(Input::Message(message)).map_err(signalling)?;
                    has_begun.store(true, Ordering::Relaxed);
                }
            }
            Next::Progress(progress) => {
                let input = match progress {
                    Progress::Candidate(json) => Input::LocalCandidate(json),
                    Progress::Failed => Input::Failed,
                    Progress::InitClosed => Input::InitClosed,
                    Progress::Connected(connection) => {
                        if let Some(waiting) = connected.take() {
                            let _ = waiting.send(Ok((peer, connection)));
                        }
                        Input::Connected
                    }
                };
                machine.handle(input).map_err(signalling)?;
            }
            // Nobody waits for the connection any more.
            Next::Abandoned => return Ok(()),
            Next::Timeout => machine.handle_timeout(clock::now_ms()).map_err(signalling)?,
        }
    }
}

enum Next {
    Read(io::Result<usize>),
    Progress(Progress),
    Abandoned,
    Timeout,
}

/// Waits for the stream, the backend or the deadline, whichever comes first.
async fn next<P: PeerConnection>(
    machine: &Signalling,
    readable: bool,
    reader: &mut ReadHalf<libp2p::swarm::Stream>,
    buffer: &mut [u8],
    backend: &mut P,
    connected: &mut Option<Waiting>,
) -> Next {
    let read = async { if readable { reader.read(buffer).await } else { std::future::pending().await } }.fuse();
    let progress = backend.progress().fuse();
    let left = machine.deadline_ms().saturating_sub(clock::now_ms());
    let timeout = clock::sleep(Duration::from_millis(left)).fuse();
    let abandoned = async {
        match connected {
            Some(waiting) => waiting.cancellation().await,
            None => std::future::pending().await,
        }
    }
    .fuse();
    pin_mut!(read, progress, timeout, abandoned);
    select! {
        read = read => Next::Read(read),
        progress = progress => Next::Progress(progress),
        () = abandoned => Next::Abandoned,
        () = timeout => Next::Timeout,
    }
}
