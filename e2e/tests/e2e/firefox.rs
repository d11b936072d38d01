//! What a reader and a sharer do, in Firefox.

use crate::{read_samples, restarts, sharing};
use meganet_e2e::{browser::Options, scenario};

#[test]
fn a_fresh_firefox_joins_and_reads_both_sample_sites() {
    scenario::run("firefox-reads", async |scenario| read_samples::joins_and_reads(scenario, Options::firefox()).await);
}

#[test]
fn a_native_peer_gets_a_site_from_firefox_when_its_publisher_is_gone() {
    scenario::run("firefox-shares", async |scenario| sharing::outlives_its_author(scenario, Options::firefox()).await);
}

#[test]
fn an_open_firefox_notices_that_its_peers_are_gone_and_reads_from_them_when_they_are_back() {
    scenario::run("firefox-restarts", async |scenario| restarts::goes_on(scenario, Options::firefox()).await);
}
