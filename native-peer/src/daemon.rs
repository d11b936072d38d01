//! `meganet peer`: a node that stays.

use crate::{
    bootstrap::{self, Bootstrap},
    client::{STOP_TIMEOUT, stop, store_quota},
    data_dir::DataDir,
    error::CommandError,
    output::Output,
    secrets,
    socket::{Backend, server::Server},
    store::FileStore,
    text,
};
use futures::{FutureExt, StreamExt, future::BoxFuture, stream::BoxStream};
use libp2p::Multiaddr;
use meganet_node::{
    Node, NodeHandle, StartError,
    api::{ApiError, Command, Event, NoDirectPath, Phase, Reply, Status},
    config::NodeConfig,
};
use meganet_transport::{BuildError, StunServers, WebSocketTls};
use serde_json::json;
use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// How long the listeners may take to say where they listen, in steps of [`ADDRESS_POLL`].
const ADDRESS_POLLS: u32 = 50;
const ADDRESS_POLL: Duration = Duration::from_millis(100);

/// What a daemon is started with.
#[derive(Debug, Clone)]
pub struct PeerOptions {
    pub listen: Vec<Multiaddr>,
    pub external: Vec<Multiaddr>,
    /// Certificate and key for `wss`.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub stun: Vec<SocketAddr>,
    /// Bytes of content an hour that its relay carries.
    pub relay_content: Option<u64>,
    pub bootstrap: Vec<Bootstrap>,
    /// `None`: the one it was given last.
    pub quota_bytes: Option<u64>,
}

struct NodeBackend(NodeHandle);

impl Backend for NodeBackend {
    fn call(&self, command: Command) -> BoxFuture<'static, Result<Reply, ApiError>> {
        let handle = self.0.clone();
        async move { handle.call(command).await }.boxed()
    }

    fn events(&self) -> BoxStream<'static, Event> {
        self.0.events().boxed()
    }
}

/// Runs until SIGINT, SIGTERM, or a client's `Shutdown`.
///
/// # Errors
/// [`CommandError`]: the data directory is in use or unusable, or an address cannot be listened on.
pub async fn run(directory: &DataDir, options: PeerOptions, output: Output) -> Result<(), CommandError> {
    // Before anything else: a signal during the start ends it in order too.
    let (mut interrupt, mut terminate) = signals()?;
    let lock = directory.lock()?;
    // Commands that come while the node starts wait for it instead of finding the directory locked.
    let server = Server::bind(&directory.socket())?;
    meganet_host::listen::check(&options.listen)?;
    let websocket_tls = match &options.tls {
        Some((certificate, key)) => Some(meganet_host::tls::load(certificate, key)?),
        None => None,
    };
    meganet_host::limits::raise_open_files();
    let seed = secrets::identity(&directory.identity())?;
    let certificate = secrets::certificate(&directory.certificate(), || {
        meganet_transport::generate_certificate_pem().map_err(|error| error.to_string())
    })?;
    let quota_bytes = directory.quota(options.quota_bytes)?;
    if options.quota_bytes.is_some() {
        directory.keep_quota(quota_bytes)?;
    }
    let store = FileStore::open(&directory.store(), store_quota(quota_bytes)).await?;
    let (addresses, pages) = bootstrap::split(&options.bootstrap);
    let listeners = options.listen.len();
    let stun = StunServers::default();
    stun.set(options.stun);
    let config = NodeConfig {
        stun,
        relay_content_bytes_per_hour: options.relay_content,
        websocket_tls: websocket_tls
            .map(|tls| WebSocketTls { certificates_der: tls.certificates_der, key_der: tls.key_der }),
        listen: options.listen,
        external: options.external,
        bootstrap: addresses,
        webrtc_certificate_pem: Some(certificate),
        store_quota_bytes: quota_bytes,
        ..NodeConfig::native(seed)
    };
    let handle = Node::start(config, Arc::new(store)).await.map_err(|error| match error {
        StartError::Transport(BuildError::Certificate(reason)) => {
            CommandError::Certificate { path: directory.certificate(), reason }
        }
        other => other.into(),
    })?;
    let mut events = handle.events();
    let mut background = tokio::task::JoinSet::new();
    background.spawn(server.run(Arc::new(NodeBackend(handle.clone()))));
    for page in pages {
        let handle = handle.clone();
        background.spawn(bootstrap::follow(
            page,
            move |addresses| {
                let handle = handle.clone();
                async move { handle.add_bootstrap(addresses).await }
            },
            move |error| output.note(&error.to_string()),
        ));
    }

    let status = ready(&handle, listeners).await;
    report_ready(output, directory, &status);
    let mut last = None;
    if let Some(status) = status {
        // It may have joined before anybody listened to events.
        report(output, &Event::Status(status), &mut last);
    }
    let ended = loop {
        tokio::select! {
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            event = events.next() => match event {
                Some(Event::Status(Status { phase: Phase::Stopped, .. })) | None => break Ok(()),
                Some(event) => report(output, &event, &mut last),
            },
        }
    };
    background.shutdown().await;
    stop(&handle).await;
    // The store's last writes are done when its node has let go of it; the lock is the last thing to go.
    drop(handle);
    drop(lock);
    output.print(&json!({"event": "stopped"}), "stopped");
    ended
}

type Signals = (tokio::signal::unix::Signal, tokio::signal::unix::Signal);

fn signals() -> Result<Signals, CommandError> {
    let listen = |kind| signal(kind).map_err(|error| CommandError::Other(format!("signals: {error}")));
    Ok((listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?))
}

/// The status once every listener has an address, or after a while.
async fn ready(handle: &NodeHandle, listeners: usize) -> Option<Status> {
    let mut last = None;
    for _ in 0..ADDRESS_POLLS {
        if let Ok(Ok(Reply::Status(status))) = tokio::time::timeout(STOP_TIMEOUT, handle.call(Command::Status)).await {
            let complete = status.addresses.len() >= listeners;
            last = Some(status);
            if complete {
                break;
            }
        }
        tokio::time::sleep(ADDRESS_POLL).await;
    }
    last
}

fn report_ready(output: Output, directory: &DataDir, status: &Option<Status>) {
    let (peer_id, addresses) = status
        .as_ref()
        .map_or((String::new(), Vec::new()), |status| (status.peer_id.clone(), status.addresses.clone()));
    let (socket, data_dir) = (text::path(&directory.socket()), text::path(directory.path()));
    let object = json!({
        "event": "ready", "peer_id": peer_id, "addresses": addresses, "socket": socket,
        "data_dir": data_dir, "pid": std::process::id(),
    });
    let mut lines = format!("peer {peer_id}\ndata {}\n", directory.path().display());
    for address in &addresses {
        lines.push_str(&format!("listening on {address}\n"));
    }
    lines.push_str("ready; Ctrl-C stops it");
    output.print(&object, &lines);
}

/// What a status line shows; one is printed when it changes.
#[derive(PartialEq)]
struct Shown {
    phase: Phase,
    peers: usize,
    addresses: Vec<String>,
    no_direct_path: Vec<NoDirectPath>,
}

fn report(output: Output, event: &Event, last: &mut Option<Shown>) {
    match event {
        Event::Status(status) => {
            let shown = Shown {
                phase: status.phase.clone(),
                peers: status.peers.len(),
                addresses: status.addresses.clone(),
                no_direct_path: status.no_direct_path.clone(),
            };
            if last.as_ref() == Some(&shown) {
                return;
            }
            let object = json!({
                "event": "status", "phase": status.phase, "peers": shown.peers, "addresses": shown.addresses,
                "sites": status.sites, "stored_bytes": status.stored_bytes, "no_direct_path": shown.no_direct_path,
            });
            let mut line = format!("{}; {} peers", phase(&status.phase), shown.peers);
            for path in &shown.no_direct_path {
                line.push_str("; ");
                line.push_str(&no_direct_path(path));
            }
            output.print(&object, &line);
            *last = Some(shown);
        }
        Event::SiteUpdated { address, sequence } => output.print(
            &json!({"event": "site_updated", "address": address, "sequence": sequence}),
            &format!("{} is now at version {sequence}", address.short()),
        ),
        Event::Problem { message } => {
            let message = text::printable(message, 500);
            output.print(&json!({"event": "problem", "message": message}), &format!("problem: {message}"));
        }
        // A daemon's log is no place for the progress of its clients.
        Event::Progress(_) => {}
    }
}

/// That there is no direct path to a peer, and what became of its content.
pub fn no_direct_path(path: &NoDirectPath) -> String {
    let content = match &path.relay {
        Some(relay) => format!("content comes over {relay}'s relay"),
        None => "no relay carries its content".to_owned(),
    };
    format!("no direct path to {}: {content}", path.peer_id)
}

/// A phase in words.
pub fn phase(phase: &Phase) -> String {
    match phase {
        Phase::Starting => "starting".into(),
        Phase::Joining => "joining: asking the bootstrap for peers".into(),
        Phase::Joined => "joined".into(),
        Phase::Offline { retry_in_ms, reason } => {
            let reason = text::printable(reason, 200);
            format!("offline: {reason}; trying again in {} s", retry_in_ms.div_ceil(1000))
        }
        Phase::Stopped => "stopped".into(),
    }
}
