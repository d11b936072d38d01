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

/// Events that wait for the behaviour; a peer that opens more streams than are taken loses them.
const EVENTS_WAITING_MAX: usize = 8;

/// What the behaviour wants.
#[derive(Debug)]
pub enum In {
    /// A signalling stream.
    Open,
}

/// What the handler reports.
#[derive(Debug)]
pub enum Out {
    /// The other end opened a signalling stream.
    Inbound(Stream),
    /// The stream that was wanted, or why there is none.
    Outbound(Result<Stream, String>),
}

type Event = ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Out>;

/// One relayed connection.
#[derive(Default)]
pub struct Handler {
    events: VecDeque<Event>,
    waker: Option<Waker>,
}

fn protocol() -> SubstreamProtocol<ReadyUpgrade<StreamProtocol>, ()> {
    SubstreamProtocol::new(ReadyUpgrade::new(StreamProtocol::new(PROTOCOL)), ())
}

impl Handler {
    fn push(&mut self, event: Event) {
        if self.events.len() < EVENTS_WAITING_MAX {
            self.events.push_back(event);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
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
        match self.events.pop_front() {
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
                StreamUpgradeError::NegotiationFailed => "the peer does not signal WebRTC".to_owned(),
                StreamUpgradeError::Timeout => "opening the signalling stream took too long".to_owned(),
                StreamUpgradeError::Io(error) => error.to_string(),
                StreamUpgradeError::Apply(never) => match never {},
            })),
            _ => return,
        };
        self.push(ConnectionHandlerEvent::NotifyBehaviour(out));
    }
}
