//! Threat 61: the disk fills up. Nothing breaks, what is stored is still read, and space that returns is used.
//!
//! A peer runs with its data directory on a small memory file system of its own mount namespace, which an unprivileged
//! user may make too.

use crate::support::{Place, Run, noise};
use std::process::Command;

const SCRIPT: &str = r#"
set -eu
mount -t tmpfs -o size=24m none "$DATA"
m() { "$MEGANET" --data-dir "$DATA" --json "$@"; }
"$MEGANET" --data-dir "$DATA" --json peer --listen /ip4/127.0.0.1/tcp/0 > "$BASE/peer.log" 2> "$BASE/peer.err" &
peer=$!
while ! [ -S "$DATA/socket" ]; do sleep 0.1; done
m publish "$BASE/small" > "$BASE/small.json"
address=$(sed -n 's/.*"address":"\([a-z2-7]*\)".*/\1/p' "$BASE/small.json" | head -n 1)

step() { name=$1; shift; code=0; m "$@" > "$BASE/$name.json" || code=$?; echo "$name $code"; }
head -c 12m /dev/zero > "$DATA/filler"
step big publish "$BASE/big"
step read get "$address" "$BASE/copy1"
cat /dev/zero > "$DATA/filler2" 2> /dev/null || true
echo changed > "$BASE/small/index.html"
step small_full publish "$BASE/small"
step read_full get "$address" "$BASE/copy2"
step status_full status
rm "$DATA/filler" "$DATA/filler2"
step small_again publish "$BASE/small"
step big_again publish "$BASE/big"
step read_again get "$address" "$BASE/copy3"
kill $peer
wait $peer
"#;

#[test]
fn case_61_a_full_disk() {
    let place = Place::new();
    crate::support::write_files(&place.path("small"), &[("index.html", b"<title>Small</title>")]);
    crate::support::write_files(&place.path("big"), &[("big.bin", &noise(6, 12_000_000))]);
    std::fs::create_dir(place.data()).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", SCRIPT]);
    command.env("DATA", place.data()).env("BASE", place.path("")).env("MEGANET", env!("CARGO_BIN_EXE_meganet"));
    let run = Run::of(command).ok();
    let log = |name: &str| std::fs::read_to_string(place.path(name)).unwrap_or_default();
    let expected = [
        "big 6",
        "read 0",
        "small_full 6",
        "read_full 0",
        "status_full 0",
        "small_again 0",
        "big_again 0",
        "read_again 0",
    ];
    let big = (log("big.json"), log("small_full.json"));
    assert_eq!(run.out.lines().collect::<Vec<_>>(), expected, "{big:?}\n{}\n{}", run.err, log("peer.log"));
    for text in [&big.0, &big.1] {
        assert!(text.contains(r#""code":"full""#) && text.contains("store/"), "{text}");
    }
    assert!(log("peer.log").contains(r#""event":"stopped""#));
    let first = std::fs::read(place.path("copy2/index.html")).unwrap();
    assert_eq!(first, b"<title>Small</title>", "the version before is served until the new one is whole");
    assert_eq!(std::fs::read(place.path("copy3/index.html")).unwrap(), b"changed\n");
}
