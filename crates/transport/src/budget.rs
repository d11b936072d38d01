//! How many peer connections a tab may begin. Chrome gives a tab 500 for its lifetime, reloads included; after that every
//! attempt fails until the tab is closed.

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
}
