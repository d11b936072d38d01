//! A site key under a passphrase, for backups: the only form in which a key leaves the data directory.
//!
//! ```text
//! meganet-sealed-site-key-v1
//! address: ADDRESS
//! rounds: N                      of PBKDF2-HMAC-SHA256 (RFC 8018)
//! salt: 16 bytes, hexadecimal
//! box: ChaCha20-Poly1305(key, nonce = 0, seed), associated data = "meganet-sealed-site-key-v1\0" ‖ address
//! ```
//! The salt makes every key of the cipher its own, so the nonce may be constant.

use meganet_core::{address::Address, keys::SiteKey};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    pbkdf2,
};
use std::num::NonZeroU32;
use zeroize::Zeroizing;

const HEADER: &str = "meganet-sealed-site-key-v1";
/// OWASP's figure of 2023 for PBKDF2-HMAC-SHA256.
const ROUNDS: u32 = 600_000;
/// A file that asks for more is refused: it would only keep the processor busy.
const ROUNDS_MAX: u32 = 10_000_000;
/// Shortest passphrase accepted, in bytes.
pub const PASSPHRASE_MIN_BYTES: usize = 8;

/// Why a key could not be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealedKeyError {
    #[error("the passphrase is shorter than {PASSPHRASE_MIN_BYTES} bytes: choose a longer one")]
    ShortPassphrase,
    #[error("the passphrase is wrong, or the file was changed")]
    Wrong,
    #[error("the file is not a sealed meganet key: {0}")]
    Format(&'static str),
    #[error("the operating system gave no random bytes; nothing was written")]
    Random,
}

/// Seals a key: the text to store.
pub fn seal(key: &SiteKey, passphrase: &[u8]) -> Result<String, SealedKeyError> {
    seal_with(key, passphrase, ROUNDS)
}

fn seal_with(key: &SiteKey, passphrase: &[u8], rounds: u32) -> Result<String, SealedKeyError> {
    if passphrase.len() < PASSPHRASE_MIN_BYTES {
        return Err(SealedKeyError::ShortPassphrase);
    }
    let salt: [u8; 16] = meganet_node::platform::random_bytes().map_err(|_| SealedKeyError::Random)?;
    let address = key.address();
    let mut sealed = key.seed().to_vec();
    cipher(passphrase, &salt, rounds)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), associated(&address), &mut sealed)
        .map_err(|_| SealedKeyError::Wrong)?;
    let hex = data_encoding::HEXLOWER;
    Ok(format!(
        "{HEADER}\naddress: {address}\nrounds: {rounds}\nsalt: {}\nbox: {}\n",
        hex.encode(&salt),
        hex.encode(&sealed)
    ))
}

/// Opens what [`seal`] wrote.
pub fn open(text: &str, passphrase: &[u8]) -> Result<SiteKey, SealedKeyError> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADER) {
        return Err(SealedKeyError::Format("its first line is another"));
    }
    let mut field = |name: &'static str| {
        lines.next().and_then(|line| line.strip_prefix(name)?.strip_prefix(": ")).ok_or(SealedKeyError::Format(name))
    };
    let address: Address = field("address")?.parse().map_err(|_| SealedKeyError::Format("address"))?;
    let rounds: u32 = field("rounds")?.parse().map_err(|_| SealedKeyError::Format("rounds"))?;
    let hex = data_encoding::HEXLOWER;
    let salt = hex.decode(field("salt")?.as_bytes()).map_err(|_| SealedKeyError::Format("salt"))?;
    let mut sealed = hex.decode(field("box")?.as_bytes()).map_err(|_| SealedKeyError::Format("box"))?;
    if rounds > ROUNDS_MAX {
        return Err(SealedKeyError::Format("rounds"));
    }
    let opened = cipher(passphrase, &salt, rounds)?
        .open_in_place(Nonce::assume_unique_for_key([0; 12]), associated(&address), &mut sealed)
        .map_err(|_| SealedKeyError::Wrong)?;
    let seed = Zeroizing::new(<[u8; 32]>::try_from(&*opened).map_err(|_| SealedKeyError::Format("box"))?);
    let key = SiteKey::from_seed(*seed);
    if key.address() == address { Ok(key) } else { Err(SealedKeyError::Wrong) }
}

fn cipher(passphrase: &[u8], salt: &[u8], rounds: u32) -> Result<LessSafeKey, SealedKeyError> {
    let rounds = NonZeroU32::new(rounds).ok_or(SealedKeyError::Format("rounds"))?;
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, passphrase, &mut *key);
    UnboundKey::new(&CHACHA20_POLY1305, &*key).map(LessSafeKey::new).map_err(|_| SealedKeyError::Wrong)
}

fn associated(address: &Address) -> Aad<Vec<u8>> {
    Aad::from(format!("{HEADER}\0{address}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_with_the_passphrase_alone() {
        let key = SiteKey::from_seed([7; 32]);
        let text = seal_with(&key, b"correct horse", 1000).unwrap();
        assert!(!text.contains(&data_encoding::HEXLOWER.encode(key.seed())));
        assert_eq!(open(&text, b"correct horse").unwrap().address(), key.address());
        assert_eq!(open(&text, b"wrong horse!!").unwrap_err(), SealedKeyError::Wrong);
        assert_eq!(seal(&key, b"short").unwrap_err(), SealedKeyError::ShortPassphrase);
    }

    #[test]
    fn a_changed_file_does_not_open() {
        let key = SiteKey::from_seed([7; 32]);
        let text = seal_with(&key, b"correct horse", 1000).unwrap();
        let other = SiteKey::from_seed([8; 32]).address().to_string();
        let swapped = text.replace(&key.address().to_string(), &other);
        assert_eq!(open(&swapped, b"correct horse").unwrap_err(), SealedKeyError::Wrong);
        let costly = text.replace("rounds: 1000", "rounds: 4000000000");
        assert_eq!(open(&costly, b"correct horse").unwrap_err(), SealedKeyError::Format("rounds"));
        for cut in 0..text.len() - 1 {
            assert!(open(text.get(..cut).unwrap(), b"correct horse").is_err(), "cut at {cut}");
        }
    }
}
