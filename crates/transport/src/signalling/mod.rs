//! `/webrtc`: connections between peers that cannot be dialled, signalled over a relayed connection (libp2p/specs
//! `webrtc/webrtc.md`).
//!
//! A libp2p transport cannot open streams, so two halves work together: the transport (a backend's) asks, and the
//! [`Behaviour`] in the same swarm answers with a signalling stream on a relayed connection, which it dials if there is none.
//!
//! | file | purpose |
//! |---|---|
//! | `routes` | which relays reach a peer |
//! | `hosts` | at which host a connection's other end is |
//! | `link` | what transport and behaviour say to each other |
//! | `handler` | the signalling stream of one relayed connection |
//! | `behaviour` | which stream belongs to which attempt; simultaneous dials; the end of relayed connections |
//! | `under_way` | an attempt as the behaviour sees it, and when another may take its place |
//! | `attempt` | one attempt: the protocol core between a stream and a backend |
//! | `only` | keeps other protocols to connections of one kind, most of them off relayed ones |
//! | `lens` | leaves addresses out that a behaviour must not see, or that are not to be dialled |

mod attempt;
mod behaviour;
mod handler;
mod hosts;
mod lens;
mod link;
mod only;
mod routes;
mod under_way;

pub(crate) use attempt::{PeerConnection, Progress, run};
pub use behaviour::{Behaviour, Event, INBOUND_ATTEMPTS_MAX, OUTBOUND_ATTEMPTS_MAX, STRANGE_RELAYS_AT_ONCE};
pub(crate) use hosts::host_beyond;
pub use hosts::{Hosts, PEERS_MAX as HOSTS_MAX};
pub use lens::{HostsOnly, Lens, Through, WithoutCircuits};
pub use link::OPENING_TIMEOUT;
pub(crate) use link::{Inbound, Link, Opened, in_time};
pub use only::{
    DirectOnly, Only, OverWebSocket, Way, Ways, WithoutWebSocket, is_relayed, is_relayed_endpoint, relay_of,
};
pub use routes::{PEERS_MAX as ROUTED_PEERS_MAX, ROUTES_PER_PEER_MAX, Routes};

/// Both halves, and the routes they share.
pub(crate) fn new(local: libp2p::PeerId) -> (Link, Behaviour) {
    let routes = Routes::default();
    let (link, requests, inbound) = link::new(routes.clone());
    (link, Behaviour::new(local, routes, requests, inbound))
}
