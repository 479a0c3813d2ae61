//! Linking (衔接): every checkpoint of another log that this node holds something under is linked to one with the cosignature
//! that counts, by one consistency proof each, in the background. Where two checkpoints of one log disagree the log forked: the
//! proof is kept, it is an alarm, and from there on nothing of that log counts but what is witnessed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use sanku_federation_protocol::names::Origin;
use sanku_federation_protocol::stream::{Event, Reader, write_fork};
use sanku_federation_protocol::trust::Trust;
use sanku_federation_protocol::witness::cosigned;
use sanku_store::{Cover, HeldCheckpoint, OpenLog};
use sanku_tlog::tiles::{self, Tile};
use sanku_tlog::{Checkpoint, ForkProof, Hash, SignedNote, Subtree, consistency_subtrees, verify_consistency};
use sanku_values::Time;
use tokio::time::Instant;

use crate::log_files::LogFile;
use crate::network::Network;
use crate::{Exchange, ExchangeError};

/// What is unwitnessed for so long is an alarm.
pub const ALARM: Duration = Duration::from_secs(72 * 3600);
/// For so long after its closing a log's final size may rise.
const CLOSING: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked whether anything is to be linked.
const EVERY: Duration = Duration::from_secs(1);
/// Checkpoints of one log that are linked in one round.
const OF_A_LOG: u32 = 256;
/// Logs that are linked at once.
const AT_ONCE: usize = 8;
/// What no cosignature covers for so long is compared with what else is held of its log.
const AGED: Duration = Duration::from_secs(30);
/// The longest wait after rounds that linked nothing.
const LONGEST_WAIT: u32 = 600;

/// Logs that could not be linked: how often in a row, and when it is tried again.
pub type Waits = HashMap<String, (u32, Instant)>;

/// One signed checkpoint of a log.
#[derive(Clone, Debug)]
struct Point {
    checkpoint: Checkpoint,
    note: SignedNote,
}

/// Why a log could not be linked to its end.
#[derive(Debug, thiserror::Error)]
enum Unlinked {
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    #[error("{0}")]
    Why(&'static str),
}

impl From<sanku_store::StoreError> for Unlinked {
    fn from(error: sanku_store::StoreError) -> Self {
        Self::Exchange(error.into())
    }
}

impl<N: Network> Exchange<N> {
    /// Links what is held, for as long as it is polled.
    pub async fn keep_linking(self: &Arc<Self>) {
        let mut waits = Waits::new();
        let mut told = None;
        loop {
            if let Err(error) = self.link_round(&mut waits).await {
                tracing::warn!(%error, "checkpoints could not be linked");
            }
            self.tell_of_old(&mut told).await;
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What is unwitnessed for 72 hours is said once an hour.
    async fn tell_of_old(&self, told: &mut Option<Instant>) {
        if told.is_some_and(|told| told.elapsed() < Duration::from_secs(3600)) {
            return;
        }
        let since = self.unwitnessed_since().await.unwrap_or_default();
        if let Some(since) = since.filter(|since| self.is_alarm(*since)) {
            *told = Some(Instant::now());
            tracing::error!(since = %since, "something is unwitnessed for 72 hours: see `sanku status`");
        }
    }

    /// Whether something that is unwitnessed since then is an alarm now.
    pub fn is_alarm(&self, since: Time) -> bool {
        self.clock.now() >= since.plus(ALARM)
    }

    /// Since when anything is unwitnessed, of our own log or of what is held of others.
    pub async fn unwitnessed_since(&self) -> Result<Option<Time>, ExchangeError> {
        let own = self.store.unwitnessed_since().await?;
        let held = self.open_logs().await?.into_iter().map(|open| open.since);
        Ok(held.chain(own).min())
    }

    /// Logs of which something is held that nothing covers yet. One that was closed for good a day ago is not among them: what
    /// could not be linked by then never will be, for its node lost it, and nobody can do anything about that.
    pub async fn open_logs(&self) -> Result<Vec<OpenLog>, ExchangeError> {
        let (trust, now) = (self.trust.load_full(), self.clock.now());
        let over = |open: &OpenLog| {
            let origin: Option<Origin> = open.log.parse().ok();
            let row = origin.and_then(|origin| trust.registered_log(&origin).cloned());
            row.is_some_and(|row| row.final_size.is_some() && now > row.until.plus(CLOSING))
        };
        let open = self.store.open_logs().await?;
        Ok(open.into_iter().filter(|open| !over(open)).collect())
    }

    /// One round over all logs of which something is unwitnessed. `waits` is when each is tried again.
    pub async fn link_round(self: &Arc<Self>, waits: &mut Waits) -> Result<(), ExchangeError> {
        self.learn_forks().await?;
        let open = self.store.open_logs().await?;
        let now = Instant::now();
        waits.retain(|log, _| open.iter().any(|open| open.log == *log));
        let due = open
            .into_iter()
            .map(|open| open.log)
            .filter(|log| waits.get(log).is_none_or(|(_, at)| *at <= now));
        let rounds = due.map(|log| async move {
            let linked = self.link(&log).await;
            (log, linked)
        });
        let ends: Vec<_> = stream::iter(rounds.collect::<Vec<_>>())
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for (log, end) in ends {
            match end {
                Ok(()) => drop(waits.remove(&log)),
                Err(error) => {
                    tracing::debug!(%log, %error, "a log is not linked now");
                    if let Ok(origin) = log.parse() {
                        self.log_files.forget(&origin);
                    }
                    let tries = waits.get(&log).map_or(0, |(tries, _)| *tries) + 1;
                    let wait = 2_u32.saturating_pow(tries.min(16)).min(LONGEST_WAIT);
                    waits.insert(log, (tries, Instant::now() + Duration::from_secs(wait.into())));
                }
            }
        }
        Ok(())
    }

    /// Links what is held of one log.
    async fn link(self: &Arc<Self>, log: &str) -> Result<(), Unlinked> {
        let origin: Origin = log.parse().map_err(|_| Unlinked::Why("not a log's origin"))?;
        let open = self.store.open_checkpoints(log, OF_A_LOG).await?;
        let Some(highest) = open.last().map(|held| held.checkpoint.size) else {
            return Ok(());
        };
        let trust = self.trust.load_full();
        let before = self.store.cover(log).await?;
        let mut points: Vec<Point> = open.iter().map(Point::of).collect();
        points.extend(before.iter().map(|cover| Point {
            checkpoint: cover.checkpoint.clone(),
            note: cover.note.clone(),
        }));
        let seen = self.store.seen(log).await?;
        points.extend(seen.map(|(checkpoint, note)| Point { checkpoint, note }));
        let mut cover = before.clone();
        if before.as_ref().is_none_or(|before| before.checkpoint.size < highest)
            && let Some(point) = self.published(&origin, &trust).await?
        {
            if let Some(at) = cosigned(&trust, origin.node, &point.note)
                && cover
                    .as_ref()
                    .is_none_or(|cover| cover.checkpoint.size < point.checkpoint.size)
            {
                let (checkpoint, note) = (point.checkpoint.clone(), point.note.clone());
                cover = Some(Cover { checkpoint, note, at });
            }
            points.push(point);
        }
        let aged = |held: &&HeldCheckpoint| self.clock.now() >= held.since.plus(AGED);
        let covered = cover.as_ref().map_or(0, |cover| cover.checkpoint.size);
        let compare = open.iter().filter(aged).any(|held| held.checkpoint.size > covered);
        let target = match &cover {
            Some(cover) if !compare => Some(cover.checkpoint.clone()),
            _ if compare => {
                let largest = points.iter().max_by_key(|point| point.checkpoint.size);
                largest.map(|point| point.checkpoint.clone())
            }
            _ => None,
        };
        let Some(target) = target else {
            return Err(Unlinked::Why(
                "nothing is cosigned yet, and nothing has waited for long",
            ));
        };
        let (linked, disagree) = self.compare(&origin, &trust, &target, &points).await?;
        let Some(cover) = cover.filter(|cover| cover.checkpoint == target) else {
            return Err(Unlinked::Why("it agrees with what is held, and is not cosigned yet"));
        };
        let extends = before
            .as_ref()
            .is_none_or(|before| linked.contains_key(&(before.checkpoint.size, before.checkpoint.root)));
        if !extends {
            return Err(Unlinked::Why(
                "what is cosigned now disagrees with what was witnessed before",
            ));
        }
        self.store.keep_cover(log, &cover).await?;
        for held in &open {
            let place = (held.checkpoint.size, held.checkpoint.root);
            if let Some(proof) = linked.get(&place) {
                self.store.covered(&held.checkpoint, &cover, proof).await?;
            } else if disagree.contains(&place) {
                self.store.disagrees(&held.checkpoint).await?;
            }
        }
        self.store.forget_covered(log, cover.checkpoint.size).await?;
        if highest > cover.checkpoint.size && covered == before.map_or(0, |before| before.checkpoint.size) {
            return Err(Unlinked::Why("what is held is not cosigned yet"));
        }
        Ok(())
    }

    /// The log's own newest checkpoint, as its node publishes it.
    async fn published(&self, origin: &Origin, trust: &Trust) -> Result<Option<Point>, Unlinked> {
        let Some(bytes) = self.log_file(origin, LogFile::Checkpoint, None).await? else {
            return Ok(None);
        };
        let key = trust
            .registered_log_key(origin)
            .ok_or(Unlinked::Why("an unknown log"))?;
        let note = SignedNote::parse(&bytes).map_err(|_| Unlinked::Why("not a checkpoint"))?;
        let checkpoint = Checkpoint::verify(&note, key).map_err(|_| Unlinked::Why("a checkpoint of another key"))?;
        Ok(Some(Point { checkpoint, note }))
    }

    /// Compares every point with the log as `target` has it: those that it begins with, each with the proof, and those that
    /// disagree with it. Forks are kept as they are found.
    async fn compare(
        self: &Arc<Self>,
        origin: &Origin,
        trust: &Trust,
        target: &Checkpoint,
        points: &[Point],
    ) -> Result<(HashMap<(u64, Hash), Vec<Hash>>, BTreeSet<(u64, Hash)>), Unlinked> {
        let (mut linked, mut disagree) = (HashMap::new(), BTreeSet::new());
        let key = trust
            .registered_log_key(origin)
            .ok_or(Unlinked::Why("an unknown log"))?;
        let found = points.iter().find(|point| point.checkpoint == *target);
        let at_target = found.ok_or(Unlinked::Why("the target is none of the points"))?;
        let mut view = View {
            exchange: self,
            origin,
            size: target.size,
            tiles: HashMap::new(),
        };
        let smaller = points
            .iter()
            .filter(|point| point.checkpoint.size <= target.size && point.checkpoint.size > 0);
        for point in smaller {
            let Checkpoint { size, root, .. } = point.checkpoint;
            if linked.contains_key(&(size, root)) || disagree.contains(&(size, root)) {
                continue;
            }
            let proof = view
                .hashes(&consistency_subtrees(size, target.size).map_err(|_| Unlinked::Why("sizes"))?)
                .await?;
            if verify_consistency(size, root, target.size, target.root, &proof).is_ok() {
                linked.insert((size, root), proof);
                continue;
            }
            let there = if size == target.size {
                target.root
            } else {
                let there = view.hashes(&[Subtree::whole(size)]).await?;
                *there.first().ok_or(Unlinked::Why("sizes"))?
            };
            let fork = ForkProof {
                smaller: point.note.clone(),
                larger: at_target.note.clone(),
                root: there,
                proof,
            };
            if fork.verify(key).is_err() {
                return Err(Unlinked::Why("the tiles are not those of the checkpoint"));
            }
            disagree.insert((size, root));
            self.found_fork(origin, &fork).await?;
        }
        Ok((linked, disagree))
    }

    /// A log forked: the proof is kept, what rests on it is asked again, and nothing unwitnessed of it counts from now on.
    pub(crate) async fn found_fork(self: &Arc<Self>, origin: &Origin, fork: &ForkProof) -> Result<(), ExchangeError> {
        let (log, proof, now) = (origin.to_string(), write_fork(origin, fork), self.clock.now());
        if self.store.keep_fork(&log, now, &proof).await? {
            tracing::error!(%log, "two checkpoints of one log disagree: it forked; `sanku log forks` has the proof");
            metrics::counter!("sanku_forks_found_total").increment(1);
        }
        self.distrust(origin).await?;
        Ok(())
    }

    async fn distrust(self: &Arc<Self>, origin: &Origin) -> Result<(), ExchangeError> {
        if self.trust.load().forked_logs().contains(origin) {
            return Ok(());
        }
        {
            let _turn = self.note_turn.lock().await;
            let mut trust = Trust::clone(&self.trust.load());
            trust.distrust(origin.clone());
            self.trust.store(Arc::new(trust));
        }
        self.store
            .ask_again_who_heard(&origin.to_string(), self.clock.now())
            .await?;
        self.queue.ring();
        Ok(())
    }

    /// Forks that were found before, or by another process of this node: logs and notes.
    pub async fn learn_forks(self: &Arc<Self>) -> Result<(), ExchangeError> {
        let mut notes = Vec::new();
        for fork in self.store.forks().await? {
            let mut reader = Reader::new();
            reader.push(fork.proof.as_bytes());
            while let Ok(Some(event)) = reader.next_event() {
                match event {
                    Event::Fork(origin, _) => self.distrust(&origin).await?,
                    Event::Note(note) => notes.extend(String::from_utf8(note)),
                    _ => {}
                }
            }
        }
        let trust = self.trust();
        let known = |note: &String| trust.forks().contains(note) || trust.all().any(|(_, held)| *held.bytes == **note);
        notes.retain(|note| !known(note));
        if !notes.is_empty() {
            self.take_notes(notes, None).await?;
        }
        Ok(())
    }
}

impl Point {
    fn of(held: &HeldCheckpoint) -> Self {
        Self {
            checkpoint: held.checkpoint.clone(),
            note: held.note.clone(),
        }
    }
}

/// The hashes of a log as its node tells them, for a log of `size`. Whoever uses them checks them against a signed root.
struct View<'a, N> {
    exchange: &'a Exchange<N>,
    origin: &'a Origin,
    size: u64,
    tiles: HashMap<(u8, u64), Vec<Hash>>,
}

impl<N: Network> View<'_, N> {
    async fn hashes(&mut self, subtrees: &[Subtree]) -> Result<Vec<Hash>, Unlinked> {
        let mut wanted = Vec::new();
        for subtree in subtrees {
            // Asking for a hash that is not there tells which are needed.
            let _ = subtree.hash::<std::convert::Infallible>(&mut |level, index| {
                wanted.push(Tile::of_node(level, index));
                Ok(sanku_tlog::empty_root())
            });
        }
        for (level, index, _) in wanted {
            if !self.tiles.contains_key(&(level, index)) {
                let hashes = self.fetch(level, index).await?;
                self.tiles.insert((level, index), hashes);
            }
        }
        let mut node = |level, index| {
            let (level, index, range) = Tile::of_node(level, index);
            let hashes = self.tiles.get(&(level, index)).and_then(|tile| tile.get(range));
            hashes
                .and_then(tiles::hash_of)
                .ok_or(Unlinked::Why("a tile is too short"))
        };
        subtrees.iter().map(|subtree| subtree.hash(&mut node)).collect()
    }

    async fn fetch(&self, level: u8, index: u64) -> Result<Vec<Hash>, Unlinked> {
        let tile = Tile::in_log(level, index, self.size).ok_or(Unlinked::Why("a tile beyond the log"))?;
        let bytes = self.exchange.log_file(self.origin, LogFile::Tile(tile), None).await?;
        let bytes = bytes.ok_or(Unlinked::Why("a tile cannot be had"))?;
        if bytes.len() as u64 != tile.width * 32 {
            return Err(Unlinked::Why("a tile of another length"));
        }
        let hash = |chunk: &[u8]| chunk.try_into().map(Hash::new).map_err(|_| Unlinked::Why("a tile"));
        bytes.chunks(32).map(hash).collect()
    }
}
