//! Bare data channels: between two tabs, and between a tab and str0m.

use super::{
    Sample, WARM_BYTES,
    contest::{Contest, Way},
    stage::Stage,
};
use anyhow::{Context, Result, ensure};
use meganet_e2e::{
    bare_str0m::{self, Running, Work},
    raw_channel::{self, Received},
};

pub async fn transfer(stage: &Stage, contest: &Contest) -> Result<Sample> {
    stage.hub.goto(&stage.pages.url()).await?;
    let result = match contest.way {
        Way::TabToTab => tab_to_tab(stage, contest).await,
        Way::NativeToTab => native_to_tab(stage, contest).await,
        Way::TabToNative => tab_to_native(stage, contest).await,
    };
    raw_channel::close(&stage.hub).await?;
    result
}

fn sample(contest: &Contest, connect_ms: f64, received: Received) -> Result<Sample> {
    let expected = contest.bytes * contest.peers as u64;
    ensure!(received.bytes == expected, "{} bytes of {expected} arrived", received.bytes);
    Ok(Sample { mb_s: received.mb_per_s(), connect_ms, ..Sample::default() })
}

async fn tab_to_tab(stage: &Stage, contest: &Contest) -> Result<Sample> {
    let tabs = &stage.tabs[..contest.peers];
    let mut connect_ms: f64 = 0.0;
    for tab in tabs {
        stage.others.switch_to(tab).await?;
        stage.others.goto(&stage.pages.url()).await?;
        let offer = stage.description(raw_channel::offer(&stage.others).await?, contest)?;
        let answer = raw_channel::answer(&stage.hub, &offer, WARM_BYTES, contest.bytes).await?;
        let answer = stage.description(answer, contest)?;
        connect_ms = connect_ms.max(raw_channel::connect(&stage.others, &[answer]).await?);
    }
    for tab in tabs {
        stage.others.switch_to(tab).await?;
        raw_channel::send(&stage.others, WARM_BYTES + contest.bytes, contest.message_bytes).await?;
    }
    let received = raw_channel::received(&stage.hub).await?;
    for tab in tabs {
        stage.others.switch_to(tab).await?;
        raw_channel::close(&stage.others).await?;
    }
    sample(contest, connect_ms, received)
}

/// How long the slowest channel took to open.
async fn opened(running: &mut [Running]) -> Result<f64> {
    let mut slowest: f64 = 0.0;
    for one in running {
        slowest = slowest.max((&mut one.opened).await.context("a bare channel did not open")?);
    }
    Ok(slowest)
}

async fn native_to_tab(stage: &Stage, contest: &Contest) -> Result<Sample> {
    let mut running = Vec::new();
    let work = Work::Send { bytes: WARM_BYTES + contest.bytes, message_bytes: contest.message_bytes };
    for _ in 0..contest.peers {
        let (offered, offer) = bare_str0m::offer()?;
        let offer = stage.description(offer, contest)?;
        let answer = raw_channel::answer(&stage.hub, &offer, WARM_BYTES, contest.bytes).await?;
        running.push(offered.run(&stage.description(answer, contest)?, work)?);
    }
    let connect_ms = opened(&mut running).await?;
    let received = raw_channel::received(&stage.hub).await?;
    sample(contest, connect_ms, received)
}

async fn tab_to_native(stage: &Stage, contest: &Contest) -> Result<Sample> {
    let (mut running, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..contest.peers {
        let offer = stage.description(raw_channel::offer(&stage.hub).await?, contest)?;
        let (one, answer) = bare_str0m::answer(&offer, Work::Receive { warm_bytes: WARM_BYTES, bytes: contest.bytes })?;
        running.push(one);
        answers.push(stage.description(answer, contest)?);
    }
    let connect_ms = raw_channel::connect(&stage.hub, &answers).await?;
    raw_channel::send(&stage.hub, WARM_BYTES + contest.bytes, contest.message_bytes).await?;
    let mut moved = Vec::new();
    for one in &mut running {
        moved.push((&mut one.moved).await.context("a bare channel broke off")?);
    }
    let first = moved.iter().map(|one| one.first).min().context("nobody received")?;
    let last = moved.iter().map(|one| one.last).max().context("nobody received")?;
    let elapsed_ms = last.duration_since(first).as_secs_f64() * 1_000.0;
    sample(contest, connect_ms, Received { bytes: contest.bytes * contest.peers as u64, elapsed_ms })
}
