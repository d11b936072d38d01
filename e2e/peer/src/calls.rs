//! Calls by name, JSON in and out: the same names and shapes as `e2e/js-peer`.

use crate::peer::{Options, Peer, peer_of};
use anyhow::{Context, Result, bail};
use libp2p::{Multiaddr, PeerId};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Starts a peer and says who it is.
pub async fn start(options: Value) -> Result<(Peer, Value)> {
    let options: Options = if options.is_null() { Options::default() } else { serde_json::from_value(options)? };
    let peer = Peer::start(options).await?;
    let about = about(&peer).await?;
    Ok((peer, about))
}

/// `{ peerId, addresses }`.
pub async fn about(peer: &Peer) -> Result<Value> {
    Ok(json!({ "peerId": peer.id().to_string(), "addresses": peer.addresses().await? }))
}

fn take<T: DeserializeOwned>(given: &[Value], place: usize) -> Result<T> {
    let value = given.get(place).cloned().unwrap_or(Value::Null);
    serde_json::from_value(value).with_context(|| format!("argument {place}"))
}

/// A peer id, given as one or as an address that ends in it.
fn peer(given: &[Value]) -> Result<PeerId> {
    let text: String = take(given, 0)?;
    if text.starts_with('/') {
        return peer_of(&text.parse()?).context("the address names no peer");
    }
    Ok(text.parse()?)
}

fn transferred(bytes: u64, elapsed_ms: f64) -> Value {
    json!({ "bytes": bytes, "elapsed_ms": elapsed_ms, "max_buffered": null })
}

/// Does one call.
pub async fn call(node: &Peer, name: &str, given: &[Value]) -> Result<Value> {
    Ok(match name {
        "about" => about(node).await?,
        "addresses" => json!(node.addresses().await?),
        "reserve" => {
            node.reserve(take::<Multiaddr>(given, 0)?).await?;
            json!(node.addresses().await?)
        }
        "dial" => json!(node.dial(take(given, 0)?).await?),
        "ping" => json!(node.ping(peer(given)?).await?),
        "identified" => json!(node.identified(peer(given)?).await?),
        "echo" => {
            node.echo(peer(given)?, take(given, 1)?).await?;
            json!(true)
        }
        "send" => {
            let bytes = take(given, 1)?;
            transferred(bytes, node.send(peer(given)?, bytes, take(given, 2)?).await?)
        }
        "receive" => {
            let bytes = take(given, 1)?;
            transferred(bytes, node.receive(peer(given)?, bytes).await?)
        }
        "counts" => json!(node.counts().await?),
        "churn" => {
            node.churn(peer(given)?, take(given, 1)?, take(given, 2)?).await?;
            Value::Null
        }
        "rave" => json!(node.rave(peer(given)?, &take::<Vec<u8>>(given, 1)?, take(given, 2)?).await?),
        "raveBack" => json!(node.rave_back(&take::<Vec<u8>>(given, 0)?, take(given, 1)?).await?),
        "close" => {
            node.close(peer(given)?).await?;
            Value::Null
        }
        "closeAll" => {
            node.close_all().await?;
            Value::Null
        }
        other => bail!("no call {other}"),
    })
}
