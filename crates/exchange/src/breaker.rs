//! The breaker of one neighbour (断路器): whoever fails again and again is left alone for a while, then tried by one question.
//!
//! Pure: the present comes in from outside. Opens at half of the last 20 or 5 in a row; while it is open one question may pass
//! as a probe after 5 s, then after twice as long, up to 60 s, each with jitter.

use std::collections::VecDeque;
use std::time::Duration;

use sanku_values::Time;

/// How many ends are looked back at.
const LOOKED_AT: usize = 20;
/// So many failures of them open it.
const HALF: usize = LOOKED_AT / 2;
/// So many failures in a row open it.
const IN_A_ROW: u32 = 5;
const FIRST_PROBE: Duration = Duration::from_secs(5);
const LAST_PROBE: Duration = Duration::from_secs(60);

/// What the end of a question says of the neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is there and works, whatever it said.
    Works,
    /// It is away, broken, or cannot take more.
    Fails,
    /// Nothing: our own budget was too short to tell.
    Unknown,
}

/// A breaker as an administrator sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Questions pass.
    Closed,
    /// The neighbour is `unreachable` at once.
    Open {
        /// Since when.
        since: Time,
        /// When a question may pass as a probe.
        probe: Time,
    },
}

impl BreakerState {
    /// Its stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// The last ends, oldest first: whether it failed.
    failed: VecDeque<bool>,
    in_a_row: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Time,
    probe: Time,
    wait: Duration,
    /// A probe went out and its end is not known.
    probing: bool,
}

/// At random between half of a wait and the whole.
fn jittered(wait: Duration, random: f64) -> Duration {
    wait / 2 + (wait / 2).mul_f64(random)
}

impl Breaker {
    pub(crate) fn state(&self) -> BreakerState {
        self.open
            .as_ref()
            .map_or(BreakerState::Closed, |open| BreakerState::Open {
                since: open.since,
                probe: open.probe,
            })
    }

    /// Whether a question may pass.
    ///
    /// # Errors
    /// Since when it is open.
    pub(crate) fn pass(&mut self, now: Time) -> Result<(), Time> {
        let Some(open) = &mut self.open else { return Ok(()) };
        // A clock that was put back must not keep it open.
        if now < open.probe && now >= open.since {
            return Err(open.since);
        }
        // One at a time; should this one's end never be known, the next may try.
        open.probe = now.plus(open.wait);
        open.probing = true;
        Ok(())
    }

    /// The end of a question that passed. `random` is from 0 to 1.
    pub(crate) fn ended(&mut self, verdict: Verdict, now: Time, random: f64) {
        match (verdict, &mut self.open) {
            (Verdict::Unknown, _) => {}
            (Verdict::Works, Some(_)) => *self = Self::default(),
            (Verdict::Works, None) => self.count(false),
            // What was under way when it opened tells nothing new.
            (Verdict::Fails, Some(open)) if !open.probing => {}
            (Verdict::Fails, Some(open)) => {
                open.probing = false;
                open.wait = (open.wait * 2).min(LAST_PROBE);
                open.probe = now.plus(jittered(open.wait, random));
            }
            (Verdict::Fails, None) => {
                self.count(true);
                let failures = self.failed.iter().filter(|failed| **failed).count();
                if self.in_a_row >= IN_A_ROW || failures >= HALF {
                    self.open = Some(Open {
                        since: now,
                        // The first probe waits its whole 5 s: jitter comes on top.
                        probe: now.plus(FIRST_PROBE + jittered(FIRST_PROBE, random) / 2),
                        wait: FIRST_PROBE,
                        probing: false,
                    });
                }
            }
        }
    }

    fn count(&mut self, failed: bool) {
        self.in_a_row = if failed { self.in_a_row + 1 } else { 0 };
        self.failed.push_back(failed);
        if self.failed.len() > LOOKED_AT {
            self.failed.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_millis(1_790_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            assert_eq!(breaker.pass(at(0)), Ok(()));
            breaker.ended(Verdict::Fails, at(0), 1.0);
        }
        breaker
    }

    #[test]
    fn five_in_a_row_open_it_and_four_do_not() {
        let mut breaker = Breaker::default();
        for _ in 0..2 {
            for verdict in [Verdict::Fails; 4].into_iter().chain([Verdict::Works]) {
                breaker.ended(verdict, at(0), 0.5);
            }
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        let mut breaker = opened();
        assert_eq!(breaker.pass(at(1)), Err(at(0)), "since when");
    }

    #[test]
    fn half_of_the_last_twenty_open_it() {
        let mut breaker = Breaker::default();
        for turn in 0..10 {
            assert_eq!(breaker.state(), BreakerState::Closed, "{turn}");
            breaker.ended(Verdict::Works, at(0), 0.5);
            breaker.ended(Verdict::Fails, at(turn), 0.5);
        }
        assert!(matches!(breaker.state(), BreakerState::Open { since, .. } if since == at(9)));
        let mut breaker = Breaker::default();
        for _ in 0..40 {
            for verdict in [Verdict::Works, Verdict::Works, Verdict::Fails] {
                breaker.ended(verdict, at(0), 0.5);
            }
        }
        assert_eq!(breaker.state(), BreakerState::Closed, "a third is not half");
    }

    #[test]
    fn our_own_short_budget_never_opens_it() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            breaker.ended(Verdict::Unknown, at(0), 0.5);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn one_probe_passes_at_a_time_and_waits_double_up_to_a_minute() {
        let mut breaker = opened();
        assert_eq!(breaker.pass(at(4)), Err(at(0)));
        let mut now = 8;
        for wait in [10, 20, 40, 60, 60] {
            assert_eq!(breaker.pass(at(now)), Ok(()), "a probe");
            assert_eq!(breaker.pass(at(now)), Err(at(0)), "and nobody beside it");
            breaker.ended(Verdict::Fails, at(now), 1.0);
            assert_eq!(breaker.pass(at(now + wait - 1)), Err(at(0)));
            now += wait;
        }
        assert_eq!(breaker.pass(at(now)), Ok(()));
        breaker.ended(Verdict::Works, at(now), 1.0);
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.ended(Verdict::Fails, at(now), 1.0);
        assert_eq!(breaker.pass(at(now)), Ok(()), "what was before is forgotten");
    }

    #[test]
    fn what_was_under_way_when_it_opened_does_not_keep_it_open_longer() {
        let mut breaker = opened();
        let before = breaker.state();
        for _ in 0..30 {
            breaker.ended(Verdict::Fails, at(1), 1.0);
        }
        assert_eq!(breaker.state(), before);
    }

    #[test]
    fn a_clock_that_was_put_back_does_not_keep_it_open() {
        let mut breaker = opened();
        let yesterday = at(0).minus(Duration::from_secs(24 * 3600));
        assert_eq!(breaker.pass(yesterday), Ok(()));
    }
}
