//! The store's index: one redb file with site records, named values and the sizes of the chunk files.
//!
//! Every write is one durable transaction. redb refuses all work after a failed write until the file is opened again
//! ([`redb::Error::PreviousIo`]), so a full disk would end the store; here the database is closed and opened again
//! instead, and the next operation finds the last committed state.
//!
//! Whatever redb finds wrong with the file, by an error or by a panic, is [`StoreError::Corrupt`] with the file's name.

use super::{OpenError, panics::caught, storage_error};
use meganet_core::hash::ChunkId;
use meganet_node::store::{SiteRecord, StoreError};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
    time::Duration,
};

/// Version of the tables below and of the chunk files' layout. A higher one is refused, never changed.
pub const SCHEMA: u64 = 1;
/// Memory redb may use for its pages.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// How long opening waits for another handle of this process to be dropped, in steps of [`OPEN_RETRY`].
const OPEN_RETRIES: u32 = 50;
const OPEN_RETRY: Duration = Duration::from_millis(40);

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const SITES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("sites");
const VALUES: TableDefinition<&str, &[u8]> = TableDefinition::new("values");
const CHUNKS: TableDefinition<&[u8], (u32, u64)> = TableDefinition::new("chunks");

/// What is known of a chunk file without opening it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRow {
    pub size: u32,
    /// Unix ms at which it was stored. In memory: or at which a publication used it again, or its last site let it go.
    pub stored_ms: u64,
}

/// The site records of an index.
#[derive(Debug, Default)]
pub struct Records {
    pub records: Vec<SiteRecord>,
    /// Records that do not decode. Nobody knows which chunks they name: while there is one, a chunk that no other record
    /// names may be its.
    pub damaged: u64,
}

/// One change to the index.
#[derive(Debug)]
pub enum Change {
    Chunk(ChunkId, ChunkRow),
    NoChunk(ChunkId),
    Site(Box<SiteRecord>),
    NoSite([u8; 32]),
    Value(&'static str, Vec<u8>),
}

/// The open index. All methods block.
pub struct Index {
    path: PathBuf,
    database: RwLock<Option<Database>>,
}

impl Index {
    /// Opens the index file; `create` says whether it may be a new one.
    ///
    /// # Errors
    /// [`OpenError`]: another process has it open, a newer program wrote it, it is not there, or it cannot be read or
    /// written.
    pub fn open(path: &Path, create: bool) -> Result<Self, OpenError> {
        let database = open_database(path, create)?;
        Ok(Index { path: path.to_owned(), database: RwLock::new(Some(database)) })
    }

    /// Applies all changes in one transaction, or none of them. It is durable, unless it only deletes chunk rows: a row
    /// that comes back after a power failure has no file, and is dropped when the store is opened.
    pub fn apply(&self, changes: &[Change]) -> Result<(), StoreError> {
        let only_deletes = changes.iter().all(|change| matches!(change, Change::NoChunk(_)));
        self.with(|database| {
            let mut transaction = database.begin_write()?;
            if only_deletes {
                transaction.set_durability(Durability::None)?;
            }
            write_changes(&transaction, changes)?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// The rows of all chunks.
    pub fn chunks(&self) -> Result<Vec<(ChunkId, ChunkRow)>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(CHUNKS)?;
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                if let Ok(id) = <[u8; 32]>::try_from(key.value()) {
                    let (size, stored_ms) = value.value();
                    rows.push((ChunkId::from_bytes(id), ChunkRow { size, stored_ms }));
                }
            }
            Ok(rows)
        })
    }

    /// One site's record, by its blinded key.
    pub fn site(&self, blinded: &[u8; 32]) -> Result<Option<SiteRecord>, StoreError> {
        let bytes = self.read(|transaction| {
            Ok(transaction.open_table(SITES)?.get(blinded.as_slice())?.map(|value| value.value().to_vec()))
        })?;
        bytes.map(|bytes| decode_site(&bytes)).transpose()
    }

    /// All site records, and how many there are that do not decode.
    pub fn sites(&self) -> Result<Records, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(SITES)?;
            let mut found = Records::default();
            for row in table.iter()? {
                match decode_site(row?.1.value()) {
                    Ok(record) => found.records.push(record),
                    Err(_) => found.damaged += 1,
                }
            }
            Ok(found)
        })
    }

    /// Number of site records.
    pub fn site_count(&self) -> Result<u64, StoreError> {
        self.read(|transaction| {
            use redb::ReadableTableMetadata;
            Ok(transaction.open_table(SITES)?.len()?)
        })
    }

    /// A named value.
    pub fn value(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(VALUES)?.get(name)?.map(|value| value.value().to_vec())))
    }

    fn read<T>(&self, read: impl Fn(&ReadTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.with(|database| read(&database.begin_read()?))
    }

    /// Runs an operation; when redb has given the file up since an earlier failure, opens it again and runs it once more.
    fn with<T>(&self, operation: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let guarded = |database: &Database| match caught(|| operation(database)) {
            Ok(result) => result,
            Err(panic) => Err(redb::Error::Corrupted(panic)),
        };
        let first = self.database.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(guarded);
        match first {
            Some(Ok(value)) => return Ok(value),
            Some(Err(error)) if !needs_reopening(&error) => return Err(index_error(&self.path, &error)),
            Some(Err(_)) | None => {}
        }
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        close(slot.take());
        // Never a new file: it would know of no site, and every chunk would be nobody's.
        let database = open_database(&self.path, false).map_err(|error| match error {
            OpenError::Store(error) => error,
            OpenError::IndexLost { path, .. } => StoreError::Io(format!("“{}” is gone", path.display())),
            other => StoreError::Io(other.to_string()),
        })?;
        let result = guarded(&database).map_err(|error| index_error(&self.path, &error));
        *slot = Some(database);
        result
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        close(self.database.get_mut().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Closing writes, so it can meet damaged pages too. Everything that counts was committed before.
fn close(database: Option<Database>) {
    let _ = caught(|| drop(database));
}

fn open_database(path: &Path, create: bool) -> Result<Database, OpenError> {
    let is_there = match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => return Err(OpenError::Foreign { path: path.to_owned() }),
        Ok(found) => found.len() > 0,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(OpenError::from_io(path, &error)),
    };
    if !is_there && !create {
        return Err(OpenError::IndexLost { path: path.to_owned(), chunks: 0 });
    }
    match caught(|| open_file(path, create)) {
        Ok(result) => result,
        Err(panic) => Err(opening(path, &redb::Error::Corrupted(panic))),
    }
}

fn open_file(path: &Path, create: bool) -> Result<Database, OpenError> {
    let mut tries = 0;
    let database = loop {
        match Database::builder().set_cache_size(CACHE_BYTES).create(path) {
            Ok(database) => break database,
            Err(redb::DatabaseError::DatabaseAlreadyOpen) if tries < OPEN_RETRIES => {
                tries += 1;
                std::thread::sleep(OPEN_RETRY);
            }
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => return Err(OpenError::InUse { path: path.to_owned() }),
            Err(redb::DatabaseError::UpgradeRequired(_)) => return Err(OpenError::Foreign { path: path.to_owned() }),
            Err(error) => return Err(opening(path, &error.into())),
        }
    };
    let found = read_schema(&database).map_err(|error| opening(path, &error))?;
    match found {
        Some(SCHEMA) => {}
        None if create => create_tables(&database).map_err(|error| opening(path, &error))?,
        None => return Err(OpenError::IndexLost { path: path.to_owned(), chunks: 0 }),
        Some(found) => return Err(OpenError::NewerSchema { path: path.to_owned(), found, supported: SCHEMA }),
    }
    Ok(database)
}

fn opening(path: &Path, error: &redb::Error) -> OpenError {
    match error {
        redb::Error::Io(source) if !is_damage(source) => OpenError::from_io(path, source),
        other => OpenError::Store(index_error(path, other)),
    }
}

fn read_schema(database: &Database) -> Result<Option<u64>, redb::Error> {
    match database.begin_read()?.open_table(META) {
        Ok(table) => Ok(table.get("schema")?.map(|value| value.value())),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn create_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("schema", SCHEMA)?;
    transaction.open_table(SITES)?;
    transaction.open_table(VALUES)?;
    transaction.open_table(CHUNKS)?;
    transaction.commit()?;
    Ok(())
}

fn write_changes(transaction: &WriteTransaction, changes: &[Change]) -> Result<(), redb::Error> {
    let mut sites = transaction.open_table(SITES)?;
    let mut values = transaction.open_table(VALUES)?;
    let mut chunks = transaction.open_table(CHUNKS)?;
    for change in changes {
        match change {
            Change::Chunk(id, row) => {
                chunks.insert(id.as_bytes().as_slice(), (row.size, row.stored_ms))?;
            }
            Change::NoChunk(id) => {
                chunks.remove(id.as_bytes().as_slice())?;
            }
            Change::Site(record) => {
                let bytes = postcard::to_stdvec(record).map_err(|error| redb::Error::Corrupted(error.to_string()))?;
                sites.insert(record.address.blinded().as_bytes().as_slice(), bytes.as_slice())?;
            }
            Change::NoSite(blinded) => {
                sites.remove(blinded.as_slice())?;
            }
            Change::Value(name, value) => {
                values.insert(*name, value.as_slice())?;
            }
        }
    }
    Ok(())
}

fn decode_site(bytes: &[u8]) -> Result<SiteRecord, StoreError> {
    postcard::from_bytes(bytes).map_err(|_| StoreError::Corrupt("a site record does not decode".into()))
}

fn needs_reopening(error: &redb::Error) -> bool {
    matches!(error, redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::LockPoisoned(_))
}

fn index_error(path: &Path, error: &redb::Error) -> StoreError {
    let damaged = |reason: &str| {
        StoreError::Corrupt(format!(
            "“{}” cannot be read ({reason}). No chunk was deleted. Stop the peer and restore the file from a backup; without \
             one, move the folder it is in away, publish your own sites again and fetch the others",
            path.display()
        ))
    };
    match error {
        redb::Error::Io(source) if is_damage(source) => damaged(&source.to_string()),
        redb::Error::Io(source) => storage_error(path, source),
        redb::Error::Corrupted(reason) => damaged(reason),
        other => StoreError::Io(format!("“{}”: {other}", path.display())),
    }
}

/// Whether an I/O error says that the file is shorter or another than it should be.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData)
}
