//! Evidence (证据): one file that proves a case to anybody who knows the root's fingerprint.
//!
//! The lines are the stream's: notes that were and are in force, then the question, every answer, refusal, account and
//! result with proofs, then the merged result. [`verify`] checks all of it and computes targets, outcomes, completeness and
//! merge anew, to the same bytes. What cosignatures are at hand, and what is unwitnessed, it says beside.
//!
//! Keys of logs are judged by all notes of the file and any newer ones, at the time when the cosignature that counts was made;
//! of what is unwitnessed at the time of the newest result, which is when the asker judged them.

mod verify;

use std::collections::{BTreeMap, BTreeSet};

use sanku_tlog::{Hash, SignedNote};
use sanku_values::{DivisionCode, FederationName, Time};

pub use verify::verify;

use crate::entry::NoteRef;
use crate::gather::Unfit;
use crate::merge::Merged;
use crate::names::{Origin, Outcome, Rule, StatementId};
use crate::notes::NoteRefused;
use crate::statement::{RunError, VerifiedRun};
use crate::stream::{StreamError, write_consistency, write_note, write_run};

/// Cosigned checkpoints that cover others, by log and root: each with the proof that it begins with the other.
pub type Covers = BTreeMap<(String, Hash), (SignedNote, Vec<Hash>)>;

/// Writes an evidence file. The question's run comes first; bodies are open. Behind the first run under a checkpoint that is
/// covered stands the cosigned one.
pub fn write<'a>(
    notes: impl IntoIterator<Item = &'a [u8]>,
    runs: impl IntoIterator<Item = &'a VerifiedRun>,
    covers: &Covers,
    merged: &Merged,
) -> String {
    let mut out: String = notes.into_iter().map(write_note).collect();
    let mut covered = BTreeSet::new();
    for run in runs {
        out.push_str(&write_run(run));
        let place = (run.origin.to_string(), run.root);
        if let Some((cover, proof)) = covers.get(&place)
            && covered.insert(place.clone())
        {
            out.push_str(&write_consistency(cover, &place.0, run.size, proof));
        }
    }
    out.push_str("M ");
    out.push_str(&String::from_utf8_lossy(&merged.bytes()));
    out.push('\n');
    out
}

/// What an evidence file proves, and on what that rests.
#[derive(Clone, Debug)]
pub struct Report {
    /// The federation.
    pub federation: FederationName,
    /// The question's id.
    pub query: StatementId,
    /// Who asked.
    pub asker: DivisionCode,
    /// When it was asked.
    pub asked: Time,
    /// Newest result: the asker's log, the index there, and its time.
    pub as_of: AsOf,
    /// Notes that were relied on, by name and number.
    pub notes: Vec<NoteUsed>,
    /// Every run, in the file's order.
    pub runs: Vec<RunUsed>,
    /// The merged result, computed anew.
    pub merged: Merged,
    /// Targets without a whole set of answers, and how they ended.
    pub missing: BTreeMap<DivisionCode, Outcome>,
}

/// Up to where the asker's log was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AsOf {
    /// The asker's log.
    pub log: Origin,
    /// Index of the newest result.
    pub index: u64,
    /// Its time.
    pub time: Time,
}

/// A note that was relied on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteUsed {
    /// Its name.
    pub name: String,
    /// Number (its date) and digest.
    pub reference: NoteRef,
    /// Whether it is the newest at hand that verifies.
    pub in_force: bool,
}

/// A run that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunUsed {
    /// The line that closes it.
    pub line: u64,
    /// Its log.
    pub origin: Origin,
    /// Index of its first entry.
    pub first: u64,
    /// How many statements.
    pub count: usize,
    /// Size of the checkpoint it stands under.
    pub size: u64,
    /// When the cosignature that counts was made; nothing if it is unwitnessed.
    pub witnessed: Option<Time>,
}

impl Report {
    /// Runs without the cosignature that counts.
    pub fn unwitnessed(&self) -> impl Iterator<Item = &RunUsed> {
        self.runs.iter().filter(|run| run.witnessed.is_none())
    }
}

/// The first thing that does not hold, and its line (from 1; 0: no line of the file).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct NoEvidence {
    /// Where.
    pub line: u64,
    /// What.
    pub fault: Fault,
}

/// What does not hold in an evidence file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The lines cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A line that no evidence file has, or has elsewhere.
    #[error("no such line here: {0}")]
    Order(&'static str),
    /// A note does not verify.
    #[error("note: {0}")]
    Note(#[from] NoteRefused),
    /// No root note of this fingerprint.
    #[error("no root note of the fingerprint that was given")]
    NoRoot,
    /// A run does not verify.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A statement does not belong to the question.
    #[error("statement: {0}")]
    Statement(#[from] Unfit),
    /// A statement of a kind that is no part of a case.
    #[error("a statement that is no part of the case")]
    Foreign,
    /// There is not exactly one question.
    #[error("not exactly one question")]
    Question,
    /// The question itself does not hold.
    #[error("the question: {0}")]
    BadQuestion(&'static str),
    /// The question breaks a rule by what it says itself: its asker should never have asked.
    #[error("the question breaks the rule {0}")]
    Rule(Rule),
    /// The result does not hold.
    #[error("the result: {0}")]
    Result(&'static str),
    /// A statement that the result does not cover, or that it names and the file lacks.
    #[error("the result and the statements of the file are not the same: {0}")]
    Uncovered(Hash),
    /// The merged result, computed anew, has other bytes.
    #[error("the merged result is not what follows from the statements")]
    Merged,
    /// Consistency does not hold.
    #[error("two checkpoints of a log that do not agree")]
    Consistency,
}

#[cfg(test)]
mod tests;
