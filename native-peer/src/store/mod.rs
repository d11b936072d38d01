//! The native store: chunk files and a redb index, both durable.
//!
//! Reads run in parallel; every change goes through one writer task ([`writer`]) that gathers what waits and syncs it
//! together. Chunks are on the disk before their row is in the index, and a site record is one transaction of its own,
//! so whatever moment the process or the machine dies at, the index names only whole chunks and whole records.

mod files;
mod index;
mod panics;
mod writer;

use bytes::Bytes;
use files::{ChunkFiles, Found, Listed};
use index::{Change, ChunkRow, Index};
use meganet_core::{hash::ChunkId, keys::BlindedKey};
use meganet_node::{
    platform::BoxFuture,
    store::{SiteRecord, Store, StoreError, Usage},
};
use std::{
    collections::{HashMap, HashSet},
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use writer::{WRITES_WAITING_MAX, Write};

/// Blocking reads in flight; each holds one file descriptor and one chunk.
const READS_MAX: usize = 16;
/// How long a read waits for a free file descriptor before it gives up, in steps of [`DESCRIPTOR_RETRY`].
const DESCRIPTOR_RETRIES: u32 = 50;
const DESCRIPTOR_RETRY: Duration = Duration::from_millis(100);
/// What one blocking read and one blocking write tell the caller when the runtime is shutting down.
const STOPPING: &str = "the store is closing";

/// Why a store cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "“{}” was written by a newer meganet (storage version {found}, this one knows {supported}). Nothing was changed: \
         update meganet, or choose another --data-dir", .path.display()
    )]
    NewerSchema { path: PathBuf, found: u64, supported: u64 },
    #[error("“{}” is not a meganet index of a known kind. Nothing was changed: choose another --data-dir", .path.display())]
    Foreign { path: PathBuf },
    #[error(
        "“{}” is missing or empty, and without it nobody knows whose the {chunks} chunk files beside it are. Nothing was \
         changed: restore it from a backup; without one, move the folder “chunks” beside it away, publish your own sites \
         again and fetch the others", .path.display()
    )]
    IndexLost { path: PathBuf, chunks: usize },
    #[error("“{}” is in use by another process. Stop it, or choose another --data-dir", .path.display())]
    InUse { path: PathBuf },
    #[error("“{}” cannot be written: {reason}. Give this user the right to write there, or choose another --data-dir", .path.display())]
    NotWritable { path: PathBuf, reason: String },
    #[error("the disk is full: {0}. Nothing was changed: free some space and run again")]
    Full(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OpenError {
    fn from_io(path: &Path, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                OpenError::NotWritable { path: path.to_owned(), reason: error.to_string() }
            }
            _ => match storage_error(path, error) {
                StoreError::Full(reason) => OpenError::Full(reason),
                other => OpenError::Store(other),
            },
        }
    }
}

/// A store in a directory of its own.
///
/// Dropping it closes the index; a store can be opened again on the same directory right after.
pub struct FileStore {
    shared: Arc<Shared>,
    writes: mpsc::Sender<Write>,
}

/// What readers and the writer share.
struct Shared {
    files: ChunkFiles,
    index: Index,
    table: Mutex<Table>,
    reads: Semaphore,
    quota_bytes: u64,
    /// Whether there may be chunks of no site: set by what makes such, cleared when none was found.
    has_orphans: AtomicBool,
}

/// The chunk rows, in memory: bounded by the quota, as each stands for a file.
#[derive(Default)]
struct Table {
    rows: HashMap<ChunkId, ChunkRow>,
    bytes: u64,
    sites: u64,
}

impl Table {
    fn insert(&mut self, id: ChunkId, row: ChunkRow) {
        self.remove(id);
        self.rows.insert(id, row);
        self.bytes += u64::from(row.size);
    }

    /// Notes that a chunk was of use just now.
    fn touch(&mut self, id: ChunkId, now_ms: u64) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.stored_ms = now_ms;
        }
    }

    fn remove(&mut self, id: ChunkId) {
        if let Some(row) = self.rows.remove(&id) {
            self.bytes -= u64::from(row.size);
        }
    }
}

impl FileStore {
    /// Opens or creates the store in `directory`, sweeps what interrupted writes left, and drops chunks that no site
    /// record names, unless a record is damaged: they may be its. `quota_bytes` bounds the chunk bytes kept.
    ///
    /// # Errors
    /// [`OpenError`], naming the path.
    pub async fn open(directory: &Path, quota_bytes: u64) -> Result<Self, OpenError> {
        let directory = directory.to_owned();
        let shared = tokio::task::spawn_blocking(move || Shared::open(&directory, quota_bytes))
            .await
            .map_err(|_| StoreError::Io(STOPPING.into()))??;
        let shared = Arc::new(shared);
        let (writes, waiting) = mpsc::channel(WRITES_WAITING_MAX);
        tokio::spawn(writer::run(Arc::downgrade(&shared), waiting));
        Ok(FileStore { shared, writes })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl Fn(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _permit = self.shared.reads.acquire().await.map_err(|_| StoreError::Io(STOPPING.into()))?;
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || read(&shared)).await.map_err(|_| StoreError::Io(STOPPING.into()))?
    }

    async fn write(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<(), StoreError>>) -> Write,
    ) -> Result<(), StoreError> {
        let (done, result) = oneshot::channel();
        self.writes.send(make(done)).await.map_err(|_| StoreError::Io(STOPPING.into()))?;
        result.await.map_err(|_| StoreError::Io(STOPPING.into()))?
    }
}

impl Shared {
    fn open(directory: &Path, quota_bytes: u64) -> Result<Self, OpenError> {
        let chunks = directory.join("chunks");
        // The index names the sites that are kept here: that is nobody else's business.
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&chunks).map_err(|error| OpenError::from_io(&chunks, &error))?;
        let files = ChunkFiles::new(chunks.clone());
        let listed = files.list().map_err(|error| OpenError::from_io(&chunks, &error))?;
        // A new index knows of no site: beside it every chunk would be an orphan, and go.
        let may_create = listed.chunks.is_empty();
        let index = Index::open(&directory.join("index.redb"), may_create).map_err(|error| match error {
            OpenError::IndexLost { path, .. } => OpenError::IndexLost { path, chunks: listed.chunks.len() },
            other => other,
        })?;
        let shared = Shared {
            files,
            index,
            table: Mutex::default(),
            reads: Semaphore::new(READS_MAX),
            quota_bytes,
            has_orphans: AtomicBool::new(false),
        };
        shared.reconcile(listed)?;
        Ok(shared)
    }

    /// Makes files and index agree: a row needs a file, a file needs a row and a site that uses it. While a site's record
    /// is damaged only rows without a file go.
    fn reconcile(&self, listed: Listed) -> Result<(), OpenError> {
        let at = self.files.root().to_owned();
        let Listed { chunks: files, unfinished } = listed;
        for path in unfinished {
            std::fs::remove_file(&path).map_err(|error| OpenError::from_io(&path, &error))?;
        }
        let sites = self.index.sites()?;
        let keep_all = sites.damaged > 0;
        if keep_all {
            tracing::error!(
                "{} of the site records in “{}” are damaged. Those sites do not open, and none of their chunks was deleted. \
                 Restore that folder from a backup; without one, stop this peer, move the folder away, publish your own \
                 sites again and fetch the others",
                sites.damaged,
                at.parent().unwrap_or(&at).display()
            );
        }
        let used: HashSet<ChunkId> = sites.records.iter().flat_map(SiteRecord::all_chunks).copied().collect();
        let mut table = Table { sites: self.index.site_count()?, ..Table::default() };
        let mut changes = Vec::new();
        for (id, row) in self.index.chunks()? {
            if files.contains(&id) && (keep_all || used.contains(&id)) {
                table.insert(id, row);
            } else {
                changes.push(Change::NoChunk(id));
            }
        }
        if !changes.is_empty() {
            self.index.apply(&changes)?;
        }
        for id in files.iter().filter(|id| !keep_all && !table.rows.contains_key(id)) {
            self.files.remove(*id).map_err(|error| OpenError::from_io(&at, &error))?;
        }
        *self.table() = table;
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a chunk file, waiting a while when the process has no file descriptor left.
    fn read_chunk(&self, id: ChunkId) -> Result<Found, StoreError> {
        let mut tries = 0;
        loop {
            match self.files.read(id) {
                Ok(found) => return Ok(found),
                Err(error) if is_out_of_descriptors(&error) && tries < DESCRIPTOR_RETRIES => {
                    tries += 1;
                    std::thread::sleep(DESCRIPTOR_RETRY);
                }
                Err(error) => return Err(storage_error(self.files.root(), &error)),
            }
        }
    }
}

impl Store for FileStore {
    fn chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        Box::pin(async move {
            if !self.shared.table().rows.contains_key(&id) {
                return Ok(None);
            }
            match self.read(move |shared| shared.read_chunk(id)).await? {
                Found::Whole(bytes) => Ok(Some(bytes.into())),
                Found::Damaged | Found::Missing => {
                    tracing::warn!(chunk = %id, "a stored chunk is damaged: deleted, to be fetched again");
                    self.write(|done| Write::DropDamaged { id, done }).await?;
                    Ok(None)
                }
            }
        })
    }

    fn has_chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(self.shared.table().rows.contains_key(&id)) })
    }

    fn put_chunk(&self, id: ChunkId, sealed: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |done| Write::Chunk { id, sealed, done }))
    }

    fn delete_chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |done| Write::DeleteChunk { id, done }))
    }

    fn site(&self, blinded: BlindedKey) -> BoxFuture<'_, Result<Option<SiteRecord>, StoreError>> {
        Box::pin(self.read(move |shared| shared.index.site(blinded.as_bytes())))
    }

    fn put_site(&self, record: SiteRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |done| Write::Index { change: Change::Site(Box::new(record)), done }))
    }

    fn delete_site(&self, blinded: BlindedKey) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |done| Write::Index { change: Change::NoSite(*blinded.as_bytes()), done }))
    }

    fn sites(&self) -> BoxFuture<'_, Result<Vec<SiteRecord>, StoreError>> {
        Box::pin(self.read(|shared| Ok(shared.index.sites()?.records)))
    }

    fn value(&self, name: &'static str) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        Box::pin(self.read(move |shared| shared.index.value(name)))
    }

    fn put_value(&self, name: &'static str, value: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.write(move |done| Write::Index { change: Change::Value(name, value), done }))
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        Box::pin(async move {
            let table = self.shared.table();
            Ok(Usage { chunks: table.rows.len() as u64, bytes: table.bytes, sites: table.sites })
        })
    }

    fn memory_only(&self) -> bool {
        false
    }
}

/// Sorts an I/O error into what the node does about it.
fn storage_error(path: &Path, error: &io::Error) -> StoreError {
    let what = format!("“{}”", path.display());
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => StoreError::Full(format!("{what}: {error}")),
        // Descriptors come back when connections close: this one operation is lost, the store is not.
        _ if is_out_of_descriptors(error) => StoreError::Full(format!("{what}: {error}")),
        _ => StoreError::Io(format!("{what}: {error}")),
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| {
        code == rustix::io::Errno::MFILE.raw_os_error() || code == rustix::io::Errno::NFILE.raw_os_error()
    })
}

#[cfg(test)]
mod tests;
