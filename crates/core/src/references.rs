//! What an HTML page needs to be shown: the files of its own site that it loads.

use percent_encoding::percent_decode_str;

use crate::limits::LOCAL_REFERENCES_MAX;
use crate::path;

/// Elements whose `src` is loaded with the page, and `link` with its `href`.
const LOADED: [(&str, &str); 9] = [
    ("link", "href"),
    ("script", "src"),
    ("img", "src"),
    ("source", "src"),
    ("input", "src"),
    ("embed", "src"),
    ("iframe", "src"),
    ("video", "poster"),
    ("image", "href"),
];

/// The paths inside the same site that a page loads, resolved against the page's own path, each once: style sheets and
/// scripts first, as they hold up a first paint, then the rest in the order of the page.
///
/// This reads tags leniently and decides only what is packed together; a wrong guess costs a round trip, nothing else.
#[must_use]
pub fn local_references(html_path: &str, html: &str) -> Vec<String> {
    let mut blocking = Vec::new();
    let mut rest = Vec::new();
    for (name, attributes) in (Tags { rest: html }) {
        let loaded = LOADED.iter().find(|(element, _)| name.eq_ignore_ascii_case(element));
        let Some((element, attribute)) = loaded else { continue };
        let Some(value) = attribute_value(attributes, attribute) else { continue };
        let Some(target) = resolve(html_path, value) else { continue };
        if blocking.contains(&target) || rest.contains(&target) {
            continue;
        }
        if matches!(*element, "link" | "script") {
            blocking.push(target)
        } else {
            rest.push(target)
        }
        if blocking.len() + rest.len() >= LOCAL_REFERENCES_MAX {
            break;
        }
    }
    blocking.append(&mut rest);
    blocking
}

/// Opening tags of a page: name and what stands between it and the closing bracket.
struct Tags<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Tags<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (_, after) = self.rest.split_once('<')?;
            if let Some(comment) = after.strip_prefix("!--") {
                self.rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
                continue;
            }
            let name_len = after.bytes().take_while(u8::is_ascii_alphanumeric).count();
            let (name, attributes) = after.split_at(name_len);
            if name.is_empty() {
                self.rest = after;
                continue;
            }
            let (attributes, rest) = attributes.split_at(end_of_tag(attributes));
            // What is in a script or style sheet only looks like tags and quotes.
            let end = ["script", "style"].iter().find(|element| name.eq_ignore_ascii_case(element));
            self.rest = end.and_then(|element| rest.split_once(&format!("</{element}"))).map_or(rest, |(_, rest)| rest);
            return Some((name, attributes));
        }
    }
}

/// Where a tag ends: at the first `>` outside quotes.
fn end_of_tag(text: &str) -> usize {
    let mut quote = None;
    for (place, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return place,
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// The value of one attribute, quoted or not.
fn attribute_value<'a>(attributes: &'a str, wanted: &str) -> Option<&'a str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':');
    let mut rest = attributes;
    loop {
        rest = rest.trim_start_matches(|c| !is_name(c));
        if rest.is_empty() {
            return None;
        }
        let name_len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_len);
        let after = after.trim_start();
        let Some(value) = after.strip_prefix('=').map(str::trim_start) else {
            rest = after;
            continue;
        };
        let quoted = ['"', '\''].into_iter().find_map(|quote| Some((quote, value.strip_prefix(quote)?)));
        let (value, after) = match quoted {
            Some((quote, value)) => value.split_once(quote).unwrap_or((value, "")),
            None => value.split_at(value.find(|c: char| c.is_ascii_whitespace()).unwrap_or(value.len())),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.trim());
        }
        rest = after;
    }
}

/// The site path that a relative reference on a page means, if it means one.
fn resolve(html_path: &str, reference: &str) -> Option<String> {
    let reference = reference.split(['?', '#']).next()?;
    let has_scheme = reference.split('/').next().is_some_and(|start| start.contains(':'));
    if reference.is_empty() || has_scheme || reference.starts_with("//") {
        return None;
    }
    let reference = percent_decode_str(reference).decode_utf8().ok()?;
    let mut segments: Vec<&str> = Vec::new();
    let directory = html_path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let base = if reference.starts_with('/') { "" } else { directory };
    for segment in base.split('/').chain(reference.split('/')) {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop()?,
            segment => segments.push(segment),
        }
    }
    let path = segments.join("/");
    path::check(&path).is_ok().then_some(path)
}
