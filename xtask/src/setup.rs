//! `setup`: finds what this machine lacks and installs it where that is safe to do; otherwise says exactly what to type.

use std::env;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::command::{find, output, run, say, succeeds};
use crate::tools;
use crate::workspace::Workspace;

/// Browser bundles are compiled for this target.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// A browser of the tests.
struct Browser {
    /// Names another one than [`Browser::find`] finds, for people; and for the e2e crate the one that was found.
    variable: &'static str,
    /// What systems call it; any of them will do.
    names: &'static [&'static str],
}

const CHROMIUM: Browser = Browser {
    variable: "MEGANET_CHROMIUM",
    names: &["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"],
};
const FIREFOX: Browser = Browser { variable: "MEGANET_FIREFOX", names: &["firefox-esr", "firefox"] };

impl Browser {
    /// The one the environment names, else the first in `PATH`.
    fn find(&self) -> Option<PathBuf> {
        self.of(env::var_os(self.variable).map(PathBuf::from), find)
    }

    fn of(&self, named: Option<PathBuf>, find: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
        match named {
            Some(path) if path.is_file() => Some(path),
            Some(name) => find(name.to_str()?),
            None => self.names.iter().find_map(|name| find(name)),
        }
    }
}

/// Steers Firefox in the tests. Few systems package it, so it is compiled, once.
const GECKODRIVER: (&str, &str) = ("geckodriver", "0.37.1");
/// Tells the e2e crate where it is.
const GECKODRIVER_VARIABLE: &str = "MEGANET_GECKODRIVER";

/// Tells `command`, which starts browsers, what was found.
pub fn with_browsers<'a>(workspace: &Workspace, command: &'a mut Command) -> &'a mut Command {
    for browser in [CHROMIUM, FIREFOX] {
        if let Some(path) = browser.find() {
            command.env(browser.variable, path);
        }
    }
    if env::var_os(GECKODRIVER_VARIABLE).is_none() {
        command.env(GECKODRIVER_VARIABLE, tools::path(workspace, GECKODRIVER.0));
    }
    command
}

/// What the machine is prepared for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// Compiling the programs and the web bundle.
    Building,
    /// That, and running every check: formatter, lints, a real browser.
    Testing,
}

/// Something a system package provides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    /// A C compiler that can compile for wasm32: ring's C parts need it in the web bundle.
    Clang,
    Chromium,
    ChromeDriver,
    /// js-libp2p runs in it, and its package manager installs that.
    Node,
    Firefox,
    /// NATs for the tests, in network namespaces.
    Nft,
    Ip,
}

impl Tool {
    fn present(self) -> bool {
        match self {
            Self::Clang => output(Command::new("clang").arg("--print-targets")).is_some_and(|it| it.contains("wasm32")),
            Self::Chromium => CHROMIUM.find().is_some(),
            Self::ChromeDriver => find("chromedriver").is_some(),
            Self::Node => find("node").is_some() && find("npm").is_some(),
            Self::Nft => find_for_administrators("nft").is_some(),
            Self::Ip => find_for_administrators("ip").is_some(),
            Self::Firefox => FIREFOX.find().is_some(),
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::Clang => "clang that knows wasm32, to compile ring for the browser",
            Self::Chromium => "Chromium, the first browser of the end-to-end tests",
            Self::ChromeDriver => "ChromeDriver, which steers Chromium in the tests",
            Self::Node => "Node and npm, for js-libp2p, the other end of the interoperability tests",
            Self::Nft => "nft, which makes NATs for the tests",
            Self::Ip => "ip, which makes networks for the tests",
            Self::Firefox => "Firefox, the second browser of the end-to-end tests",
        }
    }

    fn debian(self) -> &'static str {
        match self {
            Self::Clang => "clang",
            Self::Chromium => "chromium",
            Self::ChromeDriver => "chromium-driver",
            Self::Node => "npm",
            Self::Nft => "nftables",
            Self::Ip => "iproute2",
            Self::Firefox => "firefox-esr",
        }
    }

    fn fedora(self) -> &'static str {
        match self {
            Self::Clang => "clang",
            Self::Chromium => "chromium",
            Self::ChromeDriver => "chromedriver",
            Self::Node => "npm",
            Self::Nft => "nftables",
            Self::Ip => "iproute2",
            Self::Firefox => "firefox",
        }
    }

    /// Arch's chromium package holds the driver.
    fn arch(self) -> &'static str {
        match self {
            Self::Clang => "clang",
            Self::Chromium | Self::ChromeDriver => "chromium",
            Self::Node => "npm",
            Self::Nft => "nftables",
            Self::Ip => "iproute2",
            Self::Firefox => "firefox",
        }
    }

    /// Apple's own clang cannot compile for wasm32.
    fn macos(self) -> &'static str {
        match self {
            Self::Clang => "llvm",
            Self::Chromium => "chromium",
            Self::ChromeDriver => "chromedriver",
            Self::Node => "node",
            // There are none: the tests that need them say so.
            Self::Nft | Self::Ip => "",
            Self::Firefox => "firefox",
        }
    }
}

/// Programs of administrators are not in everybody's `PATH`.
fn find_for_administrators(name: &str) -> Option<PathBuf> {
    find(name).or_else(|| Some(PathBuf::from("/usr/sbin").join(name)).filter(|path| path.is_file()))
}

/// Makes sure everything for `purpose` is there. Quick and silent when nothing is missing.
///
/// # Errors
/// When something is missing that this program cannot install; the error says what to type.
pub fn ensure(workspace: &Workspace, purpose: For) -> Result<()> {
    ensure_rust(purpose)?;
    let wanted: &[Tool] = match purpose {
        For::Building => &[Tool::Clang],
        For::Testing => {
            &[Tool::Clang, Tool::Chromium, Tool::ChromeDriver, Tool::Firefox, Tool::Node, Tool::Nft, Tool::Ip]
        }
    };
    ensure_packages(wanted)?;
    if purpose == For::Testing && env::var_os(GECKODRIVER_VARIABLE).is_none() {
        let (package, version) = GECKODRIVER;
        tools::installed(workspace, package, version, package)?;
    }
    Ok(())
}

fn ensure_packages(wanted: &[Tool]) -> Result<()> {
    let missing = missing(wanted, Tool::present);
    if missing.is_empty() {
        return Ok(());
    }
    for tool in &missing {
        say(&format!("missing: {}", tool.purpose()));
    }
    let Some(apt) = apt() else { bail!(advice(&missing)) };
    install(apt, &missing)?;
    let still = self::missing(&missing, Tool::present);
    if !still.is_empty() {
        bail!("installed the packages, yet still not found in PATH: {still:?}\n{}", advice(&still));
    }
    Ok(())
}

fn missing(wanted: &[Tool], present: impl Fn(Tool) -> bool) -> Vec<Tool> {
    wanted.iter().copied().filter(|tool| !present(*tool)).collect()
}

fn ensure_rust(purpose: For) -> Result<()> {
    let libraries = output(Command::new("rustc").args(["--print", "target-libdir", "--target", WASM_TARGET]));
    if !libraries.is_some_and(|folder| std::path::Path::new(folder.trim()).is_dir()) {
        rustup(&["target", "add", WASM_TARGET])?;
    }
    if purpose == For::Testing {
        for (component, subcommand) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
            if !succeeds(Command::new("cargo").args([subcommand, "--version"])) {
                rustup(&["component", "add", component])?;
            }
        }
    }
    Ok(())
}

fn rustup(arguments: &[&str]) -> Result<()> {
    if find("rustup").is_none() {
        bail!(
            "the Rust toolchain lacks something (`rustup {}`) and rustup is not here. Install Rust through rustup, or \
             install that part the way this Rust was installed.",
            arguments.join(" ")
        );
    }
    run(Command::new("rustup").args(arguments))
}

/// How apt-get may be called here.
#[derive(Clone, Copy)]
enum Apt {
    AsRoot,
    ThroughSudo,
}

fn apt() -> Option<Apt> {
    find("apt-get")?;
    if output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0") {
        return Some(Apt::AsRoot);
    }
    find("sudo")?;
    // Without a terminal nobody can type a password: sudo must need none.
    let usable = io::stdin().is_terminal() || succeeds(Command::new("sudo").args(["-n", "true"]));
    usable.then_some(Apt::ThroughSudo)
}

fn install(apt: Apt, missing: &[Tool]) -> Result<()> {
    let packages: Vec<_> = missing.iter().map(|tool| tool.debian()).collect();
    say(&format!("installing with apt-get: {}", packages.join(" ")));
    // A stale package list is no reason to stop: what is listed may still be installable.
    if let Err(error) = run(apt_get(apt).args(["update", "-q"])) {
        say(&format!("going on with the package lists as they are: {error}"));
    }
    run(apt_get(apt).args(["install", "-q", "-y", "--no-install-recommends"]).args(packages))
}

fn apt_get(apt: Apt) -> Command {
    let mut command = match apt {
        Apt::AsRoot => Command::new("env"),
        Apt::ThroughSudo => {
            let mut sudo = Command::new("sudo");
            sudo.arg("env");
            sudo
        }
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}

/// What to type on each system, for people whose system this program does not touch.
fn advice(missing: &[Tool]) -> String {
    let line = |name: fn(Tool) -> &'static str| {
        let mut packages: Vec<_> = missing.iter().map(|tool| name(*tool)).collect();
        packages.dedup();
        packages.join(" ")
    };
    let path = if missing.contains(&Tool::Clang) {
        " (and put \"$(brew --prefix llvm)/bin\" first in PATH: Apple's clang has no wasm32)"
    } else {
        ""
    };
    format!(
        "Install what is missing, then try again:\n  \
         Debian, Ubuntu: sudo apt-get update && sudo apt-get install {}\n  \
         Fedora:         sudo dnf install {}\n  \
         Arch:           sudo pacman -S {}\n  \
         macOS:          brew install {}{path}",
        line(Tool::debian),
        line(Tool::fedora),
        line(Tool::arch),
        line(Tool::macos),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_absent_is_missing() {
        let wanted = [Tool::Clang, Tool::Chromium, Tool::Firefox];
        assert_eq!(missing(&wanted, |tool| tool == Tool::Chromium), [Tool::Clang, Tool::Firefox]);
        assert!(missing(&wanted, |_| true).is_empty());
    }

    #[test]
    fn the_browser_that_is_found_is_the_one_that_is_started() {
        let chrome_only = |name: &str| (name == "google-chrome").then(|| PathBuf::from("/somewhere/google-chrome"));
        assert_eq!(CHROMIUM.of(None, chrome_only), Some("/somewhere/google-chrome".into()));
        assert_eq!(CHROMIUM.of(None, |_| None), None);
        assert_eq!(FIREFOX.of(None, chrome_only), None);
        let here = std::env::current_exe().expect("a path");
        assert_eq!(CHROMIUM.of(Some(here.clone()), chrome_only), Some(here.clone()), "the named one wins");
        assert_eq!(CHROMIUM.of(Some("google-chrome".into()), chrome_only), chrome_only("google-chrome"));
        assert_eq!(CHROMIUM.of(Some(here.join("gone")), chrome_only), None, "a typing error is no other browser");
        let workspace = Workspace::find().expect("a workspace");
        let mut command = Command::new("bench");
        let told = with_browsers(&workspace, &mut command);
        for browser in [CHROMIUM, FIREFOX] {
            let path = told.get_envs().find(|(name, _)| *name == browser.variable).and_then(|(_, path)| path);
            assert_eq!(path.map(PathBuf::from), browser.find(), "{}", browser.variable);
        }
    }

    #[test]
    fn advice_names_each_systems_packages_once() {
        let advice = advice(&[Tool::Chromium, Tool::ChromeDriver, Tool::Firefox]);
        assert!(advice.contains("apt-get install chromium chromium-driver firefox-esr\n"), "{advice}");
        assert!(advice.contains("dnf install chromium chromedriver firefox\n"), "{advice}");
        assert!(advice.contains("pacman -S chromium firefox\n"), "{advice}");
        assert!(!advice.contains("llvm"), "{advice}");
    }
}
