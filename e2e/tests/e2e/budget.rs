//! A tab that looks up a hundred sites and browses begins few peer connections (`cargo xtask bench budget` is the long form).

use anyhow::ensure;
use meganet_e2e::{
    budget::{self, Plan},
    scenario,
};
use std::time::Duration;

/// For a hundred lookups and half an hour; Chrome gives a tab 500 in its life.
const PEER_CONNECTIONS_MAX: u32 = 60;

#[test]
fn a_hundred_lookups_and_some_browsing_stay_within_the_budget() {
    scenario::run("budget", async |scenario| {
        let plan = Plan {
            natives: 6,
            tabs: 2,
            lookups: 100,
            browsing: Duration::from_secs(20),
            pause_max: Duration::from_secs(1),
            leaving_every: Duration::from_secs(6),
        };
        let figures = budget::run(scenario.dir(), plan).await?;
        eprintln!("{}", serde_json::to_string(&figures)?);
        ensure!(figures.peer_connections < PEER_CONNECTIONS_MAX, "too many: {figures:?}");
        ensure!(figures.failed == 0 && figures.read > 0, "it saved where it should not: {figures:?}");
        Ok(())
    });
}
