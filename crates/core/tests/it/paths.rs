//! Which paths a site may have.

use meganet_core::limits::{PATH_MAX_BYTES, PATH_MAX_DEPTH};
use meganet_core::manifest::{Manifest, ManifestError};
use meganet_core::media::media_type;
use meganet_core::path::{PathError, check, fold};
use proptest::prelude::*;

use crate::common::entry;

/// Bad paths, each with the rule it breaks.
fn bad_paths() -> Vec<(String, PathError)> {
    let fixed: [(&str, PathError); 36] = [
        ("", PathError::Empty),
        ("../x", PathError::DotSegment),
        ("..", PathError::DotSegment),
        (".", PathError::DotSegment),
        ("a/../b", PathError::DotSegment),
        ("a/./b", PathError::DotSegment),
        ("a/..", PathError::DotSegment),
        ("/etc/passwd", PathError::EmptySegment),
        ("/", PathError::EmptySegment),
        ("a/", PathError::EmptySegment),
        ("a//b", PathError::EmptySegment),
        ("C:\\x", PathError::Backslash),
        ("a\\b", PathError::Backslash),
        ("..\\x", PathError::Backslash),
        ("\\\\server\\share", PathError::Backslash),
        ("C:", PathError::Drive),
        ("c:/x", PathError::Drive),
        ("a:b", PathError::Drive),
        ("a\0b", PathError::Control),
        ("a\nb", PathError::Control),
        ("a\rb", PathError::Control),
        ("a\x1b[31m", PathError::Control),
        ("a\u{7f}", PathError::Control),
        ("a\u{85}b", PathError::Control),
        ("a\u{202e}gpj.exe", PathError::Bidirectional),
        ("a\u{2066}b", PathError::Bidirectional),
        ("\u{200f}a", PathError::Bidirectional),
        ("%2e%2e", PathError::Encoded),
        ("%2E%2e/x", PathError::Encoded),
        ("a%2fb", PathError::Encoded),
        ("a%2Fb", PathError::Encoded),
        ("a%5cb", PathError::Encoded),
        ("a%5Cb", PathError::Encoded),
        ("a%00", PathError::Encoded),
        ("cafe\u{301}", PathError::Normalization),
        ("\u{212b}", PathError::Normalization),
    ];
    let mut paths: Vec<_> = fixed.map(|(path, error)| (path.to_owned(), error)).into();
    paths.push(("x".repeat(PATH_MAX_BYTES + 1), PathError::Length { found: PATH_MAX_BYTES + 1 }));
    paths.push(("x".repeat(10_000), PathError::Length { found: 10_000 }));
    paths.push(("é".repeat(PATH_MAX_BYTES / 2) + "x", PathError::Length { found: PATH_MAX_BYTES + 1 }));
    paths.push((vec!["a"; PATH_MAX_DEPTH + 1].join("/"), PathError::Depth));
    paths
}

#[test]
fn case_16_bad_paths_are_refused_each_by_its_rule() {
    for (path, error) in bad_paths() {
        assert_eq!(check(&path), Err(error), "{path:?}");
    }
}

#[test]
fn case_16_one_bad_path_refuses_the_whole_manifest() {
    for (path, reason) in bad_paths() {
        let mut entries = vec![entry("good.txt", 0, 0, 0), entry(&path, 0, 0, 0)];
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let index = entries.iter().position(|entry| entry.path == path).expect("there");
        let built = Manifest::build(vec![], entries, None, None, String::new());
        assert_eq!(built, Err(ManifestError::Path { index, reason }), "{path:?}");
    }
}

#[test]
fn case_16_overlong_utf8_is_no_text() {
    use crate::common::pb;
    for bytes in [&b"\xc0\xae\xc0\xae/x"[..], b"a\xc0\xaf", b"\xed\xa0\x80", b"\xff", b"a\xf5\x80\x80\x80"] {
        let entry = [pb::bytes(1, bytes), pb::bytes(2, b"text/plain")].concat();
        let manifest = [pb::uint(1, 1), pb::bytes(3, &entry)].concat();
        assert_eq!(Manifest::parse(&manifest), Err(ManifestError::Encoding), "{bytes:?}");
    }
}

#[test]
fn paths_at_the_edges_are_allowed() {
    let deepest = vec!["a"; PATH_MAX_DEPTH].join("/");
    let longest = "x".repeat(PATH_MAX_BYTES);
    let good = [
        "index.html",
        "a/b/c.txt",
        "...",
        "..a",
        "a..",
        ".well-known/x",
        "with space",
        "100%",
        "100%25",
        "%2",
        "ab:c",
        "1:x",
        "日本語/ファイル",
        "café",
        "ß",
        "naïve.txt",
        "emoji-😀",
        "a'b\"c<d>|e*f?g#h",
        &deepest,
        &longest,
    ];
    for path in good {
        assert_eq!(check(path), Ok(()), "{path:?}");
    }
}

#[test]
fn case_17_paths_equal_after_folding_are_refused() {
    let pairs = [
        ("A.html", "a.html"),
        ("dir/README", "dir/readme"),
        ("STRASSE", "straße"),
        ("Σ", "ς"),
        ("É", "é"),
        ("ﬀ", "ff"),
        ("Dir/x", "dir/x"),
    ];
    for (first, second) in pairs {
        assert_eq!(fold(first), fold(second), "{first:?} {second:?}");
        let mut entries = vec![entry(first, 0, 0, 0), entry(second, 0, 0, 0)];
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let built = Manifest::build(vec![], entries, None, None, String::new());
        assert!(matches!(built, Err(ManifestError::SamePath { .. })), "{first:?} {second:?}: {built:?}");
    }
    let build = |paths: &[&str]| {
        let entries = paths.iter().map(|path| entry(path, 0, 0, 0)).collect();
        Manifest::build(vec![], entries, None, None, String::new())
    };
    assert!(build(&["Dir/x", "dir/y"]).is_ok(), "directories may merge where case does not count");
    assert_eq!(build(&["a", "a/b"]), Err(ManifestError::FileAndDirectory { path: "a".into() }));
    assert_eq!(build(&["A", "a/b/c"]), Err(ManifestError::FileAndDirectory { path: "A".into() }));
    assert!(build(&["a", "ab", "b/a"]).is_ok());
    assert_eq!(build(&["a", "a"]), Err(ManifestError::Order { index: 1 }));
    assert_eq!(build(&["b", "a"]), Err(ManifestError::Order { index: 1 }));
}

#[test]
fn media_types_follow_the_extension() {
    let types = [
        ("index.html", "text/html; charset=utf-8"),
        ("A/B.HTML", "text/html; charset=utf-8"),
        ("app.wasm", "application/wasm"),
        ("x.tar.gz", "application/gzip"),
        ("picture.JPG", "image/jpeg"),
        ("noextension", "application/octet-stream"),
        ("dir.html/file", "application/octet-stream"),
        (".html", "text/html; charset=utf-8"),
        ("strange.exe", "application/octet-stream"),
        ("", "application/octet-stream"),
    ];
    for (path, expected) in types {
        assert_eq!(media_type(path), expected, "{path}");
    }
}

proptest! {
    #[test]
    fn a_checked_path_stays_inside_its_directory(path in "\\PC{1,40}|([a.%2eE/\\\\:]{1,12})") {
        if check(&path).is_ok() {
            let joined = std::path::Path::new("root").join(&path);
            let is_inside = joined.components().all(|part| matches!(part, std::path::Component::Normal(_)));
            prop_assert!(joined.starts_with("root") && is_inside, "{path:?}");
        }
    }

    #[test]
    fn folding_twice_changes_nothing_more(path in "\\PC{0,30}") {
        prop_assert_eq!(fold(&fold(&path)), fold(&path));
    }
}
