//! Much content from a native peer goes over WebRTC or WebSocket, whichever carries more.

use anyhow::{Context, Result, ensure};
use meganet_core::address::Address;
use meganet_e2e::{
    app::App,
    delay::Delay,
    folder, scenario,
    swarm::Peer,
    throttle::Throttle,
    wait::{Look, until},
};
use meganet_node::api::{Command, PathInfo, PathWay};
use std::{path::Path, time::Duration};

/// Bytes of the site that is read.
const SITE_BYTES: usize = 32 << 20;
/// Of a line on which WebRTC moves a tenth of what a WebSocket on loopback does.
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// Where a peer is reached over WebRTC.
fn direct(author: &Peer) -> Result<&str> {
    let direct = author.addresses().iter().find(|address| address.contains("/webrtc-direct/"));
    direct.map(String::as_str).context("no webrtc-direct address")
}

/// Publishes a site at the peer, and has the tab fetch it while it is connected to the peer at this address.
async fn fetch(app: &App<'_>, author: &Peer, at: &str, dir: &Path) -> Result<Vec<PathInfo>> {
    let folder = dir.join("site");
    let files = folder::made_up("Much content", 5, SITE_BYTES);
    folder::write(&folder, &files)?;
    let address: Address = author.commands().publish(&folder).await?.address;
    app.call(&Command::Connect { multiaddr: at.to_owned() }).await?;
    app.call(&Command::FetchAll { address, allow_large: false }).await?;
    // At once: the WebSocket is closed after a while.
    let peers = app.status().await?.peers;
    let peer = peers.into_iter().find(|peer| peer.peer_id == author.peer_id()).context("not connected any more")?;
    eprintln!("{:?}", peer.paths);
    let sources = app.site(address).await?.sources;
    ensure!(sources.iter().all(|source| source.peer_id == author.peer_id()), "from others too: {sources:?}");
    let paths: Vec<&str> = files.keys().map(String::as_str).collect();
    ensure!(app.read_hashes(address, &paths).await? == folder::hashes(&files), "wrong bytes");
    Ok(peer.paths)
}

fn bytes_over(paths: &[PathInfo], way: PathWay) -> u64 {
    paths.iter().filter(|path| path.way == way).map(|path| path.received_bytes).sum()
}

#[test]
fn a_tab_opens_a_websocket_beside_for_a_long_transfer_and_goes_on_over_the_faster() {
    scenario::run_alone("bulk", async |scenario| {
        let swarm = scenario.swarm().await?;
        let author = swarm.peer("author").await?;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        let paths = fetch(&app, &author, direct(&author)?, scenario.dir()).await?;
        let (direct, websocket) = (bytes_over(&paths, PathWay::Direct), bytes_over(&paths, PathWay::WebSocket));
        ensure!(direct > 0 && websocket > 0, "not both were measured: {paths:?}");
        let most = if direct > websocket { PathWay::Direct } else { PathWay::WebSocket };
        ensure!(paths.iter().all(|path| path.in_use == (path.way == most)), "not on the faster one: {paths:?}");
        // It is not kept for nothing.
        until("the end of the WebSocket that nobody uses", async || {
            let peers = app.status().await?.peers;
            let peer = peers.into_iter().find(|peer| peer.peer_id == author.peer_id()).context("gone altogether")?;
            let is_gone = peer.paths.iter().all(|path| path.way == PathWay::Direct || !path.connected);
            Ok(Look::holds(is_gone, format!("{:?}", peer.paths)))
        })
        .await
    });
}

#[test]
fn behind_a_slow_line_for_websocket_it_stays_with_webrtc() {
    scenario::run_alone("bulk-slow", async |scenario| {
        let swarm = scenario.swarm().await?;
        let line = Throttle::new(500_000)?;
        let (host, port) = (line.address().ip(), line.address().port());
        // The listener itself has another address than the peer is connected at, so nobody believes that it is the peer's.
        let listen = ["/ip4/127.0.0.1/udp/0/webrtc-direct", "/ip4/127.0.0.1/udp/0/quic-v1", "/ip4/127.0.0.2/tcp/0/ws"];
        let external = format!("/ip4/{host}/tcp/{port}/ws");
        let author = swarm.peer_with("author", &listen, &["--external".into(), external.into()]).await?;
        let listener = author.addresses().iter().find(|address| address.contains("127.0.0.2"));
        let port = listener.and_then(|address| address.split('/').nth(4)).context("no WebSocket listener")?;
        line.leads_to(format!("127.0.0.2:{port}").parse()?);

        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        let paths = fetch(&app, &author, direct(&author)?, scenario.dir()).await?;
        let (direct, websocket) = (bytes_over(&paths, PathWay::Direct), bytes_over(&paths, PathWay::WebSocket));
        ensure!(websocket > 0, "the WebSocket was not probed: {paths:?}");
        ensure!(direct > 8 * websocket, "the slow one was used: {paths:?}");
        Ok(())
    });
}

#[test]
fn behind_a_slow_line_for_webrtc_it_goes_on_over_the_websocket() {
    scenario::run_alone("bulk-slow-webrtc", async |scenario| {
        let swarm = scenario.swarm().await?;
        let browser = scenario.browser("reader").await?;
        let app = App::open(&browser, &swarm.url()).await?;
        app.until_joined().await?;
        // After that, so that the tab has not heard of another address than the slow one.
        let author = swarm.peer("author").await?;
        let line = Delay::of_round_trip(ROUND_TRIP)?;
        let paths = fetch(&app, &author, &line.multiaddr(direct(&author)?)?, scenario.dir()).await?;
        let (direct, websocket) = (bytes_over(&paths, PathWay::Direct), bytes_over(&paths, PathWay::WebSocket));
        ensure!(websocket > direct, "the slow one was used: {paths:?}");
        ensure!(paths.iter().all(|path| path.in_use == (path.way == PathWay::WebSocket)), "on the slow one: {paths:?}");
        Ok(())
    });
}
