//! Why there is no connection, or no listener: one enum for both backends.

use crate::{
    budget::BudgetError,
    proto::{
        address::{self, AddressError},
        credentials::UsernameError,
        sdp::SdpError,
        signal::SignalError,
        signal_message::MessageError,
    },
};
use libp2p::{Multiaddr, PeerId, TransportError};
use std::{io, time::Duration};

/// Why there is no connection, or no listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is not one to dial or listen on.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The socket.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A STUN request that is none of ours.
    #[error(transparent)]
    Username(#[from] UsernameError),
    /// No more peer connections may be begun in this tab.
    #[error(transparent)]
    Budget(#[from] BudgetError),
    /// The browser itself makes no peer connection, though the budget had one left: others of its tabs, or pages before this one,
    /// had more than was known here, or WebRTC is switched off.
    #[error(
        "the browser made no connection ({reason}); those that are open go on: WebRTC must be switched on, and if there were many, close other tabs, or close this tab and open the page again"
    )]
    NotBegun {
        /// What the browser said.
        reason: String,
    },
    /// The backend's own description is not as expected.
    #[error("the own session description: {0}")]
    Sdp(#[from] SdpError),
    /// Signalling failed.
    #[error("signalling with {peer}: {error}")]
    Signalling {
        /// The other end.
        peer: Box<PeerId>,
        /// What it did, or what did not work.
        error: SignalError,
    },
    /// Signalling went through, and no path was found between the two.
    #[error("no direct path to {peer}{}", if *.behind_symmetric_nat {
        ": the NAT in front of this peer gives each destination another port, and so its peers cannot know where to send"
    } else {
        ""
    })]
    NoPath {
        /// The other end.
        peer: Box<PeerId>,
        /// What is known of this end's NAT. The other end's may be like that as well.
        behind_symmetric_nat: bool,
    },
    /// There is a path, and what answers there is not what was signalled. In a tab any failure of DTLS while connecting reads so:
    /// browsers do not say more.
    #[error("no connection with {peer}: one end's certificate is not the one that was signalled")]
    Certificate {
        /// The other end.
        peer: Box<PeerId>,
    },
    /// What came over the signalling stream is no message.
    #[error("signalling with {peer}: {error}")]
    SignalMessage {
        /// The other end.
        peer: Box<PeerId>,
        /// What is wrong with it.
        error: MessageError,
    },
    /// The other end's description passed the checks here, and WebRTC itself refuses it.
    #[error("signalling with {peer}: its session description is refused: {reason}")]
    Refused {
        /// The other end.
        peer: Box<PeerId>,
        /// What WebRTC said.
        reason: String,
    },
    /// No relay reaches the peer.
    #[error("no relay to {peer}: {reason}")]
    NoRelay {
        /// Whom it should reach.
        peer: Box<PeerId>,
        /// What the relay or the swarm said.
        reason: String,
    },
    /// Both dialled at once, and the other end's dial goes on: its connection takes the place of this one.
    #[error("{peer} is dialling too, and its dial goes on")]
    Superseded {
        /// The other end.
        peer: Box<PeerId>,
    },
    /// `/webrtc` is listened on, and one listener has all the attempts of others.
    #[error("this node listens on /webrtc already: remove that listener before you make another")]
    ListensAlready,
    /// Too many attempts at once; the peer tries again.
    #[error("too many connection attempts")]
    Busy,
    /// WebRTC itself failed.
    #[error("{0}")]
    Backend(String),
    /// Nobody answered, or the certificate was not the one that was named.
    #[error("no connection: nobody answered there with the certificate that was named")]
    NotConnected,
    /// The peer could not prove who it is.
    #[error("the peer could not be authenticated: {0}")]
    Noise(#[from] libp2p::noise::Error),
    /// Somebody else answered.
    #[error("the peer is {found}, not {expected}")]
    WrongPeer {
        /// Whom the address names.
        expected: Box<PeerId>,
        /// Who answered.
        found: Box<PeerId>,
    },
    /// It took too long.
    #[error("no connection within {} s", .limit.as_secs())]
    TimedOut {
        /// What was given.
        limit: Duration,
    },
    /// An error that is about one peer and does not say about whom.
    #[error("connecting with {peer}: {error}")]
    With {
        /// The other end.
        peer: Box<PeerId>,
        /// What went wrong.
        #[source]
        error: Box<Error>,
    },
}

impl Error {
    /// The same, with the peer named.
    pub(crate) fn naming(self, peer: PeerId) -> Self {
        match self.peer() {
            Some(_) => self,
            None => Self::With { peer: peer.into(), error: self.into() },
        }
    }

    /// What is wrong with an address, with the peer named that it leads to.
    pub(crate) fn of_address(error: AddressError, address: &Multiaddr) -> Self {
        let error = Self::from(error);
        match address::peer_of(address) {
            Some(peer) => error.naming(peer),
            None => error,
        }
    }

    /// Whom it is about, if that is known.
    #[must_use]
    pub fn peer(&self) -> Option<&PeerId> {
        match self {
            Self::Signalling { peer, .. }
            | Self::NoPath { peer, .. }
            | Self::Certificate { peer }
            | Self::SignalMessage { peer, .. }
            | Self::Refused { peer, .. }
            | Self::NoRelay { peer, .. }
            | Self::Superseded { peer }
            | Self::WrongPeer { expected: peer, .. }
            | Self::With { peer, .. } => Some(peer),
            Self::Address(_)
            | Self::Io(_)
            | Self::Username(_)
            | Self::Budget(_)
            | Self::NotBegun { .. }
            | Self::Sdp(_)
            | Self::ListensAlready
            | Self::Busy
            | Self::Backend(_)
            | Self::NotConnected
            | Self::Noise(_)
            | Self::TimedOut { .. } => None,
        }
    }

    /// Whether it says nothing of the other end: this one may not, or would not now.
    #[must_use]
    pub fn is_own(&self) -> bool {
        match self {
            Self::Budget(_)
            | Self::NotBegun { .. }
            | Self::Sdp(_)
            | Self::ListensAlready
            | Self::Busy
            | Self::Superseded { .. } => true,
            Self::With { error, .. } => error.is_own(),
            _ => false,
        }
    }

    /// The error of this crate's transport within one that a swarm reports of a dial.
    #[must_use]
    pub fn within(error: &TransportError<io::Error>) -> Option<&Self> {
        let TransportError::Other(error) = error else { return None };
        // Once for each time that it was boxed.
        let mut inner = error.get_ref()?;
        while let Some(error) = inner.downcast_ref::<io::Error>() {
            inner = error.get_ref()?;
        }
        inner.downcast_ref()
    }

    /// Whether the other end broke the rules of signalling, and did not merely fail or give up.
    pub(crate) fn is_violation(&self) -> bool {
        match self {
            Self::Signalling { error, .. } => {
                matches!(error, SignalError::Order { .. } | SignalError::Sdp(_) | SignalError::Candidate)
            }
            Self::SignalMessage { .. } | Self::Refused { .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_in_what_a_swarm_reports_and_tells_whose_it_is() {
        let boxed = |error: Error| TransportError::Other(io::Error::other(io::Error::other(error)));
        let busy = boxed(Error::Busy.naming(PeerId::random()));
        assert!(Error::within(&busy).is_some_and(Error::is_own), "{busy:?}");
        let peer = PeerId::random();
        let refused =
            boxed(Error::NotBegun { reason: "Cannot create so many PeerConnections".to_owned() }.naming(peer));
        let refused = Error::within(&refused);
        assert!(refused.is_some_and(|error| error.is_own() && error.peer() == Some(&peer)), "{refused:?}");
        let gone = boxed(Error::NotConnected.naming(PeerId::random()));
        assert!(Error::within(&gone).is_some_and(|error| !error.is_own()));
        assert!(Error::within(&TransportError::Other(io::ErrorKind::ConnectionRefused.into())).is_none());
    }
}
