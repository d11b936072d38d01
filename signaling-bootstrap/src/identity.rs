//! What the bootstrap keeps between runs: its identity key and the certificate of its WebRTC listeners, nothing else.
//!
//! Both must stay: peers remember this server by its peer id, and the certificate's hash is part of its address.

pub use meganet_host::lock::Lock;
use meganet_host::{
    files::{self, FileError},
    lock::{self, LockError},
};
use std::{
    error::Error,
    path::{Path, PathBuf},
};

const KEY_FILE: &str = "identity.key";
const CERTIFICATE_FILE: &str = "webrtc.pem";

/// Seed of the Ed25519 identity, and the certificate with its private key.
pub struct Identity {
    pub seed: [u8; 32],
    pub webrtc_certificate_pem: String,
}

/// Why the identity could not be read or made. Nothing was overwritten.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the data folder {} cannot be used: {reason}. Name another with --data-dir", .path.display())]
    Folder { path: PathBuf, reason: String },
    #[error("the data folder {} is in use by {holder}. Stop that process, or name another with --data-dir", .path.display())]
    InUse { path: PathBuf, holder: String },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "{} is damaged (an identity key has 32 bytes). Restore it from a backup, or move it away to become a new peer",
        .path.display()
    )]
    Damaged { path: PathBuf },
    #[error("no new key could be made: {0}")]
    Make(String),
}

impl Identity {
    /// Reads the identity kept in `data_dir`, or makes one there, readable by this user only.
    ///
    /// # Errors
    /// [`IdentityError`]; a damaged file is never replaced.
    pub fn open(data_dir: &Path) -> Result<Self, IdentityError> {
        let key_path = data_dir.join(KEY_FILE);
        let key = read_or_make(&key_path, || {
            let seed = meganet_node::platform::random_bytes::<32>();
            seed.map(Vec::from).map_err(|error| IdentityError::Make(error.to_string()))
        })?;
        let seed = key.try_into().map_err(|_| IdentityError::Damaged { path: key_path })?;
        let certificate_path = certificate_path(data_dir);
        let certificate = read_or_make(&certificate_path, || {
            let pem = meganet_transport::generate_certificate_pem();
            pem.map(String::into_bytes).map_err(|error| IdentityError::Make(error.to_string()))
        })?;
        let webrtc_certificate_pem =
            String::from_utf8(certificate).map_err(|_| IdentityError::Damaged { path: certificate_path })?;
        Ok(Self { seed, webrtc_certificate_pem })
    }
}

/// Where the certificate is.
pub fn certificate_path(data_dir: &Path) -> PathBuf {
    data_dir.join(CERTIFICATE_FILE)
}

/// Keeps the data folder for this process: two servers with one identity would take each other's connections.
///
/// # Errors
/// [`IdentityError::InUse`] names the other process.
pub fn lock(data_dir: &Path) -> Result<Lock, IdentityError> {
    let folder_error =
        |error: &dyn Error| IdentityError::Folder { path: data_dir.to_owned(), reason: error.to_string() };
    files::create_private_directory(data_dir).map_err(|error| folder_error(&error))?;
    lock::take(data_dir).map_err(|error| match error {
        LockError::InUse { holder } => IdentityError::InUse { path: data_dir.to_owned(), holder },
        LockError::Unusable(_) => folder_error(&error),
    })
}

fn read_or_make(path: &Path, make: impl FnOnce() -> Result<Vec<u8>, IdentityError>) -> Result<Vec<u8>, IdentityError> {
    if let Some(content) = files::read_private(path)? {
        return Ok(content.to_vec());
    }
    let content = make()?;
    files::create_private(path, &content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    #[test]
    fn an_identity_stays_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("deep/data");
        let first = Identity::open(&data_dir).unwrap();
        let again = Identity::open(&data_dir).unwrap();
        assert_eq!(first.seed, again.seed);
        assert_eq!(first.webrtc_certificate_pem, again.webrtc_certificate_pem);
        for name in [KEY_FILE, CERTIFICATE_FILE] {
            let mode = fs::metadata(data_dir.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        Identity::open(folder.path()).unwrap();
        let key = folder.path().join(KEY_FILE);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Identity::open(folder.path()).err().unwrap();
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn one_process_has_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = lock(folder.path()).unwrap();
        let error = lock(folder.path()).unwrap_err();
        assert!(matches!(error, IdentityError::InUse { .. }), "{error}");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    }

    #[test]
    fn a_damaged_key_is_named_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join(KEY_FILE);
        files::create_private(&key, b"short").unwrap();
        let error = Identity::open(folder.path()).err().unwrap();
        assert!(error.to_string().contains(KEY_FILE), "{error}");
        assert_eq!(fs::read(&key).unwrap(), b"short");
    }
}
