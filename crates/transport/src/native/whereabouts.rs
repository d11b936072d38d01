//! At which host the other end of a `/webrtc` connection is.
//!
//! Where something came from can be forged, and whoever signals can have ICE turn to an address that is not its own. What cannot be
//! forged is the answer to a check that was sent there: its number is random, and nobody else sees it.

use super::filter::is_stun;
use std::{
    collections::{HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
};

/// Checks whose answers are waited for; the oldest is forgotten.
const ASKED_MAX: usize = 128;
/// Hosts that answered, and hosts that DTLS went to; further ones are not noted.
const HOSTS_MAX: usize = 16;
/// A Binding request and a success response (RFC 8489 §5).
const REQUEST: [u8; 2] = [0, 1];
const SUCCESS: [u8; 2] = [1, 1];

/// A transaction's number.
type Transaction = [u8; 12];

#[derive(Default)]
pub(super) struct Whereabouts {
    asked: VecDeque<(Transaction, SocketAddr)>,
    answered: HashSet<IpAddr>,
    /// Where DTLS went, the last one last.
    went: Vec<IpAddr>,
}

impl Whereabouts {
    /// This goes there.
    pub fn on_sent(&mut self, bytes: &[u8], to: SocketAddr) {
        if let Some(asked) = transaction(bytes, REQUEST) {
            if self.asked.len() >= ASKED_MAX {
                self.asked.pop_front();
            }
            self.asked.push_back((asked, to));
        } else if !is_stun(bytes) && self.went.last() != Some(&to.ip()) {
            self.went.retain(|host| *host != to.ip());
            if self.went.len() < HOSTS_MAX {
                self.went.push(to.ip());
            }
        }
    }

    /// This was let through, and came from there or says so.
    pub fn on_received(&mut self, bytes: &[u8], from: SocketAddr) {
        if let Some(answer) = transaction(bytes, SUCCESS)
            && self.asked.contains(&(answer, from))
            && self.answered.len() < HOSTS_MAX
        {
            self.answered.insert(from.ip());
        }
    }

    /// The last host that DTLS went to and that answered a check.
    pub fn host(&self) -> Option<IpAddr> {
        self.went.iter().rev().find(|host| self.answered.contains(host)).copied()
    }
}

/// The number of a STUN message of this type.
fn transaction(bytes: &[u8], of_type: [u8; 2]) -> Option<Transaction> {
    let is_it = bytes.starts_with(&of_type);
    bytes.get(8..20).filter(|_| is_it).and_then(|number| number.try_into().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DTLS: [u8; 13] = [22; 13];

    fn at(host: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, host], 1))
    }

    fn stun(of_type: [u8; 2], number: u8) -> Vec<u8> {
        [of_type.to_vec(), vec![0; 6], vec![number; 12]].concat()
    }

    /// Checks this host, which answers.
    fn check(whereabouts: &mut Whereabouts, host: u8) {
        whereabouts.on_sent(&stun(REQUEST, host), at(host));
        whereabouts.on_received(&stun(SUCCESS, host), at(host));
    }

    #[test]
    fn a_host_that_dtls_was_turned_to_and_that_does_not_answer_is_not_the_other_ends() {
        let mut whereabouts = Whereabouts::default();
        check(&mut whereabouts, 1);
        whereabouts.on_sent(&DTLS, at(1));
        whereabouts.on_sent(&stun(REQUEST, 9), at(9));
        whereabouts.on_sent(&DTLS, at(9));
        assert_eq!(whereabouts.host(), Some(at(1).ip()));
        // In its name: the answer to a check that went elsewhere, or to none.
        whereabouts.on_sent(&stun(REQUEST, 2), at(1));
        whereabouts.on_received(&stun(SUCCESS, 2), at(9));
        whereabouts.on_received(&stun(SUCCESS, 3), at(9));
        assert_eq!(whereabouts.host(), Some(at(1).ip()));
        whereabouts.on_received(&stun(SUCCESS, 9), at(9));
        assert_eq!(whereabouts.host(), Some(at(9).ip()), "it is another of its addresses");
    }

    #[test]
    fn where_dtls_never_went_it_is_not() {
        let mut whereabouts = Whereabouts::default();
        check(&mut whereabouts, 1);
        assert_eq!(whereabouts.host(), None);
        check(&mut whereabouts, 2);
        whereabouts.on_sent(&DTLS, at(2));
        whereabouts.on_sent(&DTLS, at(1));
        whereabouts.on_sent(&DTLS, at(2));
        assert_eq!(whereabouts.host(), Some(at(2).ip()), "the last one");
    }

    #[test]
    fn what_is_noted_has_its_bounds() {
        let mut whereabouts = Whereabouts::default();
        for host in 0..=255 {
            check(&mut whereabouts, host);
            whereabouts.on_sent(&DTLS, at(host));
        }
        let Whereabouts { asked, answered, went } = whereabouts;
        assert_eq!((asked.len(), answered.len(), went.len()), (ASKED_MAX, HOSTS_MAX, HOSTS_MAX));
    }
}
