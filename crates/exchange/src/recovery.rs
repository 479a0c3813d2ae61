//! No fork by accident, this node's side of it: what neighbours have seen of its log is heard at the start, before anything is
//! said, and from then on; while the database does not hold it the node is recovering (恢复状态).

use std::sync::Arc;
use std::time::Duration;

use sanku_federation_protocol::names::Origin;
use sanku_store::{StoreError, Teller};
use sanku_tlog::SignedNote;
use sanku_values::DivisionCode;

use crate::network::{Network, in_time};
use crate::{Exchange, ExchangeError};

/// How often the database is looked at. While nothing happens that is one row.
const LOOK: Duration = Duration::from_secs(1);
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
            self.store.remember(&note, Teller::Neighbour(neighbour));
        }
    }

    /// Hears from a neighbour that its view of this log is another than ours.
    pub(crate) async fn hear_again(&self, neighbour: DivisionCode) {
        match in_time(self.network.status_of(neighbour)).await {
            Ok(status) => {
                self.heed(neighbour, &status.seen);
                self.look_at_ground().await;
            }
            Err(failure) => tracing::warn!(%neighbour, why = %failure.why, "a neighbour does not say what it has seen"),
        }
    }

    /// What this node has seen of a neighbour's logs, for that neighbour.
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
            seen.extend(
                self.store
                    .seen(&origin.to_string())
                    .await?
                    .map(|(_, note)| note.to_string()),
            );
        }
        Ok(seen)
    }

    /// Looks at the database, and at what the registry says of this log.
    pub async fn look_at_ground(&self) {
        self.store.close_at(self.closed_at());
        match self.store.look().await {
            // It is said when it begins and when it ends.
            Ok(()) | Err(StoreError::Recovering(_)) => {}
            Err(error) => tracing::warn!(%error, "the database cannot be looked at"),
        }
    }

    fn closed_at(&self) -> Option<u64> {
        let trust = self.trust.load();
        let (_, registry, _) = trust.registry()?;
        let mut logs = registry.node(self.here())?.logs.iter();
        logs.find(|log| log.number == self.store.origin().number)?.final_size
    }

    /// Watches the database for as long as it is polled.
    pub async fn keep_looking(self: &Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look_at_ground().await;
        }
    }
}
