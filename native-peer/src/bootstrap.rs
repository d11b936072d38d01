//! First contact: a page that serves a signed list of peers, or a peer's own address.

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use meganet_core::{
    limits::PEER_LIST_MAX_BYTES,
    peer_list::{self, PeerList, PeerListError},
};
use meganet_node::platform::{random_bytes, unix_ms};
use std::{str::FromStr, time::Duration};

/// Where a page serves its list.
const LIST_PATH: &str = "/.well-known/meganet/peers";
/// The whole request, from the name's resolution to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
const REDIRECTS_MAX: u32 = 3;
/// A list that was fetched is fetched again after about this long.
const REFRESH: Duration = Duration::from_secs(15 * 60);
/// After a failure the wait doubles between these two.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(120);

/// One `--bootstrap`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bootstrap {
    /// Origin of a page, without a slash at its end.
    Page(String),
    /// A multiaddr that ends in `/p2p/PEER`.
    Peer(Multiaddr),
}

/// Why a first contact failed. The node works on with what it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootstrapError {
    #[error("the bootstrap page {page} did not answer: {reason}. Check its address and your connection")]
    Unreachable { page: String, reason: String },
    #[error("the peer list of {page} was refused: {reason}")]
    List { page: String, reason: PeerListError },
    #[error("the peer list of {page} names no address that can be dialled")]
    Empty { page: String },
}

impl FromStr for Bootstrap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Bootstrap::Page(text.trim_end_matches('/').to_owned()));
        }
        let address: Multiaddr = text
            .parse()
            .map_err(|_| "give the address of a page (http://HOST:PORT/) or of a peer (/ip4/…/p2p/PEER)".to_owned())?;
        match address.iter().last() {
            Some(Protocol::P2p(_)) => Ok(Bootstrap::Peer(address)),
            _ => Err("the peer's address must end in /p2p/PEER, so that nobody else can answer for it".to_owned()),
        }
    }
}

/// Splits what the user gave into addresses known now and pages to ask.
pub fn split(bootstraps: &[Bootstrap]) -> (Vec<Multiaddr>, Vec<String>) {
    let mut addresses = Vec::new();
    let mut pages = Vec::new();
    for bootstrap in bootstraps {
        match bootstrap {
            Bootstrap::Page(page) => pages.push(page.clone()),
            Bootstrap::Peer(address) => addresses.push(address.clone()),
        }
    }
    (addresses, pages)
}

/// Fetches a page's list and verifies it: addresses to dial, each ending in `/p2p/PEER`.
///
/// # Errors
/// [`BootstrapError`], naming the page.
pub async fn fetch(page: &str) -> Result<Vec<Multiaddr>, BootstrapError> {
    let unreachable = |reason: String| BootstrapError::Unreachable {
        page: page.to_owned(),
        reason: crate::text::printable(&reason, 200),
    };
    let url = format!("{page}{LIST_PATH}");
    let bytes = tokio::task::spawn_blocking(move || download(&url))
        .await
        .map_err(|_| unreachable("stopped".into()))?
        .map_err(|error| unreachable(error.to_string()))?;
    let (list, _signer) =
        peer_list::parse(&bytes, unix_ms()).map_err(|reason| BootstrapError::List { page: page.to_owned(), reason })?;
    let addresses = dialable(&list);
    if addresses.is_empty() { Err(BootstrapError::Empty { page: page.to_owned() }) } else { Ok(addresses) }
}

/// Follows a page for good: hands every new list to `found`, every failure to `failed`.
pub async fn follow<F: Future<Output = ()>>(
    page: String,
    found: impl Fn(Vec<Multiaddr>) -> F,
    failed: impl Fn(BootstrapError),
) {
    let mut wait = RETRY_MIN;
    loop {
        match fetch(&page).await {
            Ok(addresses) => {
                found(addresses).await;
                wait = RETRY_MIN;
                tokio::time::sleep(jittered(REFRESH)).await;
            }
            Err(error) => {
                failed(error);
                tokio::time::sleep(jittered(wait)).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    }
}

fn download(url: &str) -> Result<Vec<u8>, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        .max_redirects(REDIRECTS_MAX)
        .user_agent(concat!("meganet/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let (url, host) = resolved(url);
    let mut request = agent.get(url);
    if let Some(host) = host {
        request = request.header("Host", host);
    }
    request.call()?.body_mut().with_config().limit(PEER_LIST_MAX_BYTES as u64).read_to_vec()
}

/// `NAME.localhost` is this machine without being asked for (RFC 6761 §6.3); browsers know that, resolvers often do not.
/// Returns the URL to fetch, and the host to name in the request when it is not the URL's.
fn resolved(url: &str) -> (String, Option<&str>) {
    let unchanged = || (url.to_owned(), None);
    let Some(rest) = url.strip_prefix("http://") else { return unchanged() };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let (name, port) = authority.find(':').map_or((authority, ""), |at| authority.split_at(at));
    if !name.ends_with(".localhost") {
        return unchanged();
    }
    (format!("http://127.0.0.1{port}{path}"), Some(authority))
}

fn dialable(list: &PeerList) -> Vec<Multiaddr> {
    let mut addresses = Vec::new();
    for entry in &list.peers {
        let Ok(peer) = PeerId::from_bytes(&entry.peer_id) else { continue };
        for text in &entry.addresses {
            let Ok(address) = text.parse::<Multiaddr>() else { continue };
            match address.iter().last() {
                Some(Protocol::P2p(named)) if named != peer => {}
                Some(Protocol::P2p(_)) => addresses.push(address),
                _ => addresses.push(address.with(Protocol::P2p(peer))),
            }
        }
    }
    addresses
}

/// Between a half and all of the time, so that peers that lost one bootstrap do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let random = u16::from_be_bytes(random_bytes().unwrap_or([0x80, 0]));
    wait / 2 + wait.mul_f64(f64::from(random) / f64::from(u16::MAX)) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_below_localhost_are_this_machine() {
        let own = ("http://127.0.0.1:8080/x".to_owned(), Some("meganet.localhost:8080"));
        assert_eq!(resolved("http://meganet.localhost:8080/x"), own);
        for other in ["http://localhost.example/x", "https://a.localhost/x", "http://127.0.0.1:80/", "x"] {
            assert_eq!(resolved(other), (other.to_owned(), None));
        }
    }

    use meganet_core::peer_list::PeerEntry;
    use std::{
        io::{Read, Write},
        net::TcpListener,
    };

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    const OTHER: &str = "12D3KooWPjceQrSwdWXPyLLeABRXmuqt69Rg3sBYbU1Nft9HyQ6X";

    fn list(addresses: &[&str]) -> PeerList {
        let peer: PeerId = PEER.parse().unwrap();
        let addresses = addresses.iter().map(|text| (*text).to_owned()).collect();
        let peers = vec![PeerEntry { peer_id: peer.to_bytes(), addresses }];
        PeerList { issued_ms: unix_ms(), expires_ms: unix_ms() + 60_000, peers }
    }

    /// A page that answers one request after the other with these bodies.
    fn page(bodies: Vec<(u16, Vec<u8>)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for (status, body) in bodies {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 2048];
                let count = stream.read(&mut request).unwrap();
                assert!(request[..count].starts_with(b"GET /.well-known/meganet/peers HTTP/1.1\r\n"));
                write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len())
                    .unwrap();
                let _ = stream.write_all(&body);
            }
        });
        format!("http://{address}")
    }

    #[test]
    fn pages_and_peers_are_told_apart() {
        assert_eq!("http://a:1/".parse(), Ok(Bootstrap::Page("http://a:1".into())));
        assert!(matches!(format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}").parse(), Ok(Bootstrap::Peer(_))));
        assert!("/ip4/127.0.0.1/tcp/1".parse::<Bootstrap>().is_err());
        assert!("example.org".parse::<Bootstrap>().is_err());
    }

    #[test]
    fn a_list_cannot_name_one_peer_for_another() {
        let listed = list(&["/ip4/127.0.0.1/tcp/1", &format!("/ip4/127.0.0.1/tcp/2/p2p/{OTHER}"), "nonsense"]);
        let expected: Multiaddr = format!("/ip4/127.0.0.1/tcp/1/p2p/{PEER}").parse().unwrap();
        assert_eq!(dialable(&listed), [expected]);
    }

    #[tokio::test]
    async fn a_signed_list_is_fetched_and_others_are_refused() {
        let good = peer_list::sign(&[1; 32], &list(&["/ip4/127.0.0.1/tcp/1"])).unwrap();
        let mut forged = good.clone();
        *forged.last_mut().unwrap() ^= 1;
        let mut old = list(&["/ip4/127.0.0.1/tcp/1"]);
        (old.issued_ms, old.expires_ms) = (1, 2);
        let old = peer_list::sign(&[1; 32], &old).unwrap();
        let empty = peer_list::sign(&[1; 32], &list(&[])).unwrap();
        let huge = vec![0; PEER_LIST_MAX_BYTES + 1];
        let page = page(vec![(200, good), (200, forged), (200, old), (200, empty), (200, huge), (404, Vec::new())]);

        assert_eq!(fetch(&page).await.unwrap().len(), 1);
        assert!(matches!(fetch(&page).await, Err(BootstrapError::List { .. })));
        assert!(matches!(fetch(&page).await, Err(BootstrapError::List { .. })));
        assert!(matches!(fetch(&page).await, Err(BootstrapError::Empty { .. })));
        assert!(matches!(fetch(&page).await, Err(BootstrapError::Unreachable { .. })));
        assert!(matches!(fetch(&page).await, Err(BootstrapError::Unreachable { .. })));
        assert!(matches!(fetch("http://127.0.0.1:1").await, Err(BootstrapError::Unreachable { .. })));
    }

    #[test]
    fn jitter_stays_within_half_and_all() {
        for _ in 0..100 {
            let wait = jittered(Duration::from_secs(8));
            assert!((Duration::from_secs(4)..=Duration::from_secs(8)).contains(&wait), "{wait:?}");
        }
    }
}
