//! What goes on beside the drawing: opening a visit's site, refreshing what is shown of it, counting seconds.

use crate::{
    phase::Shown,
    route,
    state::{Action, State},
};
use meganet_core::address::{Address, Link};
use meganet_node::{
    api::{ApiError, Command, Event, Reply, SiteInfo},
    platform,
};
use meganet_web_node::{Client, state::Update, timings};
use std::{cell::Cell, rc::Rc, time::Duration};
use yew::UseReducerDispatcher;

/// How often the figures of an open site and of the node are asked for.
const REFRESH_MS: u64 = 2_000;
/// How often a visit that waits for the first connection looks again.
const JOIN_POLL_MS: u64 = 100;

pub type Dispatcher = UseReducerDispatcher<State>;

/// A background task's permission to go on; dropping it ends the task.
pub struct Going(Rc<Cell<bool>>);

impl Going {
    /// Runs `task` with a question that says whether to go on.
    pub fn run<F: Future<Output = ()> + 'static>(task: impl FnOnce(Rc<Cell<bool>>) -> F) -> Self {
        let going = Rc::new(Cell::new(true));
        platform::spawn(task(going.clone()));
        Self(going)
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// The place the page's fragment names.
pub fn read_route() -> route::Route {
    let hash = web_sys::window().and_then(|window| window.location().hash().ok()).unwrap_or_default();
    route::Route::read(&hash)
}

/// Changes the page's fragment; the state follows through `hashchange`.
pub fn go_to(link: &Link) {
    if let Some(window) = web_sys::window() {
        let _ = window.location().set_hash(&route::hash(link));
    }
}

/// Opens the site of a visit and reports how that ended.
pub fn open_site(client: Client, dispatcher: Dispatcher, visit: u32, address: Address) -> Going {
    Going::run(move |going| async move {
        timings::open_site();
        loop {
            let result = site_of(client.call(Command::OpenSite { address }).await);
            if matches!(result, Err(ApiError::Offline)) && is_settling(&client) {
                // Not offline but not yet connected either: the first connection is worth waiting for.
                while going.get() && is_settling(&client) {
                    platform::sleep(Duration::from_millis(JOIN_POLL_MS)).await;
                }
                if going.get() {
                    continue;
                }
            }
            if !going.get() {
                return;
            }
            if result.is_ok() {
                timings::mark_open();
            }
            return dispatcher.dispatch(Action::Opened { visit, result });
        }
    })
}

/// Asks for the figures of an open site, again and again.
pub fn refresh_site(client: Client, dispatcher: Dispatcher, visit: u32, address: Address) -> Going {
    Going::run(move |going| async move {
        loop {
            platform::sleep(Duration::from_millis(REFRESH_MS)).await;
            if !going.get() {
                return;
            }
            if let Ok(site) = site_of(client.call(Command::Site { address }).await) {
                dispatcher.dispatch(Action::Refreshed { visit, site });
            }
        }
    })
}

/// Asks once for the figures of an open site.
pub fn refresh_once(client: Client, dispatcher: Dispatcher, visit: u32, address: Address) {
    platform::spawn(async move {
        if let Ok(site) = site_of(client.call(Command::Site { address }).await) {
            dispatcher.dispatch(Action::Refreshed { visit, site });
        }
    });
}

/// Asks for the sites kept here.
pub fn list_kept(client: Client, dispatcher: Dispatcher) {
    platform::spawn(async move {
        if let Ok(Reply::Sites(sites)) = client.call(Command::Sites).await {
            dispatcher.dispatch(Action::Kept(sites));
        }
    });
}

/// Asks for the node's figures, which change without events, while somebody can see them.
pub fn refresh_status(client: Client, dispatcher: Dispatcher) -> Going {
    Going::run(move |going| async move {
        loop {
            platform::sleep(Duration::from_millis(REFRESH_MS)).await;
            if !going.get() {
                return;
            }
            let hidden = web_sys::window().and_then(|window| window.document()).is_none_or(|page| page.hidden());
            if hidden {
                continue;
            }
            if let Ok(Reply::Status(status)) = client.call(Command::Status).await {
                let update = Box::new(Update::Event(Event::Status(status)));
                dispatcher.dispatch(Action::Heard { update, now_ms: platform::monotonic_ms() });
            }
        }
    })
}

/// Moves the clock of the interface once a second.
pub fn tick(dispatcher: Dispatcher) -> Going {
    Going::run(move |going| async move {
        while going.get() {
            dispatcher.dispatch(Action::Tick { now_ms: platform::monotonic_ms() });
            platform::sleep(Duration::from_secs(1)).await;
        }
    })
}

fn site_of(reply: Result<Reply, ApiError>) -> Result<Box<SiteInfo>, ApiError> {
    match reply? {
        Reply::Site(site) => Ok(Box::new(site)),
        _ => Err(ApiError::Refused { reason: "the node gave another answer than asked for".into() }),
    }
}

/// Whether the node is neither connected nor known to be offline.
fn is_settling(client: &Client) -> bool {
    let snapshot = client.snapshot();
    matches!(Shown::of(&snapshot.seat, snapshot.status.as_ref(), &snapshot.contact), Shown::Starting | Shown::Joining)
}
