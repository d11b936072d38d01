//! What the bootstrap keeps between runs: its identity key and the certificate of its WebRTC listeners, nothing else.
//!
//! Both must stay: peers remember this server by its peer id, and the certificate's hash is part of its address.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

const KEY_FILE: &str = "identity.key";
const CERTIFICATE_FILE: &str = "webrtc.pem";
const PRIVATE_FILE_MODE: u32 = 0o600;
const PRIVATE_DIR_MODE: u32 = 0o700;
/// A certificate and its key take about 1 KiB.
const FILE_MAX_BYTES: u64 = 16 * 1024;

/// Seed of the Ed25519 identity, and the certificate with its private key.
pub struct Identity {
    pub seed: [u8; 32],
    pub webrtc_certificate_pem: String,
}

/// Why the identity could not be read or made. Nothing was overwritten.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("the data folder {} cannot be used: {error}. Name another with --data-dir", .path.display())]
    Folder { path: PathBuf, error: io::Error },
    #[error("{} cannot be read or written: {error}. Check who owns the file, or name another folder with --data-dir", .path.display())]
    File { path: PathBuf, error: io::Error },
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
        let folder_error = |error| IdentityError::Folder { path: data_dir.to_owned(), error };
        DirBuilder::new().recursive(true).mode(PRIVATE_DIR_MODE).create(data_dir).map_err(folder_error)?;
        let key_path = data_dir.join(KEY_FILE);
        let key = read_or_make(&key_path, || {
            let seed = meganet_node::platform::random_bytes::<32>();
            seed.map(Vec::from).map_err(|error| IdentityError::Make(error.to_string()))
        })?;
        let seed = key.try_into().map_err(|_| IdentityError::Damaged { path: key_path })?;
        let certificate_path = data_dir.join(CERTIFICATE_FILE);
        let certificate = read_or_make(&certificate_path, || {
            let pem = meganet_transport::generate_certificate_pem();
            pem.map(String::into_bytes).map_err(|error| IdentityError::Make(error.to_string()))
        })?;
        let webrtc_certificate_pem =
            String::from_utf8(certificate).map_err(|_| IdentityError::Damaged { path: certificate_path })?;
        Ok(Self { seed, webrtc_certificate_pem })
    }
}

fn read_or_make(path: &Path, make: impl FnOnce() -> Result<Vec<u8>, IdentityError>) -> Result<Vec<u8>, IdentityError> {
    let file_error = |error| IdentityError::File { path: path.to_owned(), error };
    match File::open(path) {
        Ok(file) => read(file).map_err(file_error),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let content = make()?;
            write(path, &content).map_err(file_error)?;
            Ok(content)
        }
        Err(error) => Err(file_error(error)),
    }
}

fn read(file: File) -> io::Result<Vec<u8>> {
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(fs::Permissions::from_mode(PRIVATE_FILE_MODE))?;
    }
    let mut content = Vec::new();
    file.take(FILE_MAX_BYTES).read_to_end(&mut content)?;
    Ok(content)
}

/// Under its final name the file is whole or absent, whenever the process ends.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE_FILE_MODE).open(&unfinished)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(mode & 0o777, PRIVATE_FILE_MODE, "{name}");
        }
    }

    #[test]
    fn loose_permissions_are_tightened() {
        let folder = tempfile::tempdir().unwrap();
        Identity::open(folder.path()).unwrap();
        let key = folder.path().join(KEY_FILE);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        Identity::open(folder.path()).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, PRIVATE_FILE_MODE);
    }

    #[test]
    fn a_damaged_key_is_named_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join(KEY_FILE);
        fs::write(&key, b"short").unwrap();
        let error = Identity::open(folder.path()).err().unwrap();
        assert!(error.to_string().contains(KEY_FILE), "{error}");
        assert_eq!(fs::read(&key).unwrap(), b"short");
    }
}
