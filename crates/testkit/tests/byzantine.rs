//! A byzantine relay: whatever it does to what it passes on is detected, and has the right outcome.

use sanku_exchange::Hop;
use sanku_federation_protocol::names::Outcome;
use sanku_federation_protocol::stream::write_run;
use sanku_testkit::{Fault, Federation, HEAD, Part, code, detail, outcome, plates};

const PROVINCE: u32 = 420_000;
const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [PROVINCE, CITY, HERE, THERE];

async fn world() -> Federation {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation.hold(PROVINCE, &HEAD, "鄂D2").await;
    federation
}

fn of(part: &Part, node: u32) -> bool {
    part.node() == Some(code(node))
}

#[tokio::test]
async fn a_dropped_target_is_omitted_and_its_relay_named() {
    let federation = world().await;
    federation.wires.tamper(HERE, CITY, |parts| {
        parts.into_iter().filter(|part| !of(part, THERE)).collect()
    });
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Omitted);
    assert!(detail(&asked, THERE).contains("421000"), "{}", detail(&asked, THERE));
    assert_eq!(outcome(&asked, PROVINCE), Outcome::Answered);
    assert!(!asked.merged.complete);
    assert_eq!(plates(&asked, 0), [("鄂D2".to_owned(), vec![PROVINCE])]);
}

#[tokio::test]
async fn swapped_bodies_are_found_out() {
    let federation = world().await;
    federation.wires.tamper(HERE, CITY, |parts| {
        let bodies = |part: &Part| -> Vec<String> {
            let lines = part.0.lines().filter(|line| line.starts_with("S "));
            lines.map(str::to_owned).collect()
        };
        let answers = |node| parts.iter().find(|part| of(part, node) && part.says("answer")).cloned();
        let (there, province) = (answers(THERE).unwrap(), answers(PROVINCE).unwrap());
        let give = |part: &Part, from: &Part| {
            let mine = bodies(part);
            let mut text = part.0.clone();
            for (mine, other) in mine.iter().zip(bodies(from)) {
                text = text.replace(mine.as_str(), &other);
            }
            Part(text)
        };
        parts
            .iter()
            .map(|part| match part {
                part if *part == there => give(part, &province),
                part if *part == province => give(part, &there),
                part => part.clone(),
            })
            .collect()
    });
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::BadProof);
    assert_eq!(outcome(&asked, PROVINCE), Outcome::BadProof);
    assert!(asked.merged.facts.is_empty(), "nothing of them is merged");
}

#[tokio::test]
async fn f13_an_old_answer_is_bound_to_another_question() {
    let federation = world().await;
    federation.ask(HERE, federation.case()).await;
    let old: Vec<_> = federation.wires.heard(HERE, CITY);
    let old: Vec<_> = old.into_iter().filter(|part| of(part, THERE)).collect();
    assert!(!old.is_empty());
    federation.wires.tamper(HERE, CITY, move |parts| {
        let others = parts.into_iter().filter(|part| !of(part, THERE));
        old.iter().cloned().chain(others).collect()
    });
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::BadProof);
    assert_eq!(plates(&asked, 0), [("鄂D2".to_owned(), vec![PROVINCE])]);
}

#[tokio::test]
async fn edited_headers_leave_a_trace() {
    let federation = world().await;
    // The relay tells the district that only somebody else is missing.
    let change = |hop: Hop| Hop {
        only: Some(vec![code(PROVINCE)]),
        ..hop
    };
    federation
        .wires
        .spoil(CITY, THERE, Fault::Hop(std::sync::Arc::new(change)));
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Omitted);
    assert!(detail(&asked, THERE).contains("421000"));
    assert!(!asked.merged.complete);
    federation.wires.mend();
    let again = federation.again(HERE, &asked).await;
    assert!(again.merged.complete, "asked rightly, it answers");
}

#[tokio::test]
async fn a_cut_stream_keeps_whole_runs_and_hides_nobody() {
    let federation = world().await;
    for count in 0..6 {
        // Past its breaker's longest wait: each is asked, though the one before failed.
        federation.later(std::time::Duration::from_secs(70));
        federation.wires.spoil(HERE, CITY, Fault::CutAfter(count));
        let asked = federation.ask(HERE, federation.case()).await;
        for node in [PROVINCE, CITY, THERE] {
            let end = outcome(&asked, node);
            assert!(
                matches!(end, Outcome::Answered | Outcome::PeerError),
                "{count} {node} {end}"
            );
        }
        assert_eq!(outcome(&asked, HERE), Outcome::Answered);
    }
}

#[tokio::test]
async fn a_relay_cannot_read_a_sealed_answer_nor_open_one() {
    let federation = world().await;
    let asked = federation.ask(HERE, federation.case()).await;
    let passed: String = federation
        .wires
        .heard(CITY, THERE)
        .into_iter()
        .map(|part| part.0)
        .collect();
    assert!(passed.contains("\nS ") && !passed.contains("鄂D1"));
    // Even the true text, from behind a relay, is not taken open.
    let store = federation.node(THERE).store();
    let origin = federation.node(HERE).store().origin().clone();
    let open: String = store
        .said(&origin, asked.id)
        .await
        .unwrap()
        .iter()
        .map(write_run)
        .collect();
    assert!(open.contains("鄂D1"));
    let fresh = world().await;
    let first = fresh.ask(HERE, fresh.case()).await;
    let origin = fresh.node(HERE).store().origin().clone();
    let said = fresh.node(THERE).store().said(&origin, first.id).await.unwrap();
    let open: Vec<_> = said.iter().map(|run| Part(write_run(run))).collect();
    assert!(open.iter().any(|part| part.0.contains("鄂D1")));
    let case = fresh.case();
    fresh.wires.tamper(HERE, CITY, move |parts| {
        let others = parts.into_iter().filter(|part| !of(part, THERE));
        open.iter().cloned().chain(others).collect()
    });
    let tampered = fresh.ask(HERE, case).await;
    assert_eq!(outcome(&tampered, THERE), Outcome::BadProof);
}

#[tokio::test]
async fn an_open_body_from_behind_a_relay_is_not_taken() {
    let federation = world().await;
    federation.wires.spoil(HERE, CITY, Fault::CutAfter(0));
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::PeerError);
    // The very answers to this very question, true and proven, but open.
    let origin = federation.node(HERE).store().origin().clone();
    let said = federation.node(THERE).store().said(&origin, asked.id).await.unwrap();
    let open: Vec<_> = said.iter().map(|run| Part(write_run(run))).collect();
    assert!(open.iter().any(|part| part.0.contains("鄂D1")));
    federation.wires.tamper(HERE, CITY, move |parts| {
        let others = parts
            .into_iter()
            .filter(|part| !of(part, THERE) || !part.says("answer"));
        open.iter()
            .filter(|part| part.says("answer"))
            .cloned()
            .chain(others)
            .collect()
    });
    let again = federation.again(HERE, &asked).await;
    assert_eq!(outcome(&again, THERE), Outcome::BadProof);
    assert_eq!(plates(&again, 0), [("鄂D2".to_owned(), vec![PROVINCE])]);
}

#[tokio::test]
async fn f15_a_relay_that_answers_for_another_is_found_out() {
    let federation = world().await;
    federation.wires.tamper(HERE, CITY, |parts| {
        let mine = parts.iter().find(|part| of(part, CITY) && part.says("answer")).unwrap();
        let forged = Part(mine.0.replace("node/421000/1", "node/421003/1"));
        let others = parts.iter().filter(|part| !of(part, THERE)).cloned();
        std::iter::once(forged).chain(others).collect()
    });
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::BadProof);
    assert_eq!(outcome(&asked, CITY), Outcome::Answered);
    assert_eq!(plates(&asked, 0), [("鄂D2".to_owned(), vec![PROVINCE])]);
}

#[tokio::test]
async fn a_valid_answer_outranks_a_relay_that_says_unreachable() {
    let federation = world().await;
    federation.wires.spoil(CITY, THERE, Fault::Down);
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Unreachable);
    let old = federation.wires.heard(HERE, CITY);
    let old: Vec<_> = old
        .into_iter()
        .filter(|part| of(part, CITY) && part.says("account"))
        .collect();
    federation.wires.mend();
    // The relay passes the answer on and still shows the account that calls its sender unreachable.
    federation.wires.tamper(HERE, CITY, move |parts| {
        let others = parts
            .into_iter()
            .filter(|part| !(of(part, CITY) && part.says("account")));
        others.chain(old.iter().cloned()).collect()
    });
    let again = federation.again(HERE, &asked).await;
    assert_eq!(outcome(&again, THERE), Outcome::Answered);
    assert!(plates(&again, 0).contains(&("鄂D1".to_owned(), vec![THERE])));
}

#[tokio::test]
async fn f14_no_flipped_byte_of_an_answer_passes() {
    let federation = world().await;
    let honest = federation.ask(HERE, federation.case()).await;
    assert!(honest.merged.complete);
    for place in (0..4000).step_by(97) {
        federation.wires.tamper(HERE, CITY, move |parts| {
            let flip = |part: Part| {
                if !(of(&part, THERE) && part.says("answer")) {
                    return part;
                }
                let mut bytes = part.0.into_bytes();
                let place = place % bytes.len();
                bytes[place] = if bytes[place] == b'1' { b'2' } else { b'1' };
                Part(String::from_utf8_lossy(&bytes).into_owned())
            };
            parts.into_iter().map(flip).collect()
        });
        let asked = federation.ask(HERE, federation.case()).await;
        let told_by_there = plates(&asked, 0).iter().any(|(_, nodes)| nodes.contains(&THERE));
        assert!(!told_by_there, "a changed byte at {place} was merged");
        assert_ne!(outcome(&asked, THERE), Outcome::Answered, "{place}");
    }
}
