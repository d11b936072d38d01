//! Nobody knows it, and somebody knows it but nobody serves it: two answers, each in time.

use anyhow::{Result, ensure};
use meganet_core::{address::Address, keys::SiteKey};
use meganet_e2e::{app::App, folder, scenario};
use meganet_node::api::{ApiError, Command};

/// "Not found" is said within this time, by the page's own clock.
const ANSWER_MAX_MS: f64 = 10_000.0;

#[test]
fn an_unknown_address_and_an_unserved_site_are_told_apart() {
    scenario::run("not-found", async |scenario| {
        let swarm = scenario.swarm().await?;
        let _other = swarm.peer("other").await?;
        let author = swarm.peer("author").await?;
        let folder = scenario.dir().join("site");
        folder::write(&folder, &folder::made_up("Gone", 2, 10_000))?;
        let unserved = author.commands().publish(&folder).await?.address;
        author.kill();
        let unknown = SiteKey::from_seed([42; 32]).address();

        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        for (address, code) in [(unknown, "not-found"), (unserved, "nobody-serves")] {
            app.enter_address(&address.to_string()).await?;
            let (shown, text) = app.until_error_of(&address).await?;
            ensure!(shown == code, "{address}: {shown} instead of {code}: {text}");
            ensure!(!text.trim().is_empty(), "{code} without a word");
        }

        let (error, elapsed_ms) = time_to_refusal(&app, unknown).await?;
        ensure!(matches!(error, ApiError::NotFound { asked } if asked > 0), "{error:?}");
        ensure!(elapsed_ms <= ANSWER_MAX_MS, "not found after {elapsed_ms} ms");
        let (error, _) = time_to_refusal(&app, unserved).await?;
        ensure!(matches!(error, ApiError::NobodyServes { sequence: 1, .. }), "{error:?}");
        Ok(())
    });
}

async fn time_to_refusal(app: &App<'_>, address: Address) -> Result<(ApiError, f64)> {
    let before = app.page_clock_ms().await?;
    let answer = app.ask(&Command::OpenSite { address }).await?;
    let elapsed_ms = app.page_clock_ms().await? - before;
    match answer {
        Err(error) => Ok((error, elapsed_ms)),
        Ok(reply) => anyhow::bail!("opened: {reply:?}"),
    }
}
