//! What is known of a question: answers, refusals and accounts as they came in, in whatever order.
//!
//! A join-semilattice: inserting is commutative, associative and idempotent, so that order, repetition and grouping of
//! statements change nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sanku_catalogue::CategoryId;
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, Time};

use crate::body::{AccountBody, AnswerBody};
use crate::entry::{QueryEntry, Said};
use crate::names::Rule;
use crate::statement::VerifiedRun;

/// Where a statement stands in its node's logs: the later one is the node's word.
pub type Rank = (u32, u64);

/// A statement that counts: where it stands, its leaf hash, what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word<T> {
    /// Its place.
    pub rank: Rank,
    /// Its leaf hash.
    pub leaf: Hash,
    /// When it was said.
    pub time: Time,
    /// What it says.
    pub says: T,
}

/// Why a statement contributes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It responds to another statement.
    #[error("it responds to another question")]
    AnotherQuestion,
    /// Its node is no target and asked nobody for this question.
    #[error("its node is no target")]
    NoTarget,
    /// No statement that belongs in a response.
    #[error("no answer, refusal or account")]
    Kind,
    /// Its body cannot be read.
    #[error("its body cannot be read")]
    Body,
    /// It speaks of a subject or a category that was not asked.
    #[error("it speaks of what was not asked")]
    NotAsked,
}

/// All that is known of one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// The question's leaf hash.
    pub query: Hash,
    /// Number of subjects.
    pub subjects: u32,
    /// The categories that were asked.
    pub categories: Vec<CategoryId>,
    /// After it answers do not count.
    pub expires: Time,
    /// Every target.
    pub targets: BTreeSet<DivisionCode>,
    /// The newest answer of each target about each subject.
    pub answers: BTreeMap<(DivisionCode, u32), Word<Arc<AnswerBody>>>,
    /// The newest refusal of each node.
    pub refusals: BTreeMap<DivisionCode, Word<Rule>>,
    /// The newest account of each node.
    pub accounts: BTreeMap<DivisionCode, Word<AccountBody>>,
}

impl Gathered {
    /// Nothing is known yet.
    pub fn new(query: Hash, entry: &QueryEntry, targets: BTreeSet<DivisionCode>) -> Self {
        Self {
            query,
            subjects: entry.subjects,
            categories: entry.categories.clone(),
            expires: entry.expires,
            targets,
            answers: BTreeMap::new(),
            refusals: BTreeMap::new(),
            accounts: BTreeMap::new(),
        }
    }

    /// Takes in a run whose bodies are open. `on_way` are nodes that are no targets but pass the question on.
    ///
    /// # Errors
    /// The first statement that does not fit; the run then contributes nothing.
    pub fn insert(&mut self, run: &VerifiedRun, on_way: &BTreeSet<DivisionCode>) -> Result<(), Unfit> {
        let node = run.origin.node;
        let mut next = self.empty();
        for (place, statement) in run.statements.iter().enumerate() {
            let word = |rank| (rank, statement.leaf, statement.entry.time);
            let (rank, leaf, time) = word((run.origin.number, run.first + place as u64));
            match &statement.entry.said {
                Said::Answer(answer) => {
                    next.fits(answer.re)?;
                    let says = statement.answer_body().map_err(|_| Unfit::Body)?;
                    let asked = says.categories.iter().map(|of| &of.category).eq(&self.categories);
                    if answer.subject >= self.subjects || !asked {
                        return Err(Unfit::NotAsked);
                    }
                    if !self.targets.contains(&node) {
                        return Err(Unfit::NoTarget);
                    }
                    if time < self.expires {
                        keep_newest(
                            &mut next.answers,
                            (node, answer.subject),
                            Word { rank, leaf, time, says },
                        );
                    }
                }
                Said::Refusal(refusal) => {
                    next.fits(refusal.re)?;
                    if !self.targets.contains(&node) && !on_way.contains(&node) {
                        return Err(Unfit::NoTarget);
                    }
                    keep_newest(
                        &mut next.refusals,
                        node,
                        Word {
                            rank,
                            leaf,
                            time,
                            says: refusal.rule,
                        },
                    );
                }
                Said::Account(account) => {
                    next.fits(account.re)?;
                    if !self.targets.contains(&node) && !on_way.contains(&node) {
                        return Err(Unfit::NoTarget);
                    }
                    let says = statement.body_as().map_err(|_| Unfit::Body)?;
                    keep_newest(&mut next.accounts, node, Word { rank, leaf, time, says });
                }
                _ => return Err(Unfit::Kind),
            }
        }
        self.join(next);
        Ok(())
    }

    /// The same question, of which nothing is known.
    fn empty(&self) -> Self {
        Self {
            query: self.query,
            subjects: self.subjects,
            categories: self.categories.clone(),
            expires: self.expires,
            targets: self.targets.clone(),
            answers: BTreeMap::new(),
            refusals: BTreeMap::new(),
            accounts: BTreeMap::new(),
        }
    }

    /// Joins what another gathered of the same question.
    pub fn join(&mut self, other: Self) {
        for (key, word) in other.answers {
            keep_newest(&mut self.answers, key, word);
        }
        for (key, word) in other.refusals {
            keep_newest(&mut self.refusals, key, word);
        }
        for (key, word) in other.accounts {
            keep_newest(&mut self.accounts, key, word);
        }
    }

    fn fits(&self, re: Hash) -> Result<(), Unfit> {
        if re == self.query {
            Ok(())
        } else {
            Err(Unfit::AnotherQuestion)
        }
    }

    /// Whether a target answered every subject.
    pub fn answered(&self, target: DivisionCode) -> bool {
        (0..self.subjects).all(|subject| self.answers.contains_key(&(target, subject)))
    }

    /// Where the last of a target's whole set of answers stands; nothing if a subject lacks one.
    pub fn answered_at(&self, target: DivisionCode) -> Option<Rank> {
        let ranks: Option<Vec<_>> = (0..self.subjects)
            .map(|subject| Some(self.answers.get(&(target, subject))?.rank))
            .collect();
        ranks?.into_iter().max()
    }

    /// Leaf hashes of everything that counts, rising.
    pub fn leaves(&self) -> BTreeSet<Hash> {
        let answers = self.answers.values().map(|word| word.leaf);
        answers
            .chain(self.refusals.values().map(|word| word.leaf))
            .chain(self.accounts.values().map(|word| word.leaf))
            .collect()
    }
}

/// Of two words the later counts; of two in one place (a forked log) the one with the smaller leaf hash, so that order changes nothing.
fn keep_newest<K: Ord, T>(words: &mut BTreeMap<K, Word<T>>, key: K, word: Word<T>) {
    let order = |word: &Word<T>| (word.rank, std::cmp::Reverse(word.leaf));
    match words.get(&key) {
        Some(held) if order(held) >= order(&word) => {}
        _ => {
            words.insert(key, word);
        }
    }
}

#[cfg(test)]
mod tests;
