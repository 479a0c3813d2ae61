//! What this node remembers of asking each neighbour: its breaker, how many questions are on their way, how much was retried.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sanku_values::{DivisionCode, Time};

use crate::breaker::{Breaker, BreakerState, Verdict};
use crate::slots::Slots;

/// Questions on their way to one neighbour.
const IN_FLIGHT: usize = 32;
/// Calls after which the counts are halved, so that they speak of the present.
const FADING: u64 = 200;

/// Every neighbour that was asked.
#[derive(Default)]
pub(crate) struct Peers(Mutex<BTreeMap<DivisionCode, Peer>>);

struct Peer {
    breaker: Breaker,
    slots: Arc<Slots>,
    calls: u64,
    retries: u64,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            breaker: Breaker::default(),
            slots: Arc::new(Slots::of(IN_FLIGHT)),
            calls: 0,
            retries: 0,
        }
    }
}

impl Peers {
    fn held(&self) -> MutexGuard<'_, BTreeMap<DivisionCode, Peer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a neighbour may be asked now, and where to wait for one's turn.
    ///
    /// # Errors
    /// Since when its breaker is open.
    pub(crate) fn pass(&self, to: DivisionCode, now: Time) -> Result<Arc<Slots>, Time> {
        let mut held = self.held();
        let peer = held.entry(to).or_default();
        peer.breaker.pass(now)?;
        peer.calls += 1;
        if peer.calls >= FADING {
            (peer.calls, peer.retries) = (peer.calls / 2, peer.retries / 2);
        }
        Ok(Arc::clone(&peer.slots))
    }

    /// The end of a question that passed.
    pub(crate) fn ended(&self, to: DivisionCode, verdict: Verdict, now: Time) {
        let mut held = self.held();
        let breaker = &mut held.entry(to).or_default().breaker;
        let before = breaker.state();
        breaker.ended(verdict, now, fastrand::f64());
        let after = breaker.state();
        drop(held);
        if before.as_str() != after.as_str() {
            tracing::warn!(neighbour = %to, breaker = after.as_str(), "a breaker changed");
            metrics::counter!("sanku_breaker_changes_total", "peer" => to.to_string(), "to" => after.as_str())
                .increment(1);
        }
    }

    /// Whether one more retry stays under a tenth of the neighbour's traffic; then it is counted.
    pub(crate) fn may_retry(&self, to: DivisionCode) -> bool {
        let mut held = self.held();
        let peer = held.entry(to).or_default();
        let may = peer.retries * 10 < peer.calls;
        peer.retries += u64::from(may);
        may
    }

    /// Each neighbour's breaker; closed where nobody was asked yet.
    pub(crate) fn state(&self, of: DivisionCode) -> BreakerState {
        self.held()
            .get(&of)
            .map_or(BreakerState::Closed, |peer| peer.breaker.state())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_stay_under_a_tenth_of_the_traffic() {
        let peers = Peers::default();
        let to: DivisionCode = 421_000.try_into().unwrap();
        let now = Time::from_millis(1_790_000_000_000);
        let mut retried = 0;
        for _ in 0..1000 {
            peers.pass(to, now).unwrap();
            retried += u32::from(peers.may_retry(to));
        }
        assert!((90..=110).contains(&retried), "{retried}");
        assert!(!peers.may_retry(to));
    }
}
