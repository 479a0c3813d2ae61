//! Several addresses of one node: which is called first, when the next one is tried, when two are called at once.
//!
//! Whoever gives no response at all is followed by the next address (failover). Where the head of a response takes longer than
//! it did 95 times of 100, the next address is asked beside it (hedging), at most twice in a hundred calls: both belong to one
//! node, which keeps one log. Remembered are the times of the last 100 heads and two counts for each neighbour.

use std::collections::VecDeque;
use std::time::Duration;

/// Times that are looked back at.
const LOOKED_AT: usize = 100;
/// Fewer tell nothing.
const ENOUGH: usize = 20;
/// Calls for each hedge.
const CALLS_A_HEDGE: u64 = 50;
/// Calls after which the counts are halved, so that they speak of the present.
const FADING: u64 = 1000;

#[derive(Debug, Default)]
pub(crate) struct Record {
    heads: VecDeque<Duration>,
    calls: u64,
    hedges: u64,
    /// Which address is called first: the last that answered.
    first: usize,
}

impl Record {
    /// A call begins. Gives the order of addresses, and after what time the second is asked beside the first.
    pub(crate) fn call(&mut self, addresses: usize) -> (Vec<usize>, Option<Duration>) {
        self.calls += 1;
        if self.calls >= FADING {
            (self.calls, self.hedges) = (self.calls / 2, self.hedges / 2);
        }
        let order = (0..addresses)
            .map(|step| (self.first + step) % addresses)
            .collect::<Vec<_>>();
        let after = if addresses > 1 { self.p95() } else { None };
        (order, after)
    }

    /// How long a head took but for the slowest five of a hundred.
    pub(crate) fn p95(&self) -> Option<Duration> {
        if self.heads.len() < ENOUGH {
            return None;
        }
        let mut heads: Vec<_> = self.heads.iter().copied().collect();
        heads.sort_unstable();
        heads.get((heads.len() * 95).div_ceil(100) - 1).copied()
    }

    /// Whether one more hedge stays within two of a hundred calls; then it is counted.
    pub(crate) fn may_hedge(&mut self) -> bool {
        let may = (self.hedges + 1) * CALLS_A_HEDGE <= self.calls;
        self.hedges += u64::from(may);
        may
    }

    /// An address gave a head.
    pub(crate) fn answered(&mut self, address: usize, took: Duration) {
        self.first = address;
        self.heads.push_back(took);
        if self.heads.len() > LOOKED_AT {
            self.heads.pop_front();
        }
    }

    /// An address gave nothing: another is called first from now on.
    pub(crate) fn failed(&mut self, address: usize, addresses: usize) {
        if self.first == address && addresses > 0 {
            self.first = (address + 1) % addresses;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_address_that_answered_is_called_first() {
        let mut record = Record::default();
        assert_eq!(record.call(3).0, [0, 1, 2]);
        record.failed(0, 3);
        assert_eq!(record.call(3).0, [1, 2, 0]);
        record.answered(2, Duration::ZERO);
        assert_eq!(record.call(3).0, [2, 0, 1]);
        assert_eq!(record.call(1).0, [0], "the registry may name fewer from now on");
    }

    #[test]
    fn hedges_come_after_p95_and_are_at_most_two_of_a_hundred() {
        let mut record = Record::default();
        for milliseconds in 1..=19 {
            record.answered(0, Duration::from_millis(milliseconds));
        }
        assert_eq!(record.call(2).1, None, "too few to tell");
        for milliseconds in 1..=1000 {
            record.answered(0, Duration::from_millis(milliseconds % 100 + 1));
        }
        assert_eq!(record.call(2).1, Some(Duration::from_millis(95)));
        assert_eq!(record.call(1).1, None, "there is no other address");
        assert_eq!(record.heads.len(), LOOKED_AT);
        let (mut calls, mut hedges) = (0, 0);
        for _ in 0..5000 {
            record.call(2);
            calls += 1;
            hedges += u64::from(record.may_hedge());
        }
        assert!(hedges * 50 <= calls + 150 && hedges >= 90, "{hedges} of {calls}");
    }
}
