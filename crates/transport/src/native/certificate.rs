//! The DTLS certificate of a native peer. Its hash is part of the peer's address, so it is kept across restarts.

use crate::proto::fingerprint::Fingerprint;
use p256::{SecretKey, elliptic_curve::sec1::ToEncodedPoint, pkcs8::DecodePrivateKey};
use std::sync::Arc;
use str0m::{config::CryptoProvider, config::DtlsCert};

/// Why a certificate is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The platform could make none.
    #[error("no certificate could be made")]
    Generate,
    /// Not PEM with one certificate and its private key, which is one of P-256 in PKCS#8.
    #[error("not PEM with one certificate and one private key: {0}")]
    Pem(String),
}

const CERTIFICATE: &str = "CERTIFICATE";
const PRIVATE_KEY: &str = "PRIVATE KEY";

/// A certificate and its private key.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    key: Vec<u8>,
    fingerprint: Fingerprint,
}

/// What str0m computes with.
pub(super) fn crypto() -> Arc<CryptoProvider> {
    Arc::new(str0m::crypto::from_feature_flags())
}

impl Certificate {
    fn new(der: Vec<u8>, key: Vec<u8>) -> Self {
        let fingerprint = Fingerprint(crypto().sha256_provider.sha256(&der));
        Self { der, key, fingerprint }
    }

    /// Makes a new one.
    ///
    /// # Errors
    /// [`CertificateError::Generate`].
    pub fn generate() -> Result<Self, CertificateError> {
        let made = crypto().dtls_provider.generate_certificate().ok_or(CertificateError::Generate)?;
        Ok(Self::new(made.certificate, made.private_key))
    }

    /// Reads what [`Certificate::to_pem`] wrote.
    ///
    /// # Errors
    /// [`CertificateError::Pem`].
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let blocks = pem::parse_many(text).map_err(|error| CertificateError::Pem(error.to_string()))?;
        let find = |tag: &str| {
            let found = blocks.iter().find(|block| block.tag() == tag).map(|block| block.contents().to_vec());
            found.ok_or_else(|| CertificateError::Pem(format!("it has no {tag}")))
        };
        let (certificate, key) = (find(CERTIFICATE)?, find(PRIVATE_KEY)?);
        let refused = |reason: &str| CertificateError::Pem(reason.to_owned());
        // The key is looked at here: str0m falls over one that it cannot read, when somebody connects.
        let read =
            SecretKey::from_pkcs8_der(&key).map_err(|_| refused("its private key is none of P-256 in PKCS#8"))?;
        let point = read.public_key().to_encoded_point(false);
        if !certificate.windows(point.len()).any(|part| part == point.as_bytes()) {
            return Err(refused("its certificate is not that of its private key"));
        }
        Ok(Self::new(certificate, key))
    }

    /// PEM, the private key with it: for a file that only its owner reads.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let blocks = [pem::Pem::new(CERTIFICATE, self.der.clone()), pem::Pem::new(PRIVATE_KEY, self.key.clone())];
        pem::encode_many(&blocks)
    }

    /// What a multiaddr's `/certhash` names.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(super) fn to_dtls(&self) -> DtlsCert {
        DtlsCert { certificate: self.der.clone(), private_key: self.key.clone() }
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_reads_back_and_keeps_its_fingerprint() {
        let made = Certificate::generate().unwrap();
        let read = Certificate::from_pem(&made.to_pem()).unwrap();
        assert_eq!(read.fingerprint(), made.fingerprint());
        assert!(matches!(Certificate::from_pem(""), Err(CertificateError::Pem(_))));
        assert!(matches!(Certificate::from_pem("-----BEGIN X-----\n"), Err(CertificateError::Pem(_))));
        assert!(!format!("{made:?}").contains("key"));
    }

    #[test]
    fn a_key_that_is_damaged_of_another_kind_or_of_another_certificate_is_refused() {
        let (made, other) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        let refused = |der: &[u8], key: &[u8]| {
            let pem = Certificate::new(der.to_vec(), key.to_vec()).to_pem();
            matches!(Certificate::from_pem(&pem), Err(CertificateError::Pem(_)))
        };
        assert!(!refused(&made.der, &made.key));
        assert!(refused(&made.der, &other.key));
        assert!(refused(&made.der, &made.key[1..]));
        assert!(refused(&made.der[..40], &made.key));
        // Ed25519 in PKCS#8 (RFC 8410 §7).
        let ed25519 =
            [&[0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20][..], &[7; 32]].concat();
        assert!(refused(&made.der, &ed25519));
    }
}
