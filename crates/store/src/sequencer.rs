//! The log's sequencer: the only writer of statements.
//!
//! Whoever says something hands in drafts; entries, bodies and the effects they record commit in one transaction, then the
//! checkpoint is signed, then the caller may send. While one group is written, the next gathers.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sanku_federation_protocol::entry::Draft;
use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_federation_protocol::statement::{BodyPart, Statement, UnverifiedRun, VerifiedRun};
use sanku_tlog::{Checkpoint, Frontier, Hash, SigningKey};
use sanku_values::{Clock, Time};
use sqlx::{QueryBuilder, Row};
use tokio::sync::{mpsc, oneshot};

use crate::database::{CALL, Database, on};
use crate::ground::{Ground, IsOf, broken};
use crate::log::{OwnKey, frontier_nodes, hash_of_row, held, node_of, place, place_of};
use crate::queue::AskedKind;
use crate::records::ImportRows;
use crate::sealing::StorageKeys;
use crate::{Store, StoreError};

/// Most jobs that are written together.
const GROUP: usize = 64;
/// Rows of one INSERT, below the databases' limits on parameters.
pub(crate) const ROWS: usize = 1000;

/// What commits together with the statements of one call.
#[derive(Debug)]
pub enum Effect {
    /// These statements are said about this question, whose own entry has this leaf hash; remembered until it expires.
    Said {
        /// The asker's log.
        origin: Origin,
        /// The question's id.
        id: StatementId,
        /// The question's leaf hash; nothing if the drafts hold the question itself.
        leaf: Option<Hash>,
        /// Until when it is remembered.
        expires: Time,
    },
    /// Another node's run about this question is kept.
    Received {
        /// The asker's log.
        origin: Origin,
        /// The question's id.
        id: StatementId,
        /// The run.
        run: Box<VerifiedRun>,
    },
    /// The checkpoint of another node's question is held until it is witnessed.
    Holds(Box<VerifiedRun>),
    /// A mandate of this asker is withdrawn.
    Withdrawn {
        /// The asker's code.
        asker: sanku_values::DivisionCode,
        /// The mandate.
        mandate: StatementId,
        /// Until the mandate's end.
        until: Time,
    },
    /// These statements are written only while this asker's mandate is not withdrawn.
    Under {
        /// The asker's code.
        asker: sanku_values::DivisionCode,
        /// The mandate.
        mandate: StatementId,
    },
    /// These statements are a question or a withdrawal of this node's own: it is being asked now, and again until it is settled.
    Asked {
        /// Its id.
        id: StatementId,
        /// What it is.
        kind: AskedKind,
        /// The mandate it rests on, or withdraws.
        mandate: StatementId,
        /// Nothing is asked from then on.
        expires: Time,
        /// Until then this process asks it.
        leased: Time,
    },
    /// What was asked is asked again then, or came to its end.
    AskAgain {
        /// The log under whose number it was asked.
        origin: Origin,
        /// Its id.
        id: StatementId,
        /// When; nothing at its end.
        due: Option<Time>,
    },
    /// Records come in.
    Import(Box<ImportRows>),
}

/// Statements that are durable, with the proof that they stand in this node's log. Only the sequencer makes one.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The run.
    pub run: VerifiedRun,
}

pub(crate) struct Job {
    pub(crate) drafts: Vec<Draft>,
    pub(crate) key_name: String,
    pub(crate) effects: Vec<Effect>,
    pub(crate) reply: oneshot::Sender<Result<Committed, StoreError>>,
}

/// What the sequencer knows of the log's right edge between groups; lost with a group that was not written.
struct Edge {
    frontier: Frontier,
    time: Time,
}

/// The log's right edge at a size, read inside a transaction.
macro_rules! frontier_at {
    ($tx:expr, $number:expr, $size:expr) => {{
        let size: u64 = $size;
        let mut nodes = HashMap::new();
        for (level, index) in frontier_nodes(size) {
            let (tile, start, count) = place_of(level, index);
            let rows = if tile == 0 {
                sqlx::query("SELECT entry FROM log WHERE number = $1 AND idx >= $2 AND idx < $3 ORDER BY idx")
                    .bind($number)
                    .bind(start)
                    .bind(start + count)
                    .fetch_all(&mut *$tx)
                    .await?
            } else {
                sqlx::query(
                    "SELECT hash FROM roots WHERE number = $1 AND level = $4 AND idx >= $2 AND idx < $3 ORDER BY idx",
                )
                .bind($number)
                .bind(start)
                .bind(start + count)
                .bind(i64::from(tile))
                .fetch_all(&mut *$tx)
                .await?
            };
            let hashes = rows
                .iter()
                .map(|row| hash_of_row(row.try_get::<Vec<u8>, _>(0), tile))
                .collect::<Result<Vec<_>, _>>()?;
            nodes.insert((level, index), node_of(&hashes, count)?);
        }
        Frontier::load(size, &mut |level, index| {
            nodes
                .get(&(level, index))
                .copied()
                .ok_or(StoreError::Corrupt("the log's hashes"))
        })?
    }};
}

pub(crate) use frontier_at;

pub(crate) struct Sequencer {
    pub(crate) database: Database,
    pub(crate) keys: StorageKeys,
    pub(crate) origin: Origin,
    pub(crate) signing: Arc<SigningKey>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) process: Arc<str>,
    pub(crate) ground: Arc<Ground>,
}

impl Sequencer {
    pub(crate) async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut edge = None;
        let mut group_before = 0;
        while let Some(first) = jobs.recv().await {
            if group_before >= 6 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(job) = jobs.try_recv()
            {
                group.push(job);
            }
            group_before = group.len();
            edge = self.write(edge, group).await;
        }
    }

    /// Writes a group and answers its callers. Gives the new edge, or nothing if it must be read again.
    async fn write(&self, edge: Option<Edge>, group: Vec<Job>) -> Option<Edge> {
        let written = self.commit(edge, &group).await;
        let error = match self.ground.found(written) {
            Ok((edge, results)) => {
                self.database.is_full(true);
                for (job, result) in group.into_iter().zip(results) {
                    // A caller that went away has its statements in the log all the same.
                    let _ = job.reply.send(result);
                }
                return Some(edge);
            }
            Err(error) => error,
        };
        let of_one_call = matches!(
            error,
            StoreError::Draft(_) | StoreError::Keys(_) | StoreError::Corrupt(_)
        );
        if of_one_call && group.len() > 1 {
            // What is wrong with one call is not held against those that happened to share its group.
            let mut edge = None;
            for job in group {
                edge = Box::pin(self.write(edge, vec![job])).await;
            }
            return edge;
        }
        tracing::error!(%error, "the log could not be written");
        for job in group {
            let said = match &error {
                kept @ (StoreError::Recovering(_) | StoreError::Full | StoreError::Failed) => kept.clone(),
                other => StoreError::NotWritten(other.to_string()),
            };
            let _ = job.reply.send(Err(said));
        }
        None
    }

    async fn commit(
        &self,
        edge: Option<Edge>,
        group: &[Job],
    ) -> Result<(Edge, Vec<Result<Committed, StoreError>>), StoreError> {
        let rows_of = |job: &Job| {
            job.effects
                .iter()
                .map(|effect| {
                    if let Effect::Import(import) = effect {
                        import.rows.len()
                    } else {
                        0
                    }
                })
                .sum::<usize>()
        };
        let rows: usize = group.iter().map(rows_of).sum();
        let limit = CALL + Duration::from_millis(rows as u64);
        on!(&self.database, within limit, pool => {
            let mut tx = pool.begin_with(self.database.begin()).await?;
            let head = sqlx::query(self.database.lock_head()).fetch_one(&mut *tx).await?;
            let (number, size, time): (i64, i64, i64) = (head.try_get(0)?, head.try_get(1)?, head.try_get(2)?);
            let text: String = head.try_get(3)?;
            let size = size.unsigned_abs();
            self.ground.stands(size)?;
            self.origin.is_of(number, size)?;
            let mut edge = match edge {
                Some(edge) if self.ground.is_newest(&text) && edge.frontier.size() == size => edge,
                _ => {
                    // Somebody else wrote, nobody looked yet, or somebody remembers something: the head must hold what it says
                    // and extend everything that is remembered.
                    let checkpoint = held(&text, size, self.signing.verifier())?;
                    let frontier: Frontier = frontier_at!(tx, number, size);
                    if checkpoint.size != size || checkpoint.root != frontier.root() {
                        return Err(broken(size, "the entries are others"));
                    }
                    let all = self.ground.all();
                    for remembered in &all {
                        let at = remembered.checkpoint.size;
                        let before: Option<Frontier> = if at <= size { Some(frontier_at!(tx, number, at)) } else { None };
                        remembered.judge(size, before.map(|before| before.root()))?;
                    }
                    self.ground.holds(&all, &checkpoint, text);
                    Edge { frontier, time: Time::from_millis(time) }
                }
            };

            let now = self.clock.now().max(edge.time);
            let mut made = HashMap::new();
            let mut roots = Vec::new();
            let mut rows = Vec::new();
            let mut results = Vec::new();
            let mut held_now = BTreeMap::new();
            for Job { drafts, key_name, effects, .. } in group {
                let first = edge.frontier.size();
                // A file that is in already has one effect: this call appends nothing.
                let mut known = None;
                let mut different = false;
                let mut withdrawn = false;
                for effect in effects {
                    if let Effect::Said { origin, id, leaf: Some(leaf), .. } = effect {
                        // Another process may have taken the id since the caller looked.
                        let row = sqlx::query("SELECT leaf FROM questions WHERE origin = $1 AND id = $2").bind(origin.to_string()).bind(id.to_string()).fetch_optional(&mut *tx).await?;
                        different |= row.map(|row| row.try_get::<Vec<u8>, _>(0)).transpose()?.is_some_and(|stored| stored != leaf.bytes());
                    }
                    if let Effect::Under { asker, mandate } = effect {
                        // It may have come while the caller searched.
                        withdrawn |= sqlx::query("SELECT 1 FROM withdrawals WHERE asker = $1 AND mandate = $2 AND until >= $3").bind(i64::from(asker.number())).bind(mandate.to_string()).bind(now.millis()).fetch_optional(&mut *tx).await?.is_some();
                    }
                    if let Effect::Import(import) = effect {
                        let row = sqlx::query("SELECT number FROM imports WHERE digest = $1").bind(import.digest.bytes().to_vec()).fetch_optional(&mut *tx).await?;
                        if let Some(row) = row {
                            known = Some(row.try_get::<i64, _>(0)?.unsigned_abs());
                        }
                    }
                }
                if let Some(number) = known {
                    results.push(Err(StoreError::AlreadyImported { number }));
                    continue;
                }
                if different {
                    results.push(Err(StoreError::Different));
                    continue;
                }
                if withdrawn {
                    results.push(Err(StoreError::Withdrawn));
                    continue;
                }
                let key = {
                    let row = sqlx::query("SELECT wrapped FROM keys WHERE name = $1").bind(key_name).fetch_optional(&mut *tx).await?;
                    match row {
                        Some(row) => self.keys.unwrap(key_name, &row.try_get::<Vec<u8>, _>(0)?)?,
                        None => {
                            let (key, wrapped) = self.keys.fresh(key_name)?;
                            sqlx::query("INSERT INTO keys (name, wrapped) VALUES ($1, $2)").bind(key_name).bind(wrapped).execute(&mut *tx).await?;
                            key
                        }
                    }
                };
                let peaks = frontier_nodes(first);
                for ((level, index), hash) in peaks.into_iter().zip(edge.frontier.peaks()) {
                    made.insert((level, index), *hash);
                }
                let mut leaf_of_first = None;
                let mut statements = Vec::new();
                for draft in drafts {
                    let index = edge.frontier.size();
                    let (line, leaf) = draft.entry(&self.origin, now);
                    leaf_of_first.get_or_insert(leaf);
                    edge.frontier.push(leaf, |level, index, hash| {
                        made.insert((level, index), hash);
                        if level > 0 && level % 8 == 0 {
                            roots.push((i64::from(level / 8), index.cast_signed(), hash));
                        }
                    });
                    let sealed = key.seal(place(number, index, leaf).as_bytes(), &draft.body)?;
                    rows.push((index.cast_signed(), line.clone(), sealed, key_name.clone()));
                    statements.push(Statement::parse(&line, BodyPart::Open(Arc::clone(&draft.body))).map_err(|error| StoreError::Draft(error.to_string()))?);
                }
                for effect in effects {
                    match effect {
                        Effect::Said { origin, id, leaf, expires } => {
                            let leaf = (*leaf).or(leaf_of_first).ok_or(StoreError::Draft("a question without statements".to_owned()))?;
                            sqlx::query("INSERT INTO questions (origin, id, leaf, expires) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                                .bind(origin.to_string()).bind(id.to_string()).bind(leaf.bytes().to_vec()).bind(expires.millis()).execute(&mut *tx).await?;
                            if !drafts.is_empty() {
                                sqlx::query("INSERT INTO said (origin, id, number, first, count) VALUES ($1, $2, $3, $4, $5)")
                                    .bind(origin.to_string()).bind(id.to_string()).bind(number).bind(first.cast_signed()).bind(i64::try_from(drafts.len()).unwrap_or(0)).execute(&mut *tx).await?;
                            }
                        }
                        Effect::Received { origin, id, run } => {
                            let wire = sanku_federation_protocol::stream::write_run(run);
                            // A run that was cut short once may come whole later: both have a place.
                            let count = i64::try_from(run.statements.len()).unwrap_or(i64::MAX);
                            let sealed = key.seal(format!("received {origin} {id} {} {} {count}", run.origin, run.first).as_bytes(), wire.as_bytes())?;
                            sqlx::query("INSERT INTO received (origin, id, log, first, count, wire, size, root) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING")
                                .bind(origin.to_string()).bind(id.to_string()).bind(run.origin.to_string()).bind(run.first.cast_signed()).bind(count).bind(sealed).bind(run.size.cast_signed()).bind(run.root.bytes().to_vec()).execute(&mut *tx).await?;
                            held_now.insert((run.origin.to_string(), run.size.cast_signed(), run.root, 1_i64), run.checkpoint.to_string());
                        }
                        Effect::Holds(run) => {
                            held_now.insert((run.origin.to_string(), run.size.cast_signed(), run.root, 0), run.checkpoint.to_string());
                        }
                        Effect::Withdrawn { asker, mandate, until } => {
                            sqlx::query("INSERT INTO withdrawals (asker, mandate, until) VALUES ($1, $2, $3) ON CONFLICT (asker, mandate) DO UPDATE SET until = excluded.until WHERE excluded.until > withdrawals.until")
                                .bind(i64::from(asker.number())).bind(mandate.to_string()).bind(until.millis()).execute(&mut *tx).await?;
                            if *asker == self.origin.node {
                                sqlx::query("UPDATE asked SET due = NULL WHERE mandate = $1 AND kind = 'query'").bind(mandate.to_string()).execute(&mut *tx).await?;
                            }
                        }
                        Effect::Asked { id, kind, mandate, expires, leased } => {
                            sqlx::query("INSERT INTO asked (origin, id, kind, mandate, expires, attempt, due, holder, leased) VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8)")
                                .bind(self.origin.to_string()).bind(id.to_string()).bind(kind.as_str()).bind(mandate.to_string()).bind(expires.millis())
                                .bind(now.millis()).bind(&*self.process).bind(leased.millis()).execute(&mut *tx).await?;
                        }
                        Effect::AskAgain { origin, id, due } => {
                            sqlx::query("UPDATE asked SET due = $1, leased = 0 WHERE origin = $2 AND id = $3")
                                .bind(due.map(Time::millis)).bind(origin.to_string()).bind(id.to_string()).execute(&mut *tx).await?;
                        }
                        // Judged above, before anything was written.
                        Effect::Under { .. } => {}
                        Effect::Import(import) => {
                            let next: i64 = sqlx::query("SELECT COALESCE(MAX(number), 0) + 1 FROM imports").fetch_one(&mut *tx).await?.try_get(0)?;
                            let key_name = format!("import {next}");
                            let (key, wrapped) = self.keys.fresh(&key_name)?;
                            let as_of = import.as_of.to_string();
                            sqlx::query("INSERT INTO keys (name, wrapped) VALUES ($1, $2)").bind(&key_name).bind(wrapped).execute(&mut *tx).await?;
                            let file = key.seal(format!("imports {next}").as_bytes(), import.file.as_bytes())?;
                            sqlx::query("INSERT INTO imports (number, category, source, as_of, digest, accepted, file) VALUES ($1, $2, $3, $4, $5, $6, $7)")
                                .bind(next).bind(import.category.as_str()).bind(&import.source).bind(&as_of).bind(import.digest.bytes().to_vec())
                                .bind(i64::try_from(import.rows.len()).unwrap_or(0)).bind(file).execute(&mut *tx).await?;
                            for chunk in import.rows.chunks(ROWS) {
                                let mut sealed = Vec::with_capacity(chunk.len());
                                for row in chunk {
                                    let subject = self.keys.blind(&row.number);
                                    let plain = serde_json::to_vec(row).map_err(|_| StoreError::Draft("a record that cannot be written".to_owned()))?;
                                    let place = crate::records::place(&subject, next, row.ordinal, [import.category.as_str(), &as_of, &import.source]);
                                    sealed.push((subject, row.ordinal, key.seal(&place, &plain)?));
                                }
                                let mut insert = QueryBuilder::new("INSERT INTO records (subject, import, row, sealed) ");
                                insert.push_values(sealed, |mut out, (subject, ordinal, sealed)| {
                                    out.push_bind(subject).push_bind(next).push_bind(ordinal).push_bind(sealed);
                                });
                                insert.build().execute(&mut *tx).await?;
                            }
                        }
                    }
                }
                results.push(Ok((first, statements)));
            }
            for chunk in rows.chunks(ROWS) {
                let mut insert = QueryBuilder::new("INSERT INTO log (number, idx, entry, body, key) ");
                insert.push_values(chunk, |mut out, (index, line, sealed, key)| {
                    out.push_bind(number).push_bind(*index).push_bind(line.clone()).push_bind(sealed.clone()).push_bind(key.clone());
                });
                insert.build().execute(&mut *tx).await?;
            }
            let held_now: Vec<_> = held_now.into_iter().collect();
            for chunk in held_now.chunks(ROWS) {
                let mut insert = QueryBuilder::new("INSERT INTO checkpoints (log, size, root, kept, note, since) ");
                insert.push_values(chunk, |mut out, ((log, size, root, kept), note)| {
                    out.push_bind(log.clone()).push_bind(*size).push_bind(root.bytes().to_vec()).push_bind(*kept).push_bind(note.clone()).push_bind(now.millis());
                });
                insert.push(" ON CONFLICT DO NOTHING").build().execute(&mut *tx).await?;
            }
            for (level, index, hash) in roots {
                sqlx::query("INSERT INTO roots (number, level, idx, hash) VALUES ($1, $2, $3, $4)").bind(number).bind(level).bind(index).bind(hash.bytes().to_vec()).execute(&mut *tx).await?;
            }
            edge.time = now;
            let size = edge.frontier.size();
            let checkpoint = Checkpoint { origin: self.origin.to_string(), size, root: edge.frontier.root() };
            let signed = checkpoint.sign(&self.signing).map_err(|_| StoreError::Keys("the log's key does not sign"))?;
            sqlx::query("UPDATE head SET size = $1, time = $2, checkpoint = $3").bind(size.cast_signed()).bind(now.millis()).bind(signed.to_string()).execute(&mut *tx).await?;
            tx.commit().await?;

            let signed_text = signed.to_string();
            let signed = Arc::new(signed);
            let own = OwnKey {
                key: self.signing.verifier().clone(),
                fresh: Some((Arc::clone(&signed), checkpoint.clone())),
            };
            self.ground.holds(&[], &checkpoint, signed_text);
            let results = results.into_iter().map(|result| {
                let (first, statements) = result?;
                let count = statements.len() as u64;
                let proof = sanku_tlog::run_proof(first, count, size, |level, index| made.get(&(level, index)).copied().ok_or(StoreError::Corrupt("a fresh proof")))?;
                let run = UnverifiedRun { checkpoint: Arc::clone(&signed), origin: self.origin.clone(), first, proof, statements };
                Ok(Committed { run: run.verify(&own).map_err(|_| StoreError::Corrupt("a fresh run"))? })
            }).collect();
            Ok((edge, results))
        })
    }
}

impl Store {
    /// Says these statements: durable, in the log, provable. `key_name` names the key that seals their bodies.
    ///
    /// # Errors
    /// `AlreadyImported` if an import's content is in; `NotWritten` if nothing was written: then nothing may leave. `Clock` while it is held.
    pub async fn append(
        &self,
        key_name: String,
        drafts: Vec<Draft>,
        effects: Vec<Effect>,
    ) -> Result<Committed, StoreError> {
        if drafts.is_empty() {
            // Effects without a statement would be durable and nowhere in the log.
            return Err(StoreError::Draft("nothing to say".to_owned()));
        }
        if let Err(error) = self.may_speak().await {
            match error {
                // It may have been mended since somebody looked.
                StoreError::Recovering(_) => self.look().await?,
                error => return Err(error),
            }
        }
        self.hand_in(key_name, drafts, effects).await
    }

    /// Hands statements to the sequencer, whatever was seen of the database before.
    pub(crate) async fn hand_in(
        &self,
        key_name: String,
        drafts: Vec<Draft>,
        effects: Vec<Effect>,
    ) -> Result<Committed, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            drafts,
            key_name,
            effects,
            reply,
        };
        self.jobs
            .send(job)
            .await
            .map_err(|_| StoreError::NotWritten("the sequencer has ended".to_owned()))?;
        answer
            .await
            .map_err(|_| StoreError::NotWritten("the sequencer has ended".to_owned()))?
    }
}
