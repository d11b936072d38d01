//! A follower's side of the channel: commands that wait for the leader's answer.

use crate::{
    browser::broadcast::Broadcast,
    frames::{self, Answer, CALLS_PER_TAB_MAX, Frame},
};
use futures::{
    channel::oneshot,
    future::{Either, select},
};
use meganet_node::{
    api::{ApiError, Command, Reply},
    platform,
};
use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

type Pending = Rc<RefCell<HashMap<u32, oneshot::Sender<Result<Reply, ApiError>>>>>;

/// The leader changed while the command waited: it may be sent again.
pub struct Moved;

/// Asks whichever tab leads.
pub struct Proxy {
    tab: u64,
    next_id: Cell<u32>,
    pending: Pending,
    term: Cell<Option<u64>>,
    _answers: Option<Broadcast>,
}

impl Proxy {
    pub fn new(tab: u64) -> Self {
        let pending: Pending = Rc::default();
        let answered = pending.clone();
        let answers = Broadcast::open(&frames::reply_channel(tab), move |answer: Answer| {
            let waiting = answered.borrow_mut().remove(&answer.id);
            if let Some(waiting) = waiting {
                let _ = waiting.send(answer.result);
            }
        });
        Self { tab, next_id: Cell::new(1), pending, term: Cell::new(None), _answers: answers }
    }

    /// Sends a command and waits for its answer.
    pub async fn call(&self, hall: &Broadcast, command: Command) -> Result<Result<Reply, ApiError>, Moved> {
        if self.pending.borrow().len() >= CALLS_PER_TAB_MAX {
            return Ok(Err(ApiError::Busy));
        }
        let limit = Duration::from_millis(frames::timeout_ms(&command));
        let id = self.next_id.get();
        self.next_id.set(id.wrapping_add(1));
        let (sender, receiver) = oneshot::channel();
        self.pending.borrow_mut().insert(id, sender);
        let _forget = Forget { pending: self.pending.clone(), id };
        hall.send(&Frame::Call { tab: self.tab, id, command });
        match select(receiver, Box::pin(platform::sleep(limit))).await {
            Either::Left((Ok(result), _)) => Ok(result),
            Either::Left((Err(_), _)) => Err(Moved),
            Either::Right(_) => Ok(Err(ApiError::Refused {
                reason: "the tab that runs the node does not answer. Close it, or reload this page".into(),
            })),
        }
    }

    /// A leader spoke. A new one knows nothing of what the old one was asked, so everything is asked again.
    pub fn heard(&self, term: u64) {
        if self.term.replace(Some(term)).is_some_and(|before| before != term) {
            self.give_up();
        }
    }

    /// Whether any leader spoke yet.
    pub fn has_leader(&self) -> bool {
        self.term.get().is_some()
    }

    /// Tells all waiting calls to start over.
    pub fn give_up(&self) {
        self.pending.borrow_mut().clear();
    }
}

/// A call that ends, answered or dropped, leaves nothing behind.
struct Forget {
    pending: Pending,
    id: u32,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.pending.borrow_mut().remove(&self.id);
    }
}
