//! Questions: what was asked of this node and by it, what it said, what it received.

use std::collections::{BTreeMap, BTreeSet};

use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, Time};
use sqlx::{QueryBuilder, Row};

use crate::database::on;
use crate::script::ROWS;
use crate::{Store, StoreError};

/// A question that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Its leaf hash: other bytes under the same id have another.
    pub leaf: Hash,
}

/// Log, first index, how many, sealed lines.
type ReceivedRow = (String, i64, i64, Vec<u8>);

/// The name of the key that seals a question's bodies at this node.
pub fn key_name(origin: &Origin, id: StatementId) -> String {
    format!("question {origin} {id}")
}

impl Store {
    /// Whether a question came before.
    pub async fn question(&self, origin: &Origin, id: StatementId) -> Result<Option<Remembered>, StoreError> {
        Ok(self.questions(origin, &[id]).await?.remove(&id))
    }

    /// Which of these questions of one asker came before.
    pub async fn questions(
        &self,
        origin: &Origin,
        ids: &[StatementId],
    ) -> Result<BTreeMap<StatementId, Remembered>, StoreError> {
        let mut rows: Vec<(String, Vec<u8>)> = Vec::new();
        for chunk in ids.chunks(ROWS) {
            on!(&self.database, pool => {
                let mut select = QueryBuilder::new("SELECT id, leaf FROM questions WHERE origin = ");
                let mut list = select.push_bind(origin.to_string()).push(" AND id IN (").separated(", ");
                for id in chunk {
                    list.push_bind(id.to_string());
                }
                select.push(")");
                for row in select.build().fetch_all(pool).await? {
                    rows.push((row.try_get(0)?, row.try_get(1)?));
                }
            });
        }
        let corrupt = StoreError::Corrupt("a question");
        rows.into_iter()
            .map(|(id, leaf)| {
                let id = id.parse().map_err(|_| corrupt.clone())?;
                let leaf = leaf.try_into().map(Hash::new).map_err(|_| corrupt.clone())?;
                Ok((id, Remembered { leaf }))
            })
            .collect()
    }

    /// What this node said about a question, as runs in the order in which it said them.
    pub async fn said(&self, origin: &Origin, id: StatementId) -> Result<Vec<VerifiedRun>, StoreError> {
        let rows: Result<Vec<(i64, i64)>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT first, count FROM said WHERE origin = $1 AND id = $2 AND number = $3 ORDER BY first")
            .bind(origin.to_string()).bind(id.to_string()).bind(i64::from(self.origin.number)).fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect());
        let mut runs = Vec::new();
        for (first, count) in rows? {
            runs.push(self.run(first.unsigned_abs(), count.unsigned_abs()).await?);
        }
        Ok(runs)
    }

    /// When a question that is remembered expires.
    pub async fn expires(&self, origin: &Origin, id: StatementId) -> Result<Option<Time>, StoreError> {
        let expires: Option<i64> = on!(&self.database, pool => sqlx::query("SELECT expires FROM questions WHERE origin = $1 AND id = $2")
            .bind(origin.to_string()).bind(id.to_string()).fetch_optional(pool).await?.map(|row| row.try_get(0)).transpose()?);
        Ok(expires.map(Time::from_millis))
    }

    /// Where the newest run stands that this node said about a question.
    pub async fn newest_said(&self, origin: &Origin, id: StatementId) -> Result<Option<u64>, StoreError> {
        let first: Option<i64> = on!(&self.database, pool => sqlx::query("SELECT MAX(first) FROM said WHERE origin = $1 AND id = $2 AND number = $3")
            .bind(origin.to_string()).bind(id.to_string()).bind(i64::from(self.origin.number)).fetch_one(pool).await?.try_get(0)?);
        Ok(first.map(i64::unsigned_abs))
    }

    /// Keeps other nodes' runs about something of this node's own, sealed under its key.
    pub async fn keep(
        &self,
        origin: &Origin,
        id: StatementId,
        runs: &[VerifiedRun],
        now: Time,
    ) -> Result<(), StoreError> {
        if runs.is_empty() {
            return Ok(());
        }
        let key = self.data_key(&key_name(origin, id)).await?;
        for run in runs {
            let wire = sanku_federation_protocol::stream::write_run(run);
            let count = i64::try_from(run.statements.len()).unwrap_or(i64::MAX);
            let place = format!("received {origin} {id} {} {} {count}", run.origin, run.first);
            let sealed = key.seal(place.as_bytes(), wire.as_bytes())?;
            on!(&self.database, pool => sqlx::query("INSERT INTO received (origin, id, log, first, count, wire, size, root) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING")
                .bind(origin.to_string()).bind(id.to_string()).bind(run.origin.to_string()).bind(run.first.cast_signed()).bind(count).bind(sealed).bind(run.size.cast_signed()).bind(run.root.bytes().to_vec()).execute(pool).await.map(drop)?);
            self.hold_checkpoint(&run.origin.to_string(), run.size, run.root, &run.checkpoint, true, now)
                .await?;
        }
        Ok(())
    }

    /// Other nodes' runs about a question of this node, as lines of a stream.
    pub async fn received(&self, origin: &Origin, id: StatementId) -> Result<Vec<Vec<u8>>, StoreError> {
        let rows: Result<Vec<ReceivedRow>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT log, first, count, wire FROM received WHERE origin = $1 AND id = $2 ORDER BY log, first, count")
            .bind(origin.to_string()).bind(id.to_string()).fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).collect());
        let rows = rows?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.data_key(&key_name(origin, id)).await?;
        rows.into_iter()
            .map(|(log, first, count, wire)| {
                key.open(
                    format!("received {origin} {id} {log} {first} {count}").as_bytes(),
                    &wire,
                )
            })
            .collect()
    }

    /// Whether a mandate of an asker is withdrawn.
    pub async fn is_withdrawn(&self, asker: DivisionCode, mandate: StatementId, now: Time) -> Result<bool, StoreError> {
        Ok(!self.withdrawn(asker, &[mandate], now).await?.is_empty())
    }

    /// Which of these mandates of an asker are withdrawn.
    pub async fn withdrawn(
        &self,
        asker: DivisionCode,
        mandates: &[StatementId],
        now: Time,
    ) -> Result<BTreeSet<StatementId>, StoreError> {
        let mut found: Vec<String> = Vec::new();
        for chunk in mandates.chunks(ROWS) {
            on!(&self.database, pool => {
                let mut select = QueryBuilder::new("SELECT mandate FROM withdrawals WHERE asker = ");
                let mut list = select.push_bind(i64::from(asker.number())).push(" AND until >= ").push_bind(now.millis()).push(" AND mandate IN (").separated(", ");
                for mandate in chunk {
                    list.push_bind(mandate.to_string());
                }
                select.push(")");
                for row in select.build().fetch_all(pool).await? {
                    found.push(row.try_get(0)?);
                }
            });
        }
        found
            .into_iter()
            .map(|mandate| mandate.parse().map_err(|_| StoreError::Corrupt("a withdrawal")))
            .collect()
    }

    /// Keeps a note.
    pub async fn keep_note(&self, name: &str, number: u64, bytes: &str) -> Result<(), StoreError> {
        on!(&self.database, pool => sqlx::query("INSERT INTO notes (name, number, bytes) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(name).bind(number.cast_signed()).bind(bytes).execute(pool).await.map(drop)?);
        Ok(())
    }

    /// Every note that was kept.
    pub async fn notes(&self) -> Result<Vec<String>, StoreError> {
        let notes: Result<Vec<String>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT bytes FROM notes ORDER BY name, number").fetch_all(pool).await?.iter().map(|row| row.try_get(0)).collect());
        Ok(notes?)
    }
}
