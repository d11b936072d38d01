//! `meganet get`: writing a site's files into a folder, and nowhere else.

use crate::{client::Client, error::CommandError, folder::Folder, text::printable};
use bytes::Bytes;
use futures::StreamExt;
use indicatif::ProgressBar;
use meganet_core::{address::Address, path};
use meganet_node::api::{ApiError, Command, Content, Event, FileInfo, READ_MAX_BYTES, Reply, SiteInfo, Stage};
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// Pieces of a file between the node and the disk.
const PIECES_WAITING_MAX: usize = 4;

/// What to fetch, and where to.
#[derive(Debug, Clone)]
pub struct Download {
    pub address: Address,
    /// One file or folder's entry page, as a browser would ask for it; `None` for the whole site.
    pub path: Option<String>,
    pub into: PathBuf,
    /// Write into a folder that has something in it, over files of the same name.
    pub force: bool,
    /// Fetch a site over the size that is fetched without asking.
    pub large: bool,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Downloaded {
    pub site: SiteInfo,
    pub into: PathBuf,
    pub files: usize,
    pub bytes: u64,
}

/// Fetches a site, or one file of it, and writes it.
///
/// # Errors
/// [`CommandError`]. Files already written are whole.
pub async fn get(client: &Client, download: &Download, bar: &ProgressBar) -> Result<Downloaded, CommandError> {
    let address = download.address;
    let site = match client.call(Command::OpenSite { address }).await? {
        Reply::Site(site) => site,
        _ => return Err(CommandError::UnexpectedReply),
    };
    let files = match &download.path {
        None => {
            let files = files(client, address).await?;
            check_target(download)?;
            bar.set_length(site.total_bytes);
            fetch_all(client, download, bar).await?;
            files
        }
        Some(path) => {
            let content = read(client, address, path, 0, 0).await?;
            check_target(download)?;
            bar.set_length(content.size);
            vec![FileInfo { path: content.path, media_type: content.media_type, size: content.size }]
        }
    };
    // The manifest was checked by the node; a path is never trusted twice removed.
    for file in &files {
        path::check(&file.path).map_err(|reason| ApiError::Refused {
            reason: format!("the site names a file “{}”: {reason}", printable(&file.path, 200)),
        })?;
    }
    bar.set_position(0);
    let folder = Arc::new(create(&download.into)?);
    let mut bytes = 0;
    for file in &files {
        write_file(client, address, &folder, file, download.force, bar).await?;
        bytes += file.size;
    }
    bar.finish_and_clear();
    Ok(Downloaded { site, into: download.into.clone(), files: files.len(), bytes })
}

/// The files of a site.
pub async fn files(client: &Client, address: Address) -> Result<Vec<FileInfo>, CommandError> {
    match client.call(Command::Files { address }).await? {
        Reply::Files(files) => Ok(files),
        _ => Err(CommandError::UnexpectedReply),
    }
}

async fn fetch_all(client: &Client, download: &Download, bar: &ProgressBar) -> Result<(), CommandError> {
    let address = download.address;
    let mut events = client.events().await;
    let mut fetching = std::pin::pin!(client.call(Command::FetchAll { address, allow_large: download.large }));
    loop {
        tokio::select! {
            result = &mut fetching => return result.map(|_| ()),
            Some(event) = events.next() => {
                if let Event::Progress(progress) = event
                    && progress.address == address
                    && let Stage::FetchingChunks { bytes, .. } = progress.stage
                {
                    bar.set_position(bytes);
                }
            }
        }
    }
}

fn check_target(download: &Download) -> Result<(), CommandError> {
    if download.force || !download.into.exists() {
        return Ok(());
    }
    let empty = Folder::open(&download.into).and_then(|folder| folder.is_empty());
    match empty {
        Ok(true) => Ok(()),
        Ok(false) => Err(CommandError::NotEmpty { path: download.into.clone() }),
        Err(error) => Err(write_error(&download.into.to_string_lossy(), &error)),
    }
}

fn create(into: &Path) -> Result<Folder, CommandError> {
    std::fs::create_dir_all(into)
        .and_then(|()| Folder::open(into))
        .map_err(|error| write_error(&into.to_string_lossy(), &error))
}

async fn write_file(
    client: &Client,
    address: Address,
    folder: &Arc<Folder>,
    file: &FileInfo,
    replace: bool,
    bar: &ProgressBar,
) -> Result<(), CommandError> {
    let (pieces, mut waiting) = mpsc::channel::<Bytes>(PIECES_WAITING_MAX);
    let writing = {
        let (folder, path, size) = (folder.clone(), file.path.clone(), file.size);
        tokio::task::spawn_blocking(move || {
            folder.write(&path, replace, |out| {
                let mut written = 0;
                while let Some(piece) = waiting.blocking_recv() {
                    out.write_all(&piece)?;
                    written += piece.len() as u64;
                }
                // The reading side gave up: the temporary file goes.
                if written == size { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
            })
        })
    };
    let reading = async {
        let mut offset = 0;
        while offset < file.size {
            let content = read(client, address, &file.path, offset, READ_MAX_BYTES).await?;
            let count = content.bytes.len() as u64;
            if content.path != file.path || content.offset != offset || count == 0 || count > file.size - offset {
                return Err(CommandError::UnexpectedReply);
            }
            offset += count;
            bar.inc(count);
            if pieces.send(content.bytes.into()).await.is_err() {
                break;
            }
        }
        drop(pieces);
        Ok(())
    };
    let read = reading.await;
    let written = writing.await.map_err(|_| CommandError::Interrupted)?;
    read?;
    written.map_err(|error| write_error(&file.path, &error))
}

async fn read(
    client: &Client,
    address: Address,
    path: &str,
    offset: u64,
    max_bytes: u32,
) -> Result<Content, CommandError> {
    match client.call(Command::Read { address, path: path.to_owned(), offset, max_bytes }).await? {
        Reply::Content(content) => Ok(content),
        _ => Err(CommandError::UnexpectedReply),
    }
}

fn write_error(path: &str, error: &io::Error) -> CommandError {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    CommandError::Write { path: printable(path, 300), reason: error.to_string(), full }
}
