//! Threat 62: SIGKILL at random moments of publishing leaves the old or the new version, never a mix.

use anyhow::{Result, ensure};
use meganet_core::address::Address;
use meganet_e2e::{
    folder::{self, Files},
    scenario,
    swarm::Commands,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{
    path::Path,
    time::{Duration, Instant},
};

const KILLS: usize = 50;
/// Bytes of each version: many chunks, so that there is a middle to be killed in.
const SITE_BYTES: usize = 3_000_000;

#[test]
fn a_publisher_killed_at_fifty_random_moments_leaves_a_whole_version() {
    scenario::run("killed-while-publishing", async |scenario| {
        let seed = match std::env::var("MEGANET_SEED") {
            Ok(text) => text.parse()?,
            Err(_) => rand::random::<u64>(),
        };
        eprintln!("MEGANET_SEED={seed} repeats these moments");
        let mut moments = StdRng::seed_from_u64(seed);
        let swarm = scenario.swarm_without_app().await?;
        // The store's owner is the process that is killed: commands here run a short-lived node each.
        let commands = swarm.commands("author");
        let folder = scenario.dir().join("site");

        let mut current = version(0);
        rewrite(&folder, &current)?;
        let address = commands.publish(&folder).await?.address;
        let mut whole = time_of_publishing(&commands, &folder).await?;
        current = version(1);

        let (mut stayed, mut moved) = (0, 0);
        for round in 0..KILLS {
            let next = version(2 + round as u64);
            rewrite(&folder, &next)?;
            let mut publisher = commands.start("publish", &[folder.clone().into()])?;
            let moment = moments.random_range(0.0..1.1);
            tokio::time::sleep(whole.mul_f64(moment)).await;
            publisher.kill();
            drop(publisher);

            let found = fetched(&commands, address, &scenario.dir().join(format!("out-{round}"))).await?;
            if folder::ensure_equal(&found, &next).is_ok() {
                moved += 1;
                current = next;
                if moment < 0.8 {
                    whole = whole.mul_f64(0.9);
                }
            } else {
                folder::ensure_equal(&found, &current)
                    .map_err(|error| error.context(format!("round {round}: neither the old nor the new version")))?;
                stayed += 1;
                // The machine is busier than it was when that time was taken.
                if moment > 0.8 {
                    whole = whole.mul_f64(1.2);
                }
            }
        }
        eprintln!("{stayed} kills left the old version, {moved} the new one; a publication took {whole:?}");
        ensure!(stayed > 0 && moved > 0, "the moments do not cover both sides: {stayed} old, {moved} new");
        Ok(())
    });
}

fn version(number: u64) -> Files {
    let mut files = folder::made_up(&format!("Version {number}"), 1_000 + number, SITE_BYTES);
    // What stays the same, and what comes and goes.
    files.insert("same.bin".to_owned(), folder::made_up("", 7, 500_000).remove("data.bin").unwrap_or_default());
    files.insert(format!("only-in-{number}.txt"), number.to_string().into_bytes());
    files
}

fn rewrite(folder: &Path, files: &Files) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    folder::write(folder, files)
}

/// How long one whole publication takes here and now, so that the moments spread over all of it.
async fn time_of_publishing(commands: &Commands, folder: &Path) -> Result<Duration> {
    rewrite(folder, &version(1))?;
    let start = Instant::now();
    commands.publish(folder).await?;
    Ok(start.elapsed())
}

/// What a fresh process finds in the store.
async fn fetched(commands: &Commands, address: Address, into: &Path) -> Result<Files> {
    commands.get(&address, into).await?;
    let files = folder::read(into)?;
    std::fs::remove_dir_all(into)?;
    Ok(files)
}
