//! Every bound of the node that is not a format's, in one place. Starting values: threats.md, "Budgets".

use std::time::Duration;

/// Protocol names, all MegaNet's own, so that its DHT never mixes with another.
pub mod protocol {
    use libp2p::StreamProtocol;
    pub const KADEMLIA: StreamProtocol = StreamProtocol::new("/meganet/kad/1");
    pub const EXCHANGE: StreamProtocol = StreamProtocol::new("/meganet/exchange/1");
    pub const IDENTIFY: &str = "/meganet/1";
}

/// Established connections of a tab (Chrome allows 500 peer connections in a tab's lifetime).
pub const TAB_CONNECTIONS_MAX: u32 = 32;
/// Established connections of a native peer.
pub const NATIVE_CONNECTIONS_MAX: u32 = 1_000;
/// Connections to one peer: a direct and a relayed one, and a second of each while one replaces the other.
pub const CONNECTIONS_PER_PEER_MAX: u32 = 4;
/// Inbound connections from one IP address; loopback is exempt.
pub const CONNECTIONS_PER_IP_MAX: usize = 8;
/// Outbound connections into one /24 (IPv4) or /48 (IPv6); loopback is exempt.
pub const OUTBOUND_PER_SUBNET_MAX: usize = 4;
/// Handshakes under way, each direction.
pub const PENDING_CONNECTIONS_MAX: u32 = 64;
/// A connection nobody uses is closed after this.
pub const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
/// Streams of one connection that may be negotiating at once.
pub const NEGOTIATING_STREAMS_MAX: usize = 32;

/// Records one storing node holds, and providers of one site.
pub const RECORDS_MAX: usize = 10_000;
pub const PROVIDERS_PER_SITE_MAX: usize = 20;
pub const PROVIDED_SITES_MAX: usize = 20_000;
/// Sites that one peer may be a provider of at one storing node.
pub const PROVIDED_PER_PEER_MAX: usize = 1_000;
/// A record is forgotten this long after its last announcement.
pub const RECORD_TTL: Duration = Duration::from_secs(48 * 3_600);
/// How often what is held is announced again: three times in a record's life.
pub const REANNOUNCE_INTERVAL: Duration = Duration::from_secs(12 * 3_600);
/// Addresses kept of one peer, and peers whose addresses are kept.
pub const ADDRESSES_PER_PEER_MAX: usize = 8;
pub const ADDRESS_BOOK_PEERS_MAX: usize = 1_000;

/// One DHT query ends after this at the latest; "not found" is said within 10 s.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// A lookup is over this long after the first valid answer: enough for independent peers to contradict it.
pub const HEAD_GRACE: Duration = Duration::from_millis(250);
/// Queries under way for commands.
pub const QUERIES_MAX: usize = 256;
/// Dials to providers under way for one site.
pub const PROVIDER_DIALS_MAX: usize = 8;

/// Commands waiting for the network task.
pub const COMMAND_QUEUE: usize = 256;
/// Events a slow listener may fall behind before it misses some.
pub const EVENT_QUEUE: usize = 256;
/// Listeners to events.
pub const LISTENERS_MAX: usize = 64;
/// Sites open at once; the least recently read is closed.
pub const OPEN_SITES_MAX: usize = 32;

/// Inbound exchange streams of one peer, and of all.
pub const EXCHANGE_STREAMS_PER_PEER_MAX: usize = 4;
pub const EXCHANGE_STREAMS_MAX: usize = 256;
/// An exchange stream that says nothing for this long while asked is given up.
pub const EXCHANGE_OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// An answerer closes a stream that stayed silent this long.
pub const EXCHANGE_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Peers remembered as banned.
pub const BANNED_PEERS_MAX: usize = 1_000;

/// Waiting before the first contact is tried again: doubles from the first to the last value, with jitter.
pub const JOIN_RETRY_MIN: Duration = Duration::from_secs(1);
pub const JOIN_RETRY_MAX: Duration = Duration::from_secs(60);
/// First-contact addresses kept.
pub const BOOTSTRAP_ADDRESSES_MAX: usize = 64;

/// Heads remembered of sites whose chunks were evicted, so that none of them can be rolled back.
pub const EVICTED_HEADS_MAX: usize = 10_000;
/// A read waits this long for its chunks before it says that nobody serves them.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Characters of a peer's agent string that are shown.
pub const AGENT_MAX_CHARS: usize = 64;
/// Agent strings and round-trip times are kept per connected peer only.
pub const STATUS_PEERS_MAX: usize = 100;
/// Relay circuits: signalling only.
pub const CIRCUIT_MAX_BYTES: u64 = 128 * 1024;
pub const CIRCUIT_MAX_DURATION: Duration = Duration::from_secs(120);
pub const RESERVATIONS_MAX: usize = 1_000;
pub const CIRCUITS_MAX: usize = 500;
pub const RESERVATION_DURATION: Duration = Duration::from_secs(3_600);
pub const RESERVATIONS_PER_IP_PER_HOUR: u32 = 64;
