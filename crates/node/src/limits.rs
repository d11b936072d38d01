//! Every bound of the node that is not a format's, in one place. Starting values: threats.md, "Budgets".

use std::time::Duration;

/// Protocol names, all MegaNet's own, so that its DHT never mixes with another.
pub mod protocol {
    use libp2p::StreamProtocol;
    pub const KADEMLIA: StreamProtocol = StreamProtocol::new("/meganet/kad/1");
    pub const PEERS: StreamProtocol = StreamProtocol::new("/meganet/peers/1");
    pub const EXCHANGE: StreamProtocol = StreamProtocol::new("/meganet/exchange/1");
    pub const IDENTIFY: &str = "/meganet/1";
}

/// Established connections of a tab (Chrome allows 500 peer connections in a tab's lifetime).
pub const TAB_CONNECTIONS_MAX: u32 = 32;
/// Established connections of a native peer.
pub const NATIVE_CONNECTIONS_MAX: u32 = 1_000;
/// Connections to one peer of each way, directly, over WebSocket and through relays: one, and one that replaces it or that both ends
/// began at once. One more takes the place of the oldest.
pub const CONNECTIONS_PER_WAY_MAX: usize = 2;
/// Connections to one peer with those that are being closed. Beyond it the newest are refused.
pub const CONNECTIONS_PER_PEER_MAX: u32 = 8;
/// Connections from one host or network for each of the places that it has: most peers have one, some a second.
pub const CONNECTIONS_PER_PLACE_MAX: usize = 2;
/// Inbound connections from one IP address; loopback is exempt.
pub const CONNECTIONS_PER_IP_MAX: usize = 8;
/// Inbound `/webrtc` connections of peers whose address a browser does not tell: half of a tab's.
pub const CONNECTIONS_HIDDEN_MAX: usize = 16;
/// Inbound connections from one /48 (IPv6), which may be all of one customer's; an address of a local network stands for itself.
pub const CONNECTIONS_PER_NETWORK_MAX: usize = 32;
/// Inbound circuits through one relay, and as many whose handshakes are under way. A tab has reservations at three: one of them
/// alone must not fill its 24 inbound places with peers that it made up. A circuit is for signalling, and short.
pub const CIRCUITS_INBOUND_PER_RELAY_MAX: usize = 8;
/// Handshakes of one IP address under way; loopback is exempt. Half-open connections of one host must not keep others out.
pub const PENDING_PER_IP_MAX: usize = 8;
/// The same of one /48 (IPv6): its 65,536 hosts have an eighth of [`PENDING_INBOUND_MAX`] together.
pub const PENDING_PER_NETWORK_MAX: usize = 32;
/// Outbound connections into one /24 (IPv4) or /48 (IPv6), or to one host of a private network; loopback is exempt.
pub const OUTBOUND_PER_SUBNET_MAX: usize = 4;
/// Handshakes under way, inbound and outbound.
pub const PENDING_INBOUND_MAX: u32 = 256;
pub const PENDING_OUTBOUND_MAX: u32 = 64;
/// A peer that does not answer for this long is tried in the next way that is known: over WebSocket, then by signalling.
pub const FALLBACK_AFTER: Duration = Duration::from_secs(3);
/// Peers that such a try waits for.
pub const FALLBACKS_MAX: usize = 64;
/// Relays at which a private peer keeps a reservation: one may go at any time.
pub const RESERVATIONS_WANTED: usize = 3;
/// Other tabs that a tab stays connected to, so that the swarm holds together when every server is gone.
pub const NEIGHBOURS_WANTED: usize = 4;
/// A peer that was tried as a neighbour is tried again after this.
pub const NEIGHBOUR_RETRY: Duration = Duration::from_secs(300);
/// Connections that are begun for neighbours in an hour: half of what a tab may begin (threats.md, "Budgets").
pub const NEIGHBOUR_DIALS_PER_HOUR: usize = 30;
/// A server that was connected for this long is good, and remembered for the next start.
pub const REMEMBERED_AFTER: Duration = Duration::from_secs(10);
/// The list of remembered peers is looked at this often, and written down if it changed.
pub const REMEMBERED_INTERVAL: Duration = Duration::from_secs(10);
/// That a remembered peer is still good is written down this often at most.
pub const REMEMBERED_TOUCH: Duration = Duration::from_secs(3_600);
/// Remembered peers in one /24 (IPv4) or /48 (IPv6); loopback is exempt.
pub const REMEMBERED_PER_SUBNET_MAX: usize = 4;
/// A remembered peer that failed so often in a row is tried last, and gives its place to a newcomer.
pub const REMEMBERED_FAILURES_MAX: u32 = 3;
/// Remembered peers that are tried at once, beside the first contacts.
pub const REMEMBERED_DIALS: usize = 3;
/// A remembered peer that was tried is tried again after this.
pub const REMEMBERED_RETRY: Duration = Duration::from_secs(600);
/// Remembered peers that a tab tries in an hour: a quarter of what it may begin (threats.md, "Budgets").
pub const REMEMBERED_DIALS_PER_HOUR: usize = 15;
/// Connected peers are asked whom they know this often, and so many of them.
pub const PEER_EXCHANGE_INTERVAL: Duration = Duration::from_secs(30);
pub const PEER_EXCHANGE_ASKED_MAX: usize = 4;
/// A peer that is asked whom it knows gets this long.
pub const PEER_EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Answers to that which are given at once.
pub const PEER_EXCHANGE_ANSWERS_MAX: usize = 16;
/// Of these one peer has so many: it asks once at a time, and may ask anew before the last stream is seen to be closed.
pub const PEER_EXCHANGE_ANSWERS_PER_PEER_MAX: usize = 2;
/// A tab lets go of a connection over which no chunk went for this long, when it has [`IDLE_KEPT`] others of its kind.
pub const IDLE_AFTER: Duration = Duration::from_secs(300);
/// Servers that a tab stays connected to for lookups, and other tabs, though they carry nothing.
pub const IDLE_KEPT: usize = 8;
/// Peers with a reservation at a tab that it lets go of for no idleness: as many as it may wish for itself, and some.
pub const IDLE_RESERVED_KEPT: usize = 8;
/// A node that is shut down waits so long for its connections to be closed.
pub const SHUT_DOWN_WITHIN: Duration = Duration::from_secs(1);
/// Idle connections are looked for this often.
pub const IDLE_CHECK: Duration = Duration::from_secs(15);
/// Connections that lookups may begin in a tab in an hour: a third of what it may begin. Beyond it they ask those connected.
pub const LOOKUP_DIALS_PER_HOUR: usize = 20;
/// A peer that did not answer a tab is left alone for this long there, twice as long each time, up to the last value.
pub const UNREACHABLE_RETRY_MIN: Duration = Duration::from_secs(30);
pub const UNREACHABLE_RETRY_MAX: Duration = Duration::from_secs(600);
/// So is one that was dialled and ended the connection within this, from the second time on: the first may be a page's reload.
pub const TURNED_OUT_WITHIN: Duration = Duration::from_secs(10);
/// Peers of which that is known.
pub const UNREACHABLE_PEERS_MAX: usize = 256;
/// A tab that has other peers tries first contacts that went away less and less often, down to once in this time.
pub const FIRST_CONTACT_RETRY_MAX: Duration = Duration::from_secs(600);
/// A connection without any stream is closed after this.
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
/// Addresses kept of one peer.
pub const ADDRESSES_PER_PEER_MAX: usize = 8;
/// Bytes of one that is dialled because others say so: Kademlia tells of where it has dialled. One through two relays fits.
pub const ADDRESS_MAX_BYTES: usize = 256;
/// Bytes of all addresses that the DHT is told of one peer, each with the peer's id at its end. libp2p's readers take an answer of
/// 16,384 bytes, which names up to 20 peers and as many providers.
pub const DHT_ADDRESSES_MAX_BYTES: usize = 330;
/// Bytes of `/p2p/PEER`.
pub const DHT_PEER_SUFFIX_BYTES: usize = 41;
/// Bytes of the key of a record.
pub const DHT_KEY_MAX_BYTES: usize = 64;
/// Circuits that one peer may have, of those that it asked for and those that lead to it together: others must not keep it from
/// asking by asking for it.
pub const CIRCUITS_PER_PEER_MAX: usize = 32;
/// A circuit over which nothing goes is closed after this: signalling is done by then.
pub const CIRCUIT_IDLE_AFTER: Duration = Duration::from_secs(30);
/// Peers whose addresses are kept.
pub const ADDRESS_BOOK_PEERS_MAX: usize = 1_000;

/// One DHT query ends after this at the latest; "not found" is said within 10 s.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// What a lookup has found is shown this long after its first valid head; it goes on, and a newer head replaces it.
pub const HEAD_GRACE: Duration = Duration::from_millis(250);
/// Answers of independent peers after which a head counts as confirmed, though not every peer near the key was asked.
pub const HEAD_ANSWERS_ENOUGH: u32 = 3;
/// Queries under way for commands.
pub const QUERIES_MAX: usize = 256;
/// Dials to providers under way at once, and providers waiting for one.
pub const PROVIDER_DIALS_MAX: usize = 8;
pub const PROVIDER_DIALS_WAITING_MAX: usize = 128;
/// A provider that does not answer for this long gives its place to the next; a connection that comes later is used too.
pub const PROVIDER_DIAL_PATIENCE: Duration = Duration::from_secs(3);
/// One that is being dialled already, be it at other addresses, is left to that dial for so long.
pub const ANOTHER_DIAL_PATIENCE: Duration = Duration::from_secs(1);

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
/// A connected peer that is asked for a head gets this long.
pub const HEAD_ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Connected peers that are asked for a head at once.
pub const HEAD_PEERS_ASKED_MAX: usize = 8;
/// Opening an exchange stream takes this long at most.
pub const EXCHANGE_OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// An exchange stream on which nothing comes for this long while questions are open is given up; the next opens anew.
pub const EXCHANGE_SILENCE_TIMEOUT: Duration = Duration::from_secs(20);
/// The same where there is another direct way to the peer: readers give up sooner than that time-out.
pub const EXCHANGE_SILENCE_ELSEWHERE: Duration = Duration::from_secs(5);
/// An answerer closes a stream that does not begin within this, or that stayed silent for this long.
pub const EXCHANGE_FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);
pub const EXCHANGE_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// A transfer from one peer lasts when so many bytes came; a way to the peer is measured over so many.
pub const BULK_BYTES: u64 = 2 * 1024 * 1024;
/// After so long without a question it is another transfer.
pub const BULK_GAP: Duration = Duration::from_secs(10);
/// Another way to the peer is probed with so many chunks at a time, until so many bytes came or so much time passed.
pub const BULK_PROBE_CHUNKS: usize = 2;
pub const BULK_PROBE_BYTES: u64 = 512 * 1024;
pub const BULK_PROBE_PATIENCE: Duration = Duration::from_secs(4);
/// A way that is tried may take this long, or twice as long as the one in use would, before it counts as slower.
pub const BULK_TRY_PATIENCE_MIN: Duration = Duration::from_secs(1);
/// One that is so many times slower than the present way is not tried any further.
pub const BULK_HOPELESS_FACTOR: u64 = 4;
/// The ways to a peer are measured anew after this.
pub const BULK_MEASURE_INTERVAL: Duration = Duration::from_secs(120);
/// A WebSocket connection beside a direct one is closed when nothing was asked for over it for this long.
pub const BULK_IDLE: Duration = Duration::from_secs(30);
/// Violations of one peer within [`VIOLATIONS_WINDOW`] after which it is banned.
pub const VIOLATIONS_MAX: u32 = 8;
pub const VIOLATIONS_WINDOW: Duration = Duration::from_secs(60);
/// Peers remembered as banned.
pub const BANNED_PEERS_MAX: usize = 1_000;

/// Waiting before the first contact is tried again: doubles from the first to the last value, with jitter.
pub const JOIN_RETRY_MIN: Duration = Duration::from_secs(1);
pub const JOIN_RETRY_MAX: Duration = Duration::from_secs(60);
/// A node that was connected for less than this, or than it would wait now, was turned out as soon as it was let in: it waits before
/// it tries again.
pub const JOINED_AFTER: Duration = Duration::from_secs(10);
/// The longest wait of a tab, to which each try costs of the connections that it may begin: an hour offline must leave it some.
pub const TAB_JOIN_RETRY_MAX: Duration = Duration::from_secs(600);
/// First contacts that a tab tries at once, for the same reason.
pub const TAB_FIRST_CONTACTS_AT_ONCE: usize = 3;
/// First-contact addresses kept.
pub const BOOTSTRAP_ADDRESSES_MAX: usize = 64;

/// Heads remembered of sites whose chunks were evicted, so that none of them can be rolled back.
pub const EVICTED_HEADS_MAX: usize = 10_000;
/// A wanted chunk that nobody can be asked for is given up after this.
pub const STARVED_AFTER: Duration = Duration::from_secs(6);
/// Wanted chunks are given up when no byte of any of them came for this long, whatever peers promise.
pub const NO_PROGRESS_AFTER: Duration = Duration::from_secs(15);
/// Chunks received and not stored yet; beyond it no more are asked for.
pub const PUTS_WAITING_MAX: usize = 64;
/// Connected peers are asked for newer heads of open sites this often: a question costs a few bytes on a stream that is open.
pub const NEIGHBOURS_INTERVAL: Duration = Duration::from_secs(4);
/// The newest heads of open sites are looked up in the DHT this often.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(20);
/// A site's last use is written down this often at most.
pub const TOUCH_INTERVAL: Duration = Duration::from_secs(60);
/// The quota is looked at after every so many bytes received.
pub const QUOTA_CHECK_BYTES: u64 = 16 * 1024 * 1024;
/// Announcements of heads under way at once.
pub const ANNOUNCEMENTS_AT_ONCE: usize = 8;
/// An announcement that reached nobody is made again after this, and so many are kept for it.
pub const ANNOUNCE_AGAIN_AFTER: Duration = Duration::from_secs(30);
pub const ANNOUNCEMENTS_AGAIN_MAX: usize = 1_000;
/// Characters of a peer's agent string that are shown.
pub const AGENT_MAX_CHARS: usize = 64;
/// Agent strings and round-trip times are kept per connected peer only.
pub const STATUS_PEERS_MAX: usize = 100;
/// Circuits of other relays: signalling only.
pub const CIRCUIT_MAX_BYTES: u64 = 128 * 1024;
pub const CIRCUIT_MAX_DURATION: Duration = Duration::from_secs(120);
/// Circuits of a relay that is willing to carry content; those that it grants to all in an hour are bounded as well.
pub const CONTENT_CIRCUIT_BYTES: u64 = 16 * 1024 * 1024;
pub const CONTENT_CIRCUIT_DURATION: Duration = Duration::from_secs(600);
pub const CONTENT_CIRCUITS_PER_HOUR_MAX: usize = 65_536;
/// One host is granted one part of so many of them.
pub const CONTENT_HOST_SHARE: usize = 2;
/// A relay whose circuits carry less is taken for one that only helps with signalling.
pub const CONTENT_CIRCUIT_MIN_BYTES: u64 = 1024 * 1024;
/// A circuit that carried less was of no use: the next one waits.
pub const CONTENT_CIRCUIT_WORTH_BYTES: u64 = 256 * 1024;
/// Relays of which it is remembered whether they carry content.
pub const CONTENT_RELAYS_MAX: usize = 256;
/// Peers to which content goes through relays, or would.
pub const DETOURS_MAX: usize = 64;
/// Where no relay carries content the next try waits: twice as long each time, from the first to the last value.
pub const DETOUR_RETRY_MIN: Duration = Duration::from_secs(15);
pub const DETOUR_RETRY_MAX: Duration = Duration::from_secs(600);
/// That there is no direct path is believed for this long.
pub const NO_PATH_MEMORY: Duration = Duration::from_secs(600);
pub const RESERVATIONS_MAX: usize = 1_000;
pub const CIRCUITS_MAX: usize = 500;
pub const RESERVATION_DURATION: Duration = Duration::from_secs(3_600);
pub const RESERVATIONS_PER_IP_PER_HOUR: u32 = 64;
