//! A child process that ends with us, whose output is kept, and whose last lines are shown when it dies.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Lines of a child's output, and as many of its errors, that are quoted when it dies.
const QUOTED_LINES: usize = 20;
/// A longer line is cut; nothing a child prints can fill our memory.
const LINE_MAX_BYTES: u64 = 8 * 1024;
/// A child that was asked to end is killed after this.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// One running child.
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    seen: Arc<Seen>,
}

/// What the child said so far.
#[derive(Default)]
struct Seen {
    ready: AtomicBool,
    /// Of output and of errors: a flood of the one must not hide the other.
    last_lines: [Mutex<VecDeque<String>>; 2],
}

impl Process {
    /// Starts `command` with its output in `LOGS/NAME.log`.
    pub fn start(name: &'static str, mut command: Command, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = Arc::new(File::create(&log).with_context(|| format!("cannot write {}", log.display()))?);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        end_with_us(&mut command);
        own_group(&mut command);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let seen = Arc::new(Seen::default());
        let outputs: [Option<Box<dyn Read + Send>>; 2] =
            [child.stdout.take().map(|it| Box::new(it) as _), child.stderr.take().map(|it| Box::new(it) as _)];
        for (which, output) in outputs.into_iter().enumerate() {
            let (seen, file) = (Arc::clone(&seen), Arc::clone(&file));
            thread::spawn(move || follow(output, &file, &seen.ready, &seen.last_lines[which]));
        }
        Ok(Self { name, child, log, seen })
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        self.name
    }

    /// Whether it has printed its ready line: a JSON object with its peer id.
    pub fn is_ready(&self) -> bool {
        self.seen.ready.load(Ordering::Relaxed)
    }

    /// # Errors
    /// When it has ended; the error quotes its last lines.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended by itself ({status}). {}", self.name, self.last_lines()),
        }
    }

    /// The end of its output and where the rest is.
    pub fn last_lines(&self) -> String {
        let mut text = format!("The last it said (all of it: {}):", self.log.display());
        for lines in &self.seen.last_lines {
            for line in lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                text.push_str("\n  ");
                text.push_str(line);
            }
        }
        text
    }

    fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let deadline = Instant::now() + STOP_WITHIN;
        ask_to_end(&self.child);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        // These fail only when it has just ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Copies a child's output into its log until the child ends.
fn follow(output: Option<impl Read>, mut log: &File, ready: &AtomicBool, last: &Mutex<VecDeque<String>>) {
    let Some(output) = output else { return };
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output).take(LINE_MAX_BYTES).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // A full disk must not stop the child from being read.
        let _ = log.write_all(&line);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if serde_json::from_str::<Value>(text).is_ok_and(|line| line["peer_id"].is_string()) {
            ready.store(true, Ordering::Relaxed);
        }
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == QUOTED_LINES {
            last.pop_front();
        }
        last.push_back(text.to_owned());
    }
}

/// The kernel ends the child when we are gone, even when we were killed without a chance to do it. It watches the thread
/// that spawned the child: our main thread.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the standard library offers no safe way to run one system call before exec")]
fn end_with_us(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    use rustix::process::{Signal, getppid, set_parent_process_death_signal};

    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec the closure makes two system calls and touches no memory of the parent's other threads.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // We may have died before the call above.
            if getppid() == Some(parent) { Ok(()) } else { Err(std::io::ErrorKind::BrokenPipe.into()) }
        });
    }
}

/// Elsewhere `Drop` does it, as long as we are not killed outright.
#[cfg(not(target_os = "linux"))]
fn end_with_us(_command: &mut Command) {}

/// Ctrl-C in a terminal reaches a whole process group. The children are not in ours, so that we end them in order and a
/// child that ended by itself is told from one that was interrupted.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    use std::os::unix::process::CommandExt;

    command.process_group(0);
}

#[cfg(not(unix))]
fn own_group(_command: &mut Command) {}

#[cfg(unix)]
fn ask_to_end(child: &Child) {
    use rustix::process::{Pid, Signal, kill_process};

    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Fails only when it has just ended.
        let _ = kill_process(pid, Signal::TERM);
    }
}

#[cfg(not(unix))]
fn ask_to_end(_child: &Child) {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str, logs: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("child", command, logs).expect("sh starts")
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !done() {
            assert!(Instant::now() < deadline, "never: {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_dead_child_is_noticed_with_its_last_lines() {
        let logs = tempfile::tempdir().expect("a folder");
        let mut child = shell("for i in $(seq 50); do echo line $i; done; echo broken >&2; exit 3", logs.path());
        until("the end", || child.still_runs().is_err());
        until("its words", || child.last_lines().contains("broken"));
        let error = child.still_runs().expect_err("it has ended").to_string();
        assert!(error.contains("child has ended by itself (exit status: 3)"), "{error}");
        assert!(error.contains("line 50") && !error.contains("line 30\n"), "{error}");
    }

    #[test]
    fn ready_is_a_json_line_with_a_peer_id() {
        let logs = tempfile::tempdir().expect("a folder");
        let child = shell("echo starting; sleep 600", logs.path());
        until("output", || child.last_lines().contains("starting"));
        assert!(!child.is_ready());
        let child = shell(r#"echo '{"event":"ready","peer_id":"12D3"}'; sleep 600"#, logs.path());
        until("ready", || child.is_ready());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_ends_a_child_whose_parent_is_gone() {
        let logs = tempfile::tempdir().expect("a folder");
        let folder = logs.path().to_path_buf();
        // The end of the thread that spawned stands for the end of the process.
        let child = thread::spawn(move || shell("echo up; exec sleep 600", &folder)).join().expect("it starts");
        let mut child = std::mem::ManuallyDrop::new(child);
        until("the end", || child.still_runs().is_err());
    }

    #[test]
    fn dropping_ends_a_child_that_listens_and_one_that_does_not() {
        let logs = tempfile::tempdir().expect("a folder");
        for script in ["echo up; exec sleep 600", "trap '' TERM; echo up; while :; do sleep 0.1; done"] {
            let child = shell(script, logs.path());
            until("output", || child.last_lines().contains("up"));
            let pid = rustix::process::Pid::from_raw(i32::try_from(child.child.id()).expect("a pid")).expect("a pid");
            drop(child);
            assert!(rustix::process::test_kill_process(pid).is_err(), "still there: {script}");
        }
    }
}
