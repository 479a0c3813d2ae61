//! Whether the database holds what this node signed: its right edge at the start, all of it when somebody asks.

use std::collections::HashMap;

use sanku_federation_protocol::entry::Entry;
use sanku_tlog::{Checkpoint, Frontier, Hash, leaf_hash};
use sanku_values::Time;
use sqlx::Row;

use crate::blocks::{SIXTEEN, root_level};
use crate::database::on;
use crate::ground::broken;
use crate::log::{frontier_nodes, held, node_of, place, place_of};
use crate::{Store, StoreError};

impl Store {
    /// Whether the database holds what its own checkpoint says: looked at before anything more is signed.
    pub(crate) async fn holds_what_it_signed(&self, head: &str, holds: u64) -> Result<Checkpoint, StoreError> {
        let checkpoint = held(head, holds, &self.verifier)?;
        // One statement sees one moment, whatever another process writes meanwhile.
        let (size, last): (i64, Option<i64>) = on!(&self.database, pool => {
            let row = sqlx::query("SELECT size, (SELECT MAX(idx) FROM log WHERE number = $1) FROM head").bind(i64::from(self.origin.number)).fetch_one(pool).await?;
            (row.try_get(0)?, row.try_get(1)?)
        });
        if checkpoint.size != holds || last.map_or(0, |last| last + 1) != size {
            return Err(broken(holds, "it holds more or fewer entries"));
        }
        if self.root_at(holds).await? == checkpoint.root {
            Ok(checkpoint)
        } else {
            Err(broken(holds, "the entries are others"))
        }
    }

    /// The root of the log's first entries, as the database holds them now.
    pub(crate) async fn root_at(&self, size: u64) -> Result<Hash, StoreError> {
        let mut nodes = HashMap::new();
        for (level, index) in frontier_nodes(size) {
            let (tile, start, count) = place_of(level, index);
            let hash = node_of(&self.tile_hashes(tile, start, count).await?, count);
            nodes.insert(
                (level, index),
                hash.map_err(|_| broken(size, "hashes of the log are missing"))?,
            );
        }
        let frontier = Frontier::load(size, &mut |level, index| {
            nodes
                .get(&(level, index))
                .copied()
                .ok_or(StoreError::Corrupt("the log's hashes"))
        })?;
        Ok(frontier.root())
    }

    /// Recomputes the whole log: every entry, every stored hash, the checkpoint.
    ///
    /// # Errors
    /// `Broken` names the first index that does not hold.
    pub async fn verify(&self, mut progress: impl FnMut(u64, u64)) -> Result<Checkpoint, StoreError> {
        let (checkpoint, _) = self.checkpoint().await?;
        let mut frontier = Frontier::default();
        let mut time = Time::from_millis(0);
        let mut keys = HashMap::new();
        while frontier.size() < checkpoint.size {
            let first = frontier.size();
            // Bodies may be large: few at a time.
            let rows = self.rows(first, 128.min(checkpoint.size - first)).await?;
            if rows.is_empty() {
                return Err(StoreError::Broken {
                    index: first,
                    why: "the entry is missing",
                });
            }
            let roots = self.roots_from(0, first / SIXTEEN).await?;
            for ((place, line, body, key_name), index) in rows.iter().zip(first..) {
                if place.unsigned_abs() != index {
                    return Err(StoreError::Broken {
                        index,
                        why: "the entry is missing",
                    });
                }
                let entry = Entry::parse(line).map_err(|_| StoreError::Broken {
                    index,
                    why: "not an entry",
                })?;
                if entry.log != self.origin || entry.time < time {
                    return Err(StoreError::Broken {
                        index,
                        why: "another log's entry, or time goes back",
                    });
                }
                time = entry.time;
                if !keys.contains_key(key_name) {
                    let key = match self.data_key(key_name).await {
                        Ok(key) => Some(key),
                        // A destroyed key leaves the log whole: entries are proven without bodies.
                        Err(StoreError::Destroyed) => None,
                        Err(StoreError::Corrupt(_)) => {
                            return Err(StoreError::Broken {
                                index,
                                why: "the key of its body does not open",
                            });
                        }
                        Err(other) => return Err(other),
                    };
                    keys.insert(key_name.clone(), key);
                }
                if let Some(Some(key)) = keys.get(key_name) {
                    let place = self::place(i64::from(self.origin.number), index, leaf_hash(line));
                    let whole = key.open(place.as_bytes(), body);
                    if !whole.is_ok_and(|body| Hash::of(&body) == entry.body) {
                        return Err(StoreError::Broken {
                            index,
                            why: "the entry or its body was changed",
                        });
                    }
                }
                let mut full = Vec::new();
                frontier.push(leaf_hash(line), |height, index, hash| {
                    full.extend(root_level(height).map(|level| (level, index, hash)));
                });
                for (level, place, hash) in full {
                    let stored = match level {
                        0 => roots.get(&place).copied(),
                        level => self.roots_from(level, place).await?.get(&place).copied(),
                    };
                    // Those between the roots of full tiles are missing in an older log; where one stands it holds.
                    if stored.or((level <= 0).then_some(hash)) != Some(hash) {
                        let (many, why) = if level == 0 {
                            (15, "one of 16 entries from here was changed")
                        } else {
                            (255, "one of 256 entries from here was changed")
                        };
                        return Err(StoreError::Broken {
                            index: index - many,
                            why,
                        });
                    }
                }
            }
            progress(frontier.size(), checkpoint.size);
        }
        if frontier.root() != checkpoint.root {
            return Err(StoreError::Broken {
                index: checkpoint.size / 256 * 256,
                why: "one of the entries from here was changed",
            });
        }
        Ok(checkpoint)
    }
}
