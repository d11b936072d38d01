//! Runs `cargo test` with its output on ours, and keeps the closing line of each suite to repeat it at the very end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, Result, bail};

use super::has_terminal;
use crate::command::{say, shown};

/// Lines that may wait between a test program and the screen.
const QUEUE_LINES: usize = 64;

/// A line, and whether it came on standard error: cargo names suites there, the suites write to standard output.
type Line = (bool, Vec<u8>);

/// Runs `command` and adds the closing line of every suite to `results`.
///
/// # Errors
/// When a test fails, or nothing was tested at all.
pub fn run(command: &mut Command, results: &mut Vec<String>) -> Result<()> {
    run_showing(command, results, |is_error, line| {
        // The check goes on when nobody reads the output any more.
        let _ = if is_error { std::io::stderr().write_all(line) } else { std::io::stdout().write_all(line) };
    })
}

fn run_showing(command: &mut Command, results: &mut Vec<String>, show: impl FnMut(bool, &[u8])) -> Result<()> {
    if has_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let shown = shown(command);
    say(&shown);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start: {shown}"))?;
    let (sender, receiver) = mpsc::sync_channel(QUEUE_LINES);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    if let (Some(out), Some(err)) = (out, err) {
        let other = sender.clone();
        thread::spawn(move || forward(out, false, &sender));
        thread::spawn(move || forward(err, true, &other));
    }
    let closing = collect(receiver, show);
    let status = child.wait()?;
    let is_empty = closing.is_empty();
    results.extend(closing);
    if !status.success() {
        bail!("failed ({status}): {shown}");
    }
    if is_empty {
        bail!("no test ran: {shown}");
    }
    Ok(())
}

fn forward(output: impl Read, is_error: bool, to: &mpsc::SyncSender<Line>) {
    let mut output = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match output.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if to.send((is_error, line)).is_err() {
                    return;
                }
            }
        }
    }
}

/// Shows every line; returns those that close a suite which had tests.
fn collect(lines: impl IntoIterator<Item = Line>, mut show: impl FnMut(bool, &[u8])) -> Vec<String> {
    let mut closing = Vec::new();
    for (is_error, line) in lines {
        show(is_error, &line);
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        let is_empty_suite = text.contains(" 0 passed; 0 failed; 0 ignored;");
        if !is_error && text.starts_with("test result: ") && !is_empty_suite {
            closing.push(text.to_owned());
        }
    }
    closing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_kept_and_everything_is_shown() {
        let lines = [
            (true, "     Running unittests src/lib.rs\n"),
            (false, "test a ... ok\n"),
            (false, "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\n"),
            (false, "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n"),
            (false, "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n"),
        ];
        let mut count = 0;
        let closing = collect(lines.map(|(is_error, line)| (is_error, line.as_bytes().to_vec())), |_, _| count += 1);
        assert_eq!(count, lines.len());
        assert_eq!(closing.len(), 2);
        assert!(closing[0].starts_with("test result: ok. 2 passed"));
        assert!(closing[1].starts_with("test result: FAILED"));
    }

    #[test]
    fn a_failing_or_empty_run_fails() {
        let mut results = Vec::new();
        let script = |text: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", text]);
            command
        };
        run_showing(&mut script("echo 'test result: ok. 1 passed; x'"), &mut results, |_, _| {})
            .expect("one test passed");
        assert_eq!(results, ["test result: ok. 1 passed; x"]);
        run_showing(&mut script("echo 'test result: FAILED. 1 failed'; exit 101"), &mut results, |_, _| {})
            .expect_err("one failed");
        run_showing(&mut script("echo nothing"), &mut results, |_, _| {}).expect_err("none ran");
    }
}
