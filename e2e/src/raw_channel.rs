//! The yardstick: a bare `RTCDataChannel` between two tabs, with nothing of this project in it.

use crate::browser::Browser;
use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::json;

/// Bytes a message: the largest every WebRTC implementation takes.
const MESSAGE_BYTES: u64 = 16 * 1024;
/// The sender pauses above this much unsent data and goes on below half of it.
const BUFFERED_MAX_BYTES: u64 = 1024 * 1024;

const OFFER: &str = "
    const connection = new RTCPeerConnection();
    const channel = connection.createDataChannel('raw');
    window.raw = { connection, channel, open: new Promise(done => channel.onopen = done) };
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    return connection.localDescription.sdp;";

const ANSWER: &str = "
    const [offer, bytes] = given;
    const connection = new RTCPeerConnection();
    const received = new Promise((done, failed) => connection.ondatachannel = ({ channel }) => {
        channel.binaryType = 'arraybuffer';
        let got = 0, first;
        channel.onmessage = ({ data }) => {
            if (first === undefined) { first = performance.now(); }
            got += data.byteLength;
            if (got >= bytes) { done({ bytes: got, elapsed_ms: performance.now() - first }); }
        };
        channel.onclose = () => failed(new Error('closed after ' + got + ' bytes'));
    });
    window.raw = { connection, received };
    await connection.setRemoteDescription({ type: 'offer', sdp: offer });
    await connection.setLocalDescription(await connection.createAnswer());
    await gathered(connection);
    return connection.localDescription.sdp;";

const SEND: &str = "
    const [answer, bytes, message, most] = given;
    const { connection, channel, open } = window.raw;
    await connection.setRemoteDescription({ type: 'answer', sdp: answer });
    await open;
    channel.bufferedAmountLowThreshold = most / 2;
    const data = crypto.getRandomValues(new Uint8Array(message));
    let left = bytes;
    const send = () => {
        while (left > 0 && channel.bufferedAmount < most) { channel.send(data); left -= message; }
        if (left <= 0) { channel.onbufferedamountlow = null; }
    };
    channel.onbufferedamountlow = send;
    send();
    return null;";

const GATHERED: &str = "
    const gathered = connection => new Promise(done => {
        const look = () => { if (connection.iceGatheringState === 'complete') { done(); } };
        connection.onicegatheringstatechange = look;
        look();
    });";

#[derive(Deserialize)]
struct Received {
    bytes: u64,
    elapsed_ms: f64,
}

/// Sends `bytes` from one tab to the other and gives the rate the receiver saw, in MB/s (10⁶ bytes a second). The tabs
/// may show any page; each may belong to another browser.
pub async fn measure(sender: &Browser, receiver: &Browser, bytes: u64) -> Result<f64> {
    let bytes = bytes.next_multiple_of(MESSAGE_BYTES);
    let offer: String = sender.run(&format!("{GATHERED}{OFFER}"), &[]).await?;
    let answer: String = receiver.run(&format!("{GATHERED}{ANSWER}"), &[json!(offer), json!(bytes)]).await?;
    let send = [json!(answer), json!(bytes), json!(MESSAGE_BYTES), json!(BUFFERED_MAX_BYTES)];
    let () = sender.run(SEND, &send).await?;
    let received: Received = receiver.run("return await window.raw.received;", &[]).await?;
    for tab in [sender, receiver] {
        let () = tab.run("window.raw.connection.close(); delete window.raw; return null;", &[]).await?;
    }
    ensure!(received.bytes == bytes, "{} bytes of {bytes} arrived", received.bytes);
    Ok(received.bytes as f64 / received.elapsed_ms / 1_000.0)
}
