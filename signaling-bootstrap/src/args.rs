//! The command line.

use crate::host::AppHost;
use clap::Parser;
use meganet_node::Multiaddr;
use std::{env, net::SocketAddr, path::PathBuf};

const EXAMPLES: &str = "\
Examples:
  Try it on this machine, then open http://meganet.localhost:8080/
    meganet-bootstrap --app-dir dist

  First contact only, for native peers and for pages served elsewhere
    meganet-bootstrap --listen 0.0.0.0:8080 --external /ip4/203.0.113.5

  A public server, behind a proxy that ends TLS for HOST and *.HOST and keeps the Host header
    meganet-bootstrap --app-dir dist --host meganet.example --p2p-listen /ip4/0.0.0.0/udp/4001/webrtc-direct \\
      --p2p-listen /ip4/0.0.0.0/udp/4002/quic-v1 --p2p-listen /ip4/0.0.0.0/tcp/4001 --external /ip4/203.0.113.5

Ports, unless --p2p-listen says otherwise: HTTP port + 1000 for webrtc-direct (UDP) and TCP, + 2000 for QUIC (UDP), + 3000 for WebSocket (TCP).";

/// First contact for MegaNet: serves the app, a signed list of peers, and a relay for signalling.
#[derive(Debug, Parser)]
#[command(name = "meganet-bootstrap", version, after_help = EXAMPLES)]
pub struct Args {
    /// Where to serve HTTP; port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where peers connect, a multiaddr (webrtc-direct, QUIC or TCP); may be given several times.
    #[arg(long, value_name = "MULTIADDR")]
    pub p2p_listen: Vec<Multiaddr>,
    /// An address that others reach this server at, when it cannot see it itself: a whole multiaddr, or only its host,
    /// such as /ip4/203.0.113.5, for every listener. May be given several times.
    #[arg(long, value_name = "MULTIADDR")]
    pub external: Vec<Multiaddr>,
    /// The TLS certificate for listeners on wss (PEM, with those that vouch for it); needs --tls-key.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_certificate: Option<PathBuf>,
    /// Its private key (PEM, PKCS#8).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    pub tls_key: Option<PathBuf>,
    /// The folder that `cargo xtask build` made. Without it there is first contact only.
    #[arg(long, value_name = "DIST")]
    pub app_dir: Option<PathBuf>,
    /// Where the identity key and the WebRTC certificate are kept, the only state.
    #[arg(long, value_name = "DIR", env = "MEGANET_BOOTSTRAP_DATA", default_value_os_t = default_data_dir())]
    pub data_dir: PathBuf,
    /// The app's host name; sites are at ADDRESS.HOST.
    #[arg(long, value_name = "HOST", default_value = "meganet.localhost")]
    pub host: AppHost,
    /// Print events as JSON, one a line.
    #[arg(long)]
    pub json: bool,
}

fn default_data_dir() -> PathBuf {
    let base = env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    base.unwrap_or_default().join("meganet-bootstrap")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }
}
