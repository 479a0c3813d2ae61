//! Late answers: what did not answer is asked again by itself, joins with a result that names the one it supersedes, and
//! nothing is asked when there is nothing left to ask.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::sync::Arc;
use std::time::Duration;

use sanku_federation_protocol::body::ResultBody;
use sanku_federation_protocol::entry::Said;
use sanku_federation_protocol::names::{Outcome, StatementId};
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::stream::write_run;
use sanku_testkit::{Fault, Federation, HEAD, code, outcome, plates};
use sanku_tlog::Hash;
use sanku_values::Clock;

const PROVINCE: u32 = 420_000;
const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [PROVINCE, CITY, HERE, THERE];

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A question's results in order: leaf hash, what it supersedes.
async fn results(federation: &Federation, id: StatementId) -> Vec<(Hash, Option<Hash>)> {
    let store = federation.node(HERE).store();
    let said = store.said(store.origin(), id).await.unwrap();
    let statements = said.iter().flat_map(|run| &run.statements);
    statements
        .filter(|statement| matches!(statement.entry.said, Said::Result(_)))
        .map(|statement| (statement.leaf, statement.body_as::<ResultBody>().unwrap().supersedes))
        .collect()
}

/// The mandate of a case.
fn mandate(case: &serde_json::Value) -> StatementId {
    case["mandate"]["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn f01_f03_a_late_answer_joins_by_itself_and_its_result_names_the_one_it_supersedes() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation.wires.spoil(CITY, THERE, Fault::Down);
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Unreachable);
    let again = asked.again.unwrap();
    assert!(again > federation.clock.now() && again <= federation.clock.now().plus(Duration::from_secs(5)));
    assert_eq!(federation.node(HERE).queue_length().await.unwrap(), 1);
    assert_eq!(
        federation.node(HERE).ask_due().await.unwrap(),
        0,
        "nothing before its time"
    );

    federation.wires.mend();
    federation.wires.asked();
    federation.later(Duration::from_secs(5));
    assert_eq!(federation.node(HERE).ask_due().await.unwrap(), 1);
    let known = federation.node(HERE).known_now(asked.id).await.unwrap();
    assert!(known.merged.complete);
    assert_eq!(plates(&known, 0), [("鄂D1".to_owned(), vec![THERE])]);
    assert_eq!(
        federation.wires.asked(),
        [(HERE, CITY), (CITY, THERE)],
        "only what was missing"
    );
    let results = results(&federation, asked.id).await;
    assert_eq!(results.len(), 2);
    assert_eq!((results[0].1, results[1].1), (None, Some(results[0].0)));

    assert_eq!(
        (known.again, federation.node(HERE).queue_length().await.unwrap()),
        (None, 0)
    );
    federation.later(DAY);
    assert_eq!(federation.node(HERE).ask_due().await.unwrap(), 0);
    assert!(
        federation.wires.asked().is_empty(),
        "nothing is asked after it is complete"
    );
}

#[tokio::test]
async fn what_goes_on_failing_is_asked_with_longer_waits_and_fills_no_log() {
    let federation = Federation::of(&ALL).await;
    federation
        .wires
        .spoil(HERE, CITY, Fault::Problem(ProblemKind::Unavailable));
    let asked = federation.ask(HERE, federation.case()).await;
    let size = federation.log_size(HERE).await;
    let mut waits = Vec::new();
    for _ in 0..4 {
        let due = federation.node(HERE).store().due(asked.id).await.unwrap().unwrap();
        let wait = due.since(federation.clock.now());
        waits.push(wait);
        federation.later(wait);
        assert_eq!(federation.node(HERE).ask_due().await.unwrap(), 1);
    }
    for (wait, whole) in waits.iter().zip([5, 10, 20, 40]) {
        let whole = Duration::from_secs(whole);
        assert!(*wait >= whole / 2 && *wait <= whole, "{waits:?}");
    }
    assert_eq!(federation.log_size(HERE).await, size, "the same again is no news");
    assert_eq!(results(&federation, asked.id).await.len(), 1);
    let passed = federation.wires.passed();
    let attempts: Vec<_> = passed.iter().map(|passed| passed.hop.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5], "each attempt is counted");
    let others: Vec<_> = [PROVINCE, CITY, THERE].map(code).to_vec();
    assert!(
        passed[1..]
            .iter()
            .all(|passed| passed.hop.only.as_ref() == Some(&others))
    );
    assert_eq!(passed[0].hop.only, None);
}

#[tokio::test]
async fn g3_a_process_that_dies_while_it_asks_leaves_a_question_that_the_next_one_asks() {
    let mut federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation.wires.spoil(CITY, THERE, Fault::Hang);
    let case = sanku_exchange::Case::parse(federation.case().to_string().as_bytes()).unwrap();
    let node = Arc::clone(federation.node(HERE));
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let sender = std::sync::Mutex::new(Some(sender));
    let asking = tokio::spawn(async move {
        let progress = |step| {
            if let sanku_exchange::Progress::Asked(id, _) = step {
                let _ = sender.lock().unwrap().take().map(|sender| sender.send(id));
            }
        };
        node.ask(case, progress).await
    });
    let id = receiver.await.unwrap();
    asking.abort();
    let _ = asking.await;
    federation.restart(HERE).await.unwrap();
    federation.wires.mend();
    assert_eq!(
        federation.node(HERE).ask_due().await.unwrap(),
        0,
        "its lease has not run out"
    );
    federation.later(Duration::from_secs(15));
    assert_eq!(federation.node(HERE).ask_due().await.unwrap(), 1);
    let known = federation.node(HERE).known_now(id).await.unwrap();
    assert!(known.merged.complete);
    assert_eq!(plates(&known, 0), [("鄂D1".to_owned(), vec![THERE])]);
}

#[tokio::test]
async fn of_two_processes_one_asks() {
    let federation = Federation::of(&ALL).await;
    federation.wires.spoil(CITY, THERE, Fault::Down);
    for _ in 0..4 {
        federation.ask(HERE, federation.case()).await;
    }
    federation.wires.mend();
    federation.wires.asked();
    federation.later(Duration::from_secs(5));
    let (one, other) = (Arc::clone(federation.node(HERE)), federation.twin(HERE).await.unwrap());
    let (first, second) = tokio::join!(one.ask_due(), other.ask_due());
    assert_eq!(first.unwrap() + second.unwrap(), 4);
    let asked = federation.wires.asked();
    assert_eq!(
        asked.iter().filter(|line| **line == (CITY, THERE)).count(),
        4,
        "each once"
    );
    assert_eq!(one.queue_length().await.unwrap(), 0);
}

#[tokio::test]
async fn nothing_is_asked_after_it_expired_and_only_its_own_cases_are_remembered() {
    let federation = Federation::of(&ALL).await;
    federation.wires.spoil(CITY, THERE, Fault::Down);
    let mut case = federation.case();
    case["expires_days"] = 1.into();
    let asked = federation.ask(HERE, case).await;
    let origin = federation.node(HERE).store().origin().clone();
    federation.wires.mend();
    federation.wires.asked();
    federation.later(DAY);
    assert_eq!(federation.node(HERE).ask_due().await.unwrap(), 0);
    let by_hand = federation.again(HERE, &asked).await;
    assert_eq!(outcome(&by_hand, THERE), Outcome::Unreachable);
    assert!(federation.wires.asked().is_empty());

    for (minutes, forgotten) in [(14, 0), (2, 1)] {
        federation.later(Duration::from_secs(minutes * 60));
        let now = federation.clock.now();
        assert_eq!(federation.node(CITY).store().forget(now).await.unwrap(), forgotten);
        assert_eq!(federation.node(HERE).store().forget(now).await.unwrap(), 0);
    }
    assert_eq!(
        federation.node(CITY).store().question(&origin, asked.id).await.unwrap(),
        None
    );
    assert_eq!(federation.node(HERE).queue_length().await.unwrap(), 0);
    let (runs, _, merged) = federation.node(HERE).evidence(asked.id).await.unwrap();
    let own = runs.iter().filter(|run| run.origin == origin).count();
    assert!(own >= 3 && runs.len() - own >= 2, "the asker's evidence stays");
    assert_eq!(merged.digest(), asked.merged.digest());
    federation.log_size(CITY).await;
}

#[tokio::test]
async fn whoever_follows_a_question_sees_each_change_and_its_end() {
    let federation = Federation::of(&ALL).await;
    federation.wires.spoil(CITY, THERE, Fault::Down);
    federation.wires.spoil(CITY, PROVINCE, Fault::Down);
    let asked = federation.ask(HERE, federation.case()).await;
    let node = Arc::clone(federation.node(HERE));
    let following = tokio::spawn(async move {
        let mut seen = Vec::new();
        node.follow(asked.id, |asked| {
            seen.push([PROVINCE, THERE].map(|node| outcome(asked, node)));
            true
        })
        .await
        .unwrap();
        seen
    });
    for mended in [PROVINCE, THERE] {
        // Whoever listens sees the step before.
        tokio::time::sleep(Duration::from_millis(300)).await;
        federation.wires.mend();
        if mended == PROVINCE {
            federation.wires.spoil(CITY, THERE, Fault::Down);
        }
        federation.later(Duration::from_secs(60));
        assert_eq!(federation.node(HERE).ask_due().await.unwrap(), 1);
    }
    let seen = tokio::time::timeout(Duration::from_secs(5), following)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        seen,
        [
            [Outcome::Unreachable, Outcome::Unreachable],
            [Outcome::Answered, Outcome::Unreachable],
            [Outcome::Answered, Outcome::Answered],
        ]
    );
}

#[tokio::test]
async fn a_withdrawal_goes_on_until_every_target_acknowledged_and_binds_where_it_arrives_first() {
    let mut federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation.wires.spoil(CITY, THERE, Fault::Down);
    let case = federation.case();
    let mandate = mandate(&case);
    let asked = federation.ask(HERE, case).await;
    let told = federation
        .node(HERE)
        .withdraw(mandate, "test", Duration::from_secs(2))
        .await
        .unwrap();
    let open: Vec<_> = told.iter().filter(|(_, end)| *end != Outcome::Answered).collect();
    assert_eq!(open, [&(code(THERE), Outcome::Pending)]);
    assert_eq!(
        federation.node(HERE).queue_length().await.unwrap(),
        1,
        "the withdrawal alone: its question is asked no more"
    );

    federation.restart(HERE).await.unwrap();
    federation.wires.mend();
    federation.wires.asked();
    federation.later(Duration::from_secs(5));
    assert_eq!(federation.node(HERE).ask_due().await.unwrap(), 1);
    assert_eq!(
        federation.wires.asked(),
        [(HERE, CITY), (CITY, THERE)],
        "whoever did not acknowledge"
    );
    assert_eq!(federation.node(HERE).queue_length().await.unwrap(), 0);
    let now = federation.clock.now();
    assert!(
        federation
            .node(THERE)
            .store()
            .is_withdrawn(code(HERE), mandate, now)
            .await
            .unwrap()
    );
    // It never saw the question, and answers none that rests on this mandate.
    let run = federation.forge(HERE, &asked, |_, _| ()).await;
    let response = federation
        .hand_in(CITY, THERE, write_run(&run).as_bytes())
        .await
        .unwrap();
    assert!(
        response
            .iter()
            .any(|part| part.0.contains("\"rule\":\"mandate_withdrawn\""))
    );
    assert!(!response.iter().any(|part| part.says("answer")));

    // Done again: nobody is told who acknowledged.
    let told = federation
        .node(HERE)
        .withdraw(mandate, "test", Duration::from_secs(2))
        .await
        .unwrap();
    assert!(told.iter().all(|(_, end)| *end == Outcome::Answered));
    assert!(federation.wires.asked().is_empty());
    // After the mandate's end there is nothing to remember.
    federation.later(21 * DAY);
    let store = federation.node(THERE).store();
    store.forget(federation.clock.now()).await.unwrap();
    assert!(!store.is_withdrawn(code(HERE), mandate, now).await.unwrap());
}

#[tokio::test]
async fn a_withdrawal_stops_the_queue_even_if_nobody_hears_of_it() {
    let federation = Federation::of(&ALL).await;
    federation.wires.spoil(HERE, CITY, Fault::Down);
    let case = federation.case();
    let mandate = mandate(&case);
    let asked = federation.ask(HERE, case).await;
    let told = federation
        .node(HERE)
        .withdraw(mandate, "test", Duration::from_secs(2))
        .await
        .unwrap();
    assert_eq!(told.iter().filter(|(_, end)| *end == Outcome::Pending).count(), 3);
    assert_eq!(federation.node(HERE).store().due(asked.id).await.unwrap(), None);
    federation.later(HOUR);
    federation.wires.mend();
    assert_eq!(federation.node(HERE).ask_due().await.unwrap(), 1);
    let known = federation.node(HERE).known_now(asked.id).await.unwrap();
    assert_eq!(outcome(&known, CITY), Outcome::Unreachable, "nobody was asked under it");
    let refused = federation.again(HERE, &asked).await;
    assert_ne!(outcome(&refused, CITY), Outcome::Answered);
    assert_eq!(federation.node(HERE).queue_length().await.unwrap(), 0);
}

#[tokio::test]
async fn s20_other_bytes_that_another_process_took_in_meanwhile_are_a_conflict() {
    let federation = Federation::of(&ALL).await;
    let like = federation.ask(HERE, federation.case()).await;
    let run = federation.forge(HERE, &like, |_, _| ()).await;
    let statement = run.statements.first().unwrap();
    let mut body: sanku_federation_protocol::body::QueryBody = statement.body_as().unwrap();
    body.requester = "另一个部门".to_owned();
    let draft = sanku_federation_protocol::entry::Draft {
        id: statement.entry.id,
        said: statement.entry.said.clone(),
        body: sanku_federation_protocol::body::Body::line(&body).unwrap(),
    };
    let store = federation.node(HERE).store();
    let other = store
        .append("acts".to_owned(), vec![draft], Vec::new())
        .await
        .unwrap()
        .run;
    let hop = sanku_exchange::Hop {
        budget: Duration::from_secs(5),
        only: None,
        attempt: 1,
        traceparent: String::new(),
    };
    let twin = federation.twin(CITY).await.unwrap();
    let (one, two) = tokio::join!(
        federation
            .node(CITY)
            .question(code(HERE), hop.clone(), write_run(&run).into_bytes()),
        twin.question(code(HERE), hop, write_run(&other).into_bytes()),
    );
    let kinds: Vec<_> = [one.map(drop), two.map(drop)]
        .into_iter()
        .filter_map(Result::err)
        .map(|problem| problem.known())
        .collect();
    assert_eq!(
        kinds,
        [ProblemKind::Conflict],
        "a problem with its own status, before anything was said"
    );
}

#[tokio::test]
async fn g05_a_question_that_two_processes_search_at_once_is_disclosed_once() {
    let federation = Federation::of(&ALL).await;
    let like = federation.ask(HERE, federation.case()).await;
    let run = federation.forge(HERE, &like, |_, _| ()).await;
    let twin = federation.twin(CITY).await.unwrap();
    let hop = || sanku_exchange::Hop {
        budget: Duration::from_secs(5),
        only: None,
        attempt: 1,
        traceparent: String::new(),
    };
    let bytes = write_run(&run).into_bytes();
    let all = |lines: Result<sanku_exchange::Lines, _>| async move {
        let (mut lines, mut text) = (lines.unwrap(), String::new());
        while let Some(line) = lines.recv().await {
            text.push_str(std::str::from_utf8(&line).unwrap());
        }
        text
    };
    let (one, two) = tokio::join!(
        async { all(federation.node(CITY).question(code(HERE), hop(), bytes.clone()).await).await },
        async { all(twin.question(code(HERE), hop(), bytes.clone()).await).await },
    );
    let origin = &run.origin;
    let id = run.statements.first().unwrap().entry.id;
    let said = federation.node(CITY).store().said(origin, id).await.unwrap();
    let statements = said.iter().flat_map(|run| &run.statements);
    let mut answers = std::collections::BTreeMap::new();
    for statement in statements {
        if let Said::Answer(answer) = &statement.entry.said {
            let line = String::from_utf8(statement.line.to_vec()).unwrap();
            let before = answers.insert(answer.subject, line);
            assert_eq!(before, None, "{} is disclosed twice", answer.subject);
        }
    }
    assert_eq!(answers.len(), 2, "one answer for each subject");
    let both_say = |line: &String| one.contains(line) && two.contains(line);
    assert!(answers.values().all(both_say));
}
