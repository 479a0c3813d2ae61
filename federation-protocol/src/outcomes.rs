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
    // A valid statement of the target outranks any observation; of a refusal and a whole set of answers the later counts.
    match (known.answered_at(target), known.refusals.get(&target)) {
        (Some(answers), Some(refusal)) if refusal.rank < answers => return end(Outcome::Answered, String::new()),
        (Some(_), None) => return end(Outcome::Answered, String::new()),
        (_, Some(refusal)) => return end(Outcome::Refused, refusal.says.to_string()),
        (None, None) => {}
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
            // Whatever else a relay writes here is no observation of a statement that did not hold.
            return match rejected.outcome {
                Outcome::BadProof | Outcome::NotTrusted => {
                    end(rejected.outcome, format!("{} {}", pair[0], rejected.why))
                }
                _ => end(Outcome::Omitted, relays(place.max(1))),
            };
        }
        let observed = account.says.neighbours.iter().find(|observed| observed.node == pair[1]);
        match observed.map(|observed| observed.outcome) {
            None if place == 0 => return end(Outcome::Pending, String::new()),
            None => return end(Outcome::Omitted, relays(place)),
            // That it refused is a statement of its own, which is at hand or counts for nothing; it may have passed the question on.
            Some(Outcome::Answered | Outcome::Refused) => {}
            // It counts only beside that relay's own refusal, whichever of the two said so.
            Some(Outcome::RefusedOnWay) => {
                let stopped = pair
                    .iter()
                    .rev()
                    .find_map(|node| Some((node, known.refusals.get(node)?)));
                return match stopped {
                    Some((node, refusal)) => end(Outcome::RefusedOnWay, format!("{node} {}", refusal.says)),
                    None => end(Outcome::Omitted, relays(place + 1)),
                };
            }
            Some(Outcome::Pending) if place == 0 => return end(Outcome::Pending, String::new()),
            // Pending and omitted are the asker's alone, the two others the notes'.
            Some(Outcome::Pending | Outcome::Omitted | Outcome::Suspended | Outcome::UnknownNode) => {
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
    good && unheld(registry, known).is_empty()
}

/// The asked categories that no target holds, neither by the registry's word nor by its own.
pub fn unheld(registry: &Registry, known: &Gathered) -> Vec<sanku_catalogue::CategoryId> {
    use crate::names::Status;
    let registered = |category| {
        let mut rows = known.targets.iter().filter_map(|target| registry.node(*target));
        rows.any(|row| row.categories.contains(category))
    };
    let said = |category: &sanku_catalogue::CategoryId| {
        let mut answers = known.answers.values().flat_map(|word| &word.says.categories);
        answers
            .any(|answer| answer.category == *category && !matches!(answer.status, Status::NotHeld | Status::Refused))
    };
    known
        .categories
        .iter()
        .filter(|category| !registered(*category) && !said(category))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
