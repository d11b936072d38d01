//! Peer lists: signatures, bounds, times.

use meganet_core::limits::{
    CLOCK_SKEW_MAX_MS, PEER_LIST_ADDRESS_MAX_BYTES, PEER_LIST_MAX_ADDRESSES, PEER_LIST_MAX_BYTES, PEER_LIST_MAX_PEERS,
    PEER_LIST_PEER_ID_MAX_BYTES,
};
use meganet_core::peer_list::{PeerEntry, PeerList, PeerListError, parse, sign};
use proptest::prelude::*;
use tor_llcrypto::pk::ed25519::Keypair;

use crate::common::{NOW_MS, Rng, pb};

const SEED: [u8; 32] = [3; 32];

pub fn list() -> PeerList {
    let peer = |number: u8| PeerEntry {
        peer_id: vec![number; 38],
        addresses: vec![format!("/ip4/127.0.0.1/udp/{number}/quic-v1"), "/dns4/localhost/tcp/4001".into()],
    };
    PeerList { issued_ms: NOW_MS, expires_ms: NOW_MS + 3_600_000, peers: vec![peer(1), peer(2)] }
}

#[test]
fn a_list_reads_back_with_its_key() {
    let bytes = sign(&SEED, &list()).expect("signable");
    let key = Keypair::from_bytes(&SEED).verifying_key().to_bytes();
    assert_eq!(parse(&bytes, NOW_MS), Ok((list(), key)));
    let empty = PeerList { peers: vec![], ..list() };
    assert_eq!(parse(&sign(&SEED, &empty).expect("signable"), NOW_MS).expect("valid").0, empty);
}

#[test]
fn a_list_is_valid_from_its_issue_to_its_end() {
    let bytes = sign(&SEED, &list()).expect("signable");
    assert!(parse(&bytes, NOW_MS - CLOCK_SKEW_MAX_MS).is_ok());
    let ahead_ms = CLOCK_SKEW_MAX_MS + 1;
    assert_eq!(parse(&bytes, NOW_MS - ahead_ms), Err(PeerListError::Future { ahead_ms }));
    assert!(parse(&bytes, NOW_MS + 3_599_999).is_ok());
    assert_eq!(parse(&bytes, NOW_MS + 3_600_000), Err(PeerListError::Expired { ago_ms: 0 }));
    assert_eq!(
        parse(&bytes, u64::MAX).map(|_| ()),
        Err(PeerListError::Expired { ago_ms: u64::MAX - NOW_MS - 3_600_000 })
    );
    for (issued_ms, expires_ms) in [(5, 5), (5, 4), (u64::MAX, 0)] {
        assert_eq!(sign(&SEED, &PeerList { issued_ms, expires_ms, ..list() }), Err(PeerListError::Times));
    }
}

#[test]
fn bounds_hold_at_their_edges() {
    let with = |peers: Vec<PeerEntry>| sign(&SEED, &PeerList { peers, ..list() }).map(|_| ());
    let peer = |id: usize, addresses: usize, len: usize| PeerEntry {
        peer_id: vec![1; id],
        addresses: vec![format!("/{}", "x".repeat(len - 1)); addresses],
    };
    assert_eq!(
        with(vec![peer(PEER_LIST_PEER_ID_MAX_BYTES, PEER_LIST_MAX_ADDRESSES, PEER_LIST_ADDRESS_MAX_BYTES)]),
        Ok(())
    );
    assert_eq!(with(vec![peer(38, 1, 20); PEER_LIST_MAX_PEERS]), Ok(()));
    let refused = |index| Err(PeerListError::Peer { index });
    assert_eq!(with(vec![peer(38, 1, 20); PEER_LIST_MAX_PEERS + 1]), refused(PEER_LIST_MAX_PEERS));
    assert_eq!(with(vec![peer(38, 1, 20), peer(0, 1, 20)]), refused(1));
    assert_eq!(with(vec![peer(PEER_LIST_PEER_ID_MAX_BYTES + 1, 1, 20)]), refused(0));
    assert_eq!(with(vec![peer(38, PEER_LIST_MAX_ADDRESSES + 1, 20)]), refused(0));
    assert_eq!(with(vec![peer(38, 1, PEER_LIST_ADDRESS_MAX_BYTES + 1)]), refused(0));
    for address in ["", "ip4/1.2.3.4", "/ip4/1.2.3.4\n", "/ip4/ä", "/a b"] {
        assert_eq!(
            with(vec![PeerEntry { peer_id: vec![1], addresses: vec![address.into()] }]),
            refused(0),
            "{address:?}"
        );
    }
    let many = vec![peer(64, 8, 256); PEER_LIST_MAX_PEERS];
    assert!(matches!(with(many), Err(PeerListError::TooLarge { .. })));
    assert_eq!(
        parse(&vec![0; PEER_LIST_MAX_BYTES + 1], NOW_MS),
        Err(PeerListError::TooLarge { found: PEER_LIST_MAX_BYTES + 1 })
    );
}

fn signed(body: &[u8], domain: &[u8]) -> Vec<u8> {
    let key = Keypair::from_bytes(&SEED);
    let signature = key.sign(&[domain, body].concat()).to_bytes();
    [pb::bytes(1, body), pb::bytes(2, &key.verifying_key().to_bytes()), pb::bytes(3, &signature)].concat()
}

#[test]
fn case_13_signatures_from_another_context_are_not_peer_lists() {
    let body = [pb::uint(1, 1), pb::uint(2, NOW_MS), pb::uint(3, NOW_MS + 1_000)].concat();
    assert!(parse(&signed(&body, b"meganet-peer-list-v1\0"), NOW_MS).is_ok());
    for domain in [&b""[..], b"meganet-head-v1\0", b"meganet-peer-list-v1"] {
        assert_eq!(parse(&signed(&body, domain), NOW_MS), Err(PeerListError::Signature));
    }
}

#[test]
fn case_12_only_the_canonical_encoding_is_read() {
    let parse = |bytes: &[u8]| parse(bytes, NOW_MS).map(|_| ());
    let times = [pb::uint(2, NOW_MS), pb::uint(3, NOW_MS + 1_000)].concat();
    let domain = b"meganet-peer-list-v1\0";
    let body = [pb::uint(1, 1), times.clone()].concat();
    for body in [
        [body.clone(), pb::uint(9, 1)].concat(),
        [pb::uint(1, 1), body.clone()].concat(),
        [vec![0x08, 0x81, 0x00], times.clone()].concat(),
        [times.clone(), pb::uint(1, 1)].concat(),
    ] {
        assert_eq!(parse(&signed(&body, domain)), Err(PeerListError::Encoding));
    }
    assert_eq!(parse(&[signed(&body, domain), vec![0]].concat()), Err(PeerListError::Encoding));
    let version = [pb::uint(1, 2), times].concat();
    assert_eq!(parse(&signed(&version, domain)), Err(PeerListError::Version { found: 2 }));
    let mut weak = [0; 32];
    weak[0] = 1;
    let bytes = [pb::bytes(1, &body), pb::bytes(2, &weak), pb::bytes(3, &[0; 64])].concat();
    assert_eq!(parse(&bytes), Err(PeerListError::Key));
    let bytes = [pb::bytes(1, &body), pb::bytes(2, &weak[..31]), pb::bytes(3, &[0; 64])].concat();
    assert_eq!(parse(&bytes), Err(PeerListError::Encoding));
}

#[test]
fn case_11_truncated_and_bit_flipped_lists_are_errors() {
    let bytes = sign(&SEED, &list()).expect("signable");
    for len in 0..bytes.len() {
        assert!(parse(&bytes[..len], NOW_MS).is_err(), "truncated to {len}");
    }
    let mut rng = Rng(5);
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1 << rng.below(8);
        assert!(parse(&flipped, NOW_MS).is_err(), "byte {place}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_list_reads_back(
        seed: [u8; 32],
        issued_ms in 0_u64..=NOW_MS,
        peers in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 1..=64), proptest::collection::vec("/[!-~]{0,60}", 0..=4)), 0..=20),
    ) {
        let peers = peers.into_iter().map(|(peer_id, addresses)| PeerEntry { peer_id, addresses }).collect();
        let list = PeerList { issued_ms, expires_ms: NOW_MS + 1, peers };
        let bytes = sign(&seed, &list).expect("signable");
        prop_assert_eq!(parse(&bytes, NOW_MS).expect("valid").0, list);
    }
}
