//! The examples as processes, the way the readme has them run: what it says works.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where it finds a fault"
)]

use std::{env, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Longer than anything takes that goes well: a dial is given up after 40 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program of an example. Cargo puts it beside the folder of the tests' own.
fn example(name: &str) -> Command {
    let test = env::current_exe().unwrap();
    let built = test.parent().unwrap().parent().unwrap().join("examples");
    let program = built.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let shown = program.display();
    assert!(program.is_file(), "{shown} is missing: cargo build -p meganet-transport --examples");
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// An example that runs until this is dropped.
struct Running {
    /// Keeps it alive.
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, lines }
    }

    /// The next line it prints.
    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.lines.next_line()).await.expect("a line in time");
        line.unwrap().expect("it runs")
    }
}

/// Has `dial` speak to the peer at this address.
async fn dial(address: &str) {
    let mut command = example("dial");
    command.arg(address);
    let output = timeout(PATIENCE, command.output()).await.expect("an end in time").unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let (_, peer) = address.rsplit_once('/').unwrap();
    assert_eq!(said, format!("{peer} sent back: hello\n"), "{complained}");
    assert!(output.status.success(), "{complained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_example_does_what_the_readme_says() {
    let mut listen = Running::start(example("listen"));
    let relay = listen.line().await;
    assert!(relay.contains("/webrtc-direct/certhash/"), "{relay}");
    dial(&relay).await;
    assert!(listen.line().await.ends_with(" speaks"));

    let mut command = example("private");
    command.arg(&relay);
    let mut private = Running::start(command);
    let address = private.line().await;
    assert!(address.starts_with(&format!("{relay}/p2p-circuit/webrtc/p2p/")), "{address}");
    dial(&address).await;
    assert!(private.line().await.ends_with(" speaks"));
}
