//! Manifests: the list of a site's files and of the chunks they lie in.
//!
//! A [`Manifest`] value always keeps the rules of `docs/formats.md`: it is made by [`Manifest::parse`] or
//! [`Manifest::build`] only, and both check everything before anything is fetched.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use prost::Message;

use crate::chunk::{self, ChunkError, ChunkRef};
use crate::head::HeadInner;
use crate::keys::ReadKey;
use crate::limits::{
    CHUNK_CONTENT_MAX_BYTES, MANIFEST_MAX_BYTES, MANIFEST_MAX_CHUNKS, MANIFEST_MAX_ENTRIES, MEDIA_TYPE_MAX_BYTES,
    TITLE_MAX_BYTES,
};
use crate::path::{self, PathError};
use crate::{media, proto};

const VERSION: u32 = 1;
/// The file that stands for its directory.
pub(crate) const INDEX_NAME: &str = "index.html";

/// Why bytes or parts are not a manifest, or a question to it has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Over 1 MiB.
    #[error("a manifest has at most {MANIFEST_MAX_BYTES} bytes, this has {found}; the site was not opened")]
    TooLarge {
        /// Bytes given.
        found: usize,
    },
    /// Not the one encoding of a manifest.
    #[error("these bytes are not a manifest (or not its only encoding); the site was not opened")]
    Encoding,
    /// Of a version that this program does not know.
    #[error("this manifest has version {found}, which this MegaNet does not know; update it")]
    Version {
        /// Version in the manifest.
        found: u32,
    },
    /// Too many files.
    #[error("a site has at most {MANIFEST_MAX_ENTRIES} files; this one was not opened")]
    TooManyEntries,
    /// Too many chunks.
    #[error("a site has at most {MANIFEST_MAX_CHUNKS} chunks; this one was not opened")]
    TooManyChunks,
    /// A chunk reference breaks a rule.
    #[error("chunk {index} of the manifest has a wrong id, key or size; the site was not opened")]
    Chunk {
        /// Place in the chunk table.
        index: usize,
    },
    /// A path breaks a rule.
    #[error("file {index} of the manifest has a bad path: {reason}; the site was not opened")]
    Path {
        /// Place in the list of files.
        index: usize,
        /// The rule.
        reason: PathError,
    },
    /// Paths are not strictly ascending.
    #[error("file {index} of the manifest is out of order or there twice; the site was not opened")]
    Order {
        /// Place in the list of files.
        index: usize,
    },
    /// Two paths that some file systems take for one.
    #[error("{first:?} and {second:?} differ only in case or Unicode form: rename one of them")]
    SamePath {
        /// The one path.
        first: String,
        /// The other.
        second: String,
    },
    /// A path is a file and a directory.
    #[error("{path:?} is a file and also a directory of another file: rename one of them")]
    FileAndDirectory {
        /// The path of the file.
        path: String,
    },
    /// A media type breaks a rule.
    #[error("file {index} of the manifest has a bad media type; the site was not opened")]
    MediaType {
        /// Place in the list of files.
        index: usize,
    },
    /// A file lies outside the chunk table, or its numbers do not fit each other.
    #[error("file {index} of the manifest does not lie inside its chunks; the site was not opened")]
    Extent {
        /// Place in the list of files.
        index: usize,
    },
    /// The sizes of all files together are beyond counting.
    #[error("the files of this manifest are together beyond any size; the site was not opened")]
    TotalSize,
    /// A chunk that no file uses.
    #[error("chunk {index} of the manifest belongs to no file; the site was not opened")]
    UnusedChunk {
        /// Place in the chunk table.
        index: usize,
    },
    /// The entry page is not in the list of files.
    #[error("the manifest's entry page is none of its files; the site was not opened")]
    Index,
    /// The starter is not in the chunk table.
    #[error("the manifest's starter is none of its chunks; the site was not opened")]
    Starter,
    /// The title is too long or has unprintable characters.
    #[error("a title has at most {TITLE_MAX_BYTES} bytes and no control characters")]
    Title,
    /// The chunks that hold the manifest do not open.
    #[error("the manifest's own chunks cannot be read: {0}")]
    Sealed(#[from] ChunkError),
    /// The head says something else than the manifest.
    #[error("the head announces {announced} bytes of files, the manifest lists {found}; the site was not opened")]
    OtherTotal {
        /// Bytes in the head.
        announced: u64,
        /// Bytes in the manifest.
        found: u64,
    },
    /// Bytes were asked for that the file does not have.
    #[error("the file has {size} bytes; the range asked for is not in it")]
    Range {
        /// Bytes of the file.
        size: u64,
    },
}

/// A site's files and chunks. Read its fields freely; make one with [`Manifest::parse`] or [`Manifest::build`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Manifest {
    /// The chunk table, in the order in which files run through it.
    pub chunks: Vec<ChunkRef>,
    /// The files, strictly ascending by the bytes of their path.
    pub entries: Vec<Entry>,
    /// The path of the entry page.
    pub index: Option<String>,
    /// The place in the chunk table of the pack that a first look at the site needs.
    pub starter: Option<u32>,
    /// What the site calls itself; may be empty.
    pub title: String,
    /// Content bytes before each chunk of the table, and of all of them.
    starts: Vec<u64>,
}

/// One file of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path by the rules of [`path::check`].
    pub path: String,
    /// Its media type; nothing is guessed from the content.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// The place in the chunk table of the chunk it begins in.
    pub first_chunk: u32,
    /// The byte of that chunk's content it begins at.
    pub offset: u32,
}

/// A piece of a file: bytes `start..end` of one chunk's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Place in the chunk table.
    pub chunk: u32,
    /// First byte of the chunk's content.
    pub start: u32,
    /// The byte after the last.
    pub end: u32,
}

impl Manifest {
    /// Reads an encoded manifest and checks every rule.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MANIFEST_MAX_BYTES {
            return Err(ManifestError::TooLarge { found: bytes.len() });
        }
        count_items(bytes)?;
        let message: proto::Manifest =
            proto::decode(Bytes::copy_from_slice(bytes)).map_err(|_| ManifestError::Encoding)?;
        if message.version != VERSION {
            return Err(ManifestError::Version { found: message.version });
        }
        let chunk =
            |(index, chunk): (usize, &proto::ChunkRefMessage)| chunk.check().ok_or(ManifestError::Chunk { index });
        let chunks = message.chunks.iter().enumerate().map(chunk).collect::<Result<Vec<_>, _>>()?;
        let entry = |entry: proto::Entry| Entry {
            path: entry.path,
            media_type: entry.media_type,
            size: entry.size,
            first_chunk: entry.first_chunk,
            offset: entry.offset,
        };
        let entries = message.entries.into_iter().map(entry).collect();
        let index = (!message.index.is_empty()).then_some(message.index);
        Self::build(chunks, entries, index, message.starter.checked_sub(1), message.title)
    }

    /// Puts a manifest together from its parts and checks every rule. Entries must be in ascending order of path.
    ///
    /// # Errors
    /// The first rule that the parts break; [`ManifestError::TooLarge`] if it would be too large encoded.
    pub fn build(
        chunks: Vec<ChunkRef>,
        entries: Vec<Entry>,
        index: Option<String>,
        starter: Option<u32>,
        title: String,
    ) -> Result<Self, ManifestError> {
        if chunks.len() > MANIFEST_MAX_CHUNKS {
            return Err(ManifestError::TooManyChunks);
        }
        if entries.len() > MANIFEST_MAX_ENTRIES {
            return Err(ManifestError::TooManyEntries);
        }
        let starts = starts_of(&chunks)?;
        check_names(&entries)?;
        check_extents(&chunks, &starts, &entries)?;
        check_title(&title)?;
        let manifest = Self { chunks, entries, index, starter, title, starts };
        if manifest.index.as_deref().is_some_and(|index| manifest.entry(index).is_none()) {
            return Err(ManifestError::Index);
        }
        if starter.is_some_and(|starter| starter as usize >= manifest.chunks.len()) {
            return Err(ManifestError::Starter);
        }
        let encoded_len = manifest.message().encoded_len();
        if encoded_len > MANIFEST_MAX_BYTES {
            return Err(ManifestError::TooLarge { found: encoded_len });
        }
        Ok(manifest)
    }

    fn message(&self) -> proto::Manifest {
        let entry = |entry: &Entry| proto::Entry {
            path: entry.path.clone(),
            media_type: entry.media_type.clone(),
            size: entry.size,
            first_chunk: entry.first_chunk,
            offset: entry.offset,
        };
        proto::Manifest {
            version: VERSION,
            chunks: self.chunks.iter().map(Into::into).collect(),
            entries: self.entries.iter().map(entry).collect(),
            index: self.index.clone().unwrap_or_default(),
            starter: self.starter.map_or(0, |starter| starter + 1),
            title: self.title.clone(),
        }
    }

    /// The manifest's one encoding.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.message().encode_to_vec()
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }

    /// The file with exactly this path.
    #[must_use]
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        let found = self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path));
        found.ok().and_then(|place| self.entries.get(place))
    }

    /// The file that a request for `path` is answered with: the file of that name, or the `index.html` of the directory
    /// of that name (with or without a slash at its end). The empty path is the site's entry page.
    #[must_use]
    pub fn resolve(&self, request_path: &str) -> Option<&Entry> {
        let path = request_path.trim_start_matches('/');
        if path.is_empty() {
            return self.entry(self.index.as_deref().unwrap_or(INDEX_NAME));
        }
        match path.strip_suffix('/') {
            Some(directory) => self.entry(&format!("{directory}/{INDEX_NAME}")),
            None => self.entry(path).or_else(|| self.entry(&format!("{path}/{INDEX_NAME}"))),
        }
    }

    /// Where bytes `range` of a file lie, in order. An empty range gives no spans.
    ///
    /// # Errors
    /// [`ManifestError::Range`] if the range is reversed or reaches beyond the file.
    pub fn spans(&self, entry: &Entry, range: Range<u64>) -> Result<Vec<Span>, ManifestError> {
        let outside = ManifestError::Range { size: entry.size };
        if range.start > range.end || range.end > entry.size {
            return Err(outside);
        }
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let file_start = self.starts.get(entry.first_chunk as usize).map(|start| start + u64::from(entry.offset));
        let Some(file_start) = file_start else {
            return Err(outside);
        };
        let (Some(mut at), Some(end)) = (file_start.checked_add(range.start), file_start.checked_add(range.end)) else {
            return Err(outside);
        };
        let first = self.starts.partition_point(|start| *start <= at).saturating_sub(1);
        let mut spans = Vec::new();
        for (place, [chunk_start, next_start]) in self.starts.array_windows().enumerate().skip(first) {
            if at >= end {
                break;
            }
            let chunk_end = (*next_start).min(end);
            let span = (u32::try_from(place), u32::try_from(at - chunk_start), u32::try_from(chunk_end - chunk_start));
            let (Ok(chunk), Ok(start), Ok(span_end)) = span else {
                return Err(outside);
            };
            spans.push(Span { chunk, start, end: span_end });
            at = chunk_end;
        }
        if at < end { Err(outside) } else { Ok(spans) }
    }

    /// The chunk that a first look at the site needs.
    #[must_use]
    pub fn starter_chunk(&self) -> Option<&ChunkRef> {
        self.chunks.get(self.starter? as usize)
    }

    /// Cuts and seals the manifest: the references for the head, and the sealed chunks, in order.
    ///
    /// # Errors
    /// [`ManifestError::Sealed`], which a checked manifest does not give.
    pub fn seal(&self, read: &ReadKey) -> Result<(Vec<ChunkRef>, Vec<Vec<u8>>), ManifestError> {
        let mut chunks = (Vec::new(), Vec::new());
        for piece in self.encode().chunks(CHUNK_CONTENT_MAX_BYTES) {
            let (chunk, sealed) = chunk::seal(read, piece)?;
            chunks.0.push(chunk);
            chunks.1.push(sealed);
        }
        Ok(chunks)
    }

    /// Opens the chunks that hold a manifest, in the order of `refs`, and reads it. `size` is the head's manifest size.
    ///
    /// # Errors
    /// [`ManifestError::Sealed`] if a chunk does not open, [`ManifestError::Encoding`] if count or size do not fit,
    /// otherwise as [`Manifest::parse`].
    pub fn open_from<T: AsRef<[u8]>>(refs: &[ChunkRef], sealed: &[T], size: u32) -> Result<Self, ManifestError> {
        let size = size as usize;
        if size > MANIFEST_MAX_BYTES {
            return Err(ManifestError::TooLarge { found: size });
        }
        if refs.len() != sealed.len() || refs.len() > size.div_ceil(CHUNK_CONTENT_MAX_BYTES) {
            return Err(ManifestError::Encoding);
        }
        let mut bytes = Vec::with_capacity(size);
        for (chunk, sealed) in refs.iter().zip(sealed) {
            bytes.extend_from_slice(&chunk::open(chunk, sealed.as_ref())?);
        }
        if bytes.len() == size { Self::parse(&bytes) } else { Err(ManifestError::Encoding) }
    }

    /// As [`Manifest::open_from`], for the manifest of one head; also checks that both state the same total size, which
    /// the reader may already have been asked about.
    ///
    /// # Errors
    /// As [`Manifest::open_from`], and [`ManifestError::OtherTotal`].
    pub fn open_for<T: AsRef<[u8]>>(head: &HeadInner, sealed: &[T]) -> Result<Self, ManifestError> {
        let manifest = Self::open_from(&head.manifest, sealed, head.manifest_size)?;
        let found = manifest.total_size();
        if found == head.total_size {
            Ok(manifest)
        } else {
            Err(ManifestError::OtherTotal { announced: head.total_size, found })
        }
    }
}

/// Walks over an encoding's outer fields and stops at the first entry or chunk too many, before memory is taken for them:
/// a megabyte of empty entries would become sixty of structures.
fn count_items(bytes: &[u8]) -> Result<(), ManifestError> {
    use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};
    let mut rest = bytes;
    let (mut chunks, mut entries) = (0_usize, 0_usize);
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest).map_err(|_| ManifestError::Encoding)?;
        // No field of a manifest is a group; skipping one would recurse.
        if !matches!(wire_type, WireType::Varint | WireType::LengthDelimited) {
            return Err(ManifestError::Encoding);
        }
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(|_| ManifestError::Encoding)?;
        match tag {
            2 => chunks += 1,
            3 => entries += 1,
            _ => {}
        }
        if chunks > MANIFEST_MAX_CHUNKS {
            return Err(ManifestError::TooManyChunks);
        }
        if entries > MANIFEST_MAX_ENTRIES {
            return Err(ManifestError::TooManyEntries);
        }
    }
    Ok(())
}

/// Content bytes before each chunk, and of all of them at the end.
fn starts_of(chunks: &[ChunkRef]) -> Result<Vec<u64>, ManifestError> {
    let mut starts = Vec::with_capacity(chunks.len() + 1);
    let mut at = 0_u64;
    starts.push(at);
    for (index, chunk) in chunks.iter().enumerate() {
        if !(1..=CHUNK_CONTENT_MAX_BYTES).contains(&(chunk.size as usize)) {
            return Err(ManifestError::Chunk { index });
        }
        at += u64::from(chunk.size);
        starts.push(at);
    }
    Ok(starts)
}

fn check_names(entries: &[Entry]) -> Result<(), ManifestError> {
    for (index, entry) in entries.iter().enumerate() {
        path::check(&entry.path).map_err(|reason| ManifestError::Path { index, reason })?;
        if entry.media_type.len() > MEDIA_TYPE_MAX_BYTES || !media::is_media_type(&entry.media_type) {
            return Err(ManifestError::MediaType { index });
        }
    }
    if let Some(place) = entries.array_windows().position(|[one, next]| one.path >= next.path) {
        return Err(ManifestError::Order { index: place + 1 });
    }
    check_collisions(entries.iter().map(|entry| entry.path.as_str()))
}

/// Refuses paths that are equal after folding, and files that are directories of other files after folding.
pub(crate) fn check_collisions<'a>(paths: impl Iterator<Item = &'a str>) -> Result<(), ManifestError> {
    let mut folded: Vec<(String, &str)> = paths.map(|path| (path::fold(path), path)).collect();
    folded.sort_unstable();
    if let Some([(_, first), (_, second)]) = folded.array_windows().find(|[one, next]| one.0 == next.0) {
        return Err(ManifestError::SamePath { first: (*first).to_owned(), second: (*second).to_owned() });
    }
    let files: HashMap<&str, &str> = folded.iter().map(|(key, path)| (key.as_str(), *path)).collect();
    for (key, _) in &folded {
        let mut rest = key.as_str();
        while let Some((directory, _)) = rest.rsplit_once('/') {
            if let Some(path) = files.get(directory) {
                return Err(ManifestError::FileAndDirectory { path: (*path).to_owned() });
            }
            rest = directory;
        }
    }
    Ok(())
}

/// Every file inside the table, every chunk inside a file, the total countable.
fn check_extents(chunks: &[ChunkRef], starts: &[u64], entries: &[Entry]) -> Result<(), ManifestError> {
    let table_end = starts.last().copied().unwrap_or(0);
    // Runs of chunks in use, as changes of a counter at their first chunk and after their last.
    let mut changes = vec![0_i32; starts.len()];
    let mut total = 0_u64;
    for (index, entry) in entries.iter().enumerate() {
        total = total.checked_add(entry.size).ok_or(ManifestError::TotalSize)?;
        let outside = ManifestError::Extent { index };
        if entry.size == 0 {
            if (entry.first_chunk, entry.offset) != (0, 0) {
                return Err(outside);
            }
            continue;
        }
        let first = entry.first_chunk as usize;
        let is_inside = chunks.get(first).is_some_and(|chunk| entry.offset < chunk.size);
        let start = starts.get(first).filter(|_| is_inside).map(|start| start + u64::from(entry.offset));
        let end = start.and_then(|start| start.checked_add(entry.size)).filter(|end| *end <= table_end);
        let Some(end) = end else { return Err(outside) };
        let after_last = starts.partition_point(|start| *start < end);
        let (Some(opens), true) = (changes.get_mut(first), after_last < starts.len()) else { return Err(outside) };
        *opens += 1;
        if let Some(closes) = changes.get_mut(after_last) {
            *closes -= 1;
        }
    }
    let mut users = 0_i32;
    for (index, change) in changes.iter().take(chunks.len()).enumerate() {
        users += change;
        if users == 0 {
            return Err(ManifestError::UnusedChunk { index });
        }
    }
    Ok(())
}

pub(crate) fn check_title(title: &str) -> Result<(), ManifestError> {
    let unprintable = |c: char| c.is_control() || path::is_bidi_control(c);
    if title.len() > TITLE_MAX_BYTES || title.contains(unprintable) { Err(ManifestError::Title) } else { Ok(()) }
}
