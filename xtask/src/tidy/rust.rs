//! Rules about Rust code.

use anyhow::{Context, Result};

use super::tokens::{Token, flatten};
use super::{File, Violation};

/// Where code may differ by platform. Everybody else calls what these offer.
const PLATFORM_CODE: [&str; 3] = ["crates/node/src/platform/", "crates/transport/src/", "e2e/peer/src/"];

/// The protocol core has no I/O, no clock and no randomness of its own.
const PURE_CODE: &str = "crates/core/src/";
const IMPURE: [&[&str]; 9] = [
    &["std", "::", "fs"],
    &["std", "::", "net"],
    &["std", "::", "thread"],
    &["std", "::", "process"],
    &["SystemTime"],
    &["Instant"],
    &["getrandom"],
    &["OsRng"],
    &["thread_rng"],
];

/// A pattern of tokens and what is wrong with it.
struct Banned {
    tokens: &'static [&'static str],
    message: &'static str,
    /// Test code may use it.
    fine_in_tests: bool,
}

const UNBOUNDED: &str = "an unbounded channel: give it a named capacity";

const BANNED: [Banned; 8] = [
    Banned { tokens: &["todo", "!"], message: "unfinished code", fine_in_tests: false },
    Banned { tokens: &["unimplemented", "!"], message: "unfinished code", fine_in_tests: false },
    Banned { tokens: &["dbg", "!"], message: "a debugging aid", fine_in_tests: false },
    Banned {
        tokens: &["#", "[", "ignore", "]"],
        message: "an ignored test without a reason: #[ignore = \"why\"]",
        fine_in_tests: false,
    },
    Banned { tokens: &["unbounded", "("], message: UNBOUNDED, fine_in_tests: false },
    Banned { tokens: &["unbounded", "::", "<"], message: UNBOUNDED, fine_in_tests: false },
    Banned { tokens: &["unbounded_channel"], message: UNBOUNDED, fine_in_tests: false },
    Banned { tokens: &["mpsc", "::", "channel", "(", ")"], message: UNBOUNDED, fine_in_tests: true },
];

pub fn check(files: &[File]) -> Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let text = file.text.as_deref().with_context(|| format!("{} is not text", file.path))?;
        check_file(&file.path, text, &mut violations)?;
    }
    Ok(violations)
}

fn check_file(path: &str, text: &str, violations: &mut Vec<Violation>) -> Result<()> {
    let mut report = |line: usize, message: &str| {
        violations.push(Violation { path: path.to_owned(), line, message: message.to_owned() })
    };
    if !text.starts_with("//!") {
        report(1, "does not begin with a `//!` line that says what the module is for");
    }
    let tokens = flatten(text).with_context(|| path.to_owned())?;
    for banned in &BANNED {
        for place in find(&tokens, banned.tokens) {
            if !(banned.fine_in_tests && place.is_test) {
                report(place.line, banned.message);
            }
        }
    }
    if !PLATFORM_CODE.iter().any(|folder| path.starts_with(folder)) {
        for place in tokens.iter().filter(|token| ["target_arch", "target_family"].contains(&token.text.as_str())) {
            report(
                place.line,
                "differs by platform: only meganet-node's `platform` module, the transport and its test peer may",
            );
        }
    }
    if path.starts_with(PURE_CODE) {
        for pattern in IMPURE {
            for place in find(&tokens, pattern).filter(|place| !place.is_test) {
                report(
                    place.line,
                    "the core does no I/O and has no clock or randomness of its own: take it as an argument",
                );
            }
        }
    }
    Ok(())
}

/// The first token of each place where `pattern` stands.
fn find<'a>(tokens: &'a [Token], pattern: &'a [&str]) -> impl Iterator<Item = &'a Token> {
    tokens
        .windows(pattern.len())
        .filter(move |window| window.iter().zip(pattern).all(|(token, text)| token.text == *text))
        .filter_map(|window| window.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(path: &str, code: &str) -> Vec<usize> {
        let mut violations = Vec::new();
        check_file(path, &format!("//! A module.\n{code}\n"), &mut violations).expect("Rust");
        violations.into_iter().map(|it| it.line).collect()
    }

    #[test]
    fn a_module_without_a_first_line_is_found() {
        let mut violations = Vec::new();
        check_file("a.rs", "use b;\n", &mut violations).expect("Rust");
        assert_eq!(violations.len(), 1);
        assert!(broken("a.rs", "use b;").is_empty());
    }

    #[test]
    fn each_banned_pattern_is_found_in_code_and_not_in_words() {
        for code in [
            "fn a() { todo!() }",
            "fn a() { unimplemented!(\"later\") }",
            "fn a() { dbg!(1); }",
            "#[test] #[ignore] fn a() {}",
            "fn a() { let (s, r) = mpsc::unbounded(); }",
            "fn a() { let (s, r) = unbounded::<u8>(); }",
            "fn a() { tokio::sync::mpsc::unbounded_channel() }",
            "use tokio::sync::mpsc::unbounded_channel;",
            "fn a() { let (s, r) = std::sync::mpsc::channel(); }",
        ] {
            assert_eq!(broken("a.rs", code), [2], "{code}");
            assert!(broken("a.rs", &format!("/* {code} */")).is_empty(), "{code}");
        }
        assert!(broken("a.rs", "#[test] #[ignore = \"needs a display\"] fn a() { mpsc::channel(8); }").is_empty());
        assert!(broken("a.rs", "#[cfg(test)] mod tests { fn a() { mpsc::channel(); } }").is_empty());
    }

    #[test]
    fn platform_code_outside_its_place_is_found() {
        let code = "#[cfg(target_arch = \"wasm32\")] fn a() {}";
        assert_eq!(broken("crates/node/src/fetch.rs", code), [2]);
        assert_eq!(broken("app/src/main.rs", "const A: bool = cfg!(target_family = \"wasm\");"), [2]);
        assert!(broken("crates/node/src/platform/mod.rs", code).is_empty());
        assert!(broken("crates/transport/src/lib.rs", code).is_empty());
    }

    #[test]
    fn an_impure_core_is_found() {
        for code in ["use std::fs;", "fn a() { std::net::x() }", "fn a() -> Instant { b() }", "use getrandom::fill;"] {
            assert_eq!(broken("crates/core/src/a.rs", code), [2], "{code}");
            assert!(broken("crates/node/src/a.rs", code).is_empty(), "{code}");
            assert!(
                broken("crates/core/src/a.rs", &format!("#[cfg(test)] mod tests {{ {code} }}")).is_empty(),
                "{code}"
            );
        }
    }
}
