//! The harness itself: what every other scenario leans on.

use anyhow::ensure;
use meganet_e2e::{
    http,
    process::Process,
    raw_channel, scenario,
    static_server::StaticServer,
    wait::{Look, until},
};
use std::path::Path;

#[test]
fn a_browser_loads_a_page_and_runs_scripts() {
    scenario::run("harness-browser", async |scenario| {
        let server = StaticServer::start(None, Vec::new()).await?;
        ensure!(http::get(&server.url()).await?.status() == 200, "the stand-in does not serve");
        let browser = scenario.browser("tab").await?;
        browser.goto(&server.url()).await?;
        let title: String = browser.run("return document.title;", &[]).await?;
        ensure!(title == "empty", "title {title}");
        let secure: bool = browser.run("return isSecureContext;", &[]).await?;
        ensure!(secure, "meganet.localhost is not a secure context");
        Ok(())
    });
}

#[test]
fn two_tabs_exchange_bytes_over_a_bare_data_channel() {
    scenario::run("harness-channel", async |scenario| {
        let server = StaticServer::start(None, Vec::new()).await?;
        let sender = scenario.browser("sender").await?;
        let receiver = scenario.browser("receiver").await?;
        for browser in [&sender, &receiver] {
            browser.goto(&server.url()).await?;
        }
        let rate = raw_channel::measure(&sender, &receiver, 16 << 20).await?;
        ensure!(rate > 0.0, "no rate");
        eprintln!("{rate:.1} MB/s");
        Ok(())
    });
}

#[test]
fn children_end_with_the_thread_that_forgot_them() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let log_dir = dir.path().to_path_buf();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let forget = move || {
        let program = Path::new("sh");
        let mut process = Process::start("sleeper", &log_dir, program, ["-c", "echo up; exec sleep 1000"])?;
        // Before that it may not have asked the kernel yet.
        runtime()?.block_on(process.line("its first word", |line| (line == "up").then_some(())))?;
        let id = process.id();
        std::mem::forget(process);
        anyhow::Ok(id)
    };
    let id = std::thread::spawn(forget).join().map_err(|_| anyhow::anyhow!("the thread panicked"))??;
    runtime()?.block_on(until("the end of the sleeper", async || {
        // Nobody waits for it: it stays a zombie ("Z") until this process ends.
        let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let ended = state.is_empty() || state.contains(") Z ");
        Ok(Look::holds(ended, state))
    }))
}
