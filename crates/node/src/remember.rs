//! Keeping the list of good peers across restarts: reading it at the start, and writing it down now and then.

use crate::{
    network::Network,
    platform,
    store::{Store, StoreError},
};
use meganet_core::remembered::{self, RememberedError, RememberedPeer};
use std::{sync::Weak, time::Duration};

/// The value's name in the store.
const NAME: &str = "remembered-peers";

/// Why the list of the last run is not there. The node starts without it.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    List(#[from] RememberedError),
}

/// What the last run stored.
#[derive(Default)]
pub(crate) struct Loaded {
    pub peers: Vec<RememberedPeer>,
    /// A later MegaNet wrote the list, and finds it again as it was.
    is_foreign: bool,
}

/// Reads the list of the last run.
pub(crate) async fn load(store: &dyn Store) -> Loaded {
    match read(store).await {
        Ok(peers) => Loaded { peers, is_foreign: false },
        Err(error) => {
            tracing::warn!(%error, "no peer is remembered");
            let is_foreign = matches!(error, LoadError::List(RememberedError::Version { .. }));
            Loaded { peers: Vec::new(), is_foreign }
        }
    }
}

async fn read(store: &dyn Store) -> Result<Vec<RememberedPeer>, LoadError> {
    match store.value(NAME).await? {
        Some(bytes) => Ok(remembered::parse(&bytes)?),
        None => Ok(Vec::new()),
    }
}

impl Loaded {
    /// Looks every so often whether the list has changed, and writes it down, until the node ends. A node that was let go of is not held up by it.
    pub async fn keep(self, mut network: Network, store: Weak<dyn Store>, every: Duration) {
        if self.is_foreign {
            return;
        }
        loop {
            platform::sleep(every).await;
            let Ok(changed) = network.remembered().await else { return };
            let Some(bytes) = changed.and_then(|peers| remembered::encode(&peers).ok()) else { continue };
            let Some(store) = store.upgrade() else { return };
            // Without it only the next start is harder; the next change is written again.
            let _ = store.put_value(NAME, bytes).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{network::Request, store::MemoryStore};
    use futures::StreamExt;
    use meganet_core::peer_list::PeerEntry;
    use std::sync::Arc;

    #[tokio::test]
    async fn a_damaged_list_is_as_none_and_one_of_a_later_version_stays_as_it_is() {
        let later = vec![8, 2];
        for (stored, is_foreign) in [(b"damaged".to_vec(), false), (later, true)] {
            let store = MemoryStore::new(0);
            store.put_value(NAME, stored.clone()).await.unwrap();
            let loaded = load(&store).await;
            assert!(loaded.peers.is_empty());
            assert_eq!(loaded.is_foreign, is_foreign);
        }
    }

    #[tokio::test]
    async fn what_changes_is_written_and_read_at_the_next_start() {
        let peer = PeerEntry { peer_id: vec![7; 38], addresses: vec!["/ip4/192.0.2.1/tcp/1".into()] };
        let list = vec![RememberedPeer { peer, since_ms: 1, last_ms: 2, failures: 0, is_dialled: true }];
        for is_foreign in [false, true] {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new(0));
            let (network, mut inbox) = Network::for_tests();
            let loaded = Loaded { peers: Vec::new(), is_foreign };
            let keeping = tokio::spawn(loaded.keep(network, Arc::downgrade(&store), Duration::from_millis(1)));
            if !is_foreign {
                for answer in [None, Some(list.clone()), None] {
                    let Some(Request::Remembered { reply }) = inbox.next().await else { panic!("another request") };
                    reply.send(answer).unwrap();
                }
            }
            drop(inbox);
            keeping.await.unwrap();
            let expected = if is_foreign { Vec::new() } else { list.clone() };
            assert_eq!(load(store.as_ref()).await.peers, expected);
        }
    }
}
