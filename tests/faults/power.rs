//! F21: the power goes at any moment. A copy of the disk's image holds what had reached the disk by then, and no more.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::disk::Mounted;
use crate::rig::{CODES, Rig, json_of, outcome, run};
use crate::{ask, event, status, system};

#[test]
#[ignore = "needs root and minutes: just faults"]
fn f21_two_hundred_power_cuts_under_load_lose_nothing_that_was_acknowledged() {
    let mut rig = Rig::found();
    let paths = ["pc.img", "crash.img", "disk", "crash"].map(|name| rig.place.path().join(name));
    for folder in &paths[2..] {
        std::fs::create_dir(folder).unwrap();
    }
    let [image, copy, disk, crash] = paths.map(|path| path.display().to_string());
    std::fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
    system(&["mkfs.ext4", "-q", "-m", "0", &image]);
    system(&["mount", "-o", "loop", &image, &disk]);
    let _mounted = Mounted(disk.clone());
    // The asker's own log: what its user was told is what must be there.
    // What the node remembers beside its database loses its power with it.
    let database = format!("url = \"sqlite:{disk}/node.db\"\nmemory = \"{disk}/newest-checkpoint\"");
    rig.configure(421_002, "url = \"sqlite:node.db\"", &database);
    for code in CODES {
        rig.fill(code);
        rig.serve(code);
    }
    let folder = rig.folder(421_002);
    let text = std::fs::read_to_string(folder.join("node.toml")).unwrap();
    let config = folder.join("crash.toml");
    std::fs::write(&config, text.replace(&disk, &crash)).unwrap();
    let config = config.display().to_string();

    let (acknowledged, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut sizes = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let lines = ask(&rig);
                let answer = event(&lines, "result").unwrap_or_else(|| panic!("no result: {lines:?}"));
                let result = &answer["result"];
                assert_eq!(outcome(result, 421_003), "answered");
                let size = status(&rig, 421_002)["log"]["entries"].as_u64().unwrap();
                acknowledged.store(size, Ordering::SeqCst);
            }
        });
        // Whatever fails, the load ends.
        let _ended = Ended(&stop);
        for round in 0..200_u64 {
            std::thread::sleep(Duration::from_millis(pause_of(round)));
            let promised = acknowledged.load(Ordering::SeqCst);
            // A copy takes time, and a disk that changed meanwhile never was: whoever writes is stopped until it is taken.
            let asker = status(&rig, 421_002)["process"]["pid"].to_string();
            system(&["kill", "-STOP", &asker]);
            system(&["cp", "--sparse=always", &image, &copy]);
            system(&["kill", "-CONT", &asker]);
            system(&["mount", "-o", "loop", &copy, &crash]);
            let mounted = Mounted(crash.clone());
            let verified = run(&["--config", &config, "log", "verify", "--json"]);
            let report = json_of(&verified);
            assert_eq!(report["ok"], true, "cut {round}: {report}");
            let size = report["size"].as_u64().unwrap();
            assert!(
                size >= promised,
                "cut {round}: {size} entries, {promised} were acknowledged"
            );
            sizes.push(size);
            system(&["umount", &crash]);
            std::mem::forget(mounted);
        }
    });
    assert!(
        sizes.last().unwrap() > &(sizes[0] + 100),
        "it worked while its power was cut"
    );
    println!(
        "F21: 200 cuts, the log grew from {} to {} entries",
        sizes[0],
        sizes.last().unwrap()
    );
}

/// Ends the load when it goes.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A pause that differs from round to round, the same in each run.
fn pause_of(round: u64) -> u64 {
    (round * 2_654_435_761) % 97
}
