//! First contact that fails: the app says so, tries again, and recovers.

use anyhow::ensure;
use meganet_e2e::{app::App, scenario};

#[test]
fn an_unreachable_bootstrap_is_said_and_recovered_from() {
    scenario::run("bootstrap-gone", async |scenario| {
        let mut swarm = scenario.swarm().await?;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        app.until_kept_offline().await?;

        swarm.kill_bootstrap();
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_phase("offline").await?;
        let said = browser.text("status").await?.unwrap_or_default();
        ensure!(!said.trim().is_empty(), "the status line says nothing");

        swarm.restart_bootstrap().await?;
        app.until_joined().await
    });
}
