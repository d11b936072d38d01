//! What the browser does to a tab: hides, freezes and resumes it, takes the network away, ends it.

use crate::browser::{client::Client, events::Listener};
use meganet_node::platform;
use std::{cell::Cell, rc::Rc, time::Duration};

/// How often the clock is looked at, to notice that the machine slept.
const TICK_MS: u64 = 10_000;
/// A tick that comes this late means the tab was frozen or the machine slept. Hidden tabs tick late by up to a minute.
const SLEPT_MS: u64 = 90_000;

/// Listens for as long as the page lives.
pub fn watch(client: &Client) {
    let Some(window) = web_sys::window() else { return };
    let mut listeners = Vec::new();
    let online = client.clone();
    listeners.push(Listener::new(&window, "online", move |_| online.retry_now()));
    if let Some(document) = window.document() {
        let client = client.clone();
        listeners.push(Listener::new(&document, "resume", move |_| client.retry_now()));
    }
    let ending = client.clone();
    let has_ended = Rc::new(Cell::new(false));
    let ended = has_ended.clone();
    listeners.push(Listener::new(&window, "pagehide", move |_| {
        // Also where the page may be kept for the back button: Chromium 156 says so of pages that it drops without a word to their
        // peers, who would wait half a minute for this one; and one that is kept answers nobody.
        if ending.leave() {
            ended.set(true);
        }
    }));
    let shown = client.clone();
    listeners.push(Listener::new(&window, "pageshow", move |_| {
        // Only one that was kept is shown after it was hidden. Its node is gone, so it begins anew.
        if has_ended.get() {
            let _ = web_sys::window().map(|window| window.location().reload());
        } else {
            shown.retry_now();
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
