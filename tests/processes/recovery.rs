//! No fork by accident over real processes: databases that are put back, lost, forged, or replaced under a node.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{Rig, json_of, outcome, planted, run};

pub(crate) const HERE: u32 = 421_002;

/// The database's files of a node.
pub(crate) fn database(folder: &Path) -> Vec<PathBuf> {
    ["node.db", "node.db-wal", "node.db-shm"]
        .map(|name| folder.join(name))
        .to_vec()
}

/// Copies the database of a node that does not run; nothing else is in its place then.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for (from, to) in database(from).iter().zip(database(to)) {
        let _ = std::fs::remove_file(&to);
        if from.exists() {
            std::fs::copy(from, to).unwrap();
        }
    }
}

pub(crate) fn status(rig: &Rig, code: u32) -> Value {
    json_of(&rig.node(code, &["status", "--json"]))
}

/// Waits until a node's status is as it should be.
pub(crate) fn until(rig: &Rig, code: u32, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let now = status(rig, code);
        if holds(&now) {
            return now;
        }
        assert!(Instant::now() < deadline, "{what}: {now:#}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn is_recovering(status: &Value) -> bool {
    status["state"] == "recovering"
}

/// A rig whose node `HERE` has an older database aside, and said more since, which its superior has cosigned and the file
/// beside its keys remembers.
pub(crate) fn with_an_older_database() -> (Rig, PathBuf, u64) {
    let mut rig = Rig::start();
    let folder = rig.folder(HERE);
    rig.kill(HERE);
    let older = rig.place.path().join("older");
    copy(&folder, &older);
    rig.serve(HERE);
    let (code, _) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!(code, 0);
    until(&rig, HERE, "its superior cosigns", |status| {
        status["log"]["unwitnessed_since"].is_null()
    });
    let entries = rig.entries(HERE);
    let remembered = format!("\n{entries}\n");
    let deadline = Instant::now() + Duration::from_secs(10);
    while !std::fs::read_to_string(folder.join("newest-checkpoint")).is_ok_and(|text| text.contains(&remembered)) {
        assert!(Instant::now() < deadline, "the file remembers");
        std::thread::sleep(Duration::from_millis(50));
    }
    (rig, older, entries)
}

#[test]
fn f38_an_older_database_is_known_by_neighbours_alone_and_the_right_one_ends_it() {
    let (mut rig, older, entries) = with_an_older_database();
    let (folder, right) = (rig.folder(HERE), rig.place.path().join("right"));
    rig.kill(HERE);
    copy(&folder, &right);
    copy(&older, &folder);
    std::fs::remove_file(folder.join("newest-checkpoint")).unwrap();
    rig.serve(HERE);
    let seen = until(&rig, HERE, "it recovers", is_recovering);
    let (holds, missing) = (
        seen["recovering"]["holds"].as_u64().unwrap(),
        seen["recovering"]["missing"].as_u64().unwrap(),
    );
    assert_eq!(
        (holds + missing, &seen["recovering"]["remembered"]["size"]),
        (entries, &entries.into())
    );
    assert!(
        seen["recovering"]["cure"].as_str().unwrap().contains("operations.md"),
        "{seen:#}"
    );
    assert!(seen["missing"].to_string().contains("421000"), "{seen:#}");
    assert_eq!(rig.node(HERE, &["status"]).status.code(), Some(3));
    // It signs nothing: no question, no import, no look; it answers nobody; and it is told apart by `log verify`.
    let refused = rig.node(
        HERE,
        &["query", &rig.case("no.json", |_| {}).display().to_string(), "--json"],
    );
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("recovering"),
        "{refused:?}"
    );
    let file = rig.place.path().join("more.csv");
    std::fs::write(
        &file,
        "姓名,身份证号,号牌,号牌种类\n金丝雀,11010519491231002X,鄂D42X,小型汽车\n",
    )
    .unwrap();
    let file = file.display().to_string();
    let import = [
        "import",
        &file,
        "--category",
        "vehicle",
        "--source",
        "公安",
        "--as-of",
        "2026-11-01",
    ];
    let refused = rig.node(HERE, &import);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("recovering"),
        "{refused:?}"
    );
    let other = rig.node(
        421_003,
        &["query", &rig.case("other.json", |_| {}).display().to_string(), "--json"],
    );
    assert_eq!(outcome(&json_of(&other), HERE), "overloaded");
    let verified = rig.node(HERE, &["log", "verify", "--json"]);
    assert_eq!(
        (verified.status.code(), json_of(&verified)["size"].as_u64()),
        (Some(1), Some(holds))
    );

    rig.kill(HERE);
    copy(&right, &folder);
    rig.serve(HERE);
    until(&rig, HERE, "the right database ends it", |status| {
        status["state"] == "working"
    });
    assert_eq!(rig.ask(&rig.case("again.json", |_| {})).0, 0);
    assert!(rig.entries(HERE) > entries);
}

#[test]
fn f38_an_older_database_is_known_by_the_file_beside_the_keys_where_nobody_can_be_reached() {
    let (mut rig, older, entries) = with_an_older_database();
    let folder = rig.folder(HERE);
    rig.kill(HERE);
    rig.kill(421_000);
    copy(&older, &folder);
    rig.serve(HERE);
    let seen = until(&rig, HERE, "it recovers", is_recovering);
    assert_eq!(seen["recovering"]["remembered"]["size"], entries);
    // A database that is gone is one that was put back to nothing; commands know it without the node.
    rig.kill(HERE);
    for file in database(&folder) {
        let _ = std::fs::remove_file(file);
    }
    let verified = rig.node(HERE, &["log", "verify", "--json"]);
    assert_eq!(
        (verified.status.code(), json_of(&verified)["size"].as_u64()),
        (Some(1), Some(0))
    );
}

#[test]
fn f38_a_database_that_is_put_back_under_a_running_node_is_noticed() {
    let (mut rig, older, _) = with_an_older_database();
    let folder = rig.folder(HERE);
    std::fs::rename(folder.join("node.db"), folder.join("aside.db")).unwrap();
    std::fs::copy(older.join("node.db"), folder.join("node.db")).unwrap();
    let seen = until(&rig, HERE, "it notices", is_recovering);
    assert_eq!(seen["recovering"]["why"], "replaced");
    std::fs::rename(folder.join("aside.db"), folder.join("node.db")).unwrap();
    until(&rig, HERE, "its own file is back", |status| {
        status["state"] == "working"
    });
    rig.kill(HERE);
}

#[test]
fn f40_a_forged_log_of_the_same_length_is_refused_by_the_witness_and_by_log_verify() {
    let (mut rig, _, entries) = with_an_older_database();
    let folder = rig.folder(HERE);
    // The forger has the node's keys and writes another history, longer than the one that was cosigned.
    rig.kill(HERE);
    rig.kill(421_000);
    for file in database(&folder) {
        let _ = std::fs::remove_file(file);
    }
    std::fs::remove_file(folder.join("newest-checkpoint")).unwrap();
    for number in 0..=entries {
        let file = rig.place.path().join(format!("forged-{number}.csv"));
        std::fs::write(
            &file,
            format!("姓名,身份证号,号牌,号牌种类\n金丝雀,11010519491231002X,鄂D42Y{number},小型汽车\n"),
        )
        .unwrap();
        let file = file.display().to_string();
        let import = [
            "import",
            &file,
            "--category",
            "vehicle",
            "--source",
            "公安",
            "--as-of",
            "2026-11-01",
        ];
        assert_eq!(rig.node(HERE, &import).status.code(), Some(0));
    }
    assert!(rig.entries(HERE) > entries, "whole in itself");
    rig.serve(421_000);
    rig.serve(HERE);
    let seen = until(&rig, HERE, "it is told", is_recovering);
    assert_eq!(seen["recovering"]["why"], "beside");
    let verified = rig.node(HERE, &["log", "verify", "--json"]);
    assert_eq!(
        (verified.status.code(), &json_of(&verified)["ok"]),
        (Some(1), &false.into())
    );
    let other = rig.node(
        421_003,
        &["query", &rig.case("other.json", |_| {}).display().to_string(), "--json"],
    );
    assert_eq!(outcome(&json_of(&other), HERE), "overloaded");
}

/// A key pair for backups, made by the command.
fn recipient(rig: &Rig, name: &str) -> (String, String) {
    let file = rig.place.path().join(name).display().to_string();
    let made = run(&["backup", "keygen", "--out", &file, "--json"]);
    (json_of(&made)["recipient"].as_str().unwrap().to_owned(), file)
}

/// A backup of a node to these recipients.
fn backup(rig: &Rig, code: u32, name: &str, to: &[&str]) -> String {
    let file = rig.place.path().join(name).display().to_string();
    let mut arguments = vec!["backup", "create", "--out", &file, "--json"];
    for to in to {
        arguments.extend(["--to", to]);
    }
    let made = rig.node(code, &arguments);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    file
}

/// The live database's bytes.
fn bytes(folder: &Path) -> Vec<Option<Vec<u8>>> {
    database(folder)
        .iter()
        .take(1)
        .map(|file| std::fs::read(file).ok())
        .collect()
}

#[test]
fn f38_of_six_restores_the_right_one_holds_the_older_one_is_recovering_and_four_touch_nothing() {
    let mut rig = Rig::start();
    let folder = rig.folder(HERE);
    let (first, key) = recipient(&rig, "first.key");
    let (second, _) = recipient(&rig, "second.key");
    let (_, stranger) = recipient(&rig, "stranger.key");
    let to = [first.as_str(), second.as_str()];
    let older = backup(&rig, HERE, "older.age", &to);
    let others = backup(&rig, 421_003, "others.age", &to);
    assert_eq!(rig.ask(&rig.case("case.json", |_| {})).0, 0);
    until(&rig, HERE, "its superior cosigns", |status| {
        status["log"]["unwitnessed_since"].is_null()
    });
    std::thread::sleep(Duration::from_millis(1500));
    let right = backup(&rig, HERE, "right.age", &to);
    let entries = rig.entries(HERE);
    let whole = std::fs::read(&right).unwrap();
    for secret in planted() {
        assert!(!whole.windows(secret.len()).any(|window| window == secret.as_bytes()));
    }
    // A node that runs is not restored under.
    let running = rig.node(HERE, &["restore", &right, "--identity", &key]);
    assert_eq!(running.status.code(), Some(1));
    rig.kill(HERE);

    // Truncated, bit-flipped at several places, another node's, the wrong key: refused, and nothing is touched.
    let before = bytes(&folder);
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.retain(|name| !name.to_string_lossy().ends_with("-shm") && !name.to_string_lossy().ends_with("-wal"));
        names.sort();
        names
    };
    let there = names();
    let spoil = |name: &str, bytes: &[u8]| {
        let file = rig.place.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        file.display().to_string()
    };
    let mut bad = vec![
        (others, &key),
        (right.clone(), &stranger),
        (spoil("half.age", &whole[..whole.len() / 2]), &key),
        (spoil("tail.age", &whole[..whole.len() - 1]), &key),
        (spoil("empty.age", b""), &key),
    ];
    for at in [40, whole.len() / 3, whole.len() - 5] {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        bad.push((spoil(&format!("flipped-{at}.age"), &flipped), &key));
    }
    for (file, key) in &bad {
        for command in [&["backup", "verify"][..], &["restore"]] {
            let arguments = [command, &[file, "--identity", key]].concat();
            let refused = rig.node(HERE, &arguments);
            assert_eq!(refused.status.code(), Some(1), "{file}: {refused:?}");
            assert!(!refused.stderr.is_empty());
        }
    }
    assert!(
        bytes(&folder) == before && names() == there,
        "nothing live was touched, nothing was left behind"
    );

    // Older: restored, said to be older, and recovering with its gap.
    let restored = rig.node(HERE, &["restore", &older, "--identity", &key, "--json"]);
    let document = json_of(&restored);
    assert_eq!(restored.status.code(), Some(3), "{document:#}");
    let missing = document["missing"].as_u64().unwrap();
    assert_eq!(document["entries"].as_u64().unwrap() + missing, entries);
    assert!(Path::new(document["old_database"].as_str().unwrap()).exists());
    rig.serve(HERE);
    let seen = until(&rig, HERE, "it recovers", is_recovering);
    assert_eq!(seen["recovering"]["missing"], missing);
    rig.kill(HERE);

    // The right one: verified against what was witnessed, restored, and at work again.
    let verified = rig.node(HERE, &["backup", "verify", &right, "--identity", &key, "--json"]);
    let document = json_of(&verified);
    assert_eq!(
        (verified.status.code(), &document["missing"]),
        (Some(0), &0.into()),
        "{document:#}"
    );
    assert!(document["witnessed"]["time"].is_string(), "{document:#}");
    let restored = rig.node(HERE, &["restore", &right, "--identity", &key, "--json"]);
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    assert_eq!(rig.entries(HERE), entries);
    rig.serve(HERE);
    until(&rig, HERE, "it works", |status| status["state"] == "working");
    assert_eq!(rig.ask(&rig.case("again.json", |_| {})).0, 0);
    // The other recipient opens it, too.
    let second = rig.place.path().join("second.key").display().to_string();
    assert_eq!(
        rig.node(HERE, &["backup", "verify", &right, "--identity", &second])
            .status
            .code(),
        Some(0)
    );
}
