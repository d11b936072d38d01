//! Tabs without a server: they met through one, and go on without it.

use anyhow::{Result, ensure};
use meganet_e2e::{
    app::App,
    authored::Authored,
    browser::Browser,
    folder, scenario,
    test_peer::{Kind::Ours, TestPeer, pages},
    wait::{Look, until},
};
use serde_json::{Value, json};
use std::{rc::Rc, time::Instant};

const TABS: usize = 5;

/// Peers of the other tabs that this one is directly connected to.
async fn neighbours(app: &App<'_>, tabs: &[String]) -> Result<Vec<String>> {
    let peers = app.status().await?.peers;
    Ok(peers
        .into_iter()
        .filter(|peer| !peer.relayed && tabs.contains(&peer.peer_id))
        .map(|peer| peer.peer_id)
        .collect())
}

#[test]
fn five_tabs_keep_exchanging_a_site_when_every_server_is_gone() {
    scenario::run("no-server", async |scenario| {
        let mut swarm = scenario.swarm().await?;
        let native = swarm.peer("native").await?;
        let mut browsers: Vec<Rc<Browser>> = Vec::new();
        for number in 0..TABS {
            browsers.push(scenario.browser(&format!("tab{number}")).await?);
        }
        let mut tabs = Vec::new();
        for browser in &browsers {
            let app = App::open(browser, &swarm.url()).await?;
            app.until_joined().await?;
            browser.click("consent-share").await?;
            tabs.push(app.status().await?.peer_id);
        }
        let mut site = Authored::new()?;
        let files = folder::made_up("First version", 11, 400_000);
        let author = App::at(&browsers[0]);
        site.publish(&author, "First version", &files).await?;
        for browser in &browsers[1..] {
            let app = App::at(browser);
            app.enter_address(&site.address().to_string()).await?;
            app.until_shown().await?;
            let sources = app.site(site.address()).await?.sources;
            ensure!(sources.iter().all(|source| tabs.contains(&source.peer_id)), "a tab serves a tab: {sources:?}");
        }
        for (browser, own) in browsers.iter().zip(&tabs) {
            until("two neighbours", async || {
                let there = neighbours(&App::at(browser), &tabs).await?;
                Ok(Look::holds(there.len() >= 2, format!("{own} has {there:?}")))
            })
            .await?;
        }
        native.commands().get(&site.address(), &scenario.dir().join("native-copy")).await?;
        native.kill();
        swarm.kill_bootstrap();

        let files = folder::made_up("Second version", 12, 400_000);
        let published = Instant::now();
        let sequence = site.publish(&author, "Second version", &files).await?;
        futures::future::try_join_all(browsers.iter().map(async |browser| {
            let app = App::at(browser);
            until("the update", async || {
                let seen = app.site(site.address()).await?.sequence;
                Ok(Look::holds(seen == sequence, format!("version {seen}")))
            })
            .await
        }))
        .await?;
        eprintln!("the update reached all after {:.1} s", published.elapsed().as_secs_f64());
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        let expected = folder::hashes(&files);
        for browser in &browsers[1..] {
            let read = App::at(browser).read_hashes(site.address(), &paths).await?;
            ensure!(read == expected, "another content");
        }
        // The author goes; the last one to have read it is enough.
        browsers[0].goto("about:blank").await?;
        let app = App::at(&browsers[1]);
        until("the author's end", async || {
            let there = neighbours(&app, &tabs[..1]).await?;
            Ok(Look::holds(there.is_empty(), format!("{there:?}")))
        })
        .await?;
        ensure!(!neighbours(&app, &tabs).await?.is_empty(), "the others are still there");
        Ok(())
    });
}

#[test]
fn two_tabs_meet_through_a_third_when_no_server_is_left() {
    scenario::run("no-server-third", async |scenario| {
        let pages = pages(scenario.dir()).await?;
        let listen = json!({ "listen": ["/ip4/127.0.0.1/udp/0/webrtc-direct"], "is_relay": true });
        let server = TestPeer::process(scenario.dir(), Ours, listen).await?;
        let relay = server.address("webrtc-direct")?;
        let names = ["middle", "one", "other"];
        let mut browsers = Vec::new();
        for name in names {
            browsers.push(scenario.browser(name).await?);
        }
        let through = json!({ "relay": relay, "is_relay": true });
        let middle = TestPeer::in_tab(&browsers[0], &pages, Ours, through).await?;
        let one = TestPeer::in_tab(&browsers[1], &pages, Ours, Value::Null).await?;
        let other = TestPeer::in_tab(&browsers[2], &pages, Ours, Value::Null).await?;
        let address = middle.address("/webrtc/")?;
        for tab in [&one, &other] {
            tab.dial(&address).await?;
        }
        drop(server);
        let tab = format!("/webrtc/p2p/{}", middle.id);
        let _: Value = other.call("reserve", &[json!(tab)]).await?;
        one.dial(&format!("{tab}/p2p-circuit/webrtc/p2p/{}", other.id)).await?;
        ensure!(one.echo(&other.id, 1 << 20).await?, "no echo");
        ensure!(other.echo(&one.id, 1 << 20).await?, "no echo");
        Ok(())
    });
}
