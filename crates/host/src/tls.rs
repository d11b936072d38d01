//! A TLS certificate and its key from files, for WebSocket listeners.

use std::path::{Path, PathBuf};

/// Certificate files are read up to this size.
const FILE_MAX_BYTES: u64 = 1024 * 1024;

/// A certificate, those that vouch for it, and its private key.
pub struct Tls {
    /// DER, the own one first.
    pub certificates_der: Vec<Vec<u8>>,
    /// DER (PKCS#8).
    pub key_der: Vec<u8>,
}

/// Why they are of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("“{}” cannot be read: {reason}", .path.display())]
    Read { path: PathBuf, reason: String },
    /// It holds no such thing.
    #[error("“{}” holds no {what} in PEM", .path.display())]
    Missing { path: PathBuf, what: &'static str },
}

fn read(path: &Path) -> Result<Vec<pem::Pem>, TlsError> {
    let unreadable = |reason: String| TlsError::Read { path: path.to_owned(), reason };
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > FILE_MAX_BYTES {
        return Err(unreadable(format!("{size} bytes, and {FILE_MAX_BYTES} are allowed")));
    }
    let bytes = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    pem::parse_many(bytes).map_err(|error| unreadable(error.to_string()))
}

/// Reads both files, which may be one.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong with it.
pub fn load(certificate: &Path, key: &Path) -> Result<Tls, TlsError> {
    let certificates_der: Vec<_> = read(certificate)?
        .into_iter()
        .filter(|block| block.tag() == "CERTIFICATE")
        .map(pem::Pem::into_contents)
        .collect();
    if certificates_der.is_empty() {
        return Err(TlsError::Missing { path: certificate.to_owned(), what: "certificate" });
    }
    let key_der = read(key)?.into_iter().find(|block| block.tag() == "PRIVATE KEY").map(pem::Pem::into_contents);
    let key_der = key_der.ok_or_else(|| TlsError::Missing { path: key.to_owned(), what: "private key (PKCS#8)" })?;
    Ok(Tls { certificates_der, key_der })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        assert!(matches!(load(&certificate, &key), Err(TlsError::Read { path, .. }) if path == certificate));
        std::fs::write(&certificate, "").unwrap();
        assert!(matches!(load(&certificate, &key), Err(TlsError::Missing { path, .. }) if path == certificate));
        let blocks = [pem::Pem::new("CERTIFICATE", [1, 2]), pem::Pem::new("CERTIFICATE", [3])];
        std::fs::write(&certificate, pem::encode_many(&blocks)).unwrap();
        std::fs::write(&key, pem::encode(&pem::Pem::new("EC PRIVATE KEY", [4]))).unwrap();
        assert!(matches!(load(&certificate, &key), Err(TlsError::Missing { path, .. }) if path == key));
        std::fs::write(&key, pem::encode(&pem::Pem::new("PRIVATE KEY", [4]))).unwrap();
        let tls = load(&certificate, &key).unwrap();
        assert_eq!((tls.certificates_der, tls.key_der), (vec![vec![1, 2], vec![3]], vec![4]));
    }
}
