//! Orders of two persons that this node executed: each once, by its hash. The entry that says so and the row that remembers it
//! commit together; what the order changes follows, and is taken up again if something came between.

use sanku_tlog::Hash;
use sanku_values::Time;
use sqlx::Row;

use crate::database::on;
use crate::{Store, StoreError};

/// An order that this node executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutedOrder {
    /// Its hash.
    pub order: Hash,
    /// What was ordered.
    pub action: String,
    /// The log's number and the index of the entry that says so.
    pub entry: (u32, u64),
    /// When.
    pub at: Time,
    /// Whether everything that follows from it was done.
    pub done: bool,
}

impl Store {
    /// Every order that was executed here, in the order of their entries.
    pub async fn executed_orders(&self) -> Result<Vec<ExecutedOrder>, StoreError> {
        let rows: Vec<(Vec<u8>, String, i64, i64, i64, i64)> = on!(&self.database, pool => {
            let rows = sqlx::query("SELECT hash, action, number, idx, executed, done FROM orders ORDER BY number, idx").fetch_all(pool).await?;
            rows.iter()
                .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?)))
                .collect::<Result<_, sqlx::Error>>()?
        });
        let corrupt = || StoreError::Corrupt("an executed order");
        let read = |(hash, action, number, index, at, done): (Vec<u8>, String, i64, i64, i64, i64)| {
            Ok(ExecutedOrder {
                order: Hash::new(hash.try_into().map_err(|_| corrupt())?),
                action,
                entry: (u32::try_from(number).map_err(|_| corrupt())?, index.unsigned_abs()),
                at: Time::from_millis(at),
                done: done != 0,
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// What became of an order here; nothing if it was never executed.
    pub async fn executed_order(&self, order: &Hash) -> Result<Option<ExecutedOrder>, StoreError> {
        let mut all = self.executed_orders().await?.into_iter();
        Ok(all.find(|executed| executed.order == *order))
    }

    /// Everything that follows from an order was done.
    pub async fn order_is_done(&self, order: &Hash) -> Result<(), StoreError> {
        on!(&self.database, pool => {
            sqlx::query("UPDATE orders SET done = 1 WHERE hash = $1").bind(order.bytes().to_vec()).execute(pool).await?;
        });
        Ok(())
    }
}
