//! How many peer connections a tab may begin. Chrome gives a tab 500 for its lifetime, reloads included; after that every
//! attempt fails until the tab is closed.

use std::collections::VecDeque;

const HOUR_MS: u64 = 3_600_000;
/// The latest moments that a ledger keeps: as many as Chrome lets a tab begin at all. A budget for an hour that is larger bounds
/// nothing.
pub const MOMENTS_MAX: usize = 500;

/// Peer connections that may be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Within an hour.
    pub per_hour: u32,
    /// In the tab's lifetime.
    pub lifetime: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { per_hour: 60, lifetime: 400 }
    }
}

impl Budget {
    /// What others may make this tab begin by signalling to it: half, so that nobody can use up what it needs for itself.
    #[must_use]
    pub fn for_others(self) -> Self {
        Self { per_hour: self.per_hour / 2, lifetime: self.lifetime / 2 }
    }
}

/// Why no further peer connection is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BudgetError {
    /// It can be tried again later.
    #[error("{begun} connections were begun within an hour: the next one is possible later")]
    Hour {
        /// So many were.
        begun: u32,
    },
    /// Only another tab can begin more.
    #[error(
        "{begun} connections were begun in this tab, and browsers allow few more: close the tab and open the page again"
    )]
    Lifetime {
        /// So many were.
        begun: u32,
    },
    /// This tab still begins its own.
    #[error("{begun} connections were begun in this tab because others asked for them: the rest is for its own")]
    Others {
        /// So many were, within an hour or altogether.
        begun: u32,
    },
}

/// Who makes a tab begin a peer connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// It dials.
    Itself,
    /// Others signal to it, and it answers.
    Others,
}

/// When a peer connection was begun, in wall clock ms, and whether others made the tab begin it.
type Begun = (u64, bool);

/// Counts what a tab begins, and decides whether it may begin one more: for itself as much as the budget has, for others half of
/// it at most. It has no clock of its own, and outlives a reload as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    itself: u32,
    others: u32,
    /// Of these those within an hour, and not more than [`MOMENTS_MAX`].
    latest: VecDeque<Begun>,
}

impl Ledger {
    /// Peer connections begun in the tab's lifetime.
    #[must_use]
    pub fn begun(&self) -> u32 {
        self.itself.saturating_add(self.others)
    }

    /// Counts one more.
    ///
    /// # Errors
    /// [`BudgetError`] when it is not within the budget; it is not counted then.
    pub fn take(&mut self, budget: Budget, by: By, now_ms: u64) -> Result<(), BudgetError> {
        let (begun, for_others) = (self.begun(), budget.for_others());
        if begun >= budget.lifetime {
            return Err(BudgetError::Lifetime { begun });
        }
        // A wall clock may be set back: what lies ahead then counts from now.
        self.latest.iter_mut().for_each(|(at_ms, _)| *at_ms = now_ms.min(*at_ms));
        self.latest.retain(|(at_ms, _)| now_ms - at_ms < HOUR_MS);
        let in_hour = self.latest.len() as u32;
        if in_hour >= budget.per_hour {
            return Err(BudgetError::Hour { begun: in_hour });
        }
        if by == By::Others {
            let in_hour = self.latest.iter().filter(|(_, by_others)| *by_others).count() as u32;
            if in_hour >= for_others.per_hour {
                return Err(BudgetError::Others { begun: in_hour });
            }
            if self.others >= for_others.lifetime {
                return Err(BudgetError::Others { begun: self.others });
            }
        }
        let count = match by {
            By::Itself => &mut self.itself,
            By::Others => &mut self.others,
        };
        *count = count.saturating_add(1);
        if self.latest.len() >= MOMENTS_MAX {
            self.latest.pop_front();
        }
        self.latest.push_back((now_ms, by == By::Others));
        Ok(())
    }

    /// The text that [`Ledger::from_text`] reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(&(self.itself, self.others, &self.latest)).unwrap_or_default()
    }

    /// What was kept as text; nothing if it is not such a text.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let (itself, others, latest): (u32, u32, VecDeque<Begun>) = serde_json::from_str(text).ok()?;
        let by_others = latest.iter().filter(|(_, by_others)| *by_others).count();
        let fits = latest.len() <= MOMENTS_MAX
            && by_others <= others as usize
            && latest.len().saturating_sub(by_others) <= itself as usize;
        fits.then_some(Self { itself, others, latest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_763_656_000_000;

    /// Takes so many, an hour apart or all at once.
    fn taken(by: By, count: u32, apart_ms: u64) -> Ledger {
        let mut ledger = Ledger::default();
        for number in 0..count {
            let now_ms = NOW_MS - u64::from(count - 1 - number) * apart_ms;
            assert_eq!(ledger.take(Budget::default(), by, now_ms), Ok(()), "the {number}th");
        }
        ledger
    }

    #[test]
    fn sixty_are_begun_within_an_hour_and_more_after_it() {
        let mut ledger = taken(By::Itself, 59, 0);
        let mut take = |now_ms| ledger.take(Budget::default(), By::Itself, now_ms);
        assert_eq!(take(NOW_MS + 1), Ok(()));
        assert_eq!(take(NOW_MS + 1), Err(BudgetError::Hour { begun: 60 }));
        assert_eq!(take(NOW_MS + HOUR_MS - 1), Err(BudgetError::Hour { begun: 60 }));
        assert_eq!(take(NOW_MS + HOUR_MS), Ok(()), "those of an hour ago are past");
        assert_eq!(ledger.begun(), 61);
    }

    #[test]
    fn four_hundred_are_begun_in_a_lifetime() {
        let mut ledger = taken(By::Itself, 399, HOUR_MS);
        let mut take = |by| ledger.take(Budget::default(), by, NOW_MS + HOUR_MS);
        assert_eq!(take(By::Itself), Ok(()));
        for by in [By::Itself, By::Others] {
            assert_eq!(take(by), Err(BudgetError::Lifetime { begun: 400 }));
        }
        let later = ledger.take(Budget::default(), By::Itself, NOW_MS + 1_000 * HOUR_MS);
        assert_eq!(later, Err(BudgetError::Lifetime { begun: 400 }), "no time helps");
    }

    #[test]
    fn others_have_half_of_an_hour_and_take_nothing_of_the_other_half() {
        let mut ledger = taken(By::Others, 30, 0);
        let budget = Budget::default();
        assert_eq!(ledger.take(budget, By::Others, NOW_MS), Err(BudgetError::Others { begun: 30 }));
        for _ in 0..30 {
            assert_eq!(ledger.take(budget, By::Itself, NOW_MS), Ok(()));
        }
        assert_eq!(ledger.take(budget, By::Itself, NOW_MS), Err(BudgetError::Hour { begun: 60 }));
        assert_eq!(ledger.take(budget, By::Others, NOW_MS + HOUR_MS), Ok(()));
    }

    #[test]
    fn others_have_half_of_a_lifetime() {
        let mut ledger = taken(By::Others, 200, HOUR_MS);
        let budget = Budget::default();
        assert_eq!(ledger.take(budget, By::Others, NOW_MS + HOUR_MS), Err(BudgetError::Others { begun: 200 }));
        assert_eq!(ledger.take(budget, By::Itself, NOW_MS + HOUR_MS), Ok(()));
    }

    #[test]
    fn what_a_tab_dials_itself_leaves_others_their_half() {
        let mut ledger = taken(By::Itself, 30, 0);
        for _ in 0..30 {
            assert_eq!(ledger.take(Budget::default(), By::Others, NOW_MS), Ok(()));
        }
        assert_eq!(ledger.take(Budget::default(), By::Others, NOW_MS), Err(BudgetError::Hour { begun: 60 }));
    }

    #[test]
    fn a_clock_that_is_set_back_costs_an_hour_at_most() {
        let mut ledger = taken(By::Itself, 60, 0);
        let now_ms = NOW_MS - 24 * HOUR_MS;
        assert_eq!(ledger.take(Budget::default(), By::Itself, now_ms), Err(BudgetError::Hour { begun: 60 }));
        assert_eq!(ledger.take(Budget::default(), By::Itself, now_ms + HOUR_MS), Ok(()));
    }

    #[test]
    fn the_moments_that_are_kept_are_bounded() {
        let (mut ledger, budget) = (Ledger::default(), Budget { per_hour: u32::MAX, lifetime: u32::MAX });
        for number in 0..=MOMENTS_MAX as u64 {
            assert_eq!(ledger.take(budget, By::Itself, NOW_MS + number), Ok(()));
        }
        assert_eq!((ledger.latest.len(), ledger.begun() as usize), (MOMENTS_MAX, MOMENTS_MAX + 1));
        assert_eq!(ledger.latest.front(), Some(&(NOW_MS + 1, false)), "the first is forgotten");
        assert_eq!(Ledger::from_text(&ledger.to_text()), Some(ledger.clone()));
        ledger.latest.push_back((NOW_MS, false));
        assert_eq!(Ledger::from_text(&ledger.to_text()), None, "too many");
    }

    #[test]
    fn it_is_kept_as_text_and_what_is_no_such_text_is_ignored() {
        let mut ledger = taken(By::Others, 2, HOUR_MS);
        assert_eq!(ledger.take(Budget::default(), By::Itself, NOW_MS), Ok(()));
        assert_eq!(ledger.to_text(), format!("[1,2,[[{NOW_MS},true],[{NOW_MS},false]]]"));
        assert_eq!(Ledger::from_text(&ledger.to_text()), Some(ledger));
        for text in
            ["", "7", "[]", "[1,2]", "[-1,0,[]]", "[0,0,[[1,false]]]", "[0,0,[[1,true]]]", "[4294967296,0,[]]", "{}"]
        {
            assert_eq!(Ledger::from_text(text), None, "{text}");
        }
    }
}
