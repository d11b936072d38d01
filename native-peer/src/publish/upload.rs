//! Sealed chunks on their way to the node.
//!
//! What it says it holds is sent all the same: it then looks at what it has, stores a damaged chunk again, and knows that
//! the chunk is needed. Nothing is signed over a chunk that is not whole.

use crate::{client::Client, error::CommandError};
use futures::{StreamExt, TryStreamExt, stream};
use meganet_core::{hash::ChunkId, publish::SealedChunk};
use meganet_node::api::{Command, Reply};
use std::{collections::HashSet, ops::Add};
use tokio::sync::mpsc;

/// Chunks stored at the same time: the store syncs those that wait together.
pub const STORE_AT_ONCE: usize = 32;

/// Chunks of a publication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Uploaded {
    /// Different chunks.
    pub total: u64,
    /// Of those, stored just now; the others were held before.
    pub new: u64,
    pub new_bytes: u64,
}

impl Add for Uploaded {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Uploaded {
            total: self.total + other.total,
            new: self.new + other.new,
            new_bytes: self.new_bytes + other.new_bytes,
        }
    }
}

/// Stores chunks as they come, until the sender is dropped.
pub async fn store(client: &Client, mut waiting: mpsc::Receiver<SealedChunk>) -> Result<Uploaded, CommandError> {
    let mut seen = HashSet::new();
    let mut sum = Uploaded::default();
    let mut batch = Vec::with_capacity(STORE_AT_ONCE);
    while waiting.recv_many(&mut batch, STORE_AT_ONCE).await > 0 {
        let chunks: Vec<_> = batch
            .drain(..)
            .map(|SealedChunk { chunk, sealed }| (chunk.id, sealed))
            .filter(|(id, _)| seen.insert(*id))
            .collect();
        sum = sum + store_all(client, chunks).await?;
    }
    Ok(sum)
}

/// Stores chunks, or makes sure that they are stored; at most [`meganet_node::api::IDS_MAX`].
pub async fn store_all(
    client: &Client,
    chunks: impl IntoIterator<Item = (ChunkId, Vec<u8>)>,
) -> Result<Uploaded, CommandError> {
    let chunks: Vec<_> = chunks.into_iter().collect();
    if chunks.is_empty() {
        return Ok(Uploaded::default());
    }
    let ids: Vec<ChunkId> = chunks.iter().map(|(id, _)| *id).collect();
    let held = match client.call(Command::HeldChunks { ids }).await? {
        Reply::Held(held) if held.len() == chunks.len() => held,
        _ => return Err(CommandError::UnexpectedReply),
    };
    let total = chunks.len() as u64;
    let (new, new_bytes) = stream::iter(chunks.into_iter().zip(held))
        .map(|((id, sealed), held)| async move {
            let new = if held { (0, 0) } else { (1, sealed.len() as u64) };
            match client.call(Command::StoreChunk { sealed }).await? {
                Reply::Chunk(stored) if stored == id => Ok(new),
                _ => Err(CommandError::UnexpectedReply),
            }
        })
        .buffer_unordered(STORE_AT_ONCE)
        .try_fold((0, 0), |sum, new| async move { Ok((sum.0 + new.0, sum.1 + new.1)) })
        .await?;
    Ok(Uploaded { total, new, new_bytes })
}
