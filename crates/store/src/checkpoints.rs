//! Checkpoints of other nodes' logs that this node holds something under, what covers them, and forks that were found.
//!
//! Two processes may link the same log at once: each writes the same truth, row by row.

use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_tlog::{Checkpoint, Hash, SignedNote};
use sanku_values::Time;
use sqlx::Row;

use crate::database::on;
use crate::{Store, StoreError};

/// A log of which something is unwitnessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLog {
    /// Its origin.
    pub log: String,
    /// How many of its checkpoints.
    pub checkpoints: u64,
    /// Since when.
    pub since: Time,
}

/// A checkpoint that waits to be covered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldCheckpoint {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// As its log signed it.
    pub note: SignedNote,
    /// Since when this node holds it.
    pub since: Time,
}

/// The newest checkpoint of a log that bears the cosignature that counts and extends all that were covered before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cover {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// With its cosignatures.
    pub note: SignedNote,
    /// When the cosignature that counts was made.
    pub at: Time,
}

/// What of one log a question's received runs stand under and nothing covers yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwitnessed {
    /// The log.
    pub log: String,
    /// How many runs.
    pub runs: u64,
    /// Since when the oldest is held.
    pub since: Time,
}

/// The proof that a log, or a note, says two things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredFork {
    /// The log's origin, or the note's name and number.
    pub subject: String,
    /// When it was found.
    pub found: Time,
    /// Lines of a stream.
    pub proof: String,
}

/// Log, root, cosigned note, consistency.
type CoverRow = (String, Vec<u8>, String, Vec<u8>);

impl Store {
    /// Holds a signed checkpoint of another log until it is covered.
    pub async fn hold_checkpoint(
        &self,
        log: &str,
        size: u64,
        root: Hash,
        note: &SignedNote,
        kept: bool,
        now: Time,
    ) -> Result<(), StoreError> {
        on!(&self.database, pool => sqlx::query("INSERT INTO checkpoints (log, size, root, kept, note, since) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING")
            .bind(log).bind(size.cast_signed()).bind(root.bytes().to_vec()).bind(i64::from(kept)).bind(note.to_string()).bind(now.millis()).execute(pool).await.map(drop))?;
        Ok(())
    }

    /// The largest checkpoint of another log that this node holds.
    pub async fn largest_held(&self, log: &str) -> Result<Option<(Checkpoint, SignedNote)>, StoreError> {
        let note: Option<String> = on!(&self.database, pool => sqlx::query("SELECT note FROM checkpoints WHERE log = $1 AND COALESCE(cover, 0) >= 0 ORDER BY size DESC LIMIT 1")
            .bind(log).fetch_optional(pool).await?.map(|row| row.try_get(0)).transpose()?);
        note.map(|note| crate::witness::parsed(&note)).transpose()
    }

    /// Logs of which something is unwitnessed.
    pub async fn open_logs(&self) -> Result<Vec<OpenLog>, StoreError> {
        let rows: Result<Vec<(String, i64, i64)>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT log, COUNT(*), MIN(since) FROM checkpoints WHERE cover IS NULL GROUP BY log")
            .fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect());
        let open = |(log, count, since): (String, i64, i64)| OpenLog {
            log,
            checkpoints: count.unsigned_abs(),
            since: Time::from_millis(since),
        };
        Ok(rows?.into_iter().map(open).collect())
    }

    /// Checkpoints of a log that nothing covers yet, the smallest first.
    pub async fn open_checkpoints(&self, log: &str, most: u32) -> Result<Vec<HeldCheckpoint>, StoreError> {
        let rows: Result<Vec<(String, i64)>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT note, since FROM checkpoints WHERE log = $1 AND cover IS NULL ORDER BY size LIMIT $2")
            .bind(log).bind(i64::from(most)).fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect());
        let held = |(note, since): (String, i64)| {
            let (checkpoint, note) = crate::witness::parsed(&note)?;
            let since = Time::from_millis(since);
            Ok(HeldCheckpoint {
                checkpoint,
                note,
                since,
            })
        };
        rows?.into_iter().map(held).collect()
    }

    /// What covers a log so far.
    pub async fn cover(&self, log: &str) -> Result<Option<Cover>, StoreError> {
        let row: Option<(String, i64)> = on!(&self.database, pool => sqlx::query("SELECT note, witnessed FROM checkpoints WHERE log = $1 AND kept = 0 AND cover = size ORDER BY size DESC LIMIT 1")
            .bind(log).fetch_optional(pool).await?.map(|row| Ok::<_, sqlx::Error>((row.try_get(0)?, row.try_get(1)?))).transpose()?);
        row.map(|(note, at)| {
            let (checkpoint, note) = crate::witness::parsed(&note)?;
            let at = Time::from_millis(at);
            Ok(Cover { checkpoint, note, at })
        })
        .transpose()
    }

    /// From now on this checkpoint covers its log: it extends what covered it before.
    pub async fn keep_cover(&self, log: &str, cover: &Cover) -> Result<(), StoreError> {
        let (size, root) = (cover.checkpoint.size.cast_signed(), cover.checkpoint.root);
        on!(&self.database, pool => sqlx::query("INSERT INTO checkpoints (log, size, root, kept, note, since, cover, proof, witnessed) VALUES ($1, $2, $3, 0, $4, $5, $2, $6, $5) ON CONFLICT (log, size, root, kept) DO UPDATE SET note = excluded.note, cover = excluded.cover, proof = excluded.proof, witnessed = excluded.witnessed WHERE checkpoints.cover IS NULL")
            .bind(log).bind(size).bind(root.bytes().to_vec()).bind(cover.note.to_string()).bind(cover.at.millis()).bind(Vec::<u8>::new()).execute(pool).await.map(drop))?;
        Ok(())
    }

    /// A held checkpoint is covered, with the proof that the covering one begins with it.
    pub async fn covered(&self, held: &Checkpoint, cover: &Cover, proof: &[Hash]) -> Result<(), StoreError> {
        let proof: Vec<u8> = proof.iter().flat_map(|hash| *hash.bytes()).collect();
        on!(&self.database, pool => sqlx::query("UPDATE checkpoints SET cover = $1, proof = $2, witnessed = $3 WHERE log = $4 AND size = $5 AND root = $6 AND cover IS NULL")
            .bind(cover.checkpoint.size.cast_signed()).bind(proof).bind(cover.at.millis()).bind(&held.origin).bind(held.size.cast_signed()).bind(held.root.bytes().to_vec()).execute(pool).await.map(drop))?;
        Ok(())
    }

    /// A held checkpoint disagrees with what covers its log: it is never covered.
    pub async fn disagrees(&self, held: &Checkpoint) -> Result<(), StoreError> {
        on!(&self.database, pool => sqlx::query("UPDATE checkpoints SET cover = -1 WHERE log = $1 AND size = $2 AND root = $3 AND cover IS NULL")
            .bind(&held.origin).bind(held.size.cast_signed()).bind(held.root.bytes().to_vec()).execute(pool).await.map(drop))?;
        Ok(())
    }

    /// Forgets what nothing rests on any more: covered checkpoints of questions, and older covers that cover no received run.
    pub async fn forget_covered(&self, log: &str, newest: u64) -> Result<(), StoreError> {
        on!(&self.database, pool => sqlx::query("DELETE FROM checkpoints WHERE log = $1 AND kept = 0 AND cover IS NOT NULL AND size < $2 AND NOT EXISTS (SELECT 1 FROM checkpoints AS other WHERE other.log = $1 AND other.kept = 1 AND other.cover = checkpoints.size)")
            .bind(log).bind(newest.cast_signed()).execute(pool).await.map(drop))?;
        Ok(())
    }

    /// What of a question's received runs is unwitnessed.
    pub async fn unwitnessed_of(&self, origin: &Origin, id: StatementId) -> Result<Vec<Unwitnessed>, StoreError> {
        let rows: Result<Vec<(String, i64, i64)>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT received.log, COUNT(*), COALESCE(MIN(checkpoints.since), 0) FROM received LEFT JOIN checkpoints ON checkpoints.log = received.log AND checkpoints.size = received.size AND checkpoints.root = received.root AND checkpoints.kept = 1 WHERE received.origin = $1 AND received.id = $2 AND checkpoints.witnessed IS NULL GROUP BY received.log ORDER BY received.log")
            .bind(origin.to_string()).bind(id.to_string()).fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect());
        let unwitnessed = |(log, runs, since): (String, i64, i64)| Unwitnessed {
            log,
            runs: runs.unsigned_abs(),
            since: Time::from_millis(since),
        };
        Ok(rows?.into_iter().map(unwitnessed).collect())
    }

    /// What covers the checkpoints of a question's received runs, and when each cosignature was made.
    pub async fn covers_of(
        &self,
        origin: &Origin,
        id: StatementId,
    ) -> Result<Vec<(String, Hash, Time, SignedNote, Vec<Hash>)>, StoreError> {
        let rows: Result<Vec<(CoverRow, i64)>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT DISTINCT held.log, held.root, cover.note, held.proof, held.witnessed FROM received JOIN checkpoints AS held ON held.log = received.log AND held.size = received.size AND held.root = received.root AND held.kept = 1 JOIN checkpoints AS cover ON cover.log = held.log AND cover.size = held.cover AND cover.cover = cover.size AND cover.kept = 0 WHERE received.origin = $1 AND received.id = $2")
            .bind(origin.to_string()).bind(id.to_string()).fetch_all(pool).await?.iter().map(|row| Ok(((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?), row.try_get(4)?))).collect());
        let corrupt = || StoreError::Corrupt("a covered checkpoint");
        let hash = |bytes: &[u8]| bytes.try_into().map(Hash::new).map_err(|_| corrupt());
        let cover = |((log, root, note, proof), at): (CoverRow, i64)| {
            let proof = proof.chunks(32).map(hash).collect::<Result<_, _>>()?;
            let note = SignedNote::parse(note.as_bytes()).map_err(|_| corrupt())?;
            Ok((log, hash(&root)?, Time::from_millis(at), note, proof))
        };
        rows?.into_iter().map(cover).collect()
    }

    /// Keeps the proof of a fork; the first of each subject stays. Says whether it is the first.
    pub async fn keep_fork(&self, subject: &str, found: Time, proof: &str) -> Result<bool, StoreError> {
        let rows = on!(&self.database, pool => sqlx::query("INSERT INTO forks (subject, found, proof) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(subject).bind(found.millis()).bind(proof).execute(pool).await?.rows_affected());
        Ok(rows == 1)
    }

    /// Every fork that was found, the first first.
    pub async fn forks(&self) -> Result<Vec<StoredFork>, StoreError> {
        let rows: Result<Vec<(String, i64, String)>, sqlx::Error> = on!(&self.database, pool => sqlx::query("SELECT subject, found, proof FROM forks ORDER BY found, subject")
            .fetch_all(pool).await?.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect());
        let fork = |(subject, found, proof)| StoredFork {
            subject,
            found: Time::from_millis(found),
            proof,
        };
        Ok(rows?.into_iter().map(fork).collect())
    }

    /// Questions of this node that are open and rest on something of a log are asked again at once.
    pub async fn ask_again_who_heard(&self, log: &str, now: Time) -> Result<(), StoreError> {
        for origin in self.own_origins() {
            on!(&self.database, pool => sqlx::query("UPDATE asked SET due = $1 WHERE expires > $1 AND kind = 'query' AND origin = $2 AND id IN (SELECT id FROM received WHERE origin = $2 AND log = $3)")
                .bind(now.millis()).bind(origin.to_string()).bind(log).execute(pool).await.map(drop))?;
        }
        Ok(())
    }
}
