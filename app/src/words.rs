//! Every error in plain words: what happened, what is safe, what to do next.

use meganet_core::address::{AddressError, LinkError};
use meganet_node::api::ApiError;
use meganet_web_node::site_request::error_code;

/// An explained error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Stable name, for tests.
    pub code: &'static str,
    /// A finer stable name, where there is one.
    pub reason: Option<&'static str>,
    pub title: &'static str,
    pub what: String,
    pub safe: &'static str,
    pub next: &'static str,
}

const NOTHING_LOST: &str = "Nothing is lost: your sites and your keys are as they were.";
const KEPT_OPEN: &str = "Sites you keep still open, and MegaNet goes on trying to connect.";

/// Why a site could not be opened.
pub fn of_api(error: &ApiError) -> Explained {
    let (title, what, safe, next) = match error {
        ApiError::NotFound { asked } => (
            "Nobody knows this site",
            format!("We asked {asked} peers, and none of them knows a site with this address."),
            NOTHING_LOST,
            "Compare the address with where you got it. If it is right, its author may be offline: try again later.",
        ),
        ApiError::NobodyServes { sequence, providers } => (
            "The site exists, but nobody serves it now",
            format!(
                "Its version {sequence} was found. {providers} peers said they hold it, and none of them delivered it."
            ),
            NOTHING_LOST,
            "Try again later, when a peer that holds it is online.",
        ),
        ApiError::Offline => (
            "No peer can be reached, and this site is not kept here",
            "This tab is not connected to anybody, and has no copy of this site.".into(),
            KEPT_OPEN,
            "Check your connection. The site can be opened as soon as one peer answers.",
        ),
        ApiError::TooLarge { size_bytes, limit_bytes } => (
            "This site is large",
            format!(
                "It has {} of files. Up to {} are fetched without asking you.",
                crate::format::bytes(*size_bytes),
                crate::format::bytes(*limit_bytes)
            ),
            "Nothing more was fetched.",
            "Fetch it all the same, or go on reading: then only the pages that you look at are fetched.",
        ),
        ApiError::NoSuchPath { path } => (
            "The site has no such page",
            format!("There is no file at “{}” in its newest version.", crate::format::plain(path, 200)),
            NOTHING_LOST,
            "Go to the site's start page.",
        ),
        ApiError::Refused { reason } => {
            ("The node refused", crate::format::plain(reason, 300), NOTHING_LOST, "Try again, or reload this page.")
        }
        ApiError::Storage { reason } => (
            "Storage does not work",
            crate::format::plain(reason, 300),
            "What was stored before is unchanged.",
            "Free some space in the browser, or forget sites you do not need, then try again.",
        ),
        ApiError::Busy => {
            ("The node is busy", "Too many things are under way.".into(), NOTHING_LOST, "Try again in a moment.")
        }
        ApiError::Stopped => {
            ("The node has stopped", "It does not run any more.".into(), NOTHING_LOST, "Reload this page.")
        }
    };
    Explained { code: error_code(error), reason: None, title, what, safe, next }
}

/// Why a text is not a link.
pub fn of_link(error: &LinkError) -> Explained {
    let reason = match error {
        LinkError::Empty => "empty",
        LinkError::Length { .. } | LinkError::Address(AddressError::Length { .. }) => "length",
        LinkError::WebPage => "web-page",
        LinkError::Address(AddressError::Alphabet { .. }) => "alphabet",
        LinkError::Address(AddressError::Version { .. }) => "version",
        LinkError::Address(AddressError::Checksum) => "checksum",
        LinkError::Address(AddressError::Key) => "key",
        LinkError::Encoding => "encoding",
        LinkError::Path(_) => "path",
    };
    Explained {
        code: "bad-address",
        reason: Some(reason),
        title: "This is not the address of a site",
        what: sentence(&error.to_string()),
        safe: "Nothing was opened or sent.",
        next: "An address has 56 letters and digits. Copy it again from where you got it.",
    }
}

/// Why a site's frame did not start.
pub fn of_frame(code: &str, message: &str) -> Explained {
    let (what, next) = match code {
        "no-service-worker" => (
            "This browser window has no service workers, which bring a site's pages into its frame.".to_owned(),
            "Use a normal window instead of a private one, or another browser.",
        ),
        "timeout" => (
            "The site's own frame did not answer.".to_owned(),
            "Try again. If it stays so, open MegaNet at its own name (meganet.localhost on this machine) and not at a plain “localhost” or number.",
        ),
        _ => (
            format!("The browser refused to start the site's own frame ({}).", crate::format::plain(message, 200)),
            "Open MegaNet at its own name (meganet.localhost on this machine) and not at a plain “localhost” or number.",
        ),
    };
    Explained {
        code: "frame",
        reason: None,
        title: "The site is here, but cannot be shown",
        what,
        safe: "The site's files are checked and kept; they were not shown in an unsafe place instead.",
        next,
    }
}

/// Begins with a capital and ends with a full stop.
pub fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let Some(first) = characters.next() else { return String::new() };
    let mut sentence: String = first.to_uppercase().chain(characters).collect();
    if !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_is_safe_and_what_to_do() {
        let errors = [
            ApiError::NotFound { asked: 3 },
            ApiError::NobodyServes { sequence: 2, providers: 1 },
            ApiError::NoSuchPath { path: "x".into() },
            ApiError::Offline,
            ApiError::TooLarge { size_bytes: 1 << 30, limit_bytes: 1 << 26 },
            ApiError::Refused { reason: "r".into() },
            ApiError::Storage { reason: "r".into() },
            ApiError::Busy,
            ApiError::Stopped,
        ];
        let mut codes: Vec<_> = errors.iter().map(of_api).collect();
        codes.push(of_link(&LinkError::WebPage));
        codes.push(of_frame("timeout", ""));
        for explained in &codes {
            assert!(explained.what.ends_with('.') || explained.code == "refused" || explained.code == "storage");
            assert!(!explained.safe.is_empty() && !explained.next.is_empty(), "{explained:?}");
        }
        let mut names: Vec<_> = codes.iter().map(|explained| explained.code).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), codes.len(), "each error has a code of its own");
    }

    #[test]
    fn texts_become_sentences() {
        assert_eq!(sentence("an address has 56"), "An address has 56.");
        assert_eq!(sentence("done!"), "Done!");
        assert_eq!(sentence(""), "");
    }
}
