//! Builds the swarm. The transports differ per platform inside `meganet-transport`; the executor in `platform`.

use crate::{behaviour::Behaviour, config::NodeConfig, network, platform};
use libp2p::{Swarm, identity::Keypair, swarm};
use std::{future::Future, pin::Pin};

/// A swarm with every transport of this platform, not listening yet.
///
/// # Errors
/// When the transports cannot be built from the configuration.
pub(crate) fn build(
    config: &NodeConfig,
    identity: &Keypair,
    relays: (network::Willing, Option<network::ContentMeter>),
) -> Result<Swarm<Behaviour>, meganet_transport::BuildError> {
    let options = meganet_transport::Options {
        webrtc_certificate_pem: config.webrtc_certificate_pem.clone(),
        stun: config.stun.clone(),
        websocket_tls: config.websocket_tls.clone(),
        // Every MegaNet peer answers version 2, and a peer connection more is not to be had for nothing.
        dial_version_1: false,
        ..meganet_transport::Options::default()
    };
    let built = meganet_transport::build(identity, options)?;
    let behaviour = Behaviour::new(config, identity, built.relay_client, built.signalling, relays);
    let executor = |task: Pin<Box<dyn Future<Output = ()> + Send>>| platform::spawn(task);
    let swarm_config = network::swarm_config(swarm::Config::with_executor(executor), config.role);
    Ok(Swarm::new(built.transport, behaviour, identity.public().to_peer_id(), swarm_config))
}
