//! One `webrtc-direct` connection from its credentials to the authenticated peer, in both roles.

use super::{
    Certificate,
    certificate::crypto,
    datagram::{DATAGRAMS_WAITING_MAX, Datagram},
    driver::{BUFFERED_MAX_BYTES, Driver},
    talk::{Report, TALK_WAITING_MAX, Wake},
};
use crate::{
    census::{Census, Counted, Kind},
    connection::{self, Connection},
    direct::NOISE_CHANNEL,
    error::Error,
    proto::{
        credentials::Ice,
        fingerprint::{Fingerprint, noise_prologue},
    },
    stream::Stream,
};
use futures::AsyncWriteExt;
use libp2p::core::{
    UpgradeInfo,
    upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade},
};
use libp2p::{PeerId, identity::Keypair};
use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};
use str0m::{Candidate, IceCreds, Rtc, config::Fingerprint as DtlsFingerprint};
use tokio::{net::UdpSocket, sync::mpsc};

/// Which end of a `webrtc-direct` connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Dials; is authenticated by the server's certificate in the multiaddr and by Noise.
    Client {
        /// What the server's certificate must be.
        server: Fingerprint,
    },
    /// Listens; knows the client only by Noise.
    Server,
}

/// What an attempt is made of.
pub(super) struct Attempt {
    pub role: Role,
    pub local_ice: Ice,
    pub remote_ice: Ice,
    /// What str0m takes for this end's address.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub socket: Arc<UdpSocket>,
    pub certificate: Certificate,
    pub identity: Keypair,
    /// Set once ICE and DTLS are done: the other end is where its datagrams say.
    pub is_proven: Arc<AtomicBool>,
    pub census: Census,
}

/// An attempt under way, and what comes of it.
pub(super) struct Started {
    reports: mpsc::Receiver<Report>,
    noise: Stream,
    connection: Connection,
    role: Role,
    certificate: Fingerprint,
    identity: Keypair,
    _counted: Counted,
}

pub(super) fn creds(ice: Ice) -> IceCreds {
    IceCreds { ufrag: ice.ufrag, pass: ice.pwd }
}

impl Attempt {
    fn rtc(&self) -> Result<Rtc, Error> {
        let is_server = self.role == Role::Server;
        let mut rtc = Rtc::builder()
            .set_crypto_provider(crypto())
            .set_dtls_cert(self.certificate.to_dtls())
            .set_local_ice_credentials(creds(self.local_ice.clone()))
            .set_ice_lite(is_server)
            // A client's certificate is not known before; Noise binds it to its identity.
            .set_fingerprint_verification(!is_server)
            .set_sctp_max_buffered_amount(BUFFERED_MAX_BYTES)
            .clear_codecs()
            .build(Instant::now());
        let host = |address| Candidate::host(address, "udp").map_err(|error| Error::Backend(error.to_string()));
        rtc.add_local_candidate(host(self.local)?);
        rtc.add_remote_candidate(host(self.remote)?);
        let expected = match self.role {
            Role::Client { server } => server,
            Role::Server => Fingerprint([0; 32]),
        };
        let mut direct = rtc.direct_api();
        direct.set_ice_controlling(!is_server);
        direct.set_remote_ice_credentials(creds(self.remote_ice.clone()));
        direct.set_remote_fingerprint(DtlsFingerprint { hash_func: "sha-256".to_owned(), bytes: expected.0.to_vec() });
        direct.start_dtls(!is_server).map_err(|error| Error::Backend(error.to_string()))?;
        direct.start_sctp(!is_server);
        Ok(rtc)
    }

    /// Starts the connection's task. It ends when nobody can hand it datagrams any more.
    pub fn start(self) -> Result<(Started, mpsc::Sender<Datagram>), Error> {
        let rtc = self.rtc()?;
        let (datagrams, inbox) = mpsc::channel(DATAGRAMS_WAITING_MAX);
        let (told, reports) = mpsc::channel(TALK_WAITING_MAX);
        let (_, orders) = mpsc::channel(1);
        let wake = Arc::new(Wake::default());
        let (connection, backend) = connection::pair(wake.clone(), &self.census);
        let (noise, channel) = backend.hidden_stream();
        let locals = vec![(self.local, self.socket)];
        let mut driver = Driver::new(rtc, locals, inbox, (wake, backend), (told, orders), &self.census);
        driver.tell_when_proven(self.is_proven);
        driver.add_negotiated(NOISE_CHANNEL, channel);
        self.census.spawn(driver.run());
        let (role, certificate) = (self.role, self.certificate.fingerprint());
        let _counted = self.census.count(Kind::Attempts);
        let started = Started { reports, noise, connection, role, certificate, identity: self.identity, _counted };
        Ok((started, datagrams))
    }
}

impl Started {
    /// Waits for the connection and learns who is at its other end. Dropping this closes it.
    pub async fn authenticated(mut self) -> Result<(PeerId, Connection), Error> {
        let Some(Report::Connected { certificate: remote, .. }) = self.reports.recv().await else {
            return Err(Error::NotConnected);
        };
        let noise = |prologue| Ok::<_, Error>(libp2p::noise::Config::new(&self.identity)?.with_prologue(prologue));
        // The roles are the other way round than those of dialling: in DTLS 1.2 the server is the first that can send.
        let (peer, mut secured) = match self.role {
            Role::Client { .. } => {
                let noise = noise(noise_prologue(self.certificate, remote))?;
                let info = noise.protocol_info().next().unwrap_or_default();
                noise.upgrade_inbound(self.noise, info).await?
            }
            Role::Server => {
                let noise = noise(noise_prologue(remote, self.certificate))?;
                let info = noise.protocol_info().next().unwrap_or_default();
                noise.upgrade_outbound(self.noise, info).await?
            }
        };
        // Whether the other end saw the handshake's stream end in order does not matter.
        let _ = secured.close().await;
        self.connection.set_authenticated();
        Ok((peer, self.connection))
    }
}
