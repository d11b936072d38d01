//! Rust source as a flat list of tokens, so that rules see code and never comments or strings.

use anyhow::{Result, anyhow};
use proc_macro2::{Delimiter, Group, LexError, Spacing, TokenStream, TokenTree};

/// One identifier, literal, bracket or punctuation mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
    /// Inside an item that exists in tests only.
    pub is_test: bool,
}

/// Splits `source` into tokens. Doc comments appear as the attributes they are.
pub fn flatten(source: &str) -> Result<Vec<Token>> {
    let stream: TokenStream =
        source.parse().map_err(|error: LexError| anyhow!("line {}: {error}", error.span().start().line))?;
    let mut tokens = Vec::new();
    push_stream(stream, false, &mut tokens);
    Ok(tokens)
}

fn push_stream(stream: TokenStream, is_test: bool, tokens: &mut Vec<Token>) {
    let mut trees = stream.into_iter().peekable();
    // Set by a test attribute, until the item it stands on ends.
    let mut in_test_item = false;
    while let Some(tree) = trees.next() {
        if is_punct(&tree, '#')
            && let Some(TokenTree::Group(group)) = trees.peek()
            && is_test_attribute(group)
        {
            in_test_item = true;
        }
        let line = tree.span().start().line;
        let is_test = is_test || in_test_item;
        let ends_item =
            is_punct(&tree, ';') || matches!(&tree, TokenTree::Group(it) if it.delimiter() == Delimiter::Brace);
        match tree {
            TokenTree::Group(group) => push_group(&group, is_test, tokens),
            TokenTree::Punct(punct) if punct.as_char() == ':' && punct.spacing() == Spacing::Joint => {
                // `::` as one token keeps paths readable in the rules.
                trees.next();
                tokens.push(Token { text: "::".to_owned(), line, is_test });
            }
            other => tokens.push(Token { text: other.to_string(), line, is_test }),
        }
        if ends_item {
            in_test_item = false;
        }
    }
}

fn push_group(group: &Group, is_test: bool, tokens: &mut Vec<Token>) {
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    };
    let push = |text: &str, line, tokens: &mut Vec<Token>| {
        if !text.is_empty() {
            tokens.push(Token { text: text.to_owned(), line, is_test });
        }
    };
    push(open, group.span_open().start().line, tokens);
    push_stream(group.stream(), is_test, tokens);
    push(close, group.span_close().start().line, tokens);
}

fn is_punct(tree: &TokenTree, mark: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == mark)
}

/// `#[cfg(test)]`, `#[cfg(all(test, …))]`, `#[test]`, `#[tokio::test]`, `#[wasm_bindgen_test]`.
fn is_test_attribute(group: &Group) -> bool {
    if group.delimiter() != Delimiter::Bracket {
        return false;
    }
    let mut tokens = Vec::new();
    push_stream(group.stream(), false, &mut tokens);
    let has = |text: &str| tokens.iter().any(|token| token.text == text);
    match tokens.first().map(|token| token.text.as_str()) {
        Some("cfg") => has("test") && !has("not") && !has("any"),
        Some("cfg_attr") => false,
        _ => {
            let name = tokens.iter().take_while(|token| token.text != "(").last();
            name.is_some_and(|name| name.text == "test" || name.text == "wasm_bindgen_test")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str, is_test: bool) -> Vec<String> {
        let tokens = flatten(source).expect("Rust");
        tokens.into_iter().filter(|token| token.is_test == is_test).map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        assert_eq!(
            texts("// todo!()\nlet a = \"dbg!()\"; /* x */ a::b()", false),
            ["let", "a", "=", "\"dbg!()\"", ";", "a", "::", "b", "(", ")"]
        );
    }

    #[test]
    fn lines_are_counted_from_one() {
        let tokens = flatten("//! doc\n\nfn a() {\n}\n").expect("Rust");
        let line = |text| tokens.iter().find(|token| token.text == text).map(|token| token.line);
        assert_eq!((line("fn"), line("{"), line("}")), (Some(3), Some(3), Some(4)));
    }

    #[test]
    fn only_what_a_test_attribute_stands_on_is_test_code() {
        let source = "fn a() { one } #[cfg(test)] mod tests { fn b() -> [u8; 2] { two } } \
                      #[test] fn c() -> [u8; 2] { three } #[cfg(not(test))] fn d() { four } \
                      #[tokio::test(flavor = \"x\")] async fn e() { five } fn f() { six } #[cfg(test)] use a::seven; eight";
        let test = texts(source, true);
        let real = texts(source, false);
        for name in ["two", "three", "five", "seven"] {
            assert!(test.iter().any(|text| text == name) && !real.iter().any(|text| text == name), "{name}");
        }
        for name in ["one", "four", "six", "eight"] {
            assert!(real.iter().any(|text| text == name) && !test.iter().any(|text| text == name), "{name}");
        }
    }
}
