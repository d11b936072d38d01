//! Starts the program with a small built app, and speaks HTTP to it byte by byte.

use meganet_core::{address::Address, keys::SiteKey};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Generous: the machine may be busy. Nothing waits this long unless it fails.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// What `--p2p-listen` takes when a test must not meet other programs.
pub const FREE_PORTS: [&str; 2] = ["--p2p-listen", "/ip4/127.0.0.1/tcp/0"];

/// A running `meganet-bootstrap`; killed when dropped.
pub struct Server {
    child: Child,
    pub ready: Value,
    pub address: SocketAddr,
    pub dir: TempDir,
}

/// The program, not started yet.
pub fn program(dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meganet-bootstrap"));
    command.arg("--data-dir").arg(dir.join("data")).arg("--json");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a program that is expected to fail at once.
pub fn failure(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert_eq!(status.code(), Some(1));
    let object: Value = serde_json::from_slice(&stdout).unwrap();
    let message = object["error"]["message"].as_str().unwrap().to_owned();
    assert!(object["error"]["code"].as_str().is_some_and(|code| !code.is_empty()), "{object}");
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(stderr.contains(&message) && !stderr.contains('\u{1b}'), "{stderr:?}");
    message
}

impl Server {
    /// With the app of [`write_dist`], on free ports.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_dist(&dir.path().join("dist"));
        Self::start_in(dir, &[])
    }

    pub fn start_in(dir: TempDir, more: &[&str]) -> Self {
        let mut command = program(dir.path());
        if dir.path().join("dist").exists() {
            command.arg("--app-dir").arg(dir.path().join("dist"));
        }
        command.args(["--listen", "127.0.0.1:0"]).args(more);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
            let _ = child.kill();
            let mut stderr = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut stderr);
            panic!("not ready ({error}): {line:?} {stderr}")
        });
        assert_eq!(ready["event"], "ready");
        let port = ready["http"].as_str().unwrap().rsplit(':').next().unwrap().trim_end_matches('/');
        let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
        Self { child, ready, address, dir }
    }

    pub fn host(&self) -> String {
        format!("meganet.localhost:{}", self.address.port())
    }

    pub fn site_host(&self) -> String {
        format!("{}.{}", site(), self.host())
    }

    pub fn get(&self, host: &str, path: &str) -> Response {
        self.get_with(host, path, &[])
    }

    pub fn get_with(&self, host: &str, path: &str, headers: &[&str]) -> Response {
        let more: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"))
    }

    /// Sends bytes and reads until the server closes.
    pub fn raw(&self, request: &str) -> Response {
        let mut stream = connect(self.address);
        stream.write_all(request.as_bytes()).unwrap();
        Response::read(&mut stream)
    }

    /// Sends a signal by its number's name, and waits for the end.
    pub fn stop(mut self, signal: &str) -> (Option<i32>, TempDir) {
        let sent = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
        let status = self.child.wait().unwrap();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        (status.code(), dir)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ANSWER_WITHIN)).unwrap();
    stream
}

/// A response, as far as tests look at it.
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        // A server that refuses may close before it read everything: what it sent first counts.
        let _ = stream.read_to_end(&mut bytes);
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a response");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: bytes[end + 4..].to_vec() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A site that exists nowhere: only its address matters here.
pub fn site() -> Address {
    SiteKey::from_seed([7; 32]).address()
}

/// What `cargo xtask build` makes, in small.
pub fn write_dist(dist: &Path) {
    for (name, content) in [
        ("app/index.html", "<!doctype html><title>MegaNet</title>"),
        ("app/sw.js", "// the app's service worker"),
        ("app/app-0123456789abcdef.js", "export default 1;"),
        ("app/app-0123456789abcdef.js.br", "brotli bytes"),
        ("app/app-0123456789abcdef.js.gz", "gzip bytes"),
        ("app/app-0123456789abcdef.wasm", "\0asm"),
        ("app/manifest.webmanifest", "{}"),
        ("app/icon.svg", "<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("app/.secret", "secret"),
        ("secret", "secret"),
        ("site/boot.html", "<!doctype html><title>boot</title>"),
        ("site/bridge.html", "<!doctype html><title>bridge</title>"),
        ("site/bridge.js", "// bridge"),
        ("site/sw.js", "// worker"),
    ] {
        let path = dist.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}
