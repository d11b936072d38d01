//! Every error in plain words: what happened, what is safe, what to do next.

use crate::format::{ago, bytes, count};
use meganet_core::address::{AddressError, LinkError};
use meganet_node::api::{ApiError, SiteInfo};
use meganet_web_node::{
    site_request::error_code,
    state::{Contact, ListSource, Seat, StorageProblem},
};

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
            match asked {
                0 => "There was no peer to ask, and no copy of this site is kept here.".to_owned(),
                1 => "We asked 1 peer, and it does not know a site with this address.".to_owned(),
                _ => {
                    let peers = count((*asked).into(), "peer", "peers");
                    format!("We asked {peers}, and none of them knows a site with this address.")
                }
            },
            NOTHING_LOST,
            "Compare the address with where you got it. If it is right, its author may be offline: try again later.",
        ),
        ApiError::NobodyServes { sequence, providers } => (
            "The site exists, but nobody serves it now",
            match providers {
                0 => format!("Its version {sequence} was found, but no peer says that it holds it."),
                1 => format!("Its version {sequence} was found. 1 peer said that it holds it, and did not deliver it."),
                _ => {
                    let peers = count((*providers).into(), "peer", "peers");
                    format!(
                        "Its version {sequence} was found. {peers} said they hold it, and none of them delivered it."
                    )
                }
            },
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
                bytes(*size_bytes),
                bytes(*limit_bytes)
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
        ApiError::VersionChanged { sequence } => (
            "The site was updated while it was read",
            format!("Version {sequence} is out, and parts of two versions are never shown together."),
            NOTHING_LOST,
            "Try again to read the new version.",
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
            "Try again. A site that was not opened here before needs the server that this page came from for its empty frame, and that may be gone. Or open MegaNet at its own name (meganet.localhost on this machine) and not at a plain “localhost” or number.",
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

/// How much of a site is kept here. What a site that is not open takes in bytes is not known, only its pieces.
pub fn held(site: &SiteInfo) -> String {
    if site.held_chunks >= site.chunks {
        return format!("{}, complete: opens offline", bytes(site.total_bytes));
    }
    match site.held_bytes {
        Some(held) => format!("{} of {} here", bytes(held), bytes(site.total_bytes)),
        None => format!("{} of {} here", site.held_chunks, count(site.chunks.into(), "piece", "pieces")),
    }
}

/// When the network last said that a site's version is its newest.
pub fn confirmed(site: &SiteInfo, now_ms: u64) -> String {
    match site.confirmed_ms {
        Some(then) if site.confirmed => format!("the newest: confirmed by peers {}", ago(then, now_ms)),
        Some(then) => format!("last seen on the network {}", ago(then, now_ms)),
        None => "no peer has confirmed yet that it is the newest".to_owned(),
    }
}

/// What happens after a list of peers that could not be used.
pub fn instead_of_list(contact: &Contact) -> &'static str {
    match contact.source {
        Some(ListSource::Cache) => "Nothing of it was used. Peers known from earlier are tried instead.",
        _ => "Nothing of it was used, and no peers are known from earlier. MegaNet goes on asking.",
    }
}

/// The first line about storage that does not work.
pub fn not_kept(problem: &StorageProblem) -> &'static str {
    match problem {
        StorageProblem::Replaced | StorageProblem::Closed => "Nothing more is kept on this device.",
        _ => "Nothing is kept after this tab closes.",
    }
}

/// That the tab in which the node runs may begin no more connections: what is so, and what to do.
pub fn connections_spent(seat: &Seat) -> [&'static str; 2] {
    match seat {
        Seat::OtherTab => [
            "The tab that runs your node has opened as many connections as a browser allows one.",
            "Those that are open stay, and no new peer is reached. Close that tab: this one takes over.",
        ],
        _ => [
            "This tab has opened as many connections as a browser allows one.",
            "Those that are open stay, and no new peer is reached. Close this tab and open MegaNet in a new one: to reload it does not help.",
        ],
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
pub mod tests {
    use super::*;

    #[test]
    fn every_error_says_what_is_safe_and_what_to_do() {
        let errors = [
            ApiError::NotFound { asked: 3 },
            ApiError::NobodyServes { sequence: 2, providers: 1 },
            ApiError::NoSuchPath { path: "x".into() },
            ApiError::VersionChanged { sequence: 2 },
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
    fn numbers_of_peers_are_told_in_grammar() {
        let what = |error: ApiError| of_api(&error).what.replace('\u{a0}', " ");
        assert!(what(ApiError::NotFound { asked: 0 }).starts_with("There was no peer to ask"));
        assert!(what(ApiError::NotFound { asked: 1 }).contains("1 peer, and it does not"));
        assert!(what(ApiError::NotFound { asked: 1_200 }).contains("1,200 peers, and none"));
        assert!(what(ApiError::NobodyServes { sequence: 2, providers: 0 }).contains("no peer says"));
        assert!(what(ApiError::NobodyServes { sequence: 2, providers: 1 }).contains("1 peer said"));
        assert!(what(ApiError::NobodyServes { sequence: 2, providers: 3 }).contains("3 peers said"));
    }

    #[test]
    fn what_is_kept_and_confirmed_is_told_as_far_as_it_is_known() {
        let text = |text: String| text.replace('\u{a0}', " ");
        let closed = SiteInfo { chunks: 9, held_chunks: 4, held_bytes: None, ..site() };
        assert_eq!(text(held(&closed)), "4 of 9 pieces here");
        let open = SiteInfo { total_bytes: 2_000, held_bytes: Some(1_000), ..closed.clone() };
        assert_eq!(text(held(&open)), "1.0 kB of 2.0 kB here");
        let now = 2_000_000_000_000;
        let confirmed = |site: &SiteInfo| text(super::confirmed(site, now));
        assert_eq!(confirmed(&closed), "no peer has confirmed yet that it is the newest");
        let before = SiteInfo { confirmed_ms: Some(now - 300_000), ..closed };
        assert_eq!(confirmed(&before), "last seen on the network 5 minutes ago");
        assert_eq!(
            confirmed(&SiteInfo { confirmed: true, ..before }),
            "the newest: confirmed by peers 5 minutes ago",
            "not “just now” for the whole session"
        );
    }

    #[test]
    fn earlier_peers_are_named_only_where_there_are_some() {
        let cached = Contact { source: Some(ListSource::Cache), ..Contact::default() };
        assert!(instead_of_list(&cached).contains("are tried instead"));
        assert!(instead_of_list(&Contact::default()).contains("no peers are known"));
    }

    pub fn site() -> SiteInfo {
        SiteInfo {
            address: meganet_core::keys::SiteKey::from_seed([1; 32]).address(),
            title: String::new(),
            index: None,
            sequence: 1,
            time_ms: 0,
            confirmed_ms: None,
            confirmed: false,
            total_bytes: 1,
            files: None,
            chunks: 1,
            held_chunks: 1,
            held_bytes: None,
            holders: 0,
            sources: Vec::new(),
            conflicting: false,
            pinned: false,
            own: false,
            timings: meganet_node::api::Timings::default(),
        }
    }

    #[test]
    fn a_tab_without_connections_left_is_told_to_close_the_tab_that_runs_the_node() {
        let [what, next] = connections_spent(&Seat::Here);
        assert!(what.starts_with("This tab has opened as many connections as a browser allows one"), "{what}");
        assert!(next.contains("Close this tab") && next.contains("to reload it does not help"), "{next}");
        let [what, next] = connections_spent(&Seat::OtherTab);
        assert!(what.starts_with("The tab that runs your node") && next.contains("Close that tab"), "{what} {next}");
    }

    #[test]
    fn texts_become_sentences() {
        assert_eq!(sentence("an address has 56"), "An address has 56.");
        assert_eq!(sentence("done!"), "Done!");
        assert_eq!(sentence(""), "");
    }
}
