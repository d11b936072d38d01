//! Remembered peers as they are stored: bounds, versions, damage.

use meganet_core::limits::{
    PEER_LIST_ADDRESS_MAX_BYTES, PEER_LIST_PEER_ID_MAX_BYTES, REMEMBERED_ADDRESSES_MAX, REMEMBERED_MAX_BYTES,
    REMEMBERED_PEERS_MAX,
};
use meganet_core::peer_list::PeerEntry;
use meganet_core::remembered::{RememberedError, RememberedPeer, encode, parse};
use proptest::prelude::*;

fn remembered(id_bytes: usize, addresses: usize, address_bytes: usize) -> RememberedPeer {
    let addresses = vec![format!("/{}", "x".repeat(address_bytes - 1)); addresses];
    let peer = PeerEntry { peer_id: vec![7; id_bytes], addresses };
    RememberedPeer { peer, since_ms: u64::MAX, last_ms: u64::MAX, failures: u32::MAX, is_dialled: true }
}

fn largest() -> RememberedPeer {
    remembered(PEER_LIST_PEER_ID_MAX_BYTES, REMEMBERED_ADDRESSES_MAX, PEER_LIST_ADDRESS_MAX_BYTES)
}

#[test]
fn a_list_reads_back_also_the_largest() {
    for list in [vec![], vec![remembered(38, 1, 20)], vec![largest(); REMEMBERED_PEERS_MAX]] {
        let bytes = encode(&list).expect("within the bounds");
        assert!(bytes.len() <= REMEMBERED_MAX_BYTES, "{} bytes", bytes.len());
        assert_eq!(parse(&bytes), Ok(list));
    }
}

#[test]
fn bounds_hold_at_their_edges() {
    let index = 0;
    assert_eq!(encode(&vec![largest(); REMEMBERED_PEERS_MAX + 1]), Err(RememberedError::Peer { index: 32 }));
    for wrong in [
        remembered(PEER_LIST_PEER_ID_MAX_BYTES + 1, 1, 20),
        remembered(0, 1, 20),
        remembered(38, REMEMBERED_ADDRESSES_MAX + 1, 20),
        remembered(38, 1, PEER_LIST_ADDRESS_MAX_BYTES + 1),
    ] {
        assert_eq!(encode(&[wrong]), Err(RememberedError::Peer { index }));
    }
    let found = REMEMBERED_MAX_BYTES + 1;
    assert_eq!(parse(&vec![0; found]), Err(RememberedError::TooLarge { found }));
}

#[test]
fn a_list_of_a_later_version_is_told_apart_from_a_damaged_one() {
    // Field 1 is the version; a later one may have fields of which this program knows nothing.
    assert_eq!(parse(&[8, 2, 26, 1, 0]), Err(RememberedError::Version { found: 2 }));
    for damaged in [&[][..], &[8, 0], &[8, 1, 26, 1, 0], &[8, 1, 8, 1], b"damaged"] {
        assert_eq!(parse(damaged), Err(RememberedError::Encoding), "{damaged:?}");
    }
    assert_eq!(parse(&[8, 1, 18, 0]), Err(RememberedError::Peer { index: 0 }), "a peer without an id");
}

proptest! {
    #[test]
    fn whatever_is_on_the_disk_is_read_or_refused(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), place in 0..200_usize) {
        let _ = parse(&bytes);
        let whole = encode(&[remembered(38, 2, 60)]).expect("within the bounds");
        bytes.extend(&whole);
        let _ = parse(&bytes);
        let mut damaged = whole.clone();
        if let Some(byte) = damaged.get_mut(place) {
            *byte ^= 1;
            prop_assert_ne!(parse(&damaged), parse(&whole));
        }
    }
}
