//! Help, usage errors, and what commands print when there is nothing to show.

use crate::support::{Place, Run, meganet};

#[test]
fn every_command_has_help() {
    let help = run(&["--help"]).ok();
    for command in ["peer", "publish", "get", "status", "sites", "providers", "head", "key"] {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command} in {}", help.out);
        assert!(run(&[command, "--help"]).ok().out.contains("Usage: meganet "), "{command}");
    }
    assert!(help.out.contains("Examples:") && help.out.contains("Exit status:"));
    for command in ["peer", "publish", "get"] {
        assert!(run(&[command, "--help"]).out.contains("Examples:"), "{command}");
    }
}

#[test]
fn usage_errors_say_what_is_wrong() {
    for arguments in [
        &["nonsense"] as &[&str],
        &[],
        &["get"],
        &["get", "not-an-address"],
        &["publish"],
        &["--quota", "many", "status"],
        &["--bootstrap", "ftp://x", "status"],
        &["peer", "--listen", "everywhere"],
        &["publish", "x", "--key", "a", "--key-file", "b"],
    ] {
        let run = run(arguments);
        assert_eq!(run.code(), Some(2), "{arguments:?}");
        assert!(run.out.is_empty() && !run.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn usage_errors_are_json_when_asked() {
    let run = run(&["--json", "get", "not-an-address"]);
    assert_eq!(run.code(), Some(2));
    assert_eq!(run.error_code(), "usage");
}

#[test]
fn an_address_with_a_typing_error_is_named_as_such() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"<title>T</title>")]);
    let published = place.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
    let mut address = published["address"].as_str().unwrap().to_owned();
    let typed_wrong = if address.chars().nth(9) == Some('a') { "b" } else { "a" };
    address.replace_range(9..10, typed_wrong);
    let run = place.run(["head", &address]);
    assert_eq!(run.code(), Some(2), "{}", run.err);
}

#[test]
fn without_a_peer_commands_answer_from_what_is_stored() {
    let place = Place::new();
    place.peer(&[]).stop("-TERM");
    let status = place.json(["status"]).ok().event("status");
    assert_eq!(status["running"], false);
    assert_eq!(status["sites"], 0);
    assert!(place.json(["sites"]).ok().objects().is_empty());
    assert!(place.run(["status"]).ok().out.contains("not running"));
}

#[test]
fn a_command_that_only_looks_makes_nothing() {
    let place = Place::new();
    let address = meganet_core::keys::SiteKey::from_seed([1; 32]).address().to_string();
    let commands: [&[&str]; 6] = [
        &["status"],
        &["sites"],
        &["providers", &address],
        &["head", &address],
        &["key", "list"],
        &["key", "export", "a", "b"],
    ];
    for command in commands {
        let run = place.json(command);
        assert_eq!((run.error_code().as_str(), run.code()), ("not_found", Some(3)), "{command:?}: {}", run.out);
        assert!(run.out.contains("--data-dir") && run.out.contains(place.data().to_str().unwrap()), "{}", run.out);
        assert!(!place.data().exists(), "{command:?}");
    }
}

#[test]
fn output_that_is_lost_is_a_failure() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"x")]);
    place.json(["publish".as_ref(), site.as_os_str()]).ok();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    for arguments in [&["status"] as &[&str], &["--json", "sites"], &["--help"]] {
        let child = place.meganet(arguments).stdout(full()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(arguments == ["--help"] || said.contains("could not be written"), "{said:?}");
    }
    // A reader that hung up has read what it wanted.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert!(place.meganet(["status"]).stdout(writer).status().unwrap().success());
}

#[test]
fn what_would_be_waited_for_is_refused_at_once() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"x")]);
    let keys = place.data().join("keys");
    std::fs::create_dir_all(&keys).unwrap();
    let pipe = keys.join("site.key");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    let run = place.json(["publish".as_ref(), site.as_os_str()]);
    assert_eq!(run.error_code(), "refused");
    assert!(run.out.contains("site.key") && run.out.contains("is a pipe"), "{}", run.out);
}

#[test]
fn the_data_directory_may_come_from_the_environment() {
    let place = Place::new();
    let mut command = meganet();
    place.peer(&[]).stop("-TERM");
    command.env("MEGANET_DATA_DIR", place.data()).args(["--json", "status"]);
    let status = Run::of(command).ok().event("status");
    assert_eq!(status["data_dir"].as_str().unwrap(), place.data().canonicalize().unwrap().to_str().unwrap());
    let mut command = meganet();
    let site = place.site(&[("index.html", b"x")]);
    command.env("XDG_DATA_HOME", place.path("xdg")).args(["--json", "publish"]).arg(site);
    Run::of(command).ok();
    assert!(place.path("xdg/meganet/identity").exists());
}

#[test]
fn keys_are_listed_backed_up_and_restored() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"x")]);
    let published = place.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
    let listed = place.json(["key", "list"]).ok().event("key");
    assert_eq!((listed["name"].as_str(), &listed["address"]), (Some("site"), &published["address"]));

    std::fs::write(place.path("pass"), "correct horse battery\n").unwrap();
    let (pass, backup) = (place.path("pass"), place.path("backup"));
    let (pass, backup) = (pass.to_str().unwrap(), backup.to_str().unwrap());
    assert_eq!(place.json(["key", "export", "site", backup]).error_code(), "usage");
    place.json(["key", "export", "site", backup, "--passphrase-file", pass]).ok();
    assert_eq!(place.json(["key", "export", "site", backup, "--passphrase-file", pass]).error_code(), "refused");
    assert_eq!(place.json(["key", "export", "nope", "/x", "--passphrase-file", pass]).error_code(), "not_found");

    let other = Place::new();
    let imported = other.json(["key", "import", backup, "--name", "blog", "--passphrase-file", pass]).ok().event("key");
    assert_eq!(imported["address"], published["address"]);
    std::fs::write(place.path("pass"), "wrong horse battery\n").unwrap();
    let wrong = other.json(["key", "import", backup, "--name", "two", "--passphrase-file", pass]);
    assert_eq!(wrong.error_code(), "refused");
    let escape = other.json(["key", "import", backup, "--name", "../two", "--passphrase-file", pass]);
    assert_eq!(escape.error_code(), "usage");
}

fn run(arguments: &[&str]) -> Run {
    let place = Place::new();
    place.run(arguments)
}
