//! Signalling between two private peers: who says what when, for both roles.
//!
//! The dialler makes a channel `init` (so that ICE has something to carry), offers, takes the answer, trades candidates
//! until connected, closes `init`, and closes the stream. The other answers, trades candidates, and echoes the close of
//! `init`. A stream that the other end closed in order is no failure: it may be connected already. "disconnected" is none
//! either; "failed" is.

use super::{
    sdp::{self, CANDIDATES_MAX, Named, SdpError, Target},
    signal_message::Message,
};
use std::{collections::VecDeque, time::Duration};

/// Protocol name of the signalling stream.
pub const PROTOCOL: &str = "/webrtc-signaling/0.0.1";
/// Label of the channel that is there only while connecting.
pub const INIT_LABEL: &str = "init";
/// A connection that is not there by then has failed.
pub const SIGNALING_TIMEOUT: Duration = Duration::from_secs(15);

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It dialled.
    Initiator,
    /// It was dialled.
    Responder,
}

/// What the backend or the stream reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The description that [`Output::CreateOffer`] or [`Output::CreateAnswer`] asked for.
    Description(String),
    /// A candidate of this end, the JSON of an `RTCIceCandidateInit`; never its end or an empty one.
    LocalCandidate(String),
    /// A message came.
    Message(Message),
    /// The other end closed the stream in order.
    StreamEnded,
    /// The backend is connected.
    Connected,
    /// The backend cannot connect any more.
    Failed,
    /// The channel `init` is closed at both ends.
    InitClosed,
}

/// What is to be done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Create the channel `init`, then an offer.
    CreateOffer,
    /// Take the other's offer, then create an answer.
    CreateAnswer {
        /// The offer.
        offer: String,
    },
    /// Send this.
    Send(Message),
    /// Make this the local description. Comes after it was sent: what it sets off are candidates, which must come later.
    SetLocal(String),
    /// Make this the remote description.
    SetRemote(String),
    /// Give a candidate of the other to the backend: the JSON, and where it points.
    AddCandidate {
        /// As it came.
        json: String,
        /// Checked.
        target: Target,
    },
    /// Wait for `init` to be open, close it, and report [`Input::InitClosed`].
    CloseInit,
    /// Close the stream in order; the connection is there.
    Done,
}

/// Why no connection came of it. The stream is reset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// A message that does not come now in this role.
    #[error("the remote peer sent {what} where {expected} was to come")]
    Order {
        /// What came.
        what: &'static str,
        /// What was to come.
        expected: &'static str,
    },
    /// A description or candidate that is not handed on.
    #[error("the remote peer's description: {0}")]
    Sdp(#[from] SdpError),
    /// A candidate that is not the JSON of an `RTCIceCandidateInit`.
    #[error("the remote peer sent a malformed candidate")]
    Candidate,
    /// The stream ended before both descriptions were there.
    #[error("the remote peer ended signalling too early")]
    Ended,
    /// Both ends named addresses, and no two of them met.
    #[error("no direct path was found")]
    NoPath,
    /// The backend gave up before both descriptions and an address of the other end were there.
    #[error("the connection failed before both ends had said where they are")]
    Failed,
    /// It took too long.
    #[error("no connection within {} s", SIGNALING_TIMEOUT.as_secs())]
    TimedOut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The backend makes the own description.
    Describing,
    AwaitingOffer,
    AwaitingAnswer,
    /// Both descriptions are there.
    Trading,
    ClosingInit,
    Done,
}

/// The state of one attempt.
#[derive(Debug)]
pub struct Signalling {
    role: Role,
    stage: Stage,
    outputs: VecDeque<Output>,
    candidates: usize,
    named: Named,
    deadline_ms: u64,
}

impl Signalling {
    /// Begins an attempt; `now_ms` is any monotonic time.
    #[must_use]
    pub fn new(role: Role, now_ms: u64) -> Self {
        let deadline_ms = now_ms.saturating_add(SIGNALING_TIMEOUT.as_millis() as u64);
        let (stage, outputs) = match role {
            Role::Initiator => (Stage::Describing, VecDeque::from([Output::CreateOffer])),
            Role::Responder => (Stage::AwaitingOffer, VecDeque::new()),
        };
        Self { role, stage, outputs, candidates: 0, named: Named::default(), deadline_ms }
    }

    /// What to do next; `None` until there is more input.
    pub fn next_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes a report in.
    ///
    /// # Errors
    /// [`SignalError`]: the attempt is over.
    pub fn handle(&mut self, input: Input) -> Result<(), SignalError> {
        match input {
            Input::Description(sdp) => self.on_description(sdp),
            Input::LocalCandidate(json) => {
                // Nothing is sent before the own description was, nor once it is of no use.
                if self.is_described() && self.stage != Stage::Done && self.stage != Stage::ClosingInit {
                    self.outputs.push_back(Output::Send(Message::Candidate(json)));
                }
            }
            Input::Message(message) => self.on_message(message)?,
            Input::StreamEnded => {
                if !matches!(self.stage, Stage::Trading | Stage::ClosingInit | Stage::Done) {
                    return Err(SignalError::Ended);
                }
            }
            Input::Connected => self.on_connected(),
            Input::Failed => self.on_failed(SignalError::Failed)?,
            Input::InitClosed => {
                if self.stage == Stage::ClosingInit {
                    self.stage = Stage::Done;
                    self.outputs.push_back(Output::Done);
                }
            }
        }
        Ok(())
    }

    /// Only once both descriptions are there, and an address of the other end, does a failure say that there is no path.
    fn on_failed(&self, before: SignalError) -> Result<(), SignalError> {
        match self.stage {
            Stage::Trading if self.named.is_any() => Err(SignalError::NoPath),
            Stage::Done => Ok(()),
            _ => Err(before),
        }
    }

    fn is_described(&self) -> bool {
        matches!(self.stage, Stage::AwaitingAnswer | Stage::Trading)
    }

    fn on_description(&mut self, sdp: String) {
        if self.stage != Stage::Describing {
            return;
        }
        let message = match self.role {
            Role::Initiator => {
                self.stage = Stage::AwaitingAnswer;
                Message::Offer(sdp.clone())
            }
            Role::Responder => {
                self.stage = Stage::Trading;
                Message::Answer(sdp.clone())
            }
        };
        self.outputs.extend([Output::Send(message), Output::SetLocal(sdp)]);
    }

    fn on_message(&mut self, message: Message) -> Result<(), SignalError> {
        match (self.stage, message) {
            (Stage::AwaitingOffer, Message::Offer(offer)) => {
                self.candidates = sdp::check(&offer)?;
                self.stage = Stage::Describing;
                self.outputs.push_back(Output::CreateAnswer { offer: self.named.admitted(&offer) });
            }
            (Stage::AwaitingAnswer, Message::Answer(answer)) => {
                self.candidates = sdp::check(&answer)?;
                self.stage = Stage::Trading;
                self.outputs.push_back(Output::SetRemote(self.named.admitted(&answer)));
            }
            // While the answer is being made, the initiator may trickle already.
            (Stage::Trading | Stage::Describing, Message::Candidate(json)) => self.on_candidate(json)?,
            (Stage::ClosingInit | Stage::Done, Message::Candidate(_)) => {}
            (stage, message) => {
                let what = match message {
                    Message::Offer(_) => "an offer",
                    Message::Answer(_) => "an answer",
                    Message::Candidate(_) => "a candidate",
                };
                let expected = match stage {
                    Stage::AwaitingOffer => "an offer",
                    Stage::AwaitingAnswer => "an answer",
                    Stage::Describing | Stage::Trading | Stage::ClosingInit | Stage::Done => "a candidate",
                };
                return Err(SignalError::Order { what, expected });
            }
        }
        Ok(())
    }

    fn on_candidate(&mut self, json: String) -> Result<(), SignalError> {
        let Some(candidate) = candidate_of(&json)? else { return Ok(()) };
        self.candidates += 1;
        if self.candidates > CANDIDATES_MAX {
            return Err(SdpError::TooManyCandidates.into());
        }
        // One that points nowhere costs only itself: browsers name TCP candidates with port 9 and the like.
        if let Ok(target) = sdp::check_candidate(&candidate)
            && self.named.admits(&target)
        {
            self.outputs.push_back(Output::AddCandidate { json, target });
        }
        Ok(())
    }

    fn on_connected(&mut self) {
        if self.stage != Stage::Trading {
            return;
        }
        match self.role {
            Role::Initiator => {
                self.stage = Stage::ClosingInit;
                self.outputs.push_back(Output::CloseInit);
            }
            // The initiator closes `init` and then the stream; nothing of that has to be waited for here.
            Role::Responder => {
                self.stage = Stage::Done;
                self.outputs.push_back(Output::Done);
            }
        }
    }

    /// When the attempt is over if nothing came of it, ms.
    #[must_use]
    pub fn deadline_ms(&self) -> u64 {
        self.deadline_ms
    }

    /// Ends an attempt that took too long.
    ///
    /// # Errors
    /// [`SignalError::NoPath`] when both descriptions and an address of the other end are there, [`SignalError::TimedOut`] otherwise.
    pub fn handle_timeout(&mut self, now_ms: u64) -> Result<(), SignalError> {
        if now_ms >= self.deadline_ms { self.on_failed(SignalError::TimedOut) } else { Ok(()) }
    }
}

/// The text of the field `candidate` in the JSON of an `RTCIceCandidateInit`; `None` for the end of candidates, which some
/// implementations send as an empty text or `null`.
fn candidate_of(json: &str) -> Result<Option<String>, SignalError> {
    if json.len() > 2 * sdp::CANDIDATE_MAX_BYTES {
        return Err(SignalError::Candidate);
    }
    let value: serde_json::Value = serde_json::from_str(json).map_err(|_| SignalError::Candidate)?;
    match value.get("candidate").map(|candidate| candidate.as_str()) {
        Some(Some("")) => Ok(None),
        Some(Some(candidate)) => Ok(Some(candidate.to_owned())),
        None if value.is_null() => Ok(None),
        _ => Err(SignalError::Candidate),
    }
}

#[cfg(test)]
#[path = "signal_tests.rs"]
mod tests;
