//! What a group of calls becomes: entries under their places, sealed bodies, the rows that record their effects, and the
//! checkpoint over all. Reads nothing and writes nothing: what the database knows is handed in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_federation_protocol::statement::{Statement, UnverifiedRun, VerifiedRun};
use sanku_tlog::{Checkpoint, Hash, SignedNote};
use sanku_values::{DivisionCode, Time};

use crate::StoreError;
use crate::blocks::root_level;
use crate::log::{OwnKey, frontier_nodes, place};
use crate::recent::Held;
use crate::records::ImportRows;
use crate::script::{ROWS, Script, Value};
use crate::sealing::DataKey;
use crate::sequencer::{Committed, Edge, Effect, Job, Part, Sequencer};

/// What was read of the database under the head's lock.
#[derive(Default)]
pub(crate) struct Read {
    /// By the names of keys.
    pub(crate) held: HashMap<String, Held>,
    /// Numbers of imports that are in, by digest.
    pub(crate) imports: HashMap<Hash, i64>,
    /// The number of the next import.
    pub(crate) next: i64,
    /// Mandates that are withdrawn, and until when that counts.
    pub(crate) withdrawn: Withdrawn,
    /// Where the newest run begins that was said about a question.
    pub(crate) said: Newest,
    /// Orders that were executed.
    pub(crate) executed: BTreeSet<Hash>,
    /// Lines of batches' files that are questions, and until when.
    pub(crate) lines: HashMap<Hash, Time>,
}

/// By the asker's log and the question's id.
type Newest = HashMap<(Origin, StatementId), u64>;

/// By asker and mandate.
type Withdrawn = HashMap<(DivisionCode, StatementId), Time>;

/// An import whose rows follow.
pub(crate) struct Incoming<'a> {
    pub(crate) rows: &'a ImportRows,
    pub(crate) number: i64,
    pub(crate) key: DataKey,
}

/// What a group that is durable leaves: the log's edge, and what each call is told.
pub(crate) type Written = (Edge, Vec<Result<Committed, StoreError>>);

/// Where a call's statements stand, and what they are.
type Place = (u64, Vec<Statement>);

/// A group, ready to be written.
pub(crate) struct Composed<'a> {
    pub(crate) script: Script,
    pub(crate) imports: Vec<Incoming<'a>>,
    edge: Edge,
    checkpoint: Checkpoint,
    signed: Arc<SignedNote>,
    /// Hashes of perfect subtrees that the fresh proofs may need.
    made: HashMap<(u8, u64), Hash>,
    results: Vec<Result<Place, StoreError>>,
    learned: HashMap<String, Held>,
}

/// The rows of a group, by table.
#[derive(Default)]
struct Rows {
    log: Vec<[Value; 5]>,
    roots: Vec<[Value; 4]>,
    keys: Vec<[Value; 2]>,
    questions: Vec<[Value; 4]>,
    said: Vec<[Value; 5]>,
    received: Vec<[Value; 8]>,
    /// Others' checkpoints that are held: log, size, root, whether a run that is kept stands under it; each once.
    checkpoints: BTreeMap<(String, i64, Hash, i64), String>,
    asked: Vec<[Value; 10]>,
    imports: Vec<[Value; 7]>,
    /// Mandates that must not be withdrawn, by asker.
    mandates: BTreeMap<i64, BTreeSet<String>>,
    /// Questions about which nothing newer than this run must have been said: log and id, first index.
    once: BTreeMap<(String, String), i64>,
    /// What is asked again then; a batch gives many back for the same time.
    again: (Option<(Origin, Option<i64>)>, Vec<Value>),
    /// Statements of other forms, in their order.
    others: Vec<(String, Vec<Value>)>,
}

/// What the head becomes, and what it must have been.
struct Moved {
    /// Size and time; number, size, time and checkpoint before.
    values: Vec<Value>,
    number: i64,
    checkpoint: String,
}

impl Rows {
    fn holds(&mut self, run: &VerifiedRun, kept: i64) {
        let key = (run.origin.to_string(), run.size.cast_signed(), run.root, kept);
        self.checkpoints.insert(key, run.checkpoint.to_string());
    }

    /// Writes down what is given back, before anything else changes the same rows.
    fn give_back(&mut self) {
        let (Some((origin, due)), ids) = std::mem::take(&mut self.again) else {
            return;
        };
        let list = vec!["?"; ids.len()].join(", ");
        let sql = format!("UPDATE asked SET due = ?, leased = 0 WHERE origin = ? AND id IN ({list})");
        let values = [Value::Maybe(due), origin.to_string().into()].into_iter().chain(ids);
        self.others.push((sql, values.collect()));
    }

    /// The head moves first: it is the lock, and refuses whoever does not know the newest checkpoint, that a mandate was
    /// withdrawn, or what another process said.
    fn script(mut self, head: Moved, now: Time) -> Script {
        self.give_back();
        let mut script = Script::default();
        let mut sql = "UPDATE head SET size = ?, time = ?, checkpoint = CASE WHEN number = ? AND size = ? AND time = ? AND checkpoint = ?".to_owned();
        let mut values = head.values;
        if !self.mandates.is_empty() {
            let mut of_askers = Vec::new();
            values.push(now.millis().into());
            for (asker, mandates) in self.mandates {
                of_askers.push(format!(
                    "asker = ? AND mandate IN ({})",
                    vec!["?"; mandates.len()].join(", ")
                ));
                values.push(asker.into());
                values.extend(mandates.into_iter().map(Value::from));
            }
            let of_askers = of_askers.join(" OR ");
            sql += &format!(" AND NOT EXISTS (SELECT 1 FROM withdrawals WHERE until >= ? AND ({of_askers}))");
        }
        if !self.once.is_empty() {
            let known = vec!["(?, ?, ?)"; self.once.len()].join(", ");
            sql += &format!(
                " AND NOT EXISTS (SELECT 1 FROM (VALUES {known}) AS known JOIN said ON said.origin = known.column1 AND said.id = known.column2 AND said.number = ? AND said.first > known.column3)"
            );
            for ((origin, id), first) in self.once {
                values.extend([origin.into(), id.into(), first.into()]);
            }
            values.push(head.number.into());
        }
        values.push(head.checkpoint.into());
        script.push(&(sql + " THEN ? END"), values);
        script.insert("log (number, idx, entry, body, key)", self.log, "");
        script.insert("roots (number, level, idx, hash)", self.roots, "");
        script.insert("keys (name, wrapped)", self.keys, "");
        script.insert("questions (origin, id, leaf, expires)", self.questions, "");
        script.insert("said (origin, id, number, first, count)", self.said, "");
        script.insert(
            "received (origin, id, log, first, count, wire, size, root)",
            self.received,
            "ON CONFLICT DO NOTHING",
        );
        let checkpoints = self.checkpoints.into_iter().map(|((log, size, root, kept), note)| {
            let root = root.bytes().to_vec();
            [
                log.into(),
                size.into(),
                root.into(),
                kept.into(),
                note.into(),
                now.millis().into(),
            ]
        });
        script.insert(
            "checkpoints (log, size, root, kept, note, since)",
            checkpoints.collect(),
            "ON CONFLICT DO NOTHING",
        );
        script.insert(
            "imports (number, category, source, as_of, digest, accepted, file)",
            self.imports,
            "",
        );
        script.insert(
            "asked (origin, id, kind, mandate, expires, attempt, due, holder, leased, line)",
            self.asked,
            "",
        );
        for (sql, values) in self.others {
            script.push(&sql, values);
        }
        script
    }
}

impl Sequencer {
    /// Composes a group that extends the log's edge.
    pub(crate) fn compose<'a>(
        &self,
        mut edge: Edge,
        group: &'a [Job],
        read: &Read,
    ) -> Result<Composed<'a>, StoreError> {
        let number = i64::from(self.origin.number);
        let before = std::mem::take(&mut edge.signed);
        let (size_before, time_before) = (edge.frontier.size().cast_signed(), edge.time.millis());
        let now = self.clock.now()?.max(edge.time);
        let mut rows = Rows::default();
        let mut learned: HashMap<String, Held> = HashMap::new();
        let mut imported = read.imports.clone();
        let mut withdrawn = read.withdrawn.clone();
        let mut said = read.said.clone();
        let mut executed = read.executed.clone();
        let mut lines = read.lines.clone();
        let mut imports = Vec::new();
        let mut made = HashMap::new();
        let mut results = Vec::new();
        for job in group {
            // A call has its effects as a whole, or none.
            let known = |name: &str, learned: &HashMap<String, Held>| {
                let known = learned.get(name).or_else(|| read.held.get(name));
                known.or_else(|| self.recent.of(name)).cloned().unwrap_or_default()
            };
            let for_good = job.parts.iter().find_map(|part| {
                let stands = known(&part.key_name, &learned).leaf;
                refused(&part.effects, stands, (&imported, &withdrawn, &executed), now)
            });
            // Of the same question alone: what was said under another one's id is none of this caller's business.
            let refused = for_good.or_else(|| said_meanwhile(job, &said));
            let mut lines_now = lines.clone();
            let taken = job.effects().any(|effect| match effect {
                Effect::Asked {
                    line: Some(line),
                    expires,
                    ..
                } => lines_now.insert(*line, *expires).is_some_and(|until| until > now),
                _ => false,
            });
            if let Some(why) = refused.or_else(|| taken.then_some(StoreError::Different)) {
                results.push(Err(why));
                continue;
            }
            lines = lines_now;
            let first = edge.frontier.size();
            for ((level, index), hash) in frontier_nodes(first).into_iter().zip(edge.frontier.peaks()) {
                made.insert((level, index), *hash);
            }
            let mut all = Vec::new();
            for Part {
                key_name,
                drafts,
                effects,
            } in &job.parts
            {
                let mut held = known(key_name, &learned);
                let key = match &held.key {
                    Some(key) => key.clone(),
                    None => {
                        let (key, wrapped) = self.keys.fresh(key_name)?;
                        rows.keys.push([key_name.as_str().into(), wrapped.into()]);
                        held.key.insert(key).clone()
                    }
                };
                let first = edge.frontier.size();
                let mut statements = Vec::new();
                for draft in drafts {
                    let index = edge.frontier.size();
                    let statement = Statement::said(draft, &self.origin, now)
                        .map_err(|error| StoreError::Draft(error.to_string()))?;
                    edge.frontier.push(statement.leaf, |height, index, hash| {
                        made.insert((height, index), hash);
                        if let Some(level) = root_level(height) {
                            let index = index.cast_signed();
                            let hash = hash.bytes().to_vec();
                            rows.roots
                                .push([number.into(), level.into(), index.into(), hash.into()]);
                        }
                    });
                    let sealed = key.seal(place(number, index, statement.leaf).as_bytes(), &draft.body)?;
                    rows.log.push([
                        number.into(),
                        index.cast_signed().into(),
                        statement.line.to_vec().into(),
                        sealed.into(),
                        key_name.as_str().into(),
                    ]);
                    statements.push(statement);
                }
                for effect in effects {
                    match effect {
                        Effect::Said {
                            origin,
                            id,
                            leaf,
                            expires,
                        } => {
                            let leaf = leaf.or_else(|| statements.first().map(|statement| statement.leaf));
                            let leaf =
                                leaf.ok_or_else(|| StoreError::Draft("a question without statements".to_owned()))?;
                            if !drafts.is_empty() {
                                said.insert((origin.clone(), *id), first);
                            }
                            let [origin, id] = names(origin, *id);
                            if held.leaf.replace(leaf).is_none() {
                                let leaf = leaf.bytes().to_vec();
                                let expires = expires.millis();
                                rows.questions
                                    .push([origin.clone(), id.clone(), leaf.into(), expires.into()]);
                            }
                            if !drafts.is_empty() {
                                let count = i64::try_from(drafts.len()).unwrap_or(0);
                                rows.said
                                    .push([origin, id, number.into(), first.cast_signed().into(), count.into()]);
                            }
                        }
                        Effect::Received { origin, id, run } => {
                            let wire = sanku_federation_protocol::stream::write_run(run);
                            // A run that was cut short once may come whole later: both have a place.
                            let count = i64::try_from(run.statements.len()).unwrap_or(i64::MAX);
                            let place = format!("received {origin} {id} {} {} {count}", run.origin, run.first);
                            let sealed = key.seal(place.as_bytes(), wire.as_bytes())?;
                            let [origin, id] = names(origin, *id);
                            let log = run.origin.to_string().into();
                            let first = run.first.cast_signed().into();
                            let (size, root) = (run.size.cast_signed().into(), run.root.bytes().to_vec().into());
                            rows.received
                                .push([origin, id, log, first, count.into(), sealed.into(), size, root]);
                            rows.holds(run, 1);
                        }
                        Effect::Holds(run) => rows.holds(run, 0),
                        Effect::Once { origin, id, after } => {
                            let after = after.map_or(-1, u64::cast_signed);
                            rows.once.insert((origin.to_string(), id.to_string()), after);
                        }
                        Effect::Executed { order, action } => {
                            executed.insert(*order);
                            let values = vec![
                                order.bytes().to_vec().into(),
                                action.as_str().into(),
                                number.into(),
                                first.cast_signed().into(),
                                now.millis().into(),
                            ];
                            let sql = "INSERT INTO orders (hash, action, number, idx, executed, done) VALUES (?, ?, ?, ?, ?, 0)";
                            rows.others.push((sql.to_owned(), values));
                        }
                        Effect::Under { asker, mandate } => {
                            let of_asker = rows.mandates.entry(i64::from(asker.number())).or_default();
                            of_asker.insert(mandate.to_string());
                        }
                        Effect::Import(import) => {
                            let number = read.next + i64::try_from(imports.len()).unwrap_or(0);
                            let name = format!("import {number}");
                            let (key, wrapped) = self.keys.fresh(&name)?;
                            let file = key.seal(format!("imports {number}").as_bytes(), import.file.as_bytes())?;
                            rows.keys.push([name.into(), wrapped.into()]);
                            rows.imports.push([
                                number.into(),
                                import.category.as_str().into(),
                                import.source.as_str().into(),
                                import.as_of.to_string().into(),
                                import.digest.bytes().to_vec().into(),
                                i64::try_from(import.rows.len()).unwrap_or(0).into(),
                                file.into(),
                            ]);
                            imported.insert(import.digest, number);
                            imports.push(Incoming {
                                rows: import,
                                number,
                                key,
                            });
                        }
                        other => {
                            if let Effect::Withdrawn { asker, mandate, until } = other {
                                let stands = withdrawn.entry((*asker, *mandate)).or_insert(*until);
                                *stands = (*stands).max(*until);
                            }
                            self.of_the_queue(other, now, &mut rows);
                        }
                    }
                }
                learned.insert(key_name.clone(), held);
                all.append(&mut statements);
            }
            results.push(Ok((first, all)));
        }
        edge.time = now;
        let checkpoint = Checkpoint {
            origin: self.origin.to_string(),
            size: edge.frontier.size(),
            root: edge.frontier.root(),
        };
        let signed = checkpoint
            .sign(&self.signing)
            .map_err(|_| StoreError::Keys("the log's key does not sign"))?;
        let text = signed.to_string();
        let size = checkpoint.size.cast_signed();
        let head = Moved {
            values: vec![
                size.into(),
                now.millis().into(),
                number.into(),
                size_before.into(),
                time_before.into(),
                before.into(),
            ],
            number,
            checkpoint: text.clone(),
        };
        edge.signed = text;
        Ok(Composed {
            script: rows.script(head, now),
            imports,
            edge,
            checkpoint,
            signed: Arc::new(signed),
            made,
            results,
            learned,
        })
    }

    /// Withdrawals, what is asked, and what is asked again.
    fn of_the_queue(&self, effect: &Effect, now: Time, rows: &mut Rows) {
        match effect {
            Effect::Withdrawn { asker, mandate, until } => {
                rows.give_back();
                let values = vec![
                    i64::from(asker.number()).into(),
                    mandate.to_string().into(),
                    until.millis().into(),
                ];
                let sql = "INSERT INTO withdrawals (asker, mandate, until) VALUES (?, ?, ?) ON CONFLICT (asker, mandate) DO UPDATE SET until = excluded.until WHERE excluded.until > withdrawals.until";
                rows.others.push((sql.to_owned(), values));
                if *asker == self.origin.node {
                    let sql = "UPDATE asked SET due = NULL WHERE mandate = ? AND kind = 'query'";
                    rows.others.push((sql.to_owned(), vec![mandate.to_string().into()]));
                }
            }
            Effect::Asked {
                id,
                kind,
                mandate,
                expires,
                leased,
                line,
            } => rows.asked.push([
                self.origin.to_string().into(),
                id.to_string().into(),
                kind.as_str().into(),
                mandate.to_string().into(),
                expires.millis().into(),
                1.into(),
                now.millis().into(),
                Value::from(&*self.process),
                leased.millis().into(),
                line.map_or_else(Vec::new, |line| line.bytes().to_vec()).into(),
            ]),
            Effect::AskAgain { origin, id, due } => {
                let then = Some((origin.clone(), due.map(Time::millis)));
                if rows.again.0 != then || rows.again.1.len() >= ROWS {
                    rows.give_back();
                }
                rows.again.0 = then;
                rows.again.1.push(id.to_string().into());
            }
            Effect::Said { .. }
            | Effect::Received { .. }
            | Effect::Holds(_)
            | Effect::Under { .. }
            | Effect::Once { .. }
            | Effect::Executed { .. }
            | Effect::Import(_) => {}
        }
    }

    /// A group is durable: its runs under their proofs, and what is known from now on.
    pub(crate) fn committed(&mut self, composed: Composed<'_>) -> Result<Written, StoreError> {
        let Composed {
            edge,
            checkpoint,
            signed,
            made,
            results,
            learned,
            ..
        } = composed;
        self.ground.holds(&[], &checkpoint, edge.signed.clone());
        for (name, held) in learned {
            self.recent.remember(name, held);
        }
        let own = OwnKey {
            key: self.signing.verifier().clone(),
            fresh: Some((Arc::clone(&signed), checkpoint.clone())),
        };
        let results = results.into_iter().map(|result| {
            let (first, statements) = result?;
            let count = statements.len() as u64;
            let proof = sanku_tlog::run_proof(first, count, checkpoint.size, |level, index| {
                made.get(&(level, index))
                    .copied()
                    .ok_or(StoreError::Corrupt("a fresh proof"))
            })?;
            let run = UnverifiedRun {
                checkpoint: Arc::clone(&signed),
                origin: self.origin.clone(),
                first,
                proof,
                statements,
            };
            Ok(Committed {
                run: run.verify(&own).map_err(|_| StoreError::Corrupt("a fresh run"))?,
            })
        });
        let results = results.collect();
        Ok((edge, results))
    }
}

/// Why a call has no effect at all: other bytes stand under its question's id, its mandate was withdrawn while the caller
/// searched, its order was executed, or its import is in.
fn refused(
    effects: &[Effect],
    stands: Option<Hash>,
    (imported, withdrawn, executed): (&HashMap<Hash, i64>, &Withdrawn, &BTreeSet<Hash>),
    now: Time,
) -> Option<StoreError> {
    effects.iter().find_map(|effect| match effect {
        Effect::Said { leaf: Some(leaf), .. } if stands.is_some_and(|stands| stands != *leaf) => {
            Some(StoreError::Different)
        }
        Effect::Under { asker, mandate } if withdrawn.get(&(*asker, *mandate)).is_some_and(|until| *until >= now) => {
            Some(StoreError::Withdrawn)
        }
        Effect::Executed { order, .. } if executed.contains(order) => Some(StoreError::Executed),
        Effect::Import(import) => imported.get(&import.digest).map(|number| StoreError::AlreadyImported {
            number: number.unsigned_abs(),
        }),
        _ => None,
    })
}

/// Whether somebody said something about a question that the caller does not know.
fn said_meanwhile(job: &Job, said: &Newest) -> Option<StoreError> {
    job.effects().find_map(|effect| match effect {
        Effect::Once { origin, id, after } if said.get(&(origin.clone(), *id)).copied() > *after => {
            Some(StoreError::SaidMeanwhile)
        }
        _ => None,
    })
}

fn names(origin: &Origin, id: StatementId) -> [Value; 2] {
    [origin.to_string().into(), id.to_string().into()]
}
