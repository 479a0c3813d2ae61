//! Following a question: what is known of it, and each change as it comes, until it is complete or asked no more.

use std::time::Duration;

use sanku_federation_protocol::names::StatementId;

use crate::asker::Asked;
use crate::network::Network;
use crate::{Exchange, ExchangeError};

/// How often the log is looked at, since another process of this node may have drawn the conclusion.
const LOOK: Duration = Duration::from_secs(1);

impl<N: Network> Exchange<N> {
    /// Gives what is known of a question now, and again after each change; ends when it is complete, expired or asked no more.
    /// `each` says whether anybody still listens.
    ///
    /// # Errors
    /// If this node never asked it, or the database does not answer.
    pub async fn follow(&self, id: StatementId, mut each: impl FnMut(&Asked) -> bool) -> Result<(), ExchangeError> {
        let mut changes = self.changes.subscribe();
        let mut seen = None;
        let mut shown = None;
        loop {
            changes.mark_unchanged();
            let newest = self.store.newest_said(self.store.origin(), id).await?;
            let due = self.store.due(id).await?;
            if (newest, due.is_none()) != seen.unwrap_or((None, false)) {
                seen = Some((newest, due.is_none()));
                let asked = self.known_now(id).await?;
                let news = shown.replace(asked.digest) != Some(asked.digest);
                if news && !each(&asked) {
                    return Ok(());
                }
                if asked.merged.complete {
                    return Ok(());
                }
            }
            let expired = self.expired(id).await?;
            if due.is_none() || expired {
                return Ok(());
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn expired(&self, id: StatementId) -> Result<bool, ExchangeError> {
        Ok(self
            .store
            .expires(self.store.origin(), id)
            .await?
            .is_none_or(|expires| self.clock.now() >= expires))
    }
}
