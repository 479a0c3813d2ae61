//! How each target ended: every target has exactly one outcome, and none is silence.

use std::collections::{BTreeMap, BTreeSet};

use sanku_values::DivisionCode;

use crate::gather::Gathered;
use crate::names::Outcome;
use crate::notes::Registry;
use crate::tree::Tree;

/// A target's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetOutcome {
    /// The outcome.
    pub outcome: Outcome,
    /// Where it was observed or by whose word, for people and for scripts: a code, a rule, or relays.
    pub detail: String,
}

/// Every target's outcome. `suspended` is the notes' word about targets.
pub fn outcomes(
    asker: DivisionCode,
    tree: &Tree,
    suspended: &BTreeSet<DivisionCode>,
    known: &Gathered,
) -> BTreeMap<DivisionCode, TargetOutcome> {
    known
        .targets
        .iter()
        .map(|target| (*target, outcome_of(asker, tree, suspended, known, *target)))
        .collect()
}

fn outcome_of(
    asker: DivisionCode,
    tree: &Tree,
    suspended: &BTreeSet<DivisionCode>,
    known: &Gathered,
    target: DivisionCode,
) -> TargetOutcome {
    let end = |outcome, detail: String| TargetOutcome { outcome, detail };
    // A valid statement of the target outranks any observation.
    if known.answered(target) {
        return end(Outcome::Answered, String::new());
    }
    if let Some(refusal) = known.refusals.get(&target) {
        return end(Outcome::Refused, refusal.says.to_string());
    }
    let Some(path) = tree.path(asker, target) else {
        return end(Outcome::UnknownNode, String::new());
    };
    if suspended.contains(&target) {
        return end(Outcome::Suspended, String::new());
    }
    let relays = |to: usize| {
        path.get(1..=to)
            .unwrap_or_default()
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for (place, pair) in path.windows(2).enumerate() {
        let Some(account) = known.accounts.get(&pair[0]) else {
            return if place == 0 {
                end(Outcome::Pending, String::new())
            } else {
                end(Outcome::Omitted, relays(place))
            };
        };
        if let Some(rejected) = account.says.rejected.iter().find(|rejected| rejected.node == target) {
            return end(rejected.outcome, format!("{} {}", pair[0], rejected.why));
        }
        let observed = account.says.neighbours.iter().find(|observed| observed.node == pair[1]);
        match observed.map(|observed| observed.outcome) {
            None if place == 0 => return end(Outcome::Pending, String::new()),
            None => return end(Outcome::Omitted, relays(place)),
            Some(Outcome::Answered) => {}
            // It counts only beside that relay's own refusal.
            Some(Outcome::RefusedOnWay) => {
                return match known.refusals.get(&pair[1]) {
                    Some(refusal) => end(Outcome::RefusedOnWay, format!("{} {}", pair[1], refusal.says)),
                    None => end(Outcome::Omitted, relays(place + 1)),
                };
            }
            // Only the asker itself can say that something is pending or omitted.
            Some(
                Outcome::Pending | Outcome::Omitted | Outcome::Refused | Outcome::Suspended | Outcome::UnknownNode,
            ) => {
                return end(Outcome::Omitted, relays(place.max(1)));
            }
            Some(outcome) => return end(outcome, pair[1].to_string()),
        }
    }
    // Everybody on the way answered, the target's statements are not there.
    if path.len() == 1 {
        end(Outcome::Pending, String::new())
    } else {
        end(Outcome::Omitted, relays(path.len() - 1))
    }
}

/// Whether everything that was asked is known: computed by the asker and by every verifier, taken from nobody.
pub fn complete(registry: &Registry, known: &Gathered) -> bool {
    use crate::names::Status;
    let holds = |target, category| {
        registry
            .node(target)
            .is_some_and(|row| row.categories.contains(category))
    };
    let said = |target: DivisionCode, subject: u32| known.answers.get(&(target, subject));
    let good = known.targets.iter().all(|target| {
        (0..known.subjects).all(|subject| {
            said(*target, subject).is_some_and(|word| {
                word.says.categories.iter().all(|answer| match answer.status {
                    Status::Found => !answer.truncated,
                    Status::None => true,
                    Status::NotHeld => !holds(*target, &answer.category),
                    Status::NameMismatch | Status::Refused | Status::Unavailable => false,
                })
            })
        })
    });
    good && unheld(known).is_empty()
}

/// The asked categories that no target holds, by the targets' own word.
pub fn unheld(known: &Gathered) -> Vec<sanku_catalogue::CategoryId> {
    let held = |category: &sanku_catalogue::CategoryId| {
        known.answers.values().any(|word| {
            word.says
                .categories
                .iter()
                .any(|answer| answer.category == *category && answer.status != crate::names::Status::NotHeld)
        })
    };
    known
        .categories
        .iter()
        .filter(|category| !held(category))
        .cloned()
        .collect()
}
