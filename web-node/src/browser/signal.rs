//! A signal that several tasks of one thread can wait for.

use futures::channel::oneshot;
use std::cell::RefCell;

/// Wakes everybody who waits; those who come later wait for the next time.
#[derive(Default)]
pub struct Signal {
    waiting: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Signal {
    /// Waits for the next [`Signal::fire`].
    pub async fn wait(&self) {
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting.borrow_mut();
            waiting.retain(|sender| !sender.is_canceled());
            waiting.push(sender);
        }
        let _ = receiver.await;
    }

    /// Wakes all.
    pub fn fire(&self) {
        for sender in self.waiting.take() {
            let _ = sender.send(());
        }
    }
}
