//! ICE credentials of `webrtc-direct`: no signalling carries them, so both ends derive them from what the client chose.
//!
//! Version 1: the client puts one string, `libp2p+webrtc+v1/…`, into all four places; it has to change its own offer for
//! that, which browsers are about to refuse. Version 2: the client leaves its offer alone, and tells its password in the
//! fragment and password that it gives the server: `libp2p+webrtc+v2/CLIENT_PASSWORD`. Either way the server learns all of it
//! from the USERNAME of the first STUN request, `SERVER_UFRAG:CLIENT_UFRAG` (RFC 8445 §7.2.2).

/// Characters of a user fragment or password (RFC 8839 §5.4).
pub const ICE_CHARS_MIN: usize = 4;
/// Characters of a user fragment or password (RFC 8839 §5.4).
pub const ICE_CHARS_MAX: usize = 256;
/// Random characters of a version 1 fragment; 190 bits.
pub const RANDOM_CHARS: usize = 32;

const V1_PREFIX: &str = "libp2p+webrtc+v1/";
const V2_PREFIX: &str = "libp2p+webrtc+v2/";

/// A user fragment and its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ice {
    /// The user fragment.
    pub ufrag: String,
    /// The password.
    pub pwd: String,
}

/// How a client tells its credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One string in all places.
    V1,
    /// The client's password inside the server's fragment.
    V2,
}

/// What a server derives from a STUN request of somebody new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Which version the client speaks.
    pub version: Version,
    /// The server's own credentials for this connection.
    pub server: Ice,
    /// The client's.
    pub client: Ice,
}

/// Why a USERNAME is none of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UsernameError {
    /// It has no `:` between two fragments.
    #[error("the STUN user name has no two fragments")]
    Shape,
    /// A part of it is too short, too long, or has other characters.
    #[error("a fragment of the STUN user name is not of {ICE_CHARS_MIN} to {ICE_CHARS_MAX} ICE characters")]
    Characters,
    /// The server's fragment does not begin as either version does.
    #[error("the STUN user name is of no known version of webrtc-direct")]
    Version,
    /// In version 1 both fragments are one.
    #[error("the two fragments of a version 1 STUN user name differ")]
    Differ,
}

/// Whether a text may be a fragment or password.
#[must_use]
pub fn is_ice(text: &str) -> bool {
    (ICE_CHARS_MIN..=ICE_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/')
}

impl Attempt {
    /// Reads a STUN request's USERNAME.
    ///
    /// # Errors
    /// [`UsernameError`]: answer nothing.
    pub fn from_username(username: &str) -> Result<Self, UsernameError> {
        let (server, client) = username.split_once(':').ok_or(UsernameError::Shape)?;
        if !is_ice(server) || !is_ice(client) {
            return Err(UsernameError::Characters);
        }
        let ice = |ufrag: &str, pwd: &str| Ice { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() };
        if let Some(client_pwd) = server.strip_prefix(V2_PREFIX) {
            if !is_ice(client_pwd) {
                return Err(UsernameError::Characters);
            }
            return Ok(Self { version: Version::V2, server: ice(server, server), client: ice(client, client_pwd) });
        }
        if !server.starts_with(V1_PREFIX) {
            return Err(UsernameError::Version);
        }
        if server != client {
            return Err(UsernameError::Differ);
        }
        Ok(Self { version: Version::V1, server: ice(server, server), client: ice(client, client) })
    }
}

/// Random bytes as ICE characters, one a byte.
#[must_use]
pub fn ice_text(random: &[u8]) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let character = |byte: &u8| char::from(ALPHABET.get(usize::from(*byte) % ALPHABET.len()).copied().unwrap_or(b'A'));
    random.iter().map(character).collect()
}

/// The one string of a version 1 client, from [`RANDOM_CHARS`] random bytes.
#[must_use]
pub fn v1_ufrag(random: &[u8]) -> String {
    format!("{V1_PREFIX}{}", ice_text(random))
}

/// What a version 2 client with this password gives the server as fragment and password. `None`: no server would take it.
#[must_use]
pub fn v2_server(client_pwd: &str) -> Option<Ice> {
    let server = format!("{V2_PREFIX}{client_pwd}");
    (is_ice(client_pwd) && is_ice(&server)).then(|| Ice { ufrag: server.clone(), pwd: server })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_uses_one_string_everywhere() {
        let ufrag = v1_ufrag(&[200; RANDOM_CHARS]);
        assert!(is_ice(&ufrag));
        let attempt = Attempt::from_username(&format!("{ufrag}:{ufrag}")).unwrap();
        assert_eq!(attempt.version, Version::V1);
        for ice in [&attempt.server, &attempt.client] {
            assert_eq!((&ice.ufrag, &ice.pwd), (&ufrag, &ufrag));
        }
    }

    #[test]
    fn version_2_carries_the_clients_password_inside_the_servers_fragment() {
        let server = v2_server("aB3+/abcdefghijklmnopqrs").unwrap();
        let attempt = Attempt::from_username(&format!("{}:q9Zx", server.ufrag)).unwrap();
        assert_eq!(attempt.version, Version::V2);
        assert_eq!(attempt.server, server);
        assert_eq!(attempt.client, Ice { ufrag: "q9Zx".into(), pwd: "aB3+/abcdefghijklmnopqrs".into() });
    }

    #[test]
    fn other_names_are_told_apart() {
        let v1 = v1_ufrag(&[0; RANDOM_CHARS]);
        for (name, error) in [
            (String::new(), UsernameError::Shape),
            (v1.clone(), UsernameError::Shape),
            (format!("{v1}:abc"), UsernameError::Characters),
            (format!("{v1}:{v1}:{v1}"), UsernameError::Characters),
            (format!("{v1}:ab c"), UsernameError::Characters),
            (format!("{v1}:abcd"), UsernameError::Differ),
            ("abcd:efgh".to_owned(), UsernameError::Version),
            (format!("{V2_PREFIX}abc:abcd"), UsernameError::Characters),
            (format!("{V2_PREFIX}{}:abcd", "a".repeat(ICE_CHARS_MAX)), UsernameError::Characters),
            ("libp2p+webrtc+v3/abcd:abcd".to_owned(), UsernameError::Version),
        ] {
            assert_eq!(Attempt::from_username(&name), Err(error), "{name}");
        }
        assert_eq!(v2_server("abc"), None);
        assert_eq!(v2_server(&"a".repeat(ICE_CHARS_MAX)), None, "with the prefix it is too long");
    }

    proptest::proptest! {
        #[test]
        fn anything_is_an_attempt_or_an_error(name in ".{0,600}") {
            if let Ok(attempt) = Attempt::from_username(&name) {
                proptest::prop_assert!(is_ice(&attempt.client.pwd) && is_ice(&attempt.server.pwd));
            }
        }

        #[test]
        fn what_begins_as_a_version_does_is_an_attempt_or_an_error(
            server in "(libp2p\\+webrtc\\+v[123]/)?[a-zA-Z0-9+/:ä]{0,260}",
            client in "(libp2p\\+webrtc\\+v[123]/)?[a-zA-Z0-9+/:ä]{0,260}",
        ) {
            for name in [format!("{server}:{client}"), format!("{server}:{server}")] {
                if let Ok(attempt) = Attempt::from_username(&name) {
                    proptest::prop_assert_eq!(name, format!("{}:{}", attempt.server.ufrag, attempt.client.ufrag));
                    proptest::prop_assert!(is_ice(&attempt.client.pwd) && is_ice(&attempt.server.pwd));
                }
            }
            if let Some(ice) = v2_server(&client) {
                let attempt = Attempt::from_username(&format!("{}:abcd", ice.ufrag));
                proptest::prop_assert_eq!(attempt.map(|attempt| attempt.client.pwd), Ok(client));
            }
        }
    }
}
