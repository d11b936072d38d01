//! Which of this server's origins a request is for. Any other `Host` is refused, against DNS rebinding.

use axum::http::{HeaderMap, Uri, header, uri::Authority};
use meganet_core::address::Address;
use std::{fmt, net::IpAddr, str::FromStr};

/// Bytes of a site's label and its dot, before the app's host name.
const ADDRESS_LABEL_BYTES: usize = 57;
const NAME_MAX_BYTES: usize = 253;
const LABEL_MAX_BYTES: usize = 63;

/// The host name under which the app is reached: lowercase, sites are at `ADDRESS.` below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppHost(String);

/// Why a name cannot be the app's host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppHostError {
    #[error(
        "“localhost” alone does not work: browsers refuse the service workers of sites below it. Use meganet.localhost"
    )]
    PlainLocalhost,
    #[error("an IP address has no names below it, and each site needs one. Use a host name such as meganet.localhost")]
    IpAddress,
    #[error(
        "not a host name: use lowercase letters, digits, “-” and “.”, without port or scheme, such as meganet.localhost"
    )]
    Malformed,
}

impl FromStr for AppHost {
    type Err = AppHostError;

    fn from_str(text: &str) -> Result<Self, AppHostError> {
        let name = text.to_ascii_lowercase();
        if name == "localhost" {
            return Err(AppHostError::PlainLocalhost);
        }
        if ip_literal(&name).is_some() {
            return Err(AppHostError::IpAddress);
        }
        let label_ok = |label: &str| {
            (1..=LABEL_MAX_BYTES).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        };
        if name.len() + ADDRESS_LABEL_BYTES > NAME_MAX_BYTES || !name.split('.').all(label_ok) {
            return Err(AppHostError::Malformed);
        }
        Ok(Self(name))
    }
}

impl fmt::Display for AppHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a request's host names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The app's origin.
    App,
    /// The origin of one site.
    Site(Address),
    /// A name below the app's host that is no site's address.
    NoSite,
    /// `localhost`, or a loopback address: people type these; the app lives at [`AppHost`].
    Loopback,
    /// Any other IP address. No attacker's name resolves to a literal, so public data may be given.
    IpAddress,
    /// Somebody else's name.
    Foreign,
}

/// The host of a request, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHost {
    pub target: Target,
    /// The port as the client wrote it.
    pub port: Option<u16>,
}

impl RequestHost {
    /// Reads the host of a request; `None` when it has none, several, or a malformed one.
    pub fn of(app: &AppHost, uri: &Uri, headers: &HeaderMap) -> Option<Self> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let written = hosts.next()?.to_str().ok()?;
        if hosts.next().is_some() || written.contains('@') {
            return None;
        }
        // An absolute request target names a host too (RFC 9112 §3.2.2): two different answers are refused.
        if uri.authority().is_some_and(|authority| !authority.as_str().eq_ignore_ascii_case(written)) {
            return None;
        }
        let authority = Authority::from_str(written).ok()?;
        let port = authority.port_u16();
        if port.is_none() && authority.as_str().len() != authority.host().len() {
            return None;
        }
        let name = authority.host().to_ascii_lowercase();
        Some(Self { target: target(app, &name), port })
    }
}

fn target(app: &AppHost, name: &str) -> Target {
    if name == app.0 {
        return Target::App;
    }
    if let Some(label) = name.strip_suffix(app.0.as_str()).and_then(|rest| rest.strip_suffix('.')) {
        return label.parse().map_or(Target::NoSite, Target::Site);
    }
    match ip_literal(name) {
        _ if name == "localhost" => Target::Loopback,
        Some(ip) if ip.is_loopback() => Target::Loopback,
        Some(_) => Target::IpAddress,
        None => Target::Foreign,
    }
}

fn ip_literal(name: &str) -> Option<IpAddr> {
    name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use meganet_core::keys::SiteKey;

    fn request_host(hosts: &[&str], uri: &str) -> Option<RequestHost> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        RequestHost::of(&"meganet.localhost".parse().unwrap(), &uri.parse().unwrap(), &headers)
    }

    fn target_of(host: &str) -> Target {
        request_host(&[host], "/").unwrap().target
    }

    #[test]
    fn hosts_are_told_apart() {
        let address = SiteKey::from_seed([7; 32]).address();
        assert_eq!(target_of("meganet.localhost"), Target::App);
        assert_eq!(target_of("MegaNet.Localhost:8080"), Target::App);
        assert_eq!(target_of(&format!("{address}.meganet.localhost:8080")), Target::Site(address));
        assert_eq!(target_of("x.meganet.localhost"), Target::NoSite);
        assert_eq!(target_of(&format!("a.{address}.meganet.localhost")), Target::NoSite);
        assert_eq!(target_of("localhost:8080"), Target::Loopback);
        assert_eq!(target_of("127.0.0.1:8080"), Target::Loopback);
        assert_eq!(target_of("[::1]:8080"), Target::Loopback);
        assert_eq!(target_of("203.0.113.9"), Target::IpAddress);
        assert_eq!(target_of("evil.example"), Target::Foreign);
        assert_eq!(target_of("evilmeganet.localhost"), Target::Foreign);
        assert_eq!(target_of("meganet.localhost.evil.example"), Target::Foreign);
        assert_eq!(target_of("meganet.localhost."), Target::Foreign);
    }

    #[test]
    fn malformed_hosts_are_none() {
        assert_eq!(request_host(&[], "/"), None);
        assert_eq!(request_host(&["meganet.localhost", "evil.example"], "/"), None);
        assert_eq!(request_host(&["user@meganet.localhost"], "/"), None);
        assert_eq!(request_host(&["meganet.localhost:99999"], "/"), None);
        assert_eq!(request_host(&["meganet.localhost:"], "/"), None);
        assert_eq!(request_host(&["meganet.localhost/x"], "/"), None);
        assert_eq!(request_host(&["meganet.localhost"], "http://evil.example/"), None);
        assert!(request_host(&["meganet.localhost"], "http://meganet.localhost/").is_some());
    }

    #[test]
    fn unusable_app_hosts_say_why() {
        let error = |name: &str| name.parse::<AppHost>().unwrap_err();
        assert_eq!(error("localhost"), AppHostError::PlainLocalhost);
        assert_eq!(error("127.0.0.1"), AppHostError::IpAddress);
        assert_eq!(error("[::1]"), AppHostError::IpAddress);
        for name in ["", "a..b", "-a.b", "a_b.c", "http://a.b", "a.b:80", &"a.".repeat(110)] {
            assert_eq!(error(name), AppHostError::Malformed, "{name}");
        }
    }
}
