//! Fingerprints of DTLS certificates, and the Noise prologue that binds both of them to the peers' identities.

use libp2p::multihash::Multihash;
use std::fmt::Write as _;

/// Multihash code of SHA-256.
const SHA256: u64 = 0x12;
const PROLOGUE_PREFIX: &[u8] = b"libp2p-webrtc-noise:";

/// The SHA-256 of a certificate (DER).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// From a multiaddr's `/certhash`; `None` for another hash than SHA-256, which is the one both sides must know.
    #[must_use]
    pub fn from_multihash(hash: &Multihash<64>) -> Option<Self> {
        (hash.code() == SHA256).then(|| hash.digest().try_into().ok().map(Self)).flatten()
    }

    /// For a multiaddr's `/certhash`.
    #[must_use]
    pub fn to_multihash(self) -> Option<Multihash<64>> {
        Multihash::wrap(SHA256, &self.0).ok()
    }

    /// From the value of an SDP attribute: `sha-256 AB:CD:…` (RFC 8122 §5).
    #[must_use]
    pub fn from_sdp_value(value: &str) -> Option<Self> {
        let (hash, digits) = value.trim().split_once(' ')?;
        if !hash.eq_ignore_ascii_case("sha-256") {
            return None;
        }
        let mut bytes = [0; 32];
        let mut parts = digits.trim().split(':');
        for byte in &mut bytes {
            // Rust's parser takes a sign for a digit's place.
            let is_hex = |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            let part = parts.next().filter(is_hex)?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        parts.next().is_none().then_some(Self(bytes))
    }

    /// The value of an SDP attribute.
    #[must_use]
    pub fn to_sdp_value(self) -> String {
        let mut value = "sha-256 ".to_owned();
        for (place, byte) in self.0.iter().enumerate() {
            let colon = if place == 0 { "" } else { ":" };
            // Writing to a String cannot fail.
            let _ = write!(value, "{colon}{byte:02X}");
        }
        value
    }
}

/// What the Noise handshake of a `webrtc-direct` connection begins with.
#[must_use]
pub fn noise_prologue(client: Fingerprint, server: Fingerprint) -> Vec<u8> {
    let mut prologue = PROLOGUE_PREFIX.to_vec();
    for Fingerprint(digest) in [client, server] {
        prologue.extend_from_slice(&[SHA256 as u8, digest.len() as u8]);
        prologue.extend_from_slice(&digest);
    }
    prologue
}

#[cfg(test)]
mod tests {
    use super::*;
    use data_encoding::HEXLOWER;

    fn digest(hex: &str) -> Fingerprint {
        Fingerprint(HEXLOWER.decode(hex.as_bytes()).unwrap().try_into().unwrap())
    }

    #[test]
    fn the_prologue_is_the_specifications_test_vector() {
        let client = digest("3e79af40d6059617a0d83b83a52ce73b0c1f37a72c6043ad2969e2351bdca870");
        let server = digest("30fc9f469c207419dfdd0aab5f27a86c973c94e40548db9375cca2e915973b99");
        assert_eq!(
            HEXLOWER.encode(&noise_prologue(client, server)),
            "6c69627032702d7765627274632d6e6f6973653a12203e79af40d6059617a0d83b83a52ce73b0c1f37a72c6043ad2969e2351bdca870122030fc9f469c207419dfdd0aab5f27a86c973c94e40548db9375cca2e915973b99"
        );
    }

    #[test]
    fn an_sdp_value_reads_back_and_others_are_refused() {
        let fingerprint = digest("3e79af40d6059617a0d83b83a52ce73b0c1f37a72c6043ad2969e2351bdca870");
        let value = fingerprint.to_sdp_value();
        assert!(value.starts_with("sha-256 3E:79:AF:"), "{value}");
        assert_eq!(Fingerprint::from_sdp_value(&value), Some(fingerprint));
        assert_eq!(Fingerprint::from_sdp_value(&value.to_lowercase()), Some(fingerprint));
        for wrong in [
            "",
            "sha-256",
            "sha-1 3E:79",
            value.trim_end_matches(":70"),
            &format!("{value}:00"),
            &value.replace(':', ""),
            &value.replacen("3E", "+E", 1),
            &value.replacen("3E", "-0", 1),
        ] {
            assert_eq!(Fingerprint::from_sdp_value(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_multihash_reads_back() {
        let fingerprint = Fingerprint([7; 32]);
        assert_eq!(Fingerprint::from_multihash(&fingerprint.to_multihash().unwrap()), Some(fingerprint));
        assert_eq!(Fingerprint::from_multihash(&Multihash::wrap(0x13, &[7; 64]).unwrap()), None);
    }
}
