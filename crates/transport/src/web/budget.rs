//! Counts the peer connections that a tab begins.

use super::{connection::PeerConnection, js::reason};
use crate::{
    budget::{Budget, BudgetError, By, Ledger},
    census::Census,
    error::Error,
};
use std::cell::{Cell, RefCell};
use web_sys::{RtcConfiguration, RtcPeerConnection};

/// Where the ledger is kept across reloads: this storage is the tab's own. A tab that is made of another begins with a copy,
/// which is too cautious at worst.
const STORAGE_KEY: &str = "libp2p-webrtc-peer-connections";

thread_local! {
    static LEDGER: RefCell<Ledger> = RefCell::default();
    static IS_SPENT: Cell<bool> = const { Cell::new(false) };
}

fn storage() -> Option<web_sys::Storage> {
    web_sys::window()?.session_storage().ok()?
}

fn kept() -> Option<Ledger> {
    Ledger::from_text(&storage()?.get_item(STORAGE_KEY).ok()??)
}

/// Without storage the ledger is this page's; with it another page of this tab may have begun more meanwhile.
fn with_ledger<T>(look: impl FnOnce(&mut Ledger) -> T) -> T {
    LEDGER.with_borrow_mut(|ledger| {
        if let Some(kept) = kept().filter(|kept| kept.begun() > ledger.begun()) {
            *ledger = kept;
        }
        look(ledger)
    })
}

/// Peer connections begun in this tab's lifetime.
pub fn begun() -> u32 {
    with_ledger(|ledger| ledger.begun())
}

/// Whether one was refused because the tab has begun all that it may in its lifetime.
pub fn is_lifetime_spent() -> bool {
    IS_SPENT.get()
}

/// Creates a peer connection, if the budget has one left. One that the browser refuses is counted all the same: whoever tries
/// again and again is told so by the budget in the end.
pub(super) fn peer_connection(
    budget: Budget,
    by: By,
    configuration: &RtcConfiguration,
    census: &Census,
) -> Result<PeerConnection, Error> {
    take(budget, by)?;
    let created = RtcPeerConnection::new_with_configuration(configuration);
    // Nobody else has had a part in it yet: that it fails says nothing of the peer.
    let created = created.map_err(|error| Error::NotBegun { reason: reason(&error) })?;
    Ok(PeerConnection::new(created, census))
}

/// Counts one more, if it is within the budget.
fn take(budget: Budget, by: By) -> Result<(), BudgetError> {
    // The wall clock: that of a page begins anew with each reload.
    let now_ms = js_sys::Date::now() as u64;
    let (taken, text) = with_ledger(|ledger| (ledger.take(budget, by, now_ms), ledger.to_text()));
    IS_SPENT.set(matches!(taken, Err(BudgetError::Lifetime { .. })));
    taken?;
    if let Some(storage) = storage() {
        // It is kept in memory all the same.
        let _ = storage.set_item(STORAGE_KEY, &text);
    }
    Ok(())
}
