//! Chromium under chromedriver.

use super::{Options, program, wrapper};
use crate::process::Process;
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::{
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, TcpListener},
    path::Path,
};
use thirtyfour::{Capabilities, ChromiumLikeCapabilities, DesiredCapabilities, LoggingPrefsLogLevel};

/// Where Debian's `chromium` package puts the browser. `MEGANET_CHROMIUM` names another.
const CHROMIUM: &str = "/usr/bin/chromium";

/// What every Chromium is started with. No traffic leaves the machine.
const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--allow-loopback-in-peer-connection",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--autoplay-policy=no-user-gesture-required",
    "--window-size=1280,800",
];

/// Ports that are looked at until one is free.
const PORTS_TRIED: usize = 100;

/// A port that is free in IPv4 and in IPv6. ChromeDriver, left to choose, takes one that is free in IPv4, and ends when somebody
/// has it in IPv6.
fn free_port() -> Result<u16> {
    for _ in 0..PORTS_TRIED {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let in_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
        if !in_ipv6.is_err_and(|error| error.kind() == ErrorKind::AddrInUse) {
            return Ok(port);
        }
    }
    bail!("none of {PORTS_TRIED} ports is free in IPv4 and in IPv6")
}

/// Starts chromedriver; its port, and what it has to be told to start the browser.
pub(super) async fn start(
    dir: &Path,
    name: &str,
    profile: &Path,
    options: &Options,
) -> Result<(Process, u16, Capabilities)> {
    let port = format!("--port={}", free_port()?);
    let mut driver = Process::start(&format!("{name}-driver"), dir, Path::new("chromedriver"), [port])?;
    let port = driver
        .line("its port", |line| line.split_once("started successfully on port ")?.1.trim_end_matches('.').parse().ok())
        .await
        .context("chromedriver (Debian: chromium-driver) does not start")?;
    let mut capabilities = DesiredCapabilities::chrome();
    capabilities.set_binary(&wrapper(dir, "chromium", &program("MEGANET_CHROMIUM", CHROMIUM))?)?;
    for argument in ARGUMENTS {
        capabilities.add_arg(argument)?;
    }
    capabilities.add_arg(&format!("--user-data-dir={}", profile.display()))?;
    for argument in &options.arguments {
        capabilities.add_arg(argument)?;
    }
    if options.block_site_data {
        let blocked = json!({ "profile.default_content_setting_values.cookies": 2 });
        capabilities.add_experimental_option("prefs", blocked)?;
    }
    capabilities.set_browser_log_level(LoggingPrefsLogLevel::All)?;
    Ok((driver, port, capabilities.into()))
}
