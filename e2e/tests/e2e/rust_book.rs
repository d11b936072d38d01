//! Real input: the book that comes with every default Rust toolchain is published, read in a tab, searched, and fetched.

use anyhow::{Context, Result, ensure};
use meganet_e2e::{
    app::App,
    folder, scenario,
    wait::{Look, until},
};
use meganet_node::api::Command;
use std::{path::PathBuf, process};

#[test]
fn the_rust_book_is_read_searched_and_fetched_whole() {
    scenario::run("rust-book", async |scenario| {
        let folder = book()?;
        let expected = folder::read(&folder)?;
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let address = author.commands().publish(&folder).await?.address;

        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.link(&address, "index.html")).await?;
        app.until_shown_when("document.querySelector('#mdbook-search-toggle, #search-toggle') !== null").await?;
        search(&app, "ownership").await?;

        app.call(&Command::FetchAll { address, allow_large: false }).await?;
        let site = app.site(address).await?;
        ensure!(site.total_bytes == folder::total_bytes(&expected), "{} bytes", site.total_bytes);
        ensure!(site.held_chunks == site.chunks, "{} of {} chunks held", site.held_chunks, site.chunks);
        let paths: Vec<&str> = expected.keys().map(String::as_str).collect();
        ensure!(app.read_hashes(address, &paths).await? == folder::hashes(&expected), "the tab holds something else");

        let into = scenario.dir().join("fetched");
        swarm.commands("reader").get(&address, &into).await?;
        folder::ensure_equal(&folder::read(&into)?, &expected)
    });
}

fn book() -> Result<PathBuf> {
    let output = process::Command::new("rustup").args(["doc", "--path", "--book"]).output().context("rustup")?;
    let page = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    ensure!(page.is_file(), "the toolchain has no book: run `rustup component add rust-docs`");
    page.parent().map(PathBuf::from).context("the book lies nowhere")
}

/// Opens the book's own search, types, and waits for results.
async fn search(app: &App<'_>, text: &str) -> Result<()> {
    let browser = app.browser();
    browser
        .in_frame("site-frame", async || {
            let find = async |css: &'static str| browser.driver().find(thirtyfour::By::Css(css)).await;
            find("#mdbook-search-toggle, #search-toggle").await?.click().await?;
            let bar = until("the book's search box", async || {
                let bar = find("#mdbook-searchbar, #searchbar").await?;
                Ok(if bar.is_displayed().await? { Look::Yes(bar) } else { Look::NotYet("hidden".to_owned()) })
            })
            .await?;
            bar.send_keys(text).await?;
            until("search results", async || {
                let count: u32 = browser
                    .run("return document.querySelectorAll('#mdbook-searchresults li, #searchresults li').length;", &[])
                    .await?;
                Ok(Look::holds(count > 0, "no result"))
            })
            .await
        })
        .await
}
