//! In a tab: WebRTC through the browser's `RTCPeerConnection`, its WebSockets, relay circuits.

use crate::{
    BuildError, Built, CONNECT_TIMEOUT, Options,
    web::{
        self,
        mixed_content::{self, Allowed},
    },
};
use futures::future::Either;
use libp2p::{
    Multiaddr, Transport,
    core::{muxing::StreamMuxerBox, transport::timeout::TransportTimeout, upgrade::Version},
    identity::Keypair,
    multiaddr::Protocol,
    noise, relay, yamux,
};

pub(crate) fn build(identity: &Keypair, options: Options) -> Result<Built, BuildError> {
    let secure = noise::Config::new(identity).map_err(|error| BuildError::Noise(error.to_string()))?;
    let (circuits, relay_client) = relay::client::new(identity.public().to_peer_id());
    let circuits =
        circuits.upgrade(Version::V1Lazy).authenticate(secure.clone()).multiplex(crate::circuit_multiplexer());
    let (webrtc, signalling) = web::Transport::new(web::Config {
        identity: identity.clone(),
        budget: options.budget,
        version_1: options.dial_version_1,
        stun: options.stun,
        census: options.census,
    });
    let websocket = Allowed(libp2p_websocket_websys::Transport::default())
        .upgrade(Version::V1Lazy)
        .authenticate(secure)
        .multiplex(yamux::Config::default());
    let others = circuits.or_transport(websocket).map(|either, _| match either {
        Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
        Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
    });
    // First: the relay client takes every address with a circuit in it for its own, and some of them are `/webrtc`.
    let transport = webrtc
        .or_transport(TransportTimeout::new(others, CONNECT_TIMEOUT))
        .map(|either, _| match either {
            Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
            Either::Right(output) => output,
        })
        .map_err(crate::flat)
        .boxed();
    Ok(Built { transport, relay_client, signalling })
}

pub(crate) fn can_dial(address: &Multiaddr) -> bool {
    let has = |wanted: fn(&Protocol<'_>) -> bool| address.iter().any(|part| wanted(&part));
    let direct =
        has(|part| matches!(part, Protocol::WebRTCDirect)) && has(|part| matches!(part, Protocol::Certhash(_)));
    direct || (crate::is_websocket(address) && mixed_content::allows(address))
}

pub(crate) fn is_lifetime_spent() -> bool {
    web::is_lifetime_spent()
}
