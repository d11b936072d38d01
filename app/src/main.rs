//! The MegaNet interface: an address box, the state of the node, and sites in frames of their own.
//!
//! `route`, `state`, `phase`, `words` and `format` decide what is shown and know no browser; `view` draws it with Yew. The
//! interface talks to the node through `meganet_web_node::Client` alone. Text that comes from a network is only ever put
//! into text nodes.
//!
//! # `data-testid`s, stable
//! | id | what, and its further attributes |
//! |---|---|
//! | `address-input`, `open-button` | the address box and its button |
//! | `status` | the node's state; `data-phase` is `starting`, `joining`, `joined`, `offline` or `stopped`, `data-seat` is `starting`, `here`, `other-tab` or `failed`, `data-peers` a number |
//! | `error` | an explained error; `data-code` is `not-found`, `nobody-serves`, `no-such-path`, `version-changed`, `offline`, `too-large`, `refused`, `storage`, `busy`, `stopped`, `frame` or `bad-address`, the last with `data-reason` |
//! | `progress`, `cancel` | the opening screen, with `data-stage`; its cancel button |
//! | `cancelled` | what the cancel button leads to |
//! | `bridge-frame`, `site-frame` | the hidden and the visible frame |
//! | `site-key` | the short key of the site shown, in the bar |
//! | `panel-toggle`, `panel` | the side panel; inside: `panel-address`, `panel-sequence`, `panel-size`, `panel-files`, `panel-holders`, `panel-held`, `panel-sources`, `panel-timings`, `panel-keep`, `panel-fetch-all`, `panel-fetch-large` (after `too-large`), `panel-forget` |
//! | `consent`, `consent-share`, `consent-read` | the first-run choice, later the setting; `aria-pressed` says which one holds |
//! | `join-state`, `try-now` | the node's state in words; the button that ends a wait |
//! | `kept-sites`, `kept-site`, `forget` | the list of sites kept here, each of them with `data-address`, and its button (pressed twice for a site kept for good) |
//! | `banner-memory`, `banner-connections`, `banner-problem`, `banner-contact`, `banner-update`, `banner-conflict` | notices; `banner-contact` has `data-code` |
//! | `stopped`, `restart` | in `index.html`: the page that replaces a node that panicked, and its button |

#![forbid(unsafe_code)]
// Without the feature only the tests use what decides what is shown.
#![cfg_attr(
    not(feature = "browser"),
    allow(dead_code, reason = "only the parts without a browser are tested natively")
)]

mod format;
mod phase;
mod route;
mod state;
mod steps;
mod words;

#[cfg(feature = "browser")]
mod view;

fn main() {
    #[cfg(feature = "browser")]
    view::run();
}
