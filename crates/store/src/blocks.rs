//! Hashes that proofs are made of, read sixteen at a time. Beside the roots of full tiles (heights 8, 16, …) those between them
//! (4, 12, …) stand in the database, so that a proof reads sixteen hashes for each factor of sixteen of the log, however long it
//! is. Where a log is older than these rows, or another version wrote in between, the tile's hashes are read.
//!
//! A log only grows: what was read once of a whole block holds for ever and is remembered. Whoever puts an older database under
//! a running process gets proofs that do not verify, never wrong ones.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use sanku_tlog::Hash;
use sqlx::Row;

use crate::database::on;
use crate::log::{hash_of_row, node_of};
use crate::{Store, StoreError};

/// Hashes that are read together.
pub(crate) const SIXTEEN: u64 = 16;
/// Blocks that are remembered, about a kilobyte each.
const BLOCKS: usize = 4096;

/// Hashes at one height by their places, sixteen at most.
type Block = Arc<BTreeMap<u64, Hash>>;

/// Whole blocks, by height and the place of their first hash.
#[derive(Debug, Default)]
pub(crate) struct Blocks(Mutex<HashMap<(u8, u64), Block>>);

impl Blocks {
    fn of(&self, name: (u8, u64)) -> Option<Block> {
        let blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.get(&name).cloned()
    }

    fn remember(&self, name: (u8, u64), block: &Block) {
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if blocks.len() >= BLOCKS {
            // Any that goes is read again when it is needed.
            let gone = blocks.keys().nth(fastrand::usize(..BLOCKS)).copied();
            gone.and_then(|gone| blocks.remove(&gone));
        }
        blocks.insert(name, Arc::clone(block));
    }
}

/// What one proof read already.
pub(crate) type Near = HashMap<(u8, u64), Block>;

/// At which `level` of the table `roots` the hash of a perfect subtree of this height is kept: roots of full tiles at 1, 2, …;
/// those between at 0, -1, …; the others at none.
pub(crate) fn root_level(height: u8) -> Option<i64> {
    match (i64::from(height / 8), height % 8) {
        (tiles, 4) => Some(-tiles),
        (tiles @ 1.., 0) => Some(tiles),
        _ => None,
    }
}

impl Store {
    /// The hash of a perfect subtree.
    pub(crate) async fn node(&self, near: &mut Near, height: u8, index: u64) -> Result<Hash, StoreError> {
        let unit = height / 4 * 4;
        let (first, count) = (index << (height - unit), 1_u64 << (height - unit));
        let block = self.block(near, unit, first - first % SIXTEEN).await?;
        let all: Option<Vec<_>> = (first..first + count).map(|place| block.get(&place).copied()).collect();
        if let Some(all) = all {
            return node_of(&all, count.cast_signed());
        }
        let (tile, within) = (height / 8, height % 8);
        let (start, count) = ((index << within).cast_signed(), 1_i64 << within);
        node_of(&self.tile_hashes(tile, start, count).await?, count)
    }

    async fn block(&self, near: &mut Near, height: u8, from: u64) -> Result<Block, StoreError> {
        let name = (height, from);
        if let Some(known) = near.get(&name).cloned().or_else(|| self.blocks.of(name)) {
            return Ok(known);
        }
        let block = Arc::new(match root_level(height) {
            Some(level) => self.roots_from(level, from).await?,
            None => {
                let leaves = self.tile_hashes(0, from.cast_signed(), SIXTEEN.cast_signed()).await?;
                (from..).zip(leaves).collect()
            }
        });
        if block.len() as u64 == SIXTEEN {
            self.blocks.remember(name, &block);
        }
        near.insert(name, Arc::clone(&block));
        Ok(block)
    }

    /// Hashes at a level from this one on, sixteen of them at most: those that are there, by their places.
    pub(crate) async fn roots_from(&self, level: i64, from: u64) -> Result<BTreeMap<u64, Hash>, StoreError> {
        let (number, first) = (i64::from(self.origin.number), from.cast_signed());
        let rows: Result<Vec<(i64, Vec<u8>)>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT idx, hash FROM roots WHERE number = $1 AND level = $2 AND idx >= $3 AND idx < $4 ORDER BY idx")
            .bind(number).bind(level).bind(first).bind(first + SIXTEEN.cast_signed()).fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect());
        let rows = rows?.into_iter();
        rows.map(|(place, hash)| Ok((place.unsigned_abs(), hash_of_row(Ok(hash), 1)?)))
            .collect()
    }
}
