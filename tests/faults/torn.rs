//! F24: a process dies in the middle of writing a file, or a write takes only half. What was there before is valid until the
//! new is whole; what an interrupted run leaves behind is in nobody's way.
//!
//! Each kind of file that the program writes beside its database (whose commits `commit_points.rs` hurts) stands in `KINDS`.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use sanku_certs::federation::notes_in;
use sanku_certs::{Federation, NodeKeys};

use crate::rig::{Rig, json_of, run, sanku};
use crate::sabotage::{Act, EIO, ENOSPC, RENAME, SYNC, Sabotage, WRITE};
use crate::{status, until};

/// Every kind of file, by how its name ends, and what writes it.
const KINDS: [(&str, &str); 12] = [
    (".key", "federation: keys"),
    ("key-file", "federation: what opens them"),
    (".note", "federation: notes"),
    ("certs/chain.pem", "federation: certificates"),
    ("authority/federation", "federation: its name"),
    ("authority/lock", "federation: who works on it"),
    ("node.toml", "federation: a node's configuration"),
    ("newest-checkpoint", "serve: what is remembered"),
    ("backup", "backup create"),
    ("identity", "backup keygen"),
    ("evidence", "evidence export"),
    ("tiles", "log tiles"),
];

const CALLS: u64 = WRITE | SYNC | RENAME;

/// Runs a command under sabotage.
fn under(sabotage: &Sabotage, words: &[&str]) -> Output {
    sanku()
        .envs(sabotage.dress.environment.clone())
        .args(words)
        .output()
        .unwrap()
}

/// How many calls a command makes that is not hurt; it must succeed.
fn calls_of(sabotage: &Sabotage, words: &[&str]) -> u64 {
    sabotage.arm(CALLS, u64::MAX, Act::KillBefore, 0);
    let output = under(sabotage, words);
    sabotage.disarm();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    sabotage.seen()
}

/// Hurts a command at each of its calls, or each so many, in every way, from what `begin` leaves; `judge` sees what is there
/// then, whether it says that it succeeded, and how it was hurt.
fn at_each(sabotage: &Sabotage, words: &[&str], step: usize, begin: impl Fn(), judge: impl Fn(bool, &str)) -> u64 {
    begin();
    let calls = calls_of(sabotage, words);
    assert!(calls >= 3, "{words:?}: a write, a flush, a rename");
    let mut hurt = 0;
    let ways = [
        (Act::Tear, 0),
        (Act::KillBefore, 0),
        (Act::Short, 0),
        (Act::Fail, ENOSPC),
        (Act::Fail, EIO),
    ];
    for (act, error) in ways {
        for at in (1..=calls).step_by(step) {
            begin();
            sabotage.arm(CALLS, at, act, error);
            let output = under(sabotage, words);
            sabotage.disarm();
            hurt += u64::from(sabotage.hurt() > 0);
            let how = format!("{act:?} {error} at {at} of {words:?}");
            if act == Act::Fail && !output.status.success() {
                assert_eq!(output.status.code(), Some(1), "{how}");
                assert!(!output.stderr.is_empty(), "{how}: an error says why");
            }
            judge(output.status.success(), &how);
        }
    }
    hurt
}

/// Every file below a folder but those that no reader looks at: they are being written, or an interrupted run left them.
fn finished_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.ends_with(".new") || name.ends_with("unfinished") {
            continue;
        }
        if path.is_dir() {
            found.extend(finished_files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Whether each file of a federation's directory is of a kind that is known here, and whole.
fn whole(directory: &Path, how: &str) {
    for path in finished_files(directory) {
        let name = path.display().to_string();
        let known = KINDS.iter().any(|(end, _)| name.ends_with(end));
        assert!(known, "{how}: {name} is of no kind that is listed here");
        let bytes = std::fs::read(&path).unwrap();
        if name.ends_with("/lock") {
            continue;
        }
        assert!(bytes.ends_with(b"\n") || bytes.len() == 44, "{how}: {name} is torn");
        if name.ends_with("node.toml") {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.ends_with("directory = \".\"\n"), "{how}: {name} is torn");
        }
    }
    let federation = Federation::open(directory).unwrap_or_else(|error| panic!("{how}: {error}"));
    for row in federation.registry().unwrap().nodes {
        let folder = directory.join(row.code.to_string());
        NodeKeys::load(&folder, &federation.name, row.code, 1).unwrap_or_else(|error| panic!("{how}: {error}"));
        // A node that is just being added has its row before it has its notes.
        if folder.join("notes").exists() {
            notes_in(&folder).unwrap_or_else(|error| panic!("{how}: {error}"));
        }
    }
}

fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    crate::system(&["cp", "-a", &from.display().to_string(), &to.display().to_string()]);
}

#[test]
fn f24_keys_notes_certificates_and_configurations_are_whole_wherever_adding_a_node_breaks_off() {
    let place = tempfile::tempdir().unwrap();
    let (before, work) = (place.path().join("before"), place.path().join("work"));
    let directory = work.display().to_string();
    let founded = run(&[
        "federation",
        "init",
        &before.display().to_string(),
        "--name",
        "hubei.example",
        "--endpoint",
        "127.0.0.1:7443",
    ]);
    assert!(founded.status.success());
    let sabotage = Sabotage::of_files(place.path(), &work);
    let words = [
        "federation",
        "add",
        "421000",
        "--dir",
        &directory,
        "--endpoint",
        "127.0.0.1:7444",
    ];
    let good = |code: &str, how: &str| {
        let config = work.join(code).join("node.toml").display().to_string();
        let checked = run(&["--config", &config, "check"]);
        assert!(
            checked.status.success(),
            "{how}: {}",
            String::from_utf8_lossy(&checked.stderr)
        );
    };
    let hurt = at_each(
        &sabotage,
        &words,
        2,
        || copy(&before, &work),
        |succeeded, how| {
            whole(&work, how);
            good("420000", how);
            // Whatever was left behind, the same command brings it to its end.
            let again = run(&words);
            if !succeeded {
                assert!(
                    again.status.success() || work.join("421000/node.toml").exists(),
                    "{how}: {}",
                    String::from_utf8_lossy(&again.stderr)
                );
            }
            whole(&work, how);
            good("421000", how);
        },
    );
    println!("F24: adding a node was hurt {hurt} times");
    assert!(hurt > 40, "{hurt}");
}

#[test]
fn f24_what_a_command_writes_out_is_whole_or_not_there_and_the_next_run_is_not_hindered() {
    let rig = Rig::start();
    let (_, result) = rig.ask(&rig.case("case.json", |_| {}));
    let id = result["query"].as_str().unwrap().to_owned();
    let out = rig.place.path().join("out");
    let config = rig.folder(421_002).join("node.toml").display().to_string();
    let sabotage = Sabotage::of_files(rig.place.path(), &out);
    let at = |name: &str| out.join(name).display().to_string();
    let (backup, identity, evidence, tiles) = (at("backup"), at("identity"), at("evidence"), at("tiles"));
    let key = rig.place.path().join("recipient").display().to_string();
    let recipient = json_of(&run(&["backup", "keygen", "--out", &key, "--json"]))["recipient"]
        .as_str()
        .unwrap()
        .to_owned();
    let commands = [
        vec![
            "--config", &config, "backup", "create", "--out", &backup, "--to", &recipient,
        ],
        vec!["backup", "keygen", "--out", &identity],
        vec!["--config", &config, "evidence", "export", &id, "--out", &evidence],
        vec!["--config", &config, "log", "tiles", &tiles],
    ];
    let begin = || {
        let _ = std::fs::remove_dir_all(&out);
        std::fs::create_dir(&out).unwrap();
    };
    for words in &commands {
        let target = ["backup", "identity", "evidence", "tiles"].map(|name| out.join(name));
        let judge = |succeeded: bool, how: &str| {
            let there: Vec<_> = target.iter().filter(|file| file.exists()).collect();
            assert!(there.len() == 1 || !succeeded, "{how}: it says that it is there");
            for file in &there {
                let text = file.display().to_string();
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                assert!(KINDS.iter().any(|(end, _)| *end == name));
                let holds = match name.as_str() {
                    "backup" => run(&["--config", &config, "backup", "verify", &text, "--identity", &key])
                        .status
                        .success(),
                    "evidence" => run(&["--config", &config, "evidence", "verify", &text])
                        .status
                        .success(),
                    "identity" => {
                        std::fs::read_to_string(file).unwrap().starts_with("AGE-SECRET-KEY-1")
                            && std::fs::read_to_string(file).unwrap().len() == 75
                    }
                    _ => tiles_hold(file),
                };
                assert!(holds, "{how}: {text} is torn");
            }
            if there.is_empty() {
                let again = run(words);
                assert!(
                    again.status.success(),
                    "{how}: {}",
                    String::from_utf8_lossy(&again.stderr)
                );
            }
        };
        let hurt = at_each(&sabotage, words, 1, begin, judge);
        println!(
            "F24: {:?} was hurt {hurt} times",
            &words[words.len().saturating_sub(4)..]
        );
        assert!(hurt >= 15, "{words:?}: {hurt}");
    }
    begin();
}

/// Whether a directory of tiles has all hashes and entries of its checkpoint.
fn tiles_hold(directory: &Path) -> bool {
    let checkpoint = std::fs::read_to_string(directory.join("checkpoint")).unwrap();
    let size: usize = checkpoint.lines().nth(1).unwrap().parse().unwrap();
    let of = |path: &str| std::fs::read(directory.join(path)).unwrap_or_default();
    assert!(size < 256, "one tile");
    let entries = of(&format!("tile/entries/000.p/{size}"));
    let mut rest = entries.as_slice();
    let mut count = 0;
    while let [high, low, ..] = rest {
        let length = usize::from(*high) << 8 | usize::from(*low);
        let Some(after) = rest.get(2 + length..) else {
            return false;
        };
        rest = after;
        count += 1;
    }
    of(&format!("tile/0/000.p/{size}")).len() == size * 32 && count == size
}

#[test]
fn f24_what_a_node_remembers_outside_of_its_database_is_the_old_or_the_new() {
    let mut rig = Rig::found();
    let memory = rig.place.path().join("memory");
    std::fs::create_dir(&memory).unwrap();
    let file = memory.join("newest-checkpoint");
    rig.configure(
        421_003,
        "url = \"sqlite:node.db\"",
        &format!("url = \"sqlite:node.db\"\nmemory = \"{}\"", file.display()),
    );
    let sabotage = Sabotage::of_files(rig.place.path(), &memory);
    rig.dress.insert(421_003, sabotage.dress.clone());
    for code in crate::rig::CODES {
        rig.fill(code);
        rig.serve(code);
    }
    let ask = |rig: &Rig| rig.ask(&rig.case("case.json", |_| {}));
    let size = |bytes: &[u8]| -> u64 {
        let text = std::str::from_utf8(bytes).unwrap();
        assert!(text.contains("\n\n— "), "it is torn: {text}");
        text.lines().nth(1).unwrap().parse().unwrap()
    };
    ask(&rig);
    until("remembering", Duration::from_secs(10), || file.exists());
    // Killed at the write, the flush, the rename, the flush of the directory.
    for (act, at) in [Act::Tear, Act::KillBefore, Act::KillAfter]
        .into_iter()
        .flat_map(|act| (1..=4).map(move |at| (act, at)))
    {
        let before = std::fs::read(&file).unwrap();
        sabotage.arm(CALLS, at, act, 0);
        ask(&rig);
        until("its death", Duration::from_secs(15), || !rig.lives(421_003));
        sabotage.disarm();
        let after = std::fs::read(&file).unwrap();
        assert!(after == before || size(&after) > size(&before), "{act:?} at {at}");
        rig.serve(421_003);
        assert_eq!(status(&rig, 421_003)["state"], "working", "{act:?} at {at}");
    }
    // A disk that fails or takes half is told, and a second later it is tried again.
    for (act, error) in [(Act::Fail, ENOSPC), (Act::Fail, EIO), (Act::Short, 0)] {
        let before = size(&std::fs::read(&file).unwrap());
        sabotage.arm(CALLS, 1, act, error);
        ask(&rig);
        until("remembering", Duration::from_secs(15), || {
            size(&std::fs::read(&file).unwrap()) > before
        });
        assert_eq!(sabotage.hurt(), 1, "{act:?}");
        sabotage.disarm();
        assert!(rig.lives(421_003));
    }
    ask(&rig);
    let newest = rig.entries(421_003);
    until("remembering the newest", Duration::from_secs(10), || {
        size(&std::fs::read(&file).unwrap()) >= newest
    });
}
