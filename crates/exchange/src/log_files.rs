//! Logs as files (C2SP tlog-tiles): this node's own checkpoint and tiles of hashes, and those of logs beyond a neighbour, fetched
//! through it along the tree. What a node passes on it does not judge: whoever reads a tile checks it against a checkpoint.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use sanku_federation_protocol::names::Origin;
use sanku_store::Store;
use sanku_tlog::tiles::{self, Tile};
use sanku_values::DivisionCode;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::network::Network;
use crate::{Exchange, ExchangeError};

/// Files of others that are remembered, at most 8 KiB each.
const REMEMBERED: usize = 1024;
/// For how long. The same place of a log that forked holds different hashes, so even tiles are not kept for ever.
const TILES_FOR: Duration = Duration::from_secs(60);
const CHECKPOINTS_FOR: Duration = Duration::from_millis(500);
/// Files that are fetched at once.
const AT_ONCE: usize = 16;
/// How long a neighbour may take.
const LONGEST: Duration = Duration::from_secs(5);

/// A file of a log that neighbours may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFile {
    /// The newest checkpoint with the cosignature that counts; without any, the newest.
    Checkpoint,
    /// A tile of hashes.
    Tile(Tile),
}

impl LogFile {
    /// Reads the path of a file; other spellings are refused.
    pub fn parse(path: &str) -> Option<Self> {
        match path {
            "checkpoint" => Some(Self::Checkpoint),
            path => Tile::parse(path).map(Self::Tile),
        }
    }

    /// `checkpoint` or `tile/<L>/<N>[.p/<W>]`.
    pub fn path(self) -> String {
        match self {
            Self::Checkpoint => "checkpoint".to_owned(),
            Self::Tile(tile) => tile.path(),
        }
    }
}

/// Files of others' logs, and how many may be fetched at once.
pub(crate) struct LogFiles {
    remembered: Mutex<HashMap<(Origin, LogFile), (Instant, Bytes)>>,
    places: Semaphore,
}

impl Default for LogFiles {
    fn default() -> Self {
        Self {
            remembered: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        }
    }
}

impl LogFiles {
    fn recall(&self, log: &Origin, file: LogFile) -> Option<Bytes> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, bytes) = remembered.get(&(log.clone(), file))?;
        let good_for = match file {
            LogFile::Checkpoint => CHECKPOINTS_FOR,
            LogFile::Tile(_) => TILES_FOR,
        };
        (since.elapsed() < good_for).then(|| bytes.clone())
    }

    fn remember(&self, log: &Origin, file: LogFile, bytes: &Bytes) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.retain(|_, (since, _)| since.elapsed() < TILES_FOR);
        }
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert((log.clone(), file), (Instant::now(), bytes.clone()));
    }

    /// Forgets what did not hold.
    pub(crate) fn forget(&self, log: &Origin) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.retain(|(of, _), _| of != log);
    }
}

impl<N: Network> Exchange<N> {
    /// A file of a log: our own, or another's by way of the neighbour before it, unless that one asks. Nothing if there is
    /// none, or it cannot be had now.
    pub fn log_file<'a>(
        &'a self,
        log: &'a Origin,
        file: LogFile,
        asks: Option<DivisionCode>,
    ) -> BoxFuture<'a, Result<Option<Bytes>, ExchangeError>> {
        // Boxed: on a simulated network it calls itself at the next node.
        Box::pin(self.file(log, file, asks))
    }

    async fn file(
        &self,
        log: &Origin,
        file: LogFile,
        asks: Option<DivisionCode>,
    ) -> Result<Option<Bytes>, ExchangeError> {
        if log.node == self.here() {
            if log == self.store.origin() {
                return own_file(&self.store, file).await;
            }
            let earlier = self.store.earlier().await?;
            return match earlier.iter().find(|held| held.origin() == log) {
                Some(held) => own_file(held, file).await,
                None => Ok(None),
            };
        }
        let trust = self.trust.load_full();
        let tree = trust
            .registry()
            .map(|(_, _, tree)| tree)
            .filter(|_| log.federation == *trust.federation());
        let next = tree.and_then(|tree| tree.next_hop(self.here(), log.node));
        let Some(next) = next.filter(|next| Some(*next) != asks) else {
            return Ok(None);
        };
        if let Some(bytes) = self.log_files.recall(log, file) {
            return Ok(Some(bytes));
        }
        let Ok(_place) = self.log_files.places.acquire().await else {
            return Ok(None);
        };
        let fetched = tokio::time::timeout(LONGEST, self.network.log_file(next, log, file)).await;
        match fetched {
            Ok(Ok(Some(bytes))) => {
                self.log_files.remember(log, file, &bytes);
                Ok(Some(bytes))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(failure)) => {
                tracing::debug!(neighbour = %next, %log, why = %failure.why, "a file of a log cannot be had");
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }
}

/// A file of a log that the database holds.
async fn own_file(log: &Store, file: LogFile) -> Result<Option<Bytes>, ExchangeError> {
    match file {
        LogFile::Checkpoint => {
            let note = match log.cosigned().await? {
                Some((_, note)) => note,
                None => log.checkpoint().await?.1,
            };
            Ok(Some(Bytes::from(note.to_string())))
        }
        LogFile::Tile(tile) => {
            let (checkpoint, _) = log.checkpoint().await?;
            let held = Tile::in_log(tile.level, tile.index, checkpoint.size);
            if held.is_none_or(|held| held.width < tile.width) {
                return Ok(None);
            }
            let start = (tile.index * tiles::WIDTH).cast_signed();
            let hashes = log.tile_hashes(tile.level, start, tile.width.cast_signed()).await?;
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.bytes()).collect();
            Ok((hashes.len() as u64 == tile.width).then(|| Bytes::from(bytes)))
        }
    }
}
