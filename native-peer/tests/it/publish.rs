//! Publishing: versions, chains, and what is stored.

use crate::support::{Place, noise};
use serde_json::Value;
use std::{ffi::OsStr, fs, os::unix::fs::PermissionsExt, path::Path};

fn publish(place: &Place, folder: &Path, more: &[&str]) -> crate::support::Run {
    let arguments = ["publish".as_ref(), folder.as_os_str()].into_iter().chain(more.iter().map(OsStr::new));
    place.json(arguments)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn versions_follow_each_other_and_form_a_chain() {
    let place = Place::new();
    let big = noise(1, 700_000);
    let site = place.site(&[("index.html", b"<title>First &amp; last</title>"), ("big.bin", &big), ("a/b.txt", b"b")]);
    let first = publish(&place, &site, &[]).ok();
    let note = first.event("note")["message"].as_str().unwrap().to_owned();
    assert!(note.contains("meganet peer"), "it says that nobody serves the site: {note}");
    let first = first.event("published");
    assert_eq!((number(&first["sequence"]), &first["previous_sequence"]), (1, &Value::Null));
    assert_eq!((number(&first["files"]), number(&first["bytes"])), (3, 700_000 + 31 + 1));
    assert_eq!(first["title"], "First & last");
    let address = first["address"].as_str().unwrap();
    assert_eq!(first["link"], format!("http://meganet.localhost:8080/#/{address}"));
    assert_eq!(first["scheme_link"], format!("web+meganet:{address}"));
    let key_file = first["key_file"].as_str().unwrap();
    assert_eq!(fs::metadata(key_file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(first["key_created"], true);

    let again = publish(&place, &site, &[]).ok().event("unchanged");
    assert_eq!((number(&again["sequence"]), number(&again["chunks"]["new"])), (1, 0));

    fs::write(site.join("a/b.txt"), "changed").unwrap();
    let second = publish(&place, &site, &["--page", "https://example.org"]).ok().event("published");
    assert_eq!((number(&second["sequence"]), number(&second["previous_sequence"])), (2, 1));
    assert_eq!((&second["address"], second["key_created"] == false), (&first["address"], true));
    assert_eq!(second["link"], format!("https://example.org/#/{address}"));
    // The large file's three chunks are not stored again: a pack and the manifest are.
    assert!(number(&second["chunks"]["new"]) <= 2, "{second}");
    assert!(number(&second["chunks"]["total"]) >= 4, "{second}");

    let head = place.json(["head", address]).ok().event("head");
    assert_eq!((number(&head["sequence"]), &head["hash"]), (2, &second["head"]));
    assert_eq!(head["previous"], first["head"]);

    let forced = publish(&place, &site, &["--force"]).ok().event("published");
    assert_eq!((number(&forced["sequence"]), number(&forced["chunks"]["new"])), (3, 0));
}

#[test]
fn the_sequence_can_be_chosen_within_reason() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"1")]);
    assert_eq!(number(&publish(&place, &site, &["--sequence", "40"]).ok().event("published")["sequence"]), 40);
    fs::write(site.join("index.html"), "2").unwrap();
    for refused in ["40", "39", "0", "18446744073709551615", "8589934592"] {
        let run = publish(&place, &site, &["--sequence", refused]);
        assert_eq!((run.error_code().as_str(), run.code()), ("refused", Some(5)), "{refused}");
    }
    assert_eq!(number(&publish(&place, &site, &[]).ok().event("published")["sequence"]), 41);
}

#[test]
fn one_folder_does_not_replace_another_by_its_name() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"1")]);
    publish(&place, &site, &[]).ok();
    let namesake = place.path("other/site");
    crate::support::write_files(&namesake, &[("index.html", b"2")]);
    assert_eq!(publish(&place, &namesake, &[]).error_code(), "refused");
    let replaced = publish(&place, &namesake, &["--key", "site"]).ok().event("published");
    assert_eq!(number(&replaced["sequence"]), 2);
    let new = publish(&place, &site, &["--key", "new"]).ok().event("published");
    assert_eq!(number(&new["sequence"]), 1);
}

#[test]
fn a_version_is_not_numbered_anew_where_none_is_known() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"1")]);
    let first = publish(&place, &site, &[]).ok().event("published");
    // The same key on a machine that never saw the site and reaches nobody.
    let keys = place.data().join("keys");
    let other = Place::new();
    fs::create_dir_all(other.data()).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(&keys).arg(other.data()).status().unwrap();
    assert!(copied.success());
    let run = publish(&other, &site, &[]);
    assert_eq!((run.error_code().as_str(), run.code()), ("unknown_version", Some(5)), "{}", run.out);
    assert!(run.out.contains("--sequence 1") && run.out.contains("stolen"), "{}", run.out);
    assert_eq!(publish(&other, &site, &["--sequence", "4294967297"]).error_code(), "refused");
    let second = publish(&other, &site, &["--sequence", "2"]).ok().event("published");
    assert_eq!((number(&second["sequence"]), &second["address"]), (2, &first["address"]));
    assert_eq!(number(&publish(&other, &site, &["--force"]).ok().event("published")["sequence"]), 3);
}

#[test]
fn a_first_publication_that_failed_is_simply_tried_again() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"1")]);
    // The store's place is taken: the key is made, and the node does not start.
    crate::support::write_files(&place.data(), &[("store", b"in the way")]);
    assert_eq!(publish(&place, &site, &[]).error_code(), "storage");
    assert_eq!(place.json(["key", "list"]).ok().objects().len(), 1);
    fs::remove_file(place.data().join("store")).unwrap();
    assert_eq!(number(&publish(&place, &site, &[]).ok().event("published")["sequence"]), 1);
}

#[test]
fn a_copied_key_may_have_signed_elsewhere() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"1")]);
    crate::support::write_files(&place.data(), &[("store", b"in the way")]);
    assert_eq!(publish(&place, &site, &[]).error_code(), "storage");
    fs::remove_file(place.data().join("store")).unwrap();
    fs::write(place.path("pass"), "correct horse battery\n").unwrap();
    let (pass, copy) = (place.path("pass"), place.path("copy"));
    let export = ["key", "export", "site", copy.to_str().unwrap(), "--passphrase-file", pass.to_str().unwrap()];
    place.json(export).ok();
    assert_eq!(publish(&place, &site, &[]).error_code(), "unknown_version");
    assert_eq!(number(&publish(&place, &site, &["--sequence", "1"]).ok().event("published")["sequence"]), 1);
}

#[test]
fn an_unchanged_site_is_announced_again() {
    let (hub, place) = (Place::new(), Place::new());
    let site = place.site(&[("index.html", b"1")]);
    let published = publish(&place, &site, &[]).ok().event("published");
    assert_eq!(number(&published["stored_on"]), 0, "nobody was there");
    let peer = hub.peer(&[]);
    let again = publish(&place, &site, &["--bootstrap", &peer.address("/tcp/")]).ok().event("unchanged");
    assert!(number(&again["stored_on"]) >= 1, "{again}");
    let head = hub.json(["head", published["address"].as_str().unwrap()]).ok().event("head");
    assert_eq!(head["hash"], published["head"]);
}

#[test]
fn a_key_file_elsewhere_is_made_and_used() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"1")]);
    let file = place.path("my.key");
    let file = file.to_str().unwrap();
    let first = publish(&place, &site, &["--key-file", file]).ok().event("published");
    fs::write(site.join("index.html"), "2").unwrap();
    let second = publish(&place, &site, &["--key-file", file]).ok().event("published");
    assert_eq!((&first["address"], number(&second["sequence"])), (&second["address"], 2));
    fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
    let run = publish(&place, &site, &["--key-file", file]);
    assert_eq!(run.error_code(), "refused");
}

#[test]
fn title_and_entry_page_can_be_chosen() {
    let place = Place::new();
    let site = place.site(&[("start.html", b"<title>Page</title>"), ("empty", b"")]);
    let plain = publish(&place, &site, &[]).ok().event("published");
    assert_eq!((plain["title"].as_str(), &plain["index"]), (Some("site"), &Value::Null));
    let chosen = publish(&place, &site, &["--index", "start.html"]).ok().event("published");
    assert_eq!((chosen["title"].as_str(), chosen["index"].as_str()), (Some("Page"), Some("start.html")));
    let titled = publish(&place, &site, &["--index", "start.html", "--title", "A\u{1b}[1m\nB"]).ok().event("published");
    assert_eq!(titled["title"], "A[1m B");
    let missing = publish(&place, &site, &["--index", "nope.html"]);
    assert_eq!((missing.error_code().as_str(), missing.code()), ("usage", Some(2)));
}

#[test]
fn what_is_printed_for_people_names_address_and_link() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"1")]);
    let run = place.run(["publish".as_ref(), site.as_os_str()]).ok();
    for part in ["published version 1", "address  ", "http://meganet.localhost:8080/#/", "web+meganet:", "Back it up"] {
        assert!(run.out.contains(part), "{part:?} in {}", run.out);
    }
    assert!(run.err.contains("meganet peer"), "{}", run.err);
    assert!(place.run(["publish".as_ref(), site.as_os_str()]).ok().out.contains("nothing changed since version 1"));
}

#[test]
fn a_number_is_not_signed_twice_though_the_store_is_lost() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"1")]);
    let first = publish(&place, &site, &["--sequence", "7"]).ok().event("published");
    fs::remove_file(place.data().join("store/index.redb")).unwrap();
    let chunks = place.data().join("store/chunks");
    let there = crate::support::tree(&chunks);
    let run = publish(&place, &site, &[]);
    assert_eq!(run.error_code(), "storage");
    assert!(run.out.contains("index.redb") && run.out.contains("chunk files"), "{}", run.out);
    assert!(crate::support::tree(&chunks) == there, "nothing is deleted");

    fs::rename(&chunks, place.path("moved-away")).unwrap();
    assert_eq!(publish(&place, &site, &["--sequence", "7"]).error_code(), "refused");
    let second = publish(&place, &site, &[]).ok().event("published");
    assert_eq!((number(&second["sequence"]), number(&second["previous_sequence"])), (8, 7));
    let head = place.json(["head", first["address"].as_str().unwrap()]).ok().event("head");
    assert_eq!(head["previous"], first["head"]);
}

#[test]
fn a_damaged_chunk_is_stored_again_before_anything_is_signed_over_it() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"1"), ("big.bin", &noise(1, 600_000))]);
    let address = publish(&place, &site, &[]).ok().event("published")["address"].as_str().unwrap().to_owned();
    let chunks = place.data().join("store/chunks");
    for (path, content) in crate::support::tree(&chunks) {
        fs::write(chunks.join(path), &content[..content.len() / 2]).unwrap();
    }
    fs::write(site.join("new.html"), "new").unwrap();
    publish(&place, &site, &[]).ok();
    let copy = place.path("copy");
    place.json(["get".as_ref(), address.as_ref(), copy.as_os_str()]).ok();
    assert!(crate::support::tree(&copy) == crate::support::tree(&site));
}

#[test]
fn chunks_of_a_replaced_version_go_when_the_store_is_next_opened() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"1"), ("big.bin", &noise(1, 600_000))]);
    publish(&place, &site, &[]).ok();
    fs::write(site.join("big.bin"), noise(2, 600_000)).unwrap();
    publish(&place, &site, &[]).ok();
    let status = place.json(["status"]).ok().event("status");
    let stored = number(&status["stored_bytes"]);
    assert!((600_000..900_000).contains(&stored), "{stored}");
    let on_disk: u64 = crate::support::tree(&place.data().join("store/chunks")).iter().map(|f| f.1.len() as u64).sum();
    assert_eq!(on_disk, stored);
}
