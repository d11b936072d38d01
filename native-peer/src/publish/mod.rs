//! Publishing a folder: look at it, seal it chunk by chunk, look at it again, and only then sign.
//!
//! The folder is listed before the first byte is read and after the last; unless both listings are the same, and every
//! file was as long as listed, nothing is signed and the earlier version stays. At most [`SEALED_WAITING_MAX`] +
//! [`upload::STORE_AT_ONCE`] chunks are in memory, however large the site.

mod names;
pub mod scan;
mod upload;

use crate::{
    client::Client,
    error::CommandError,
    folder::{Folder, Stamp},
    site_keys::{Signed, Signer},
    text,
};
use indicatif::ProgressBar;
use meganet_core::{
    address::Address,
    head::{Head, HeadInner, next_sequence},
    keys::ReadKey,
    limits::TITLE_MAX_BYTES,
    manifest::Manifest,
    publish::{Builder, Plan, SealedChunk, SiteFile, local_references},
};
use meganet_node::{
    api::{Command, CurrentHead, Reply},
    platform::unix_ms,
};
use scan::{Listing, ScanError, shown};
use std::{io::Read, path::PathBuf};
use tokio::sync::mpsc;
use upload::Uploaded;

/// Sealed chunks between the reading thread and the store.
const SEALED_WAITING_MAX: usize = 16;
/// Bytes read from a file at once.
const READ_BYTES: usize = 256 * 1024;
/// Bytes of an entry page that are searched for its title and what it needs.
const ENTRY_PAGE_MAX_BYTES: u64 = 1024 * 1024;
/// The entry page when none is named.
const DEFAULT_INDEX: &str = "index.html";

/// What to publish, and how.
#[derive(Debug, Clone)]
pub struct Publication {
    pub folder: PathBuf,
    /// `None`: the entry page's, or the folder's name.
    pub title: Option<String>,
    /// `None`: `index.html` if there is one.
    pub index: Option<String>,
    pub sequence: Option<u64>,
    /// Sign a new head even if nothing changed.
    pub force: bool,
    pub include_private: bool,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub address: Address,
    pub title: String,
    pub index: Option<String>,
    /// The sequence that is current now.
    pub sequence: u64,
    pub previous: Option<u64>,
    /// Hash of the current head.
    pub head_hash: String,
    /// Nothing had changed, so nothing was signed: the version that was there is announced again.
    pub unchanged: bool,
    pub files: usize,
    pub bytes: u64,
    pub chunks: Uploaded,
    /// Other peers that took the head.
    pub stored_on: u32,
}

/// Looks at a folder: all refusals that need no file to be read through.
///
/// # Errors
/// [`CommandError`]; nothing was made or changed.
pub async fn prepare(publication: &Publication) -> Result<Prepared, CommandError> {
    let publication = publication.clone();
    blocking(move || Prepared::new(&publication)).await
}

/// Publishes a folder that was looked at.
///
/// # Errors
/// [`CommandError`]; the version before stays the current one whole. [`CommandError::UnknownVersion`] when the number of
/// that version cannot be known here.
pub async fn publish(
    client: &Client,
    signer: &Signer,
    publication: &Publication,
    prepared: Prepared,
    bar: &ProgressBar,
) -> Result<Outcome, CommandError> {
    let address = signer.key.address();
    let (files, bytes) = (prepared.listing.files.len(), prepared.listing.total_bytes());
    let (title, index) = (prepared.title.clone(), prepared.index.clone());
    bar.set_length(bytes);

    let (current, asked) = current_head(client, address).await?;
    let signed = signer.last_signed()?;
    if current.is_none() && asked == 0 && publication.sequence.is_none() && signed == Signed::Unknown {
        return Err(CommandError::UnknownVersion);
    }
    // What was signed here counts even when nobody shows it any more: the store may be lost, or an older one restored.
    let before = match (signed, &current) {
        (Signed::Last { sequence, head }, current) if current.as_ref().is_none_or(|c| c.sequence() < sequence) => {
            Some((sequence, head))
        }
        (_, current) => current.as_ref().map(|head| (head.sequence(), head.hash())),
    };
    let sequence = next_sequence(before.map(|(sequence, _)| sequence), publication.sequence)?;

    let (sealed, waiting) = mpsc::channel(SEALED_WAITING_MAX);
    let reading = {
        let (include_private, bar) = (publication.include_private, bar.clone());
        blocking(move || prepared.seal(&ReadKey::public(&address), include_private, &sealed, &bar))
    };
    let (manifest, chunks) = tokio::try_join!(reading, upload::store(client, waiting))?;

    let read = ReadKey::public(&address);
    let (refs, manifest_chunks) = manifest.seal(&read)?;
    let inner = HeadInner {
        time_ms: unix_ms(),
        total_size: manifest.total_size(),
        manifest_size: u32::try_from(manifest.encode().len()).unwrap_or(u32::MAX),
        manifest: refs.clone(),
        previous: before.map(|(_, head)| head),
    };
    let outcome = |head: &Head, unchanged, chunks, stored_on| Outcome {
        address,
        title,
        index,
        sequence: head.sequence(),
        previous: before.map(|(sequence, _)| sequence),
        head_hash: head.hash().to_string(),
        unchanged,
        files,
        bytes,
        chunks,
        stored_on,
    };
    let chunks = chunks + upload::store_all(client, refs.iter().map(|chunk| chunk.id).zip(manifest_chunks)).await?;
    // Sealing is deterministic: an unchanged site has the very same manifest chunks. Its head is announced again: nobody
    // may have been reachable the last time, or those who took it may have gone.
    let unchanged = current.as_ref().filter(|head| {
        let may_stay = !publication.force && publication.sequence.is_none();
        let is_last = before.is_some_and(|(sequence, _)| sequence == head.sequence());
        may_stay && is_last && head.open(&read).is_ok_and(|before| before.manifest == refs)
    });
    let (head, is_unchanged) = match unchanged {
        Some(head) => (head.clone(), true),
        None => {
            let head = Head::sign(&signer.key, &read, sequence, &inner)?;
            signer.signed(&head)?;
            (head, false)
        }
    };
    match client.call(Command::Publish { address, head: head.as_bytes().to_vec() }).await? {
        Reply::Published(published) => Ok(outcome(&head, is_unchanged, chunks, published.stored_on)),
        _ => Err(CommandError::UnexpectedReply),
    }
}

/// The head to chain to, the highest the node knows or the network returns; and how many peers were asked for it.
pub async fn current_head(client: &Client, address: Address) -> Result<(Option<Head>, u32), CommandError> {
    match client.call(Command::CurrentHead { address }).await? {
        Reply::Head(CurrentHead { head, asked }) => {
            let parse = |bytes: Vec<u8>| Head::parse_for(&bytes, &address.blinded());
            Ok((head.map(|head| parse(head.bytes)).transpose()?, asked))
        }
        _ => Err(CommandError::UnexpectedReply),
    }
}

/// A folder that was looked at and found publishable.
pub struct Prepared {
    folder: Folder,
    listing: Listing,
    plan: Plan,
    title: String,
    index: Option<String>,
}

impl Prepared {
    fn new(publication: &Publication) -> Result<Self, CommandError> {
        let (folder, listing) = scan::scan(&publication.folder, publication.include_private)?;
        let entry = match &publication.index {
            Some(path) => {
                Some(listing.files.get_key_value(path).ok_or_else(|| CommandError::NoIndex { path: shown(path) })?)
            }
            None => listing.files.get_key_value(DEFAULT_INDEX),
        };
        let index = entry.map(|(path, _)| path.clone());
        let mut starter = Vec::new();
        let mut page_title = None;
        if let Some((path, stamp)) = entry {
            let html = entry_page(&folder, path, stamp)?;
            page_title = text::html_title(&html, TITLE_MAX_BYTES);
            starter.push(path.clone());
            starter.extend(local_references(path, &html).into_iter().filter(|path| listing.files.contains_key(path)));
        }
        let folder_name = || {
            let name = publication.folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_owned()));
            text::clean_title(&name.unwrap_or_default().to_string_lossy(), TITLE_MAX_BYTES)
        };
        let title = match &publication.title {
            Some(title) => text::clean_title(title, TITLE_MAX_BYTES),
            None => page_title.unwrap_or_else(folder_name),
        };
        let files =
            listing.files.iter().map(|(path, stamp)| SiteFile { path: path.clone(), size: stamp.size }).collect();
        let plan = Plan::new(files, &starter, title.clone())?;
        Ok(Prepared { folder, listing, plan, title, index })
    }

    /// Reads and seals every file, then makes sure that the folder is still the one that was listed.
    fn seal(
        self,
        read: &ReadKey,
        include_private: bool,
        sealed: &mpsc::Sender<SealedChunk>,
        bar: &ProgressBar,
    ) -> Result<Manifest, CommandError> {
        let Prepared { folder, listing, plan, .. } = self;
        let order: Vec<_> = plan.order().to_vec();
        let mut builder = Builder::new(plan, read.clone());
        let mut buffer = vec![0; READ_BYTES];
        let send = |chunks: Vec<SealedChunk>| {
            // The other side ends first only when storing failed, or on Ctrl-C: its reason is the one to tell.
            chunks.into_iter().try_for_each(|chunk| sealed.blocking_send(chunk).map_err(|_| CommandError::Interrupted))
        };
        for planned in &order {
            let changed = || ScanError::Changed { path: shown(&planned.path) };
            let stamp = listing.files.get(&planned.path).ok_or_else(changed)?;
            read_file(&folder, &planned.path, stamp, &mut buffer, |piece| {
                send(builder.feed(planned.file_index, piece)?)?;
                bar.inc(piece.len() as u64);
                Ok(())
            })?;
        }
        let (manifest, rest) = builder.finish()?;
        send(rest)?;
        match listing.difference(&scan::list(&folder, include_private)?) {
            Some(path) => Err(ScanError::Changed { path: shown(&path) }.into()),
            None => Ok(manifest),
        }
    }
}

/// Hands a file's bytes on piece by piece; refuses one that is not the file that was listed, or changes meanwhile.
fn read_file(
    folder: &Folder,
    path: &str,
    stamp: &Stamp,
    buffer: &mut [u8],
    mut piece: impl FnMut(&[u8]) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let unreadable = |error: std::io::Error| ScanError::Unreadable { path: shown(path), reason: error.to_string() };
    let changed = || CommandError::from(ScanError::Changed { path: shown(path) });
    let mut file = folder.read(path).map_err(unreadable)?;
    if Stamp::of_file(&file).map_err(unreadable)? != *stamp {
        return Err(changed());
    }
    let mut done = 0u64;
    loop {
        let count = file.read(buffer).map_err(unreadable)?;
        done += count as u64;
        if done > stamp.size {
            return Err(changed());
        }
        if count == 0 {
            break;
        }
        piece(buffer.get(..count).unwrap_or_default())?;
    }
    if done != stamp.size || Stamp::of_file(&file).map_err(unreadable)? != *stamp {
        return Err(changed());
    }
    Ok(())
}

/// The beginning of the entry page, as text.
fn entry_page(folder: &Folder, path: &str, stamp: &Stamp) -> Result<String, CommandError> {
    let mut html = Vec::new();
    let mut buffer = vec![0; READ_BYTES];
    read_file(folder, path, stamp, &mut buffer, |piece| {
        let room = (ENTRY_PAGE_MAX_BYTES as usize).saturating_sub(html.len());
        html.extend(piece.iter().take(room));
        Ok(())
    })?;
    Ok(String::from_utf8_lossy(&html).into_owned())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CommandError> + Send + 'static,
) -> Result<T, CommandError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| CommandError::Interrupted)?
}
