//! Where UDP is blocked, a tab joins over WebSocket, says so, and reads all the same.

use anyhow::{Context, ensure};
use meganet_core::peer_list::{self, PeerEntry, PeerList};
use meganet_e2e::{
    app::App,
    folder, places, scenario,
    static_server::StaticServer,
    wait::{Look, until},
};
use std::{
    net::UdpSocket,
    time::{SystemTime, UNIX_EPOCH},
};

#[test]
fn a_tab_whose_datagrams_go_nowhere_joins_over_websocket_and_says_so() {
    scenario::run("websocket", async |scenario| {
        let swarm = scenario.swarm().await?;
        let ready = swarm.bootstrap();
        let find = |part: &str| ready.addresses.iter().find(|address| address.contains(part)).cloned();
        let direct = find("/webrtc-direct/").context("no webrtc-direct address")?;
        let websocket = find("/ws/").context("no WebSocket address")?;
        // Somebody who takes datagrams in and says nothing stands where the bootstrap should be.
        let silent = UdpSocket::bind("127.0.0.1:0")?;
        let parts: Vec<&str> = direct.split('/').collect();
        let port = silent.local_addr()?.port().to_string();
        let moved: Vec<&str> =
            parts.iter().enumerate().map(|(place, part)| if place == 4 { &port } else { *part }).collect();
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64;
        let peer_id = ready.peer_id.parse::<libp2p::PeerId>()?.to_bytes();
        let list = PeerList {
            issued_ms: now_ms,
            expires_ms: now_ms + 600_000,
            peers: vec![PeerEntry { peer_id, addresses: vec![moved.join("/"), websocket] }],
        };
        let server = StaticServer::start(Some(places::dist()?.join("app")), peer_list::sign(&[7; 32], &list)?).await?;

        // Where UDP is blocked, it is blocked to everybody: a tab cannot reach this one otherwise either.
        let listen = ["/ip4/127.0.0.1/tcp/0/ws", "/ip4/127.0.0.1/udp/0/quic-v1"];
        let author = swarm.peer_with("author", &listen, &[]).await?;
        let folder = scenario.dir().join("site");
        let files = folder::made_up("Read over WebSocket", 9, 300_000);
        folder::write(&folder, &files)?;
        let address = author.commands().publish(&folder).await?.address;

        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &server.url()).await?;
        app.until_joined().await?;
        let peers = app.status().await?.peers;
        ensure!(peers.iter().all(|peer| peer.address.contains("/ws")), "not over WebSocket: {peers:?}");
        // The chip's sentence, which is there when the chip is opened.
        until("the word on it", async || {
            let text: String = browser.run("return document.body.textContent;", &[]).await?;
            Ok(Look::holds(text.contains("Over WebSocket only"), text))
        })
        .await?;
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        ensure!(app.read_hashes(address, &paths).await? == folder::hashes(&files), "wrong bytes");
        Ok(())
    });
}
