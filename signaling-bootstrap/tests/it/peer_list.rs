//! The signed list of peers.

use crate::support::{FREE_PORTS, Response, Server};
use libp2p::{Multiaddr, PeerId, identity};
use meganet_core::peer_list::{self, PeerList};
use meganet_node::{Node, config::NodeConfig, store::MemoryStore};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

const PEERS: &str = "/.well-known/meganet/peers";
/// The list is renewed every 10 s.
const LISTED_WITHIN: Duration = Duration::from_secs(90);

fn list(response: &Response) -> (PeerList, [u8; 32]) {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
    peer_list::parse(&response.body, now_ms).unwrap()
}

#[test]
fn the_list_verifies_and_names_the_server_with_its_addresses() {
    let server = Server::start();
    let response = server.get(&server.host(), PEERS);
    assert_eq!(response.header("content-type"), Some("application/octet-stream"));
    assert_eq!(response.header("cache-control"), Some("public, max-age=10"));
    assert_eq!(response.header("access-control-allow-origin"), None);
    let (list, key) = list(&response);
    assert!(list.expires_ms - list.issued_ms <= 2 * 3_600_000);
    let own = &list.peers[0];
    let peer = PeerId::from_bytes(&own.peer_id).unwrap();
    assert_eq!(peer.to_string(), server.ready["peer_id"]);
    let key = identity::PublicKey::from(identity::ed25519::PublicKey::try_from_bytes(&key).unwrap());
    assert_eq!(key.to_peer_id(), peer, "signed by the server's own key");

    let addresses: Vec<Multiaddr> = own.addresses.iter().map(|address| address.parse().unwrap()).collect();
    let ready: Vec<_> = server.ready["addresses"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    for address in &own.addresses {
        assert!(ready.contains(&address.as_str()), "{address} is not among {ready:?}");
        assert!(address.ends_with(&format!("/p2p/{peer}")), "{address}");
    }
    assert_eq!(addresses.len(), 4);
    assert!(own.addresses[0].contains("/webrtc-direct/certhash/"), "what a tab dials comes first: {:?}", own.addresses);
}

#[test]
fn key_and_certificate_stay_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let direct = ["--p2p-listen", "/ip4/127.0.0.1/udp/0/webrtc-direct"];
    let first = Server::start_in(dir, &direct);
    let (before, key_before) = list(&first.get(&first.host(), PEERS));
    let (code, dir) = first.stop("TERM");
    assert_eq!(code, Some(0));
    let second = Server::start_in(dir, &direct);
    let (after, key_after) = list(&second.get(&second.host(), PEERS));
    assert_eq!(key_before, key_after);
    assert_eq!(before.peers[0].peer_id, after.peers[0].peer_id);
    let hash = |list: &PeerList| {
        let address = &list.peers[0].addresses[0];
        address.split("/certhash/").nth(1).map(|rest| rest.split('/').next().unwrap().to_owned()).unwrap()
    };
    assert_eq!(hash(&before), hash(&after));
}

#[test]
fn external_addresses_replace_those_that_only_this_machine_reaches() {
    let dir = tempfile::tempdir().unwrap();
    let mut more = vec!["--external", "/ip4/203.0.113.5/udp/4001/webrtc-direct", "--external", "/ip4/203.0.113.5"];
    more.extend(["--p2p-listen", "/ip4/127.0.0.1/udp/0/webrtc-direct"]);
    more.extend(FREE_PORTS);
    let server = Server::start_in(dir, &more);
    let (list, _) = list(&server.get(&server.host(), PEERS));
    let addresses = &list.peers[0].addresses;
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    assert!(addresses[0].starts_with("/ip4/203.0.113.5/udp/4001/webrtc-direct/certhash/"), "{addresses:?}");
    assert!(addresses.iter().all(|address| address.starts_with("/ip4/203.0.113.5/")), "{addresses:?}");
}

#[test]
fn first_contact_works_without_an_app() {
    let server = Server::start_in(tempfile::tempdir().unwrap(), &FREE_PORTS);
    assert_eq!(server.get(&server.host(), PEERS).status, 200);
    let page = server.get(&server.host(), "/");
    assert_eq!(page.status, 404);
    assert!(page.text().contains("--app-dir"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connected_native_peer_is_listed_with_its_listen_address() {
    let server = Server::start_in(tempfile::tempdir().unwrap(), &FREE_PORTS);
    let mut config = NodeConfig::native([9; 32]);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    let contact = server.ready["addresses"][0].as_str().unwrap();
    config.bootstrap = vec![contact.parse().unwrap()];
    let peer = Node::start(config, Arc::new(MemoryStore::new(0))).await.unwrap();
    let listening = peer.listen_addresses().await;

    let deadline = Instant::now() + LISTED_WITHIN;
    loop {
        let (list, _) = list(&server.get(&server.host(), PEERS));
        if let [_, other] = list.peers.as_slice() {
            assert_eq!(other.peer_id, peer.peer_id().to_bytes());
            let found: Vec<Multiaddr> = other.addresses.iter().map(|address| address.parse().unwrap()).collect();
            assert!(!found.is_empty() && found.iter().all(|address| listening.contains(address)), "{found:?}");
            return;
        }
        assert!(Instant::now() < deadline, "never listed: {list:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
