//! Making a site: decides where every file goes, then seals the chunks as the files' bytes are fed in.
//!
//! The caller reads files and stores chunks; this holds at most one chunk's content in memory. The order of use is
//! [`Plan::new`] (all refusals that need no content), [`Builder::feed`] for every file in [`Plan::order`], then
//! [`Builder::finish`].

mod builder;
mod plan;

use crate::chunk::{ChunkError, ChunkRef};
use crate::limits::{MANIFEST_MAX_BYTES, MANIFEST_MAX_ENTRIES};
use crate::manifest::ManifestError;
use crate::path::PathError;
pub use crate::references::local_references;
pub use builder::Builder;
pub use plan::{Plan, PlannedFile};

/// A file to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteFile {
    /// Its path in the site.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A sealed chunk to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedChunk {
    /// What it takes to read it.
    pub chunk: ChunkRef,
    /// What others store and send.
    pub sealed: Vec<u8>,
}

/// Why a site is not published. Nothing was signed; what is published already stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No files.
    #[error("there are no files to publish")]
    Empty,
    /// Too many files.
    #[error("a site has at most {MANIFEST_MAX_ENTRIES} files, these are {found}: publish fewer, or several sites")]
    TooManyFiles {
        /// Files given.
        found: usize,
    },
    /// Too many bytes for a manifest to list.
    #[error(
        "the list of these files and their chunks would have {found} bytes, {MANIFEST_MAX_BYTES} are allowed: the files are \
         too large or too many for one site"
    )]
    TooLarge {
        /// Bytes the manifest would have.
        found: u64,
    },
    /// A path that no site may have.
    #[error("{path:?} cannot be published: {reason}")]
    Path {
        /// The path.
        path: String,
        /// The rule it breaks.
        reason: PathError,
    },
    /// The entry page is none of the files.
    #[error("the entry page {path:?} is none of the files")]
    EntryPage {
        /// The path.
        path: String,
    },
    /// A file has other bytes than when it was planned.
    #[error("{path:?} changed while it was being published ({planned} bytes were announced): publish again")]
    SizeChanged {
        /// The path.
        path: String,
        /// Bytes announced.
        planned: u64,
    },
    /// Files are fed in another order than planned.
    #[error("files must be fed in the planned order: {expected:?} comes now")]
    OutOfOrder {
        /// The path that is due.
        expected: String,
    },
    /// The parts do not make a manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A chunk could not be sealed.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
}
