//! Batches: many questions in one request, each an ordinary question afterwards; mixed ends, resuming, two that ask the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sanku_exchange::{Asked, Case, ExchangeError, Line};
use sanku_federation_protocol::evidence;
use sanku_federation_protocol::names::{Outcome, Rule, StatementId};
use sanku_federation_protocol::problem::ProblemKind;
use sanku_testkit::{Fault, Federation, HEAD, Node, notes, outcome, plates};
use sanku_values::Clock;

const PROVINCE: u32 = 420_000;
const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [PROVINCE, CITY, HERE, THERE];

/// So many cases, each with a mandate of its own.
fn cases(federation: &Federation, count: usize) -> Vec<Case> {
    let case = |number: usize| {
        let mut case = federation.case();
        case["case"] = format!("沙市低保 2026-{number:04}").into();
        case["mandate"]["id"] = StatementId::generate(federation.clock.now()).to_string().into();
        // Many seals in a build that is not optimised: the time is no matter here.
        case["budget_ms"] = 60_000.into();
        Case::parse(case.to_string().as_bytes()).unwrap()
    };
    (0..count).map(case).collect()
}

/// What came of each case.
async fn ask(node: &Arc<Node>, cases: &[Case]) -> Vec<Line> {
    let lines = Mutex::new(vec![None; cases.len()]);
    node.ask_batch(cases.to_vec(), |place, line| {
        let before = lines.lock().unwrap()[place].replace(line);
        assert!(before.is_none(), "each is told once");
    })
    .await;
    let lines = lines.into_inner().unwrap();
    lines.into_iter().map(|line| line.unwrap()).collect()
}

fn all_asked(lines: Vec<Line>) -> Vec<Asked> {
    lines.into_iter().map(|line| line.unwrap()).collect()
}

/// How many questions of its own a node has logged.
async fn questions(node: &Node) -> usize {
    let size = node.store().checkpoint().await.unwrap().0.size;
    let entries = node.store().entries(0, size).await.unwrap();
    let is_query = |entry: &&Vec<u8>| String::from_utf8_lossy(entry).contains("\"kind\":\"query\"");
    entries.iter().filter(is_query).count()
}

#[tokio::test]
async fn many_questions_are_one_request_and_each_is_an_ordinary_question_afterwards() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let asked = all_asked(ask(federation.node(HERE), &cases(&federation, 40)).await);
    let ids: BTreeSet<_> = asked.iter().map(|asked| asked.id).collect();
    assert_eq!(ids.len(), 40);
    let mut over = federation.wires.asked();
    over.sort_unstable();
    assert_eq!(
        over,
        [(CITY, PROVINCE), (CITY, THERE), (HERE, CITY)],
        "one request a line"
    );
    // 40 × (two answers and an account) fit into one run.
    let runs = federation.wires.heard(CITY, THERE);
    assert_eq!(runs.iter().filter(|part| part.node().is_some()).count(), 1);
    for asked in &asked {
        assert!(asked.merged.complete && asked.again.is_none());
        assert_eq!(plates(asked, 0), [("鄂D1".to_owned(), vec![THERE])]);
    }
    let (runs, covers, merged) = federation.node(HERE).evidence(asked[37].id).await.unwrap();
    let notes_of_all = federation.notary.notes();
    let file = evidence::write(notes_of_all.iter().map(String::as_bytes), &runs, &covers, &merged);
    let report = evidence::verify(file.as_bytes(), notes::fingerprint(), &[], federation.clock.now()).unwrap();
    assert_eq!(report.query, asked[37].id);
    assert!(report.merged.complete && report.missing.is_empty());
    let others: Vec<_> = ids.iter().filter(|id| **id != asked[37].id).collect();
    assert!(
        others.iter().all(|id| !file.contains(&id.to_string())),
        "no other case stands in it"
    );
}

#[tokio::test]
async fn withdrawn_expired_and_dead_end_question_by_question() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let mut cases = cases(&federation, 9);
    let ended = federation.clock.now().minus(Duration::from_secs(1));
    cases[2].mandate.valid_until = ended;
    // One is withdrawn as the target knows, one as the relay knows.
    federation.remember_withdrawal(THERE, HERE, cases[4].mandate.id).await;
    federation.remember_withdrawal(CITY, HERE, cases[6].mandate.id).await;
    let lines = ask(federation.node(HERE), &cases).await;
    for (place, line) in lines.iter().enumerate() {
        match (place, line) {
            (2, Err(ExchangeError::Refused(Rule::MandateNotInForce))) => {}
            (4, Ok(asked)) => {
                assert_eq!(outcome(asked, THERE), Outcome::Refused);
                assert_eq!(outcome(asked, PROVINCE), Outcome::Answered);
            }
            (6, Ok(asked)) => {
                assert_eq!(outcome(asked, CITY), Outcome::Refused);
                assert_eq!(outcome(asked, THERE), Outcome::RefusedOnWay);
            }
            (_, Ok(asked)) => assert!(asked.merged.complete, "{place}"),
            (_, Err(error)) => panic!("{place}: {error}"),
        }
    }
    assert_eq!(
        questions(federation.node(HERE)).await,
        8,
        "what a rule forbids is not logged"
    );
    // The relay passed on what stands together without the one that it stopped.
    let on: Vec<_> = federation
        .wires
        .asked()
        .into_iter()
        .filter(|over| *over == (CITY, THERE))
        .collect();
    assert_eq!(on.len(), 2);
}

#[tokio::test]
async fn f01_a_dead_district_is_named_for_each_question_and_joins_when_it_is_back() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation.wires.spoil(CITY, THERE, Fault::Down);
    let cases = cases(&federation, 20);
    let first = all_asked(ask(federation.node(HERE), &cases).await);
    for asked in &first {
        assert!(!asked.merged.complete && asked.again.is_some());
        assert_eq!(outcome(asked, THERE), Outcome::Unreachable);
        assert_eq!(outcome(asked, PROVINCE), Outcome::Answered);
    }
    federation.wires.mend();
    federation.later(Duration::from_secs(60));
    // The same lines again: nothing is asked anew, what is missing comes.
    let second = all_asked(ask(federation.node(HERE), &cases).await);
    for (before, after) in first.iter().zip(&second) {
        assert_eq!(before.id, after.id);
        assert!(after.merged.complete);
        assert_eq!(plates(after, 0), [("鄂D1".to_owned(), vec![THERE])]);
    }
    assert_eq!(questions(federation.node(HERE)).await, 20);
    federation.wires.asked();
    let third = all_asked(ask(federation.node(HERE), &cases).await);
    assert!(third.iter().all(|asked| asked.merged.complete));
    assert_eq!(federation.wires.asked(), [], "of what is complete nobody is asked");
    assert_eq!(federation.node(HERE).queue_length().await.unwrap(), 0);
}

#[tokio::test]
async fn a_crash_in_the_middle_is_resumed_and_nothing_is_asked_twice() {
    let mut federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let cases = cases(&federation, 30);
    federation.wires.spoil(HERE, CITY, Fault::Hang);
    let node = Arc::clone(federation.node(HERE));
    // The process ends while its request is under way: 20 lines were asked, 10 were not.
    let cut = tokio::time::timeout(Duration::from_millis(500), ask(&node, &cases[..20])).await;
    assert!(cut.is_err());
    assert_eq!(questions(&node).await, 20);
    federation.restart(HERE).await.unwrap();
    federation.wires.mend();
    // What the dead process held runs out.
    federation.later(Duration::from_secs(120));
    let asked = all_asked(ask(federation.node(HERE), &cases).await);
    assert!(asked.iter().all(|asked| asked.merged.complete));
    assert_eq!(questions(federation.node(HERE)).await, 30);
    let ids: BTreeSet<_> = asked.iter().map(|asked| asked.id).collect();
    assert_eq!(ids.len(), 30);
}

#[tokio::test]
async fn two_that_ask_the_same_lines_at_once_ask_them_once() {
    let federation = Federation::of(&ALL).await;
    let mut cases = cases(&federation, 10);
    // A line that stands twice is one question.
    cases.push(cases[3].clone());
    let twin = federation.twin(HERE).await.unwrap();
    let (one, other) = tokio::join!(ask(federation.node(HERE), &cases), ask(&twin, &cases));
    let (one, other) = (all_asked(one), all_asked(other));
    assert_eq!(questions(federation.node(HERE)).await, 10);
    assert!(one.iter().zip(&other).all(|(one, other)| one.id == other.id));
    assert_eq!(one[3].id, one[10].id);
}

#[tokio::test]
async fn a_line_is_a_new_question_once_the_old_one_has_expired() {
    let federation = Federation::of(&ALL).await;
    let cases = cases(&federation, 2);
    let first = all_asked(ask(federation.node(HERE), &cases).await);
    federation.later(Duration::from_secs(11 * 24 * 3600));
    let second = all_asked(ask(federation.node(HERE), &cases).await);
    assert_ne!(first[0].id, second[0].id);
    assert!(second[0].merged.complete);
}

#[tokio::test]
async fn only_questions_that_go_the_same_way_are_asked_together() {
    let federation = Federation::of(&ALL).await;
    let mut cases = cases(&federation, 4);
    let codes = serde_json::json!({ "codes": ["421002", "421003"] });
    cases[1].scope = serde_json::from_value(codes).unwrap();
    let asked = all_asked(ask(federation.node(HERE), &cases).await);
    assert_eq!(asked[1].merged.outcomes.len(), 2);
    assert_eq!(asked[0].merged.outcomes.len(), 4);
    let to_city: Vec<_> = federation
        .wires
        .asked()
        .into_iter()
        .filter(|over| *over == (HERE, CITY))
        .collect();
    assert_eq!(to_city.len(), 2);
    // Persons' questions that stand side by side in a log are no batch.
    let store = federation.node(HERE).store();
    let like = federation.ask(HERE, federation.case()).await;
    let first = federation.forge(HERE, &like, |_, _| {}).await.first;
    federation.forge(HERE, &like, |_, _| {}).await;
    let run = store.run(first, 2).await.unwrap();
    let request = sanku_federation_protocol::stream::write_run(&run);
    let refused = federation.hand_in(HERE, CITY, request.as_bytes()).await;
    assert_eq!(refused.unwrap_err(), ProblemKind::Malformed);
}
