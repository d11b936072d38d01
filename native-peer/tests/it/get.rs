//! Fetching into a folder: the same bytes, and nothing outside it.

use crate::support::{Place, noise, tree, write_files};
use std::{fs, os::unix::fs::symlink, process::Stdio};

fn published() -> (Place, String) {
    let place = Place::new();
    let site = place.site(&[
        ("index.html", b"<title>Get me</title><link href=style.css>"),
        ("style.css", b"p{}"),
        ("sub/page.html", b"page"),
        ("sub/index.html", b"sub"),
        ("empty.txt", b""),
        ("name with space & ü.txt", b"x"),
        ("big.bin", &noise(9, 1_500_000)),
    ]);
    let published = place.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
    (place, published["address"].as_str().unwrap().to_owned())
}

#[test]
fn a_whole_site_is_identical() {
    let (place, address) = published();
    let copy = place.path("deep/copy");
    let fetched = place.json(["get".as_ref(), address.as_ref(), copy.as_os_str()]).ok().event("fetched");
    assert_eq!(fetched["files"].as_u64(), Some(7));
    assert!(tree(&copy) == tree(&place.path("site")));
}

#[test]
fn the_default_folder_is_named_like_the_address() {
    let (place, address) = published();
    let mut command = place.meganet(["get", &address]);
    command.current_dir(place.path(""));
    crate::support::Run::of(command).ok();
    assert!(tree(&place.path(&address)) == tree(&place.path("site")));
}

#[test]
fn one_file_by_path_or_by_link() {
    let (place, address) = published();
    let get = |what: &str, more: &[&str]| {
        let into = place.path("one");
        let _ = fs::remove_dir_all(&into);
        let arguments = ["get", what, into.to_str().unwrap()].into_iter().chain(more.iter().copied());
        place.json(arguments.collect::<Vec<_>>()).ok();
        tree(&into).into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(get(&address, &["--path", "big.bin"]), ["big.bin"]);
    assert_eq!(get(&format!("{address}/sub/page.html"), &[]), ["sub/page.html"]);
    assert_eq!(get(&format!("https://example.org/#/{address}/sub/"), &[]), ["sub/index.html"]);
    assert_eq!(
        get(&format!("web+meganet:{address}/name%20with%20space%20%26%20%C3%BC.txt"), &[]),
        ["name with space & ü.txt"]
    );
    let missing = place.json(["get", &address, place.path("no").to_str().unwrap(), "--path", "nope"]);
    assert_eq!((missing.error_code().as_str(), missing.code()), ("no_such_path", Some(3)));
    assert!(!place.path("no").exists(), "nothing is made for it");
}

#[test]
fn a_folder_with_something_in_it_is_left_alone_unless_forced() {
    let (place, address) = published();
    let copy = place.path("copy");
    write_files(&copy, &[("mine.txt", b"mine"), ("style.css", b"mine")]);
    let run = place.json(["get".as_ref(), address.as_ref(), copy.as_os_str()]);
    assert_eq!((run.error_code().as_str(), run.code()), ("refused", Some(5)));
    assert_eq!(tree(&copy).len(), 2);
    place.json(["get".as_ref(), address.as_ref(), copy.as_os_str(), "--force".as_ref()]).ok();
    let files = tree(&copy);
    assert_eq!(files.len(), 8);
    assert!(files.contains(&("mine.txt".into(), b"mine".to_vec())));
    assert!(files.contains(&("style.css".into(), b"p{}".to_vec())));
}

#[test]
fn links_in_the_target_lead_nowhere() {
    let (place, address) = published();
    let (copy, outside) = (place.path("copy"), place.path("outside"));
    fs::create_dir_all(&copy).unwrap();
    write_files(&outside, &[("victim", b"old")]);
    symlink(outside.join("victim"), copy.join("style.css")).unwrap();
    place.json(["get".as_ref(), address.as_ref(), copy.as_os_str(), "--force".as_ref()]).ok();
    assert_eq!(fs::read(outside.join("victim")).unwrap(), b"old");
    assert_eq!(fs::read(copy.join("style.css")).unwrap(), b"p{}");

    fs::remove_dir_all(copy.join("sub")).unwrap();
    symlink(&outside, copy.join("sub")).unwrap();
    let run = place.json(["get".as_ref(), address.as_ref(), copy.as_os_str(), "--force".as_ref()]);
    assert_eq!((run.error_code().as_str(), run.code()), ("storage", Some(6)), "{}", run.out);
    assert!(run.out.contains("sub/"), "it names the file: {}", run.out);
    assert_eq!(tree(&outside).len(), 1, "nothing is written outside");
}

#[test]
fn an_unknown_site_without_any_peer() {
    let (place, _) = published();
    let stranger = Place::new();
    let site = stranger.site(&[("index.html", b"x")]);
    let other = stranger.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
    let run = place.json(["get", other["address"].as_str().unwrap()]);
    assert_eq!((run.error_code().as_str(), run.code()), ("offline", Some(8)), "{}", run.out);
    assert!(run.out.contains("--bootstrap"), "it says what to do: {}", run.out);
}

#[test]
fn stopping_leaves_whole_files_and_no_others() {
    let place = Place::new();
    let names: Vec<String> = (0..400).map(|n| format!("{n}.bin")).collect();
    let contents: Vec<Vec<u8>> = (0..400).map(|n| noise(n, 40_000)).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
    let site = place.site(&files);
    let published = place.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
    let copy = place.path("copy");
    let mut child = place
        .meganet(["--json", "get", published["address"].as_str().unwrap(), copy.to_str().unwrap()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    crate::support::eventually("the first files", || {
        fs::read_dir(&copy).is_ok_and(|files| files.count() > 5).then_some(())
    });
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    // 130, or 0 when it was faster than the signal.
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(130 | 0)), "{code:?}");
    let whole = tree(&site);
    for file in tree(&copy) {
        assert!(whole.contains(&file), "{} is not whole", file.0);
    }
}

#[test]
fn what_is_no_folder_is_not_written_to() {
    let (place, address) = published();
    let (file, dangling) = (place.path("file"), place.path("dangling"));
    fs::write(&file, "precious").unwrap();
    symlink(place.path("nowhere"), &dangling).unwrap();
    for target in [&file, &dangling] {
        for force in [&[] as &[&str], &["--force"]] {
            let arguments = ["get", &address, target.to_str().unwrap()].into_iter().chain(force.iter().copied());
            let run = place.json(arguments.collect::<Vec<_>>());
            assert_eq!((run.error_code().as_str(), run.code()), ("usage", Some(2)), "{}", run.out);
            assert!(run.out.contains("is not a folder"), "{}", run.out);
        }
    }
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    assert!(!place.path("nowhere").exists());
}
