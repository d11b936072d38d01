//! A stand-in for the bootstrap: serves a folder as the app's origin, with a peer list of the test's choice.

use anyhow::{Result, ensure};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Response, StatusCode, Uri, header},
};
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

/// Where an app looks for first contacts (docs/formats.md, "Peer list").
pub const PEER_LIST_PATH: &str = "/.well-known/meganet/peers";

struct Content {
    dir: Option<PathBuf>,
    peer_list: Vec<u8>,
}

/// A running server. Stops when dropped.
pub struct StaticServer {
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl StaticServer {
    /// Serves `dir` (an empty page everywhere without one), and these bytes as the peer list.
    pub async fn start(dir: Option<PathBuf>, peer_list: Vec<u8>) -> Result<Self> {
        ensure!(dir.as_ref().is_none_or(|dir| dir.is_dir()), "no such folder: {dir:?}");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(answer).with_state(Arc::new(Content { dir, peer_list }));
        let task = tokio::spawn(async move {
            // Ends only with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, task })
    }

    /// The origin as browsers see it, ending in `/`.
    pub fn url(&self) -> String {
        self.url_at("meganet.localhost")
    }

    /// The same by another name of this machine.
    pub fn url_at(&self, host: &str) -> String {
        format!("http://{host}:{}/", self.address.port())
    }
}

impl Drop for StaticServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(content): State<Arc<Content>>, uri: Uri) -> Response<Body> {
    let path = uri.path();
    let (media_type, bytes) = if path == PEER_LIST_PATH {
        ("application/octet-stream", Some(content.peer_list.clone()))
    } else if let Some(dir) = &content.dir {
        let name = if path == "/" { "index.html" } else { path.trim_start_matches('/') };
        let bytes = if meganet_core::path::check(name).is_ok() { std::fs::read(dir.join(name)).ok() } else { None };
        (meganet_core::media::media_type(name), bytes)
    } else {
        ("text/html", Some(b"<!doctype html><title>empty</title>".to_vec()))
    };
    let mut response = Response::new(Body::empty());
    match bytes {
        Some(bytes) => {
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(media_type));
            *response.body_mut() = Body::from(bytes);
        }
        None => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    response
}
