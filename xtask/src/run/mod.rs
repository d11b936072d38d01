//! `run`: a small swarm on this machine, with the sample sites in it, ready to be opened in a browser.

mod port;
mod process;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use self::process::Process;
use crate::command::say;
use crate::workspace::Workspace;
use crate::{build, command, setup};

/// The sites that are published, as folders of `samples/`.
const SAMPLES: [&str; 2] = ["guide", "gallery"];
/// The bootstrap and the peer must be ready by then, on a slow machine too.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The page can be opened on this machine only, so the peer listens on this machine only.
const PEER_LISTENS: [&str; 4] = [
    "/ip4/127.0.0.1/udp/0/webrtc-direct",
    "/ip4/127.0.0.1/udp/0/quic-v1",
    "/ip4/127.0.0.1/tcp/0",
    "/ip4/127.0.0.1/tcp/0/ws",
];
/// How often the children and the stop signal are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What to start.
#[derive(clap::Args)]
pub struct Options {
    /// Port of the page; the next free one is taken when it is in use
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Where identities, keys and stored chunks are kept between runs [default: target/meganet-run/PORT]
    #[arg(long)]
    data_dir: Option<PathBuf>,
}

/// Builds, starts everything, and returns when Ctrl-C is pressed.
///
/// # Errors
/// When a part does not build, start or go on running; everything that was started is stopped then.
pub fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    setup::ensure(workspace, setup::For::Building)?;
    build::all(workspace)?;

    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        // A second Ctrl-C ends xtask at once; the kernel then ends the children.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let port = port::free_from(options.port)?;
    if port != options.port {
        say(&format!("port {} or a port of its swarm is taken: using {port} (choose with --port)", options.port));
    }
    let default_data = || workspace.target.join("meganet-run").join(port.to_string());
    let data = options.data_dir.clone().unwrap_or_else(default_data);
    let Some(mut swarm) = Swarm::start(workspace, &data, port, &stop)? else { return Ok(()) };
    swarm.watch(&stop)
}

/// Everything that runs. Dropping it stops the peer first, then the bootstrap.
struct Swarm {
    peer: Process,
    bootstrap: Process,
}

impl Swarm {
    /// None when the user stopped it meanwhile.
    fn start(workspace: &Workspace, data: &Path, port: u16, stop: &AtomicBool) -> Result<Option<Self>> {
        let logs = data.join("logs");
        std::fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        say("starting the bootstrap");
        let mut bootstrap = Command::new(workspace.program("meganet-bootstrap"));
        bootstrap.args(["--listen", &format!("127.0.0.1:{port}")]);
        bootstrap.arg("--app-dir").arg(workspace.dist());
        bootstrap.arg("--data-dir").arg(data.join("bootstrap")).arg("--json");
        let mut bootstrap = Process::start("bootstrap", bootstrap, &logs)?;
        if !ready(&mut bootstrap, stop)? {
            return Ok(None);
        }

        say("starting a native peer");
        let contact = format!("http://127.0.0.1:{port}");
        let peer_data = data.join("peer");
        let mut peer = Command::new(workspace.program("meganet"));
        peer.arg("peer").arg("--data-dir").arg(&peer_data).args(["--bootstrap", &contact, "--json"]);
        peer.args(PEER_LISTENS.iter().flat_map(|address| ["--listen", address]));
        let mut peer = Process::start("peer", peer, &logs)?;
        if !ready(&mut peer, stop)? {
            return Ok(None);
        }

        let page = format!("http://meganet.localhost:{port}/");
        let mut lines = format!("\nMegaNet runs. Open it in a browser:\n\n  {page}\n\nand in it these sites:\n\n");
        for name in SAMPLES {
            let folder = workspace.root.join("samples").join(name);
            say(&format!("publishing samples/{name}"));
            let mut publish = publishing(Command::new(workspace.program("meganet")), name, &folder, &peer_data);
            publish.args(["--bootstrap", &contact, "--page", &page, "--json"]);
            let Some(link) = published(&mut publish, stop)? else { return Ok(None) };
            lines.push_str(&format!("  {name:8} {link}\n"));
        }
        let meganet = workspace.program("meganet");
        lines.push_str(&format!(
            "\nPublish a folder of yours: {} publish FOLDER --data-dir {} --page {page}\nLogs: {}\nCtrl-C stops everything.\n",
            relative(&meganet, &workspace.root).display(),
            relative(&peer_data, &workspace.root).display(),
            relative(&logs, &workspace.root).display()
        ));
        println!("{lines}");
        Ok(Some(Self { peer, bootstrap }))
    }

    /// Returns when `stop` is set, or fails when a child ends by itself.
    fn watch(&mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            for child in [&mut self.peer, &mut self.bootstrap] {
                child.still_runs()?;
            }
            thread::sleep(LOOK_EVERY);
        }
        say("stopping");
        Ok(())
    }
}

/// `path` as seen from `root`, if it is below it.
fn relative<'a>(path: &'a Path, root: &Path) -> &'a Path {
    path.strip_prefix(root).unwrap_or(path)
}

/// Waits for the child's ready line; false when the user stopped it meanwhile.
fn ready(child: &mut Process, stop: &AtomicBool) -> Result<bool> {
    let mut waited = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        if child.is_ready() {
            return Ok(true);
        }
        child.still_runs()?;
        if waited >= READY_WITHIN {
            bail!("{} is not ready after {READY_WITHIN:?}. {}", child.name(), child.last_lines());
        }
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
    Ok(false)
}

/// `meganet publish` of a sample. The key is named: unnamed, it would refuse the samples of a clone that was moved since,
/// as those of another folder.
fn publishing(mut meganet: Command, name: &str, folder: &Path, data: &Path) -> Command {
    meganet.arg("publish").arg(folder).args(["--key", name]).arg("--data-dir").arg(data);
    meganet
}

/// The link it printed; none when the user stopped it meanwhile. Ctrl-C in a terminal reaches it too, so it has failed
/// then, and that is nothing to report.
fn published(publish: &mut Command, stop: &AtomicBool) -> Result<Option<String>> {
    let output = publish.output().context("cannot start meganet publish")?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    link_in(&output, publish).map(Some)
}

/// The link in what `meganet publish --json` printed.
fn link_in(output: &std::process::Output, command: &Command) -> Result<String> {
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "failed ({}): {}\n{printed}{}",
        output.status,
        command::shown(command),
        String::from_utf8_lossy(&output.stderr)
    );
    printed
        .lines()
        .rev()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find_map(|line| Some(line["link"].as_str()?.to_owned()))
        .with_context(|| format!("meganet publish printed no link:\n{printed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_published_by_the_name_of_their_key() {
        let command = publishing(Command::new("meganet"), "guide", Path::new("moved/guide"), Path::new("data"));
        assert_eq!(command::shown(&command), "meganet publish moved/guide --key guide --data-dir data");
    }

    #[test]
    #[cfg(unix)]
    fn a_publication_that_was_stopped_is_no_failure() {
        let sh = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let stop = AtomicBool::new(false);
        let link = published(&mut sh(r#"echo '{"link":"http://x/"}'"#), &stop).expect("it prints a link");
        assert_eq!(link.as_deref(), Some("http://x/"));
        let error = published(&mut sh("echo why >&2; exit 130"), &stop).expect_err("nobody stopped it");
        assert!(error.to_string().contains("why"), "{error}");
        stop.store(true, Ordering::Relaxed);
        assert_eq!(published(&mut sh("exit 130"), &stop).expect("it was stopped"), None);
    }
}
