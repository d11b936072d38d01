//! A folder on disk, entered by file descriptor and never through a symbolic link.
//!
//! Every step is an `openat` with `O_NOFOLLOW`, so nothing outside the folder is read or written even when somebody
//! swaps a directory for a link in the meantime.

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, Stat},
    io::Errno,
};
use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

/// Directories a walk enters at most.
pub const DIRECTORIES_MAX: usize = 20_000;

/// What identifies a file and its content without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub size: u64,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "the integer types differ between platforms"
    )]
    fn of(stat: &Stat) -> Self {
        Stamp {
            size: u64::try_from(stat.st_size).unwrap_or(0),
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// The stamp of an open file.
    pub fn of_file(file: &File) -> io::Result<Self> {
        Ok(Stamp::of(&rustix::fs::fstat(file)?))
    }
}

/// One thing found in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    File {
        path: String,
        stamp: Stamp,
    },
    Directory {
        path: String,
    },
    Link {
        path: String,
        target: String,
    },
    /// A pipe, a socket or a device.
    Special {
        path: String,
    },
    /// A name that is not UTF-8, shown as well as possible.
    NotText {
        path: String,
    },
}

/// Why a walk ended early.
#[derive(Debug)]
pub enum WalkError {
    Io(io::Error),
    /// There are more than [`DIRECTORIES_MAX`].
    TooManyDirectories,
}

/// An open folder.
pub struct Folder {
    root: OwnedFd,
}

impl Folder {
    /// Opens an existing folder. The folder itself may be reached through a link: the user named it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Folder { root: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Visits everything below, directories before their content, in no particular order.
    ///
    /// # Errors
    /// The visitor's, or an I/O error with the path it concerns.
    pub fn walk<E>(
        &self,
        mut visit: impl FnMut(Entry) -> Result<(), E>,
        failed: impl Fn(&str, WalkError) -> E,
    ) -> Result<(), E> {
        let mut waiting = vec![String::new()];
        let mut entered = 0;
        while let Some(directory) = waiting.pop() {
            entered += 1;
            if entered > DIRECTORIES_MAX {
                return Err(failed(&directory, WalkError::TooManyDirectories));
            }
            let fail = |error: Errno| failed(&directory, WalkError::Io(error.into()));
            let fd = self.directory(&directory).map_err(|error| failed(&directory, WalkError::Io(error)))?;
            let entries = Dir::read_from(&fd).map_err(fail)?;
            for entry in entries {
                let entry = entry.map_err(fail)?;
                let name = entry.file_name().to_bytes();
                if name == b"." || name == b".." {
                    continue;
                }
                let path = join(&directory, &String::from_utf8_lossy(name));
                if std::str::from_utf8(name).is_err() {
                    visit(Entry::NotText { path })?;
                    continue;
                }
                let stat = rustix::fs::statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|error| failed(&path, WalkError::Io(error.into())))?;
                match FileType::from_raw_mode(stat.st_mode as RawMode) {
                    FileType::RegularFile => visit(Entry::File { path, stamp: Stamp::of(&stat) })?,
                    FileType::Directory => {
                        visit(Entry::Directory { path: path.clone() })?;
                        waiting.push(path);
                    }
                    FileType::Symlink => {
                        let target = rustix::fs::readlinkat(&fd, entry.file_name(), Vec::new())
                            .map_err(|error| failed(&path, WalkError::Io(error.into())))?;
                        visit(Entry::Link { path, target: target.to_string_lossy().into_owned() })?;
                    }
                    _ => visit(Entry::Special { path })?,
                }
            }
        }
        Ok(())
    }

    /// Opens a file below for reading. Does not block on a pipe that took a file's place.
    pub fn read(&self, path: &str) -> io::Result<File> {
        let (directory, name) = split(path);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(self.directory(directory)?, name, flags, Mode::empty())?.into())
    }

    /// Creates a file below in one step: `write` fills a temporary file, which is given its name once its bytes are on the
    /// disk: a power failure leaves no name on half a file. An older file of that name is replaced only when `replace` is
    /// set. The name itself is as durable once [`Folder::sync_directories_of`] was called.
    pub fn write(&self, path: &str, replace: bool, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
        let (directory, name) = split(path);
        let directory = self.make_directory(directory)?;
        let temporary = format!(".meganet-{}-{:08x}.part", std::process::id(), fold_name(path));
        // One left by a process of the same id that was killed.
        let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file: File = rustix::fs::openat(&directory, &temporary, flags, Mode::from_raw_mode(0o644))?.into();
        let result = write(&mut file).and_then(|()| file.sync_all()).and_then(|()| {
            if replace {
                rustix::fs::renameat(&directory, &temporary, &directory, name)?;
                return Ok(());
            }
            // A link fails when the name is taken, a rename would replace; some file systems have no links.
            match rustix::fs::linkat(&directory, &temporary, &directory, name, AtFlags::empty()) {
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
                    if rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                        return Err(Errno::EXIST.into());
                    }
                    Ok(rustix::fs::renameat(&directory, &temporary, &directory, name)?)
                }
                other => Ok(other?),
            }
        });
        if result.is_err() || !replace {
            let _ = rustix::fs::unlinkat(&directory, &temporary, AtFlags::empty());
        }
        result
    }

    /// Syncs the directories that these files are in, and those above them up to the folder, each once.
    pub fn sync_directories_of<'a>(&self, files: impl IntoIterator<Item = &'a str>) -> io::Result<()> {
        let mut directories = BTreeSet::from([""]);
        for file in files {
            let mut at = file;
            while let Some((directory, _)) = at.rsplit_once('/') {
                if !directories.insert(directory) {
                    break;
                }
                at = directory;
            }
        }
        for directory in directories {
            match rustix::fs::fsync(self.directory(directory)?) {
                // Some file systems cannot sync a directory; there is nothing to be done about it there.
                Ok(()) | Err(Errno::INVAL | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether there is nothing in the folder.
    pub fn is_empty(&self) -> io::Result<bool> {
        for entry in Dir::read_from(&self.root)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn directory(&self, path: &str) -> io::Result<OwnedFd> {
        self.enter(path, false)
    }

    fn make_directory(&self, path: &str) -> io::Result<OwnedFd> {
        self.enter(path, true)
    }

    fn enter(&self, path: &str, create: bool) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut at = self.root.as_fd().try_clone_to_owned()?;
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            if matches!(segment, "." | "..") {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path leads upwards"));
            }
            if create {
                match rustix::fs::mkdirat(&at, segment, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            at = rustix::fs::openat(&at, segment, flags, Mode::empty())?;
        }
        Ok(at)
    }
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Tells the temporary files of one process apart (FNV-1a).
fn fold_name(path: &str) -> u32 {
    path.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, os::unix::fs::symlink};

    #[test]
    fn writing_never_follows_links() {
        let temporary = tempfile::tempdir().unwrap();
        let (inside, outside) = (temporary.path().join("in"), temporary.path().join("out"));
        fs::create_dir(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("victim"), "old").unwrap();
        symlink(&outside, inside.join("dir")).unwrap();
        symlink(outside.join("victim"), inside.join("file")).unwrap();
        let folder = Folder::open(&inside).unwrap();

        for path in ["dir/victim", "dir/new", "../out/new", "a/../../out/new", "..", "."] {
            assert!(folder.write(path, true, |file| file.write_all(b"new")).is_err(), "{path}");
        }
        folder.write("file", true, |file| file.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "old");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(inside.join("file")).unwrap(), "new");
        assert!(!fs::symlink_metadata(inside.join("file")).unwrap().is_symlink());
        assert!(folder.read("dir/victim").is_err());
    }

    #[test]
    fn a_failed_write_leaves_nothing_and_replaces_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        folder.write("a/b", false, |file| file.write_all(b"first")).unwrap();
        assert!(folder.write("a/b", false, |file| file.write_all(b"second")).is_err());
        assert!(folder.write("a/b", true, |_| Err(io::Error::other("stopped"))).is_err());
        assert_eq!(fs::read_to_string(temporary.path().join("a/b")).unwrap(), "first");
        assert_eq!(fs::read_dir(temporary.path().join("a")).unwrap().count(), 1);
    }

    #[test]
    fn directories_are_synced_down_to_the_last_and_never_through_a_link() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder::open(temporary.path()).unwrap();
        for path in ["a/b/c/file", "a/b/other", "top"] {
            folder.write(path, false, |file| file.write_all(b"x")).unwrap();
        }
        folder.sync_directories_of(["a/b/c/file", "a/b/other", "top"]).unwrap();
        symlink("a", temporary.path().join("link")).unwrap();
        assert!(folder.sync_directories_of(["link/b/other"]).is_err());
        assert!(folder.sync_directories_of(["gone/file"]).is_err());
    }

    #[test]
    fn a_walk_tells_kinds_apart() {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("d")).unwrap();
        fs::write(temporary.path().join("d/f"), "12345").unwrap();
        symlink("d/f", temporary.path().join("l")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(temporary.path().join("s")).unwrap();
        let mut found = Vec::new();
        let folder = Folder::open(temporary.path()).unwrap();
        folder
            .walk(
                |entry| {
                    found.push(match entry {
                        Entry::File { path, stamp } => format!("file {path} {}", stamp.size),
                        Entry::Directory { path } => format!("directory {path}"),
                        Entry::Link { path, target } => format!("link {path} {target}"),
                        Entry::Special { path } => format!("special {path}"),
                        Entry::NotText { path } => format!("not text {path}"),
                    });
                    Ok::<(), ()>(())
                },
                |path, error| panic!("{path}: {error:?}"),
            )
            .unwrap();
        found.sort();
        assert_eq!(found, ["directory d", "file d/f 5", "link l d/f", "special s"]);
    }
}
