//! Peers that break the protocol: by hand on a signalling stream, and behind it with a bare data channel (str0m).

#![allow(dead_code, reason = "each test program uses a part of it")]

use super::handshake::Handshake;
use super::support::{Kind, Node, Seen};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, identity::Keypair, multiaddr::Protocol, swarm::dial_opts::DialOpts,
};
use meganet_transport::proto::{
    address::Direct,
    credentials::{RANDOM_CHARS, v1_ufrag},
    fingerprint::Fingerprint,
    frame::Frame,
    signal::{INIT_LABEL, PROTOCOL},
    signal_message::{Decoder, Message},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use str0m::{
    Candidate, Event, IceCreds, Input, Output, Rtc,
    change::{SdpAnswer, SdpOffer, SdpPendingOffer},
    channel::{ChannelConfig, ChannelId},
    config::Fingerprint as DtlsFingerprint,
    net::{Protocol as Carrier, Receive},
};
use tokio::net::UdpSocket;

pub const SIGNALLING: StreamProtocol = StreamProtocol::new(PROTOCOL);
/// A liar whose victim says nothing any more has lost its connection.
const SILENCE: Duration = Duration::from_millis(1_500);
/// Messages on undeclared streams between two looks at what comes.
const AT_ONCE: usize = 8;
/// Data channels that it lies on.
const CHANNELS: usize = 5;
/// Stream id of the data channel that carries Noise at a `webrtc-direct` listener.
const NOISE_CHANNEL: u16 = 0;

/// A malformed frame; each number another one of a few kinds.
pub fn malformed_frame(number: usize) -> Vec<u8> {
    match number % 7 {
        // A length that is spelt too long, never ends, or says too much.
        0 => vec![0x80, 0x00],
        1 => vec![0xff; 4],
        2 => vec![0xff, 0xff, 0x7f],
        // A group, a length beyond the frame, a number that is cut off.
        3 => vec![2, 0x0b, 0],
        4 => vec![3, 0x12, 0x7f, 0],
        5 => vec![2, 0x08, 0xff],
        _ => vec![0xc0; 1_000],
    }
}

/// A message that is none, or is no one's turn to send.
pub fn malformed_message(number: usize) -> Vec<u8> {
    let sdp = "v=0\r\no=- 0 0 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n";
    match number % 8 {
        0 => vec![0xff; 3],
        1 => vec![0],
        2 => vec![2, 0x08, 9],
        3 => vec![6, 0x08, 0, 0x12, 2, 0xff, 0xfe],
        // Longer than any may be.
        4 => vec![0xff, 0xff, 0x7f, 0x08],
        // Descriptions that describe nothing, or lead where no peer can be.
        5 => [Message::Offer(String::new()).encode(), Message::Answer(String::new()).encode()].concat(),
        6 => {
            // Short: the more messages are on the way before the first of them is read, the more of them count.
            let all = sdp.to_owned() + "a=candidate:1 1 udp 1 224.0.0.1 9 typ host\r\n";
            [Message::Offer(all.clone()).encode(), Message::Answer(all).encode()].concat()
        }
        // Out of turn for both.
        _ => Message::Candidate("[".to_owned()).encode(),
    }
}

/// A relayed connection to the victim.
pub async fn circuit(liar: &mut Node, relay: &Multiaddr, victim: PeerId) {
    let circuit = relay.clone().with(Protocol::P2pCircuit).with(Protocol::P2p(victim));
    liar.ask(move |swarm| swarm.dial(DialOpts::peer_id(victim).addresses(vec![circuit]).build())).await.unwrap();
    liar.until("circuit", |seen| match seen {
        Seen::Relayed => Some(()),
        Seen::DialFailed(error) => panic!("{error}"),
        _ => None,
    })
    .await;
}

/// The next signalling stream that somebody opens.
pub async fn asked(liar: &Node) -> libp2p_stream::IncomingStreams {
    liar.raw.clone().unwrap().accept(SIGNALLING).unwrap()
}

/// A signalling stream to the victim.
pub async fn ask(liar: &Node, victim: PeerId) -> Stream {
    liar.raw.clone().unwrap().open_stream(victim, SIGNALLING).await.unwrap()
}

/// A liar of its own, which the relay knows.
pub async fn new(relay: &Multiaddr) -> Node {
    let mut liar = Node::new(Kind::Liar).await;
    liar.reserve(relay).await;
    liar
}

async fn message(stream: &mut Stream) -> Option<Message> {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 1_024];
    loop {
        if let Some(message) = decoder.next_message().unwrap() {
            return Some(message);
        }
        let read = stream.read(&mut buffer).await.ok()?;
        decoder.push(buffer.get(..read).filter(|read| !read.is_empty())?);
    }
}

async fn begin() -> (Rtc, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut rtc = Rtc::builder()
        .set_crypto_provider(Arc::new(str0m::crypto::from_feature_flags()))
        .clear_codecs()
        .build(Instant::now());
    rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
    (rtc, socket)
}

/// Offers with what `change` makes of the offer.
async fn offer(stream: &mut Stream, rtc: &mut Rtc, change: impl FnOnce(String) -> String) -> SdpPendingOffer {
    let mut changes = rtc.sdp_api();
    changes.add_channel(INIT_LABEL.to_owned());
    let (offer, pending) = changes.apply().unwrap();
    stream.write_all(&Message::Offer(change(offer.to_sdp_string())).encode()).await.unwrap();
    stream.flush().await.unwrap();
    pending
}

/// Answers with what `change` makes of the answer.
async fn answer(stream: &mut Stream, rtc: &mut Rtc, change: impl FnOnce(String) -> String) {
    let Some(Message::Offer(offer)) = message(stream).await else { panic!("no offer") };
    let answer = rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(&offer).unwrap()).unwrap();
    stream.write_all(&Message::Answer(change(answer.to_sdp_string())).encode()).await.unwrap();
    stream.flush().await.unwrap();
}

/// Connects over this stream and sends malformed frames on several data channels until the victim says nothing more; how many
/// it sent.
pub async fn flood(mut stream: Stream, offers: bool, frames: usize) -> usize {
    let (mut rtc, socket) = begin().await;
    if offers {
        let pending = offer(&mut stream, &mut rtc, |offer| offer).await;
        let Some(Message::Answer(answer)) = message(&mut stream).await else { panic!("no answer") };
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
    } else {
        answer(&mut stream, &mut rtc, |answer| answer).await;
    }
    lie(rtc, &socket, First::Init, Lies::Malformed(frames)).await
}

/// Dials a `webrtc-direct` listener and floods it in the same way: once it has proven to be this identity, or without a word about
/// who it is.
pub async fn flood_directly(listener: &Multiaddr, identity: Option<&Keypair>, frames: usize) -> usize {
    let (rtc, socket, first) = dial(listener, identity).await;
    lie(rtc, &socket, first, Lies::Malformed(frames)).await
}

/// Dials a `webrtc-direct` listener and sends on so many streams that were never opened; how many messages it sent until the
/// listener said nothing more.
pub async fn send_undeclared(listener: &Multiaddr, identity: &Keypair, streams: usize) -> usize {
    let (rtc, socket, first) = dial(listener, Some(identity)).await;
    lie(rtc, &socket, first, Lies::Undeclared(streams)).await
}

async fn dial(listener: &Multiaddr, identity: Option<&Keypair>) -> (Rtc, UdpSocket, First) {
    let Direct { socket: victim, fingerprint: server, .. } = Direct::parse(listener).unwrap();
    let (mut rtc, socket) = begin().await;
    // Version 1: one string in all places.
    let ufrag = v1_ufrag(&[7; RANDOM_CHARS]);
    let creds = || IceCreds { ufrag: ufrag.clone(), pass: ufrag.clone() };
    rtc.add_remote_candidate(Candidate::host(victim, "udp").unwrap());
    let mut direct = rtc.direct_api();
    direct.set_local_ice_credentials(creds());
    direct.set_remote_ice_credentials(creds());
    direct.set_ice_controlling(true);
    direct.set_remote_fingerprint(DtlsFingerprint { hash_func: "sha-256".to_owned(), bytes: server.0.to_vec() });
    direct.start_dtls(true).unwrap();
    direct.start_sctp(true);
    let noise = ChannelConfig { negotiated: Some(NOISE_CHANNEL), ..ChannelConfig::default() };
    let noise = direct.create_data_channel(noise);
    let client = Fingerprint(direct.local_dtls_fingerprint().bytes.as_slice().try_into().unwrap());
    let handshake = identity.map(|identity| Handshake::new(identity, client, server));
    (rtc, socket, First::Noise(noise, handshake))
}

/// A description with the fingerprint of another certificate.
fn of_another(description: String) -> String {
    let (before, digest) = description.split_once("a=fingerprint:sha-256 ").unwrap();
    let exchanged = if digest.starts_with("00") { "11" } else { "00" };
    [before, "a=fingerprint:sha-256 ", exchanged, digest.get(2..).unwrap()].concat()
}

/// Connects with the fingerprint of another certificate than its own.
pub async fn connect_as_another(mut stream: Stream, offers: bool) {
    let (mut rtc, socket) = begin().await;
    if offers {
        let pending = offer(&mut stream, &mut rtc, of_another).await;
        let Some(Message::Answer(answer)) = message(&mut stream).await else { panic!("no answer") };
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
    } else {
        answer(&mut stream, &mut rtc, of_another).await;
    }
    lie(rtc, &socket, First::Init, Lies::Malformed(0)).await;
}

/// Offers in order, and then names so many candidates.
pub async fn name_candidates(mut stream: Stream, candidates: usize) {
    let (mut rtc, _socket) = begin().await;
    let _pending = offer(&mut stream, &mut rtc, |offer| offer).await;
    let candidate = r#"{"candidate":"candidate:1 1 udp 1 192.168.1.2 9 typ host","sdpMid":"0","sdpMLineIndex":0}"#;
    let all = Message::Candidate(candidate.to_owned()).encode().repeat(candidates);
    // Being cut off is what is to come.
    let _ = stream.write_all(&all).await;
    let _ = stream.flush().await;
    while message(&mut stream).await.is_some() {}
}

/// What comes before the lies.
enum First {
    /// The channel `init` of a connection that was signalled.
    Init,
    /// This channel, and the handshake on it. Without one nothing is said there.
    Noise(ChannelId, Option<Handshake>),
}

impl First {
    /// Waits for the end of the handshake, if there is one that goes on.
    async fn handshake(&mut self) {
        match self {
            First::Noise(_, Some(handshake)) => handshake.done().await,
            _ => std::future::pending().await,
        }
    }
}

/// What it sends then.
enum Lies {
    /// So many malformed frames.
    Malformed(usize),
    /// Bytes on so many streams that it did not open.
    Undeclared(usize),
}

impl Lies {
    fn begin(&self, rtc: &mut Rtc, channels: &mut Vec<ChannelId>) {
        match self {
            Lies::Malformed(_) => {
                for _ in 0..CHANNELS {
                    rtc.direct_api().create_data_channel(ChannelConfig::default());
                }
            }
            // Of which the other end is told nothing.
            Lies::Undeclared(streams) => channels.extend((0..*streams as u16).map(|number| {
                let config = ChannelConfig { negotiated: Some(1_000 + number), ..ChannelConfig::default() };
                rtc.direct_api().create_data_channel(config)
            })),
        }
    }
}

async fn lie(mut rtc: Rtc, socket: &UdpSocket, mut first: First, lies: Lies) -> usize {
    let (mut sent, mut is_open) = (0, false);
    let mut channels = Vec::new();
    let mut heard = Instant::now();
    let mut buffer = vec![0; 2_048];
    loop {
        let until = loop {
            let Ok(output) = rtc.poll_output() else { return sent };
            match output {
                Output::Timeout(at) => break at,
                Output::Transmit(transmit) => {
                    let _ = socket.try_send_to(&transmit.contents, transmit.destination);
                }
                Output::Event(Event::Connected) if matches!(first, First::Noise(_, None)) => {
                    lies.begin(&mut rtc, &mut channels);
                }
                Output::Event(Event::ChannelOpen(id, label)) => match &first {
                    First::Noise(noise, _) if *noise == id => {}
                    First::Init if label == INIT_LABEL => {
                        if !std::mem::replace(&mut is_open, true) {
                            lies.begin(&mut rtc, &mut channels);
                        }
                    }
                    _ if matches!(lies, Lies::Undeclared(_)) => {}
                    _ => {
                        // One frame that opens it in order, then the rest.
                        channels.push(id);
                        let _ =
                            rtc.channel(id).map(|mut channel| channel.write(true, &Frame::data("x".into()).encode()));
                    }
                },
                Output::Event(Event::ChannelData(data)) => {
                    if let First::Noise(noise, Some(handshake)) = &mut first
                        && *noise == data.id
                    {
                        handshake.take_in(data.data);
                    }
                }
                Output::Event(Event::ChannelClose(id)) => channels.retain(|other| *other != id),
                Output::Event(_) => {}
            }
        };
        if let First::Noise(noise, Some(handshake)) = &mut first {
            while let Some(frame) = handshake.next_frame() {
                let written = rtc.channel(*noise).unwrap().write(true, &frame);
                assert!(matches!(written, Ok(true)), "{written:?}");
            }
        }
        let (frames, at_once) = match lies {
            Lies::Malformed(frames) => (frames, frames),
            Lies::Undeclared(_) => (usize::MAX, AT_ONCE),
        };
        for _ in 0..at_once {
            if sent == frames || channels.is_empty() {
                break;
            }
            let Some(mut channel) = rtc.channel(channels[sent % channels.len()]) else { break };
            if !matches!(channel.write(true, &malformed_frame(sent)), Ok(true)) {
                break;
            }
            sent += 1;
        }
        if !rtc.is_alive() || heard.elapsed() >= SILENCE {
            return sent;
        }
        let wait = until.saturating_duration_since(Instant::now()).min(Duration::from_millis(20));
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let Ok((len, source)) = received else { continue };
                heard = Instant::now();
                let Ok(contents) = buffer[..len].try_into() else { continue };
                let destination = socket.local_addr().unwrap();
                let receive = Receive { proto: Carrier::Udp, source, destination, contents };
                let input = Input::Receive(Instant::now(), receive);
                // It may be told that it has lost its connection.
                if rtc.accepts(&input) && rtc.handle_input(input).is_err() {
                    return sent;
                }
            }
            () = first.handshake() => lies.begin(&mut rtc, &mut channels),
            () = tokio::time::sleep(wait) => rtc.handle_input(Input::Timeout(Instant::now())).unwrap(),
        }
    }
}

/// Writes one malformed message after another until the victim takes no more; how many the stream took whole.
pub async fn rave(mut stream: Stream, from: usize, messages: usize) -> usize {
    let all: Vec<_> = (from..from + messages).map(malformed_message).collect();
    let bytes = all.concat();
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match stream.write(rest).await {
            Ok(taken) if taken > 0 => written += taken,
            // It was cut off: what is to come.
            _ => break,
        }
    }
    let _ = stream.flush().await;
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    let ends = all.iter().scan(0, |end, message| {
        *end += message.len();
        Some(*end)
    });
    ends.take_while(|end| *end <= written).count()
}

/// Waits until the victim has closed the relayed connection.
pub async fn until_cut_off(liar: &mut Node, victim: PeerId) {
    let cut = |seen| matches!(seen, Seen::Closed { peer, relayed: true, .. } if peer == victim).then_some(());
    liar.until("end of the relayed connection", cut).await;
}

/// The next stream of these.
pub async fn next(streams: &mut libp2p_stream::IncomingStreams) -> Stream {
    let next = tokio::time::timeout(Duration::from_secs(20), streams.next());
    next.await.expect("somebody signals").expect("it listens").1
}
