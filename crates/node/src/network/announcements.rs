//! Announcements that reached nobody: the peers near the key had just gone, or the query ran out of time. The DHT's own clock
//! would try again half a day later. No I/O.

use crate::limits;
use libp2p::kad::RecordKey;
use std::collections::HashMap;

/// What is to be announced again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Provider,
    Record,
}

/// Announcements to try again.
#[derive(Default)]
pub(super) struct Announcements {
    /// When each is tried again, monotonic ms.
    again: HashMap<RecordKey, (What, u64)>,
}

impl Announcements {
    /// Nobody took it.
    pub fn failed(&mut self, key: RecordKey, what: What, now_ms: u64) {
        if self.again.len() < limits::ANNOUNCEMENTS_AGAIN_MAX {
            let at_ms = now_ms + limits::ANNOUNCE_AGAIN_AFTER.as_millis() as u64;
            self.again.insert(key, (what, at_ms));
        }
    }

    /// It is not to be announced any more.
    pub fn withdrawn(&mut self, key: &RecordKey) {
        self.again.remove(key);
    }

    /// Those whose time has come.
    pub fn due(&mut self, now_ms: u64) -> Vec<(RecordKey, What)> {
        let due: Vec<_> = self
            .again
            .iter()
            .filter(|(_, (_, at))| *at <= now_ms)
            .map(|(key, (what, _))| (key.clone(), *what))
            .collect();
        due.iter().for_each(|(key, _)| _ = self.again.remove(key));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reached_nobody_is_announced_again_unless_it_was_withdrawn() {
        let mut announcements = Announcements::default();
        let [one, other] = [RecordKey::new(b"one"), RecordKey::new(b"other")];
        announcements.failed(one.clone(), What::Provider, 0);
        announcements.failed(other.clone(), What::Record, 0);
        assert!(announcements.due(0).is_empty());
        announcements.withdrawn(&other);
        let at = limits::ANNOUNCE_AGAIN_AFTER.as_millis() as u64;
        assert_eq!(announcements.due(at), [(one, What::Provider)]);
        assert!(announcements.due(u64::MAX).is_empty());
        for number in 0..2 * limits::ANNOUNCEMENTS_AGAIN_MAX {
            announcements.failed(RecordKey::new(&number.to_be_bytes()), What::Record, 0);
        }
        assert_eq!(announcements.again.len(), limits::ANNOUNCEMENTS_AGAIN_MAX);
    }
}
