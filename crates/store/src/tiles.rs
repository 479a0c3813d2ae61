//! Hashes that were read before. A log only grows, so the beginning of a tile that was read once holds for ever; a proof near
//! the log's end then reads the newest entries alone. Whoever puts an older database under a running process gets proofs that
//! do not verify, never wrong ones.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sanku_tlog::{Hash, tiles};

use crate::{Store, StoreError};

/// Tiles that are remembered, 8 KiB each.
const TILES: usize = 512;

/// Beginnings of tiles, by level and index.
#[derive(Debug, Default)]
pub(crate) struct Tiles(Mutex<HashMap<(u8, u64), Vec<Hash>>>);

impl Tiles {
    fn beginning(&self, tile: (u8, u64)) -> Vec<Hash> {
        let tiles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tiles.get(&tile).cloned().unwrap_or_default()
    }

    fn remember(&self, tile: (u8, u64), hashes: &[Hash]) {
        let mut tiles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tiles.len() >= TILES && !tiles.contains_key(&tile) {
            // Any that goes is read again when it is needed.
            let gone = tiles.keys().nth(fastrand::usize(..TILES)).copied();
            gone.and_then(|gone| tiles.remove(&gone));
        }
        let known = tiles.entry(tile).or_default();
        if known.len() < hashes.len() {
            *known = hashes.to_vec();
        }
    }
}

impl Store {
    /// So many hashes of a tile's level from `start`, all within one tile.
    pub(crate) async fn hashes_within(&self, level: u8, start: i64, count: i64) -> Result<Vec<Hash>, StoreError> {
        let start = start.unsigned_abs();
        let (tile, offset) = (start / tiles::WIDTH, start % tiles::WIDTH);
        let needed = offset + count.unsigned_abs();
        let mut hashes = self.tiles.beginning((level, tile));
        let known = hashes.len() as u64;
        if known < needed {
            let from = (tile * tiles::WIDTH + known).cast_signed();
            hashes.extend(self.tile_hashes(level, from, (needed - known).cast_signed()).await?);
            self.tiles.remember((level, tile), &hashes);
        }
        let range = usize::try_from(offset).unwrap_or(0)..usize::try_from(needed).unwrap_or(0);
        Ok(hashes
            .get(range)
            .ok_or(StoreError::Corrupt("the log's hashes"))?
            .to_vec())
    }
}
