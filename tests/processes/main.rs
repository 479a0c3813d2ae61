//! Whole processes over real TLS. Each test is named after what it promises, or after the fault it injects.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "a test may fail loudly"
)]

mod addresses;
#[allow(dead_code, reason = "shared with the tests of faults")]
mod attacker;
mod batch;
mod byzantine;
mod command_line;
mod configuration;
mod deploy;
mod fifth_node;
mod hostile;
mod hostile_peers;
mod late;
mod older_notes;
mod operations;
mod orders;
mod recovery;
mod renumber;
#[allow(dead_code, reason = "shared with the tests of faults")]
mod rig;
mod slow_peers;
mod witnesses;

use std::os::unix::fs::PermissionsExt;

use rig::{CODES, Link, NAME, NUMBER, Rig, json_of, outcome, run, sanku, scan};

/// What the second implementation says of a file.
fn python(words: &[&str]) -> serde_json::Value {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/verify.py");
    // The interpreter of the machine's packages has the library for keys where a person's own may lack it.
    let interpreters = ["python3", "/usr/bin/python3"];
    let has = |python: &&&str| {
        let asked = std::process::Command::new(python)
            .args(["-c", "import cryptography"])
            .output();
        asked.is_ok_and(|output| output.status.success())
    };
    let python = interpreters.iter().find(has).expect("Debian: python3-cryptography");
    json_of(
        &std::process::Command::new(python)
            .arg(program)
            .args(words)
            .output()
            .unwrap(),
    )
}

#[test]
fn demo_once_says_exactly_what_was_planted_and_nothing_else_on_standard_output() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("demo").display().to_string();
    let output = run(&["demo", "--once", "--json", "--dir", &dir, "--people", "300"]);
    let document = json_of(&output);
    assert_eq!(output.status.code(), Some(0), "{document:#}");
    assert_eq!(document["as_planted"], true);
    assert_eq!(document["complete"], false, "the planted mismatch keeps it incomplete");
    assert!(document["evidence"].as_str().unwrap().contains("evidence"));
    let verified = run(&[
        "--config",
        &format!("{dir}/421002/node.toml"),
        "evidence",
        "verify",
        document["evidence"].as_str().unwrap(),
        "--json",
    ]);
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    // A second implementation proves the same from the same file, and proves nothing else from it when a byte is changed.
    let settings = std::fs::read_to_string(place.path().join("demo/421002/node.toml")).unwrap();
    let root = settings.lines().find_map(|line| line.strip_prefix("root = ")).unwrap();
    let root = root.trim_matches('"');
    let evidence = document["evidence"].as_str().unwrap();
    let proven = python(&["evidence", evidence, root]);
    let report = json_of(&verified);
    let unwitnessed = report["unwitnessed"].as_array().unwrap().len();
    assert_eq!(proven["unwitnessed"].as_array().unwrap().len(), unwitnessed, "{report}");
    let flipped = python(&["flips", evidence, root]);
    assert!(flipped["tried"].as_u64().unwrap() > 200, "{flipped}");
    // Of a checkpoint's line a byte may change where it bears a cosignature.
    assert!(["", "C"].contains(&flipped["held"].as_str().unwrap()), "{flipped}");
    // S-33: of the household that was asked about, nothing stands in any node's files, logs and write-ahead log.
    let case = json_of_file(&place.path().join("demo/case.json"));
    let household = case["subjects"].as_array().unwrap().iter();
    let secrets: Vec<String> = household
        .flat_map(|person| {
            [
                person["number"].as_str().unwrap().to_owned(),
                person["name"].as_str().unwrap().to_owned(),
            ]
        })
        .collect();
    assert!(secrets.len() >= 4);
    for code in CODES {
        assert!(scan(&place.path().join("demo").join(code.to_string()), &secrets) > 8);
    }
    // The directory is not empty any more: nothing is overwritten.
    assert_eq!(run(&["demo", "--once", "--dir", &dir]).status.code(), Some(2));
}

fn json_of_file(path: &std::path::Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn f01_a_stopped_node_is_unreachable_and_said_so() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("demo").display().to_string();
    let output = run(&[
        "demo",
        "--once",
        "--json",
        "--dir",
        &dir,
        "--people",
        "100",
        "--stop-node",
        "421003",
    ]);
    let document = json_of(&output);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(outcome(&document, 421_003), "unreachable");
    for code in [420_000, 421_000, 421_002] {
        assert_eq!(outcome(&document, code), "answered");
    }
    assert!(
        document["unknown"]
            .as_array()
            .unwrap()
            .iter()
            .any(|gap| gap["node"] == "421003")
    );
}

#[test]
fn a_household_is_looked_up_asked_again_and_its_mandate_withdrawn() {
    let rig = Rig::start();
    // Every row says that all categories are held, and only vehicles are: the question about vehicles is complete.
    let (code, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!((code, &result["complete"]), (0, &serde_json::json!(true)), "{result:#}");
    assert_eq!(result["facts"].as_array().unwrap().len(), 4);

    // The same question again discloses nothing anew.
    let before: Vec<_> = CODES.map(|code| rig.entries(code)).to_vec();
    let id = result["query"].as_str().unwrap().to_owned();
    let again = rig.node(421_002, &["query", "--again", &id, "--json"]);
    assert_eq!(
        again.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
    assert_eq!(json_of(&again)["facts"], result["facts"]);
    let after: Vec<_> = CODES.map(|code| rig.entries(code)).to_vec();
    assert_eq!(
        before[0..2],
        after[0..2],
        "whoever had answered everything is not asked"
    );
    assert_eq!(before[3], after[3]);

    // Evidence: exported, verified, and one changed byte refused.
    let file = rig.place.path().join("evidence").display().to_string();
    assert!(
        rig.node(421_002, &["evidence", "export", &id, "--out", &file])
            .status
            .success()
    );
    assert_eq!(rig.node(421_002, &["evidence", "verify", &file]).status.code(), Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("鄂D421003", "鄂D421009", 1)).unwrap();
    assert_eq!(rig.node(421_002, &["evidence", "verify", &file]).status.code(), Some(1));

    // Withdrawn: told everywhere, refused here from now on.
    let withdrawn = rig.node(421_002, &["withdraw", "019a0000-0000-7000-8000-000000000001", "--json"]);
    assert_eq!(
        withdrawn.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&withdrawn.stderr)
    );
    assert!(
        json_of(&withdrawn)["targets"]
            .as_array()
            .unwrap()
            .iter()
            .all(|target| target["acknowledged"] == true)
    );
    let refused = rig.node(
        421_002,
        &["query", &rig.case("case.json", |_| {}).display().to_string(), "--json"],
    );
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("mandate_withdrawn"));

    // A look at one's own records is logged.
    let before = rig.entries(421_002);
    let look = rig.node(
        421_002,
        &["records", "show", "--identity", NUMBER, "--purpose", "复核", "--json"],
    );
    assert_eq!(json_of(&look)["records"][0]["row"], 2);
    assert_eq!(rig.entries(421_002), before + 1);
}

#[test]
fn f02_f03_a_cut_and_a_slow_node_are_named_and_answer_when_asked_again() {
    let rig = Rig::start();
    // Cut in the middle of what the district sends back; whole runs before the cut count, the rest is discarded.
    rig.proxies[&421_003].set(Link::Cut, 3500);
    let (code, result) = rig.ask(&rig.case("cut.json", |_| {}));
    assert_eq!(code, 3, "{result:#}");
    assert!(
        ["peer_error", "unreachable"].contains(&outcome(&result, 421_003).as_str()),
        "{result:#}"
    );
    assert_eq!(outcome(&result, 421_000), "answered");
    rig.proxies[&421_003].set(Link::Good, u64::MAX);
    let again = rig.node(
        421_002,
        &["query", "--again", result["query"].as_str().unwrap(), "--json"],
    );
    let document = json_of(&again);
    assert_eq!(
        (again.status.code(), outcome(&document, 421_003).as_str()),
        (Some(0), "answered"),
        "{document:#}"
    );

    rig.proxies[&420_000].set(Link::Slow, u64::MAX);
    let began = std::time::Instant::now();
    let (code, result) = rig.ask(&rig.case("slow.json", |_| {}));
    assert!(
        began.elapsed() < std::time::Duration::from_secs(4),
        "the budget of 2 s ends the question"
    );
    assert_eq!((code, outcome(&result, 420_000).as_str()), (3, "late"), "{result:#}");
    rig.proxies[&420_000].set(Link::Good, u64::MAX);
    std::thread::sleep(std::time::Duration::from_secs(4));
    let again = rig.node(
        421_002,
        &["query", "--again", result["query"].as_str().unwrap(), "--json"],
    );
    assert_eq!(outcome(&json_of(&again), 420_000), "answered");
}

#[test]
fn g03_what_was_acknowledged_survives_kill_9() {
    let mut rig = Rig::start();
    let (_, result) = rig.ask(&rig.case("case.json", |_| {}));
    let before: Vec<_> = CODES.map(|code| rig.entries(code)).to_vec();
    for code in CODES {
        rig.kill(code);
    }
    assert_eq!(
        CODES.map(|code| rig.entries(code)).to_vec(),
        before,
        "every log verifies at the size it had"
    );
    for code in CODES {
        rig.serve(code);
    }
    let again = rig.node(
        421_002,
        &["query", "--again", result["query"].as_str().unwrap(), "--json"],
    );
    assert_eq!(json_of(&again)["facts"], result["facts"]);
}

#[test]
fn g03_g04_kill_9_at_any_moment_leaves_no_statement_outside_its_log() {
    let mut rig = Rig::start();
    // While it answers: whatever the asker holds of the killed node stands in that node's log.
    for round in 0..8_u64 {
        let case = rig.case(&format!("{round}.json"), |_| {});
        let config = rig.folder(421_002).join("node.toml").display().to_string();
        let asking = sanku()
            .args(["--config", &config, "query", &case.display().to_string(), "--json"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(15 + round * 12));
        rig.kill(421_003);
        let result = json_of(&asking.wait_with_output().unwrap());
        let id = result["query"].as_str().unwrap().to_owned();
        let evidence = rig.place.path().join(format!("{round}.evidence")).display().to_string();
        assert!(
            rig.node(421_002, &["evidence", "export", &id, "--out", &evidence])
                .status
                .success()
        );
        let report = json_of(&rig.node(421_002, &["evidence", "verify", &evidence, "--json"]));
        assert_eq!(report["ok"], true);
        let size = rig.entries(421_003);
        for run in report["unwitnessed"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|run| run["log"].as_str().unwrap().contains("/421003/"))
        {
            assert!(
                run["first"].as_u64().unwrap() + run["count"].as_u64().unwrap() <= size,
                "{run} of {size}"
            );
        }
        rig.serve(421_003);
        let again = json_of(&rig.node(421_002, &["query", "--again", &id, "--json"]));
        assert_eq!(
            (
                outcome(&again, 421_003).as_str(),
                again["facts"].as_array().unwrap().len()
            ),
            ("answered", 4)
        );
    }
    // While it imports: everything or nothing, and the log verifies.
    let people: String = (0..3000)
        .map(|row| format!("{NAME},{NUMBER},鄂E{row:05},小型汽车\n"))
        .collect();
    let file = rig.place.path().join("many.csv").display().to_string();
    std::fs::write(&file, format!("姓名,身份证号,号牌,号牌种类\n{people}")).unwrap();
    let config = rig.folder(420_000).join("node.toml").display().to_string();
    let arguments = [
        "--config",
        &config,
        "import",
        &file,
        "--category",
        "vehicle",
        "--source",
        "车管所",
        "--as-of",
        "2026-11-03",
        "--json",
    ];
    let held = |rig: &Rig| {
        json_of(&rig.node(
            420_000,
            &["records", "show", "--identity", NUMBER, "--purpose", "测试", "--json"],
        ))["records"]
            .as_array()
            .unwrap()
            .len()
    };
    for round in 0..10_u64 {
        let mut importing = sanku()
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(round * 40));
        importing.kill().unwrap();
        importing.wait().unwrap();
        rig.entries(420_000);
        assert!([1, 3001].contains(&held(&rig)), "an import is whole or absent");
    }
    sanku().args(arguments).output().unwrap();
    assert_eq!(held(&rig), 3001);
}

#[test]
fn f29_a_file_has_one_effect_renamed_saved_anew_or_from_two_processes() {
    let rig = Rig::start();
    let write = |name: &str, text: &str| {
        let file = rig.place.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let rows = format!("姓名,身份证号,号牌,号牌种类\n{NAME},{NUMBER},鄂D77777,小型汽车\n");
    let arguments = |file: &str| {
        [
            "import",
            file,
            "--category",
            "vehicle",
            "--source",
            "车管所",
            "--as-of",
            "2026-11-02",
            "--json",
        ]
        .map(str::to_owned)
    };
    let (one, renamed) = (write("a.csv", &rows), write("b.csv", &rows));
    let saved_anew = write("c.csv", &format!("\u{feff}{}", rows.replace(',', ";")));
    let config = rig.folder(421_003).join("node.toml").display().to_string();
    let both: Vec<_> = [&one, &renamed]
        .map(|file| {
            sanku()
                .args(["--config", &config])
                .args(arguments(file))
                .stdout(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .into_iter()
        .collect();
    let documents: Vec<_> = both
        .into_iter()
        .map(|child| json_of(&child.wait_with_output().unwrap()))
        .collect();
    assert_eq!(
        documents.iter().filter(|document| document["accepted"] == 1).count(),
        1,
        "{documents:?}"
    );
    assert_eq!(documents[0]["import"], documents[1]["import"]);
    let third = json_of(
        &sanku()
            .args(["--config", &config])
            .args(arguments(&saved_anew))
            .output()
            .unwrap(),
    );
    assert_eq!(
        (&third["accepted"], &third["error"]["code"]),
        (&serde_json::json!(0), &serde_json::json!("already_imported"))
    );
}

#[test]
fn s11_no_rule_lets_a_wrong_question_out() {
    let rig = Rig::start();
    type Change = fn(&mut serde_json::Value);
    let cases: [(&str, Change); 6] = [
        ("same_person", |case| case["approver"]["staff_number"] = "1".into()),
        ("mandate_not_in_force", |case| {
            case["mandate"]["valid_until"] = "2021-01-01T00:00:00.000Z".into()
        }),
        ("mandate_not_in_force", |case| {
            case["mandate"]["purpose"] = "review".into()
        }),
        ("mandate_subject", |case| {
            case["mandate"]["subjects"] = serde_json::json!([])
        }),
        ("mandate_category", |case| {
            case["mandate"]["categories"] = serde_json::json!(["pension"])
        }),
        ("purpose", |case| {
            case["purpose"] = "curiosity".into();
            case["mandate"]["purpose"] = "curiosity".into();
        }),
    ];
    let before = rig.entries(421_002);
    for (rule, change) in cases {
        let output = rig.node(
            421_002,
            &["query", &rig.case("wrong.json", change).display().to_string()],
        );
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(rule), "{rule}: {said}");
        assert!(!said.contains(NAME) && !said.contains(NUMBER));
    }
    assert_eq!(rig.entries(421_002), before, "nothing was asked");
}

#[test]
fn f37_a_wrong_configuration_is_named_by_line_and_never_starts() {
    let rig = Rig::start();
    let file = rig.folder(421_003).join("node.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    // Where a line is to blame it is named; a code that is another node's is told by the key that does not fit.
    let spoilt = [
        ("[storage]", "[storrage]", Some("[storrage]")),
        ("url = \"sqlite:node.db\"", "url = \"mysql:x\"", Some("url = ")),
        ("code = \"421003\"", "code = \"421002\"", None),
    ];
    for (from, to, line) in spoilt {
        assert!(good.contains(from), "{good}");
        let text = good.replace(from, to);
        std::fs::write(&file, &text).unwrap();
        let output = rig.node(421_003, &["check"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{from}");
        let named = line.map(|start| text.lines().position(|line| line.starts_with(start)).unwrap() + 1);
        let place = named.map_or_else(|| "node.toml".to_owned(), |line| format!("node.toml:{line}:"));
        assert!(said.contains(&place) && said.contains("cure"), "{from}: {said}");
        assert_eq!(rig.node(421_003, &["serve"]).status.code(), Some(1));
    }
    std::fs::write(&file, &good).unwrap();
    assert_eq!(rig.node(421_003, &["check"]).status.code(), Some(0));
    let key = rig.folder(421_003).join("keys/log.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = String::from_utf8_lossy(&rig.node(421_003, &["check"]).stderr).into_owned();
    assert!(said.contains("chmod 600"), "{said}");
}

#[test]
fn wrong_use_is_2_and_help_has_examples() {
    assert_eq!(run(&["query"]).status.code(), Some(2));
    assert_eq!(run(&["nonsense"]).status.code(), Some(2));
    let help = run(&["import", "--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("例"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).stdout.len() > 1000);
    }
    let catalogue = json_of(&run(&["records", "categories", "--json"]));
    assert_eq!(catalogue["categories"].as_array().unwrap().len(), 26);
}

#[test]
fn what_a_node_holds_is_what_it_was_added_with() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("f").display().to_string();
    let stranger = run(&["federation", "init", &dir, "--categories", "vehicle,unicorn"]);
    assert_eq!(stranger.status.code(), Some(2));
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(
        said.contains("unicorn") && said.contains("sanku records categories"),
        "{said}"
    );
    assert!(!place.path().join("f").exists(), "nothing was founded");
    assert!(run(&["federation", "init", &dir]).status.success());
    let added = run(&[
        "federation",
        "add",
        "421000",
        "--dir",
        &dir,
        "--categories",
        "vehicle,real_estate",
    ]);
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    let registry = std::fs::read_to_string(place.path().join("f/authority/notes/registry.note")).unwrap();
    let line = registry.lines().find(|line| line.starts_with('{')).unwrap();
    let registry: serde_json::Value = serde_json::from_str(line).unwrap();
    let held = |code: &str| {
        let rows = registry["nodes"].as_array().unwrap();
        let row = rows.iter().find(|row| row["code"].to_string().contains(code)).unwrap();
        row["categories"].as_array().unwrap().len()
    };
    assert_eq!(held("421000"), 2);
    assert!(held("420000") > 10);
}

#[test]
fn every_log_is_witnessed_by_its_neighbours_over_real_tls() {
    let mut rig = Rig::start();
    rig.ask(&rig.case("case.json", |_| {}));
    let uncovered = |rig: &Rig| -> Vec<u32> {
        let since = |code: &u32| json_of(&rig.node(*code, &["status", "--json"]))["log"]["unwitnessed_since"].clone();
        CODES.into_iter().filter(|code| !since(code).is_null()).collect()
    };
    let wait = |rig: &Rig| {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !uncovered(rig).is_empty() {
            assert!(
                std::time::Instant::now() < until,
                "{:?} is not witnessed",
                uncovered(rig)
            );
            std::thread::sleep(std::time::Duration::from_millis(300));
        }
    };
    wait(&rig);
    // F41: while the city is down its districts go on, uncovered; it cosigns when it is back.
    rig.kill(421_000);
    rig.ask(&rig.case("again.json", |_| {}));
    assert!(json_of(&rig.node(421_002, &["status", "--json"]))["log"]["unwitnessed_since"].is_string());
    rig.serve(421_000);
    wait(&rig);
}
