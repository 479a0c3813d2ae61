//! This node's logs under earlier numbers: they are read as the newest is, and take nothing. What they hold of its own
//! questions goes on under the newest.

use std::sync::Arc;

use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_tlog::{Checkpoint, SignedNote, VerifierKey};
use sanku_values::Time;
use sqlx::Row;

use crate::database::on;
use crate::{Store, StoreError};

/// How an earlier log ended here.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) note: SignedNote,
    /// It is a beginning of what was said, and not something else.
    stands: bool,
}

/// How many of another node's runs are given at once.
const PAGE: i64 = 64;

/// A run of another log that this node received.
#[derive(Clone, Debug)]
pub struct ReceivedRun {
    /// The log of the question that it is about.
    pub origin: Origin,
    /// That question's id.
    pub id: StatementId,
    /// Index of its first entry.
    pub first: u64,
    /// Its lines.
    pub lines: Vec<u8>,
}

/// Origin, id, first index, how many, sealed lines.
type ReceivedRow = (String, String, i64, i64, Vec<u8>);

/// Number, checkpoint, key, whether it stands.
type EarlierRow = (i64, String, String, i64);

impl Store {
    /// Every log of this node up to this one, the newest first.
    pub fn own_origins(&self) -> impl Iterator<Item = Origin> + use<> {
        let own = self.origin.clone();
        (1..=own.number)
            .rev()
            .map(move |number| Origin { number, ..own.clone() })
    }

    /// The log under whose number this node asked something.
    pub async fn own_origin(&self, id: StatementId) -> Result<Origin, StoreError> {
        let mut origins = self.own_origins();
        let mut found = origins.next().unwrap_or_else(|| self.origin.clone());
        for older in origins {
            if self.question(&found, id).await?.is_some() {
                break;
            }
            found = older;
        }
        Ok(found)
    }

    /// This node's earlier logs that the database holds, the oldest first.
    pub async fn earlier(&self) -> Result<Vec<Self>, StoreError> {
        if self.origin.number == 1 || self.ended.is_some() {
            return Ok(Vec::new());
        }
        let rows: Result<Vec<EarlierRow>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT number, checkpoint, key, stands FROM earlier ORDER BY number")
            .fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).collect());
        rows?.into_iter().map(|row| self.under(row)).collect()
    }

    fn under(&self, (number, text, key, stands): EarlierRow) -> Result<Self, StoreError> {
        let corrupt = || StoreError::Corrupt("an earlier log");
        let verifier: VerifierKey = key.parse().map_err(|_| corrupt())?;
        let note = SignedNote::parse(text.as_bytes()).map_err(|_| corrupt())?;
        let checkpoint = Checkpoint::verify(&note, &verifier).map_err(|_| corrupt())?;
        // Nobody listens at the other end: it takes nothing.
        let (jobs, _) = tokio::sync::mpsc::channel(1);
        let (batches, _) = tokio::sync::mpsc::channel(1);
        Ok(Self {
            origin: Origin {
                number: u32::try_from(number).map_err(|_| corrupt())?,
                ..self.origin.clone()
            },
            verifier,
            jobs,
            batches,
            blocks: Arc::default(),
            ended: Some(Arc::new(Ended {
                checkpoint,
                note,
                stands: stands == 1,
            })),
            ..self.clone()
        })
    }

    /// Whether what this log holds is a beginning of what was said under its number. Of the newest that is always so.
    pub fn stands(&self) -> bool {
        self.ended.as_ref().is_none_or(|ended| ended.stands)
    }

    /// A run of an earlier log under what is cosigned of it, or under its end; nothing if that is not what was said.
    pub(crate) async fn run_of_earlier(&self, first: u64, count: u64) -> Result<Option<VerifiedRun>, StoreError> {
        if let Some(cosigned) = self.cosigned().await?
            && cosigned.0.size >= first + count
        {
            match self.run_under(cosigned, first, count).await {
                Ok(run) => return Ok(Some(run)),
                Err(StoreError::Corrupt(_)) if !self.stands() => {}
                Err(error) => return Err(error),
            }
        }
        if self.stands() {
            return self.run(first, count).await.map(Some);
        }
        tracing::warn!(log = %self.origin, "an earlier log holds what was not witnessed, and it is not given to others");
        Ok(None)
    }

    /// The first checkpoint of this log with the cosignature that counts that holds so many entries, of those that are kept,
    /// and when that was made.
    pub async fn first_witnessed(&self, size: u64) -> Result<Option<(Time, Checkpoint, SignedNote)>, StoreError> {
        let row: Option<(i64, String)> = on!(&self.database, pool => sqlx::query("SELECT time, checkpoint FROM witnessed WHERE number = $1 AND size >= $2 ORDER BY size LIMIT 1")
            .bind(i64::from(self.origin.number)).bind(size.cast_signed()).fetch_optional(pool).await?.map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?);
        row.map(|(time, text)| {
            let (checkpoint, note) = crate::witness::parsed(&text)?;
            Ok((Time::from_millis(time), checkpoint, note))
        })
        .transpose()
    }

    /// Runs of another log that this node received and that reach to `from` or beyond, as lines of a stream; a page of those
    /// that begin at `at` or behind it, the first first. Of those that begin at one place the longest leads.
    pub async fn received_from(&self, log: &Origin, from: u64, at: u64) -> Result<Vec<ReceivedRun>, StoreError> {
        let rows: Result<Vec<ReceivedRow>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT origin, id, first, count, wire FROM received WHERE log = $1 AND first + count > $2 AND first >= $3 ORDER BY first, count DESC LIMIT $4")
            .bind(log.to_string()).bind(from.cast_signed()).bind(at.cast_signed()).bind(PAGE).fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?))).collect());
        let corrupt = || StoreError::Corrupt("a received run");
        let mut runs = Vec::new();
        for (origin, id, first, count, wire) in rows? {
            let key = match self.data_key(&format!("question {origin} {id}")).await {
                Ok(key) => key,
                // Its case was destroyed.
                Err(StoreError::Destroyed) => continue,
                Err(error) => return Err(error),
            };
            runs.push(ReceivedRun {
                lines: key.open(
                    format!("received {origin} {id} {log} {first} {count}").as_bytes(),
                    &wire,
                )?,
                origin: origin.parse().map_err(|_| corrupt())?,
                id: id.parse().map_err(|_| corrupt())?,
                first: first.unsigned_abs(),
            });
        }
        Ok(runs)
    }

    /// Questions of another log behind this id that are remembered here; a page of them, the oldest first.
    pub async fn questions_of(&self, log: &Origin, after: StatementId) -> Result<Vec<StatementId>, StoreError> {
        let ids: Result<Vec<String>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT id FROM questions WHERE origin = $1 AND id > $2 ORDER BY id LIMIT $3")
            .bind(log.to_string()).bind(after.to_string()).bind(PAGE).fetch_all(pool).await?.iter().map(|row| row.try_get(0)).collect());
        let ids = ids?.into_iter();
        ids.map(|id| id.parse().map_err(|_| StoreError::Corrupt("a question")))
            .collect()
    }

    /// How many notes are kept: another process of this node may have taken some.
    pub async fn notes_kept(&self) -> Result<u64, StoreError> {
        let count: i64 =
            on!(&self.database, pool => sqlx::query("SELECT COUNT(*) FROM notes").fetch_one(pool).await?.try_get(0)?);
        Ok(count.unsigned_abs())
    }
}
