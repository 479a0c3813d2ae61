//! Late answers over real processes: nobody asks again by hand.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rig::{Link, Rig, json_of, outcome};

/// What the asker's evidence about a question says now.
fn evidence(rig: &Rig, id: &str) -> Value {
    let file = rig.place.path().join("late").display().to_string();
    let exported = rig.node(421_002, &["evidence", "export", id, "--out", &file]);
    assert!(
        exported.status.success(),
        "{}",
        String::from_utf8_lossy(&exported.stderr)
    );
    let verified = rig.node(421_002, &["evidence", "verify", &file, "--json"]);
    assert_eq!(
        verified.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&verified.stdout)
    );
    json_of(&verified)
}

/// Waits until a question is complete without asking for it.
fn joins_by_itself(rig: &Rig, id: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    while evidence(rig, id)["complete"] != true {
        assert!(Instant::now() < until, "the late answer did not join");
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn f02_a_cut_answer_joins_by_itself_after_the_asker_was_killed_and_started_again() {
    let mut rig = Rig::start();
    rig.proxies[&421_003].set(Link::Cut, 3500);
    let (code, result) = rig.ask(&rig.case("cut.json", |_| {}));
    assert_eq!(code, 3, "{result:#}");
    assert!(
        result["again"].is_string(),
        "it says when it is asked again: {result:#}"
    );
    rig.kill(421_002);
    rig.proxies[&421_003].set(Link::Good, u64::MAX);
    rig.serve(421_002);
    joins_by_itself(&rig, result["query"].as_str().unwrap());
}

#[test]
fn f03_a_slow_answer_joins_by_itself_and_whoever_waits_sees_it() {
    let rig = Rig::start();
    rig.proxies[&420_000].set(Link::Slow, u64::MAX);
    let case = rig.case("slow.json", |case| case["budget_ms"] = 1000.into());
    let (code, result) = rig.ask(&case);
    assert_eq!(code, 3, "{result:#}");
    assert_eq!(outcome(&result, 420_000), "late");
    rig.proxies[&420_000].set(Link::Good, u64::MAX);
    joins_by_itself(&rig, result["query"].as_str().unwrap());

    rig.proxies[&420_000].set(Link::Slow, u64::MAX);
    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| rig.node(421_002, &["query", &case.display().to_string(), "--wait", "--json"]));
        std::thread::sleep(Duration::from_millis(1500));
        rig.proxies[&420_000].set(Link::Good, u64::MAX);
        waiting.join().unwrap()
    });
    let document = json_of(&waited);
    assert_eq!(waited.status.code(), Some(0), "{document:#}");
    assert_eq!(
        (outcome(&document, 420_000).as_str(), &document["again"]),
        ("answered", &Value::Null)
    );
}

/// Posts a document to a node's socket, as any program of the centre may; the lines that come back, as they come.
fn post(rig: &Rig, path: &str, body: &str) -> impl Iterator<Item = Value> {
    let mut stream = UnixStream::connect(rig.folder(421_002).join("run/node.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).unwrap();
    // Each document is a line and a chunk of its own; the heads of chunks are no documents.
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.filter_map(|line| serde_json::from_str(&line).ok().filter(Value::is_object))
}

#[test]
fn whoever_follows_a_question_on_the_socket_sees_what_is_known_each_change_and_the_end() {
    let rig = Rig::start();
    rig.proxies[&420_000].set(Link::Slow, u64::MAX);
    let case = rig.case("slow.json", |case| case["budget_ms"] = 1000.into());
    let (_, result) = rig.ask(&case);
    assert_eq!(outcome(&result, 420_000), "late");
    let asked = serde_json::json!({ "id": result["query"] }).to_string();
    let mut followed = post(&rig, "/follow", &asked);
    let known = followed.next().unwrap();
    assert_eq!(known["event"], "changed");
    assert_eq!(
        known["result"]["digest"], result["digest"],
        "what is known comes at once"
    );
    rig.proxies[&420_000].set(Link::Good, u64::MAX);
    let rest: Vec<_> = followed.collect();
    let (end, changes) = rest.split_last().unwrap();
    assert_eq!(*end, serde_json::json!({ "event": "end" }));
    let last = &changes.last().unwrap()["result"];
    assert_eq!(
        (&last["complete"], outcome(last, 420_000).as_str()),
        (&true.into(), "answered")
    );
    assert!(
        changes
            .windows(2)
            .all(|pair| pair[0]["result"]["digest"] != pair[1]["result"]["digest"])
    );
    // What is complete is said once and ends; what was never asked, and what is no request, is said so.
    let again: Vec<_> = post(&rig, "/follow", &asked).collect();
    assert_eq!((again.len(), &again[0]["result"]["complete"]), (2, &true.into()));
    let never = post(&rig, "/follow", r#"{"id":"019a0000-0000-7000-8000-00000000abcd"}"#).collect::<Vec<_>>();
    assert_eq!((never.len(), &never[0]["event"]), (1, &"failed".into()));
    let wrong = post(&rig, "/follow", r#"{"id":"x"}"#).collect::<Vec<_>>();
    assert_eq!(wrong[0]["status"], 400, "{wrong:?}");
}

#[test]
fn f03_f04_whoever_is_ten_seconds_late_or_drips_a_byte_a_second_costs_the_budget_and_joins_later() {
    let rig = Rig::start();
    assert_eq!(rig.ask(&rig.case("before.json", |_| {})).0, 0);
    for link in [Link::VerySlow, Link::Drip] {
        rig.proxies[&421_003].set(link, u64::MAX);
        let began = Instant::now();
        let (code, result) = rig.ask(&rig.case("late.json", |_| {}));
        let took = began.elapsed();
        assert!(took < Duration::from_secs(3), "{link:?}: {took:?} of a budget of 2 s");
        assert_eq!(
            (code, outcome(&result, 421_003).as_str()),
            (3, "late"),
            "{link:?}: {result:#}"
        );
        assert_eq!(outcome(&result, 420_000), "answered", "{link:?}");
        rig.proxies[&421_003].set(Link::Good, u64::MAX);
        joins_by_itself(&rig, result["query"].as_str().unwrap());
    }
}
