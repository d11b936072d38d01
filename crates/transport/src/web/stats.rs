//! Where a peer connection leads, in the statistics that a browser keeps of it (W3C `webrtc-stats`). It knows no JavaScript, so
//! that it is tested natively.

use crate::signalling::host_beyond;
use serde_json::Value;
use std::net::IpAddr;

/// The host at the other end of the path that is used; `report` is the JSON of an `RTCStatsReport`'s entries,
/// `[[ID, STATS], …]`. `None` where the browser does not say it: a host of its own network that it hides behind a name, or one
/// whose address only ICE found out, because the other end left its candidates out.
pub(crate) fn remote_host(report: &str) -> Option<IpAddr> {
    let report: Value = serde_json::from_str(report).ok()?;
    let stats: Vec<&Value> = report.as_array()?.iter().filter_map(|entry| entry.get(1)).collect();
    let pair = selected_pair(&stats)?;
    let candidate = |end: &str| {
        let id = text(pair, end)?;
        stats.iter().find(|entry| text(entry, "id") == Some(id))
    };
    let address = |candidate: &Value| text(candidate, "address")?.parse::<IpAddr>().ok();
    // What is not a host's own is what the other end says of it.
    let own = candidate("localCandidateId").filter(|own| text(own, "candidateType") == Some("host"));
    let own = own.and_then(|own| address(own));
    Some(host_beyond(own, address(candidate("remoteCandidateId")?)?))
}

/// Chromium names the pair in the transport's statistics, Firefox marks it.
fn selected_pair<'a>(stats: &[&'a Value]) -> Option<&'a Value> {
    let of_type = |wanted: &'static str| stats.iter().copied().filter(move |entry| text(entry, "type") == Some(wanted));
    if let Some(id) = of_type("transport").find_map(|transport| text(transport, "selectedCandidatePairId")) {
        return of_type("candidate-pair").find(|pair| text(pair, "id") == Some(id));
    }
    let is = |pair: &Value, mark: &str| pair.get(mark).and_then(Value::as_bool) == Some(true);
    let is_nominated = |pair: &&Value| is(pair, "nominated") && text(pair, "state") == Some("succeeded");
    of_type("candidate-pair").find(|pair| is(pair, "selected")).or_else(|| of_type("candidate-pair").find(is_nominated))
}

fn text<'a>(entry: &'a Value, name: &str) -> Option<&'a str> {
    entry.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What a browser says of a path between these addresses, beside one that is not used.
    fn report(local: Value, remote: Value, transport: Value, mark: (&str, Value)) -> String {
        let mut used = json!({ "id": "P1", "type": "candidate-pair", "state": "succeeded", "localCandidateId": "L",
            "remoteCandidateId": "R" });
        used[mark.0] = mark.1;
        let entries = [
            json!({ "id": "P0", "type": "candidate-pair", "state": "succeeded", "nominated": false, "localCandidateId": "L",
                "remoteCandidateId": "other" }),
            used,
            transport,
            json!({ "id": "other", "type": "remote-candidate", "address": "198.51.100.9" }),
            json!({ "id": "R", "type": "remote-candidate", "address": remote }),
            json!({ "id": "L", "type": "local-candidate", "candidateType": "host", "address": local }),
        ];
        let entries: Vec<Value> = entries.into_iter().map(|entry| json!([entry["id"], entry])).collect();
        Value::from(entries).to_string()
    }

    fn chromium(local: Value, remote: Value) -> String {
        let transport = json!({ "id": "T", "type": "transport", "selectedCandidatePairId": "P1" });
        report(local, remote, transport, ("nominated", json!(true)))
    }

    #[test]
    fn the_host_of_the_path_that_is_used_is_found() {
        let host = Some(IpAddr::from([198, 51, 100, 7]));
        assert_eq!(remote_host(&chromium(json!("192.0.2.2"), json!("198.51.100.7"))), host);
        for mark in ["selected", "nominated"] {
            let firefox = report(Value::Null, json!("198.51.100.7"), Value::Null, (mark, json!(true)));
            assert_eq!(remote_host(&firefox), host, "{mark}");
        }
        let here = remote_host(&chromium(json!("192.0.2.2"), json!("192.0.2.2")));
        assert!(here.is_some_and(|host| host.is_loopback()), "another tab of this machine: {here:?}");
        let same = chromium(json!("192.0.2.2"), json!("192.0.2.2"));
        let mapped = same.replace(r#""candidateType":"host""#, r#""candidateType":"srflx""#);
        assert_ne!(same, mapped);
        assert_eq!(
            remote_host(&mapped),
            Some(IpAddr::from([192, 0, 2, 2])),
            "behind the same NAT is not on this machine"
        );
        let six = remote_host(&chromium(json!("abc.local"), json!("2001:db8::7")));
        assert_eq!(six, "2001:db8::7".parse().ok());
    }

    #[test]
    fn what_a_browser_does_not_say_is_unknown() {
        for hidden in [Value::Null, json!(""), json!("0b1c.local"), json!(7)] {
            assert_eq!(remote_host(&chromium(json!("192.0.2.2"), hidden.clone())), None, "{hidden}");
        }
        let gone = json!({ "id": "T", "type": "transport", "selectedCandidatePairId": "P9" });
        for junk in [
            report(Value::Null, json!("198.51.100.7"), gone, ("nominated", json!(true))),
            report(Value::Null, json!("198.51.100.7"), Value::Null, ("nominated", json!("true"))),
            String::new(),
            "{}".to_owned(),
            r#"[1, [], ["P1", null], ["P1", {"type": "candidate-pair", "selected": true}]]"#.to_owned(),
        ] {
            assert_eq!(remote_host(&junk), None, "{junk}");
        }
    }
}
