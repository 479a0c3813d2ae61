use proptest::prelude::*;

use super::*;
use crate::body::Rejected;
use crate::fixture::*;
use crate::names::{Rule, Status};

fn ends(world: &World) -> BTreeMap<DivisionCode, TargetOutcome> {
    world.merged().1.outcomes
}

fn end(world: &World, of: u32) -> (Outcome, String) {
    let end = ends(world)[&code(of)].clone();
    (end.outcome, end.detail)
}

/// HERE and CITY answered; CITY says this of the province and of THERE.
fn city_says(province: Outcome, there: Outcome) -> World {
    let mut world = World::new();
    world.ask();
    for of in [HERE, CITY] {
        world.answer(of, minute(1), 0, nothing());
        world.answer(of, minute(1), 1, nothing());
    }
    world.account(CITY, minute(1), &[(PROVINCE, province), (THERE, there)]);
    world.account(HERE, minute(2), &[(CITY, Outcome::Answered)]);
    world
}

#[test]
fn g1_every_target_ends_once_and_a_whole_case_is_complete() {
    let (world, merged) = World::whole_case();
    assert_eq!(ends(&world).into_keys().collect::<Vec<_>>(), EVERYBODY.map(code));
    assert!(merged.complete);
    assert!(merged.outcomes.values().all(|end| end.outcome == Outcome::Answered));
}

#[test]
fn before_anything_is_heard_everybody_is_pending() {
    let mut world = World::new();
    world.ask();
    assert!(EVERYBODY.into_iter().all(|of| end(&world, of).0 == Outcome::Pending));
}

#[test]
fn what_a_relay_observed_is_its_neighbours_end() {
    let world = city_says(Outcome::Late, Outcome::Unreachable);
    assert_eq!(end(&world, PROVINCE), (Outcome::Late, PROVINCE.to_string()));
    assert_eq!(end(&world, THERE), (Outcome::Unreachable, THERE.to_string()));
    assert!(!world.merged().1.complete);
}

#[test]
fn what_lies_behind_a_failed_neighbour_failed_with_it() {
    let mut world = World::new();
    world.ask();
    world.account(HERE, minute(2), &[(CITY, Outcome::Overloaded)]);
    assert_eq!(end(&world, PROVINCE), (Outcome::Overloaded, CITY.to_string()));
    assert_eq!(end(&world, THERE), (Outcome::Overloaded, CITY.to_string()));
}

#[test]
fn a_relay_that_drops_a_target_is_named() {
    let mut world = city_says(Outcome::Answered, Outcome::Late);
    assert_eq!(end(&world, PROVINCE), (Outcome::Omitted, format!("{CITY} {PROVINCE}")));
    world.account(CITY, minute(3), &[(THERE, Outcome::Late)]);
    assert_eq!(end(&world, PROVINCE), (Outcome::Omitted, CITY.to_string()));
}

#[test]
fn a_valid_statement_outranks_any_observation() {
    let mut world = city_says(Outcome::Unreachable, Outcome::Unreachable);
    world.answer(THERE, minute(1), 0, nothing());
    assert_eq!(end(&world, THERE).0, Outcome::Unreachable);
    world.answer(THERE, minute(1), 1, nothing());
    assert_eq!(end(&world, THERE).0, Outcome::Answered);
    world.refuse(PROVINCE, minute(1), Rule::Relation);
    assert_eq!(end(&world, PROVINCE), (Outcome::Refused, "relation".to_owned()));
}

#[test]
fn of_a_refusal_and_a_set_of_answers_the_later_counts_and_answers_stay_merged() {
    let mut world = city_says(Outcome::Answered, Outcome::Answered);
    world.answer(THERE, minute(1), 0, found(&[job("棉纺厂", "全职")]));
    world.answer(THERE, minute(1), 1, nothing());
    world.refuse(THERE, minute(2), Rule::MandateWithdrawn);
    assert_eq!(end(&world, THERE).0, Outcome::Refused);
    assert_eq!(world.merged().1.facts.len(), 1);
    world.answer(THERE, minute(3), 1, nothing());
    assert_eq!(end(&world, THERE).0, Outcome::Answered);
}

#[test]
fn refused_on_way_counts_only_beside_the_relays_refusal() {
    let mut world = city_says(Outcome::RefusedOnWay, Outcome::RefusedOnWay);
    assert_eq!(end(&world, PROVINCE).0, Outcome::Omitted);
    world.refuse(CITY, minute(1), Rule::Expired);
    assert_eq!(
        end(&world, PROVINCE),
        (Outcome::RefusedOnWay, format!("{CITY} expired"))
    );
}

#[test]
fn a_relay_cannot_make_an_answer_by_rejecting_one() {
    let mut world = city_says(Outcome::Answered, Outcome::Answered);
    let rejected = |outcome| {
        vec![Rejected {
            node: code(THERE),
            outcome,
            why: "proof".parse().unwrap(),
        }]
    };
    world.account_with(
        CITY,
        minute(2),
        &[(PROVINCE, Outcome::Late)],
        rejected(Outcome::Answered),
    );
    assert_eq!(end(&world, THERE), (Outcome::Omitted, CITY.to_string()));
    world.account_with(
        CITY,
        minute(3),
        &[(PROVINCE, Outcome::Late)],
        rejected(Outcome::BadProof),
    );
    assert_eq!(end(&world, THERE), (Outcome::BadProof, format!("{CITY} proof")));
}

#[test]
fn suspended_and_pending_are_no_relays_to_say() {
    for word in [
        Outcome::Suspended,
        Outcome::UnknownNode,
        Outcome::Pending,
        Outcome::Omitted,
    ] {
        assert_eq!(
            end(&city_says(word, Outcome::Late), PROVINCE),
            (Outcome::Omitted, CITY.to_string())
        );
    }
    let known = city_says(Outcome::Late, Outcome::Late).merged().0;
    let (_, _, tree) = trust_of(&notes())
        .registry()
        .map(|(a, b, c)| (a, b.clone(), c.clone()))
        .unwrap();
    let ends = outcomes(code(HERE), &tree, &[code(PROVINCE)].into(), &known);
    assert_eq!(ends[&code(PROVINCE)].outcome, Outcome::Suspended);
    let mut stranger = known;
    stranger.targets.insert(code(429_004));
    assert_eq!(
        outcomes(code(HERE), &tree, &[].into(), &stranger)[&code(429_004)].outcome,
        Outcome::UnknownNode
    );
}

#[test]
fn complete_needs_every_subject_category_and_a_holder() {
    let complete = |answer| {
        let (mut world, _) = World::whole_case();
        world.answer(THERE, minute(4), 1, answer);
        world.merged().1.complete
    };
    assert!(complete(nothing()));
    assert!(complete(found(&[job("纺纱厂", "全职")])));
    let mut cut = found(&[job("纺纱厂", "全职")]);
    cut.truncated = true;
    assert!(!complete(cut));
    assert!(!complete(unavailable()));
    assert!(!complete(status(Status::NameMismatch)));
    // The registry says that it holds them.
    assert!(!complete(status(Status::NotHeld)));
}

#[test]
fn a_holder_that_is_silent_is_no_proof_that_nobody_holds() {
    let mut world = World::new();
    world.ask();
    assert!(world.merged().1.unheld.is_empty());
    let (mut known, _) = world.merged();
    known.categories = vec![category("social_insurance")];
    assert_eq!(unheld(&registry(), &known), [category("social_insurance")]);
}

proptest! {
    #[test]
    fn whatever_relays_say_each_target_ends_once_and_only_its_own_word_is_an_answer(
        words in proptest::collection::vec((0_usize..4, 0_usize..4, 0_usize..Outcome::ALL.len(), any::<bool>()), 0..8),
    ) {
        let mut world = World::new();
        world.ask();
        for (of, about, word, reject) in words {
            let (of, about, word) = (EVERYBODY[of], EVERYBODY[about], Outcome::ALL[word]);
            let rejected = Rejected { node: code(about), outcome: word, why: "x".parse().unwrap() };
            let (observed, rejected) = if reject { (vec![], vec![rejected]) } else { (vec![(about, word)], vec![]) };
            world.account_with(of, minute(1), &observed, rejected);
        }
        let ends = ends(&world);
        prop_assert_eq!(ends.len(), EVERYBODY.len());
        prop_assert!(ends.values().all(|end| !matches!(end.outcome, Outcome::Answered | Outcome::Refused)));
    }
}
