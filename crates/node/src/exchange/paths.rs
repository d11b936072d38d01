//! Which of a peer's connections chunks are asked for over: WebSocket or the other direct one, whichever was measured faster on
//! the transfer itself. No I/O; time is passed in.
//!
//! A transfer that lasts is first measured as it is. Then the other way is probed with a few chunks beside, so that a slow one
//! delays nothing else; one that is not hopeless gets the whole transfer for a while, because only what runs alone is measured
//! fairly. The faster one goes on, and after a while they are measured anew. A way that breaks is left at once.

use crate::limits;
use meganet_transport::signalling::Way;

/// One way to a peer, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShownPath {
    pub way: Way,
    pub received_bytes: u64,
    pub is_connected: bool,
    pub is_in_use: bool,
}

/// What came over one way while it was measured.
#[derive(Debug, Default, Clone, Copy)]
struct Meter {
    bytes: u64,
    /// Time during which answers were owed.
    busy_ms: u64,
    /// How much of it passed before anything came: a stream was opened then, and the first chunk looked up.
    waited_ms: u64,
}

impl Meter {
    fn count(&mut self, bytes: u64) {
        if self.bytes == 0 {
            self.waited_ms = self.busy_ms;
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The rate, when so many bytes were to be waited for: less of them tell nothing but that they did not come in time.
    fn bytes_per_s(self, wanted: u64) -> u64 {
        let waited_ms = if self.bytes >= wanted { self.waited_ms } else { 0 };
        self.bytes.saturating_mul(1_000) / self.busy_ms.saturating_sub(waited_ms).max(1)
    }
}

/// One way to a peer.
#[derive(Debug, Default, Clone, Copy)]
struct Line {
    connections: usize,
    /// Chunks that are asked for over it.
    open: usize,
    received_bytes: u64,
    used_ms: u64,
    meter: Meter,
}

/// What is being found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Settled,
    /// A few chunks are asked for over this way, the others as before.
    Probing(Way),
    /// Every chunk is asked for over this way.
    Trying(Way),
}

/// The ways to one peer.
#[derive(Debug)]
pub(super) struct Paths {
    lines: [Line; Way::ALL.len()],
    current: Way,
    /// What the current way was last seen to carry alone, bytes per second.
    current_rate: Option<u64>,
    stage: Stage,
    /// The last moment of which this knows.
    now_ms: u64,
    /// The other way is not measured before this.
    measure_at_ms: u64,
    /// A WebSocket connection is being opened.
    is_dialling: bool,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            lines: Default::default(),
            current: Way::Direct,
            current_rate: None,
            stage: Stage::Settled,
            now_ms: 0,
            measure_at_ms: 0,
            is_dialling: false,
        }
    }
}

impl Paths {
    fn line(&self, way: Way) -> &Line {
        let [direct, websocket, relayed] = &self.lines;
        match way {
            Way::Direct => direct,
            Way::WebSocket => websocket,
            Way::Relayed => relayed,
        }
    }

    fn line_mut(&mut self, way: Way) -> &mut Line {
        let [direct, websocket, relayed] = &mut self.lines;
        match way {
            Way::Direct => direct,
            Way::WebSocket => websocket,
            Way::Relayed => relayed,
        }
    }

    fn exists(&self, way: Way) -> bool {
        self.line(way).connections > 0
    }

    /// The best way there is beside this one, without a measurement.
    fn first_but(&self, but: Option<Way>) -> Option<Way> {
        Way::ALL.into_iter().find(|way| Some(*way) != but && self.exists(*way))
    }

    /// Whether there is a direct way beside this one.
    pub fn has_other(&self, way: Way) -> bool {
        self.first_but(Some(way)).is_some_and(|other| other != Way::Relayed)
    }

    fn settle(&mut self, way: Way, measure_at_ms: u64) {
        if self.current != way {
            self.current_rate = None;
        }
        self.current = way;
        self.stage = Stage::Settled;
        self.measure_at_ms = measure_at_ms;
        self.lines.iter_mut().for_each(|line| line.meter = Meter::default());
    }

    fn later(&self) -> u64 {
        self.now_ms.saturating_add(limits::BULK_MEASURE_INTERVAL.as_millis() as u64)
    }

    /// Whether what a way carries now counts for its rate: a way that is probed shares the peer, the others must not.
    fn counts(&self, way: Way) -> bool {
        let is_alone = || Way::ALL.iter().all(|other| *other == way || self.line(*other).open == 0);
        self.stage == Stage::Probing(way) || is_alone()
    }

    fn advance(&mut self, now_ms: u64) {
        let passed_ms = now_ms.saturating_sub(self.now_ms);
        for way in Way::ALL {
            if self.line(way).open > 0 && self.counts(way) {
                self.line_mut(way).meter.busy_ms += passed_ms;
            }
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// One more connection.
    pub fn appeared(&mut self, way: Way, now_ms: u64) {
        self.advance(now_ms);
        self.line_mut(way).connections += 1;
        self.is_dialling &= way != Way::WebSocket;
        // It has been of use to nobody, and yet is not idle.
        self.line_mut(way).used_ms = self.now_ms;
        // What a relay carries is the last resort.
        if !self.exists(self.current) || self.current == Way::Relayed {
            self.settle(self.first_but(None).unwrap_or(way), 0);
        }
    }

    /// One connection less. `false`: it was the last one of all.
    pub fn vanished(&mut self, way: Way, now_ms: u64) -> bool {
        self.advance(now_ms);
        let line = self.line_mut(way);
        line.connections = line.connections.saturating_sub(1);
        if self.exists(way) {
            return true;
        }
        let Some(left) = self.first_but(None) else { return false };
        let was_idle_winner = self.current == way && self.line(way).open == 0;
        let measure_at_ms = if was_idle_winner { self.now_ms } else { self.later().max(self.measure_at_ms) };
        if self.current == way {
            self.settle(left, measure_at_ms);
        } else if self.stage != Stage::Settled {
            self.settle(self.current, measure_at_ms);
        }
        true
    }

    /// An exchange stream ended over which something was still to come.
    pub fn broke(&mut self, way: Way, now_ms: u64) {
        self.advance(now_ms);
        let later = self.later();
        if self.current == way {
            if let Some(other) = self.first_but(Some(way)).filter(|other| *other != Way::Relayed) {
                self.settle(other, later);
            }
        } else if self.stage != Stage::Settled {
            self.settle(self.current, later);
        }
    }

    /// The way for what is not part of a transfer.
    pub fn current(&self) -> Way {
        self.current
    }

    /// The way for the next chunk, which counts as asked for over it until [`Self::ended`].
    pub fn ask(&mut self, now_ms: u64) -> Way {
        self.advance(now_ms);
        let is_quiet = self.lines.iter().all(|line| line.open == 0);
        let last_ms = self.lines.iter().map(|line| line.used_ms).max().unwrap_or(0);
        if is_quiet && self.now_ms.saturating_sub(last_ms) >= limits::BULK_GAP.as_millis() as u64 {
            // Another transfer: whether it lasts is to be seen.
            self.settle(self.current, self.measure_at_ms);
            self.current_rate = None;
        }
        // Also when nothing comes at all.
        self.judge();
        let way = match self.stage {
            Stage::Probing(other) if self.line(other).open < limits::BULK_PROBE_CHUNKS => other,
            Stage::Trying(other) => other,
            Stage::Settled | Stage::Probing(_) => self.current,
        };
        let now_ms = self.now_ms;
        let line = self.line_mut(way);
        line.open += 1;
        line.used_ms = now_ms;
        way
    }

    /// A chunk is not asked for any more: it came, or it will not.
    pub fn ended(&mut self, way: Way, now_ms: u64) {
        self.advance(now_ms);
        let line = self.line_mut(way);
        line.open = line.open.saturating_sub(1);
    }

    /// Bytes came.
    pub fn received(&mut self, way: Way, bytes: u64, now_ms: u64) {
        self.advance(now_ms);
        let (counts, now_ms) = (self.counts(way), self.now_ms);
        let line = self.line_mut(way);
        line.received_bytes = line.received_bytes.saturating_add(bytes);
        // Heads, which are asked for all the time, keep nothing open.
        if line.open > 0 {
            line.used_ms = now_ms;
        }
        if counts {
            line.meter.count(bytes);
        }
        self.judge();
    }

    fn judge(&mut self) {
        match self.stage {
            Stage::Settled => {
                let meter = self.line(self.current).meter;
                if meter.bytes >= limits::BULK_BYTES {
                    self.current_rate = Some(meter.bytes_per_s(limits::BULK_BYTES));
                    let current = self.current;
                    self.line_mut(current).meter = Meter::default();
                }
                let other = match self.current {
                    Way::Direct => Way::WebSocket,
                    Way::WebSocket => Way::Direct,
                    Way::Relayed => return,
                };
                if self.current_rate.is_some() && self.exists(other) && self.now_ms >= self.measure_at_ms {
                    self.stage = Stage::Probing(other);
                    self.line_mut(other).meter = Meter::default();
                }
            }
            Stage::Probing(other) => {
                let meter = self.line(other).meter;
                if meter.bytes < limits::BULK_PROBE_BYTES
                    && meter.busy_ms < limits::BULK_PROBE_PATIENCE.as_millis() as u64
                {
                    return;
                }
                let rate = meter.bytes_per_s(limits::BULK_PROBE_BYTES).saturating_mul(limits::BULK_HOPELESS_FACTOR);
                if rate < self.current_rate.unwrap_or(0) {
                    self.settle(self.current, self.later());
                } else {
                    self.stage = Stage::Trying(other);
                    self.line_mut(other).meter = Meter::default();
                }
            }
            Stage::Trying(other) => {
                let meter = self.line(other).meter;
                if meter.bytes < limits::BULK_BYTES && meter.busy_ms < self.patience_ms() {
                    return;
                }
                let rate = meter.bytes_per_s(limits::BULK_BYTES);
                tracing::debug!(?other, rate, current = ?self.current, current_rate = ?self.current_rate, "measured");
                let faster = if rate > self.current_rate.unwrap_or(0) { other } else { self.current };
                let later = self.later();
                self.settle(faster, later);
                if faster == other {
                    self.current_rate = Some(rate);
                }
            }
        }
    }

    /// How long a way may take that is tried: by then it is known to be slower by half, as a line is that is throttled after the
    /// first megabyte.
    fn patience_ms(&self) -> u64 {
        let expected_ms = limits::BULK_BYTES.saturating_mul(1_000) / self.current_rate.unwrap_or(1).max(1);
        (2 * expected_ms).max(limits::BULK_TRY_PATIENCE_MIN.as_millis() as u64)
    }

    /// Whether a WebSocket connection is wanted beside a direct one, for a transfer that lasts.
    pub fn wishes_websocket(&self) -> bool {
        !self.is_dialling
            && !self.exists(Way::WebSocket)
            && self.current == Way::Direct
            && self.current_rate.is_some()
            && self.now_ms >= self.measure_at_ms
    }

    /// The same; it counts as being opened then, until it appeared or [`Self::no_websocket`] says that it will not.
    pub fn take_wish(&mut self) -> bool {
        let wishes = self.wishes_websocket();
        self.is_dialling |= wishes;
        wishes
    }

    /// There is no WebSocket to be had now.
    pub fn no_websocket(&mut self, now_ms: u64) {
        self.advance(now_ms);
        self.is_dialling = false;
        self.measure_at_ms = self.later();
    }

    /// What came this way.
    pub fn received_over(&self, way: Way) -> u64 {
        self.line(way).received_bytes
    }

    /// Whether nothing was asked for this way for a while.
    pub fn is_idle(&self, way: Way, now_ms: u64) -> bool {
        let line = self.line(way);
        line.open == 0 && now_ms.saturating_sub(line.used_ms) >= limits::BULK_IDLE.as_millis() as u64
    }

    /// The ways that exist or carried something.
    pub fn shown(&self) -> impl Iterator<Item = ShownPath> {
        let in_use = if let Stage::Trying(other) = self.stage { other } else { self.current };
        let shown = |way: &Way| self.exists(*way) || self.line(*way).received_bytes > 0;
        Way::ALL.into_iter().filter(shown).map(move |way| ShownPath {
            way,
            received_bytes: self.line(way).received_bytes,
            is_connected: self.exists(way),
            is_in_use: self.exists(way) && in_use == way,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: u64 = 256 * 1024;
    const MINUTE_MS: u64 = 60_000;

    /// A transfer over ways that carry so many bytes a millisecond.
    struct Transfer {
        paths: Paths,
        now_ms: u64,
        direct: u64,
        websocket: u64,
        /// Before anything comes over WebSocket.
        silent_ms: u64,
    }

    impl Transfer {
        fn new(direct: u64, websocket: u64) -> Self {
            let mut paths = Paths::default();
            paths.appeared(Way::Direct, 0);
            Self { paths, now_ms: 0, direct, websocket, silent_ms: 0 }
        }

        /// Receives so many chunks, eight of them asked for at a time, each way going through its own one after the other.
        /// Returns how many came over WebSocket.
        fn run(&mut self, chunks: usize) -> usize {
            let mut asked: Vec<(Way, u64)> = Vec::new();
            let (mut left, mut over_websocket) = (chunks, 0);
            while left > 0 || !asked.is_empty() {
                while left > 0 && asked.len() < 8 {
                    asked.push((self.paths.ask(self.now_ms), CHUNK));
                    left -= 1;
                }
                self.now_ms += 1;
                for way in [Way::Direct, Way::WebSocket] {
                    let rate = if way == Way::Direct { self.direct } else { self.websocket };
                    if let Some(at) = asked.iter().position(|(over, _)| *over == way) {
                        if way == Way::WebSocket && self.silent_ms > 0 {
                            self.silent_ms -= 1;
                            continue;
                        }
                        let bytes = rate.min(asked[at].1);
                        asked[at].1 -= bytes;
                        self.paths.received(way, bytes, self.now_ms);
                        if asked[at].1 == 0 {
                            asked.remove(at);
                            self.paths.ended(way, self.now_ms);
                            over_websocket += usize::from(way == Way::WebSocket);
                        }
                    }
                }
            }
            over_websocket
        }

        /// The same with a WebSocket connection that appears when it is wished for.
        fn run_with_websocket(&mut self, chunks: usize) -> usize {
            let mut over_websocket = 0;
            for _ in 0..chunks.div_ceil(8) {
                over_websocket += self.run(8);
                if self.paths.take_wish() {
                    self.paths.appeared(Way::WebSocket, self.now_ms);
                }
            }
            over_websocket
        }
    }

    #[test]
    fn a_short_transfer_wishes_for_nothing_and_a_long_one_for_a_websocket_once() {
        let mut transfer = Transfer::new(8_000, 0);
        transfer.run((limits::BULK_BYTES / CHUNK) as usize - 1);
        assert!(!transfer.paths.take_wish());
        transfer.run(1);
        assert!(transfer.paths.take_wish() && !transfer.paths.take_wish());
        transfer.paths.no_websocket(transfer.now_ms);
        transfer.run(100);
        assert!(!transfer.paths.take_wish(), "it was tried just now");
        transfer.now_ms += limits::BULK_MEASURE_INTERVAL.as_millis() as u64;
        transfer.run(100);
        assert!(transfer.paths.take_wish());
    }

    #[test]
    fn reading_now_and_then_is_no_transfer() {
        let mut transfer = Transfer::new(8_000, 0);
        for _ in 0..20 {
            transfer.run(4);
            transfer.now_ms += limits::BULK_GAP.as_millis() as u64;
            assert!(!transfer.paths.take_wish());
        }
    }

    #[test]
    fn the_faster_way_carries_the_most() {
        let mut transfer = Transfer::new(8_000, 37_000);
        let over_websocket = transfer.run_with_websocket(400);
        assert!(over_websocket > 350, "{over_websocket}");
        assert_eq!(transfer.paths.current(), Way::WebSocket);
        // A little faster is faster too.
        let mut transfer = Transfer::new(8_000, 9_000);
        transfer.run_with_websocket(400);
        assert_eq!(transfer.paths.current(), Way::WebSocket);
    }

    #[test]
    fn a_slower_websocket_is_tried_for_a_while_and_a_hopeless_one_for_a_few_chunks() {
        let mut transfer = Transfer::new(8_000, 6_000);
        let over_websocket = transfer.run_with_websocket(400);
        assert!((1..50).contains(&over_websocket), "{over_websocket}");
        assert_eq!(transfer.paths.current(), Way::Direct);
        let mut transfer = Transfer::new(8_000, 100);
        let over_websocket = transfer.run_with_websocket(400);
        assert!((1..8).contains(&over_websocket), "{over_websocket}");
        assert_eq!(transfer.paths.current(), Way::Direct);
    }

    #[test]
    fn a_way_that_is_slow_to_begin_is_not_taken_for_a_slow_one() {
        let mut transfer = Transfer::new(1_000, 2_000);
        // Two seconds for the first chunks would be a quarter of the other's rate.
        transfer.silent_ms = 2_000;
        transfer.run_with_websocket(8);
        let mut is_tried = || {
            transfer.run(1);
            transfer.paths.stage == Stage::Trying(Way::WebSocket)
        };
        assert!((0..40).any(|_| is_tried()));
        // While it is tried it is the one that is shown.
        assert!(transfer.paths.shown().all(|path| path.is_in_use == (path.way == Way::WebSocket)));
        transfer.run(40);
        assert_eq!(transfer.paths.current(), Way::WebSocket);
    }

    #[test]
    fn a_way_that_stalls_while_it_is_measured_does_not_win_by_its_first_bytes() {
        for stage in [Stage::Probing(Way::WebSocket), Stage::Trying(Way::WebSocket)] {
            let mut transfer = Transfer::new(8_000, 20_000);
            transfer.run_with_websocket(8);
            let mut begins = || {
                transfer.run(1);
                transfer.paths.stage == stage
            };
            assert!((0..40).any(|_| begins()));
            transfer.silent_ms = 10_000;
            transfer.run(1);
            assert_eq!((transfer.paths.current(), transfer.paths.stage), (Way::Direct, Stage::Settled));
        }
    }

    #[test]
    fn a_line_that_becomes_slow_while_it_is_tried_is_left_soon() {
        let mut transfer = Transfer::new(8_000, 37_000);
        transfer.run_with_websocket(8);
        while transfer.paths.stage != Stage::Trying(Way::WebSocket) {
            transfer.run(1);
        }
        transfer.websocket = 100;
        // One chunk takes 2.6 s on this line, and the two megabytes after which it is judged otherwise 20.
        transfer.run(1);
        assert_eq!((transfer.paths.current(), transfer.paths.stage), (Way::Direct, Stage::Settled));
    }

    #[test]
    fn what_has_become_slow_is_noticed_when_they_are_measured_anew() {
        let mut transfer = Transfer::new(8_000, 37_000);
        transfer.run_with_websocket(200);
        transfer.websocket = 1_000;
        transfer.now_ms += limits::BULK_MEASURE_INTERVAL.as_millis() as u64;
        transfer.run(200);
        assert_eq!(transfer.paths.current(), Way::Direct);
    }

    #[test]
    fn a_way_that_breaks_or_is_gone_is_left_at_once() {
        let mut transfer = Transfer::new(8_000, 37_000);
        transfer.run_with_websocket(200);
        transfer.paths.broke(Way::WebSocket, transfer.now_ms);
        assert_eq!(transfer.paths.current(), Way::Direct);
        assert_eq!(transfer.run(200), 0, "it is not tried again soon");

        let mut transfer = Transfer::new(8_000, 37_000);
        transfer.run_with_websocket(200);
        assert_eq!(transfer.paths.ask(transfer.now_ms), Way::WebSocket);
        assert!(transfer.paths.vanished(Way::WebSocket, transfer.now_ms));
        assert_eq!(transfer.paths.current(), Way::Direct);
        assert!(!transfer.paths.vanished(Way::Direct, transfer.now_ms), "nothing is left");

        let mut transfer = Transfer::new(8_000, 37_000);
        transfer.run_with_websocket(200);
        transfer.paths.vanished(Way::Direct, transfer.now_ms);
        assert_eq!(transfer.paths.current(), Way::WebSocket);
    }

    #[test]
    fn a_way_that_is_gone_while_it_is_tried_is_forgotten() {
        let mut transfer = Transfer::new(8_000, 7_000);
        transfer.run(8);
        assert!(transfer.paths.take_wish());
        transfer.paths.appeared(Way::WebSocket, transfer.now_ms);
        transfer.run(1);
        let asked: Vec<_> = (0..4).map(|_| transfer.paths.ask(transfer.now_ms)).collect();
        assert!(asked.contains(&Way::WebSocket), "{asked:?}");
        transfer.paths.vanished(Way::WebSocket, transfer.now_ms);
        assert_eq!(transfer.paths.ask(transfer.now_ms), Way::Direct);
    }

    #[test]
    fn a_websocket_nobody_uses_is_idle_and_comes_back_for_the_next_transfer() {
        let mut transfer = Transfer::new(8_000, 37_000);
        transfer.run_with_websocket(200);
        assert!(!transfer.paths.is_idle(Way::WebSocket, transfer.now_ms));
        transfer.now_ms += limits::BULK_IDLE.as_millis() as u64;
        transfer.paths.received(Way::WebSocket, 300, transfer.now_ms);
        assert!(transfer.paths.is_idle(Way::WebSocket, transfer.now_ms));
        transfer.paths.vanished(Way::WebSocket, transfer.now_ms);
        assert!(!transfer.paths.take_wish());
        transfer.run(16);
        assert!(transfer.paths.take_wish());
    }

    #[test]
    fn a_relay_is_the_last_resort() {
        let mut paths = Paths::default();
        paths.appeared(Way::Relayed, 0);
        assert_eq!(paths.ask(0), Way::Relayed);
        paths.appeared(Way::WebSocket, MINUTE_MS);
        assert_eq!(paths.ask(MINUTE_MS), Way::WebSocket);
        paths.broke(Way::WebSocket, MINUTE_MS);
        assert_eq!(paths.current(), Way::WebSocket, "a direct connection is there");
    }
}
