//! What the transport and the behaviour of `/webrtc` say to each other.

use super::{hosts::Hosts, routes::Routes};
use crate::{clock, error::Error};
use futures::{
    channel::{mpsc, oneshot},
    stream::{Stream as _, StreamExt},
};
use libp2p::{PeerId, swarm::Stream};
use std::{
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
    task::{Context, Poll, Waker},
    time::Duration,
};

/// Dials that wait for the behaviour.
const REQUESTS_WAITING_MAX: usize = 64;
/// Attempts of others that wait for the swarm to take them.
const INBOUND_WAITING_MAX: usize = 16;

/// A dial that has no signalling stream by then has failed: a relay that is dialled for it may take 10 s, and so may one of those
/// that are tried after it. Signalling itself has a limit of its own.
pub const OPENING_TIMEOUT: Duration = Duration::from_secs(25);

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Connected,
    /// Both descriptions were there, and no path was found between the two.
    NoPath,
    /// Anything else that says nothing about the paths between the two.
    Failed,
    /// The other end broke the rules.
    Violated,
}

/// How far an attempt has come, told to the behaviour: what is not far makes room for others, and what only has to be tidied up
/// is in no other attempt's way.
#[derive(Default)]
pub(crate) struct HowFar {
    /// The other end has said something that an attempt can begin with.
    pub has_begun: AtomicBool,
    /// The other end closed its stream.
    pub is_ended: AtomicBool,
    /// There is a connection.
    pub is_connected: AtomicBool,
}

/// A signalling stream for an attempt. The behaviour learns its end by what is dropped or sent here.
pub(crate) struct Opened {
    pub stream: Stream,
    /// Why the behaviour ends it, should it do so: another attempt takes its place.
    pub displaced: oneshot::Receiver<Error>,
    pub how_far: Arc<HowFar>,
    /// To be told its end; dropping it tells that nothing came of it.
    pub over: oneshot::Sender<End>,
    /// Where the other end's host is written down.
    pub hosts: Hosts,
    /// Of a dial: the other end's takes its place where both dial at once.
    pub gives_way: bool,
}

/// A dial that wants a signalling stream.
pub(crate) struct Request {
    pub peer: PeerId,
    pub reply: oneshot::Sender<Result<Opened, Error>>,
}

/// Somebody else's attempt.
pub(crate) struct Inbound {
    pub peer: PeerId,
    pub opened: Opened,
}

/// The transport's half.
pub(crate) struct Link {
    pub routes: Routes,
    requests: mpsc::Sender<Request>,
    inbound: mpsc::Receiver<Inbound>,
}

/// The transport's half and what the behaviour's is made of.
pub(super) fn new(routes: Routes) -> (Link, mpsc::Receiver<Request>, mpsc::Sender<Inbound>) {
    let (requests, from_transport) = mpsc::channel(REQUESTS_WAITING_MAX);
    let (to_transport, inbound) = mpsc::channel(INBOUND_WAITING_MAX);
    (Link { routes, requests, inbound }, from_transport, to_transport)
}

impl Link {
    /// Asks for a signalling stream to a peer.
    pub fn open(&mut self, peer: PeerId) -> impl Future<Output = Result<Opened, Error>> + Send + 'static {
        let (reply, opened) = oneshot::channel();
        let asked = self.requests.try_send(Request { peer, reply });
        async move {
            asked.map_err(|_| Error::Busy)?;
            opened.await.unwrap_or(Err(Error::Busy))
        }
    }

    /// The next attempt of somebody else.
    pub fn poll_inbound(&mut self, context: &mut Context<'_>) -> Poll<Inbound> {
        match Pin::new(&mut self.inbound).poll_next(context) {
            Poll::Ready(Some(inbound)) => Poll::Ready(inbound),
            // The behaviour is gone, and the swarm with it.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// Nobody listens: drops the attempts of others, and those of the next ones when they come. What waited here would keep its
    /// connection open, and be in the way of this node's own dials to the same peer.
    pub fn turn_away(&mut self, context: &mut Context<'_>) {
        while self.poll_inbound(context).is_ready() {}
    }
}

/// Gives a dial its time to come to a stream; what becomes of it says of whom.
pub(crate) async fn in_time(
    peer: PeerId,
    opening: impl Future<Output = Result<Opened, Error>>,
) -> Result<Opened, Error> {
    clock::within(OPENING_TIMEOUT, opening).await.map_err(|error| error.naming(peer))
}

/// Waits until another attempt takes the place of this one.
pub(super) async fn displaced(receiver: &mut oneshot::Receiver<Error>) -> Error {
    match receiver.await {
        Ok(error) => error,
        // A dropped sender says nothing: the behaviour may be gone while the attempt goes on.
        Err(_) => std::future::pending().await,
    }
}

/// Whether the transport takes another attempt of somebody else's now.
pub(super) fn is_ready(inbound: &mut mpsc::Sender<Inbound>) -> bool {
    // Nobody is to be woken when it does: who is turned away tries again.
    matches!(inbound.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())))
}

/// The next request.
pub(super) fn poll_request(requests: &mut mpsc::Receiver<Request>, context: &mut Context<'_>) -> Poll<Request> {
    match requests.poll_next_unpin(context) {
        Poll::Ready(Some(request)) => Poll::Ready(request),
        Poll::Ready(None) | Poll::Pending => Poll::Pending,
    }
}
