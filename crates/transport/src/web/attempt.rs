//! One `webrtc-direct` connection from the address to the authenticated peer.

use super::{
    Error,
    budget::{self, Budget},
    connection::{PeerConnection, Task, Wake},
    js::reason,
};
use crate::{
    connection::{self, Connection},
    proto::{
        address::Direct,
        credentials::{self, Ice, RANDOM_CHARS, Version},
        fingerprint::noise_prologue,
        sdp,
    },
    stream::{self, Stream},
};
use futures::AsyncWriteExt;
use libp2p::core::{UpgradeInfo, upgrade::InboundConnectionUpgrade};
use libp2p::{PeerId, identity::Keypair};
use std::sync::Arc;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{RtcDataChannelInit, RtcPeerConnection, RtcSdpType, RtcSessionDescriptionInit};

/// Stream id of the data channel that carries Noise.
const NOISE_CHANNEL: u16 = 0;

fn js(error: JsValue) -> Error {
    Error::Backend(reason(&error))
}

fn description(kind: RtcSdpType, sdp: &str) -> RtcSessionDescriptionInit {
    let description = RtcSessionDescriptionInit::new(kind);
    description.set_sdp(sdp);
    description
}

/// Creates a peer connection, if the budget has one left.
fn begin(budget: Budget) -> Result<PeerConnection, Error> {
    budget::take(budget)?;
    RtcPeerConnection::new().map(PeerConnection).map_err(js)
}

/// Sets both descriptions; the browser begins to connect. Returns its own description.
async fn describe(peer: &RtcPeerConnection, direct: &Direct, version: Version) -> Result<String, Error> {
    let offer = JsFuture::from(peer.create_offer()).await.map_err(js)?;
    let offer: RtcSessionDescriptionInit = offer.unchecked_into();
    let offer = offer.get_sdp().ok_or(Error::NotConnected)?;
    let (offer, server) = match version {
        // The browser's own offer, untouched: browsers are about to refuse any other.
        Version::V2 => {
            let server = credentials::v2_server(&sdp::ice(&offer)?.pwd).ok_or(Error::NotConnected)?;
            (offer, server)
        }
        Version::V1 => {
            let mut random = [0; RANDOM_CHARS];
            getrandom::fill(&mut random).map_err(|_| Error::Backend("no random numbers".to_owned()))?;
            let ufrag = credentials::v1_ufrag(&random);
            let ice = Ice { ufrag: ufrag.clone(), pwd: ufrag };
            (sdp::with_ice(&offer, &ice), ice)
        }
    };
    let local = description(RtcSdpType::Offer, &offer);
    JsFuture::from(peer.set_local_description(&local)).await.map_err(js)?;
    let answer = sdp::direct_answer(direct.socket, direct.fingerprint, &server);
    let remote = description(RtcSdpType::Answer, &answer);
    JsFuture::from(peer.set_remote_description(&remote)).await.map_err(js)?;
    Ok(offer)
}

/// Connects and learns who is at the other end. Dropping the future closes what there is.
pub(super) async fn connect(
    identity: Keypair,
    budget: Budget,
    direct: Direct,
    version: Version,
) -> Result<(PeerId, Connection), Error> {
    let peer_connection = begin(budget)?;
    let wake = Arc::new(Wake::default());
    let (connection, backend) = connection::pair(wake.clone());
    let (noise, channel) = stream::pair(wake.clone());
    let mut task = Task::new(peer_connection, backend, wake);
    let init = RtcDataChannelInit::new();
    init.set_negotiated(true);
    init.set_id(NOISE_CHANNEL);
    let data = task.peer_connection().create_data_channel_with_data_channel_dict("", &init);
    task.add(data, channel);
    let offer = describe(task.peer_connection(), &direct, version).await?;
    let own = sdp::fingerprint(&offer)?;
    task.watch_association();
    wasm_bindgen_futures::spawn_local(task.run());
    let peer = authenticate(&identity, noise, noise_prologue(own, direct.fingerprint)).await?;
    match direct.peer {
        Some(expected) if expected != peer => Err(Error::WrongPeer { expected: expected.into(), found: peer.into() }),
        _ => Ok((peer, connection)),
    }
}

/// The client's side of Noise, which the server begins.
async fn authenticate(identity: &Keypair, stream: Stream, prologue: Vec<u8>) -> Result<PeerId, Error> {
    let noise = libp2p::noise::Config::new(identity)?.with_prologue(prologue);
    let info = noise.protocol_info().next().unwrap_or_default();
    let (peer, mut secured) = noise.upgrade_inbound(stream, info).await?;
    // Whether the other end saw the handshake's channel close in order does not matter.
    let _ = secured.close().await;
    Ok(peer)
}
