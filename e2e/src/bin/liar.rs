//! A peer that lies, for the tests: it claims to provide sites, hands out forged heads or wrong bytes, and reports on its
//! standard output whom it lied to. It speaks the real protocols over the real transports.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test program ends where it finds a fault"
)]

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm, identify,
    identity::Keypair,
    kad::{self, store::RecordStore},
    multiaddr::Protocol,
    relay,
    swarm::{self, NetworkBehaviour, SwarmEvent},
};
use meganet_core::{
    address::Address,
    head::{Head, HeadInner},
    keys::{BlindedKey, ReadKey, SiteKey},
    limits::FRAME_MAX_BYTES,
    wire::{Code, FrameDecoder, Request, Response},
};
use meganet_e2e::liar::Event;
use meganet_node::limits::protocol;
use std::{
    collections::HashMap,
    io::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

/// Bytes of a wrong chunk: less than the first credit any asker grants, and one frame.
const WRONG_CHUNK_BYTES: u32 = 4_096;
/// A sequence that no honest author of a test reaches.
const FORGED_SEQUENCE: u64 = 1_000_000;
/// Ends the start when the bootstrap does not answer.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A peer that lies.
#[derive(Parser)]
struct Arguments {
    /// `heads` or `chunks`.
    #[arg(long)]
    lie: String,
    /// The bootstrap's multiaddrs, each ending in /p2p/PEER.
    #[arg(long, required = true)]
    bootstrap: Vec<Multiaddr>,
    /// A site to claim.
    #[arg(long, required = true)]
    site: Vec<Address>,
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    identify: identify::Behaviour,
    kademlia: kad::Behaviour<kad::store::MemoryStore>,
    relay_client: relay::client::Behaviour,
    streams: libp2p_stream::Behaviour,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let lies_about_heads = match arguments.lie.as_str() {
        "heads" => true,
        "chunks" => false,
        other => bail!("no such lie: {other}"),
    };
    let identity = Keypair::generate_ed25519();
    let mut swarm = build(&identity)?;
    for listen in ["/ip4/127.0.0.1/udp/0/webrtc-direct", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.1/tcp/0"] {
        swarm.listen_on(listen.parse()?)?;
    }
    let incoming = swarm.behaviour().streams.new_control().accept(protocol::EXCHANGE)?;
    let forged: HashMap<BlindedKey, [Vec<u8>; 2]> =
        arguments.site.iter().map(|site| Ok((site.blinded(), forged_heads(site)?))).collect::<Result<_>>()?;
    let forged = Arc::new(forged);
    tokio::spawn(answer_all(incoming, lies_about_heads.then(|| forged.clone())));

    tokio::time::timeout(START_TIMEOUT, join(&mut swarm, &arguments.bootstrap)).await.context("no bootstrap")??;
    let mut announcing = Vec::new();
    for site in &arguments.site {
        let key = kad::RecordKey::new(&site.blinded().provider_record_key());
        announcing.push(swarm.behaviour_mut().kademlia.start_providing(key)?);
    }
    if lies_about_heads {
        for (blinded, heads) in forged.iter() {
            for head in heads {
                let record = kad::Record::new(blinded.head_record_key().to_vec(), head.clone());
                let kademlia = &mut swarm.behaviour_mut().kademlia;
                // What this peer itself answers to a lookup in the DHT: the last one put.
                kademlia.store_mut().put(record.clone()).map_err(|error| anyhow::anyhow!("{error}"))?;
                kademlia.put_record(record, kad::Quorum::One)?;
            }
        }
    }
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::OutboundQueryProgressed {
                id, result, ..
            })) => match result {
                kad::QueryResult::StartProviding(_) => {
                    announcing.retain(|announced| *announced != id);
                    if announcing.is_empty() {
                        say(&Event::Ready { peer_id: identity.public().to_peer_id().to_string() });
                    }
                }
                kad::QueryResult::PutRecord(Ok(_)) => say(&Event::ForgedHeadPut { taken_by: 1 }),
                kad::QueryResult::PutRecord(Err(kad::PutRecordError::QuorumFailed { success, .. }))
                | kad::QueryResult::PutRecord(Err(kad::PutRecordError::Timeout { success, .. })) => {
                    say(&Event::ForgedHeadPut { taken_by: success.len() });
                }
                _ => {}
            },
            // Only forged heads are in its store.
            SwarmEvent::Behaviour(BehaviourEvent::Kademlia(kad::Event::InboundRequest {
                request: kad::InboundRequest::GetRecord { present_locally: true, .. },
            })) => say(&Event::ForgedHeadFound),
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                say(&Event::Closed { peer: peer_id.to_string() });
            }
            _ => {}
        }
    }
}

fn build(identity: &Keypair) -> Result<Swarm<Behaviour>> {
    let local = identity.public().to_peer_id();
    let options = meganet_transport::Options {
        webrtc_certificate_pem: Some(meganet_transport::generate_certificate_pem()?),
        ..meganet_transport::Options::default()
    };
    let built = meganet_transport::build(identity, options)?;
    let mut kademlia = kad::Config::new(protocol::KADEMLIA);
    kademlia.set_query_timeout(Duration::from_secs(5)).set_record_filtering(kad::StoreInserts::FilterBoth);
    let mut behaviour = Behaviour {
        identify: identify::Behaviour::new(
            identify::Config::new(protocol::IDENTIFY.into(), identity.public()).with_agent_version("liar/1".into()),
        ),
        kademlia: kad::Behaviour::with_config(local, kad::store::MemoryStore::new(local), kademlia),
        relay_client: built.relay_client,
        streams: libp2p_stream::Behaviour::new(),
    };
    behaviour.kademlia.set_mode(Some(kad::Mode::Server));
    let config = swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(600));
    Ok(Swarm::new(built.transport, behaviour, local, config))
}

/// Dials the bootstrap, and waits until it knows this peer's addresses: providers are handed out with them.
async fn join(swarm: &mut Swarm<Behaviour>, bootstrap: &[Multiaddr]) -> Result<()> {
    let Some(Protocol::P2p(peer)) = bootstrap.first().and_then(|address| address.iter().last()) else {
        bail!("a bootstrap address without /p2p/PEER")
    };
    for address in bootstrap {
        swarm.behaviour_mut().kademlia.add_address(&peer, address.clone());
    }
    let (mut listening, mut dialled, mut told) = (0, false, false);
    while !told {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => {
                swarm.add_external_address(address);
                listening += 1;
                if listening == 3 && !dialled {
                    swarm.dial(peer)?;
                    dialled = true;
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Sent { peer_id, .. })) => {
                told = peer_id == peer;
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => bail!("the bootstrap cannot be dialled: {error}"),
            _ => {}
        }
    }
    Ok(())
}

/// Two heads for a site whose key this peer does not have: one well signed with another key, and one that names the
/// site's own key under a signature that is not the site's. Both claim a higher sequence.
fn forged_heads(site: &Address) -> Result<[Vec<u8>; 2]> {
    let stranger = SiteKey::from_seed([7; 32]);
    let (chunk, _) = meganet_core::chunk::seal(&ReadKey::public(site), b"not what the author wrote")?;
    let inner = HeadInner { time_ms: 1, total_size: 25, manifest_size: 25, manifest: vec![chunk], previous: None };
    let other_key = Head::sign(&stranger, &ReadKey::public(site), FORGED_SEQUENCE, &inner)?.as_bytes().to_vec();

    // The stranger's head with the site's blinded key written over the stranger's: same shape, broken signature.
    let (from, to) = (stranger.address().blinded(), site.blinded());
    let mut wrong_signature = other_key.clone();
    let at = wrong_signature.windows(32).position(|window| window == from.as_bytes()).context("no key in a head")?;
    wrong_signature[at..at + 32].copy_from_slice(to.as_bytes());
    ensure!(Head::parse(&wrong_signature).is_err(), "a forged head verifies");
    Ok([other_key, wrong_signature])
}

type Forged = Arc<HashMap<BlindedKey, [Vec<u8>; 2]>>;

async fn answer_all(mut incoming: libp2p_stream::IncomingStreams, forged: Option<Forged>) {
    let heads_given = Arc::new(Mutex::new(0));
    while let Some((peer, stream)) = incoming.next().await {
        let (forged, heads_given) = (forged.clone(), heads_given.clone());
        tokio::spawn(async move {
            if let Err(error) = answer(peer, stream, forged, &heads_given).await {
                eprintln!("stream of {peer} ended: {error:#}");
            }
        });
    }
}

/// Answers one exchange stream with lies.
async fn answer(peer: PeerId, mut stream: Stream, forged: Option<Forged>, heads_given: &Mutex<usize>) -> Result<()> {
    let mut frames = FrameDecoder::new(FRAME_MAX_BYTES);
    let mut buffer = vec![0; 8_192];
    loop {
        let read = stream.read(&mut buffer).await?;
        ensure!(read > 0, "closed by the asker");
        frames.push(&buffer[..read]);
        for frame in frames.by_ref() {
            let request = Request::decode(&frame?)?;
            eprintln!("{peer} asks {request:?}");
            let id = request.id();
            let response = match (request, &forged) {
                (Request::Head { blinded, .. }, Some(forged)) if forged.contains_key(&blinded) => {
                    say(&Event::HeadForged { to: peer.to_string() });
                    let mut given = heads_given.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    *given += 1;
                    Response::Head { id, bytes: forged[&blinded][*given % 2].clone() }
                }
                (Request::Chunk { .. }, None) => {
                    say(&Event::ChunkSpoiled { to: peer.to_string() });
                    let data = vec![0x5a; WRONG_CHUNK_BYTES as usize].into();
                    Response::Part { id, total: WRONG_CHUNK_BYTES, offset: 0, data }
                }
                (Request::Have { chunks, .. }, None) => {
                    Response::Held { id, bitmap: meganet_core::wire::held_bitmap(&vec![true; chunks.len()]) }
                }
                (Request::Credit { .. } | Request::Cancel { .. }, _) => continue,
                _ => Response::Refused { id, code: Code::NotFound },
            };
            // One frame a message: the browser's side takes no message over 16 KiB.
            stream.write_all(&response.encode_frame()).await?;
            stream.flush().await?;
        }
    }
}

fn say(event: &Event) {
    let line = serde_json::to_string(event).unwrap_or_default();
    let mut output = std::io::stdout().lock();
    // A test that has gone reads nothing more.
    let _ = writeln!(output, "{line}").and_then(|()| output.flush());
}
