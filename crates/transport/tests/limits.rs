//! What is opened, closed, reset, dropped and lost leaves nothing behind, and whoever breaks the protocol loses its own
//! connection and costs nobody else anything.

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

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::{
    Multiaddr, PeerId,
    core::{muxing::StreamMuxerExt, transport::TransportError},
    identity::Keypair,
    swarm::ConnectionError,
};
use meganet_transport::{
    Census, Counts, Error,
    connection::{Closed, Connection, INBOUND_BURST},
    proto::address::Signalled,
    stream::Stream,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeSet,
    future::poll_fn,
    time::{Duration, Instant},
};
use support::{Kind, Node, Seen, through};
use tokio::sync::Mutex;

/// What counts files or bytes of this process runs alone.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Longer than everything that is waited for: a stream id rests 5 s, a FIN waits 10 s for its acknowledgement, and a peer that
/// says nothing is given up after some 25 s.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until_counts(census: &Census, what: &str, expected: Counts) -> Duration {
    let started = Instant::now();
    while census.counts() != expected {
        assert!(started.elapsed() < PATIENCE, "{what}: {:?}, and not {expected:?}", census.counts());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    started.elapsed()
}

/// Memory that this process has in use.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// One end's streams: opened, accepted, written to, half-closed, reset and dropped in random order.
async fn use_streams(mut connection: Connection, seed: u64, total: usize) -> Connection {
    const HELD_MAX: usize = 48;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut opened, mut held) = (0, Vec::<Stream>::new());
    while opened < total || !held.is_empty() {
        while let Some(stream) = poll_fn(|context| connection.poll_inbound_unpin(context)).now_or_never() {
            held.push(stream.unwrap());
        }
        if opened < total && held.len() < HELD_MAX && random.random_range(0..3) == 0 {
            held.push(bare::open(&mut connection).await);
            opened += 1;
        }
        if !held.is_empty() {
            let place = random.random_range(0..held.len());
            match random.random_range(0..8) {
                0 => drop(held.swap_remove(place)),
                1 | 2 => _ = held[place].close().now_or_never(),
                3 => _ = held[place].read(&mut [0; 100]).now_or_never(),
                _ => _ = held[place].write_all(&[7; 300]).now_or_never(),
            }
        }
        if random.random_range(0..16) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_leave_nothing_behind() {
    let _alone = ALONE.lock().await;
    let censuses = [Census::default(), Census::default()];
    let (client, server) = bare::pair_with(censuses.clone()).await;
    let mut ends = [client, server];
    let mut resident = Vec::new();
    let mut baseline = None;
    for (lap, each) in [(0, 250), (1, 500)] {
        let [client, server] = ends;
        let (client, server) = tokio::join!(
            tokio::spawn(use_streams(client, 1 + lap, each)),
            tokio::spawn(use_streams(server, 99 + lap, each))
        );
        ends = [client.unwrap(), server.unwrap()];
        // What the other end has yet to open or close is told to it meanwhile; nobody takes it.
        let mut settled = Counts::default();
        let started = Instant::now();
        for (end, census) in censuses.iter().enumerate() {
            loop {
                for end in &mut ends {
                    while poll_fn(|context| end.poll_inbound_unpin(context)).now_or_never().is_some() {}
                }
                settled = census.counts();
                // The channel of the handshake stays.
                if settled.channels == 1 && settled.resting_ids == 0 {
                    break;
                }
                assert!(started.elapsed() < PATIENCE, "end {end}, lap {lap}: {settled:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        eprintln!("{} streams: nothing left after {:?}: {settled:?}", 2 * each, started.elapsed());
        let counts = censuses.each_ref().map(Census::counts);
        assert_eq!(*baseline.get_or_insert(counts), counts);
        resident.push(resident_bytes());
    }
    // The first lap fills the allocator's pools; a stream that stayed at both ends would cost kilobytes, a thousand of them
    // megabytes.
    assert!(resident[1] < resident[0] + (2 << 20), "bytes after each lap: {resident:?}");
    eprintln!("bytes after each lap: {resident:?}");
    drop(ends);
    let listening = Counts { tasks: 1, ..Counts::default() };
    until_counts(&censuses[0], "client", Counts::default()).await;
    until_counts(&censuses[1], "server", listening).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_made_and_lost_leave_nothing_behind() {
    const VANISH: usize = 20;
    const CLOSED: usize = 180;
    let alone = ALONE.lock().await;
    let [client, gone, server] = [Census::default(), Census::default(), Census::default()];
    let (address, mut incoming) = bare::listener_with(server.clone()).await;
    let listening = Counts { tasks: 1, ..Counts::default() };
    assert_eq!(server.counts(), listening);

    // Some end without a word: the runtime that carries them stops.
    let vanishing = tokio::runtime::Runtime::new().unwrap();
    let mut kept = Vec::new();
    for _ in 0..VANISH {
        let (address, gone) = (address.clone(), gone.clone());
        let _ends_with_its_runtime = vanishing.spawn(async move {
            let mut transport = bare::transport_with(gone).0;
            let _connection = bare::dial(&mut transport, address).await.unwrap();
            std::future::pending::<()>().await;
        });
        kept.push(incoming.recv().await.unwrap());
    }
    assert_eq!(gone.counts().connections, VANISH);
    tokio::task::spawn_blocking(move || vanishing.shutdown_timeout(PATIENCE)).await.unwrap();
    until_counts(&gone, "those that vanished", Counts::default()).await;

    let (mut files, mut resident) = (0, 0);
    for number in 0..CLOSED {
        if number == CLOSED / 4 {
            (files, resident) = (bare::open_files(), resident_bytes());
        }
        let mut dialled = bare::dial(&mut bare::transport_with(client.clone()).0, address.clone()).await.unwrap().1;
        let mut accepted = incoming.recv().await.unwrap();
        // Some with streams, some with none.
        let mut streams = None;
        if number % 3 != 0 {
            let mut stream = bare::open(&mut dialled).await;
            stream.write_all(b"question").await.unwrap();
            streams = Some((stream, bare::accept(&mut accepted).await));
        }
        match number % 4 {
            0 => drop((dialled, streams, accepted)),
            1 => drop((accepted, streams, dialled)),
            2 => {
                poll_fn(|context| dialled.poll_close_unpin(context)).await.unwrap();
                poll_fn(|context| accepted.poll_inbound_unpin(context)).await.unwrap_err();
            }
            _ => {
                poll_fn(|context| accepted.poll_close_unpin(context)).await.unwrap();
                poll_fn(|context| dialled.poll_inbound_unpin(context)).await.unwrap_err();
            }
        }
    }
    let left = until_counts(&client, "client", Counts::default()).await;
    // A connection that stayed would keep its dialler's socket; the last may still be on its way out.
    assert!(bare::open_files() <= files + 2, "{} files open, {files} after a quarter", bare::open_files());
    // A connection holds some 100 kB; three quarters of them would be 13 MB.
    let now = resident_bytes();
    assert!(now < resident + (6 << 20), "{now} bytes, {resident} after a quarter");
    drop(alone);

    let started = Instant::now();
    for connection in &mut kept {
        poll_fn(|context| connection.poll_inbound_unpin(context)).await.unwrap_err();
    }
    eprintln!("nothing left after {left:?}; those that vanished were noticed {:?} later", started.elapsed());
    drop(kept);
    until_counts(&server, "server", listening).await;
}

/// A question and its answer, on a stream of their own.
async fn exchange(asker: &mut Connection, answerer: &mut Connection) {
    let asking = async {
        let mut stream = bare::open(asker).await;
        stream.write_all(b"question").await.unwrap();
        stream.close().await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
    };
    let answering = async {
        let mut stream = bare::accept(answerer).await;
        let mut question = Vec::new();
        stream.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        stream.write_all(b"answer").await.unwrap();
        stream.close().await.unwrap();
    };
    let both = async { tokio::join!(asking, answering) };
    tokio::time::timeout(PATIENCE, both).await.expect("an answer");
}

/// Opens streams and resets them, as fast as the other end's resets allow, until the connection is over; how many.
async fn rapidly_reset(mut connection: Connection, census: Census) -> usize {
    const AT_ONCE: usize = 16;
    /// A driver that lags behind does not get more than this meanwhile.
    const PAUSE: Duration = Duration::from_millis(10);
    /// str0m asks for the resets of all of them in one datagram, which must not grow too long to be taken in.
    const OPEN_MAX: usize = 200;
    let mut opened = 0;
    loop {
        for _ in 0..AT_ONCE {
            match poll_fn(|context| connection.poll_outbound_unpin(context)).await {
                Ok(stream) => drop(stream),
                Err(_) => return opened,
            }
            opened += 1;
        }
        tokio::time::sleep(PAUSE).await;
        while census.counts().channels > OPEN_MAX {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Takes streams as fast as they come and lets go of them, until the connection is over; why it is.
async fn take_all(mut connection: Connection) -> std::io::Error {
    loop {
        match poll_fn(|context| connection.poll_inbound_unpin(context)).await {
            Ok(stream) => drop(stream),
            Err(error) => return error,
        }
    }
}

/// Case 31 of the threats.
#[tokio::test(flavor = "multi_thread")]
async fn streams_opened_and_reset_in_a_loop_cost_their_sender_its_connection_and_nobody_else_anything() {
    let _alone = ALONE.lock().await;
    let [flooder, bystander, victim] = [Census::default(), Census::default(), Census::default()];
    let (address, mut incoming) = bare::listener_with(victim.clone()).await;
    let (_, mut honest) = bare::dial(&mut bare::transport_with(bystander).0, address.clone()).await.unwrap();
    let mut to_honest = incoming.recv().await.unwrap();
    exchange(&mut honest, &mut to_honest).await;
    // The listener and the honest peer's connection, with the channel of its handshake.
    let before = Counts { connections: 1, channels: 1, tasks: 2, remotes: 1, ..Counts::default() };
    until_counts(&victim, "victim before", before).await;

    let (_, dialled) = bare::dial(&mut bare::transport_with(flooder.clone()).0, address).await.unwrap();
    let accepted = incoming.recv().await.unwrap();
    let started = Instant::now();
    let taking = tokio::spawn(take_all(accepted));
    let flooding = tokio::spawn(rapidly_reset(dialled, flooder.clone()));
    while !taking.is_finished() {
        assert!(started.elapsed() < PATIENCE, "it goes on: {:?}", victim.counts());
        exchange(&mut honest, &mut to_honest).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let error = taking.await.unwrap();
    assert_eq!(error.get_ref().and_then(|error| error.downcast_ref::<Closed>()), Some(&Closed::Flooded), "{error}");
    let lasted = started.elapsed();
    let opened = tokio::time::timeout(PATIENCE, flooding).await.expect("it is told").unwrap();
    eprintln!("{opened} streams cost the connection after {lasted:?}");
    assert!(opened > INBOUND_BURST as usize, "only {opened} streams");
    exchange(&mut honest, &mut to_honest).await;
    until_counts(&flooder, "flooder", Counts::default()).await;
    until_counts(&victim, "victim", before).await;
}

/// An honest peer that has met the victim, and goes on.
async fn honest(relay: &Node, victim: &mut Node) -> Node {
    let mut honest = Node::new(Kind::Private).await;
    honest.dial(through(&relay.address, victim.peer)).await;
    honest.direct(victim.peer).await;
    victim.until("honest peer", |seen| matches!(seen, Seen::Direct(..)).then_some(())).await;
    honest.echo(victim.peer, 1_000).await;
    honest
}

async fn place() -> (Node, Node, Node) {
    let relay = Node::new(Kind::Relay).await;
    let mut victim = Node::new(Kind::Private).await;
    victim.reserve(&relay.address).await;
    let honest = honest(&relay, &mut victim).await;
    victim.settled(2).await;
    (relay, victim, honest)
}

/// Why the victim closed its direct connection to a liar.
async fn until_closed(victim: &mut Node, liar: PeerId) -> String {
    let cause = victim
        .until("end of the liar's connection", |seen| match seen {
            Seen::Closed { peer, relayed: false, cause } if peer == liar => Some(cause),
            _ => None,
        })
        .await;
    let Some(ConnectionError::IO(error)) = cause else { panic!("{cause:?}") };
    let closed = error.get_ref().map(ToString::to_string);
    closed.unwrap_or_else(|| error.to_string())
}

/// Why an attempt of somebody else's at the victim failed.
async fn until_incoming_failed(victim: &mut Node) -> String {
    let failed = |seen| if let Seen::IncomingFailed(error) = seen { Some(error) } else { None };
    victim.until("typed error", failed).await
}

async fn baseline(victim: &Node, before: Counts) {
    // The swarm's own streams come and go; what a liar could leave behind is the rest.
    let relevant = |counts: Counts| Counts { channels: 0, resting_ids: 0, ..counts };
    let started = Instant::now();
    // A task that was ending when the baseline was taken may be gone now.
    let is_same = |now: Counts| {
        let tasks = now.tasks.max(before.tasks);
        relevant(Counts { tasks, ..now }) == relevant(before)
    };
    while !is_same(victim.census.counts()) {
        assert!(started.elapsed() < PATIENCE, "{:?}, and {before:?} before", victim.census.counts());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

const MALFORMED: usize = 10_000;
/// So many frames at once: those that come after the connection was closed are wasted.
const FRAMES_EACH: usize = 1_000;

/// A liar that is signalled with, whoever dialled, and the stream for that.
async fn signalling_liar(relay: &Node, victim: &Node, victim_dials: bool) -> (Node, libp2p::Stream) {
    let mut liar = liar::new(&relay.address).await;
    let mut asked = liar::asked(&liar).await;
    let stream = if victim_dials {
        victim.dial(through(&relay.address, liar.peer)).await;
        liar::next(&mut asked).await
    } else {
        liar::circuit(&mut liar, &relay.address, victim.peer).await;
        liar::ask(&liar, victim.peer).await
    };
    (liar, stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_cost_their_sender_its_connection_and_nobody_else_anything() {
    let _alone = ALONE.lock().await;
    let (relay, mut victim, mut honest) = place().await;
    baseline(&victim, Counts { connections: 1, tasks: victim.census.counts().tasks, ..Counts::default() }).await;
    let before = victim.census.counts();
    for victim_dials in [false, true] {
        let (mut sent, mut liars) = (0, 0);
        while sent < MALFORMED {
            let (liar, stream) = signalling_liar(&relay, &victim, victim_dials).await;
            let (flooded, ()) =
                tokio::join!(liar::flood(stream, !victim_dials, FRAMES_EACH), honest.echo(victim.peer, 10_000));
            assert!(flooded > 0, "liar {liars} sent nothing");
            sent += flooded;
            liars += 1;
            let cause = until_closed(&mut victim, liar.peer).await;
            assert!(cause.contains("broke the protocol"), "{cause}");
        }
        eprintln!("{sent} malformed frames cost {liars} connections; the victim dials: {victim_dials}");
    }
    honest.echo(victim.peer, 100_000).await;
    baseline(&victim, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_frames_at_a_direct_listener_cost_their_sender_its_connection_and_nobody_else_anything() {
    let _alone = ALONE.lock().await;
    let (_relay, mut victim, mut honest) = place().await;
    let listener = victim.listen_directly().await;
    baseline(&victim, Counts { connections: 1, tasks: victim.census.counts().tasks, ..Counts::default() }).await;
    let before = victim.census.counts();
    // A stranger who has proven nothing but its address may open channels too.
    for is_authenticated in [false, true] {
        let (mut sent, mut liars) = (0, 0);
        while sent < MALFORMED {
            let identity = is_authenticated.then(Keypair::generate_ed25519);
            let flood = liar::flood_directly(&listener, identity.as_ref(), FRAMES_EACH);
            let (flooded, ()) = tokio::join!(flood, honest.echo(victim.peer, 10_000));
            assert!(flooded > 0, "liar {liars} sent nothing");
            sent += flooded;
            liars += 1;
            let cause = match identity {
                Some(identity) => until_closed(&mut victim, identity.public().to_peer_id()).await,
                None => until_incoming_failed(&mut victim).await,
            };
            assert!(cause.contains(if is_authenticated { "broke the protocol" } else { "Noise" }), "{cause}");
        }
        eprintln!("{sent} malformed frames cost {liars} direct connections; authenticated: {is_authenticated}");
    }
    honest.echo(victim.peer, 100_000).await;
    baseline(&victim, before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_signalling_costs_its_sender_its_connection_and_nobody_else_anything() {
    // So many at once: whoever is cut off before it has sent them all is followed by one more liar.
    const MESSAGES_EACH: usize = 500;
    let _alone = ALONE.lock().await;
    let (relay, mut victim, mut honest) = place().await;
    let before = victim.census.counts();
    let mut errors = BTreeSet::new();
    for victim_dials in [false, true] {
        let (mut sent, mut liars) = (0, 0);
        while sent < MALFORMED {
            let (mut liar, stream) = signalling_liar(&relay, &victim, victim_dials).await;
            // Each begins with another kind: the first message is the one that the victim judges.
            let (raved, ()) = tokio::join!(liar::rave(stream, liars, MESSAGES_EACH), honest.echo(victim.peer, 10_000));
            assert!(raved > 0, "liar {liars} sent nothing");
            sent += raved;
            liars += 1;
            liar::until_cut_off(&mut liar, victim.peer).await;
            let error = victim
                .until("typed error", |seen| match seen {
                    Seen::IncomingFailed(error) if !victim_dials => Some(error),
                    Seen::DialFailed(error) if victim_dials => Some(error),
                    _ => None,
                })
                .await;
            assert!(error.contains("Signal") && error.contains(&liar.peer.to_string()), "{error}");
            errors.insert(error.replace(&liar.peer.to_string(), "PEER"));
        }
        eprintln!("{sent} malformed messages cost {liars} relayed connections; the victim dials: {victim_dials}");
    }
    eprintln!("{errors:#?}");
    honest.echo(victim.peer, 100_000).await;
    baseline(&victim, before).await;
}

/// Attempts of others that a node answers.
async fn answering(node: &Node) -> usize {
    node.ask(|swarm| swarm.behaviour().signalling.as_ref().unwrap().under_way().1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_keeps_nobody_from_signalling() {
    let _alone = ALONE.lock().await;
    let (relay, mut victim, _honest) = place().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        let mut liar = liar::new(&relay.address).await;
        liar::circuit(&mut liar, &relay.address, victim.peer).await;
        let stream = liar::ask(&liar, victim.peer).await;
        silent.push((liar, stream));
    }
    let started = Instant::now();
    while answering(&victim).await < 16 {
        assert!(started.elapsed() < Duration::from_secs(10), "{} attempts", answering(&victim).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let _another = honest(&relay, &mut victim).await;
    let under_way = answering(&victim).await;
    assert!((1..=16).contains(&under_way), "{under_way} attempts of others");
}

#[tokio::test]
async fn every_malformed_address_is_an_error_at_once() {
    let mut transport = bare::transport().0;
    let hash = "uEiBZXiVDHl3eYBfiVMSzvYLWxRIpmHhJ0sXwMyxJNlHdGQ";
    let (peer, relay) = (PeerId::random(), PeerId::random());
    for (address, why) in [
        ("/ip4/1.2.3.4/udp/1/webrtc-direct".to_owned(), "certificate hash"),
        (format!("/ip4/1.2.3.4/udp/1/webrtc-direct/p2p/{peer}"), "certificate hash"),
        (format!("/ip4/1.2.3.4/udp/0/webrtc-direct/certhash/{hash}"), "port 0"),
        (format!("/ip4/0.0.0.0/udp/1/webrtc-direct/certhash/{hash}"), "unspecified"),
        (format!("/ip6/ff02::1/udp/1/webrtc-direct/certhash/{hash}"), "multicast"),
        (format!("/ip4/1.2.3.4/udp/1/webrtc-direct/certhash/{hash}/p2p/{peer}/ip4/1.2.3.4"), "goes on"),
        (format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/webrtc"), "names no peer"),
        (format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/webrtc/p2p/{peer}/tcp/1"), "goes on"),
        ("/webrtc".to_owned(), "names no peer"),
    ] {
        let names_peer = address.contains(&peer.to_string());
        let address: Multiaddr = address.parse().expect(&address);
        let options = libp2p::core::transport::DialOpts {
            role: libp2p::core::Endpoint::Dialer,
            port_use: libp2p::core::transport::PortUse::New,
        };
        let error = match libp2p::Transport::dial(&mut transport, address.clone(), options) {
            Err(TransportError::Other(error)) => error,
            Err(error) => panic!("{address}: {error:?}"),
            Ok(_) => panic!("{address} is dialled"),
        };
        assert!(error.to_string().contains(why), "{address}: {error}");
        assert_eq!(error.peer(), names_peer.then_some(&peer), "{address}: {error}");
        assert_eq!(error.to_string().contains(&peer.to_string()), names_peer, "{address}: {error}");
    }
}

#[tokio::test]
async fn a_dial_that_comes_to_no_signalling_stream_ends_in_time_and_says_of_whom() {
    // Nobody runs the behaviour, so nobody opens one.
    let (mut transport, _behaviour) = bare::transport();
    let peer = PeerId::random();
    let error = bare::dial(&mut transport, Signalled::short(peer)).await.unwrap_err();
    assert_eq!(error.peer(), Some(&peer), "{error}");
    let is_late = matches!(&error, Error::With { error, .. } if matches!(**error, Error::TimedOut { .. }));
    assert!(is_late, "{error}");
}

/// A relay, a victim and a liar.
async fn pair_with_a_liar() -> (Node, Node, Node) {
    let relay = Node::new(Kind::Relay).await;
    let mut victim = Node::new(Kind::Private).await;
    victim.reserve(&relay.address).await;
    let liar = liar::new(&relay.address).await;
    (relay, victim, liar)
}

async fn until_dial_failed(victim: &mut Node) -> String {
    let failed = |seen| if let Seen::DialFailed(error) = seen { Some(error) } else { None };
    victim.until("failed dial", failed).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_certificate_than_the_one_that_was_signalled_is_no_connection() {
    let (relay, mut victim, liar) = pair_with_a_liar().await;
    let mut asked = liar::asked(&liar).await;
    victim.dial(through(&relay.address, liar.peer)).await;
    liar::connect_as_another(liar::next(&mut asked).await, false).await;
    let error = until_dial_failed(&mut victim).await;
    assert!(error.contains("Certificate") && error.contains(&liar.peer.to_string()), "{error}");

    // The circuit that the victim signalled over is still there.
    let stream = liar::ask(&liar, victim.peer).await;
    liar::connect_as_another(stream, true).await;
    let error = until_incoming_failed(&mut victim).await;
    assert!(error.contains("Certificate") && error.contains(&liar.peer.to_string()), "{error}");
    until_counts(&victim.census, "victim", Counts { connections: 0, ..victim.census.counts() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_answers_is_waited_for_no_longer_than_is_said() {
    let (relay, mut victim, liar) = pair_with_a_liar().await;
    let mut asked = liar::asked(&liar).await;
    victim.dial(through(&relay.address, liar.peer)).await;
    let _silent = liar::next(&mut asked).await;
    let error = until_dial_failed(&mut victim).await;
    assert!(error.contains("TimedOut") && error.contains(&liar.peer.to_string()), "{error}");
    assert_eq!(victim.ask(|swarm| swarm.behaviour().signalling.as_ref().unwrap().under_way()).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_candidates_are_a_typed_error() {
    let (relay, mut victim, mut liar) = pair_with_a_liar().await;
    liar::circuit(&mut liar, &relay.address, victim.peer).await;
    let stream = liar::ask(&liar, victim.peer).await;
    liar::name_candidates(stream, 10_000).await;
    let error = until_incoming_failed(&mut victim).await;
    assert!(error.contains("TooManyCandidates") && error.contains(&liar.peer.to_string()), "{error}");
    liar::until_cut_off(&mut liar, victim.peer).await;
}
