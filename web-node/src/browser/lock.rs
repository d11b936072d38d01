//! The Web Lock that makes one tab of a browser the leader. The browser gives it back when the tab ends, however it ends.

use futures::channel::oneshot;
use js_sys::{Function, Object, Promise, Reflect};
use std::cell::RefCell;
use wasm_bindgen::{JsCast, JsValue, closure::Closure, prelude::wasm_bindgen};

#[wasm_bindgen]
extern "C" {
    /// `LockManager`; web-sys has it only behind an unstable cfg.
    #[wasm_bindgen(extends = Object)]
    type LockManager;
    #[wasm_bindgen(method, catch)]
    fn request(this: &LockManager, name: &str, options: &JsValue, callback: &JsValue) -> Result<Promise, JsValue>;
}

/// This browser has no Web Locks: nothing tells its tabs apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this browser has no Web Locks")]
pub struct NoLocks;

/// A held lock. It is held until the tab ends or [`Held::release`].
pub struct Held {
    resolve: Function,
}

impl Held {
    /// Gives the lock to the next tab in line.
    pub fn release(&self) {
        let _ = self.resolve.call0(&JsValue::UNDEFINED);
    }
}

/// Takes the lock if it is free.
pub async fn try_hold(name: &str) -> Result<Option<Held>, NoLocks> {
    request(name, true).await
}

/// Waits for the lock, as long as it takes.
pub async fn hold(name: &str) -> Result<Held, NoLocks> {
    request(name, false).await?.ok_or(NoLocks)
}

async fn request(name: &str, only_if_free: bool) -> Result<Option<Held>, NoLocks> {
    let navigator = web_sys::window().ok_or(NoLocks)?.navigator();
    let locks = Reflect::get(&navigator, &"locks".into()).map_err(|_| NoLocks)?;
    if locks.is_undefined() || locks.is_null() {
        return Err(NoLocks);
    }
    let locks: LockManager = locks.unchecked_into();
    let options = Object::new();
    Reflect::set(&options, &"ifAvailable".into(), &only_if_free.into()).map_err(|_| NoLocks)?;

    let (sender, receiver) = oneshot::channel();
    // The lock is held for as long as the promise returned here is pending.
    let granted = Closure::once_into_js(move |lock: JsValue| -> JsValue {
        if lock.is_null() {
            let _ = sender.send(None);
            return JsValue::UNDEFINED;
        }
        let resolver = RefCell::new(None);
        let pending = Promise::new(&mut |resolve, _| *resolver.borrow_mut() = Some(resolve));
        let held = resolver.into_inner().map(|resolve| Held { resolve });
        match sender.send(held) {
            Ok(()) => pending.into(),
            Err(_) => JsValue::UNDEFINED,
        }
    });
    let outcome = locks.request(name, &options, &granted).map_err(|_| NoLocks)?;
    // A refusal (a page in an opaque origin) rejects without calling back: then the sender is never used.
    let refused = wasm_bindgen_futures::JsFuture::from(outcome);
    match futures::future::select(receiver, Box::pin(refused)).await {
        futures::future::Either::Left((held, _)) => held.map_err(|_| NoLocks),
        futures::future::Either::Right((Ok(_), receiver)) => receiver.await.map_err(|_| NoLocks),
        futures::future::Either::Right((Err(_), _)) => Err(NoLocks),
    }
}
