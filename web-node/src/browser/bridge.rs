//! The app's end of a site's bridge: a hidden frame of the site's origin that registers the site's service worker and
//! hands over ports on which the worker reads the site's files.
//!
//! Messages are taken only from that frame's window and only from that site's origin. The site's own scripts share the
//! origin; all a port gives them is what they can read anyway.

use crate::{
    browser::{
        client::Client,
        events::Listener,
        site_port::{Allowance, ShownVersion, SitePort},
        timings,
    },
    rate::BridgeGate,
};
use js_sys::{JsString, Object, Reflect};
use meganet_core::address::Address;
use meganet_node::platform;
use std::cell::RefCell;
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{HtmlIFrameElement, MessageEvent, MessagePort};

/// Characters of a message's text field at most.
const TEXT_MAX_CHARS: u32 = 500;

/// What a bridge reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BridgeEvent {
    /// The service worker is active: the visible frame may load.
    Ready,
    /// It could not be registered.
    Failed { code: String, message: String },
}

/// Listens to one bridge frame until dropped.
pub struct Bridge {
    _listener: Listener,
}

impl Bridge {
    /// The origin of a site's frames, from the app's own location: `http://ADDRESS.HOST:PORT`.
    pub fn site_origin(address: Address) -> Option<String> {
        let location = web_sys::window()?.location();
        Some(format!("{}//{address}.{}", location.protocol().ok()?, location.host().ok()?))
    }

    /// Starts to listen for what `frame` says; its `src` may be set before or after. Reads that name no version are of the
    /// `shown` one.
    pub fn open(
        client: Client,
        address: Address,
        shown: ShownVersion,
        frame: HtmlIFrameElement,
        report: impl Fn(BridgeEvent) + 'static,
    ) -> Option<Self> {
        let origin = Self::site_origin(address)?;
        let allowance = Allowance::new(shown);
        let gate = RefCell::new(BridgeGate::new(platform::monotonic_ms()));
        let current: RefCell<Option<SitePort>> = RefCell::default();
        let window = web_sys::window()?;
        let listener = Listener::new(&window, "message", move |event| {
            let Some(event) = event.dyn_ref::<MessageEvent>() else { return };
            let from_bridge = match (event.source(), frame.content_window()) {
                (Some(source), Some(window)) => Object::is(&source, &window),
                _ => false,
            };
            if !from_bridge || event.origin() != origin {
                return;
            }
            // Before anything of the message is read: the site's scripts can send as many as they like.
            if !gate.borrow_mut().admits(platform::monotonic_ms()) {
                return;
            }
            match text(&event.data(), "meganet").as_deref() {
                Some("bridge-ready") if gate.borrow_mut().is_first_ready() => {
                    timings::mark(|timings| &mut timings.bridge_ready_ms);
                    report(BridgeEvent::Ready);
                }
                Some("port") => {
                    if let Ok(port) = event.ports().get(0).dyn_into::<MessagePort>() {
                        let port = SitePort::open(client.clone(), address, port, allowance.clone());
                        // The older one is detached and closed: its worker is gone.
                        current.replace(Some(port));
                    }
                }
                Some("bridge-failed") => {
                    let code = text(&event.data(), "code").unwrap_or_default();
                    let message = text(&event.data(), "message").unwrap_or_default();
                    report(BridgeEvent::Failed { code, message });
                }
                _ => {}
            }
        });
        Some(Self { _listener: listener })
    }
}

/// A short text field of a message, without control characters.
fn text(data: &JsValue, name: &str) -> Option<String> {
    if !data.is_object() {
        return None;
    }
    let value: JsString = Reflect::get(data, &JsValue::from_str(name)).ok()?.dyn_into().ok()?;
    let text = String::from(value.slice(0, TEXT_MAX_CHARS));
    Some(text.chars().filter(|character| !character.is_control()).collect())
}
