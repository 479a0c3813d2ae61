//! This node's clock beside its neighbours' (时钟): compared by asking them, judged by the median of what they say.
//!
//! Beyond 2 minutes it is said; beyond 15 minutes this node appends nothing, since what it would sign would bear a time that
//! nobody else accepts. A neighbour's word is kept beside the machine's monotonic clock, so that a jump of our own is seen
//! even when nobody can be reached.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use sanku_values::{DivisionCode, Time};
use tokio::time::Instant;

use crate::Exchange;
use crate::network::Network;

/// Beyond this lead or lag a node warns.
pub const WARN_BEYOND: Duration = Duration::from_secs(2 * 60);
/// Beyond this lead or lag a node appends nothing.
pub const STOP_BEYOND: Duration = Duration::from_secs(15 * 60);
/// How long a neighbour's word counts. While the log is held it counts until a newer one comes: a wrong clock may itself be
/// why nobody can be reached, since no certificate seems valid by it.
const FRESH: Duration = Duration::from_secs(3 * 60);
/// How long a neighbour may take to tell its time.
const PATIENCE: Duration = Duration::from_secs(2);

/// What each neighbour's clock said, and when it said so; and whether ours was too far from it when they were asked last.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    said: Mutex<BTreeMap<DivisionCode, (Time, Instant)>>,
    too_far: AtomicBool,
}

impl Readings {
    fn said(&self) -> MutexGuard<'_, BTreeMap<DivisionCode, (Time, Instant)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How this node's clock stands to the median of its neighbours'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clocks {
    /// No neighbour told its time lately.
    Alone,
    /// At most 2 minutes; the median's lead over ours in milliseconds.
    Together(i64),
    /// Beyond 2 minutes: it is said.
    Apart(i64),
    /// Beyond 15 minutes: nothing is appended.
    TooFar(i64),
}

impl Clocks {
    /// Judges the neighbours' leads over this node's clock, in milliseconds.
    pub fn judge(leads: impl IntoIterator<Item = i64>) -> Self {
        let mut leads: Vec<_> = leads.into_iter().collect();
        leads.sort_unstable();
        let middle = leads.len() / 2;
        let median = match (leads.get(middle), leads.len() % 2) {
            (None, _) => return Self::Alone,
            (Some(upper), 0) => i64::midpoint(*upper, leads.get(middle - 1).copied().unwrap_or(*upper)),
            (Some(median), _) => *median,
        };
        let apart = Duration::from_millis(median.unsigned_abs());
        if apart > STOP_BEYOND {
            Self::TooFar(median)
        } else if apart > WARN_BEYOND {
            Self::Apart(median)
        } else {
            Self::Together(median)
        }
    }

    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Together(_) => "together",
            Self::Apart(_) => "apart",
            Self::TooFar(_) => "too_far",
        }
    }

    /// The median's lead over this node's clock, in milliseconds.
    pub const fn lead(self) -> Option<i64> {
        match self {
            Self::Alone => None,
            Self::Together(lead) | Self::Apart(lead) | Self::TooFar(lead) => Some(lead),
        }
    }
}

impl<N: Network> Exchange<N> {
    /// How this node's clock stands now, by what neighbours said lately.
    pub fn clocks(&self) -> Clocks {
        Clocks::judge(self.leads().into_values())
    }

    /// Asks every neighbour for its time, judges, warns, and stops or releases the log. What they have seen of this node's log
    /// comes with it; and their notes are fetched where they differ: who asks nothing and missed a push in a cut would never
    /// see it.
    pub async fn compare_clocks(self: &Arc<Self>) -> Clocks {
        let asked = self.neighbours().into_iter().map(|neighbour| async move {
            let began = Instant::now();
            let said = tokio::time::timeout(PATIENCE, self.network.status_of(neighbour)).await;
            let status = said.ok()?.ok()?;
            self.heed(neighbour, &status.seen);
            // What it said, it said half a round trip ago.
            Some((neighbour, status.time.plus(began.elapsed() / 2), status.notes))
        });
        let own = self.trust.load().digest();
        for (neighbour, time, notes) in join_all(asked).await.into_iter().flatten() {
            if notes.is_some_and(|notes| notes != own) {
                let node = Arc::clone(self);
                tokio::spawn(async move { node.pull_notes(neighbour).await });
            }
            self.readings.said().insert(neighbour, (time, Instant::now()));
        }
        for (neighbour, lead) in self.leads() {
            if Duration::from_millis(lead.unsigned_abs()) > WARN_BEYOND {
                tracing::warn!(%neighbour, lead, "a neighbour's clock is more than 2 minutes from ours");
            }
        }
        let clocks = self.clocks();
        let theirs = clocks.lead().map(|lead| self.clock.now().millis() + lead);
        self.store.keep_within(STOP_BEYOND, theirs.map(Time::from_millis));
        let too_far = matches!(clocks, Clocks::TooFar(_));
        let before = self.readings.too_far.swap(too_far, Ordering::SeqCst);
        if too_far && !before {
            tracing::error!(
                lead = clocks.lead(),
                "the clock is more than 15 minutes from the neighbours': nothing is appended until it is set"
            );
        } else if before && !too_far {
            tracing::info!("the clock is with the neighbours' again: the log goes on");
        }
        clocks
    }

    /// Each neighbour's lead over this node's clock, in milliseconds, of those who told their time lately.
    pub(crate) fn leads(&self) -> BTreeMap<DivisionCode, i64> {
        let now = self.clock.now();
        let neighbours = self.neighbours();
        let held = self.store.is_held();
        let readings = self.readings.said();
        let fresh = readings.iter().filter_map(|(neighbour, (said, at))| {
            let since = at.elapsed();
            let counts = (since < FRESH || held) && neighbours.contains(neighbour);
            counts.then(|| (*neighbour, said.plus(since).millis() - now.millis()))
        });
        fresh.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn the_median_decides_and_one_liar_does_not() {
        assert_eq!(Clocks::judge([]), Clocks::Alone);
        assert_eq!(Clocks::judge([40]), Clocks::Together(40));
        assert_eq!(Clocks::judge([10, 600 * MINUTE, -20]), Clocks::Together(10));
        assert_eq!(Clocks::judge([3 * MINUTE, 5 * MINUTE]), Clocks::Apart(4 * MINUTE));
        assert_eq!(
            Clocks::judge([16 * MINUTE, 17 * MINUTE, 0]),
            Clocks::TooFar(16 * MINUTE)
        );
        assert_eq!(Clocks::judge([-16 * MINUTE]), Clocks::TooFar(-16 * MINUTE));
    }

    #[test]
    fn the_borders_are_two_and_fifteen_minutes() {
        assert_eq!(Clocks::judge([2 * MINUTE]), Clocks::Together(2 * MINUTE));
        assert_eq!(Clocks::judge([2 * MINUTE + 1]), Clocks::Apart(2 * MINUTE + 1));
        assert_eq!(Clocks::judge([15 * MINUTE]), Clocks::Apart(15 * MINUTE));
        assert_eq!(Clocks::judge([15 * MINUTE + 1]), Clocks::TooFar(15 * MINUTE + 1));
    }
}
