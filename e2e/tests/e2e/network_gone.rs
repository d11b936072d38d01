//! What was read opens again with the bootstrap and every peer gone.

use anyhow::ensure;
use meganet_e2e::{app::App, browser::Options, folder, places, scenario};

#[test]
fn a_reload_without_any_network_shows_the_app_and_what_was_read() {
    scenario::run("network-gone", async |scenario| {
        let mut swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let mut sites = Vec::new();
        for sample in ["guide", "gallery"] {
            sites.push((author.commands().publish(&places::sample(sample)).await?.address, sample));
        }
        let options = Options { profile: Some(scenario.dir().join("kept-profile")), ..Options::default() };
        let browser = scenario.browser_with("reader", options.clone()).await?;
        for (address, sample) in &sites {
            let app = App::open(&browser, &swarm.link(address, "")).await?;
            app.until_complete().await?;
            let paths: Vec<String> = folder::read(&places::sample(sample))?.into_keys().collect();
            app.site_hashes(&paths.iter().map(String::as_str).collect::<Vec<_>>()).await?;
        }
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        let identity = app.status().await?.peer_id;
        ensure!(!app.status().await?.memory_only, "nothing would be kept");
        app.until_kept_offline().await?;

        author.kill();
        swarm.kill_bootstrap();

        // First in the running browser, then in one that was started again from the same profile.
        let app = App::open(&browser, &swarm.url()).await?;
        ensure!(app.status().await?.peer_id == identity, "another identity after a reload");
        scenario.quit(browser).await?;
        let browser = scenario.browser_with("again", options).await?;
        for (address, sample) in &sites {
            let app = App::open(&browser, &swarm.link(address, "")).await?;
            app.until_complete().await?;
            let expected = folder::read(&places::sample(sample))?;
            let paths: Vec<&str> = expected.keys().map(String::as_str).collect();
            ensure!(app.site_hashes(&paths).await? == folder::hashes(&expected), "{sample} changed");
        }
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_phase("offline").await?;
        ensure!(app.status().await?.peer_id == identity, "another identity after a restart");
        Ok(())
    });
}
