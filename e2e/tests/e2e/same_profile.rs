//! Threat 56: two tabs of one profile share one node; when the first closes, the second goes on.

use anyhow::ensure;
use meganet_e2e::{
    app::App,
    folder, scenario,
    wait::{Look, until},
};
use meganet_node::api::Command;

#[test]
fn a_tab_whose_node_stopped_lets_another_tab_lead() {
    scenario::run("stopped-leader", async |scenario| {
        let swarm = scenario.swarm().await?;
        let browser = scenario.browser("reader").await?;
        let first = browser.tab().await?;
        let leader = App::open(&browser, &swarm.url()).await?;
        leader.until_joined().await?;
        let second = browser.new_tab().await?;
        App::open(&browser, &swarm.url()).await?.until_joined().await?;

        browser.switch_to(&first).await?;
        leader.call(&Command::Shutdown).await?;
        leader.until_phase("stopped").await?;
        browser.switch_to(&second).await?;
        until("a node in the second tab", async || {
            let seat = browser.attribute("status", "data-seat").await?;
            Ok(Look::holds(seat.as_deref() == Some("here"), format!("{seat:?}")))
        })
        .await?;
        App::at(&browser).until_joined().await
    });
}

#[test]
fn a_second_tab_uses_the_first_ones_node_and_takes_over() {
    scenario::run("same-profile", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let folder = scenario.dir().join("site");
        folder::write(&folder, &folder::made_up("Read in two tabs", 3, 100_000))?;
        let address = author.commands().publish(&folder).await?.address;

        let browser = scenario.browser("reader").await?;
        let first = browser.tab().await?;
        let app = App::open(&browser, &swarm.link(&address, "")).await?;
        app.until_shown().await?;
        let identity = app.status().await?.peer_id;

        let second = browser.new_tab().await?;
        let app = App::open(&browser, &swarm.link(&address, "")).await?;
        app.until_shown().await?;
        ensure!(app.status().await?.peer_id == identity, "the second tab runs a node of its own");
        app.until_joined().await?;

        browser.switch_to(&first).await?;
        browser.close_tab().await?;
        browser.switch_to(&second).await?;
        app.reload_site().await?;
        app.until_shown().await?;
        app.until_joined().await?;
        ensure!(app.status().await?.peer_id == identity, "another identity after the take-over");
        Ok(())
    });
}
