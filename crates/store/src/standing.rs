//! What an administrator sees of the store at a glance.

use sanku_federation_protocol::entry::Entry;
use sanku_values::Time;
use sqlx::Row;

use crate::database::on;
use crate::{Store, StoreError};

/// The log and the imports, as counted now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Entries under the newest checkpoint.
    pub entries: u64,
    /// When the newest entry was said; nothing in an empty log.
    pub newest: Option<Time>,
    /// Imports that are in.
    pub imports: u64,
    /// Rows that those imports brought.
    pub records: u64,
}

impl Store {
    /// The log and the imports. Also tells whether the database answers.
    pub async fn standing(&self) -> Result<Standing, StoreError> {
        let (size, time, imports, records): (i64, i64, i64, i64) = on!(&self.database, pool => {
            let head = sqlx::query("SELECT size, time FROM head").fetch_one(pool).await?;
            let held = sqlx::query("SELECT COUNT(*), CAST(COALESCE(SUM(accepted), 0) AS BIGINT) FROM imports").fetch_one(pool).await?;
            (head.try_get(0)?, head.try_get(1)?, held.try_get(0)?, held.try_get(1)?)
        });
        Ok(Standing {
            entries: size.unsigned_abs(),
            newest: (size > 0).then(|| Time::from_millis(time)),
            imports: imports.unsigned_abs(),
            records: records.unsigned_abs(),
        })
    }

    /// Since when something stands in this log that no cosignature that counts covers; nothing if all is covered.
    pub async fn unwitnessed_since(&self) -> Result<Option<Time>, StoreError> {
        let covered = self.cosigned().await?.map_or(0, |(checkpoint, _)| checkpoint.size);
        let Some(line) = self.entries(covered, 1).await?.pop() else {
            return Ok(None);
        };
        let entry = Entry::parse(&line).map_err(|_| StoreError::Corrupt("an entry"))?;
        Ok(Some(entry.time))
    }
}
