//! The log's sequencer: the only writer of statements.
//!
//! Whoever says something hands in drafts; entries, bodies and the effects they record commit in one transaction, then the
//! checkpoint is signed, then the caller may send. While one group is written, the next gathers.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sanku_federation_protocol::entry::Draft;
use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_tlog::{Frontier, Hash, SigningKey};
use sanku_values::Time;
use sqlx::Row;
use tokio::sync::{mpsc, oneshot};

use crate::clock::LogClock;
use crate::compose::{Incoming, Read, Written};
use crate::database::{CALL, Database, on};
use crate::ground::{Ground, IsOf, broken};
use crate::log::{frontier_nodes, hash_of_row, held, node_of, place_of};
use crate::look::read_for;
use crate::queue::AskedKind;
use crate::recent::Recent;
use crate::records::ImportRows;
use crate::script::{Run, RunWhole, Script, is_overtaken};
use crate::sealing::StorageKeys;
use crate::{Store, StoreError};

/// Most calls that are written together.
const GROUP: usize = 64;
/// Statements of batches that are written together: whoever waits for the next group does not wait long.
const OF_BATCHES: usize = 512;
/// Records of an import that are sealed and written together.
const SEALED_AT_ONCE: usize = 1000;

/// What commits together with the statements of one call.
#[derive(Debug)]
pub enum Effect {
    /// The statements of this part are said about this question, whose own entry has this leaf hash; remembered until it expires.
    Said {
        /// The asker's log.
        origin: Origin,
        /// The question's id.
        id: StatementId,
        /// The question's leaf hash; nothing if the part holds the question itself.
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
    /// These statements are written only while nothing was said here about this question that the caller does not know: of
    /// processes that search for the same question at the same moment one alone discloses.
    Once {
        /// The asker's log.
        origin: Origin,
        /// The question's id.
        id: StatementId,
        /// Where the newest run begins that the caller knows; nothing if it knows of none.
        after: Option<u64>,
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
        /// The line of a batch's file that it comes from: one line is one question until it expires.
        line: Option<Hash>,
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
    /// An order of two persons is executed by these statements: once, ever.
    Executed {
        /// Its hash.
        order: Hash,
        /// What was ordered.
        action: String,
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

/// What one call says about one thing: the statements, the name of the key that seals their bodies, what commits with them.
#[derive(Debug)]
pub struct Part {
    /// Names the key that seals the bodies.
    pub key_name: String,
    /// What is said.
    pub drafts: Vec<Draft>,
    /// What commits together with it.
    pub effects: Vec<Effect>,
}

/// Whether somebody waits for what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A person: goes first.
    Person,
    /// A batch.
    Batch,
}

pub(crate) struct Job {
    pub(crate) parts: Vec<Part>,
    pub(crate) reply: oneshot::Sender<Result<Committed, StoreError>>,
}

impl Job {
    fn statements(&self) -> usize {
        self.parts.iter().map(|part| part.drafts.len()).sum()
    }

    pub(crate) fn effects(&self) -> impl Iterator<Item = &Effect> {
        self.parts.iter().flat_map(|part| &part.effects)
    }
}

/// What the sequencer knows of the log's right edge between groups; lost with a group that was not written.
#[derive(Clone)]
pub(crate) struct Edge {
    pub(crate) frontier: Frontier,
    pub(crate) time: Time,
    /// The signed checkpoint of the head.
    pub(crate) signed: String,
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
    pub(crate) clock: Arc<LogClock>,
    pub(crate) process: Arc<str>,
    pub(crate) ground: Arc<Ground>,
    pub(crate) recent: Recent,
    /// Another process wrote since this one did: the next group looks before it writes.
    pub(crate) contended: bool,
}

impl Sequencer {
    /// Writes what comes in: persons' calls first, of batches a bounded number of statements at a time.
    pub(crate) async fn run(mut self, mut persons: mpsc::Receiver<Job>, mut batches: mpsc::Receiver<Job>) {
        let mut edge = None;
        let mut group_before = 0;
        loop {
            let first = tokio::select! {
                biased;
                job = persons.recv() => job,
                job = batches.recv() => job,
            };
            let Some(first) = first else { return };
            if group_before >= 6 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(job) = persons.try_recv()
            {
                group.push(job);
            }
            group_before = group.len();
            let mut statements: usize = group.iter().map(Job::statements).sum();
            while statements < OF_BATCHES
                && let Ok(job) = batches.try_recv()
            {
                statements += job.statements();
                group.push(job);
            }
            edge = self.write(edge, group).await;
        }
    }

    /// Writes a group and answers its callers. Gives the new edge, or nothing if it must be read again.
    async fn write(&mut self, edge: Option<Edge>, group: Vec<Job>) -> Option<Edge> {
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
                kept @ (StoreError::Recovering(_) | StoreError::Clock | StoreError::Full | StoreError::Failed) => {
                    kept.clone()
                }
                other => StoreError::NotWritten(other.to_string()),
            };
            let _ = job.reply.send(Err(said));
        }
        None
    }

    /// Writes the group: at once where this process wrote last, which the database itself refuses if that is no longer so; else
    /// after a look at what is there.
    async fn commit(&mut self, edge: Option<Edge>, group: &[Job]) -> Result<Written, StoreError> {
        let effects = || group.iter().flat_map(Job::effects);
        let rows = effects().filter_map(|effect| match effect {
            Effect::Import(import) => Some(import.rows.len()),
            _ => None,
        });
        let rows: usize = rows.sum();
        // What the database alone knows: which imports are in, which lines of a file are asked.
        let look = |effect: &Effect| matches!(effect, Effect::Import(_) | Effect::Asked { line: Some(_), .. });
        // Nobody wrote since, and nobody remembers anything that this process does not know the database to hold.
        let quiet = !self.contended && !effects().any(look);
        if let Some(edge) = edge
            .as_ref()
            .filter(|edge| quiet && self.ground.is_newest(&edge.signed))
        {
            self.ground.stands(edge.frontier.size())?;
            let mut composed = self.compose(edge.clone(), group, &Read::default())?;
            let script = std::mem::take(&mut composed.script);
            let written = on!(&self.database, pool => match pool.run_whole(script).await {
                Ok(()) => true,
                Err(error) if is_overtaken(&error) => false,
                Err(error) => return Err(error.into()),
            });
            if written {
                return self.committed(composed);
            }
            // Another process wrote, or the database knows of a question or a withdrawal that this one did not know.
            self.recent.clear();
        }
        let limit = CALL + Duration::from_millis(rows as u64);
        let database = self.database.clone();
        let composed = on!(&database, within limit, pool => {
            let mut tx = pool.begin_with(database.begin()).await?;
            let head = sqlx::query(database.lock_head()).fetch_one(&mut *tx).await?;
            let (number, size, time): (i64, i64, i64) = (head.try_get(0)?, head.try_get(1)?, head.try_get(2)?);
            let text: String = head.try_get(3)?;
            let size = size.unsigned_abs();
            self.ground.stands(size)?;
            self.origin.is_of(number, size)?;
            let edge = match edge {
                Some(edge) if self.ground.is_newest(&text) && edge.signed == text => {
                    self.contended = false;
                    // A group that was refused as a whole moves nothing but the time.
                    Edge { time: Time::from_millis(time), ..edge }
                }
                edge => {
                    self.contended = edge.is_some();
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
                    self.ground.holds(&all, &checkpoint, text.clone());
                    Edge { frontier, time: Time::from_millis(time), signed: text }
                }
            };
            let read: Read = read_for!(self, tx, group);
            let mut composed = self.compose(edge, group, &read)?;
            tx.run(std::mem::take(&mut composed.script)).await?;
            for Incoming { rows, number, key } in &composed.imports {
                // In the order of the table's key, a part at a time: few pages are touched, and little is held twice.
                for part in crate::records::in_order(&self.keys, &rows.rows).chunks(SEALED_AT_ONCE) {
                    let mut sealed = Script::default();
                    sealed.insert("records (subject, import, row, sealed)", crate::records::sealed(key, *number, rows, part)?, "");
                    tx.run(sealed).await?;
                }
            }
            tx.commit().await?;
            composed
        });
        self.committed(composed)
    }
}

impl Store {
    /// Says these statements: durable, in the log, provable. `key_name` names the key that seals their bodies.
    ///
    /// # Errors
    /// As `say`.
    pub async fn append(
        &self,
        key_name: String,
        drafts: Vec<Draft>,
        effects: Vec<Effect>,
    ) -> Result<Committed, StoreError> {
        let part = Part {
            key_name,
            drafts,
            effects,
        };
        self.say(vec![part], Urgency::Person).await
    }

    /// Says what one call says about many things: one run of at most 256 statements, in the order of its parts.
    ///
    /// # Errors
    /// `AlreadyImported` if an import's content is in; `Different` if other bytes stand under a question's id, or a line is a
    /// question already; `Withdrawn` if a mandate under which something is said is withdrawn; `NotWritten` if nothing was
    /// written: then nothing may leave. `Clock` while it is held.
    pub async fn say(&self, parts: Vec<Part>, urgency: Urgency) -> Result<Committed, StoreError> {
        if parts.iter().all(|part| part.drafts.is_empty()) {
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
        self.hand_in(parts, urgency).await
    }

    /// Hands statements to the sequencer, whatever was seen of the database before.
    pub(crate) async fn hand_in(&self, parts: Vec<Part>, urgency: Urgency) -> Result<Committed, StoreError> {
        let (reply, answer) = oneshot::channel();
        let jobs = match urgency {
            Urgency::Person => &self.jobs,
            Urgency::Batch => &self.batches,
        };
        jobs.send(Job { parts, reply })
            .await
            .map_err(|_| StoreError::NotWritten("the sequencer has ended".to_owned()))?;
        answer
            .await
            .map_err(|_| StoreError::NotWritten("the sequencer has ended".to_owned()))?
    }
}
