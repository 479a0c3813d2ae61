//! Requests that each peer may make (S-41). What no good node makes costs as much as fifty, and whoever has not as much left
//! owes it: nothing more is taken before that is paid.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sanku_values::DivisionCode;

/// Requests that a peer may make in a second, sustained.
const A_SECOND: NonZeroU32 = NonZeroU32::new(1000).unwrap();
/// Requests that a peer may make at once.
const AT_ONCE: NonZeroU32 = NonZeroU32::new(2000).unwrap();
/// What a request costs beside itself that no good node makes.
const COST_OF_A_FAULT: NonZeroU32 = NonZeroU32::new(49).unwrap();
/// Faults that are owed at most: about two seconds of the budget.
const OWED: u32 = 40;

/// The budget of each peer; its keys are members of the registry, so it stays small.
pub(crate) struct Budgets {
    requests: DefaultKeyedRateLimiter<DivisionCode>,
    cost_of_a_fault: NonZeroU32,
    /// Faults that are not paid yet.
    owed: Mutex<HashMap<DivisionCode, u32>>,
}

impl Default for Budgets {
    fn default() -> Self {
        Self::new(A_SECOND, AT_ONCE)
    }
}

impl Budgets {
    pub(crate) fn new(a_second: NonZeroU32, at_once: NonZeroU32) -> Self {
        Self {
            requests: RateLimiter::keyed(Quota::per_second(a_second).allow_burst(at_once)),
            cost_of_a_fault: COST_OF_A_FAULT.min(at_once),
            owed: Mutex::default(),
        }
    }

    /// Takes a request, unless the budget is used up.
    pub(crate) fn take(&self, peer: DivisionCode) -> bool {
        self.pay(peer, 0) && self.requests.check_key(&peer).is_ok()
    }

    /// Takes what a fault costs, now or from what comes.
    pub(crate) fn fault(&self, peer: DivisionCode) {
        self.pay(peer, 1);
    }

    /// Owes some faults more and pays as many as it can; whether nothing is owed any more.
    fn pay(&self, peer: DivisionCode, more: u32) -> bool {
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = OWED.min(owed.get(&peer).copied().unwrap_or(0) + more);
        while due > 0 && matches!(self.requests.check_key_n(&peer, self.cost_of_a_fault), Ok(Ok(()))) {
            due -= 1;
        }
        if due == 0 {
            owed.remove(&peer);
        } else {
            owed.insert(peer, due);
        }
        due == 0
    }
}
