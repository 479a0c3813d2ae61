//! Batches over real processes: the asker killed in the middle, the program that asks killed in the middle, lines that are wrong,
//! a person's lookup meanwhile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::rig::{CODES, Link, Rig, json_of, outcome, sanku};

/// A file of so many cases, each with a mandate and a number of its own, that wait so many milliseconds.
fn cases(rig: &Rig, name: &str, count: usize, budget: u64) -> PathBuf {
    let mut text = String::new();
    for number in 0..count {
        let file = rig.case("one.json", |case| {
            case["case"] = number.to_string().into();
            case["budget_ms"] = budget.into();
            case["mandate"]["id"] = format!("019a0000-0000-7000-8000-{number:012}").into();
        });
        text.push_str(&std::fs::read_to_string(file).unwrap());
        text.push('\n');
    }
    let file = rig.place.path().join(name);
    std::fs::write(&file, text).unwrap();
    file
}

/// The results' file: what stands last of each line.
fn results(file: &Path) -> BTreeMap<u64, Value> {
    let text = std::fs::read_to_string(file.with_extension("results.jsonl")).unwrap_or_default();
    let mut found = BTreeMap::new();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let line: Value = serde_json::from_str(line).unwrap();
        found.insert(line["line"].as_u64().unwrap(), line);
    }
    found
}

fn batch(rig: &Rig, file: &Path) -> (Option<i32>, Value) {
    let output = rig.node(421_002, &["query", "--batch", &file.display().to_string(), "--json"]);
    (output.status.code(), json_of(&output))
}

#[test]
fn a_batch_is_reported_line_by_line_and_the_same_file_again_asks_nothing() {
    let rig = Rig::start();
    let file = cases(&rig, "cases.jsonl", 40, 30_000);
    let (code, report) = batch(&rig, &file);
    assert_eq!((code, &report["complete"]), (Some(0), &json!(40)), "{report:#}");
    let first = results(&file);
    assert_eq!(first.len(), 40);
    for line in first.values() {
        assert_eq!(line["result"]["facts"].as_array().unwrap().len(), 4);
        assert!(CODES.iter().all(|code| outcome(&line["result"], *code) == "answered"));
    }
    let bytes = std::fs::read(file.with_extension("results.jsonl")).unwrap();
    let entries = rig.entries(421_002);
    let (code, report) = batch(&rig, &file);
    assert_eq!((code, &report["complete"]), (Some(0), &json!(40)), "{report:#}");
    assert_eq!(std::fs::read(file.with_extension("results.jsonl")).unwrap(), bytes);
    assert_eq!(rig.entries(421_002), entries, "nothing was said, nobody was asked");
    // Each is an ordinary question.
    let id = first[&17]["query"].as_str().unwrap();
    let again = rig.node(421_002, &["query", "--again", id, "--json"]);
    assert_eq!(again.status.code(), Some(0));
    let evidence = rig.place.path().join("evidence").display().to_string();
    let exported = rig.node(421_002, &["evidence", "export", id, "--out", &evidence]);
    assert!(exported.status.success());
    let verified = rig.node(421_002, &["evidence", "verify", &evidence, "--json"]);
    assert_eq!(verified.status.code(), Some(0));
}

#[test]
fn wrong_lines_are_named_by_number_and_nothing_is_asked() {
    let rig = Rig::start();
    let file = cases(&rig, "cases.jsonl", 5, 2000);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[1] = lines[1].replace("\"head\"", "7");
    lines.insert(3, String::new());
    lines[4] = "{".to_owned();
    std::fs::write(&file, lines.join("\n")).unwrap();
    let before = rig.entries(421_002);
    let output = rig.node(421_002, &["query", "--batch", &file.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("line 2: subjects[0].role") && said.contains("line 5: "),
        "{said}"
    );
    assert_eq!(rig.entries(421_002), before);
    assert!(results(&file).is_empty());
}

#[test]
fn f22_results_that_find_no_room_end_in_whole_lines_and_the_same_command_goes_on() {
    let rig = Rig::start();
    let file = cases(&rig, "cases.jsonl", 30, 30_000);
    // As some editors write it: a byte order mark, two characters at the end of a line.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("\u{feff}{}", text.replace('\n', "\r\n"))).unwrap();
    // No file grows beyond 24 KiB: a few results fit.
    let limited = "trap '' XFSZ; ulimit -f 24; exec \"$0\" \"$@\"";
    let program = sanku().get_program().to_owned();
    let config = rig.folder(421_002).join("node.toml");
    let output = std::process::Command::new("bash")
        .args(["-c", limited])
        .arg(program)
        .arg("--config")
        .args([&config, Path::new("query"), Path::new("--batch"), &file])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a result cannot be written"), "{said}");
    let bytes = std::fs::read(file.with_extension("results.jsonl")).unwrap();
    assert!(
        bytes.len() <= 24 << 10 && bytes.ends_with(b"\n"),
        "{} bytes",
        bytes.len()
    );
    let before = results(&file).len();
    assert!((1..30).contains(&before), "{before} results fit");
    let entries = rig.entries(421_003);
    let (code, report) = batch(&rig, &file);
    assert_eq!((code, &report["complete"]), (Some(0), &json!(30)), "{report:#}");
    assert_eq!(results(&file).len(), 30);
    assert!(rig.entries(421_003) <= entries + 60, "nothing was asked twice");
}

#[test]
fn two_commands_do_not_write_one_file_of_results() {
    let rig = Rig::start();
    let file = cases(&rig, "cases.jsonl", 2, 30_000);
    let held = std::fs::File::create(file.with_extension("results.jsonl")).unwrap();
    held.lock().unwrap();
    let output = rig.node(421_002, &["query", "--batch", &file.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another batch writes to this file"), "{said}");
}

#[test]
fn refused_and_incomplete_lines_are_counted_with_their_nodes() {
    let mut rig = Rig::start();
    let file = cases(&rig, "cases.jsonl", 12, 30_000);
    let text = std::fs::read_to_string(&file).unwrap();
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines[4] = lines[4].replace("2099-01-01", "2021-01-01");
    std::fs::write(&file, lines.join("\n")).unwrap();
    let before = rig.entries(421_003);
    rig.kill(421_003);
    let (code, report) = batch(&rig, &file);
    assert_eq!(code, Some(3), "{report:#}");
    assert_eq!(report["refused"], json!({ "mandate_not_in_force": [5] }));
    assert_eq!(report["incomplete"].as_array().unwrap().len(), 11);
    let node = &report["nodes"][0];
    assert_eq!(
        (&node["node"], &node["lines"]),
        (&json!("421003"), &json!(11)),
        "{report:#}"
    );
    rig.serve(421_003);
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        let (_, report) = batch(&rig, &file);
        if report["complete"] == 11 {
            break;
        }
        assert!(Instant::now() < until, "{report:#}");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(
        rig.entries(421_003) - before,
        22,
        "an answer and an account for each question"
    );
}

#[test]
fn g03_the_asker_and_the_program_that_asks_are_killed_in_the_middle_and_nothing_is_asked_twice() {
    let mut rig = Rig::start();
    let file = cases(&rig, "cases.jsonl", 150, 2000);
    let arguments = [
        "--config".to_owned(),
        rig.folder(421_002).join("node.toml").display().to_string(),
        "query".to_owned(),
        "--batch".to_owned(),
        file.display().to_string(),
    ];
    let start = || {
        let child = sanku()
            .args(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        child.unwrap()
    };
    let some = |least: usize| {
        let until = Instant::now() + Duration::from_secs(60);
        while results(&file).len() < least {
            assert!(Instant::now() < until, "no result came");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let before = rig.entries(421_003);
    let mut asking = start();
    some(1);
    asking.kill().unwrap();
    asking.wait().unwrap();
    let mut asking = start();
    some(2);
    rig.kill(421_002);
    assert_eq!(asking.wait().unwrap().code(), Some(1), "it says that it broke off");
    rig.serve(421_002);
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        let (code, report) = batch(&rig, &file);
        if code == Some(0) {
            assert_eq!(report["complete"], 150);
            break;
        }
        assert!(Instant::now() < until, "{report:#}");
        std::thread::sleep(Duration::from_secs(1));
    }
    assert_eq!(
        rig.entries(421_003) - before,
        300,
        "an answer and an account for each line, and no more"
    );
    let found = results(&file);
    assert_eq!(found.len(), 150);
    let ids: std::collections::BTreeSet<_> = found.values().map(|line| line["query"].to_string()).collect();
    assert_eq!(ids.len(), 150);
}

#[test]
fn a_person_is_answered_while_a_batch_is_under_way() {
    let rig = Rig::start();
    // One tier answers late, so that the batch stays under way.
    rig.proxies[&420_000].set(Link::Slow, u64::MAX);
    let file = cases(&rig, "cases.jsonl", 200, 30_000);
    std::thread::scope(|scope| {
        let whole = scope.spawn(|| batch(&rig, &file));
        std::thread::sleep(Duration::from_millis(300));
        let person = rig.case("person.json", |case| {
            case["scope"] = json!({ "codes": ["421000", "421002", "421003"] });
            case["budget_ms"] = 20_000.into();
        });
        let (code, result) = rig.ask(&person);
        assert_eq!(code, 0, "{result:#}");
        assert!(!whole.is_finished(), "the person did not wait for the batch");
        let (_, report) = whole.join().unwrap();
        assert_eq!(report["not_asked"], 0, "{report:#}");
    });
}
