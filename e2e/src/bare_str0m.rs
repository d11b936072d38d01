//! The native end of a bare data channel: str0m, one socket and one thread, with nothing of this project in it. It has the
//! same bounds as [`crate::raw_channel`] at the other end.

use crate::raw_channel::BUFFERED_MAX_BYTES;
use anyhow::{Context, Result};
use std::{
    net::UdpSocket,
    sync::Arc,
    time::{Duration, Instant},
};
use str0m::{
    Candidate, Event, Input, Output, Rtc,
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    channel::ChannelId,
    net::{Protocol, Receive},
};
use tokio::sync::oneshot;

/// Bytes the kernel is asked to buffer for the socket, as the transport asks it.
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// How long a thread waits for a datagram at most: then it looks whether it is still wanted.
const IDLE: Duration = Duration::from_millis(100);

/// What moves over the channel.
#[derive(Clone, Copy)]
pub enum Work {
    Send {
        bytes: u64,
        message_bytes: u64,
    },
    /// `warm_bytes` come first and do not count.
    Receive {
        warm_bytes: u64,
        bytes: u64,
    },
}

/// From the first message to the last; of a sender, when it could hand them on.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    pub first: Instant,
    pub last: Instant,
}

/// A channel that is offered and not answered yet.
pub struct Offered {
    rtc: Rtc,
    socket: UdpSocket,
    pending: SdpPendingOffer,
}

/// A channel in use; its thread ends when this is dropped.
pub struct Running {
    /// How long it took to open, ms.
    pub opened: oneshot::Receiver<f64>,
    pub moved: oneshot::Receiver<Moved>,
    _alive: Arc<()>,
}

fn begin() -> Result<(Rtc, UdpSocket)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let sockopt = socket2::SockRef::from(&socket);
    sockopt.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    sockopt.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    let mut rtc = Rtc::builder()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .set_sctp_max_buffered_amount(usize::try_from(BUFFERED_MAX_BYTES)?)
        .clear_codecs()
        .build(Instant::now());
    rtc.add_local_candidate(Candidate::host(socket.local_addr()?, "udp")?);
    Ok((rtc, socket))
}

/// Makes a channel; its description.
pub fn offer() -> Result<(Offered, String)> {
    let (mut rtc, socket) = begin()?;
    let mut changes = rtc.sdp_api();
    changes.add_channel("raw".to_owned());
    let (offer, pending) = changes.apply().context("no change")?;
    Ok((Offered { rtc, socket, pending }, offer.to_sdp_string()))
}

impl Offered {
    /// Opens the channel and does its work.
    pub fn run(mut self, answer: &str, work: Work) -> Result<Running> {
        self.rtc.sdp_api().accept_answer(self.pending, SdpAnswer::from_sdp_string(answer)?)?;
        Ok(start(self.rtc, self.socket, work))
    }
}

/// Answers an offer, and does the work; the answer's description.
pub fn answer(offer: &str, work: Work) -> Result<(Running, String)> {
    let (mut rtc, socket) = begin()?;
    let answer = rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(offer)?)?;
    Ok((start(rtc, socket, work), answer.to_sdp_string()))
}

fn start(rtc: Rtc, socket: UdpSocket, work: Work) -> Running {
    let (opened, opening) = oneshot::channel();
    let (done, moved) = oneshot::channel();
    let alive = Arc::new(());
    let wanted = alive.clone();
    std::thread::spawn(move || {
        let end = End {
            rtc,
            socket,
            channel: None,
            first: None,
            left: 0,
            warm_left: 0,
            opened: Some(opened),
            done: Some(done),
        };
        // Whoever waits for the figures sees that none come.
        let _ = end.run(work, &wanted);
    });
    Running { opened: opening, moved, _alive: alive }
}

struct End {
    rtc: Rtc,
    socket: UdpSocket,
    channel: Option<ChannelId>,
    first: Option<Instant>,
    left: u64,
    /// Bytes that come before those that count.
    warm_left: u64,
    opened: Option<oneshot::Sender<f64>>,
    done: Option<oneshot::Sender<Moved>>,
}

impl End {
    fn run(mut self, work: Work, wanted: &Arc<()>) -> Result<()> {
        let started = Instant::now();
        let local = self.socket.local_addr()?;
        (self.left, self.warm_left) = match work {
            Work::Send { bytes, .. } => (bytes, 0),
            Work::Receive { warm_bytes, bytes } => (bytes, warm_bytes),
        };
        let message = match work {
            Work::Send { message_bytes, .. } => vec![7; usize::try_from(message_bytes)?],
            Work::Receive { .. } => Vec::new(),
        };
        let mut buffer = vec![0; 2_048];
        while Arc::strong_count(wanted) > 1 && self.rtc.is_alive() {
            let mut wake_at = self.drain(started)?;
            if !message.is_empty() {
                while self.write(&message)? {}
                wake_at = wake_at.min(self.drain(started)?);
            }
            let wait = wake_at.saturating_duration_since(Instant::now()).clamp(Duration::from_millis(1), IDLE);
            self.socket.set_read_timeout(Some(wait))?;
            let Ok((len, source)) = self.socket.recv_from(&mut buffer) else {
                self.rtc.handle_input(Input::Timeout(Instant::now()))?;
                continue;
            };
            let Ok(contents) = buffer[..len].try_into() else { continue };
            let receive = Receive { proto: Protocol::Udp, source, destination: local, contents };
            self.rtc.handle_input(Input::Receive(Instant::now(), receive))?;
        }
        Ok(())
    }

    /// Hands one message on; whether it was taken.
    fn write(&mut self, message: &[u8]) -> Result<bool> {
        let Some(mut channel) = self.channel.and_then(|id| self.rtc.channel(id)) else { return Ok(false) };
        if self.left == 0 || !channel.write(true, message)? {
            return Ok(false);
        }
        self.moved(message.len());
        Ok(true)
    }

    fn moved(&mut self, bytes: usize) {
        if self.warm_left > 0 {
            self.warm_left = self.warm_left.saturating_sub(bytes as u64);
            return;
        }
        let now = Instant::now();
        let first = *self.first.get_or_insert(now);
        self.left = self.left.saturating_sub(bytes as u64);
        if self.left == 0
            && let Some(done) = self.done.take()
        {
            let _ = done.send(Moved { first, last: now });
        }
    }

    fn drain(&mut self, started: Instant) -> Result<Instant> {
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => return Ok(at),
                Output::Transmit(transmit) => {
                    // What the kernel does not take is lost, as on any network.
                    let _ = self.socket.send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::ChannelOpen(id, _)) => {
                    self.channel = Some(id);
                    if let Some(opened) = self.opened.take() {
                        let _ = opened.send(started.elapsed().as_secs_f64() * 1_000.0);
                    }
                }
                Output::Event(Event::ChannelData(data)) => self.moved(data.data.len()),
                Output::Event(_) => {}
            }
        }
    }
}
