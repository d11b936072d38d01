//! The planner's state and its decisions.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::peer::Peer;
use super::{Action, Config, Failure, PeerName, PeerStats};
use crate::hash::ChunkId;
use crate::limits::{
    CHUNK_MAX_BYTES, COPIES_PER_CHUNK, ENDGAME_CHUNKS, PLANNER_BANS_MAX, PLANNER_CHUNKS_MAX, PLANNER_PEERS_MAX,
};

/// Waiting chunks that one poll looks at when those before them cannot be asked for.
const SCAN_MAX: usize = 512;
/// Failures of one chunk at one peer that count as "does not have it".
const STRIKES_MAX: u8 = 3;
/// How long an urgent request may take at least before a second peer is asked, in milliseconds.
const PATIENCE_MIN_MS: u64 = 300;
/// How long an urgent request may take at most before a second peer is asked, in milliseconds.
const PATIENCE_MAX_MS: u64 = 3_000;

/// How many times sooner a second peer must be done to be asked.
const COPY_GAIN: u64 = 2;

/// Where a chunk stands in line: priority, then the order of wanting.
type Place = (u32, u64, ChunkId);

/// Plans the fetching of chunks from several peers. See the module for its contract.
#[derive(Debug)]
pub struct Planner<P> {
    config: Config,
    peers: BTreeMap<P, Peer>,
    banned: VecDeque<P>,
    wanted: HashMap<ChunkId, Wanted<P>>,
    /// Wanted chunks that nobody was asked for.
    waiting: BTreeSet<Place>,
    /// Wanted chunks that somebody was asked for.
    flying: BTreeSet<Place>,
    /// Wanted chunks that no known peer has.
    unavailable: BTreeSet<Place>,
    requests: usize,
    actions: VecDeque<Action<P>>,
    next_order: u64,
    next_epoch: u64,
    had_peers: bool,
    /// The latest time that [`Planner::poll`] was told.
    now_ms: u64,
}

#[derive(Debug)]
struct Wanted<P> {
    place: Place,
    size_hint: u32,
    flights: Vec<Flight<P>>,
    refusals: Vec<Refusal<P>>,
}

/// One request under way.
#[derive(Debug)]
struct Flight<P> {
    peer: P,
    started_ms: u64,
    progress_ms: u64,
    bytes: u64,
    /// How long it was expected to take.
    expected_ms: u64,
    deadline_ms: u64,
}

impl<P> Flight<P> {
    /// How long it may take without a byte, or be without progress, before it counts as stopped.
    fn patience_ms(&self) -> u64 {
        self.expected_ms.saturating_mul(2).clamp(PATIENCE_MIN_MS, PATIENCE_MAX_MS)
    }

    /// How long it will go on as it does, in milliseconds; without end once it has stopped.
    fn left_ms(&self, size: u32, now_ms: u64) -> u64 {
        let elapsed_ms = now_ms.saturating_sub(self.started_ms);
        if now_ms.saturating_sub(self.progress_ms) >= self.patience_ms() {
            u64::MAX
        } else if elapsed_ms < PATIENCE_MIN_MS {
            0
        } else {
            let left_bytes = u64::from(size).saturating_sub(self.bytes);
            let at_its_rate_ms = left_bytes.saturating_mul(elapsed_ms).checked_div(self.bytes);
            at_its_rate_ms.unwrap_or_else(|| self.expected_ms.saturating_sub(elapsed_ms))
        }
    }
}

/// What one peer did not give.
#[derive(Debug)]
struct Refusal<P> {
    peer: P,
    epoch: u64,
    strikes: u8,
}

impl<P: PeerName> Planner<P> {
    /// A planner that knows no peers and wants nothing.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            peers: BTreeMap::new(),
            banned: VecDeque::new(),
            wanted: HashMap::new(),
            waiting: BTreeSet::new(),
            flying: BTreeSet::new(),
            unavailable: BTreeSet::new(),
            requests: 0,
            actions: VecDeque::new(),
            next_order: 0,
            next_epoch: 0,
            had_peers: false,
            now_ms: 0,
        }
    }

    /// Adds a peer that can be asked now; `false` if it is banned, known already, or one too many. A peer that comes back
    /// is asked again for what it did not have before.
    pub fn add_peer(&mut self, peer: P) -> bool {
        let is_known = self.peers.contains_key(&peer) || self.banned.contains(&peer);
        if is_known || self.peers.len() >= PLANNER_PEERS_MAX {
            return false;
        }
        self.next_epoch += 1;
        self.peers.insert(peer, Peer::new(self.next_epoch));
        self.had_peers = true;
        self.waiting.append(&mut self.unavailable);
        true
    }

    /// Removes a peer that is gone; its chunks are asked of others.
    pub fn remove_peer(&mut self, peer: P, _now_ms: u64) {
        if self.peers.remove(&peer).is_none() {
            return;
        }
        let has_flight = |wanted: &Wanted<P>| wanted.flights.iter().any(|flight| flight.peer == peer);
        let lost: Vec<ChunkId> =
            self.flying.iter().map(|place| place.2).filter(|id| self.wanted.get(id).is_some_and(has_flight)).collect();
        for chunk in lost {
            self.end_flight(peer, chunk);
        }
    }

    /// Wants a chunk; a lower priority is asked for first. `size_hint` is about how many bytes it has sealed. Wanting it
    /// again can only bring it forward. `false` if too many chunks are wanted.
    pub fn want(&mut self, chunk: ChunkId, priority: u32, size_hint: u32, _now_ms: u64) -> bool {
        if let Some(wanted) = self.wanted.get_mut(&chunk) {
            let old = wanted.place;
            let new = (priority.min(old.0), old.1, chunk);
            wanted.place = new;
            for set in [&mut self.waiting, &mut self.flying, &mut self.unavailable] {
                if set.remove(&old) {
                    set.insert(new);
                }
            }
            return true;
        }
        if self.wanted.len() >= PLANNER_CHUNKS_MAX {
            return false;
        }
        let place = (priority, self.next_order, chunk);
        self.next_order += 1;
        let size_hint = size_hint.clamp(1, CHUNK_MAX_BYTES as u32);
        self.wanted.insert(chunk, Wanted { place, size_hint, flights: Vec::new(), refusals: Vec::new() });
        self.waiting.insert(place);
        true
    }

    /// Wants a chunk no more; requests for it are taken back.
    pub fn unwant(&mut self, chunk: ChunkId) {
        let Some(wanted) = self.wanted.remove(&chunk) else { return };
        for set in [&mut self.waiting, &mut self.flying, &mut self.unavailable] {
            set.remove(&wanted.place);
        }
        for flight in &wanted.flights {
            self.requests -= 1;
            if let Some(peer) = self.peers.get_mut(&flight.peer) {
                peer.on_end();
            }
            self.actions.push_back(Action::Cancel { peer: flight.peer, chunk });
        }
    }

    /// Reports that `bytes` of the chunk have come from the peer so far.
    pub fn on_progress(&mut self, peer: P, chunk: ChunkId, bytes: u64, now_ms: u64) {
        self.count_bytes(peer, chunk, bytes, false, now_ms);
    }

    /// Counts new bytes of a request; whether it was under way.
    fn count_bytes(&mut self, peer: P, chunk: ChunkId, bytes: u64, is_chunk_end: bool, now_ms: u64) -> bool {
        let Some(wanted) = self.wanted.get_mut(&chunk) else { return false };
        let Some(flight) = wanted.flights.iter_mut().find(|flight| flight.peer == peer) else { return false };
        let new_bytes = bytes.saturating_sub(flight.bytes);
        let is_first = flight.bytes == 0;
        let Some(peer) = self.peers.get_mut(&peer) else { return true };
        if new_bytes > 0 {
            flight.bytes = bytes;
            flight.progress_ms = now_ms;
            if is_first {
                peer.on_first_bytes(now_ms.saturating_sub(flight.started_ms));
            }
            peer.on_bytes(new_bytes, is_chunk_end, &self.config, now_ms);
        }
        true
    }

    /// Reports that the chunk came from the peer whole and was verified; `bytes` is its sealed size. Other requests for it
    /// are taken back.
    pub fn on_done(&mut self, peer: P, chunk: ChunkId, bytes: u64, now_ms: u64) {
        if self.count_bytes(peer, chunk, bytes, true, now_ms) {
            self.end_flight(peer, chunk);
        }
        if let Some(known) = self.peers.get_mut(&peer) {
            known.on_delivered(bytes);
        }
        // Whoever sent it, even late: it is here.
        self.unwant(chunk);
    }

    /// Reports that the request to the peer came to nothing. A late report about a request that was taken back counts
    /// against the peer only if it lied.
    pub fn on_failed(&mut self, peer: P, chunk: ChunkId, failure: Failure, now_ms: u64) {
        if failure == Failure::Lied {
            self.ban(peer, now_ms);
            return;
        }
        let was_under_way = self.end_flight(peer, chunk);
        let Some(known) = self.peers.get_mut(&peer) else { return };
        match failure {
            Failure::NotFound => known.on_miss(now_ms),
            Failure::Busy | Failure::TimedOut if was_under_way => known.on_failure(now_ms),
            Failure::Busy | Failure::TimedOut | Failure::Disconnected | Failure::Lied => {}
        }
        match failure {
            Failure::NotFound => self.strike(peer, chunk, STRIKES_MAX),
            Failure::TimedOut | Failure::Disconnected if was_under_way => self.strike(peer, chunk, 1),
            _ => {}
        }
    }

    /// Reports that a peer is known not to hold a wanted chunk, by its answer to a question about many.
    pub fn on_missing(&mut self, peer: P, chunk: ChunkId) {
        self.strike(peer, chunk, STRIKES_MAX);
    }

    fn strike(&mut self, peer: P, chunk: ChunkId, strikes: u8) {
        let (Some(known), Some(wanted)) = (self.peers.get(&peer), self.wanted.get_mut(&chunk)) else { return };
        let epoch = known.epoch;
        match wanted.refusals.iter_mut().find(|refusal| refusal.peer == peer) {
            Some(refusal) if refusal.epoch == epoch => refusal.strikes = refusal.strikes.saturating_add(strikes),
            Some(refusal) => (refusal.epoch, refusal.strikes) = (epoch, strikes),
            None => {
                // Peers that left make room, so that there is one refusal for each peer at most.
                let peers = &self.peers;
                wanted.refusals.retain(|refusal| peers.contains_key(&refusal.peer));
                wanted.refusals.push(Refusal { peer, epoch, strikes });
            }
        }
    }

    fn ban(&mut self, peer: P, now_ms: u64) {
        if self.banned.contains(&peer) {
            return;
        }
        self.remove_peer(peer, now_ms);
        if self.banned.len() >= PLANNER_BANS_MAX {
            self.banned.pop_front();
        }
        self.banned.push_back(peer);
        self.actions.push_back(Action::Ban { peer });
    }

    /// Ends a request; whether there was one. A chunk without another request goes back in line.
    fn end_flight(&mut self, peer: P, chunk: ChunkId) -> bool {
        let Some(wanted) = self.wanted.get_mut(&chunk) else { return false };
        let Some(place) = wanted.flights.iter().position(|flight| flight.peer == peer) else { return false };
        wanted.flights.swap_remove(place);
        self.requests -= 1;
        if wanted.flights.is_empty() {
            self.flying.remove(&wanted.place);
            self.waiting.insert(wanted.place);
        }
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.on_end();
        }
        true
    }

    /// What to do next; `None` when there is nothing until [`Planner::next_timeout`] or the next report.
    pub fn poll(&mut self, now_ms: u64) -> Option<Action<P>> {
        self.now_ms = self.now_ms.max(now_ms);
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        self.end_overdue(now_ms);
        if let Some(action) = self.actions.pop_front() {
            return Some(action);
        }
        self.request_waiting(now_ms).or_else(|| self.request_copy(now_ms))
    }

    /// Takes back requests that are past their deadline, and those of peers below the floor rate if others can serve them.
    fn end_overdue(&mut self, now_ms: u64) {
        let slow: BTreeSet<P> = self
            .peers
            .iter_mut()
            .filter_map(|(name, peer)| (peer.in_flight > 0 && peer.check_floor(&self.config, now_ms)).then_some(*name))
            .collect();
        let mut overdue = Vec::new();
        for (_, _, chunk) in &self.flying {
            let Some(wanted) = self.wanted.get(chunk) else { continue };
            for flight in &wanted.flights {
                let is_late = flight.deadline_ms <= now_ms;
                let is_slow = slow.contains(&flight.peer)
                    && now_ms.saturating_sub(flight.started_ms) >= self.config.floor_grace_ms;
                if !is_late && !is_slow {
                    continue;
                }
                let idle_ms = now_ms.saturating_sub(flight.progress_ms);
                let goes_on = idle_ms < self.config.timeout_ms && !(is_late && is_slow);
                if self.has_alternative(wanted, flight.peer, now_ms) || (is_late && !goes_on) {
                    overdue.push((flight.peer, *chunk));
                }
            }
        }
        for (peer, chunk) in overdue {
            self.actions.push_back(Action::Cancel { peer, chunk });
            self.on_failed(peer, chunk, Failure::TimedOut, now_ms);
        }
    }

    /// Whether another peer than this one could be asked for the chunk now.
    fn has_alternative(&self, wanted: &Wanted<P>, peer: P, now_ms: u64) -> bool {
        let is_free = |(name, other): (&P, &Peer)| {
            *name != peer
                && other.is_reliable()
                && other.backoff_until_ms(now_ms).is_none()
                && self.may_have(wanted, *name, other)
        };
        self.peers.iter().any(|(name, other)| is_free((name, other)))
    }

    fn may_have(&self, wanted: &Wanted<P>, name: P, peer: &Peer) -> bool {
        let refuses = |refusal: &Refusal<P>| {
            refusal.peer == name && refusal.epoch == peer.epoch && refusal.strikes >= STRIKES_MAX
        };
        !wanted.refusals.iter().any(refuses)
    }

    /// Asks for the first chunk in line that some peer can take.
    fn request_waiting(&mut self, now_ms: u64) -> Option<Action<P>> {
        if self.requests >= self.config.total || !self.had_peers {
            return None;
        }
        let has_free = self.peers.values().any(|peer| peer.may_take(&self.config, now_ms));
        if !has_free && !self.peers.is_empty() {
            return None;
        }
        let mut choice = None;
        let mut nowhere = None;
        for (line, place) in self.waiting.iter().take(SCAN_MAX).enumerate() {
            let Some(wanted) = self.wanted.get(&place.2) else { continue };
            let is_urgent = line < ENDGAME_CHUNKS && line + self.flying.range(..place).count() < ENDGAME_CHUNKS;
            if let Some(peer) = self.best_peer(wanted, is_urgent, now_ms) {
                choice = Some((peer, *place));
                break;
            }
            if !self.peers.iter().any(|(name, peer)| self.may_have(wanted, *name, peer)) {
                nowhere = Some(*place);
                break;
            }
        }
        if let Some(place) = nowhere {
            self.waiting.remove(&place);
            self.unavailable.insert(place);
            return Some(Action::Unavailable { chunk: place.2 });
        }
        let (peer, place) = choice?;
        self.waiting.remove(&place);
        self.flying.insert(place);
        Some(self.start(peer, place.2, now_ms))
    }

    /// Asks a second peer for an urgent chunk that takes too long.
    fn request_copy(&mut self, now_ms: u64) -> Option<Action<P>> {
        if self.requests >= self.config.total {
            return None;
        }
        let copy = self.urgent_flying().find_map(|wanted| {
            if wanted.flights.len() >= COPIES_PER_CHUNK {
                return None;
            }
            let left_ms = wanted.flights.iter().map(|flight| flight.left_ms(wanted.size_hint, now_ms)).min()?;
            let best = self.best_peer(wanted, true, now_ms)?;
            let expected_ms = self.peers.get(&best)?.expected_ms(wanted.size_hint);
            (expected_ms.saturating_mul(COPY_GAIN) < left_ms).then_some((best, wanted.place.2))
        });
        copy.map(|(peer, chunk)| self.start(peer, chunk, now_ms))
    }

    /// The requested ones among the most urgent chunks.
    fn urgent_flying(&self) -> impl Iterator<Item = &Wanted<P>> {
        let flying = self.flying.iter().take(ENDGAME_CHUNKS).enumerate();
        let first_waiting: Vec<Place> = self.waiting.iter().take(ENDGAME_CHUNKS).copied().collect();
        flying
            .filter(move |(line, place)| {
                line + first_waiting.iter().filter(|waiting| waiting < place).count() < ENDGAME_CHUNKS
            })
            .filter_map(|(_, place)| self.wanted.get(&place.2))
    }

    /// The best peer that can take one more request for this chunk.
    fn best_peer(&self, wanted: &Wanted<P>, is_urgent: bool, now_ms: u64) -> Option<P> {
        let can = |(name, peer): &(&P, &Peer)| {
            peer.may_take(&self.config, now_ms)
                && self.may_have(wanted, **name, peer)
                && wanted.flights.iter().all(|flight| flight.peer != **name)
        };
        let best = self.peers.iter().filter(can).min_by_key(|(_, peer)| peer.rank(wanted.size_hint, is_urgent));
        best.map(|(name, _)| *name)
    }

    fn start(&mut self, peer: P, chunk: ChunkId, now_ms: u64) -> Action<P> {
        if let (Some(known), Some(wanted)) = (self.peers.get_mut(&peer), self.wanted.get_mut(&chunk)) {
            let expected_ms = known.expected_ms(wanted.size_hint);
            known.on_request(now_ms);
            self.requests += 1;
            wanted.flights.push(Flight {
                peer,
                started_ms: now_ms,
                progress_ms: now_ms,
                bytes: 0,
                expected_ms,
                deadline_ms: now_ms.saturating_add(self.config.timeout_ms),
            });
        }
        Action::Request { peer, chunk }
    }

    /// When [`Planner::poll`] may have something to do without another report.
    #[must_use]
    pub fn next_timeout(&self) -> Option<u64> {
        let now_ms = self.now_ms;
        let flights =
            self.flying.iter().filter_map(|place| self.wanted.get(&place.2)).flat_map(|wanted| &wanted.flights);
        // A request past its deadline goes on only while it makes progress.
        let deadlines =
            flights.flat_map(|flight| [flight.deadline_ms, flight.progress_ms.saturating_add(self.config.timeout_ms)]);
        let urgent = self.urgent_flying().flat_map(|wanted| &wanted.flights);
        let patience = urgent.flat_map(|flight| {
            let first_look_ms = flight.started_ms.saturating_add(PATIENCE_MIN_MS);
            [first_look_ms, flight.progress_ms.saturating_add(flight.patience_ms())]
        });
        let floors = self.peers.values().filter_map(|peer| peer.floor_check_ms(&self.config));
        let backoffs = self.peers.values().filter_map(|peer| peer.backoff_until_ms(now_ms));
        deadlines.chain(patience).chain(floors).chain(backoffs).filter(|time| *time > now_ms).min()
    }

    /// What was measured of every peer.
    pub fn peers(&self) -> impl Iterator<Item = PeerStats<P>> {
        self.peers.iter().map(|(name, peer)| peer.stats(*name))
    }

    /// Chunks that are wanted and not here yet.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// Requests under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.requests
    }

    /// Whether a peer lied to this planner.
    #[must_use]
    pub fn is_banned(&self, peer: P) -> bool {
        self.banned.contains(&peer)
    }
}
