//! Where every file of a site will lie, decided from paths and sizes alone.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use super::{PublishError, SiteFile};
use crate::limits::{
    CHUNK_CONTENT_MAX_BYTES, MANIFEST_MAX_BYTES, MANIFEST_MAX_CHUNKS, MANIFEST_MAX_ENTRIES, PACK_FILE_MAX_BYTES,
    PACK_MIN_BYTES,
};
use crate::media::media_type;
use crate::{manifest, path, proto};

/// Bytes that one chunk adds to an encoded manifest at most.
const CHUNK_REF_BYTES: u64 = 74;
/// Bytes of a manifest's version and starter, and the lengths of its index and title, at most.
const FIXED_BYTES: u64 = 16;

/// A file with its place in the order of feeding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedFile {
    /// Its place in the list that [`Plan::new`] was given.
    pub file_index: usize,
    /// Its path in the site.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// Whether the pack that it lies in ends with it.
    pub(super) ends_pack: bool,
}

impl PlannedFile {
    /// Whether it shares chunks with others.
    pub(super) fn is_packed(&self) -> bool {
        self.size <= PACK_FILE_MAX_BYTES
    }
}

/// Where every file will go. Needs sizes, no content.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) order: Vec<PlannedFile>,
    /// The path of the entry page.
    pub(super) index: Option<String>,
    pub(super) title: String,
}

impl Plan {
    /// Plans a site. `starter_paths` are the entry page and what it needs, most needed first; those after the first that
    /// are none of the files are passed over.
    ///
    /// # Errors
    /// Everything that is wrong with the site and can be known without its content.
    pub fn new(files: Vec<SiteFile>, starter_paths: &[String], title: String) -> Result<Self, PublishError> {
        if files.is_empty() {
            return Err(PublishError::Empty);
        }
        if files.len() > MANIFEST_MAX_ENTRIES {
            return Err(PublishError::TooManyFiles { found: files.len() });
        }
        for file in &files {
            path::check(&file.path).map_err(|reason| PublishError::Path { path: file.path.clone(), reason })?;
        }
        manifest::check_collisions(files.iter().map(|file| file.path.as_str()))?;
        manifest::check_title(&title)?;
        let index = starter_paths.first().cloned();
        if let Some(path) = index.as_ref().filter(|index| files.iter().all(|file| file.path != **index)) {
            return Err(PublishError::EntryPage { path: path.clone() });
        }
        let plan = Self { order: order_files(files, starter_paths), index, title };
        plan.check_size()?;
        Ok(plan)
    }

    /// The order in which the caller feeds files.
    #[must_use]
    pub fn order(&self) -> &[PlannedFile] {
        &self.order
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        self.order.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// Refuses a site whose manifest cannot be small enough, whatever is in the files.
    fn check_size(&self) -> Result<(), PublishError> {
        let chunks_of = |file: &PlannedFile| {
            if file.is_packed() {
                u64::from(file.ends_pack)
            } else {
                file.size.div_ceil(CHUNK_CONTENT_MAX_BYTES as u64)
            }
        };
        let chunks = self.order.iter().fold(0_u64, |sum, file| sum.saturating_add(chunks_of(file)));
        let entry_len = |file: &PlannedFile| {
            let entry = proto::Entry {
                path: file.path.clone(),
                media_type: media_type(&file.path).to_owned(),
                size: file.size,
                first_chunk: u32::try_from(chunks).unwrap_or(u32::MAX),
                offset: if file.is_packed() { CHUNK_CONTENT_MAX_BYTES as u32 } else { 0 },
            };
            let len = entry.encoded_len();
            (1 + prost::length_delimiter_len(len) + len) as u64
        };
        let names = self.index.as_ref().map_or(0, String::len) + self.title.len();
        let found = self
            .order
            .iter()
            .map(entry_len)
            .fold(FIXED_BYTES + names as u64, u64::saturating_add)
            .saturating_add(chunks.saturating_mul(CHUNK_REF_BYTES));
        if found > MANIFEST_MAX_BYTES as u64 || chunks > MANIFEST_MAX_CHUNKS as u64 {
            Err(PublishError::TooLarge { found })
        } else {
            Ok(())
        }
    }
}

/// The starter pack, the other packs, then large files, each group in its order; empty files at the end.
fn order_files(files: Vec<SiteFile>, starter_paths: &[String]) -> Vec<PlannedFile> {
    let planned = |(file_index, file): (usize, SiteFile)| {
        let file = PlannedFile { file_index, path: file.path, size: file.size, ends_pack: false };
        (file.path.clone(), file)
    };
    // By path: the layout must not depend on the order in which a directory happened to be read.
    let mut left: BTreeMap<String, PlannedFile> = files.into_iter().enumerate().map(planned).collect();
    let mut starter = Vec::new();
    let mut large_first = None;
    let mut seen = BTreeSet::new();
    let mut starter_len = 0_u64;
    for (place, path) in starter_paths.iter().enumerate() {
        let Some(file) = left.get(path).filter(|_| seen.insert(path)) else { continue };
        if place == 0 && !file.is_packed() {
            large_first = left.remove(path);
        } else if file.is_packed() && file.size > 0 && starter_len + file.size <= CHUNK_CONTENT_MAX_BYTES as u64 {
            starter_len += file.size;
            starter.extend(left.remove(path));
        }
    }
    if let Some(last) = starter.last_mut() {
        last.ends_pack = true;
    }
    let (empty, left): (Vec<_>, Vec<_>) = left.into_values().partition(|file| file.size == 0);
    let (mut packed, large): (Vec<_>, Vec<_>) = left.into_iter().partition(PlannedFile::is_packed);
    end_packs(&mut packed);
    starter.into_iter().chain(packed).chain(large_first).chain(large).chain(empty).collect()
}

/// Ends a pack when the next file does not fit; and, once it is a quarter full, before one file in four, chosen by its
/// path, so that a file that grew moves the files up to the next such path and not all after it.
fn end_packs(packed: &mut [PlannedFile]) {
    let mut len = 0_u64;
    let mut files = packed.iter_mut().peekable();
    while let Some(file) = files.next() {
        len += file.size;
        file.ends_pack = files.peek().is_none_or(|next| {
            let is_full = len + next.size > CHUNK_CONTENT_MAX_BYTES as u64;
            let is_boundary = blake3::hash(next.path.as_bytes()).as_bytes().first().is_some_and(|byte| byte & 3 == 0);
            is_full || (len >= PACK_MIN_BYTES as u64 && is_boundary)
        });
        if file.ends_pack {
            len = 0;
        }
    }
}
