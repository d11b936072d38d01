//! Dials an address and has something sent back: one that the example `listen` printed, or a private peer's that the example
//! `private` printed, `RELAY/p2p-circuit/webrtc/p2p/PEER`.
//!
//!     cargo run -p meganet-transport --example dial -- ADDRESS

#![allow(clippy::print_stdout, reason = "an example talks to its user")]

mod common;

use common::ECHO;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, Swarm,
    identity::Keypair,
    multiaddr::Protocol,
    relay,
    swarm::{Config, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
};
use meganet_transport::{
    Options, build,
    signalling::{self, DirectOnly},
};

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay_client: relay::client::Behaviour,
    signalling: signalling::Behaviour,
    // What must not run over the short and small connections through a relay.
    streams: DirectOnly<libp2p_stream::Behaviour>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: Multiaddr = std::env::args().nth(1).ok_or("say which address to dial")?.parse()?;
    let Some(Protocol::P2p(peer)) = address.iter().last() else {
        return Err("the address ends in no /p2p/PEER".into());
    };
    let identity = Keypair::generate_ed25519();
    let built = build(&identity, Options::default())?;
    let streams = DirectOnly::new(libp2p_stream::Behaviour::new());
    let behaviour = Behaviour { relay_client: built.relay_client, signalling: built.signalling, streams };
    let local = identity.public().to_peer_id();
    let mut swarm = Swarm::new(built.transport, behaviour, local, Config::with_tokio_executor());
    // A private peer's relay is remembered, and its connection known by an address that does not name it.
    let address = swarm.behaviour().signalling.routes().learn(&address).unwrap_or(address);
    swarm.dial(DialOpts::peer_id(peer).addresses(vec![address]).build())?;
    let mut control = swarm.behaviour().streams.new_control();
    loop {
        match swarm.select_next_some().await {
            // Not the relay's, nor the one through it.
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. }
                if peer_id == peer && !signalling::is_relayed_endpoint(&endpoint) =>
            {
                break;
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(common::why(&error).into()),
            _ => {}
        }
    }
    tokio::spawn(async move { while swarm.next().await.is_some() {} });
    let (mut reader, mut writer) = control.open_stream(peer, ECHO).await?.split();
    writer.write_all(b"hello").await?;
    writer.close().await?;
    let mut answer = String::new();
    reader.read_to_string(&mut answer).await?;
    println!("{peer} sent back: {answer}");
    Ok(())
}
