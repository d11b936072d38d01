//! Threats 1, 2, 21 and 29: a peer that forges heads and one that spoils chunks are refused, and the page still comes.

use anyhow::ensure;
use meganet_e2e::{
    app::App,
    folder,
    liar::{Event, Liar, Lie},
    scenario,
};
use rustix::process::Signal;

#[test]
fn liars_are_refused_and_the_page_comes_from_the_honest_peer() {
    scenario::run("liar", async |scenario| {
        let swarm = scenario.swarm().await?;
        let mut author = swarm.peer("author").await?;
        let mut addresses = Vec::new();
        let mut sites = Vec::new();
        for (number, name) in ["first", "second"].into_iter().enumerate() {
            let folder = scenario.dir().join(name);
            let files = folder::made_up(&format!("The {name} honest site"), 10 + number as u64, 900_000);
            folder::write(&folder, &files)?;
            addresses.push(author.commands().publish(&folder).await?.address);
            sites.push(files);
        }
        let bootstrap = &swarm.bootstrap().addresses;
        let forger = Liar::start(scenario.dir(), Lie::Heads, bootstrap, &addresses).await?;
        let mut spoiler = Liar::start(scenario.dir(), Lie::Chunks, bootstrap, &addresses).await?;
        // Every forged head that went to the DHT, two a site, was refused by those who store.
        let put = |event: &Event| matches!(event, Event::ForgedHeadPut { .. });
        let fates = forger.until_many("the fates of four forged heads", 4, put).await?;
        ensure!(fates == vec![Event::ForgedHeadPut { taken_by: 0 }; 4], "forged heads were stored: {fates:?}");

        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        let reader = app.status().await?.peer_id;

        // From now on nobody but the reader looks the site up.
        let found = |event: &Event| *event == Event::ForgedHeadFound;
        let found_before = forger.events()?.iter().filter(|event| found(event)).count();
        // While the honest peer is silent only the liars answer: each of them gets its chance.
        author.signal(Signal::STOP)?;
        app.enter_address(&addresses[0].to_string()).await?;
        let lied = |event: &Event| matches!(event, Event::ChunkSpoiled { to } if *to == reader);
        spoiler.until("a wrong chunk given to the reader", lied).await?;
        forger.until_many("a forged head found by the reader", found_before + 1, found).await?;
        author.signal(Signal::CONT)?;
        app.until_shown().await?;
        let paths: Vec<&str> = sites[0].keys().map(String::as_str).collect();
        ensure!(app.site_hashes(&paths).await? == folder::hashes(&sites[0]), "the page is not the author's");
        let site = app.site(addresses[0]).await?;
        ensure!(site.sequence == 1 && !site.conflicting, "the forged head had an effect: {site:?}");

        // Banned for the session: not asked again, not connected, no source of anything.
        let lies = spoiler.lies_told_to(&reader)?;
        app.enter_address(&addresses[1].to_string()).await?;
        app.until_shown_address(&addresses[1]).await?;
        let paths: Vec<&str> = sites[1].keys().map(String::as_str).collect();
        ensure!(app.site_hashes(&paths).await? == folder::hashes(&sites[1]), "the second page is not the author's");
        ensure!(spoiler.lies_told_to(&reader)? == lies, "the liar was asked again");
        let peers = app.status().await?.peers;
        ensure!(peers.iter().all(|peer| peer.peer_id != spoiler.peer_id), "still connected to the liar");
        for address in addresses {
            let sources = app.site(address).await?.sources;
            let from_liars =
                sources.iter().filter(|source| [&forger.peer_id, &spoiler.peer_id].contains(&&source.peer_id));
            ensure!(from_liars.map(|source| source.bytes).sum::<u64>() == 0, "bytes of liars count: {sources:?}");
        }
        Ok(())
    });
}

#[test]
fn the_command_line_refuses_liars_too() {
    scenario::run("liar-native", async |scenario| {
        let swarm = scenario.swarm_without_app().await?;
        let mut author = swarm.peer("author").await?;
        let folder = scenario.dir().join("site");
        let files = folder::made_up("The honest site", 12, 900_000);
        folder::write(&folder, &files)?;
        let address = author.commands().publish(&folder).await?.address;
        let reader = swarm.peer("reader").await?;
        let bootstrap = &swarm.bootstrap().addresses;
        let _forger = Liar::start(scenario.dir(), Lie::Heads, bootstrap, &[address]).await?;
        let mut spoiler = Liar::start(scenario.dir(), Lie::Chunks, bootstrap, &[address]).await?;

        author.signal(Signal::STOP)?;
        let into = scenario.dir().join("fetched");
        let mut get = reader.commands().start("get", &[address.to_string().into(), into.clone().into()])?;
        let lied = |event: &Event| matches!(event, Event::ChunkSpoiled { to } if to == reader.peer_id());
        spoiler.until("a wrong chunk given to the reader", lied).await?;
        author.signal(Signal::CONT)?;
        let status = get.ended().await?;
        ensure!(status.success(), "meganet get ended with {status}: {}{}", get.stdout()?, get.stderr_tail());
        folder::ensure_equal(&folder::read(&into)?, &files)
    });
}
