//! The signalling streams of one relayed connection.

use crate::proto::signal::PROTOCOL;
use libp2p::{
    StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, Stream, StreamUpgradeError, SubstreamProtocol,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

/// Streams of the other end that wait for the behaviour; a peer that opens more than are taken loses them.
const INBOUND_WAITING_MAX: usize = 8;

/// What the behaviour wants.
#[derive(Debug)]
pub enum In {
    /// A signalling stream.
    Open,
}

/// Why a signalling stream was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoStream {
    /// The peer does not signal.
    Refused(String),
    /// The connection is lost, or as good as lost.
    Lost(String),
}

/// What the handler reports.
#[derive(Debug)]
pub enum Out<S = Stream> {
    /// The other end opened a signalling stream.
    Inbound(S),
    /// The stream that was wanted, or why there is none.
    Outbound(Result<S, NoStream>),
}

type Event<S = Stream> = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Out<S>>;

/// Events that wait for the behaviour. What this end asked for is never left out, whatever the other end does meanwhile: a dial
/// waits for it, and there is one at most.
struct Events<S>(VecDeque<Event<S>>);

/// One relayed connection.
#[derive(Default)]
pub struct Handler {
    events: Events<Stream>,
    waker: Option<Waker>,
}

fn protocol() -> SubstreamProtocol<ReadyUpgrade<StreamProtocol>, ()> {
    SubstreamProtocol::new(ReadyUpgrade::new(StreamProtocol::new(PROTOCOL)), ())
}

impl<S> Default for Events<S> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<S> Events<S> {
    fn push(&mut self, event: Event<S>) {
        let is_inbound = |event: &Event<S>| matches!(event, ConnectionHandlerEvent::NotifyBehaviour(Out::Inbound(_)));
        if !is_inbound(&event) || self.0.iter().filter(|waiting| is_inbound(waiting)).count() < INBOUND_WAITING_MAX {
            self.0.push_back(event);
        }
    }
}

impl Handler {
    fn push(&mut self, event: Event) {
        self.events.push(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = In;
    type ToBehaviour = Out;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, ()> {
        protocol()
    }

    fn on_behaviour_event(&mut self, In::Open: In) {
        self.push(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol: protocol() });
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        match self.events.0.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                self.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>) {
        let out = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => Out::Inbound(protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                Out::Outbound(Ok(protocol))
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => Out::Outbound(Err(match error {
                StreamUpgradeError::NegotiationFailed => {
                    NoStream::Refused("the peer does not signal WebRTC".to_owned())
                }
                StreamUpgradeError::Timeout => NoStream::Lost("opening the signalling stream took too long".to_owned()),
                StreamUpgradeError::Io(error) => NoStream::Lost(error.to_string()),
                StreamUpgradeError::Apply(never) => match never {},
            })),
            _ => return,
        };
        self.push(ConnectionHandlerEvent::NotifyBehaviour(out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_floods_loses_its_own_streams_and_no_dial_of_this_end() {
        let mut events = Events::<u32>::default();
        for number in 0..1_000 {
            events.push(ConnectionHandlerEvent::NotifyBehaviour(Out::Inbound(number)));
        }
        events.push(ConnectionHandlerEvent::NotifyBehaviour(Out::Outbound(Ok(7))));
        assert_eq!(events.0.len(), INBOUND_WAITING_MAX + 1);
        assert!(matches!(events.0.back(), Some(ConnectionHandlerEvent::NotifyBehaviour(Out::Outbound(Ok(7))))));
    }
}
