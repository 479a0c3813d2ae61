//! The headers of a hop and the arithmetic of its budget: relative, fixed where a question enters, cut at each hop.

use std::collections::BTreeSet;
use std::time::Duration;

use sanku_values::DivisionCode;

/// The longest budget that a node honours; a longer one is cut to it.
pub const LONGEST_BUDGET: Duration = Duration::from_secs(120);

/// The budget of a question that names none.
pub const USUAL_BUDGET: Duration = Duration::from_secs(10);

/// The most codes that `sanku-only` names.
pub const ONLY_AT_MOST: usize = 1_000;

const LEAST_RESERVE: Duration = Duration::from_millis(20);

/// What one hop says beside the statements: rewritten by each node, never part of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// `sanku-budget-ms`: how long the answer may take, from now on.
    pub budget: Duration,
    /// `sanku-only`: the codes still missing; `None`: all.
    pub only: Option<BTreeSet<DivisionCode>>,
    /// `sanku-attempt`: 0 at first; a hop that sees more does not retry.
    pub attempt: u32,
    /// `traceparent` of W3C Trace Context.
    pub traceparent: Option<String>,
}

impl Hop {
    /// A first attempt for all targets.
    pub const fn first(budget: Duration) -> Self {
        Self {
            budget,
            only: None,
            attempt: 0,
            traceparent: None,
        }
    }
}

impl Default for Hop {
    fn default() -> Self {
        Self::first(USUAL_BUDGET)
    }
}

/// What a node may give its neighbours of a budget, after `used`: less a reserve of max(20 ms, 5 %) for itself.
///
/// `None` once nothing is left.
pub fn onward(budget: Duration, used: Duration) -> Option<Duration> {
    let reserve = LEAST_RESERVE.max(budget / 20);
    budget
        .checked_sub(used)?
        .checked_sub(reserve)
        .filter(|left| *left >= Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_reserve_is_twenty_milliseconds_or_a_twentieth() {
        let millis = Duration::from_millis;
        assert_eq!(onward(millis(100), millis(0)), Some(millis(80)));
        assert_eq!(onward(millis(2_000), millis(0)), Some(millis(1_900)));
        assert_eq!(onward(millis(2_000), millis(500)), Some(millis(1_400)));
        assert_eq!(onward(millis(20), millis(0)), None);
        assert_eq!(onward(millis(100), millis(200)), None);
    }

    proptest! {
        #[test]
        fn a_hop_never_gives_more_than_it_has(budget in 0_u64..200_000, used in 0_u64..200_000) {
            let (budget, used) = (Duration::from_millis(budget), Duration::from_millis(used));
            if let Some(left) = onward(budget, used) {
                prop_assert!(left + used + Duration::from_millis(20) <= budget);
            }
        }
    }
}
