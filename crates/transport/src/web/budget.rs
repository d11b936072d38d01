//! How many peer connections a tab may begin. Chrome gives a tab 500 for its lifetime, reloads included; after that every
//! attempt fails until the tab is closed.

use crate::clock;
use std::{cell::RefCell, collections::VecDeque, time::Duration};

/// Where the number is kept across reloads: this storage is the tab's own.
const STORAGE_KEY: &str = "libp2p-webrtc-peer-connections";
const HOUR: Duration = Duration::from_secs(3_600);

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

thread_local!(static BEGUN_MS: RefCell<VecDeque<u64>> = RefCell::default());

fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.session_storage().ok()?
}

/// Peer connections begun in this tab's lifetime.
pub(super) fn begun() -> u32 {
    let kept = storage().and_then(|storage| storage.get_item(STORAGE_KEY).ok()?);
    let of_this_page = BEGUN_MS.with_borrow(|begun| begun.len() as u32);
    kept.and_then(|text| text.parse().ok()).unwrap_or(0).max(of_this_page)
}

/// Counts one more, if it is within the budget.
pub(super) fn take(budget: Budget) -> Result<(), BudgetError> {
    let now_ms = clock::now_ms();
    let begun = begun();
    if begun >= budget.lifetime {
        return Err(BudgetError::Lifetime { begun });
    }
    BEGUN_MS.with_borrow_mut(|moments| {
        moments.retain(|at| now_ms.saturating_sub(*at) < HOUR.as_millis() as u64);
        if moments.len() as u32 >= budget.per_hour {
            return Err(BudgetError::Hour { begun: moments.len() as u32 });
        }
        moments.push_back(now_ms);
        Ok(())
    })?;
    if let Some(storage) = storage() {
        // Without storage the count is this page's.
        let _ = storage.set_item(STORAGE_KEY, &(begun + 1).to_string());
    }
    Ok(())
}
