//! Telling another task of the node: that there is something to do, and what storing ran into.

use crate::{limits, platform::lock, store::StoreError};
use futures::channel::mpsc;
use std::sync::{Arc, Mutex};

/// A wake-up for one task; several before it wakes are one.
#[derive(Clone)]
pub(crate) struct Signal(Arc<Mutex<mpsc::Sender<()>>>);

impl Signal {
    pub fn new() -> (Self, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel(0);
        (Self(Arc::new(Mutex::new(sender))), receiver)
    }

    pub fn wake(&self) {
        // Full: it has yet to wake for the one before. Closed: there is nobody to wake.
        let _ = lock(&self.0).try_send(());
    }
}

/// Where storage failures are told; over a bound the user knows already.
#[derive(Clone)]
pub(crate) struct Problems(Arc<Mutex<mpsc::Sender<StoreError>>>);

impl Problems {
    pub fn new() -> (Self, mpsc::Receiver<StoreError>) {
        let (sender, receiver) = mpsc::channel(limits::EVENT_QUEUE);
        (Self(Arc::new(Mutex::new(sender))), receiver)
    }

    pub fn tell(&self, error: StoreError) {
        let _ = lock(&self.0).try_send(error);
    }
}
