//! The commands that only look: status, sites, providers, head.

use crate::{
    client::Client,
    daemon::{no_direct_path, phase},
    error::CommandError,
    output::Output,
    publish::current_head,
    text::{self, printable},
};
use meganet_core::{address::Address, keys::ReadKey};
use meganet_node::{
    api::{ApiError, Command, Reply, SiteInfo, Status},
    platform::unix_ms,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

/// Characters of a title that are shown.
const TITLE_MAX_CHARS: usize = 80;

/// `meganet status`
pub async fn status(client: &Client, directory: &Path, output: Output) -> Result<(), CommandError> {
    let status = match client.call(Command::Status).await? {
        Reply::Status(status) => status,
        _ => return Err(CommandError::UnexpectedReply),
    };
    let running = !client.is_local();
    let more = [("running", running.into()), ("data_dir", text::path(directory).into())];
    output.print(&tagged("status", &status, more), &status_text(&status, running, directory));
    Ok(())
}

fn status_text(status: &Status, running: bool, directory: &Path) -> String {
    let mut lines = vec![format!("peer      {}", status.peer_id), format!("data      {}", directory.display())];
    if running {
        lines.push(format!("state     {}", phase(&status.phase)));
        lines.push(format!("peers     {}", status.peers.len()));
        for peer in &status.peers {
            let way = if peer.relayed { "relayed" } else { "direct" };
            let rtt = peer.rtt_ms.map_or(String::new(), |rtt| format!(", {rtt} ms"));
            let (agent, address) = (printable(&peer.agent, 64), printable(&peer.address, 200));
            lines.push(format!("          {} {agent} ({way}{rtt}) {address}", peer.peer_id));
        }
        lines.extend(status.no_direct_path.iter().map(|path| format!("          {}", no_direct_path(path))));
        lines.extend(status.addresses.iter().map(|address| format!("address   {address}")));
        let (sent, received) = (text::bytes(status.sent_bytes), text::bytes(status.received_bytes));
        lines.push(format!("traffic   {sent} sent, {received} received"));
    } else {
        lines.push("state     not running: start it with `meganet peer`".into());
    }
    let (stored, chunks, sites) = (text::bytes(status.stored_bytes), status.stored_chunks, status.sites);
    lines.push(format!("stored    {stored} in {chunks} chunks of {sites} sites"));
    lines.join("\n")
}

/// `meganet sites`
pub async fn sites(client: &Client, output: Output) -> Result<(), CommandError> {
    let sites = match client.call(Command::Sites).await? {
        Reply::Sites(sites) => sites,
        _ => return Err(CommandError::UnexpectedReply),
    };
    for site in &sites {
        output.print(&tagged("site", site, []), &site_text(site));
    }
    if sites.is_empty() && !output.is_json() {
        output.note("no sites are stored here");
    }
    Ok(())
}

/// A value's fields as a JSON object with its event's name and more fields.
fn tagged<'a>(event: &str, value: &impl Serialize, more: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    let mut fields = match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    fields.insert("event".into(), event.into());
    fields.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(fields)
}

fn site_text(site: &SiteInfo) -> String {
    let mut marks = Vec::new();
    if site.own {
        marks.push("own".to_owned());
    }
    if site.pinned {
        marks.push("pinned".to_owned());
    }
    if site.conflicting {
        marks.push("CONFLICTING: its author signed two versions with one number".to_owned());
    }
    marks.push(match site.confirmed_ms {
        Some(time_ms) if site.confirmed => format!("confirmed as the newest version {}", ago(time_ms)),
        Some(time_ms) => format!("last confirmed as the newest version {}", ago(time_ms)),
        None => "not confirmed by any peer yet".to_owned(),
    });
    let mut pieces = vec![format!("version {}", site.sequence)];
    pieces.extend(site.files.map(|files| format!("{files} files")));
    pieces.push(text::bytes(site.total_bytes));
    pieces.push(match (site.chunks, site.held_bytes) {
        (0, _) => "only its version is remembered here".to_owned(),
        (chunks, None) => format!("{} of {chunks} chunks here", site.held_chunks),
        (chunks, Some(bytes)) => format!("{} of {chunks} chunks here ({})", site.held_chunks, text::bytes(bytes)),
    });
    pieces.push(format!("{} other holders known", site.holders));
    let title = printable(&site.title, TITLE_MAX_CHARS);
    format!("{}\n  {title} [{}]\n  {}", site.address, marks.join(", "), pieces.join(", "))
}

/// `meganet providers ADDRESS`
pub async fn providers(client: &Client, address: Address, output: Output) -> Result<(), CommandError> {
    let providers = match client.call(Command::Providers { address }).await? {
        Reply::Providers(providers) => providers,
        _ => return Err(CommandError::UnexpectedReply),
    };
    let object = json!({"event": "providers", "address": address, "providers": providers});
    let text = if providers.is_empty() { "nobody".to_owned() } else { providers.join("\n") };
    output.print(&object, &text);
    Ok(())
}

/// `meganet head ADDRESS`
pub async fn head(client: &Client, address: Address, output: Output) -> Result<(), CommandError> {
    let (head, asked) = current_head(client, address).await?;
    let head = head.ok_or(ApiError::NotFound { asked })?;
    let inner = head.open(&ReadKey::public(&address))?;
    let previous = inner.previous.as_ref().map(ToString::to_string);
    let object = json!({
        "event": "head", "address": address, "sequence": head.sequence(), "hash": head.hash().to_string(),
        "time_ms": inner.time_ms, "total_size": inner.total_size, "previous": previous,
        "bytes": data_encoding::HEXLOWER.encode(head.as_bytes()),
    });
    let text = format!(
        "version   {}\nsigned    {} (by its author's clock)\nsize      {}\nhash      {}\nprevious  {}",
        head.sequence(),
        ago(inner.time_ms),
        text::bytes(inner.total_size),
        head.hash(),
        previous.as_deref().unwrap_or("none: this is the first"),
    );
    output.print(&object, &text);
    Ok(())
}

/// A moment, as the time since.
fn ago(time_ms: u64) -> String {
    let seconds = unix_ms().saturating_sub(time_ms) / 1000;
    match seconds {
        0..60 => "less than a minute ago".into(),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use meganet_core::keys::SiteKey;
    use meganet_node::api::Timings;

    pub fn site() -> SiteInfo {
        SiteInfo {
            address: SiteKey::from_seed([1; 32]).address(),
            title: "T".into(),
            index: None,
            sequence: 7,
            time_ms: 0,
            confirmed_ms: Some(unix_ms()),
            confirmed: true,
            total_bytes: 2048,
            files: Some(3),
            chunks: 5,
            held_chunks: 4,
            held_bytes: Some(1024),
            holders: 2,
            sources: Vec::new(),
            conflicting: false,
            pinned: false,
            own: true,
            timings: Timings::default(),
        }
    }

    #[test]
    fn a_site_that_is_not_open_claims_nothing_unknown() {
        let open = site();
        let text = site_text(&open);
        assert!(text.contains("[own, confirmed as the newest version less than a minute ago]"), "{text}");
        assert!(text.ends_with("version 7, 3 files, 2.00 KiB, 4 of 5 chunks here (1.00 KiB), 2 other holders known"));
        let closed = SiteInfo { files: None, held_bytes: None, confirmed: false, ..open.clone() };
        let text = site_text(&closed);
        assert!(text.contains("last confirmed as the newest version"), "{text}");
        assert!(text.ends_with("version 7, 2.00 KiB, 4 of 5 chunks here, 2 other holders known"), "{text}");
        let evicted = SiteInfo { chunks: 0, held_chunks: 0, confirmed_ms: None, ..closed };
        let text = site_text(&evicted);
        assert!(text.contains("not confirmed by any peer yet") && text.contains("only its version"), "{text}");
    }
}
