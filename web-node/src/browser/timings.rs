//! When things happened, in milliseconds since `performance.timeOrigin`: what users wait for, measured from the click.

use meganet_node::api::Stage;
use serde::Serialize;
use std::cell::RefCell;

/// One figure a moment; `None` when it has not come yet. The site's figures are those of the site opened last.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Timings {
    /// The wasm module began to run.
    pub started_ms: Option<f64>,
    /// Storage was open and the node was running.
    pub node_ms: Option<f64>,
    /// The list of peers was there.
    pub list_ms: Option<f64>,
    /// The first connection.
    pub joined_ms: Option<f64>,
    /// The site was asked for.
    pub open_ms: Option<f64>,
    /// Its newest head was known.
    pub head_found_ms: Option<f64>,
    /// Its manifest was known.
    pub manifest_ms: Option<f64>,
    /// Its service worker was active.
    pub bridge_ready_ms: Option<f64>,
    /// The first piece of a file went to the site's frame.
    pub first_bytes_ms: Option<f64>,
    /// The frame's `load` event. A frame of another origin shows no earlier moment: its first paint was before.
    pub loaded_ms: Option<f64>,
}

thread_local!(static TIMINGS: RefCell<Timings> = RefCell::default());

/// Milliseconds since the page's time origin.
pub fn now_ms() -> f64 {
    web_sys::window().and_then(|window| window.performance()).map_or(0.0, |performance| performance.now())
}

/// All figures so far.
pub fn all() -> Timings {
    TIMINGS.with_borrow(|timings| *timings)
}

/// Notes a moment, the first time only.
pub fn mark(field: impl FnOnce(&mut Timings) -> &mut Option<f64>) {
    let now = now_ms();
    TIMINGS.with_borrow_mut(|timings| {
        field(timings).get_or_insert(now);
    });
}

/// Notes when a moment was, the first time only.
pub fn mark_at(field: impl FnOnce(&mut Timings) -> &mut Option<f64>, at_ms: f64) {
    TIMINGS.with_borrow_mut(|timings| {
        field(timings).get_or_insert(at_ms);
    });
}

/// Another site is opened: its figures start empty.
pub fn open_site() {
    let now = now_ms();
    TIMINGS.with_borrow_mut(|timings| {
        *timings = Timings {
            open_ms: Some(now),
            head_found_ms: None,
            manifest_ms: None,
            bridge_ready_ms: None,
            first_bytes_ms: None,
            loaded_ms: None,
            ..*timings
        };
    });
}

/// A site is being opened and has reached this stage.
pub fn mark_stage(stage: &Stage) {
    match stage {
        Stage::FindingHead { .. } => {}
        Stage::FindingProviders { .. } | Stage::FetchingManifest => mark(|timings| &mut timings.head_found_ms),
        Stage::FetchingChunks { .. } | Stage::Ready => mark_open(),
    }
}

/// A site is open: head and manifest are known, if no stage said so before.
pub fn mark_open() {
    mark(|timings| &mut timings.head_found_ms);
    mark(|timings| &mut timings.manifest_ms);
}
