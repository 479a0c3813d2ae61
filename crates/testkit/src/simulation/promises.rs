//! The promises of trust.md, held against what the simulation knows to be true.
//!
//! G1: a question's outcomes name each target of its scope once, and `complete` says exactly that everybody answered everything.
//! G2: what is merged was held by the node that is named as its source, and stands in that node's log. G3, G4: see `ledger`; and
//! whatever a person saw stands in the logs of both. G5: a node discloses once for each subject, an import counts once. G6: see
//! `world`.

use std::collections::{BTreeMap, BTreeSet};

use sanku_exchange::Asked;
use sanku_federation_protocol::entry::{Entry, Said};
use sanku_federation_protocol::names::{Origin, Outcome, StatementId, Status};
use sanku_store::Store;
use sanku_tlog::{Hash, leaf_hash};
use sanku_values::DivisionCode;

use super::ledger::Ledger;
use super::plan::superior;
use crate::{Node, code, plates};

/// Who holds what: subject, plate, node.
pub(super) type Truth = BTreeSet<(u32, String, u32)>;

/// What is true.
#[derive(Default)]
pub(super) struct Known {
    pub(super) codes: Vec<u32>,
    /// Held from the beginning.
    pub(super) sure: Truth,
    /// Held at some time.
    pub(super) ever: Truth,
}

impl Known {
    /// G1 and G2 of what a person is shown.
    pub(super) fn holds(&self, asker: u32, scope: &str, asked: &Asked) -> Result<(), String> {
        let targets: BTreeSet<_> = asked.merged.outcomes.keys().map(|code| code.number()).collect();
        let wanted: BTreeSet<_> = self
            .codes
            .iter()
            .copied()
            .filter(|target| scope == "federation" || in_lineage(asker, *target))
            .collect();
        if targets != wanted {
            return Err(format!("G1: outcomes of {targets:?}, asked were {wanted:?}"));
        }
        let ends = asked.merged.outcomes.iter();
        let answered: BTreeSet<_> = ends
            .filter(|(_, end)| end.outcome == Outcome::Answered)
            .map(|(node, _)| node.number())
            .collect();
        let gaps: BTreeSet<_> = asked.merged.gaps.iter().map(|gap| gap.node.number()).collect();
        let told: Truth = (0..2)
            .flat_map(|subject| plates(asked, subject).into_iter().map(move |told| (subject, told)))
            .flat_map(|(subject, (plate, nodes))| nodes.into_iter().map(move |node| (subject, plate.clone(), node)))
            .collect();
        let searched = |node: &u32| answered.contains(node) && !gaps.contains(node);
        let expected: Truth = self
            .sure
            .iter()
            .filter(|(_, _, node)| searched(node))
            .cloned()
            .collect();
        if !told.is_subset(&self.ever) || !expected.is_subset(&told) {
            return Err(format!("G2: told {told:?}, true is {expected:?}"));
        }
        let everybody = answered == wanted && gaps.is_empty();
        if asked.merged.complete != everybody {
            return Err(format!(
                "G1: complete is {}, answered {answered:?}, gaps {gaps:?}",
                asked.merged.complete
            ));
        }
        Ok(())
    }
}

fn in_lineage(asker: u32, target: u32) -> bool {
    let above = |mut node: u32, top: u32| loop {
        if node == top {
            return true;
        }
        if node == 420_000 {
            return false;
        }
        node = superior(node);
    };
    above(asker, target) || above(target, asker)
}

/// G4 of what a person was shown: the question stands in the asker's log, each fact's statement in its source's.
pub(super) async fn stands_in_both(ledger: &Ledger, asker: u32, asked: &Asked) -> Result<(), String> {
    let own = entries(&ledger.store(code(asker))?).await?;
    let question = asked.question.statements.first().map(|statement| statement.leaf);
    if !own.iter().any(|(leaf, _)| Some(*leaf) == question) {
        return Err("G4: a question that the asker's log does not hold".to_owned());
    }
    let rows = asked.merged.facts.iter().flat_map(|fact| &fact.rows);
    let sources: BTreeSet<_> = rows
        .flat_map(|row| &row.sources)
        .map(|source| (source.node, source.statement))
        .collect();
    for (node, statement) in sources {
        let theirs = entries(&ledger.store(node)?).await?;
        if !theirs.iter().any(|(leaf, _)| *leaf == statement) {
            return Err(format!("G4: {node} disclosed what its log does not hold"));
        }
    }
    Ok(())
}

/// A log, entry by entry.
async fn entries(store: &Store) -> Result<Vec<(Hash, Entry)>, String> {
    let size = store.checkpoint().await.map_err(|error| error.to_string())?.0.size;
    let lines = store.entries(0, size).await.map_err(|error| error.to_string())?;
    let read = |line: &Vec<u8>| Ok((leaf_hash(line), Entry::parse(line).map_err(|error| error.to_string())?));
    lines.iter().map(read).collect()
}

/// What every node's log says of questions, withdrawals and answers.
pub(super) struct Logs(BTreeMap<DivisionCode, Vec<(Hash, Entry)>>);

impl Logs {
    pub(super) async fn read(ledger: &Ledger, codes: &[u32]) -> Result<Self, String> {
        let mut logs = BTreeMap::new();
        for node in codes {
            logs.insert(code(*node), entries(&ledger.store(code(*node))?).await?);
        }
        Ok(Self(logs))
    }

    /// Every question and withdrawal in a node's log: id, leaf hash, mandate, whether it is a withdrawal.
    pub(super) fn asked_by(&self, node: DivisionCode) -> Vec<(StatementId, Hash, StatementId, bool)> {
        let entries = self.0[&node].iter();
        entries
            .filter_map(|(leaf, entry)| match &entry.said {
                Said::Query(query) => Some((entry.id, *leaf, query.mandate_id, false)),
                Said::Withdrawal(withdrawal) => Some((entry.id, *leaf, withdrawal.mandate_id, true)),
                _ => None,
            })
            .collect()
    }

    /// Where a node answered a question, and where it acknowledged a statement.
    fn places(&self, node: DivisionCode, re: Hash, answers: bool) -> Vec<usize> {
        let about = |entry: &Entry| match &entry.said {
            Said::Answer(answer) => answers && answer.re == re,
            Said::Account(account) => !answers && account.re == re,
            _ => false,
        };
        let entries = self.0[&node].iter().enumerate();
        entries
            .filter(|(_, (_, entry))| about(entry))
            .map(|(place, _)| place)
            .collect()
    }

    /// After a node acknowledged a withdrawal it answers the question no more; and every target acknowledged.
    pub(super) fn withdrawn(
        &self,
        targets: impl IntoIterator<Item = DivisionCode>,
        question: Hash,
        withdrawal: Hash,
        asker: DivisionCode,
    ) -> Result<(), String> {
        for target in targets.into_iter().filter(|target| *target != asker) {
            let acknowledged = self.places(target, withdrawal, false);
            let Some(first) = acknowledged.first() else {
                return Err(format!("{target} never acknowledged a withdrawal"));
            };
            if self.places(target, question, true).iter().any(|place| place > first) {
                return Err(format!("G4: {target} disclosed after it acknowledged the withdrawal"));
            }
        }
        Ok(())
    }

    /// G5: each of these files came in once.
    pub(super) fn imports_once(&self, node: u32, pseudonym: Hash) -> Result<(), String> {
        let entries = self.0[&code(node)].iter();
        let acts = entries.filter(|(_, entry)| matches!(&entry.said, Said::Act(act) if act.object == pseudonym));
        match acts.count() {
            1 => Ok(()),
            count => Err(format!("G5: {node} imported a file {count} times")),
        }
    }
}

/// Everything is known, and each node disclosed once, in its own log and in the asker's.
pub(super) async fn complete(ledger: &Ledger, asker: &Node, asked: &Asked) -> Result<(), String> {
    if !asked.merged.complete {
        let ends = asked.merged.outcomes.iter();
        let missing: Vec<_> = ends.filter(|(_, end)| end.outcome != Outcome::Answered).collect();
        return Err(format!(
            "a late answer never arrived: {missing:?}, gaps {:?}",
            asked.merged.gaps
        ));
    }
    let (_, known) = asker.known(asked.id).await.map_err(|error| error.to_string())?;
    let leaves = known.leaves();
    for target in asked.merged.outcomes.keys() {
        let said = answers(&ledger.store(*target)?, asker.store().origin(), asked.id).await?;
        let mut of: BTreeMap<u32, Vec<(Hash, bool)>> = BTreeMap::new();
        for (subject, leaf, whole) in said {
            of.entry(subject).or_default().push((leaf, whole));
        }
        if of.keys().copied().ne(0..2) {
            return Err(format!("G4: {target} counts as answered; its log says {of:?}"));
        }
        for answers in of.values() {
            let whole = answers.iter().filter(|(_, whole)| *whole).count();
            let last = answers
                .last()
                .is_some_and(|(leaf, whole)| *whole && leaves.contains(leaf));
            if whole != 1 || !last {
                return Err(format!(
                    "G5: {target} disclosed {whole} times, the asker's log names the last: {last}"
                ));
            }
        }
    }
    Ok(())
}

/// What a node's log says that it answered: subject, leaf hash, whether everything was searched.
async fn answers(store: &Store, origin: &Origin, id: StatementId) -> Result<Vec<(u32, Hash, bool)>, String> {
    let said = store.said(origin, id).await.map_err(|error| error.to_string())?;
    let statements = said.iter().flat_map(|run| &run.statements);
    let mut answers = Vec::new();
    for statement in statements {
        if let Said::Answer(answer) = &statement.entry.said {
            let body = statement.answer_body().map_err(|error| error.to_string())?;
            let whole = body
                .categories
                .iter()
                .all(|answer| answer.status != Status::Unavailable);
            answers.push((answer.subject, statement.leaf, whole));
        }
    }
    Ok(answers)
}
