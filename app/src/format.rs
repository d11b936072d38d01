//! Numbers with their units, and text from strangers made harmless to look at.

/// Between a number and its unit: they stay on one line.
const SPACE: char = '\u{a0}';

/// `812 B`, `12.4 kB`, `3.1 MB`: powers of a thousand.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1_000 {
        return format!("{count}{SPACE}B");
    }
    let mut value = count as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    let digits = if value < 99.95 { 1 } else { 0 };
    format!("{value:.digits$}{SPACE}{}", UNITS.get(unit).unwrap_or(&"PB"))
}

/// `85 ms`, `1.3 s`, `2 min 5 s`.
pub fn duration(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds}{SPACE}ms"),
        1_000..60_000 => format!("{}.{}{SPACE}s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        _ => format!("{}{SPACE}min {}{SPACE}s", milliseconds / 60_000, milliseconds % 60_000 / 1_000),
    }
}

/// Whole seconds of a countdown, rounded up so that it ends at 0.
pub fn countdown(milliseconds: u64) -> String {
    format!("{}{SPACE}s", milliseconds.div_ceil(1_000))
}

/// How long ago a wall-clock moment was. A moment ahead of this device's clock is "just now".
pub fn ago(then_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1_000;
    let (value, unit) = match seconds {
        0..60 => return "just now".into(),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        86_400..31_536_000 => (seconds / 86_400, "day"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{} ago", count(value, unit, &format!("{unit}s")))
}

/// `1 peer`, `3 peers`, `12,000 peers`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + 8);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    format!("{text}{SPACE}{}", if number == 1 { one } else { many })
}

/// The first and last characters of a peer id.
pub fn short_peer(id: &str) -> String {
    let id = plain(id, 80);
    match (id.get(..6), id.len().checked_sub(6).and_then(|start| id.get(start..))) {
        (Some(start), Some(end)) if id.len() > 14 => format!("{start}…{end}"),
        _ => id,
    }
}

/// Text from somebody else: one line, without control or direction-changing characters, cut to `max` characters.
pub fn plain(text: &str, max: usize) -> String {
    let hidden = |character: &char| {
        character.is_control()
            || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut kept = text.chars().filter(|character| !hidden(character));
    let mut plain: String = kept.by_ref().take(max).collect();
    if kept.next().is_some() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unspaced(text: String) -> String {
        text.replace(SPACE, " ")
    }

    #[test]
    fn bytes_have_units() {
        let shown =
            [0, 999, 1_000, 12_449, 99_949, 123_456, 999_499, 999_500, 3_120_000, u64::MAX].map(|n| unspaced(bytes(n)));
        assert_eq!(
            shown,
            ["0 B", "999 B", "1.0 kB", "12.4 kB", "99.9 kB", "123 kB", "999 kB", "1.0 MB", "3.1 MB", "18447 PB"]
        );
    }

    #[test]
    fn durations_have_units() {
        assert_eq!([85, 1_340, 125_999].map(|ms| unspaced(duration(ms))), ["85 ms", "1.3 s", "2 min 5 s"]);
        assert_eq!([0, 1, 1_000, 1_001].map(|ms| unspaced(countdown(ms))), ["0 s", "1 s", "1 s", "2 s"]);
    }

    #[test]
    fn moments_are_told_roughly_and_never_in_the_future() {
        let now = 2_000_000_000_000;
        assert_eq!(ago(now + 5_000, now), "just now");
        assert_eq!(unspaced(ago(now - 60_000, now)), "1 minute ago");
        assert_eq!(unspaced(ago(now - 3 * 86_400_000, now)), "3 days ago");
        assert_eq!(unspaced(count(1_234_567, "file", "files")), "1,234,567 files");
    }

    #[test]
    fn case_73_text_from_strangers_is_one_plain_line() {
        assert_eq!(plain("<b>a\u{202e}fdp.exe\n\u{7}</b>", 40), "<b>afdp.exe</b>");
        assert_eq!(plain("äöü", 2), "äö…");
        assert_eq!(short_peer("12D3KooWPeerBBBB"), "12D3Ko…erBBBB");
        assert_eq!(short_peer("xäääääääääää"), "xäääääääääää", "never cut inside a character");
    }
}
