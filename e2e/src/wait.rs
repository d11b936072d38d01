//! Waiting for a condition, never for a time.

use anyhow::{Result, bail};
use std::time::Duration;

/// How long a test waits for anything before it fails. It bounds a hang; no test asserts a duration with it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What one look at a condition found.
pub enum Look<T> {
    Yes(T),
    /// Not yet, and what was there instead (for the failure's text).
    NotYet(String),
    /// It cannot come any more, and why.
    Never(String),
}

impl Look<()> {
    /// A look at a plain condition.
    pub fn holds(condition: bool, seen: impl std::fmt::Display) -> Look<()> {
        if condition { Look::Yes(()) } else { Look::NotYet(seen.to_string()) }
    }
}

/// Looks until `condition` gives a value, and gives that. A look that fails (an element that was just replaced) counts as
/// not yet.
///
/// # Errors
/// The condition did not hold within [`PATIENCE`], or cannot any more: what was waited for and what was seen last.
pub async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Result<Look<T>>) -> Result<T> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let seen = match condition().await {
            Ok(Look::Yes(value)) => return Ok(value),
            Ok(Look::NotYet(seen)) => seen,
            Ok(Look::Never(why)) => bail!("waited for {what}: {why}"),
            Err(error) => format!("{error:#}"),
        };
        if tokio::time::Instant::now() >= deadline {
            bail!("waited {} s for {what}; last seen: {seen}", PATIENCE.as_secs());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
