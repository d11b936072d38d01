//! The yardstick: a bare `RTCDataChannel` between two tabs, or between a tab and [`crate::bare_str0m`], with nothing of this
//! project in it. Each step is one function, so that either end can be something else and descriptions can be changed on
//! their way. A tab holds any number of channels, which begin and end together.

use crate::browser::Browser;
use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::json;

/// Bytes a message: the largest every WebRTC implementation takes.
pub const MESSAGE_BYTES: u64 = 16 * 1024;
/// The sender pauses above this much unsent data and goes on below half of it.
pub const BUFFERED_MAX_BYTES: u64 = 1024 * 1024;

const OFFER: &str = "
    const connection = new RTCPeerConnection();
    const channel = connection.createDataChannel('raw');
    const opened = { from: 0, at: 0 };
    const open = new Promise(done => channel.onopen = () => { opened.at = performance.now(); done(); });
    (window.raw ??= []).push({ connection, channel, open, opened });
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    return connection.localDescription.sdp;";

const ANSWER: &str = "
    const [offer, warm, bytes] = given;
    const connection = new RTCPeerConnection();
    const received = new Promise((done, failed) => connection.ondatachannel = ({ channel }) => {
        channel.binaryType = 'arraybuffer';
        let got = 0, first;
        channel.onmessage = ({ data }) => {
            got += data.byteLength;
            if (first === undefined && got >= warm) { first = performance.now(); }
            if (got >= warm + bytes) { done({ bytes: got - warm, first, last: performance.now() }); }
        };
        channel.onclose = () => failed(new Error('closed after ' + got + ' bytes'));
    });
    (window.raw ??= []).push({ connection, received });
    await connection.setRemoteDescription({ type: 'offer', sdp: offer });
    await connection.setLocalDescription(await connection.createAnswer());
    await gathered(connection);
    return connection.localDescription.sdp;";

const CONNECT: &str = "
    const [answers] = given;
    await Promise.all(answers.map(async (sdp, place) => {
        const { connection, open, opened } = window.raw[place];
        opened.from = performance.now();
        await connection.setRemoteDescription({ type: 'answer', sdp });
        await open;
    }));
    return Math.max(...window.raw.map(({ opened }) => opened.at - opened.from));";

const SEND: &str = "
    const [bytes, message, most] = given;
    const data = crypto.getRandomValues(new Uint8Array(message));
    for (const { channel } of window.raw) {
        channel.bufferedAmountLowThreshold = most / 2;
        let left = bytes;
        const send = () => {
            while (left > 0 && channel.bufferedAmount < most) { channel.send(data); left -= message; }
            if (left <= 0) { channel.onbufferedamountlow = null; }
        };
        channel.onbufferedamountlow = send;
        send();
    }
    return null;";

const RECEIVED: &str = "
    const all = await Promise.all(window.raw.map(({ received }) => received));
    const first = Math.min(...all.map(one => one.first));
    const last = Math.max(...all.map(one => one.last));
    return { bytes: all.reduce((sum, one) => sum + one.bytes, 0), elapsed_ms: last - first };";

const CLOSE: &str = "
    for (const { connection } of window.raw) { connection.close(); }
    delete window.raw;
    return null;";

const GATHERED: &str = "
    const gathered = connection => new Promise(done => {
        const look = () => { if (connection.iceGatheringState === 'complete') { done(); } };
        connection.onicegatheringstatechange = look;
        look();
    });";

/// What receivers saw, from the first message that counts to the last.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Received {
    pub bytes: u64,
    pub elapsed_ms: f64,
}

impl Received {
    /// 10⁶ bytes a second.
    #[must_use]
    pub fn mb_per_s(&self) -> f64 {
        self.bytes as f64 / self.elapsed_ms / 1_000.0
    }
}

/// Makes one more channel that this tab will send on; its description, with all candidates.
pub async fn offer(tab: &Browser) -> Result<String> {
    tab.run(&format!("{GATHERED}{OFFER}"), &[]).await
}

/// Makes one more channel on which this tab will receive `bytes`, after `warm_bytes` that do not count; its description.
pub async fn answer(tab: &Browser, offer: &str, warm_bytes: u64, bytes: u64) -> Result<String> {
    tab.run(&format!("{GATHERED}{ANSWER}"), &[json!(offer), json!(warm_bytes), json!(bytes)]).await
}

/// Opens the channels that were offered; how long the slowest took, ms.
pub async fn connect(tab: &Browser, answers: &[String]) -> Result<f64> {
    tab.run(CONNECT, &[json!(answers)]).await
}

/// Begins to send so many bytes on each channel.
pub async fn send(tab: &Browser, bytes: u64, message_bytes: u64) -> Result<()> {
    tab.run(SEND, &[json!(bytes), json!(message_bytes), json!(BUFFERED_MAX_BYTES)]).await
}

/// Waits until all came on all channels of this tab.
pub async fn received(tab: &Browser) -> Result<Received> {
    tab.run(RECEIVED, &[]).await
}

/// Closes this tab's channels.
pub async fn close(tab: &Browser) -> Result<()> {
    tab.run(CLOSE, &[]).await
}

/// Sends `bytes` from one tab to the other and gives the rate the receiver saw, in MB/s (10⁶ bytes a second). The tabs
/// may show any page; each may belong to another browser.
pub async fn measure(sender: &Browser, receiver: &Browser, bytes: u64) -> Result<f64> {
    let bytes = bytes.next_multiple_of(MESSAGE_BYTES);
    let offer = offer(sender).await?;
    let answer = answer(receiver, &offer, 0, bytes).await?;
    connect(sender, &[answer]).await?;
    send(sender, bytes, MESSAGE_BYTES).await?;
    let received = received(receiver).await?;
    for tab in [sender, receiver] {
        close(tab).await?;
    }
    ensure!(received.bytes == bytes, "{} bytes of {bytes} arrived", received.bytes);
    Ok(received.mb_per_s())
}
