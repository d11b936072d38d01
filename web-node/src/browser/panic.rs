//! What happens when the node panics: the instance is poisoned, so the page is told to stop and offers a restart.
//!
//! The page's `boot.js` hears `meganet-stopped` and takes over; nothing of this module instance is trusted after that.

use crate::browser::lock::Held;
use std::{
    cell::{Cell, RefCell},
    panic::PanicHookInfo,
};
use wasm_bindgen::JsValue;
use web_sys::{CustomEvent, CustomEventInit};

/// The event on `window`; its `detail` is the message.
pub const STOPPED_EVENT: &str = "meganet-stopped";
/// Characters of the message at most.
const MESSAGE_MAX_CHARS: usize = 500;

thread_local! {
    static POISONED: Cell<bool> = const { Cell::new(false) };
    static LOCK: RefCell<Option<Held>> = const { RefCell::new(None) };
}

/// The panic hook of the whole page: report, release, tell the page.
pub fn hook(panic: &PanicHookInfo<'_>) {
    let message: String = panic.to_string().chars().take(MESSAGE_MAX_CHARS).collect();
    web_sys::console::error_1(&JsValue::from_str(&message));
    POISONED.set(true);
    release_lock();
    let init = CustomEventInit::new();
    init.set_detail(&JsValue::from_str(&message));
    if let (Some(window), Ok(event)) = (web_sys::window(), CustomEvent::new_with_event_init_dict(STOPPED_EVENT, &init))
    {
        let _ = window.dispatch_event(&event);
    }
}

/// Gives the leader's lock to the next tab in line: this one runs no node any more.
pub(crate) fn release_lock() {
    LOCK.with(|lock| {
        // A busy cell means that a panic came from in here.
        if let Ok(mut lock) = lock.try_borrow_mut()
            && let Some(held) = lock.take()
        {
            held.release();
        }
    });
}

/// Whether a panic happened: then no further call may enter the node.
pub fn is_poisoned() -> bool {
    POISONED.get()
}

/// Keeps the leader's lock where it can be released from, by the hook too.
pub(crate) fn keep_lock(held: Held) {
    LOCK.with_borrow_mut(|lock| *lock = Some(held));
}
