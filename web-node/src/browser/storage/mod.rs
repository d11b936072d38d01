//! What a tab keeps: IndexedDB where the browser allows it, otherwise memory until the tab closes.
//!
//! IndexedDB through the `idb` crate, not OPFS: OPFS has synchronous, flushable files only in workers, while the swarm
//! lives in the window; and its asynchronous writer copies a whole file for each change. `idb` rather than `rexie`
//! because it accepts a transaction made elsewhere, and only so can strict durability be asked for.

mod idb_store;
mod schema;

use crate::state::StorageProblem;
use futures::{
    channel::oneshot,
    future::{Either, select},
};
use idb_store::{IdbStore, Tell};
use meganet_node::{
    platform,
    store::{MemoryStore, Store},
};
use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};
use wasm_bindgen_futures::JsFuture;

/// How long the database may take to open: a busy disk, or another tab with an older schema.
const OPEN_TIMEOUT_S: u32 = 5;
/// Bytes of chunks kept while there is only memory to keep them in.
const MEMORY_MAX_BYTES: u64 = 256 * 1024 * 1024;
/// The database of this origin.
const DATABASE: &str = "meganet";

/// An opened store, and why it is in memory only, if it is.
pub struct Opened {
    pub store: Arc<dyn Store>,
    pub problem: Option<StorageProblem>,
}

impl Opened {
    /// Memory instead of storage that does not work.
    pub fn in_memory(problem: StorageProblem) -> Self {
        Self { store: Arc::new(MemoryStore::new(MEMORY_MAX_BYTES)), problem: Some(problem) }
    }
}

/// Opens the browser's storage; whatever keeps it from opening, there is a store to work with. `tell` is called if it is
/// taken away later.
pub async fn open(tell: impl Fn(StorageProblem) + 'static) -> Opened {
    match open_durable(DATABASE, tell).await {
        Ok(store) => Opened { store, problem: None },
        Err(problem) => Opened::in_memory(problem),
    }
}

/// Opens a database by name, for tests that need one of their own.
///
/// # Errors
/// Why the browser does not give durable storage. Nothing was changed.
pub async fn open_durable(
    name: &'static str,
    tell: impl Fn(StorageProblem) + 'static,
) -> Result<Arc<dyn Store>, StorageProblem> {
    let blocked = Rc::new(Cell::new(false));
    let (sender, receiver) = oneshot::channel();
    let (tell, seen): (Tell, _) = (Rc::new(tell), blocked.clone());
    // Opening goes on to its end even if nobody waits any more: the browser calls back into it. A database that opens too
    // late is dropped here, and so closed.
    platform::spawn(async move {
        let _ = sender.send(IdbStore::open(name, seen, tell).await);
    });
    let deadline = Box::pin(platform::sleep(Duration::from_secs(OPEN_TIMEOUT_S.into())));
    match select(receiver, deadline).await {
        // The interface asks for an Arc because the native node has many threads.
        #[expect(clippy::arc_with_non_send_sync, reason = "there is one thread")]
        Either::Left((Ok(store), _)) => Ok(Arc::new(store?)),
        Either::Left((Err(_), _)) => Err(StorageProblem::Failed { reason: "the opening was lost".into() }),
        Either::Right(_) if blocked.get() => Err(StorageProblem::Blocked),
        Either::Right(_) => Err(StorageProblem::Slow { seconds: OPEN_TIMEOUT_S }),
    }
}

/// Asks the browser not to evict this origin. Call it on a user's gesture: some browsers show a question.
pub fn ask_to_persist() {
    let Some(window) = web_sys::window() else { return };
    // The property is missing outside secure contexts, where reading through it would throw.
    let storage = js_sys::Reflect::get(&window.navigator(), &"storage".into());
    if storage.is_ok_and(|storage| storage.is_object())
        && let Ok(asked) = window.navigator().storage().persist()
    {
        platform::spawn(async move {
            let _ = JsFuture::from(asked).await;
        });
    }
}
