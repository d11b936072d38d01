//! The store on IndexedDB, in a real browser: the contract every backend keeps, and what only a browser can do to it.
#![cfg(feature = "browser")]
#![allow(clippy::unwrap_used, reason = "a test that panics has failed, and that is its job")]

use bytes::Bytes;
use futures::channel::oneshot;
use idb::{Factory, ObjectStoreParams, TransactionMode};
use js_sys::Uint8Array;
use meganet_core::hash::ChunkId;
use meganet_node::store::contract;
use meganet_web_node::{state::StorageProblem, storage::open_durable};
use std::cell::RefCell;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

wasm_bindgen_test_configure!(run_in_browser);

fn sealed(fill: u8) -> (ChunkId, Bytes) {
    let bytes = Bytes::from(vec![fill; 1_000]);
    (ChunkId::of(&bytes), bytes)
}

/// A database name that no earlier test used.
async fn fresh(name: &'static str) -> &'static str {
    Factory::new().unwrap().delete(name).unwrap().await.unwrap();
    name
}

#[wasm_bindgen_test]
async fn keeps_the_contract() {
    let store = open_durable(fresh("t-contract").await, |_| {}).await.unwrap();
    contract::run(&*store).await;
}

#[wasm_bindgen_test]
async fn everything_is_there_after_a_restart() {
    let name = fresh("t-restart").await;
    let (id, bytes) = sealed(7);
    let record = contract::record(1, vec![id]);
    {
        let store = open_durable(name, |_| {}).await.unwrap();
        store.put_chunk(id, bytes.clone()).await.unwrap();
        store.put_site(record.clone()).await.unwrap();
        store.put_value("identity", vec![1, 2, 3]).await.unwrap();
    }
    let store = open_durable(name, |_| {}).await.unwrap();
    assert_eq!(store.chunk(id).await.unwrap(), Some(bytes));
    assert_eq!(store.site(record.address.blinded()).await.unwrap(), Some(record));
    assert_eq!(store.value("identity").await.unwrap(), Some(vec![1, 2, 3]));
    let usage = store.usage().await.unwrap();
    assert_eq!((usage.chunks, usage.bytes, usage.sites), (1, 1_000, 1));
    assert!(!store.memory_only());
}

#[wasm_bindgen_test]
async fn case_51_a_caller_that_stops_waiting_undoes_nothing() {
    let store = open_durable(fresh("t-dropped").await, |_| {}).await.unwrap();
    let (id, bytes) = sealed(8);
    drop(store.put_chunk(id, bytes.clone()));
    drop(store.chunk(id));
    // Transactions over the same stores are carried out in order, so the dropped one is over before this one.
    let (other, other_bytes) = sealed(9);
    store.put_chunk(other, other_bytes).await.unwrap();
    assert_eq!(store.chunk(id).await.unwrap(), Some(bytes));
}

#[wasm_bindgen_test]
async fn case_55_a_damaged_chunk_is_deleted_on_read() {
    let name = fresh("t-damaged").await;
    let (id, bytes) = sealed(10);
    let store = open_durable(name, |_| {}).await.unwrap();
    store.put_chunk(id, bytes.clone()).await.unwrap();

    let database = Factory::new().unwrap().open(name, None).unwrap().await.unwrap();
    let transaction = database.transaction(&["chunks"], TransactionMode::ReadWrite).unwrap();
    let key = Uint8Array::from(id.as_bytes().as_slice());
    let mut damaged = bytes.to_vec();
    damaged.pop();
    let damaged = Uint8Array::from(damaged.as_slice());
    transaction.object_store("chunks").unwrap().put(&damaged, Some(&key)).unwrap().await.unwrap();
    transaction.await.unwrap();

    assert_eq!(store.chunk(id).await.unwrap(), None);
    assert!(!store.has_chunk(id).await.unwrap());
    assert_eq!(store.usage().await.unwrap().bytes, 0);
    store.put_chunk(id, bytes.clone()).await.unwrap();
    assert_eq!(store.chunk(id).await.unwrap(), Some(bytes));
}

#[wasm_bindgen_test]
async fn case_54_a_newer_schema_is_refused_and_left_alone() {
    let name = fresh("t-newer").await;
    let mut request = Factory::new().unwrap().open(name, Some(99)).unwrap();
    request.on_upgrade_needed(|event| {
        let database = idb::DatabaseEvent::database(&event).unwrap();
        database.create_object_store("of-the-future", ObjectStoreParams::new()).unwrap();
    });
    request.await.unwrap().close();
    assert_eq!(open_durable(name, |_| {}).await.err(), Some(StorageProblem::NewerSchema));
    let database = Factory::new().unwrap().open(name, None).unwrap().await.unwrap();
    assert_eq!((database.version().unwrap(), database.store_names()), (99, vec!["of-the-future".to_owned()]));
    database.close();
}

#[wasm_bindgen_test]
async fn a_database_that_is_taken_away_is_told() {
    let name = fresh("t-taken").await;
    let (sender, told) = oneshot::channel();
    let sender = RefCell::new(Some(sender));
    let store = open_durable(name, move |problem| {
        if let Some(sender) = sender.take() {
            sender.send(problem).unwrap();
        }
    })
    .await
    .unwrap();
    // Deleting waits until the store has closed its database.
    Factory::new().unwrap().delete(name).unwrap().await.unwrap();
    assert_eq!(told.await, Ok(StorageProblem::Replaced));
    let (id, bytes) = sealed(11);
    assert!(store.put_chunk(id, bytes).await.is_err(), "what is not stored is said not to be");
}

#[wasm_bindgen_test]
async fn opening_that_takes_too_long_ends_by_itself_and_leaves_the_way_free() {
    let name = fresh("t-slow").await;
    // A connection that does not give way holds up a deletion, and that holds up every opening after it.
    let holding = Factory::new().unwrap().open(name, Some(1)).unwrap().await.unwrap();
    let deletion = Factory::new().unwrap().delete(name).unwrap();
    assert!(matches!(open_durable(name, |_| {}).await.err(), Some(StorageProblem::Slow { .. })));
    holding.close();
    deletion.await.unwrap();
    let store = open_durable(name, |_| {}).await.unwrap();
    let (id, bytes) = sealed(12);
    store.put_chunk(id, bytes.clone()).await.unwrap();
    assert_eq!(store.chunk(id).await.unwrap(), Some(bytes));
}
