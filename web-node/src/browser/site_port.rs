//! One port to a site's service worker: reads of that site's files, checked, bounded and answered.

use crate::{
    browser::{client::Client, events::Listener, timings},
    rate::TokenBucket,
    site_request::{
        PENDING_INTERVAL_MS, REQUEST_PATH_MAX_BYTES, RawRequest, ReadRequest, RequestError, SEQUENCE_MAX_DIGITS,
        SITE_BURST_MAX, SITE_IN_FLIGHT_MAX, SITE_RATE_PER_S, error_code,
    },
};
use futures::future::{Either, select};
use js_sys::{Array, JsString, Object, Reflect, Uint8Array};
use meganet_core::address::Address;
use meganet_node::{
    api::{ApiError, Command, Content, Reply},
    platform,
};
use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::Rc,
    time::Duration,
};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::{MessageEvent, MessagePort};

/// The version of the site that is shown, once it is known. Shared by whoever shows it and the ports that read it.
pub type ShownVersion = Rc<Cell<Option<u64>>>;

/// What all ports of one site share: a worker that restarts gets a new port, not a new allowance.
pub struct Allowance {
    bucket: RefCell<TokenBucket>,
    in_flight: Cell<usize>,
    shown: ShownVersion,
}

impl Allowance {
    /// A full allowance.
    pub fn new(shown: ShownVersion) -> Rc<Self> {
        let bucket = TokenBucket::new(SITE_BURST_MAX, SITE_RATE_PER_S, platform::monotonic_ms());
        Rc::new(Self { bucket: RefCell::new(bucket), in_flight: Cell::new(0), shown })
    }
}

/// Answers until dropped.
pub struct SitePort {
    port: MessagePort,
    /// Dropped, and so detached, before the port is closed.
    listener: Option<Listener>,
}

impl SitePort {
    /// Serves one port of a site.
    pub fn open(client: Client, address: Address, port: MessagePort, allowance: Rc<Allowance>) -> Self {
        let answering = port.clone();
        let listener = Listener::new(&port, "message", move |event| {
            if let Some(event) = event.dyn_ref::<MessageEvent>() {
                handle(&client, address, &answering, &allowance, &event.data());
            }
        });
        port.start();
        Self { port, listener: Some(listener) }
    }
}

impl Drop for SitePort {
    fn drop(&mut self) {
        self.listener = None;
        self.port.close();
    }
}

fn handle(client: &Client, address: Address, port: &MessagePort, allowance: &Rc<Allowance>, data: &JsValue) {
    let raw = read_fields(data);
    let Some(id) = raw.usable_id() else { return };
    let admitted = admit(allowance).and_then(|()| raw.check());
    let request = match admitted {
        Ok(request) => request,
        Err(error) => return refuse(port, id, error.code(), &error.to_string()),
    };
    // A page that names no version gets the one that is shown: the user is asked before it is another.
    let request = ReadRequest { sequence: request.sequence.or(allowance.shown.get()), ..request };
    allowance.in_flight.set(allowance.in_flight.get() + 1);
    let (client, port, allowance) = (client.clone(), port.clone(), allowance.clone());
    platform::spawn(async move {
        let result = telling(&port, id, read(&client, address, request)).await;
        allowance.in_flight.set(allowance.in_flight.get() - 1);
        match result {
            Ok(content) => deliver(&port, id, content),
            Err(error) => refuse(&port, id, error_code(&error), &error.to_string()),
        }
    });
}

fn admit(allowance: &Allowance) -> Result<(), RequestError> {
    if !allowance.bucket.borrow_mut().take(platform::monotonic_ms()) {
        return Err(RequestError::Rate);
    }
    if allowance.in_flight.get() >= SITE_IN_FLIGHT_MAX {
        return Err(RequestError::Busy);
    }
    Ok(())
}

/// Says, while something goes on, that it goes on.
async fn telling<T>(port: &MessagePort, id: u32, work: impl Future<Output = T>) -> T {
    let mut work = Box::pin(work);
    loop {
        let interval = Box::pin(platform::sleep(Duration::from_millis(PENDING_INTERVAL_MS)));
        work = match select(work, interval).await {
            Either::Left((result, _)) => return result,
            Either::Right(((), work)) => work,
        };
        let _ = port.post_message(&object(&[("id", id.into()), ("pending", true.into())]));
    }
}

async fn read(client: &Client, address: Address, request: ReadRequest) -> Result<Content, ApiError> {
    let ReadRequest { path, offset, max_bytes, sequence, .. } = request;
    match client.call(Command::Read { address, path, offset, max_bytes, sequence }).await? {
        Reply::Content(content) => Ok(content),
        _ => Err(ApiError::Refused { reason: "the node gave another answer than asked for".into() }),
    }
}

/// Reads what is there and of the right type. The message was cloned by the browser: it has no getters to run.
fn read_fields(data: &JsValue) -> RawRequest {
    let field = |name: &str| Reflect::get(data, &JsValue::from_str(name)).ok();
    let number = |name: &str| field(name).and_then(|value| value.as_f64());
    let text = |name: &str| {
        let text = field(name)?.dyn_into::<JsString>().ok()?;
        // Before it is copied: a JavaScript string has at least as many bytes as UTF-16 units.
        (text.length() as usize <= REQUEST_PATH_MAX_BYTES).then(|| String::from(text))
    };
    if !data.is_object() {
        return RawRequest::default();
    }
    let sequence = field("sequence").filter(|value| !value.is_undefined()).map(|value| {
        let digits = value.dyn_into::<JsString>().ok();
        digits.filter(|text| text.length() as usize <= SEQUENCE_MAX_DIGITS).map(String::from).unwrap_or_default()
    });
    let (op, path, max) = (text("op"), text("path"), number("max"));
    RawRequest { id: number("id"), op, path, offset: number("offset"), max, sequence }
}

fn deliver(port: &MessagePort, id: u32, content: Content) {
    timings::mark(|timings| &mut timings.first_bytes_ms);
    // The copy out of wasm memory is what can be transferred.
    let bytes = Uint8Array::from(content.bytes.as_slice()).buffer();
    let fields: [(&str, JsValue); 8] = [
        ("id", id.into()),
        ("ok", true.into()),
        ("sequence", content.sequence.to_string().into()),
        ("path", content.path.into()),
        ("mediaType", content.media_type.into()),
        ("size", (content.size as f64).into()),
        ("offset", (content.offset as f64).into()),
        ("bytes", bytes.clone().into()),
    ];
    let _ = port.post_message_with_transferable(&object(&fields), &Array::of1(&bytes));
}

fn refuse(port: &MessagePort, id: u32, code: &str, message: &str) {
    let fields: [(&str, JsValue); 4] =
        [("id", id.into()), ("ok", false.into()), ("code", code.into()), ("message", message.into())];
    let _ = port.post_message(&object(&fields));
}

fn object(fields: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in fields {
        // A plain new object takes any property.
        let _ = Reflect::set(&object, &JsValue::from_str(name), value);
    }
    object
}
