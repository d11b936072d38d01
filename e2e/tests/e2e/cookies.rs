//! Cookies that a site sets for everything around it keep nothing from working: nothing uses any, and they are cleared.

use anyhow::ensure;
use meganet_e2e::{app::App, folder, scenario};

/// Sets 30 cookies of 4 KB for a year, for the app's host and with it for every site.
const SPITE: &str = "
    const domain = location.hostname.split('.').slice(1).join('.');
    for (let number = 0; number < 30; number += 1) {
        document.cookie = `c${number}=${'x'.repeat(4000)}; domain=${domain}; path=/; max-age=31536000`;
    }
    return document.cookie.length;";

#[test]
fn a_site_that_sets_big_cookies_for_all_is_in_nobodys_way() {
    scenario::run("cookies", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let mut addresses = Vec::new();
        for (number, name) in ["spiteful", "other"].into_iter().enumerate() {
            let folder = scenario.dir().join(name);
            folder::write(&folder, &folder::made_up(name, 60 + number as u64, 10_000))?;
            addresses.push(author.commands().publish(&folder).await?.address);
        }
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.link(&addresses[0], "")).await?;
        app.until_shown().await?;
        let set: usize = app.run_in_site(SPITE, &[]).await?;
        ensure!(set > 100_000, "only {set} bytes of cookies were set: the test tests nothing");

        // A new origin: its bridge, worker and frame come from the bootstrap, with the cookies.
        app.enter_address(&addresses[1].to_string()).await?;
        app.until_shown_address(&addresses[1]).await?;
        let left: usize = browser.run("return document.cookie.length;", &[]).await?;
        ensure!(left == 0, "{left} bytes of cookies are still there");

        // Again, and with them a load of the app itself and its list of peers.
        let set: usize = app.run_in_site(SPITE, &[]).await?;
        ensure!(set > 100_000, "only {set} bytes of cookies were set the second time");
        let app = App::open(&browser, &swarm.link(&addresses[0], "")).await?;
        app.until_shown_address(&addresses[0]).await?;
        app.reload().await?;
        app.until_joined().await
    });
}
