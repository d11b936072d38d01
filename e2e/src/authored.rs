//! A site whose author is a tab: built here, published through the node's own commands.

use crate::{app::App, folder::Files};
use anyhow::{Result, bail};
use meganet_core::{
    address::Address,
    head::{Head, HeadInner},
    keys::{ReadKey, SiteKey},
    publish::{Builder, Plan, SiteFile},
};
use meganet_node::api::{Command, Reply};
use std::time::{SystemTime, UNIX_EPOCH};

/// The key and the last version.
pub struct Authored {
    key: SiteKey,
    last: Option<Head>,
}

impl Authored {
    /// A new site without a version.
    pub fn new() -> Result<Self> {
        Ok(Self { key: SiteKey::from_seed(rand::random()), last: None })
    }

    pub fn address(&self) -> Address {
        self.key.address()
    }

    /// Seals these files as the next version, and publishes it at the tab's node.
    pub async fn publish(&mut self, app: &App<'_>, title: &str, files: &Files) -> Result<u64> {
        let address = self.address();
        let read = ReadKey::public(&address);
        let listed = files.iter().map(|(path, bytes)| SiteFile { path: path.clone(), size: bytes.len() as u64 });
        let plan = Plan::new(listed.collect(), &[], title.to_owned())?;
        let order: Vec<_> = plan.order().iter().map(|file| file.file_index).collect();
        let contents: Vec<_> = files.values().collect();
        let mut builder = Builder::new(plan, read.clone());
        let mut chunks = Vec::new();
        for index in order {
            chunks.extend(builder.feed(index, contents[index])?.into_iter().map(|chunk| chunk.sealed));
        }
        let (manifest, rest) = builder.finish()?;
        chunks.extend(rest.into_iter().map(|chunk| chunk.sealed));
        let (refs, sealed) = manifest.seal(&read)?;
        chunks.extend(sealed);
        let inner = HeadInner {
            time_ms: SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64,
            total_size: manifest.total_size(),
            manifest_size: u32::try_from(manifest.encode().len())?,
            manifest: refs,
            previous: self.last.as_ref().map(Head::hash),
        };
        let sequence = self.last.as_ref().map_or(1, |last| last.sequence() + 1);
        let head = Head::sign(&self.key, &read, sequence, &inner)?;
        for sealed in chunks {
            app.call(&Command::StoreChunk { sealed }).await?;
        }
        match app.call(&Command::Publish { address, head: head.as_bytes().to_vec() }).await? {
            Reply::Published(_) => {}
            other => bail!("not published: {other:?}"),
        }
        self.last = Some(head);
        Ok(sequence)
    }
}
