//! The node's commands, replies and events: plain values that serialise.
//!
//! The interface, the command line and another tab all talk to a node through these and nothing else, so the same
//! messages cross a function call, a local socket or a `BroadcastChannel` (encoded with [`encode`] and [`decode`]).

use crate::exchange::ShownPath;
use meganet_core::{address::Address, hash::ChunkId};
use meganet_transport::signalling::Way;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What a client asks of a node. Every command gets exactly one [`Reply`] or one [`ApiError`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Command {
    /// The node's state. Reply: [`Reply::Status`].
    Status,
    /// Finds a site's head and manifest, from the network and from what is stored. Reply: [`Reply::Site`].
    OpenSite { address: Address },
    /// What the node knows of a site it holds, without asking anybody. Reply: [`Reply::Site`].
    Site { address: Address },
    /// Every site this node holds something of. Reply: [`Reply::Sites`].
    Sites,
    /// The files of a site, and of which version. Opens it when needed. Reply: [`Reply::Files`].
    Files { address: Address },
    /// Reads up to [`READ_MAX_BYTES`] of a file, from `offset`. `path` is resolved as a request path (`""`, `dir/`).
    /// Opens the site when needed. With `sequence` the piece must be of that version: another one gives
    /// [`ApiError::VersionChanged`], so that pieces of two versions are never put together. Reply: [`Reply::Content`].
    Read { address: Address, path: String, offset: u64, max_bytes: u32, sequence: Option<u64> },
    /// Fetches every chunk of a site that is not held yet. Reply: [`Reply::Done`]; progress comes as [`Event::Progress`].
    /// Without `allow_large` a site over `SITE_AUTO_FETCH_MAX_BYTES` gives [`ApiError::TooLarge`].
    FetchAll { address: Address, allow_large: bool },
    /// Keeps a site from being evicted (`true`) or lets it go (`false`). Reply: [`Reply::Done`].
    Pin { address: Address, pinned: bool },
    /// Drops a site and the chunks no other site uses. Reply: [`Reply::Done`].
    Forget { address: Address },
    /// Whether this node announces what it holds and serves it. Reply: [`Reply::Done`].
    SetContribution { contribution: Contribution },
    /// The head this node would chain to: the highest of the stored one and those the network returns. Reply:
    /// [`Reply::Head`].
    CurrentHead { address: Address },
    /// Which of these chunks are stored. At most [`IDS_MAX`] ids. Reply: [`Reply::Held`].
    HeldChunks { ids: Vec<ChunkId> },
    /// Stores one sealed chunk, for a site about to be published. Reply: [`Reply::Chunk`].
    StoreChunk {
        #[serde(with = "serde_bytes")]
        sealed: Vec<u8>,
    },
    /// Makes a signed head the current one, once all of its chunks are stored, then puts it into the DHT and announces
    /// this node as provider. Reply: [`Reply::Published`].
    Publish {
        address: Address,
        #[serde(with = "serde_bytes")]
        head: Vec<u8>,
    },
    /// Dials a multiaddr that ends in `/p2p/PEER`. Reply: [`Reply::Done`] once connected.
    Connect { multiaddr: String },
    /// Who provides a site, by a lookup now. Reply: [`Reply::Providers`].
    Providers { address: Address },
    /// Tries first contacts again at once instead of waiting for the back-off. Reply: [`Reply::Done`].
    RetryNow,
    /// Stops the node. Reply: [`Reply::Done`].
    Shutdown,
}

/// Bytes one [`Command::Read`] returns at most.
pub const READ_MAX_BYTES: u32 = 1024 * 1024;
/// Ids one [`Command::HeldChunks`] takes at most.
pub const IDS_MAX: usize = 1_000;

/// The answer to a [`Command`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Status(Status),
    Site(SiteInfo),
    Sites(Vec<SiteInfo>),
    Files(Files),
    Content(Content),
    Head(CurrentHead),
    /// One flag an id, in the order asked.
    Held(Vec<bool>),
    Chunk(ChunkId),
    Published(Published),
    /// Peer ids, this node's own among them when it provides the site.
    Providers(Vec<String>),
}

/// What a node tells of its own accord. Slow listeners miss events, never block the node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Event {
    /// The state changed.
    Status(Status),
    /// A site is being opened or fetched.
    Progress(Progress),
    /// A newer head of a site this node holds arrived.
    SiteUpdated { address: Address, sequence: u64 },
    /// Something went wrong that no command waits for: in plain words.
    Problem { message: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Keys and storage are being opened.
    Starting,
    /// Asking the bootstrap for peers and dialling them.
    Joining,
    /// Connected to at least one peer.
    Joined,
    /// No peer reachable; trying again. What is held still opens.
    Offline {
        retry_in_ms: u64,
        reason: String,
    },
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Contribution {
    /// Reads only: announces nothing, serves nothing.
    #[default]
    Off,
    /// Announces the sites it holds and serves their chunks.
    On,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub peer_id: String,
    pub agent: String,
    pub phase: Phase,
    /// Milliseconds from the node's start to the first connection; `None` before it.
    pub joined_ms: Option<u64>,
    pub contribution: Contribution,
    pub peers: Vec<PeerInfo>,
    /// Peers to which no direct path was found lately.
    pub no_direct_path: Vec<NoDirectPath>,
    /// Own addresses, each with `/p2p/PEER`.
    pub addresses: Vec<String>,
    pub stored_bytes: u64,
    pub stored_chunks: u64,
    pub sites: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
    /// `true` when nothing survives the end of this node.
    pub memory_only: bool,
    /// The tab has begun as many WebRTC connections as a browser allows one: it dials and answers nobody else over WebRTC until it
    /// is closed. Always `false` natively.
    pub connections_spent: bool,
}

/// A peer to which there is no direct path: the NATs between do not allow one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoDirectPath {
    pub peer_id: String,
    /// The peer whose relay carries its content; `None`: none does.
    pub relay: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PeerInfo {
    pub peer_id: String,
    /// The peer's agent string, cut to 64 printable characters.
    pub agent: String,
    pub address: String,
    pub relayed: bool,
    pub rtt_ms: Option<u32>,
    /// The ways to it that content may take.
    pub paths: Vec<PathInfo>,
}

/// One way to a peer that content may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathInfo {
    pub way: PathWay,
    /// What came over it while the peer was connected: chunks, and what goes with them.
    pub received_bytes: u64,
    /// There is such a connection now.
    pub connected: bool,
    /// Content is asked for over this one now.
    pub in_use: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathWay {
    /// WebRTC, QUIC or TCP.
    Direct,
    WebSocket,
    /// A relay that is willing to carry content.
    Relayed,
}

impl From<ShownPath> for PathInfo {
    fn from(shown: ShownPath) -> Self {
        let way = match shown.way {
            Way::Direct => PathWay::Direct,
            Way::WebSocket => PathWay::WebSocket,
            Way::Relayed => PathWay::Relayed,
        };
        Self { way, received_bytes: shown.received_bytes, connected: shown.is_connected, in_use: shown.is_in_use }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SiteInfo {
    pub address: Address,
    pub title: String,
    /// Path of the entry page.
    pub index: Option<String>,
    pub sequence: u64,
    /// When the author signed the head (Unix ms, the author's clock).
    pub time_ms: u64,
    /// When the network last confirmed that this is the newest head (Unix ms); `None`: never.
    pub confirmed_ms: Option<u64>,
    /// Whether that was in this session.
    pub confirmed: bool,
    pub total_bytes: u64,
    /// `None` while the site is not open: its manifest is not in memory.
    pub files: Option<u32>,
    pub chunks: u32,
    pub held_chunks: u32,
    /// Bytes of them as they are stored; `None` while the site is not open.
    pub held_bytes: Option<u64>,
    /// Other peers known to provide the site.
    pub holders: u32,
    /// Chunk bytes received, by peer, this session.
    pub sources: Vec<Source>,
    /// Two heads with one sequence were seen: the first is shown, both are kept as proof.
    pub conflicting: bool,
    pub pinned: bool,
    /// This node holds the signing key's latest publication (it published the site itself).
    pub own: bool,
    pub timings: Timings,
}

/// Milliseconds from the command that opened the site; `None` when it was not needed.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Timings {
    pub head_ms: Option<u64>,
    pub manifest_ms: Option<u64>,
    pub starter_ms: Option<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Source {
    pub peer_id: String,
    pub bytes: u64,
}

/// A site's files, of one version.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Files {
    pub sequence: u64,
    pub files: Vec<FileInfo>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FileInfo {
    pub path: String,
    pub media_type: String,
    pub size: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Content {
    /// The version this piece is of.
    pub sequence: u64,
    /// The entry the request path resolved to.
    pub path: String,
    pub media_type: String,
    /// The whole file's size; `bytes` is a piece of it.
    pub size: u64,
    pub offset: u64,
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

/// What is known of a site's newest head.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CurrentHead {
    /// `None`: no head is stored here, and no peer that answered knows one.
    pub head: Option<HeadInfo>,
    /// Peers that were asked and answered; 0 says nothing about what the network knows.
    pub asked: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HeadInfo {
    /// `SignedHead` bytes.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
    pub sequence: u64,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Published {
    pub sequence: u64,
    /// Other peers that took the head; 0 when none was reachable (it is announced again later).
    pub stored_on: u32,
}

/// What a site's opening or fetching is waiting for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress {
    pub address: Address,
    pub stage: Stage,
    /// Milliseconds since the command.
    pub elapsed_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    FindingHead { asked: u32 },
    FindingProviders { found: u32 },
    FetchingManifest,
    FetchingChunks { done: u32, total: u32, bytes: u64 },
    Ready,
}

/// Why a command could not be carried out. Nothing is lost by any of these.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ApiError {
    #[error(
        "not found: none of {asked} peers knows a site with this address. Check the address, or try again when its author is online"
    )]
    NotFound { asked: u32 },
    #[error(
        "found, but nobody serves it: version {sequence} exists, and none of {providers} announced peers delivered it. Try again later"
    )]
    NobodyServes { sequence: u64, providers: u32 },
    #[error("the site has no file at “{path}”")]
    NoSuchPath { path: String },
    #[error("the site is at version {sequence} now, not at the one that was being read. Read it again")]
    VersionChanged { sequence: u64 },
    #[error("no peer could be asked, and this site is not stored here. The node keeps trying to connect")]
    Offline,
    #[error("the site is {size_bytes} bytes, more than the {limit_bytes} fetched without asking")]
    TooLarge { size_bytes: u64, limit_bytes: u64 },
    #[error("refused: {reason}")]
    Refused { reason: String },
    #[error("storage: {reason}")]
    Storage { reason: String },
    #[error("the node is busy: too many commands wait. Try again")]
    Busy,
    #[error("the node has stopped")]
    Stopped,
}

/// Encodes a message of this module for a channel or socket.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    postcard::to_stdvec(message).unwrap_or_default()
}

/// Decodes a message of this module. Errors say only that the bytes are not one.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    postcard::from_bytes(bytes).map_err(|_| DecodeError)
}

/// The bytes are not a message of this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the message is malformed or of another version")]
pub struct DecodeError;
