//! Clients that dawdle or crowd, against the accept loop with short times.

use crate::support::{Response, connect};
use axum::{Router, routing::get};
use meganet_bootstrap::server::{self, Limits};
use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    time::Duration,
};
use tokio::sync::oneshot;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

async fn served(limits: Limits) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = server::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let slow = get(async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        "slow"
    });
    let router = Router::new().route("/", get(async || "ok")).route("/slow", slow);
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server::serve(listener, router, limits, async {
        let _ = stopped.await;
    }));
    (address, stop, serving)
}

fn ask(address: SocketAddr) -> Response {
    let mut stream = connect(address);
    stream.write_all(REQUEST).unwrap();
    Response::read(&mut stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_finishes_its_request_is_dropped() {
    let limits = Limits { header_timeout: Duration::from_millis(200), ..Limits::default() };
    let (address, _stop, _serving) = served(limits).await;
    for begun in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
        let mut stream = connect(address);
        stream.write_all(begun).unwrap();
        // Ends only because the server closes; the read itself would wait a minute.
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        assert!(ended.is_ok() || ended.unwrap_err().kind() == std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(ask(address).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requests_headers_have_a_largest_size() {
    let limits = Limits { header_max_bytes: 16 * 1024, ..Limits::default() };
    let (address, _stop, _serving) = served(limits).await;
    let frame = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: \r\n\r\n".len();
    for (size, status) in [(limits.header_max_bytes, 200), (limits.header_max_bytes + 1, 431)] {
        let filling = "x".repeat(size - frame);
        let mut stream = connect(address);
        write!(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {filling}\r\n\r\n").unwrap();
        assert_eq!(Response::read(&mut stream).status, status, "{size} bytes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_after_its_lifetime_whatever_it_does() {
    let limits = Limits { connection_lifetime: Duration::from_millis(300), ..Limits::default() };
    let (address, _stop, _serving) = served(limits).await;
    let mut stream = connect(address);
    let mut answered = 0;
    // Keeps the connection busy with whole requests until it is closed.
    while stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").is_ok() {
        let mut piece = [0; 4096];
        match stream.read(&mut piece) {
            Ok(count) if count > 0 => answered += 1,
            _ => break,
        }
    }
    assert!(answered > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_cap_wait_for_a_place() {
    let limits = Limits { connections_max: 2, header_timeout: Duration::from_millis(500), ..Limits::default() };
    let (address, _stop, _serving) = served(limits).await;
    let idle: Vec<_> = (0..2).map(|_| connect(address)).collect();
    assert_eq!(ask(address).status, 200, "served once an idle connection timed out");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_when_the_server_stops() {
    let (address, stop, serving) = served(Limits::default()).await;
    let mut stream = connect(address);
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.send(()).unwrap();
    assert_eq!(Response::read(&mut stream).text(), "slow");
    serving.await.unwrap();
    assert!(std::net::TcpStream::connect(address).is_err(), "nothing listens any more");
}
