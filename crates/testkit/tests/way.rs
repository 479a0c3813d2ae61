//! The way of a question through four nodes: what comes back, and what every failure becomes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sanku_federation_protocol::merge::GapKind;
use sanku_federation_protocol::names::Outcome;
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::stream::write_run;
use sanku_testkit::{CHILD, Fault, Federation, HEAD, STRANGER, code, outcome, plates};
use sanku_values::Clock;

const PROVINCE: u32 = 420_000;
const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [PROVINCE, CITY, HERE, THERE];

#[tokio::test]
async fn one_household_is_looked_up_in_four_nodes() {
    let federation = Federation::of(&ALL).await;
    federation.hold(HERE, &HEAD, "鄂D1").await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation.hold(PROVINCE, &CHILD, "鄂D2").await;
    let asked = federation.ask(HERE, federation.case()).await;
    for node in ALL {
        assert_eq!(outcome(&asked, node), Outcome::Answered, "{node}");
    }
    assert!(asked.merged.complete);
    assert_eq!(plates(&asked, 0), [("鄂D1".to_owned(), vec![HERE, THERE])]);
    assert_eq!(plates(&asked, 1), [("鄂D2".to_owned(), vec![PROVINCE])]);
    assert_eq!(
        federation.wires.asked(),
        [(HERE, CITY), (CITY, PROVINCE), (CITY, THERE)],
        "each line is used once"
    );
}

#[tokio::test]
async fn a_leaf_says_its_answers_and_its_account_in_one_run() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let before = federation.log_size(THERE).await;
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Answered);
    let heard = federation.wires.heard(CITY, THERE);
    assert_eq!(heard.len(), 1, "one run, one proof");
    let entries = heard[0].0.lines().filter(|line| line.starts_with("E ")).count() as u64;
    assert_eq!(entries, federation.log_size(THERE).await - before);
    assert!(
        heard[0]
            .0
            .lines()
            .rfind(|line| line.starts_with("E "))
            .unwrap()
            .contains("\"kind\":\"account\"")
    );
    // Asked again, the same run comes: it ends with the account, and nothing new is logged.
    let (run, _) = federation.node(HERE).known(asked.id).await.unwrap();
    let size = federation.log_size(THERE).await;
    let again = federation
        .hand_in(CITY, THERE, write_run(&run).as_bytes())
        .await
        .unwrap();
    assert_eq!(federation.log_size(THERE).await, size);
    drop(again);
}

#[tokio::test]
async fn a_node_asks_itself_by_the_same_path() {
    let federation = Federation::of(&ALL).await;
    federation.hold(HERE, &HEAD, "鄂D1").await;
    let mut case = federation.case();
    case["scope"] = serde_json::json!({ "codes": [code(HERE)] });
    let asked = federation.ask(HERE, case).await;
    assert_eq!(asked.merged.outcomes.len(), 1);
    assert!(asked.merged.complete);
    assert_eq!(plates(&asked, 0), [("鄂D1".to_owned(), vec![HERE])]);
    assert!(federation.wires.asked().is_empty());
}

#[tokio::test]
async fn lineage_is_here_and_all_above_and_below() {
    let federation = Federation::of(&ALL).await;
    let mut case = federation.case();
    case["scope"] = "lineage".into();
    let asked = federation.ask(HERE, case.clone()).await;
    let targets: Vec<_> = asked.merged.outcomes.keys().map(|code| code.number()).collect();
    assert_eq!(targets, [PROVINCE, CITY, HERE]);
    let asked = federation.ask(CITY, case).await;
    assert_eq!(asked.merged.outcomes.len(), 4);
    assert!(asked.merged.complete);
}

#[tokio::test]
async fn a_number_known_under_another_name_lets_no_record_leave() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD.called("王五"), "鄂D9").await;
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Answered);
    assert!(plates(&asked, 0).is_empty());
    assert!(!asked.merged.complete);
    let gaps: Vec<_> = asked
        .merged
        .gaps
        .iter()
        .map(|gap| (gap.node.number(), gap.subject, gap.why.clone()))
        .collect();
    assert_eq!(gaps, [(THERE, 0, GapKind::NameMismatch)]);
}

#[tokio::test]
async fn what_a_peer_does_becomes_its_outcome() {
    let federation = Federation::of(&ALL).await;
    let faults = [
        (Fault::Down, Outcome::Unreachable),
        (Fault::Problem(ProblemKind::Unavailable), Outcome::Overloaded),
        (Fault::Problem(ProblemKind::TooMany), Outcome::Overloaded),
        (Fault::Problem(ProblemKind::Malformed), Outcome::PeerError),
        (Fault::Problem(ProblemKind::Clock), Outcome::PeerError),
        (Fault::Problem(ProblemKind::Conflict), Outcome::PeerError),
        (Fault::Problem(ProblemKind::Budget), Outcome::Late),
        (Fault::Problem(ProblemKind::Version), Outcome::Incompatible),
        (Fault::Problem(ProblemKind::NotOnPath), Outcome::NotOnPath),
        (Fault::Problem(ProblemKind::NotMember), Outcome::NotTrusted),
        (Fault::Problem(ProblemKind::PeerCertExpired), Outcome::NotTrusted),
        (Fault::CutAfter(0), Outcome::PeerError),
        (Fault::CutWithin(0), Outcome::PeerError),
    ];
    for (fault, expected) in faults {
        federation.wires.spoil(CITY, THERE, fault);
        let asked = federation.ask(HERE, federation.case()).await;
        assert_eq!(outcome(&asked, THERE), expected);
        assert_eq!(
            outcome(&asked, PROVINCE),
            Outcome::Answered,
            "the others are not touched"
        );
        assert!(!asked.merged.complete);
    }
}

#[tokio::test]
async fn what_lies_behind_a_failed_neighbour_failed_with_it() {
    let federation = Federation::of(&ALL).await;
    federation.wires.spoil(HERE, CITY, Fault::Down);
    let asked = federation.ask(HERE, federation.case()).await;
    for node in [PROVINCE, CITY, THERE] {
        assert_eq!(outcome(&asked, node), Outcome::Unreachable, "{node}");
    }
    assert_eq!(outcome(&asked, HERE), Outcome::Answered);
}

#[tokio::test]
async fn g6_a_hung_peer_costs_at_most_the_budget() {
    let federation = Federation::of(&ALL).await;
    federation.hold(PROVINCE, &HEAD, "鄂D1").await;
    federation.wires.spoil(CITY, THERE, Fault::Hang);
    let mut case = federation.case();
    case["budget_ms"] = 1000.into();
    let began = Instant::now();
    let asked = federation.ask(HERE, case).await;
    assert!(began.elapsed() < Duration::from_secs(2), "the deadline and one second");
    assert_eq!(outcome(&asked, THERE), Outcome::Late);
    assert_eq!(outcome(&asked, CITY), Outcome::Answered);
    assert_eq!(plates(&asked, 0).len(), 1, "all others answered");
}

#[tokio::test]
async fn g6_many_hung_peers_cost_no_more_than_one() {
    let many = [
        420_000, 421_000, 421_002, 421_003, 421_022, 421_024, 421_081, 421_083, 421_087,
    ];
    let federation = Federation::of(&many).await;
    for hung in &many[4..] {
        federation.wires.spoil(CITY, *hung, Fault::Hang);
    }
    let mut case = federation.case();
    case["budget_ms"] = 1000.into();
    let began = Instant::now();
    let asked = federation.ask(HERE, case).await;
    assert!(began.elapsed() < Duration::from_secs(2), "the deadline and one second");
    for (place, node) in many.into_iter().enumerate() {
        let expected = if place < 4 { Outcome::Answered } else { Outcome::Late };
        assert_eq!(outcome(&asked, node), expected, "{node}");
    }
}

#[tokio::test]
async fn a_waiting_response_shows_signs_of_life_and_a_lost_reader_cancels() {
    let federation = Federation::of(&ALL).await;
    let like = federation.ask(HERE, federation.case()).await;
    let run = federation.forge(HERE, &like, |_, _| ()).await;
    federation.wires.spoil(CITY, THERE, Fault::Hang);
    let city = federation.node(CITY);
    let handles = std::sync::Arc::strong_count(city);
    let hop = sanku_exchange::Hop {
        budget: Duration::from_secs(30),
        only: None,
        attempt: 1,
        traceparent: String::new(),
    };
    let request = write_run(&run).into_bytes();
    let mut lines = city.question(code(HERE), hop, request).await.unwrap();
    loop {
        let line = lines.recv().await.unwrap();
        if line.as_ref() == b"H \n" {
            break;
        }
        assert!(line.starts_with(b"C "), "whole runs or a heartbeat");
    }
    assert!(std::sync::Arc::strong_count(city) > handles, "it is still asked for");
    drop(lines);
    for _ in 0..100 {
        if std::sync::Arc::strong_count(city) == handles {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the work went on for nobody");
}

#[tokio::test]
async fn f03_a_late_answer_joins_when_it_is_asked_again() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation
        .wires
        .spoil(CITY, THERE, Fault::Slow(Duration::from_secs(60)));
    let mut case = federation.case();
    case["budget_ms"] = 500.into();
    let asked = federation.ask(HERE, case).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Late);
    assert!(plates(&asked, 0).is_empty());
    federation.wires.mend();
    federation.wires.asked();
    let again = federation.again(HERE, &asked).await;
    assert_eq!(again.id, asked.id);
    assert!(again.merged.complete);
    assert_eq!(plates(&again, 0), [("鄂D1".to_owned(), vec![THERE])]);
    assert_eq!(
        federation.wires.asked(),
        [(HERE, CITY), (CITY, THERE)],
        "only what is missing"
    );
}

#[tokio::test]
async fn f02_whole_runs_before_a_cut_count() {
    let federation = Federation::of(&ALL).await;
    federation.hold(CITY, &HEAD, "鄂D1").await;
    federation.wires.spoil(HERE, CITY, Fault::CutWithin(1));
    let asked = federation.ask(HERE, federation.case()).await;
    let ends: BTreeSet<_> = ALL.map(|node| outcome(&asked, node)).into();
    assert!(ends.contains(&Outcome::PeerError));
    let answered = ALL
        .into_iter()
        .filter(|node| outcome(&asked, *node) == Outcome::Answered);
    assert_eq!(answered.count(), 2, "this node and the one whole run");
    federation.wires.mend();
    let again = federation.again(HERE, &asked).await;
    assert!(again.merged.complete);
    assert_eq!(plates(&again, 0), [("鄂D1".to_owned(), vec![CITY])]);
}

#[tokio::test]
async fn a_changed_note_reaches_everybody_at_once() {
    let federation = Federation::of(&ALL).await;
    let later = federation.clock.now().plus(Duration::from_secs(1));
    let note = federation.notary.suspension_note(later, &[]);
    federation.node(THERE).take_notes(vec![note], None).await.unwrap();
    let digest = federation.node(THERE).trust().digest();
    for _ in 0..100 {
        if ALL.iter().all(|node| federation.node(*node).trust().digest() == digest) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the note did not arrive");
}

#[tokio::test]
async fn a_node_cut_off_catches_up_when_it_sees_another_digest() {
    let federation = Federation::of(&ALL).await;
    federation.wires.spoil(CITY, HERE, Fault::Down);
    let later = federation.clock.now().plus(Duration::from_secs(1));
    let note = federation.notary.registry_note(later);
    federation.node(CITY).take_notes(vec![note], None).await.unwrap();
    let digest = federation.node(CITY).trust().digest();
    assert_ne!(federation.node(HERE).trust().digest(), digest);
    federation.wires.mend();
    let asked = federation.ask(HERE, federation.case()).await;
    assert!(asked.merged.complete, "the replaced registry still counts for a day");
    for _ in 0..100 {
        if federation.node(HERE).trust().digest() == digest {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the notes were not fetched");
}

#[tokio::test]
async fn a_stranger_to_the_household_never_appears() {
    let federation = Federation::of(&ALL).await;
    let asked = federation.ask(HERE, federation.case()).await;
    assert!(asked.merged.complete);
    assert!(asked.merged.facts.is_empty(), "searched, found nothing");
    let bytes = String::from_utf8(asked.merged.bytes()).unwrap();
    assert!(!bytes.contains(STRANGER.number));
}

#[tokio::test]
async fn f42_a_neighbour_is_asked_if_it_reads_our_version_among_others_and_else_it_is_incompatible() {
    let federation = Federation::of(&ALL).await;
    let mut notary = sanku_testkit::notes::Notary::of(ALL.map(code));
    for (formats, expected) in [
        (vec![1, 2], Outcome::Answered),
        (vec![2], Outcome::Incompatible),
        (vec![0, 1], Outcome::Answered),
        (vec![0], Outcome::Incompatible),
    ] {
        let there = notary.registry.nodes.iter_mut().find(|row| row.code == code(THERE));
        there.unwrap().formats = formats;
        federation.later(Duration::from_secs(1));
        let note = notary.registry_note(federation.node(CITY).now());
        federation.node(CITY).take_notes(vec![note], None).await.unwrap();
        let before = federation.log_size(THERE).await;
        let asked = federation.ask(HERE, federation.case()).await;
        assert_eq!(outcome(&asked, THERE), expected);
        assert_eq!(outcome(&asked, PROVINCE), Outcome::Answered);
        let said = federation.log_size(THERE).await - before;
        assert_eq!(
            said > 0,
            expected == Outcome::Answered,
            "whoever is not asked says nothing"
        );
    }
}
