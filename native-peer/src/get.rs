//! `meganet get`: writing a site's files into a folder, and nowhere else.

use crate::{client::Client, error::CommandError, folder::Folder, text::printable};
use bytes::Bytes;
use futures::StreamExt;
use indicatif::ProgressBar;
use meganet_core::{address::Address, path};
use meganet_node::api::{ApiError, Command, Content, Event, FileInfo, Files, READ_MAX_BYTES, Reply, Stage};
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
    pub title: String,
    /// The version that all files are of.
    pub sequence: u64,
    pub into: PathBuf,
    pub files: usize,
    pub bytes: u64,
}

/// Fetches a site, or one file of it, and writes it.
///
/// # Errors
/// [`CommandError`]. Files already written are whole, and all of one version.
pub async fn get(client: &Client, download: &Download, bar: &ProgressBar) -> Result<Downloaded, CommandError> {
    let address = download.address;
    let site = match client.call(Command::OpenSite { address }).await? {
        Reply::Site(site) => site,
        _ => return Err(CommandError::UnexpectedReply),
    };
    let Files { sequence, files } = match &download.path {
        None => {
            let files = files(client, address).await?;
            check_target(download)?;
            bar.set_length(site.total_bytes);
            fetch_all(client, download, bar).await?;
            files
        }
        Some(path) => {
            let content = read(client, address, path, 0, 0, None).await?;
            check_target(download)?;
            bar.set_length(content.size);
            let file = FileInfo { path: content.path, media_type: content.media_type, size: content.size };
            Files { sequence: content.sequence, files: vec![file] }
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
        let site = Version { address, sequence };
        write_file(client, site, &folder, file, download.force, bar).await?;
        bytes += file.size;
    }
    let count = files.len();
    sync(&download.into, folder, files).await?;
    bar.finish_and_clear();
    Ok(Downloaded { title: site.title, sequence, into: download.into.clone(), files: count, bytes })
}

/// The one version of a site that is being fetched.
#[derive(Clone, Copy)]
struct Version {
    address: Address,
    sequence: u64,
}

/// The files of a site.
async fn files(client: &Client, address: Address) -> Result<Files, CommandError> {
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
    let failed = |error: io::Error| write_error(&download.into.to_string_lossy(), &error);
    match (std::fs::symlink_metadata(&download.into), std::fs::metadata(&download.into)) {
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        (Err(error), _) => return Err(failed(error)),
        (Ok(_), Ok(found)) if found.is_dir() => {}
        // A file, or a link that leads to one or to nothing.
        _ => return Err(CommandError::NotAFolder { path: download.into.clone() }),
    }
    if download.force {
        return Ok(());
    }
    let empty = Folder::open(&download.into).and_then(|folder| folder.is_empty());
    match empty {
        Ok(true) => Ok(()),
        Ok(false) => Err(CommandError::NotEmpty { path: download.into.clone() }),
        Err(error) => Err(failed(error)),
    }
}

fn create(into: &Path) -> Result<Folder, CommandError> {
    std::fs::create_dir_all(into)
        .and_then(|()| Folder::open(into))
        .map_err(|error| write_error(&into.to_string_lossy(), &error))
}

async fn write_file(
    client: &Client,
    site: Version,
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
            let content = read(client, site.address, &file.path, offset, READ_MAX_BYTES, Some(site.sequence)).await?;
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
    sequence: Option<u64>,
) -> Result<Content, CommandError> {
    let path = path.to_owned();
    match (client.call(Command::Read { address, path, offset, max_bytes, sequence }).await, sequence) {
        (Ok(Reply::Content(content)), _) if sequence.is_none_or(|sequence| sequence == content.sequence) => Ok(content),
        (Ok(_), _) => Err(CommandError::UnexpectedReply),
        (Err(CommandError::Api(ApiError::VersionChanged { sequence: current })), Some(fetched)) => {
            Err(CommandError::SiteUpdated { fetched, current })
        }
        (Err(error), _) => Err(error),
    }
}

/// Each file is on the disk already; this is for their names, so that a power failure takes none of them back.
async fn sync(into: &Path, folder: Arc<Folder>, files: Vec<FileInfo>) -> Result<(), CommandError> {
    let synced =
        tokio::task::spawn_blocking(move || folder.sync_directories_of(files.iter().map(|file| file.path.as_str())));
    synced.await.map_err(|_| CommandError::Interrupted)?.map_err(|error| write_error(&into.to_string_lossy(), &error))
}

fn write_error(path: &str, error: &io::Error) -> CommandError {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    CommandError::Write { path: printable(path, 300), reason: error.to_string(), full }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{Backend, client::RemoteNode, server::Server};
    use futures::{FutureExt, future::BoxFuture, stream, stream::BoxStream};
    use meganet_core::keys::SiteKey;
    use meganet_node::api::SiteInfo;

    /// A site of two files that is updated after the first was read.
    struct Updated(Address);

    impl Updated {
        fn site(&self) -> SiteInfo {
            SiteInfo {
                address: self.0,
                sequence: 1,
                total_bytes: 6,
                files: Some(2),
                chunks: 2,
                held_chunks: 2,
                ..crate::show::tests::site()
            }
        }
    }

    impl Backend for Updated {
        fn call(&self, command: Command) -> BoxFuture<'static, Result<Reply, ApiError>> {
            let file = |path: &str| FileInfo { path: path.into(), media_type: "text/plain".into(), size: 3 };
            let reply = match command {
                Command::OpenSite { .. } => Ok(Reply::Site(self.site())),
                Command::Files { .. } => Ok(Reply::Files(Files { sequence: 1, files: vec![file("a"), file("b")] })),
                Command::Read { path, sequence: Some(1), .. } if path == "b" => {
                    Err(ApiError::VersionChanged { sequence: 2 })
                }
                Command::Read { path, offset, .. } => {
                    let sequence = if path == "b" { 2 } else { 1 };
                    let media_type = "text/plain".into();
                    let bytes = b"new".to_vec();
                    Ok(Reply::Content(Content { sequence, path, media_type, size: 3, offset, bytes }))
                }
                _ => Ok(Reply::Done),
            };
            async move { reply }.boxed()
        }

        fn events(&self) -> BoxStream<'static, Event> {
            stream::pending().boxed()
        }
    }

    #[tokio::test]
    async fn files_of_two_versions_are_never_put_together() {
        let temporary = tempfile::tempdir().unwrap();
        let socket = temporary.path().join("socket");
        let address = SiteKey::from_seed([1; 32]).address();
        let server = tokio::spawn(Server::bind(&socket).unwrap().run(Arc::new(Updated(address))));
        let client = Client::Remote(RemoteNode::connect(&socket).await.unwrap().unwrap());
        let into = temporary.path().join("copy");
        let download = Download { address, path: None, into: into.clone(), force: false, large: false };
        let error = get(&client, &download, &ProgressBar::hidden()).await.unwrap_err();
        assert!(matches!(error, CommandError::SiteUpdated { fetched: 1, current: 2 }), "{error}");
        assert_eq!(error.code(), ("site_updated", crate::error::exit::SITE_UPDATED));
        let names: Vec<_> = std::fs::read_dir(&into).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a"], "the file before it is whole, and nothing is left of the other");
        server.abort();
    }
}
