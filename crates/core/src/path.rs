//! Which paths a site may have: those that mean the same everywhere and leave no directory.

use unicase::UniCase;
use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::limits::{PATH_MAX_BYTES, PATH_MAX_DEPTH};

/// Why a path is refused. A manifest with one such path is refused whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No bytes.
    #[error("the path is empty")]
    Empty,
    /// Too many bytes.
    #[error("the path has {found} bytes; {PATH_MAX_BYTES} are allowed: use shorter names")]
    Length {
        /// Bytes of the path.
        found: usize,
    },
    /// Too many segments.
    #[error("the path has more than {PATH_MAX_DEPTH} levels: use fewer directories")]
    Depth,
    /// A slash at an end, or two in a row.
    #[error("the path has an empty segment (a slash at its start or end, or two in a row)")]
    EmptySegment,
    /// `.` or `..`.
    #[error("the path has a segment “.” or “..”, which could lead outside the site")]
    DotSegment,
    /// `\`.
    #[error("the path has a backslash, which some systems read as a slash")]
    Backslash,
    /// A control character, NUL among them.
    #[error("the path has a control character in it: rename the file")]
    Control,
    /// A character that reorders the text around it.
    #[error("the path has an invisible character that reverses text: rename the file")]
    Bidirectional,
    /// `C:` and the like.
    #[error("the path begins like a Windows drive")]
    Drive,
    /// `%2e`, `%2f`, `%5c` or `%00` in the decoded path.
    #[error("the path has a percent-encoded dot, slash, backslash or NUL, which could be decoded twice")]
    Encoded,
    /// Not in Unicode's composed form.
    #[error("the path is not in Unicode normal form C, so it could be written in two ways: rename the file")]
    Normalization,
}

/// Unicode's `Bidi_Control` characters: marks, embeddings, overrides and isolates.
pub(crate) fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Checks one path by the rules of `docs/formats.md`.
///
/// # Errors
/// The first rule that the path breaks.
pub fn check(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if path.len() > PATH_MAX_BYTES {
        return Err(PathError::Length { found: path.len() });
    }
    let mut depth = 0;
    for segment in path.split('/') {
        depth += 1;
        match segment {
            "" => return Err(PathError::EmptySegment),
            "." | ".." => return Err(PathError::DotSegment),
            _ => {}
        }
    }
    if depth > PATH_MAX_DEPTH {
        return Err(PathError::Depth);
    }
    for c in path.chars() {
        if c == '\\' {
            return Err(PathError::Backslash);
        }
        if c.is_control() {
            return Err(PathError::Control);
        }
        if is_bidi_control(c) {
            return Err(PathError::Bidirectional);
        }
    }
    if let [letter, b':', ..] = path.as_bytes()
        && letter.is_ascii_alphabetic()
    {
        return Err(PathError::Drive);
    }
    let encoded = |code: &[u8]| [b"%2e", b"%2f", b"%5c", b"%00"].iter().any(|bad| code.eq_ignore_ascii_case(*bad));
    if path.as_bytes().windows(3).any(encoded) {
        return Err(PathError::Encoded);
    }
    if !is_nfc(path) {
        return Err(PathError::Normalization);
    }
    Ok(())
}

/// What two paths have in common when a file system could take them for one: Unicode's canonical caseless form, in NFC.
#[must_use]
pub fn fold(path: &str) -> String {
    if path.is_ascii() {
        return path.to_ascii_lowercase();
    }
    // Unicode §3.13, D145: decompose before folding, since folding does not commute with composition.
    let decomposed: String = path.nfd().collect();
    UniCase::unicode(decomposed).to_folded_case().nfc().collect()
}
