//! Bare transports on loopback: connections without a swarm.

#![allow(dead_code, reason = "each test program uses a part of it")]

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        Endpoint,
        muxing::StreamMuxerExt,
        transport::{DialOpts, ListenerId, PortUse, TransportEvent},
    },
    identity::Keypair,
};
use meganet_transport::{
    Census, Error, StunServers,
    connection::Connection,
    native::{Certificate, Config, Transport},
    signalling::Behaviour,
    stream::Stream,
};
use std::future::poll_fn;
use tokio::sync::mpsc;

/// A transport, and the half of `/webrtc` that nothing here needs.
pub fn transport() -> (Transport, Behaviour) {
    transport_with(Census::default())
}

pub fn transport_with(census: Census) -> (Transport, Behaviour) {
    let (identity, certificate) = (Keypair::generate_ed25519(), Certificate::generate().unwrap());
    Transport::new(Config { identity, certificate, version_1: true, stun: StunServers::default(), census })
}

pub async fn dial(client: &mut Transport, address: Multiaddr) -> Result<(PeerId, Connection), Error> {
    let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    libp2p::Transport::dial(client, address, options).expect("an address to dial").await
}

/// A listener: its address, and whoever is authenticated on it.
pub async fn listener() -> (Multiaddr, mpsc::Receiver<Connection>) {
    listener_with(Census::default()).await
}

pub async fn listener_with(census: Census) -> (Multiaddr, mpsc::Receiver<Connection>) {
    let (mut server, _behaviour) = transport_with(census);
    server.listen_on(ListenerId::next(), "/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap()).unwrap();
    let mut server = server.boxed();
    let Some(TransportEvent::NewAddress { listen_addr, .. }) = server.next().await else { panic!("no address") };
    let (sender, receiver) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Some(event) = server.next().await {
            if let TransportEvent::Incoming { upgrade, .. } = event {
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Ok((_, connection)) = upgrade.await {
                        let _ = sender.send(connection).await;
                    }
                });
            }
        }
    });
    (listen_addr, receiver)
}

pub async fn pair() -> (Connection, Connection) {
    pair_with([Census::default(), Census::default()]).await
}

/// The client's end and the server's.
pub async fn pair_with([client, server]: [Census; 2]) -> (Connection, Connection) {
    let _ = tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).try_init();
    let (address, mut incoming) = listener_with(server).await;
    let (_, client) = dial(&mut transport_with(client).0, address).await.unwrap();
    (client, incoming.recv().await.unwrap())
}

pub async fn open(connection: &mut Connection) -> Stream {
    poll_fn(|context| connection.poll_outbound_unpin(context)).await.unwrap()
}

pub async fn accept(connection: &mut Connection) -> Stream {
    poll_fn(|context| connection.poll_inbound_unpin(context)).await.unwrap()
}

pub fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
