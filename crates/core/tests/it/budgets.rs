//! The budgets have the values of the project's table. Changing one is a decision: change it here too, and say why there.

use meganet_core::limits::*;

#[test]
fn budgets_are_those_of_the_table() {
    assert_eq!(HEAD_MAX_BYTES, 4 * 1_024);
    assert_eq!(MANIFEST_MAX_BYTES, 1_024 * 1_024);
    assert_eq!((MANIFEST_MAX_ENTRIES, MANIFEST_MAX_CHUNKS), (10_000, 20_000));
    assert_eq!((PATH_MAX_BYTES, PATH_MAX_DEPTH), (512, 32));
    assert_eq!(SITE_AUTO_FETCH_MAX_BYTES, 64 * 1_024 * 1_024);
    assert_eq!(CHUNK_MAX_BYTES, 256 * 1_024);
    assert_eq!(CHUNK_CONTENT_MAX_BYTES, CHUNK_MAX_BYTES - 16);
    assert_eq!(PACK_FILE_MAX_BYTES, 64 * 1_024);
    assert_eq!((CHUNKS_IN_FLIGHT_PER_PEER, CHUNKS_IN_FLIGHT), (16, 64));
    assert_eq!((CHUNK_TIMEOUT_MS, CHUNK_FLOOR_BYTES_PER_S), (10_000, 2_048));
    assert_eq!(CLOCK_SKEW_MAX_MS, 10 * 60 * 1_000);
    assert_eq!(SEQUENCE_JUMP_MAX, 1 << 32);
    assert_eq!(FRAME_MAX_BYTES, 16_000);
    assert_eq!((PEER_LIST_MAX_BYTES, PEER_LIST_MAX_PEERS, PEER_LIST_MAX_ADDRESSES), (16 * 1_024, 32, 8));
    assert_eq!((PEER_LIST_ADDRESS_MAX_BYTES, PEER_LIST_PEER_ID_MAX_BYTES), (256, 64));
    assert_eq!((REMEMBERED_PEERS_MAX, REMEMBERED_ADDRESSES_MAX, REMEMBERED_MAX_BYTES), (32, 3, 32 * 1_024));
    assert_eq!((TITLE_MAX_BYTES, MEDIA_TYPE_MAX_BYTES), (200, 100));
}

#[test]
fn budgets_fit_each_other() {
    assert_eq!(MANIFEST_MAX_BYTES.div_ceil(CHUNK_CONTENT_MAX_BYTES), HEAD_MANIFEST_CHUNKS_MAX);
    const {
        assert!(PACK_FILE_MAX_BYTES as usize <= CHUNK_CONTENT_MAX_BYTES);
        assert!(CHUNKS_IN_FLIGHT_PER_PEER <= REQUESTS_OPEN_MAX, "a peer answers all that is asked of it at once");
        assert!(CREDIT_WINDOW_BYTES as usize >= CHUNK_MAX_BYTES, "a chunk comes whole on the first credit");
        assert!(CREDIT_MAX_BYTES as usize >= REQUESTS_OPEN_MAX * CHUNK_MAX_BYTES);
        assert!(CHUNK_FLOOR_GRACE_MS < CHUNK_TIMEOUT_MS);
        assert!(LINK_MAX_BYTES > 56 + PATH_MAX_BYTES * 3);
    }
}
