//! F11: a real process under a clock that is wrong (libfaketime).

use std::path::Path;
use std::time::Duration;

use crate::rig::{Dress, Rig, json_of, outcome};
use crate::{status, until};

#[test]
#[ignore = "needs libfaketime: just faults"]
fn f11_minutes_are_said_a_day_holds_the_log_and_the_right_time_heals_it() {
    let mut rig = Rig::start();
    rig.kill(421_003);
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    assert!(Path::new(library).exists(), "install Debian's libfaketime");
    let clock = rig.place.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let environment = [
        ("LD_PRELOAD", library),
        ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ];
    let environment = environment
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    rig.dress.insert(
        421_003,
        Dress {
            before: Vec::new(),
            environment,
        },
    );
    rig.serve(421_003);
    let ask = |rig: &Rig| outcome(&rig.ask(&rig.case("case.json", |_| {})).1, 421_003);
    assert_eq!(ask(&rig), "answered");
    let set = |rig: &Rig, by: &str| {
        let young = rig.place.path().join("clock.new");
        std::fs::write(&young, by).unwrap();
        std::fs::rename(&young, rig.place.path().join("clock")).unwrap();
    };
    for by in ["+300", "-300"] {
        set(&rig, by);
        until("seeing five minutes", Duration::from_secs(150), || {
            let lead = status(&rig, 421_003)["clock"]["lead_ms"].as_i64().unwrap_or_default();
            (240_000..360_000).contains(&lead.abs())
        });
        assert_eq!(status(&rig, 421_003)["state"], "working");
        assert_eq!(ask(&rig), "answered", "{by}");
    }
    for by in ["+86400", "-86400"] {
        set(&rig, by);
        until("holding the log", Duration::from_secs(150), || {
            status(&rig, 421_003)["state"] == "clock"
        });
        let before = rig.entries(421_003);
        assert_ne!(ask(&rig), "answered", "{by}");
        assert_eq!(rig.entries(421_003), before, "nothing was appended");
        set(&rig, "+0");
        until("healing", Duration::from_secs(150), || {
            status(&rig, 421_003)["state"] == "working"
        });
        assert_eq!(ask(&rig), "answered", "after {by}");
        rig.entries(421_003);
    }
    let verified = rig.node(421_003, &["log", "verify", "--json"]);
    assert_eq!(json_of(&verified)["ok"], true, "times never go back");
}
