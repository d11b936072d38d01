//! Files that only this user may read: identities, certificates, keys.
//!
//! A new one appears whole or not at all, never over an old one; one that other users can read is refused, as `ssh` does.

use rustix::fs::{FileType, Mode, OFlags};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Bytes of a private file: a certificate and its key are about 1 KiB.
pub const FILE_MAX_BYTES: u64 = 64 * 1024;

/// Why a private file cannot be used. No file was changed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("“{}” cannot be read or written: {reason}", .path.display())]
    Io { path: PathBuf, reason: String },
    #[error("“{}” is {what} and not a file. It was left as it is: move it away, or choose another path", .path.display())]
    NotAFile { path: PathBuf, what: &'static str },
    #[error("“{}” has more than {FILE_MAX_BYTES} bytes, which none of ours has. Choose another file", .path.display())]
    TooLong { path: PathBuf },
    #[error("“{}” can be read by other users (mode {mode:03o}). Run: chmod 600 '{}'", .path.display(), .path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("“{}” exists already; it was left as it is. Choose another name", .path.display())]
    Exists { path: PathBuf },
    #[error("the operating system gave no random bytes; nothing was written")]
    Random,
}

impl FileError {
    pub fn io(path: &Path, error: &io::Error) -> Self {
        FileError::Io { path: path.to_owned(), reason: error.to_string() }
    }
}

/// Opens for reading without waiting: opening a pipe would last until somebody writes to it, and no signal would end it.
pub fn open_at_once(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Opens a file for reading; `None` when there is none. What is no file is refused.
pub fn open(path: &Path) -> Result<Option<File>, FileError> {
    let file = match open_at_once(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // A socket cannot be opened at all.
        Err(error) => match fs::metadata(path) {
            Ok(found) if !found.is_file() => return Err(not_a_file(path, &found)),
            _ => return Err(FileError::io(path, &error)),
        },
    };
    let found = file.metadata().map_err(|error| FileError::io(path, &error))?;
    if found.is_file() { Ok(Some(file)) } else { Err(not_a_file(path, &found)) }
}

pub(crate) fn not_a_file(path: &Path, found: &fs::Metadata) -> FileError {
    let what = match FileType::from_raw_mode(found.mode()) {
        FileType::Directory => "a folder",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::Symlink => "a symbolic link",
        _ => "a device",
    };
    FileError::NotAFile { path: path.to_owned(), what }
}

/// Reads a file that nobody else may read; `None` when there is none.
pub fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let Some(file) = open(path)? else { return Ok(None) };
    let io = |error: io::Error| FileError::io(path, &error);
    let mode = file.metadata().map_err(io)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Exposed { path: path.to_owned(), mode });
    }
    let mut content = Zeroizing::new(Vec::new());
    let length = file.take(FILE_MAX_BYTES + 1).read_to_end(&mut content).map_err(io)?;
    if length as u64 > FILE_MAX_BYTES {
        return Err(FileError::TooLong { path: path.to_owned() });
    }
    Ok(Some(content))
}

/// Writes a new file that only this user may read: synced, then named; an existing file is never replaced.
pub fn create_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    // Unlike a rename, a link fails when the name is taken.
    write_private(path, content, |temporary| fs::hard_link(temporary, path))
}

/// The same, in the place of an existing file: it holds the one content or the other, whole.
pub fn replace_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write_private(path, content, |temporary| fs::rename(temporary, path))
}

/// Makes a folder and those above it, for this user alone. One that is there stays as it is: it may be shared on purpose,
/// and what is secret in it is in private files.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes what happened to the names in a file's directory durable.
pub fn sync_directory_of(path: &Path) -> Result<(), FileError> {
    let synced = File::open(parent(path)).and_then(|directory| directory.sync_all());
    synced.map_err(|error| FileError::io(path, &error))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_private(path: &Path, content: &[u8], name: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), FileError> {
    let io = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => FileError::Exists { path: path.to_owned() },
        _ => FileError::io(path, &error),
    };
    let directory = parent(path);
    create_private_directory(directory).map_err(io)?;
    let mut suffix = [0; 8];
    getrandom::fill(&mut suffix).map_err(|_| FileError::Random)?;
    let temporary = directory.join(format!(".new-{:016x}", u64::from_be_bytes(suffix)));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        name(&temporary)?;
        File::open(directory)?.sync_all()
    })();
    let _ = fs::remove_file(&temporary);
    written.map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_no_file_is_refused_by_its_kind_and_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        // Even readable by nobody else, a pipe is not waited for.
        assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(at("pipe")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, kind) in [("folder", "a folder"), ("pipe", "a pipe"), ("socket", "a socket")] {
            let error = read_private(&at(name)).unwrap_err();
            assert!(matches!(error, FileError::NotAFile { what, .. } if what == kind), "{error}");
        }
        assert!(matches!(read_private(Path::new("/dev/zero")), Err(FileError::NotAFile { what: "a device", .. })));
        assert!(read_private(&at("nothing")).unwrap().is_none());
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_too_long_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        create_private(&path, b"secret").unwrap();
        assert_eq!(read_private(&path).unwrap().unwrap().as_slice(), b"secret");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(read_private(&path), Err(FileError::Exposed { mode: 0o640, .. })));
        for (bytes, fits) in [(FILE_MAX_BYTES, true), (FILE_MAX_BYTES + 1, false)] {
            replace_private(&path, &vec![0; bytes as usize]).unwrap();
            assert_eq!(read_private(&path).is_ok(), fits);
        }
    }

    #[test]
    fn a_file_is_made_or_replaced_whole_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/note");
        create_private(&path, b"first, and longer").unwrap();
        assert!(matches!(create_private(&path, b"x"), Err(FileError::Exists { .. })));
        replace_private(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(directory.path().join("new")).unwrap().count(), 1, "no temporary file is left");
    }
}
