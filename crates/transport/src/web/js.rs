//! What JavaScript throws, and callbacks that end with their owner.

use crate::{
    census::{Census, Counted, Kind},
    error::Error,
};
use std::rc::Rc;
use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{EventTarget, RtcDataChannel, RtcDataChannelInit, RtcPeerConnection};

/// A thrown value in plain words.
pub(super) fn reason(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{error:?}"),
    }
}

/// A thrown value as an error.
pub(super) fn js(error: JsValue) -> Error {
    Error::Backend(reason(&error))
}

/// Lets a promise go its way: one of a peer connection that is closed meanwhile never comes to an end.
pub(super) fn forget(promise: &js_sys::Promise) {
    thread_local! {
        static REFUSED: Closure<dyn FnMut(JsValue)> =
            Closure::new(|error| tracing::debug!(error = reason(&error), "refused by the browser"));
    }
    REFUSED.with(|refused| _ = promise.catch(refused));
}

/// Makes a data channel. `web_sys`'s binding takes for granted that this does not throw, and a browser does when a connection has
/// no stream id left, which the other end can bring about: Chromium has 512 for each.
pub(super) fn data_channel(
    peer_connection: &RtcPeerConnection,
    label: &str,
    init: Option<&RtcDataChannelInit>,
) -> Result<RtcDataChannel, JsValue> {
    let create = js_sys::Reflect::get(peer_connection, &"createDataChannel".into())?;
    let create: js_sys::Function = create.dyn_into()?;
    let made = match init {
        Some(init) => create.call2(peer_connection, &label.into(), init),
        None => create.call1(peer_connection, &label.into()),
    };
    made.map(JsCast::unchecked_into)
}

/// A callback for one event of one object; detached when dropped.
pub(super) struct Listener {
    target: EventTarget,
    event: &'static str,
    callback: Closure<dyn FnMut(web_sys::Event)>,
    _counted: Counted,
}

impl Listener {
    pub fn new(
        census: &Census,
        target: &EventTarget,
        event: &'static str,
        handle: impl Fn(web_sys::Event) + 'static,
    ) -> Self {
        let callback = Closure::<dyn FnMut(web_sys::Event)>::new(handle);
        // Fails only for objects that take no listeners.
        let _ = target.add_event_listener_with_callback(event, callback.as_ref().unchecked_ref());
        Self { target: target.clone(), event, callback, _counted: census.count(Kind::Callbacks) }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.target.remove_event_listener_with_callback(self.event, self.callback.as_ref().unchecked_ref());
    }
}

/// Something one task shares with its own callbacks.
pub(super) type Shared<T> = Rc<std::cell::RefCell<T>>;
