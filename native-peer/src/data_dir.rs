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
//! signed/ADDRESS    the version that the address's key signed last, as far as it is known here
//! store/            chunks and index
//! ```

pub use meganet_host::lock::Lock;
use meganet_host::{
    files::{self, FileError},
    lock::{self, LockError},
};
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

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
        "there is no meganet data in “{}”. Nothing was made there: check --data-dir and MEGANET_DATA_DIR, or begin with \
         `meganet peer`, `publish` or `get`", .path.display()
    )]
    NotThere { path: PathBuf },
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
        files::create_private_directory(&path).map_err(unusable)?;
        let path = fs::canonicalize(&path).map_err(unusable)?;
        Ok(DataDir { path })
    }

    /// Opens a directory that is there, for a command that only looks: it makes nothing.
    ///
    /// # Errors
    /// [`DataDirError::NotThere`] for a directory that no command has written to.
    pub fn existing(requested: Option<PathBuf>) -> Result<Self, DataDirError> {
        let path = requested.or_else(default_path).ok_or(DataDirError::Unknown)?;
        match fs::canonicalize(&path) {
            Ok(path) => Ok(DataDir { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(DataDirError::NotThere { path }),
            Err(error) => Err(DataDirError::Unusable { path, reason: error.to_string() }),
        }
    }

    /// The same, of a node: with its identity, or its socket.
    ///
    /// # Errors
    /// [`DataDirError::NotThere`] when no node ever ran on it.
    pub fn of_node(requested: Option<PathBuf>) -> Result<Self, DataDirError> {
        let directory = Self::existing(requested)?;
        for path in [directory.identity(), directory.socket()] {
            match path.try_exists() {
                Ok(true) => return Ok(directory),
                Ok(false) => {}
                Err(error) => return Err(DataDirError::Unusable { path: directory.path, reason: error.to_string() }),
            }
        }
        Err(DataDirError::NotThere { path: directory.path })
    }

    /// Takes the lock, which lasts as long as the returned value and no longer than the process.
    ///
    /// # Errors
    /// [`DataDirError::InUse`] names the holder; [`DataDirError::Unusable`] when the directory cannot be written.
    pub fn lock(&self) -> Result<Lock, DataDirError> {
        lock::take(&self.path).map_err(|error| match error {
            LockError::InUse { holder } => DataDirError::InUse { path: self.path.clone(), holder },
            LockError::Unusable(_) => DataDirError::Unusable { path: self.path.clone(), reason: error.to_string() },
        })
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
        let Some(file) = files::open(&path).map_err(|error| quota_error(&path, &error))? else {
            return Ok(DEFAULT_QUOTA_BYTES);
        };
        let mut text = String::new();
        match file.take(QUOTA_FILE_MAX_BYTES).read_to_string(&mut text) {
            Err(error) => Err(quota_error(&path, &error)),
            Ok(_) => text.trim().parse().map_err(|_| DataDirError::Quota { path, reason: "it is no number".into() }),
        }
    }

    /// Keeps a quota for the runs that are given none.
    ///
    /// # Errors
    /// [`FileError`]; the one kept before is still there.
    pub fn keep_quota(&self, quota_bytes: u64) -> Result<(), FileError> {
        files::replace_private(&self.quota_file(), format!("{quota_bytes}\n").as_bytes())
    }

    fn quota_file(&self) -> PathBuf {
        self.path.join("quota")
    }

    pub fn signed(&self) -> PathBuf {
        self.path.join("signed")
    }

    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }
}

fn quota_error(path: &Path, error: &dyn std::error::Error) -> DataDirError {
    DataDirError::Quota { path: path.to_owned(), reason: error.to_string() }
}

fn default_path() -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_DATA_HOME").map(PathBuf::from) {
        // The XDG specification: a relative path there is to be ignored.
        Some(path) if path.is_absolute() => path,
        _ => PathBuf::from(std::env::var_os("HOME").filter(|home| !home.is_empty())?).join(".local/share"),
    };
    Some(base.join("meganet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_makes_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("data");
        for _ in 0..2 {
            assert!(matches!(DataDir::existing(Some(path.clone())), Err(DataDirError::NotThere { .. })));
            assert!(!path.exists());
        }
        DataDir::open(Some(path.clone())).unwrap();
        DataDir::existing(Some(path.clone())).unwrap();
        assert!(matches!(DataDir::of_node(Some(path.clone())), Err(DataDirError::NotThere { .. })));
        fs::write(path.join("identity"), "x").unwrap();
        DataDir::of_node(Some(path)).unwrap();
    }

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
