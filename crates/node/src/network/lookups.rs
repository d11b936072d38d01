//! Lookups in the DHT that commands wait for: heads, providers, announcements.

use super::announcements::What;
use crate::{limits, network::HeadsFound, records};
use futures::channel::{mpsc, oneshot};
use libp2p::{
    PeerId,
    kad::{
        AddProviderError, GetProvidersOk, GetRecordOk, K_VALUE, ProgressStep, PutRecordError, QueryId, QueryResult,
        QueryStats, RecordKey,
    },
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
        /// Monotonic ms at which what is known so far is told; `None` before the first valid answer, and once told.
        tell_at_ms: Option<u64>,
        told: bool,
        /// At most two answers: one soon after the first valid head, one when the query has ended.
        answers: mpsc::Sender<HeadsFound>,
    },
    Providers {
        found: mpsc::Sender<PeerId>,
    },
    Put {
        key: RecordKey,
        /// Peers that took the record.
        stored_on: u32,
        reply: oneshot::Sender<u32>,
    },
}

/// What the network task has to do about a query's progress.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    /// Providers to connect to while the query still knows their addresses, and who wants to know when that was tried.
    pub dial: Option<(Vec<PeerId>, mpsc::Sender<PeerId>)>,
    /// The query has told enough.
    pub finish: Option<QueryId>,
    /// A peer returned a record that does not verify.
    pub liar: Option<PeerId>,
    /// An announcement that reached nobody.
    pub failed: Option<(RecordKey, What)>,
}

impl Lookups {
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= limits::QUERIES_MAX
    }

    pub fn wait_for_head(&mut self, id: QueryId, key: Vec<u8>, answers: mpsc::Sender<HeadsFound>) {
        let waiting = Waiting::Head { key, found: HeadsFound::default(), tell_at_ms: None, told: false, answers };
        self.waiting.insert(id, waiting);
    }

    pub fn wait_for_providers(&mut self, id: QueryId, found: mpsc::Sender<PeerId>) {
        self.waiting.insert(id, Waiting::Providers { found });
    }

    pub fn wait_for_put(&mut self, id: QueryId, key: RecordKey, reply: oneshot::Sender<u32>) {
        self.waiting.insert(id, Waiting::Put { key, stored_on: 0, reply });
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
            (Some(Waiting::Head { key, found, tell_at_ms, told, .. }), QueryResult::GetRecord(result)) => {
                found.asked = stats.num_successes();
                if let Ok(GetRecordOk::FoundRecord(answer)) = result {
                    let head =
                        records::verified_head(&answer.record).filter(|_| answer.record.key.as_ref() == key.as_slice());
                    match head {
                        Some(head) => {
                            // A node's own store is no news: only others' answers start the grace period.
                            if answer.peer.is_some() && !*told {
                                tell_at_ms.get_or_insert(now_ms + limits::HEAD_GRACE.as_millis() as u64);
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
                // A full channel means the reader has more providers than it uses.
                let told: Vec<_> = providers.into_iter().filter(|peer| found.try_send(*peer).is_ok()).collect();
                todo.dial = Some((told, found.clone()));
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
            (None, QueryResult::StartProviding(Err(AddProviderError::Timeout { key }))) => {
                todo.failed = Some((key, What::Provider));
            }
            _ => {}
        }
        if step.last {
            match self.waiting.remove(&id) {
                Some(Waiting::Head { mut found, mut answers, .. }) => {
                    found.asked = found.asked.max(stats.num_successes());
                    found.complete = true;
                    let _ = answers.try_send(found);
                }
                Some(Waiting::Put { key, stored_on, reply }) => {
                    todo.failed = (stored_on == 0).then_some((key, What::Record));
                    let _ = reply.send(stored_on);
                }
                _ => {}
            }
        }
        todo
    }

    /// Tells what head lookups have found once their grace period is over; the queries go on.
    pub fn tell_due(&mut self, now_ms: u64) {
        for waiting in self.waiting.values_mut() {
            if let Waiting::Head { found, tell_at_ms, told, answers, .. } = waiting
                && tell_at_ms.is_some_and(|at| at <= now_ms)
            {
                (*tell_at_ms, *told) = (None, true);
                found.complete = found.asked >= limits::HEAD_ANSWERS_ENOUGH;
                let _ = answers.try_send(found.clone());
            }
        }
    }

    /// Monotonic ms of the next grace period's end.
    pub fn next_due_ms(&self) -> Option<u64> {
        let due = |waiting: &Waiting| match waiting {
            Waiting::Head { tell_at_ms, .. } => *tell_at_ms,
            _ => None,
        };
        self.waiting.values().filter_map(due).min()
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
