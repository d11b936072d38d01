//! Tests of the behaviour, driven by hand.

use super::{
    super::under_way::{REPLACEMENTS_MAX, SLOW_AFTER},
    *,
};
use libp2p::{
    core::ConnectedPoint,
    swarm::behaviour::{ConnectionClosed, ConnectionEstablished},
};

/// A behaviour that is driven by hand.
struct Bench {
    link: link::Link,
    behaviour: Behaviour,
    peer: PeerId,
    endpoint: ConnectedPoint,
}

impl Bench {
    fn new() -> Self {
        let (link, behaviour) = super::super::new(PeerId::random());
        let circuit = format!("/ip4/1.2.3.4/tcp/1/p2p/{}/p2p-circuit", PeerId::random());
        let endpoint = ConnectedPoint::Dialer {
            address: circuit.parse().unwrap(),
            role_override: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        Self { link, behaviour, peer: PeerId::random(), endpoint }
    }

    fn connected(&mut self, id: usize) {
        self.is_established(ConnectionId::new_unchecked(id));
    }

    fn is_established(&mut self, connection_id: ConnectionId) {
        self.behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: self.peer,
            connection_id,
            endpoint: &self.endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
    }

    fn closed(&mut self, id: usize) {
        self.is_closed(ConnectionId::new_unchecked(id));
    }

    fn is_closed(&mut self, connection_id: ConnectionId) {
        self.behaviour.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id: self.peer,
            connection_id,
            endpoint: &self.endpoint,
            cause: None,
            remaining_established: 0,
        }));
    }

    /// On which connection a stream is wanted now.
    fn opens_on(&mut self) -> Option<ConnectionId> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        match self.behaviour.poll(&mut context) {
            Poll::Ready(ToSwarm::NotifyHandler { handler: NotifyHandler::One(id), .. }) => Some(id),
            _ => None,
        }
    }
}

#[test]
fn a_dial_outlives_one_of_two_relayed_connections_and_not_both() {
    let mut bench = Bench::new();
    bench.connected(1);
    bench.connected(2);
    let opening = bench.link.open(bench.peer);
    assert_eq!(bench.opens_on(), Some(ConnectionId::new_unchecked(2)));
    bench.closed(2);
    assert_eq!(bench.opens_on(), Some(ConnectionId::new_unchecked(1)));
    bench.closed(1);
    assert_eq!(bench.opens_on(), None);
    let error = opening.now_or_never().expect("the dial has ended").err();
    assert!(matches!(error, Some(Error::NoRelay { .. })), "{error:?}");
    assert_eq!(bench.behaviour.under_way(), (0, 0));
}

#[test]
fn a_dial_cares_for_no_other_relayed_connection() {
    let mut bench = Bench::new();
    bench.connected(1);
    bench.connected(2);
    let opening = bench.link.open(bench.peer);
    assert_eq!(bench.opens_on(), Some(ConnectionId::new_unchecked(2)));
    bench.closed(1);
    assert_eq!(bench.opens_on(), None);
    assert_eq!(bench.behaviour.under_way(), (1, 0));
    assert!(opening.now_or_never().is_none());
}

#[test]
fn only_an_attempt_that_found_no_path_says_so_whichever_end_it_was() {
    let mut bench = Bench::new();
    let mut context = Context::from_waker(std::task::Waker::noop());
    for role in [Endpoint::Dialer, Endpoint::Listener] {
        for (end, is_told) in [(End::Failed, false), (End::Connected, false), (End::NoPath, true)] {
            let on = ConnectionId::new_unchecked(1);
            bench.behaviour.on_over(Over { number: 0, peer: bench.peer, role, on, end });
            let told = bench.behaviour.poll(&mut context);
            let told =
                matches!(told, Poll::Ready(ToSwarm::GenerateEvent(Event::NoDirectPath { peer })) if peer == bench.peer);
            assert_eq!(told, is_told, "{role:?} {end:?}");
        }
    }
}

#[test]
fn the_silent_make_room_first_then_the_slow_and_never_the_connected() {
    let mut bench = Bench::new();
    let now_ms = 100_000;
    let slow_ms = now_ms - SLOW_AFTER.as_millis() as u64;
    let mut peers = Vec::new();
    // Each has begun or not, is connected or not, and is so old.
    for (number, (has_begun, is_connected, since_ms)) in
        [(true, true, 0), (true, false, slow_ms + 1), (true, false, slow_ms), (false, false, now_ms)]
            .into_iter()
            .enumerate()
    {
        let (has_begun, is_connected) = (has_begun.into(), is_connected.into());
        let how_far = Arc::new(HowFar { has_begun, is_connected, ..HowFar::default() });
        let (displace, displaced) = oneshot::channel();
        let on = ConnectionId::new_unchecked(1);
        let attempt = Attempt { number: number as u64, on, since_ms, displace, how_far, replaced: 0 };
        let peer = PeerId::random();
        bench.behaviour.answering.insert(peer, attempt);
        peers.push((peer, displaced));
    }
    for expected in [3, 2] {
        assert!(bench.behaviour.make_room(now_ms));
        let (peer, displaced) = &mut peers[expected];
        assert!(!bench.behaviour.is_answering(peer));
        assert!(matches!(displaced.try_recv(), Ok(Some(Error::Busy))));
    }
    assert!(!bench.behaviour.make_room(now_ms), "one is young and one is connected");
    assert!(bench.behaviour.make_room(now_ms + 1), "now it is slow");
    assert!(!bench.behaviour.make_room(u64::MAX));
    assert!(bench.behaviour.is_answering(&peers[0].0));
}

impl Bench {
    /// An attempt of this kind on a connection.
    fn attempt(&self, number: u64, on: usize, has_begun: bool, is_connected: bool) -> Attempt {
        let how_far = HowFar { has_begun: has_begun.into(), is_connected: is_connected.into(), ..HowFar::default() };
        let (displace, _) = oneshot::channel();
        let on = ConnectionId::new_unchecked(on);
        Attempt { number, on, since_ms: 0, displace, how_far: how_far.into(), replaced: 0 }
    }

    /// Which connections are to be closed now.
    fn closes(&mut self) -> Vec<ConnectionId> {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut closed = Vec::new();
        while let Poll::Ready(ToSwarm::CloseConnection { connection: CloseConnection::One(id), .. }) =
            self.behaviour.poll(&mut context)
        {
            closed.push(id);
        }
        closed
    }
}

#[test]
fn a_dial_takes_no_relayed_connection_that_has_brought_one_about() {
    let mut bench = Bench::new();
    bench.connected(1);
    let stage = Stage::Signalling(bench.attempt(0, 1, true, true));
    bench.behaviour.dials.insert(bench.peer, stage);
    let opening = bench.link.open(bench.peer);
    assert_eq!(bench.opens_on(), None);
    let error = opening.now_or_never().expect("no relay is known").err();
    assert!(matches!(error, Some(Error::NoRelay { .. })), "{error:?}");
    bench.connected(2);
    let _opening = bench.link.open(bench.peer);
    assert_eq!(bench.opens_on(), Some(ConnectionId::new_unchecked(2)));
}

#[test]
fn an_attempt_that_came_to_a_connection_closes_its_own_relayed_one_and_none_of_the_next() {
    let (on, role) = (ConnectionId::new_unchecked(1), Endpoint::Listener);
    let mut bench = Bench::new();
    for id in [1, 2, 3] {
        bench.connected(id);
    }
    bench.behaviour.relayed.get_mut(&bench.peer).unwrap()[2].is_own = true;
    let attempt = bench.attempt(0, 1, true, true);
    bench.behaviour.answering.insert(bench.peer, attempt);
    bench.behaviour.on_over(Over { number: 0, peer: bench.peer, role, on, end: End::Connected });
    // The third was dialled for an attempt that gave way.
    assert_eq!(bench.closes(), [on, ConnectionId::new_unchecked(3)]);

    // The other end has begun anew on the same one.
    let mut bench = Bench::new();
    bench.connected(1);
    bench.behaviour.spend(&bench.peer, on, 0);
    let attempt = bench.attempt(1, 1, true, false);
    bench.behaviour.answering.insert(bench.peer, attempt);
    bench.behaviour.on_over(Over { number: 0, peer: bench.peer, role: Endpoint::Dialer, on, end: End::Connected });
    assert_eq!(bench.closes(), []);
}

#[test]
fn a_stream_that_is_on_its_way_is_not_asked_for_twice() {
    let mut bench = Bench::new();
    bench.connected(1);
    let first = bench.link.open(bench.peer);
    assert_eq!(bench.opens_on(), Some(ConnectionId::new_unchecked(1)));
    // It gave way to the other end's.
    bench.behaviour.dials.clear();
    assert!(first.now_or_never().is_some());
    let second = bench.link.open(bench.peer);
    assert_eq!(bench.opens_on(), None);
    let lost = Err(NoStream::Lost("gone".to_owned()));
    bench.behaviour.on_outbound(bench.peer, ConnectionId::new_unchecked(1), lost);
    let error = second.now_or_never().expect("the stream was for this one").err();
    assert!(matches!(error, Some(Error::NoRelay { .. })), "{error:?}");
}

#[test]
fn only_an_attempt_that_may_be_given_up_gives_way_to_the_same_peers_next_and_not_without_end() {
    let mut bench = Bench::new();
    let now_ms = SLOW_AFTER.as_millis() as u64;
    let may_replace = |attempt: &Attempt| attempt.replaceable(now_ms - 1);
    assert_eq!(may_replace(&bench.attempt(0, 1, true, false)), None, "it is under way");
    assert_eq!(may_replace(&bench.attempt(0, 1, false, false)), Some(1), "it is silent");
    assert_eq!(bench.attempt(0, 1, true, false).replaceable(now_ms), Some(1), "it is slow");
    bench.connected(1);
    let attempt = bench.attempt(0, 1, true, false);
    bench.behaviour.answering.insert(bench.peer, attempt);
    bench.closed(1);
    assert_eq!(may_replace(&bench.behaviour.answering[&bench.peer]), Some(1), "its connection is gone");
    let often = Attempt { replaced: REPLACEMENTS_MAX, ..bench.attempt(0, 1, false, false) };
    assert_eq!(may_replace(&often), None);
}

impl Bench {
    /// Which of these relays the peer is dialled through now, and that dial.
    fn dials(&mut self, relays: &[PeerId]) -> (Vec<PeerId>, ConnectionId) {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(ToSwarm::Dial { opts }) = self.behaviour.poll(&mut context) else { panic!("no dial") };
        // libp2p tells of its addresses in this way only.
        let addresses = format!("{opts:?}");
        let is_named = |relay: &&PeerId| addresses.contains(&relay.to_string());
        (relays.iter().filter(is_named).copied().collect(), opts.connection_id())
    }

    fn failed(&mut self, connection_id: ConnectionId) {
        let error = &DialError::NoAddresses;
        let failure = libp2p::swarm::DialFailure { peer_id: Some(self.peer), error, connection_id };
        self.behaviour.on_swarm_event(FromSwarm::DialFailure(failure));
    }
}

#[test]
fn relays_that_are_connected_come_first_and_strangers_a_few_at_a_time() {
    let mut bench = Bench::new();
    let relays: Vec<_> = (0..4).map(|_| PeerId::random()).collect();
    for relay in relays.iter().rev() {
        let address = format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/webrtc/p2p/{}", bench.peer);
        bench.behaviour.routes.learn(&address.parse().unwrap()).unwrap();
    }
    // Over a circuit to it nobody asks a relay for another.
    let peer = std::mem::replace(&mut bench.peer, relays[0]);
    bench.connected(1);
    let direct = ConnectedPoint::Listener {
        local_addr: "/ip4/1.2.3.4/tcp/1".parse().unwrap(),
        send_back_addr: "/ip4/1.2.3.5/tcp/1".parse().unwrap(),
    };
    let circuit = std::mem::replace(&mut bench.endpoint, direct);
    bench.peer = relays[2];
    bench.connected(2);
    (bench.peer, bench.endpoint) = (peer, circuit);
    let (reply, mut opened) = oneshot::channel();
    bench.behaviour.on_request(Request { peer, reply });
    for expected in [vec![relays[2]], vec![relays[0], relays[1]], vec![relays[3]]] {
        assert!(matches!(opened.try_recv(), Ok(None)), "it goes on");
        let (dialled, id) = bench.dials(&relays);
        assert_eq!(dialled, expected);
        // One that lets it through and cuts it then is none other than one that refuses.
        if expected.contains(&relays[2]) {
            bench.is_established(id);
            assert_eq!(bench.opens_on(), Some(id));
            bench.is_closed(id);
        } else {
            bench.failed(id);
        }
    }
    assert!(matches!(opened.try_recv(), Ok(Some(Err(Error::NoRelay { .. })))));
    assert!(!bench.behaviour.is_signalling(&peer));
}

#[test]
fn a_dial_that_nobody_waits_for_is_in_no_others_way_and_tries_no_further_relay() {
    let mut bench = Bench::new();
    let peer = bench.peer;
    let relays: Vec<_> = (0..3).map(|_| PeerId::random()).collect();
    for relay in &relays {
        let address = format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/webrtc/p2p/{peer}");
        bench.behaviour.routes.learn(&address.parse().unwrap()).unwrap();
    }
    let (reply, opened) = oneshot::channel();
    bench.behaviour.on_request(Request { peer, reply });
    let _first = bench.dials(&relays);
    drop(opened);
    let (reply, mut opened) = oneshot::channel();
    bench.behaviour.on_request(Request { peer, reply });
    assert!(matches!(opened.try_recv(), Ok(None)), "it goes on");
    let (dialled, second) = bench.dials(&relays);
    assert_eq!(dialled.len(), STRANGE_RELAYS_AT_ONCE);
    drop(opened);
    bench.failed(second);
    assert_eq!(bench.behaviour.under_way(), (0, 0));
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(!matches!(bench.behaviour.poll(&mut context), Poll::Ready(ToSwarm::Dial { .. })));
}

#[test]
fn a_dial_gives_way_to_an_attempt_that_the_transport_takes_and_to_no_other() {
    for is_taken in [true, false] {
        let Bench { link, mut behaviour, mut peer, .. } = Bench::new();
        // Of two that dial at once the higher gives way.
        if !gives_way(&behaviour.local, &peer) {
            std::mem::swap(&mut behaviour.local, &mut peer);
        }
        let address = format!("/ip4/1.2.3.4/tcp/1/p2p/{}/p2p-circuit/webrtc/p2p/{peer}", PeerId::random());
        behaviour.routes.learn(&address.parse().unwrap()).unwrap();
        let (reply, mut opened) = oneshot::channel();
        behaviour.on_request(Request { peer, reply });
        // A transport that is gone takes no more than one that has its queue full.
        let _link = is_taken.then_some(link);
        assert_eq!(behaviour.make_way(peer, 0), is_taken.then_some(0));
        if is_taken {
            assert!(matches!(opened.try_recv(), Ok(Some(Err(Error::Superseded { .. })))));
        } else {
            assert!(matches!(opened.try_recv(), Ok(None)), "it goes on");
        }
        assert_eq!(behaviour.under_way(), (usize::from(!is_taken), 0));
    }
}

#[test]
fn a_dial_beyond_the_bound_is_refused_until_one_is_over() {
    let mut bench = Bench::new();
    let relay = PeerId::random();
    let dial = |bench: &mut Bench| {
        let peer = PeerId::random();
        let address = format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/webrtc/p2p/{peer}");
        bench.behaviour.routes.learn(&address.parse().unwrap()).unwrap();
        let (reply, opened) = oneshot::channel();
        bench.behaviour.on_request(Request { peer, reply });
        opened
    };
    let mut dials: Vec<_> = (0..OUTBOUND_ATTEMPTS_MAX).map(|_| dial(&mut bench)).collect();
    for opened in &mut dials {
        assert!(matches!(opened.try_recv(), Ok(None)), "it goes on");
    }
    assert!(matches!(dial(&mut bench).try_recv(), Ok(Some(Err(Error::Busy)))));
    assert_eq!(bench.behaviour.under_way(), (OUTBOUND_ATTEMPTS_MAX, 0));
    // Nobody waits for one of them any more.
    dials.pop();
    dials.push(dial(&mut bench));
    for opened in &mut dials {
        assert!(matches!(opened.try_recv(), Ok(None)), "it goes on");
    }
    assert!(matches!(dial(&mut bench).try_recv(), Ok(Some(Err(Error::Busy)))), "there was one place");
}
