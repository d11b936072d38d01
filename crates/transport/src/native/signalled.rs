//! A `/webrtc` connection natively: descriptions and candidates for str0m.
//!
//! Nothing here is shared with the `webrtc-direct` listener: that one does not know its client's certificate, and leaves it to
//! Noise. Here there is no Noise, so str0m must insist on the certificate in the other end's description.

use super::{
    Certificate,
    certificate::crypto,
    datagram::{DATAGRAMS_WAITING_MAX, Local},
    driver::{BUFFERED_MAX_BYTES, Driver},
    gather::{self, gather},
    talk::{Order, Report, TALK_WAITING_MAX, Wake},
};
use crate::{
    census::Census,
    connection::{self, Connection},
    error::Error,
    proto::{
        sdp::{self, Target},
        signal::INIT_LABEL,
    },
    signalling::{PeerConnection, Progress, host_beyond},
    stun::StunServers,
};
use libp2p::PeerId;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};
use str0m::{
    Candidate, Rtc,
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    channel::ChannelId,
};
use tokio::sync::mpsc;

/// An attempt that is not running yet.
struct Ready {
    rtc: Rtc,
    locals: Vec<Local>,
    /// The channel `init` and what waits for the answer, at the end that offers.
    offered: Option<(ChannelId, SdpPendingOffer)>,
}

/// An attempt that runs.
struct Running {
    reports: mpsc::Receiver<Report>,
    orders: mpsc::Sender<Order>,
    connection: Option<Connection>,
    /// This machine's addresses.
    own: Vec<IpAddr>,
}

/// One attempt; see [`PeerConnection`].
pub(super) struct Signalled {
    peer: PeerId,
    certificate: Certificate,
    stun: StunServers,
    census: Census,
    ready: Option<Ready>,
    running: Option<Running>,
    /// Candidates in the other's description: str0m gets them once it runs.
    early: Vec<SocketAddr>,
    is_behind_symmetric_nat: bool,
}

impl Signalled {
    pub fn new(peer: PeerId, certificate: Certificate, stun: StunServers, census: Census) -> Self {
        Self {
            peer,
            certificate,
            stun,
            census,
            ready: None,
            running: None,
            early: Vec::new(),
            is_behind_symmetric_nat: false,
        }
    }

    /// The other end's description is not one.
    fn refused(&self, error: impl std::fmt::Display) -> Error {
        Error::Refused { peer: self.peer.into(), reason: error.to_string() }
    }

    async fn begin(&mut self) -> Result<(Rtc, Vec<Local>), Error> {
        let gathered = gather(&self.stun.get()).await?;
        let mut rtc = Rtc::builder()
            .set_crypto_provider(crypto())
            .set_dtls_cert(self.certificate.to_dtls())
            .set_fingerprint_verification(true)
            .set_sctp_max_buffered_amount(BUFFERED_MAX_BYTES)
            .clear_codecs()
            .build(Instant::now());
        for candidate in gathered.candidates {
            rtc.add_local_candidate(candidate);
        }
        self.is_behind_symmetric_nat = gathered.is_symmetric;
        Ok((rtc, gathered.locals))
    }

    /// Both descriptions are there: lets it connect.
    fn start(&mut self, rtc: Rtc, locals: Vec<Local>, init: Option<ChannelId>) {
        let (datagrams, inbox) = mpsc::channel(DATAGRAMS_WAITING_MAX);
        let (told, reports) = mpsc::channel(TALK_WAITING_MAX);
        let (orders, ordered) = mpsc::channel(TALK_WAITING_MAX);
        let wake = Arc::new(Wake::default());
        let (connection, backend) = connection::pair(wake.clone(), &self.census);
        // By whoever signals for it: its certificate is the one that was named.
        connection.set_authenticated();
        gather::listen(&locals, &datagrams, &self.census);
        let own = locals.iter().map(|(local, _)| local.ip()).collect();
        let mut driver = Driver::new(rtc, locals, inbox, (wake, backend), (told, ordered), &self.census);
        // The one who offers has made it.
        match init {
            Some(id) => driver.has_init(id),
            None => driver.expect_init(),
        }
        self.census.spawn(driver.run());
        for address in self.early.drain(..) {
            if let Ok(candidate) = Candidate::host(address, "udp") {
                let _ = orders.try_send(Order::AddCandidate(candidate));
            }
        }
        self.running = Some(Running { reports, orders, connection: Some(connection), own });
    }

    /// Keeps a description's candidates for later; str0m would refuse a whole description for one with a name in it.
    fn without_candidates(&mut self, description: &str) -> String {
        let (rest, candidates) = sdp::split_candidates(description);
        self.early = candidates;
        rest
    }
}

impl PeerConnection for Signalled {
    async fn offer(&mut self) -> Result<String, Error> {
        let (mut rtc, locals) = self.begin().await?;
        let mut changes = rtc.sdp_api();
        let id = changes.add_channel(INIT_LABEL.to_owned());
        let (offer, pending) = changes.apply().ok_or(Error::NotConnected)?;
        self.ready = Some(Ready { rtc, locals, offered: Some((id, pending)) });
        Ok(offer.to_sdp_string())
    }

    async fn answer(&mut self, offer: &str) -> Result<String, Error> {
        let offer = SdpOffer::from_sdp_string(&self.without_candidates(offer)).map_err(|error| self.refused(error))?;
        let (mut rtc, locals) = self.begin().await?;
        let answer = rtc.sdp_api().accept_offer(offer).map_err(|error| self.refused(error))?;
        self.ready = Some(Ready { rtc, locals, offered: None });
        Ok(answer.to_sdp_string())
    }

    async fn set_local(&mut self, _: &str) -> Result<(), Error> {
        match self.ready.take() {
            // The offer's answer is still to come.
            Some(ready) if ready.offered.is_some() => self.ready = Some(ready),
            Some(Ready { rtc, locals, .. }) => self.start(rtc, locals, None),
            None => {}
        }
        Ok(())
    }

    async fn set_remote(&mut self, answer: &str) -> Result<(), Error> {
        let answer = SdpAnswer::from_sdp_string(&self.without_candidates(answer));
        let answer = answer.map_err(|error| self.refused(error))?;
        let Some(Ready { mut rtc, locals, offered: Some((init, pending)) }) = self.ready.take() else {
            return Err(Error::NotConnected);
        };
        rtc.sdp_api().accept_answer(pending, answer).map_err(|error| self.refused(error))?;
        self.start(rtc, locals, Some(init));
        Ok(())
    }

    fn add_candidate(&mut self, _: &str, target: Target) {
        // Names of one local network are a browser's to resolve.
        let Target::Socket(address) = target else { return };
        match &self.running {
            Some(running) => {
                if let Ok(candidate) = Candidate::host(address, "udp") {
                    let _ = running.orders.try_send(Order::AddCandidate(candidate));
                }
            }
            None => self.early.push(address),
        }
    }

    async fn progress(&mut self) -> Progress {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        loop {
            match running.reports.recv().await {
                Some(Report::InitClosed) => return Progress::InitClosed,
                Some(Report::Connected { host, .. }) => {
                    if let Some(connection) = running.connection.take() {
                        let own = running.own.iter().copied();
                        let host = host.map(|host| host_beyond(own, host));
                        return Progress::Connected { connection, host };
                    }
                }
                None => {
                    return match &running.connection {
                        Some(connection) => Progress::Failed(connection.closed().await),
                        // The connection came and went.
                        None => Progress::InitClosed,
                    };
                }
            }
        }
    }

    fn close_init(&mut self) {
        if let Some(running) = &self.running {
            let _ = running.orders.try_send(Order::CloseInit);
        }
    }

    fn is_behind_symmetric_nat(&self) -> bool {
        self.is_behind_symmetric_nat
    }
}
