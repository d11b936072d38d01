//! The command line: arguments, and what each command does with them.

use crate::{
    bootstrap::Bootstrap,
    client::{Client, LocalOptions, Network},
    daemon::{self, PeerOptions},
    data_dir::DataDir,
    error::CommandError,
    get::{self, Download},
    output::Output,
    publish::{self, Outcome, Publication},
    sealed_key, secrets, show,
    site_keys::{self, KeyChoice, Signer},
    text,
};
use clap::{Args, Parser, Subcommand};
use libp2p::Multiaddr;
use meganet_core::address::{Address, Link};
use meganet_core::keys::SiteKey;
use meganet_host::files::{self, FileError};
use serde_json::json;
use std::{
    future::Future,
    io::{self, IsTerminal, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use zeroize::Zeroizing;

/// How long work that cannot be interrupted (one file, one sync) may take after Ctrl-C.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// A file a passphrase or a sealed key is read from has at most this many bytes.
const INPUT_MAX_BYTES: u64 = 64 * 1024;

const EXAMPLES: &str = "\
Examples:
  meganet peer --bootstrap https://example.org/
  meganet publish ./my-site
  meganet get ADDRESS ./copy
  meganet --json status

Exit status:
  0 done            3 not found                     6 storage failed or is full
  1 other failure   4 found, but nobody serves it   7 the data directory is in use
  2 wrong usage     5 the input was refused         8 not connected to any peer
                    9 the site was updated while  130 interrupted
                      it was fetched

With --json each line of the output is one JSON object; a failure is {\"error\":{\"code\":…,\"message\":…}}.
MEGANET_LOG sets what is logged to standard error, for example MEGANET_LOG=meganet_node=debug.";

const PEER_EXAMPLES: &str = "\
Examples:
  meganet peer
  meganet peer --bootstrap https://example.org/ --quota 50G
  meganet peer --relay-content 10G
  meganet peer --listen /ip4/0.0.0.0/udp/0/quic-v1 --external /ip4/203.0.113.7/udp/4801/quic-v1";

const PUBLISH_EXAMPLES: &str = "\
Examples:
  meganet publish ./my-site
  meganet publish ./my-site --key blog --title 'My blog'
  meganet publish ./build --index main.html --page https://example.org/

The folder is published as it is: symbolic links, pipes and names that not every system can keep are refused, and so is
a folder that changes meanwhile. The version before stays until the new one is whole. An unchanged folder is announced
again as it is.

Every version of a site has a number of its own: two versions with one number look as if the key were stolen. So when a
key that may have signed before is used where no version is stored and no peer can be asked, nothing is signed unless
--sequence says the number; --sequence 1 is right for a first version only.";

const GET_EXAMPLES: &str = "\
Examples:
  meganet get ADDRESS ./copy
  meganet get 'https://example.org/#/ADDRESS/chapter/one.html' ./one
  meganet get ADDRESS ./copy --path style.css --force";

#[derive(Parser)]
#[command(name = "meganet", version, about = "A web without servers: publish, keep and fetch sites", after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    action: Action,
}

#[derive(Args)]
struct Common {
    /// Where identity, keys and stored sites are [default: the XDG data directory's meganet]
    #[arg(long, global = true, env = "MEGANET_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long, global = true)]
    json: bool,
    /// First contact: a page (https://HOST/) or a peer (/ip4/…/p2p/PEER); may be given several times
    #[arg(long, global = true, env = "MEGANET_BOOTSTRAP", value_name = "URL|MULTIADDR", value_delimiter = ',')]
    bootstrap: Vec<Bootstrap>,
    /// Bytes of other people's sites to keep: 500M, 20G [default: what `peer` was given last, at first 20G]
    #[arg(long, global = true, env = "MEGANET_QUOTA", value_name = "SIZE", value_parser = parse_size)]
    quota: Option<u64>,
}

#[derive(Subcommand)]
enum Action {
    /// Run a peer: keep sites, serve them, relay for tabs
    #[command(after_help = PEER_EXAMPLES)]
    Peer(PeerArgs),
    /// Publish a folder, or a new version of it
    #[command(after_help = PUBLISH_EXAMPLES)]
    Publish(PublishArgs),
    /// Fetch a site, or one file of it, into a folder
    #[command(after_help = GET_EXAMPLES)]
    Get(GetArgs),
    /// Show the peer's state
    Status,
    /// List the sites stored here
    Sites,
    /// Ask who provides a site
    Providers { site: Link },
    /// Show a site's current version: number, time, hash, and the hash of the version before
    Head { site: Link },
    /// List, back up and restore site keys
    #[command(subcommand)]
    Key(KeyAction),
}

#[derive(Args)]
struct PeerArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "MULTIADDR", value_delimiter = ',', default_values = [
        "/ip4/0.0.0.0/udp/4801/quic-v1", "/ip4/0.0.0.0/tcp/4801", "/ip4/0.0.0.0/udp/4802/webrtc-direct",
        "/ip4/0.0.0.0/tcp/4802/ws",
    ])]
    listen: Vec<Multiaddr>,
    /// An address others reach this peer at, when it cannot know it itself
    #[arg(long, value_name = "MULTIADDR", value_delimiter = ',')]
    external: Vec<Multiaddr>,
    /// The TLS certificate for listeners on wss (PEM, with those that vouch for it); needs --tls-key
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// Its private key (PEM, PKCS#8)
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
    /// STUN servers that tell this peer how it looks from outside, IP:PORT; unless some are given, native peers that it is
    /// connected to
    #[arg(long, value_name = "IP:PORT", value_delimiter = ',')]
    stun: Vec<SocketAddr>,
    /// Carry so much content an hour over this peer's relay, between peers that find no direct path: 1G. A circuit carries up
    /// to 16 MiB, and each one granted counts as that, also one that is used for signalling only: give it much, for when the
    /// hour's circuits are used up it signals for nobody either. One peer gets half of them at most [default: none: the relay carries signalling, 128 KiB a circuit]
    #[arg(long, env = "MEGANET_RELAY_CONTENT", value_name = "SIZE", value_parser = parse_size)]
    relay_content: Option<u64>,
}

#[derive(Args)]
struct PublishArgs {
    /// The folder
    folder: PathBuf,
    /// Name of the site key; made at the first use [default: the folder's name]
    #[arg(long, value_name = "NAME", conflicts_with = "key_file")]
    key: Option<String>,
    /// The site key's file; made at the first use
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Title [default: the entry page's]
    #[arg(long)]
    title: Option<String>,
    /// Entry page [default: index.html if there is one]
    #[arg(long, value_name = "PATH")]
    index: Option<String>,
    /// Version number to sign, at most 2^32 above the current [default: one more than the current]
    #[arg(long, value_name = "N")]
    sequence: Option<u64>,
    /// Sign a new version even if nothing changed
    #[arg(long)]
    force: bool,
    /// Publish names that usually hold secrets or history (.git, .env*, .ssh, id_rsa, …) too
    #[arg(long)]
    include_private: bool,
    /// The page that links should open in
    #[arg(long, value_name = "URL", env = "MEGANET_PAGE", default_value = "http://meganet.localhost:8080/")]
    page: String,
}

#[derive(Args)]
struct GetArgs {
    /// An address or a link
    site: Link,
    /// Where to write [default: a new folder named like the address]
    folder: Option<PathBuf>,
    /// One file of the site [default: the link's, else all]
    #[arg(long)]
    path: Option<String>,
    /// Write into a folder that is not empty, over files of the same name
    #[arg(long)]
    force: bool,
    /// Fetch the site even if it is over the size that is fetched without asking
    #[arg(long)]
    large: bool,
}

#[derive(Subcommand)]
enum KeyAction {
    /// List the keys and the addresses they publish
    List,
    /// Write a key to a file, sealed with a passphrase
    Export {
        name: String,
        file: PathBuf,
        #[command(flatten)]
        passphrase: Passphrase,
    },
    /// Take a key from a file that `export` wrote
    Import {
        file: PathBuf,
        /// Name to keep it under
        #[arg(long)]
        name: String,
        #[command(flatten)]
        passphrase: Passphrase,
    },
}

#[derive(Args)]
struct Passphrase {
    /// File whose first line is the passphrase (or set MEGANET_PASSPHRASE)
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.common.json);
    log();
    let result = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let result = runtime.block_on(run(cli, output));
            runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
            result
        }
        Err(error) => Err(CommandError::Other(format!("the runtime could not start: {error}"))),
    };
    match result.and_then(|()| output.lost().map_or(Ok(()), |reason| Err(CommandError::OutputLost(reason.into())))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&error);
            ExitCode::from(error.code().1)
        }
    }
}

fn usage(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let error = CommandError::Usage(error.to_string().trim().to_owned());
        Output::new(true).error(&error);
        return ExitCode::from(error.code().1);
    }
    match error.print() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return ExitCode::from(crate::error::exit::OTHER),
        _ => {}
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(crate::error::exit::USAGE))
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MEGANET_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}

async fn run(cli: Cli, output: Output) -> Result<(), CommandError> {
    let Cli { common, action } = cli;
    // What only looks makes nothing: a directory that was mistyped is to be noticed.
    let directory = match &action {
        Action::Status | Action::Sites | Action::Providers { .. } | Action::Head { .. } => {
            DataDir::of_node(common.data_dir)?
        }
        Action::Key(KeyAction::List | KeyAction::Export { .. }) => DataDir::existing(common.data_dir)?,
        _ => DataDir::open(common.data_dir)?,
    };
    if let Action::Peer(PeerArgs { listen, external, tls_certificate, tls_key, stun, relay_content }) = action {
        let tls = tls_certificate.zip(tls_key);
        let (bootstrap, quota_bytes) = (common.bootstrap, common.quota);
        let options = PeerOptions { listen, external, tls, stun, relay_content, bootstrap, quota_bytes };
        return daemon::run(&directory, options, output).await;
    }
    let options = LocalOptions { bootstrap: common.bootstrap, quota_bytes: common.quota };
    let node = Access { directory: &directory, options: &options, output };
    interruptible(async {
        match action {
            Action::Peer(_) => Ok(()),
            Action::Publish(arguments) => publish_folder(&node, arguments).await,
            Action::Get(arguments) => get_site(&node, arguments).await,
            Action::Status => {
                let client = node.connect(Network::Unneeded).await?;
                finish(show::status(&client, directory.path(), output).await, client).await
            }
            Action::Sites => {
                let client = node.connect(Network::Unneeded).await?;
                finish(show::sites(&client, output).await, client).await
            }
            Action::Providers { site } => {
                let client = node.connect(Network::Joined).await?;
                finish(show::providers(&client, site.address, output).await, client).await
            }
            Action::Head { site } => {
                let client = node.connect(Network::Joined).await?;
                finish(show::head(&client, site.address, output).await, client).await
            }
            // It may wait for a pipe that a passphrase comes from: a signal ends the command all the same.
            Action::Key(action) => {
                let directory = directory.clone();
                let work = tokio::task::spawn_blocking(move || keys(&directory, action, output));
                work.await.map_err(|_| CommandError::Interrupted)?
            }
        }
    })
    .await
}

/// How a command reaches a node.
struct Access<'a> {
    directory: &'a DataDir,
    options: &'a LocalOptions,
    output: Output,
}

impl Access<'_> {
    async fn connect(&self, network: Network) -> Result<Client, CommandError> {
        Client::connect(self.directory, self.options, network, self.output).await
    }
}

/// Ends the client, then hands the result on.
async fn finish<T>(result: Result<T, CommandError>, client: Client) -> Result<T, CommandError> {
    client.close().await;
    result
}

/// Drops the work at Ctrl-C or SIGTERM; what it was writing is taken back.
async fn interruptible(work: impl Future<Output = Result<(), CommandError>>) -> Result<(), CommandError> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|error| CommandError::Other(format!("signals: {error}")));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => Err(CommandError::Interrupted),
        _ = terminate.recv() => Err(CommandError::Interrupted),
    }
}

async fn publish_folder(node: &Access<'_>, arguments: PublishArgs) -> Result<(), CommandError> {
    let output = node.output;
    let publication = Publication {
        folder: arguments.folder,
        title: arguments.title,
        index: arguments.index,
        sequence: arguments.sequence,
        force: arguments.force,
        include_private: arguments.include_private,
    };
    // The folder is looked at before a key is made for it or a node started.
    let prepared = publish::prepare(&publication).await?;
    let choice = KeyChoice::new(node.directory, &publication.folder, arguments.key, arguments.key_file)?;
    let signer = choice.signer()?;
    let client = node.connect(Network::Joined).await?;
    let local = client.is_local();
    let bar = output.progress(0, "sealing");
    let result = publish::publish(&client, &signer, &publication, prepared, &bar).await;
    bar.finish_and_clear();
    let outcome = finish(result, client).await?;
    report_published(&outcome, &signer, local, &arguments.page, output);
    // It names another folder when the user gave a key that published that one; the site is published all the same.
    if let Err(error) = choice.remember_folder() {
        output.note(&format!("The folder could not be noted as the key's: {error}"));
    }
    Ok(())
}

fn report_published(outcome: &Outcome, signer: &Signer, local: bool, page: &str, output: Output) {
    let link = Link { address: outcome.address, path: String::new() };
    let (page_link, scheme_link) = (link.to_page(page), link.to_scheme());
    let chunks = outcome.chunks;
    let object = json!({
        "event": if outcome.unchanged { "unchanged" } else { "published" },
        "address": outcome.address, "link": page_link, "scheme_link": scheme_link, "title": outcome.title,
        "index": outcome.index, "sequence": outcome.sequence, "previous_sequence": outcome.previous,
        "head": outcome.head_hash, "files": outcome.files, "bytes": outcome.bytes,
        "chunks": {"total": chunks.total, "new": chunks.new, "new_bytes": chunks.new_bytes},
        "stored_on": outcome.stored_on, "served": !local, "key_file": text::path(&signer.path), "key_created": signer.created,
    });
    let what = if outcome.unchanged { "nothing changed since version" } else { "published version" };
    let mut lines = format!(
        "{what} {} of “{}”: {} files, {}; {} of {} chunks were new\naddress  {}\nlink     {page_link}\n         {scheme_link}",
        outcome.sequence,
        text::printable(&outcome.title, 80),
        outcome.files,
        text::bytes(outcome.bytes),
        chunks.new,
        chunks.total,
        outcome.address,
    );
    if signer.created {
        lines.push_str(&format!(
            "\nkey      {}\n         made just now: whoever has it can replace the site, and without it you cannot. Back it up",
            signer.path.display()
        ));
    }
    output.print(&object, &lines);
    if local {
        output.note("Nobody serves this site yet: it is stored here, and `meganet peer` serves it while it runs.");
    } else if outcome.stored_on == 0 {
        output.note("No other peer was reachable: the running peer announces the site again later.");
    }
}

async fn get_site(node: &Access<'_>, arguments: GetArgs) -> Result<(), CommandError> {
    let output = node.output;
    let address = arguments.site.address;
    let path = arguments.path.or_else(|| Some(arguments.site.path).filter(|path| !path.is_empty()));
    let download = Download {
        address,
        path,
        into: arguments.folder.unwrap_or_else(|| address.to_string().into()),
        force: arguments.force,
        large: arguments.large,
    };
    let client = node.connect(Network::Joined).await?;
    let bar = output.progress(0, "fetching");
    let result = get::get(&client, &download, &bar).await;
    bar.finish_and_clear();
    let done = finish(result, client).await?;
    let object = json!({
        "event": "fetched", "address": address, "folder": text::path(&done.into), "files": done.files, "bytes": done.bytes,
        "sequence": done.sequence, "title": done.title,
    });
    let text = format!(
        "{} files, {} of version {} of “{}” are in {}",
        done.files,
        text::bytes(done.bytes),
        done.sequence,
        text::printable(&done.title, 80),
        done.into.display()
    );
    output.print(&object, &text);
    Ok(())
}

fn keys(directory: &DataDir, action: KeyAction, output: Output) -> Result<(), CommandError> {
    let print = |name: &str, address: Address, path: &Path| {
        output.print(
            &json!({"event": "key", "name": name, "address": address, "path": text::path(path)}),
            &format!("{name}\n  {address}\n  {}", path.display()),
        );
    };
    match action {
        KeyAction::List => {
            for name in secrets::key_names(&directory.keys())? {
                let path = secrets::key_path(&directory.keys(), &name)?;
                print(&name, stored_key(&path, &name)?.address(), &path);
            }
        }
        KeyAction::Export { name, file, passphrase } => {
            let key = stored_key(&secrets::key_path(&directory.keys(), &name)?, &name)?;
            let sealed = sealed_key::seal(&key, &passphrase.read()?)?;
            site_keys::leaves(directory, &key.address())?;
            files::create_private(&file, sealed.as_bytes())?;
            print(&name, key.address(), &file);
        }
        KeyAction::Import { file, name, passphrase } => {
            let path = secrets::key_path(&directory.keys(), &name)?;
            let key = sealed_key::open(&read_text(&file)?, &passphrase.read()?)?;
            secrets::save_site_key(&path, &key)?;
            print(&name, key.address(), &path);
        }
    }
    Ok(())
}

fn stored_key(path: &Path, name: &str) -> Result<SiteKey, CommandError> {
    secrets::site_key(path)?.ok_or_else(|| secrets::SecretError::NoSuchKey { name: name.to_owned() }.into())
}

impl Passphrase {
    fn read(&self) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        let text = match &self.passphrase_file {
            Some(path) => read_text(path)?,
            None => Zeroizing::new(std::env::var("MEGANET_PASSPHRASE").map_err(|_| {
                CommandError::Usage("a passphrase is needed: give --passphrase-file or set MEGANET_PASSPHRASE".into())
            })?),
        };
        Ok(Zeroizing::new(text.lines().next().unwrap_or_default().as_bytes().to_vec()))
    }
}

fn read_text(path: &Path) -> Result<Zeroizing<String>, CommandError> {
    let mut text = Zeroizing::new(String::new());
    std::fs::File::open(path)
        .and_then(|file| file.take(INPUT_MAX_BYTES).read_to_string(&mut text))
        .map_err(|error| FileError::io(path, &error))?;
    Ok(text)
}

/// `500M`, `20G`, or bytes.
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.strip_prefix(digits).unwrap_or_default();
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err("use a number with K, M, G or T".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "use a number with K, M, G or T".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "this is more than fits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(parse_size("20G"), Ok(20 << 30));
        assert_eq!(parse_size("500mb"), Ok(500 << 20));
        assert_eq!(parse_size("7"), Ok(7));
        assert!(parse_size("").is_err() && parse_size("1X").is_err() && parse_size("99999999999T").is_err());
    }
}
