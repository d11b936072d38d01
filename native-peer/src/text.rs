//! Text from elsewhere, made fit for a terminal: no control or direction-changing characters, and not too long.

use meganet_host::text::is_unsafe;
pub use meganet_host::text::printable;
use std::path::Path;

/// A path for a JSON object. A path need not be UTF-8, and `json!` of such a one panics.
pub fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Bytes for people: `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// The text of an HTML document's `<title>`, white space collapsed, at most `max_bytes` long.
pub fn html_title(html: &str, max_bytes: usize) -> Option<String> {
    // Lowering ASCII alone keeps every byte in its place.
    let lower = html.to_ascii_lowercase();
    let open = lower.find("<title")?;
    let start = open + lower.get(open..)?.find('>')? + 1;
    let end = start + lower.get(start..)?.find("</title")?;
    let text = html
        .get(start..end)?
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&#x27;", "'")
        .replace("&nbsp;", " ")
        .replace("&amp;", "&");
    let title = clean_title(&text, max_bytes);
    (!title.is_empty()).then_some(title)
}

/// A title as a manifest takes it: one line without control characters, at most `max_bytes` long.
pub fn clean_title(text: &str, max_bytes: usize) -> String {
    let mut title = String::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().filter(|c| !is_unsafe(*c)).collect();
        let separator = usize::from(!title.is_empty());
        if word.is_empty() {
            continue;
        }
        if title.len() + separator + word.len() > max_bytes {
            if title.is_empty() {
                title.extend(word.chars().scan(0, |used, c| {
                    *used += c.len_utf8();
                    (*used <= max_bytes).then_some(c)
                }));
            }
            break;
        }
        if separator == 1 {
            title.push(' ');
        }
        title.push_str(&word);
    }
    title
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_come_from_html() {
        let html = "<html><head><TITLE lang=en>\n The &amp; Rust\tBook </title>";
        assert_eq!(html_title(html, 200).as_deref(), Some("The & Rust Book"));
        assert_eq!(html_title("<title></title>", 200), None);
        assert_eq!(html_title("<title>never closed", 200), None);
        assert_eq!(html_title("İ<title>é</title>", 200).as_deref(), Some("é"));
    }

    #[test]
    fn titles_are_cut_between_words_and_characters() {
        assert_eq!(clean_title("one two three", 8), "one two");
        assert_eq!(clean_title("ééééé", 5), "éé");
        assert_eq!(clean_title("a\u{7}b\u{202e}", 10), "ab");
    }
}
