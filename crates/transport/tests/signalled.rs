//! Real swarms on loopback: a relay, and peers that only it brings together.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it finds a fault"
)]

#[path = "support/handshake.rs"]
mod handshake;
#[path = "support/liar.rs"]
mod liar;
mod support;

use futures::{FutureExt, StreamExt};
use libp2p::PeerId;
use libp2p_stream::OpenStreamError;
use meganet_transport::proto::address::Signalled;
use std::time::Duration;
use support::{ECHO, Kind, Node, Seen, through};

/// What does not wait for a limit takes no longer; an attempt may take 20 s.
const SOON: Duration = Duration::from_secs(10);
/// Dials one after the other between the same two.
const REDIALS: usize = 100;

/// Both peers are on this machine, and each knows it of the other, whose address does not say it.
async fn know_each_others_host(peers: [&Node; 2]) {
    for (node, other) in [(peers[0], peers[1].peer), (peers[1], peers[0].peer)] {
        let known = node.ask(move |swarm| {
            let hosts = swarm.behaviour().signalling.as_ref().unwrap().hosts();
            (hosts.of(&other), hosts.known())
        });
        let (host, known) = known.await;
        assert!(host.is_some_and(|host| host.is_loopback()), "{host:?}");
        assert_eq!(known, 1, "one of each peer, however often it connects, and none of the relay");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_private_peers_meet_and_leave_the_relay() {
    let (relay, mut a, mut b) =
        (Node::new(Kind::Relay).await, Node::new(Kind::Private).await, Node::new(Kind::Private).await);
    b.reserve(&relay.address).await;
    a.dial(through(&relay.address, b.peer)).await;
    let endpoint = a.direct(b.peer).await;
    assert_eq!(endpoint.get_remote_address(), &Signalled::short(b.peer));
    b.direct(a.peer).await;
    a.echo(b.peer, 1 << 20).await;
    b.echo(a.peer, 1 << 20).await;
    for node in [&a, &b] {
        // The relay's and the direct one.
        node.settled(2).await;
        assert_eq!(node.ask(|swarm| swarm.behaviour().signalling.as_ref().unwrap().under_way()).await, (0, 0));
    }
    know_each_others_host([&a, &b]).await;
    a.echo(b.peer, 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dial_at_once_and_one_connection_comes_of_it() {
    let relay = Node::new(Kind::Relay).await;
    for _ in 0..10 {
        let (mut a, mut b) = (Node::new(Kind::Private).await, Node::new(Kind::Private).await);
        a.reserve(&relay.address).await;
        b.reserve(&relay.address).await;
        futures::join!(a.dial(through(&relay.address, b.peer)), b.dial(through(&relay.address, a.peer)));
        let (lower, higher) = if a.peer.to_bytes() < b.peer.to_bytes() { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let endpoint = lower.direct(higher.peer).await;
        assert!(endpoint.is_dialer(), "the lower peer id's dial wins");
        let direct = |seen| match seen {
            Seen::Direct(..) => Some(()),
            // What gave way is not taken for a failure.
            Seen::DialFailed(error) if !error.contains("Superseded") => panic!("{error}"),
            _ => None,
        };
        higher.until("direct connection", direct).await;
        lower.echo(higher.peer, 1_000).await;
        for (node, other) in [(&a, b.peer), (&b, a.peer)] {
            // The relay's, and one that carries streams which keep off relayed ones.
            node.settled(2).await;
            assert!(node.ask(move |swarm| swarm.is_connected(&other)).await);
        }
        a.echo(b.peer, 1_000).await;
        b.echo(a.peer, 1_000).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protocols_other_than_signalling_stay_off_a_relayed_connection() {
    let (relay, mut b) = (Node::new(Kind::Relay).await, Node::new(Kind::Private).await);
    b.reserve(&relay.address).await;
    // It speaks every protocol on every connection.
    let mut liar = liar::new(&relay.address).await;
    liar::circuit(&mut liar, &relay.address, b.peer).await;
    b.until("circuit", |seen| matches!(seen, Seen::Relayed).then_some(())).await;
    let mut raw = liar.raw.clone().unwrap();

    // None is accepted there.
    let refused = raw.open_stream(b.peer, ECHO).await.err();
    assert!(matches!(refused, Some(OpenStreamError::UnsupportedProtocol(_))), "{refused:?}");

    // None is opened there: it fails, or waits for another connection.
    let mut streams = b.streams.clone();
    let mut from_b = raw.accept(ECHO).unwrap();
    let mut opening = Box::pin(streams.open_stream(liar.peer, ECHO));
    for _ in 0..100 {
        let opened = opening.as_mut().now_or_never();
        let is_over = opened.is_some();
        assert!(!matches!(opened, Some(Ok(_))), "a stream on a relayed connection");
        if is_over {
            break;
        }
        // Its swarm takes a turn.
        b.ask(|_| ()).await;
    }
    // What is meant for it goes through meanwhile.
    let _signalling = liar::ask(&liar, b.peer).await;
    assert!(from_b.next().now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dial_in_the_moment_in_which_a_connection_ended_succeeds() {
    let (relay, mut a, mut b) =
        (Node::new(Kind::Relay).await, Node::new(Kind::Private).await, Node::new(Kind::Private).await);
    a.reserve(&relay.address).await;
    b.reserve(&relay.address).await;
    // The relayed connection of the round before is being closed, or still to be, at either end.
    for round in 0..REDIALS {
        a.connect(b.peer, &relay.address).await;
        b.until("direct connection", |seen| matches!(seen, Seen::Direct(..)).then_some(())).await;
        if round % 2 == 0 {
            b.close(a.peer).await;
            a.ended(b.peer).await;
        } else {
            a.close(b.peer).await;
            b.ended(a.peer).await;
            std::mem::swap(&mut a, &mut b);
        }
    }
    // The other end may not have it yet.
    for _ in 0..REDIALS {
        a.connect(b.peer, &relay.address).await;
        a.close(b.peer).await;
        a.ended(b.peer).await;
    }
    a.dial(through(&relay.address, b.peer)).await;
    a.direct(b.peer).await;
    a.echo(b.peer, 1_000).await;
    know_each_others_host([&a, &b]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_peer_relays_for_others() {
    // Peer `middle` listens nowhere but `/webrtc`; it signals for two that it is connected to.
    let (relay, mut middle) = (Node::new(Kind::Relay).await, Node::new(Kind::Relay).await);
    let (mut a, mut b) = (Node::new(Kind::Private).await, Node::new(Kind::Private).await);
    middle.ask(|swarm| swarm.add_external_address("/webrtc".parse().unwrap())).await;
    middle.reserve(&relay.address).await;
    for node in [&mut a, &mut b] {
        node.dial(through(&relay.address, middle.peer)).await;
        node.direct(middle.peer).await;
    }
    drop(relay);
    b.reserve(&Signalled::short(middle.peer)).await;
    a.dial(through(&Signalled::short(middle.peer), b.peer)).await;
    a.direct(b.peer).await;
    a.echo(b.peer, 1 << 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_listen_tells_others_so_and_keeps_nothing_of_their_attempts() {
    let (relay, mut a, mut b) =
        (Node::new(Kind::Relay).await, Node::new(Kind::Private).await, Node::new(Kind::Private).await);
    a.reserve(&relay.address).await;
    b.reserve(&relay.address).await;
    let listener = b.listener;
    assert!(b.ask(move |swarm| swarm.remove_listener(listener)).await);
    a.dial(through(&relay.address, b.peer)).await;
    let failed = a.until("failure", |seen| matches!(seen, Seen::DialFailed(_)).then_some(()));
    tokio::time::timeout(SOON, failed).await.expect("told at once, not when its time is up");
    let over = async {
        while b.ask(|swarm| swarm.behaviour().signalling.as_ref().unwrap().under_way()).await != (0, 0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, over).await.expect("nothing is left of it");
    // It dials as before, whichever of the two gives way to the other.
    b.connect(a.peer, &relay.address).await;
    b.echo(a.peer, 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_reservation_is_a_typed_error() {
    let (relay, mut a) = (Node::new(Kind::Relay).await, Node::new(Kind::Private).await);
    let stranger = PeerId::random();
    a.dial(through(&relay.address, stranger)).await;
    let error = a
        .until("failure", |seen| match seen {
            Seen::DialFailed(error) if error.contains("NoRelay") => Some(error),
            _ => None,
        })
        .await;
    assert!(error.contains(&stranger.to_string()), "{error}");
    a.dial(Signalled::short(stranger)).await;
    a.until("failure", |seen| matches!(seen, Seen::DialFailed(_)).then_some(())).await;
}
