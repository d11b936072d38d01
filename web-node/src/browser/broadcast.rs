//! A `BroadcastChannel` that carries postcard-encoded values.

use crate::{browser::events::Listener, frames};
use js_sys::Uint8Array;
use meganet_node::api;
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::JsCast;
use web_sys::{BroadcastChannel, MessageEvent};

/// Open until dropped.
pub struct Broadcast {
    channel: BroadcastChannel,
    /// Dropped, and so detached, before the channel is closed.
    listener: Option<Listener>,
}

impl Broadcast {
    /// A channel to send on only.
    pub fn sender(name: &str) -> Option<Self> {
        let channel = BroadcastChannel::new(name).ok()?;
        Some(Self { channel, listener: None })
    }

    /// A channel that hands every well-formed message to `handler`; others are dropped.
    pub fn open<T: DeserializeOwned>(name: &str, mut handler: impl FnMut(T) + 'static) -> Option<Self> {
        let mut broadcast = Self::sender(name)?;
        broadcast.listener = Some(Listener::new(&broadcast.channel, "message", move |event| {
            let Some(event) = event.dyn_ref::<MessageEvent>() else { return };
            let Ok(bytes) = event.data().dyn_into::<Uint8Array>() else { return };
            if bytes.length() as usize > frames::FRAME_MAX_BYTES {
                return;
            }
            if let Ok(message) = frames::decode(&bytes.to_vec()) {
                handler(message);
            }
        }));
        Some(broadcast)
    }

    /// Sends to every other tab that has the channel open.
    pub fn send<T: Serialize>(&self, message: &T) {
        let bytes = Uint8Array::from(api::encode(message).as_slice());
        let _ = self.channel.post_message(&bytes);
    }
}

impl Drop for Broadcast {
    fn drop(&mut self) {
        self.listener = None;
        self.channel.close();
    }
}
