//! The data directory: where it is, who may read it, and the lock that keeps two nodes apart.
//!
//! ```text
//! lock              pid and command of the process whose node runs on this directory
//! socket            where commands reach that node
//! identity          the node's Ed25519 seed
//! webrtc.pem        the certificate of the webrtc-direct listener: its hash is part of the node's addresses
//! keys/NAME.key     site keys
//! keys/NAME.folder  the folder a key published last
//! quota             bytes of other people's sites to keep, as last given to `meganet peer`
//! unsigned/ADDRESS  there while the address's key, made here, has signed nothing and was not copied
//! store/            chunks and index
//! ```

use crate::secrets::{SecretError, replace_private};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The lock file's content is for people; this much of it is read.
const HOLDER_MAX_BYTES: u64 = 1024;
/// Bytes of other people's sites to keep when nothing else was ever said.
const DEFAULT_QUOTA_BYTES: u64 = 20 << 30;
/// A quota has at most 20 digits.
const QUOTA_FILE_MAX_BYTES: u64 = 64;

/// Why a data directory cannot be used. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("no home directory is known: name one with --data-dir or MEGANET_DATA_DIR")]
    Unknown,
    #[error(
        "the data directory “{}” is in use by {holder}. Stop that process, or choose another --data-dir", .path.display()
    )]
    InUse { path: PathBuf, holder: String },
    #[error(
        "the data directory “{}” cannot be used: {reason}. Give this user the right to write there, or choose another \
         --data-dir", .path.display()
    )]
    Unusable { path: PathBuf, reason: String },
    #[error(
        "“{}” holds no quota: {reason}. Nothing was evicted. Run `meganet peer` with --quota once, or delete the file", .path.display()
    )]
    Quota { path: PathBuf, reason: String },
}

/// An existing, writable data directory.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
}

impl DataDir {
    /// Opens the directory, and creates it for this user alone when it is missing.
    ///
    /// `requested` wins over the XDG default `$XDG_DATA_HOME/meganet`, which is `~/.local/share/meganet` when unset.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub fn open(requested: Option<PathBuf>) -> Result<Self, DataDirError> {
        let path = requested.or_else(default_path).ok_or(DataDirError::Unknown)?;
        let unusable = |error: io::Error| DataDirError::Unusable { path: path.clone(), reason: error.to_string() };
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(unusable)?;
        let path = fs::canonicalize(&path).map_err(unusable)?;
        Ok(DataDir { path })
    }

    /// Takes the lock, which lasts as long as the returned value and no longer than the process.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] names the holder; [`DataDirError::Unusable`] when the directory cannot be written.
    pub fn lock(&self) -> Result<Lock, DataDirError> {
        let unusable = |error: io::Error| DataDirError::Unusable { path: self.path.clone(), reason: error.to_string() };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join("lock"))
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse { path: self.path.clone(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let command: Vec<String> =
            std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let text = format!("{}\n{}\n", std::process::id(), command.join(" "));
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()))
            .map_err(unusable)?;
        Ok(Lock { _file: file })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn socket(&self) -> PathBuf {
        self.path.join("socket")
    }

    pub fn identity(&self) -> PathBuf {
        self.path.join("identity")
    }

    pub fn certificate(&self) -> PathBuf {
        self.path.join("webrtc.pem")
    }

    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// The quota in bytes: the requested one, else the one that was kept, else the default. Commands that run between two
    /// runs of the peer must not evict what it would keep.
    ///
    /// # Errors
    /// [`DataDirError::Quota`] when the kept one cannot be read.
    pub fn quota(&self, requested: Option<u64>) -> Result<u64, DataDirError> {
        if let Some(quota) = requested {
            return Ok(quota);
        }
        let path = self.quota_file();
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(QUOTA_FILE_MAX_BYTES).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(DEFAULT_QUOTA_BYTES),
            Err(error) => Err(DataDirError::Quota { path, reason: error.to_string() }),
            Ok(_) => text.trim().parse().map_err(|_| DataDirError::Quota { path, reason: "it is no number".into() }),
        }
    }

    /// Keeps a quota for the runs that are given none.
    ///
    /// # Errors
    /// [`SecretError::Io`]; the one kept before is still there.
    pub fn keep_quota(&self, quota_bytes: u64) -> Result<(), SecretError> {
        replace_private(&self.quota_file(), format!("{quota_bytes}\n").as_bytes())
    }

    fn quota_file(&self) -> PathBuf {
        self.path.join("quota")
    }

    pub fn unsigned_keys(&self) -> PathBuf {
        self.path.join("unsigned")
    }

    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }
}

/// Held by the one process whose node runs on the directory.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn default_path() -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_DATA_HOME").map(PathBuf::from) {
        // The XDG specification: a relative path there is to be ignored.
        Some(path) if path.is_absolute() => path,
        _ => PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?).join(".local/share"),
    };
    Some(base.join("meganet"))
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(HOLDER_MAX_BYTES).read_to_string(&mut text);
    let mut lines = text.lines();
    match (read, lines.next(), lines.next()) {
        (Ok(_), Some(pid), Some(command)) => {
            format!("process {} ({})", crate::text::printable(pid, 20), crate::text::printable(command, 200))
        }
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_names_the_first_holder() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = DataDir::open(Some(temporary.path().join("new/nested"))).unwrap();
        let first = directory.lock().unwrap();
        let DataDirError::InUse { path, holder } = directory.lock().unwrap_err() else { panic!("not in use") };
        assert_eq!(path, directory.path());
        assert!(holder.contains(&std::process::id().to_string()), "{holder}");
        drop(first);
        directory.lock().unwrap();
    }

    #[test]
    fn the_quota_is_the_given_one_else_the_kept_one() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = DataDir::open(Some(temporary.path().to_owned())).unwrap();
        assert_eq!(directory.quota(None).unwrap(), DEFAULT_QUOTA_BYTES);
        for kept in [u64::MAX, 0, 50 << 30] {
            directory.keep_quota(kept).unwrap();
            assert_eq!(directory.quota(None).unwrap(), kept);
        }
        assert_eq!(directory.quota(Some(7)).unwrap(), 7);
        assert_eq!(directory.quota(None).unwrap(), 50 << 30, "a quota for one command is not kept");
        for damaged in ["", "many", "-1", "18446744073709551616"] {
            fs::write(temporary.path().join("quota"), damaged).unwrap();
            assert!(matches!(directory.quota(None), Err(DataDirError::Quota { .. })), "{damaged:?}");
        }
    }

    #[test]
    fn a_new_directory_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let temporary = tempfile::tempdir().unwrap();
        let directory = DataDir::open(Some(temporary.path().join("data"))).unwrap();
        assert_eq!(fs::metadata(directory.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_in_its_place_is_refused_by_name() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("file");
        fs::write(&path, "x").unwrap();
        let error = DataDir::open(Some(path.clone())).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}
