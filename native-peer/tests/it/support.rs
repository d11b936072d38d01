//! Data directories, sites, and processes that end with their test.

use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

/// Lines of a daemon that wait to be looked at.
const LINES_MAX: usize = 10_000;
/// How long a test waits for something that takes a second on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A temporary place with a data directory and a folder to publish.
pub struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Place { directory: tempfile::tempdir().expect("a temporary directory") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A folder `site` with these files.
    pub fn site(&self, files: &[(&str, &[u8])]) -> PathBuf {
        let site = self.path("site");
        write_files(&site, files);
        site
    }

    /// `meganet` on this place's data directory.
    pub fn meganet<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = meganet();
        command.arg("--data-dir").arg(self.data()).args(arguments);
        command
    }

    /// Runs a command to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        Run::of(self.meganet(arguments))
    }

    /// Runs a command with `--json`.
    pub fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Run {
        let mut command = self.meganet(["--json"]);
        command.args(arguments);
        Run::of(command)
    }

    /// Starts `meganet peer` on free loopback ports and waits until it is ready.
    pub fn peer(&self, more: &[&str]) -> Peer {
        Peer::start(self, more)
    }
}

/// `meganet` without the environment's settings.
pub fn meganet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meganet"));
    for name in ["MEGANET_DATA_DIR", "MEGANET_BOOTSTRAP", "MEGANET_QUOTA", "MEGANET_PAGE", "MEGANET_PASSPHRASE"] {
        command.env_remove(name);
    }
    command
}

pub fn write_files(folder: &Path, files: &[(&str, &[u8])]) {
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, content).expect("a file");
    }
}

/// Bytes that neither repeat nor compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// Every file of a folder with its bytes, sorted.
pub fn tree(folder: &Path) -> Vec<(String, Vec<u8>)> {
    fn walk(at: &Path, base: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in fs::read_dir(at).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, base, found);
            } else {
                let name = path.strip_prefix(base).expect("inside").to_string_lossy().into_owned();
                found.push((name, fs::read(&path).expect("a file")));
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

/// A finished command.
pub struct Run {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Run {
    pub fn of(mut command: Command) -> Self {
        let Output { status, stdout, stderr } = command.output().expect("meganet runs");
        Run {
            status,
            out: String::from_utf8_lossy(&stdout).into_owned(),
            err: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.status.success(), "{:?}\n{}\n{}", self.status, self.out, self.err);
        self
    }

    /// The JSON objects printed, one a line.
    #[track_caller]
    pub fn objects(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        self.out.lines().map(parse).collect()
    }

    /// The object of an event.
    #[track_caller]
    pub fn event(&self, name: &str) -> Value {
        let found = self.objects().into_iter().find(|object| object["event"] == name);
        found.unwrap_or_else(|| panic!("no {name:?} in {}\n{}", self.out, self.err))
    }

    /// The code of the error printed.
    #[track_caller]
    pub fn error_code(&self) -> String {
        let objects = self.objects();
        let error = &objects.last().unwrap_or_else(|| panic!("no output; {}", self.err))["error"];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
        error["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A running daemon, killed when dropped.
pub struct Peer {
    child: Child,
    lines: mpsc::Receiver<Value>,
    pub ready: Value,
}

impl Peer {
    fn start(place: &Place, more: &[&str]) -> Self {
        let mut command = place.meganet(["--json", "peer"]);
        let listen = ["/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/webrtc-direct"];
        command.args(listen.iter().flat_map(|address| ["--listen", address])).args(more);
        Self::spawn(command)
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("meganet runs");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::sync_channel(LINES_MAX);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let Ok(value) = serde_json::from_str(&line) else { panic!("not JSON: {line}") };
                let _ = sender.send(value);
            }
        });
        let mut peer = Peer { child, lines, ready: Value::Null };
        peer.ready = peer.event("ready");
        peer
    }

    /// Waits for an event.
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(value) if value["event"] == name => return value,
                Ok(value) if value.get("error").is_some() => panic!("{value}"),
                Ok(_) => {}
                Err(error) => panic!("no {name:?}: {error}; {}", self.stderr()),
            }
        }
    }

    /// The first address whose text contains this.
    pub fn address(&self, part: &str) -> String {
        let addresses = self.ready["addresses"].as_array().expect("addresses");
        let found = addresses.iter().filter_map(Value::as_str).find(|address| address.contains(part));
        found.unwrap_or_else(|| panic!("no {part} in {addresses:?}")).to_owned()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status().expect("kill runs");
        assert!(status.success());
    }

    /// Ends it with a signal and returns how it ended.
    pub fn stop(mut self, signal: &str) -> ExitStatus {
        self.signal(signal);
        self.child.wait().expect("it ends")
    }

    fn stderr(&mut self) -> String {
        let _ = self.child.kill();
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `check` until it gives something.
#[track_caller]
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = std::time::Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(100));
    }
}
