//! Joining: which first-contact addresses to dial, and when to try again. No I/O; time is passed in.

use crate::{limits, platform};
use libp2p::{Multiaddr, PeerId};
use std::time::Duration;

/// Where joining stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JoinState {
    /// Nothing is known that could be dialled, or dials are under way.
    Joining,
    Joined,
    /// Every known address failed; the next attempt comes after this.
    Offline {
        retry_in: Duration,
        reason: String,
    },
}

/// What joining depends on, as it is now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Direct connections.
    pub connected: usize,
    /// There are remembered peers to try too.
    pub has_others: bool,
    /// Monotonic ms.
    pub at_ms: u64,
    /// In 0..=1: spreads retries, so that a restarted bootstrap is not stormed.
    pub jitter: f64,
}

/// Keeps this node connected to at least one first contact.
pub(crate) struct FirstContact {
    addresses: Vec<(PeerId, Multiaddr)>,
    dialling: usize,
    /// Since when somebody is connected, monotonic ms.
    joined_at_ms: Option<u64>,
    backoff: Duration,
    backoff_max: Duration,
    /// Monotonic ms of the next attempt, while offline. It stays while somebody is there for a moment: visitors must not put it off.
    retry_at_ms: Option<u64>,
    last_error: String,
}

/// Which first contacts to try, each with all of its addresses: the first that is named, and some of the others. Lists name the
/// best first; tabs of one page do well to have one relay in common, over which they signal to each other.
pub(super) fn to_try(contacts: Vec<(PeerId, Multiaddr)>, at_once: usize) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let mut by_peer: Vec<(PeerId, Vec<Multiaddr>)> = Vec::new();
    for (peer, address) in contacts {
        match by_peer.iter_mut().find(|(known, _)| *known == peer) {
            Some((_, addresses)) => addresses.push(address),
            None => by_peer.push((peer, vec![address])),
        }
    }
    let others = by_peer.split_off(by_peer.len().min(1));
    by_peer.extend(platform::some_of(others, at_once.saturating_sub(1)));
    by_peer
}

impl FirstContact {
    pub fn new(backoff_max: Duration) -> Self {
        Self {
            addresses: Vec::new(),
            dialling: 0,
            joined_at_ms: None,
            backoff: limits::JOIN_RETRY_MIN,
            backoff_max,
            retry_at_ms: None,
            last_error: String::new(),
        }
    }

    /// Adds addresses, newest first; the oldest fall out over the bound. Returns the new ones.
    pub fn add(&mut self, addresses: Vec<(PeerId, Multiaddr)>) -> Vec<(PeerId, Multiaddr)> {
        let mut fresh = Vec::new();
        for entry in addresses.into_iter().take(limits::BOOTSTRAP_ADDRESSES_MAX) {
            if !self.addresses.contains(&entry) && !fresh.contains(&entry) {
                fresh.push(entry);
            }
        }
        self.addresses.splice(0..0, fresh.iter().cloned());
        self.addresses.truncate(limits::BOOTSTRAP_ADDRESSES_MAX);
        fresh
    }

    pub fn known(&self) -> &[(PeerId, Multiaddr)] {
        &self.addresses
    }

    pub fn is_known(&self, peer: &PeerId) -> bool {
        self.addresses.iter().any(|(known, _)| known == peer)
    }

    pub fn dial_started(&mut self) {
        self.dialling += 1;
        self.retry_at_ms = None;
    }

    /// A dial to a first contact ended.
    pub fn dial_ended(&mut self, error: Option<String>, now: Now) -> Option<JoinState> {
        self.dialling = self.dialling.saturating_sub(1);
        if let Some(error) = error {
            self.last_error = error;
        }
        self.check(now)
    }

    /// Looks at the number of direct connections; returns the state when it is decided.
    pub fn check(&mut self, now: Now) -> Option<JoinState> {
        let Now { connected, has_others, at_ms, jitter } = now;
        if connected > 0 {
            self.joined_at_ms.get_or_insert(at_ms);
            return Some(JoinState::Joined);
        }
        let is_new = self.lost(at_ms);
        if self.dialling > 0 || (self.addresses.is_empty() && !has_others) {
            return Some(JoinState::Joining);
        }
        if let Some(retry_at_ms) = self.retry_at_ms {
            let retry_in = Duration::from_millis(retry_at_ms.saturating_sub(at_ms));
            return is_new.then(|| JoinState::Offline { retry_in, reason: self.last_error.clone() });
        }
        let wait = self.backoff.mul_f64(0.5 + jitter.clamp(0.0, 1.0));
        self.backoff = (self.backoff * 2).min(self.backoff_max);
        self.retry_at_ms = Some(at_ms + wait.as_millis() as u64);
        Some(JoinState::Offline { retry_in: wait, reason: self.last_error.clone() })
    }

    /// Takes note that nobody is connected; whether that is news.
    fn lost(&mut self, now_ms: u64) -> bool {
        let is_worth_it = self.is_worth_retrying_now(now_ms);
        let Some(joined) = self.was_joined_for(now_ms) else { return false };
        self.joined_at_ms = None;
        if is_worth_it {
            self.retry_at_ms = None;
            // What is worth it next time has to last longer, or this node would be turned out as soon as it is.
            let is_long = joined >= self.backoff_max;
            self.backoff = if is_long { limits::JOIN_RETRY_MIN } else { (self.backoff * 2).min(self.backoff_max) };
        }
        true
    }

    /// Nobody is connected any more: whether all who are known are to be tried at once. Who takes this node in and turns it out
    /// again would do so as often as it is asked.
    pub fn is_worth_retrying_now(&self, now_ms: u64) -> bool {
        self.was_joined_for(now_ms).is_none_or(|joined| joined >= limits::JOINED_AFTER.max(self.backoff))
    }

    fn was_joined_for(&self, now_ms: u64) -> Option<Duration> {
        self.joined_at_ms.map(|at| Duration::from_millis(now_ms.saturating_sub(at)))
    }

    /// Whether it is time to dial again.
    pub fn is_due(&self, now_ms: u64) -> bool {
        self.dialling == 0 && self.joined_at_ms.is_none() && self.retry_at_ms.is_some_and(|at| at <= now_ms)
    }

    pub fn retry_now(&mut self) {
        self.backoff = limits::JOIN_RETRY_MIN;
        if self.retry_at_ms.is_some() {
            self.retry_at_ms = Some(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact() -> (PeerId, Multiaddr) {
        (PeerId::random(), "/ip4/127.0.0.1/udp/1/quic-v1".parse().unwrap())
    }

    fn at(connected: usize, at_ms: u64) -> Now {
        Now { connected, has_others: false, at_ms, jitter: 0.5 }
    }

    /// A node that fails in this way waits longer each time, from the least to the most, and tries when the wait is over.
    fn doubles(
        first: &mut FirstContact,
        now: &mut u64,
        fails: impl Fn(&mut FirstContact, &mut u64) -> Option<JoinState>,
    ) {
        let mut wait = || {
            first.dial_started();
            let Some(JoinState::Offline { retry_in, .. }) = fails(first, now) else { panic!("it is offline") };
            assert!(!first.is_due(*now));
            *now += retry_in.as_millis() as u64;
            assert!(first.is_due(*now));
            retry_in
        };
        let waits: Vec<_> = (0..10).map(|_| wait()).collect();
        assert!(waits[0] == limits::JOIN_RETRY_MIN && waits[9] == limits::JOIN_RETRY_MAX);
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
    }

    #[test]
    fn who_came_to_be_remembered_since_the_start_is_somebody_to_try() {
        let mut first = FirstContact::new(limits::JOIN_RETRY_MAX);
        assert_eq!(first.check(at(0, 0)), Some(JoinState::Joining), "nothing is known that could be dialled");
        assert_eq!(first.check(at(1, 1)), Some(JoinState::Joined));
        let lost = first.check(Now { has_others: true, ..at(0, 2) });
        assert!(matches!(lost, Some(JoinState::Offline { .. })) && first.is_due(u64::MAX));
    }

    #[test]
    fn backs_off_with_jitter_and_a_bound_then_starts_over_once_joined() {
        let mut first = FirstContact::new(limits::JOIN_RETRY_MAX);
        first.add(vec![contact()]);
        let mut now = 0;
        doubles(&mut first, &mut now, |first, now| first.dial_ended(Some("refused".into()), at(0, *now)));
        assert_eq!(first.last_error, "refused");
        first.dial_started();
        assert_eq!(first.dial_ended(None, at(1, now)), Some(JoinState::Joined));
        now += limits::JOIN_RETRY_MAX.as_millis() as u64;
        assert!(first.is_worth_retrying_now(now));
        first.dial_started();
        let again = first.dial_ended(Some("gone".into()), at(0, now));
        assert!(matches!(again, Some(JoinState::Offline { retry_in, .. }) if retry_in == limits::JOIN_RETRY_MIN));
    }

    #[test]
    fn who_lets_this_node_in_and_turns_it_out_again_is_asked_less_and_less_often() {
        let mut first = FirstContact::new(limits::JOIN_RETRY_MAX);
        first.add(vec![contact()]);
        doubles(&mut first, &mut 0, |first, now| {
            assert_eq!(first.dial_ended(None, at(1, *now)), Some(JoinState::Joined));
            *now += 5;
            assert!(!first.is_worth_retrying_now(*now));
            first.check(at(0, *now))
        });
    }

    #[test]
    fn who_stays_a_little_longer_than_it_must_has_to_stay_longer_each_time() {
        let mut first = FirstContact::new(limits::TAB_JOIN_RETRY_MAX);
        first.add(vec![contact()]);
        let (mut now, mut dials) = (0, 0);
        while now < 3_600_000 {
            dials += 1;
            first.dial_started();
            assert_eq!(first.check(at(0, now)), Some(JoinState::Joining));
            first.dial_ended(None, at(1, now));
            now += limits::JOINED_AFTER.as_millis() as u64 + 1;
            if !first.is_worth_retrying_now(now) {
                let Some(JoinState::Offline { retry_in, .. }) = first.check(at(0, now)) else {
                    panic!("nobody is there")
                };
                now += retry_in.as_millis() as u64;
            }
        }
        assert!(dials < 20, "{dials} in an hour");
    }

    #[test]
    fn visitors_do_not_put_off_the_next_try() {
        let mut first = FirstContact::new(limits::JOIN_RETRY_MAX);
        first.add(vec![contact()]);
        first.dial_started();
        let Some(JoinState::Offline { retry_in, .. }) = first.dial_ended(Some("refused".into()), at(0, 0)) else {
            panic!("nobody is there")
        };
        let due_ms = retry_in.as_millis() as u64;
        for now in (0..due_ms).step_by(100) {
            assert_eq!(first.check(at(1, now)), Some(JoinState::Joined));
            assert!(!first.is_due(u64::MAX), "somebody is there");
            let left = Duration::from_millis(due_ms - now - 1);
            let offline = first.check(at(0, now + 1));
            assert!(matches!(offline, Some(JoinState::Offline { retry_in, .. }) if retry_in == left), "{offline:?}");
            assert_eq!(first.check(at(0, now + 1)), None, "that is no news");
        }
        assert!(first.is_due(due_ms));
    }

    #[test]
    fn the_first_that_is_named_and_a_few_others_are_tried() {
        let contacts: Vec<_> = (0..9).map(|_| contact()).collect();
        let twice: Vec<_> = contacts.iter().flat_map(|one| [one.clone(), (one.0, Multiaddr::empty())]).collect();
        let at_once = limits::TAB_FIRST_CONTACTS_AT_ONCE;
        let tried = to_try(twice.clone(), at_once);
        assert_eq!((tried.len(), tried[0].0), (at_once, contacts[0].0));
        assert!(tried.iter().all(|(_, addresses)| addresses.len() == 2));
        assert_eq!(to_try(twice, 64).len(), 9);
        assert!(to_try(Vec::new(), at_once).is_empty());
    }

    #[test]
    fn addresses_are_bounded_and_newest_first() {
        let mut first = FirstContact::new(limits::JOIN_RETRY_MAX);
        for _ in 0..limits::BOOTSTRAP_ADDRESSES_MAX + 10 {
            first.add(vec![contact()]);
        }
        assert_eq!(first.known().len(), limits::BOOTSTRAP_ADDRESSES_MAX);
        let newest = contact();
        assert_eq!(first.add(vec![newest.clone(), newest.clone()]).len(), 1);
        assert_eq!(first.known()[0], newest);
    }
}
