//! Processes that are hurt as a plain machine allows. Each test is named after its row of the matrix of faults; what needs
//! root or minutes is ignored here and run by `just faults`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test may fail loudly"
)]

#[path = "../processes/attacker.rs"]
#[allow(dead_code, reason = "shared with the tests of processes")]
mod attacker;
mod clock;
mod cluster;
mod commit_points;
mod database_server;
mod disk;
mod memory;
mod namespaces;
mod network;
mod power;
mod restores;
#[path = "../processes/rig.rs"]
#[allow(dead_code, reason = "shared with the tests of processes")]
mod rig;
mod sabotage;
mod schema;
mod storm;
mod torn;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rig::{Rig, json_of};
use serde_json::Value;

/// Puts a case to a node over its socket: the lines that came, whole ones alone, before it ended or was killed.
fn put(socket: &Path, case: &str) -> Vec<Value> {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return Vec::new();
    };
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let sent = write!(
        stream,
        "POST /query HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{case}",
        case.len()
    );
    let mut bytes = Vec::new();
    if sent.is_ok() {
        let _ = stream.read_to_end(&mut bytes);
    }
    let text = String::from_utf8_lossy(&bytes);
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// Asks the usual case at 421002.
fn ask(rig: &Rig) -> Vec<Value> {
    let case = std::fs::read_to_string(rig.case("case.json", |_| {})).unwrap();
    put(&rig.folder(421_002).join("run/node.sock"), &case)
}

/// The line of an event.
fn event<'lines>(lines: &'lines [Value], name: &str) -> Option<&'lines Value> {
    lines.iter().find(|line| line["event"] == name)
}

/// The answers about a question that its evidence holds of each log, as (log, id).
fn answers(rig: &Rig, id: &str) -> BTreeSet<(String, String)> {
    let file = rig.place.path().join("evidence");
    let out = file.display().to_string();
    let exported = rig.node(421_002, &["evidence", "export", id, "--out", &out]);
    assert!(
        exported.status.success(),
        "{}",
        String::from_utf8_lossy(&exported.stderr)
    );
    let verified = rig.node(421_002, &["evidence", "verify", &out, "--json"]);
    assert_eq!(
        json_of(&verified)["ok"],
        true,
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    let text = std::fs::read_to_string(&file).unwrap();
    let entries = text.lines().filter_map(|line| line.strip_prefix("E "));
    let entries = entries.map(|entry| serde_json::from_str::<Value>(entry).unwrap());
    entries
        .filter(|entry| entry["kind"] == "answer")
        .map(|entry| (entry["log"].to_string(), entry["id"].to_string()))
        .collect()
}

/// What a node's status says, or null while none runs.
fn status(rig: &Rig, code: u32) -> Value {
    let output = rig.node(code, &["status", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Waits until something holds.
fn until(what: &str, most: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < most, "{what} took longer than {most:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    began.elapsed()
}

/// Runs a program of the system that must succeed.
fn system(words: &[&str]) {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}", words[0]));
    assert!(
        output.status.success(),
        "{words:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
