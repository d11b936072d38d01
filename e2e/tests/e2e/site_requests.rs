//! What a site's page asks for, in quantity, in versions and by the bar.

use anyhow::{Context, Result, ensure};
use meganet_core::address::Address;
use meganet_e2e::{
    app::App,
    folder::{self, Files},
    scenario,
    swarm::Peer,
    wait::{Look, until},
};
use meganet_node::api::Command;
use serde_json::json;
use std::path::Path;

/// More than a site may ask for at once, and more than wait in its service worker.
const REQUESTS: u32 = 1_500;

/// Asks for one small file many times at once: how many answers were whole, and a failure.
const MANY: &str = "
    const answers = await Promise.all(Array.from({ length: given[0] }, async (_, number) => {
        const response = await fetch(`/ready.js?${number}`);
        return response.ok ? '' : `${response.status} ${await response.text()}`;
    }));
    return [answers.filter(answer => answer === '').length, answers.find(answer => answer !== '') ?? ''];";

const FETCH: &str = "
    const response = await fetch(given[0]);
    return [response.status, await response.text()];";

#[test]
fn a_page_that_asks_for_very_much_at_once_gets_all_of_it() {
    scenario::run("many-requests", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let address = publish(&author, &scenario.dir().join("site"), &folder::made_up("Asks much", 70, 10_000)).await?;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.link(&address, "")).await?;
        app.until_shown().await?;
        let (whole, failure): (u32, String) = app.run_in_site(MANY, &[json!(REQUESTS)]).await?;
        ensure!(whole == REQUESTS, "{whole} of {REQUESTS} answers; one of the others: {failure}");
        Ok(())
    });
}

#[test]
fn a_page_never_gets_parts_of_a_newer_version() {
    scenario::run("versions", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let folder = scenario.dir().join("site");
        let address = publish(&author, &folder, &version(1)).await?;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.link(&address, "")).await?;
        app.until_shown().await?;
        ensure!(app.site(address).await?.sequence == 1, "not version 1");

        publish(&author, &folder, &version(2)).await?;
        until("the node at version 2", async || {
            app.call(&Command::OpenSite { address }).await?;
            let sequence = app.site(address).await?.sequence;
            Ok(Look::holds(sequence == 2, sequence))
        })
        .await?;
        // The page of version 1 asks for what it has not read yet.
        let (status, text): (u16, String) = app.run_in_site(FETCH, &[json!("/later.txt")]).await?;
        ensure!(status == 503 && text.contains("updated while it was read"), "{status}: {text}");

        browser.element("banner-update").await?;
        let show = browser.driver().find(thirtyfour::By::Css("[data-testid='banner-update'] button")).await?;
        show.click().await.context("cannot click “Show it”")?;
        app.until_shown_when("document.title === 'Version 2'").await?;
        let (status, text): (u16, String) = app.run_in_site(FETCH, &[json!("/later.txt")]).await?;
        ensure!((status, text.as_str()) == (200, "later, in version 2"), "{status}: {text}");
        Ok(())
    });
}

#[test]
fn a_file_that_the_bar_still_names_is_shown_again_after_a_click_inside_the_site() {
    scenario::run("same-file-again", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let mut files = version(1);
        let other = b"<!doctype html><meta charset=utf-8><title>Other</title><p>other";
        files.insert("other.html".to_owned(), other.to_vec());
        let address = publish(&author, &scenario.dir().join("site"), &files).await?;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.link(&address, "index.html")).await?;
        app.until_shown().await?;
        app.run_in_site::<()>("location.href = '/other.html'; return null;", &[]).await?;
        app.until_shown_when("document.title === 'Other'").await?;

        app.show_panel().await?;
        let driver = browser.driver();
        driver.find(thirtyfour::By::Css(".file-list summary")).await?.click().await?;
        let link = format!(".files a[href='#/{address}/index.html']");
        until("the file in the list", async || {
            Ok(match driver.find_all(thirtyfour::By::Css(link.as_str())).await?.into_iter().next() {
                Some(link) => Look::Yes(link),
                None => Look::NotYet("not listed".to_owned()),
            })
        })
        .await?
        .click()
        .await?;
        app.until_shown_when("document.title === 'Version 1'").await
    });
}

fn version(number: u64) -> Files {
    let mut files = folder::made_up(&format!("Version {number}"), 70 + number, 300_000);
    files.insert("later.txt".to_owned(), format!("later, in version {number}").into_bytes());
    files
}

async fn publish(author: &Peer, folder: &Path, files: &Files) -> Result<Address> {
    folder::write(folder, files)?;
    Ok(author.commands().publish(folder).await?.address)
}
