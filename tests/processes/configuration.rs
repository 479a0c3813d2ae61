//! F37: each line of each sample configuration spoilt in turn, and a running node whose files are spoilt under it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::operations::free_port;
use crate::rig::{Rig, json_of, outcome, run};

/// The sample of each tier, with the places and the root of a federation that exists: its file and its text.
pub(crate) fn samples(place: &Path) -> Vec<(&'static str, PathBuf, String)> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let directory = place.join("f");
    let dir = directory.display().to_string();
    let tiers = [("420000", "province"), ("421000", "city"), ("421002", "district")];
    let sample = |(code, tier): (&str, &'static str)| {
        let port = free_port();
        let words: &[&str] = if code == "420000" {
            &["init", &dir, "--name", "hubei.example", "--endpoint", &port]
        } else {
            &["add", code, "--dir", &dir, "--endpoint", &port]
        };
        let output = run(&[&["federation"], words].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let folder = directory.join(code);
        let made = std::fs::read_to_string(folder.join("node.toml")).unwrap();
        let root = made.lines().find(|line| line.starts_with("root = ")).unwrap();
        // The example as it is, but for the root and the places that only a real machine has.
        let example = std::fs::read_to_string(top.join(format!("deploy/examples/{tier}.toml"))).unwrap();
        let text = example
            .replace(&format!("root = \"{}\"", "0".repeat(64)), root)
            .replace("\"/etc/sanku\"", &format!("\"{}\"", folder.display()))
            .replace("/run/sanku", &place.display().to_string())
            .replace("/var/lib/sanku-memory", &folder.display().to_string())
            .replace("/var/lib/sanku", &folder.display().to_string())
            .replace("0.0.0.0:7443", &free_port())
            .replace("127.0.0.1:9443", &free_port());
        (tier, folder.join("example.toml"), text)
    };
    tiers.into_iter().map(sample).collect()
}

/// What is wrong for each key though it is of the right type.
fn out_of_range(key: &str) -> &'static str {
    match key {
        "federation" => "\"No Name\"",
        "code" => "\"42\"",
        "name" | "socket" => "\"\"",
        "root" => "\"zz\"",
        "peers" => "\"here\"",
        "url" => "\"mysql:node\"",
        "memory" => "\"/nowhere/at/all\"",
        "directory" => "\"/nowhere\"",
        "other" => "[\"Not A Word\"]",
        "level" => "\"loud\"",
        "format" => "\"xml\"",
        "listen" => "\"0.0.0.0:9443\"",
        _ => panic!("{key} is new: say what is out of its range"),
    }
}

/// Keys that have a usual value.
const OPTIONAL: [&str; 7] = ["socket", "memory", "directory", "other", "level", "format", "listen"];

/// Each way to spoil a line: what was done, the lines in its place, and whether it is good all the same.
fn spoilt(line: &str) -> Vec<(&'static str, Vec<String>, bool)> {
    let twice = ("twice", vec![line.to_owned(), line.to_owned()], false);
    let cut = ("cut", vec![line[..line.len() - 1].to_owned()], false);
    let Some((key, value)) = line.split_once(" = ") else {
        return vec![
            ("misspelt", vec![line.replace(']', "x]")], false),
            ("left out", vec![], false),
            twice,
            cut,
        ];
    };
    vec![
        ("misspelt", vec![format!("{key}x = {value}")], false),
        ("a number", vec![format!("{key} = 7")], false),
        ("yes or no", vec![format!("{key} = true")], false),
        ("out of range", vec![format!("{key} = {}", out_of_range(key))], false),
        ("left out", vec![], OPTIONAL.contains(&key)),
        twice,
        cut,
    ]
}

#[test]
fn f37_each_line_of_each_sample_spoilt_is_named_with_a_cure_and_never_starts() {
    let place = tempfile::tempdir().unwrap();
    let mut golden = String::new();
    for (tier, file, text) in samples(place.path()) {
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            for (what, instead, good) in spoilt(line) {
                let instead: Vec<_> = instead.iter().map(String::as_str).collect();
                let text = [&lines[..at], &instead, &lines[at + 1..]].concat().join("\n") + "\n";
                std::fs::write(&file, text).unwrap();
                let config = file.display().to_string();
                let case = format!("{tier} {}, {what}: {line}", at + 1);
                let checked = run(&["--config", &config, "check", "--json"]);
                let verdict = json_of(&checked);
                assert_eq!(checked.status.code(), Some(i32::from(!good)), "{case}: {verdict}");
                if good {
                    continue;
                }
                let finding = &verdict["findings"][0];
                let word = |key: &str| finding[key].as_str().unwrap_or_else(|| panic!("{case}: {finding}"));
                assert_eq!(word("file"), config, "{case}");
                let named = usize::try_from(finding["line"].as_u64().unwrap()).unwrap();
                // What is left out is named at its table's line; a bracket that is open, or a key that stands twice, further down.
                if ["misspelt", "a number", "yes or no", "out of range"].contains(&what) {
                    assert_eq!(named, at + 1, "{case}: {finding}");
                }
                let cure = word("cure");
                assert!(word("message").len() > 8 && cure.len() > 8, "{case}: {finding}");
                let started = run(&["--config", &config, "serve", "--until-stdin-closes"]);
                let said = String::from_utf8_lossy(&started.stderr).into_owned();
                assert_eq!(started.status.code(), Some(1), "{case}: {said}");
                assert!(
                    said.contains(&format!("example.toml:{named}: {}", word("message"))) && said.contains(cure),
                    "{case}: a start says something else than `check`: {said}"
                );
                if tier == "district" {
                    let key = line.split(" = ").next().unwrap();
                    golden += &format!("{}: {key}, {what}\n  {named}: {}\n  {cure}\n", at + 1, word("message"));
                }
            }
        }
    }
    let golden = golden.replace(&place.path().display().to_string(), "/etc");
    insta::assert_snapshot!("messages", golden);
}

#[test]
fn f37_a_wrong_variable_of_the_environment_is_named_as_one() {
    let place = tempfile::tempdir().unwrap();
    let (_, file, text) = samples(place.path()).pop().unwrap();
    std::fs::write(&file, text).unwrap();
    for (variable, value) in [
        ("SANKU__LOG__LEVEL", "loud"),
        ("SANKU__LISTEN__PEERS", "here"),
        ("SANKU__LOG__COLOUR", "red"),
    ] {
        let mut command = crate::rig::sanku();
        let checked = command
            .env(variable, value)
            .arg("--config")
            .arg(&file)
            .args(["check", "--json"]);
        let finding = json_of(&checked.output().unwrap())["findings"][0].clone();
        let message = finding["message"].as_str().unwrap().to_lowercase();
        let word = variable.rsplit("__").next().unwrap().to_lowercase();
        assert!(message.contains("environment") && message.contains(&word), "{finding}");
        assert_eq!(finding["line"], Value::Null, "the file is not to blame");
    }
}

#[test]
fn f37_permissions_ports_and_keys_of_another_are_named_by_check_as_by_a_start() {
    let mut rig = Rig::start();
    let folder = rig.folder(421_003);
    let refused = |rig: &Rig, word: &str| {
        let checked = rig.node(421_003, &["check"]);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(1), "{word}");
        assert!(
            said.contains("node.toml:") && said.contains(word) && said.contains("cure"),
            "{word}: {said}"
        );
        let started = rig.node(421_003, &["serve", "--until-stdin-closes"]);
        let finding = said.lines().next().unwrap().trim_start_matches("sanku: ").to_owned();
        let said = String::from_utf8_lossy(&started.stderr).into_owned();
        assert_eq!(started.status.code(), Some(1), "{word}");
        assert!(said.contains(&finding), "a start says {said}, `check` {finding}");
    };
    rig.kill(421_003);
    for file in ["keys/log.key", "key-file"] {
        let file = folder.join(file);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        refused(&rig, "chmod 600");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let text = std::fs::read_to_string(folder.join("node.toml")).unwrap();
    let peers = text.lines().find_map(|line| line.strip_prefix("peers = ")).unwrap();
    let peers = peers.trim_matches('"').to_owned();
    let busy = std::net::TcpListener::bind(&peers).unwrap();
    refused(&rig, &peers);
    drop(busy);
    // A socket's place where something else lies is refused, and what lies there stays.
    std::fs::write(
        folder.join("node.toml"),
        text.replace("run/node.sock", "certs/chain.pem"),
    )
    .unwrap();
    refused(&rig, "socket");
    std::fs::write(folder.join("node.toml"), &text).unwrap();
    let chain = std::fs::read(folder.join("certs/chain.pem")).unwrap();
    std::fs::copy(
        rig.folder(421_002).join("certs/chain.pem"),
        folder.join("certs/chain.pem"),
    )
    .unwrap();
    refused(&rig, "chain.pem");
    std::fs::write(folder.join("certs/chain.pem"), &chain).unwrap();
    let key = std::fs::read(folder.join("keys/log.key")).unwrap();
    std::fs::copy(rig.folder(421_002).join("keys/log.key"), folder.join("keys/log.key")).unwrap();
    refused(&rig, "log");
    std::fs::write(folder.join("keys/log.key"), &key).unwrap();
    assert_eq!(rig.node(421_003, &["check"]).status.code(), Some(0));
    rig.serve(421_003);
}

#[test]
fn f37_g10_what_is_spoilt_under_a_running_node_keeps_the_old_and_goes_on() {
    let mut rig = Rig::start();
    let folder = rig.folder(421_003);
    let spoil: [(&str, &[u8]); 4] = [
        ("certs/chain.pem", b"no certificate\n"),
        ("notes/registry.note", b"hubei.example/registry\nnot a note\n"),
        ("node.toml", b"code = \n"),
        ("keys/log.key", b"no key\n"),
    ];
    for (round, (file, bytes)) in spoil.into_iter().enumerate() {
        let file = folder.join(file);
        assert!(file.exists(), "{}", file.display());
        let good = std::fs::read(&file).unwrap();
        std::fs::write(&file, bytes).unwrap();
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            assert!(rig.lives(421_003), "{}", file.display());
            std::thread::sleep(Duration::from_millis(250));
        }
        assert_eq!(
            rig.node(421_003, &["check"]).status.code(),
            Some(1),
            "{}",
            file.display()
        );
        let (code, result) = rig.ask(&rig.case(&format!("{round}.json"), |_| {}));
        assert_eq!(
            (code, outcome(&result, 421_003).as_str()),
            (0, "answered"),
            "{}",
            file.display()
        );
        std::fs::write(&file, good).unwrap();
    }
    assert_eq!(rig.node(421_003, &["check"]).status.code(), Some(0));
    let status = json_of(&rig.node(421_003, &["status", "--json"]));
    assert_eq!(status["state"], "working");
}
