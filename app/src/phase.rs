//! The node's state in one word and one sentence, from its status and the state of first contact.

use crate::format::{count, countdown, duration};
use meganet_node::api::{NoDirectPath, Phase, Status};
use meganet_web_node::state::{Contact, ContactProblem, ListSource, Seat};

/// What the interface tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Starting,
    Joining,
    Joined,
    Offline,
    Stopped,
}

impl Shown {
    /// From everything that is known.
    pub fn of(seat: &Seat, status: Option<&Status>, contact: &Contact) -> Self {
        let phase = match (seat, status) {
            (Seat::Failed { .. }, _) => return Shown::Stopped,
            (_, None) => return Shown::Starting,
            (_, Some(status)) => &status.phase,
        };
        match phase {
            Phase::Starting => Shown::Starting,
            Phase::Joined => Shown::Joined,
            Phase::Stopped => Shown::Stopped,
            Phase::Offline { .. } => Shown::Offline,
            Phase::Joining if is_stuck(contact) => Shown::Offline,
            Phase::Joining => Shown::Joining,
        }
    }

    /// The value of `data-phase`.
    pub fn name(self) -> &'static str {
        match self {
            Shown::Starting => "starting",
            Shown::Joining => "joining",
            Shown::Joined => "joined",
            Shown::Offline => "offline",
            Shown::Stopped => "stopped",
        }
    }

    /// One or two words, for the chip.
    pub fn label(self) -> &'static str {
        match self {
            Shown::Starting => "Starting",
            Shown::Joining => "Joining",
            Shown::Joined => "Joined",
            Shown::Offline => "Offline",
            Shown::Stopped => "Stopped",
        }
    }
}

/// Attempts after which joining is called offline, with and without a list of peers from the page's server. They are
/// about 2 s and 5 s of trying; a dial to an address where nobody is takes the node longer than that to give up.
const STUCK_ATTEMPTS_NO_LIST: u32 = 3;
const STUCK_ATTEMPTS: u32 = 4;

/// Whether joining goes on in name only.
fn is_stuck(contact: &Contact) -> bool {
    match contact.problem {
        // Nobody to dial: the node waits for addresses that are not coming by themselves.
        Some(_) => contact.addresses == 0 || contact.attempts >= STUCK_ATTEMPTS_NO_LIST,
        None => contact.attempts >= STUCK_ATTEMPTS,
    }
}

/// The state in a sentence: what is, or what is being waited for. `waited_ms` is how much of the wait is over.
pub fn sentence(seat: &Seat, status: Option<&Status>, contact: &Contact, waited_ms: u64) -> String {
    match Shown::of(seat, status, contact) {
        Shown::Starting if *seat == Seat::OtherTab => "Asking the tab that runs the node.".into(),
        Shown::Starting => "Opening keys and storage.".into(),
        Shown::Joining if contact.addresses > 0 => {
            format!("Connecting: {} tried.", count(contact.addresses.into(), "address is", "addresses are"))
        }
        Shown::Joining => "Asking this page's server for peers.".into(),
        Shown::Joined => joined(status),
        Shown::Offline => offline(contact, waited_ms),
        Shown::Stopped => match seat {
            Seat::Failed { reason } => format!("The node does not run: {}.", crate::format::plain(reason, 200)),
            _ => "The node has stopped.".into(),
        },
    }
}

/// Why the node is offline, in two or three words for the chip.
pub fn short_reason(contact: &Contact) -> &'static str {
    match &contact.problem {
        Some(ContactProblem::Malformed { .. }) => "list of peers malformed",
        Some(ContactProblem::Expired) => "list of peers expired",
        Some(ContactProblem::TooLarge { .. }) => "list of peers too large",
        Some(ContactProblem::Empty) => "list of peers empty",
        Some(ContactProblem::Status { .. }) => "no list of peers",
        Some(ContactProblem::Unreachable { .. } | ContactProblem::TimedOut { .. }) => "server away",
        None => "no peer answers",
    }
}

fn joined(status: Option<&Status>) -> String {
    let peers = status.map_or(0, |status| status.peers.len() as u64);
    let through = count(peers, "peer", "peers");
    let way = if status.is_some_and(is_over_websocket_only) {
        " Over WebSocket only: UDP seems to be blocked here, and other tabs are out of reach."
    } else {
        ""
    };
    let detour = status.map_or_else(String::new, |status| detour(&status.no_direct_path));
    match status.and_then(|status| status.joined_ms) {
        Some(after) => format!("Joined after {}. Connected to {through}.{way}{detour}", duration(after)),
        None => format!("Connected to {through}.{way}{detour}"),
    }
}

/// To whom there is no direct path, and whether their content comes all the same.
fn detour(without: &[NoDirectPath]) -> String {
    if without.is_empty() {
        return String::new();
    }
    let peers = count(without.len() as u64, "peer", "peers");
    match without.iter().find_map(|path| path.relay.as_deref()) {
        Some(relay) => {
            format!(" No direct path to {peers}: content goes over the relay of {}.", crate::format::plain(relay, 60))
        }
        None => format!(" No direct path to {peers}, and no relay is willing to carry content."),
    }
}

/// Whether every direct connection is a WebSocket: the node tries those only where nobody answers over UDP.
fn is_over_websocket_only(status: &Status) -> bool {
    let mut direct = status.peers.iter().filter(|peer| !peer.relayed).peekable();
    let is_websocket = |address: &str| address.split('/').any(|part| part == "ws" || part == "wss");
    direct.peek().is_some() && direct.all(|peer| is_websocket(&peer.address))
}

fn offline(contact: &Contact, waited_ms: u64) -> String {
    let reason = match &contact.problem {
        Some(problem) => format!("Offline: {problem}."),
        None => "Offline: no peer answers.".into(),
    };
    let kept = match contact.source {
        Some(ListSource::Cache) => " Trying the peers known from earlier.",
        _ => "",
    };
    match contact.retry_in_ms.map(|wait| wait.saturating_sub(waited_ms)) {
        Some(left) if left > 0 => format!("{reason}{kept} Next try in {}.", countdown(left)),
        _ => format!("{reason}{kept} Trying now."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_seat_is_stopped_whatever_the_status() {
        let seat = Seat::Failed { reason: "no randomness".into() };
        assert_eq!(Shown::of(&seat, None, &Contact::default()), Shown::Stopped);
        assert!(sentence(&seat, None, &Contact::default(), 0).contains("no randomness"));
    }

    #[test]
    fn before_any_status_the_node_is_starting() {
        assert_eq!(Shown::of(&Seat::Here, None, &Contact::default()), Shown::Starting);
    }

    #[test]
    fn joining_that_leads_nowhere_is_offline() {
        let problem = Some(ContactProblem::Expired);
        let stuck = |problem: &Option<ContactProblem>, addresses, attempts| {
            is_stuck(&Contact { problem: problem.clone(), addresses, attempts, ..Contact::default() })
        };
        assert!(!stuck(&None, 0, 0), "nothing was tried yet");
        assert!(stuck(&problem, 0, 1), "nobody to dial");
        assert!(!stuck(&problem, 3, 2) && stuck(&problem, 3, 3));
        assert!(!stuck(&None, 3, 3) && stuck(&None, 3, 4));
    }

    #[test]
    fn a_missing_path_is_told_with_the_relay_that_helps() {
        let path = |relay: Option<&str>| NoDirectPath { peer_id: "A".into(), relay: relay.map(Into::into) };
        assert_eq!(detour(&[]), "");
        assert!(detour(&[path(None)]).contains("no relay"));
        let text = detour(&[path(None), path(Some("R"))]).replace('\u{a0}', " ");
        assert!(text.contains("No direct path to 2 peers") && text.contains("the relay of R"), "{text}");
    }

    #[test]
    fn offline_counts_down_and_says_why() {
        let contact = Contact {
            problem: Some(ContactProblem::Status { status: 502 }),
            retry_in_ms: Some(8_000),
            source: Some(ListSource::Cache),
            addresses: 2,
            attempts: 1,
        };
        let text = offline(&contact, 2_500).replace('\u{a0}', " ");
        assert!(text.contains("502") && text.contains("Next try in 6 s") && text.contains("from earlier"), "{text}");
        assert!(offline(&contact, 9_000).contains("Trying now"));
    }
}
