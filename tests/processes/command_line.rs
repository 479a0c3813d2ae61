//! What a person and a script meet at the command line: exit codes, one document, nothing left behind.

use std::io::Read;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::deploy::tool;
use crate::rig::{json_of, run, sanku};

fn wait(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + Duration::from_secs(60);
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    panic!("it does not end");
}

#[test]
fn wrong_use_ends_with_2_and_says_in_json_what_is_wrong() {
    let place = tempfile::tempdir().unwrap();
    std::fs::write(place.path().join("here"), "").unwrap();
    let full = place.path().display().to_string();
    let fresh = place.path().join("f").display().to_string();
    let root = "0".repeat(64);
    let wrong: [&[&str]; 9] = [
        &["demo", "--once", "--json", "--stop-node", "421002"],
        &["demo", "--once", "--json", "--stop-node", "42"],
        &["demo", "--once", "--json", "--dir", &full],
        &["evidence", "export", "x", "--json"],
        &["evidence", "verify", "x", "--root", "12", "--json"],
        &["federation", "init", &fresh, "--code", "42", "--json"],
        &["federation", "init", &fresh, "--name", "No Name", "--json"],
        &["federation", "init", &fresh, "--endpoint", "nowhere", "--json"],
        &["federation", "init", &fresh, "--categories", "yachts", "--json"],
    ];
    for arguments in wrong {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        let message = json_of(&output)["error"]["message"].to_string();
        assert!(message.len() > 12, "{arguments:?}: {message}");
        assert!(!place.path().join("f").exists(), "{arguments:?} left something behind");
    }
    // What is called rightly and fails ends with 1.
    let missing = run(&["evidence", "verify", "missing.sanku", "--root", &root, "--json"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        json_of(&missing)["error"]["message"]
            .as_str()
            .unwrap()
            .contains("missing.sanku")
    );
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure_and_a_reader_that_goes_is_none() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let lost = sanku()
        .args(["records", "categories", "--json"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(lost.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("standard output"));

    let mut gone = sanku()
        .args(["demo", "--once", "--people", "100", "--stop-node", "421003"])
        .args(["--dir", tempfile::tempdir().unwrap().path().to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    drop(gone.stdout.take());
    assert_eq!(
        wait(&mut gone),
        Some(3),
        "the exit code tells the outcome, whoever reads"
    );
}

#[test]
fn the_demonstration_leaves_nothing_behind_when_it_is_ended() {
    for signal in ["-INT", "-TERM", "-HUP"] {
        // Once before anything is asked, once while it stays up.
        for stays in [false, true] {
            let place = tempfile::tempdir().unwrap();
            let mut demo = sanku()
                .args(["demo", "--people", "100"])
                .env("TMPDIR", place.path())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let until = Instant::now() + Duration::from_secs(60);
            if stays {
                let mut heard = String::new();
                let mut bytes = [0; 4096];
                let mut out = demo.stdout.take().unwrap();
                while !heard.contains("Ctrl-C") {
                    let read = out.read(&mut bytes).unwrap();
                    assert!(read > 0 && Instant::now() < until, "{heard}");
                    heard.push_str(&String::from_utf8_lossy(&bytes[..read]));
                }
                demo.stdout = Some(out);
            } else {
                while std::fs::read_dir(place.path()).unwrap().next().is_none() {
                    assert!(Instant::now() < until);
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            let id = demo.id().to_string();
            assert!(
                std::process::Command::new("kill")
                    .args([signal, &id])
                    .status()
                    .unwrap()
                    .success()
            );
            assert_eq!(wait(&mut demo), Some(i32::from(!stays)), "{signal}");
            let left: Vec<_> = std::fs::read_dir(place.path()).unwrap().flatten().collect();
            assert!(left.is_empty(), "{signal}, stays {stays}: {left:?}");
        }
    }
}

#[test]
fn bash_zsh_and_fish_complete_commands_as_they_are_typed() {
    let mut shells = vec!["bash", "zsh", "fish"];
    shells.retain(|shell| tool(shell, shell).is_some());
    if tool("/usr/share/bash-completion/bash_completion", "bash-completion").is_none() {
        shells.retain(|shell| *shell != "bash");
    }
    let completed = std::process::Command::new("python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/completions.py"))
        .arg(env!("CARGO_BIN_EXE_sanku"))
        .args(shells)
        .output()
        .unwrap();
    assert!(
        completed.status.success(),
        "{}{}",
        String::from_utf8_lossy(&completed.stdout),
        String::from_utf8_lossy(&completed.stderr)
    );
}
