//! The durable queue of this node's own questions and withdrawals: which are asked again, when, and by which process.
//!
//! A row is made in the transaction that logs what is asked, so that nothing is asked and forgotten. Whoever asks holds a
//! lease that runs out by itself: of several processes one asks, and what a dead one held another takes up.

use std::collections::HashMap;
use std::time::Duration;

use sanku_federation_protocol::names::StatementId;
use sanku_tlog::Hash;
use sanku_values::Time;
use sqlx::{QueryBuilder, Row};

use crate::database::{Pool, on};
use crate::script::ROWS;
use crate::{Store, StoreError};

/// How long after it expires a question is remembered.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);

/// What is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedKind {
    /// A question.
    Query,
    /// The withdrawal of a mandate.
    Withdrawal,
}

impl AskedKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Withdrawal => "withdrawal",
        }
    }
}

/// Something of this node's own that is being asked by this process, until its lease runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its id.
    pub id: StatementId,
    /// What it is.
    pub kind: AskedKind,
    /// Nothing is asked from then on.
    pub expires: Time,
    /// Which attempt this is; the first was 1.
    pub attempt: u32,
}

/// What came of claiming one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is this process's to ask.
    Ours(Claimed),
    /// It is being asked now.
    Held,
    /// The queue does not know it.
    Unknown,
}

const CLAIM_SQLITE: &str = "UPDATE asked SET holder = $1, leased = $2, attempt = attempt + 1 WHERE origin = $5 AND id IN (SELECT id FROM asked WHERE origin = $5 AND due <= $3 AND leased <= $3 AND expires > $3 ORDER BY due LIMIT $4) RETURNING id, kind, expires, attempt";
const CLAIM_POSTGRES: &str = "UPDATE asked SET holder = $1, leased = $2, attempt = attempt + 1 WHERE origin = $5 AND id IN (SELECT id FROM asked WHERE origin = $5 AND due <= $3 AND leased <= $3 AND expires > $3 ORDER BY due LIMIT $4 FOR UPDATE SKIP LOCKED) RETURNING id, kind, expires, attempt";

/// A claimed row.
type Row4 = (String, String, i64, i64);

fn claimed((id, kind, expires, attempt): Row4) -> Result<Claimed, StoreError> {
    let corrupt = StoreError::Corrupt("the queue");
    Ok(Claimed {
        id: id.parse().map_err(|_| corrupt.clone())?,
        kind: match kind.as_str() {
            "query" => AskedKind::Query,
            "withdrawal" => AskedKind::Withdrawal,
            _ => return Err(corrupt),
        },
        expires: Time::from_millis(expires),
        attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
    })
}

impl Store {
    /// Claims at most so many of what is due, each for one process alone until the lease runs out.
    pub async fn claim(&self, now: Time, lease: Duration, most: u32) -> Result<Vec<Claimed>, StoreError> {
        if self.next_due().await?.is_none_or(|due| due > now) {
            // Looking takes no lock.
            return Ok(Vec::new());
        }
        let sql = match &self.database.pool {
            Pool::Sqlite(_) => CLAIM_SQLITE,
            Pool::Postgres(_) => CLAIM_POSTGRES,
        };
        let rows: Vec<Row4> = on!(&self.database, pool => {
            let mut tx = pool.begin_with(self.database.begin()).await?;
            let rows = sqlx::query(sql).bind(&*self.process).bind(now.plus(lease).millis()).bind(now.millis()).bind(i64::from(most)).bind(self.origin.to_string())
                .fetch_all(&mut *tx).await?;
            let rows = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).collect::<Result<_, sqlx::Error>>()?;
            tx.commit().await?;
            rows
        });
        rows.into_iter().map(claimed).collect()
    }

    /// Claims one, whether or not it is due.
    pub async fn claim_one(&self, id: StatementId, now: Time, lease: Duration) -> Result<Claim, StoreError> {
        let (row, known): (Option<Row4>, bool) = on!(&self.database, pool => {
            let mut tx = pool.begin_with(self.database.begin()).await?;
            let row = sqlx::query("UPDATE asked SET holder = $1, leased = $2, attempt = attempt + 1 WHERE origin = $4 AND id = $5 AND leased <= $3 RETURNING id, kind, expires, attempt")
                .bind(&*self.process).bind(now.plus(lease).millis()).bind(now.millis()).bind(self.origin.to_string()).bind(id.to_string())
                .fetch_optional(&mut *tx).await?;
            let row = row.map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).transpose()?;
            let known = sqlx::query("SELECT 1 FROM asked WHERE origin = $1 AND id = $2").bind(self.origin.to_string()).bind(id.to_string()).fetch_optional(&mut *tx).await?.is_some();
            tx.commit().await?;
            (row, known)
        });
        match row {
            Some(row) => claimed(row).map(Claim::Ours),
            None if known => Ok(Claim::Held),
            None => Ok(Claim::Unknown),
        }
    }

    /// The questions that these lines of a batch's file became, if they have not expired.
    pub async fn of_lines(&self, lines: &[Hash], now: Time) -> Result<HashMap<Hash, StatementId>, StoreError> {
        let mut rows: Vec<(Vec<u8>, String)> = Vec::new();
        for chunk in lines.chunks(ROWS) {
            on!(&self.database, pool => {
                let mut select = QueryBuilder::new("SELECT line, id FROM asked WHERE origin = ");
                let mut list = select.push_bind(self.origin.to_string()).push(" AND expires > ").push_bind(now.millis()).push(" AND line IN (").separated(", ");
                for line in chunk {
                    list.push_bind(line.bytes().to_vec());
                }
                select.push(")");
                for row in select.build().fetch_all(pool).await? {
                    rows.push((row.try_get(0)?, row.try_get(1)?));
                }
            });
        }
        let corrupt = StoreError::Corrupt("the queue");
        rows.into_iter()
            .map(|(line, id)| {
                let line = line.try_into().map(Hash::new).map_err(|_| corrupt.clone())?;
                Ok((line, id.parse().map_err(|_| corrupt.clone())?))
            })
            .collect()
    }

    /// Gives a claim back: it is due then, or came to its end.
    pub async fn ask_again_at(&self, id: StatementId, due: Option<Time>) -> Result<(), StoreError> {
        on!(&self.database, pool => sqlx::query("UPDATE asked SET due = $1, leased = 0 WHERE origin = $2 AND id = $3")
            .bind(due.map(Time::millis)).bind(self.origin.to_string()).bind(id.to_string()).execute(pool).await.map(drop)?);
        Ok(())
    }

    /// When something is due next; nothing if nothing waits.
    pub async fn next_due(&self) -> Result<Option<Time>, StoreError> {
        let due: Option<i64> = on!(&self.database, pool => sqlx::query("SELECT MIN(CASE WHEN leased > due THEN leased ELSE due END) FROM asked WHERE due IS NOT NULL AND origin = $1")
            .bind(self.origin.to_string()).fetch_one(pool).await?.try_get(0)?);
        Ok(due.map(Time::from_millis))
    }

    /// When one of this node's own is asked again; nothing if it came to its end.
    pub async fn due(&self, id: StatementId) -> Result<Option<Time>, StoreError> {
        let due: Option<Option<i64>> = on!(&self.database, pool => sqlx::query("SELECT due FROM asked WHERE origin = $1 AND id = $2")
            .bind(self.origin.to_string()).bind(id.to_string()).fetch_optional(pool).await?.map(|row| row.try_get(0)).transpose()?);
        Ok(due.flatten().map(Time::from_millis))
    }

    /// How many of this node's own questions and withdrawals wait to be asked again, those that are being asked among them.
    pub async fn waiting(&self) -> Result<Option<u64>, StoreError> {
        let count: i64 = on!(&self.database, pool => sqlx::query("SELECT COUNT(*) FROM asked WHERE due IS NOT NULL AND origin = $1")
            .bind(self.origin.to_string()).fetch_one(pool).await?.try_get(0)?);
        Ok(Some(count.unsigned_abs()))
    }

    /// This node's own questions that rest on a mandate and the withdrawals of it, oldest first; and those of which only
    /// their statement tells, since they were asked before the queue was kept.
    pub async fn own_of_mandate(&self, mandate: StatementId) -> Result<Vec<StatementId>, StoreError> {
        let ids: Result<Vec<String>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT questions.id FROM questions LEFT JOIN asked ON asked.origin = questions.origin AND asked.id = questions.id WHERE questions.origin = $1 AND (asked.mandate = $2 OR asked.id IS NULL) ORDER BY questions.id")
            .bind(self.origin.to_string()).bind(mandate.to_string()).fetch_all(pool).await?.iter().map(|row| row.try_get(0)).collect());
        ids?.into_iter()
            .map(|id| id.parse().map_err(|_| StoreError::Corrupt("a question")))
            .collect()
    }

    /// Forgets other nodes' questions 15 minutes after they expired, and withdrawals of mandates that ended; ends what
    /// expired in the queue. This node's own cases stay, and so does everything that stands in its log. Says how many
    /// questions were forgotten.
    pub async fn forget(&self, now: Time) -> Result<u64, StoreError> {
        let before = now.minus(REMEMBERED).millis();
        // Whatever its number: each of this node's logs holds its own cases.
        let own = format!("{}/node/{}/", self.origin.federation, self.origin.node);
        let forgotten = on!(&self.database, pool => {
            let mut tx = pool.begin_with(self.database.begin()).await?;
            let forgotten = sqlx::query("DELETE FROM questions WHERE expires < $1 AND substr(origin, 1, $2) <> $3")
                .bind(before).bind(i32::try_from(own.len()).unwrap_or(i32::MAX)).bind(&own).execute(&mut *tx).await?.rows_affected();
            sqlx::query("DELETE FROM withdrawals WHERE until < $1").bind(before).execute(&mut *tx).await?;
            sqlx::query("UPDATE asked SET due = NULL WHERE due IS NOT NULL AND expires <= $1").bind(now.millis()).execute(&mut *tx).await?;
            tx.commit().await?;
            forgotten
        });
        Ok(forgotten)
    }
}
