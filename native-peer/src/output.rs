//! What a command prints: lines for people, or one JSON object a line.

use crate::error::CommandError;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    sync::OnceLock,
};

/// The first failure of standard output, of which there is one in a process.
static LOST: OnceLock<String> = OnceLock::new();

/// Where results go: standard output, in one of two forms. Notes and progress for people go to standard error.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    pub fn new(json: bool) -> Self {
        Output { json }
    }

    pub fn is_json(self) -> bool {
        self.json
    }

    /// Prints a result: the JSON object, or the text.
    pub fn print(self, object: &Value, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = if self.json { writeln!(out, "{object}") } else { writeln!(out, "{text}") };
        if let Err(error) = written.and_then(|()| out.flush())
            // A reader that hung up has read what it wanted.
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            let _ = LOST.set(error.to_string());
        }
    }

    /// Why some of what was printed is lost, if it is.
    pub fn lost(self) -> Option<&'static str> {
        LOST.get().map(String::as_str)
    }

    /// Prints something worth knowing that is not the result.
    pub fn note(self, text: &str) {
        if self.json {
            self.print(&json!({"event": "note", "message": text}), "");
        } else {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Prints why the command failed.
    pub fn error(self, error: &CommandError) {
        let (code, _) = error.code();
        // Where a result could not be printed, this would be lost too.
        if self.json && self.lost().is_none() {
            self.print(&json!({"error": {"code": code, "message": error.to_string()}}), "");
        } else {
            let _ = writeln!(std::io::stderr(), "meganet: {error}");
        }
    }

    /// A progress bar over bytes; drawn only for people at a terminal.
    pub fn progress(self, total_bytes: u64, what: &'static str) -> ProgressBar {
        let target = if self.json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(total_bytes), target).with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}") {
            bar.set_style(style);
        }
        bar
    }
}
