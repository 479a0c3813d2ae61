//! Hashes of small subtrees, below the root of a full tile. Roots of sixteen entries stand in the database (`roots`, level 0), so
//! that a proof reads sixteen entries and sixteen hashes of its tile, and not the 256 entries. Where a log is older than these
//! rows, or another version wrote in between, the entries themselves are read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sanku_tlog::Hash;
use sqlx::Row;

use crate::database::on;
use crate::log::{hash_of_row, node_of};
use crate::{Store, StoreError};

/// Entries, or roots of them, that are read together.
pub(crate) const SIXTEEN: u64 = 16;

/// What one proof read: leaf hashes, and roots of sixteen, by the first of each sixteen.
#[derive(Default)]
pub(crate) struct Near {
    leaves: HashMap<u64, Vec<Hash>>,
    roots: HashMap<u64, Vec<Hash>>,
}

impl Store {
    /// The hash over `count` entries from `first`: a perfect subtree at this height, within one tile.
    pub(crate) async fn node_near(
        &self,
        near: &mut Near,
        height: u8,
        first: u64,
        count: i64,
    ) -> Result<Hash, StoreError> {
        if height < 4 {
            let from = first - first % SIXTEEN;
            let leaves = match near.leaves.entry(from) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(slot) => {
                    slot.insert(self.tile_hashes(0, from.cast_signed(), SIXTEEN.cast_signed()).await?)
                }
            };
            return node_of(part(leaves, first - from, count.unsigned_abs()), count);
        }
        let (place, roots) = (first / SIXTEEN, count.unsigned_abs() / SIXTEEN);
        let from = place - place % SIXTEEN;
        let known = match near.roots.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(slot) => slot.insert(self.roots_of_sixteen(from).await?),
        };
        let known = part(known, place - from, roots);
        if known.len() as u64 == roots {
            return node_of(known, roots.cast_signed());
        }
        node_of(&self.tile_hashes(0, first.cast_signed(), count).await?, count)
    }

    /// Roots of sixteen entries from this one on, one tile's at most, as far as they stand without a gap.
    pub(crate) async fn roots_of_sixteen(&self, from: u64) -> Result<Vec<Hash>, StoreError> {
        let (number, first) = (i64::from(self.origin.number), from.cast_signed());
        let rows: Result<Vec<(i64, Vec<u8>)>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT idx, hash FROM roots WHERE number = $1 AND level = 0 AND idx >= $2 AND idx < $3 ORDER BY idx")
            .bind(number).bind(first).bind(first + SIXTEEN.cast_signed()).fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect());
        let rows = rows?.into_iter().zip(first..);
        let without_gap = rows.take_while(|((index, _), expected)| index == expected);
        without_gap.map(|((_, hash), _)| hash_of_row(Ok(hash), 1)).collect()
    }
}

/// So many hashes from a place, or fewer where they end.
fn part(hashes: &[Hash], from: u64, count: u64) -> &[Hash] {
    let place = |number: u64| usize::try_from(number).map_or(hashes.len(), |number| number.min(hashes.len()));
    &hashes[place(from)..place(from + count)]
}
