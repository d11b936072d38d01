//! The versions of the database. A step is never changed once it was released: a change is a new step.

use idb::{Database, Error, ObjectStoreParams};

/// The version this program writes. A database of a higher one is left alone.
pub const VERSION: u32 = 1;

/// 32-byte chunk id → `Uint8Array` of the sealed chunk.
pub const CHUNKS: &str = "chunks";
/// 32-byte chunk id → bytes of the sealed chunk: what is held can be counted without reading it.
pub const SIZES: &str = "sizes";
/// 32-byte blinded key → postcard of `SiteRecord`.
pub const SITES: &str = "sites";
/// Name → small value.
pub const VALUES: &str = "values";

/// Brings a database from `old_version` to [`VERSION`], inside the browser's one upgrade transaction: a crash between
/// steps leaves the old version whole.
pub fn upgrade(database: &Database, old_version: u32) -> Result<(), Error> {
    if old_version < 1 {
        for store in [CHUNKS, SIZES, SITES, VALUES] {
            database.create_object_store(store, ObjectStoreParams::new())?;
        }
    }
    Ok(())
}
