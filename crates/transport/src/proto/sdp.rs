//! Session descriptions: the one a `webrtc-direct` client makes up for its server, and what is looked at in those that peers
//! send (RFC 8839, RFC 8841).
//!
//! A browser or backend parses a peer's description itself; what is checked here is only what must hold before it may.

use super::{credentials::Ice, fingerprint::Fingerprint, frame::FRAME_MAX_BYTES};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
};

/// Bytes of a description that is looked at.
pub const SDP_MAX_BYTES: usize = 16_384;
/// Candidates that one peer may name for one connection, in its description and after it.
pub const CANDIDATES_MAX: usize = 32;
/// Candidates of one IP address that count; further ones are left out. A peer has one or two sockets an address, and nobody is
/// to be made to knock at all ports of somebody else.
pub const CANDIDATES_PER_IP_MAX: usize = 8;
/// Bytes of one candidate.
pub const CANDIDATE_MAX_BYTES: usize = 512;

/// Why a description or candidate is not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// Too large to be looked at.
    #[error("a session description of {bytes} bytes, and {SDP_MAX_BYTES} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Too many candidates: nobody is helped to knock at many doors.
    #[error("more than {CANDIDATES_MAX} candidates")]
    TooManyCandidates,
    /// It describes no data channels, or something besides them.
    #[error("the session description is not one of data channels alone")]
    NotData,
    /// It has no SHA-256 fingerprint, or several different ones.
    #[error("the session description has no single SHA-256 fingerprint")]
    Fingerprint,
    /// Its one media section has no name, or another one is bundled.
    #[error("the session description names no single media section")]
    Mid,
    /// It has no valid fragment and password.
    #[error("the session description has no valid ICE credentials")]
    Credentials,
    /// It says that its end does not take messages of a full frame's length.
    #[error("the session description takes no messages of {FRAME_MAX_BYTES} bytes")]
    MessageSize,
    /// A candidate that is malformed, or that points where no peer can be.
    #[error("the candidate is malformed or points where no peer can be")]
    Candidate,
}

/// What a server that was never asked would answer: where it listens, its certificate, and what it is told to use. It does not say
/// that the server's ICE is a lite one: Chromium would nominate a path only with its second check, a round of 48 ms later.
#[must_use]
pub fn direct_answer(server: SocketAddr, fingerprint: Fingerprint, ice: &Ice) -> String {
    let version = if server.is_ipv4() { "IP4" } else { "IP6" };
    let (ip, port) = (server.ip(), server.port());
    let Ice { ufrag, pwd } = ice;
    let fingerprint = fingerprint.to_sdp_value();
    [
        "v=0".to_owned(),
        format!("o=- 0 0 IN {version} {ip}"),
        "s=-".to_owned(),
        "t=0 0".to_owned(),
        format!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel"),
        format!("c=IN {version} {ip}"),
        "a=mid:0".to_owned(),
        "a=ice-options:ice2".to_owned(),
        format!("a=ice-ufrag:{ufrag}"),
        format!("a=ice-pwd:{pwd}"),
        format!("a=fingerprint:{fingerprint}"),
        "a=setup:passive".to_owned(),
        "a=sctp-port:5000".to_owned(),
        "a=max-message-size:16384".to_owned(),
        format!("a=candidate:1 1 UDP 2130706431 {ip} {port} typ host"),
        "a=end-of-candidates".to_owned(),
    ]
    .map(|line| line + "\r\n")
    .concat()
}

/// The value of the first attribute of this name.
fn attribute<'a>(sdp: &'a str, name: &str) -> Option<&'a str> {
    attributes(sdp, name).next()
}

fn attributes<'a>(sdp: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let prefix = format!("a={name}:");
    sdp.lines().filter_map(move |line| line.trim_end().strip_prefix(prefix.as_str()))
}

/// The credentials in a description; a browser's own offer is read with it too.
///
/// # Errors
/// [`SdpError::Credentials`].
pub fn ice(sdp: &str) -> Result<Ice, SdpError> {
    match (attribute(sdp, "ice-ufrag"), attribute(sdp, "ice-pwd")) {
        (Some(ufrag), Some(pwd)) if super::credentials::is_ice(ufrag) && super::credentials::is_ice(pwd) => {
            Ok(Ice { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() })
        }
        _ => Err(SdpError::Credentials),
    }
}

/// The certificate's fingerprint in a description.
///
/// # Errors
/// [`SdpError::Fingerprint`] when there is none, or when several contradict each other.
pub fn fingerprint(sdp: &str) -> Result<Fingerprint, SdpError> {
    let mut found = attributes(sdp, "fingerprint").filter_map(Fingerprint::from_sdp_value);
    let first = found.next().ok_or(SdpError::Fingerprint)?;
    if found.all(|other| other == first) { Ok(first) } else { Err(SdpError::Fingerprint) }
}

/// The same description with other credentials: what a version 1 client does to its own offer.
#[must_use]
pub fn with_ice(sdp: &str, ice: &Ice) -> String {
    let changed = |line: &str| {
        if line.starts_with("a=ice-ufrag:") {
            format!("a=ice-ufrag:{}\r\n", ice.ufrag)
        } else if line.starts_with("a=ice-pwd:") {
            format!("a=ice-pwd:{}\r\n", ice.pwd)
        } else {
            format!("{line}\r\n")
        }
    };
    sdp.lines().map(changed).collect()
}

/// Checks a peer's offer or answer before a browser or backend sees it; returns how many candidates it names.
///
/// # Errors
/// [`SdpError`]: the connection attempt is over.
pub fn check(sdp: &str) -> Result<usize, SdpError> {
    if sdp.len() > SDP_MAX_BYTES {
        return Err(SdpError::TooLarge { bytes: sdp.len() });
    }
    let mut media = sdp.lines().filter_map(|line| line.strip_prefix("m="));
    let is_data = |line: &str| line.starts_with("application ") && line.contains("DTLS/SCTP");
    if !media.next().is_some_and(is_data) || media.next().is_some() {
        return Err(SdpError::NotData);
    }
    // str0m panics on a section without a name.
    let mut mids = attributes(sdp, "mid");
    let mid = mids.next().filter(|mid| !mid.is_empty()).ok_or(SdpError::Mid)?;
    let is_bundled = |group: &str| group.split_ascii_whitespace().eq(["BUNDLE", mid]);
    if mids.next().is_some() || !attributes(sdp, "group").all(is_bundled) {
        return Err(SdpError::Mid);
    }
    fingerprint(sdp)?;
    ice(sdp)?;
    // RFC 8841 §6: 0 is no limit, and 64 KiB where nothing is said.
    let is_enough = |bytes: u64| bytes == 0 || bytes >= FRAME_MAX_BYTES as u64;
    let takes_frames = |bytes: &str| bytes.trim().parse().is_ok_and(is_enough);
    if !attributes(sdp, "max-message-size").all(takes_frames) {
        return Err(SdpError::MessageSize);
    }
    let mut count = 0;
    for candidate in attributes(sdp, "candidate") {
        count += 1;
        if count > CANDIDATES_MAX {
            return Err(SdpError::TooManyCandidates);
        }
        check_candidate_value(candidate)?;
    }
    Ok(count)
}

/// The addresses that one peer has named for one connection.
#[derive(Debug, Default)]
pub struct Named(HashMap<IpAddr, usize>);

impl Named {
    /// Whether there is one.
    #[must_use]
    pub fn is_any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Whether a candidate counts, with those that came before it.
    pub fn admits(&mut self, target: &Target) -> bool {
        // A name is a browser's to resolve.
        let Target::Socket(socket) = target else { return true };
        let count = self.0.entry(socket.ip().to_canonical()).or_default();
        *count += 1;
        *count <= CANDIDATES_PER_IP_MAX
    }

    /// A description without the candidates that do not count, and those that are not UDP: nobody is made to open TCP connections.
    #[must_use]
    pub fn admitted(&mut self, sdp: &str) -> String {
        let mut is_admitted = |line: &&str| {
            let value = line.trim_end().strip_prefix("a=candidate:");
            let target = |value: &str| check_candidate_value(value).ok().map(|target| (is_udp(value), target));
            value.and_then(target).is_none_or(|(is_udp, target)| is_udp && self.admits(&target))
        };
        sdp.split_inclusive('\n').filter(|line| is_admitted(line)).collect()
    }
}

/// A description without its candidates, and where those point that are UDP and no names.
#[must_use]
pub fn split_candidates(sdp: &str) -> (String, Vec<SocketAddr>) {
    let is_candidate = |line: &&str| line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates");
    let rest = sdp.lines().filter(|line| !is_candidate(line)).map(|line| format!("{line}\r\n")).collect();
    let targets = attributes(sdp, "candidate")
        .filter(|value| is_udp(value))
        .filter_map(|value| check_candidate_value(value).ok());
    let socket = |target| if let Target::Socket(socket) = target { Some(socket) } else { None };
    (rest, targets.filter_map(socket).collect())
}

/// Whether a candidate is UDP's.
fn is_udp(value: &str) -> bool {
    value.split_ascii_whitespace().nth(2).is_some_and(|name| name.eq_ignore_ascii_case("udp"))
}

/// Of a server-reflexive candidate: the address it stands for, and how that looks from outside; each with its port. Browsers
/// that hide the former name one port all the same.
#[must_use]
pub fn reflexive(candidate: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = candidate.split_ascii_whitespace().collect();
    let after = |name: &str| {
        let place = parts.iter().position(|part| *part == name)?;
        parts.get(place + 1).copied()
    };
    (after("typ")? == "srflx").then_some(())?;
    let place = parts.iter().position(|part| *part == "typ")?;
    let outside = format!("{} {}", parts.get(place.checked_sub(2)?)?, parts.get(place.checked_sub(1)?)?);
    Some((format!("{} {}", after("raddr")?, after("rport")?), outside))
}

/// Where a candidate points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// An address.
    Socket(SocketAddr),
    /// A name that only a browser in the same network can resolve (RFC 8828 mDNS).
    Mdns,
}

/// Checks one trickled candidate, `candidate:…` with or without `a=`. Those of TCP, which browsers name too, are none here.
///
/// # Errors
/// [`SdpError::Candidate`].
pub fn check_candidate(candidate: &str) -> Result<Target, SdpError> {
    let line = candidate.strip_prefix("a=").unwrap_or(candidate);
    let value = line.strip_prefix("candidate:").filter(|value| is_udp(value)).ok_or(SdpError::Candidate)?;
    check_candidate_value(value)
}

fn check_candidate_value(value: &str) -> Result<Target, SdpError> {
    if value.len() > CANDIDATE_MAX_BYTES {
        return Err(SdpError::Candidate);
    }
    let parts: Vec<&str> = value.split_ascii_whitespace().collect();
    let [_foundation, _component, _protocol, _priority, host, port, "typ", _kind, ..] = parts.as_slice() else {
        return Err(SdpError::Candidate);
    };
    let port: u16 = port.parse().map_err(|_| SdpError::Candidate)?;
    if host.len() > ".local".len() && host.ends_with(".local") {
        return Ok(Target::Mdns);
    }
    let ip: IpAddr = host.parse().map_err(|_| SdpError::Candidate)?;
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    if ip.is_multicast() || ip.is_unspecified() || is_broadcast || port == 0 {
        return Err(SdpError::Candidate);
    }
    Ok(Target::Socket(SocketAddr::new(ip, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ice_of(text: &str) -> Ice {
        Ice { ufrag: text.into(), pwd: text.into() }
    }

    fn answer() -> String {
        direct_answer("1.2.3.4:1234".parse().unwrap(), Fingerprint([7; 32]), &ice_of("libp2p+webrtc+v1/abcdefgh"))
    }

    #[test]
    fn who_takes_no_full_frames_is_refused() {
        let named = "a=max-message-size:16384";
        assert!(answer().contains(named));
        for fine in ["a=max-message-size:0", "a=max-message-size:262144", "a=x:y"] {
            assert!(check(&answer().replace(named, fine)).is_ok(), "{fine}");
        }
        for small in
            ["a=max-message-size:16383", "a=max-message-size:1", "a=max-message-size:-1", "a=max-message-size:"]
        {
            assert_eq!(check(&answer().replace(named, small)), Err(SdpError::MessageSize), "{small}");
        }
    }

    #[test]
    fn a_media_section_without_a_name_of_its_own_is_refused() {
        for fine in [answer(), answer() + "a=group:BUNDLE 0\r\n"] {
            assert!(check(&fine).is_ok());
        }
        let mid = answer().lines().find(|line| line.starts_with("a=mid:")).unwrap().to_owned() + "\r\n";
        for changed in [
            answer().replace(&mid, ""),
            answer().replace(&mid, "a=mid:\r\n"),
            answer().replace(&mid, &format!("{mid}{mid}")),
            answer() + "a=group:BUNDLE 1\r\n",
            answer() + "a=group:BUNDLE 0 1\r\n",
        ] {
            assert_eq!(check(&changed), Err(SdpError::Mid), "{changed}");
        }
    }

    #[test]
    fn a_made_up_answer_passes_its_own_checks_in_both_families() {
        for socket in ["1.2.3.4:1234", "[2001:db8::1]:1234"] {
            let sdp = direct_answer(socket.parse().unwrap(), Fingerprint([7; 32]), &ice_of("abcdefgh"));
            assert_eq!(check(&sdp), Ok(1), "{sdp}");
            assert_eq!(fingerprint(&sdp), Ok(Fingerprint([7; 32])));
            assert_eq!(ice(&sdp), Ok(ice_of("abcdefgh")));
            assert!(sdp.lines().all(|line| line.as_bytes()[1] == b'='));
        }
    }

    #[test]
    fn a_version_1_client_changes_only_its_credentials() {
        let changed = with_ice(&answer(), &ice_of("ABCDEFGH"));
        assert_eq!(ice(&changed), Ok(ice_of("ABCDEFGH")));
        assert_eq!(with_ice(&changed, &ice_of("libp2p+webrtc+v1/abcdefgh")), answer());
    }

    #[test]
    fn case_48_descriptions_are_bounded_and_point_only_at_peers() {
        let with = |more: &str| answer() + more;
        let candidates =
            |n: usize| (0..n).map(|n| format!("a=candidate:1 1 UDP 1 10.0.0.{n} 9 typ host\r\n")).collect::<String>();
        assert_eq!(check(&with(&candidates(CANDIDATES_MAX - 1))), Ok(CANDIDATES_MAX));
        assert_eq!(check(&with(&candidates(CANDIDATES_MAX))), Err(SdpError::TooManyCandidates));
        assert!(matches!(check(&with(&candidates(10_000))), Err(SdpError::TooLarge { .. })));
        for target in [
            "224.0.0.1 9",
            "0.0.0.0 9",
            "255.255.255.255 9",
            "239.1.2.3 9",
            "ff02::1 9",
            ":: 9",
            "1.2.3.4 0",
            "1.2.3.4 70000",
            "example.org 9",
            ".local 9",
        ] {
            let candidate = format!("candidate:1 1 udp 1 {target} typ host");
            assert_eq!(check_candidate(&candidate), Err(SdpError::Candidate), "{target}");
            assert_eq!(check(&with(&format!("a={candidate}\r\n"))), Err(SdpError::Candidate), "{target}");
        }
        // Peers at home meet on private addresses, and tests on loopback.
        for target in
            ["10.0.0.1 9", "172.16.0.1 9", "192.168.1.2 9", "169.254.1.2 9", "127.0.0.1 9", "fd00::1 9", "fe80::1 9"]
        {
            let candidate = format!("candidate:1 1 udp 1 {target} typ host");
            assert!(matches!(check_candidate(&candidate), Ok(Target::Socket(_))), "{target}");
            assert_eq!(check(&with(&format!("a={candidate}\r\n"))), Ok(2), "{target}");
        }
        // Nobody is made to open TCP connections.
        let tcp = "candidate:1 1 tcp 1 10.0.0.1 9 typ host tcptype passive";
        assert_eq!(check_candidate(tcp), Err(SdpError::Candidate));
        let both = with(&format!("a={tcp}\r\n"));
        assert_eq!(Named::default().admitted(&both), with(""), "the others stay");
        assert_eq!(check_candidate("candidate:1 1 udp 1 abc-def.local 9 typ host generation 0"), Ok(Target::Mdns));
        assert_eq!(
            check_candidate("a=candidate:1 1 udp 1 ::1 9 typ host"),
            Ok(Target::Socket("[::1]:9".parse().unwrap()))
        );
        for malformed in [
            "",
            "candidate:",
            "candidate:1 1 udp 1 1.2.3.4",
            "1 1 udp 1 1.2.3.4 9 typ host",
            &format!("candidate:{} 1 udp 1 1.2.3.4 9 typ host", "x".repeat(600)),
        ] {
            assert_eq!(check_candidate(malformed), Err(SdpError::Candidate), "{malformed}");
        }
    }

    #[test]
    fn one_address_is_knocked_at_only_so_often() {
        let candidates = |ip: &str, ports: std::ops::Range<u16>| {
            ports.map(|port| format!("a=candidate:1 1 UDP 1 {ip} {port} typ host\r\n")).collect::<String>()
        };
        let mut named = Named::default();
        // The description has one of its own.
        let all = answer()
            + &candidates("10.0.0.1", 1..3)
            + &candidates("1.2.3.4", 1..20)
            + "a=candidate:1 1 UDP 1 x.local 9 typ host\r\n";
        let kept = CANDIDATES_PER_IP_MAX as u16;
        let expected = answer()
            + &candidates("10.0.0.1", 1..3)
            + &candidates("1.2.3.4", 1..kept)
            + "a=candidate:1 1 UDP 1 x.local 9 typ host\r\n";
        assert_eq!(named.admitted(&all), expected);
        for (address, is_admitted) in [("1.2.3.4:9", false), ("[::ffff:1.2.3.4]:9", false), ("1.2.3.5:9", true)] {
            assert_eq!(named.admits(&Target::Socket(address.parse().unwrap())), is_admitted, "{address}");
        }
        assert!(named.admits(&Target::Mdns));
    }

    #[test]
    fn a_reflexive_candidate_names_both_sides_of_the_nat() {
        let line =
            "candidate:1 1 udp 1677729535 203.0.113.7 61000 typ srflx raddr 192.168.1.2 rport 50000 generation 0";
        assert_eq!(reflexive(line), Some(("192.168.1.2 50000".to_owned(), "203.0.113.7 61000".to_owned())));
        for other in ["", "typ srflx", "candidate:1 1 udp 1 192.168.1.2 50000 typ host"] {
            assert_eq!(reflexive(other), None, "{other}");
        }
    }

    #[test]
    fn candidates_are_taken_out_of_a_description() {
        let named =
            "a=candidate:1 1 udp 1 abc.local 9 typ host\r\na=candidate:1 1 tcp 1 1.2.3.5 9 typ host tcptype active\r\n";
        let (rest, targets) = split_candidates(&(answer() + named));
        assert_eq!(targets, ["1.2.3.4:1234".parse().unwrap()]);
        assert_eq!(check(&rest), Ok(0));
        assert_eq!(split_candidates(&rest), (rest.clone(), vec![]));
    }

    #[test]
    fn what_describes_something_else_is_refused() {
        let without = |name: &str| {
            answer()
                .lines()
                .filter(|line| !line.starts_with(name))
                .map(|line| format!("{line}\r\n"))
                .collect::<String>()
        };
        assert_eq!(check(&without("m=")), Err(SdpError::NotData));
        assert_eq!(check(&(answer() + "m=audio 9 UDP/TLS/RTP/SAVPF 0\r\n")), Err(SdpError::NotData));
        assert_eq!(check(&without("a=fingerprint")), Err(SdpError::Fingerprint));
        let two = answer() + &format!("a=fingerprint:{}\r\n", Fingerprint([8; 32]).to_sdp_value());
        assert_eq!(check(&two), Err(SdpError::Fingerprint));
        assert_eq!(check(&without("a=ice-pwd")), Err(SdpError::Credentials));
        assert_eq!(check(""), Err(SdpError::NotData));
    }

    proptest::proptest! {
        #[test]
        fn anything_passes_or_is_refused(sdp in "(v=0|m=application 9 UDP/DTLS/SCTP x|a=candidate:[ -~]{0,60}|a=ice-pwd:[a-z]{0,9}|a=fingerprint:[ -~]{0,99}|\\r\\n|\\PC){0,12}") {
            let _ = check(&sdp);
        }

        #[test]
        fn any_description_is_taken_apart_and_put_together(
            sdp in "((a=candidate:1 1 (udp|TCP) 1 10\\.0\\.0\\.[12] [0-9]{1,6} typ host|a=candidate:[ -~]{0,60}|a=ice-(ufrag|pwd):[a-z]{3,9}|\\PC{0,20})\\r?\\n?){0,30}",
        ) {
            let (rest, targets) = split_candidates(&sdp);
            proptest::prop_assert!(targets.iter().all(|target| target.port() != 0));
            proptest::prop_assert_eq!(split_candidates(&rest), (rest.clone(), vec![]));
            let admitted = Named::default().admitted(&sdp);
            let (_, of_one) = split_candidates(&admitted);
            for ip in [[10, 0, 0, 1], [10, 0, 0, 2]] {
                let count = of_one.iter().filter(|target| target.ip() == IpAddr::from(ip)).count();
                proptest::prop_assert!(count <= CANDIDATES_PER_IP_MAX, "{} of {:?}", count, ip);
            }
            proptest::prop_assert_eq!(&Named::default().admitted(&admitted), &admitted);
            let changed = ice(&with_ice(&sdp, &ice_of("ABCDEFGH")));
            proptest::prop_assert!(ice(&sdp).is_err() || changed == Ok(ice_of("ABCDEFGH")));
        }

        #[test]
        fn any_candidate_is_read_or_refused(
            candidate in "(a=)?(candidate:1)?(( ?(typ|srflx|raddr|rport|udp|1|10\\.0\\.0\\.1))|\\PC{0,3}){0,20}",
        ) {
            if let Some((inside, outside)) = reflexive(&candidate) {
                proptest::prop_assert!(inside.contains(' ') && outside.contains(' '));
            }
            if let Ok(Target::Socket(socket)) = check_candidate(&candidate) {
                proptest::prop_assert_ne!(socket.port(), 0);
            }
        }
    }
}
