//! A small HTTP/1.1 client for loopback: browsers are driven through it, and tests look at what the bootstrap serves.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use std::{sync::Arc, time::Duration};
use thirtyfour::{
    error::{WebDriverError, WebDriverResult},
    session::http::{Body, HttpClient},
};

/// Longer than any WebDriver command may take: page loads and scripts are bounded by the session's own time-outs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(150);

/// Fetches a `http://` address of this machine. Any name that ends in `.localhost` means this machine, as in a browser.
pub async fn get(url: &str) -> Result<Response<Bytes>> {
    send(Request::get(url).body(Full::default())?).await
}

/// Sends one request over a connection of its own.
async fn send(request: Request<Full<Bytes>>) -> Result<Response<Bytes>> {
    let (mut parts, body) = request.into_parts();
    let authority = parts.uri.authority().context("a URL without a host")?.clone();
    let port = authority.port_u16().unwrap_or(80);
    parts.headers.insert(http::header::HOST, authority.as_str().parse()?);
    parts.uri = parts.uri.path_and_query().map_or("/", |path| path.as_str()).parse::<Uri>()?;

    let exchange = async {
        let socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(Request::from_parts(parts, body)).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        drop(sender);
        driver.abort();
        anyhow::Ok(Response::from_parts(head, body))
    };
    tokio::time::timeout(ANSWER_TIMEOUT, exchange)
        .await
        .with_context(|| format!("{authority} did not answer"))?
        .with_context(|| format!("no HTTP answer from {authority}"))
}

/// The client that [`thirtyfour`] talks to a browser's driver with.
pub(crate) struct DriverClient;

#[async_trait::async_trait]
impl HttpClient for DriverClient {
    async fn send(&self, request: Request<Body<'_>>) -> WebDriverResult<Response<Bytes>> {
        let (parts, body) = request.into_parts();
        let body = match body {
            Body::Empty => Bytes::new(),
            Body::Json(json) => Bytes::from(json.to_string()),
        };
        send(Request::from_parts(parts, Full::new(body)))
            .await
            .map_err(|error| WebDriverError::RequestFailed(format!("{error:#}")))
    }

    async fn new(&self) -> Arc<dyn HttpClient> {
        Arc::new(DriverClient)
    }
}
