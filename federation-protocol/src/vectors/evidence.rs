//! Evidence files, with cosignatures and `K` lines: `vectors/evidence.json`.

use std::sync::Arc;

use sanku_tlog::{Checkpoint, Hash, SignedNote, SigningKey, checkpoint::cosign};
use sanku_values::Time;
use serde_json::{Value, json};

use super::forks::fork_of;
use super::keep;
use crate::body::{Body, QueryBody, ResultBody, Salt};
use crate::entry::{QueryEntry, ResultEntry, Said};
use crate::evidence::{Covers, verify, write};
use crate::fixture::*;
use crate::merge::Merged;
use crate::names::{Outcome, Rule};
use crate::notes::{Registry, Revoked, RevokedRow, RevokedWhat, name};
use crate::statement::VerifiedRun;
use crate::stream::{write_consistency, write_note, write_run};

/// When the vectors are judged.
pub(super) fn now() -> Time {
    days(2)
}

/// One file, and what must become of it.
struct Case {
    name: String,
    file: String,
    fingerprint: Hash,
    newer: Vec<Vec<u8>>,
    good: bool,
}

fn case(name: impl Into<String>, good: bool, file: impl Into<String>) -> Case {
    Case {
        name: name.into(),
        file: file.into(),
        fingerprint: fingerprint(),
        newer: Vec::new(),
        good,
    }
}

fn written(runs: &[VerifiedRun], merged: &Merged) -> String {
    let notes = notes();
    write(notes.iter().map(Vec::as_slice), runs, &Covers::new(), merged)
}

fn cosigned(note: &SignedNote, by: &SigningKey, at: Time) -> SignedNote {
    let mut note = note.clone();
    let seconds = u64::try_from(at.millis() / 1000).unwrap();
    note.add(cosign(&note, by, seconds).unwrap());
    note
}

fn city_witness() -> SigningKey {
    witness_key(&CITY.to_string(), 21)
}

pub(super) fn revoked(number: Time, row: RevokedRow) -> Vec<u8> {
    let list = Revoked {
        next: days(3),
        rows: vec![row],
    };
    let name = name::revoked(&federation(), code(PROVINCE));
    signed(&name, number, &list, &authority_key(PROVINCE))
}

/// Two lines of a file behind the place that a needle ends.
fn behind(file: &str, needle: &str, more: &str) -> String {
    let (before, after) = file.split_once(needle).unwrap();
    format!("{before}{needle}{more}{after}")
}

/// Of a whole case: what every file shows, and what breaks in it.
fn whole_cases() -> Vec<Case> {
    let (world, merged) = World::whole_case();
    let runs = world.everything();
    let whole = written(&runs, &merged);
    let first = write_run(&runs[0]);
    let last = whole.lines().last().unwrap();
    let line = |letter: &str| whole.lines().find(|line| line.starts_with(letter)).unwrap();
    let strange = Hash::of(b"strange");
    let mut all = vec![
        case("a whole case, nothing witnessed", true, whole.clone()),
        case("a body changed", false, whole.replacen("棉纺厂", "纺纱厂", 1)),
        case(
            "the merged result changed",
            false,
            whole.replace(last, &last.replace("全职", "兼职")),
        ),
        case("the merged result stands twice", false, format!("{whole}{last}\n")),
        case(
            "the merged result is missing",
            false,
            whole.replace(last, "").trim_end().to_owned() + "\n",
        ),
        case("a sign of life", false, behind(&whole, &first, "H \n")),
        case("a question without its asker's run", false, whole.replace(&first, "")),
        case("runs in another order", true, {
            let turned: Vec<_> = runs.iter().rev().cloned().collect();
            written(&turned, &merged)
        }),
        case("the registry left out", false, {
            let registry = write_note(&notes()[2]);
            assert!(whole.contains(&registry));
            whole.replace(&registry, "")
        }),
        case("a note of another signer", false, {
            let forged = signed(&name::registry(&federation()), days(-1), &registry(), &root_key());
            format!("{}{whole}", write_note(&forged))
        }),
        case("two registries of one number", false, {
            let other = Registry {
                grace_until: days(61),
                ..registry()
            };
            let other = signed(&name::registry(&federation()), days(-8), &other, &publisher_key());
            format!("{}{whole}", write_note(&other))
        }),
        case("a checkpoint under another log's key", false, {
            let other = runs.iter().find(|run| run.origin.node == code(THERE)).unwrap();
            let other = write_run(other);
            whole.replacen(line("C "), other.lines().next().unwrap(), 1)
        }),
        Case {
            fingerprint: strange,
            ..case("another root's fingerprint", false, whole.clone())
        },
        Case {
            newer: vec![revoked(
                days(1),
                RevokedRow {
                    what: RevokedWhat::Key,
                    code: code(THERE),
                    object: Some(log_key(THERE).verifier().to_string()),
                    since: minute(0),
                    reason: "stolen".to_owned(),
                },
            )],
            ..case(
                "a newer note revokes the key of an unwitnessed log",
                false,
                whole.clone(),
            )
        },
    ];
    for (hours, good) in [(24, true), (25, false)] {
        let next = Registry {
            grace_until: days(61),
            ..registry()
        };
        let note = signed(
            &name::registry(&federation()),
            minute(-60 * hours),
            &next,
            &publisher_key(),
        );
        let name = format!("the question's registry was replaced {hours} hours before it");
        all.push(case(name, good, format!("{}{whole}", write_note(&note))));
    }
    all
}

/// What the question, its results and the notes of its time make of a case.
fn bent_cases() -> Vec<Case> {
    type Bend = fn(&mut QueryEntry, &mut QueryBody);
    let mut all = Vec::new();
    let bent: [(&str, Bend); 6] = [
        ("expired when it was asked", |entry, _| entry.expires = minute(0)),
        ("for another purpose than the mandate's", |_, body| {
            body.mandate.purpose = "review".parse().unwrap()
        }),
        ("after the mandate", |_, body| body.mandate.valid_until = minute(-1)),
        ("about somebody who did not sign", |_, body| {
            drop(body.mandate.subjects.pop())
        }),
        ("examined and approved by one person", |_, body| {
            body.approver.staff_number = body.examiner.staff_number.clone()
        }),
        ("by another catalogue", |entry, _| entry.catalogue = 77),
    ];
    for (name, bend) in bent {
        let mut world = World::new();
        world.ask_bent(minute(0), bend);
        world.account(HERE, minute(2), &[]);
        let (merged, _) = world.conclude(minute(3), None);
        all.push(case(
            format!("a question {name}"),
            false,
            written(&world.everything(), &merged),
        ));
    }

    let mut world = World::new();
    world.ask();
    world.answer(CITY, minute(1), 0, found(&[job("棉纺厂", "全职")]));
    world.account(CITY, minute(1), &[(PROVINCE, Outcome::Late)]);
    world.account(HERE, minute(2), &[(CITY, Outcome::Answered)]);
    let (merged, one) = world.conclude(minute(3), None);
    all.push(case(
        "a target late, one that answered half",
        true,
        written(&world.everything(), &merged),
    ));
    let uncovered = merged;
    world.answer(CITY, minute(4), 1, nothing());
    all.push(case(
        "an answer that no result covers",
        false,
        written(&world.everything(), &uncovered),
    ));
    world.refuse(THERE, minute(4), Rule::Relation);
    let (merged, two) = world.conclude(minute(5), Some(one));
    all.push(case(
        "a second result names the first",
        true,
        written(&world.everything(), &merged),
    ));
    world.answer(PROVINCE, minute(6), 0, nothing());
    let mut other = world.clone();
    let (merged, _) = world.conclude(minute(7), Some(two));
    all.push(case(
        "a third result names the second",
        true,
        written(&world.everything(), &merged),
    ));
    let (merged, _) = other.conclude(minute(7), Some(one));
    all.push(case(
        "a third result names the first",
        false,
        written(&other.everything(), &merged),
    ));
    let (merged, third) = other.conclude(minute(8), None);
    all.push(case(
        "a fourth result names none",
        false,
        written(&other.everything(), &merged),
    ));
    let (merged, _) = other.conclude(minute(9), Some(third));
    all.push(case(
        "the last of five results names the one before, the third did not",
        false,
        written(&other.everything(), &merged),
    ));

    let (mut world, merged) = World::whole_case();
    let (known, _) = world.merged();
    let body = ResultBody {
        salt: Salt::of([9; 16]),
        merged: known.leaves().into_iter().collect(),
        digest: merged.digest(),
        supersedes: Some(world.everything()[0].statements[4].leaf),
    };
    let said = Said::Result(ResultEntry {
        re: world.query,
        complete: false,
    });
    world.say(HERE, minute(6), said, body.line().unwrap());
    all.push(case(
        "a result that denies completeness",
        false,
        written(&world.everything(), &merged),
    ));
    let (mut world, merged) = World::whole_case();
    world.ask_at(minute(5));
    all.push(case("two questions", false, written(&world.everything(), &merged)));
    let (mut world, merged) = World::whole_case();
    world.query = Hash::of(b"another");
    world.answer(THERE, minute(4), 0, nothing());
    all.push(case(
        "an answer to another question",
        false,
        written(&world.everything(), &merged),
    ));

    let suspension = revoked(
        days(-1),
        RevokedRow {
            what: RevokedWhat::Suspended,
            code: code(THERE),
            object: None,
            since: days(-1),
            reason: String::new(),
        },
    );
    let mut world = World::new();
    world.trust.accept(&suspension, minute(0)).unwrap();
    world.ask();
    world.account(HERE, minute(2), &[(CITY, Outcome::Late)]);
    let (merged, _) = world.conclude(minute(3), None);
    let bare = written(&world.everything(), &merged);
    all.push(case(
        "a suspended target, with the list that says so",
        true,
        format!("{}{bare}", write_note(&suspension)),
    ));
    all.push(case("a suspended target, without the list", false, bare));
    all
}

/// Cosignatures, and `K` lines that lead to them.
fn witnessed_cases() -> Vec<Case> {
    let (mut world, merged) = World::whole_case();
    let runs = world.everything();
    let (whole, here) = (written(&runs, &merged), write_run(&runs[0]));
    let with_checkpoint = |note: SignedNote| {
        let mut runs = runs.clone();
        runs[0].checkpoint = Arc::new(note);
        written(&runs, &merged)
    };
    let own = &*runs[0].checkpoint;
    let mut all = vec![
        case(
            "cosigned by the superior",
            true,
            with_checkpoint(cosigned(own, &city_witness(), minute(4))),
        ),
        case(
            "cosigned by another district",
            true,
            with_checkpoint(cosigned(own, &witness_key(&THERE.to_string(), 23), minute(4))),
        ),
        case(
            "cosigned under the superior's name by another key",
            true,
            with_checkpoint(cosigned(own, &witness_key(&CITY.to_string(), 99), minute(4))),
        ),
        case(
            "cosigned before the superior's key was good",
            true,
            with_checkpoint(cosigned(own, &city_witness(), days(-101))),
        ),
        case(
            "cosigned by the root, of a district",
            true,
            with_checkpoint(cosigned(own, &witness_key("root", 5), minute(4))),
        ),
    ];
    for (name, by) in [
        ("more than half of its subordinates", city_witness()),
        ("the root", witness_key("root", 5)),
    ] {
        let mut runs = runs.clone();
        let province = runs.iter_mut().find(|run| run.origin.node == code(PROVINCE)).unwrap();
        province.checkpoint = Arc::new(cosigned(&province.checkpoint, &by, minute(4)));
        all.push(case(
            format!("the province, cosigned by {name}"),
            true,
            written(&runs, &merged),
        ));
    }

    // The log grows by other things; a later checkpoint is the one that was cosigned.
    let (old, origin) = (runs[0].size, runs[0].origin.to_string());
    for minutes in 6..13 {
        world.refuse(HERE, minute(minutes), Rule::Relation);
    }
    let grown = |size: u64| world.checkpoint(HERE, size);
    let line = |from: u64, note: &SignedNote, to: u64| {
        write_consistency(note, &origin, from, &world.consistency(HERE, from, to))
    };
    let counts = |size: u64| cosigned(&grown(size), &city_witness(), minute(20));
    let with = |lines: &str| behind(&whole, &here, lines);
    all.push(case(
        "a K line to a cosigned checkpoint",
        true,
        with(&line(old, &counts(old + 4), old + 4)),
    ));
    all.push(case(
        "a K line to one that nobody cosigned",
        true,
        with(&line(old, &grown(old + 4), old + 4)),
    ));
    let chain = line(old, &grown(old + 3), old + 3) + &line(old + 3, &counts(old + 7), old + 7);
    all.push(case("a chain of two K lines", true, with(&chain)));
    all.push(case(
        "a K line from a checkpoint that does not stand before",
        false,
        with(&line(old + 3, &counts(old + 7), old + 7)),
    ));
    all.push(case(
        "a K line before its run",
        false,
        behind(&whole, &write_note(&notes()[3]), &line(old, &counts(old + 4), old + 4)),
    ));
    let words = line(old, &counts(old + 4), old + 4);
    let cut = words.trim_end().rsplit_once(' ').unwrap().0.to_owned() + "\n";
    all.push(case("a K line that lacks a hash", false, with(&cut)));
    all.push(case(
        "a K line with a hash left over",
        false,
        with(&format!("{} {}\n", words.trim_end(), Hash::of(b"x").to_base64())),
    ));
    all.push(case(
        "a K line of another log",
        false,
        with(&words.replacen(&format!("K {origin}"), &format!("K hubei.example/node/{THERE}/1"), 1)),
    ));
    let forged = Checkpoint::parse(grown(old + 4).text()).unwrap();
    let forged = forged.sign(&key(&format!("node/{HERE}/1"), 77)).unwrap();
    all.push(case(
        "a K line to a checkpoint that the log did not sign",
        false,
        with(&line(old, &forged, old + 4)),
    ));
    let other = Checkpoint {
        origin: origin.clone(),
        size: old + 4,
        root: Hash::of(b"other"),
    };
    let other = cosigned(&other.sign(&log_key(HERE)).unwrap(), &city_witness(), minute(20));
    all.push(case(
        "a K line to a checkpoint of another history",
        false,
        with(&line(old, &other, old + 4)),
    ));
    all.push(case(
        "an F line",
        false,
        with(&format!("{}{words}", fork_of(&world, 4, None))),
    ));

    // A key that was revoked after the cosignature: what was witnessed stays, what was not falls.
    let stolen = |since: Time| {
        revoked(
            days(1),
            RevokedRow {
                what: RevokedWhat::Key,
                code: code(HERE),
                object: Some(log_key(HERE).verifier().to_string()),
                since,
                reason: "stolen".to_owned(),
            },
        )
    };
    for (name, since, good) in [("after", minute(21), true), ("before", minute(19), false)] {
        all.push(Case {
            newer: vec![stolen(since)],
            ..case(
                format!("the log's key was revoked {name} the cosignature"),
                good,
                with(&line(old, &counts(old + 4), old + 4)),
            )
        });
    }
    all
}

/// The lines of all files, each once; a file is the list of its lines' places.
#[derive(Default)]
pub(super) struct Lines(pub(super) Vec<String>);

impl Lines {
    pub(super) fn file(&mut self, file: &str) -> Vec<usize> {
        let mut place = |line: &str| {
            self.0.iter().position(|known| known == line).unwrap_or_else(|| {
                self.0.push(line.to_owned());
                self.0.len() - 1
            })
        };
        file.split_inclusive('\n').map(&mut place).collect()
    }
}

#[test]
fn evidence_files_are_what_the_code_says() {
    let (mut vectors, mut all) = (Vec::new(), Lines::default());
    let cases = [whole_cases(), bent_cases(), witnessed_cases()];
    for case in cases.into_iter().flatten() {
        let judged = verify(case.file.as_bytes(), case.fingerprint, &case.newer, now());
        assert_eq!(judged.is_ok(), case.good, "{}: {:?}", case.name, judged.err());
        let lines = judged.ok().map(|report| {
            let runs = report.runs.iter().filter(|run| run.witnessed.is_some());
            runs.map(|run| run.line).collect::<Vec<_>>()
        });
        let newer: Vec<_> = case
            .newer
            .into_iter()
            .map(|note| String::from_utf8(note).unwrap())
            .collect();
        vectors.push(json!({
            "name": case.name, "fingerprint": case.fingerprint, "newer": newer, "witnessed": lines, "file": all.file(&case.file),
        }));
    }
    let witnessed = |vector: &&Value| vector["witnessed"].as_array().is_some_and(|lines| !lines.is_empty());
    assert_eq!(vectors.iter().filter(witnessed).count(), 6);
    keep(
        "evidence.json",
        &json!({ "now": now().millis(), "lines": all.0, "vectors": vectors }),
    );
}
