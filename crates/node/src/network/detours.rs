//! Content through relays that are willing to carry it, for providers to which there seems to be no direct path. No I/O; time
//! is passed in.
//!
//! A provider that only signalling reaches gets its time to connect directly; then circuits to it are opened through its relays,
//! one relay after the other, those that are known to be willing first. A circuit that ends while content still comes is
//! replaced by another as long as they are of use; after that, and when no relay is left, the next try waits.

use crate::{limits, platform::lock};
use futures::channel::mpsc;
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol, swarm::ConnectionId};
use meganet_transport::signalling::{Way, Ways};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
};

/// Which relays carry content, by the limits that they name for their circuits. Clones share one table.
#[derive(Debug, Clone, Default)]
pub struct Willing(Arc<Mutex<HashMap<PeerId, bool>>>);

impl Willing {
    /// A relay has named its limit, in bytes; none, or 0, is without one.
    pub fn learn(&self, relay: PeerId, limit_bytes: Option<u64>) {
        let carries = limit_bytes.is_none_or(|limit| limit == 0 || limit >= limits::CONTENT_CIRCUIT_MIN_BYTES);
        let mut relays = lock(&self.0);
        if relays.len() < limits::CONTENT_RELAYS_MAX || relays.contains_key(&relay) {
            relays.insert(relay, carries);
        }
    }

    /// A relay is not connected any more: when it is again, it may be of another mind.
    pub fn forget(&self, relay: &PeerId) {
        lock(&self.0).remove(relay);
    }

    /// `None`: it has not said.
    pub fn is_willing(&self, relay: &PeerId) -> Option<bool> {
        lock(&self.0).get(relay).copied()
    }
}

impl Ways for Willing {
    fn has(&self, way: Way, relay: Option<PeerId>) -> bool {
        way == Way::Relayed && relay.is_some_and(|relay| self.is_willing(&relay) == Some(true))
    }
}

/// A provider that a circuit is to be opened to.
#[derive(Default)]
struct Detour {
    /// Monotonic ms; `None`: nobody waits for it.
    due_ms: Option<u64>,
    /// No try before this.
    not_before_ms: u64,
    tried: HashSet<PeerId>,
    dialling: Option<(ConnectionId, PeerId)>,
    failures: u32,
    /// Held while there is hope: their end tells the searchers that nobody is missing any more.
    searchers: Vec<mpsc::Sender<PeerId>>,
}

/// A circuit that carries content.
struct Circuit {
    peer: PeerId,
    /// What had come from the peer through relays when it was opened.
    received_before: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Detours {
    wanted: HashMap<PeerId, Detour>,
    circuits: HashMap<ConnectionId, Circuit>,
    /// All circuits, for signalling and for content: whose, and since when (monotonic ms).
    open: HashMap<ConnectionId, (PeerId, u64)>,
    /// Peers to which no direct path was found, and when (monotonic ms).
    told: HashMap<PeerId, u64>,
}

impl Detours {
    /// A provider is wanted; after `due_ms` through a relay, unless it is connected by then.
    pub fn want(&mut self, peer: PeerId, due_ms: u64, searchers: Vec<mpsc::Sender<PeerId>>) {
        if self.carries(&peer) {
            return;
        }
        if !self.wanted.contains_key(&peer) && self.wanted.len() >= limits::DETOURS_MAX {
            let idle = self.wanted.iter().find(|(_, detour)| detour.due_ms.is_none() && detour.dialling.is_none());
            let Some(idle) = idle.map(|(peer, _)| *peer) else { return };
            self.wanted.remove(&idle);
        }
        let detour = self.wanted.entry(peer).or_default();
        if detour.dialling.is_none() {
            // A search does not wait for a try that is put off: for a provider that is gone it would go on for minutes.
            detour.searchers = if detour.not_before_ms > due_ms { Vec::new() } else { searchers };
            let due_ms = due_ms.max(detour.not_before_ms);
            detour.due_ms = Some(detour.due_ms.map_or(due_ms, |earlier| earlier.min(due_ms)));
        }
    }

    /// Signalling ended without a connection.
    pub fn no_direct_path(&mut self, peer: PeerId, now_ms: u64) {
        if self.told.len() >= limits::DETOURS_MAX
            && let Some(oldest) = self.told.iter().min_by_key(|(_, at)| **at).map(|(peer, _)| *peer)
        {
            self.told.remove(&oldest);
        }
        self.told.insert(peer, now_ms);
        if let Some(detour) = self.wanted.get_mut(&peer).filter(|detour| detour.due_ms.is_some()) {
            detour.due_ms = Some(now_ms.max(detour.not_before_ms));
        }
    }

    /// A direct connection is there.
    pub fn connected(&mut self, peer: &PeerId) {
        self.told.remove(peer);
        // A circuit that is being opened is still to be known for what it is when it comes.
        let is_dialling = |detour: &mut Detour| {
            (detour.due_ms, detour.searchers) = (None, Vec::new());
            detour.dialling.is_some()
        };
        if !self.wanted.get_mut(peer).is_some_and(is_dialling) {
            self.wanted.remove(peer);
        }
    }

    /// Whether it is known, from a short while ago, that there is no direct path.
    pub fn is_told(&self, peer: &PeerId, now_ms: u64) -> bool {
        let memory_ms = limits::NO_PATH_MEMORY.as_millis() as u64;
        self.told.get(peer).is_some_and(|at| now_ms.saturating_sub(*at) < memory_ms)
    }

    pub fn is_wanted(&self, peer: &PeerId) -> bool {
        self.wanted.contains_key(peer)
    }

    /// Whether a circuit carries content from this peer.
    pub fn carries(&self, peer: &PeerId) -> bool {
        self.circuits.values().any(|circuit| circuit.peer == *peer)
    }

    /// Providers whose time has come.
    pub fn due(&self, now_ms: u64) -> Vec<PeerId> {
        let is_due = |detour: &Detour| detour.due_ms.is_some_and(|due| due <= now_ms);
        self.wanted.iter().filter(|(_, detour)| is_due(detour)).map(|(peer, _)| *peer).collect()
    }

    /// The next of a provider's relays (addresses that end in `/p2p/RELAY`) to try. `None`: none is left, and the next try waits.
    pub fn next_relay(
        &mut self,
        peer: &PeerId,
        relays: &[Multiaddr],
        willing: &Willing,
        now_ms: u64,
    ) -> Option<(PeerId, Multiaddr)> {
        let detour = self.wanted.get_mut(peer)?;
        let named = relays.iter().filter_map(|address| match address.iter().last()? {
            Protocol::P2p(relay) => Some((relay, address)),
            _ => None,
        });
        let left = named.filter(|(relay, _)| !detour.tried.contains(relay) && willing.is_willing(relay) != Some(false));
        // `None` is less than any answer.
        let best = left.max_by_key(|(relay, _)| willing.is_willing(relay));
        if best.is_none() {
            detour.fail(now_ms);
        }
        best.map(|(relay, address)| (relay, address.clone()))
    }

    /// A circuit is being opened.
    pub fn dialling(&mut self, peer: &PeerId, relay: PeerId, id: ConnectionId) {
        if let Some(detour) = self.wanted.get_mut(peer) {
            detour.due_ms = None;
            detour.dialling = Some((id, relay));
        }
    }

    pub fn is_dialling(&self, id: ConnectionId) -> bool {
        self.wanted.values().any(|detour| detour.dialling.is_some_and(|(dialled, _)| dialled == id))
    }

    /// A circuit that was being opened is there, but of no use, or it will not be: the next relay's turn. Returns whether it was
    /// opened for content, so that nobody else has a use for it.
    pub fn useless(&mut self, id: ConnectionId, now_ms: u64) -> bool {
        let detour = self.wanted.values_mut().find(|detour| detour.dialling.is_some_and(|(dialled, _)| dialled == id));
        let Some(detour) = detour else { return false };
        let Some((_, relay)) = detour.dialling.take() else { return false };
        detour.tried.insert(relay);
        detour.due_ms = Some(now_ms);
        true
    }

    /// Anybody's circuit is there.
    pub fn opened(&mut self, id: ConnectionId, peer: PeerId, now_ms: u64) {
        self.open.insert(id, (peer, now_ms));
    }

    /// Circuits over which nothing goes, and to whom; `used` is when something last went between a peer and this node.
    pub fn idle(&self, used: &HashMap<PeerId, u64>, now_ms: u64) -> Vec<(ConnectionId, PeerId)> {
        let after_ms = limits::CIRCUIT_IDLE_AFTER.as_millis() as u64;
        let others = self.open.iter().filter(|(id, _)| !self.circuits.contains_key(id));
        let is_idle = |peer: &PeerId, since_ms: u64| {
            let last_ms = used.get(peer).map_or(since_ms, |used| since_ms.max(*used));
            now_ms.saturating_sub(last_ms) >= after_ms
        };
        others.filter(|(_, (peer, since))| is_idle(peer, *since)).map(|(id, (peer, _))| (*id, *peer)).collect()
    }

    /// A circuit carries content from now on.
    pub fn carry(&mut self, peer: PeerId, id: ConnectionId, received_before: u64) {
        if let Some(detour) = self.wanted.get_mut(&peer) {
            (detour.due_ms, detour.dialling, detour.searchers) = (None, None, Vec::new());
            detour.tried.clear();
        }
        self.circuits.insert(id, Circuit { peer, received_before });
    }

    /// A circuit is closed, when so much had come from the peer through relays. `is_in_use`: more was to come. Returns whether
    /// it carried content.
    pub fn closed(&mut self, id: ConnectionId, received: u64, is_in_use: bool, now_ms: u64) -> bool {
        self.open.remove(&id);
        let Some(circuit) = self.circuits.remove(&id) else { return false };
        if is_in_use && let Some(detour) = self.wanted.get_mut(&circuit.peer) {
            if received.saturating_sub(circuit.received_before) >= limits::CONTENT_CIRCUIT_WORTH_BYTES {
                detour.failures = 0;
                detour.due_ms = Some(now_ms);
            } else {
                detour.fail(now_ms);
                detour.due_ms = Some(detour.not_before_ms);
            }
        }
        true
    }

    /// The circuits that carry content: connection and peer.
    pub fn circuits(&self) -> impl Iterator<Item = (ConnectionId, PeerId)> {
        self.circuits.iter().map(|(id, circuit)| (*id, circuit.peer))
    }

    /// Peers without a direct path, as far as is known.
    pub fn told(&self, now_ms: u64) -> Vec<PeerId> {
        self.told.keys().filter(|peer| self.is_told(peer, now_ms)).copied().collect()
    }
}

impl Detour {
    fn fail(&mut self, now_ms: u64) {
        let (min, max) = (limits::DETOUR_RETRY_MIN.as_millis() as u64, limits::DETOUR_RETRY_MAX.as_millis() as u64);
        let wait_ms = min.saturating_mul(1 << self.failures.min(16)).min(max);
        self.failures = self.failures.saturating_add(1);
        self.not_before_ms = now_ms.saturating_add(wait_ms);
        self.tried.clear();
        (self.due_ms, self.dialling, self.searchers) = (None, None, Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relays(count: usize) -> Vec<(PeerId, Multiaddr)> {
        let relay = |peer: PeerId| (peer, format!("/ip4/192.0.2.1/tcp/1/p2p/{peer}").parse().unwrap());
        (0..count).map(|_| relay(PeerId::random())).collect()
    }

    fn id(number: usize) -> ConnectionId {
        ConnectionId::new_unchecked(number)
    }

    #[test]
    fn willing_relays_come_first_and_unwilling_ones_never() {
        let (mut detours, willing, peer) = (Detours::default(), Willing::default(), PeerId::random());
        let [no, unknown, yes] = relays(3).try_into().unwrap();
        willing.learn(no.0, Some(limits::CIRCUIT_MAX_BYTES));
        willing.learn(yes.0, Some(limits::CONTENT_CIRCUIT_BYTES));
        let addresses = [no.1.clone(), unknown.1.clone(), yes.1.clone()];
        detours.want(peer, 10, Vec::new());
        assert!(detours.due(9).is_empty());
        assert_eq!(detours.due(10), [peer]);
        assert_eq!(detours.next_relay(&peer, &addresses, &willing, 10), Some(yes.clone()));
        detours.dialling(&peer, yes.0, id(1));
        assert!(detours.due(1_000).is_empty(), "one at a time");
        assert!(detours.useless(id(1), 20), "its circuit is closed");
        assert!(!detours.useless(id(1), 20) && !detours.useless(id(9), 20), "nor are those of others");
        assert_eq!(detours.due(20), [peer]);
        assert_eq!(detours.next_relay(&peer, &addresses, &willing, 20), Some(unknown.clone()));
        detours.dialling(&peer, unknown.0, id(2));
        detours.useless(id(2), 30);
        assert_eq!(detours.next_relay(&peer, &addresses, &willing, 30), None);
    }

    #[test]
    fn without_a_relay_the_next_try_waits_longer_and_longer() {
        let (mut detours, willing, peer) = (Detours::default(), Willing::default(), PeerId::random());
        let min_ms = limits::DETOUR_RETRY_MIN.as_millis() as u64;
        let mut now_ms = 0;
        for failure in 0..20 {
            detours.want(peer, now_ms, Vec::new());
            assert_eq!(detours.due(now_ms), [peer]);
            assert_eq!(detours.next_relay(&peer, &[], &willing, now_ms), None);
            let (searcher, mut found) = mpsc::channel(1);
            detours.want(peer, now_ms, vec![searcher]);
            assert!(matches!(found.try_recv(), Err(mpsc::TryRecvError::Closed)), "no search waits for it");
            let wait_ms = (min_ms << failure).min(limits::DETOUR_RETRY_MAX.as_millis() as u64);
            assert!(detours.due(now_ms + wait_ms - 1).is_empty() && detours.due(now_ms + wait_ms) == [peer]);
            now_ms += wait_ms;
        }
    }

    #[test]
    fn case_38_a_circuit_that_was_of_use_is_replaced_at_once_and_one_that_was_not_later() {
        let (mut detours, peer) = (Detours::default(), PeerId::random());
        detours.want(peer, 0, Vec::new());
        detours.carry(peer, id(1), 0);
        assert!(detours.carries(&peer) && detours.due(u64::MAX).is_empty());
        assert!(detours.closed(id(1), limits::CONTENT_CIRCUIT_WORTH_BYTES, true, 5));
        assert_eq!(detours.due(5), [peer]);
        let before = limits::CONTENT_CIRCUIT_WORTH_BYTES;
        detours.carry(peer, id(2), before);
        detours.closed(id(2), before + limits::CONTENT_CIRCUIT_WORTH_BYTES - 1, true, 6);
        assert!(detours.due(6).is_empty() && detours.due(u64::MAX) == [peer]);
        detours.carry(peer, id(3), 0);
        detours.closed(id(3), u64::MAX, false, 7);
        assert!(detours.due(u64::MAX).is_empty(), "nobody waits for more");
        assert!(!detours.closed(id(3), 0, true, 8));
    }

    #[test]
    fn a_circuit_that_is_being_dialled_stays_known_when_a_direct_connection_is_first() {
        let (mut detours, peer) = (Detours::default(), PeerId::random());
        let [relay] = relays(1).try_into().unwrap();
        detours.want(peer, 0, Vec::new());
        detours.dialling(&peer, relay.0, id(1));
        detours.connected(&peer);
        assert!(detours.is_dialling(id(1)) && detours.due(u64::MAX).is_empty());
        assert!(detours.useless(id(1), 5), "its circuit is closed when it comes");
        detours.connected(&peer);
        assert!(!detours.is_wanted(&peer));
    }

    #[test]
    fn circuits_over_which_nothing_goes_are_idle_whoever_opened_them() {
        let (mut detours, one, other) = (Detours::default(), PeerId::random(), PeerId::random());
        let after_ms = limits::CIRCUIT_IDLE_AFTER.as_millis() as u64;
        detours.opened(id(1), one, 0);
        detours.opened(id(2), other, 10);
        detours.carry(other, id(2), 0);
        assert!(detours.idle(&HashMap::new(), after_ms - 1).is_empty());
        assert_eq!(
            detours.idle(&HashMap::new(), u64::MAX),
            [(id(1), one)],
            "another rule ends those that carry content"
        );
        assert!(detours.idle(&HashMap::from([(one, 5)]), after_ms + 4).is_empty());
        assert_eq!(detours.idle(&HashMap::from([(one, 5)]), after_ms + 5), [(id(1), one)]);
        detours.closed(id(1), 0, false, after_ms);
        assert!(detours.idle(&HashMap::new(), u64::MAX).is_empty());
    }

    #[test]
    fn tables_are_bounded_and_a_direct_connection_ends_it_all() {
        let (mut detours, willing) = (Detours::default(), Willing::default());
        for _ in 0..2 * limits::DETOURS_MAX {
            let peer = PeerId::random();
            detours.want(peer, 0, Vec::new());
            detours.no_direct_path(peer, 1);
        }
        assert_eq!((detours.wanted.len(), detours.told.len()), (limits::DETOURS_MAX, limits::DETOURS_MAX));
        for _ in 0..2 * limits::CONTENT_RELAYS_MAX {
            willing.learn(PeerId::random(), None);
        }
        assert_eq!(lock(&willing.0).len(), limits::CONTENT_RELAYS_MAX);
        let told = detours.told(2);
        for peer in &told {
            detours.connected(peer);
        }
        assert!(detours.told(2).is_empty() && detours.wanted.len() <= limits::DETOURS_MAX);
        detours.no_direct_path(told[0], 1);
        assert!(detours.is_told(&told[0], 2) && !detours.is_told(&told[0], u64::MAX));
    }
}
