//! What a node does about its connections now and then: first contacts are looked for, idle ones are let go of.

use super::{FIRST_CONTACT_CHECK, Task};
use crate::{
    config::Role,
    limits,
    network::{
        first_contact::JoinState,
        idle::{self, Held},
    },
    platform,
};
use futures::{StreamExt, future::select};
use libp2p::PeerId;
use std::collections::HashMap;

impl Task {
    /// Looks for first contacts that went away. To a tab each try costs of what it may begin, and it has others.
    pub(super) fn check_first_contact(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.first_checked_ms) < self.first_check_every.as_millis() as u64 {
            return;
        }
        self.first_checked_ms = now_ms;
        if !self.misses_first_contact() {
            self.first_check_every = FIRST_CONTACT_CHECK;
            return;
        }
        if self.role == Role::Tab {
            self.first_check_every = (self.first_check_every * 2).min(limits::FIRST_CONTACT_RETRY_MAX);
        }
        let known = self.first.known().to_vec();
        self.dial_first_contacts(known);
    }

    /// Lets go of what carries nothing.
    pub(super) fn close_idle(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.idle_checked_ms) < limits::IDLE_CHECK.as_millis() as u64 {
            return;
        }
        self.idle_checked_ms = now_ms;
        let used = self.used();
        self.close_idle_circuits(&used, now_ms);
        if self.role == Role::Tab {
            self.close_idle_direct(&used, now_ms);
        }
    }

    /// A tab's connections are few.
    fn close_idle_direct(&mut self, used: &HashMap<PeerId, u64>, now_ms: u64) {
        let relays = self.relays_in_use();
        let held = |(peer, is_server): (&PeerId, bool)| Held {
            peer: *peer,
            is_server,
            is_needed: self.first.is_known(peer) || self.reservations.holds(peer) || relays.contains(peer),
            is_reserved_here: self.peers.is_reserved_here(peer),
            is_chosen: self.peers.is_chosen(peer),
            since_ms: self.memory.connected_since(peer).unwrap_or(now_ms),
            used_ms: used.get(peer).copied().max(self.memory.connected_since(peer)).unwrap_or(now_ms),
        };
        for peer in idle::to_close(self.peers.direct().map(held).collect(), now_ms) {
            tracing::debug!(%peer, "nothing goes over its connection any more");
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }

    /// Closes all connections, so that the other ends know at once: who is only gone is waited for by all that they ask the DHT.
    pub(super) async fn close_all(&mut self) {
        for peer in self.swarm.connected_peers().copied().collect::<Vec<_>>() {
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let within = std::pin::pin!(platform::sleep(limits::SHUT_DOWN_WITHIN));
        let closing = std::pin::pin!(async {
            while self.swarm.connected_peers().next().is_some() {
                let _ = self.swarm.next().await;
            }
        });
        let _ = select(closing, within).await;
    }

    /// Whether this node is joined, and yet no first contact is connected.
    fn misses_first_contact(&self) -> bool {
        self.join == JoinState::Joined && !self.first.known().iter().any(|(peer, _)| self.peers.is_direct(peer))
    }
}
