//! One attempt at a `/webrtc` connection: the protocol core between a signalling stream and a backend.

use super::{
    hosts::Hosts,
    link::{End, HowFar, Opened, displaced},
};
use crate::{
    clock,
    connection::{Closed, Connection},
    error::Error,
    proto::{
        sdp::Target,
        signal::{Input, Output, Role, SIGNALING_TIMEOUT, SignalError, Signalling},
        signal_message::{Decoder, Message},
    },
};
use futures::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt,
    channel::oneshot,
    io::{ReadHalf, WriteHalf},
    pin_mut, select,
};
use libp2p::PeerId;
use std::{io, net::IpAddr, sync::atomic::Ordering, time::Duration};

/// Bytes read from the stream at once.
const READ_BYTES: usize = 4_096;
/// The protocol core ends an attempt in time; this is for what does not come back to it: a stream that takes nothing, a backend
/// that hangs.
const TRADE_TIMEOUT: Duration = SIGNALING_TIMEOUT.saturating_add(Duration::from_secs(2));
/// The signalling stream is given this long to be closed in order once there is a connection.
const STREAM_END_TIMEOUT: Duration = Duration::from_secs(10);

/// A dial that was turned away waits for that of the other end so long, which may have been on its way.
const SUPERSEDED_WITHIN: Duration = Duration::from_secs(1);

/// Whoever waits for the connection.
pub(crate) type Waiting = oneshot::Sender<Result<(PeerId, Connection), Error>>;

/// What a backend reports of an attempt.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A candidate of this end, the JSON of an `RTCIceCandidateInit`.
    #[cfg_attr(
        all(not(target_arch = "wasm32"), not(test)),
        expect(dead_code, reason = "natively all candidates are in the description")
    )]
    Candidate(String),
    /// Connected, and the other end's certificate is the one in its description.
    Connected {
        connection: Connection,
        /// Where the other end is, if that is known; see [`super::host_beyond`].
        host: Option<IpAddr>,
    },
    /// Nothing can come of it any more, for this reason.
    Failed(Closed),
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
    fn add_candidate(&mut self, json: &str, target: Target);
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
    let Opened { stream, displaced: mut cancel, how_far, over, hosts, gives_way } = opened;
    let mut connected = Some(connected);
    let result = {
        let attempt = async {
            let told = (stream, &*how_far, &hosts);
            match trade_within(TRADE_TIMEOUT, (role, peer), told, &mut backend, &mut connected).await? {
                Some(streams) => clock::within(STREAM_END_TIMEOUT, end(role, streams)).await,
                None => Ok(()),
            }
        }
        .fuse();
        let cancelled = displaced(&mut cancel).fuse();
        pin_mut!(attempt, cancelled);
        select! {
            result = attempt => result,
            error = cancelled => Err(error),
        }
    };
    let result = match result {
        // The other end dials too and has turned this one away: its own is on its way, and nothing has failed.
        Err(error)
            if gives_way
                && !matches!(error, Error::Superseded { .. })
                && !how_far.has_begun.load(Ordering::Relaxed) =>
        {
            Err(clock::within(SUPERSEDED_WITHIN, displaced(&mut cancel).map(Ok)).await.unwrap_or(error))
        }
        other => other,
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

/// A signalling stream's halves.
type Halves<S> = (ReadHalf<S>, WriteHalf<S>);

/// Ends the stream of an attempt that came to a connection.
async fn end<S: AsyncRead + AsyncWrite + Unpin>(role: Role, (mut reader, mut writer): Halves<S>) -> Result<(), Error> {
    if role == Role::Responder {
        // The initiator closes first: what it still sends is candidates, which nobody needs any more.
        let mut buffer = vec![0; READ_BYTES];
        while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    }
    Ok(writer.close().await?)
}

/// Everything until there is a connection, or none will be, within this time whatever the other end does.
async fn trade_within<P: PeerConnection, S: AsyncRead + AsyncWrite + Unpin>(
    limit: Duration,
    (role, peer): (Role, PeerId),
    told: (S, &HowFar, &Hosts),
    backend: &mut P,
    connected: &mut Option<Waiting>,
) -> Result<Option<Halves<S>>, Error> {
    match clock::within(limit, trade(role, peer, told, backend, connected)).await {
        Err(Error::TimedOut { .. }) => Err(Error::Signalling { peer: peer.into(), error: SignalError::TimedOut }),
        other => other,
    }
}

/// The stream is left to be ended; `None`: nobody waits for the connection any more.
async fn trade<P: PeerConnection, S: AsyncRead + AsyncWrite + Unpin>(
    role: Role,
    peer: PeerId,
    (stream, how_far, hosts): (S, &HowFar, &Hosts),
    backend: &mut P,
    connected: &mut Option<Waiting>,
) -> Result<Option<Halves<S>>, Error> {
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
                    let is_candidate = matches!(message, Message::Candidate(_));
                    let bytes = message.encode();
                    let sent = async {
                        writer.write_all(&bytes).await?;
                        writer.flush().await
                    };
                    match sent.await {
                        // Who is connected already takes no more candidates, and this end may be about to be.
                        Err(error) if is_candidate => tracing::debug!(%peer, %error, "a candidate was not told"),
                        sent => sent?,
                    }
                }
                Output::SetLocal(sdp) => backend.set_local(&sdp).await?,
                Output::SetRemote(sdp) => backend.set_remote(&sdp).await?,
                Output::AddCandidate { json, target } => backend.add_candidate(&json, target),
                Output::CloseInit => backend.close_init(),
                Output::Done => return Ok(Some((reader, writer))),
            }
        }
        match next(&machine, readable, &mut reader, &mut buffer, backend, connected).await {
            // An end by force is none other than one in order: what counts is whether both descriptions are there.
            Next::Read(Ok(0) | Err(_)) => {
                readable = false;
                how_far.is_ended.store(true, Ordering::Relaxed);
                machine.handle(Input::StreamEnded).map_err(signalling)?;
            }
            Next::Read(Ok(read)) => {
                decoder.push(buffer.get(..read).unwrap_or_default());
                let broken = |error| Error::SignalMessage { peer: peer.into(), error };
                while let Some(message) = decoder.next_message().map_err(broken)? {
                    machine.handle(Input::Message(message)).map_err(signalling)?;
                    how_far.has_begun.store(true, Ordering::Relaxed);
                }
            }
            Next::Progress(progress) => {
                let input = match progress {
                    Progress::Candidate(json) => Input::LocalCandidate(json),
                    Progress::Failed(Closed::Certificate) => return Err(Error::Certificate { peer: peer.into() }),
                    Progress::Failed(reason) => {
                        tracing::debug!(%peer, %reason, "not connected");
                        Input::Failed
                    }
                    Progress::InitClosed => Input::InitClosed,
                    Progress::Connected { connection, host } => {
                        how_far.is_connected.store(true, Ordering::Relaxed);
                        if let Some(waiting) = connected.take() {
                            // First: the swarm asks for it as soon as it hears of the connection.
                            hosts.record(peer, host);
                            let _ = waiting.send(Ok((peer, connection)));
                        }
                        Input::Connected
                    }
                };
                machine.handle(input).map_err(signalling)?;
            }
            // Nobody waits for the connection any more.
            Next::Abandoned => return Ok(None),
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
async fn next<P: PeerConnection, S: AsyncRead + Unpin>(
    machine: &Signalling,
    readable: bool,
    reader: &mut ReadHalf<S>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{credentials::Ice, fingerprint::Fingerprint, sdp, signal_message::Message};
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    fn description() -> String {
        let ice = Ice { ufrag: "abcdef".into(), pwd: "abcdefabcdefabcdefabcdef".into() };
        sdp::direct_answer(([1, 2, 3, 4], 5).into(), Fingerprint([7; 32]), &ice)
    }

    /// The stream of somebody who says this, and reads nothing.
    struct Deaf(Vec<u8>);

    impl AsyncRead for Deaf {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
            if self.0.is_empty() {
                return Poll::Pending;
            }
            let said = self.0.len().min(buffer.len());
            buffer[..said].copy_from_slice(&self.0[..said]);
            self.0.drain(..said);
            Poll::Ready(Ok(said))
        }
    }

    impl AsyncWrite for Deaf {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    /// The stream of somebody who answers, is connected, and goes: it takes so many writes.
    struct Gone {
        answer: Deaf,
        takes: usize,
    }

    impl AsyncRead for Gone {
        fn poll_read(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.answer).poll_read(context, buffer)
        }
    }

    impl AsyncWrite for Gone {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let Some(takes) = self.takes.checked_sub(1) else {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            };
            self.takes = takes;
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Has a description, and finds this once it has the other's answer.
    #[derive(Default)]
    struct Finds {
        is_answered: bool,
        progress: Vec<Progress>,
    }

    impl PeerConnection for Finds {
        async fn offer(&mut self) -> Result<String, Error> {
            Ok(description())
        }

        async fn answer(&mut self, _: &str) -> Result<String, Error> {
            Ok(description())
        }

        async fn set_local(&mut self, _: &str) -> Result<(), Error> {
            Ok(())
        }

        async fn set_remote(&mut self, _: &str) -> Result<(), Error> {
            self.is_answered = true;
            Ok(())
        }

        fn add_candidate(&mut self, _: &str, _: Target) {}

        async fn progress(&mut self) -> Progress {
            match self.progress.pop_if(|_| self.is_answered) {
                Some(progress) => progress,
                None => std::future::pending().await,
            }
        }

        fn close_init(&mut self) {}

        fn is_behind_symmetric_nat(&self) -> bool {
            false
        }
    }

    struct Quiet;

    impl crate::stream::Notify for Quiet {
        fn notify(&self) {}
    }

    #[tokio::test]
    async fn a_candidate_that_nobody_takes_any_more_ends_no_attempt() {
        let (waiting, mut connection) = oneshot::channel();
        let (how_far, hosts, mut connected) = (HowFar::default(), Hosts::default(), Some(waiting));
        let stream = Gone { answer: Deaf(Message::Answer(description()).encode()), takes: 1 };
        let (made, _backend) = crate::connection::pair(std::sync::Arc::new(Quiet), &crate::Census::default());
        let candidate = Progress::Candidate(r#"{"candidate":"x"}"#.to_owned());
        let progress = vec![Progress::InitClosed, Progress::Connected { connection: made, host: None }, candidate];
        let mut backend = Finds { progress, ..Finds::default() };
        let ends = (Role::Initiator, PeerId::random());
        let traded = trade_within(TRADE_TIMEOUT, ends, (stream, &how_far, &hosts), &mut backend, &mut connected).await;
        assert!(traded.is_ok(), "{:?}", traded.err());
        assert!(matches!(connection.try_recv(), Ok(Some(Ok(_)))));
    }

    #[tokio::test]
    async fn who_reads_no_answer_is_not_waited_for_beyond_the_time_of_the_attempt() {
        let (waiting, _connection) = oneshot::channel();
        let (how_far, hosts, mut connected) = (HowFar::default(), Hosts::default(), Some(waiting));
        let stream = Deaf(Message::Offer(description()).encode());
        let ends = (Role::Responder, PeerId::random());
        let limit = Duration::from_millis(50);
        // Without that end the test would wait for ever.
        let told = (stream, &how_far, &hosts);
        let error = trade_within(limit, ends, told, &mut Finds::default(), &mut connected).await.err();
        assert!(
            matches!(error, Some(Error::Signalling { error: SignalError::TimedOut, .. })),
            "an unread answer says nothing about paths: {error:?}"
        );
        assert!(how_far.has_begun.load(Ordering::Relaxed) && !how_far.is_connected.load(Ordering::Relaxed));
    }
}
