//! A new log (换新日志): one transaction in which the log before gets its last entry, where it may have one, and the next one
//! its first. Whatever is interrupted before that commits was never there.
//!
//! Nothing is opened that somebody remembers already: a database that was put back to before the opening is behind.

use std::collections::HashMap;

use sanku_federation_protocol::entry::{Draft, Entry};
use sanku_federation_protocol::names::Origin;
use sanku_tlog::{Checkpoint, Frontier, Hash, SigningKey, VerifierKey, empty_root};
use sanku_values::Time;
use sqlx::Row;

use crate::blocks::root_level;
use crate::database::on;
use crate::ground::{IsOf, Recovering, Remembered, Unfit};
use crate::log::{frontier_nodes, hash_of_row, held, node_of, place, place_of};
use crate::sealing::DataKey;
use crate::sequencer::frontier_at;
use crate::{Store, StoreError};

/// The key under which acts stand.
const ACTS: &str = "acts";

/// The log before the one that is opened: its newest checkpoint that anybody is known to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// Its origin.
    pub origin: Origin,
    /// Its size.
    pub size: u64,
    /// Its root.
    pub root: Hash,
}

/// What a new log begins with.
pub struct Opening<'a> {
    /// Keys of this node's earlier logs, as the registry has them.
    pub keys: &'a [VerifierKey],
    /// The last entry of the log before and the key that signs it: only where nobody closed that log. It must be whole here.
    pub last: Option<(&'a SigningKey, Draft)>,
    /// The first entry, which names the log before.
    pub first: &'a (dyn Fn(&Before) -> Result<Draft, StoreError> + Sync),
    /// The present.
    pub now: Time,
}

/// Rows that are written together.
#[derive(Default)]
struct Rows {
    entries: Vec<(i64, i64, Vec<u8>, Vec<u8>)>,
    roots: Vec<(i64, i64, i64, Hash)>,
}

impl Rows {
    /// One entry more at a log's right edge.
    fn add(
        &mut self,
        frontier: &mut Frontier,
        log: &Origin,
        draft: &Draft,
        time: Time,
        key: &DataKey,
    ) -> Result<(), StoreError> {
        let (number, index) = (i64::from(log.number), frontier.size());
        let (line, leaf) = draft.entry(log, time);
        Entry::parse(&line).map_err(|error| StoreError::Draft(error.to_string()))?;
        frontier.push(leaf, |height, at, hash| {
            if let Some(level) = root_level(height) {
                self.roots.push((number, level, at.cast_signed(), hash));
            }
        });
        let sealed = key.seal(place(number, index, leaf).as_bytes(), &draft.body)?;
        self.entries.push((number, index.cast_signed(), line, sealed));
        Ok(())
    }
}

/// Whether a log in this database, so large, holds everything that is remembered of it.
fn fits(remembered: &[Remembered], holds: u64, roots: &[Option<Hash>]) -> Result<(), StoreError> {
    let judged = remembered.iter().zip(roots).map(|(one, root)| one.judge(holds, *root));
    // What contradicts it says more than what it lacks.
    let mut unfit: Vec<_> = judged.filter_map(Result::err).collect();
    unfit.sort_by_key(
        |error| !matches!(error, StoreError::Recovering(recovering) if matches!(recovering.why, Unfit::Beside(_))),
    );
    unfit.into_iter().next().map_or(Ok(()), Err)
}

impl Store {
    /// Begins this log, which takes over from an earlier one. Nothing if it is open already.
    ///
    /// # Errors
    /// `Recovering` if somebody remembers this log, or the log before is not whole and was not closed either.
    pub async fn open_log(&self, opening: Opening<'_>) -> Result<Option<Before>, StoreError> {
        let key = self.key_or_fresh(ACTS).await?;
        let own = i64::from(self.origin.number);
        let Opening { keys, last, first, now } = opening;
        let last = last.as_ref();
        let opened: Option<(Before, Checkpoint, String)> = on!(&self.database, pool => {
            let mut tx = pool.begin_with(self.database.begin()).await?;
            let head = sqlx::query(self.database.lock_head()).fetch_one(&mut *tx).await?;
            let (number, size, time): (i64, i64, i64) = (head.try_get(0)?, head.try_get(1)?, head.try_get(2)?);
            let text: String = head.try_get(3)?;
            let size = size.unsigned_abs();
            self.ground.stands(size)?;
            if number == own && size > 0 {
                return Ok(None);
            }
            if number > own {
                self.origin.is_of(number, size)?;
            }
            if let Some(remembered) = self.ground.all().first() {
                remembered.judge(0, None)?;
            }
            let now = now.max(Time::from_millis(time));
            let mut rows = Rows::default();
            let mut before = self.ground.before().into_iter().map(|remembered| remembered.checkpoint).collect::<Vec<_>>();
            if number < own {
                let log = Origin { number: u32::try_from(number).unwrap_or(0), ..self.origin.clone() };
                let verifier = keys.iter().find(|key| key.name() == log.to_string()).ok_or(StoreError::Keys("the registry has no key of the log before"))?;
                let mut edge: Frontier = frontier_at!(tx, number, size);
                let checkpoint = held(&text, size, verifier)?;
                let remembered: Vec<_> = self.ground.before().into_iter().filter(|one| one.checkpoint.origin == log.to_string()).collect();
                let mut roots = Vec::new();
                for one in &remembered {
                    let at = one.checkpoint.size;
                    let root: Option<Frontier> = if at <= size { Some(frontier_at!(tx, number, at)) } else { None };
                    roots.push(root.map(|edge| edge.root()));
                }
                let mut fit = fits(&remembered, size, &roots);
                if checkpoint.size != size || checkpoint.root != edge.root() {
                    fit = Err(StoreError::Recovering(Box::new(Recovering { holds: size, why: Unfit::Broken("the entries are others") })));
                }
                let mut text = text;
                let mut ended = checkpoint;
                if let Some((signing, draft)) = last {
                    fit.clone()?;
                    if signing.verifier() != verifier {
                        return Err(StoreError::Keys("the log before is another than the one that ends"));
                    }
                    rows.add(&mut edge, &log, draft, now, &key)?;
                    ended = Checkpoint { origin: log.to_string(), size: edge.size(), root: edge.root() };
                    text = ended.sign(signing).map_err(|_| StoreError::Keys("the key of the log before does not sign"))?.to_string();
                }
                // One that lacks entries is a beginning of what was said; one that holds others is not.
                let stands = fit.is_ok() || matches!(&fit, Err(StoreError::Recovering(recovering)) if matches!(recovering.why, Unfit::Behind(_)));
                sqlx::query("INSERT INTO earlier (number, size, checkpoint, key, stands) VALUES ($1, $2, $3, $4, $5)")
                    .bind(number).bind(ended.size.cast_signed()).bind(text).bind(verifier.to_string()).bind(i64::from(stands)).execute(&mut *tx).await?;
                if stands {
                    before.push(ended);
                }
            }
            let before = self.before_of(before)?;
            let mut edge = Frontier::default();
            rows.add(&mut edge, &self.origin, &first(&before)?, now, &key)?;
            for (number, index, line, sealed) in rows.entries {
                sqlx::query("INSERT INTO log (number, idx, entry, body, key) VALUES ($1, $2, $3, $4, $5)").bind(number).bind(index).bind(line).bind(sealed).bind(ACTS).execute(&mut *tx).await?;
            }
            for (number, level, index, hash) in rows.roots {
                sqlx::query("INSERT INTO roots (number, level, idx, hash) VALUES ($1, $2, $3, $4)").bind(number).bind(level).bind(index).bind(hash.bytes().to_vec()).execute(&mut *tx).await?;
            }
            let checkpoint = Checkpoint { origin: self.origin.to_string(), size: edge.size(), root: edge.root() };
            let signed = checkpoint.sign(&self.signing).map_err(|_| StoreError::Keys("the log's key does not sign"))?.to_string();
            sqlx::query("UPDATE head SET number = $1, size = $2, time = $3, checkpoint = $4").bind(own).bind(checkpoint.size.cast_signed()).bind(now.millis()).bind(&signed).execute(&mut *tx).await?;
            tx.commit().await?;
            Some((before, checkpoint, signed))
        });
        let Some((before, checkpoint, signed)) = opened else {
            return Ok(None);
        };
        self.ground.holds(&[], &checkpoint, signed);
        self.look().await?;
        Ok(Some(before))
    }

    /// The newest of what is known of earlier logs; of nothing, the empty log before this one.
    fn before_of(&self, known: Vec<Checkpoint>) -> Result<Before, StoreError> {
        let mut all = Vec::new();
        for checkpoint in known {
            let origin: Origin = checkpoint
                .origin
                .parse()
                .map_err(|_| StoreError::Corrupt("a checkpoint of an earlier log"))?;
            all.push(Before {
                origin,
                size: checkpoint.size,
                root: checkpoint.root,
            });
        }
        let newest = all.into_iter().max_by_key(|before| (before.origin.number, before.size));
        Ok(newest.unwrap_or_else(|| Before {
            origin: Origin {
                number: self.origin.number - 1,
                ..self.origin.clone()
            },
            size: 0,
            root: empty_root(),
        }))
    }
}
