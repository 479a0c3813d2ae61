use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::body::Body as _;
use crate::entry::{ResultEntry, Said};
use crate::fixture::*;
use crate::notes::{Revoked, RevokedRow, RevokedWhat, name};

fn file(world: &World, merged: &Merged) -> String {
    let notes = notes();
    write(
        notes.iter().map(Vec::as_slice),
        &world.everything(),
        &Covers::new(),
        merged,
    )
}

fn whole() -> String {
    let (world, merged) = World::whole_case();
    file(&world, &merged)
}

fn check(file: &str) -> Result<Report, NoEvidence> {
    verify(file.as_bytes(), fingerprint(), &[], days(2))
}

fn fault(file: &str) -> NoEvidence {
    check(file).unwrap_err()
}

/// The file with line `place` (from 1) changed.
fn with_line(file: &str, place: u64, change: impl Fn(&str) -> String) -> String {
    let lines = file
        .lines()
        .zip(1..)
        .map(|(line, at)| if at == place { change(line) } else { line.to_owned() });
    lines.map(|line| line + "\n").collect()
}

fn line_of(file: &str, letter: char, nth: usize) -> u64 {
    let mut places = file.lines().zip(1..).filter(|(line, _)| line.starts_with(letter));
    places.nth(nth).unwrap().1
}

#[test]
fn a_whole_case_is_proven_by_the_roots_fingerprint_alone() {
    let (world, merged) = World::whole_case();
    let report = check(&file(&world, &merged)).unwrap();
    assert_eq!(report.merged, merged);
    assert_eq!((report.asker, report.asked), (code(HERE), minute(0)));
    assert_eq!((report.as_of.index, report.as_of.time), (4, minute(3)));
    assert!(report.missing.is_empty());
    assert_eq!(report.notes.len(), 4);
    assert!(report.notes.iter().all(|note| note.in_force));
    assert_eq!(report.unwitnessed().count(), 4);
    assert_eq!(report.runs.iter().map(|run| run.count).sum::<usize>(), 5 + 3 * 3);
}

#[test]
fn what_is_missing_is_said() {
    let mut world = World::new();
    world.ask();
    for of in [HERE, CITY] {
        world.answer(of, minute(1), 0, nothing());
        world.answer(of, minute(1), 1, nothing());
    }
    world.account(CITY, minute(1), &[(PROVINCE, Outcome::Late)]);
    world.account(HERE, minute(2), &[(CITY, Outcome::Answered)]);
    let (merged, _) = world.conclude(minute(3), None);
    let report = check(&file(&world, &merged)).unwrap();
    assert!(!report.merged.complete);
    assert_eq!(
        report.missing,
        [(code(PROVINCE), Outcome::Late), (code(THERE), Outcome::Omitted)].into()
    );
}

#[test]
fn a_question_that_its_asker_should_never_have_asked_is_named_by_its_rule() {
    type Bend = fn(&mut crate::entry::QueryEntry, &mut crate::body::QueryBody);
    let bends: [(Rule, Bend); 7] = [
        (Rule::Expired, |entry, _| entry.expires = minute(0)),
        (Rule::MandateNotInForce, |_, body| body.mandate.valid_from = days(1)),
        (Rule::MandateNotInForce, |_, body| body.mandate.valid_until = days(-1)),
        (Rule::MandateNotInForce, |_, body| {
            body.mandate.purpose = "medical_assistance".parse().unwrap();
        }),
        (Rule::MandateSubject, |_, body| body.mandate.subjects.truncate(1)),
        (Rule::MandateCategory, |_, body| {
            body.mandate.categories = vec![category("vehicle")];
        }),
        (Rule::SamePerson, |_, body| {
            body.approver.staff_number = body.examiner.staff_number.clone();
        }),
    ];
    for (rule, bend) in bends {
        let mut world = World::new();
        world.ask_bent(minute(0), bend);
        world.account(HERE, minute(2), &[]);
        let (merged, _) = world.conclude(minute(3), None);
        assert_eq!(fault(&file(&world, &merged)).fault, Fault::Rule(rule));
    }
    let (world, merged) = World::whole_case_bent(|entry, _| entry.catalogue = 77);
    assert!(matches!(fault(&file(&world, &merged)).fault, Fault::BadQuestion(_)));
}

#[test]
fn another_fingerprint_proves_nothing() {
    let (world, merged) = World::whole_case();
    let error = verify(file(&world, &merged).as_bytes(), Hash::of(b"other"), &[], days(2)).unwrap_err();
    assert_eq!(
        error,
        NoEvidence {
            line: 1,
            fault: Fault::NoRoot
        }
    );
}

#[test]
fn f14_each_line_with_one_byte_changed_is_refused_or_says_the_same() {
    let whole = whole();
    let expected = check(&whole).unwrap().merged.bytes();
    let lines = whole.lines().count();
    let mut accepted = 0;
    for place in 1..=lines as u64 {
        let length = whole.lines().nth(place as usize - 1).unwrap().len();
        for at in (0..length).step_by(length.div_ceil(12)) {
            let changed = with_line(&whole, place, |line| {
                let mut bytes = line.as_bytes().to_vec();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                String::from_utf8_lossy(&bytes).into_owned()
            });
            if changed != whole && check(&changed).is_ok_and(|report| report.merged.bytes() != expected) {
                panic!("line {place} byte {at} passed and said something else");
            }
            accepted += usize::from(changed != whole && check(&changed).is_ok());
        }
    }
    assert_eq!(accepted, 0);
}

#[test]
fn each_line_left_out_is_missed() {
    let whole = whole();
    for place in 1..=whole.lines().count() as u64 {
        let rest: String = whole
            .lines()
            .zip(1..)
            .filter(|(_, at)| *at != place)
            .map(|(line, _)| format!("{line}\n"))
            .collect();
        // The province's list of revocations is empty: without it the case is the same.
        assert_eq!(check(&rest).is_ok(), place == line_of(&whole, 'N', 3), "line {place}");
    }
}

#[test]
fn a_changed_body_is_refused_at_its_run() {
    let whole = whole();
    let body = line_of(&whole, 'B', 1);
    let changed = with_line(&whole, body, |line| line.replace("棉纺厂", "纺纱厂"));
    assert!(changed != whole);
    let error = fault(&changed);
    assert_eq!(error.line, line_of(&whole, 'P', 0));
    assert!(matches!(error.fault, Fault::Run(RunError::BadProof(_))));
}

#[test]
fn a_changed_merged_result_is_refused() {
    let whole = whole();
    let last = line_of(&whole, 'M', 0);
    let changed = with_line(&whole, last, |line| line.replace("全职", "兼职"));
    assert_eq!(
        fault(&changed),
        NoEvidence {
            line: last,
            fault: Fault::Merged
        }
    );
}

#[test]
fn the_merged_result_is_the_last_line_and_stands_once() {
    let whole = whole();
    let last = whole.lines().last().unwrap();
    assert!(matches!(fault(&format!("{whole}{last}\n")).fault, Fault::Order(_)));
    assert!(matches!(fault(&format!("{whole}H \n")).fault, Fault::Order(_)));
    assert!(matches!(
        fault(whole.strip_suffix('\n').unwrap()).fault,
        Fault::Stream(StreamError::Cut { .. })
    ));
    assert!(matches!(fault("").fault, Fault::Order(_)));
}

#[test]
fn a_note_of_another_signer_is_refused_at_its_line() {
    let whole = whole();
    let forged = signed(&name::registry(&federation()), days(-1), &registry(), &root_key());
    let changed = format!("{}{whole}", write_note(&forged));
    assert_eq!(
        fault(&changed),
        NoEvidence {
            line: 1,
            fault: Fault::Note(NoteRefused::Signer)
        }
    );
}

#[test]
fn a_statement_that_the_result_does_not_cover_is_named() {
    let (mut world, merged) = World::whole_case();
    let (_, leaf) = world.answer(THERE, minute(4), 1, found(&[job("纺纱厂", "全职")]));
    let error = fault(&file(&world, &merged));
    assert!(matches!(error.fault, Fault::Uncovered(_)), "{error}");
    let before = world.everything()[0].statements[4].leaf;
    let (merged, _) = world.conclude(minute(5), Some(before));
    assert!(
        merged
            .facts
            .iter()
            .any(|fact| fact.rows[0].sources.iter().any(|source| source.statement == leaf))
    );
    let report = check(&file(&world, &merged)).unwrap();
    assert_eq!((report.as_of.index, report.merged), (5, merged));
}

#[test]
fn a_later_result_names_the_one_it_supersedes() {
    let (mut world, _) = World::whole_case();
    let (merged, _) = world.conclude(minute(5), None);
    assert!(matches!(fault(&file(&world, &merged)).fault, Fault::Result(_)));
}

#[test]
fn a_result_that_claims_completeness_is_not_believed() {
    let (mut world, merged) = World::whole_case();
    let (known, _) = world.merged();
    let body = crate::body::ResultBody {
        salt: crate::body::Salt::of([9; 16]),
        merged: known.leaves().into_iter().collect(),
        digest: merged.digest(),
        supersedes: Some(world.everything()[0].statements[4].leaf),
    };
    let said = Said::Result(ResultEntry {
        re: world.query,
        complete: false,
    });
    world.say(HERE, minute(6), said, body.line().unwrap());
    assert!(matches!(
        fault(&file(&world, &merged)).fault,
        Fault::Result("it is not of this merged result")
    ));
}

#[test]
fn a_second_question_or_an_answer_to_another_is_no_part_of_the_case() {
    let (mut world, merged) = World::whole_case();
    let query = world.query;
    world.ask_at(minute(5));
    assert_eq!(fault(&file(&world, &merged)).fault, Fault::Question);
    let (mut world, merged) = World::whole_case();
    world.query = Hash::of(b"another");
    world.answer(THERE, minute(4), 0, nothing());
    assert_eq!(
        fault(&file(&world, &merged)).fault,
        Fault::Statement(Unfit::AnotherQuestion)
    );
    assert!(query != world.query);
}

#[test]
fn a_key_that_newer_notes_revoke_proves_nothing() {
    let whole = whole();
    let row = RevokedRow {
        what: RevokedWhat::Key,
        code: code(THERE),
        object: Some(log_key(THERE).verifier().to_string()),
        since: minute(0),
        reason: "stolen".to_owned(),
    };
    let list = Revoked {
        next: days(3),
        rows: vec![row],
    };
    let newer = signed(
        &name::revoked(&federation(), code(PROVINCE)),
        days(1),
        &list,
        &authority_key(PROVINCE),
    );
    let error = verify(whole.as_bytes(), fingerprint(), &[newer], days(2)).unwrap_err();
    assert_eq!(error.fault, Fault::Run(RunError::NotTrusted("revoked")));
}

#[test]
fn a_suspension_counts_if_the_file_has_the_list_and_only_then() {
    let suspend = |number| {
        let row = RevokedRow {
            what: RevokedWhat::Suspended,
            code: code(THERE),
            object: None,
            since: number,
            reason: String::new(),
        };
        let list = Revoked {
            next: days(3),
            rows: vec![row],
        };
        signed(
            &name::revoked(&federation(), code(PROVINCE)),
            number,
            &list,
            &authority_key(PROVINCE),
        )
    };
    let case = |trust: crate::trust::Trust| {
        let mut world = World::new();
        world.trust = trust;
        world.ask();
        world.account(HERE, minute(2), &[(CITY, Outcome::Late)]);
        let (merged, _) = world.conclude(minute(3), None);
        (world, merged)
    };
    let mut suspended = trust_of(&notes());
    suspended.accept(&suspend(days(-1)), minute(0)).unwrap();
    let (world, merged) = case(suspended);
    assert_eq!(merged.outcomes[&code(THERE)].outcome, Outcome::Suspended);
    let bare = file(&world, &merged);
    assert_eq!(fault(&bare).fault, Fault::Merged);
    let listed = format!("{}{bare}", write_note(&suspend(days(-1))));
    assert_eq!(check(&listed).unwrap().missing[&code(THERE)], Outcome::Suspended);
    // A list that came after the result changes nothing of it.
    let (world, merged) = case(trust_of(&notes()));
    let later = format!("{}{}", write_note(&suspend(days(1))), file(&world, &merged));
    assert_eq!(check(&later).unwrap().missing[&code(THERE)], Outcome::Late);
}

#[test]
fn a_registry_that_was_replaced_a_day_before_the_question_is_too_old() {
    let whole = whole();
    let replaced = |hours: i64| {
        let next = crate::notes::Registry {
            grace_until: days(61),
            ..registry()
        };
        let note = signed(
            &name::registry(&federation()),
            minute(-60 * hours),
            &next,
            &publisher_key(),
        );
        format!("{}{whole}", write_note(&note))
    };
    assert!(check(&replaced(24)).is_ok());
    assert_eq!(
        fault(&replaced(25)).fault,
        Fault::BadQuestion("its registry was too old")
    );
}

#[test]
fn the_superiors_cosignature_witnesses_a_run_and_another_does_not() {
    let (world, merged) = World::whole_case();
    let witnessed = |by: u32, seed: u8| {
        let mut runs = world.everything();
        let here = &mut runs[0];
        let mut note = (*here.checkpoint).clone();
        let key = witness_key(&by.to_string(), seed);
        let seconds = u64::try_from(minute(4).millis() / 1000).unwrap();
        note.add(sanku_tlog::checkpoint::cosign(&note, &key, seconds).unwrap());
        here.checkpoint = std::sync::Arc::new(note);
        let notes = notes();
        let file = write(notes.iter().map(Vec::as_slice), &runs, &Covers::new(), &merged);
        check(&file).unwrap().runs[0].witnessed
    };
    assert_eq!(witnessed(CITY, 21), Some(minute(4)));
    assert_eq!(witnessed(THERE, 23), None);
    assert_eq!(witnessed(CITY, 99), None);
}

#[test]
fn a_consistency_line_must_lead_to_a_checkpoint_of_the_file() {
    let whole = whole();
    let run = line_of(&whole, 'P', 1);
    let proof = format!("K hubei.example/node/{PROVINCE}/1 1 {}", STANDARD.encode([7; 32]));
    let changed = with_line(&whole, run, |line| format!("{line}\n{proof}"));
    assert_eq!(
        fault(&changed),
        NoEvidence {
            line: run + 1,
            fault: Fault::Consistency
        }
    );
}

#[test]
fn above_a_closed_logs_final_size_counts_what_another_named_and_was_witnessed_before_the_closing() {
    let (world, merged) = World::whole_case();
    let witnessed_at = |seconds: Option<Time>| {
        let mut runs = world.everything();
        if let Some(at) = seconds {
            let mut note = (*runs[0].checkpoint).clone();
            let key = witness_key(&CITY.to_string(), 21);
            let seconds = u64::try_from(at.millis() / 1000).unwrap();
            note.add(sanku_tlog::checkpoint::cosign(&note, &key, seconds).unwrap());
            runs[0].checkpoint = std::sync::Arc::new(note);
        }
        let notes = notes();
        write(notes.iter().map(Vec::as_slice), &runs, &Covers::new(), &merged)
    };
    let closed_at = |size: u64| {
        let mut next = registry();
        let row = next.nodes.iter_mut().find(|row| row.code == code(THERE)).unwrap();
        row.logs[0].final_size = Some(size);
        row.logs[0].until = minute(10);
        signed(&name::registry(&federation()), days(1), &next, &publisher_key())
    };
    let check = |file: &str, size| verify(file.as_bytes(), fingerprint(), &[closed_at(size)], days(2));
    let closed = Fault::Run(RunError::NotTrusted("closed"));
    let whole = witnessed_at(None);
    assert!(check(&whole, 3).is_ok(), "below the final size: as ever");
    for size in 0..3 {
        assert_eq!(check(&whole, size).unwrap_err().fault, closed);
        // The asker's result names every answer: cosigned before the closing it carries them over.
        assert!(check(&witnessed_at(Some(minute(4))), size).is_ok());
        assert_eq!(check(&witnessed_at(Some(minute(11))), size).unwrap_err().fault, closed);
    }
}
