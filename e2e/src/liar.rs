//! What the lying peer (`src/bin/liar.rs`) says on its standard output, and how a test starts it.

use crate::{
    places,
    process::Process,
    wait::{Look, until},
};
use anyhow::Result;
use meganet_core::address::Address;
use serde::{Deserialize, Serialize};
use std::{ffi::OsString, path::Path};

/// One line of JSON each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// It listens, and has told the bootstrap that it provides the sites.
    Ready { peer_id: String },
    /// It tried to put a forged head into the DHT: how many peers took it.
    ForgedHeadPut { taken_by: usize },
    /// A peer asked for a head and got a forged one.
    HeadForged { to: String },
    /// A lookup in the DHT came here and was answered with a forged head. The DHT does not say whose it was.
    ForgedHeadFound,
    /// A peer asked for a chunk and got wrong bytes.
    ChunkSpoiled { to: String },
    /// A peer has no connection to it any more.
    Closed { peer: String },
}

/// What it lies about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// Forged heads, in the DHT and when asked; no chunks.
    Heads,
    /// Wrong bytes for every chunk; no heads.
    Chunks,
}

impl Lie {
    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Lie::Heads => "heads",
            Lie::Chunks => "chunks",
        }
    }
}

/// A running liar.
pub struct Liar {
    process: Process,
    pub peer_id: String,
}

impl Liar {
    /// Starts one that claims to provide these sites, and waits until the bootstrap has heard so.
    pub async fn start(dir: &Path, lie: Lie, bootstrap: &[String], sites: &[Address]) -> Result<Self> {
        let mut arguments: Vec<OsString> = vec!["--lie".into(), lie.as_str().into()];
        for address in bootstrap {
            arguments.extend(["--bootstrap".into(), address.into()]);
        }
        for site in sites {
            arguments.extend(["--site".into(), site.to_string().into()]);
        }
        let name = format!("liar-{}", lie.as_str());
        let mut process = Process::start(&name, dir, &places::binary("liar")?, arguments)?;
        let peer_id = process
            .line("its ready line", |line| match serde_json::from_str(line) {
                Ok(Event::Ready { peer_id }) => Some(peer_id),
                _ => None,
            })
            .await?;
        Ok(Self { process, peer_id })
    }

    /// Everything it reported so far.
    pub fn events(&self) -> Result<Vec<Event>> {
        Ok(self.process.stdout()?.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Waits for an event.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        self.process.line(what, |line| serde_json::from_str(line).ok().filter(&wanted)).await
    }

    /// Waits until it has reported this many such events, and gives them.
    pub async fn until_many(&self, what: &str, count: usize, wanted: impl Fn(&Event) -> bool) -> Result<Vec<Event>> {
        until(what, async || {
            let found: Vec<Event> = self.events()?.into_iter().filter(&wanted).collect();
            Ok(if found.len() >= count { Look::Yes(found) } else { Look::NotYet(format!("{found:?}")) })
        })
        .await
    }

    /// How often this peer was lied to so far.
    pub fn lies_told_to(&self, peer: &str) -> Result<usize> {
        let told = |event: &Event| match event {
            Event::HeadForged { to } | Event::ChunkSpoiled { to } => to == peer,
            _ => false,
        };
        Ok(self.events()?.iter().filter(|event| told(event)).count())
    }
}
