//! The promises that the exchange keeps, by their numbers.

use std::collections::BTreeSet;
use std::time::Duration;

use sanku_federation_protocol::entry::{Entry, Said};
use sanku_federation_protocol::names::Outcome;
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::stream::write_run;
use sanku_testkit::network::nodes_of;
use sanku_testkit::{CHILD, Fault, Federation, HEAD, Part, code, outcome, plates};

const PROVINCE: u32 = 420_000;
const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [PROVINCE, CITY, HERE, THERE];

#[tokio::test]
async fn g1_every_target_ends_with_exactly_one_outcome_whatever_fails() {
    let federation = Federation::of(&ALL).await;
    let lines = [(HERE, CITY), (CITY, PROVINCE), (CITY, THERE)];
    let faults = || {
        [
            None,
            Some(Fault::Down),
            Some(Fault::CutAfter(0)),
            Some(Fault::Problem(ProblemKind::Unavailable)),
        ]
    };
    for first in faults() {
        for second in faults() {
            for third in faults() {
                federation.wires.mend();
                let mut broken = 0;
                for ((from, to), fault) in lines.into_iter().zip([first.clone(), second.clone(), third]) {
                    if let Some(fault) = fault {
                        federation.wires.spoil(from, to, fault);
                        broken += 1;
                    }
                }
                let asked = federation.ask(HERE, federation.case()).await;
                let targets: Vec<_> = asked.merged.outcomes.keys().map(|code| code.number()).collect();
                assert_eq!(targets, ALL);
                let answered = ALL.iter().all(|node| outcome(&asked, *node) == Outcome::Answered);
                assert_eq!(answered, broken == 0);
                assert_eq!(asked.merged.complete, broken == 0, "missing never looks like nothing");
            }
        }
    }
}

#[tokio::test]
async fn g2_nothing_misaddressed_is_merged() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation.ask(HERE, federation.case()).await;
    let theirs: Vec<_> = federation.wires.heard(HERE, CITY);
    assert_eq!(nodes_of(&theirs), BTreeSet::from([PROVINCE, CITY, THERE]));
    // Another question gets exactly the first one's response, and not a word of its own.
    federation.wires.tamper(HERE, CITY, move |_| theirs.clone());
    let asked = federation.ask(HERE, federation.case()).await;
    assert!(asked.merged.facts.is_empty());
    for node in [PROVINCE, CITY, THERE] {
        assert_ne!(outcome(&asked, node), Outcome::Answered, "{node}");
    }
}

#[tokio::test]
async fn g4_every_disclosure_stands_in_both_logs() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let asked = federation.ask(HERE, federation.case()).await;
    let size = federation.log_size(THERE).await;
    let lines = federation.node(THERE).store().entries(0, size).await.unwrap();
    let answers: BTreeSet<_> = lines
        .iter()
        .filter(|line| matches!(Entry::parse(line).unwrap().said, Said::Answer(_)))
        .map(|line| sanku_tlog::leaf_hash(line))
        .collect();
    assert_eq!(answers.len(), 2, "one for each subject");
    let used: BTreeSet<_> = asked
        .merged
        .facts
        .iter()
        .flat_map(|fact| &fact.rows)
        .flat_map(|row| &row.sources)
        .map(|source| source.statement)
        .collect();
    assert!(used.is_subset(&answers));
    let own = federation.log_size(HERE).await;
    let own = federation.node(HERE).store().entries(0, own).await.unwrap();
    let kinds: Vec<_> = own.iter().map(|line| Entry::parse(line).unwrap().said).collect();
    assert!(kinds.iter().any(|said| matches!(said, Said::Query(_))));
    assert!(
        kinds
            .iter()
            .any(|said| matches!(said, Said::Result(result) if result.complete))
    );
    for line in lines.iter().chain(&own) {
        let text = String::from_utf8_lossy(line);
        assert!(
            !text.contains(HEAD.number) && !text.contains(HEAD.name),
            "entries hold no personal data"
        );
    }
}

#[tokio::test]
async fn g5_f12_the_same_question_again_discloses_once() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let asked = federation.ask(HERE, federation.case()).await;
    let (run, _) = federation.node(HERE).known(asked.id).await.unwrap();
    let request = write_run(&run);
    let before = federation.log_size(THERE).await;
    let first = federation.hand_in(CITY, THERE, request.as_bytes()).await.unwrap();
    // A newer import is not looked at: the stored statements are sent.
    federation.hold(THERE, &HEAD, "鄂D2").await;
    let second = federation.hand_in(CITY, THERE, request.as_bytes()).await.unwrap();
    assert_eq!(
        federation.log_size(THERE).await,
        before + 1,
        "the import's own act and no disclosure"
    );
    let entries = |parts: &[Part]| -> Vec<String> {
        let lines = parts.iter().flat_map(|part| part.0.lines());
        lines.filter(|line| line.starts_with("E ")).map(str::to_owned).collect()
    };
    assert_eq!(entries(&first), entries(&second));
    assert!(!entries(&first).is_empty());
}

#[tokio::test]
async fn g5_a_repeat_during_the_first_search_joins_it() {
    let federation = Federation::of(&ALL).await;
    let like = federation.ask(HERE, federation.case()).await;
    let run = federation.forge(HERE, &like, |_, _| ()).await;
    let request = write_run(&run);
    let before = federation.log_size(THERE).await;
    let ask = || federation.hand_in(CITY, THERE, request.as_bytes());
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    for response in [one, two, three] {
        assert!(response.unwrap().iter().any(|part| part.says("answer")));
    }
    let size = federation.log_size(THERE).await;
    let lines = federation
        .node(THERE)
        .store()
        .entries(before, size - before)
        .await
        .unwrap();
    let answers = lines
        .iter()
        .filter(|line| matches!(Entry::parse(line).unwrap().said, Said::Answer(_)))
        .count();
    assert_eq!(answers, 2, "one disclosure for each subject");
}

#[tokio::test]
async fn s20_other_bytes_under_a_used_id_are_refused() {
    let federation = Federation::of(&ALL).await;
    let asked = federation.ask(HERE, federation.case()).await;
    let (run, _) = federation.node(HERE).known(asked.id).await.unwrap();
    let store = federation.node(HERE).store();
    let statement = run.statements.first().unwrap();
    let mut body: sanku_federation_protocol::body::QueryBody = statement.body_as().unwrap();
    body.requester = "另一个部门".to_owned();
    let draft = sanku_federation_protocol::entry::Draft {
        id: asked.id,
        said: statement.entry.said.clone(),
        body: sanku_federation_protocol::body::Body::line(&body).unwrap(),
    };
    let other = store
        .append("acts".to_owned(), vec![draft], Vec::new())
        .await
        .unwrap()
        .run;
    let problem = federation.hand_in(HERE, CITY, write_run(&other).as_bytes()).await;
    assert_eq!(problem.unwrap_err(), ProblemKind::Conflict);
}

#[tokio::test]
async fn g6_a_response_has_room_for_so_many_statements_and_no_more() {
    let federation = Federation::of(&ALL).await;
    federation.wires.tamper(HERE, CITY, |parts| {
        let all = parts.iter().cycle().take(parts.len() * 20).cloned();
        all.collect()
    });
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(
        outcome(&asked, CITY),
        Outcome::Answered,
        "its statements hold, whatever else it sends"
    );
    assert_eq!(asked.merged.outcomes.len(), 4);
}

#[tokio::test]
async fn f01_a_node_that_is_down_is_said_and_asked_again_by_hand() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &CHILD, "鄂D1").await;
    federation.wires.spoil(CITY, THERE, Fault::Down);
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Unreachable);
    assert!(!asked.merged.complete);
    federation.wires.mend();
    let again = federation.again(HERE, &asked).await;
    assert!(again.merged.complete);
    assert_eq!(plates(&again, 1), [("鄂D1".to_owned(), vec![THERE])]);
    let third = federation.again(HERE, &again).await;
    assert_eq!(
        third.merged.bytes(),
        again.merged.bytes(),
        "asking again changes no byte"
    );
}

#[tokio::test]
async fn an_account_that_says_the_same_is_not_logged_again() {
    let federation = Federation::of(&ALL).await;
    let asked = federation.ask(HERE, federation.case()).await;
    let (run, _) = federation.node(HERE).known(asked.id).await.unwrap();
    let sizes = [federation.log_size(CITY).await, federation.log_size(PROVINCE).await];
    federation.clock.advance(Duration::from_secs(60));
    federation
        .hand_in(HERE, CITY, write_run(&run).as_bytes())
        .await
        .unwrap();
    assert_eq!(
        sizes,
        [federation.log_size(CITY).await, federation.log_size(PROVINCE).await]
    );
}

#[tokio::test]
async fn answers_to_the_asker_itself_are_open_and_to_relays_sealed() {
    let federation = Federation::of(&ALL).await;
    federation.ask(HERE, federation.case()).await;
    let city: Vec<_> = federation.wires.heard(HERE, CITY);
    let own = city
        .iter()
        .find(|part| part.node() == Some(code(CITY)) && part.says("answer"));
    assert!(own.unwrap().0.contains("\nB "), "its neighbour is the asker");
    let relayed = city
        .iter()
        .find(|part| part.node() == Some(code(THERE)) && part.says("answer"));
    let relayed = relayed.unwrap();
    assert!(relayed.0.contains("\nS "));
    let before = federation.wires.heard(CITY, THERE);
    let sealed = |part: &Part| part.0.lines().find(|line| line.starts_with("S ")).map(str::to_owned);
    assert!(
        before.iter().any(|part| sealed(part) == sealed(relayed)),
        "passed on untouched"
    );
}
