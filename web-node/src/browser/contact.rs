//! First contact: the list of peers from the page's origin, the last good one from storage when the origin is gone, and
//! patience.

use crate::{
    backoff::{Backoff, after_loss},
    browser::{client::Client, fetch, timings},
    state::{Contact, ContactProblem, ListSource},
};
use futures::future::select;
use meganet_core::{
    limits::PEER_LIST_MAX_BYTES,
    peer_list::{self, PeerList, PeerListError},
};
use meganet_node::{
    Multiaddr, NodeHandle, PeerId,
    api::{self, Command},
    limits::JOINED_AFTER,
    platform,
    store::Store,
};
use std::{sync::Arc, time::Duration};

/// Where the list is, on the page's origin.
const LIST_PATH: &str = "/.well-known/meganet/peers";
/// How long its server may take.
const LIST_TIMEOUT_S: u32 = 10;
/// Name of the value that holds the last good list's addresses, as text.
const GOOD_PEERS: &str = "good-peers";
/// Addresses kept of a list.
const GOOD_PEERS_MAX: usize = 64;

/// Keeps the node in touch: asks for the list until the node is connected, and again whenever it is not.
pub async fn keep(client: Client, node: NodeHandle, store: Arc<dyn Store>) {
    let mut backoff = Backoff::default();
    let mut attempts = 0_u32;
    let mut joined_at_ms = None;
    let mut offered = None;
    loop {
        if client.is_joined() {
            joined_at_ms.get_or_insert_with(platform::monotonic_ms);
            attempts = 0;
            client.set_contact(Contact { problem: None, retry_in_ms: None, attempts, ..client.contact() });
            client.phase_changed().wait().await;
            continue;
        }
        if let Some(at_ms) = joined_at_ms.take() {
            let has_stayed = platform::monotonic_ms().saturating_sub(at_ms) >= JOINED_AFTER.as_millis() as u64;
            let wait = if has_stayed {
                backoff.reset();
                offered = None;
                // All who were connected through one bootstrap lose it in one moment.
                after_loss(random())
            } else {
                // Let in and turned out again: the same addresses, given once more, would be dialled at once.
                backoff.next_wait(random())
            };
            sleep_unless_woken(&client, wait).await;
            continue;
        }
        let mut contact = attempt(&node, &*store, &mut offered).await;
        attempts = attempts.saturating_add(1);
        contact.attempts = attempts;
        // The retry after a good list is there for another one; the node itself tries these addresses again.
        let wait = backoff.next_wait(random());
        contact.retry_in_ms = Some(wait.as_millis() as u64);
        client.set_contact(contact);
        sleep_unless_woken(&client, wait).await;
    }
}

/// Sleeps until the wait is over, somebody wants a retry, or the node connects by itself.
async fn sleep_unless_woken(client: &Client, wait: Duration) {
    let joined = async {
        while !client.is_joined() {
            client.phase_changed().wait().await;
        }
    };
    let woken = select(Box::pin(client.retry_wanted().wait()), Box::pin(joined));
    select(Box::pin(platform::sleep(wait)), woken).await;
}

fn random() -> u32 {
    platform::random_bytes::<4>().map_or(0, u32::from_le_bytes)
}

/// What the node was given last, sorted, and where it came from.
type Offered = Option<(ListSource, Vec<Multiaddr>)>;

async fn attempt(node: &NodeHandle, store: &dyn Store, offered: &mut Offered) -> Contact {
    match fetch_list().await {
        Ok(addresses) => {
            timings::mark(|timings| &mut timings.list_ms);
            let text: Vec<String> = addresses.iter().take(GOOD_PEERS_MAX).map(Multiaddr::to_string).collect();
            // Not being able to keep the list costs only the start without the origin.
            let _ = store.put_value(GOOD_PEERS, api::encode(&text)).await;
            let count = offer(node, ListSource::Origin, addresses, offered).await;
            Contact { addresses: count, source: Some(ListSource::Origin), ..Contact::default() }
        }
        Err(problem) => {
            let kept = store.value(GOOD_PEERS).await.ok().flatten();
            let kept: Vec<String> = kept.and_then(|bytes| api::decode(&bytes).ok()).unwrap_or_default();
            let kept = kept.iter().take(GOOD_PEERS_MAX).filter_map(|text| text.parse().ok()).collect();
            let count = offer(node, ListSource::Cache, kept, offered).await;
            let source = (count > 0).then_some(ListSource::Cache);
            Contact { problem: Some(problem), addresses: count, source, ..Contact::default() }
        }
    }
}

/// Has the node try addresses, unless they are those that it was given last: each try costs of the connections that a tab may
/// begin, and it has a patience of its own. An origin that is back is worth a try whatever it lists.
async fn offer(node: &NodeHandle, source: ListSource, addresses: Vec<Multiaddr>, offered: &mut Offered) -> u32 {
    let count = addresses.len() as u32;
    let mut sorted = addresses.clone();
    sorted.sort();
    let offer = Some((source, sorted));
    if count > 0 && *offered != offer {
        *offered = offer;
        node.add_bootstrap(addresses).await;
        // Addresses the node knows already are not dialled for being named again.
        let _ = node.call(Command::RetryNow).await;
    }
    count
}

async fn fetch_list() -> Result<Vec<Multiaddr>, ContactProblem> {
    let bytes = fetch::get(LIST_PATH, PEER_LIST_MAX_BYTES as u32, LIST_TIMEOUT_S).await?;
    let (list, _signer) = peer_list::parse(&bytes, platform::unix_ms()).map_err(|error| match error {
        PeerListError::Expired { .. } => ContactProblem::Expired,
        other => ContactProblem::Malformed { reason: other.to_string() },
    })?;
    let addresses = dialable(&list);
    if addresses.is_empty() { Err(ContactProblem::Empty) } else { Ok(addresses) }
}

/// The addresses of a list, each ending in the peer it is listed for; one that names another peer is left out.
fn dialable(list: &PeerList) -> Vec<Multiaddr> {
    let mut found = Vec::new();
    for entry in &list.peers {
        let Ok(peer) = PeerId::from_bytes(&entry.peer_id) else { continue };
        let suffix = format!("/p2p/{peer}");
        for text in &entry.addresses {
            let text = match text.rsplit_once("/p2p/") {
                None => format!("{text}{suffix}"),
                Some(_) if text.ends_with(&suffix) => text.clone(),
                Some(_) => continue,
            };
            found.extend(text.parse::<Multiaddr>());
        }
    }
    found
}
