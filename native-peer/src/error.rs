//! What a command ends with when it fails: one type, with a code for programs and an exit status for shells.

use crate::{
    bootstrap::BootstrapError, data_dir::DataDirError, publish::scan::ScanError, sealed_key::SealedKeyError,
    secrets::SecretError, socket::SocketError, store::OpenError,
};
use meganet_core::{head::HeadError, manifest::ManifestError, publish::PublishError};
use meganet_host::{files::FileError, listen::ListenError};
use meganet_node::{StartError, api::ApiError};
use std::path::PathBuf;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Tls(#[from] meganet_host::tls::TlsError),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("{0}. No --bootstrap was given: name a page or a peer to join the network, or start `meganet peer` first")]
    OfflineWithoutBootstrap(ApiError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    SealedKey(#[from] SealedKeyError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("“{}” holds no certificate: {reason}. Restore it from a backup, or move it away: a new one is made then, and this peer's webrtc-direct address changes", .path.display())]
    Certificate { path: PathBuf, reason: String },
    #[error("the node could not start: {0}")]
    Start(#[from] StartError),
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error("{0}. Nothing was signed")]
    Publish(#[from] PublishError),
    #[error("{0}. Nothing was published")]
    Manifest(#[from] ManifestError),
    #[error("{0}")]
    Head(#[from] HeadError),
    #[error("“{path}” is not in the folder: name its entry page with --index")]
    NoIndex { path: String },
    #[error(
        "the key “{name}” publishes “{}”. To replace that site by this folder run again with --key {name}; for a new \
         site give --key another name", .folder.display()
    )]
    KeyOfAnotherFolder { name: String, folder: PathBuf },
    #[error(
        "no version of this site is stored here, and no peer could be asked which is the current one. A second version \
         with a number that was used before looks to everybody as if the key were stolen, so nothing was signed. Join \
         the network with --bootstrap and run again; or give the number yourself: --sequence N, above every number this \
         key has signed, and --sequence 1 if it never signed any"
    )]
    UnknownVersion,
    #[error(
        "the site was updated while it was fetched: files that were written are whole and of version {fetched}, and \
         version {current} is the current one. Run it again, with --force into the same folder"
    )]
    SiteUpdated { fetched: u64, current: u64 },
    #[error("“{}” is not empty. Choose another folder, or overwrite files there with --force", .path.display())]
    NotEmpty { path: PathBuf },
    #[error("“{}” is not a folder, and was left as it is. Choose another place to write to", .path.display())]
    NotAFolder { path: PathBuf },
    /// What the node's store says when there is no room.
    #[error("the disk or the quota is full: {0}. What was stored before is whole")]
    Full(String),
    #[error("the output could not be written: {0}. The command itself was done")]
    OutputLost(String),
    #[error("“{path}” cannot be written: {reason}. Files written before it are whole")]
    Write { path: String, reason: String, full: bool },
    #[error("the node answered out of turn: the running peer may be of another version. Restart it")]
    UnexpectedReply,
    #[error("stopped. What was written is whole; run the command again to go on")]
    Interrupted,
    #[error("{0}")]
    Other(String),
}

/// Exit statuses, documented in `meganet --help`.
pub mod exit {
    pub const OTHER: u8 = 1;
    pub const USAGE: u8 = 2;
    pub const NOT_FOUND: u8 = 3;
    pub const NOT_SERVED: u8 = 4;
    pub const REFUSED: u8 = 5;
    pub const STORAGE: u8 = 6;
    pub const IN_USE: u8 = 7;
    pub const OFFLINE: u8 = 8;
    pub const SITE_UPDATED: u8 = 9;
    pub const INTERRUPTED: u8 = 130;
}

impl From<FileError> for CommandError {
    fn from(error: FileError) -> Self {
        CommandError::Secret(error.into())
    }
}

impl CommandError {
    /// A word for programs, and the exit status.
    pub fn code(&self) -> (&'static str, u8) {
        match self {
            CommandError::Usage(_) | CommandError::NoIndex { .. } | CommandError::NotAFolder { .. } => {
                ("usage", exit::USAGE)
            }
            CommandError::Api(error) => api_code(error),
            CommandError::OfflineWithoutBootstrap(_) | CommandError::Bootstrap(_) => ("offline", exit::OFFLINE),
            CommandError::DataDir(DataDirError::InUse { .. }) | CommandError::Store(OpenError::InUse { .. }) => {
                ("in_use", exit::IN_USE)
            }
            CommandError::DataDir(DataDirError::NotThere { .. }) => ("not_found", exit::NOT_FOUND),
            CommandError::Full(_) | CommandError::Store(OpenError::Full(_)) => ("full", exit::STORAGE),
            CommandError::DataDir(_) | CommandError::Store(_) => ("storage", exit::STORAGE),
            CommandError::Write { full: true, .. } => ("full", exit::STORAGE),
            CommandError::Write { .. } => ("storage", exit::STORAGE),
            CommandError::Secret(SecretError::NoSuchKey { .. }) => ("not_found", exit::NOT_FOUND),
            CommandError::Secret(SecretError::BadName { .. }) => ("usage", exit::USAGE),
            CommandError::Secret(SecretError::Random | SecretError::File(FileError::Io { .. } | FileError::Random)) => {
                ("storage", exit::STORAGE)
            }
            CommandError::Tls(_)
            | CommandError::Secret(_)
            | CommandError::SealedKey(_)
            | CommandError::Certificate { .. } => ("refused", exit::REFUSED),
            CommandError::Scan(ScanError::Changed { .. }) => ("changed", exit::REFUSED),
            CommandError::Scan(_)
            | CommandError::Publish(_)
            | CommandError::Manifest(_)
            | CommandError::Head(_)
            | CommandError::KeyOfAnotherFolder { .. }
            | CommandError::NotEmpty { .. } => ("refused", exit::REFUSED),
            CommandError::UnknownVersion => ("unknown_version", exit::REFUSED),
            CommandError::SiteUpdated { .. } => ("site_updated", exit::SITE_UPDATED),
            CommandError::Interrupted => ("interrupted", exit::INTERRUPTED),
            CommandError::Socket(_)
            | CommandError::Start(_)
            | CommandError::Listen(_)
            | CommandError::OutputLost(_)
            | CommandError::UnexpectedReply
            | CommandError::Other(_) => ("other", exit::OTHER),
        }
    }
}

fn api_code(error: &ApiError) -> (&'static str, u8) {
    match error {
        ApiError::NotFound { .. } => ("not_found", exit::NOT_FOUND),
        ApiError::NoSuchPath { .. } => ("no_such_path", exit::NOT_FOUND),
        ApiError::NobodyServes { .. } => ("nobody_serves", exit::NOT_SERVED),
        ApiError::VersionChanged { .. } => ("site_updated", exit::SITE_UPDATED),
        ApiError::Offline => ("offline", exit::OFFLINE),
        ApiError::TooLarge { .. } => ("too_large", exit::REFUSED),
        ApiError::Refused { .. } => ("refused", exit::REFUSED),
        ApiError::Storage { .. } => ("storage", exit::STORAGE),
        ApiError::Busy => ("busy", exit::OTHER),
        ApiError::Stopped => ("stopped", exit::OTHER),
    }
}
