//! Child processes that end with the test, whatever happens to it.

use crate::wait::{Look, until};
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde::de::DeserializeOwned;
use std::{
    ffi::OsStr,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

/// How much of a log is quoted in a failure.
const LOG_TAIL_BYTES: usize = 3_000;

/// A running child. Killed when dropped, and by the kernel when the thread that started it ends without dropping it
/// (`setpriv --pdeathsig`, so that no unsafe code is needed here).
pub struct Process {
    name: String,
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts `program`, its output going to `NAME.out` and `NAME.err` in `log_dir`.
    pub fn start(
        name: &str,
        log_dir: &Path,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self> {
        Self::start_with(name, log_dir, program, arguments, Stdio::null())
    }

    /// The same, with its standard input kept open for [`Process::tell`].
    pub fn start_listening(
        name: &str,
        log_dir: &Path,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Self> {
        Self::start_with(name, log_dir, program, arguments, Stdio::piped())
    }

    fn start_with(
        name: &str,
        log_dir: &Path,
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        stdin: Stdio,
    ) -> Result<Self> {
        let stdout = unused_path(log_dir, name);
        let stderr = stdout.with_extension("err");
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .env("RUST_BACKTRACE", "1")
            .stdin(stdin)
            .stdout(File::create(&stdout)?)
            .stderr(File::create(&stderr)?)
            .spawn()
            .with_context(|| format!("cannot start {name} ({}) through setpriv of util-linux", program.display()))?;
        Ok(Self { name: name.to_owned(), child, stdout, stderr })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("its input is closed")?;
        writeln!(stdin, "{line}").with_context(|| format!("{} does not listen", self.name))
    }

    /// Everything it printed so far.
    pub fn stdout(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.stdout)?).into_owned())
    }

    /// The end of what it wrote to its error output.
    pub fn stderr_tail(&self) -> String {
        tail(&self.stderr)
    }

    /// Waits for the first whole line of output that `pick` takes.
    pub async fn line<T>(&mut self, what: &str, pick: impl Fn(&str) -> Option<T>) -> Result<T> {
        until(&format!("{what} from {}", self.name), async || {
            let status = self.child.try_wait()?;
            let output = self.stdout()?;
            let whole = output.rfind('\n').map_or("", |end| &output[..end]);
            Ok(match (whole.lines().find_map(&pick), status) {
                (Some(found), _) => Look::Yes(found),
                (None, None) => Look::NotYet(format!("output: {output}")),
                (None, Some(status)) => {
                    Look::Never(format!("it ended with {status}. Output: {output}\n{}", self.stderr_tail()))
                }
            })
        })
        .await
    }

    /// Waits for the first line that is JSON of this form.
    pub async fn json_line<T: DeserializeOwned>(&mut self, what: &str) -> Result<T> {
        self.line(what, |line| serde_json::from_str(line).ok()).await
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        until(&format!("the end of {}", self.name), async || {
            Ok(match self.child.try_wait()? {
                Some(status) => Look::Yes(status),
                None => Look::NotYet("still running".to_owned()),
            })
        })
        .await
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal to this process alone.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        ensure!(self.is_running()?, "{} has ended already", self.name);
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else {
            bail!("{} has no process id", self.name)
        };
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of a text file.
pub fn tail(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
}

/// `NAME.out` in a directory, with a number when a process of this name ran before.
fn unused_path(dir: &Path, name: &str) -> PathBuf {
    let first = dir.join(format!("{name}.out"));
    if !first.exists() {
        return first;
    }
    (2_u32..).map(|number| dir.join(format!("{name}-{number}.out"))).find(|path| !path.exists()).unwrap_or(first)
}
