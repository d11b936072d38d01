//! Asking connected peers whom they know, `/meganet/peers/1` (docs/formats.md): so a swarm of tabs keeps finding each other when
//! every server is gone.

use crate::{
    limits::{self, protocol},
    network::Network,
    platform::{self, lock},
};
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt, future::Either, pin_mut};
use libp2p::{PeerId, Stream};
use meganet_core::{
    limits::PEER_LIST_MAX_BYTES,
    peer_list::{self, PeerEntry},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// Answers whoever asks, until the node ends.
pub(crate) async fn serve(inbound: libp2p_stream::IncomingStreams, network: Network) {
    let askers = Askers::default();
    inbound
        .for_each_concurrent(limits::PEER_EXCHANGE_ANSWERS_MAX, |(peer, stream)| {
            let network = network.clone();
            // Over its share a stream is dropped, which resets it.
            let place = askers.admit(peer);
            async move {
                if place.is_some() {
                    let _ = within(answer(peer, stream, network)).await;
                }
            }
        })
        .await;
}

/// How many streams of each peer are being answered.
#[derive(Clone, Default)]
struct Askers(Arc<Mutex<HashMap<PeerId, usize>>>);

/// One stream's place; given back when dropped.
struct Place(Askers, PeerId);

impl Askers {
    /// A place for one more stream, unless the peer has its share.
    fn admit(&self, peer: PeerId) -> Option<Place> {
        let mut table = lock(&self.0);
        let count = table.get(&peer).copied().unwrap_or_default();
        if count >= limits::PEER_EXCHANGE_ANSWERS_PER_PEER_MAX {
            return None;
        }
        table.insert(peer, count + 1);
        Some(Place(self.clone(), peer))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = lock(&self.0.0);
        if let Some(count) = table.get_mut(&self.1) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                table.remove(&self.1);
            }
        }
    }
}

async fn within<T>(work: impl Future<Output = Option<T>>) -> Option<T> {
    let timeout = platform::sleep(limits::PEER_EXCHANGE_TIMEOUT).fuse();
    pin_mut!(work, timeout);
    match futures::future::select(work, timeout).await {
        Either::Left((done, _)) => done,
        Either::Right(_) => None,
    }
}

async fn answer(peer: PeerId, mut stream: Stream, mut network: Network) -> Option<()> {
    let known = network.known_peers(peer).await.ok()?;
    let bytes = peer_list::encode_known(&known).ok()?;
    stream.write_all(&bytes).await.ok()?;
    stream.close().await.ok()
}

/// Asks one peer.
async fn ask(mut streams: libp2p_stream::Control, peer: PeerId) -> Option<Vec<PeerEntry>> {
    let stream = streams.open_stream(peer, protocol::PEERS).await.ok()?;
    let (reader, mut writer) = stream.split();
    writer.close().await.ok()?;
    let mut bytes = Vec::new();
    // One byte more shows that it is too much.
    reader.take(PEER_LIST_MAX_BYTES as u64 + 1).read_to_end(&mut bytes).await.ok()?;
    match peer_list::parse_known(&bytes) {
        Ok(known) => Some(known),
        Err(error) => {
            tracing::debug!(%peer, %error, "told of peers in a wrong way");
            None
        }
    }
}

/// Asks a peer, and tells the network task what it said.
async fn ask_and_tell(streams: libp2p_stream::Control, peer: PeerId, mut network: Network) {
    if let Some(known) = within(ask(streams, peer)).await {
        let _ = network.learn_peers(peer, known).await;
    }
}

/// Asks newly connected peers (`events`), and some of the connected ones now and then, until the node ends.
pub(crate) async fn run(
    streams: libp2p_stream::Control,
    mut network: Network,
    mut events: futures::channel::mpsc::Receiver<PeerId>,
) {
    loop {
        let asked: Vec<PeerId> = {
            let timer = platform::sleep(limits::PEER_EXCHANGE_INTERVAL).fuse();
            let event = events.next().fuse();
            pin_mut!(timer, event);
            match futures::future::select(event, timer).await {
                Either::Left((None, _)) => return,
                Either::Left((Some(peer), _)) => vec![peer],
                Either::Right(_) => {
                    let Ok(snapshot) = network.snapshot().await else { return };
                    let direct = snapshot.peers.iter().filter(|peer| !peer.relayed).map(|peer| peer.peer).collect();
                    platform::some_of(direct, limits::PEER_EXCHANGE_ASKED_MAX)
                }
            }
        };
        let asking = asked.into_iter().map(|peer| ask_and_tell(streams.clone(), peer, network.clone()));
        futures::future::join_all(asking).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_has_its_share_of_the_answers_and_no_more() {
        let (askers, [peer, other]) = (Askers::default(), [PeerId::random(), PeerId::random()]);
        let mut places: Vec<_> = (0..100).filter_map(|_| askers.admit(peer)).collect();
        assert_eq!(places.len(), limits::PEER_EXCHANGE_ANSWERS_PER_PEER_MAX);
        assert!(askers.admit(other).is_some(), "others are answered");
        places.pop();
        places.extend(askers.admit(peer));
        assert_eq!(places.len(), limits::PEER_EXCHANGE_ANSWERS_PER_PEER_MAX);
        places.clear();
        assert!(lock(&askers.0).is_empty(), "nobody is remembered");
    }
}
