//! The leader's side of the channel: commands of other tabs, answered on the channel of the tab that asked.

use crate::{
    browser::{broadcast::Broadcast, client::Client},
    frames::{self, Answer, CALLS_PER_TAB_MAX, TABS_MAX},
};
use meganet_node::{
    api::{ApiError, Command},
    platform,
};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

struct Tab {
    id: u64,
    channel: Broadcast,
    in_flight: Cell<usize>,
}

/// The tabs that asked something, the latest last.
#[derive(Default)]
pub struct Tabs(RefCell<Vec<Rc<Tab>>>);

impl Tabs {
    /// Carries out a command of another tab, in the background.
    pub fn serve(&self, client: &Client, tab: u64, id: u32, command: Command) {
        // A tab whose channel cannot be opened cannot be answered; it will time out.
        let Some(tab) = self.tab(tab) else { return };
        if tab.in_flight.get() >= CALLS_PER_TAB_MAX {
            return tab.channel.send(&Answer { id, result: Err(ApiError::Busy) });
        }
        // Another tab closing the node would close it for all.
        if matches!(command, Command::Shutdown) {
            let reason = "the node runs in another tab: close that tab to stop it".into();
            return tab.channel.send(&Answer { id, result: Err(ApiError::Refused { reason }) });
        }
        tab.in_flight.set(tab.in_flight.get() + 1);
        let client = client.clone();
        platform::spawn(async move {
            let result = client.call(command).await;
            tab.in_flight.set(tab.in_flight.get() - 1);
            if !client.leads() {
                return;
            }
            tab.channel.send(&Answer { id, result });
        });
    }

    fn tab(&self, id: u64) -> Option<Rc<Tab>> {
        let mut tabs = self.0.borrow_mut();
        let tab = match tabs.iter().position(|tab| tab.id == id) {
            Some(position) => tabs.remove(position),
            None => {
                let channel = Broadcast::sender(&frames::reply_channel(id))?;
                if tabs.len() >= TABS_MAX {
                    tabs.remove(0);
                }
                Rc::new(Tab { id, channel, in_flight: Cell::new(0) })
            }
        };
        tabs.push(tab.clone());
        Some(tab)
    }
}
