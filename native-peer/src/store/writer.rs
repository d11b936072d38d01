//! The one task that changes the store.
//!
//! Chunks that arrive while a batch is being synced form the next batch: under load one sync serves many chunks, and a
//! lone chunk waits for nobody.

use super::{
    Shared, StoreError,
    files::Found,
    index::{Change, ChunkRow, Records},
    storage_error,
};
use bytes::Bytes;
use meganet_core::hash::ChunkId;
use meganet_node::{platform::unix_ms, store::SiteRecord};
use std::{
    collections::{HashMap, HashSet},
    sync::{Weak, atomic::Ordering},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Changes that wait for the writer; further callers wait for a place. With chunks of 256 KiB: 16 MiB.
pub const WRITES_WAITING_MAX: usize = 64;
/// Chunks one batch writes and syncs together.
const BATCH_MAX: usize = 64;
/// Left free on the file system by chunk writes, so that the index can always be written.
const RESERVE_BYTES: u64 = 4 * 1024 * 1024;
/// A chunk of no site may belong to a site that is just being published, or be read by somebody who began before it was
/// replaced. It is let go when it was of no use for this long,
const ORPHAN_AGE_MS: u64 = 60 * 60 * 1000;
/// or when no such chunk was for this long: a publication stores one every few seconds. One that was held up for longer is
/// refused as incomplete, and simply run again.
const ORPHANS_IDLE_MS: u64 = 2 * 60 * 1000;
/// How often it is looked whether there are such chunks.
const ORPHAN_CHECK: Duration = Duration::from_secs(30);

type Done = oneshot::Sender<Result<(), StoreError>>;

/// One change and where its result goes.
pub enum Write {
    Chunk {
        id: ChunkId,
        sealed: Bytes,
        done: Done,
    },
    DeleteChunk {
        id: ChunkId,
        done: Done,
    },
    /// Deletes a chunk if its file is still damaged: another may have written it anew meanwhile.
    DropDamaged {
        id: ChunkId,
        done: Done,
    },
    Index {
        change: Change,
        done: Done,
    },
}

/// Works until the store is dropped.
pub async fn run(shared: Weak<Shared>, mut waiting: mpsc::Receiver<Write>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut check = tokio::time::interval(ORPHAN_CHECK);
    check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_check = tokio::select! {
            biased;
            count = waiting.recv_many(&mut batch, BATCH_MAX) => {
                if count == 0 {
                    return;
                }
                false
            }
            _ = check.tick() => true,
        };
        let Some(shared) = shared.upgrade() else { return };
        if is_check && !shared.has_orphans.load(Ordering::Relaxed) {
            continue;
        }
        let writes = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_MAX));
        // A panic in here would drop the senders: every caller then hears that the store is closing.
        let _ = tokio::task::spawn_blocking(move || match is_check {
            true => shared.check_orphans(),
            false => shared.write_batch(writes),
        })
        .await;
    }
}

impl Shared {
    /// Carries out a batch in order, neighbours of one kind together.
    fn write_batch(&self, writes: Vec<Write>) {
        let mut chunks = Vec::new();
        let mut deletions = Vec::new();
        for write in writes {
            if !chunks.is_empty() && !matches!(write, Write::Chunk { .. }) {
                self.put_chunks(std::mem::take(&mut chunks));
            }
            if !deletions.is_empty() && !matches!(write, Write::DeleteChunk { .. }) {
                self.delete_chunks(std::mem::take(&mut deletions));
            }
            match write {
                Write::Chunk { id, sealed, done } => chunks.push((id, sealed, done)),
                Write::DeleteChunk { id, done } => deletions.push((id, done)),
                Write::DropDamaged { id, done } => answer(done, self.drop_damaged(id)),
                Write::Index { change, done } => answer(done, self.change_index(change)),
            }
        }
        if !chunks.is_empty() {
            self.put_chunks(chunks);
        }
        if !deletions.is_empty() {
            self.delete_chunks(deletions);
        }
    }

    fn put_chunks(&self, batch: Vec<(ChunkId, Bytes, Done)>) {
        let mut waiting: HashMap<ChunkId, Vec<Done>> = HashMap::new();
        let mut fresh: Vec<(ChunkId, Bytes)> = Vec::new();
        for (id, sealed, done) in batch {
            if self.is_intact(id) {
                self.table().touch(id, unix_ms());
                answer(done, Ok(()));
                continue;
            }
            let callers = waiting.entry(id).or_default();
            if callers.is_empty() {
                fresh.push((id, sealed));
            }
            callers.push(done);
        }
        if fresh.is_empty() {
            return;
        }
        let results = match self.make_room(&fresh) {
            Ok(()) => self.write_fresh(&fresh),
            Err(error) => vec![Err(error); fresh.len()],
        };
        for ((id, _), result) in fresh.iter().zip(results) {
            for done in waiting.remove(id).unwrap_or_default() {
                answer(done, result.clone());
            }
        }
    }

    /// Whether a chunk is stored and its file is good: a damaged one is written again.
    fn is_intact(&self, id: ChunkId) -> bool {
        self.table().rows.contains_key(&id) && matches!(self.read_chunk(id), Ok(Found::Whole(_)))
    }

    fn write_fresh(&self, fresh: &[(ChunkId, Bytes)]) -> Vec<Result<(), StoreError>> {
        let stored_ms = unix_ms();
        let written = self.files.write_all(fresh);
        let rows: Vec<(ChunkId, ChunkRow)> = fresh
            .iter()
            .zip(&written)
            .filter(|(_, result)| result.is_ok())
            .map(|((id, sealed), _)| (*id, ChunkRow { size: sealed.len() as u32, stored_ms }))
            .collect();
        let changes: Vec<Change> = rows.iter().map(|(id, row)| Change::Chunk(*id, *row)).collect();
        let indexed = if changes.is_empty() { Ok(()) } else { self.index.apply(&changes) };
        match &indexed {
            Ok(()) => {
                let mut table = self.table();
                rows.iter().for_each(|(id, row)| table.insert(*id, *row));
                self.has_orphans.store(true, Ordering::Relaxed);
            }
            Err(_) => rows.iter().for_each(|(id, _)| {
                let _ = self.files.remove(*id);
            }),
        }
        written
            .into_iter()
            .map(|result| match result {
                Ok(()) => indexed.clone(),
                Err(error) => Err(storage_error(self.files.root(), &error)),
            })
            .collect()
    }

    fn delete_chunks(&self, batch: Vec<(ChunkId, Done)>) {
        let ids: Vec<ChunkId> = batch.iter().map(|(id, _)| *id).collect();
        let result = self.forget_chunks(&ids, Vec::new());
        for (_, done) in batch {
            answer(done, result.clone());
        }
    }

    fn drop_damaged(&self, id: ChunkId) -> Result<(), StoreError> {
        match self.read_chunk(id)? {
            Found::Whole(_) => Ok(()),
            Found::Damaged | Found::Missing => self.forget_chunks(&[id], Vec::new()),
        }
    }

    /// Drops chunks, and applies `changes` in the same transaction: rows first, so that no row is left without a file.
    fn forget_chunks(&self, ids: &[ChunkId], mut changes: Vec<Change>) -> Result<(), StoreError> {
        changes.extend(ids.iter().map(|id| Change::NoChunk(*id)));
        self.index.apply(&changes)?;
        {
            let mut table = self.table();
            ids.iter().for_each(|id| table.remove(*id));
        }
        ids.iter().try_for_each(|id| self.files.remove(*id)).map_err(|error| storage_error(self.files.root(), &error))
    }

    fn change_index(&self, change: Change) -> Result<(), StoreError> {
        let (blinded, kept): (_, HashSet<ChunkId>) = match &change {
            Change::Site(record) => (*record.address.blinded().as_bytes(), record.all_chunks().copied().collect()),
            Change::NoSite(blinded) => (*blinded, HashSet::new()),
            _ => return self.index.apply(&[change]),
        };
        // One that does not decode names no chunk.
        let before = self.index.site(&blinded).ok().flatten();
        self.index.apply(&[change])?;
        let sites = self.index.site_count()?;
        let mut table = self.table();
        table.sites = sites;
        // From now on nobody uses these, unless another site does.
        let now_ms = unix_ms();
        for id in before.iter().flat_map(SiteRecord::all_chunks).filter(|id| !kept.contains(id)) {
            table.touch(*id, now_ms);
            self.has_orphans.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes room for chunks: lets old chunks of no site go, then the chunks of whole sites, the longest unused first,
    /// never of one that is pinned, published from here, or that these chunks belong to. Their records stay, with the
    /// highest head seen and the proof of a conflict: nobody can show an older version again because of it.
    fn make_room(&self, fresh: &[(ChunkId, Bytes)]) -> Result<(), StoreError> {
        let needed: u64 = fresh.iter().map(|(_, sealed)| sealed.len() as u64).sum();
        let free = self.files.free_bytes().map_err(|error| storage_error(self.files.root(), &error))?;
        let over_quota = (self.table().bytes + needed).saturating_sub(self.quota_bytes);
        let over_disk = (needed + RESERVE_BYTES).saturating_sub(free);
        let excess = over_quota.max(over_disk);
        if excess == 0 || self.evict(excess, fresh)? >= excess {
            return Ok(());
        }
        Err(StoreError::Full(if over_disk > over_quota {
            format!(
                "{free} bytes are free for “{}”, and {RESERVE_BYTES} are kept for the index. Free some space",
                self.files.root().display()
            )
        } else {
            format!(
                "the quota of {} bytes for “{}” is reached, and what is stored is pinned or in use. Raise --quota",
                self.quota_bytes,
                self.files.root().display()
            )
        }))
    }

    fn check_orphans(&self) {
        if let Err(error) = self.drop_orphans() {
            tracing::warn!(%error, "chunks that no site needs could not be let go; trying again");
        }
    }

    /// Lets go of chunks of no site that are not waited for any more.
    pub(super) fn drop_orphans(&self) -> Result<(), StoreError> {
        let Records { records, damaged } = self.index.sites()?;
        if damaged > 0 {
            // Nobody knows which chunks that record names.
            return Ok(());
        }
        let used: HashSet<&ChunkId> = records.iter().flat_map(SiteRecord::all_chunks).collect();
        // Only this thread makes orphans.
        let some_wait = self.table().rows.keys().any(|id| !used.contains(id));
        self.has_orphans.store(some_wait, Ordering::Relaxed);
        let orphans = self.orphans(|id| used.contains(id));
        if orphans.is_empty() { Ok(()) } else { self.forget_chunks(&orphans, Vec::new()) }
    }

    /// The chunks of no site that may go.
    fn orphans(&self, is_used: impl Fn(&ChunkId) -> bool) -> Vec<ChunkId> {
        let table = self.table();
        let unused: Vec<_> = table.rows.iter().filter(|(id, _)| !is_used(id)).collect();
        let now_ms = unix_ms();
        let are_idle = unused.iter().all(|(_, row)| row.stored_ms < now_ms.saturating_sub(ORPHANS_IDLE_MS));
        let may_go = |row: &ChunkRow| are_idle || row.stored_ms < now_ms.saturating_sub(ORPHAN_AGE_MS);
        unused.into_iter().filter(|(_, row)| may_go(row)).map(|(id, _)| *id).collect()
    }

    /// Evicts until at least `excess` bytes are gone or nothing may go; returns the bytes gone.
    fn evict(&self, excess: u64, fresh: &[(ChunkId, Bytes)]) -> Result<u64, StoreError> {
        let incoming: HashSet<ChunkId> = fresh.iter().map(|(id, _)| *id).collect();
        let Records { records: mut sites, damaged } = self.index.sites()?;
        sites.sort_by_key(|record| record.used_ms);
        let mut users: HashMap<ChunkId, u32> = HashMap::new();
        for id in sites.iter().flat_map(|record| record.all_chunks().copied().collect::<HashSet<_>>()) {
            *users.entry(id).or_default() += 1;
        }
        let size_of = |ids: &[ChunkId]| -> u64 {
            let table = self.table();
            ids.iter().filter_map(|id| table.rows.get(id)).map(|row| u64::from(row.size)).sum()
        };

        let orphans = if damaged == 0 { self.orphans(|id| users.contains_key(id)) } else { Vec::new() };
        let mut gone = size_of(&orphans);
        if !orphans.is_empty() {
            self.forget_chunks(&orphans, Vec::new())?;
        }
        for record in sites.into_iter().filter(|record| !record.chunks.is_empty()) {
            let kept = record.own || record.pinned || record.all_chunks().any(|id| incoming.contains(id));
            if gone >= excess || kept {
                continue;
            }
            let mut freed = Vec::new();
            for id in record.all_chunks().copied().collect::<HashSet<_>>() {
                let count = users.entry(id).or_default();
                *count = count.saturating_sub(1);
                if *count == 0 {
                    freed.push(id);
                }
            }
            gone += size_of(&freed);
            tracing::info!(site = %record.address.short(), "evicted to make room");
            let only_its_head = SiteRecord { chunks: Vec::new(), previous: None, ..record };
            self.forget_chunks(&freed, vec![Change::Site(Box::new(only_its_head))])?;
        }
        Ok(gone)
    }
}

fn answer(done: Done, result: Result<(), StoreError>) {
    // The caller may have stopped waiting.
    let _ = done.send(result);
}
