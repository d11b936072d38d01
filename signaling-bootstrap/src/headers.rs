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
    let policy = match origin {
        Origin::App => app_policy(app_authority),
        Origin::Site => site_policy(app_authority),
        Origin::Data => "default-src 'none'; frame-ancestors 'none'; sandbox".to_owned(),
    };
    if let Ok(value) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, value);
    }
    if origin == Origin::App {
        let name = HeaderName::from_static("cross-origin-opener-policy");
        headers.insert(name, HeaderValue::from_static("same-origin"));
    }
}

fn app_policy(app_authority: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self'; frame-src *.{app_authority}; manifest-src 'self'; worker-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}

fn site_policy(app_authority: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; worker-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'self' {app_authority}"
    )
}
