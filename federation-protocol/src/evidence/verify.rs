//! Checking an evidence file with nothing else but the root's fingerprint.

use std::collections::{BTreeMap, BTreeSet};

use sanku_catalogue::Catalogue;
use sanku_tlog::{Checkpoint, Hash, SignedNote, verify_consistency};
use sanku_values::{DivisionCode, Time};
use serde::Deserialize;

use super::{AsOf, Fault, NoEvidence, NoteUsed, Report, RunUsed};
use crate::body::{Body as _, QueryBody, ResultBody};
use crate::entry::{QueryEntry, Said};
use crate::gather::{Gathered, Unfit};
use crate::merge::merge;
use crate::names::{Origin, Outcome};
use crate::notes::{NoteRefused, RawNote};
use crate::outcomes::outcomes;
use crate::statement::{Statement, UnverifiedRun, VerifiedRun};
use crate::stream::{Event, Reader};
use crate::trust::Trust;
use crate::witness;

/// How long a question may name a registry after it was replaced.
const REPLACED_FOR: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

/// Checks an evidence file. `newer` are notes that came later, and may revoke what the file rests on.
///
/// # Errors
/// The first thing that does not hold, with its line.
pub fn verify(file: &[u8], fingerprint: Hash, newer: &[Vec<u8>], now: Time) -> Result<Report, NoEvidence> {
    let lines = Lines::read(file)?;
    let trust = lines.trust(fingerprint, newer, now)?;
    let found = lines.question()?;
    let newest = lines.newest_result(&found)?;
    let (verified, runs) = lines.verified(&trust, newest.1.time)?;
    lines.consistent(&verified)?;
    let merged = recompute(&lines, &trust, &found, &verified, &newest)?;
    let missing = merged
        .outcomes
        .iter()
        .filter(|(_, end)| end.outcome != Outcome::Answered);
    let in_force: BTreeSet<_> = trust
        .list()
        .map(|(name, held)| (name.to_owned(), held.reference))
        .collect();
    let notes = trust.all().map(|(name, held)| NoteUsed {
        name: name.to_owned(),
        reference: held.reference,
        in_force: in_force.contains(&(name.to_owned(), held.reference)),
    });
    Ok(Report {
        federation: trust.federation().clone(),
        query: found.statement.entry.id,
        asker: found.statement.entry.log.node,
        asked: found.statement.entry.time,
        missing: missing.map(|(node, end)| (*node, end.outcome)).collect(),
        notes: notes.collect(),
        as_of: newest.1,
        runs,
        merged,
    })
}

/// The file, taken apart.
struct Lines {
    notes: Vec<(u64, Vec<u8>)>,
    runs: Vec<(u64, UnverifiedRun)>,
    proofs: Vec<(u64, Origin, u64, Vec<Hash>, usize)>,
    merged: (u64, Vec<u8>),
}

/// The question, before its run is verified.
struct Question<'a> {
    line: u64,
    statement: &'a Statement,
    entry: &'a QueryEntry,
}

/// Verified runs, each with the line that closes it.
type Verified = Vec<(u64, VerifiedRun)>;

const fn at(line: u64, fault: Fault) -> NoEvidence {
    NoEvidence { line, fault }
}

impl Lines {
    fn read(file: &[u8]) -> Result<Self, NoEvidence> {
        let mut reader = Reader::new();
        let (mut notes, mut runs, mut proofs, mut merged) = (Vec::new(), Vec::new(), Vec::new(), None);
        for piece in file.split_inclusive(|byte| *byte == b'\n') {
            reader.push(piece);
            let event = reader.next_event().map_err(|error| at(reader.line(), error.into()))?;
            let line = reader.line();
            if event.is_some() && merged.is_some() {
                return Err(at(line, Fault::Order("the merged result is the last line")));
            }
            match event {
                None => {}
                Some(Event::Note(bytes)) => notes.push((line, bytes)),
                Some(Event::Run(run)) => runs.push((line, *run)),
                Some(Event::Consistency(origin, old, hashes)) => proofs.push((line, origin, old, hashes, runs.len())),
                Some(Event::Merged(bytes)) => merged = Some((line, bytes)),
                Some(Event::Heartbeat | Event::Problem(_)) => {
                    return Err(at(
                        line,
                        Fault::Order("no heartbeat and no problem stand in an evidence file"),
                    ));
                }
            }
        }
        reader.finish().map_err(|error| at(reader.line() + 1, error.into()))?;
        let merged = merged.ok_or_else(|| at(reader.line(), Fault::Order("the merged result is missing")))?;
        Ok(Self {
            notes,
            runs,
            proofs,
            merged,
        })
    }

    /// Every note must verify; the file's own ones and those that were added.
    fn trust(&self, fingerprint: Hash, newer: &[Vec<u8>], now: Time) -> Result<Trust, NoEvidence> {
        let mut raw = Vec::new();
        let added = newer.iter().map(|bytes| (0, bytes));
        for (line, bytes) in self.notes.iter().map(|(line, bytes)| (*line, bytes)).chain(added) {
            raw.push((
                line,
                RawNote::parse(bytes).map_err(|error| at(line, error.into()))?,
                bytes,
            ));
        }
        let root = raw
            .iter()
            .find_map(|(_, note, _)| note.name.strip_suffix("/root")?.parse().ok());
        let mut trust = Trust::new(root.ok_or_else(|| at(0, Fault::NoRoot))?, fingerprint);
        raw.sort_by_key(|(_, note, _)| trust.rank(note));
        for (line, _, bytes) in raw {
            match trust.accept(bytes, now) {
                Ok(_) => {}
                Err(NoteRefused::Signer) if trust.root().is_none() => return Err(at(line, Fault::NoRoot)),
                Err(error) => return Err(at(line, error.into())),
            }
        }
        Ok(trust)
    }

    fn question(&self) -> Result<Question<'_>, NoEvidence> {
        let statements = self
            .runs
            .iter()
            .flat_map(|(line, run)| run.statements.iter().map(|said| (*line, said)));
        let mut questions = statements.filter_map(|(line, statement)| match &statement.entry.said {
            Said::Query(entry) => Some(Question { line, statement, entry }),
            _ => None,
        });
        match (questions.next(), questions.next()) {
            (Some(question), None) => Ok(question),
            (Some(_), Some(second)) => Err(at(second.line, Fault::Question)),
            (None, _) => Err(at(0, Fault::Question)),
        }
    }

    /// The asker's newest result: its line, its place, what it says. The run it stands in is verified later.
    fn newest_result(&self, question: &Question<'_>) -> Result<(u64, AsOf, bool, ResultBody), NoEvidence> {
        let mut found = BTreeMap::new();
        for (line, run) in &self.runs {
            for (place, statement) in run.statements.iter().enumerate() {
                let Said::Result(result) = &statement.entry.said else {
                    continue;
                };
                if result.re != question.statement.leaf || run.origin.node != question.statement.entry.log.node {
                    return Err(at(
                        *line,
                        Fault::Result("it is not the asker's result of this question"),
                    ));
                }
                let body = statement.body_as::<ResultBody>();
                let body = body.map_err(|_| at(*line, Fault::Result("its body cannot be read")))?;
                let index = run.first + place as u64;
                let place = AsOf {
                    log: run.origin.clone(),
                    index,
                    time: statement.entry.time,
                };
                found.insert(
                    (run.origin.number, index),
                    (statement.leaf, (*line, place, result.complete, body)),
                );
            }
        }
        let last = found.pop_last().map(|(_, (_, newest))| newest);
        let newest = last.ok_or_else(|| at(0, Fault::Result("there is none")))?;
        match (found.last_key_value(), newest.3.supersedes) {
            (Some((_, (leaf, _))), supersedes) if supersedes != Some(*leaf) => Err(at(
                newest.0,
                Fault::Result("it does not name the one that it supersedes"),
            )),
            _ => Ok(newest),
        }
    }

    fn verified(&self, trust: &Trust, as_of: Time) -> Result<(Verified, Vec<RunUsed>), NoEvidence> {
        let (mut verified, mut used) = (Vec::new(), Vec::new());
        for (line, run) in &self.runs {
            let run = run
                .clone()
                .verify(&trust.at(as_of))
                .map_err(|error| at(*line, error.into()))?;
            used.push(RunUsed {
                line: *line,
                origin: run.origin.clone(),
                first: run.first,
                count: run.statements.len(),
                size: run.size,
                witnessed: witness::cosigned(trust, run.origin.node, &run.checkpoint),
            });
            verified.push((*line, run));
        }
        Ok((verified, used))
    }

    /// Consistency proofs lead from an earlier checkpoint of their log to its latest before them.
    fn consistent(&self, verified: &[(u64, VerifiedRun)]) -> Result<(), NoEvidence> {
        for (line, origin, old_size, hashes, before) in &self.proofs {
            let earlier = verified.iter().take(*before).filter(|(_, run)| run.origin == *origin);
            let checkpoints: Vec<_> = earlier.filter_map(|(_, run)| checkpoint(&run.checkpoint)).collect();
            let old = checkpoints.iter().find(|checkpoint| checkpoint.size == *old_size);
            let holds = old
                .zip(checkpoints.last())
                .is_some_and(|(old, new)| verify_consistency(old.size, old.root, new.size, new.root, hashes).is_ok());
            if !holds {
                return Err(at(*line, Fault::Consistency));
            }
        }
        // Two checkpoints of one log and one size say the same, or the log forked.
        let mut roots = BTreeMap::new();
        for (line, run) in verified {
            let Some(checkpoint) = checkpoint(&run.checkpoint) else {
                continue;
            };
            let known = roots
                .entry((run.origin.clone(), checkpoint.size))
                .or_insert(checkpoint.root);
            if *known != checkpoint.root {
                return Err(at(*line, Fault::Consistency));
            }
        }
        Ok(())
    }
}

fn checkpoint(note: &SignedNote) -> Option<Checkpoint> {
    Checkpoint::parse(note.text()).ok()
}

/// Targets, outcomes, completeness and merge, from the statements alone.
fn recompute(
    lines: &Lines,
    trust: &Trust,
    question: &Question<'_>,
    verified: &[(u64, VerifiedRun)],
    (result_line, _, result_complete, result): &(u64, AsOf, bool, ResultBody),
) -> Result<crate::merge::Merged, NoEvidence> {
    let wrong = |why| at(question.line, Fault::BadQuestion(why));
    let (entry, asked, asker) = (
        question.entry,
        question.statement.entry.time,
        question.statement.entry.log.node,
    );
    let body = question
        .statement
        .open_body()
        .and_then(|line| QueryBody::parse(line).ok());
    let body = body.ok_or_else(|| wrong("its body cannot be read"))?;
    if usize::try_from(entry.subjects) != Ok(body.subjects.len()) {
        return Err(wrong("it counts its subjects wrongly"));
    }
    if let Some(rule) = body.broken_rule(entry, asked) {
        return Err(at(question.line, Fault::Rule(rule)));
    }
    if entry.catalogue != Catalogue::current().version() {
        return Err(wrong("it names a catalogue that this program does not have"));
    }
    let (registry, tree) = trust
        .registry_by(entry.registry)
        .ok_or_else(|| wrong("its registry is not in the file"))?;
    let replaced = trust
        .replaced_at(entry.registry)
        .is_some_and(|at| asked > at.plus(REPLACED_FOR));
    if replaced || asked > registry.grace_until {
        return Err(wrong("its registry was too old"));
    }
    let targets = tree.targets(asker, entry.scope, entry.targets.as_deref());
    let targets = targets.map_err(|_| wrong("it has no targets"))?;
    let on_way: BTreeSet<_> = targets
        .iter()
        .filter_map(|target| tree.path(asker, *target))
        .flatten()
        .chain([asker])
        .collect();
    let mut known = Gathered::new(question.statement.leaf, entry, targets);
    for (line, run) in verified {
        for part in responses(*line, run)? {
            known
                .insert(&part, &on_way)
                .map_err(|error: Unfit| at(*line, error.into()))?;
        }
    }
    let leaves: BTreeSet<_> = result.merged.iter().copied().collect();
    if let Some(uncovered) = known.leaves().symmetric_difference(&leaves).next() {
        return Err(at(*result_line, Fault::Uncovered(*uncovered)));
    }
    let (merged_line, bytes) = &lines.merged;
    let suspended = suspended(trust, &known.targets, bytes);
    let merged = merge(&known, outcomes(asker, tree, &suspended, &known), registry);
    if merged.bytes() != *bytes {
        return Err(at(*merged_line, Fault::Merged));
    }
    if result.digest != merged.digest() || *result_complete != merged.complete {
        return Err(at(*result_line, Fault::Result("it is not of this merged result")));
    }
    Ok(merged)
}

/// The parts of a run that respond to the question; question and results stand in the asker's runs beside them.
fn responses(line: u64, run: &VerifiedRun) -> Result<Vec<VerifiedRun>, NoEvidence> {
    let mut parts = Vec::new();
    let mut begin = None;
    for (place, statement) in run.statements.iter().enumerate() {
        match &statement.entry.said {
            Said::Answer(_) | Said::Refusal(_) | Said::Account(_) => {
                begin.get_or_insert(place);
            }
            Said::Query(_) | Said::Result(_) => {
                parts.extend(begin.take().and_then(|begin| run.cut(begin, place - begin)))
            }
            Said::Withdrawal(_) | Said::Act(_) => return Err(at(line, Fault::Foreign)),
        }
    }
    match begin {
        Some(0) => parts.push(run.clone()),
        Some(begin) => parts.extend(run.cut(begin, run.statements.len() - begin)),
        None => {}
    }
    Ok(parts)
}

/// The outcomes that a merged result claims.
#[derive(Deserialize)]
struct Claimed {
    outcomes: Vec<ClaimedOutcome>,
}

#[derive(Deserialize)]
struct ClaimedOutcome {
    node: DivisionCode,
    outcome: Outcome,
}

/// Which notes the asker had when it merged, nobody else can know: a target that it says is suspended needs a list in the file
/// that says so; one that it says nothing of may have been suspended later.
fn suspended(trust: &Trust, targets: &BTreeSet<DivisionCode>, merged: &[u8]) -> BTreeSet<DivisionCode> {
    let Ok(claimed) = serde_json::from_slice::<Claimed>(merged) else {
        return BTreeSet::new();
    };
    let claimed = claimed
        .outcomes
        .into_iter()
        .filter(|end| end.outcome == Outcome::Suspended)
        .map(|end| end.node);
    claimed
        .filter(|node| targets.contains(node) && trust.was_suspended(*node))
        .collect()
}
