//! Chunk files: `chunks/ab/<64 hex digits>`, written whole or not at all.
//!
//! A file gets its name only after its bytes are on the disk, and the directory is synced after that, so a name stands
//! for a whole chunk even after the power fails.

use meganet_core::{hash::ChunkId, limits::CHUNK_MAX_BYTES};
use meganet_host::files::open_at_once;
use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const TEMPORARY_PREFIX: &str = ".tmp-";

/// What a chunk file turned out to hold.
pub enum Found {
    Whole(Vec<u8>),
    Damaged,
    Missing,
}

/// The files in the directory.
#[derive(Default)]
pub struct Listed {
    pub chunks: HashSet<ChunkId>,
    /// What interrupted writes left.
    pub unfinished: Vec<PathBuf>,
}

/// The directory of chunk files. All methods block.
pub struct ChunkFiles {
    root: PathBuf,
}

impl ChunkFiles {
    pub fn new(root: PathBuf) -> Self {
        ChunkFiles { root }
    }

    /// Reads and verifies one chunk.
    pub fn read(&self, id: ChunkId) -> io::Result<Found> {
        let file = match open_at_once(&self.path(id)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Missing),
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Ok(Found::Damaged);
        }
        let mut bytes = Vec::with_capacity(CHUNK_MAX_BYTES);
        file.take(CHUNK_MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        let whole = bytes.len() <= CHUNK_MAX_BYTES && ChunkId::of(&bytes) == id;
        Ok(if whole { Found::Whole(bytes) } else { Found::Damaged })
    }

    /// Writes a batch. Each chunk gets its own result; a chunk whose result is `Ok` survives a power failure.
    ///
    /// All files are written before the first is synced: the file system then commits them together.
    pub fn write_all(&self, chunks: &[(ChunkId, bytes::Bytes)]) -> Vec<io::Result<()>> {
        let mut staged: Vec<io::Result<(File, PathBuf)>> =
            chunks.iter().map(|(id, sealed)| self.stage(*id, sealed)).collect();
        let mut directories = BTreeSet::new();
        for (slot, (id, _)) in staged.iter_mut().zip(chunks) {
            let Ok((file, temporary)) = slot else { continue };
            let named = file.sync_all().and_then(|()| fs::rename(&*temporary, self.path(*id)));
            if let Err(error) = named {
                let _ = fs::remove_file(&*temporary);
                *slot = Err(error);
            } else {
                directories.insert(self.directory(*id));
            }
        }
        let synced: io::Result<()> = directories.iter().try_for_each(|directory| File::open(directory)?.sync_all());
        staged
            .into_iter()
            .map(|slot| match (&synced, slot) {
                (_, Err(error)) => Err(error),
                (Err(error), Ok(_)) => Err(io::Error::new(error.kind(), error.to_string())),
                (Ok(()), Ok(_)) => Ok(()),
            })
            .collect()
    }

    /// Removes a chunk; it need not exist.
    pub fn remove(&self, id: ChunkId) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Lists what is there and changes nothing.
    pub fn list(&self) -> io::Result<Listed> {
        let mut found = Listed::default();
        for directory in fs::read_dir(&self.root)? {
            let directory = directory?;
            if !directory.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(directory.path())? {
                let name = file?.file_name();
                let Some(name) = name.to_str() else { continue };
                if name.starts_with(TEMPORARY_PREFIX) {
                    found.unfinished.push(directory.path().join(name));
                } else if let Some(id) = parse_name(name) {
                    found.chunks.insert(id);
                }
            }
        }
        Ok(found)
    }

    /// Bytes an unprivileged process may still write on this file system.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn stage(&self, id: ChunkId, sealed: &[u8]) -> io::Result<(File, PathBuf)> {
        let directory = self.directory(id);
        let temporary = directory.join(format!("{TEMPORARY_PREFIX}{}", name(id)));
        let open = || OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
        let mut file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&directory)?;
                File::open(&self.root)?.sync_all()?;
                open()?
            }
            other => other?,
        };
        if let Err(error) = file.write_all(sealed) {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        Ok((file, temporary))
    }

    fn directory(&self, id: ChunkId) -> PathBuf {
        self.root.join(format!("{:02x}", id.as_bytes()[0]))
    }

    fn path(&self, id: ChunkId) -> PathBuf {
        self.directory(id).join(name(id))
    }

    /// Where the files are.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn name(id: ChunkId) -> String {
    data_encoding::HEXLOWER.encode(id.as_bytes())
}

fn parse_name(name: &str) -> Option<ChunkId> {
    let bytes = data_encoding::HEXLOWER.decode(name.as_bytes()).ok()?;
    <[u8; 32]>::try_from(bytes).ok().map(ChunkId::from_bytes)
}
