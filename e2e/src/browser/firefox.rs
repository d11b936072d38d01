//! Firefox under geckodriver.

use super::{Options, program, wrapper};
use crate::{places, process::Process};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};
use thirtyfour::{BrowserCapabilitiesHelper, Capabilities, DesiredCapabilities};

/// Where Debian's `firefox-esr` package puts the browser. `MEGANET_FIREFOX` names another.
const FIREFOX: &str = "/usr/bin/firefox-esr";

/// As large as the other browser's window: without a screen its size comes from the environment.
const WINDOW: [(&str, &str); 2] = [("MOZ_HEADLESS_WIDTH", "1280"), ("MOZ_HEADLESS_HEIGHT", "800")];

/// What every profile is given; geckodriver and Firefox, once steered by it, turn off most of what would call home.
fn preferences(options: &Options) -> Value {
    json!({
        // Peers are other processes of this machine. Without a permission to record, Firefox offers nothing but the address
        // of its default route, from which loopback cannot be reached.
        "media.peerconnection.ice.loopback": true,
        "media.peerconnection.ice.obfuscate_host_addresses": false,
        "permissions.default.microphone": 1,
        "media.autoplay.default": 0,
        // Whatever else wants out ends at a port that nobody listens on. Loopback and names below `localhost` are never
        // asked of a proxy, and WebRTC uses none for UDP.
        "network.proxy.type": 1,
        "network.proxy.http": "127.0.0.1",
        "network.proxy.http_port": 9,
        "network.proxy.ssl": "127.0.0.1",
        "network.proxy.ssl_port": 9,
        "network.trr.mode": 5,
        "network.connectivity-service.enabled": false,
        "network.captive-portal-service.enabled": false,
        "network.dns.disablePrefetch": true,
        "toolkit.telemetry.enabled": false,
        "app.normandy.enabled": false,
        "dom.push.connection.enabled": false,
        // The only console that geckodriver lets one read is its own output, which the browser shares.
        "devtools.console.stdout.content": true,
        "network.cookie.cookieBehavior": if options.block_site_data { 2 } else { 5 },
    })
}

/// Starts geckodriver; its port, and what it has to be told to start the browser.
pub(super) async fn start(
    dir: &Path,
    name: &str,
    profile: &Path,
    options: &Options,
) -> Result<(Process, u16, Capabilities)> {
    let geckodriver = program("MEGANET_GECKODRIVER", places::tool("geckodriver")?);
    ensure!(geckodriver.is_file(), "{} is missing: run `cargo xtask setup --tests`", geckodriver.display());
    let arguments = ["--port", "0", "--websocket-port", "0"];
    let mut driver = Process::start(&format!("{name}-driver"), dir, &geckodriver, arguments)?;
    let port = driver
        .line("its port", |line| line.split_once("Listening on 127.0.0.1:")?.1.trim().parse().ok())
        .await
        .context("geckodriver does not start")?;
    std::fs::create_dir_all(profile)?;
    let profile = profile.to_str().context("a profile with a name that is not UTF-8")?;
    let mut arguments = vec!["--headless", "--profile", profile];
    arguments.extend(options.arguments.iter().map(String::as_str));
    let mut capabilities = DesiredCapabilities::firefox();
    capabilities.set_browser_option("binary", wrapper(dir, "firefox", &program("MEGANET_FIREFOX", FIREFOX))?)?;
    capabilities.set_browser_option("args", arguments)?;
    capabilities.set_browser_option("prefs", preferences(options))?;
    let mut environment = BTreeMap::from(WINDOW.map(|(name, value)| (name, value.to_owned())));
    // Its folder for all profiles lies in the home directory, even when none of them is used.
    environment.insert("HOME", dir.display().to_string());
    environment.insert("MOZ_CRASHREPORTER_DISABLE", "1".to_owned());
    capabilities.set_browser_option("env", environment)?;
    Ok((driver, port, capabilities.into()))
}

/// The lines of the shared output that are no word of geckodriver's own, which begin with a moment in milliseconds.
pub(super) fn console(output: &str) -> Vec<String> {
    let is_drivers = |line: &str| line.split_once('\t').is_some_and(|(first, _)| first.parse::<u64>().is_ok());
    output.lines().filter(|line| !line.trim().is_empty() && !is_drivers(line)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_says_is_no_console() {
        let output = "1763656000123\tgeckodriver\tINFO\tListening on 127.0.0.1:4444\n\nconsole.log: \"a\\tb\"\n\
                      1763656000124\tMarionette\tINFO\tMarionette enabled\nconsole.warn: 7\n";
        assert_eq!(console(output), ["console.log: \"a\\tb\"", "console.warn: 7"]);
    }
}
