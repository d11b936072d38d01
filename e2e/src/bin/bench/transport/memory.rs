//! What an idle connection costs a native peer. Native peers dial it: its end of the connection is the same.

use super::stage::native;
use anyhow::{Context, Result};
use meganet_e2e::{
    test_peer::TestPeer,
    wait::{Look, until},
};
use serde::Deserialize;
use std::path::Path;

pub const FIELD: &str = "native_bytes_per_idle_connection";
/// Peers that dial.
const DIALLERS: u32 = 5;

#[derive(Deserialize)]
struct Counts {
    direct: u32,
}

/// Bytes of memory that a process has in use.
fn resident_bytes(peer: &TestPeer) -> Result<u64> {
    let process = peer.process_id().context("not a process")?;
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024)
}

pub async fn measure(dir: &Path, connections: u32) -> Result<u64> {
    let peer = native(dir, false).await?;
    let address = peer.address("webrtc-direct")?;
    // The first connection brings what all share.
    let mut dialler = native(dir, false).await?;
    dialler.dial(&address).await?;
    peer.identified(&dialler.id).await?;
    let before = resident_bytes(&peer)?;
    let mut diallers = Vec::new();
    for number in 0..connections {
        if number % connections.div_ceil(DIALLERS) == 0 {
            diallers.push(std::mem::replace(&mut dialler, native(dir, false).await?));
        }
        dialler.dial(&address).await?;
    }
    until("all connections", async || {
        let counts: Counts = peer.call("counts", &[]).await?;
        Ok(Look::holds(counts.direct > connections, counts.direct))
    })
    .await?;
    let after = resident_bytes(&peer)?;
    let each = after.saturating_sub(before) / u64::from(connections.max(1));
    eprintln!("{connections} idle connections: {} KiB each", each / 1024);
    Ok(each)
}
