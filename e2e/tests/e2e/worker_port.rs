//! The site's service worker and its port: what it makes of an app that is slow, silent, busy or of another version.

use anyhow::ensure;
use meganet_e2e::{app::App, folder, scenario};
use serde_json::json;
use std::collections::BTreeMap;

/// In the bridge's frame: takes the app's place at the worker's port.
const STAND_IN: &str = "
    const { active } = await navigator.serviceWorker.ready;
    const { port1, port2 } = new MessageChannel();
    let refusals = 3;
    port1.onmessage = ({ data: { id, path, sequence } }) => {
        const bytes = new TextEncoder().encode(path).buffer;
        const answer = (sequence) => port1.postMessage(
            { id, ok: true, sequence, path, mediaType: 'text/plain', size: bytes.byteLength, offset: 0, bytes });
        if (path === 'slow.txt') {
            const saying = setInterval(() => port1.postMessage({ id, pending: true }), 2_000);
            setTimeout(() => { clearInterval(saying); answer(sequence); }, 13_000);
        } else if (path === 'busy.txt' && refusals > 0) {
            refusals -= 1;
            port1.postMessage({ id, ok: false, code: 'rate-limited', message: '' });
        } else if (path === 'newer.txt') {
            answer('2');
        } else if (path !== 'silent.txt') {
            answer(sequence);
        }
    };
    active.postMessage({ meganet: 'port' }, [port2]);
    window.standIn = port1;
    return null;";

const FETCH_ALL: &str = "
    const names = ['slow.txt', 'busy.txt', 'newer.txt', 'silent.txt', 'plain.txt'];
    return Object.fromEntries(await Promise.all(names.map(async name => [name, (await fetch('/' + name)).status])));";

#[test]
fn a_read_may_be_slow_or_turned_away_but_neither_silent_nor_of_another_version() {
    scenario::run("worker-port", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let folder = scenario.dir().join("site");
        folder::write(&folder, &folder::made_up("Asks a stand-in", 90, 10_000))?;
        let address = author.commands().publish(&folder).await?.address;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.link(&address, "")).await?;
        app.until_shown().await?;
        // A worker that was ended by the browser must still know which version the page shows.
        browser.devtools("ServiceWorker.enable", json!({})).await?;
        browser.devtools("ServiceWorker.stopAllWorkers", json!({})).await?;
        browser.in_frame("bridge-frame", async || browser.run::<()>(STAND_IN, &[]).await).await?;
        let statuses: BTreeMap<String, u16> = app.run_in_site(FETCH_ALL, &[]).await?;
        let expected =
            [("slow.txt", 200), ("busy.txt", 200), ("newer.txt", 502), ("silent.txt", 504), ("plain.txt", 200)];
        ensure!(statuses == expected.map(|(name, status)| (name.to_owned(), status)).into(), "{statuses:?}");
        Ok(())
    });
}
