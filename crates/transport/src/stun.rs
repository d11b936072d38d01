//! The STUN servers that tell a peer how it looks from outside. None is contacted that nobody named: whoever runs a
//! `webrtc-direct` listener answers STUN on its port.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// STUN servers; clones share one list.
#[derive(Debug, Clone, Default)]
pub struct StunServers(Arc<Mutex<Vec<SocketAddr>>>);

impl StunServers {
    /// Replaces them, for attempts that begin later. The first two are asked.
    pub fn set(&self, servers: Vec<SocketAddr>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = servers;
    }

    /// Those to ask.
    #[must_use]
    pub fn get(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().take(ASKED_MAX).copied().collect()
    }
}

/// STUN servers that are asked; with two it shows whether a NAT gives each destination another port.
pub const ASKED_MAX: usize = 2;
