//! The store on IndexedDB.
//!
//! Every operation runs to its end in a task of its own: a caller that stops waiting must not drop a callback that the
//! browser is about to call, and must not abort a write half way.

use super::schema::{self, CHUNKS, SITES, SIZES, VALUES};
use crate::{
    browser::events::{describe, error_name},
    state::StorageProblem,
};
use bytes::Bytes;
use futures::channel::oneshot;
use idb::{Database, DatabaseEvent, Factory, Query, Transaction};
use js_sys::{Array, Object, Reflect, Uint8Array};
use meganet_core::{chunk, hash::ChunkId, keys::BlindedKey};
use meganet_node::{
    api,
    platform::{self, BoxFuture},
    store::{SiteRecord, Store, StoreError, Usage},
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::{Future, IntoFuture},
    rc::Rc,
};
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use web_sys::{IdbDatabase, IdbTransaction};

/// Chunks kept at most: what the index of their sizes may take in memory.
const CHUNKS_MAX: u32 = 200_000;
/// Sites kept at most.
const SITES_MAX: u32 = 10_000;

#[wasm_bindgen]
extern "C" {
    /// `IDBDatabase` with the options of IndexedDB 3.0, which web-sys has only behind an unstable cfg.
    type DurableDatabase;
    #[wasm_bindgen(method, catch)]
    fn transaction(
        this: &DurableDatabase,
        stores: &Array,
        mode: &str,
        options: &Object,
    ) -> Result<IdbTransaction, JsValue>;
}

/// How far a commit has gone when it is reported.
#[derive(Clone, Copy)]
enum Durability {
    /// Handed to the operating system. Enough for chunks: a later strict commit flushes the same log, and a lost chunk
    /// is fetched again.
    Relaxed,
    /// On the disk.
    Strict,
}

/// Called when an open database is taken away.
pub type Tell = Rc<dyn Fn(StorageProblem)>;

/// See the module's text.
pub struct IdbStore(Rc<Inner>);

struct Inner {
    database: IdbDatabase,
    /// Keeps the callbacks that tell when the database is taken away.
    _callbacks: Database,
    index: RefCell<Index>,
}

/// Sizes of the held chunks. This tab holds the leader's lock, so nobody else writes.
#[derive(Default)]
struct Index {
    sizes: HashMap<ChunkId, u32>,
    bytes: u64,
    sites: u64,
}

impl Index {
    fn insert(&mut self, id: ChunkId, size: u32) {
        let before = self.sizes.insert(id, size).unwrap_or(0);
        self.bytes = self.bytes.saturating_sub(before.into()).saturating_add(size.into());
    }

    fn remove(&mut self, id: ChunkId) {
        let before = self.sizes.remove(&id).unwrap_or(0);
        self.bytes = self.bytes.saturating_sub(before.into());
    }
}

impl IdbStore {
    /// Opens the database, brought to this program's version. `blocked` becomes true while another tab keeps it from that.
    pub async fn open(name: &str, blocked: Rc<Cell<bool>>, tell: Tell) -> Result<Self, StorageProblem> {
        let factory = Factory::new().map_err(denied)?;
        let mut request = factory.open(name, Some(schema::VERSION)).map_err(denied)?;
        request.on_upgrade_needed(|event| {
            let (Ok(old), Ok(database)) = (event.old_version(), event.database()) else { return };
            // A step that fails leaves stores missing; the first read then says so.
            let _ = schema::upgrade(&database, old);
        });
        request.on_blocked(move |_| blocked.set(true));
        let database: IdbDatabase = request.await.map_err(denied)?.into();
        let mut callbacks = Database::from(database.clone());
        let (closing, replaced) = (database.clone(), tell.clone());
        callbacks.on_version_change(move |_| {
            // A newer version of this program, or the deletion of the database, waits for this.
            closing.close();
            replaced(StorageProblem::Replaced);
        });
        callbacks.on_close(move |_| tell(StorageProblem::Closed));
        let inner = Rc::new(Inner { database, _callbacks: callbacks, index: RefCell::default() });
        let index = inner.load_index().await.map_err(|error| StorageProblem::Failed { reason: error.to_string() })?;
        inner.index.replace(index);
        Ok(Self(inner))
    }

    /// Runs an operation to its end, whether or not its caller goes on waiting.
    fn run<T: 'static, F>(&self, operation: impl FnOnce(Rc<Inner>) -> F) -> BoxFuture<'static, Result<T, StoreError>>
    where
        F: Future<Output = Result<T, StoreError>> + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let running = operation(self.0.clone());
        platform::spawn(async move {
            let _ = sender.send(running.await);
        });
        Box::pin(async move { receiver.await.unwrap_or_else(|_| Err(StoreError::Io("the operation was lost".into()))) })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An open database that nobody uses would keep others from upgrading it, and its callbacks end here.
        self.database.set_onversionchange(None);
        self.database.set_onclose(None);
        self.database.close();
    }
}

impl Inner {
    fn begin(&self, stores: &[&str], mode: &str, durability: Durability) -> Result<IdbTransaction, StoreError> {
        let names: Array = stores.iter().map(|name| JsValue::from_str(name)).collect();
        let options = Object::new();
        let durability = match durability {
            Durability::Relaxed => "relaxed",
            Durability::Strict => "strict",
        };
        Reflect::set(&options, &"durability".into(), &durability.into()).map_err(|thrown| failed(&thrown))?;
        let database: &DurableDatabase = self.database.unchecked_ref();
        database.transaction(&names, mode, &options).map_err(|thrown| failed(&thrown))
    }

    async fn get(&self, store: &str, key: JsValue) -> Result<Option<Uint8Array>, StoreError> {
        let transaction = Transaction::from(self.begin(&[store], "readonly", Durability::Relaxed)?);
        let request = transaction.object_store(store).and_then(|store| store.get(Query::from(key)));
        match request.map_err(request_failed)?.await.map_err(request_failed)? {
            None => Ok(None),
            Some(value) => {
                let bytes = value.dyn_into().map_err(|_| StoreError::Corrupt(format!("a value in “{store}”")))?;
                Ok(Some(bytes))
            }
        }
    }

    /// Writes in one transaction: all of it or nothing.
    async fn write(
        &self,
        stores: &[&str],
        durability: Durability,
        requests: impl FnOnce(&Transaction) -> Result<(), idb::Error>,
    ) -> Result<(), StoreError> {
        let raw = self.begin(stores, "readwrite", durability)?;
        let mut transaction = Transaction::from(raw.clone());
        if let Err(error) = requests(&transaction) {
            // What was asked for before the failing request must not be committed alone.
            let _ = raw.abort();
            return Err(request_failed(error));
        }
        // Only these two events end a transaction; a failing request comes to light as an abort with its error.
        let (sender, receiver) = oneshot::channel();
        let sender = Rc::new(RefCell::new(Some(sender)));
        let aborted = sender.clone();
        transaction.on_complete(move |_| settle(&sender, true));
        transaction.on_abort(move |_| settle(&aborted, false));
        let committed = receiver.await.unwrap_or(false);
        raw.set_oncomplete(None);
        raw.set_onabort(None);
        if committed {
            return Ok(());
        }
        Err(raw.error().map_or_else(|| StoreError::Io("the write was undone".into()), |error| failed(&error)))
    }

    async fn load_index(&self) -> Result<Index, StoreError> {
        let transaction = Transaction::from(self.begin(&[SIZES, SITES], "readonly", Durability::Relaxed)?);
        let sizes = transaction.object_store(SIZES).map_err(request_failed)?;
        let keys = sizes.get_all_keys(None, Some(CHUNKS_MAX)).map_err(request_failed)?.into_future();
        let values = sizes.get_all(None, Some(CHUNKS_MAX)).map_err(request_failed)?.into_future();
        let sites = transaction.object_store(SITES).and_then(|sites| sites.count(None)).map_err(request_failed)?;
        let (keys, values, sites) = futures::join!(keys, values, sites.into_future());
        let mut index = Index { sites: sites.map_err(request_failed)?.into(), ..Index::default() };
        for (key, size) in keys.map_err(request_failed)?.iter().zip(values.map_err(request_failed)?) {
            let id = <[u8; 32]>::try_from(Uint8Array::new(key).to_vec());
            if let (Ok(id), Some(size)) = (id, size.as_f64()) {
                index.insert(ChunkId::from_bytes(id), size as u32);
            }
        }
        Ok(index)
    }

    async fn chunk(&self, id: ChunkId) -> Result<Option<Bytes>, StoreError> {
        if !self.index.borrow().sizes.contains_key(&id) {
            return Ok(None);
        }
        let read = match self.get(CHUNKS, chunk_key(id)).await {
            Ok(read) => read,
            Err(StoreError::Corrupt(_)) => None,
            Err(error) => return Err(error),
        };
        let sound = read.map(|bytes| bytes.to_vec()).filter(|bytes| chunk::verify(&id, bytes).is_ok());
        if sound.is_none() {
            self.delete_chunk(id).await?;
        }
        Ok(sound.map(Bytes::from))
    }

    async fn put_chunk(&self, id: ChunkId, sealed: Bytes) -> Result<(), StoreError> {
        {
            let index = self.index.borrow();
            if index.sizes.contains_key(&id) {
                return Ok(());
            }
            if index.sizes.len() >= CHUNKS_MAX as usize {
                return Err(StoreError::Full(format!("{CHUNKS_MAX} chunks are kept")));
            }
        }
        let size = sealed.len() as u32;
        self.write(&[CHUNKS, SIZES], Durability::Relaxed, |transaction| {
            let key = chunk_key(id);
            transaction.object_store(CHUNKS)?.put(&Uint8Array::from(&sealed[..]), Some(&key))?;
            transaction.object_store(SIZES)?.put(&size.into(), Some(&key))?;
            Ok(())
        })
        .await?;
        self.index.borrow_mut().insert(id, size);
        Ok(())
    }

    async fn delete_chunk(&self, id: ChunkId) -> Result<(), StoreError> {
        self.index.borrow_mut().remove(id);
        self.write(&[CHUNKS, SIZES], Durability::Relaxed, |transaction| {
            transaction.object_store(CHUNKS)?.delete(Query::from(chunk_key(id)))?;
            transaction.object_store(SIZES)?.delete(Query::from(chunk_key(id)))?;
            Ok(())
        })
        .await
    }

    async fn count_sites(&self) -> Result<(), StoreError> {
        let transaction = Transaction::from(self.begin(&[SITES], "readonly", Durability::Relaxed)?);
        let count = transaction.object_store(SITES).and_then(|sites| sites.count(None)).map_err(request_failed)?;
        let count = count.await.map_err(request_failed)?;
        self.index.borrow_mut().sites = count.into();
        Ok(())
    }

    async fn put_bytes(&self, store: &'static str, key: JsValue, value: Vec<u8>) -> Result<(), StoreError> {
        self.write(&[store], Durability::Strict, |transaction| {
            transaction.object_store(store)?.put(&Uint8Array::from(value.as_slice()), Some(&key))?;
            Ok(())
        })
        .await
    }

    async fn all_sites(&self) -> Result<Vec<SiteRecord>, StoreError> {
        let transaction = Transaction::from(self.begin(&[SITES], "readonly", Durability::Relaxed)?);
        let request = transaction.object_store(SITES).and_then(|sites| sites.get_all(None, Some(SITES_MAX)));
        let records = request.map_err(request_failed)?.await.map_err(request_failed)?;
        // A damaged record loses that site from the list, not the others with it.
        Ok(records.into_iter().filter_map(|record| read_record(&record.dyn_into().ok()?).ok()).collect())
    }
}

impl Store for IdbStore {
    fn chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        self.run(|inner| async move { inner.chunk(id).await })
    }

    fn has_chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<bool, StoreError>> {
        let held = self.0.index.borrow().sizes.contains_key(&id);
        Box::pin(async move { Ok(held) })
    }

    fn put_chunk(&self, id: ChunkId, sealed: Bytes) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(|inner| async move { inner.put_chunk(id, sealed).await })
    }

    fn delete_chunk(&self, id: ChunkId) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(|inner| async move { inner.delete_chunk(id).await })
    }

    fn site(&self, blinded: BlindedKey) -> BoxFuture<'_, Result<Option<SiteRecord>, StoreError>> {
        self.run(move |inner| async move {
            let stored = inner.get(SITES, site_key(&blinded)).await?;
            stored.map(|bytes| read_record(&bytes)).transpose()
        })
    }

    fn put_site(&self, record: SiteRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(|inner| async move {
            let key = site_key(&record.address.blinded());
            inner.put_bytes(SITES, key, api::encode(&record)).await?;
            inner.count_sites().await
        })
    }

    fn delete_site(&self, blinded: BlindedKey) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |inner| async move {
            inner
                .write(&[SITES], Durability::Strict, |transaction| {
                    transaction.object_store(SITES)?.delete(Query::from(site_key(&blinded)))?;
                    Ok(())
                })
                .await?;
            inner.count_sites().await
        })
    }

    fn sites(&self) -> BoxFuture<'_, Result<Vec<SiteRecord>, StoreError>> {
        self.run(|inner| async move { inner.all_sites().await })
    }

    fn value(&self, name: &'static str) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>> {
        self.run(move |inner| async move {
            Ok(inner.get(VALUES, JsValue::from_str(name)).await?.map(|bytes| bytes.to_vec()))
        })
    }

    fn put_value(&self, name: &'static str, value: Vec<u8>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.run(move |inner| async move { inner.put_bytes(VALUES, JsValue::from_str(name), value).await })
    }

    fn usage(&self) -> BoxFuture<'_, Result<Usage, StoreError>> {
        let index = self.0.index.borrow();
        let usage = Usage { chunks: index.sizes.len() as u64, bytes: index.bytes, sites: index.sites };
        Box::pin(async move { Ok(usage) })
    }

    fn memory_only(&self) -> bool {
        false
    }
}

fn settle(sender: &RefCell<Option<oneshot::Sender<bool>>>, committed: bool) {
    if let Some(sender) = sender.borrow_mut().take() {
        let _ = sender.send(committed);
    }
}

fn chunk_key(id: ChunkId) -> JsValue {
    Uint8Array::from(id.as_bytes().as_slice()).into()
}

fn site_key(blinded: &BlindedKey) -> JsValue {
    Uint8Array::from(blinded.as_bytes().as_slice()).into()
}

fn read_record(bytes: &Uint8Array) -> Result<SiteRecord, StoreError> {
    api::decode(&bytes.to_vec()).map_err(|_| StoreError::Corrupt("a site's record".into()))
}

/// A thrown value in the words of the store's interface.
fn failed(thrown: &JsValue) -> StoreError {
    match error_name(thrown).as_str() {
        "QuotaExceededError" => StoreError::Full(describe(thrown)),
        _ => StoreError::Io(describe(thrown)),
    }
}

fn request_failed(error: idb::Error) -> StoreError {
    match &error {
        idb::Error::DomException(exception) => failed(exception),
        _ => StoreError::Io(error.to_string()),
    }
}

fn denied(error: idb::Error) -> StorageProblem {
    match &error {
        idb::Error::DomException(exception) if exception.name() == "VersionError" => StorageProblem::NewerSchema,
        idb::Error::DomException(exception) => StorageProblem::Denied { reason: describe(exception) },
        _ => StorageProblem::Denied { reason: error.to_string() },
    }
}
