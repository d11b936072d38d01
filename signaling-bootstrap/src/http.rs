//! What is answered to each request: host first, then method, then path.

use crate::{
    files::Files,
    headers::{self, Origin},
    host::{AppHost, RequestHost, Target},
    peers::ListCache,
};
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header},
};
use std::sync::Arc;

const PEERS_PATH: &str = "/.well-known/meganet/peers";
const WORKER_PATH: &str = "/.meganet-sw.js";
const FRAME_PREFIX: &str = "/.meganet/";
/// `Sec-Fetch-Dest` of a page that is shown.
const PAGE_DESTINATIONS: [&str; 3] = ["document", "iframe", "frame"];
const PEERS_CACHE: HeaderValue = HeaderValue::from_static("public, max-age=10");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// What the handlers share.
pub struct Web {
    pub host: AppHost,
    /// `None`: first contact only, no app.
    pub files: Option<Files>,
    pub peers: ListCache,
}

/// The service that answers every request.
pub fn router(web: Arc<Web>) -> Router {
    Router::new().fallback(answer).with_state(web)
}

async fn answer(State(web): State<Arc<Web>>, request: Request) -> Response<Body> {
    let has_cookies = request.headers().contains_key(header::COOKIE);
    let mut response = answer_one(&web, request).await;
    if has_cookies {
        headers::clear_cookies(response.headers_mut());
    }
    response
}

async fn answer_one(web: &Web, request: Request) -> Response<Body> {
    let Some(host) = RequestHost::of(&web.host, request.uri(), request.headers()) else {
        return refuse(web, None, StatusCode::BAD_REQUEST, "The request does not say which host it is for.\n");
    };
    let app_authority = authority(&web.host, host.port);
    let (mut response, origin) = match route(web, &host, &app_authority, request).await {
        Ok(answer) => answer,
        Err((status, text)) => return refuse(web, host.port, status, text),
    };
    headers::secure(response.headers_mut(), origin, &app_authority);
    response
}

type Refusal = (StatusCode, &'static str);

const NOT_FOUND: Refusal = (StatusCode::NOT_FOUND, "There is nothing here.\n");

async fn route(
    web: &Web,
    host: &RequestHost,
    app_authority: &str,
    request: Request,
) -> Result<(Response<Body>, Origin), Refusal> {
    if host.target == Target::Foreign {
        return Err((StatusCode::MISDIRECTED_REQUEST, "This server does not answer for that host name.\n"));
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD are answered.\n"));
    }
    if has_body(request.headers()) {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "Requests with a body are not taken.\n"));
    }
    let is_peers = request.uri().path() == PEERS_PATH;
    match host.target {
        Target::App | Target::Loopback | Target::IpAddress if is_peers => peer_list(web).await,
        Target::App => app_file(web, request).await,
        Target::Site(_) => site_file(web, request).await,
        Target::Loopback => Ok((to_app(app_authority, request.uri())?, Origin::Data)),
        Target::NoSite => Err((StatusCode::NOT_FOUND, "No site has this address. Copy it again, whole.\n")),
        Target::IpAddress | Target::Foreign => {
            Err((StatusCode::MISDIRECTED_REQUEST, "The app is at its host name, not at an IP address.\n"))
        }
    }
}

async fn peer_list(web: &Web) -> Result<(Response<Body>, Origin), Refusal> {
    let bytes = web.peers.current().await.map_err(|error| {
        tracing::warn!(%error, "no peer list");
        (StatusCode::SERVICE_UNAVAILABLE, "The list of peers is not ready. Try again.\n")
    })?;
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CACHE_CONTROL, PEERS_CACHE);
    Ok((response, Origin::Data))
}

async fn app_file(web: &Web, request: Request) -> Result<(Response<Body>, Origin), Refusal> {
    let files = web.files.as_ref().ok_or((
        StatusCode::NOT_FOUND,
        "This server gives first contact only, without the app: it was started without --app-dir.\n",
    ))?;
    let response = files.app(request).await.ok_or(NOT_FOUND)?;
    Ok((response, Origin::App))
}

// This server never has a site's own files: a script that a site publishes can then never come from the network as a
// service worker of its origin.
async fn site_file(web: &Web, request: Request) -> Result<(Response<Body>, Origin), Refusal> {
    let files = web.files.as_ref().ok_or(NOT_FOUND)?;
    let path = request.uri().path().to_owned();
    let response = if path == WORKER_PATH {
        files.site("sw.js", request).await
    } else if let Some(name) = path.strip_prefix(FRAME_PREFIX) {
        files.site(name, request).await
    } else if is_navigation(request.headers()) {
        let mut response = files.site("boot.html", request).await;
        if let Some(response) = &mut response {
            response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
        }
        response
    } else {
        None
    };
    Ok((response.ok_or(NOT_FOUND)?, Origin::Site))
}

/// Whether a browser asks for a page to show: by its Fetch metadata, or by what it accepts where it sends none. A
/// download link is a navigation too, one that passes the service worker by: it must not save the boot page as its file.
fn is_navigation(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-mode"), text("sec-fetch-dest")) {
        (Some(mode), dest) => mode == "navigate" && dest.is_none_or(|dest| PAGE_DESTINATIONS.contains(&dest)),
        (None, _) => text("accept").is_some_and(|accept| accept.contains("text/html")),
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

fn authority(host: &AppHost, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

fn to_app(app_authority: &str, uri: &Uri) -> Result<Response<Body>, Refusal> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let location = HeaderValue::try_from(format!("http://{app_authority}{path}")).map_err(|_| NOT_FOUND)?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(header::LOCATION, location);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

fn refuse(web: &Web, port: Option<u16>, status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    if matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::PAYLOAD_TOO_LARGE) {
        // A body that nobody reads must not be taken for the next request.
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    headers::secure(headers, Origin::Data, &authority(&web.host, port));
    response
}
