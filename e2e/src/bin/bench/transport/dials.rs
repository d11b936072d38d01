//! How many of many dials fail, of each kind.

use super::stage::{PER_HOUR, native};
use anyhow::Result;
use meganet_e2e::{
    browser::{Browser, Options},
    test_peer::{Kind, TestPeer, pages},
};
use serde_json::{Map, Value, json};
use std::{path::Path, rc::Rc};

/// Dials of one tab before it is loaded anew: browsers count peer connections that are closed, until they are collected.
const PER_TAB: u32 = 50;

/// Dials and closes so many times; those that failed.
async fn dials(dialler: &TestPeer, listener: &TestPeer, address: &str, count: u32) -> u32 {
    let mut failed = 0;
    for _ in 0..count {
        let dialled = dialler.dial(address).await;
        if let Err(error) = &dialled {
            failed += 1;
            eprintln!("dial: {error:#}");
        }
        if let Err(error) = dialler.call::<Value>("close", &[json!(listener.id)]).await {
            eprintln!("close: {error:#}");
        }
    }
    failed
}

/// Failures of each kind, and their sum.
pub async fn measure(dir: &Path, count: u32) -> Result<Map<String, Value>> {
    let pages = pages(dir).await?;
    let relay = native(dir, true).await?;
    let direct = relay.address("webrtc-direct")?;
    let through = json!({ "relay": direct, "per_hour": PER_HOUR });
    let one = Rc::new(Browser::start(dir, "dialler", Options::default()).await?);
    let other = Rc::new(Browser::start(dir, "dialled", Options::default()).await?);
    let listener = native(dir, false).await?;
    let private = TestPeer::process(dir, Kind::Ours, through.clone()).await?;
    let kinds = ["webrtc_direct_tab", "webrtc_direct_native", "webrtc_tab_tab", "webrtc_native_tab"];
    let mut failed = [0; 4];
    let mut left = count;
    while left > 0 {
        let now = left.min(PER_TAB);
        left -= now;
        let dialler = TestPeer::in_tab(&one, &pages, Kind::Ours, through.clone()).await?;
        let dialled = TestPeer::in_tab(&other, &pages, Kind::Ours, through.clone()).await?;
        let address = listener.address("webrtc-direct")?;
        failed[0] += dials(&dialler, &listener, &address, now).await;
        failed[1] += dials(&private, &listener, &address, now).await;
        let address = dialled.address("/webrtc/")?;
        failed[2] += dials(&dialler, &dialled, &address, now).await;
        failed[3] += dials(&private, &dialled, &address, now).await;
        eprintln!("dials: {left} left of {count}, failed {failed:?}");
    }
    let mut figures = Map::new();
    for (kind, failed) in kinds.into_iter().zip(failed) {
        figures.insert(format!("dial_failures_{kind}"), json!(failed));
    }
    figures.insert("dial_failures".into(), json!(failed.iter().sum::<u32>()));
    figures.insert("dials_of_each_kind".into(), json!(count));
    Ok(figures)
}
