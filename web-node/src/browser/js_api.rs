//! The typed API that `boot.js` puts at `window.meganet` on the app's own origin, for tests and power users. Commands and
//! replies are those of `meganet_node::api`, as JSON. Frames of sites are of other origins and cannot reach it.

use crate::{
    browser::{client::Client, panic, timings},
    site_request::error_code,
};
use js_sys::{Error, Reflect};
use meganet_node::api::{ApiError, Command};
use std::cell::RefCell;
use wasm_bindgen::{JsValue, prelude::wasm_bindgen};

/// Characters of a command's JSON at most: the largest is a sealed chunk, as a list of numbers.
const COMMAND_MAX_CHARS: usize = 2 * 1024 * 1024;

thread_local!(static CLIENT: RefCell<Option<Client>> = const { RefCell::new(None) });

/// Makes a client the one the exports use.
pub fn publish(client: &Client) {
    CLIENT.with_borrow_mut(|current| *current = Some(client.clone()));
}

fn client() -> Result<Client, JsValue> {
    if panic::is_poisoned() {
        return Err(failure("stopped", "the node has stopped: reload the page", None));
    }
    CLIENT.with_borrow(Clone::clone).ok_or_else(|| failure("starting", "the app has not started yet", None))
}

/// Carries out one command: JSON of `Command` in, JSON of `Reply` out. Rejects with an `Error` whose `code` is stable and
/// whose `cause` is the JSON of the `ApiError`.
#[wasm_bindgen]
pub async fn command(json: String) -> Result<String, JsValue> {
    if json.len() > COMMAND_MAX_CHARS {
        return Err(failure("bad-command", "the command is too long", None));
    }
    let command: Command =
        serde_json::from_str(&json).map_err(|error| failure("bad-command", &error.to_string(), None))?;
    let reply = client()?.call(command).await.map_err(|error| refused(&error))?;
    serde_json::to_string(&reply).map_err(|error| failure("bad-reply", &error.to_string(), None))
}

/// Where the node runs, its status, first contact and storage, as JSON of `frames::Snapshot`.
#[wasm_bindgen]
pub fn status() -> Result<String, JsValue> {
    serde_json::to_string(&client()?.snapshot()).map_err(|error| failure("bad-reply", &error.to_string(), None))
}

/// When things happened, in milliseconds since `performance.timeOrigin`, as JSON of `timings::Timings`.
#[wasm_bindgen(js_name = timings)]
pub fn timings_json() -> Result<String, JsValue> {
    serde_json::to_string(&timings::all()).map_err(|error| failure("bad-reply", &error.to_string(), None))
}

/// Tries first contact at once.
#[wasm_bindgen(js_name = retryNow)]
pub fn retry_now() -> Result<(), JsValue> {
    client()?.retry_now();
    Ok(())
}

/// Panics, so that tests can see how a poisoned instance ends.
#[allow(clippy::panic, reason = "that is what it is for")]
#[wasm_bindgen(js_name = crash)]
pub fn crash() {
    panic!("asked to panic");
}

fn refused(error: &ApiError) -> JsValue {
    failure(error_code(error), &error.to_string(), serde_json::to_string(error).ok())
}

fn failure(code: &str, message: &str, cause: Option<String>) -> JsValue {
    let error = Error::new(message);
    // A fresh error object takes any property.
    let _ = Reflect::set(&error, &"code".into(), &code.into());
    if let Some(cause) = cause {
        let _ = Reflect::set(&error, &"cause".into(), &cause.into());
    }
    error.into()
}
