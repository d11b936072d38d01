//! Rules about any text file: its length, its end, and what it must not name.

use super::{File, Violation};

/// Longest file written by hand, in lines.
const FILE_MAX_LINES: usize = 600;
/// Endings of files written by hand.
const WRITTEN: [&str; 8] = [".rs", ".js", ".css", ".html", ".md", ".toml", ".py", ".proto"];
/// A map that is longer than this is no map.
const ARCHITECTURE_MAX_LINES: usize = 150;
const ARCHITECTURE: &str = "ARCHITECTURE.md";

/// Package registries: where a machine gets its packages from is its own business. Written in two halves so that this
/// file keeps its own rule.
const REGISTRY_HOSTS: [&str; 6] = [
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("registry.npmjs", ".org"),
    concat!("pypi", ".org"),
    concat!("files.pythonhosted", ".org"),
    concat!("deb.debian", ".org"),
];
/// Folders that exist on one machine only.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("/Us", "ers/")];

pub fn check(files: &[File]) -> Vec<Violation> {
    let mut violations = Vec::new();
    if !files.iter().any(|file| file.path == ARCHITECTURE) {
        violations.push(Violation { path: ARCHITECTURE.to_owned(), line: 0, message: "is missing".to_owned() });
    }
    for file in files {
        if let Some(text) = &file.text {
            check_file(&file.path, text, &mut violations);
        }
    }
    violations
}

fn check_file(path: &str, text: &str, violations: &mut Vec<Violation>) {
    let mut report = |line, message| violations.push(Violation { path: path.to_owned(), line, message });
    let lines = text.lines().count();
    let limit = if path == ARCHITECTURE { ARCHITECTURE_MAX_LINES } else { FILE_MAX_LINES };
    if lines > limit && WRITTEN.iter().any(|ending| path.ends_with(ending)) {
        report(lines, format!("{lines} lines, more than {limit}: split it by purpose"));
    }
    if !text.is_empty() && !text.ends_with('\n') {
        report(lines, "does not end with a line break".to_owned());
    }
    // Cargo writes its lock file itself and names the registry in it.
    if path == "Cargo.lock" {
        return;
    }
    for (index, line) in text.lines().enumerate() {
        for host in REGISTRY_HOSTS {
            if line.contains(host) {
                report(index + 1, format!("names the package registry {host}"));
            }
        }
        for folder in MACHINE_PATHS {
            let is_path = |start: usize| !line[..start].ends_with(|before: char| before.is_ascii_alphanumeric());
            if line.match_indices(folder).any(|(start, _)| is_path(start)) {
                report(index + 1, format!("names a path of one machine ({folder}…)"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(path: &str, text: &str) -> Vec<String> {
        let mut violations = Vec::new();
        check_file(path, text, &mut violations);
        violations.into_iter().map(|it| it.to_string()).collect()
    }

    #[test]
    fn long_files_are_found() {
        assert!(messages("a.rs", &"//\n".repeat(600)).is_empty());
        assert_eq!(messages("a.rs", &"//\n".repeat(601)), ["a.rs:601: 601 lines, more than 600: split it by purpose"]);
        assert!(messages("vectors.json", &"1\n".repeat(601)).is_empty());
        assert!(messages(ARCHITECTURE, &"a\n".repeat(150)).is_empty());
        assert_eq!(messages(ARCHITECTURE, &"a\n".repeat(151)).len(), 1);
    }

    #[test]
    fn a_missing_last_line_break_is_found() {
        assert_eq!(messages("a.md", "one\ntwo"), ["a.md:2: does not end with a line break"]);
        assert!(messages("empty.md", "").is_empty());
    }

    #[test]
    fn registries_and_machine_paths_are_found() {
        for host in REGISTRY_HOSTS {
            assert_eq!(messages("a.toml", &format!("\nurl = \"https://{host}/x\"\n")).len(), 1, "{host}");
        }
        for folder in MACHINE_PATHS {
            assert_eq!(messages("a.sh", &format!("cd {folder}me\n")).len(), 1, "{folder}");
            assert!(messages("a.html", &format!("https://example.org{folder}page\n")).is_empty(), "{folder}");
        }
        assert!(messages("Cargo.lock", &format!("{}\n", REGISTRY_HOSTS[0])).is_empty());
    }

    #[test]
    fn the_architecture_must_be_there() {
        assert_eq!(check(&[]).len(), 1);
        assert!(check(&[File { path: ARCHITECTURE.to_owned(), text: Some("a\n".to_owned()) }]).is_empty());
    }
}
