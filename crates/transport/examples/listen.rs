//! Listens on `webrtc-direct`, relays signalling for private peers, and sends back what comes.
//!
//!     cargo run -p meganet-transport --example listen
//!
//! It prints the address that the examples `dial` and `private` take.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::{ECHO, answer, identify_as};
use futures::StreamExt;
use libp2p::{
    Swarm, identify,
    identity::Keypair,
    relay,
    swarm::{Config, NetworkBehaviour, SwarmEvent},
};
use meganet_transport::{
    Options, build,
    signalling::{self, DirectOnly, HostsOnly, Through, WithoutCircuits},
};

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: Through<HostsOnly, identify::Behaviour>,
    relay: Through<WithoutCircuits, relay::Behaviour>,
    relay_client: relay::client::Behaviour,
    signalling: signalling::Behaviour,
    streams: DirectOnly<libp2p_stream::Behaviour>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let identity = Keypair::generate_ed25519();
    let local = identity.public().to_peer_id();
    // Keep the certificate (`generate_certificate_pem`) if the address is to be the same next time.
    let built = build(&identity, Options::default())?;
    let behaviour = Behaviour {
        identify: identify_as(identity.public()),
        relay: Through::new(relay::Behaviour::new(local, relay::Config::default())),
        relay_client: built.relay_client,
        signalling: built.signalling,
        streams: DirectOnly::new(libp2p_stream::Behaviour::new()),
    };
    let mut swarm = Swarm::new(built.transport, behaviour, local, Config::with_tokio_executor());
    swarm.listen_on("/ip4/127.0.0.1/udp/0/webrtc-direct".parse()?)?;
    answer(swarm.behaviour().streams.new_control().accept(ECHO)?);
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            // A relay names its addresses in the reservations it gives.
            swarm.add_external_address(address.clone());
            println!("{address}/p2p/{local}");
        }
    }
}
