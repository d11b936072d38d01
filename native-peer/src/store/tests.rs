//! The store's promises: durable, verified, bounded, and clean after whatever happened to it.

use super::*;
use meganet_node::store::contract;
use std::{fs, path::PathBuf};

const QUOTA: u64 = 1 << 30;

fn chunk(seed: u64, length: usize) -> (ChunkId, Bytes) {
    let mut state = seed + 1;
    let bytes: Vec<u8> = (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        })
        .collect();
    (ChunkId::of(&bytes), bytes.into())
}

fn record(seed: u8, chunks: &[ChunkId]) -> SiteRecord {
    SiteRecord {
        pinned: false,
        own: false,
        used_ms: u64::from(seed),
        previous: None,
        ..contract::record(seed, chunks.to_vec())
    }
}

async fn open(directory: &Path) -> FileStore {
    FileStore::open(directory, QUOTA).await.unwrap()
}

fn chunk_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in fs::read_dir(directory.join("chunks")).unwrap().flatten() {
        found.extend(fs::read_dir(directory.path()).unwrap().flatten().map(|file| file.path()));
    }
    found
}

/// A chunk file that the index does not know.
fn write_behind_its_back(directory: &Path, id: ChunkId, bytes: &[u8]) {
    let place = directory.join(format!("chunks/{:02x}", id.as_bytes()[0]));
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join(data_encoding::HEXLOWER.encode(id.as_bytes())), bytes).unwrap();
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    contract::run(&open(directory.path()).await).await;
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (id, bytes) = chunk(1, 5000);
    let record = record(1, &[id]);
    {
        let store = open(directory.path()).await;
        store.put_chunk(id, bytes.clone()).await.unwrap();
        store.put_site(record.clone()).await.unwrap();
        store.put_value("name", vec![1, 2, 3]).await.unwrap();
    }
    let store = open(directory.path()).await;
    assert_eq!(store.chunk(id).await.unwrap(), Some(bytes));
    assert_eq!(store.site(record.address.blinded()).await.unwrap(), Some(record));
    assert_eq!(store.value("name").await.unwrap(), Some(vec![1, 2, 3]));
    assert_eq!(store.usage().await.unwrap(), Usage { chunks: 1, bytes: 5000, sites: 1 });
}

#[tokio::test]
async fn case_55_a_damaged_chunk_is_deleted_and_can_be_stored_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let damages: [fn(&Path); 5] = [
        |path| fs::write(path, b"short").unwrap(),
        |path| fs::write(path, vec![0; 5000]).unwrap(),
        |path| fs::write(path, vec![0; 500_000]).unwrap(),
        |path| fs::remove_file(path).unwrap(),
        // Waiting for somebody to write to it would last for ever.
        |path| {
            fs::remove_file(path).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        },
    ];
    for (seed, damage) in damages.into_iter().enumerate() {
        let (id, bytes) = chunk(seed as u64, 5000);
        store.put_chunk(id, bytes.clone()).await.unwrap();
        damage(&chunk_files(directory.path())[0]);
        assert_eq!(store.chunk(id).await.unwrap(), None);
        assert!(!store.has_chunk(id).await.unwrap());
        assert!(chunk_files(directory.path()).is_empty());
        assert_eq!(store.usage().await.unwrap(), Usage::default());
        store.put_chunk(id, bytes.clone()).await.unwrap();
        damage(&chunk_files(directory.path())[0]);
        // Storing it again without a read in between repairs it too.
        store.put_chunk(id, bytes.clone()).await.unwrap();
        assert_eq!(store.chunk(id).await.unwrap(), Some(bytes));
        store.delete_chunk(id).await.unwrap();
    }
}

#[tokio::test]
async fn opening_sweeps_what_an_interrupted_write_left() {
    let directory = tempfile::tempdir().unwrap();
    let (kept, kept_bytes) = chunk(1, 300);
    let (orphan, orphan_bytes) = chunk(2, 300);
    {
        let store = open(directory.path()).await;
        store.put_chunk(kept, kept_bytes.clone()).await.unwrap();
        store.put_chunk(orphan, orphan_bytes).await.unwrap();
        store.put_site(record(1, &[kept])).await.unwrap();
    }
    let place = chunk_files(directory.path())[0].parent().unwrap().to_owned();
    fs::write(place.join(".tmp-0123"), b"half").unwrap();
    let (unknown, unknown_bytes) = chunk(3, 300);
    write_behind_its_back(directory.path(), unknown, &unknown_bytes);
    fs::write(place.join("note"), b"somebody's own").unwrap();

    let store = open(directory.path()).await;
    assert_eq!(store.usage().await.unwrap(), Usage { chunks: 1, bytes: 300, sites: 1 });
    assert_eq!(store.chunk(kept).await.unwrap(), Some(kept_bytes));
    assert!(!store.has_chunk(orphan).await.unwrap());
    assert_eq!(chunk_files(directory.path()).len(), 2, "the chunk and the file that is none of ours");
}

#[tokio::test]
async fn many_writers_share_syncs_and_all_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let chunks: Vec<_> = (0..300).map(|seed| chunk(seed, 2000)).collect();
    let puts = chunks.iter().chain(&chunks).map(|(id, bytes)| store.put_chunk(*id, bytes.clone()));
    for result in futures::future::join_all(puts).await {
        result.unwrap();
    }
    assert_eq!(store.usage().await.unwrap().chunks, 300);
    let reads = chunks.iter().map(|(id, _)| store.chunk(*id));
    for (read, (_, bytes)) in futures::future::join_all(reads).await.into_iter().zip(&chunks) {
        assert_eq!(read.unwrap().as_ref(), Some(bytes));
    }
    let mixed = chunks
        .iter()
        .enumerate()
        .map(|(n, (id, bytes))| if n % 3 == 0 { store.delete_chunk(*id) } else { store.put_chunk(*id, bytes.clone()) });
    futures::future::join_all(mixed).await.into_iter().for_each(|result| result.unwrap());
    assert_eq!(store.usage().await.unwrap().chunks, 200);
    assert_eq!(chunk_files(directory.path()).len(), 200);
}

#[tokio::test]
async fn the_quota_evicts_the_longest_unused_and_never_own_or_pinned() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path(), 50_000).await.unwrap();
    let chunks: Vec<_> = (0..4).map(|seed| chunk(seed, 10_000)).collect();
    for (id, bytes) in &chunks {
        store.put_chunk(*id, bytes.clone()).await.unwrap();
    }
    let ids: Vec<ChunkId> = chunks.iter().map(|(id, _)| *id).collect();
    store.put_site(SiteRecord { own: true, ..record(1, &[ids[0]]) }).await.unwrap();
    store.put_site(SiteRecord { pinned: true, ..record(2, &[ids[1]]) }).await.unwrap();
    // The older of the two shares a chunk with the pinned one: that chunk stays.
    let (older, younger) = (record(3, &[ids[1], ids[2]]), record(4, &[ids[3]]));
    store.put_site(older.clone()).await.unwrap();
    store.put_site(younger.clone()).await.unwrap();

    let (fifth, bytes) = chunk(5, 20_000);
    store.put_chunk(fifth, bytes).await.unwrap();
    let has = async |id| store.has_chunk(id).await.unwrap();
    assert_eq!([has(ids[0]).await, has(ids[1]).await, has(ids[2]).await, has(ids[3]).await], [true, true, false, true]);
    // What was seen stays: the head and the proof of a conflict, so that no older version passes for the newest later.
    let only_its_head = |record: &SiteRecord| Some(SiteRecord { chunks: Vec::new(), ..record.clone() });
    assert_eq!(store.site(older.address.blinded()).await.unwrap(), only_its_head(&older));
    assert_eq!(store.site(younger.address.blinded()).await.unwrap(), Some(younger.clone()));

    let (sixth, bytes) = chunk(6, 10_000);
    store.put_chunk(sixth, bytes).await.unwrap();
    assert!(!has(ids[3]).await && has(sixth).await);
    // What is left is own, pinned, or younger than a publication may take.
    let (seventh, bytes) = chunk(7, 10_000);
    let error = store.put_chunk(seventh, bytes).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert!(has(fifth).await && has(ids[0]).await && has(ids[1]).await);
    assert_eq!(store.usage().await.unwrap(), Usage { chunks: 4, bytes: 50_000, sites: 4 });
    assert_eq!(store.site(younger.address.blinded()).await.unwrap(), only_its_head(&younger));
}

#[tokio::test]
async fn a_site_is_not_evicted_by_its_own_chunks() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path(), 15_000).await.unwrap();
    let (first, second) = (chunk(1, 10_000), chunk(2, 10_000));
    store.put_chunk(first.0, first.1).await.unwrap();
    store.put_site(record(1, &[first.0, second.0])).await.unwrap();
    assert!(matches!(store.put_chunk(second.0, second.1).await, Err(StoreError::Full(_))));
    assert!(store.has_chunk(first.0).await.unwrap());
}

#[tokio::test]
async fn case_54_a_newer_schema_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).await);
    let path = directory.path().join("index.redb");
    {
        let database = redb::Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta: redb::TableDefinition<&str, u64> = redb::TableDefinition::new("meta");
        transaction.open_table(meta).unwrap().insert("schema", index::SCHEMA + 1).unwrap();
        transaction.commit().unwrap();
    }
    let (id, bytes) = chunk(1, 300);
    write_behind_its_back(directory.path(), id, &bytes);
    let error = FileStore::open(directory.path(), QUOTA).await.err().unwrap();
    assert!(matches!(error, OpenError::NewerSchema { found: 2, supported: 1, .. }), "{error}");
    assert!(error.to_string().contains("index.redb"));
    assert_eq!(chunk_files(directory.path()).len(), 1, "nothing was swept");
}

/// Puts bytes that are no record in the place of a site's record. A store that was just dropped may still be closing.
async fn damage_record(directory: &Path, record: &SiteRecord) {
    let database = loop {
        match redb::Database::create(directory.join("index.redb")) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => break other.unwrap(),
        }
    };
    let transaction = database.begin_write().unwrap();
    let sites: redb::TableDefinition<&[u8], &[u8]> = redb::TableDefinition::new("sites");
    let key = record.address.blinded();
    transaction.open_table(sites).unwrap().insert(key.as_bytes().as_slice(), b"\xff".as_slice()).unwrap();
    transaction.commit().unwrap();
}

#[tokio::test]
async fn no_chunk_is_deleted_while_nobody_knows_whose_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (own, whole) = (chunk(1, 3000), chunk(2, 3000));
    let damaged = SiteRecord { own: true, ..record(1, &[own.0]) };
    {
        let store = open(directory.path()).await;
        store.put_chunk(own.0, own.1.clone()).await.unwrap();
        store.put_chunk(whole.0, whole.1.clone()).await.unwrap();
        store.put_site(damaged.clone()).await.unwrap();
        store.put_site(record(2, &[whole.0])).await.unwrap();
    }
    damage_record(directory.path(), &damaged).await;
    let (stray, stray_bytes) = chunk(3, 300);
    write_behind_its_back(directory.path(), stray, &stray_bytes);
    {
        let store = open(directory.path()).await;
        assert_eq!(store.sites().await.unwrap(), [record(2, &[whole.0])]);
        assert_eq!(store.chunk(own.0).await.unwrap(), Some(own.1.clone()));
        assert_eq!(chunk_files(directory.path()).len(), 3);
        // The record comes back, from a backup or from the network.
        store.put_site(damaged).await.unwrap();
    }
    let store = open(directory.path()).await;
    assert_eq!(store.chunk(own.0).await.unwrap(), Some(own.1));
    assert_eq!(chunk_files(directory.path()).len(), 2, "now it is known that the third is nobody's");
}

#[tokio::test]
async fn a_foreign_or_damaged_index_is_an_error_and_no_panic() {
    for content in [b"not a database".repeat(1000), vec![0; 100_000], b"redb\x1a\x0a\xa9\x0d\x0a".repeat(500)] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("index.redb"), content).unwrap();
        assert!(FileStore::open(directory.path(), QUOTA).await.is_err());
    }
}

#[tokio::test]
async fn two_handles_on_one_directory_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let _first = open(directory.path()).await;
    assert!(matches!(FileStore::open(directory.path(), QUOTA).await, Err(OpenError::InUse { .. })));
}

#[tokio::test]
async fn an_abandoned_put_does_not_block_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    for seed in 0..200 {
        let (id, bytes) = chunk(seed, 1000);
        let put = store.put_chunk(id, bytes);
        let _ = tokio::time::timeout(Duration::from_micros(seed * 7), put).await;
    }
    let (id, bytes) = chunk(1000, 1000);
    store.put_chunk(id, bytes).await.unwrap();
    assert!(store.has_chunk(id).await.unwrap());
}

#[tokio::test]
async fn an_index_that_is_gone_or_empty_costs_no_chunk() {
    let directory = tempfile::tempdir().unwrap();
    let (id, bytes) = chunk(1, 300);
    write_behind_its_back(directory.path(), id, &bytes);
    let index = directory.path().join("index.redb");
    for content in [None, Some(b"")] {
        if let Some(content) = content {
            fs::write(&index, content).unwrap();
        }
        let error = FileStore::open(directory.path(), QUOTA).await.err().unwrap();
        assert!(matches!(error, OpenError::IndexLost { chunks: 1, .. }), "{error}");
        assert!(error.to_string().contains("index.redb") && error.to_string().contains("restore"), "{error}");
        assert_eq!(chunk_files(directory.path()).len(), 1);
        assert_eq!(fs::exists(&index).unwrap(), content.is_some(), "nothing is made either");
    }
    fs::remove_dir_all(directory.path().join("chunks")).unwrap();
    open(directory.path()).await;
}

#[tokio::test]
async fn an_index_without_tables_costs_no_chunk() {
    let directory = tempfile::tempdir().unwrap();
    let (id, bytes) = chunk(1, 300);
    write_behind_its_back(directory.path(), id, &bytes);
    drop(redb::Database::create(directory.path().join("index.redb")).unwrap());
    let error = FileStore::open(directory.path(), QUOTA).await.err().unwrap();
    assert!(matches!(error, OpenError::IndexLost { .. }), "{error}");
    assert_eq!(chunk_files(directory.path()).len(), 1);
}

/// Waits until a dropped store has closed, and gives the bytes of its index.
async fn closed_index(directory: &Path) -> Vec<u8> {
    drop(open(directory).await);
    loop {
        match redb::Database::open(directory.join("index.redb")) {
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => break drop(other.unwrap()),
        }
    }
    fs::read(directory.join("index.redb")).unwrap()
}

#[tokio::test]
async fn a_flipped_bit_in_the_index_is_an_error_and_no_panic() {
    let directory = tempfile::tempdir().unwrap();
    let (id, bytes) = chunk(1, 300);
    {
        let store = open(directory.path()).await;
        store.put_chunk(id, bytes).await.unwrap();
        store.put_site(record(1, &[id])).await.unwrap();
    }
    let whole = closed_index(directory.path()).await;
    let index = directory.path().join("index.redb");
    let written: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut refused = 0;
    // Evenly spread over the bytes that mean something; a prime step meets all kinds of pages.
    for at in written.iter().step_by((written.len() / 150).max(1) | 1) {
        let mut flipped = whole.clone();
        flipped[*at] ^= 0x80;
        fs::write(&index, &flipped).unwrap();
        match FileStore::open(directory.path(), QUOTA).await {
            Ok(store) => {
                // Also what is done with it later is no panic. Reading back may fail; the store says so.
                let _ = (store.sites().await, store.put_value("name", vec![1]).await);
            }
            Err(OpenError::Store(StoreError::Corrupt(text))) => {
                refused += 1;
                assert!(text.contains("index.redb") && text.contains("backup"), "{text}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 10, "only {refused} were noticed");
    // Cut off, it is refused with its name too.
    fs::write(&index, whole.get(..whole.len() / 2).unwrap()).unwrap();
    let error = FileStore::open(directory.path(), QUOTA).await.err().unwrap().to_string();
    assert!(error.contains("index.redb") && error.contains("backup"), "{error}");
}

fn age(store: &FileStore, by: Duration) {
    let by_ms = u64::try_from(by.as_millis()).unwrap();
    store.shared.table().rows.values_mut().for_each(|row| row.stored_ms -= by_ms);
}

#[tokio::test]
async fn chunks_of_a_replaced_version_go_while_the_store_is_open() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let [old, kept, new, earlier] = [1, 2, 3, 4].map(|seed| chunk(seed, 1000));
    for (id, bytes) in [&old, &kept, &new, &earlier] {
        store.put_chunk(*id, bytes.clone()).await.unwrap();
    }
    let previous = meganet_node::store::Previous { head: vec![1], chunks: vec![earlier.0] };
    store.put_site(record(1, &[old.0, kept.0])).await.unwrap();
    age(&store, Duration::from_secs(3600));
    store.put_site(SiteRecord { previous: Some(previous), ..record(1, &[kept.0, new.0]) }).await.unwrap();
    store.shared.drop_orphans().unwrap();
    assert!(store.has_chunk(old.0).await.unwrap(), "somebody may be reading it");
    age(&store, Duration::from_secs(121));
    store.shared.drop_orphans().unwrap();
    assert!(!store.has_chunk(old.0).await.unwrap());
    for (id, _) in [kept, new, earlier] {
        assert!(store.has_chunk(id).await.unwrap());
    }
    assert_eq!(chunk_files(directory.path()).len(), 3);
}

#[tokio::test]
async fn a_publication_under_way_keeps_its_chunks_and_a_failed_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::open(directory.path(), 3000).await.unwrap();
    let [first, second, third] = [1, 2, 3].map(|seed| chunk(seed, 1000));
    store.put_chunk(first.0, first.1.clone()).await.unwrap();
    age(&store, Duration::from_secs(600));
    store.put_chunk(second.0, second.1).await.unwrap();
    store.shared.drop_orphans().unwrap();
    assert!(store.has_chunk(first.0).await.unwrap(), "its publication goes on");
    // One that is used again is as good as new.
    age(&store, Duration::from_secs(3601));
    store.put_chunk(first.0, first.1).await.unwrap();
    store.shared.drop_orphans().unwrap();
    assert!(store.has_chunk(first.0).await.unwrap() && !store.has_chunk(second.0).await.unwrap());

    store.put_chunk(third.0, third.1).await.unwrap();
    let (big, bytes) = chunk(9, 2000);
    assert!(matches!(store.put_chunk(big, bytes).await, Err(StoreError::Full(_))));
    // What it left makes room when it is needed.
    age(&store, Duration::from_secs(121));
    let (wanted, bytes) = chunk(8, 2500);
    store.put_chunk(wanted, bytes).await.unwrap();
    assert!(!store.has_chunk(first.0).await.unwrap() && !store.has_chunk(third.0).await.unwrap());
}
