//! Witnesses (见证): this node cosigns its neighbours' checkpoints, durably before it answers, and has its own cosigned by
//! them in the background, only the newest and at most once a second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sanku_federation_protocol::names::{Origin, Outcome};
use sanku_federation_protocol::statement::LogKeys;
use sanku_federation_protocol::witness::cosigned;
use sanku_store::Store;
use sanku_tlog::checkpoint::cosign;
use sanku_tlog::{AddCheckpoint, Checkpoint, ForkProof, NotCosigned, SignedNote};
use sanku_values::DivisionCode;

use crate::network::{AskFailure, Network, Witnessed};
use crate::{Exchange, ExchangeError};

/// How often this node's newest checkpoint is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// After a round in which nobody cosigned.
const LATER: Duration = Duration::from_secs(5);

/// How long a witness may take.
const LONGEST: Duration = Duration::from_secs(5);
/// So many checkpoints of a log that could not be linked are held on a witness's account.
const MANY: u32 = 100;

/// What a witness answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessAnswer {
    /// The cosignature's line.
    Cosigned(String),
    /// Another log than a neighbour's (404).
    Unknown,
    /// Not cosigned, and why.
    Refused(NotCosigned),
}

impl<N: Network> Exchange<N> {
    /// A checkpoint is handed in for cosigning. What is cosigned is durable first.
    ///
    /// # Errors
    /// While this node may not speak: what it saw itself may be lost.
    pub async fn add_checkpoint(self: &Arc<Self>, body: &str) -> Result<WitnessAnswer, ExchangeError> {
        self.store.may_speak().await?;
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(refused) => return Ok(WitnessAnswer::Refused(refused)),
        };
        let trust = self.trust.load_full();
        let origin = request.origin().ok().and_then(|origin| origin.parse::<Origin>().ok());
        let neighbour = |origin: &Origin| {
            let tree = trust.registry().map(|(_, _, tree)| tree.neighbours(self.here()));
            tree.is_some_and(|neighbours| neighbours.contains(&origin.node))
        };
        let Some((origin, key)) = origin
            .filter(neighbour)
            .and_then(|origin| Some((origin.clone(), trust.log_key(&origin).ok()?)))
        else {
            return Ok(WitnessAnswer::Unknown);
        };
        let log = origin.to_string();
        let known = self.store.seen(&log).await?.map(|(checkpoint, _)| checkpoint);
        let checkpoint = match request.judge(&key, known.as_ref()) {
            Ok(checkpoint) => checkpoint,
            Err(refused) => {
                if matches!(refused, NotCosigned::BadProof | NotCosigned::Conflict(_)) {
                    tracing::warn!(%log, %refused, "a checkpoint is not cosigned");
                    self.two_views(&origin, &request, known.as_ref()).await?;
                }
                return Ok(WitnessAnswer::Refused(refused));
            }
        };
        let closed = trust.registered_log(&origin).and_then(|row| row.final_size);
        if closed.is_some_and(|size| checkpoint.size > size) {
            tracing::warn!(%log, size = checkpoint.size, "a checkpoint above the final size of a closed log is not cosigned");
            return Ok(WitnessAnswer::Unknown);
        }
        let seconds = self.clock.now().millis().unsigned_abs() / 1000;
        let Ok(signature) = cosign(&request.checkpoint, &self.witness, seconds) else {
            return Ok(WitnessAnswer::Refused(NotCosigned::Malformed));
        };
        if !self
            .store
            .see(&log, request.old, &checkpoint, &request.checkpoint)
            .await?
        {
            // Another process of this node was first.
            let size = self
                .store
                .seen(&log)
                .await?
                .map_or(0, |(checkpoint, _)| checkpoint.size);
            return Ok(WitnessAnswer::Refused(NotCosigned::Conflict(size)));
        }
        Ok(WitnessAnswer::Cosigned(format!("{signature}\n")))
    }

    /// A checkpoint that its log signed does not extend what was seen of it. At the same size that proves a fork at once; else it
    /// is held, and compared with what the log's node tells.
    async fn two_views(
        self: &Arc<Self>,
        origin: &Origin,
        request: &AddCheckpoint,
        known: Option<&Checkpoint>,
    ) -> Result<(), ExchangeError> {
        let (trust, log) = (self.trust.load_full(), origin.to_string());
        let Some(key) = trust.registered_log_key(origin) else {
            return Ok(());
        };
        let Ok(new) = Checkpoint::verify(&request.checkpoint, key) else {
            return Ok(());
        };
        let seen = self.store.seen(&log).await?.map(|(_, note)| note);
        let Some((known, seen)) = known.zip(seen).filter(|(known, _)| known.root != new.root) else {
            return Ok(());
        };
        if known.size == new.size {
            let fork = ForkProof {
                smaller: seen,
                larger: request.checkpoint.clone(),
                root: new.root,
                proof: Vec::new(),
            };
            return self.found_fork(origin, &fork).await;
        }
        let held = self.store.open_checkpoints(&log, MANY).await?.len();
        if request.old == known.size && held < MANY as usize {
            let (size, root) = (new.size, new.root);
            let now = self.clock.now();
            self.store
                .hold_checkpoint(&log, size, root, &request.checkpoint, false, now)
                .await?;
        }
        Ok(())
    }

    /// The newest checkpoint that this node saw of a log, by the SHA-256 of its origin.
    pub async fn seen_checkpoint(&self, origin: &Origin) -> Result<Option<SignedNote>, ExchangeError> {
        Ok(self.store.seen(&origin.to_string()).await?.map(|(_, note)| note))
    }

    /// Has this node's log cosigned, for as long as it is polled.
    pub async fn be_witnessed(self: &Arc<Self>) {
        let mut sizes = BTreeMap::new();
        let mut all = false;
        loop {
            let pause = match self.witness_round(&mut sizes).await {
                Ok(true) if !all => {
                    all = self.witness_earlier().await.unwrap_or(false);
                    if all { EVERY } else { LATER }
                }
                Ok(true) => EVERY,
                Ok(false) => LATER,
                Err(error) => {
                    tracing::warn!(%error, "the log could not be brought to its witnesses");
                    LATER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One round: the newest checkpoint goes to whoever must cosign it. `sizes` is what each witness is thought to know.
    /// Says whether nothing is left to be witnessed.
    pub async fn witness_round(
        self: &Arc<Self>,
        sizes: &mut BTreeMap<DivisionCode, u64>,
    ) -> Result<bool, ExchangeError> {
        self.store.may_speak().await?;
        self.witness_log(&self.store, sizes).await
    }

    /// Has the ends of this node's earlier logs cosigned, as far as they are whole here. Says whether nothing is left of that.
    pub async fn witness_earlier(self: &Arc<Self>) -> Result<bool, ExchangeError> {
        let trust = self.trust.load_full();
        let mut all = true;
        for log in self.store.earlier().await? {
            let size = log.checkpoint().await?.0.size;
            let closed = trust.registered_log(log.origin()).and_then(|row| row.final_size);
            // Of one that lost entries nobody cosigns this end: whoever witnessed it saw more.
            if log.stands() && closed.is_none_or(|closed| closed == size) {
                all &= self.witness_log(&log, &mut BTreeMap::new()).await?;
            }
        }
        Ok(all)
    }

    async fn witness_log(
        self: &Arc<Self>,
        log: &Store,
        sizes: &mut BTreeMap<DivisionCode, u64>,
    ) -> Result<bool, ExchangeError> {
        let (checkpoint, mut note) = log.checkpoint().await?;
        let covered = log.cosigned().await?.map_or(0, |(checkpoint, _)| checkpoint.size);
        if checkpoint.size <= covered {
            return Ok(true);
        }
        let trust = self.trust.load_full();
        let Some((_, registry, _)) = trust.registry() else {
            return Ok(false);
        };
        for witness in self.witnesses(&trust) {
            let old = sizes.get(&witness).copied().unwrap_or(covered);
            let asked = self.cosignature_of(log, witness, old, checkpoint.size, &note);
            let Some((size, lines)) = asked.await? else {
                continue;
            };
            sizes.insert(witness, size);
            // Only lines of the witness's own registered keys, over this very checkpoint, are added.
            let keys = registry.node(witness).into_iter().flat_map(|row| &row.witness_keys);
            let Ok(answer) = SignedNote::parse(format!("{}\n{lines}", note.text()).as_bytes()) else {
                tracing::warn!(%witness, "a witness answered with something else than a cosignature");
                continue;
            };
            let before = note.signatures().len();
            for key in keys {
                if sanku_tlog::checkpoint::verify_cosignature(&answer, &key.key).is_ok() {
                    for line in answer.signatures().iter().filter(|line| line.name() == key.key.name()) {
                        note.add(line.clone());
                    }
                }
            }
            if note.signatures().len() == before {
                // A witness that lies is not believed; its word changes nothing.
                tracing::error!(%witness, "a witness answered with a cosignature that does not hold: tell its administrator");
                metrics::counter!("sanku_bad_cosignatures_total", "peer" => witness.to_string()).increment(1);
            }
        }
        let Some(made) = cosigned(&trust, self.here(), &note) else {
            return Ok(false);
        };
        log.keep_cosigned(&checkpoint, &note, made).await?;
        tracing::debug!(size = checkpoint.size, "the log is witnessed");
        Ok(true)
    }

    /// What one witness answers; asked once more if it knows another size than was thought.
    async fn cosignature_of(
        self: &Arc<Self>,
        log: &Store,
        witness: DivisionCode,
        old: u64,
        size: u64,
        note: &SignedNote,
    ) -> Result<Option<(u64, String)>, ExchangeError> {
        let mut old = old;
        for _ in 0..2 {
            let request = AddCheckpoint {
                old,
                proof: log.consistency_between(old, size).await?,
                checkpoint: note.clone(),
            };
            let answer = tokio::time::timeout(LONGEST, self.network.add_checkpoint(witness, request.text())).await;
            let late = |_| AskFailure::new(Outcome::Late, "it did not answer in time");
            match answer.map_err(late).and_then(|answer| answer) {
                Ok(Witnessed::Cosigned(lines)) => return Ok(Some((size, lines))),
                Ok(Witnessed::Knows(known)) if known > size => {
                    // Another process may have said more meanwhile; or the database was put back.
                    tracing::warn!(%witness, known, size, "a witness saw this log larger than it was here");
                    self.hear_again(witness).await;
                    return Ok(None);
                }
                Ok(Witnessed::Knows(known)) => old = known,
                Err(failure) => {
                    tracing::info!(%witness, why = %failure.why, "a witness does not cosign now");
                    self.hear_again(witness).await;
                    return Ok(None);
                }
            }
        }
        self.hear_again(witness).await;
        Ok(None)
    }
}
