//! What lies in `deploy/`, judged by the programs that will read it: Prometheus's promtool, systemd's analyser.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::operations::{free_port, watch};
use crate::rig::Rig;

/// A program of a Debian package, which `.ci/test` installs. Elsewhere a test says aloud what it does not show and ends.
pub(crate) fn tool(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("SANKU_TOOLS").is_none(),
            "{name} is missing (Debian: {package})"
        );
        // Past the harness, which would swallow what a test prints.
        let _ = writeln!(
            std::io::stderr(),
            "NOT SHOWN: {name} is missing (Debian: {package}); .ci/test installs it"
        );
    }
    found
}

fn deploy(file: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    top.join("deploy").join(file)
}

/// What a tool says, with which it must be content.
fn content(output: &Output) -> String {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn each_alert_fires_when_its_test_says_and_is_quiet_before() {
    let rules = std::fs::read_to_string(deploy("prometheus/sanku.rules.yml")).unwrap();
    let tests = std::fs::read_to_string(deploy("prometheus/sanku.tests.yml")).unwrap();
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for alert in alerts {
        let quiet = format!("alertname: {alert}, exp_alerts: [] }}");
        let fires = format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels:");
        assert!(
            tests.contains(&quiet) && tests.contains(&fires),
            "{alert} has no case in which it is quiet, or none in which it fires"
        );
    }
    let Some(promtool) = tool("promtool", "prometheus") else {
        return;
    };
    let run = |words: &[&str]| {
        let mut command = Command::new(&promtool);
        content(&command.current_dir(deploy("prometheus")).args(words).output().unwrap())
    };
    let checked = run(&["check", "rules", "--lint=all", "--lint-fatal", "sanku.rules.yml"]);
    assert!(checked.contains("SUCCESS"), "{checked}");
    let tested = run(&["test", "rules", "sanku.tests.yml"]);
    assert!(tested.contains("SUCCESS"), "{tested}");
}

#[test]
fn each_query_of_the_dashboard_is_one_and_no_panel_hides_another() {
    let text = std::fs::read_to_string(deploy("grafana/sanku.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let (mut rules, mut taken) = (String::from("groups:\n- name: dashboard\n  rules:\n"), Vec::new());
    for (place, panel) in board["panels"].as_array().unwrap().iter().enumerate() {
        let at = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(at("x") + at("w") <= 24, "{panel}");
        for y in at("y")..at("y") + at("h") {
            for x in at("x")..at("x") + at("w") {
                assert!(!taken.contains(&(x, y)), "panel {} lies on another", panel["id"]);
                taken.push((x, y));
            }
        }
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty() && panel["datasource"]["uid"] == "${source}");
        for target in targets {
            let query = target["expr"].as_str().unwrap().replace("$node", ".*");
            let query = serde_json::to_string(&query).unwrap();
            rules += &format!(
                "  - record: panel_{place}_{}\n    expr: {query}\n",
                target["refId"].as_str().unwrap()
            );
        }
    }
    let Some(promtool) = tool("promtool", "prometheus") else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("queries.yml");
    std::fs::write(&file, &rules).unwrap();
    content(
        &Command::new(promtool)
            .args(["check", "rules"])
            .arg(&file)
            .output()
            .unwrap(),
    );
}

/// What a node exports is what Prometheus's own linter calls well formed.
pub(crate) fn judge_metrics(metrics: &str) {
    let Some(promtool) = tool("promtool", "prometheus") else {
        return;
    };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    assert_eq!(content(&child.wait_with_output().unwrap()), "");
}

#[test]
fn systemd_takes_the_unit_and_finds_it_hardened() {
    let Some(analyse) = tool("systemd-analyze", "systemd") else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let unit = place.path().join("sanku.service");
    let text = std::fs::read_to_string(deploy("systemd/sanku.service")).unwrap();
    // The program need not be installed to be judged.
    let here = text.replace("/usr/local/bin/sanku", env!("CARGO_BIN_EXE_sanku"));
    let judge = |text: &str, words: &[&str]| {
        std::fs::write(&unit, text).unwrap();
        Command::new(&analyse).args(words).arg(&unit).output().unwrap()
    };
    assert_eq!(content(&judge(&here, &["verify"])), "", "not a word of warning");
    let misspelt = judge(&here.replace("WatchdogSec", "WatchdogSeconds"), &["verify"]);
    assert!(String::from_utf8_lossy(&misspelt.stderr).contains("WatchdogSeconds"));
    // 1.4 of 10 was found; 1.5 leaves room for another version's counting, and for no directive less.
    let hardened = ["security", "--offline=yes", "--threshold=15", "--no-pager"];
    content(&judge(&here, &hardened));
    let softened = here
        .replace("SystemCallFilter=", "#")
        .replace("PrivateDevices=yes\n", "");
    assert!(!judge(&softened, &hardened).status.success());
}

#[test]
fn the_container_file_names_what_there_is() {
    let text = std::fs::read_to_string(deploy("Containerfile")).unwrap();
    let top = deploy("..");
    let after = |word: &str| {
        let (_, rest) = text.split_once(word).unwrap_or_else(|| panic!("{word} is missing"));
        rest.lines().next().unwrap().trim().to_owned()
    };
    let profile = after("--profile ").split(' ').next().unwrap().to_owned();
    let workspace = std::fs::read_to_string(top.join("Cargo.toml")).unwrap();
    assert!(workspace.contains(&format!("[profile.{profile}]")) && text.contains(&format!("target/{profile}/sanku")));
    let rust = workspace
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .unwrap();
    assert!(after("FROM docker.io/library/rust:").starts_with(rust.trim_matches('"')));
    // What is run in it is understood: asked for its help, a command that is not ends with 2.
    for (words, program) in [
        (after("HEALTHCHECK --interval=30s --timeout=5s CMD "), true),
        (after("\nCMD "), false),
    ] {
        let words: Vec<String> = serde_json::from_str(&words).unwrap();
        let asked = Command::new(env!("CARGO_BIN_EXE_sanku"))
            .args(&words[usize::from(program)..])
            .arg("--help")
            .output();
        assert!(asked.unwrap().status.success(), "{words:?}");
    }
    // Everything that a sample configuration writes lies on a volume, or in the one directory that is made anew.
    let volumes: Vec<String> = serde_json::from_str(&after("VOLUME ")).unwrap();
    for tier in ["province", "city", "district"] {
        let sample = std::fs::read_to_string(deploy(&format!("examples/{tier}.toml"))).unwrap();
        let paths = sample
            .split('"')
            .filter_map(|part| part.strip_prefix("sqlite:").or(part.starts_with('/').then_some(part)));
        for path in paths {
            let kept = volumes
                .iter()
                .any(|volume| path == volume || path.starts_with(&format!("{volume}/")));
            assert!(
                kept || path.starts_with("/run/sanku/"),
                "{tier}: {path} is on no volume"
            );
        }
    }
}

/// A process that ends with the test.
struct Ends(std::process::Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_prometheus_scrapes_a_node_evaluates_every_rule_and_answers_every_panel() {
    let Some(prometheus) = tool("prometheus", "prometheus") else {
        return;
    };
    let mut rig = Rig::start();
    let node = watch(&rig, 421_002);
    rig.kill(421_002);
    rig.serve(421_002);
    rig.ask(&rig.case("case.json", |_| {}));
    let (place, port) = (tempfile::tempdir().unwrap(), free_port());
    std::fs::copy(
        deploy("prometheus/sanku.rules.yml"),
        place.path().join("sanku.rules.yml"),
    )
    .unwrap();
    let settings = std::fs::read_to_string(deploy("prometheus/prometheus.yml")).unwrap();
    let quick = settings.replace("15s", "1s").replace("127.0.0.1:9443", &node);
    std::fs::write(place.path().join("prometheus.yml"), quick).unwrap();
    let server = Command::new(prometheus)
        .current_dir(place.path())
        .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
        .arg(format!("--web.listen-address={port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _server = Ends(server.unwrap());
    let ask = |path: &str| -> Value {
        // HTTP/1.0: the body comes in one piece.
        let answer = std::net::TcpStream::connect(&port).and_then(|mut stream| {
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut whole = String::new();
            stream.read_to_string(&mut whole).map(|_| whole)
        });
        let body = answer
            .ok()
            .and_then(|whole| Some(whole.split_once("\r\n\r\n")?.1.to_owned()));
        body.and_then(|body| serde_json::from_str(&body).ok())
            .unwrap_or_default()
    };
    let query = |text: &str| {
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        ask(&format!("/api/v1/query?query={encoded}"))
    };
    let until = Instant::now() + Duration::from_secs(60);
    while query("sanku_ready{job=\"sanku\"}")["data"]["result"][0]["value"][1] != "1" {
        assert!(Instant::now() < until, "Prometheus does not see the node ready");
        std::thread::sleep(Duration::from_millis(250));
    }
    let evaluated = |rule: &Value| rule["health"] == "ok";
    let rules = loop {
        let rules = ask("/api/v1/rules")["data"]["groups"][0]["rules"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        if rules.len() > 15 && rules.iter().all(evaluated) {
            break rules;
        }
        assert!(Instant::now() < until, "{rules:?}");
        std::thread::sleep(Duration::from_millis(250));
    };
    // The disk of the machine that tests is its own matter.
    let fires = |rule: &&Value| rule["state"] == "firing" && rule["name"] != "SankuDiskFull";
    assert_eq!(rules.iter().find(fires), None, "a calm node raises no alarm");
    let text = std::fs::read_to_string(deploy("grafana/sanku.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let mut shown = 0;
    for panel in board["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let answer = query(&target["expr"].as_str().unwrap().replace("$node", ".*"));
            assert_eq!(answer["status"], "success", "{target}: {answer}");
            shown += usize::from(!answer["data"]["result"].as_array().unwrap().is_empty());
        }
    }
    assert!(shown > 15, "only {shown} panels' queries show anything");
}
