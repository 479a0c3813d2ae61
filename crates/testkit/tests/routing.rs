//! Routing: every pair of nodes in a tree with gaps and directly governed counties has its one path; nothing goes round.

use std::collections::BTreeSet;

use sanku_federation_protocol::names::Outcome;
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::stream::write_run;
use sanku_testkit::{Fault, Federation, HEAD, code, outcome, plates};

/// Two cities, one without its own node (its district hangs under the province), a county that the province governs directly.
const TREE: [u32; 7] = [420_000, 420_100, 420_102, 421_002, 429_004, 421_300, 421_303];

#[tokio::test]
async fn every_pair_of_nodes_has_its_one_path() {
    let federation = Federation::of(&TREE).await;
    for holder in TREE {
        federation.hold(holder, &HEAD, &format!("鄂X{holder}")).await;
    }
    for asker in TREE {
        for target in TREE {
            let mut case = federation.case();
            case["scope"] = serde_json::json!({ "codes": [code(target)] });
            federation.wires.asked();
            let asked = federation.ask(asker, case).await;
            assert_eq!(outcome(&asked, target), Outcome::Answered, "{asker} {target}");
            assert!(asked.merged.complete, "{asker} {target}");
            assert_eq!(plates(&asked, 0), [(format!("鄂X{target}"), vec![target])]);
            let trust = federation.node(asker).trust();
            let path = trust.registry().unwrap().2.path(code(asker), code(target)).unwrap();
            let lines: Vec<_> = path
                .windows(2)
                .map(|pair| (pair[0].number(), pair[1].number()))
                .collect();
            assert_eq!(federation.wires.asked(), lines, "the path and nothing else");
        }
    }
}

#[tokio::test]
async fn a_question_to_all_uses_each_line_once() {
    let federation = Federation::of(&TREE).await;
    for asker in TREE {
        federation.wires.asked();
        let asked = federation.ask(asker, federation.case()).await;
        assert!(asked.merged.complete, "{asker}");
        let lines = federation.wires.asked();
        assert_eq!(
            lines.len(),
            TREE.len() - 1,
            "{asker}: a tree has one line less than nodes"
        );
        assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len());
    }
}

#[tokio::test]
async fn f33_a_question_off_its_path_or_played_back_is_refused() {
    let federation = Federation::of(&TREE).await;
    let like = federation.ask(420_102, federation.case()).await;
    let question = federation.forge(420_102, &like, |_, _| ()).await;
    let request = write_run(&question);
    federation.wires.asked();
    let before = federation.log_size(429_004).await;
    let off_path = [
        // A sibling, a neighbour on the far side, and one that is no neighbour at all.
        (429_004, 420_000),
        (421_300, 420_000),
        (420_102, 429_004),
        (421_303, 421_300),
        // Played back to the asker itself by its own relay.
        (420_100, 420_102),
    ];
    for (from, to) in off_path {
        let problem = federation.hand_in(from, to, request.as_bytes()).await;
        assert_eq!(problem.unwrap_err(), ProblemKind::NotOnPath, "{from} {to}");
    }
    assert!(federation.wires.asked().is_empty(), "it never goes round");
    assert_eq!(federation.log_size(429_004).await, before, "and nothing was said");
    let answered = federation.hand_in(420_100, 420_000, request.as_bytes()).await.unwrap();
    assert!(!answered.is_empty(), "on its path it is answered");
}

#[tokio::test]
async fn routing_follows_the_registry_that_the_question_names() {
    let mut federation = Federation::of(&TREE).await;
    // A city's node joins below the province and above its district; the asker has not heard of it.
    federation.notary.registry.nodes.retain(|row| row.code != code(420_100));
    let later = sanku_values::Clock::now(&*federation.clock).plus(std::time::Duration::from_secs(1));
    let note = federation.notary.registry_note(later);
    federation.wires.spoil(420_000, 420_100, Fault::Down);
    federation.wires.spoil(420_000, 420_102, Fault::Down);
    federation.wires.spoil(420_100, 420_102, Fault::Down);
    federation.node(420_000).take_notes(vec![note], None).await.unwrap();
    federation.wires.mend();
    let asked = federation.ask(420_102, federation.case()).await;
    let ends: Vec<_> = TREE.map(|node| outcome(&asked, node)).into();
    assert!(
        ends.iter()
            .all(|end| !matches!(end, Outcome::Omitted | Outcome::Pending)),
        "every target is accounted for: {ends:?}"
    );
    assert_eq!(outcome(&asked, 420_102), Outcome::Answered);
}
