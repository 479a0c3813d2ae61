//! No fork by accident, this node's side of it: what neighbours have seen of its log is heard at the start, before anything is
//! said, and from then on; while the database does not hold it the node is recovering (恢复状态).

use std::sync::Arc;
use std::time::Duration;

use sanku_federation_protocol::names::Origin;
use sanku_store::{StoreError, Teller};
use sanku_tlog::{Checkpoint, SignedNote};
use sanku_values::DivisionCode;
use tokio::time::Instant;

use crate::network::{Network, in_time};
use crate::{Exchange, ExchangeError};

/// How often the database is looked at. While nothing happens that is one row.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is said that a log was closed below what is known of it.
const TELL: Duration = Duration::from_secs(600);
/// How long neighbours may take, at the start, to say what they have seen; whoever comes later is heard all the same.
const PATIENCE: Duration = Duration::from_secs(3);

impl<N: Network> Exchange<N> {
    /// Before anything is said: asks every neighbour that can be reached what it has seen of this node's log. Until then
    /// whoever would say something waits.
    pub async fn ask_what_was_seen(self: &Arc<Self>) {
        if tokio::time::timeout(PATIENCE, self.compare_clocks()).await.is_err() {
            tracing::warn!("not every neighbour said in time what it has seen of this log");
        }
        self.look_at_ground().await;
        self.store.ask_first(false);
    }

    /// A neighbour says what it has seen of this node's logs.
    pub(crate) fn heed(&self, neighbour: DivisionCode, seen: &[String]) {
        for note in seen.iter().filter_map(|text| SignedNote::parse(text.as_bytes()).ok()) {
            if !self.store.remember(&note, Teller::Neighbour(neighbour)) {
                self.remember_earlier(&note, Teller::Neighbour(neighbour));
            }
        }
        crate::held(&self.heard).insert(neighbour);
    }

    /// Hears from a neighbour that its view of this log is another than ours.
    pub(crate) async fn hear_again(self: &Arc<Self>, neighbour: DivisionCode) {
        match in_time(self.network.status_of(neighbour)).await {
            Ok(status) => {
                self.heed(neighbour, &status.seen);
                self.look_at_ground().await;
            }
            Err(failure) => tracing::warn!(%neighbour, why = %failure.why, "a neighbour does not say what it has seen"),
        }
    }

    /// What this node has seen of a neighbour's logs, for that neighbour: what it cosigned, and what it holds beyond.
    pub async fn seen_of(&self, neighbour: DivisionCode) -> Result<Vec<String>, ExchangeError> {
        let trust = self.trust.load_full();
        let row = trust.registry().and_then(|(_, registry, _)| registry.node(neighbour));
        let mut seen = Vec::new();
        for log in row.into_iter().flat_map(|row| &row.logs) {
            let origin = Origin {
                federation: trust.federation().clone(),
                node: neighbour,
                number: log.number,
            };
            seen.extend(self.seen_of_log(&origin).await?.iter().map(ToString::to_string));
        }
        Ok(seen)
    }

    /// The newest checkpoint of another log that this node cosigned, and a larger one if it holds one.
    pub async fn seen_of_log(&self, log: &Origin) -> Result<Vec<SignedNote>, ExchangeError> {
        let log = log.to_string();
        let cosigned = self.store.seen(&log).await?;
        let size = cosigned.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
        let held = self.store.largest_held(&log).await?;
        let held = held.filter(|(checkpoint, _)| checkpoint.size > size);
        Ok(cosigned.into_iter().chain(held).map(|(_, note)| note).collect())
    }

    /// Neighbours that said since the start what they have seen of this node's logs.
    pub fn heard(&self) -> Vec<DivisionCode> {
        crate::held(&self.heard).iter().copied().collect()
    }

    /// Closed logs of which this node cosigned, or holds, more than their final size: the log, that size, and how much.
    pub async fn cut_short(&self) -> Result<Vec<(Origin, u64, u64)>, ExchangeError> {
        let trust = self.trust.load_full();
        let rows = trust
            .registry()
            .into_iter()
            .flat_map(|(_, registry, _)| &registry.nodes);
        let mut found = Vec::new();
        for row in rows.filter(|row| row.code != self.here()) {
            for (log, size) in row.logs.iter().filter_map(|log| Some((log, log.final_size?))) {
                let origin = Origin {
                    federation: trust.federation().clone(),
                    node: row.code,
                    number: log.number,
                };
                let sizes = self.seen_of_log(&origin).await?;
                let sizes = sizes.iter().filter_map(|note| Checkpoint::verify(note, &log.key).ok());
                if let Some(held) = sizes
                    .map(|checkpoint| checkpoint.size)
                    .max()
                    .filter(|held| *held > size)
                {
                    found.push((origin, size, held));
                }
            }
        }
        Ok(found)
    }

    async fn tell_of_cut_short(&self) {
        for (log, size, known) in self.cut_short().await.unwrap_or_default() {
            tracing::error!(%log, size, known, "the registry closed a log below what is known of it here: present the checkpoint within 24 hours of the closing (`sanku log seen`)");
        }
    }

    /// Looks at the database, and at what the registry says of this log.
    pub async fn look_at_ground(self: &Arc<Self>) {
        self.store.close_at(self.closed_at());
        match self.store.look().await {
            // It is said when it begins and when it ends.
            Ok(()) | Err(StoreError::Recovering(_)) => {}
            Err(error) => tracing::warn!(%error, "the database cannot be looked at"),
        }
        self.open_if_new().await;
    }

    fn closed_at(&self) -> Option<u64> {
        let trust = self.trust.load();
        let (_, registry, _) = trust.registry()?;
        let mut logs = registry.node(self.here())?.logs.iter();
        logs.find(|log| log.number == self.store.origin().number)?.final_size
    }

    /// Watches the database for as long as it is polled.
    pub async fn keep_looking(self: &Arc<Self>) {
        let mut told = None;
        loop {
            tokio::time::sleep(LOOK).await;
            self.look_at_ground().await;
            if told.is_none_or(|told: Instant| told.elapsed() >= TELL) {
                told = Some(Instant::now());
                self.tell_of_cut_short().await;
            }
            if let Err(error) = self.learn_notes().await {
                tracing::warn!(%error, "notes that another process kept cannot be read");
            }
        }
    }
}
