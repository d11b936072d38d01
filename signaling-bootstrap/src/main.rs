//! `meganet-bootstrap`: reads the command line, starts the parts, waits for a signal.

use clap::Parser as _;
use meganet_bootstrap::{
    args::Args,
    files::{Files, NotBuilt},
    http::{self, Web},
    identity::{self, Identity, IdentityError},
    p2p::{self, P2p},
    peers::ListCache,
    server::{self, BindError, Limits},
};
use meganet_host::{
    limits,
    listen::{self, ListenError},
};
use meganet_node::StartError;
use meganet_transport::BuildError;
use serde_json::json;
use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Kademlia warns of having no peers, which is how a first contact begins.
const LOG_FILTER: &str = "warn,libp2p_kad=error,meganet_bootstrap=info";

/// Why the server did not start. In each case nothing was left running.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Tls(#[from] meganet_host::tls::TlsError),
    #[error(transparent)]
    NotBuilt(#[from] NotBuilt),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error("{0}. Peers connect where --p2p-listen says")]
    Listen(#[from] ListenError),
    #[error("{} holds no certificate: {reason}. Restore it from a backup, or move it away: a new one is made then, and the webrtc-direct address changes", .path.display())]
    Certificate { path: PathBuf, reason: String },
    #[error("the node could not start: {0}")]
    Node(#[from] StartError),
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

impl Failure {
    /// A word for programs.
    fn code(&self) -> &'static str {
        match self {
            Failure::NotBuilt(_) => "not_built",
            Failure::Identity(IdentityError::InUse { .. }) => "in_use",
            Failure::Identity(_) | Failure::Certificate { .. } => "identity",
            Failure::Tls(_) => "tls",
            Failure::Bind(_) | Failure::Listen(_) => "listen",
            Failure::Node(_) | Failure::System(_) => "other",
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    let json = args.json;
    match run(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if json {
                let error = json!({ "code": failure.code(), "message": failure.to_string() });
                let _ = writeln!(io::stdout(), "{}", json!({ "error": error }));
            }
            eprintln!("meganet-bootstrap did not start: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let files = args.app_dir.as_deref().map(Files::open).transpose()?;
    let listener = server::bind(args.listen).await?;
    let http_address = listener.local_addr()?;
    let _lock = identity::lock(&args.data_dir)?;
    let identity = Identity::open(&args.data_dir)?;
    let seed = identity.seed;
    let p2p_listen =
        if args.p2p_listen.is_empty() { p2p::default_listen(args.listen) } else { args.p2p_listen.clone() };
    listen::check(&p2p_listen)?;
    limits::raise_open_files();
    let tls = match args.tls_certificate.as_ref().zip(args.tls_key.as_ref()) {
        Some((certificate, key)) => Some(meganet_host::tls::load(certificate, key)?),
        None => None,
    };
    let p2p = P2p::start(identity, p2p_listen, args.external.clone(), tls).await.map_err(|error| match error {
        StartError::Transport(BuildError::Certificate(reason)) => {
            Failure::Certificate { path: identity::certificate_path(&args.data_dir), reason }
        }
        other => other.into(),
    })?;
    announce(&args, http_address.port(), &p2p).await?;

    let web = Web { host: args.host, files, peers: ListCache::new(p2p.clone(), seed) };
    let stop = async { stopped_by(&mut interrupt, &mut terminate).await };
    server::serve(listener, http::router(Arc::new(web)), Limits::default(), stop).await;
    p2p.stop().await;
    Ok(())
}

/// Says that everything listens: connections made from now on are answered.
async fn announce(args: &Args, port: u16, p2p: &P2p) -> io::Result<()> {
    let url = if port == 80 { format!("http://{}/", args.host) } else { format!("http://{}:{port}/", args.host) };
    let addresses: Vec<String> = p2p.addresses().await.iter().map(ToString::to_string).collect();
    let peer_id = p2p.peer_id().to_string();
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({ "event": "ready", "http": url, "peer_id": peer_id, "addresses": addresses }))?;
    } else {
        let what = if args.app_dir.is_some() { "the app" } else { "first contact, without the app" };
        writeln!(out, "Serving {what} at {url}\nPeer {peer_id}, reachable at")?;
        for address in addresses {
            writeln!(out, "  {address}")?;
        }
        writeln!(out, "Stop with Ctrl-C.")?;
    }
    out.flush()
}

async fn stopped_by(interrupt: &mut Signal, terminate: &mut Signal) {
    let name = tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    };
    tracing::info!("{name}: stopping");
}
