//! Which host names are answered, and how (threat 65: DNS rebinding).

use crate::support::{Server, site};

const PEERS: &str = "/.well-known/meganet/peers";

#[test]
fn case_65_a_foreign_host_name_gets_nothing() {
    let server = Server::start();
    for host in ["evil.example", "meganet.localhost.evil.example", "evilmeganet.localhost", "rebind.localhost"] {
        for path in ["/", PEERS, "/.meganet-sw.js"] {
            let response = server.get(host, path);
            assert_eq!(response.status, 421, "{host} {path}");
            assert_eq!(response.header("cache-control"), Some("no-store"));
        }
    }
}

#[test]
fn loopback_names_lead_to_the_app() {
    let server = Server::start();
    let port = server.address.port();
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let response = server.get(&host, "/index.html?a=1");
        assert_eq!(response.status, 307, "{host}");
        assert_eq!(response.header("location"), Some(format!("http://{}/index.html?a=1", server.host()).as_str()));
    }
    let elsewhere = server.get(&format!("127.0.0.1:{port}"), "//evil.example/");
    assert!(elsewhere.header("location").unwrap().starts_with(&format!("http://{}//", server.host())));
}

#[test]
fn only_whole_addresses_are_sites() {
    let server = Server::start();
    let wrong_checksum = format!("{}a", &site().to_string()[..55]);
    let tail = server.host();
    for label in ["x", "www", &wrong_checksum, &format!("{}.{}", "a", site()), &"a".repeat(56)] {
        let response = server.get_with(&format!("{label}.{tail}"), "/", &["Accept: text/html"]);
        assert_eq!(response.status, 404, "{label}");
    }
    assert_eq!(server.get_with(&server.site_host().to_uppercase(), "/", &["Accept: text/html"]).status, 200);
}

#[test]
fn the_list_of_peers_is_at_the_apps_host_and_at_ip_addresses_only() {
    let server = Server::start();
    for host in [server.host(), "localhost".into(), "127.0.0.1".into(), "203.0.113.5:8080".into(), "[::1]".into()] {
        assert_eq!(server.get(&host, PEERS).status, 200, "{host}");
    }
    assert_eq!(server.get(&server.site_host(), PEERS).status, 404);
    assert_eq!(server.get("203.0.113.5", "/").status, 421, "an IP address has no app");
}

#[test]
fn another_host_may_be_chosen() {
    let dir = tempfile::tempdir().unwrap();
    crate::support::write_dist(&dir.path().join("dist"));
    let mut more = vec!["--host", "Mega.Example"];
    more.extend(crate::support::FREE_PORTS);
    let server = Server::start_in(dir, &more);
    assert_eq!(server.get("mega.example", "/").status, 200);
    assert!(
        server
            .get("mega.example", "/")
            .header("content-security-policy")
            .unwrap()
            .contains("frame-src *.mega.example;")
    );
    assert_eq!(server.get(&format!("{}.mega.example", site()), "/.meganet-sw.js").status, 200);
    assert_eq!(server.get("meganet.localhost", "/").status, 421);
}

#[test]
fn malformed_requests_are_refused_and_others_still_served() {
    let server = Server::start();
    let host = server.host();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nHost: evil.example\r\nConnection: close\r\n\r\n"), 400),
        (format!("GET http://evil.example/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), 400),
        (format!("GET / HTTP/1.1\r\nHost: a@{host}\r\nConnection: close\r\n\r\n"), 400),
        (format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc"), 405),
        (format!("PUT /x HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 405),
        (format!("OPTIONS / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"), 405),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc"), 413),
        (format!("GET / HTTP/1.1\r\nHost: {host}\r\n{}\r\n", "X: y\r\n".repeat(100)), 431),
        ("\u{16}\u{3}\u{1} this is not HTTP\r\n\r\n".to_owned(), 400),
    ] {
        let response = server.raw(&request);
        assert_eq!(response.status, status, "{:.60}", request);
    }
    assert_eq!(server.get(&host, "/").status, 200);
}

#[test]
fn cookies_are_cleared_on_every_origin_and_whatever_the_answer() {
    let server = Server::start();
    let (app, below) = (server.host(), server.site_host());
    // What a browser sends at most: 180 cookies of 4 KiB.
    let cookies = (0..180).map(|number| format!("c{number}={}", "x".repeat(4_090))).collect::<Vec<_>>().join("; ");
    let cookies = format!("Cookie: {cookies}");
    for (host, path, status) in [
        (&app, "/", 200),
        (&app, PEERS, 200),
        (&app, "/none", 404),
        (&below, "/.meganet/bridge.html", 200),
        (&below, "/.meganet-sw.js", 200),
        (&"evil.example".to_owned(), "/", 421),
    ] {
        let response = server.get_with(host, path, &[&cookies]);
        assert_eq!(response.status, status, "{host} {path}");
        assert_eq!(response.header("clear-site-data"), Some("\"cookies\""), "{host} {path}");
        assert_eq!(server.get(host, path).header("clear-site-data"), None, "{host} {path}");
        assert_eq!(response.header("set-cookie"), None);
    }
}
