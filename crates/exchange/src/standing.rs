//! How this node's neighbours fare, for its administrator: what was last observed of each, and by how much its clock differs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sanku_federation_protocol::body::Observed;
use sanku_federation_protocol::names::Outcome;
use sanku_values::{DivisionCode, Time};

use crate::Exchange;
use crate::breaker::BreakerState;
use crate::network::Network;

/// What was last observed of each neighbour since the start.
pub(crate) type Observations = Mutex<BTreeMap<DivisionCode, Last>>;

/// The end of the last question to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// What came of it.
    pub outcome: Outcome,
    /// When it was asked.
    pub asked: Time,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

/// A neighbour, as it fares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Its code.
    pub code: DivisionCode,
    /// Its last question; nothing if none was put since the start.
    pub last: Option<Last>,
    /// Its clock's lead over ours, in milliseconds; nothing if it was not compared lately.
    pub clock: Option<i64>,
    /// Whether it is asked at all for now.
    pub breaker: BreakerState,
}

impl<N: Network> Exchange<N> {
    /// All neighbours, as they fare.
    pub fn standing(&self) -> Vec<Neighbour> {
        let clocks = self.leads();
        let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        let neighbours = self.neighbours().into_iter();
        let standing = neighbours.map(|code| Neighbour {
            code,
            last: observed.get(&code).copied(),
            clock: clocks.get(&code).copied(),
            breaker: self.peers.state(code),
        });
        standing.collect()
    }

    /// Whether the last question to a neighbour got nothing out of it.
    pub(crate) fn fared_badly(&self, neighbour: DivisionCode) -> bool {
        let observed = self.observed.lock().unwrap_or_else(PoisonError::into_inner);
        observed.get(&neighbour).is_some_and(|last| {
            matches!(
                last.outcome,
                Outcome::Late | Outcome::Unreachable | Outcome::Overloaded | Outcome::PeerError
            )
        })
    }

    /// Keeps what came of asking a neighbour, and counts it.
    pub(crate) fn observe(&self, seen: &Observed) {
        let last = Last {
            outcome: seen.outcome,
            asked: seen.since,
            milliseconds: seen.milliseconds,
        };
        self.observed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(seen.node, last);
        let (peer, outcome) = (seen.node.to_string(), seen.outcome.as_str());
        metrics::counter!("sanku_asked_total", "peer" => peer.clone(), "outcome" => outcome).increment(1);
        metrics::histogram!("sanku_ask_seconds", "peer" => peer).record(Duration::from_millis(seen.milliseconds));
    }
}
