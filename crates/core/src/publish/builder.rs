//! Sealing a planned site's chunks while its files are fed in.

use std::collections::{HashMap, HashSet};

use super::{Plan, PlannedFile, PublishError, SealedChunk};
use crate::chunk::{self, ChunkRef};
use crate::hash::ChunkId;
use crate::keys::ReadKey;
use crate::limits::CHUNK_CONTENT_MAX_BYTES;
use crate::manifest::{Entry, Manifest};
use crate::media::media_type;

/// Where a file begins: place in the chunk table, and byte of that chunk's content.
type Place = (u32, u32);

/// Turns fed bytes into sealed chunks and at last a manifest. After an error it is of no more use.
#[derive(Debug)]
pub struct Builder {
    plan: Plan,
    read: ReadKey,
    /// The file in the planned order that is being fed.
    position: usize,
    /// Bytes of that file so far.
    fed: u64,
    /// Content of the chunk that is being filled; at most one chunk's.
    content: Vec<u8>,
    /// Where the file being fed begins in `content`, or its first chunk's place in the table.
    file_start: usize,
    file_first_chunk: usize,
    chunks: Vec<ChunkRef>,
    places: Vec<Option<Place>>,
    emitted: HashSet<ChunkId>,
    /// Content of packed files that are in already, by hash.
    packed: HashMap<[u8; 32], Place>,
    /// Large files that are in already, by first chunk and size: the place of their run in the table.
    large: HashMap<(ChunkId, u64), u32>,
}

impl Builder {
    /// Begins a site that is read with `read`.
    #[must_use]
    pub fn new(plan: Plan, read: ReadKey) -> Self {
        let places = vec![None; plan.order.len()];
        let mut builder = Self {
            plan,
            read,
            position: 0,
            fed: 0,
            content: Vec::new(),
            file_start: 0,
            file_first_chunk: 0,
            chunks: Vec::new(),
            places,
            emitted: HashSet::new(),
            packed: HashMap::new(),
            large: HashMap::new(),
        };
        builder.pass_empty_files();
        builder
    }

    /// Takes the next bytes of a file, in pieces of any size; gives the chunks that became whole, each only the first time
    /// it occurs in the site. Empty files need no call.
    ///
    /// # Errors
    /// [`PublishError::SizeChanged`] if the file has more bytes than planned, or another follows before it was complete;
    /// [`PublishError::OutOfOrder`] if it is not this file's turn.
    pub fn feed(&mut self, file_index: usize, bytes: &[u8]) -> Result<Vec<SealedChunk>, PublishError> {
        let mut sealed = Vec::new();
        if bytes.is_empty() {
            return Ok(sealed);
        }
        let Some(file) = self.plan.order.get(self.position).filter(|file| file.file_index == file_index).cloned()
        else {
            return Err(self.wrong_file(file_index));
        };
        if bytes.len() as u64 > file.size - self.fed {
            return Err(size_changed(&file));
        }
        if self.fed == 0 {
            self.file_start = self.content.len();
            self.file_first_chunk = self.chunks.len();
        }
        self.fed += bytes.len() as u64;
        let mut rest = bytes;
        while self.content.len() + rest.len() >= CHUNK_CONTENT_MAX_BYTES && !rest.is_empty() {
            let (now, later) = rest.split_at(CHUNK_CONTENT_MAX_BYTES - self.content.len());
            if file.is_packed() {
                break;
            }
            if self.content.is_empty() {
                // A whole chunk in the caller's buffer needs no copy.
                self.seal(now, &mut sealed)?;
            } else {
                self.content.extend_from_slice(now);
                self.seal_content(&mut sealed)?;
            }
            rest = later;
        }
        self.content.extend_from_slice(rest);
        if self.fed == file.size {
            self.end_file(&file, &mut sealed)?;
        }
        Ok(sealed)
    }

    fn wrong_file(&self, file_index: usize) -> PublishError {
        let is_this = |file: &&PlannedFile| file.file_index == file_index;
        let mut past = self.plan.order.iter().take(self.position);
        match (past.find(is_this), self.plan.order.get(self.position)) {
            // A file that was complete has grown.
            (Some(file), _) => size_changed(file),
            (None, Some(file)) if self.fed > 0 => size_changed(file),
            (None, Some(file)) => PublishError::OutOfOrder { expected: file.path.clone() },
            (None, None) => self
                .plan
                .order
                .iter()
                .find(is_this)
                .map_or(PublishError::OutOfOrder { expected: String::new() }, size_changed),
        }
    }

    fn end_file(&mut self, file: &PlannedFile, sealed: &mut Vec<SealedChunk>) -> Result<(), PublishError> {
        let place = if file.is_packed() {
            let content = self.content.get(self.file_start..).unwrap_or_default();
            let hash = *blake3::hash(content).as_bytes();
            let here = (self.chunks.len() as u32, self.file_start as u32);
            let place = *self.packed.entry(hash).or_insert(here);
            if place != here {
                self.content.truncate(self.file_start);
            }
            if file.ends_pack {
                self.seal_content(sealed)?;
            }
            place
        } else {
            self.seal_content(sealed)?;
            (self.place_large(file.size), 0)
        };
        self.set_place(file.file_index, place);
        self.position += 1;
        self.fed = 0;
        self.pass_empty_files();
        Ok(())
    }

    /// The place of the large file at the table's end; if an equal one came before, of that one.
    fn place_large(&mut self, size: u64) -> u32 {
        let first = self.file_first_chunk;
        let Some(first_chunk) = self.chunks.get(first) else { return 0 };
        let known = self.large.get(&(first_chunk.id, size)).copied();
        let (before, run) = self.chunks.split_at(first);
        match known {
            Some(known) if before.get(known as usize..).is_some_and(|before| before.starts_with(run)) => {
                self.chunks.truncate(first);
                known
            }
            Some(_) => first as u32,
            None => {
                self.large.insert((first_chunk.id, size), first as u32);
                first as u32
            }
        }
    }

    fn pass_empty_files(&mut self) {
        while let Some(file) = self.plan.order.get(self.position).filter(|file| file.size == 0) {
            let file_index = file.file_index;
            self.set_place(file_index, (0, 0));
            self.position += 1;
        }
    }

    fn set_place(&mut self, file_index: usize, place: Place) {
        if let Some(known) = self.places.get_mut(file_index) {
            *known = Some(place);
        }
    }

    fn seal_content(&mut self, sealed: &mut Vec<SealedChunk>) -> Result<(), PublishError> {
        if self.content.is_empty() {
            return Ok(());
        }
        let mut content = std::mem::take(&mut self.content);
        self.seal(&content, sealed)?;
        content.clear();
        self.content = content;
        Ok(())
    }

    fn seal(&mut self, content: &[u8], sealed: &mut Vec<SealedChunk>) -> Result<(), PublishError> {
        let (chunk, bytes) = chunk::seal(&self.read, content)?;
        self.chunks.push(chunk);
        if self.emitted.insert(chunk.id) {
            sealed.push(SealedChunk { chunk, sealed: bytes });
        }
        Ok(())
    }

    /// Ends the site: its manifest, and chunks that were not given out before.
    ///
    /// # Errors
    /// [`PublishError::SizeChanged`] if a file had fewer bytes than planned.
    pub fn finish(mut self) -> Result<(Manifest, Vec<SealedChunk>), PublishError> {
        if let Some(file) = self.plan.order.get(self.position) {
            return Err(size_changed(file));
        }
        let mut sealed = Vec::new();
        self.seal_content(&mut sealed)?;
        let place_of = |file: &PlannedFile| self.places.get(file.file_index).copied().flatten().unwrap_or_default();
        let is_index = |file: &&PlannedFile| Some(&file.path) == self.plan.index.as_ref();
        let index = self.plan.order.iter().find(is_index);
        let starter = index.filter(|file| file.size > 0).map(|file| place_of(file).0);
        let entry = |file: &PlannedFile| {
            let (first_chunk, offset) = place_of(file);
            let media_type = media_type(&file.path).to_owned();
            Entry { path: file.path.clone(), media_type, size: file.size, first_chunk, offset }
        };
        let mut entries: Vec<Entry> = self.plan.order.iter().map(entry).collect();
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        let manifest = Manifest::build(self.chunks, entries, self.plan.index, starter, self.plan.title)?;
        Ok((manifest, sealed))
    }
}

fn size_changed(file: &PlannedFile) -> PublishError {
    PublishError::SizeChanged { path: file.path.clone(), planned: file.size }
}
