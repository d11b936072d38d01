//! In a real tab: what is opened and lost leaves nothing behind, and hostile peers cost it and its honest peers nothing.

use anyhow::{Context, Result, ensure};
use meganet_e2e::{
    browser::{Browser, Options},
    scenario::{self, Scenario},
    static_server::StaticServer,
    test_peer::{Kind::Ours, TestPeer, pages},
    wait::{Look, until},
};
use meganet_transport::census;
use serde::Deserialize;
use serde_json::{Value, json};
use std::rc::Rc;

/// So many a lap, with each of two others. In all some 240 connections and 2,400 streams.
const STREAMS: u64 = 200;
const CONNECTIONS: u64 = 20;
const LAPS: u64 = 6;
/// The first laps fill what is filled once: caches, and the free places of WebAssembly's memory, which never shrinks.
const WARM_UP_LAPS: u64 = 3;
/// A later lap may need more pages because of the order in which things happened: a connection holds up to 512 KiB that wait to be
/// sent, and a lap on a busy machine took 1.3 MB more than the two before it. A connection that stayed would cost some 20 kB, so
/// three laps of them 2.4 MB.
const GROWTH_MAX_BYTES: f64 = 2_097_152.0;
/// Two pages of WebAssembly's.
const LAP_SLACK_BYTES: f64 = 131_072.0;
/// What a console says of a callback that came too late, of a panic, and of data that was in use: messages of wasm-bindgen, of
/// Rust, and of the browser where no hook tells of the panic.
const FAULTS: [&str; 5] = ["closure invoked", "panicked", "BorrowMutError", "already borrowed", "RuntimeError"];
/// Malformed frames or messages for each role.
const MALFORMED: u64 = 10_000;
/// Liars that send them.
const LIARS: u64 = 10;

#[derive(Debug, Clone, Deserialize)]
struct Counts {
    direct: u64,
    transport: census::Counts,
}

async fn counts(peer: &TestPeer) -> Result<Counts> {
    peer.call("counts", &[]).await
}

/// What is there when nothing happens: each end of a connection keeps the stream of its pings, and one to the relay the channel
/// of its handshake.
async fn at_rest(peer: &TestPeer, to_relays: usize) -> Result<census::Counts> {
    until("a peer at rest", async || {
        let now = counts(peer).await?.transport;
        let census::Counts { connections, channels, attempts, half_open, resting_ids, .. } = now;
        let rests = [attempts, half_open, resting_ids] == [0; 3] && channels == 2 * connections + to_relays;
        Ok(Look::holds(rests, format!("{now:?}")))
    })
    .await?;
    Ok(counts(peer).await?.transport)
}

async fn until_alive(peer: &TestPeer, expected: census::Counts) -> Result<()> {
    until(&format!("what was alive before at {}", peer.name), async || {
        // A listener knows who was there for a while.
        let now = census::Counts { remotes: expected.remotes, ..counts(peer).await?.transport };
        Ok(Look::holds(now == expected, format!("{now:?}, and not {expected:?}")))
    })
    .await
    .map(drop)
}

async fn memory_bytes(tab: &Browser) -> Result<f64> {
    tab.run("return window.ours.memory_bytes();", &[]).await
}

async fn close(one: &TestPeer, other: &TestPeer) -> Result<()> {
    one.call::<Value>("close", &[json!(other.id)]).await.map(drop)
}

/// A public relay, and pages to load.
async fn place(scenario: &Scenario) -> Result<(StaticServer, TestPeer)> {
    let pages = pages(scenario.dir()).await?;
    let options = json!({ "listen": ["/ip4/127.0.0.1/udp/0/webrtc-direct"], "is_relay": true });
    Ok((pages, TestPeer::process(scenario.dir(), Ours, options).await?))
}

async fn tab(
    scenario: &mut Scenario,
    name: &str,
    pages: &StaticServer,
    more: Value,
) -> Result<(Rc<Browser>, TestPeer)> {
    let browser = scenario.browser(name).await?;
    let mut options = json!({ "per_hour": 450 });
    for (name, value) in more.as_object().into_iter().flatten() {
        options[name.as_str()] = value.clone();
    }
    let peer = TestPeer::in_tab(&browser, pages, Ours, options).await?;
    Ok((browser, peer))
}

#[test]
fn streams_and_connections_of_a_tab_leave_nothing_behind() {
    scenario::run("leaks", async |scenario| {
        let (pages, relay) = place(scenario).await?;
        let through = json!({ "relay": relay.address("webrtc-direct")? });
        let (one_tab, one) = tab(scenario, "one", &pages, through.clone()).await?;
        let (other_tab, other) = tab(scenario, "other", &pages, through).await?;
        let process =
            TestPeer::process(scenario.dir(), Ours, json!({ "listen": ["/ip4/127.0.0.1/udp/0/webrtc-direct"] }));
        let process = process.await?;
        let all = [&one, &other, &process];
        let before = [at_rest(&one, 1).await?, at_rest(&other, 1).await?, at_rest(&process, 0).await?];
        let (tab_address, address) = (other.address("/webrtc/")?, process.address("webrtc-direct")?);
        let mut memory = Vec::new();
        for lap in 0..LAPS {
            one.dial(&tab_address).await?;
            one.dial(&address).await?;
            let streams = |seed: u64, peer: &TestPeer| [json!(peer.id), json!(STREAMS / 2), json!(seed)];
            let churns = [(&one, &other), (&other, &one), (&one, &process), (&process, &one)];
            let churning = churns.into_iter().enumerate().map(|(seed, (opener, accepter))| async move {
                opener.call::<Value>("churn", &streams(10 * lap + seed as u64 + 1, accepter)).await
            });
            futures::future::try_join_all(churning).await?;
            close(&one, &other).await?;
            close(&process, &one).await?;
            for number in 0..CONNECTIONS {
                for (peer, address) in [(&other, &tab_address), (&process, &address)] {
                    one.dial(address).await?;
                    let (closer, closed) = if number % 2 == 0 { (&one, peer) } else { (peer, &one) };
                    until("the connection at both ends", async || {
                        Ok(Look::holds(counts(closer).await?.direct > 0, "not yet"))
                    })
                    .await?;
                    close(closer, closed).await?;
                }
            }
            for (peer, before) in all.iter().zip(before) {
                until_alive(peer, before).await?;
            }
            if lap + 1 >= WARM_UP_LAPS {
                memory.push([memory_bytes(&one_tab).await?, memory_bytes(&other_tab).await?]);
            }
        }
        eprintln!("memory after the last laps: {memory:?}");
        for tab in [0, 1] {
            let (first, last) = (memory[0][tab], memory[memory.len() - 1][tab]);
            ensure!(last <= first + GROWTH_MAX_BYTES, "a tab has grown: {memory:?}");
            // What is left behind is left behind in every lap.
            let stands = |laps: &[[f64; 2]]| laps[1][tab] <= laps[0][tab] + LAP_SLACK_BYTES;
            ensure!(memory.windows(2).any(stands), "a tab grows: {memory:?}");
        }
        // A peer that goes without a word is noticed later, and leaves no more behind than one that closes.
        one.dial(&address).await?;
        ensure!(one.echo(&process.id, 100_000).await?, "no echo");
        process.kill();
        until_alive(&one, before[0]).await?;
        for tab in [&one_tab, &other_tab] {
            let console = tab.console().await?;
            let is_fault = |line: &&String| FAULTS.iter().any(|fault| line.contains(fault));
            let faults: Vec<_> = console.iter().filter(is_fault).collect();
            ensure!(faults.is_empty(), "the console has {faults:#?}");
        }
        Ok(())
    });
}

/// From now on each frame that this tab sends on a new connection is replaced by so many malformed ones while
/// `window.spoiling` is set; `window.spoilt` counts them. The connections that there are stay as they are: their peers are none
/// of the victims.
const SPOIL: &str = "
    const { createDataChannel } = RTCPeerConnection.prototype;
    const { send } = RTCDataChannel.prototype;
    const kinds = [[0x80, 0], [255, 255, 255, 255], [255, 255, 0x7f], [2, 0x0b, 0], [3, 0x12, 0x7f, 0], [2, 8, 255]];
    const malformed = kinds.map(bytes => new Uint8Array(bytes));
    window.spoilt = 0;
    window.RTCPeerConnection = class extends RTCPeerConnection {
        constructor(...given) {
            super(...given);
            this.isNew = true;
            this.addEventListener('datachannel', event => { event.channel.isNew = true; });
        }
    };
    RTCPeerConnection.prototype.createDataChannel = function (...given) {
        const channel = createDataChannel.apply(this, given);
        channel.isNew = this.isNew;
        return channel;
    };
    RTCDataChannel.prototype.send = function (data) {
        if (!window.spoiling || !this.isNew) { return send.call(this, data); }
        for (let left = window.spoiling; left > 0; left--) {
            send.call(this, malformed[window.spoilt++ % malformed.length]);
        }
    };
    return null;";

async fn spoil(tab: &Browser, frames: u64) -> Result<()> {
    tab.run("window.spoiling = given[0]; return null;", &[json!(frames)]).await
}

/// Waits until a peer has so many direct connections.
async fn until_direct(peer: &TestPeer, expected: u64) -> Result<()> {
    until(&format!("{expected} connections of {}", peer.name), async || {
        let direct = counts(peer).await?.direct;
        Ok(Look::holds(direct == expected, format!("{direct} connections")))
    })
    .await
    .map(drop)
}

#[test]
fn malformed_frames_cost_a_hostile_tab_its_connections_and_its_victims_nothing() {
    scenario::run("hostile-frames", async |scenario| {
        let (pages, relay) = place(scenario).await?;
        let through = json!({ "relay": relay.address("webrtc-direct")? });
        let (_tab, victim) = tab(scenario, "victim", &pages, through.clone()).await?;
        let (liar_tab, liar) = tab(scenario, "liar", &pages, through.clone()).await?;
        let honest = TestPeer::process(scenario.dir(), Ours, through).await?;
        liar_tab.run::<Value>(SPOIL, &[]).await?;
        honest.dial(&victim.address("/webrtc/")?).await?;
        ensure!(honest.echo(&victim.id, 10_000).await?, "no echo");
        let before = at_rest(&victim, 1).await?;
        let (direct, alone) = (counts(&victim).await?.direct, counts(&liar).await?.direct);
        for victim_dials in [false, true] {
            for _ in 0..LIARS {
                let (dialler, listener) = if victim_dials { (&victim, &liar) } else { (&liar, &victim) };
                dialler.dial(&listener.address("/webrtc/")?).await?;
                // Both ends have it before it is spoilt.
                until_direct(&liar, alone + 1).await?;
                liar.ping(&victim.id).await?;
                spoil(&liar_tab, MALFORMED / LIARS).await?;
                let (cut_off, echo) = futures::join!(liar.ping(&victim.id), honest.echo(&victim.id, 100_000));
                spoil(&liar_tab, 0).await?;
                ensure!(cut_off.is_err(), "a ping came back");
                ensure!(echo?, "no echo");
                until_direct(&victim, direct).await?;
                until_direct(&liar, alone).await?;
            }
        }
        let spoilt: u64 = liar_tab.run("return window.spoilt;", &[]).await?;
        eprintln!("{spoilt} malformed frames cost {} connections", 2 * LIARS);
        ensure!(spoilt >= 2 * MALFORMED, "only {spoilt} malformed frames");
        ensure!(honest.echo(&victim.id, 100_000).await?, "no echo");
        until_alive(&victim, before).await
    });
}

#[test]
fn malformed_signalling_costs_its_sender_its_connection_and_a_tab_nothing() {
    scenario::run("hostile-signalling", async |scenario| {
        let (pages, relay) = place(scenario).await?;
        let relay_address = relay.address("webrtc-direct")?;
        let through = json!({ "relay": relay_address });
        let (_tab, victim) = tab(scenario, "victim", &pages, through.clone()).await?;
        let honest = TestPeer::process(scenario.dir(), Ours, through).await?;
        let liar = TestPeer::process(scenario.dir(), Ours, json!({ "relay": relay_address, "lies": true })).await?;
        honest.dial(&victim.address("/webrtc/")?).await?;
        ensure!(honest.echo(&victim.id, 10_000).await?, "no echo");
        let before = at_rest(&victim, 1).await?;
        // A length that never ends, no type, no such type, a text that is none; a candidate where a description is to come; a
        // description of nothing; one that the checks pass and the browser does not.
        let candidate = b"\x08\x02\x12\x01[".to_vec();
        let nothing = b"\x08\x00\x12\x00".to_vec();
        let refused = |kind: u8| {
            let sdp = "v=0\r\nm=application x DTLS/SCTP\r\na=ice-ufrag:abcdef\r\na=ice-pwd:abcdefabcdefabcdefabcdef\r\na=fingerprint:sha-256 ";
            let sdp = sdp.to_owned() + ["AB"; 32].join(":").as_str() + "\r\n";
            let mut body = vec![0x08, kind, 0x12, 0x80 | (sdp.len() & 0x7f) as u8, (sdp.len() >> 7) as u8];
            body.extend(sdp.bytes());
            body
        };
        let framed = |body: &[u8]| {
            let mut message = vec![0x80 | (body.len() & 0x7f) as u8, (body.len() >> 7) as u8];
            message.extend(body);
            message
        };
        for victim_dials in [false, true] {
            let messages = [
                vec![0xff; 3],
                vec![1, 0],
                vec![2, 0x08, 9],
                vec![6, 0x08, 0, 0x12, 2, 0xff, 0xfe],
                framed(&candidate),
                framed(&nothing),
                framed(&refused(u8::from(victim_dials))),
            ];
            let times = MALFORMED.div_ceil(messages.len() as u64);
            let (mut sent, mut rounds) = (0, 0);
            for message in &messages {
                // Whoever is cut off before all are written connects again and goes on.
                let mut left = times;
                while left > 0 {
                    let (raved, echo) = if victim_dials {
                        let dialling = async {
                            let address = format!("{relay_address}/p2p-circuit/webrtc/p2p/{}", liar.id);
                            let error = victim.dial(&address).await.err().context("a liar was connected")?;
                            let error = format!("{error:#}");
                            ensure!(error.contains("signalling with") && error.contains(&liar.id), "{error}");
                            Ok(())
                        };
                        let back = [json!(message), json!(left)];
                        let (raved, dialled, echo) = futures::join!(
                            liar.call::<u64>("raveBack", &back),
                            dialling,
                            honest.echo(&victim.id, 100_000)
                        );
                        dialled?;
                        (raved, echo)
                    } else {
                        liar.dial(&format!("{relay_address}/p2p-circuit/p2p/{}", victim.id)).await?;
                        let rave = [json!(victim.id), json!(message), json!(left)];
                        futures::join!(liar.call::<u64>("rave", &rave), honest.echo(&victim.id, 100_000))
                    };
                    let raved = raved?;
                    ensure!(echo?, "no echo");
                    ensure!((1..=left).contains(&raved), "{raved} of {left} messages were written: {message:?}");
                    left -= raved;
                    sent += raved;
                    rounds += 1;
                    until("the liar has lost its connection", async || {
                        let counts: Value = liar.call("counts", &[]).await?;
                        // The one to the relay stays.
                        Ok(Look::holds(counts["connections"] == json!(1), counts.to_string()))
                    })
                    .await?;
                }
            }
            eprintln!("{sent} malformed messages cost {rounds} relayed connections; the victim dials: {victim_dials}");
            ensure!(sent >= MALFORMED, "only {sent} malformed messages");
        }
        ensure!(honest.echo(&victim.id, 100_000).await?, "no echo");
        until_alive(&victim, before).await
    });
}

/// From now on this tab signals another certificate than its own.
const LIE_ABOUT_CERTIFICATE: &str = "
    const { createOffer, createAnswer, setLocalDescription } = RTCPeerConnection.prototype;
    const own = new WeakMap();
    const lie = create => async function (...given) {
        const { type, sdp } = await create.apply(this, given);
        own.set(this, sdp);
        const other = (all, before, byte) => before + (byte === '00' ? '01' : '00');
        return { type, sdp: sdp.replace(/(a=fingerprint:sha-256 )(..)/g, other) };
    };
    RTCPeerConnection.prototype.createOffer = lie(createOffer);
    RTCPeerConnection.prototype.createAnswer = lie(createAnswer);
    RTCPeerConnection.prototype.setLocalDescription = function ({ type, sdp }) {
        return setLocalDescription.call(this, { type, sdp: own.get(this) ?? sdp });
    };
    return null;";

/// Whoever dials names the other in its error; nothing stays, and the honest peer notices nothing.
fn another_certificate_is_no_connection(name: &'static str, victims: Options) {
    scenario::run(name, async |scenario| {
        let (pages, relay) = place(scenario).await?;
        let through = json!({ "relay": relay.address("webrtc-direct")? });
        let browser = Rc::new(scenario.browser_with("victim", victims.clone()).await?);
        let mut options = through.clone();
        options["per_hour"] = json!(450);
        let victim = TestPeer::in_tab(&browser, &pages, Ours, options).await?;
        let (liar_tab, liar) = tab(scenario, "liar", &pages, through.clone()).await?;
        let honest = TestPeer::process(scenario.dir(), Ours, through).await?;
        honest.dial(&victim.address("/webrtc/")?).await?;
        liar_tab.run::<Value>(LIE_ABOUT_CERTIFICATE, &[]).await?;
        let before = at_rest(&victim, 1).await?;
        for (dialler, listener) in [(&victim, &liar), (&liar, &victim)] {
            let address = listener.address("/webrtc/")?;
            let (dialled, echo) = futures::join!(dialler.dial(&address), honest.echo(&victim.id, 100_000));
            let error = format!("{:#}", dialled.err().context("they are connected")?);
            eprintln!("{error}");
            ensure!(error.contains(&listener.id) && error.contains("certificate"), "{error}");
            ensure!(echo?, "no echo");
        }
        // What was relayed for signalling may be used for another try until it is closed.
        close(&liar, &victim).await?;
        until_alive(&victim, before).await
    });
}

#[test]
fn another_certificate_than_the_signalled_one_is_no_connection_in_chromium() {
    another_certificate_is_no_connection("certificate-chromium", Options::default());
}

#[test]
fn another_certificate_than_the_signalled_one_is_no_connection_in_firefox() {
    another_certificate_is_no_connection("certificate-firefox", Options::firefox());
}
