//! The node's key: made once, kept in the store, the same after every reload.

use meganet_node::{
    platform,
    store::{Store, StoreError},
};

/// Name of the value that holds the 32-byte Ed25519 seed.
const IDENTITY: &str = "identity";

/// Why there is no key to start with.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Random(#[from] platform::RandomError),
}

/// A seed for a node that keeps nothing.
///
/// # Errors
/// The browser has no randomness.
pub fn make() -> Result<[u8; 32], platform::RandomError> {
    platform::random_bytes::<32>()
}

/// The stored seed, or a new one that is stored before it is used.
///
/// A stored value of another length is damaged: it names nobody any more, so it is replaced. A tab's key signs no
/// site; losing it costs the tab its name among peers and nothing else.
pub async fn load_or_make(store: &dyn Store) -> Result<[u8; 32], IdentityError> {
    if let Some(seed) = store.value(IDENTITY).await?.and_then(|stored| stored.try_into().ok()) {
        return Ok(seed);
    }
    let seed = make()?;
    store.put_value(IDENTITY, seed.to_vec()).await?;
    Ok(seed)
}
