//! The calls as a page sees them: `start(options)`, then `call(name, arguments)`, JSON texts in and out.

use crate::{calls, peer::Peer};
use serde_json::Value;
use std::cell::RefCell;
use wasm_bindgen::prelude::*;

thread_local!(static PEER: RefCell<Option<Peer>> = RefCell::default());

fn js(error: anyhow::Error) -> JsValue {
    js_sys::Error::new(&format!("{error:#}")).into()
}

fn parse(json: &str) -> Result<Value, JsValue> {
    serde_json::from_str(json).map_err(|error| js(error.into()))
}

/// Starts the page's peer; `{ peerId, addresses }`.
#[wasm_bindgen]
pub async fn start(options: String) -> Result<String, JsValue> {
    let (peer, about) = calls::start(parse(&options)?).await.map_err(js)?;
    PEER.set(Some(peer));
    Ok(about.to_string())
}

/// Ends the page's peer.
#[wasm_bindgen]
pub fn stop() {
    PEER.take();
}

/// Does one call.
#[wasm_bindgen]
pub async fn call(name: String, given: String) -> Result<String, JsValue> {
    let peer = PEER.with_borrow(Clone::clone).ok_or_else(|| js(anyhow::anyhow!("start comes first")))?;
    let given: Vec<Value> = serde_json::from_str(&given).map_err(|error| js(error.into()))?;
    Ok(calls::call(&peer, &name, &given).await.map_err(js)?.to_string())
}

/// Bytes of memory that this module has: it never shrinks, so a leak shows as growth.
#[wasm_bindgen]
pub fn memory_bytes() -> f64 {
    let memory: js_sys::WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    let buffer: js_sys::ArrayBuffer = memory.buffer().unchecked_into();
    f64::from(buffer.byte_length())
}
