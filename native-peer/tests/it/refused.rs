//! Folders that are refused, each with its reason, before anything is signed (threats 16, 17, 66, 67).

use crate::support::{Place, Run, noise};
use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt, fs::symlink},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Publishes a good version, spoils the folder, and makes sure that the spoilt one is refused and the good one stays.
#[track_caller]
fn refused(spoil: impl FnOnce(&Path), named: &str) -> Run {
    let place = Place::new();
    let site = place.site(&[("index.html", b"good"), ("sub/page.html", b"good")]);
    let good = place.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
    spoil(&site);
    let run = place.json(["publish".as_ref(), site.as_os_str()]);
    assert_eq!((run.error_code().as_str(), run.code()), ("refused", Some(5)), "{}", run.out);
    assert!(run.out.contains(named), "{named:?} in {}", run.out);
    let head = place.json(["head", good["address"].as_str().unwrap()]).ok().event("head");
    assert_eq!(head["hash"], good["head"], "the good version stays");
    run
}

#[test]
fn an_empty_folder() {
    let place = Place::new();
    fs::create_dir_all(place.path("site/inside")).unwrap();
    let run = place.json(["publish".as_ref(), place.path("site").as_os_str()]);
    assert_eq!(run.error_code(), "refused");
    assert!(place.json(["key", "list"]).ok().objects().is_empty(), "no key is made for it");
}

#[test]
fn what_is_no_folder() {
    let place = Place::new();
    fs::write(place.path("file"), "x").unwrap();
    for name in ["file", "nothing"] {
        assert_eq!(place.json(["publish".as_ref(), place.path(name).as_os_str()]).error_code(), "refused");
    }
}

#[test]
fn links_out_of_the_folder_and_inside() {
    refused(|site| symlink("/etc/passwd", site.join("sub/link")).unwrap(), "sub/link");
    refused(|site| symlink("../../data", site.join("sub/link")).unwrap(), "leads out");
    refused(|site| symlink("index.html", site.join("link")).unwrap(), "a symbolic link");
}

#[test]
fn names_that_not_every_system_keeps() {
    refused(|site| fs::write(site.join("C:drive"), "x").unwrap(), "Rename");
    for name in ["con.txt", "what?", "dot.", "space "] {
        refused(|site| fs::write(site.join("sub").join(name), "x").unwrap(), "Windows");
    }
    for name in ["a\nb", "back\\slash", "%2e%2e", "rtl\u{202e}", "nfd-e\u{301}"] {
        refused(|site| fs::write(site.join("sub").join(name), "x").unwrap(), "Rename");
    }
    refused(|site| fs::write(site.join(OsStr::from_bytes(b"latin-\xe9")), "x").unwrap(), "UTF-8");
    refused(|site| fs::write(site.join("INDEX.html"), "x").unwrap(), "differ only");
}

#[test]
fn paths_too_long_or_too_deep() {
    refused(
        |site| {
            let folder = site.join("x".repeat(250)).join("y".repeat(250));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("z".repeat(20)), "x").unwrap();
        },
        "bytes",
    );
    refused(
        |site| {
            let folder = site.join("d/".repeat(32));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("f"), "x").unwrap();
        },
        "levels",
    );
}

#[test]
fn pipes_and_sockets() {
    refused(
        |site| assert!(Command::new("mkfifo").arg(site.join("pipe")).status().unwrap().success()),
        "“pipe” is a pipe",
    );
    refused(|site| drop(std::os::unix::net::UnixListener::bind(site.join("sub/socket")).unwrap()), "sub/socket");
}

#[test]
fn files_that_cannot_be_read() {
    if fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0) {
        // The superuser reads everything; a file that fails while it is read stands in for it.
        return refused_as_another_user();
    }
    refused(
        |site| fs::set_permissions(site.join("sub/page.html"), fs::Permissions::from_mode(0o000)).unwrap(),
        "sub/page.html",
    );
}

/// The same as an unprivileged user, by way of `setpriv`.
fn refused_as_another_user() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"good"), ("secret", b"x")]);
    fs::set_permissions(site.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    let base = site.parent().unwrap();
    fs::create_dir(place.data()).unwrap();
    let owned = Command::new("chown").args(["-R", "65534:65534"]).arg(base).status().unwrap();
    assert!(owned.success());
    let binary = base.join("meganet");
    // Another process copies it: a descriptor open for writing here could be inherited by a process that another test
    // starts at that moment, and the copy could not be executed while that one runs.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_meganet")).arg(&binary).status().unwrap();
    assert!(copied.success());
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&binary);
    command.arg("--data-dir").arg(place.data()).arg("--json").arg("publish").arg(&site);
    let run = Run::of(command);
    assert_eq!(run.error_code(), "refused", "{}", run.err);
    assert!(run.out.contains("“secret” cannot be read"), "{}", run.out);
}

#[test]
fn secrets_and_history() {
    refused(|site| fs::write(site.join(".env"), "PASSWORD=x").unwrap(), "--include-private");
    refused(|site| fs::create_dir(site.join("sub/.git")).unwrap(), "sub/.git");
    let place = Place::new();
    let site = place.site(&[(".git/config", b"x")]);
    place.json(["publish".as_ref(), site.as_os_str(), "--include-private".as_ref()]).ok();
}

#[test]
fn more_than_a_site_can_hold() {
    refused(|site| fs::File::create(site.join("huge")).unwrap().set_len(5 << 30).unwrap(), "Nothing was signed");
    refused(
        |site| (0..10_001).for_each(|n| fs::write(site.join(format!("sub/{n}")), "").unwrap()),
        "more than 10000 files",
    );
}

#[test]
fn a_file_that_is_being_written_all_the_time() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"good"), ("log.bin", &noise(3, 3_000_000))]);
    let log = site.join("log.bin");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                overwrite(&log, 1000);
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let run = place.json(["publish".as_ref(), site.as_os_str()]);
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!((run.error_code().as_str(), run.code()), ("changed", Some(5)), "{}", run.out);
    place.json(["publish".as_ref(), site.as_os_str()]).ok();
}

#[test]
fn case_66_a_folder_that_changes_while_it_is_read() {
    let changes: [Change; 5] = [
        ("big.bin", |site| overwrite(&site.join("big.bin"), 10)),
        ("big.bin", |site| {
            fs::OpenOptions::new().append(true).open(site.join("big.bin")).unwrap().set_len(BIG + 1).unwrap()
        }),
        ("big.bin", |site| fs::File::create(site.join("big.bin")).unwrap().set_len(BIG / 2).unwrap()),
        ("new.html", |site| fs::write(site.join("new.html"), "new").unwrap()),
        // Read already: the packed files come before the large ones.
        ("index.html", |site| fs::write(site.join("index.html"), "good").unwrap()),
    ];
    for (named, change) in changes {
        let place = Place::new();
        let site = place.site(&[("index.html", b"good")]);
        let good = place.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
        // Sparse: it takes a second to seal and no disk.
        fs::File::create(site.join("big.bin")).unwrap().set_len(BIG).unwrap();
        let mut command = place.meganet(["--json", "publish"]);
        let child = command.arg(&site).stdout(Stdio::piped()).spawn().unwrap();
        let descriptors = format!("/proc/{}/fd", child.id());
        let reads_big = || {
            let open = fs::read_dir(&descriptors).ok()?.flatten();
            open.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|path| path.ends_with("big.bin")).then_some(())
        };
        let start = std::time::Instant::now();
        while reads_big().is_none() {
            assert!(start.elapsed() < crate::support::PATIENCE, "{named}: the file is never read");
        }
        change(&site);
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(5), "{named}: {text}");
        assert!(text.contains(r#""code":"changed""#) && text.contains(named), "{named}: {text}");
        let head = place.json(["head", good["address"].as_str().unwrap()]).ok().event("head");
        assert_eq!(head["hash"], good["head"], "{named}: the good version stays");
    }
}

/// The file that is named, and what happens to the folder.
type Change = (&'static str, fn(&Path));

const BIG: u64 = 300_000_000;

/// Changes a file's bytes and leaves its size.
fn overwrite(path: &Path, offset: u64) {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(b"changed").unwrap();
}
