//! Event listeners that are taken off their target before their closure is dropped, so that a late event never calls a
//! dropped closure.

use wasm_bindgen::{JsCast, JsValue, closure::Closure};
use web_sys::{Event, EventTarget};

/// Listens until dropped.
pub struct Listener {
    target: EventTarget,
    name: &'static str,
    closure: Closure<dyn FnMut(Event)>,
}

impl Listener {
    /// Calls `handler` for every event of this name at `target`.
    pub fn new(target: &EventTarget, name: &'static str, handler: impl FnMut(Event) + 'static) -> Self {
        let closure = Closure::<dyn FnMut(Event)>::new(handler);
        // Adding a listener to a live target cannot fail; a target of another kind would simply never fire.
        let _ = target.add_event_listener_with_callback(name, closure.as_ref().unchecked_ref());
        Self { target: target.clone(), name, closure }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.target.remove_event_listener_with_callback(self.name, self.closure.as_ref().unchecked_ref());
    }
}

/// The text of a thrown JavaScript value, at most 200 characters, without control characters.
pub fn describe(thrown: &JsValue) -> String {
    let text = js_sys::Reflect::get(thrown, &"message".into())
        .ok()
        .and_then(|message| message.as_string())
        .or_else(|| thrown.as_string())
        .unwrap_or_else(|| "unknown error".into());
    text.chars().filter(|character| !character.is_control()).take(200).collect()
}

/// The `name` of a thrown `DOMException` or error.
pub fn error_name(thrown: &JsValue) -> String {
    js_sys::Reflect::get(thrown, &"name".into()).ok().and_then(|name| name.as_string()).unwrap_or_default()
}
