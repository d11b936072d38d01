//! The files of the app and of site origins, with the headers that each kind must carry.

use crate::support::Server;

const HASHED: &str = "/app-0123456789abcdef.js";
const NAVIGATION: [&str; 2] = ["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"];

#[test]
fn the_page_carries_the_apps_policy() {
    let server = Server::start();
    let page = server.get(&server.host(), "/");
    assert_eq!((page.status, page.text().as_str()), (200, "<!doctype html><title>MegaNet</title>"));
    let expected_policy = format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self' ws: wss:; frame-src *.{}; manifest-src 'self'; worker-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        server.host()
    );
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("content-security-policy", &expected_policy),
        ("cross-origin-opener-policy", "same-origin"),
        ("origin-agent-cluster", "?1"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-dns-prefetch-control", "off"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    assert!(page.header("permissions-policy").unwrap().contains("camera=()"));
    assert_eq!(page.header("access-control-allow-origin"), None);
}

#[test]
fn names_with_a_hash_are_kept_for_ever_and_others_asked_for_again() {
    let server = Server::start();
    let cache = |path: &str| server.get(&server.host(), path).header("cache-control").map(str::to_owned);
    assert_eq!(cache(HASHED).as_deref(), Some("public, max-age=31536000, immutable"));
    for path in ["/index.html", "/sw.js", "/icon.svg", "/manifest.webmanifest"] {
        assert_eq!(cache(path).as_deref(), Some("no-cache"), "{path}");
    }
}

#[test]
fn media_types_are_what_browsers_need() {
    let server = Server::start();
    for (path, media_type) in [
        ("/app-0123456789abcdef.wasm", "application/wasm"),
        (HASHED, "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/manifest.webmanifest", "application/manifest+json"),
    ] {
        assert_eq!(server.get(&server.host(), path).header("content-type"), Some(media_type), "{path}");
    }
}

#[test]
fn a_browser_gets_the_smallest_form_it_takes() {
    let server = Server::start();
    for (accepted, encoding, body) in [
        ("gzip, deflate, br", Some("br"), "brotli bytes"),
        ("gzip", Some("gzip"), "gzip bytes"),
        ("identity", None, "export default 1;"),
    ] {
        let response = server.get_with(&server.host(), HASHED, &[&format!("Accept-Encoding: {accepted}")]);
        assert_eq!((response.header("content-encoding"), response.text().as_str()), (encoding, body), "{accepted}");
        assert_eq!(response.header("vary"), Some("accept-encoding"));
        assert_eq!(response.header("content-type"), Some("text/javascript; charset=utf-8"));
    }
}

#[test]
fn an_unchanged_file_is_not_sent_again() {
    let server = Server::start();
    let first = server.get(&server.host(), "/");
    let tag = first.header("etag").unwrap();
    assert!(first.header("last-modified").is_some());
    let second = server.get_with(&server.host(), "/", &[&format!("If-None-Match: {tag}")]);
    assert_eq!((second.status, second.body.len()), (304, 0));
    assert!(second.header("content-security-policy").is_some(), "the policy of a stored page is renewed");
}

#[test]
fn head_answers_without_the_body() {
    let server = Server::start();
    let request = format!("HEAD {HASHED} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.host());
    let response = server.raw(&request);
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert_eq!(response.header("content-length"), Some("17"));
}

#[test]
fn nothing_outside_the_app_folder_is_served() {
    let server = Server::start();
    for path in [
        "/../secret",
        "/..%2fsecret",
        "/%2e%2e/secret",
        "/%2e%2e%2fsecret",
        "/x/../../secret",
        "/..\\secret",
        "//secret",
        "/.secret",
        "/%2esecret",
        "/../dist/secret",
        "/app/../../secret",
        "/secret",
        "/",
    ] {
        for host in [server.host(), server.site_host()] {
            let response = server.get(&host, path);
            assert!(!response.text().contains("secret"), "{host} {path}");
        }
        let response = server.get(&server.site_host(), &format!("/.meganet{path}"));
        assert!(!response.text().contains("secret"), "/.meganet{path}");
    }
}

#[test]
fn a_sites_origin_serves_the_worker_and_the_bridge_with_its_own_policy() {
    let server = Server::start();
    for (path, body) in [
        ("/.meganet-sw.js", "// worker"),
        ("/.meganet/bridge.html", "<!doctype html><title>bridge</title>"),
        ("/.meganet/bridge.js", "// bridge"),
    ] {
        let response = server.get(&server.site_host(), path);
        assert_eq!((response.status, response.text().as_str()), (200, body), "{path}");
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.ends_with(&format!("frame-ancestors 'self' {}", server.host())), "{policy}");
        assert!(policy.contains("sandbox allow-scripts allow-same-origin allow-top-navigation-by-user-activation;"));
        assert_eq!(
            response.header("connection-allowlist"),
            Some(format!("(response-origin \"http{{s}}?://{}/*\");redirects=allow", server.host()).as_str())
        );
        assert_eq!(response.header("origin-agent-cluster"), Some("?1"));
        assert_eq!(response.header("cache-control"), Some("no-cache"));
    }
    assert_eq!(server.get(&server.host(), "/.meganet-sw.js").status, 404, "the app's origin has no such worker");
}

#[test]
fn any_page_of_a_sites_origin_is_the_boot_page_and_nothing_else_is() {
    let server = Server::start();
    let host = server.site_host();
    let page = server.get_with(&host, "/some/page.html?q", &NAVIGATION);
    assert_eq!((page.status, page.text().as_str()), (200, "<!doctype html><title>boot</title>"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert_eq!(server.get_with(&host, "/", &["Accept: text/html"]).status, 200, "older browsers send no metadata");
    assert_eq!(server.get_with(&host, "/x.js", &["Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script"]).status, 404);
    assert_eq!(server.get_with(&host, "/x.js", &["Accept: */*"]).status, 404);
    let download = server.get_with(&host, "/x.bin", &["Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: empty"]);
    assert_eq!(download.status, 404, "a download must not save the boot page");
    let missing = server.get_with(&host, "/.meganet/none.js", &NAVIGATION);
    assert_eq!(missing.status, 404);
    assert!(missing.header("content-security-policy").unwrap().ends_with("sandbox"), "out of a site's reach");
}
