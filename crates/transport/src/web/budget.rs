//! Counts the peer connections that a tab begins.

use super::{connection::PeerConnection, js::js};
use crate::{
    budget::{Budget, BudgetError},
    census::Census,
    clock,
    error::Error,
};
use std::{cell::RefCell, collections::VecDeque, time::Duration};
use web_sys::{RtcConfiguration, RtcPeerConnection};

/// Where the number is kept across reloads: this storage is the tab's own.
const STORAGE_KEY: &str = "libp2p-webrtc-peer-connections";
const HOUR: Duration = Duration::from_secs(3_600);

thread_local!(static BEGUN_MS: RefCell<VecDeque<u64>> = RefCell::default());

fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.session_storage().ok()?
}

/// Peer connections begun in this tab's lifetime.
pub fn begun() -> u32 {
    let kept = storage().and_then(|storage| storage.get_item(STORAGE_KEY).ok()?);
    let of_this_page = BEGUN_MS.with_borrow(|begun| begun.len() as u32);
    kept.and_then(|text| text.parse().ok()).unwrap_or(0).max(of_this_page)
}

/// Creates a peer connection, if the budget has one left.
pub(super) fn peer_connection(
    budget: Budget,
    configuration: &RtcConfiguration,
    census: &Census,
) -> Result<PeerConnection, Error> {
    take(budget)?;
    let created = RtcPeerConnection::new_with_configuration(configuration).map_err(js)?;
    Ok(PeerConnection::new(created, census))
}

/// Counts one more, if it is within the budget.
fn take(budget: Budget) -> Result<(), BudgetError> {
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
