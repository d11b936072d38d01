//! Starting, refusing to start, stopping.

use crate::support::{FREE_PORTS, Server, connect, failure, program, write_dist};
use std::{
    fs,
    io::Write as _,
    net::{TcpListener, UdpSocket},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

#[test]
fn ready_names_the_page_the_peer_and_its_addresses() {
    let server = Server::start();
    assert_eq!(server.ready["http"], format!("http://{}/", server.host()));
    assert!(server.ready["peer_id"].as_str().unwrap().starts_with("12D3KooW"));
    assert_eq!(server.ready["addresses"].as_array().unwrap().len(), 4);
    assert_eq!(server.get(&server.host(), "/").status, 200);
    let data = server.dir.path().join("data");
    let mut names: Vec<_> =
        fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["identity.key", "lock", "webrtc.pem"], "no other state");
    for name in names {
        assert_eq!(fs::metadata(data.join(&name)).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn both_signals_stop_it_cleanly_even_with_a_client_that_waits() {
    for signal in ["INT", "TERM"] {
        let server = Server::start();
        let mut idle = connect(server.address);
        idle.write_all(b"GET / HT").unwrap();
        let address = server.address;
        let (code, _dir) = server.stop(signal);
        assert_eq!(code, Some(0), "{signal}");
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}

#[test]
fn a_taken_http_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut command = program(dir.path());
    command.arg("--listen").arg(format!("127.0.0.1:{port}")).args(FREE_PORTS);
    let message = failure(command);
    assert!(message.contains(&format!("port {port} on 127.0.0.1 is taken")), "{message}");
    assert!(message.contains("--listen"), "{message}");
}

fn on(dir: &Path, p2p_listen: &str) -> Command {
    let mut command = program(dir);
    command.args(["--listen", "127.0.0.1:0", "--p2p-listen", p2p_listen]);
    command
}

#[test]
fn a_taken_p2p_port_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let at_udp = format!("/ip4/127.0.0.1/udp/{}/quic-v1", udp.local_addr().unwrap().port());
    let at_tcp = format!("/ip4/127.0.0.1/tcp/{}", tcp.local_addr().unwrap().port());
    for address in [at_udp, at_tcp] {
        let message = failure(on(dir.path(), &address));
        assert!(message.contains(&address) && message.contains("taken by another program"), "{message}");
        assert!(message.contains("--p2p-listen"), "{message}");
    }
    let message = failure(on(dir.path(), "/ip4/203.0.113.7/udp/0/quic-v1"));
    assert!(message.contains("no such IP address"), "{message}");
}

#[test]
fn two_servers_that_listen_for_tcp_do_not_share_a_port() {
    let first = Server::start_in(tempfile::tempdir().unwrap(), &FREE_PORTS);
    let address = first.ready["addresses"][0].as_str().unwrap().split("/p2p/").next().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let message = failure(on(dir.path(), address));
    assert!(message.contains("taken by another program"), "{message}");
}

#[test]
fn a_second_server_on_the_data_folder_names_the_first() {
    let first = Server::start_in(tempfile::tempdir().unwrap(), &FREE_PORTS);
    let message = failure(on(first.dir.path(), FREE_PORTS[1]));
    assert!(message.contains("in use by process") && message.contains("--data-dir"), "{message}");
}

#[test]
fn a_damaged_certificate_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::DirBuilder::new().mode(0o700).create(dir.path().join("data")).unwrap();
    let path = dir.path().join("data/webrtc.pem");
    fs::write(&path, "no certificate").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let message = failure(on(dir.path(), FREE_PORTS[1]));
    assert!(message.contains("webrtc.pem holds no certificate") && !message.contains("--p2p-listen"), "{message}");
}

#[test]
fn a_folder_that_is_no_built_app_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_dist(&dir.path().join("dist"));
    fs::remove_file(dir.path().join("dist/site/sw.js")).unwrap();
    let mut command = program(dir.path());
    command.args(["--listen", "127.0.0.1:0", "--app-dir"]).arg(dir.path().join("dist")).args(FREE_PORTS);
    let message = failure(command);
    assert!(message.contains("sw.js") && message.contains("cargo xtask build"), "{message}");
}

#[test]
fn a_host_without_names_below_it_is_refused() {
    for host in ["localhost", "127.0.0.1"] {
        let dir = tempfile::tempdir().unwrap();
        let output = program(dir.path()).args(["--host", host]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("meganet.localhost"), "{host}");
    }
}

#[test]
fn help_shows_examples() {
    let dir = tempfile::tempdir().unwrap();
    let output = program(dir.path()).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for word in ["Examples:", "--app-dir dist", "--external", "--p2p-listen", "http://meganet.localhost:8080/"] {
        assert!(help.contains(word), "{word}");
    }
}
