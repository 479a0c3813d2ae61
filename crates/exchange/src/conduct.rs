//! How peers behave (行为): whoever hands in, again and again, what no good node says — forms that break the protocol, proofs
//! that do not hold — is flagged for the administrator. Nobody is cut off for it: budgets and breakers do that.
//!
//! Keys are members of the registry and each keeps at most twenty times, so the state is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sanku_values::{DivisionCode, Time};

use crate::Exchange;
use crate::network::Network;

/// So many faults…
const FLAGGED_AT: usize = 20;
/// …within so long flag a peer…
const WITHIN: Duration = Duration::from_secs(600);
/// …until it behaved for so long.
const FORGIVEN: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
struct Record {
    faults: u64,
    /// The last, oldest first.
    times: VecDeque<Time>,
    last: Option<&'static str>,
    flagged: Option<Time>,
}

/// A peer that handed in what no good node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misbehaved {
    /// Who.
    pub code: DivisionCode,
    /// How often since the start.
    pub faults: u64,
    /// What it was the last time.
    pub last: &'static str,
    /// When that was.
    pub at: Time,
    /// Since when it is flagged, if it is.
    pub flagged: Option<Time>,
}

/// What is remembered of each peer's faults.
#[derive(Debug, Default)]
pub(crate) struct Conduct(Mutex<BTreeMap<DivisionCode, Record>>);

impl Conduct {
    fn fault(&self, peer: DivisionCode, what: &'static str, now: Time) {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let record = records.entry(peer).or_default();
        record.forgive(now);
        record.faults += 1;
        record.last = Some(what);
        record.times.push_back(now);
        if record.times.len() > FLAGGED_AT {
            record.times.pop_front();
        }
        let many =
            record.times.len() == FLAGGED_AT && record.times.front().is_some_and(|first| first.plus(WITHIN) >= now);
        let news = many && record.flagged.is_none();
        if news {
            record.flagged = Some(now);
        }
        drop(records);
        metrics::counter!("sanku_peer_faults_total", "peer" => peer.to_string(), "what" => what).increment(1);
        if news {
            tracing::error!(%peer, what, "a peer is flagged: it handed in twenty times within ten minutes what no good node says");
        }
    }

    fn standing(&self, now: Time) -> Vec<Misbehaved> {
        let mut records = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (code, record) in records.iter_mut() {
            record.forgive(now);
            if let (Some(last), Some(at)) = (record.last, record.times.back()) {
                all.push(Misbehaved {
                    code: *code,
                    faults: record.faults,
                    last,
                    at: *at,
                    flagged: record.flagged,
                });
            }
        }
        all
    }
}

impl Record {
    fn forgive(&mut self, now: Time) {
        if self.times.back().is_some_and(|last| last.plus(FORGIVEN) < now) {
            self.flagged = None;
        }
    }
}

impl<N: Network> Exchange<N> {
    /// A peer handed in what no good node says: `what` is one of a few fixed words.
    pub fn misbehaved(&self, peer: DivisionCode, what: &'static str) {
        self.conduct.fault(peer, what, self.clock.now());
    }

    /// Whoever misbehaved since the start.
    pub fn conduct(&self) -> Vec<Misbehaved> {
        self.conduct.standing(self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f45_twenty_faults_within_ten_minutes_flag_a_peer_until_it_behaves_for_an_hour() {
        let (conduct, peer) = (Conduct::default(), DivisionCode::try_from(421_000).unwrap());
        let at = |seconds| Time::from_millis(1_790_000_000_000).plus(Duration::from_secs(seconds));
        let flagged = |seconds| conduct.standing(at(seconds))[0].flagged;
        for minute in 0..60 {
            conduct.fault(peer, "malformed", at(minute * 60));
        }
        assert_eq!(flagged(3540), None, "one a minute is no flood");
        for second in 0..20 {
            conduct.fault(peer, "bad_proof", at(4200 + second));
        }
        let since = flagged(4219);
        assert!(since.is_some());
        conduct.fault(peer, "malformed", at(7000));
        assert_eq!(flagged(7000 + 3600), since, "since when it is flagged");
        assert_eq!(flagged(7000 + 3601), None);
        assert_eq!(conduct.standing(at(7000))[0].faults, 81);
    }
}
