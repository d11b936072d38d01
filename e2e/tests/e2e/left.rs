//! A page that is left, and one whose browser dies: what the peers it was connected to make of it.

use anyhow::{Result, ensure};
use meganet_e2e::{
    app::App,
    browser::{Browser, Options},
    folder,
    scenario::{self, Scenario},
    swarm::Peer,
    wait::{Look, until},
};
use meganet_node::api::Status;
use serde_json::Value;

/// More than a peer may have connections, so that none of them waits for the peers to give up those that are dead.
const CRASHES: u64 = 10;

#[test]
fn whom_a_page_leaves_is_told() {
    scenario::run("left-page", async |scenario| is_told(scenario, Options::default()).await);
}

#[test]
fn whom_a_page_in_firefox_leaves_is_told() {
    scenario::run("left-firefox", async |scenario| is_told(scenario, Options::firefox()).await);
}

/// Whom a native peer is connected to.
async fn connected(peer: &Peer) -> Result<Vec<String>> {
    let status: Status = peer.commands().run("status", &[]).await?;
    Ok(status.peers.into_iter().map(|peer| peer.peer_id).collect())
}

/// A browser that has read the site and is connected to the author, and who it is there.
async fn reader(
    scenario: &Scenario,
    name: &str,
    options: Options,
    (author, link): (&Peer, &str),
) -> Result<(Browser, String)> {
    let browser = Browser::start(scenario.dir(), name, options).await?;
    let app = App::open(&browser, link).await?;
    app.until_shown().await?;
    let id = app.status().await?.peer_id;
    until("the reader to be connected to the author", async || {
        let there = connected(author).await?;
        Ok(Look::holds(there.contains(&id), format!("{there:?}")))
    })
    .await?;
    Ok((browser, id))
}

/// One browser dies, and after that the page is left in another: the peer knows of the latter first. Chromium dies: when Firefox is
/// killed, its pages sometimes still say goodbye.
async fn is_told(scenario: &mut Scenario, options: Options) -> Result<()> {
    let swarm = scenario.swarm().await?;
    let author = swarm.peer("author").await?;
    let folder = scenario.dir().join("site");
    folder::write(&folder, &folder::made_up("Read and left", 6, 100_000))?;
    let link = swarm.link(&author.commands().publish(&folder).await?.address, "");

    let (dies, dead) = reader(scenario, "dies", Options::default(), (&author, &link)).await?;
    let (leaves, left) = reader(scenario, "leaves", options, (&author, &link)).await?;
    dies.kill();
    // If its peers had to give up a page that was left, they would do so after the one that died.
    for _ in 0..2 {
        App::open(&leaves, &link).await?.until_shown().await?;
    }
    // Chromium, whatever becomes of it, says to the page that it is kept for the back button.
    leaves.goto("about:blank").await?;
    let there = until("the author to know that the page was left", async || {
        let there = connected(&author).await?;
        Ok(if there.contains(&left) { Look::NotYet(format!("{there:?}")) } else { Look::Yes(there) })
    })
    .await?;
    ensure!(there.contains(&dead), "nobody told the author: it gave the page up, as the one that died before");

    // Back there, the page goes on as it began.
    leaves.driver().back().await?;
    let app = App::at(&leaves);
    app.until_joined().await?;
    app.until_shown().await
}

/// The browser keeps the page, and shows it again.
const KEEP: &str = "
    const event = name => window.dispatchEvent(new PageTransitionEvent(name, { persisted: true }));
    event('pagehide');
    event('pageshow');
    return null;";

#[test]
fn a_page_that_was_kept_begins_anew_once_when_it_is_shown_again() {
    scenario::run("left-kept", async |scenario| {
        let swarm = scenario.swarm().await?;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        let identity = app.status().await?.peer_id;
        for _ in 0..2 {
            let origin: f64 = browser.run("return performance.timeOrigin;", &[]).await?;
            browser.run::<Value>(KEEP, &[]).await?;
            until("another page", async || {
                let now: f64 = browser.run("return performance.timeOrigin;", &[]).await?;
                Ok(Look::holds(now > origin, format!("{now} after {origin}")))
            })
            .await?;
            let origin: f64 = browser.run("return performance.timeOrigin;", &[]).await?;
            app.until_joined().await?;
            ensure!(app.status().await?.peer_id == identity, "another identity");
            let now: f64 = browser.run("return performance.timeOrigin;", &[]).await?;
            ensure!(now <= origin, "it began anew more than once");
        }
        Ok(())
    });
}

#[test]
fn a_browser_that_dies_again_and_again_reads_each_time_it_is_back() {
    scenario::run("dies-again-and-again", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let profile = Some(scenario.dir().join("profile"));
        for number in 0..CRASHES {
            // One that it has not read yet.
            let folder = scenario.dir().join(format!("site-{number}"));
            folder::write(&folder, &folder::made_up("Read once", number, 100_000))?;
            let link = swarm.link(&author.commands().publish(&folder).await?.address, "");
            let options = Options { profile: profile.clone(), ..Options::default() };
            let browser = Browser::start(scenario.dir(), &format!("reader-{number}"), options).await?;
            let app = App::open(&browser, &link).await?;
            app.until_shown().await?;
            app.until_joined().await?;
            browser.kill();
        }
        Ok(())
    });
}
