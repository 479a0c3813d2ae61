//! Late answers over real processes: nobody asks again by hand.

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
