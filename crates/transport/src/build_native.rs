//! Natively: WebRTC, QUIC, TCP, WebSocket, relay circuits.

use crate::{
    BuildError, Built, CONNECT_TIMEOUT, Options, WebSocketTls,
    native::{self, Certificate},
    proto::address::Direct,
};
use futures::future::Either;
use libp2p::{
    Multiaddr, Transport,
    core::{
        muxing::StreamMuxerBox,
        transport::{Boxed, timeout::TransportTimeout},
        upgrade::Version,
    },
    dns,
    identity::Keypair,
    multiaddr::Protocol,
    noise, quic, relay, tcp, yamux,
};
use rustls_pki_types::PrivateKeyDer;
use std::io;

/// A WebSocket's frame or message at most: it is made room for as soon as its length is told, before anybody says who it is. What
/// libp2p puts into one, a Noise message, has less than 64 KiB.
const WEBSOCKET_FRAME_MAX_BYTES: usize = 256 * 1024;

pub(crate) fn build(identity: &Keypair, options: Options) -> Result<Built, BuildError> {
    let certificate = match options.webrtc_certificate_pem {
        Some(pem) => Certificate::from_pem(&pem),
        // Who does not listen dials all the same, with one that nobody needs to know again.
        None => Certificate::generate(),
    };
    let certificate = certificate.map_err(|error| BuildError::Certificate(error.to_string()))?;
    let config = native::Config {
        identity: identity.clone(),
        certificate,
        version_1: options.dial_version_1,
        stun: options.stun,
        census: options.census,
    };
    let (webrtc, signalling) = native::Transport::new(config);
    let secure = || noise::Config::new(identity).map_err(|error| BuildError::Noise(error.to_string()));
    let plain_tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    let tcp = plain_tcp().upgrade(Version::V1Lazy).authenticate(secure()?).multiplex(yamux::Config::default());
    // Names are looked up behind the WebSocket: TLS wants to know them.
    let mut websocket = libp2p_websocket::Config::new(by_name(plain_tcp())?);
    websocket.set_max_data_size(WEBSOCKET_FRAME_MAX_BYTES);
    if let Some(WebSocketTls { certificates_der, key_der }) = options.websocket_tls {
        // What is no key at all makes libp2p's constructor panic.
        PrivateKeyDer::try_from(key_der.as_slice()).map_err(|error| BuildError::Tls(error.to_owned()))?;
        let key = libp2p_websocket::tls::PrivateKey::new(key_der);
        let certificates = certificates_der.into_iter().map(libp2p_websocket::tls::Certificate::new);
        let tls = libp2p_websocket::tls::Config::new(key, certificates);
        websocket.set_tls_config(tls.map_err(|error| BuildError::Tls(error.to_string()))?);
    }
    let websocket = websocket.upgrade(Version::V1Lazy).authenticate(secure()?).multiplex(yamux::Config::default());
    let quic = quic::tokio::Transport::new(quic::Config::new(identity));
    let (circuits, relay_client) = relay::client::new(identity.public().to_peer_id());
    let circuits = circuits.upgrade(Version::V1Lazy).authenticate(secure()?).multiplex(crate::circuit_multiplexer());

    let tcp_or_quic = tcp.or_transport(quic).map(|either, _| match either {
        Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
        Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
    });
    // Last what looks names up: it takes every address, and says only later that there is no transport for it.
    let others = circuits
        .or_transport(websocket)
        .map(|either, _| match either {
            Either::Left((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
            Either::Right((peer, muxer)) => (peer, StreamMuxerBox::new(muxer)),
        })
        .or_transport(by_name(tcp_or_quic)?)
        .map(|either, _| match either {
            Either::Left(output) | Either::Right(output) => output,
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

/// A transport that takes names as well, and asks whom this system asks for them. Where that cannot be found out there are none.
fn by_name<T>(transport: T) -> Result<Boxed<T::Output>, BuildError>
where
    T: Transport + Send + Unpin + 'static,
    T::Dial: Send,
    T::ListenerUpgrade: Send,
    T::Error: Send + Sync,
{
    let unresolved = |error: &io::Error| tracing::warn!(%error, "names cannot be looked up here");
    if dns::tokio::Transport::system(()).inspect_err(unresolved).is_err() {
        return Ok(transport.boxed());
    }
    let resolving = dns::tokio::Transport::system(transport);
    Ok(resolving.map_err(|error| BuildError::Names(error.to_string()))?.boxed())
}

pub(crate) fn can_dial(address: &Multiaddr) -> bool {
    let has = |wanted: fn(&Protocol<'_>) -> bool| address.iter().any(|part| wanted(&part));
    if has(|part| matches!(part, Protocol::WebRTCDirect)) {
        return Direct::parse(address).is_ok();
    }
    has(|part| matches!(part, Protocol::Tcp(_) | Protocol::QuicV1))
        && !has(|part| matches!(part, Protocol::WebTransport))
}

/// Nobody limits a process' peer connections.
pub(crate) fn is_lifetime_spent() -> bool {
    false
}

/// Makes a DTLS certificate for `webrtc-direct` listeners, PEM with its private key.
///
/// # Errors
/// [`BuildError::Certificate`] when none can be made.
pub fn generate_certificate_pem() -> Result<String, BuildError> {
    let certificate = Certificate::generate().map_err(|error| BuildError::Certificate(error.to_string()))?;
    Ok(certificate.to_pem())
}
