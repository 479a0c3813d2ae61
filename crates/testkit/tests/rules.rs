//! The rules: who may ask for what, on which mandate, when; and what a withdrawal does.

use std::time::Duration;

use sanku_exchange::ExchangeError;
use sanku_exchange::authorise::Policy;
use sanku_federation_protocol::names::{Outcome, Rule, StatementId};
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::stream::write_run;
use sanku_testkit::{Fault, Federation, HEAD, code, detail, morning, outcome};
use sanku_values::Clock;

const PROVINCE: u32 = 420_000;
const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [PROVINCE, CITY, HERE, THERE];

#[tokio::test]
async fn a_refusal_names_its_rule_and_passes_the_question_on() {
    let nobody = || Policy {
        subordinate: Vec::new(),
        ..Policy::default()
    };
    let policy = |node| if node == CITY { nobody() } else { Policy::default() };
    let federation = Federation::with_policies(&ALL, policy).await;
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, CITY), Outcome::Refused);
    assert_eq!(detail(&asked, CITY), "relation");
    assert_eq!(outcome(&asked, THERE), Outcome::Answered);
    assert_eq!(outcome(&asked, PROVINCE), Outcome::Answered);
}

#[tokio::test]
async fn an_unknown_purpose_is_refused() {
    let closed = || Policy {
        own: Vec::new(),
        superior: Vec::new(),
        subordinate: Vec::new(),
        other: Vec::new(),
        ..Policy::default()
    };
    let policy = |node| if node == THERE { closed() } else { Policy::default() };
    let federation = Federation::with_policies(&ALL, policy).await;
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Refused);
    assert_eq!(detail(&asked, THERE), "purpose");
}

#[tokio::test]
async fn the_asker_checks_itself_first_and_logs_nothing() {
    let federation = Federation::of(&ALL).await;
    let before = federation.log_size(HERE).await;
    let broken = [
        ("/approver/staff_number", serde_json::json!("1001"), Rule::SamePerson),
        ("/mandate/purpose", "review".into(), Rule::MandateNotInForce),
        (
            "/mandate/subjects",
            serde_json::json!([HEAD.number]),
            Rule::MandateSubject,
        ),
        (
            "/mandate/categories",
            serde_json::json!(["pension"]),
            Rule::MandateCategory,
        ),
        (
            "/mandate/valid_until",
            serde_json::json!(morning().minus(Duration::from_secs(1))),
            Rule::MandateNotInForce,
        ),
    ];
    for (place, value, rule) in broken {
        let mut case = federation.case();
        *case.pointer_mut(place).unwrap() = value;
        let refused = federation.try_ask(HERE, case).await.unwrap_err();
        assert!(
            matches!(refused, ExchangeError::Refused(found) if found == rule),
            "{rule}"
        );
    }
    assert_eq!(federation.log_size(HERE).await, before);
    assert!(federation.wires.asked().is_empty());
}

#[tokio::test]
async fn s11_a_relay_stops_what_the_asker_should_have_stopped() {
    let federation = Federation::of(&ALL).await;
    let like = federation.ask(HERE, federation.case()).await;
    federation.wires.asked();
    let forged = [
        (
            federation
                .forge(HERE, &like, |_, body| body.approver.staff_number = "1001".to_owned())
                .await,
            "same_person",
        ),
        (
            federation
                .forge(HERE, &like, |_, body| body.mandate.subjects.truncate(1))
                .await,
            "mandate_subject",
        ),
        (
            federation
                .forge(HERE, &like, |_, body| {
                    body.mandate.categories = vec!["pension".parse().unwrap()];
                })
                .await,
            "mandate_category",
        ),
        (
            federation
                .forge(HERE, &like, |_, body| {
                    body.mandate.valid_until = morning().minus(Duration::from_secs(9));
                })
                .await,
            "mandate_not_in_force",
        ),
        (
            federation
                .forge(HERE, &like, |entry, _| {
                    entry.expires = morning().minus(Duration::from_secs(9))
                })
                .await,
            "expired",
        ),
        (
            federation
                .forge(HERE, &like, |entry, _| entry.registry.digest = entry.case)
                .await,
            "registry",
        ),
    ];
    for (run, rule) in forged {
        let response = federation
            .hand_in(HERE, CITY, write_run(&run).as_bytes())
            .await
            .unwrap();
        let text: String = response.iter().map(|part| part.0.as_str()).collect();
        assert!(text.contains(&format!("\"rule\":\"{rule}\"")), "{rule}");
        assert!(!text.contains("\"kind\":\"answer\""), "{rule}");
        assert!(federation.wires.asked().is_empty(), "{rule}: it goes no further");
    }
}

#[tokio::test]
async fn a_relay_that_refuses_is_named_by_all_behind_it() {
    let federation = Federation::of(&ALL).await;
    let case = federation.case();
    let mandate: StatementId = case["mandate"]["id"].as_str().unwrap().parse().unwrap();
    // Only the relay knows of the withdrawal, as if the asker was restored from a backup.
    federation.remember_withdrawal(CITY, HERE, mandate).await;
    let asked = federation.ask(HERE, case).await;
    assert_eq!(outcome(&asked, CITY), Outcome::Refused);
    assert_eq!(detail(&asked, CITY), "mandate_withdrawn");
    for node in [PROVINCE, THERE] {
        assert_eq!(outcome(&asked, node), Outcome::RefusedOnWay, "{node}");
        assert_eq!(detail(&asked, node), "421000 mandate_withdrawn");
    }
    assert_eq!(federation.wires.asked(), [(HERE, CITY)], "it goes no further");
}

#[tokio::test]
async fn after_a_withdrawal_not_even_stored_answers_are_sent() {
    let federation = Federation::of(&ALL).await;
    let case = federation.case();
    let mandate: StatementId = case["mandate"]["id"].as_str().unwrap().parse().unwrap();
    let asked = federation.ask(HERE, case).await;
    federation.remember_withdrawal(CITY, HERE, mandate).await;
    let (run, _) = federation.node(HERE).known(asked.id).await.unwrap();
    let response = federation.hand_in(HERE, CITY, write_run(&run).as_bytes()).await;
    let response = response.unwrap();
    assert!(
        response
            .iter()
            .any(|part| part.0.contains("\"rule\":\"mandate_withdrawn\""))
    );
    assert!(!response.iter().any(|part| part.says("answer")));
}

#[tokio::test]
async fn a_withdrawal_reaches_every_target_and_is_obeyed() {
    let federation = Federation::of(&ALL).await;
    let case = federation.case();
    let mandate: StatementId = case["mandate"]["id"].as_str().unwrap().parse().unwrap();
    federation.ask(HERE, case.clone()).await;
    let told = federation
        .node(HERE)
        .withdraw(mandate, "家庭撤回授权", Duration::from_secs(2))
        .await
        .unwrap();
    assert_eq!(told.len(), 4);
    assert!(
        told.iter().all(|(_, outcome)| *outcome == Outcome::Answered),
        "{told:?}"
    );
    for node in ALL {
        let store = federation.node(node).store();
        let now = federation.clock.now();
        assert!(store.is_withdrawn(code(HERE), mandate, now).await.unwrap(), "{node}");
        assert!(
            !store.is_withdrawn(code(THERE), mandate, now).await.unwrap(),
            "it binds questions of the same node only"
        );
    }
    let refused = federation.try_ask(HERE, case).await.unwrap_err();
    assert!(matches!(refused, ExchangeError::Refused(Rule::MandateWithdrawn)));
    let unknown = federation
        .node(HERE)
        .withdraw(StatementId::generate(morning()), "test", Duration::from_secs(1))
        .await
        .unwrap_err();
    assert!(matches!(unknown, ExchangeError::NoSuchMandate));
}

#[tokio::test]
async fn a_withdrawal_binds_a_relay_before_it_waits_for_others() {
    let federation = Federation::of(&ALL).await;
    let case = federation.case();
    let mandate: StatementId = case["mandate"]["id"].as_str().unwrap().parse().unwrap();
    federation.ask(HERE, case).await;
    federation.wires.spoil(CITY, THERE, Fault::Hang);
    let store = federation.node(CITY).store();
    let watch = async {
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if store
                .is_withdrawn(code(HERE), mandate, federation.clock.now())
                .await
                .unwrap()
            {
                return true;
            }
        }
        false
    };
    let withdraw = federation.node(HERE).withdraw(mandate, "test", Duration::from_secs(3));
    let (told, bound) = tokio::join!(withdraw, watch);
    assert!(bound, "within a second, while the district hangs");
    let ends: Vec<_> = told
        .unwrap()
        .into_iter()
        .map(|(node, end)| (node.number(), end))
        .collect();
    assert!(ends.contains(&(CITY, Outcome::Answered)));
    assert!(ends.contains(&(THERE, Outcome::Pending)), "it has not acknowledged");
}

#[tokio::test]
async fn what_expired_long_ago_is_a_problem_of_clocks() {
    let federation = Federation::of(&ALL).await;
    let asked = federation.ask(HERE, federation.case()).await;
    let (run, _) = federation.node(HERE).known(asked.id).await.unwrap();
    federation.clock.advance(Duration::from_secs(10 * 24 * 3600 + 20 * 60));
    let problem = federation.hand_in(HERE, CITY, write_run(&run).as_bytes()).await;
    assert_eq!(problem.unwrap_err(), ProblemKind::Clock);
}

#[tokio::test]
async fn what_was_answered_stays_answered_when_its_mandate_runs_out() {
    let federation = Federation::of(&ALL).await;
    let mut case = federation.case();
    case["mandate"]["valid_until"] = serde_json::json!(morning().plus(Duration::from_secs(3600)));
    let asked = federation.ask(HERE, case).await;
    let (run, _) = federation.node(HERE).known(asked.id).await.unwrap();
    federation.clock.advance(Duration::from_secs(2 * 3600));
    let response = federation
        .hand_in(HERE, CITY, write_run(&run).as_bytes())
        .await
        .unwrap();
    assert!(response.iter().any(|part| part.says("answer")));
    assert!(!response.iter().any(|part| part.says("refusal")));
}

#[tokio::test]
async fn codes_that_are_no_node_and_suspended_nodes_are_said() {
    let federation = Federation::of(&ALL).await;
    let later = federation.clock.now().plus(Duration::from_secs(1));
    let note = federation.notary.suspension_note(later, &[code(THERE)]);
    federation.node(HERE).take_notes(vec![note], None).await.unwrap();
    let mut case = federation.case();
    case["scope"] = serde_json::json!({ "codes": [code(THERE), code(421_087)] });
    let asked = federation.ask(HERE, case).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Suspended);
    assert_eq!(outcome(&asked, 421_087), Outcome::UnknownNode);
    assert!(!asked.merged.complete);
}

#[tokio::test]
async fn a_suspended_node_is_not_answered() {
    let federation = Federation::of(&ALL).await;
    let like = federation.ask(HERE, federation.case()).await;
    let run = federation.forge(HERE, &like, |_, _| ()).await;
    let later = federation.clock.now().plus(Duration::from_secs(1));
    let note = federation.notary.suspension_note(later, &[code(HERE)]);
    federation.node(CITY).take_notes(vec![note], None).await.unwrap();
    let problem = federation.hand_in(HERE, CITY, write_run(&run).as_bytes()).await;
    assert_eq!(problem.unwrap_err(), ProblemKind::Suspended);
}

#[tokio::test]
async fn a_clock_ahead_is_a_problem_and_no_statement() {
    let federation = Federation::of(&ALL).await;
    let like = federation.ask(HERE, federation.case()).await;
    federation.clock.advance(Duration::from_secs(16 * 60));
    let run = federation.forge(HERE, &like, |_, _| ()).await;
    federation.clock.set(morning());
    let problem = federation.hand_in(HERE, CITY, write_run(&run).as_bytes()).await;
    assert_eq!(problem.unwrap_err(), ProblemKind::Clock);
}
