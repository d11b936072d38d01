//! What commands talk to: the running node over its socket, or a short-lived one in this process.

use crate::{
    bootstrap::{self, Bootstrap},
    data_dir::{DataDir, DataDirError, Lock},
    error::CommandError,
    output::Output,
    secrets,
    socket::client::RemoteNode,
    store::FileStore,
};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use meganet_node::{
    Node, NodeHandle,
    api::{ApiError, Command, Event, Phase, Reply, Status},
    config::NodeConfig,
    store::StoreError,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast;

/// How long a command waits for a short-lived node's first connection.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a command waits for another command's short-lived node to end, in steps of [`BUSY_RETRY`].
const BUSY_RETRIES: u32 = 20;
const BUSY_RETRY: Duration = Duration::from_millis(100);
/// What the store takes over the node's quota.
const STORE_HEADROOM_BYTES: u64 = 64 * 1024 * 1024;
/// How long a node may take to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A short-lived node's use of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// What is stored answers the command.
    Unneeded,
    /// Join first, as far as a bootstrap was given.
    Joined,
}

/// What a short-lived node is started with.
#[derive(Debug, Clone)]
pub struct LocalOptions {
    pub bootstrap: Vec<Bootstrap>,
    /// `None`: the one the peer keeps by.
    pub quota_bytes: Option<u64>,
}

/// A node to give commands to.
pub enum Client {
    Remote(RemoteNode),
    Local(LocalNode),
}

/// A node in this process, and the lock of its data directory.
pub struct LocalNode {
    handle: NodeHandle,
    has_bootstrap: bool,
    _lock: Lock,
}

impl Client {
    /// Connects to the node that runs on the data directory, or starts one for the time of the command.
    ///
    /// # Errors
    /// [`CommandError`]: the directory is held by a process that does not answer, or the node cannot start.
    pub async fn connect(
        directory: &DataDir,
        options: &LocalOptions,
        network: Network,
        output: Output,
    ) -> Result<Self, CommandError> {
        let mut tries = 0;
        let lock = loop {
            if let Some(remote) = RemoteNode::connect(&directory.socket()).await? {
                return Ok(Client::Remote(remote));
            }
            match directory.lock() {
                Ok(lock) => break lock,
                Err(DataDirError::InUse { .. }) if tries < BUSY_RETRIES => {
                    tries += 1;
                    tokio::time::sleep(BUSY_RETRY).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        LocalNode::start(directory, lock, options, network, output).await.map(Client::Local)
    }

    /// Carries out a command.
    ///
    /// # Errors
    /// The node's own.
    pub async fn call(&self, command: Command) -> Result<Reply, CommandError> {
        let (reply, local) = match self {
            Client::Remote(remote) => (remote.call(command).await, None),
            Client::Local(local) => (local.handle.call(command).await, Some(local)),
        };
        reply.map_err(|error| match (error, local) {
            (error @ (ApiError::Offline | ApiError::NotFound { asked: 0 }), Some(local)) if !local.has_bootstrap => {
                CommandError::OfflineWithoutBootstrap(error)
            }
            (ApiError::Storage { reason }, _) => storage_failure(reason),
            (error, _) => error.into(),
        })
    }

    /// Events from now on.
    pub async fn events(&self) -> BoxStream<'static, Event> {
        match self {
            Client::Remote(remote) => received(remote.events().await),
            Client::Local(local) => local.handle.events().boxed(),
        }
    }

    /// Whether the node ends with this command.
    pub fn is_local(&self) -> bool {
        matches!(self, Client::Local(_))
    }

    /// Ends the connection, or the short-lived node.
    pub async fn close(self) {
        if let Client::Local(local) = self {
            stop(&local.handle).await;
        }
    }
}

impl LocalNode {
    async fn start(
        directory: &DataDir,
        lock: Lock,
        options: &LocalOptions,
        network: Network,
        output: Output,
    ) -> Result<Self, CommandError> {
        let seed = secrets::identity(&directory.identity())?;
        let quota_bytes = directory.quota(options.quota_bytes)?;
        let store = FileStore::open(&directory.store(), store_quota(quota_bytes)).await?;
        let mut config = NodeConfig { store_quota_bytes: quota_bytes, ..NodeConfig::short_lived(seed) };
        let has_bootstrap = network == Network::Joined && !options.bootstrap.is_empty();
        if has_bootstrap {
            let (addresses, pages) = bootstrap::split(&options.bootstrap);
            config.bootstrap = addresses;
            for result in futures::future::join_all(pages.iter().map(|page| bootstrap::fetch(page))).await {
                match result {
                    Ok(addresses) => config.bootstrap.extend(addresses),
                    Err(error) => output.note(&error.to_string()),
                }
            }
        }
        let joins = !config.bootstrap.is_empty();
        let handle = Node::start(config, Arc::new(store)).await?;
        if joins {
            joined(&handle).await;
        }
        Ok(LocalNode { handle, has_bootstrap, _lock: lock })
    }
}

/// The store's own bound: the node makes room itself at its quota, after the chunk that went over it.
pub fn store_quota(node_quota_bytes: u64) -> u64 {
    node_quota_bytes.saturating_add(STORE_HEADROOM_BYTES)
}

/// The node's messages say of a full disk what they say in a browser too; here it has a code of its own.
fn storage_failure(reason: String) -> CommandError {
    let full = StoreError::Full(String::new()).to_string();
    match reason.strip_prefix(&full) {
        Some(details) => CommandError::Full(details.to_owned()),
        None => ApiError::Storage { reason }.into(),
    }
}

/// Waits until the node has a connection, or a while.
async fn joined(handle: &NodeHandle) {
    let mut events = handle.events();
    let wait = async {
        if is_joined(&handle.call(Command::Status).await) {
            return;
        }
        while let Some(event) = events.next().await {
            if matches!(event, Event::Status(Status { phase: Phase::Joined, .. })) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(JOIN_TIMEOUT, wait).await;
}

fn is_joined(reply: &Result<Reply, ApiError>) -> bool {
    matches!(reply, Ok(Reply::Status(Status { phase: Phase::Joined, .. })))
}

/// Stops a node, and waits for it a bounded time.
pub async fn stop(handle: &NodeHandle) {
    let _ = tokio::time::timeout(STOP_TIMEOUT, handle.call(Command::Shutdown)).await;
}

fn received(receiver: broadcast::Receiver<Event>) -> BoxStream<'static, Event> {
    stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(event) => return Some((event, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_a_code_of_its_own() {
        let reason = StoreError::Full("“/data”: no space".into()).to_string();
        let full = storage_failure(reason);
        assert_eq!(full.code().0, "full");
        assert!(full.to_string().contains("“/data”: no space") && !full.to_string().contains("browser"), "{full}");
        assert_eq!(storage_failure("broken".into()).code().0, "storage");
    }
}
