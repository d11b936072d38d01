//! `meganet peer`: starting, being alone on its data directory, serving, ending (threats 63, 64).

use crate::support::{PATIENCE, Peer, Place, Run, eventually, meganet, noise, tree};
use meganet_core::peer_list::{self, PeerEntry, PeerList};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    process::Command,
};

#[test]
fn it_says_where_it_is_and_stops_on_signals() {
    let place = Place::new();
    for signal in ["-INT", "-TERM"] {
        let peer = place.peer(&[]);
        for part in ["/quic-v1", "/tcp/", "/webrtc-direct/certhash/"] {
            let address = peer.address(part);
            assert!(address.ends_with(peer.ready["peer_id"].as_str().unwrap()), "{address}");
        }
        let socket = peer.ready["socket"].as_str().unwrap().to_owned();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(place.json(["status"]).ok().event("status")["running"], true);
        assert_eq!(peer.stop(signal).code(), Some(0), "{signal}");
        assert!(!fs::exists(&socket).unwrap(), "{signal}: the socket file is gone");
    }
}

#[test]
fn identity_and_certificate_survive() {
    let place = Place::new();
    let listen = "/ip4/127.0.0.1/udp/0/webrtc-direct";
    let start = || {
        let mut command = place.meganet(["--json", "peer", "--listen", listen]);
        command.env_remove("HOME");
        Peer::spawn(command)
    };
    let hash = |peer: &Peer| peer.address("/certhash/").split("/certhash/").nth(1).unwrap().to_owned();
    let first = start();
    let before = hash(&first);
    first.stop("-KILL");
    for file in ["identity", "webrtc.pem"] {
        let mode = fs::metadata(place.data().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert_eq!(hash(&start()), before, "peer id and certificate hash are the same after a SIGKILL");
}

#[test]
fn case_63_a_second_one_names_the_first() {
    let place = Place::new();
    let peer = place.peer(&[]);
    let run = place.json(["peer", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    assert_eq!((run.error_code().as_str(), run.code()), ("in_use", Some(7)));
    let message = run.objects()[0]["error"]["message"].as_str().unwrap().to_owned();
    let path = place.data().canonicalize().unwrap();
    for part in [&peer.pid().to_string(), path.to_str().unwrap(), "peer --listen"] {
        assert!(message.contains(part), "{part:?} in {message}");
    }
    assert_eq!(place.json(["status"]).ok().event("status")["running"], true, "the first one lives on");
}

#[test]
fn case_63_a_directory_that_cannot_be_written() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    fs::set_permissions(place.data(), fs::Permissions::from_mode(0o555)).unwrap();
    let run = unprivileged(&place, &["--json", "peer", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    assert_eq!((run.error_code().as_str(), run.code()), ("storage", Some(6)), "{}", run.out);
    assert!(run.out.contains(place.data().canonicalize().unwrap().to_str().unwrap()), "{}", run.out);
}

/// Runs as a user for whom permissions count.
fn unprivileged(place: &Place, arguments: &[&str]) -> Run {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata("/proc/self").is_ok_and(|me| me.uid() != 0) {
        return place.run(arguments);
    }
    let base = place.path("");
    fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
    let binary = base.join("meganet");
    fs::copy(env!("CARGO_BIN_EXE_meganet"), &binary).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(binary);
    command.arg("--data-dir").arg(place.data()).args(arguments);
    Run::of(command)
}

#[test]
fn commands_between_two_runs_of_the_peer_keep_by_its_quota() {
    let place = Place::new();
    let kept = || fs::read_to_string(place.data().join("quota")).unwrap();
    place.peer(&["--quota", "50G"]).stop("-TERM");
    assert_eq!(kept(), format!("{}\n", 50u64 << 30));
    place.json(["status", "--quota", "1G"]).ok();
    place.peer(&[]).stop("-TERM");
    assert_eq!(kept(), format!("{}\n", 50u64 << 30), "only a peer that is given one changes it");
    // What is kept is used: a short-lived node does not go on with another when it cannot be read.
    fs::write(place.data().join("quota"), "much").unwrap();
    let run = place.json(["sites"]);
    assert_eq!((run.error_code().as_str(), run.code()), ("storage", Some(6)), "{}", run.out);
    assert!(run.out.contains("--quota"), "{}", run.out);
    place.json(["sites", "--quota", "1G"]).ok();
}

#[test]
fn a_taken_port_is_an_error_with_its_address() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let run = place.json(["peer", "--listen", &address]);
    assert_eq!((run.error_code().as_str(), run.code()), ("other", Some(1)));
    assert!(run.out.contains(&address) && run.out.contains("taken by another program"), "{}", run.out);
}

#[test]
fn an_address_that_cannot_be_had_is_an_error_with_its_reason() {
    let (place, other) = (Place::new(), Place::new());
    let peer = place.peer(&[]);
    // TCP ports are opened so that they could be shared, and QUIC's error has no text of its own.
    for (part, why) in [("/tcp/", "taken by another program"), ("/quic-v1", "taken by another program")] {
        let address = peer.address(part);
        let run = other.json(["peer", "--listen", address.split("/p2p/").next().unwrap()]);
        assert_eq!(run.code(), Some(1));
        assert!(run.out.contains(why), "{}", run.out);
    }
    let run = other.json(["peer", "--listen", "/ip4/203.0.113.7/udp/0/quic-v1"]);
    assert!(run.out.contains("no such IP address"), "{}", run.out);
}

#[test]
fn a_damaged_certificate_is_named() {
    let place = Place::new();
    place.peer(&[]).stop("-TERM");
    let path = place.data().join("webrtc.pem");
    fs::write(&path, "no certificate").unwrap();
    let run = place.json(["peer", "--listen", "/ip4/127.0.0.1/udp/0/webrtc-direct"]);
    assert_eq!(run.error_code(), "refused");
    assert!(run.out.contains("webrtc.pem"), "{}", run.out);
}

#[test]
fn commands_use_the_running_peer_and_another_peer_gets_the_site() {
    let place = Place::new();
    let big = noise(5, 2_500_000);
    let site =
        place.site(&[("index.html", b"<title>Shared</title>"), ("big.bin", &big), ("a/b/c.css", b"p{}"), ("e", b"")]);
    let peer = place.peer(&[]);
    let published = place.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
    assert_eq!(published["served"], true);
    let address = published["address"].as_str().unwrap();
    let listed = place.json(["sites"]).ok().event("site");
    assert_eq!((listed["own"] == true, listed["held_chunks"] == listed["chunks"]), (true, true), "{listed}");

    for transport in ["/tcp/", "/quic-v1"] {
        let reader = Place::new();
        let bootstrap = peer.address(transport);
        let copy = reader.path("copy");
        let arguments = ["--bootstrap", &bootstrap, "get", address, copy.to_str().unwrap()];
        let fetched = reader.json(arguments).ok().event("fetched");
        assert_eq!((fetched["files"].as_u64(), fetched["sequence"].as_u64()), (Some(4), Some(1)));
        assert!(tree(&copy) == tree(&site), "{transport}: the copy differs");
        let head = reader.json(["--bootstrap", &bootstrap, "head", address]).ok().event("head");
        assert_eq!(head["hash"], published["head"]);
        let providers = reader.json(["--bootstrap", &bootstrap, "providers", address]).ok().event("providers");
        assert!(providers["providers"].as_array().unwrap().contains(&peer.ready["peer_id"]), "{providers}");
    }

    let stranger = Place::new();
    let other = stranger.site(&[("index.html", b"x")]);
    let unknown = stranger.json(["publish".as_ref(), other.as_os_str()]).ok().event("published");
    let reader = Place::new();
    let bootstrap = peer.address("/tcp/");
    let run = reader.json(["--bootstrap", &bootstrap, "get", unknown["address"].as_str().unwrap()]);
    assert_eq!((run.error_code().as_str(), run.code()), ("not_found", Some(3)), "{}", run.out);
}

#[test]
fn a_site_whose_holders_are_gone_is_found_but_not_served() {
    let (peer_place, author, reader) = (Place::new(), Place::new(), Place::new());
    let peer = peer_place.peer(&[]);
    let bootstrap = peer.address("/tcp/");
    let site = author.site(&[("index.html", &noise(1, 100_000))]);
    let arguments = ["--bootstrap", &bootstrap, "publish", site.to_str().unwrap()];
    let published = author.json(arguments).ok().event("published");
    assert!(published["stored_on"].as_u64() >= Some(1), "{published}");
    let run = reader.json(["--bootstrap", &bootstrap, "get", published["address"].as_str().unwrap()]);
    assert_eq!((run.error_code().as_str(), run.code()), ("nobody_serves", Some(4)), "{}", run.out);
}

#[test]
fn a_peer_keeps_what_it_fetched_when_the_author_is_gone() {
    let (hub, author, keeper, reader) = (Place::new(), Place::new(), Place::new(), Place::new());
    let hub_peer = hub.peer(&[]);
    let bootstrap = hub_peer.address("/tcp/");
    let site = author.site(&[("index.html", b"<title>Kept</title>"), ("data", &noise(2, 900_000))]);
    let mut author_peer = author.peer(&["--bootstrap", &bootstrap]);
    joined(&mut author_peer);
    let published = author.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
    let address = published["address"].as_str().unwrap();
    let mut keeper_peer = keeper.peer(&["--bootstrap", &bootstrap]);
    joined(&mut keeper_peer);
    keeper.json(["get".as_ref(), address.as_ref(), keeper.path("first").as_os_str()]).ok();
    assert!(author_peer.stop("-TERM").success());
    let copy = reader.path("copy");
    eventually("the keeper's copy", || {
        let run = reader.json(["--bootstrap", &bootstrap, "get", address, copy.to_str().unwrap(), "--force"]);
        run.status.success().then_some(())
    });
    assert!(tree(&copy) == tree(&site));
}

fn joined(peer: &mut Peer) {
    while peer.event("status")["phase"] != "Joined" {}
}

#[test]
fn garbage_on_the_socket_ends_that_connection_alone() {
    let place = Place::new();
    let peer = place.peer(&[]);
    let path = peer.ready["socket"].as_str().unwrap();
    let hello = [b"meganet\0".as_slice(), &1u32.to_be_bytes()].concat();
    for garbage in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [hello.clone(), u32::MAX.to_be_bytes().to_vec()].concat(),
        [hello.clone(), vec![0, 0, 0, 4, 255, 255, 255, 255]].concat(),
        [hello.clone(), vec![0, 0, 0, 0]].concat(),
        [b"meganet\0".as_slice(), &9u32.to_be_bytes()].concat(),
    ] {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&garbage).unwrap();
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "the connection ends at once");
        }
        assert_eq!(rest, hello, "nothing but the greeting is answered");
    }
    assert_eq!(place.json(["status"]).ok().event("status")["running"], true);
}

#[test]
fn case_64_running_out_of_descriptors_passes() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"<title>Few</title>"), ("data", &noise(4, 600_000))]);
    let binary = env!("CARGO_BIN_EXE_meganet");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$@\"", "sh", binary, "--data-dir"]).arg(place.data());
    command.args(["--json", "peer", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    let peer = Peer::spawn(command);
    let published = place.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
    let address = published["address"].as_str().unwrap();

    let tcp = peer.address("/tcp/");
    let port: u16 = tcp.split('/').nth(4).unwrap().parse().unwrap();
    let socket = peer.ready["socket"].as_str().unwrap();
    let flood: Vec<TcpStream> = (0..100).filter_map(|_| TcpStream::connect(("127.0.0.1", port)).ok()).collect();
    let clients: Vec<UnixStream> = (0..100).filter_map(|_| UnixStream::connect(socket).ok()).collect();
    eventually("exhaustion", || {
        let open = fs::read_dir(format!("/proc/{}/fd", peer.pid())).unwrap().count();
        (open >= 60).then_some(())
    });
    std::thread::sleep(std::time::Duration::from_secs(1));
    drop((flood, clients));

    let copy = place.path("copy");
    place.json(["get".as_ref(), address.as_ref(), copy.as_os_str()]).ok();
    assert!(tree(&copy) == tree(&site));
    assert_eq!(peer.stop("-TERM").code(), Some(0));
}

#[test]
fn an_older_program_is_told_so() {
    let place = Place::new();
    fs::create_dir_all(place.data()).unwrap();
    // A peer of a later version listens: it greets with a higher number.
    let listener = std::os::unix::net::UnixListener::bind(place.data().join("socket")).unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[b"meganet\0".as_slice(), &2u32.to_be_bytes()].concat()).unwrap();
        let _ = stream.read(&mut [0; 64]);
    });
    let run = place.json(["status"]);
    server.join().unwrap();
    assert_eq!(run.code(), Some(1));
    assert!(run.out.contains("another version"), "{}", run.out);
}

#[test]
fn a_bootstrap_page_that_is_down_does_not_keep_it_from_starting() {
    let place = Place::new();
    let mut command = meganet();
    command.arg("--data-dir").arg(place.data());
    command.args(["--json", "--bootstrap", "http://127.0.0.1:1/", "peer", "--listen", "/ip4/127.0.0.1/tcp/0"]);
    let mut peer = Peer::spawn(command);
    let note = peer.event("note")["message"].as_str().unwrap().to_owned();
    assert!(note.contains("http://127.0.0.1:1"), "{note}");
}

#[test]
fn a_bootstrap_page_leads_to_its_peers() {
    let (hub, place) = (Place::new(), Place::new());
    let hub_peer = hub.peer(&[]);
    let id: libp2p::PeerId = hub_peer.ready["peer_id"].as_str().unwrap().parse().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let entry = PeerEntry { peer_id: id.to_bytes(), addresses: vec![hub_peer.address("/tcp/")] };
    let list = PeerList { issued_ms: now, expires_ms: now + 600_000, peers: vec![entry] };
    let signed = peer_list::sign(&[3; 32], &list).unwrap();

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let page = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        // The first answer is an error: the peer asks again.
        for answer in [None, Some(&signed)] {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 2048]).unwrap();
            let (status, body) = answer.map_or((503, &[][..]), |list| (200, list.as_slice()));
            let _ =
                write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(body);
        }
    });
    let mut peer = place.peer(&["--bootstrap", &page]);
    joined(&mut peer);
}
