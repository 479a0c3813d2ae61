//! Checking an evidence file with nothing else but the root's fingerprint.

use std::collections::{BTreeMap, BTreeSet};

use sanku_catalogue::Catalogue;
use sanku_tlog::{Checkpoint, Hash, SignedNote, verify_consistency};
use sanku_values::{DivisionCode, Time};
use serde::Deserialize;

use super::{AsOf, Fault, NoEvidence, NoteUsed, Report, RunUsed};
use crate::body::{Body as _, QueryBody, ResultBody};
use crate::closed::Names;
use crate::entry::{QueryEntry, Said};
use crate::gather::{Gathered, Unfit};
use crate::merge::merge;
use crate::names::{Origin, Outcome};
use crate::notes::{NoteRefused, RawNote};
use crate::outcomes::outcomes;
use crate::statement::{Statement, UnverifiedRun, VerifiedRun};
use crate::stream::{Consistency, Event, Reader};
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
    let witnessed = lines.consistent(&trust)?;
    let (verified, runs) = lines.verified(&trust, &witnessed, newest.1.time)?;
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
    /// Each with its line and the number of runs before it.
    proofs: Vec<(u64, Consistency, usize)>,
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
                Some(Event::Consistency(proof)) => proofs.push((line, proof, runs.len())),
                Some(Event::Fork(..)) => return Err(at(line, Fault::Order("forks stand in files of their own"))),
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
        let mut before = None;
        for (leaf, (line, _, _, body)) in found.values() {
            if before.is_some_and(|before| body.supersedes != Some(before)) {
                return Err(at(*line, Fault::Result("it does not name the one that it supersedes")));
            }
            before = Some(*leaf);
        }
        let newest = found.pop_last().map(|(_, (_, newest))| newest);
        newest.ok_or_else(|| at(0, Fault::Result("there is none")))
    }

    /// Every run, verified: under its log's key as it was when the cosignature that counts was made; of what is unwitnessed,
    /// as of the newest result.
    fn verified(
        &self,
        trust: &Trust,
        witnessed: &Witnessed,
        as_of: Time,
    ) -> Result<(Verified, Vec<RunUsed>), NoEvidence> {
        let (mut verified, mut used) = (Vec::new(), Vec::new());
        let witnessed = |run: &UnverifiedRun| {
            let named = Checkpoint::parse(run.checkpoint.text()).ok()?;
            witnessed.get(&(run.origin.clone(), named.size)).copied()
        };
        // What stands above the final size of a closed log counts if another node's witnessed statement names it: those first.
        let mut names = Names::default();
        let is_closed = |(_, run): &(u64, UnverifiedRun)| {
            let row = trust.registered_log(&run.origin);
            row.is_some_and(|row| row.final_size.is_some())
        };
        let naming = if self.runs.iter().any(is_closed) {
            self.runs.as_slice()
        } else {
            &[]
        };
        for (run, at) in naming.iter().filter_map(|(_, run)| Some((run, witnessed(run)?))) {
            if let Ok(run) = run.clone().verify(&trust.when_witnessed(at)) {
                names.take(&run, at);
            }
        }
        for (line, run) in &self.runs {
            let witnessed = witnessed(run);
            let then = |at| run.clone().verify(&trust.when_witnessed(at));
            let run = match run.clone().verify(&trust.at(as_of).naming(&names)) {
                Err(error) => witnessed.map_or(Err(error), then),
                good => good,
            };
            let run = run.map_err(|error| at(*line, error.into()))?;
            used.push(RunUsed {
                line: *line,
                origin: run.origin.clone(),
                first: run.first,
                count: run.statements.len(),
                size: run.size,
                witnessed,
            });
            verified.push((*line, run));
        }
        Ok((verified, used))
    }

    /// Consistency proofs lead from an earlier checkpoint of their log to their own, which the log's key signed; two checkpoints
    /// of one log and one size say the same, or the log forked. Gives what the cosignature that counts covers, by log and size.
    fn consistent(&self, trust: &Trust) -> Result<Witnessed, NoEvidence> {
        let (mut roots, mut witnessed): (BTreeMap<_, Hash>, _) = (BTreeMap::new(), Witnessed::new());
        let mut proofs = self.proofs.iter().peekable();
        let mut links = Vec::new();
        for place in 0..=self.runs.len() {
            while let Some((line, proof, _)) = proofs.next_if(|(_, _, before)| *before == place) {
                let wrong = || at(*line, Fault::Consistency);
                let key = trust.registered_log_key(&proof.origin).ok_or_else(wrong)?;
                let new = Checkpoint::verify(&proof.checkpoint, key).map_err(|_| wrong())?;
                let old = *roots.get(&(proof.origin.clone(), proof.old)).ok_or_else(wrong)?;
                verify_consistency(proof.old, old, new.size, new.root, &proof.proof).map_err(|_| wrong())?;
                note_root(&mut roots, *line, &proof.origin, &new)?;
                note_cosignature(&mut witnessed, trust, &proof.origin, new.size, &proof.checkpoint);
                links.push((proof.origin.clone(), proof.old, new.size));
            }
            if let Some((line, run)) = self.runs.get(place)
                && let Ok(checkpoint) = Checkpoint::parse(run.checkpoint.text())
                && checkpoint.origin == run.origin.to_string()
            {
                note_root(&mut roots, *line, &run.origin, &checkpoint)?;
                note_cosignature(&mut witnessed, trust, &run.origin, checkpoint.size, &run.checkpoint);
            }
        }
        // A chain may lead over several: the last link first.
        links.sort_by_key(|(_, _, new)| std::cmp::Reverse(*new));
        for (origin, old, new) in links {
            if let Some(at) = witnessed.get(&(origin.clone(), new)).copied() {
                witnessed.entry((origin, old)).or_insert(at);
            }
        }
        Ok(witnessed)
    }
}

/// When the cosignature that counts was made that covers a checkpoint, by log and size.
type Witnessed = BTreeMap<(Origin, u64), Time>;

fn note_root(
    roots: &mut BTreeMap<(Origin, u64), Hash>,
    line: u64,
    origin: &Origin,
    checkpoint: &Checkpoint,
) -> Result<(), NoEvidence> {
    let known = roots
        .entry((origin.clone(), checkpoint.size))
        .or_insert(checkpoint.root);
    if *known == checkpoint.root {
        Ok(())
    } else {
        Err(at(line, Fault::Consistency))
    }
}

fn note_cosignature(witnessed: &mut Witnessed, trust: &Trust, origin: &Origin, size: u64, note: &SignedNote) {
    if let Some(made) = witness::cosigned(trust, origin.node, note) {
        witnessed.entry((origin.clone(), size)).or_insert(made);
    }
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
