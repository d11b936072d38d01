//! A real browser under its own WebDriver: one process tree a fixture, with a profile of its own or a given one.

mod chromium;
mod firefox;

use crate::{
    http::DriverClient,
    process::Process,
    wait::{Look, until},
};
use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    ffi::OsString,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use thirtyfour::{By, Capabilities, WebDriver, WebElement, WindowHandle};

/// Bounds one script in a page; longer than [`crate::wait::PATIENCE`], so that waits report first.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(120);

/// Which browser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Chromium,
    Firefox,
}

/// How one browser differs from the usual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Which browser it is.
    pub kind: Kind,
    /// A profile directory that outlives this browser. `None`: a fresh one.
    pub profile: Option<PathBuf>,
    /// The user has blocked all cookies and site data: IndexedDB, caches and service workers are denied.
    pub block_site_data: bool,
    /// More command-line arguments.
    pub arguments: Vec<String>,
}

impl Options {
    /// Firefox as it is.
    pub fn firefox() -> Self {
        Self { kind: Kind::Firefox, ..Self::default() }
    }

    /// Chromium as it is about to become: it refuses an offer whose credentials were changed.
    pub fn chromium_without_changed_offers() -> Self {
        let trial = "--force-fieldtrials=WebRTC-NoSdpMangleUfrag/Enabled/".to_owned();
        Self { arguments: vec![trial], ..Self::default() }
    }
}

/// A running browser. Quits when dropped.
pub struct Browser {
    // Declared first: the session ends while its driver's process still runs.
    driver: WebDriver,
    process: Process,
    kind: Kind,
    /// Bytes of the process' output that [`Browser::console`] has given out.
    console_read: AtomicUsize,
}

impl Browser {
    /// Starts a driver on a free port and a browser under it, with logs and, if fresh, the profile in `dir`.
    pub async fn start(dir: &Path, name: &str, options: Options) -> Result<Self> {
        let profile = options.profile.clone().unwrap_or_else(|| dir.join(format!("{name}-profile")));
        let (process, port, capabilities): (Process, u16, Capabilities) = match options.kind {
            Kind::Chromium => chromium::start(dir, name, &profile, &options).await?,
            Kind::Firefox => firefox::start(dir, name, &profile, &options).await?,
        };
        let driver = WebDriver::builder(format!("http://127.0.0.1:{port}"), capabilities)
            .client(DriverClient)
            .connect()
            .await
            .with_context(|| format!("no browser session: is {:?} installed?", options.kind))?;
        driver.set_script_timeout(SCRIPT_TIMEOUT).await?;
        Ok(Self { driver, process, kind: options.kind, console_read: AtomicUsize::new(0) })
    }

    /// Quits the browser as a user does, so that its profile is whole and can be opened again.
    pub async fn quit(self) -> Result<()> {
        Ok(self.driver.quit().await?)
    }

    /// SIGKILL to the browser and its driver: no page of it hears of its end.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Loads a page in the current tab.
    pub async fn goto(&self, url: &str) -> Result<()> {
        self.driver.goto(url).await.with_context(|| format!("cannot load {url}"))
    }

    pub async fn reload(&self) -> Result<()> {
        Ok(self.driver.refresh().await?)
    }

    /// Runs a function body in the current frame, waits for its promise if it returns one, and decodes the result.
    pub async fn run<T: DeserializeOwned>(&self, body: &str, arguments: &[Value]) -> Result<T> {
        let script = format!("return (async (...given) => {{ {body} }})(...arguments);");
        let value = self.driver.execute(script, arguments.to_vec()).await?;
        value.convert().with_context(|| format!("a script gave {}", value.json()))
    }

    /// The element with this `data-testid` in the current frame, if there is one.
    pub async fn maybe(&self, test_id: &str) -> Result<Option<WebElement>> {
        Ok(self.driver.find_all(by_test_id(test_id)).await?.into_iter().next())
    }

    /// Waits for the element with this `data-testid`.
    pub async fn element(&self, test_id: &str) -> Result<WebElement> {
        until(&format!("the element {test_id}"), async || {
            Ok(match self.maybe(test_id).await? {
                Some(element) => Look::Yes(element),
                None => Look::NotYet("no such element".to_owned()),
            })
        })
        .await
    }

    /// Its visible text, or nothing when it is not there.
    pub async fn text(&self, test_id: &str) -> Result<Option<String>> {
        Ok(match self.maybe(test_id).await? {
            Some(element) => Some(element.text().await?),
            None => None,
        })
    }

    /// An attribute of the element with this `data-testid`, or nothing when either is not there.
    pub async fn attribute(&self, test_id: &str, attribute: &str) -> Result<Option<String>> {
        Ok(match self.maybe(test_id).await? {
            Some(element) => element.attr(attribute).await?,
            None => None,
        })
    }

    pub async fn click(&self, test_id: &str) -> Result<()> {
        let element = self.element(test_id).await?;
        element.click().await.with_context(|| format!("cannot click {test_id}"))
    }

    /// Runs `inside` in the frame with this `data-testid`, and comes back to the page.
    pub async fn in_frame<T>(&self, test_id: &str, inside: impl AsyncFnOnce() -> Result<T>) -> Result<T> {
        self.element(test_id).await?.enter_frame().await?;
        let result = inside().await;
        self.driver.enter_default_frame().await?;
        result
    }

    /// One command of the Chrome DevTools protocol, to the current tab. Chromium alone knows it.
    pub async fn devtools(&self, method: &str, parameters: Value) -> Result<Value> {
        if self.kind != Kind::Chromium {
            bail!("{:?} has no DevTools protocol", self.kind);
        }
        self.driver.cdp().send_raw(method, parameters).await.with_context(|| format!("DevTools refused {method}"))
    }

    /// What the page looks like, PNG.
    pub async fn screenshot(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.driver.screenshot_as_png().await?)?;
        Ok(())
    }

    /// What pages wrote to the console since the last call.
    pub async fn console(&self) -> Result<Vec<String>> {
        if self.kind == Kind::Firefox {
            let output = self.process.stdout()?;
            let read = self.console_read.swap(output.len(), Ordering::Relaxed);
            return Ok(firefox::console(output.get(read..).unwrap_or_default()));
        }
        let entries = self.driver.browser_log().await?;
        Ok(entries.into_iter().map(|entry| format!("{:?} {}", entry.level, entry.message)).collect())
    }

    /// The current tab.
    pub async fn tab(&self) -> Result<WindowHandle> {
        Ok(self.driver.window().await?)
    }

    /// Opens another visible tab (in a window of its own, so that neither is in the background) and goes there.
    pub async fn new_tab(&self) -> Result<WindowHandle> {
        let tab = self.driver.new_window().await?;
        self.switch_to(&tab).await?;
        Ok(tab)
    }

    pub async fn switch_to(&self, tab: &WindowHandle) -> Result<()> {
        Ok(self.driver.switch_to_window(tab.clone()).await?)
    }

    pub async fn close_tab(&self) -> Result<()> {
        Ok(self.driver.close_window().await?)
    }

    /// Closes the current tab and goes to a new one: what the browser counted against the old one is gone with it.
    pub async fn replace_tab(&self) -> Result<()> {
        let old = self.tab().await?;
        let new = self.new_tab().await?;
        self.switch_to(&old).await?;
        self.close_tab().await?;
        self.switch_to(&new).await
    }

    /// WebDriver itself, for what has no shorthand here.
    pub fn driver(&self) -> &WebDriver {
        &self.driver
    }
}

fn by_test_id(test_id: &str) -> By {
    By::Css(format!("[data-testid='{test_id}']"))
}

/// What the environment names, else the usual place.
fn program(variable: &str, usual: impl Into<OsString>) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| usual.into()).into()
}

/// A script called `name` that starts `browser` so that it ends with its driver, also when that is killed.
fn wrapper(dir: &Path, name: &str, browser: &Path) -> Result<String> {
    let path = dir.join(name);
    if !path.exists() {
        let browser = browser.display();
        std::fs::write(&path, format!("#!/bin/sh\nexec setpriv --pdeathsig KILL -- \"{browser}\" \"$@\"\n"))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    path.to_str().map(str::to_owned).context("a temporary directory with a name that is not UTF-8")
}
