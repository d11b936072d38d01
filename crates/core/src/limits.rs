//! Every budget of the protocol, each in one place, with its unit in its name.
//!
//! The values are those of the project's table of budgets; a value that measurement changed says why.

/// A signed head, in bytes; checked before anything is parsed.
pub const HEAD_MAX_BYTES: usize = 4_096;
/// Chunks that a manifest's own bytes may be cut into (1 MiB in pieces of 262,128 bytes).
pub const HEAD_MANIFEST_CHUNKS_MAX: usize = 5;
/// How far a publisher may raise a sequence number in one step.
pub const SEQUENCE_JUMP_MAX: u64 = 1 << 32;
/// How far ahead of the reader's clock a signed time may be, in milliseconds.
pub const CLOCK_SKEW_MAX_MS: u64 = 600_000;

/// An encoded manifest, in bytes.
pub const MANIFEST_MAX_BYTES: usize = 1_048_576;
/// Files in a manifest.
pub const MANIFEST_MAX_ENTRIES: usize = 10_000;
/// Chunks in a manifest's table.
pub const MANIFEST_MAX_CHUNKS: usize = 20_000;
/// A site's title, in bytes of UTF-8.
pub const TITLE_MAX_BYTES: usize = 200;
/// A media type, in ASCII bytes.
pub const MEDIA_TYPE_MAX_BYTES: usize = 100;
/// A path inside a site, in bytes of UTF-8.
pub const PATH_MAX_BYTES: usize = 512;
/// Segments in a path inside a site.
pub const PATH_MAX_DEPTH: usize = 32;
/// A link as a person may paste it, in bytes: a path with every byte percent-encoded, a host and an address.
pub const LINK_MAX_BYTES: usize = 4_096;

/// A sealed chunk, in bytes.
pub const CHUNK_MAX_BYTES: usize = 262_144;
/// The content of one chunk, in bytes: a sealed chunk without its tag.
pub const CHUNK_CONTENT_MAX_BYTES: usize = 262_128;
/// What every chunk is padded to at least, in bytes.
pub const CHUNK_PAD_MIN_BYTES: usize = 256;
/// Files up to this size, in bytes, share chunks with others.
pub const PACK_FILE_MAX_BYTES: u64 = 65_536;
/// A pack may end early only when it holds at least this many bytes.
pub const PACK_MIN_BYTES: usize = CHUNK_CONTENT_MAX_BYTES / 4;
/// References that are read out of an entry page for the starter pack.
pub const LOCAL_REFERENCES_MAX: usize = 256;
/// A site up to this size, in bytes, is fetched without asking the user.
pub const SITE_AUTO_FETCH_MAX_BYTES: u64 = 64 * 1_048_576;

/// Chunks asked of one peer at a time.
pub const CHUNKS_IN_FLIGHT_PER_PEER: usize = 16;
/// Chunks asked of all peers together at a time.
pub const CHUNKS_IN_FLIGHT: usize = 64;
/// How long one chunk may take from one peer, in milliseconds.
pub const CHUNK_TIMEOUT_MS: u64 = 10_000;
/// A peer that sends slower than this while asked, in bytes per second, is moved off.
pub const CHUNK_FLOOR_BYTES_PER_S: u64 = 2_048;
/// How long a request may run before the floor rate is applied to it, in milliseconds.
pub const CHUNK_FLOOR_GRACE_MS: u64 = 2_000;
/// Outstanding chunks at or below which the last ones are asked of a second peer too.
pub const ENDGAME_CHUNKS: usize = 4;
/// Requests for the same chunk that may run at once.
pub const COPIES_PER_CHUNK: usize = 2;
/// How long a peer that was busy is left alone, in milliseconds; doubles with each refusal in a row.
pub const BUSY_BACKOFF_MS: u64 = 250;
/// The longest time a peer is left alone, in milliseconds.
pub const BACKOFF_MAX_MS: u64 = 30_000;
/// Peers one planner knows at a time.
pub const PLANNER_PEERS_MAX: usize = 256;
/// Chunks one planner wants at a time: a manifest's table and its own chunks.
pub const PLANNER_CHUNKS_MAX: usize = MANIFEST_MAX_CHUNKS + HEAD_MANIFEST_CHUNKS_MAX;
/// Banned peers one planner remembers; the oldest are forgotten first.
pub const PLANNER_BANS_MAX: usize = 1_024;

/// One frame, in bytes with its length prefix: it fits into one WebRTC message of 16 KiB.
pub const FRAME_MAX_BYTES: usize = 16_000;
/// What a [`wire::Response::Part`](crate::wire::Response::Part) adds to its data at most, in bytes with the frame's prefix.
pub const PART_OVERHEAD_BYTES: usize = 32;
/// Chunk ids in one question "which of these do you have?".
pub const HAVE_MAX_CHUNKS: usize = 200;
/// What an asker lets the other side send before it has consumed anything, in bytes.
pub const CREDIT_WINDOW_BYTES: u64 = 1_048_576;
/// Credit an answerer remembers at most, in bytes; more is the asker's loss.
pub const CREDIT_MAX_BYTES: u64 = 16 * 1_048_576;
/// Questions one stream may have open at a time, cancelled ones included until they ended.
pub const REQUESTS_OPEN_MAX: usize = 64;
/// Refusals of questions beyond [`REQUESTS_OPEN_MAX`] that wait to be written before the stream is given up.
pub const REFUSALS_WAITING_MAX: usize = 64;
/// Answers an answerer holds in memory at a time, being looked up or waiting to be written.
pub const ANSWERS_LOADED_MAX: usize = 8;
/// The time in which a stream with answers waiting must take [`ANSWER_FLOOR_BYTES`], in milliseconds. A stream that does
/// not, for want of credit or of reading, is given up: answers in memory are few, and others wait for them.
pub const ANSWER_STALL_MS: u64 = 30_000;
/// 2 KiB/s over [`ANSWER_STALL_MS`].
pub const ANSWER_FLOOR_BYTES: u64 = 61_440;

/// A signed peer list, in bytes; checked before anything is parsed.
pub const PEER_LIST_MAX_BYTES: usize = 16_384;
/// Peers in a peer list.
pub const PEER_LIST_MAX_PEERS: usize = 32;
/// Addresses of one peer in a peer list.
pub const PEER_LIST_MAX_ADDRESSES: usize = 8;
/// One address in a peer list, in bytes.
pub const PEER_LIST_ADDRESS_MAX_BYTES: usize = 256;
/// One peer id in a peer list, in bytes.
pub const PEER_LIST_PEER_ID_MAX_BYTES: usize = 64;

/// Good peers that a node keeps for its next start.
pub const REMEMBERED_PEERS_MAX: usize = 32;
/// Addresses kept of each.
pub const REMEMBERED_ADDRESSES_MAX: usize = 3;
/// Their encoded list, in bytes: more than a full one can have.
pub const REMEMBERED_MAX_BYTES: usize = 32_768;
