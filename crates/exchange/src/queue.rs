//! The queue at the asker: what did not answer is asked again by itself, with back-off, until it is complete or expires.
//! What waits stands in the store, so it outlives every process; of several processes one asks.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sanku_federation_protocol::names::StatementId;
use sanku_federation_protocol::trace::Trace;
use sanku_store::{AskedKind, Claim, Claimed};
use sanku_values::Time;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::network::Network;
use crate::{Exchange, ExchangeError};

/// The first wait before something is asked again; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// What a repeat may take at first; each further one a bit more, since nobody waits for it.
const FIRST_BUDGET: Duration = Duration::from_secs(10);
/// The most that a repeat may take.
const LARGEST_BUDGET: Duration = Duration::from_secs(60);
/// A lease lasts so much longer than the budget of what is asked under it.
const LEASE_BEYOND: Duration = Duration::from_secs(10);
/// Repeats that one process asks at once.
const AT_ONCE: usize = 16;
/// How often the queue is looked at, since other processes write to it too.
const LOOK: Duration = Duration::from_secs(1);
/// How often what is past is forgotten.
const FORGET: Duration = Duration::from_secs(60);

/// Rung when something may be due.
#[derive(Debug, Default)]
pub(crate) struct Bell(Notify);

impl Bell {
    pub(crate) fn ring(&self) {
        self.0.notify_one();
    }
}

/// How long a process that asks holds its lease.
pub(crate) fn lease(budget: Duration) -> Duration {
    budget + LEASE_BEYOND
}

/// How long to wait after so many attempts: doubling, at random between half of it and the whole, so that what failed
/// together is not repeated together.
pub(crate) fn wait(attempt: u32) -> Duration {
    let doubled = FIRST_WAIT.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    let whole = doubled.min(LONGEST_WAIT);
    whole / 2 + (whole / 2).mul_f64(fastrand::f64())
}

/// What a repeat may take.
fn budget(attempt: u32) -> Duration {
    FIRST_BUDGET.saturating_mul(attempt).min(LARGEST_BUDGET)
}

impl<N: Network> Exchange<N> {
    /// How many of this node's own questions and withdrawals wait to be asked again.
    pub async fn queue_length(&self) -> Result<u64, ExchangeError> {
        Ok(self.store.waiting().await?.unwrap_or(0))
    }

    /// Asks again, once, whatever is due now, and waits until that came to its end. Says how many were asked.
    pub async fn ask_due(self: &Arc<Self>) -> Result<usize, ExchangeError> {
        let claimed = self
            .store
            .claim(self.clock.now(), lease(LARGEST_BUDGET), AT_ONCE as u32)
            .await?;
        let count = claimed.len();
        join_all(claimed.into_iter().map(|claimed| self.repeat(claimed))).await;
        Ok(count)
    }

    /// Asks again for as long as the node runs; forgets what is past.
    pub async fn keep_asking(self: &Arc<Self>) {
        let mut asking = JoinSet::new();
        let mut forget_at = Instant::now();
        loop {
            if forget_at <= Instant::now() {
                forget_at = Instant::now() + FORGET;
                match self.store.forget(self.clock.now()).await {
                    Ok(0) => {}
                    Ok(count) => tracing::info!(count, "questions that expired are forgotten"),
                    Err(error) => tracing::warn!(%error, "what is past could not be forgotten"),
                }
            }
            while asking.try_join_next().is_some() {}
            let free = AT_ONCE - asking.len();
            if free > 0 && self.store.may_speak().await.is_ok() {
                let claimed = self
                    .store
                    .claim(self.clock.now(), lease(LARGEST_BUDGET), free as u32)
                    .await;
                for claimed in claimed
                    .inspect_err(|error| tracing::warn!(%error, "the queue cannot be read"))
                    .unwrap_or_default()
                {
                    let node = Arc::clone(self);
                    asking.spawn(async move { node.repeat(claimed).await });
                }
            }
            let due = self.store.next_due().await.ok().flatten();
            let sleep = due.map_or(LOOK, |due| {
                due.since(self.clock.now()).clamp(Duration::from_millis(50), LOOK)
            });
            // In this order, so that a simulated node goes the same way each time.
            tokio::select! {
                biased;
                Some(_) = asking.join_next() => {}
                () = self.queue.0.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    }

    /// Asks one of them again, in a trace of its own.
    async fn repeat(self: &Arc<Self>, claimed: Claimed) {
        let Claimed { id, kind, attempt, .. } = claimed;
        let asked = async {
            match kind {
                AskedKind::Query => self
                    .ask_missing(id, budget(attempt), attempt, &|_| {})
                    .await
                    .map(|asked| asked.again),
                AskedKind::Withdrawal => self.tell(id, budget(attempt), attempt).await.map(|told| told.again),
            }
        };
        let repeated = async {
            match asked.await {
                Ok(again) => tracing::info!(%id, attempt, again = again.map(|at: Time| at.to_string()), "asked again"),
                Err(error) => {
                    tracing::warn!(%id, attempt, %error, "could not be asked again; it is tried later");
                    // Where even this fails the lease runs out by itself.
                    let _ = self
                        .store
                        .ask_again_at(id, Some(self.clock.now().plus(wait(attempt))))
                        .await;
                }
            }
        };
        crate::trace::within(Trace::generate(), Box::pin(repeated)).await;
    }

    /// Claims a question that a person asks again. While it is being asked, waits; nothing if it is not in the queue, or whoever
    /// asks does not come to an end.
    pub(crate) async fn claim_by_hand(
        &self,
        id: StatementId,
        patience: Duration,
    ) -> Result<Option<Claimed>, ExchangeError> {
        let until = Instant::now() + patience;
        loop {
            match self.store.claim_one(id, self.clock.now(), lease(patience)).await? {
                Claim::Ours(claimed) => return Ok(Some(claimed)),
                Claim::Held if Instant::now() < until => tokio::time::sleep(Duration::from_millis(100)).await,
                Claim::Held | Claim::Unknown => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_with_jitter_up_to_a_quarter_of_an_hour() {
        for (attempt, whole) in [(1, 5), (2, 10), (4, 40), (8, 640), (9, 900), (40, 900), (u32::MAX, 900)] {
            let whole = Duration::from_secs(whole);
            let waits: Vec<_> = (0..64).map(|_| wait(attempt)).collect();
            assert!(
                waits.iter().all(|wait| *wait >= whole / 2 && *wait <= whole),
                "{attempt}"
            );
            assert!(waits.iter().any(|wait| *wait != waits[0]), "not all at once");
        }
    }

    #[test]
    fn a_repeat_has_more_time_than_the_one_before_and_never_more_than_a_minute() {
        assert_eq!(budget(1), Duration::from_secs(10));
        assert_eq!(budget(3), Duration::from_secs(30));
        assert_eq!(budget(u32::MAX), Duration::from_secs(60));
    }
}
