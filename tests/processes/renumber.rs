//! A new log number over real processes (F38): what an administrator does at night, by the commands of docs/operations.md.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::recovery::{HERE, copy, status, until, with_an_older_database};
use crate::rig::{Rig, json_of, outcome, planted, run, sanku};

/// Runs a command of the federation's directory.
fn federation(rig: &Rig, arguments: &[&str]) -> std::process::Output {
    let dir = rig.place.path().join("f").display().to_string();
    run(&[&["federation"], arguments, &["--dir", &dir]].concat())
}

/// The node asks for its next number, and the publisher gives it.
fn renew(rig: &Rig, code: u32, planned: &[&str], seen: &[&str]) -> (Value, Value) {
    let request = rig.place.path().join("request.note").display().to_string();
    let asked = rig.node(
        code,
        &[&["log", "renew", "--out", &request, "--json"], planned].concat(),
    );
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    let asked = json_of(&asked);
    let fingerprint = asked["fingerprint"].as_str().unwrap();
    let given = federation(
        rig,
        &[&["renumber", &request, "--fingerprint", fingerprint, "--json"], seen].concat(),
    );
    assert_eq!(given.status.code(), Some(0), "{given:?}");
    let given = json_of(&given);
    assert_eq!(asked["fingerprint"], given["fingerprint"]);
    (asked, given)
}

fn is_working(status: &Value) -> bool {
    status["state"] == "working"
}

/// The words of a file of keys and notes that hold no secret: keys are sealed.
fn key_files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder.join("keys"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn f38_an_older_database_recovers_gets_a_new_number_works_and_lists_what_was_lost() {
    let (mut rig, older, entries) = with_an_older_database();
    let folder = rig.folder(HERE);
    rig.kill(HERE);
    copy(&older, &folder);
    // Without the node nobody is asked what they have seen.
    let alone = rig.node(HERE, &["log", "renew"]);
    assert!(
        String::from_utf8_lossy(&alone.stderr).contains("start the node"),
        "{alone:?}"
    );
    rig.serve(HERE);
    let seen = until(&rig, HERE, "it recovers", |status| status["state"] == "recovering");
    let missing = seen["recovering"]["missing"].as_u64().unwrap();

    // What will happen is said first, and nothing is made.
    let keys = key_files(&folder);
    let dry = rig.node(HERE, &["log", "renew", "--dry-run", "--json"]);
    assert_eq!(json_of(&dry)["largest_seen"], entries, "{dry:?}");
    assert_eq!(key_files(&folder), keys);
    assert_eq!(rig.node(HERE, &["log", "renew", "--planned"]).status.code(), Some(1));
    let request = rig.place.path().join("request.note").display().to_string();
    let asked = rig.node(HERE, &["log", "renew", "--out", &request]);
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
    let words = String::from_utf8_lossy(&asked.stdout).into_owned();
    let fingerprint = words
        .lines()
        .find_map(|line| line.split("fingerprint: ").nth(1))
        .unwrap();
    let unread = federation(&rig, &["renumber", &request]);
    assert_eq!(unread.status.code(), Some(1), "the fingerprint is asked for");
    let dry = federation(&rig, &["renumber", &request, "--dry-run", "--json"]);
    assert_eq!(json_of(&dry)["final_size"], entries);
    let given = federation(&rig, &["renumber", &request, "--fingerprint", fingerprint]);
    assert_eq!(given.status.code(), Some(0), "{given:?}");
    assert!(key_files(&folder).len() == keys.len() + 2, "no key is gone");

    until(&rig, HERE, "its log is closed", |status| {
        status["recovering"]["why"] == "closed"
    });
    rig.kill(HERE);
    rig.serve(HERE);
    let now = until(&rig, HERE, "the new log is open", is_working);
    assert_eq!(now["log"]["origin"], format!("hubei.example/node/{HERE}/2"));
    let earlier = &now["log"]["earlier"][0];
    assert_eq!(
        (&earlier["missing"], &earlier["final_size"]),
        (&missing.into(), &entries.into())
    );
    // It asks and answers.
    let (code, result) = rig.ask(&rig.case("after.json", |_| {}));
    assert_eq!(code, 0, "{result:#}");
    let other = rig.case("other.json", |_| {}).display().to_string();
    let other = json_of(&rig.node(421_003, &["query", &other, "--json"]));
    assert_eq!(outcome(&other, HERE), "answered");
    until(&rig, HERE, "it is witnessed under its new keys", |status| {
        status["log"]["unwitnessed_since"].is_null()
    });
    assert_eq!(rig.node(HERE, &["log", "verify"]).status.code(), Some(0));

    // What was lost: the question that stood above, as others know it. Kept with bodies sealed.
    let kept = rig.place.path().join("lost.statements");
    let lost = rig.node(HERE, &["log", "lost", "--json", "--out", &kept.display().to_string()]);
    assert_eq!(lost.status.code(), Some(0), "{lost:?}");
    let lost = json_of(&lost);
    assert!(lost["counts"]["answer"].as_u64().unwrap() >= 3, "{lost:#}");
    let lines = std::fs::read_to_string(&kept).unwrap();
    assert!(lines.contains("\nS ") && planted().iter().all(|secret| !lines.contains(secret)));
    assert_eq!(rig.node(HERE, &["log", "lost"]).status.code(), Some(0));

    // The older database once more: it is behind, and opens nothing a second time.
    rig.kill(HERE);
    copy(&older, &folder);
    rig.serve(HERE);
    let seen = until(&rig, HERE, "it recovers", |status| status["state"] == "recovering");
    assert_eq!(seen["recovering"]["why"], "behind");
    rig.kill(HERE);
}

#[test]
fn a_planned_rotation_by_commands_ends_one_log_and_opens_the_next() {
    let mut rig = Rig::start();
    let (code, before) = rig.ask(&rig.case("before.json", |_| {}));
    assert_eq!(code, 0);
    assert_eq!(
        rig.node(HERE, &["log", "renew"]).status.code(),
        Some(2),
        "it is not recovering"
    );
    let (asked, given) = renew(&rig, HERE, &["--planned"], &[]);
    assert_eq!((&asked["number"], &given["final_size"]), (&2.into(), &Value::Null));
    // It works on under the old number until it is started anew.
    assert_eq!(rig.ask(&rig.case("between.json", |_| {})).0, 0);
    assert!(rig.entries(HERE) > 0, "commands go on, too");
    let twice = rig.node(HERE, &["log", "renew", "--planned"]);
    assert!(
        String::from_utf8_lossy(&twice.stderr).contains("restart the node"),
        "{twice:?}"
    );
    rig.kill(HERE);
    rig.serve(HERE);
    let now = until(&rig, HERE, "the new log is open", is_working);
    assert_eq!(now["log"]["origin"], format!("hubei.example/node/{HERE}/2"));
    let end = now["log"]["earlier"][0]["entries"].as_u64().unwrap();
    let seen = rig.place.path().join("seen.checkpoint").display().to_string();
    let shown = rig.node(HERE, &["log", "seen", &format!("{HERE}/1"), "--out", &seen]);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let closed = federation(&rig, &["close", &format!("{HERE}/1"), "--seen", &seen, "--json"]);
    assert_eq!(json_of(&closed)["final_size"], end);
    until(&rig, HERE, "the closing arrives", |status| {
        status["log"]["earlier"][0]["missing"] == 0
    });
    assert_eq!(rig.ask(&rig.case("after.json", |_| {})).0, 0);
    assert_eq!(rig.node(HERE, &["log", "verify"]).status.code(), Some(0));
    // Evidence from before the rotation is exported and verified after it.
    let id = before["query"].as_str().unwrap();
    let file = rig.place.path().join("evidence.sanku").display().to_string();
    let exported = rig.node(HERE, &["evidence", "export", id, "--out", &file]);
    assert_eq!(exported.status.code(), Some(0), "{exported:?}");
    assert_eq!(rig.node(HERE, &["evidence", "verify", &file]).status.code(), Some(0));
}

#[test]
fn f38_killed_at_any_moment_of_a_renewal_it_is_taken_up_where_it_stopped() {
    let (mut rig, older, entries) = with_an_older_database();
    let folder = rig.folder(HERE);
    rig.kill(HERE);
    copy(&older, &folder);
    rig.serve(HERE);
    until(&rig, HERE, "it recovers", |status| status["state"] == "recovering");
    // `log renew` killed again and again: keys that were made stay, and the last one goes through.
    let request = rig.place.path().join("request.note").display().to_string();
    let config = folder.join("node.toml").display().to_string();
    let mut cut = 0;
    for milliseconds in (5..120).step_by(10) {
        let mut child = sanku()
            .args(["--config", &config, "log", "renew", "--out", &request, "--json"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        let _ = child.kill();
        cut += usize::from(!child.wait().unwrap().success());
    }
    assert!(cut > 0, "some were cut off");
    let (_, given) = renew(&rig, HERE, &[], &[]);
    assert_eq!((&given["final_size"], &given["number"]), (&entries.into(), &2.into()));
    // The node killed again and again around the opening: one log number 2, with one first entry.
    for milliseconds in (0..400).step_by(50) {
        rig.kill(HERE);
        if rig.try_serve(HERE) {
            std::thread::sleep(Duration::from_millis(milliseconds));
        }
    }
    rig.kill(HERE);
    rig.serve(HERE);
    until(&rig, HERE, "the new log is open", is_working);
    assert_eq!(rig.ask(&rig.case("after.json", |_| {})).0, 0);
    assert_eq!(rig.node(HERE, &["log", "verify"]).status.code(), Some(0));
    let dir = rig.place.path().join("tiles").display().to_string();
    assert_eq!(rig.node(HERE, &["log", "tiles", &dir]).status.code(), Some(0));
    let entries = rig.entries(HERE);
    let bytes = std::fs::read(Path::new(&dir).join(format!("tile/entries/000.p/{entries}"))).unwrap();
    let opened = bytes.windows(10).filter(|word| word == b"\"log.open\"").count();
    assert_eq!(opened, 1);
}

#[test]
fn f38_the_provinces_own_log_gets_its_number_by_the_root() {
    let mut rig = Rig::start();
    assert_eq!(rig.ask(&rig.case("case.json", |_| {})).0, 0);
    let (asked, given) = renew(&rig, 420_000, &["--planned"], &[]);
    assert_eq!(asked["node"], given["node"]);
    rig.kill(420_000);
    rig.serve(420_000);
    let now = until(&rig, 420_000, "the new log is open", is_working);
    assert_eq!(now["log"]["origin"], "hubei.example/node/420000/2");
    // Whoever looked for notes a moment ago may not know the new log at first: that heals by itself.
    let case = rig.case("after.json", |_| {});
    let asked = rig.node(HERE, &["query", &case.display().to_string(), "--wait"]);
    assert_eq!(
        asked.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&asked.stdout)
    );
    assert_eq!(status(&rig, 420_000)["state"], "working");
}

/// The lines of code of a section of the handbook, in order.
fn handbook(section: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("docs/operations.md")).unwrap();
    let begins = text.split_once(section).expect("the section").1;
    let section = begins.split("\n## ").next().unwrap();
    let blocks = section
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

#[test]
fn f38_the_handbooks_own_words_lead_out_of_the_night() {
    let (mut rig, older, _) = with_an_older_database();
    let (folder, dir) = (rig.folder(HERE), rig.place.path().join("f"));
    rig.kill(HERE);
    copy(&older, &folder);
    rig.serve(HERE);
    until(&rig, HERE, "it recovers", |status| status["state"] == "recovering");
    let at = |name: &str| rig.place.path().join(name).display().to_string();
    let (request, lost, seen) = (at("renumber.note"), at("lost.statements"), at("seen.checkpoint"));
    let mut fingerprint = String::new();
    let mut restarts = 0;
    for line in handbook("### A new log number") {
        let words = line
            .replace("/etc/sanku/node.toml", &folder.join("node.toml").display().to_string())
            .replace("--dir hubei", &format!("--dir {}", dir.display()))
            .replace("renumber.note", &request)
            .replace("lost.statements", &lost)
            .replace("seen.checkpoint", &seen)
            .replace("FINGERPRINT", &fingerprint);
        let words: Vec<&str> = words.split(' ').collect();
        if words[0] == "systemctl" {
            until(&rig, HERE, "its log is closed", |status| {
                status["recovering"]["why"] == "closed"
            });
            rig.kill(HERE);
            rig.serve(HERE);
            until(&rig, HERE, "the new log is open", is_working);
            restarts += 1;
            continue;
        }
        assert_eq!(words[0], "sanku", "{line}");
        let mut words = words;
        // Another centre presents what it has seen: the superior's, which has seen all that the publisher knows already.
        let elsewhere = rig.folder(421_000).join("node.toml").display().to_string();
        if words.contains(&"seen") {
            words[2] = &elsewhere;
        }
        let output = run(&words[1..]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let raises = words.contains(&"close");
        assert_eq!(output.status.code(), Some(i32::from(raises)), "{line}: {said}");
        if raises {
            assert!(said.contains("nothing larger is presented"), "{said}");
        }
        if let Some(found) = said.lines().find_map(|line| line.split("fingerprint: ").nth(1)) {
            fingerprint = found.trim().to_owned();
        }
    }
    assert_eq!(restarts, 1);
    let (code, result) = rig.ask(&rig.case("after.json", |_| {}));
    assert_eq!(code, 0, "{result}");
}
