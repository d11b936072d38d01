//! Links to a place in a site, in the three forms people meet them in.

use std::fmt::Write as _;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use crate::address::{Address, AddressError};
use crate::limits::LINK_MAX_BYTES;
use crate::path::{self, PathError};

const SCHEME: &str = "web+meganet:";
/// Everything but RFC 3986's unreserved characters and the slash between segments.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A place in a site.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Link {
    /// The site.
    pub address: Address,
    /// The path inside it: percent-decoded, NFC, no leading slash; may be empty or end in a slash (a directory).
    pub path: String,
}

/// Why a text is not a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Nothing was given.
    #[error("there is no link here: paste one, or an address")]
    Empty,
    /// Longer than any link.
    #[error("this is too long for a link ({found} bytes, {LINK_MAX_BYTES} at most): copy it again")]
    Length {
        /// Bytes given.
        found: usize,
    },
    /// A web page's address without a MegaNet address in it.
    #[error("this is the address of a web page, not of a site: a link to a site has “/#/” and 56 characters after it")]
    WebPage,
    /// The address in it is wrong.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The path's percent-encoding does not decode to text.
    #[error("the path in this link is not readable text: copy the link again")]
    Encoding,
    /// The path in it is one that no site has.
    #[error("the path in this link is one that no site can have: {0}")]
    Path(#[from] PathError),
}

/// `text` without `prefix`, whatever its case.
fn strip_prefix_nocase<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

impl FromStr for Link {
    type Err = LinkError;

    /// Reads `ADDRESS[/path]`, `web+meganet:ADDRESS[/path]` or `http(s)://HOST/#/ADDRESS[/path]`, with white space
    /// around it. A query or fragment after the path names no file and is dropped.
    fn from_str(text: &str) -> Result<Self, LinkError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(LinkError::Empty);
        }
        if text.len() > LINK_MAX_BYTES {
            return Err(LinkError::Length { found: text.len() });
        }
        let rest = if let Some(rest) = strip_prefix_nocase(text, SCHEME) {
            rest.trim_start_matches('/')
        } else if let Some(page) =
            strip_prefix_nocase(text, "https://").or_else(|| strip_prefix_nocase(text, "http://"))
        {
            page.split_once("#/").ok_or(LinkError::WebPage)?.1
        } else {
            text
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { address: address.parse()?, path: decode_path(path)? })
    }
}

/// Decodes and checks what follows the address.
fn decode_path(encoded: &str) -> Result<String, LinkError> {
    let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| LinkError::Encoding)?;
    let path: String = decoded.nfc().collect();
    // A directory is asked for with a slash at its end, which is no part of a name.
    let name = path.strip_suffix('/').unwrap_or(&path);
    if !path.is_empty() {
        path::check(name)?;
    }
    Ok(path)
}

impl Link {
    /// The scheme form, `web+meganet:ADDRESS/path`.
    #[must_use]
    pub fn to_scheme(&self) -> String {
        let mut link = SCHEME.to_owned();
        self.push_to(&mut link);
        link
    }

    /// The form that a browser opens, `BASE/#/ADDRESS/path`; `base` is the page's address, with or without a last slash.
    #[must_use]
    pub fn to_page(&self, base: &str) -> String {
        let mut link = format!("{}/#/", base.trim_end_matches('/'));
        self.push_to(&mut link);
        link
    }

    fn push_to(&self, link: &mut String) {
        // Writing to a String does not fail.
        let _ = write!(link, "{}", self.address);
        if !self.path.is_empty() {
            let _ = write!(link, "/{}", utf8_percent_encode(&self.path, ENCODED));
        }
    }
}
