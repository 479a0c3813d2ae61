//! What this node saw of others' logs as their witness, and which checkpoint of its own log bears the cosignature that counts.

use std::time::Duration;

use sanku_tlog::{Checkpoint, Hash, SignedNote, consistency_subtrees};
use sanku_values::Time;
use sqlx::Row;

use crate::database::on;
use crate::{Store, StoreError};

/// How often a cosigned checkpoint of this node's own log is kept for good.
const KEPT_EACH: Duration = Duration::from_secs(10 * 60);

impl Store {
    /// The newest checkpoint of another log that this node cosigned.
    pub async fn seen(&self, log: &str) -> Result<Option<(Checkpoint, SignedNote)>, StoreError> {
        let text: Option<String> = on!(&self.database, pool => sqlx::query("SELECT checkpoint FROM seen WHERE log = $1")
            .bind(log).fetch_optional(pool).await?.map(|row| row.try_get(0)).transpose()?);
        text.map(|text| parsed(&text)).transpose()
    }

    /// Makes a checkpoint of another log the newest that was seen, if `old` still is the size of the newest. Says whether it
    /// did: of two processes that witness one log at once, one must look again.
    pub async fn see(&self, log: &str, old: u64, new: &Checkpoint, note: &SignedNote) -> Result<bool, StoreError> {
        let (old, size) = (old.cast_signed(), new.size.cast_signed());
        let changed = on!(&self.database, pool => {
            let first = if old == 0 {
                sqlx::query("INSERT INTO seen (log, size, checkpoint) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING").bind(log).bind(size).bind(note.to_string()).execute(pool).await?.rows_affected()
            } else {
                0
            };
            if first == 0 {
                sqlx::query("UPDATE seen SET size = $1, checkpoint = $2 WHERE log = $3 AND size = $4").bind(size).bind(note.to_string()).bind(log).bind(old).execute(pool).await?.rows_affected()
            } else {
                first
            }
        });
        Ok(changed == 1)
    }

    /// The newest checkpoint of this node's own log that bears the cosignature that counts.
    pub async fn cosigned(&self) -> Result<Option<(Checkpoint, SignedNote)>, StoreError> {
        let text: Option<String> = on!(&self.database, pool => sqlx::query("SELECT checkpoint FROM cosigned WHERE number = $1")
            .bind(i64::from(self.origin.number)).fetch_optional(pool).await?.map(|row| row.try_get(0)).transpose()?);
        text.map(|text| parsed(&text)).transpose()
    }

    /// Keeps a checkpoint of this node's own log with the cosignature that counts; an older one changes nothing.
    pub async fn keep_cosigned(
        &self,
        checkpoint: &Checkpoint,
        note: &SignedNote,
        made: Time,
    ) -> Result<(), StoreError> {
        on!(&self.database, pool => sqlx::query("INSERT INTO witnessed (number, size, time, checkpoint) SELECT CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT), CAST($4 AS TEXT) WHERE NOT EXISTS (SELECT 1 FROM witnessed WHERE number = $1 AND time > $5) ON CONFLICT DO NOTHING")
            .bind(i64::from(self.origin.number)).bind(checkpoint.size.cast_signed()).bind(made.millis()).bind(note.to_string()).bind(made.minus(KEPT_EACH).millis()).execute(pool).await.map(drop)?);
        on!(&self.database, pool => sqlx::query("INSERT INTO cosigned (number, size, checkpoint) VALUES ($1, $2, $3) ON CONFLICT (number) DO UPDATE SET size = excluded.size, checkpoint = excluded.checkpoint WHERE excluded.size > cosigned.size")
            .bind(i64::from(self.origin.number)).bind(checkpoint.size.cast_signed()).bind(note.to_string()).execute(pool).await.map(drop)?);
        Ok(())
    }

    /// The consistency proof between two sizes of this node's log.
    pub async fn consistency_between(&self, old: u64, new: u64) -> Result<Vec<Hash>, StoreError> {
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        self.hashes(consistency_subtrees(old, new)?).await
    }
}

pub(crate) fn parsed(text: &str) -> Result<(Checkpoint, SignedNote), StoreError> {
    let note = SignedNote::parse(text.as_bytes()).map_err(|_| StoreError::Corrupt("a checkpoint that was seen"))?;
    let checkpoint = Checkpoint::parse(note.text()).map_err(|_| StoreError::Corrupt("a checkpoint that was seen"))?;
    Ok((checkpoint, note))
}
