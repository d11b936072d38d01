//! The protocols a node speaks, with every default of rust-libp2p that is unsafe here set.

use crate::{
    config::{NodeConfig, Role},
    gate::{self, Gate},
    limits::{self, protocol},
    network::{ContentMeter, Willing, Within},
    platform,
    records::Records,
};
use libp2p::{
    Multiaddr,
    connection_limits::{self, ConnectionLimits},
    identify,
    identity::Keypair,
    kad, ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};
use meganet_transport::signalling::{
    self, DirectOnly, Hosts, HostsOnly, Only, OverWebSocket, Through, WithoutCircuits, WithoutWebSocket,
};
use std::num::NonZeroU32;

/// What the swarm runs.
#[derive(NetworkBehaviour)]
pub struct Behaviour {
    // The gates come first: what they refuse reaches nobody else.
    pub limits: connection_limits::Behaviour,
    pub gate: Gate,
    pub identify: Through<HostsOnly, identify::Behaviour>,
    pub ping: DirectOnly<ping::Behaviour>,
    pub kademlia: Through<Within, DirectOnly<kad::Behaviour<Records>>>,
    pub relay_client: relay::client::Behaviour,
    pub signalling: signalling::Behaviour,
    pub relay: Toggle<Through<WithoutCircuits, relay::Behaviour>>,
    /// Streams of `/meganet/peers/1`.
    pub streams: DirectOnly<libp2p_stream::Behaviour>,
    // Those of `/meganet/exchange/1`: which connection they are opened on is chosen by what was measured.
    pub exchange: Only<WithoutWebSocket, libp2p_stream::Behaviour>,
    pub exchange_websocket: Only<OverWebSocket, libp2p_stream::Behaviour>,
    pub exchange_relayed: Only<Willing, libp2p_stream::Behaviour>,
}

impl Behaviour {
    pub fn new(
        config: &NodeConfig,
        identity: &Keypair,
        relay_client: relay::client::Behaviour,
        signalling: signalling::Behaviour,
        (willing, content): (Willing, Option<ContentMeter>),
    ) -> Self {
        let local = identity.public().to_peer_id();
        let identify = identify::Config::new(protocol::IDENTIFY.into(), identity.public())
            .with_agent_version(config.agent.clone())
            .with_hide_listen_addrs(config.role == Role::Tab)
            // What peers say of their addresses is hearsay: what was verified is added to the routing table.
            .with_cache_size(0);
        let mut kademlia = kad::Behaviour::with_config(local, Records::new(local), kademlia_config());
        kademlia.set_mode(Some(if config.role.is_server() { kad::Mode::Server } else { kad::Mode::Client }));
        let hosts = signalling.hosts().clone();
        Self {
            limits: connection_limits::Behaviour::new(connections_of(config.role)),
            gate: Gate::new((config.role == Role::Tab).then_some(limits::LOOKUP_DIALS_PER_HOUR), hosts.clone()),
            // On relayed connections too: who is reached through a relay alone is shown by the agent it names, js-libp2p asks on
            // each connection, and one question is little for a circuit. There it names what is spoken there, so not the DHT.
            identify: Through::new(identify::Behaviour::new(identify)),
            ping: DirectOnly::new(ping::Behaviour::default()),
            kademlia: Through::with(Within::new(config.role == Role::Tab), DirectOnly::new(kademlia)),
            relay_client,
            signalling,
            // Tabs too: when every server is gone, they signal for each other.
            relay: (config.role != Role::ShortLived)
                .then(|| Through::new(relay::Behaviour::new(local, relay_config(content, hosts))))
                .into(),
            streams: DirectOnly::new(libp2p_stream::Behaviour::new()),
            exchange: Only::new(libp2p_stream::Behaviour::new()),
            exchange_websocket: Only::new(libp2p_stream::Behaviour::new()),
            exchange_relayed: Only::with(willing, libp2p_stream::Behaviour::new()),
        }
    }
}

/// Connections that a node in this role has at most.
fn connections_of(role: Role) -> ConnectionLimits {
    let max = role.connections_max();
    ConnectionLimits::default()
        .with_max_established(Some(max))
        // Before that a peer's newest connection takes the place of its oldest, see `Newest`.
        .with_max_established_per_peer(Some(limits::CONNECTIONS_PER_PEER_MAX))
        .with_max_pending_incoming(Some(limits::PENDING_INBOUND_MAX))
        .with_max_pending_outgoing(Some(limits::PENDING_OUTBOUND_MAX))
        // A quarter stays for connections of this node's own choosing, so that inbound peers cannot surround it.
        .with_max_established_incoming(Some(max - max / 4))
}

fn kademlia_config() -> kad::Config {
    let mut config = kad::Config::new(protocol::KADEMLIA);
    config
        .set_query_timeout(limits::QUERY_TIMEOUT)
        .disjoint_query_paths(true)
        // `Records` itself refuses what does not verify, and its sender learns it.
        .set_record_filtering(kad::StoreInserts::Unfiltered)
        .set_record_ttl(Some(limits::RECORD_TTL))
        .set_provider_record_ttl(Some(limits::RECORD_TTL))
        .set_publication_interval(Some(limits::REANNOUNCE_INTERVAL))
        .set_provider_publication_interval(Some(limits::REANNOUNCE_INTERVAL))
        // Routing tables fill from identify, with addresses that were seen to work.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        .set_caching(kad::Caching::Disabled);
    config
}

/// With `content` the relay carries as much of it as that grants, and else what signalling needs. `hosts` are those of `/webrtc`
/// connections.
fn relay_config(content: Option<ContentMeter>, hosts: Hosts) -> relay::Config {
    let per_ip = NonZeroU32::new(limits::RESERVATIONS_PER_IP_PER_HOUR).unwrap_or(NonZeroU32::MIN);
    let mut config = relay::Config {
        // libp2p's own are a little less than this node's, and would stand in their place.
        reservation_rate_limiters: Vec::new(),
        max_reservations: limits::RESERVATIONS_MAX,
        // A page that is loaded anew asks over its new connection, and the old one may not be known to be dead.
        max_reservations_per_peer: limits::CONNECTIONS_PER_WAY_MAX,
        reservation_duration: limits::RESERVATION_DURATION,
        max_circuits: limits::CIRCUITS_MAX,
        max_circuits_per_peer: limits::CIRCUITS_PER_PEER_MAX,
        max_circuit_duration: limits::CIRCUIT_MAX_DURATION,
        max_circuit_bytes: limits::CIRCUIT_MAX_BYTES,
        ..relay::Config::default()
    };
    if let Some(meter) = content {
        config.max_circuit_bytes = limits::CONTENT_CIRCUIT_BYTES;
        config.max_circuit_duration = limits::CONTENT_CIRCUIT_DURATION;
        let grants = move |peer, address: &Multiaddr, _| {
            meter.take(peer, gate::host_at(&hosts, &peer, address), platform::monotonic_ms())
        };
        config.circuit_src_rate_limiters.push(Box::new(grants));
    }
    config.reservation_rate_per_ip(per_ip, limits::RESERVATION_DURATION)
}

#[cfg(test)]
#[path = "behaviour_tests.rs"]
mod tests;
