//! What an administrator and a supervisor rely on: status, readiness, metrics, traces, an orderly end.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{CODES, Link, Rig, json_of, listener, outcome, run, sanku};

/// A free port of the loopback.
pub(crate) fn free_port() -> String {
    listener().local_addr().unwrap().to_string()
}

/// Adds an operations port to a node's configuration.
pub(crate) fn watch(rig: &Rig, code: u32) -> String {
    let (file, port) = (rig.folder(code).join("node.toml"), free_port());
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[operations]\nlisten = \"{port}\"\n")).unwrap();
    port
}

/// Asks over HTTP/1.1: the status and the body.
pub(crate) fn get(port: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(port).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").unwrap();
    let mut whole = String::new();
    stream.read_to_string(&mut whole).unwrap();
    let status = whole.split(' ').nth(1).unwrap().parse().unwrap();
    (status, whole.split_once("\r\n\r\n").unwrap().1.to_owned())
}

fn terminate(child: &Child) {
    let id = child.id().to_string();
    assert!(
        std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
}

fn wait(child: &mut Child, most: Duration) -> Option<i32> {
    let until = Instant::now() + most;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    panic!("it does not end");
}

/// Starts a node of the rig by hand, with an environment.
fn serve(rig: &Rig, code: u32, environment: &[(&str, String)]) -> Child {
    let log = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(rig.folder(code).join("node.log"))
        .unwrap();
    let mut command = sanku();
    command
        .arg("--config")
        .arg(rig.folder(code).join("node.toml"))
        .arg("serve");
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(rig.folder(code).join("run/node.sock")).is_err() {
        assert!(Instant::now() < until, "{code} does not serve");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

#[test]
fn status_readiness_and_metrics_say_how_a_node_fares() {
    let mut rig = Rig::start();
    let port = watch(&rig, 421_002);
    let city = watch(&rig, 421_000);
    for code in [421_000, 421_002] {
        rig.kill(code);
        rig.serve(code);
    }
    let (_, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!(outcome(&result, 421_000), "answered");

    let output = rig.node(421_002, &["status", "--json"]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    let status = json_of(&output);
    assert_eq!(
        (&status["state"], &status["missing"]),
        (&"working".into(), &serde_json::json!([]))
    );
    assert_eq!(status["listeners"]["operations"], port.as_str());
    assert_eq!(status["log"]["entries"].as_u64().unwrap(), rig.entries(421_002));
    assert!(status["log"]["unwitnessed_since"].is_string() && status["log"]["newest"].is_string());
    assert_eq!(
        (&status["imports"]["count"], &status["queue"]["waiting"]),
        (&1.into(), &0.into())
    );
    assert!(status["certificate"]["days_left"].as_i64().unwrap() > 20);
    let names: BTreeSet<_> = status["notes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|note| note["name"].as_str().unwrap())
        .collect();
    for note in ["root", "delegation", "registry", "revoked/420000"] {
        assert!(names.contains(format!("hubei.example/{note}").as_str()), "{names:?}");
    }
    let neighbour = &status["neighbours"][0];
    assert_eq!(
        (&neighbour["node"], &neighbour["outcome"]),
        (&"421000".into(), &"answered".into())
    );
    assert!(
        neighbour["clock_lead_ms"].as_i64().unwrap().abs() < 5_000,
        "{neighbour}"
    );
    assert_eq!(status["clock"]["state"], "together");
    let words = rig.node(421_002, &["status"]);
    assert!(String::from_utf8_lossy(&words.stdout).contains("正常 working"));

    assert_eq!(get(&port, "/healthz"), (200, "ok\n".to_owned()));
    let (code, ready) = get(&port, "/readyz");
    assert_eq!((code, ready.as_str()), (200, r#"{"missing":[],"ready":true}"#));
    let (_, metrics) = get(&port, "/metrics");
    let value = |metric: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with(metric) && line[metric.len()..].starts_with(' '));
        line.unwrap_or_else(|| panic!("{metric} is not in {metrics}"))
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    assert_eq!(value(r#"sanku_asked_total{peer="421000",outcome="answered"}"#), 1.0);
    assert_eq!(value(r#"sanku_ask_seconds_count{peer="421000"}"#), 1.0);
    assert_eq!(
        (
            value("sanku_ready"),
            value("sanku_imports"),
            value("sanku_queue_length")
        ),
        (1.0, 1.0, 0.0)
    );
    assert_eq!(value("sanku_log_entries") as u64, rig.entries(421_002));
    assert_eq!(value(r#"sanku_results_total{complete="true"}"#), 1.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value(r#"sanku_note_age_seconds{note="registry"}"#) < 3_600.0);
    crate::deploy::judge_metrics(&metrics);
    // A node that asks and is asked exports everything that dashboard and alarms name.
    let metrics = metrics.clone() + &get(&city, "/metrics").1;
    for file in ["deploy/grafana/sanku.json", "deploy/prometheus/sanku.rules.yml"] {
        let text = std::fs::read_to_string(
            std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                .parent()
                .unwrap()
                .join(file),
        )
        .unwrap();
        let named: BTreeSet<_> = text
            .split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'))
            .filter(|word| (word.starts_with("sanku_") || word.starts_with("process_")) && word.len() > 8)
            .collect();
        assert!(named.len() > 8, "{file} names only {named:?}");
        for name in named {
            let exported = metrics
                .lines()
                .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
            assert!(exported, "{file} names {name}, which is not exported");
        }
    }

    // Whoever cannot reach its neighbours is ready all the same; whoever runs nowhere says so.
    rig.kill(421_002);
    let gone = rig.node(421_002, &["status"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains("serve"));
}

#[test]
fn s42_the_operations_port_stays_on_the_loopback_and_a_busy_one_is_named() {
    let mut rig = Rig::start();
    rig.kill(421_003);
    let file = rig.folder(421_003).join("node.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    for (listen, word) in [
        ("0.0.0.0:9443".to_owned(), "beyond_loopback"),
        (busy.local_addr().unwrap().to_string(), "cure"),
    ] {
        std::fs::write(&file, format!("{good}\n[operations]\nlisten = \"{listen}\"\n")).unwrap();
        let output = run(&[
            "--config",
            &rig.folder(421_003).join("node.toml").display().to_string(),
            "serve",
        ]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = std::fs::read_to_string(&file).unwrap().lines().count();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            said.contains(&format!("node.toml:{line}:")) && said.contains(word),
            "{said}"
        );
    }
}

#[test]
fn one_trace_stands_in_the_logs_of_every_node_a_question_touched() {
    let rig = Rig::start();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut stream = UnixStream::connect(rig.folder(421_002).join("run/node.sock")).unwrap();
    let case = std::fs::read_to_string(rig.case("case.json", |_| {})).unwrap();
    write!(
        stream,
        "POST /query HTTP/1.1\r\nhost: node\r\nconnection: close\r\ntraceparent: 00-{trace}-00f067aa0ba902b7-01\r\ncontent-length: {}\r\n\r\n{case}",
        case.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.contains(r#""event":"result""#) && answer.contains(trace),
        "{answer}"
    );
    let numbers = |text: &str| {
        text.as_bytes()
            .windows(18)
            .any(|digits| digits[..17].iter().all(u8::is_ascii_digit))
    };
    for code in CODES {
        let log = std::fs::read_to_string(rig.folder(code).join("node.log")).unwrap();
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        let ours = lines.iter().filter(|line| line["trace"] == trace).count();
        assert!(ours > 0, "{code} says nothing within the trace");
        for line in log.lines() {
            // A trace is 32 random hex digits, and may hold many decimal ones.
            let without_trace = line
                .split(r#""trace":""#)
                .map(|part| part.trim_start_matches(|letter: char| letter.is_ascii_hexdigit()))
                .collect::<String>();
            assert!(
                !numbers(&without_trace),
                "a number of 17 digits stands in the log of {code}: {line}"
            );
        }
    }
}

#[test]
fn f43_sigterm_finishes_what_is_in_hand_refuses_new_work_and_ends_with_0() {
    let mut rig = Rig::start();
    rig.kill(421_002);
    let mut child = serve(&rig, 421_002, &[]);
    // The province answers late: the question is in hand for a while.
    rig.proxies[&420_000].set(Link::Slow, u64::MAX);
    let config = rig.folder(421_002).join("node.toml").display().to_string();
    let case = rig
        .case("slow.json", |case| case["budget_ms"] = 4_000.into())
        .display()
        .to_string();
    let asking = sanku()
        .args(["--config", &config, "query", &case, "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let in_hand = || {
        json_of(&rig.node(421_002, &["status", "--json"]))["process"]["in_hand"]
            .as_u64()
            .unwrap()
    };
    while in_hand() == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    terminate(&child);
    let until = Instant::now() + Duration::from_secs(2);
    while json_of(&rig.node(421_002, &["status", "--json"]))["state"] != "stopping" {
        assert!(Instant::now() < until, "it does not stop");
    }
    let refused = rig.node(421_002, &["query", &case]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("正在停止"),
        "{}",
        String::from_utf8_lossy(&refused.stderr)
    );
    let result = json_of(&asking.wait_with_output().unwrap());
    assert_eq!(outcome(&result, 421_003), "answered", "what was in hand is finished");
    assert_eq!(wait(&mut child, Duration::from_secs(12)), Some(0));
    assert!(!rig.folder(421_002).join("run/node.sock").exists());
}

#[test]
fn f43_a_second_sigterm_ends_at_once() {
    let mut rig = Rig::start();
    rig.kill(421_002);
    let mut child = serve(&rig, 421_002, &[]);
    for code in [420_000, 421_000] {
        rig.proxies[&code].set(Link::Slow, u64::MAX);
    }
    let config = rig.folder(421_002).join("node.toml").display().to_string();
    let case = rig
        .case("slow.json", |case| case["budget_ms"] = 60_000.into())
        .display()
        .to_string();
    let mut asking = sanku()
        .args(["--config", &config, "query", &case, "--json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while json_of(&rig.node(421_002, &["status", "--json"]))["process"]["in_hand"] == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    terminate(&child);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None, "it waits for what is in hand");
    terminate(&child);
    assert_eq!(wait(&mut child, Duration::from_secs(4)), Some(0));
    asking.wait().unwrap();
}

#[test]
fn the_supervisor_is_told_of_start_life_and_end() {
    let mut rig = Rig::start();
    rig.kill(421_003);
    let socket = rig.place.path().join("notify");
    let supervisor = UnixDatagram::bind(&socket).unwrap();
    supervisor.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let environment = [
        ("NOTIFY_SOCKET", socket.display().to_string()),
        ("WATCHDOG_USEC", "200000".to_owned()),
    ];
    let mut child = serve(&rig, 421_003, &environment);
    let hear = |word: &str, times: usize| {
        let mut heard = 0;
        while heard < times {
            let mut bytes = [0; 1024];
            let read = supervisor
                .recv(&mut bytes)
                .unwrap_or_else(|error| panic!("{word}: {error}"));
            heard += usize::from(String::from_utf8_lossy(&bytes[..read]).lines().any(|line| line == word));
        }
    };
    hear("READY=1", 1);
    hear("WATCHDOG=1", 3);
    terminate(&child);
    hear("STOPPING=1", 1);
    assert_eq!(
        wait(&mut child, Duration::from_secs(5)),
        Some(0),
        "nothing is in hand: it ends at once"
    );
}

#[test]
fn f44_a_node_with_few_files_sheds_and_lives() {
    let mut rig = Rig::start();
    rig.kill(421_003);
    let config = rig.folder(421_003).join("node.toml").display().to_string();
    let command = format!(
        "ulimit -n 64; exec {} --config {config} serve",
        env!("CARGO_BIN_EXE_sanku")
    );
    let mut child = std::process::Command::new("sh")
        .args(["-c", &command])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(rig.folder(421_003).join("run/node.sock")).is_err() {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = std::fs::read_to_string(&config).unwrap();
    let peers = text
        .lines()
        .find_map(|line| line.strip_prefix("peers = "))
        .unwrap()
        .trim_matches('"')
        .to_owned();
    let flood: Vec<_> = (0..100).filter_map(|_| TcpStream::connect(&peers).ok()).collect();
    assert!(flood.len() > 64, "more than it may have open");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(child.try_wait().unwrap(), None, "it lives");
    drop(flood);
    let until = Instant::now() + Duration::from_secs(10);
    while rig.node(421_003, &["status", "--json"]).status.code() != Some(0) {
        assert!(Instant::now() < until, "it does not recover");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (code, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!((code, outcome(&result, 421_003).as_str()), (0, "answered"));
    terminate(&child);
    assert_eq!(wait(&mut child, Duration::from_secs(12)), Some(0));
}

#[test]
fn the_examples_of_all_tiers_are_good_configurations() {
    let place = tempfile::tempdir().unwrap();
    for (tier, file, text) in crate::configuration::samples(place.path()) {
        std::fs::write(&file, text).unwrap();
        let output = run(&["--config", &file.display().to_string(), "check", "--json"]);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{tier}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn the_handbook_has_a_row_for_each_alarm_and_its_commands_are_understood() {
    let top = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let handbook = std::fs::read_to_string(top.join("docs/operations.md")).unwrap();
    let rules = std::fs::read_to_string(top.join("deploy/prometheus/sanku.rules.yml")).unwrap();
    let alarms: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alarms.len() > 10);
    for alarm in alarms {
        assert!(handbook.contains(alarm), "{alarm} has no row in docs/operations.md");
    }
    for command in handbook.lines().filter_map(|line| line.strip_prefix("sanku ")) {
        // Asked for its help, a command that is not understood ends with 2.
        let words: Vec<_> = command
            .split(' ')
            .take_while(|word| *word != "#")
            .chain(["--help"])
            .collect();
        assert_eq!(run(&words).status.code(), Some(0), "sanku {command}");
    }
}
