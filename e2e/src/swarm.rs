//! A bootstrap and native peers, and the `meganet` command line: real processes on loopback.

use crate::{places, process::Process};
use anyhow::{Context, Result, ensure};
use meganet_core::address::Address;
use rustix::process::Signal;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// What native processes listen on: every transport, ports chosen by the system.
const P2P_LISTEN: &[&str] = &[
    "/ip4/127.0.0.1/udp/0/webrtc-direct",
    "/ip4/127.0.0.1/udp/0/quic-v1",
    "/ip4/127.0.0.1/tcp/0",
    "/ip4/127.0.0.1/tcp/0/ws",
];

/// A bootstrap, and where its peers' files go.
pub struct Swarm {
    dir: PathBuf,
    app: Option<PathBuf>,
    bootstrap: Process,
    ready: BootstrapReady,
}

/// What `meganet-bootstrap --json` prints when it serves.
#[derive(Debug, Clone, Deserialize)]
pub struct BootstrapReady {
    /// The app's address.
    pub http: String,
    pub peer_id: String,
    /// Multiaddrs that end in `/p2p/PEER`.
    pub addresses: Vec<String>,
}

impl Swarm {
    /// Starts a bootstrap that serves the built app, its files and logs below `dir`.
    pub async fn start(dir: &Path) -> Result<Self> {
        Self::with_app(dir, Some(places::dist()?)).await
    }

    /// Starts a bootstrap that is first contact only.
    pub async fn without_app(dir: &Path) -> Result<Self> {
        Self::with_app(dir, None).await
    }

    async fn with_app(dir: &Path, app: Option<PathBuf>) -> Result<Self> {
        let (bootstrap, ready) = start_bootstrap(dir, app.as_deref(), 0).await?;
        Ok(Self { dir: dir.to_path_buf(), app, bootstrap, ready })
    }

    /// The app's address, ending in `/`.
    pub fn url(&self) -> String {
        format!("http://meganet.localhost:{}/", self.port())
    }

    /// A link that opens a file of a site in the app; the entry page for an empty path.
    pub fn link(&self, address: &Address, path: &str) -> String {
        format!("{}#/{address}/{path}", self.url())
    }

    /// The origin a site's frame has.
    pub fn site_url(&self, address: &Address) -> String {
        format!("http://{address}.meganet.localhost:{}/", self.port())
    }

    /// What the bootstrap said when it was ready.
    pub fn bootstrap(&self) -> &BootstrapReady {
        &self.ready
    }

    /// Starts a native peer, and waits until it has joined through the bootstrap; with an empty store unless one of this name ran before.
    pub async fn peer(&self, name: &str) -> Result<Peer> {
        self.peer_with(name, P2P_LISTEN, &[]).await
    }

    /// The same, listening on these addresses and with more arguments.
    pub async fn peer_with(&self, name: &str, listen: &[&str], more: &[OsString]) -> Result<Peer> {
        Peer::start(&self.dir, name, &self.contact(), listen, more).await
    }

    /// The command line with a data directory of its own and no daemon: each command runs a short-lived node.
    pub fn commands(&self, name: &str) -> Commands {
        Commands::new(&self.dir, name, &self.contact())
    }

    /// SIGKILLs the bootstrap. The swarm goes on without it, if it can.
    pub fn kill_bootstrap(&mut self) {
        self.bootstrap.kill();
    }

    pub fn signal_bootstrap(&mut self, signal: Signal) -> Result<()> {
        self.bootstrap.signal(signal)
    }

    /// Starts the bootstrap again, after a kill, on the same port and with the same keys.
    pub async fn restart_bootstrap(&mut self) -> Result<()> {
        (self.bootstrap, self.ready) = start_bootstrap(&self.dir, self.app.as_deref(), self.port()).await?;
        Ok(())
    }

    /// What native peers are given as first contact. Their host names are resolved by the system, and not every system
    /// knows `*.localhost`.
    fn contact(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port())
    }

    fn port(&self) -> u16 {
        let port = self.ready.http.trim_end_matches('/').rsplit(':').next();
        port.and_then(|port| port.parse().ok()).unwrap_or(80)
    }
}

/// Starts one of the programs, in a network namespace if one is named.
fn start_process(
    namespace: Option<&str>,
    name: &str,
    dir: &Path,
    program: &str,
    arguments: Vec<OsString>,
) -> Result<Process> {
    let program = places::binary(program)?;
    match namespace {
        None => Process::start(name, dir, &program, arguments),
        Some(namespace) => {
            let inside: Vec<OsString> = vec!["netns".into(), "exec".into(), namespace.into(), program.into()];
            Process::start(name, dir, Path::new("ip"), inside.into_iter().chain(arguments))
        }
    }
}

/// Starts a bootstrap without an app in a network namespace.
pub async fn bootstrap_in(namespace: &str, dir: &Path, listen: &[&str]) -> Result<(Process, BootstrapReady)> {
    let mut arguments: Vec<OsString> = vec!["--listen".into(), "127.0.0.1:0".into()];
    for listen in listen {
        arguments.extend(["--p2p-listen".into(), listen.into()]);
    }
    arguments.extend(["--data-dir".into(), dir.join("bootstrap").into(), "--json".into()]);
    let mut process = start_process(Some(namespace), "bootstrap", dir, "meganet-bootstrap", arguments)?;
    let ready = process.json_line("its ready line").await?;
    Ok((process, ready))
}

async fn start_bootstrap(dir: &Path, app: Option<&Path>, port: u16) -> Result<(Process, BootstrapReady)> {
    let mut arguments: Vec<OsString> = vec!["--listen".into(), format!("127.0.0.1:{port}").into()];
    for listen in P2P_LISTEN {
        arguments.extend(["--p2p-listen".into(), listen.into()]);
    }
    if let Some(app) = app {
        arguments.extend(["--app-dir".into(), app.into()]);
    }
    arguments.extend(["--data-dir".into(), dir.join("bootstrap").into(), "--json".into()]);
    let mut process = Process::start("bootstrap", dir, &places::binary("meganet-bootstrap")?, arguments)?;
    let ready = process.json_line("its ready line").await?;
    Ok((process, ready))
}

/// A running `meganet peer`, and commands that talk to it.
pub struct Peer {
    process: Process,
    ready: PeerReady,
    commands: Commands,
}

/// What `meganet peer --json` prints when it listens.
#[derive(Debug, Clone, Deserialize)]
pub struct PeerReady {
    pub peer_id: String,
    pub addresses: Vec<String>,
}

/// What it prints when its state changes.
#[derive(Deserialize)]
struct PeerStatus {
    /// A name, or an object when there is more to say.
    phase: serde_json::Value,
}

impl Peer {
    async fn start(dir: &Path, name: &str, bootstrap: &str, listen: &[&str], more: &[OsString]) -> Result<Self> {
        Self::start_in(None, dir, name, bootstrap, listen, more).await
    }

    /// Starts one in a network namespace, if one is named.
    pub async fn start_in(
        namespace: Option<&str>,
        dir: &Path,
        name: &str,
        bootstrap: &str,
        listen: &[&str],
        more: &[OsString],
    ) -> Result<Self> {
        let commands = Commands::new(dir, name, bootstrap);
        let mut arguments: Vec<OsString> = vec!["peer".into(), "--json".into()];
        arguments.extend([
            "--data-dir".into(),
            commands.data_dir.clone().into(),
            "--bootstrap".into(),
            bootstrap.into(),
        ]);
        for listen in listen {
            arguments.extend(["--listen".into(), listen.into()]);
        }
        arguments.extend_from_slice(more);
        let mut process = start_process(namespace, name, dir, "meganet", arguments)?;
        let ready = process.json_line("its ready line").await?;
        let joined = |line: &str| {
            let event: PeerStatus = serde_json::from_str(line).ok()?;
            (event.phase == "Joined").then_some(())
        };
        process.line("the word that it has joined", joined).await?;
        Ok(Self { process, ready, commands })
    }

    pub fn peer_id(&self) -> &str {
        &self.ready.peer_id
    }

    /// Its own multiaddrs, each with `/p2p/PEER`.
    pub fn addresses(&self) -> &[String] {
        &self.ready.addresses
    }

    /// The command line, talking to this daemon.
    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// SIGKILL. Its data directory stays, and a peer of the same name starts from it.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Waits for a line of its output that contains this.
    pub async fn says(&mut self, text: &str) -> Result<()> {
        self.process.line(&format!("the words {text}"), |line| line.contains(text).then_some(())).await
    }

    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }
}

/// The `meganet` command line with one data directory.
#[derive(Debug, Clone)]
pub struct Commands {
    log_dir: PathBuf,
    data_dir: PathBuf,
    name: String,
    bootstrap: String,
}

/// What `meganet publish --json` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct Published {
    pub address: Address,
    pub sequence: u64,
    /// Answers of other peers that took the head.
    pub stored_on: u32,
}

/// What `meganet providers --json` prints.
#[derive(Debug, Clone, Deserialize)]
pub struct Providers {
    pub providers: Vec<String>,
}

impl Commands {
    fn new(dir: &Path, name: &str, bootstrap: &str) -> Self {
        Self {
            log_dir: dir.to_path_buf(),
            data_dir: dir.join(format!("{name}-data")),
            name: name.to_owned(),
            bootstrap: bootstrap.to_owned(),
        }
    }

    /// Starts one command without waiting for it.
    pub fn start(&self, verb: &str, arguments: &[OsString]) -> Result<Process> {
        let mut all: Vec<OsString> =
            vec![verb.into(), "--json".into(), "--data-dir".into(), self.data_dir.clone().into()];
        all.extend(["--bootstrap".into(), self.bootstrap.clone().into()]);
        all.extend_from_slice(arguments);
        Process::start(&format!("{}-{verb}", self.name), &self.log_dir, &places::binary("meganet")?, all)
    }

    /// Runs one command to its end, which must be success, and decodes the first line of output that has this form.
    pub async fn run<T: DeserializeOwned>(&self, verb: &str, arguments: &[OsString]) -> Result<T> {
        let mut process = self.start(verb, arguments)?;
        let status = process.ended().await?;
        let output = process.stdout()?;
        ensure!(status.success(), "meganet {verb} ended with {status}\n{output}{}", process.stderr_tail());
        let decoded = output.lines().find_map(|line| serde_json::from_str(line).ok());
        decoded.with_context(|| format!("meganet {verb} printed {output}"))
    }

    /// Runs one command that must fail, and gives its exit code and what it wrote to its error output.
    pub async fn run_to_failure(&self, verb: &str, arguments: &[OsString]) -> Result<(i32, String)> {
        let mut process = self.start(verb, arguments)?;
        let status = process.ended().await?;
        ensure!(!status.success(), "meganet {verb} succeeded: {}", process.stdout()?);
        Ok((status.code().context("it was killed")?, process.stderr_tail()))
    }

    pub async fn publish(&self, folder: &Path) -> Result<Published> {
        self.run("publish", &[folder.into()]).await
    }

    /// Fetches a site into a folder that does not exist yet.
    pub async fn get(&self, address: &Address, into: &Path) -> Result<()> {
        let _: serde_json::Value = self.run("get", &[address.to_string().into(), into.into()]).await?;
        Ok(())
    }

    /// Who provides a site, by a lookup now.
    pub async fn providers(&self, address: &Address) -> Result<Vec<String>> {
        let answer: Providers = self.run("providers", &[address.to_string().into()]).await?;
        Ok(answer.providers)
    }
}
