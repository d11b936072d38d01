//! What a connection's task and its owner say to each other.

use crate::{proto::fingerprint::Fingerprint, stream::Notify};
use std::net::IpAddr;
use str0m::Candidate;
use tokio::sync::mpsc;

/// Reports and orders of one connection that wait.
pub(super) const TALK_WAITING_MAX: usize = 64;

/// What the connection's owner is told while connecting.
#[derive(Debug)]
pub(super) enum Report {
    /// ICE and DTLS are done.
    Connected {
        /// The other end's.
        certificate: Fingerprint,
        /// The other end's host, if it is known.
        host: Option<IpAddr>,
    },
    /// The channel `init` is closed at both ends.
    InitClosed,
}

/// What it may want meanwhile.
#[derive(Debug)]
pub(super) enum Order {
    /// Try this way too.
    AddCandidate(Candidate),
    /// Close `init` once it is open.
    CloseInit,
}

/// The next order; without an owner none comes.
pub(super) async fn next_order(orders: &mut Option<mpsc::Receiver<Order>>) -> Option<Order> {
    match orders {
        Some(orders) => orders.recv().await,
        None => std::future::pending().await,
    }
}

/// Wakes a connection's task.
#[derive(Default)]
pub(super) struct Wake(pub tokio::sync::Notify);

impl Notify for Wake {
    fn notify(&self) {
        self.0.notify_one();
    }
}
