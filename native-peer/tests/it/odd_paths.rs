//! Paths that are not UTF-8: every command takes them, and prints them as well as they can be printed.

use crate::support::{Peer, Place, Run, meganet, tree};
use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::PathBuf};

/// A path in this place whose name is not UTF-8.
fn odd(place: &Place, name: &str) -> PathBuf {
    place.path("").join(OsStr::from_bytes(&[name.as_bytes(), b"-\xff"].concat()))
}

#[test]
fn a_site_is_published_and_fetched_by_odd_paths() {
    let place = Place::new();
    let site = place.site(&[("index.html", b"<p>")]);
    let (key, copy) = (odd(&place, "key"), odd(&place, "copy"));
    let publish = ["publish".as_ref(), site.as_os_str(), "--key-file".as_ref(), key.as_os_str()];
    let published = place.json(publish).ok().event("published");
    assert!(published["key_file"].as_str().unwrap().ends_with("key-\u{fffd}"), "{published}");
    assert!(key.is_file());
    let address = published["address"].as_str().unwrap();
    let fetched = place.json(["get".as_ref(), address.as_ref(), copy.as_os_str()]).ok().event("fetched");
    assert!(fetched["folder"].as_str().unwrap().ends_with("copy-\u{fffd}"), "{fetched}");
    assert!(tree(&copy) == tree(&site));
    // Without --json they are printed too.
    place.run(["get".as_ref(), address.as_ref(), odd(&place, "again").as_os_str()]).ok();
}

#[test]
fn a_data_directory_may_have_an_odd_path() {
    let place = Place::new();
    let data = odd(&place, "data");
    let command = |arguments: &[&OsStr]| {
        let mut command = meganet();
        command.arg("--data-dir").arg(&data).arg("--json").args(arguments);
        command
    };
    let site = place.site(&[("index.html", b"<p>")]);
    Run::of(command(&["publish".as_ref(), site.as_os_str()])).ok();
    let listed = Run::of(command(&["key".as_ref(), "list".as_ref()])).ok().event("key");
    assert!(listed["path"].as_str().unwrap().contains("data-\u{fffd}/keys"), "{listed}");
    Run::of(command(&["status".as_ref()])).ok();
    let arguments: [&OsStr; 3] = ["peer".as_ref(), "--listen".as_ref(), "/ip4/127.0.0.1/tcp/0".as_ref()];
    let peer = Peer::spawn(command(&arguments));
    assert!(peer.ready["data_dir"].as_str().unwrap().ends_with("data-\u{fffd}"), "{}", peer.ready);
    assert_eq!(peer.stop("-TERM").code(), Some(0));
    assert!(fs::exists(data.join("store/index.redb")).unwrap());
}
