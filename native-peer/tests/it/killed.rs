//! Threat 62: SIGKILL at many moments of a publication leaves the old version or the new one, whole.

use crate::support::{Place, noise, tree, write_files};
use std::{fs, process::Stdio, time::Duration};

/// Moments tried; more with `MEGANET_TEST_MOMENTS`.
const MOMENTS: u32 = 50;

#[test]
fn a_publication_killed_at_any_moment_is_old_or_new() {
    let moments = std::env::var("MEGANET_TEST_MOMENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(MOMENTS);
    let place = Place::new();
    let version = |n: u64| noise(n, 3_000_000);
    let site = place.site(&[("index.html", b"<title>Kill me</title>")]);
    write_files(&site, &[("big.bin", &version(0))]);
    let started = std::time::Instant::now();
    let first = place.json(["publish".as_ref(), site.as_os_str()]).ok().event("published");
    let whole_run = started.elapsed();
    let address = first["address"].as_str().unwrap();
    let (mut sequence, mut last, mut killed, mut swapped, mut unpublished) = (1, 0, 0, 0, 0u32);

    for moment in 0..moments {
        let next = u64::from(moment) + 1;
        fs::write(site.join("big.bin"), version(next)).unwrap();
        let mut child = place
            .meganet(["publish".as_ref(), site.as_os_str()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The moments are spread over the whole run and a little beyond; the noise makes no two alike.
        let fraction = f64::from((moment * 37) % moments) / f64::from(moments);
        std::thread::sleep(
            whole_run.mul_f64(fraction * 1.1) + Duration::from_micros(u64::from(noise(next, 1)[0]) * 10),
        );
        let _ = child.kill();
        killed += u32::from(child.wait().unwrap().code().is_none());

        let head = place.json(["head", address]).ok().event("head");
        let found = head["sequence"].as_u64().unwrap();
        // A number that was signed when the process died is not signed again, so one or more may be left out.
        let runs = sequence + 1..=sequence + 1 + u64::from(unpublished);
        assert!(found == sequence || runs.contains(&found), "moment {moment}: {found} after {sequence}");
        unpublished += 1;
        if found > sequence {
            unpublished = 0;
            swapped += 1;
            (sequence, last) = (found, next);
        }
        let copy = place.path("copy");
        let _ = fs::remove_dir_all(&copy);
        place.json(["get".as_ref(), address.as_ref(), copy.as_os_str()]).ok();
        let files = tree(&copy);
        assert_eq!(files.len(), 2, "moment {moment}");
        assert!(files[0].1 == version(last), "moment {moment}: not the content of version {sequence}");
        assert!(temporary_files(&place).is_empty(), "moment {moment}: {:?}", temporary_files(&place));
    }
    assert!(killed > moments / 4, "only {killed} runs were killed: the moments miss the publication");
    println!("{killed} of {moments} were killed, {swapped} new versions came through");
}

fn temporary_files(place: &Place) -> Vec<String> {
    tree(&place.data().join("store")).into_iter().map(|(path, _)| path).filter(|path| path.contains(".tmp-")).collect()
}
