//! Which of a connection's datagrams str0m is given.
//!
//! Until DTLS is done anybody who can send to this socket may have sent one: a stranger's is not let through. Nor is what the
//! libraries below panic over, whoever sent it: a MESSAGE-INTEGRITY that comes first is taken for none (is 0.11), and a record
//! that is encrypted before it can be read must not come twice (dimpl 0.7). Who stands on the way can end a handshake all the same.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Addresses of the other end that are known: its candidates, and how they look from outside. ICE keeps a way for each, and
/// walks them all.
const SOURCES_MAX: usize = 64;
/// Encrypted records that are let through before DTLS is done: the other end's last flight, and its first words. dimpl ends a
/// handshake in which 30 datagrams wait to be read.
const EARLY_RECORDS_MAX: usize = 16;
/// STUN's header; attributes follow (RFC 8489 §5).
const STUN_HEADER_BYTES: usize = 20;
/// The type of a STUN attribute (RFC 8489 §18.3).
const MESSAGE_INTEGRITY: [u8; 2] = [0, 8];
/// Type, version, epoch, sequence number and length (RFC 6347 §4.1).
const RECORD_HEADER_BYTES: usize = 13;

/// A DTLS record's epoch and sequence number.
type RecordNumber = [u8; 8];

/// Lets datagrams through, or not.
#[derive(Default)]
pub(super) struct Filter {
    is_proven: Arc<AtomicBool>,
    /// Where the other end was heard from.
    known: HashSet<SocketAddr>,
    /// Encrypted records that came before DTLS was done.
    early: HashSet<RecordNumber>,
}

impl Filter {
    /// Has it known elsewhere when ICE and DTLS are done.
    pub fn tell_when_proven(&mut self, is_proven: Arc<AtomicBool>) {
        self.is_proven = is_proven;
    }

    /// ICE and DTLS are done: strangers' datagrams are none of this connection's from now on, and it can tell.
    pub fn set_proven(&mut self) {
        self.is_proven.store(true, Ordering::Relaxed);
        self.early = HashSet::new();
    }

    pub fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    /// Whether this datagram is let through. `is_signed`: of STUN, whether its sender knows the password.
    pub fn lets_through(&mut self, bytes: &[u8], source: SocketAddr, is_signed: impl FnOnce() -> bool) -> bool {
        match bytes.first() {
            Some(0..4) => {
                let first = bytes.get(STUN_HEADER_BYTES..STUN_HEADER_BYTES + MESSAGE_INTEGRITY.len());
                first != Some(&MESSAGE_INTEGRITY) && is_signed() && self.learn(source)
            }
            Some(20..64) if self.is_proven() => true,
            Some(20..64) => self.known.contains(&source) && !self.has_come_before(bytes),
            // Media and TURN (RFC 7983): there are none here.
            _ => false,
        }
    }

    /// Whether that was known or there is room for it.
    fn learn(&mut self, source: SocketAddr) -> bool {
        self.known.contains(&source) || (self.known.len() < SOURCES_MAX && self.known.insert(source))
    }

    /// Whether an encrypted record in here came before.
    fn has_come_before(&mut self, mut datagram: &[u8]) -> bool {
        while let Some((header, rest)) = datagram.split_first_chunk::<RECORD_HEADER_BYTES>() {
            let [_, _, _, number @ .., high, low] = *header;
            let is_encrypted = !number.starts_with(&[0, 0]);
            if is_encrypted && (self.early.len() >= EARLY_RECORDS_MAX || !self.early.insert(number)) {
                return true;
            }
            datagram = rest.get(usize::from(u16::from_be_bytes([high, low]))..).unwrap_or_default();
        }
        false
    }
}

/// Whether a datagram is STUN's, as far as its first byte tells (RFC 7983).
pub(super) fn is_stun(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first < 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// Signed STUN, but for what is in it.
    fn stun(attribute: [u8; 2]) -> Vec<u8> {
        [vec![1, 1, 0, 24], vec![0; 16], attribute.to_vec(), vec![0, 20], vec![0; 20]].concat()
    }

    fn record(epoch: u8, sequence: u8) -> Vec<u8> {
        vec![23, 254, 253, 0, epoch, 0, 0, 0, 0, 0, sequence, 0, 1, 7]
    }

    /// One that knows where the other end is.
    fn filter() -> Filter {
        let mut filter = Filter::default();
        assert!(filter.lets_through(&stun([0, 6]), source(1), || true));
        filter
    }

    #[test]
    fn only_who_knows_the_password_is_heard_before_dtls_is_done() {
        let mut filter = filter();
        assert!(!filter.lets_through(&stun([0, 6]), source(2), || false));
        assert!(filter.lets_through(&record(0, 1), source(1), || panic!("it is no STUN")));
        assert!(!filter.lets_through(&record(0, 1), source(2), || true));
        filter.set_proven();
        assert!(filter.lets_through(&record(1, 1), source(2), || true), "its key tells whose it is");
    }

    #[test]
    fn an_integrity_that_comes_first_is_let_through_from_nobody() {
        let mut filter = filter();
        assert!(!filter.lets_through(&stun(MESSAGE_INTEGRITY), source(1), || true));
        filter.set_proven();
        assert!(!filter.lets_through(&stun(MESSAGE_INTEGRITY), source(1), || true));
    }

    #[test]
    fn an_encrypted_record_comes_once_wherever_it_is_and_a_readable_one_as_often_as_it_likes() {
        let mut filter = filter();
        let mut lets_through = |bytes: Vec<u8>| filter.lets_through(&bytes, source(1), || true);
        assert!(lets_through(record(0, 1)) && lets_through(record(0, 1)));
        assert!(lets_through(record(1, 1)) && !lets_through(record(1, 1)));
        assert!(lets_through(record(1, 2)) && lets_through(record(2, 1)));
        assert!(!lets_through([record(0, 2), record(1, 1)].concat()));
        assert!(!lets_through([record(1, 3), record(1, 3)].concat()));
        // One that says to be longer than it is, and one that is cut off.
        assert!(lets_through(record(0, 3)[..13].to_vec()) && lets_through(record(1, 1)[..12].to_vec()));
    }

    #[test]
    fn what_is_remembered_has_its_bounds() {
        let mut filter = filter();
        for number in 0..200 {
            filter.lets_through(&stun([0, 6]), source(number), || true);
            filter.lets_through(&record(1, number as u8), source(1), || true);
        }
        assert_eq!((filter.known.len(), filter.early.len()), (SOURCES_MAX, EARLY_RECORDS_MAX));
        assert!(filter.lets_through(&stun([0, 6]), source(1), || true), "who is known stays so");
        filter.set_proven();
        assert!(filter.early.is_empty() && filter.lets_through(&record(1, 1), source(1), || true));
    }

    #[test]
    fn nothing_else_is_let_through() {
        let mut filter = filter();
        filter.set_proven();
        for first in (4..20).chain(64..=255) {
            assert!(!filter.lets_through(&[first, 0, 0, 1], source(1), || true), "{first}");
        }
        assert!(!filter.lets_through(&[], source(1), || true));
    }
}
