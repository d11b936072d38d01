//! Bad input gets a clear error and loses nothing.

use anyhow::{Context, ensure};
use meganet_core::keys::SiteKey;
use meganet_e2e::{
    app::App,
    browser::Options,
    folder, http, places, scenario,
    static_server::{PEER_LIST_PATH, StaticServer},
};
use std::collections::BTreeSet;

#[test]
fn each_kind_of_typo_in_an_address_has_its_own_message() {
    scenario::run("typos", async |scenario| {
        let swarm = scenario.swarm().await?;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        let good = SiteKey::from_seed([1; 32]).address().to_string();
        let mut exchanged = good.clone().into_bytes();
        exchanged[10] = if exchanged[10] == b'a' { b'b' } else { b'a' };
        let typos = [
            ("length", good[1..].to_owned()),
            ("alphabet", format!("{}1{}", &good[..20], &good[21..])),
            ("checksum", String::from_utf8(exchanged)?),
            ("version", format!("{}z", &good[..55])),
            ("path", format!("{good}/../secret")),
            ("web-page", "http://example.org/".to_owned()),
        ];
        let mut messages = BTreeSet::new();
        for (reason, text) in &typos {
            app.enter_address(text).await?;
            let (code, message) = app.until_error_because(reason).await.with_context(|| text.clone())?;
            ensure!(code == "bad-address", "{reason}: {code}: {message}");
            messages.insert(message);
        }
        ensure!(messages.len() == typos.len(), "messages are shared: {messages:?}");
        Ok(())
    });
}

#[test]
fn a_malformed_peer_list_is_said_and_breaks_nothing() {
    scenario::run("malformed-list", async |scenario| {
        let swarm = scenario.swarm().await?;
        let url = format!("{}{}", swarm.url(), PEER_LIST_PATH.trim_start_matches('/'));
        let mut forged = http::get(&url).await?.into_body().to_vec();
        let last = forged.len() - 1;
        forged[last] ^= 1;
        let browser = scenario.browser("reader").await?;
        for (kind, list) in [("random", vec![0x5a; 500]), ("empty", Vec::new()), ("forged", forged)] {
            let server = StaticServer::start(Some(places::dist()?.join("app")), list).await?;
            let app = App::open(&browser, &server.url()).await?;
            app.until_phase("offline").await?;
            browser.element("banner-contact").await?;
            let code = browser.attribute("banner-contact", "data-code").await?;
            ensure!(code.as_deref() == Some("list-malformed"), "{kind}: {code:?}");
            browser.element("try-now").await?;
        }
        Ok(())
    });
}

#[test]
fn denied_storage_means_memory_only_with_a_banner_and_still_reads() {
    scenario::run("denied-storage", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let folder = scenario.dir().join("site");
        let files = folder::made_up("Read from memory", 4, 100_000);
        folder::write(&folder, &files)?;
        let address = author.commands().publish(&folder).await?.address;

        let options = Options { block_site_data: true, ..Options::default() };
        let browser = scenario.browser_with("reader", options).await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        browser.element("banner-memory").await?;
        ensure!(app.status().await?.memory_only, "the node believes that something is kept");
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        ensure!(app.read_hashes(address, &paths).await? == folder::hashes(&files), "wrong bytes");
        Ok(())
    });
}
