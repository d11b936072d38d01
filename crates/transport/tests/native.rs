//! Two native ends on loopback, and strangers between them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it finds a fault"
)]

#[path = "support/bare.rs"]
mod bare;
#[path = "support/handshake.rs"]
mod handshake;
#[path = "support/liar.rs"]
mod liar;
mod support;

use bare::{accept, dial, listener, open, open_files, pair, transport};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        Endpoint,
        muxing::StreamMuxerExt,
        transport::{DialOpts, ListenerId, PortUse, TransportEvent},
    },
    multiaddr::Protocol,
};
use meganet_transport::{
    CONNECT_TIMEOUT, Census, Error, Options,
    connection::{Closed, Connection},
    proto::state::UNREAD_MAX_BYTES,
};
use std::{
    future::poll_fn,
    io,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_request_is_answered_in_both_directions() {
    let (mut client, mut server) = pair().await;
    for turn in 0..2 {
        let (one, other) = if turn == 0 { (&mut client, &mut server) } else { (&mut server, &mut client) };
        let question: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
        let (mut reader, mut writer) = open(one).await.split();
        let asking = async {
            writer.write_all(&question).await.unwrap();
            writer.close().await.unwrap();
            let mut answer = Vec::new();
            reader.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let answering = async {
            let mut stream = accept(other).await;
            let mut asked = Vec::new();
            stream.read_to_end(&mut asked).await.unwrap();
            stream.write_all(&asked).await.unwrap();
            stream.close().await.unwrap();
        };
        let (answer, ()) = futures::join!(asking, answering);
        assert!(answer == question, "1 MiB there and back is the same");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_writes_to_a_dropped_stream_is_told() {
    let (mut client, mut server) = pair().await;
    let mut stream = open(&mut client).await;
    stream.write_all(b"x").await.unwrap();
    let mut other = accept(&mut server).await;
    let mut byte = [0];
    other.read_exact(&mut byte).await.unwrap();
    drop(other);
    let mut written = 0;
    let error = loop {
        match stream.write_all(&[0; 4_096]).await {
            Ok(()) => written += 4_096,
            Err(error) => break error,
        }
        assert!(written < 64 << 20, "nobody said a word");
    };
    // Which of the two it hears of first.
    assert!(matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_is_held_unsent_goes_through_whole_to_a_reader_that_reads() {
    let (mut client, mut server) = pair().await;
    let mut stream = open(&mut client).await;
    let total = 4 << 20;
    let writing = tokio::spawn(async move {
        stream.write_all(&vec![7; total]).await.unwrap();
        stream.close().await.unwrap();
    });
    let mut other = accept(&mut server).await;
    let mut read = Vec::new();
    other.read_to_end(&mut read).await.unwrap();
    assert_eq!(read.len(), total);
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_further_ahead_of_an_idle_reader_than_is_kept_is_cut_off_and_both_ends_are_told() {
    let (mut client, mut server) = pair().await;
    let mut stream = open(&mut client).await;
    stream.write_all(b"x").await.unwrap();
    let mut other = accept(&mut server).await;
    let mut written = 0;
    let error = loop {
        match stream.write(&[7; 16_000]).await {
            Ok(taken) => written += taken,
            Err(error) => break error,
        }
        // What is on the way comes on top, and no more than that: the writer waits for the network, if not for the reader.
        assert!(written < 2 * UNREAD_MAX_BYTES, "{written} bytes");
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error} after {written} bytes");
    // The reader counts some more for a short frame.
    assert!(written + 1_024 > UNREAD_MAX_BYTES, "{written} bytes");
    let error = other.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    // It is the stream's end and not the connection's.
    let mut next = open(&mut client).await;
    next.write_all(b"y").await.unwrap();
    let mut byte = [0];
    accept(&mut server).await.read_exact(&mut byte).await.unwrap();
    assert_eq!(byte, *b"y");
}

async fn still_there(client: &mut Connection, server: &mut Connection) {
    let mut stream = open(client).await;
    stream.write_all(b"still there").await.unwrap();
    stream.close().await.unwrap();
    let answering = async {
        let mut heard = Vec::new();
        accept(server).await.read_to_end(&mut heard).await.unwrap();
        heard
    };
    let heard = tokio::time::timeout(Duration::from_secs(30), answering).await.expect("the connection goes on");
    assert_eq!(heard, b"still there");
}

/// One datagram does not hold the resets of so many.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_dropped_at_once_end_nothing_but_themselves() {
    let [client_census, server_census] = [Census::default(), Census::default()];
    let (mut client, mut server) = bare::pair_with([client_census.clone(), server_census]).await;
    let mut held = Vec::new();
    for _ in 0..1_000 {
        let mut stream = open(&mut client).await;
        stream.write_all(b"x").await.unwrap();
        stream.flush().await.unwrap();
        held.push(accept(&mut server).await);
        held.push(stream);
    }
    drop(held);
    still_there(&mut client, &mut server).await;
    // Their ids rest for a while, and are then given back, all at once.
    let resting = async {
        while client_census.counts().channels > 1 || client_census.counts().resting_ids > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let given_back = tokio::time::timeout(Duration::from_secs(60), resting).await;
    given_back.unwrap_or_else(|_| panic!("the ids are not given back: {:?}", client_census.counts()));
    still_there(&mut client, &mut server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_is_noticed_at_once_by_the_other_end() {
    let (client, mut server) = pair().await;
    drop(client);
    let gone = poll_fn(|context| server.poll_inbound_unpin(context));
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("noticed").expect_err("an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_is_removed_takes_nobody_else_and_keeps_whom_it_has() {
    let ((mut server, _behaviour), id) = (transport(), ListenerId::next());
    server.listen_on(id, "/ip4/127.0.0.1/udp/0/webrtc-direct".parse().unwrap()).unwrap();
    let mut server = server.boxed();
    let Some(TransportEvent::NewAddress { listen_addr, .. }) = server.next().await else { panic!("no address") };
    let (mut dialler, _other) = transport();
    let dialled = tokio::spawn({
        let address = listen_addr.clone();
        async move { dial(&mut dialler, address).await.unwrap().1 }
    });
    let Some(TransportEvent::Incoming { upgrade, .. }) = server.next().await else { panic!("nobody") };
    let (_, mut incoming) = upgrade.await.unwrap();
    let mut dialled = dialled.await.unwrap();
    assert!(server.remove_listener(id));
    assert!(matches!(server.next().await, Some(TransportEvent::ListenerClosed { .. })));
    still_there(&mut dialled, &mut incoming).await;
    let error = dial(&mut transport().0, listen_addr).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. } | Error::NotConnected), "{error}");
    still_there(&mut dialled, &mut incoming).await;
}

/// Who stands between a dialler and a listener.
#[derive(Debug, Clone, Copy)]
enum From {
    /// Elsewhere, and knows where the dialler is.
    Stranger,
    /// On the way: it sends as the listener.
    OnTheWay,
}

/// Carries datagrams between a dialler and this listener, and sends the dialler what `strange` makes of each of its own.
async fn beside(
    from: From,
    listener: &Multiaddr,
    strange: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> Multiaddr {
    let port = listener.iter().find_map(|part| if let Protocol::Udp(port) = part { Some(port) } else { None }).unwrap();
    let beyond = SocketAddr::from(([127, 0, 0, 1], port));
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let between = socket.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut dialler, mut buffer) = (None, [0; 2_048]);
        loop {
            let (len, source) = socket.recv_from(&mut buffer).await.unwrap();
            let to = if source == beyond { dialler } else { Some(beyond) };
            if source != beyond {
                dialler = Some(source);
                let sender = if matches!(from, From::Stranger) { &stranger } else { &socket };
                for datagram in strange(&buffer[..len]) {
                    sender.send_to(&datagram, source).await.unwrap();
                }
            }
            if let Some(to) = to {
                socket.send_to(&buffer[..len], to).await.unwrap();
            }
        }
    });
    listener.iter().map(|part| if matches!(part, Protocol::Udp(_)) { Protocol::Udp(between) } else { part }).collect()
}

/// A NAT before this listener, and what has it forget whom it carries for.
async fn nat(listener: &Multiaddr) -> (Multiaddr, Arc<AtomicBool>) {
    let port = listener.iter().find_map(|part| if let Protocol::Udp(port) = part { Some(port) } else { None }).unwrap();
    let bind = || tokio::net::UdpSocket::bind("127.0.0.1:0");
    let (inside, outside) = (bind().await.unwrap(), [bind().await.unwrap(), bind().await.unwrap()]);
    let between = inside.local_addr().unwrap().port();
    let forgets = Arc::<AtomicBool>::default();
    tokio::spawn({
        let forgets = forgets.clone();
        async move {
            let mut dialler = None;
            let (mut there, mut back) = ([0; 2_048], [0; 2_048]);
            loop {
                let now = &outside[usize::from(forgets.load(Ordering::Relaxed))];
                tokio::select! {
                    read = inside.recv_from(&mut there) => {
                        let (len, source) = read.unwrap();
                        dialler = Some(source);
                        let now = &outside[usize::from(forgets.load(Ordering::Relaxed))];
                        now.send_to(&there[..len], ("127.0.0.1", port)).await.unwrap();
                    }
                    read = now.recv_from(&mut back) => {
                        inside.send_to(&back[..read.unwrap().0], dialler.unwrap()).await.unwrap();
                    }
                }
            }
        }
    });
    let through = |part| if matches!(part, Protocol::Udp(_)) { Protocol::Udp(between) } else { part };
    (listener.iter().map(through).collect(), forgets)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_that_a_nat_forgets_it() {
    let (address, mut incoming) = listener().await;
    let (through, forgets) = nat(&address).await;
    let (_, mut client) = dial(&mut transport().0, through).await.unwrap();
    let mut server = incoming.recv().await.unwrap();
    still_there(&mut client, &mut server).await;
    forgets.store(true, Ordering::Relaxed);
    let still = still_there(&mut client, &mut server);
    tokio::time::timeout(Duration::from_secs(60), still).await.expect("there still");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_looked_up() {
    let built =
        || meganet_transport::build(&libp2p::identity::Keypair::generate_ed25519(), Options::default()).unwrap();
    for listen in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws", "/ip4/127.0.0.1/udp/0/quic-v1"] {
        let mut server = built().transport;
        server.listen_on(ListenerId::next(), listen.parse().unwrap()).unwrap();
        let Some(TransportEvent::NewAddress { listen_addr, .. }) = server.next().await else { panic!("no address") };
        let named: Multiaddr = listen_addr
            .iter()
            .map(|part| if matches!(part, Protocol::Ip4(_)) { Protocol::Dns4("localhost".into()) } else { part })
            .collect();
        assert!(meganet_transport::can_dial(&named), "{named}");
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let mut dialler = built().transport;
        let dialled = dialler.dial(named, options).expect("an address to dial");
        tokio::spawn(async move {
            // It says its last word of the handshake when it is used.
            let (_, mut connection) = dialled.await.expect("a connection");
            poll_fn(|context| connection.poll_unpin(context)).await
        });
        let Some(TransportEvent::Incoming { upgrade, .. }) = server.next().await else { panic!("nobody") };
        let incoming = tokio::time::timeout(CONNECT_TIMEOUT, upgrade).await.expect("in time");
        assert!(incoming.is_ok(), "{listen}: {:?}", incoming.err());
    }
    let (direct, _incoming) = listener().await;
    let named = direct
        .iter()
        .map(|part| if matches!(part, Protocol::Ip4(_)) { Protocol::Dns4("localhost".into()) } else { part });
    assert!(meganet_transport::can_dial(&direct));
    assert!(!meganet_transport::can_dial(&named.collect()), "a browser's candidates are addresses");
}

/// Dials a listener through that, and uses the connection.
async fn outlives(from: From, strange: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
    let (address, mut incoming) = listener().await;
    let through = beside(from, &address, strange).await;
    let (_, mut client) = dial(&mut transport().0, through).await.unwrap();
    still_there(&mut client, &mut incoming.recv().await.unwrap()).await;
}

/// RFC 7983: how DTLS is told apart.
fn is_dtls(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| (20..64).contains(first))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_alert_ends_no_handshake() {
    // Fatal, "handshake_failure", unencrypted: RFC 6347 §4.1, RFC 5246 §7.2.
    let alert = vec![21, 254, 253, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40];
    let strange = move |bytes: &[u8]| if is_dtls(bytes) { vec![alert.clone()] } else { Vec::new() };
    outlives(From::Stranger, strange).await;
}

/// str0m falls over a failure whose integrity comes first: RFC 8489 §5, §14.5. It names a check of this agent, which is readable.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_with_its_integrity_first_ends_no_connection() {
    let strange = |bytes: &[u8]| match bytes.get(..20) {
        Some(header @ [0, 1, ..]) => {
            let mut failure = header.to_vec();
            failure[..4].copy_from_slice(&[1, 0x11, 0, 24]);
            failure.extend([0, 8, 0, 20]);
            failure.resize(44, 7);
            vec![failure]
        }
        _ => Vec::new(),
    };
    outlives(From::OnTheWay, strange).await;
}

/// dimpl falls over an encrypted record that comes twice before it can be read: RFC 6347 §4.1.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_record_that_comes_twice_ends_no_handshake() {
    let early = vec![23, 254, 253, 0, 1, 0, 0, 0, 0, 0, 99, 0, 1, 0];
    let strange = move |bytes: &[u8]| if is_dtls(bytes) { vec![early.clone(); 2] } else { Vec::new() };
    outlives(From::OnTheWay, strange).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_or_another_peer_is_no_connection() {
    let (address, _incoming) = listener().await;
    let (other, _others) = listener().await;
    let hash = other.iter().find(|part| matches!(part, Protocol::Certhash(_))).unwrap();
    let forged: Multiaddr =
        address.iter().map(|part| if matches!(part, Protocol::Certhash(_)) { hash.clone() } else { part }).collect();
    let error = dial(&mut transport().0, forged.clone()).await.unwrap_err();
    assert!(matches!(error, Error::NotConnected | Error::TimedOut { .. }), "{error}");
    let named = PeerId::random();
    let error = dial(&mut transport().0, forged.with(Protocol::P2p(named))).await.unwrap_err();
    assert_eq!(error.peer(), Some(&named), "{error}");
    let error = dial(&mut transport().0, address.with(Protocol::P2p(PeerId::random()))).await.unwrap_err();
    assert!(matches!(error, Error::WrongPeer { .. }), "{error}");
}

/// str0m keeps an entry for each stream that data comes on, declared or not, and walks them all.
#[tokio::test(flavor = "multi_thread")]
async fn who_costs_far_more_than_it_sends_loses_its_connection() {
    const UNDECLARED: usize = 6_000;
    let (address, mut incoming) = listener().await;
    let identity = libp2p::identity::Keypair::generate_ed25519();
    let sending = tokio::spawn({
        let address = address.clone();
        async move { liar::send_undeclared(&address, &identity, UNDECLARED).await }
    });
    let mut victim = incoming.recv().await.unwrap();
    let end = poll_fn(|context| victim.poll_inbound_unpin(context));
    let error = tokio::time::timeout(Duration::from_secs(120), end).await.expect("an end").unwrap_err();
    let closed = error.get_ref().and_then(|error| error.downcast_ref::<Closed>());
    assert_eq!(closed, Some(&Closed::Costly), "{error}");
    eprintln!("{} messages", sending.await.unwrap());
    // Nobody else lost anything.
    let (_, mut client) = dial(&mut transport().0, address).await.unwrap();
    still_there(&mut client, &mut incoming.recv().await.unwrap()).await;
}

/// A STUN binding request with this user name (RFC 8489 §5, §14.3), without integrity: it costs its sender nothing.
fn stun_request(username: &str, number: u16) -> Vec<u8> {
    let padded = username.len().div_ceil(4) * 4;
    let mut request = vec![0, 1];
    request.extend((4 + padded as u16).to_be_bytes());
    request.extend(0x2112_A442_u32.to_be_bytes());
    request.extend([number.to_be_bytes(); 6].concat());
    request.extend([0, 6]);
    request.extend((username.len() as u16).to_be_bytes());
    request.extend(username.as_bytes());
    request.resize(20 + 4 + padded, 0);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cost_no_sockets_and_keep_nobody_out() {
    let (address, mut incoming) = listener().await;
    let port = address.iter().find_map(|part| if let Protocol::Udp(port) = part { Some(port) } else { None }).unwrap();
    let before = open_files();
    for number in 0..2_000_u16 {
        // One socket a request: each is another stranger.
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ufrag = format!("libp2p+webrtc+v1/{number:08}");
        socket.send_to(&stun_request(&format!("{ufrag}:{ufrag}"), number), ("127.0.0.1", port)).unwrap();
        socket.send_to(&[number as u8; 60], ("127.0.0.1", port)).unwrap();
    }
    let (_, _client) = dial(&mut transport().0, address).await.expect("an honest peer still gets in");
    assert!(incoming.recv().await.is_some());
    // Other tests open theirs meanwhile.
    assert!(open_files() < before + 100, "{} files open, {before} before", open_files());
}

/// Room is made for a WebSocket's message as soon as its length is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_message_that_is_too_long_is_refused_before_it_comes() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let built = meganet_transport::build(&libp2p::identity::Keypair::generate_ed25519(), Options::default()).unwrap();
    let mut transport = built.transport;
    transport.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/0/ws".parse().unwrap()).unwrap();
    let port = loop {
        if let Some(TransportEvent::NewAddress { listen_addr, .. }) = transport.next().await {
            break listen_addr.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None });
        }
    };
    tokio::spawn(async move {
        while let Some(event) = transport.next().await {
            if let TransportEvent::Incoming { upgrade, .. } = event {
                tokio::spawn(upgrade);
            }
        }
    });
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port.unwrap())).await.unwrap();
    let hello = "GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    socket.write_all(hello.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(socket.read_u8().await.unwrap());
    }
    // RFC 6455 §5.2: final, binary, masked, with 64 bits of length; nothing follows.
    let mut header = vec![0x82, 0xff];
    header.extend((1_u64 << 27).to_be_bytes());
    header.extend([0; 4]);
    socket.write_all(&header).await.unwrap();
    // Sooner than whoever says nothing is given up.
    let end = tokio::time::timeout(CONNECT_TIMEOUT / 2, socket.read_to_end(&mut Vec::new())).await;
    end.expect("it is waited for").ok();
}
