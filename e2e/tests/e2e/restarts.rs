//! Everything a tab was connected to ends and comes back, at other ports: the tab, left open, goes on by itself.

use anyhow::Result;
use meganet_e2e::{
    app::App,
    browser::Options,
    places,
    scenario::{self, Scenario},
};

#[test]
fn an_open_tab_notices_that_its_peers_are_gone_and_reads_from_them_when_they_are_back() {
    scenario::run("restarts", async |scenario| goes_on(scenario, Options::default()).await);
}

/// An open tab of this browser finds its peers again.
pub async fn goes_on(scenario: &mut Scenario, options: Options) -> Result<()> {
    let mut swarm = scenario.swarm().await?;
    let author = swarm.peer("author").await?;
    let gallery = author.commands().publish(&places::sample("gallery")).await?.address;
    let guide = author.commands().publish(&places::sample("guide")).await?.address;
    let browser = scenario.browser_with("reader", options).await?;
    let app = App::open(&browser, &swarm.link(&gallery, "")).await?;
    app.until_complete().await?;

    swarm.kill_bootstrap();
    drop(author);
    app.until_phase("offline").await?;

    swarm.restart_bootstrap().await?;
    let _author = swarm.peer("author").await?;
    app.until_joined().await?;
    app.enter_address(&guide.to_string()).await?;
    app.until_shown_when(&format!("location.hostname.startsWith('{guide}.')")).await?;
    app.until_complete().await
}
