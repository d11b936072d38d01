//! Text from elsewhere, made fit for a terminal: no control or direction-changing characters, and not too long.

/// Replaces what could move the cursor, colour the screen or turn the reading direction, and cuts to `max` characters.
pub fn printable(text: &str, max: usize) -> String {
    let mut out: String = text.chars().take(max).map(|c| if is_unsafe(c) { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(max).is_some() {
        out.push('…');
    }
    out
}

/// Control characters, line separators and the bidirectional controls of Unicode (UAX #9), with the byte-order mark.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_tricks_are_defused() {
        assert_eq!(
            printable("a\u{1b}[31mred\nline\u{202e}fdp.exe", 100),
            "a\u{fffd}[31mred\u{fffd}line\u{fffd}fdp.exe"
        );
        assert_eq!(printable("abcdef", 3), "abc…");
        assert_eq!(printable("abc", 3), "abc");
    }
}
