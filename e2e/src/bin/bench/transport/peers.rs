//! Our transport and js-libp2p's.

use super::{
    Sample, WARM_BYTES,
    contest::{Contest, Way, Who},
    stage::Stage,
};
use anyhow::{Context, Result};
use meganet_e2e::{
    browser::Browser,
    test_peer::{Kind, TestPeer, Transferred},
};
use serde_json::{Value, json};

/// Streams of one connection whose buffers are summed up.
const BUFFERING_STREAMS: usize = 8;
/// What each of them sends.
const BUFFERING_BYTES: u64 = 4 * 1024 * 1024;

const WATCH: &str = "
    const channels = new Set();
    const send = RTCDataChannel.prototype.send;
    window.mostBuffered = 0;
    RTCDataChannel.prototype.send = function (data) {
        send.call(this, data);
        channels.add(this);
        let sum = 0;
        for (const channel of channels) { sum += channel.readyState === 'closed' ? 0 : channel.bufferedAmount; }
        window.mostBuffered = Math.max(window.mostBuffered, sum);
    };
    return null;";

pub async fn transfer(stage: &Stage, contest: &Contest) -> Result<Sample> {
    let kind = if contest.who == Who::Js { Kind::Js } else { Kind::Ours };
    match contest.way {
        Way::TabToTab => tab_to_tab(stage, kind, contest).await,
        Way::NativeToTab => native_to_tab(stage, kind, contest).await,
        Way::TabToNative => tab_to_native(stage, kind, contest).await,
    }
}

/// All began at once; the slowest one's time counts.
fn rate(transfers: &[Transferred]) -> f64 {
    let bytes: u64 = transfers.iter().map(|one| one.bytes).sum();
    let slowest = transfers.iter().map(|one| one.elapsed_ms).fold(0.0, f64::max);
    bytes as f64 / slowest / 1_000.0
}

/// How long dials took, ms.
#[derive(Default)]
struct Connected {
    first_ms: f64,
    /// Of the next one, where that is asked for.
    next_ms: Option<f64>,
}

impl Connected {
    /// Rates are measured after something has been moved, and dials after one that has been closed: see [`WARM_BYTES`].
    async fn dial(dialler: &TestPeer, dialled: &TestPeer, address: &str, contest: &Contest) -> Result<Self> {
        let first_ms = dialler.dial(address).await?.ms;
        let mut next_ms = None;
        if contest.is_plain() {
            dialler.call::<Value>("close", &[json!(dialled.id)]).await?;
            next_ms = Some(dialler.dial(address).await?.ms);
        }
        Ok(Self { first_ms, next_ms })
    }

    fn sample(self, mb_s: f64, buffered: Option<u64>) -> Sample {
        let connect_ms = self.next_ms.unwrap_or(self.first_ms);
        Sample { mb_s, connect_ms, first_connect_ms: Some(self.first_ms), buffered }
    }
}

async fn tab_to_tab(stage: &Stage, kind: Kind, contest: &Contest) -> Result<Sample> {
    let hub = stage.peer(&stage.hub, kind, contest).await?;
    let others = stage.other_peers(kind, contest).await?;
    let [other] = others.as_slice() else {
        // One tab of a browser can be called at a time: the hub asks for what they send.
        for other in &others {
            hub.dial(&other.address("/webrtc/")?).await?;
        }
        let ask = |bytes| others.iter().map(|other| json!([other.id, bytes])).collect::<Vec<_>>();
        hub.call_all::<Transferred>("receive", &ask(WARM_BYTES)).await?;
        let received = hub.call_all("receive", &ask(contest.bytes)).await?;
        return Ok(Sample { mb_s: rate(&received), ..Sample::default() });
    };
    let connected = Connected::dial(other, &hub, &hub.address("/webrtc/")?, contest).await?;
    other.send(&hub.id, WARM_BYTES, contest.message_bytes).await?;
    let sent = other.send(&hub.id, contest.bytes, contest.message_bytes).await?;
    let mut buffered = None;
    if contest.is_plain() {
        buffered = Some(buffered_of(&stage.others, other, &hub).await?.max(sent.max_buffered.unwrap_or(0)));
    }
    Ok(connected.sample(sent.mb_per_s(), buffered))
}

async fn native_to_tab(stage: &Stage, kind: Kind, contest: &Contest) -> Result<Sample> {
    let hub = stage.peer(&stage.hub, kind, contest).await?;
    // The tab dials a native peer in the other direction already: here the native one dials, through the relay,
    // and first, as everywhere: after 32 MiB a browser is busy with what is left of them.
    let mut connected = Connected::default();
    if contest.is_plain() {
        connected = Connected::dial(&stage.private, &hub, &hub.address("/webrtc/")?, contest).await?;
    }
    let natives = &stage.natives[..contest.peers];
    for native in natives {
        hub.dial(&stage.address(native, contest)?).await?;
    }
    let sends = async |bytes| {
        let sends = natives.iter().map(|native| native.send(&hub.id, bytes, contest.message_bytes));
        futures::future::try_join_all(sends).await
    };
    sends(WARM_BYTES).await?;
    let mb_s = rate(&sends(contest.bytes).await?);
    Ok(connected.sample(mb_s, None))
}

async fn tab_to_native(stage: &Stage, kind: Kind, contest: &Contest) -> Result<Sample> {
    let hub = stage.peer(&stage.hub, kind, contest).await?;
    let natives = &stage.natives[..contest.peers];
    let mut connected = Connected::default();
    for native in natives {
        connected = Connected::dial(&hub, native, &stage.address(native, contest)?, contest).await?;
    }
    let to = |bytes| natives.iter().map(|native| json!([native.id, bytes, contest.message_bytes])).collect::<Vec<_>>();
    hub.call_all::<Transferred>("send", &to(WARM_BYTES)).await?;
    let mb_s = rate(&hub.call_all("send", &to(contest.bytes)).await?);
    let mut buffered = None;
    if contest.is_plain() {
        let native = natives.first().context("no native peer")?;
        buffered = Some(buffered_of(&stage.hub, &hub, native).await?);
    }
    Ok(connected.sample(mb_s, buffered))
}

/// The most that the channels of this tab's page hold while several streams send; no time is taken.
async fn buffered_of(tab: &Browser, sender: &TestPeer, receiver: &TestPeer) -> Result<u64> {
    let () = tab.run(WATCH, &[]).await?;
    let streams: Vec<Value> = vec![json!([receiver.id, BUFFERING_BYTES, 64 * 1024]); BUFFERING_STREAMS];
    let sent: Vec<Transferred> = sender.call_all("send", &streams).await?;
    let told: u64 = sent.iter().filter_map(|one| one.max_buffered).max().unwrap_or(0);
    let seen: u64 = tab.run("return window.mostBuffered;", &[]).await?;
    Ok(seen.max(told))
}
