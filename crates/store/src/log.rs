//! The log as it stands: checkpoints, runs, proofs, entries, hashes of tiles. Written by the sequencer alone.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use sanku_federation_protocol::names::Origin;
use sanku_federation_protocol::statement::{BodyPart, LogKeys, RunError, Statement, UnverifiedRun, VerifiedRun};
use sanku_tlog::{
    Checkpoint, EntryProof, Hash, NoteError, ProofError, SignedNote, VerifierKey, consistency_subtrees,
    inclusion_subtrees, leaf_hash, run_proof_subtrees, tiles,
};
use sqlx::Row;

use crate::blocks::Near;
use crate::database::on;
use crate::ground::broken;
use crate::sealing::DataKey;
use crate::{Store, StoreError};

/// Our own log's key, for reading our own statements.
pub(crate) struct OwnKey {
    pub(crate) key: VerifierKey,
    /// A checkpoint that needs no checking: this process signed it just now.
    pub(crate) fresh: Option<(Arc<SignedNote>, Checkpoint)>,
}

impl LogKeys for OwnKey {
    fn log_key(&self, log: &Origin) -> Result<VerifierKey, RunError> {
        if log.to_string() == self.key.name() {
            Ok(self.key.clone())
        } else {
            Err(RunError::NotTrusted("not our own log"))
        }
    }

    fn checkpoint(&self, note: &SignedNote, key: &VerifierKey) -> Result<Checkpoint, NoteError> {
        match &self.fresh {
            Some((fresh, checkpoint)) if std::ptr::eq(fresh.as_ref(), note) => Ok(checkpoint.clone()),
            _ => Checkpoint::verify(note, key),
        }
    }
}

impl Store {
    /// The newest signed checkpoint.
    pub async fn checkpoint(&self) -> Result<(Checkpoint, SignedNote), StoreError> {
        let text: String =
            on!(&self.database, pool => sqlx::query("SELECT checkpoint FROM head").fetch_one(pool).await?.try_get(0)?);
        let note = SignedNote::parse(text.as_bytes()).map_err(|_| StoreError::Corrupt("the checkpoint"))?;
        let checkpoint =
            Checkpoint::verify(&note, &self.verifier).map_err(|_| StoreError::Corrupt("the checkpoint"))?;
        Ok((checkpoint, note))
    }
    /// A run of our own log as it would be sent, under the newest checkpoint, bodies open.
    pub async fn run(&self, first: u64, count: u64) -> Result<VerifiedRun, StoreError> {
        let newest = self.checkpoint().await?;
        self.run_under(newest, first, count).await
    }

    /// A run of our own log under a checkpoint of ours that holds it.
    pub async fn run_under(
        &self,
        (checkpoint, note): (Checkpoint, SignedNote),
        first: u64,
        count: u64,
    ) -> Result<VerifiedRun, StoreError> {
        let nodes = self.nodes(run_proof_subtrees(first, count, checkpoint.size)?).await?;
        let proof = sanku_tlog::run_proof(first, count, checkpoint.size, |level, index| {
            nodes
                .get(&(level, index))
                .copied()
                .ok_or(StoreError::Corrupt("the log's hashes"))
        })?;
        let statements = self.statements(first, count).await?;
        let run = UnverifiedRun {
            checkpoint: Arc::new(note),
            origin: self.origin.clone(),
            first,
            proof,
            statements,
        };
        run.verify(&OwnKey {
            key: self.verifier.clone(),
            fresh: None,
        })
        .map_err(|_| StoreError::Corrupt("the log"))
    }

    /// The proof of one entry, for anybody to keep, and the entry's line.
    pub async fn prove(&self, index: u64) -> Result<(EntryProof, Vec<u8>), StoreError> {
        let (checkpoint, note) = self.checkpoint().await?;
        if index >= checkpoint.size {
            return Err(StoreError::NoSuchEntry { size: checkpoint.size });
        }
        let subtrees = inclusion_subtrees(index, checkpoint.size)?;
        let path = self.hashes(subtrees).await?;
        let entry = self
            .entries(index, 1)
            .await?
            .pop()
            .ok_or(StoreError::Corrupt("the log"))?;
        Ok((
            EntryProof {
                index,
                path,
                checkpoint: note,
            },
            entry,
        ))
    }

    /// The consistency proof from an older size to the newest checkpoint.
    pub async fn consistency(&self, old: u64) -> Result<(Vec<Hash>, SignedNote), StoreError> {
        let (checkpoint, note) = self.checkpoint().await?;
        Ok((self.hashes(consistency_subtrees(old, checkpoint.size)?).await?, note))
    }

    /// Lines of entries.
    pub async fn entries(&self, first: u64, count: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        let rows: Result<Vec<Vec<u8>>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT entry FROM log WHERE number = $1 AND idx >= $2 AND idx < $3 ORDER BY idx")
            .bind(i64::from(self.origin.number)).bind(first.cast_signed()).bind((first + count).cast_signed()).fetch_all(pool).await?.iter().map(|row| row.try_get(0)).collect());
        Ok(rows?)
    }

    pub(crate) async fn rows(&self, first: u64, count: u64) -> Result<Vec<LogRow>, StoreError> {
        let rows: Result<Vec<LogRow>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT idx, entry, body, key FROM log WHERE number = $1 AND idx >= $2 AND idx < $3 ORDER BY idx")
            .bind(i64::from(self.origin.number)).bind(first.cast_signed()).bind((first + count).cast_signed()).fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?))).collect());
        Ok(rows?)
    }

    async fn statements(&self, first: u64, count: u64) -> Result<Vec<Statement>, StoreError> {
        let number = i64::from(self.origin.number);
        let mut statements = Vec::new();
        let mut keys: HashMap<String, DataKey> = HashMap::new();
        for (index, entry, body, key_name) in self.rows(first, count).await? {
            let key = match keys.entry(key_name) {
                Slot::Occupied(known) => known.into_mut(),
                Slot::Vacant(slot) => {
                    let key = self.data_key(slot.key()).await?;
                    slot.insert(key)
                }
            };
            let body = key.open(place(number, index.unsigned_abs(), leaf_hash(&entry)).as_bytes(), &body)?;
            statements.push(
                Statement::parse(&entry, BodyPart::Open(body.into())).map_err(|_| StoreError::Corrupt("an entry"))?,
            );
        }
        if statements.len() as u64 == count {
            Ok(statements)
        } else {
            Err(StoreError::Corrupt("an entry is missing"))
        }
    }

    pub(crate) async fn data_key(&self, name: &str) -> Result<DataKey, StoreError> {
        let row: Option<Vec<u8>> = on!(&self.database, pool => sqlx::query("SELECT wrapped FROM keys WHERE name = $1").bind(name).fetch_optional(pool).await?.map(|row| row.try_get(0)).transpose()?);
        self.keys.unwrap(name, &row.ok_or(StoreError::Destroyed)?)
    }

    pub(crate) async fn hashes(&self, subtrees: Vec<sanku_tlog::Subtree>) -> Result<Vec<Hash>, StoreError> {
        let nodes = self.nodes(subtrees.clone()).await?;
        subtrees
            .into_iter()
            .map(|subtree| {
                subtree.hash(&mut |level, index| {
                    nodes
                        .get(&(level, index))
                        .copied()
                        .ok_or(StoreError::Corrupt("the log's hashes"))
                })
            })
            .collect()
    }

    /// The perfect subtrees that these subtrees are made of.
    async fn nodes(&self, subtrees: Vec<sanku_tlog::Subtree>) -> Result<HashMap<(u8, u64), Hash>, StoreError> {
        let mut wanted = Vec::new();
        for subtree in subtrees {
            // Asking for a hash that is not there tells which are needed.
            let _ = subtree.hash::<std::convert::Infallible>(&mut |level, index| {
                wanted.push((level, index));
                Ok(sanku_tlog::empty_root())
            });
        }
        let mut nodes = HashMap::new();
        let mut near = Near::default();
        for (level, index) in wanted {
            nodes.insert((level, index), self.node(&mut near, level, index).await?);
        }
        Ok(nodes)
    }

    /// Hashes of a tile's level: leaf hashes at level 0, roots of full tiles above.
    pub async fn tile_hashes(&self, tile_level: u8, start: i64, count: i64) -> Result<Vec<Hash>, StoreError> {
        let number = i64::from(self.origin.number);
        let rows: Result<Vec<Vec<u8>>, sqlx::Error> = on!(&self.database, pool => {
            let rows = if tile_level == 0 {
                sqlx::query("SELECT entry FROM log WHERE number = $1 AND idx >= $2 AND idx < $3 ORDER BY idx").bind(number).bind(start).bind(start + count).fetch_all(pool).await?
            } else {
                sqlx::query("SELECT hash FROM roots WHERE number = $1 AND level = $4 AND idx >= $2 AND idx < $3 ORDER BY idx").bind(number).bind(start).bind(start + count).bind(i64::from(tile_level)).fetch_all(pool).await?
            };
            rows.iter().map(|row| row.try_get(0)).collect()
        });
        rows?
            .into_iter()
            .map(|bytes| hash_of_row(Ok(bytes), tile_level))
            .collect()
    }
}

/// Index, entry, sealed body, name of the key.
pub(crate) type LogRow = (i64, Vec<u8>, Vec<u8>, String);

/// What a body's seal is bound to: its place and its entry's leaf hash, so that neither changes without the other.
pub(crate) fn place(number: i64, index: u64, leaf: Hash) -> String {
    format!("log {number} {index} {leaf}")
}

/// The head's checkpoint, if this log's key signed it.
pub(crate) fn held(text: &str, holds: u64, key: &VerifierKey) -> Result<Checkpoint, StoreError> {
    SignedNote::parse(text.as_bytes())
        .and_then(|note| Checkpoint::verify(&note, key))
        .map_err(|_| broken(holds, "the head's checkpoint is not signed by this log's key"))
}

/// The perfect subtrees that make up a log of `size`, largest first.
pub(crate) fn frontier_nodes(size: u64) -> Vec<(u8, u64)> {
    let mut start = 0_u64;
    let mut nodes = Vec::new();
    for level in (0..64_u8).rev().filter(|level| size >> level & 1 == 1) {
        nodes.push((level, start >> level));
        start += 1 << level;
    }
    nodes
}

/// Where the hashes of a perfect subtree stand: tile level, first index at that level, how many.
pub(crate) fn place_of(level: u8, index: u64) -> (u8, i64, i64) {
    let (tile, tile_index, range) = tiles::Tile::of_node(level, index);
    (
        tile,
        (tile_index * tiles::WIDTH).cast_signed() + i64::try_from(range.start).unwrap_or(0),
        i64::try_from(range.len()).unwrap_or(0),
    )
}

pub(crate) fn node_of(hashes: &[Hash], count: i64) -> Result<Hash, StoreError> {
    if i64::try_from(hashes.len()) != Ok(count) {
        return Err(StoreError::Corrupt("the log's hashes"));
    }
    tiles::hash_of(hashes).ok_or(StoreError::Corrupt("the log's hashes"))
}

pub(crate) fn hash_of_row(bytes: Result<Vec<u8>, sqlx::Error>, tile_level: u8) -> Result<Hash, StoreError> {
    let bytes = bytes?;
    if tile_level == 0 {
        return Ok(leaf_hash(&bytes));
    }
    bytes
        .try_into()
        .map(Hash::new)
        .map_err(|_| StoreError::Corrupt("the log's hashes"))
}

impl From<ProofError> for StoreError {
    fn from(_: ProofError) -> Self {
        Self::Corrupt("a range of the log")
    }
}
