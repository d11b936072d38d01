//! The few choices remembered in `localStorage`, which all tabs of the app share. Where it is denied, nothing is remembered.

use meganet_node::api::Contribution;
use web_sys::{Storage, window};

const CONSENT: &str = "meganet.contribution";
const PANEL: &str = "meganet.panel";
/// From this width on the panel stands beside the site instead of over it.
const WIDE: &str = "(min-width: 62rem)";

fn storage() -> Option<Storage> {
    window()?.local_storage().ok().flatten()
}

fn read(name: &str) -> Option<String> {
    storage()?.get_item(name).ok().flatten()
}

fn write(name: &str, value: &str) {
    if let Some(storage) = storage() {
        // A full or denied storage means the question is asked again next time.
        let _ = storage.set_item(name, value);
    }
}

/// What the user chose, if they did.
pub fn consent() -> Option<Contribution> {
    match read(CONSENT)?.as_str() {
        "on" => Some(Contribution::On),
        "off" => Some(Contribution::Off),
        _ => None,
    }
}

/// Remembers the choice.
pub fn set_consent(contribution: Contribution) {
    write(CONSENT, if contribution == Contribution::On { "on" } else { "off" });
}

/// Whether the panel was open; by default where there is room beside the site.
pub fn panel_open() -> bool {
    match read(PANEL).as_deref() {
        Some("open") => true,
        Some("closed") => false,
        _ => window().and_then(|window| window.match_media(WIDE).ok().flatten()).is_some_and(|query| query.matches()),
    }
}

/// Remembers the panel.
pub fn set_panel_open(open: bool) {
    write(PANEL, if open { "open" } else { "closed" });
}
