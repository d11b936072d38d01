//! A peer that nobody can dial: it has a relay tell others how to reach it, and sends back what comes. The relay is one that the
//! example `listen` is, at the address it printed.
//!
//!     cargo run -p meganet-transport --example private -- RELAY
//!
//! It prints the address that the example `dial` takes, `RELAY/p2p-circuit/webrtc/p2p/PEER`. What is sent to it does not go
//! through the relay.

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::{ECHO, answer, identify_as};
use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, identify,
    identity::Keypair,
    multiaddr::Protocol,
    relay,
    swarm::{Config, NetworkBehaviour, SwarmEvent},
};
use meganet_transport::{
    Options, build,
    proto::address::Signalled,
    signalling::{self, DirectOnly, HostsOnly, Through},
};

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: Through<HostsOnly, identify::Behaviour>,
    relay_client: relay::client::Behaviour,
    signalling: signalling::Behaviour,
    // What must not run over the short and small connections through a relay.
    streams: DirectOnly<libp2p_stream::Behaviour>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let relay: Multiaddr = std::env::args().nth(1).ok_or("say which relay to be reachable through")?.parse()?;
    if !matches!(relay.iter().last(), Some(Protocol::P2p(_))) {
        return Err("the relay's address ends in no /p2p/PEER".into());
    }
    let identity = Keypair::generate_ed25519();
    let local = identity.public().to_peer_id();
    let built = build(&identity, Options::default())?;
    let behaviour = Behaviour {
        identify: identify_as(identity.public()),
        relay_client: built.relay_client,
        signalling: built.signalling,
        streams: DirectOnly::new(libp2p_stream::Behaviour::new()),
    };
    let mut swarm = Swarm::new(built.transport, behaviour, local, Config::with_tokio_executor());
    swarm.listen_on("/webrtc".parse()?)?;
    // This dials the relay too, and asks it for a reservation.
    swarm.listen_on(relay.with(Protocol::P2pCircuit))?;
    answer(swarm.behaviour().streams.new_control().accept(ECHO)?);
    loop {
        match swarm.select_next_some().await {
            // The reservation's address comes first, and then its `/webrtc` form.
            SwarmEvent::ExternalAddrConfirmed { address } if Signalled::parse(&address).is_ok() => {
                println!("{address}")
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(common::why(&error).into()),
            SwarmEvent::ListenerClosed { reason, .. } => {
                reason?;
                return Err("the relay is gone".into());
            }
            _ => {}
        }
    }
}
