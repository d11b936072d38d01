//! The app in a tab, by its test ids and `window.meganet`.

use crate::{
    browser::Browser,
    wait::{Look, until},
};
use anyhow::{Context, Result, bail};
use meganet_core::address::Address;
use meganet_node::api::{ApiError, Command, READ_MAX_BYTES, Reply, SiteInfo, Status};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use thirtyfour::Key;

/// In a site's frame: when its first contentful paint was, milliseconds of Unix time (Paint Timing).
const FIRST_PAINT: &str = "
    const paint = performance.getEntriesByName('first-contentful-paint')[0];
    return paint ? performance.timeOrigin + paint.startTime : null;";

/// When things happened, by name: milliseconds from the page's start (`performance.timeOrigin`), as the app measured
/// them. The names are the fields of `Timings` in web-node.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Timings(BTreeMap<String, Option<f64>>);

impl Timings {
    /// The moment of this name; `None` when it has not come.
    pub fn at(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied().flatten()
    }
}

/// What happened to a site that the app was asked to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Its page is shown.
    Shown,
    /// The app said why not: the error's code.
    Refused(String),
}

/// The app, open in the current tab of a browser.
#[derive(Clone, Copy)]
pub struct App<'browser> {
    browser: &'browser Browser,
}

impl<'browser> App<'browser> {
    /// Loads a URL of the app from scratch, also when only its part after `#` differs from the page that is shown, and
    /// waits until the interface is there.
    pub async fn open(browser: &'browser Browser, url: &str) -> Result<Self> {
        browser.goto("about:blank").await?;
        browser.goto(url).await?;
        let app = Self { browser };
        app.until_there().await?;
        Ok(app)
    }

    /// The app that is already open in the current tab.
    pub fn at(browser: &'browser Browser) -> Self {
        Self { browser }
    }

    /// Reloads the page, and waits until the interface is there again.
    pub async fn reload(&self) -> Result<()> {
        self.browser.reload().await?;
        self.until_there().await
    }

    async fn until_there(&self) -> Result<()> {
        self.browser.element("status").await?;
        until("an answer of window.meganet", async || Ok(Look::Yes(self.status().await.map(drop)?))).await
    }

    pub fn browser(&self) -> &'browser Browser {
        self.browser
    }

    /// What the status line says it is doing: `starting`, `joining`, `joined`, `offline`.
    pub async fn phase(&self) -> Result<String> {
        self.browser.attribute("status", "data-phase").await?.context("the status line has no data-phase")
    }

    pub async fn until_phase(&self, wanted: &str) -> Result<()> {
        until(&format!("the phase {wanted}"), async || {
            let phase = self.phase().await?;
            Ok(Look::holds(phase == wanted, phase))
        })
        .await
    }

    pub async fn until_joined(&self) -> Result<()> {
        self.until_phase("joined").await
    }

    /// Gives the node in the tab a command, as the interface does.
    pub async fn ask(&self, command: &Command) -> Result<std::result::Result<Reply, ApiError>> {
        let answer: Answer = self.browser.run(COMMAND, &[json!(serde_json::to_string(command)?)]).await?;
        match (answer.reply, answer.refusal) {
            (Some(reply), _) => Ok(Ok(serde_json::from_str(&reply).with_context(|| format!("no reply: {reply}"))?)),
            (None, Some(refusal)) => Ok(Err(serde_json::from_str(&refusal)?)),
            (None, None) => bail!("window.meganet.command failed: {}", answer.failure.unwrap_or_default()),
        }
    }

    /// The same, for commands that must succeed.
    pub async fn call(&self, command: &Command) -> Result<Reply> {
        Ok(self.ask(command).await??)
    }

    pub async fn status(&self) -> Result<Status> {
        match self.call(&Command::Status).await? {
            Reply::Status(status) => Ok(status),
            other => bail!("not a status: {other:?}"),
        }
    }

    /// What the node knows of a site it holds.
    pub async fn site(&self, address: Address) -> Result<SiteInfo> {
        match self.call(&Command::Site { address }).await? {
            Reply::Site(site) => Ok(site),
            other => bail!("not a site: {other:?}"),
        }
    }

    pub async fn providers(&self, address: Address) -> Result<Vec<String>> {
        match self.call(&Command::Providers { address }).await? {
            Reply::Providers(providers) => Ok(providers),
            other => bail!("not providers: {other:?}"),
        }
    }

    /// Waits until everything a reader waits for has happened, and gives when: the app's own figures, and
    /// `first_paint_ms`, the first contentful paint that the browser noted inside the site's frame.
    pub async fn until_painted(&self) -> Result<Timings> {
        let mut timings = until("the site's load event", async || {
            let timings = self.timings().await?;
            let done = ["joined_ms", "head_found_ms", "loaded_ms"].iter().all(|name| timings.at(name).is_some());
            Ok(if done { Look::Yes(timings) } else { Look::NotYet(format!("{timings:?}")) })
        })
        .await?;
        let page_start: f64 = self.browser.run("return performance.timeOrigin;", &[]).await?;
        let painted = until("the first contentful paint", async || {
            let painted: Option<f64> = self.run_in_site(FIRST_PAINT, &[]).await?;
            Ok(painted.map_or_else(|| Look::NotYet("no paint entry".to_owned()), Look::Yes))
        })
        .await?;
        timings.0.insert("first_paint_ms".to_owned(), Some(painted - page_start));
        Ok(timings)
    }

    pub async fn timings(&self) -> Result<Timings> {
        self.browser.run("return JSON.parse(window.meganet.timings());", &[]).await
    }

    /// Types into the address box, as a person does, and opens.
    pub async fn enter_address(&self, text: &str) -> Result<()> {
        let input = self.browser.element("address-input").await?;
        input.send_keys(Key::Control + "a").await?;
        input.send_keys(text).await?;
        self.browser.click("open-button").await
    }

    /// The code of the error that is shown, if one is.
    pub async fn error_code(&self) -> Result<Option<String>> {
        self.browser.attribute("error", "data-code").await
    }

    /// Waits for the error about this address.
    pub async fn until_error_of(&self, address: &Address) -> Result<(String, String)> {
        until("the error about an address", async || {
            // In one look: the bar's key and the error then belong together.
            let seen: SiteError = self.browser.run(SITE_ERROR, &[]).await?;
            Ok(match &seen {
                SiteError { key: Some(key), code: Some(code), text } if key.contains(&address.to_string()) => {
                    Look::Yes((code.clone(), text.clone()))
                }
                _ => Look::NotYet(format!("{seen:?}")),
            })
        })
        .await
    }

    /// Waits for an error with this finer reason, and gives its code and text.
    pub async fn until_error_because(&self, reason: &str) -> Result<(String, String)> {
        until(&format!("an error because of the {reason}"), async || {
            let found = self.browser.attribute("error", "data-reason").await?;
            Ok(match (found, self.error_code().await?) {
                (Some(found), Some(code)) if found == reason => {
                    Look::Yes((code, self.browser.text("error").await?.unwrap_or_default()))
                }
                (found, code) => Look::NotYet(format!("{code:?} because of {found:?}")),
            })
        })
        .await
    }

    /// Waits until the site's frame shows a page for which this JavaScript expression holds, or the app says why not.
    pub async fn until_opened_when(&self, condition: &str) -> Result<Opened> {
        let look = format!(
            "return {{ holds: document.readyState === 'complete' && ({condition}),
                       seen: [location.href, document.readyState, document.title,
                              JSON.stringify({{ ...document.documentElement.dataset }})].join(' ') }};"
        );
        until("the site", async || {
            if let Some(code) = self.error_code().await? {
                return Ok(Look::Yes(Opened::Refused(code)));
            }
            if self.browser.maybe("site-frame").await?.is_none() {
                return Ok(Look::NotYet(format!("no frame; progress: {:?}", self.browser.text("progress").await?)));
            }
            let page: Page = self.browser.in_frame("site-frame", async || self.browser.run(&look, &[]).await).await?;
            Ok(if page.holds { Look::Yes(Opened::Shown) } else { Look::NotYet(page.seen) })
        })
        .await
    }

    /// Waits until the site's frame shows a page for which this JavaScript expression holds.
    pub async fn until_shown_when(&self, condition: &str) -> Result<()> {
        match self.until_opened_when(condition).await? {
            Opened::Shown => Ok(()),
            Opened::Refused(code) => {
                bail!("not shown, but {code}: {:?}", self.browser.text("error").await?.unwrap_or_default())
            }
        }
    }

    /// Waits until a made-up site's script has run.
    pub async fn until_shown(&self) -> Result<()> {
        self.until_shown_when("document.documentElement.dataset.ready !== undefined").await
    }

    /// The same, for this site and not one that was shown before it.
    pub async fn until_shown_address(&self, address: &Address) -> Result<()> {
        let origin = format!("location.hostname.startsWith('{address}.')");
        self.until_shown_when(&format!("{origin} && document.documentElement.dataset.ready !== undefined")).await
    }

    /// Waits until a sample site says that all of its parts have worked.
    pub async fn until_complete(&self) -> Result<()> {
        self.until_shown_when("document.documentElement.dataset.complete === 'yes'").await
    }

    /// Loads the site's frame again.
    pub async fn reload_site(&self) -> Result<()> {
        self.browser
            .in_frame("site-frame", async || self.browser.run("location.reload(); return null;", &[]).await)
            .await
    }

    /// Waits until the app's own service worker controls the page and has kept the app's files.
    pub async fn until_kept_offline(&self) -> Result<()> {
        until("the app's service worker", async || {
            let state: Option<String> = self
                .browser
                .run("return (await navigator.serviceWorker.getRegistration())?.active?.state ?? null;", &[])
                .await?;
            Ok(Look::holds(state.as_deref() == Some("activated"), format!("{state:?}")))
        })
        .await
    }

    /// Opens the side panel, if it is closed.
    pub async fn show_panel(&self) -> Result<()> {
        let shown = match self.browser.maybe("panel").await? {
            Some(panel) => panel.is_displayed().await?,
            None => false,
        };
        if !shown {
            self.browser.click("panel-toggle").await?;
        }
        Ok(())
    }

    /// SHA-256 of files of a site, read through the node's own interface.
    pub async fn read_hashes(&self, address: Address, paths: &[&str]) -> Result<BTreeMap<String, String>> {
        self.browser.run(READ_HASHES, &[json!(address), json!(paths), json!(READ_MAX_BYTES)]).await
    }

    /// Milliseconds on the page's own clock.
    pub async fn page_clock_ms(&self) -> Result<f64> {
        self.browser.run("return performance.now();", &[]).await
    }
}

#[derive(Deserialize)]
struct Page {
    holds: bool,
    seen: String,
}

const SITE_ERROR: &str = "
    const named = id => document.querySelector(`[data-testid='${id}']`);
    const error = named('error');
    return { key: named('site-key')?.title ?? null, code: error?.dataset.code ?? null, text: error?.innerText ?? '' };";

#[derive(Debug, Deserialize)]
struct SiteError {
    /// The address in the bar.
    key: Option<String>,
    code: Option<String>,
    text: String,
}

const READ_HASHES: &str = "
    const [address, paths, most] = given;
    const hashes = {};
    for (const path of paths) {
        const pieces = [];
        let offset = 0, size = 0, sequence = null;
        do {
            const command = JSON.stringify({ Read: { address, path, offset, max_bytes: most, sequence } });
            const { Content: content } = JSON.parse(await window.meganet.command(command));
            ({ size, sequence } = content);
            if (content.bytes.length === 0) { break; }
            pieces.push(Uint8Array.from(content.bytes));
            offset += content.bytes.length;
        } while (offset < size);
        const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', await new Blob(pieces).arrayBuffer()));
        hashes[path] = [...digest].map(byte => byte.toString(16).padStart(2, '0')).join('');
    }
    return hashes;";

/// Gives `window.meganet` a command. A refusal is an `Error` whose `cause` is the JSON of an `ApiError`.
const COMMAND: &str = "
    try { return { reply: await window.meganet.command(given[0]) }; }
    catch (error) { return { refusal: error?.cause ?? null, failure: String(error?.message ?? error) }; }";

#[derive(Deserialize)]
struct Answer {
    reply: Option<String>,
    refusal: Option<String>,
    failure: Option<String>,
}
