//! One `webrtc-direct` connection from the address to the authenticated peer.

use super::{
    budget,
    connection::{Task, Wake},
    js::js,
    transport::Config,
};
use crate::{
    budget::By,
    census::Kind,
    connection::{self, Connection},
    direct::NOISE_CHANNEL,
    error::Error,
    proto::{
        address::Direct,
        credentials::{self, Ice, RANDOM_CHARS, Version},
        fingerprint::noise_prologue,
        sdp,
    },
    stream::Stream,
};
use futures::AsyncWriteExt;
use libp2p::core::{UpgradeInfo, upgrade::InboundConnectionUpgrade};
use libp2p::{PeerId, identity::Keypair};
use std::sync::Arc;
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use web_sys::{RtcConfiguration, RtcDataChannelInit, RtcPeerConnection, RtcSdpType, RtcSessionDescriptionInit};

pub(super) fn description(kind: RtcSdpType, sdp: &str) -> RtcSessionDescriptionInit {
    let description = RtcSessionDescriptionInit::new(kind);
    description.set_sdp(sdp);
    description
}

/// The description that the browser is making.
pub(super) async fn create(making: js_sys::Promise) -> Result<String, Error> {
    let made: RtcSessionDescriptionInit = JsFuture::from(making).await.map_err(js)?.unchecked_into();
    made.get_sdp().ok_or(Error::NotConnected)
}

/// Sets both descriptions; the browser begins to connect. Returns its own description.
async fn describe(peer: &RtcPeerConnection, direct: &Direct, version: Version) -> Result<String, Error> {
    let offer = create(peer.create_offer()).await?;
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
    Config { identity, budget, census, .. }: Config,
    direct: Direct,
    version: Version,
) -> Result<(PeerId, Connection), Error> {
    let _counted = census.count(Kind::Attempts);
    let peer_connection = budget::peer_connection(budget, By::Itself, &RtcConfiguration::new(), &census)?;
    let raw = peer_connection.raw.clone();
    let wake = Arc::new(Wake::default());
    let (connection, backend) = connection::pair(wake.clone(), &census);
    let (noise, channel) = backend.hidden_stream();
    let mut task = Task::new(peer_connection, backend, wake, &census);
    let init = RtcDataChannelInit::new();
    init.set_negotiated(true);
    init.set_id(NOISE_CHANNEL);
    let data = super::js::data_channel(&raw, "", Some(&init)).map_err(js)?;
    task.add(data, channel);
    census.spawn(task.run());
    let offer = describe(&raw, &direct, version).await?;
    let own = sdp::fingerprint(&offer)?;
    let peer = authenticate(&identity, noise, noise_prologue(own, direct.fingerprint)).await?;
    connection.set_authenticated();
    Ok((peer, connection))
}

/// The client's side of Noise, which the server begins.
async fn authenticate(identity: &Keypair, stream: Stream, prologue: Vec<u8>) -> Result<PeerId, Error> {
    let noise = libp2p::noise::Config::new(identity)?.with_prologue(prologue);
    let info = noise.protocol_info().next().unwrap_or_default();
    let (peer, mut secured) = noise.upgrade_inbound(stream, info).await.map_err(|error| match error {
        // The browser gave up under the handshake, as Firefox does within 5 s, and not the handshake.
        libp2p::noise::Error::Io(error) if error.kind() != std::io::ErrorKind::InvalidData => Error::NotConnected,
        error => Error::Noise(error),
    })?;
    // Whether the other end saw the handshake's stream end in order does not matter.
    let _ = secured.close().await;
    Ok(peer)
}
