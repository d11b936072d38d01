//! A bounded GET from the page's own origin.

use crate::{browser::events::describe, state::ContactProblem};
use futures::future::{Either, select};
use js_sys::{Reflect, Uint8Array};
use meganet_node::platform;
use std::time::Duration;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{AbortController, ReadableStreamDefaultReader, RequestCache, RequestCredentials, RequestInit, Response};

/// Reads the body of `path`, at most `limit_bytes` of it, within `timeout_s`.
///
/// # Errors
/// What went wrong, in the words the interface shows.
pub async fn get(path: &str, limit_bytes: u32, timeout_s: u32) -> Result<Vec<u8>, ContactProblem> {
    let controller = AbortController::new().map_err(unreachable)?;
    let init = RequestInit::new();
    init.set_cache(RequestCache::NoStore);
    // The only cookies there can be are a site's, set for its parent domain.
    init.set_credentials(RequestCredentials::Omit);
    init.set_signal(Some(&controller.signal()));
    let reading = Box::pin(read(path, &init, limit_bytes));
    let deadline = Box::pin(platform::sleep(Duration::from_secs(timeout_s.into())));
    let outcome = match select(reading, deadline).await {
        Either::Left((outcome, _)) => outcome,
        Either::Right(((), _)) => Err(ContactProblem::TimedOut { seconds: timeout_s }),
    };
    if outcome.is_err() {
        controller.abort();
    }
    outcome
}

async fn read(path: &str, init: &RequestInit, limit_bytes: u32) -> Result<Vec<u8>, ContactProblem> {
    let window = web_sys::window().ok_or(ContactProblem::Unreachable { reason: "no window".into() })?;
    let response = JsFuture::from(window.fetch_with_str_and_init(path, init)).await.map_err(unreachable)?;
    let response: Response = response.dyn_into().map_err(unreachable)?;
    if !response.ok() {
        return Err(ContactProblem::Status { status: response.status() });
    }
    let Some(body) = response.body() else { return Ok(Vec::new()) };
    let reader: ReadableStreamDefaultReader = body.get_reader().dyn_into().map_err(|_| unreachable(JsValue::NULL))?;
    let mut bytes = Vec::new();
    loop {
        let step = JsFuture::from(reader.read()).await.map_err(unreachable)?;
        if Reflect::get(&step, &"done".into()).map_err(unreachable)?.is_truthy() {
            return Ok(bytes);
        }
        let value = Reflect::get(&step, &"value".into()).map_err(unreachable)?;
        let piece: Uint8Array = value.dyn_into().map_err(unreachable)?;
        if bytes.len() + piece.length() as usize > limit_bytes as usize {
            return Err(ContactProblem::TooLarge { limit_bytes });
        }
        bytes.extend(piece.to_vec());
    }
}

fn unreachable(thrown: JsValue) -> ContactProblem {
    ContactProblem::Unreachable { reason: describe(&thrown) }
}
