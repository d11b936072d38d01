//! From a page that came over https, browsers open no WebSocket but `wss`, and complain on the console about every try.

use libp2p::core::{
    Multiaddr, Transport,
    multiaddr::Protocol,
    transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use wasm_bindgen::JsValue;

/// Whether this page came over https.
fn is_page_secure() -> bool {
    let field = |of: &JsValue, name: &str| js_sys::Reflect::get(of, &JsValue::from_str(name)).ok();
    let protocol = field(&js_sys::global(), "location").and_then(|location| field(&location, "protocol"));
    protocol.is_some_and(|protocol| protocol == "https:")
}

fn is_encrypted(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Wss(_) | Protocol::Tls))
}

/// Whether a WebSocket at this address may be opened from this page.
pub(crate) fn allows(address: &Multiaddr) -> bool {
    is_encrypted(address) || !is_page_secure()
}

/// A WebSocket transport that tries only what the page may open.
pub(crate) struct Allowed<T>(pub T);

impl<T: Transport + Unpin> Transport for Allowed<T> {
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = T::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<T::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<T::Dial, TransportError<T::Error>> {
        if allows(&address) {
            self.0.dial(address, options)
        } else {
            Err(TransportError::MultiaddrNotSupported(address))
        }
    }

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<TransportEvent<T::ListenerUpgrade, T::Error>> {
        Pin::new(&mut self.get_mut().0).poll(context)
    }
}
