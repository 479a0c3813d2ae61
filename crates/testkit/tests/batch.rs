//! Batches: many questions in one request, each an ordinary question afterwards; mixed ends, resuming, two that ask the same.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sanku_exchange::network::Hop;
use sanku_exchange::{Asked, Case, ExchangeError, Line, Policy};
use sanku_federation_protocol::body::{Body, QueryBody, Subject};
use sanku_federation_protocol::entry::{Draft, QueryEntry, Said};
use sanku_federation_protocol::evidence;
use sanku_federation_protocol::names::{Outcome, Priority, Rule, ScopeLabel, StatementId};
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::stream::{Event, Reader, write_run};
use sanku_store::{Call, Effect, Later, Pace, Part, StoreError, Urgency, key_name};
use sanku_testkit::time::TrueTime;
use sanku_testkit::{Fault, Federation, HEAD, Node, Part as Piece, code, detail, morning, notes, outcome, plates};
use sanku_values::{Clock, Date, IdentityNumber};
use tokio::sync::Notify;

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

/// Valid numbers (GB 11643) that belong to nobody.
fn people(count: u32) -> Vec<IdentityNumber> {
    let number = |order: u32| {
        let text = format!("11010519491231{order:03}");
        let weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
        let digits = text.bytes().map(|digit| u32::from(digit - b'0'));
        let sum: u32 = digits.zip(weights).map(|(digit, weight)| digit * weight).sum();
        let check = char::from(b"10X98765432"[(sum % 11) as usize]);
        IdentityNumber::parse(&format!("{text}{check}"), Date::new(2026, 9, 1).unwrap()).unwrap()
    };
    (0..count).map(number).collect()
}

/// So many questions in one run, each about so many people of the city alone.
async fn large_questions(federation: &Federation, count: usize, subjects: u32) -> Vec<u8> {
    let like = federation.ask(HERE, federation.case()).await;
    let node = federation.node(HERE);
    let statement = node.known(like.id).await.unwrap().0.statements[0].clone();
    let Said::Query(entry) = statement.entry.said.clone() else {
        panic!("a question");
    };
    let body: QueryBody = statement.body_as().unwrap();
    let people = people(subjects);
    let subject = |number: &IdentityNumber| Subject {
        number: number.clone(),
        ..body.subjects[0].clone()
    };
    let origin = node.store().origin().clone();
    let part = |_| {
        let id = StatementId::generate(federation.clock.now());
        let mut body = body.clone();
        body.subjects = people.iter().map(subject).collect();
        body.mandate.subjects.clone_from(&people);
        let entry = QueryEntry {
            subjects,
            scope: ScopeLabel::Codes,
            targets: Some(vec![code(CITY)]),
            priority: Priority::Batch,
            ..entry.clone()
        };
        let said = Effect::Said {
            origin: origin.clone(),
            id,
            leaf: None,
            expires: entry.expires,
        };
        let draft = Draft {
            id,
            said: Said::Query(entry),
            body: body.line().unwrap(),
        };
        Part {
            key_name: key_name(&origin, id),
            drafts: vec![draft],
            effects: vec![said],
        }
    };
    let said = node.store().say((0..count).map(part).collect(), Urgency::Batch).await;
    write_run(&said.unwrap().run).into_bytes()
}

#[tokio::test]
async fn a_reader_that_takes_its_time_holds_back_ten_thousand_answers() {
    let federation = Federation::of(&ALL).await;
    let request = large_questions(&federation, 41, 249).await;
    let before = federation.log_size(CITY).await;
    let hop = Hop {
        budget: Duration::from_secs(120),
        only: None,
        attempt: 1,
        traceparent: String::new(),
    };
    let mut lines = federation.node(CITY).question(code(HERE), hop, request).await.unwrap();
    // Nothing is read until the node stands still.
    let (mut size, until) = (before, Instant::now() + Duration::from_secs(8));
    loop {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let now = federation.log_size(CITY).await;
        if (now == size && now > before) || Instant::now() > until {
            break;
        }
        size = now;
    }
    // Four runs and four lines wait, one is being sent, one handed over, one written.
    let held = federation.log_size(CITY).await - before;
    assert!(held <= 11 * 250, "{held} statements wait for their reader");
    let mut answers = 0;
    while let Some(bytes) = lines.recv().await {
        answers += String::from_utf8_lossy(&bytes).matches("\"kind\":\"answer\"").count();
    }
    assert_eq!(answers, 41 * 249);
}

/// One call of a database, the so-manieth from now, waits until it is let through.
#[derive(Debug, Default)]
struct Gate {
    ahead: Mutex<Option<usize>>,
    reached: Notify,
    open: Notify,
}

struct Through;

impl Call for Through {
    fn end(self: Box<Self>) -> Later<Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

#[derive(Debug)]
struct Behind(Arc<Gate>);

impl Pace for Behind {
    fn begin(&self) -> Later<Result<Box<dyn Call>, StoreError>> {
        let gate = Arc::clone(&self.0);
        Box::pin(async move {
            let is_it = {
                let mut ahead = gate.ahead.lock().unwrap();
                let is_it = *ahead == Some(0);
                *ahead = ahead.filter(|_| !is_it).map(|ahead| ahead - 1);
                is_it
            };
            if is_it {
                gate.reached.notify_one();
                gate.open.notified().await;
            }
            Ok(Box::new(Through) as Box<dyn Call>)
        })
    }
}

#[tokio::test]
async fn a_withdrawal_at_any_moment_of_a_batch_stops_its_question_alone() {
    let gate = Arc::new(Gate::default());
    let of_target = Arc::clone(&gate);
    let paces = move |node, _: &Arc<_>| {
        (node == code(THERE)).then(|| Arc::new(Behind(Arc::clone(&of_target))) as Arc<dyn Pace>)
    };
    let federation = Federation::under(
        &ALL,
        |_| Policy::default(),
        |_| "sqlite::memory:".to_owned(),
        TrueTime::at(morning()),
        Box::new(paces),
    )
    .await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let (mut refused, mut answered) = (0, 0);
    for ahead in 0.. {
        let cases = cases(&federation, 5);
        *gate.ahead.lock().unwrap() = Some(ahead);
        let mandate = cases[2].mandate.id;
        let asking = ask(federation.node(HERE), &cases);
        let withdrawing = async {
            let reached = tokio::time::timeout(Duration::from_secs(5), gate.reached.notified()).await;
            if reached.is_err() {
                return false;
            }
            let withdrawn = federation.remember_withdrawal(THERE, HERE, mandate);
            tokio::pin!(withdrawn);
            // Where the log itself is being written the withdrawal waits behind it.
            let early = tokio::time::timeout(Duration::from_millis(200), &mut withdrawn).await;
            gate.open.notify_one();
            if early.is_err() {
                withdrawn.await;
            }
            true
        };
        let (lines, reached) = tokio::join!(asking, withdrawing);
        *gate.ahead.lock().unwrap() = None;
        if !reached {
            // There are not so many calls.
            break;
        }
        for (place, asked) in all_asked(lines).into_iter().enumerate() {
            match outcome(&asked, THERE) {
                Outcome::Refused if place == 2 => refused += 1,
                Outcome::Answered => {
                    answered += usize::from(place == 2);
                    assert_eq!(plates(&asked, 0), [("鄂D1".to_owned(), vec![THERE])]);
                }
                other => panic!("{ahead} {place}: {other}"),
            }
        }
        // Nothing is disclosed after the entry that says so.
        let store = federation.node(THERE).store();
        let size = store.checkpoint().await.unwrap().0.size;
        let entries = store.entries(0, size).await.unwrap();
        let is = |entry: &Vec<u8>, kind: &str| String::from_utf8_lossy(entry).contains(&format!("\"kind\":\"{kind}\""));
        let act = entries.iter().rposition(|entry| is(entry, "act")).unwrap();
        let after = entries[act..].iter().filter(|entry| is(entry, "answer")).count();
        assert!(
            after <= 8,
            "{ahead}: {after} answers after it, of four questions about two people"
        );
    }
    assert!(
        refused > 0 && answered > 0,
        "{refused} times before the answer, {answered} times after it"
    );
}

#[tokio::test]
async fn a_relay_that_drops_one_subject_or_one_question_of_a_run_is_found_out() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let trust = federation.node(CITY).trust();
    // Cut anew with proofs of its own, which a relay can: without the third question, and without a subject of the fifth.
    federation.wires.tamper(HERE, CITY, move |pieces| {
        let mut all = Vec::new();
        for piece in pieces {
            let mut reader = Reader::new();
            reader.push(piece.0.as_bytes());
            match reader.next_event() {
                Ok(Some(Event::Run(run))) if run.origin.node == code(THERE) => {
                    for (place, (_, part)) in run.verify(&*trust).unwrap().by_question().into_iter().enumerate() {
                        let kept = match place {
                            2 => Vec::new(),
                            4 => part.cut_into(&[(0, 1), (2, 1)]).unwrap(),
                            _ => vec![part],
                        };
                        all.extend(kept.iter().map(|run| Piece(write_run(run))));
                    }
                }
                _ => all.push(piece),
            }
        }
        all
    });
    let asked = all_asked(ask(federation.node(HERE), &cases(&federation, 6)).await);
    for (place, asked) in asked.iter().enumerate() {
        if [2, 4].contains(&place) {
            assert!(!asked.merged.complete, "{place}");
            assert_eq!(outcome(asked, THERE), Outcome::Omitted, "{place}");
            assert!(
                detail(asked, THERE).contains("421000"),
                "{place}: {}",
                detail(asked, THERE)
            );
        } else {
            assert!(asked.merged.complete, "{place}");
        }
        assert_eq!(outcome(asked, PROVINCE), Outcome::Answered);
    }
}
