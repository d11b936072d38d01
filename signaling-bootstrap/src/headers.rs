//! The headers that hold each origin in its place (threats 68 to 72). Every response carries them.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// What kind of response the headers are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A file of the app.
    App,
    /// A page of a site's origin: bridge, boot page, service worker.
    Site,
    /// Plain data or an error: nothing that a browser should run.
    Data,
}

/// Nothing here uses cookies: those that come were set by a site, for this host and all sites below it, to be in the way.
const CLEAR: (HeaderName, HeaderValue) =
    (HeaderName::from_static("clear-site-data"), HeaderValue::from_static("\"cookies\""));

/// Answers a request that carried cookies with the word to forget them.
pub fn clear_cookies(headers: &mut HeaderMap) {
    let (name, value) = CLEAR;
    headers.insert(name, value);
}

/// Features that neither the app nor a site's boot pages use.
const PERMISSIONS_POLICY: &str = "accelerometer=(), camera=(), display-capture=(), encrypted-media=(), geolocation=(), \
    gyroscope=(), hid=(), magnetometer=(), microphone=(), midi=(), payment=(), publickey-credentials-get=(), \
    serial=(), usb=(), xr-spatial-tracking=()";

const FIXED: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("origin-agent-cluster"), "?1"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("x-dns-prefetch-control"), "off"),
    (HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY),
];

/// Sets the security headers of a response.
///
/// `app_authority` is the app's host with the port as the client wrote it: sources without a scheme match the scheme
/// of the page, so the same policy is right behind a proxy that ends TLS.
pub fn secure(headers: &mut HeaderMap, origin: Origin, app_authority: &str) {
    for (name, value) in FIXED {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let mut set = |name: HeaderName, value: String| {
        // Built from a checked host name and a number: always a valid value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    match origin {
        Origin::App => {
            set(header::CONTENT_SECURITY_POLICY, app_policy(app_authority));
            set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin".into());
        }
        Origin::Site => {
            set(header::CONTENT_SECURITY_POLICY, site_policy(app_authority));
            set(HeaderName::from_static("connection-allowlist"), site_connections(app_authority));
        }
        Origin::Data => set(header::CONTENT_SECURITY_POLICY, DATA_POLICY.into()),
    }
}

/// Nothing runs, and the opaque origin keeps a site's scripts out when it is shown in their frame.
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'; sandbox";

fn app_policy(app_authority: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self' ws: wss:; frame-src *.{app_authority}; manifest-src 'self'; worker-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}

/// A site's scripts share the origin of these pages, so the pages are held as tightly as the site itself.
fn site_policy(app_authority: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; \
         base-uri 'none'; form-action 'none'; webrtc 'block'; \
         sandbox allow-scripts allow-same-origin allow-top-navigation-by-user-activation; \
         frame-ancestors 'self' {app_authority}"
    )
}

/// Stops what the policy cannot (preconnects, WebRTC), in Chromium; the boot page may lead to the app.
fn site_connections(app_authority: &str) -> String {
    format!("(response-origin \"http{{s}}?://{app_authority}/*\");redirects=allow")
}
