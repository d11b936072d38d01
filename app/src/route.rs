//! Where the user is: the fragment of the page's address, read and written.

use meganet_core::address::{Link, LinkError};
use percent_encoding::percent_decode_str;

/// How the links of the protocol handler in the web manifest begin.
const HANDLED: &str = "web%2Bmeganet";

/// What the part after `#` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Home,
    Site(Link),
    /// A fragment that is neither.
    Bad {
        text: String,
        error: LinkError,
    },
}

impl Route {
    /// Reads `location.hash`, with or without its `#`.
    pub fn read(hash: &str) -> Self {
        let text = hash.strip_prefix('#').unwrap_or(hash);
        let text = text.strip_prefix('/').unwrap_or(text);
        // The browser's protocol handler encodes a whole `web+meganet:` link once more.
        let decoded = match text.get(..HANDLED.len()) {
            Some(start) if start.eq_ignore_ascii_case(HANDLED) => percent_decode_str(text).decode_utf8_lossy(),
            _ => text.into(),
        };
        match decoded.parse() {
            Ok(link) => Route::Site(link),
            Err(LinkError::Empty) => Route::Home,
            Err(error) => Route::Bad { text: text.chars().take(200).collect(), error },
        }
    }
}

/// The fragment that leads to a place in a site.
pub fn hash(link: &Link) -> String {
    link.to_page("").trim_start_matches('/').to_owned()
}

/// The path of a place as the site's own origin has it, with its slash, percent-encoded.
pub fn site_path(link: &Link) -> String {
    let hash = hash(link);
    let place = hash.trim_start_matches("#/");
    match place.split_once('/') {
        Some((_, path)) => format!("/{path}"),
        None => "/".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use meganet_core::{address::AddressError, keys::SiteKey};

    fn address() -> String {
        SiteKey::from_seed([7; 32]).address().to_string()
    }

    #[test]
    fn nothing_leads_home() {
        for hash in ["", "#", "#/", "/"] {
            assert_eq!(Route::read(hash), Route::Home, "{hash:?}");
        }
    }

    #[test]
    fn a_place_survives_writing_and_reading() {
        for path in ["", "a/b.html", "mit leerzeichen/ä#?.html", "dir/"] {
            let link = Link { address: address().parse().unwrap(), path: path.into() };
            assert_eq!(Route::read(&hash(&link)), Route::Site(link), "{path:?}");
        }
    }

    #[test]
    fn the_protocol_handlers_links_are_read() {
        let Route::Site(link) = Route::read(&format!("#/web%2Bmeganet%3A{}%2Fa%2520b", address())) else {
            panic!("a handled link leads to a site")
        };
        assert_eq!(link.path, "a b");
    }

    #[test]
    fn the_frames_path_is_encoded() {
        let link = Link { address: address().parse().unwrap(), path: "a b/c#d?e".into() };
        assert_eq!(site_path(&link), "/a%20b/c%23d%3Fe");
        assert_eq!(site_path(&Link { path: String::new(), ..link.clone() }), "/");
        assert_eq!(site_path(&Link { path: "dir/".into(), ..link }), "/dir/");
    }

    #[test]
    fn typing_errors_are_told_apart() {
        let mut wrong = address();
        let last = if wrong.starts_with('a') { "b" } else { "a" };
        wrong.replace_range(0..1, last);
        let Route::Bad { error: LinkError::Address(AddressError::Checksum), .. } = Route::read(&format!("#/{wrong}"))
        else {
            panic!("a wrong character must break the checksum")
        };
        let Route::Bad { text, error: LinkError::Address(AddressError::Length { found: 3_000 }) } =
            Route::read(&"x".repeat(3_000))
        else {
            panic!("the length is wrong")
        };
        assert_eq!(text.len(), 200, "what is shown again is bounded");
    }
}
