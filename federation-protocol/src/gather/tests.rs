use proptest::prelude::*;

use super::*;
use crate::fixture::*;
use crate::merge::Merged;
use crate::names::Status;
use crate::statement::VerifiedRun;

/// Statements of all kinds, repeated and superseded, each as a run of one.
fn busy_case() -> (World, Vec<VerifiedRun>) {
    let (mut world, _) = World::whole_case();
    world.answer(
        THERE,
        minute(4),
        0,
        found(&[job("纺纱厂", "全职"), job("棉纺厂", "兼职")]),
    );
    world.answer(PROVINCE, minute(4), 1, status(Status::NameMismatch));
    world.refuse(CITY, minute(5), Rule::Relation);
    world.account(
        CITY,
        minute(5),
        &[
            (PROVINCE, crate::names::Outcome::Late),
            (THERE, crate::names::Outcome::Answered),
        ],
    );
    let mut runs = Vec::new();
    for whole in world.everything() {
        for (place, statement) in whole.statements.iter().enumerate() {
            if matches!(
                statement.entry.said,
                Said::Answer(_) | Said::Refusal(_) | Said::Account(_)
            ) {
                runs.push(whole.cut(place, 1).unwrap());
            }
        }
    }
    (world, runs)
}

fn gather<'a>(world: &World, runs: impl IntoIterator<Item = &'a VerifiedRun>) -> Gathered {
    let mut known = world.gathered();
    for run in runs {
        known.insert(run, &[].into()).unwrap();
    }
    known
}

fn merged(world: &World, known: &Gathered) -> Merged {
    let (_, registry, tree) = world.trust.registry().unwrap();
    crate::merge::merge(
        known,
        crate::outcomes::outcomes(code(HERE), tree, &[].into(), known),
        registry,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn order_and_repetition_change_no_byte(order in proptest::collection::vec(any::<prop::sample::Index>(), 0..20)) {
        let (world, runs) = busy_case();
        let expected = gather(&world, &runs);
        let shuffled = order.iter().map(|index| index.get(&runs)).chain(runs.iter().rev());
        let known = gather(&world, shuffled);
        prop_assert_eq!(merged(&world, &known).bytes(), merged(&world, &expected).bytes());
        prop_assert_eq!(known, expected);
    }

    #[test]
    fn joining_is_commutative_associative_and_idempotent(parts in proptest::collection::vec(0_u8..8, 14)) {
        let (world, runs) = busy_case();
        let part = |bit: u8| {
            let chosen = runs.iter().zip(parts.iter().cycle()).filter(move |(_, mask)| **mask & bit != 0);
            gather(&world, chosen.map(|(run, _)| run))
        };
        let (a, b, c) = (part(1), part(2), part(4));
        let join = |left: &Gathered, right: &Gathered| {
            let mut joined = left.clone();
            joined.join(right.clone());
            joined
        };
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(&join(&a, &a), &a);
    }
}

#[test]
fn a_changed_fact_stands_as_a_conflict_newest_first() {
    let (world, runs) = busy_case();
    let merged = merged(&world, &gather(&world, &runs));
    // Both are of one date: 全 (U+5168) comes before 兼 (U+517C).
    let fact = merged.facts.iter().find(|fact| fact.key.contains("棉纺厂")).unwrap();
    assert!(fact.conflict());
    assert_eq!(
        fact.rows.iter().map(|row| row.sources.len()).collect::<Vec<_>>(),
        [3, 1]
    );
    let alone = merged.facts.iter().find(|fact| fact.key.contains("纺纱厂")).unwrap();
    assert!(!alone.conflict());
    assert_eq!(alone.rows[0].sources[0].node, code(THERE));
}

#[test]
fn an_older_fact_stands_below_a_newer_one() {
    let (mut world, _) = World::whole_case();
    let later = sanku_values::Date::new(2026, 8, 2).unwrap();
    world.answer(CITY, minute(4), 0, found(&[job_of("棉纺厂", "兼职", later)]));
    let fact = world.merged().1.facts.remove(0);
    assert_eq!(
        fact.rows.iter().map(|row| row.newest().unwrap()).collect::<Vec<_>>(),
        [later, sanku_values::Date::new(2026, 8, 1).unwrap()]
    );
}

#[test]
fn a_mismatch_brings_no_record_and_is_said() {
    let (world, runs) = busy_case();
    let merged = merged(&world, &gather(&world, &runs));
    let gap = merged.gaps.iter().find(|gap| gap.node == code(PROVINCE)).unwrap();
    assert_eq!((gap.subject, gap.why.as_str()), (1, "name_mismatch"));
    assert!(!merged.complete);
}

#[test]
fn g2_what_answers_another_question_is_not_gathered() {
    let (world, _) = World::whole_case();
    let mut other = World::new();
    other.answer(THERE, minute(1), 0, found(&[job("棉纺厂", "全职")]));
    let mut known = world.gathered();
    let before = known.clone();
    assert_eq!(
        known.insert(&other.whole(THERE), &[].into()),
        Err(Unfit::AnotherQuestion)
    );
    assert_eq!(known, before);
}

#[test]
fn what_was_not_asked_or_comes_from_elsewhere_is_not_gathered() {
    let mut world = World::new();
    world.ask();
    world.answer(THERE, minute(1), 2, nothing());
    let mut known = world.gathered();
    assert_eq!(known.insert(&world.whole(THERE), &[].into()), Err(Unfit::NotAsked));
    known.targets.remove(&code(CITY));
    world.account(CITY, minute(1), &[]);
    assert_eq!(known.insert(&world.whole(CITY), &[].into()), Err(Unfit::NoTarget));
    assert_eq!(known.insert(&world.whole(CITY), &[code(CITY)].into()), Ok(()));
    assert_eq!(known.insert(&world.whole(HERE), &[].into()), Err(Unfit::Kind));
}

#[test]
fn an_answer_after_the_questions_end_does_not_count() {
    let mut world = World::new();
    world.ask();
    world.answer(THERE, days(10), 0, nothing());
    assert!(world.merged().0.answers.is_empty());
}

#[test]
fn f15_a_statement_signed_by_another_node_is_not_trusted_for_it() {
    let (world, _) = World::whole_case();
    let mut forged = world.unverified(THERE, 0, 1);
    forged.checkpoint = world.unverified(CITY, 0, 1).checkpoint;
    assert!(matches!(
        forged.verify(&world.trust.at(minute(0))),
        Err(crate::statement::RunError::BadProof(_))
    ));
}
