//! Lookups in the DHT that commands wait for: heads, providers, announcements.

use crate::{limits, network::HeadsFound, records};
use futures::channel::{mpsc, oneshot};
use libp2p::{
    PeerId,
    kad::{GetProvidersOk, GetRecordOk, K_VALUE, ProgressStep, PutRecordError, QueryId, QueryResult, QueryStats},
};
use meganet_core::head::{Head, HeadDecision, compare};
use std::collections::HashMap;

/// Queries under way and who waits for them.
#[derive(Default)]
pub(crate) struct Lookups {
    waiting: HashMap<QueryId, Waiting>,
}

enum Waiting {
    Head {
        key: Vec<u8>,
        found: HeadsFound,
        /// Monotonic ms at which the answer is given even if the query goes on.
        answer_at_ms: Option<u64>,
        reply: Option<oneshot::Sender<HeadsFound>>,
    },
    Providers {
        found: mpsc::Sender<PeerId>,
    },
    Put {
        /// Peers that took the record.
        stored_on: u32,
        reply: oneshot::Sender<u32>,
    },
}

/// What the network task has to do about a query's progress.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Todo {
    /// Providers to connect to while the query still knows their addresses.
    pub dial: Vec<PeerId>,
    /// The query has told enough.
    pub finish: Option<QueryId>,
    /// A peer returned a record that does not verify.
    pub liar: Option<PeerId>,
}

impl Lookups {
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= limits::QUERIES_MAX
    }

    pub fn wait_for_head(&mut self, id: QueryId, key: Vec<u8>, reply: oneshot::Sender<HeadsFound>) {
        let waiting = Waiting::Head { key, found: HeadsFound::default(), answer_at_ms: None, reply: Some(reply) };
        self.waiting.insert(id, waiting);
    }

    pub fn wait_for_providers(&mut self, id: QueryId, found: mpsc::Sender<PeerId>) {
        self.waiting.insert(id, Waiting::Providers { found });
    }

    pub fn wait_for_put(&mut self, id: QueryId, reply: oneshot::Sender<u32>) {
        self.waiting.insert(id, Waiting::Put { stored_on: 0, reply });
    }

    /// Takes a query's progress in.
    pub fn progressed(
        &mut self,
        id: QueryId,
        result: QueryResult,
        stats: &QueryStats,
        step: &ProgressStep,
        now_ms: u64,
    ) -> Todo {
        let mut todo = Todo::default();
        match (self.waiting.get_mut(&id), result) {
            (Some(Waiting::Head { key, found, answer_at_ms, .. }), QueryResult::GetRecord(result)) => {
                found.asked = stats.num_successes();
                if let Ok(GetRecordOk::FoundRecord(answer)) = result {
                    let head =
                        records::verified_head(&answer.record).filter(|_| answer.record.key.as_ref() == key.as_slice());
                    match head {
                        Some(head) => {
                            // A node's own store is no confirmation: only others' answers start the grace period.
                            if answer.peer.is_some() {
                                answer_at_ms.get_or_insert(now_ms + limits::HEAD_GRACE.as_millis() as u64);
                            }
                            add_head(&mut found.heads, head, answer.peer);
                        }
                        None => todo.liar = answer.peer,
                    }
                }
            }
            (
                Some(Waiting::Providers { found }),
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
            ) => {
                for peer in providers {
                    // A full channel means the reader has more providers than it uses.
                    if found.try_send(peer).is_ok() {
                        todo.dial.push(peer);
                    }
                }
                if found.is_closed() {
                    todo.finish = Some(id);
                }
            }
            (Some(Waiting::Put { stored_on, .. }), QueryResult::PutRecord(result)) => {
                *stored_on = match result {
                    Ok(_) => K_VALUE.get() as u32,
                    Err(PutRecordError::QuorumFailed { success, .. } | PutRecordError::Timeout { success, .. }) => {
                        success.len() as u32
                    }
                };
            }
            _ => {}
        }
        if step.last {
            match self.waiting.remove(&id) {
                Some(Waiting::Head { mut found, reply: Some(reply), .. }) => {
                    found.asked = found.asked.max(stats.num_successes());
                    let _ = reply.send(found);
                }
                Some(Waiting::Put { stored_on, reply }) => {
                    let _ = reply.send(stored_on);
                }
                _ => {}
            }
        }
        todo
    }

    /// Answers head lookups whose grace period is over; returns the queries that may end.
    pub fn due(&mut self, now_ms: u64) -> Vec<QueryId> {
        let mut over = Vec::new();
        for (id, waiting) in &mut self.waiting {
            if let Waiting::Head { found, answer_at_ms: Some(at), reply, .. } = waiting
                && *at <= now_ms
                && let Some(reply) = reply.take()
            {
                let _ = reply.send(std::mem::take(found));
                over.push(*id);
            }
        }
        over
    }

    /// Monotonic ms of the next grace period's end.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.waiting
            .values()
            .filter_map(|waiting| match waiting {
                Waiting::Head { answer_at_ms, reply: Some(_), .. } => *answer_at_ms,
                _ => None,
            })
            .min()
    }
}

/// Keeps the best head first, and a conflicting one beside it; anything older is only a sign that somebody answered.
fn add_head(heads: &mut Vec<(Head, Option<PeerId>)>, head: Head, from: Option<PeerId>) {
    let decision = heads.first().map(|(best, _)| compare(best, &head));
    match decision {
        None | Some(HeadDecision::Newer) => {
            heads.clear();
            heads.push((head, from));
        }
        Some(HeadDecision::Same) => {
            if let Some(first) = heads.first_mut() {
                first.1 = first.1.or(from);
            }
        }
        Some(HeadDecision::Conflict) => {
            if heads.len() < 2 {
                heads.push((head, from));
            }
        }
        Some(HeadDecision::Older) => {}
    }
}
