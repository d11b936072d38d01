//! Listens on `webrtc-direct`, relays signalling for private peers, and sends back what comes.
//!
//!     cargo run -p meganet-transport --example listen

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    StreamProtocol, Swarm, identify,
    identity::Keypair,
    relay,
    swarm::{Config, NetworkBehaviour, SwarmEvent},
};
use meganet_transport::{
    Options, build,
    signalling::{self, DirectOnly, HostsOnly, Through, WithoutCircuits},
};

const ECHO: StreamProtocol = StreamProtocol::new("/example/echo/1");

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
        identify: Through::new(identify::Behaviour::new(identify::Config::new("/example/1".into(), identity.public()))),
        relay: Through::new(relay::Behaviour::new(local, relay::Config::default())),
        relay_client: built.relay_client,
        signalling: built.signalling,
        streams: DirectOnly::new(libp2p_stream::Behaviour::new()),
    };
    let mut swarm = Swarm::new(built.transport, behaviour, local, Config::with_tokio_executor());
    swarm.listen_on("/ip4/127.0.0.1/udp/0/webrtc-direct".parse()?)?;
    let mut echoes = swarm.behaviour().streams.new_control().accept(ECHO)?;
    tokio::spawn(async move {
        while let Some((peer, stream)) = echoes.next().await {
            println!("{peer} speaks");
            tokio::spawn(async move {
                let (reader, mut writer) = stream.split();
                let _ = futures::io::copy(reader, &mut writer).await;
                let _ = writer.close().await;
            });
        }
    });
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            // A relay names its addresses in the reservations it gives.
            swarm.add_external_address(address.clone());
            println!("{address}/p2p/{local}");
        }
    }
}
