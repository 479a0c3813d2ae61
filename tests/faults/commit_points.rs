//! F20: `kill -9` at each call that a commit consists of, on SQLite and on PostgreSQL. What was acknowledged is there afterwards, what was not
//! is absent or whole, the log verifies, and nothing has its effect twice.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::rig::{CODES, NAME, NUMBER, Rig, json_of, sanku};
use crate::sabotage::{Act, RENAME, SEND, SIZE, SYNC, Sabotage, WRITE};
use crate::{answers, ask, event, until};

/// Kills at the first call, the second, and so on, until `pass` says that it came to its end unhurt. Gives how often it killed.
fn at_each(act: Act, step: u64, mut pass: impl FnMut(u64) -> bool) -> u64 {
    let (mut at, mut kills) = (1, 0);
    while pass(at) {
        at += step;
        kills += 1;
        assert!(at < 2_000, "{act:?} never came to its end");
    }
    kills
}

/// One node of the rig under sabotage of its database, started anew.
fn under(sabotage: Sabotage, rig: &mut Rig, code: u32) -> Sabotage {
    rig.kill(code);
    rig.dress.insert(code, sabotage.dress.clone());
    rig.serve(code);
    sabotage
}

/// Asks while a node is killed at its n-th call; judges what is there afterwards. Says whether it was killed.
fn killed_while_asking(rig: &mut Rig, code: u32, sabotage: &Sabotage, calls: u64, at: u64, act: Act) -> bool {
    let before = rig.entries(421_002);
    sabotage.arm(calls, at, act, 0);
    let lines = ask(rig);
    if rig.lives(code) && sabotage.seen() < at {
        // What goes on in the background may still be hurt.
        std::thread::sleep(Duration::from_millis(300));
    }
    sabotage.disarm();
    let killed = sabotage.hurt() > 0;
    let result = event(&lines, "result").map(|line| line["result"].clone());
    assert!(killed || result.is_some(), "{lines:?}");
    if killed {
        rig.kill(code);
        for code in CODES {
            assert!(rig.entries(code) > 0);
        }
        rig.serve(code);
    }
    assert!(rig.entries(421_002) >= before);
    let Some(id) = event(&lines, "asked").map(|line| line["query"].as_str().unwrap().to_owned()) else {
        assert_eq!(code, 421_002, "only the asker's own death is silent: {lines:?}");
        return killed;
    };
    // Acknowledged: it is there; asked again it comes to its end; each node said its answer once.
    // Where one was killed again and again its neighbour's breaker may leave it alone for a while.
    let mut again = Value::Null;
    until("coming to its end", Duration::from_secs(90), || {
        again = json_of(&rig.node(421_002, &["query", "--again", &id, "--json"]));
        again["complete"] == true
    });
    if let Some(result) = result.filter(|result| result["complete"] == true) {
        assert_eq!(again["facts"], result["facts"]);
    }
    let answers = answers(rig, &id);
    assert_eq!(answers.len(), CODES.len(), "{act:?} at {at}: {answers:?}");
    killed
}

fn f20(code: u32, calls: u64, acts: &[Act], step: u64) -> u64 {
    let mut rig = Rig::start();
    let sabotage = Sabotage::of_files(rig.place.path(), &rig.folder(code).join("node.db"));
    let sabotage = under(sabotage, &mut rig, code);
    killed(&mut rig, code, &sabotage, calls, acts, step)
}

fn killed(rig: &mut Rig, code: u32, sabotage: &Sabotage, calls: u64, acts: &[Act], step: u64) -> u64 {
    let mut kills = 0;
    for act in acts {
        kills += at_each(*act, step, |at| {
            killed_while_asking(rig, code, sabotage, calls, at, *act)
        });
    }
    println!("F20: {code} was killed {kills} times");
    kills
}

#[test]
fn f20_kill_9_before_each_flush_of_an_asker_loses_nothing_and_repeats_nothing() {
    assert!(f20(421_002, SYNC, &[Act::KillBefore], 1) >= 2);
}

#[test]
fn f20_kill_9_after_each_flush_of_an_answerer_loses_nothing_and_repeats_nothing() {
    assert!(f20(421_003, SYNC, &[Act::KillAfter], 1) >= 1);
}

#[test]
#[ignore = "minutes: just faults"]
fn f20_kill_9_at_each_fifth_write_of_asker_answerer_and_relay() {
    let all = WRITE | SYNC | SIZE | RENAME;
    for code in [421_002, 421_003, 421_000] {
        assert!(f20(code, all, &[Act::KillBefore, Act::Tear], 5) > 4);
    }
}

#[test]
#[ignore = "minutes: just faults"]
fn f20_kill_9_at_each_word_to_postgresql_of_asker_and_answerer() {
    for code in [421_002, 421_003] {
        let cluster = Cluster::start();
        let mut rig = Rig::found();
        rig.configure(code, "sqlite:node.db", &cluster.url());
        for code in CODES {
            rig.fill(code);
            rig.serve(code);
        }
        let sabotage = Sabotage::of_port(rig.place.path(), cluster.port());
        let sabotage = under(sabotage, &mut rig, code);
        let acts = [Act::KillBefore, Act::KillAfter];
        assert!(killed(&mut rig, code, &sabotage, SEND, &acts, 1) > 4);
    }
}

#[test]
fn f20_f29_an_import_that_is_killed_at_any_write_is_absent_or_whole() {
    let mut rig = Rig::start();
    rig.kill(420_000);
    let rows: String = (0..40)
        .map(|row| format!("{NAME},{NUMBER},鄂E{row:05},小型汽车\n"))
        .collect();
    let sabotage = Sabotage::of_files(rig.place.path(), &rig.folder(420_000).join("node.db"));
    let config = rig.folder(420_000).join("node.toml").display().to_string();
    let held = |rig: &Rig| {
        let shown = rig.node(
            420_000,
            &["records", "show", "--identity", NUMBER, "--purpose", "测试", "--json"],
        );
        json_of(&shown)["records"].as_array().unwrap().len()
    };
    let mut kills = 0;
    for act in [Act::KillBefore, Act::Tear, Act::KillAfter] {
        kills += at_each(act, 3, |at| {
            let before = held(&rig);
            let file = rig.place.path().join("more.csv");
            // Each time other content: a plate of its own.
            let extra = format!("{NAME},{NUMBER},鄂E{:05},小型汽车\n", 10_000 + act as u64 * 1_000 + at);
            std::fs::write(&file, format!("姓名,身份证号,号牌,号牌种类\n{rows}{extra}")).unwrap();
            sabotage.arm(WRITE | SYNC, at, act, 0);
            let said = sanku()
                .envs(sabotage.dress.environment.clone())
                .args(["--config", &config, "import", &file.display().to_string()])
                .args([
                    "--category",
                    "vehicle",
                    "--source",
                    "车管所",
                    "--as-of",
                    "2026-11-03",
                    "--json",
                ])
                .stderr(Stdio::null())
                .output()
                .unwrap();
            sabotage.disarm();
            rig.entries(420_000);
            let after = held(&rig);
            assert!(
                after == before || after == before + 41,
                "{act:?} at {at}: {before} became {after}"
            );
            if said.status.success() {
                assert_eq!(after, before + 41, "what was acknowledged is there");
            }
            sabotage.hurt() > 0
        });
    }
    println!("F20: an import was killed {kills} times");
    assert!(kills > 6);
}
