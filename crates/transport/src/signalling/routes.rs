//! Which relays reach a peer. `/webrtc` connections do not go through the relay that signalled for them, so the address that
//! the swarm is told must not name it: the relay is looked up here.

use crate::proto::address::{AddressError, Signalled};
use hashlink::LruCache;
use libp2p::{Multiaddr, PeerId};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Peers whose routes are known; the least recently used is forgotten.
pub const PEERS_MAX: usize = 1_000;
/// Routes of one peer; the newest are kept.
pub const ROUTES_PER_PEER_MAX: usize = 4;

/// Relays by peer; clones share one table.
#[derive(Clone)]
pub struct Routes(Arc<Mutex<LruCache<PeerId, Vec<Multiaddr>>>>);

impl Default for Routes {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(LruCache::new(PEERS_MAX))))
    }
}

impl Routes {
    fn lock(&self) -> MutexGuard<'_, LruCache<PeerId, Vec<Multiaddr>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the relay that a `/webrtc` address names, and gives the address to dial: `/webrtc/p2p/B`.
    ///
    /// # Errors
    /// [`AddressError`]; with [`AddressError::Other`] it is another transport's address.
    pub fn learn(&self, address: &Multiaddr) -> Result<Multiaddr, AddressError> {
        let Signalled { circuit, peer } = Signalled::parse(address)?;
        if let Some(circuit) = circuit {
            let relay = Signalled::relay_of(&circuit).ok_or(AddressError::Other)?;
            // A relay that is private itself is dialled the same way.
            let relay = match Signalled::parse(&relay) {
                Ok(_) => self.learn(&relay)?,
                Err(AddressError::Other) => relay,
                Err(error) => return Err(error),
            };
            let mut table = self.lock();
            let mut routes = table.remove(&peer).unwrap_or_default();
            routes.retain(|known| *known != relay);
            routes.insert(0, relay);
            routes.truncate(ROUTES_PER_PEER_MAX);
            table.insert(peer, routes);
        }
        Ok(Signalled::short(peer))
    }

    /// The relays of a peer, the newest first, as addresses that end in `/p2p/R`.
    #[must_use]
    pub fn relays(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.lock().get(peer).cloned().unwrap_or_default()
    }

    /// Forgets a peer's routes.
    pub fn forget(&self, peer: &PeerId) {
        self.lock().remove(peer);
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Routes").field("peers", &self.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_relay_has_a_route_of_its_own() {
        let routes = Routes::default();
        let [relay, tab, other] = [(); 3].map(|()| PeerId::random());
        let public: Multiaddr = format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}").parse().unwrap();
        let address = format!("{public}/p2p-circuit/webrtc/p2p/{tab}/p2p-circuit/webrtc/p2p/{other}").parse().unwrap();
        assert_eq!(routes.learn(&address), Ok(Signalled::short(other)));
        assert_eq!(routes.relays(&other), [Signalled::short(tab)]);
        assert_eq!(routes.relays(&tab), [public]);
        assert_eq!(routes.learn(&Signalled::short(relay)), Ok(Signalled::short(relay)));
        assert!(routes.relays(&relay).is_empty(), "a short address teaches nothing");
    }

    #[test]
    fn peers_and_routes_are_bounded() {
        let routes = Routes::default();
        let circuit =
            |peer: &PeerId| format!("/ip4/1.2.3.4/tcp/1/p2p/{}/p2p-circuit/webrtc/p2p/{peer}", PeerId::random());
        let first = PeerId::random();
        for _ in 0..10 {
            routes.learn(&circuit(&first).parse().unwrap()).unwrap();
        }
        assert_eq!(routes.relays(&first).len(), ROUTES_PER_PEER_MAX);
        let first = PeerId::random();
        routes.learn(&circuit(&first).parse().unwrap()).unwrap();
        for _ in 0..PEERS_MAX {
            routes.learn(&circuit(&PeerId::random()).parse().unwrap()).unwrap();
        }
        assert!(routes.relays(&first).is_empty() && routes.lock().len() == PEERS_MAX);
    }
}
