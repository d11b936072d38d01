//! What a node is started with: one preset per role instead of many knobs.

use crate::limits;
use libp2p::Multiaddr;
use meganet_transport::{StunServers, WebSocketTls};
use std::time::Duration;

/// What a node does for the swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// In a browser: Kademlia client, dials `webrtc-direct`, reserves a slot at a relay.
    Tab,
    /// A daemon: Kademlia server, relay, listens.
    Native,
    /// First contact: Kademlia server and relay, stores no sites.
    Bootstrap,
    /// A command-line run that ends soon: Kademlia client, does not listen.
    ShortLived,
}

impl Role {
    /// Whether the DHT may store records here and route through here.
    pub fn is_server(self) -> bool {
        matches!(self, Role::Native | Role::Bootstrap)
    }

    /// The longest wait before the first contact is tried again.
    pub(crate) fn join_retry_max(self) -> Duration {
        if self == Role::Tab { limits::TAB_JOIN_RETRY_MAX } else { limits::JOIN_RETRY_MAX }
    }

    /// First contacts that are tried at once.
    pub(crate) fn first_contacts_at_once(self) -> usize {
        if self == Role::Tab { limits::TAB_FIRST_CONTACTS_AT_ONCE } else { limits::BOOTSTRAP_ADDRESSES_MAX }
    }

    pub(crate) fn connections_max(self) -> u32 {
        match self {
            Role::Tab | Role::ShortLived => limits::TAB_CONNECTIONS_MAX,
            Role::Native | Role::Bootstrap => limits::NATIVE_CONNECTIONS_MAX,
        }
    }
}

/// What a node is started with.
#[derive(Clone)]
pub struct NodeConfig {
    pub role: Role,
    /// Seed of the node's Ed25519 identity. Keep it: the peer id follows from it.
    pub identity_seed: [u8; 32],
    /// Where to listen; empty for a tab.
    pub listen: Vec<Multiaddr>,
    /// Addresses others reach this node at, when it cannot know them itself (behind a port forwarding).
    pub external: Vec<Multiaddr>,
    /// Needed for `webrtc-direct` listeners; see `meganet_transport::generate_certificate_pem`.
    pub webrtc_certificate_pem: Option<String>,
    /// Who is asked for this node's address as others see it. Unless some are set, native peers that it is connected to.
    pub stun: StunServers,
    /// Carry so many bytes an hour of content, as a relay between peers that find no direct path. `None`: signalling only.
    pub relay_content_bytes_per_hour: Option<u64>,
    /// For listeners on `wss`.
    pub websocket_tls: Option<WebSocketTls>,
    /// First contacts, each ending in `/p2p/PEER`. More can be added later.
    pub bootstrap: Vec<Multiaddr>,
    /// Name and version shown to other peers.
    pub agent: String,
    /// Bytes of chunks kept of sites that are neither pinned nor own.
    pub store_quota_bytes: u64,
    /// Whether to announce and serve from the start.
    pub contribute: bool,
}

impl NodeConfig {
    fn preset(role: Role, identity_seed: [u8; 32], contribute: bool, store_quota_bytes: u64) -> Self {
        Self {
            role,
            identity_seed,
            listen: Vec::new(),
            external: Vec::new(),
            webrtc_certificate_pem: None,
            stun: StunServers::default(),
            relay_content_bytes_per_hour: None,
            websocket_tls: None,
            bootstrap: Vec::new(),
            agent: format!("meganet/{}", env!("CARGO_PKG_VERSION")),
            store_quota_bytes,
            contribute,
        }
    }

    /// A node in a tab: serves nothing until its user agrees.
    pub fn tab(identity_seed: [u8; 32]) -> Self {
        Self::preset(Role::Tab, identity_seed, false, 512 * 1024 * 1024)
    }

    /// A daemon on a server.
    pub fn native(identity_seed: [u8; 32]) -> Self {
        Self::preset(Role::Native, identity_seed, true, 20 * 1024 * 1024 * 1024)
    }

    /// The first contact.
    pub fn bootstrap(identity_seed: [u8; 32]) -> Self {
        Self::preset(Role::Bootstrap, identity_seed, false, 0)
    }

    /// A node for one command.
    pub fn short_lived(identity_seed: [u8; 32]) -> Self {
        Self::preset(Role::ShortLived, identity_seed, true, 20 * 1024 * 1024 * 1024)
    }
}

impl std::fmt::Debug for NodeConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The seed and the certificate's key stay out of logs.
        f.debug_struct("NodeConfig")
            .field("role", &self.role)
            .field("listen", &self.listen)
            .field("external", &self.external)
            .field("bootstrap", &self.bootstrap)
            .finish_non_exhaustive()
    }
}
