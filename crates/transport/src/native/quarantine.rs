//! Keeps the stream ids of closed channels from being used again too soon.
//!
//! An id is free when both directions of the stream were reset (RFC 8831 §6.7). str0m hands it out again when its own direction
//! was; a reset of the other end that is still on its way then closes the new channel of that id. So a channel that stands for
//! the closed one holds the id: it is told of that late reset instead.

use super::driver::RESET_PAUSE;
use crate::census::Counted;
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};
use str0m::{
    Rtc,
    channel::{ChannelConfig, ChannelId},
};

/// How long an id is held: many round trips.
const HELD_FOR: Duration = Duration::from_secs(5);
/// Ids of one connection that are held at once; the oldest is let go.
pub(super) const HELD_MAX: usize = 4_096;

/// Ids that are held.
#[derive(Default)]
pub(super) struct Quarantine {
    held: HashMap<ChannelId, Held>,
    /// Of those, how many are neither open nor let go.
    unanswered: usize,
    order: VecDeque<(Instant, ChannelId, Counted)>,
}

/// A channel that stands for a closed one.
#[derive(Default)]
struct Held {
    /// The other end has answered the reset of the closed one.
    is_open: bool,
    is_let_go: bool,
}

impl Quarantine {
    /// A channel of this end with this stream id was closed.
    pub fn hold(&mut self, rtc: &mut Rtc, stream_id: u16, now: Instant, counted: Counted) {
        if self.order.len() >= HELD_MAX {
            self.let_go_of_the_oldest(rtc);
        }
        let config = ChannelConfig { negotiated: Some(stream_id), ..ChannelConfig::default() };
        let id = rtc.direct_api().create_data_channel(config);
        self.held.insert(id, Held::default());
        self.unanswered += 1;
        self.order.push_back((now + HELD_FOR, id, counted));
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// How many are held and not let go of.
    pub fn waiting(&self) -> usize {
        self.order.len()
    }

    /// Whether a channel stands for a closed one.
    pub fn contains(&self, id: ChannelId) -> bool {
        self.held.contains_key(&id)
    }

    /// The channel that stands for a closed one is open: the id's last reset was answered. Where that took longer than the id was
    /// held, it is closed only now, for before str0m would not have.
    pub fn on_opened(&mut self, rtc: &mut Rtc, id: ChannelId) {
        let Some(held) = self.held.get_mut(&id) else { return };
        if !std::mem::replace(&mut held.is_open, true) && !held.is_let_go {
            self.unanswered -= 1;
        }
        if held.is_let_go {
            rtc.direct_api().close_data_channel(id);
        }
    }

    /// Streams of this end whose resets the other end has not answered, of those that are held.
    pub fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// A channel was closed; whether it was one of these.
    pub fn on_closed(&mut self, id: ChannelId) -> bool {
        let held = self.held.remove(&id);
        self.unanswered -= usize::from(held.as_ref().is_some_and(|held| !held.is_open && !held.is_let_go));
        held.is_some()
    }

    /// Lets go of what was held long enough, as far as a stream may be reset for it; when to come back.
    pub fn handle_timeout(
        &mut self,
        rtc: &mut Rtc,
        now: Instant,
        mut may_reset: impl FnMut() -> bool,
    ) -> Option<Instant> {
        while let Some((at, ..)) = self.order.front() {
            if *at > now {
                return Some(*at);
            }
            if !may_reset() {
                return Some(now + RESET_PAUSE);
            }
            self.let_go_of_the_oldest(rtc);
        }
        None
    }

    fn let_go_of_the_oldest(&mut self, rtc: &mut Rtc) {
        if let Some((_, id, _)) = self.order.pop_front()
            && let Some(held) = self.held.get_mut(&id)
        {
            held.is_let_go = true;
            self.unanswered -= usize::from(!held.is_open);
            rtc.direct_api().close_data_channel(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        census::{Census, Kind},
        native::certificate::crypto,
    };

    #[test]
    fn ids_are_held_for_a_while_and_the_oldest_is_let_go_where_there_are_too_many() {
        let now = Instant::now();
        let census = Census::default();
        let resting = || census.counts().resting_ids;
        let mut rtc = Rtc::builder().set_crypto_provider(crypto()).clear_codecs().build(now);
        let mut quarantine = Quarantine::default();
        for id in 0..HELD_MAX as u16 {
            quarantine.hold(&mut rtc, id, now, census.count(Kind::RestingIds));
        }
        assert_eq!(resting(), HELD_MAX);
        let ids: Vec<ChannelId> = quarantine.order.iter().map(|(_, id, _)| *id).collect();
        let later = now + Duration::from_secs(1);
        quarantine.hold(&mut rtc, HELD_MAX as u16, later, census.count(Kind::RestingIds));
        assert_eq!(resting(), HELD_MAX, "one has made room");
        assert_eq!(quarantine.order.front().map(|(_, id, _)| *id), Some(ids[1]), "the oldest");

        // What is let go is known until str0m says that its channel is closed.
        assert!(quarantine.contains(ids[0]) && quarantine.on_closed(ids[0]) && !quarantine.on_closed(ids[0]));

        let until = now + HELD_FOR;
        assert_eq!(quarantine.handle_timeout(&mut rtc, until - Duration::from_millis(1), || true), Some(until));
        assert_eq!(resting(), HELD_MAX);
        let mut turns = 0..100;
        assert_eq!(quarantine.handle_timeout(&mut rtc, until, || turns.next().is_some()), Some(until + RESET_PAUSE));
        assert_eq!(resting(), HELD_MAX - 100, "no more at once than may be");
        assert_eq!(quarantine.handle_timeout(&mut rtc, until, || true), Some(later + HELD_FOR));
        assert_eq!(resting(), 1);
        assert_eq!(quarantine.handle_timeout(&mut rtc, later + HELD_FOR, || true), None);
        assert_eq!(resting(), 0);
    }
}
