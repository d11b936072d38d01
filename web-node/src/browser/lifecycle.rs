//! What the browser does to a tab: hides, freezes and resumes it, takes the network away, ends it.

use crate::browser::{client::Client, events::Listener};
use meganet_node::{api::Command, platform};
use std::{cell::Cell, rc::Rc, time::Duration};
use wasm_bindgen::JsCast;
use web_sys::PageTransitionEvent;

/// How often the clock is looked at, to notice that the machine slept.
const TICK_MS: u64 = 10_000;
/// A tick that comes this late means the tab was frozen or the machine slept. Hidden tabs tick late by up to a minute.
const SLEPT_MS: u64 = 90_000;

/// Listens for as long as the page lives.
pub fn watch(client: &Client) {
    let Some(window) = web_sys::window() else { return };
    let mut listeners = Vec::new();
    for name in ["online", "pageshow"] {
        let client = client.clone();
        listeners.push(Listener::new(&window, name, move |_| client.retry_now()));
    }
    if let Some(document) = window.document() {
        let client = client.clone();
        listeners.push(Listener::new(&document, "resume", move |_| client.retry_now()));
    }
    let ending = client.clone();
    listeners.push(Listener::new(&window, "pagehide", move |event| {
        // A page that is kept for the back button comes back; one that is not says goodbye to its peers.
        let kept = event.dyn_ref::<PageTransitionEvent>().is_some_and(PageTransitionEvent::persisted);
        if !kept && ending.runs_here() {
            let client = ending.clone();
            platform::spawn(async move {
                let _ = client.call(Command::Shutdown).await;
            });
        }
    }));
    // The page's end is the listeners' end.
    std::mem::forget(listeners);

    let client = client.clone();
    let last = Rc::new(Cell::new(platform::unix_ms()));
    platform::spawn(async move {
        loop {
            platform::sleep(Duration::from_millis(TICK_MS)).await;
            let now = platform::unix_ms();
            if now.saturating_sub(last.replace(now)) > SLEPT_MS {
                client.retry_now();
            }
        }
    });
}
