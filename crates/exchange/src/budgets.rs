//! How much each asker may ask (配额): budgets of nodes, of people and of purposes. A refusal costs as much as a question on
//! top of it, so that guessing is dear. Their state fades by itself: what was not used lately is not remembered.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use sanku_federation_protocol::body::QueryBody;
use sanku_federation_protocol::entry::QueryEntry;
use sanku_values::DivisionCode;
use serde::Deserialize;
use tokio::time::Instant;

/// Keys beyond which what was not used lately is dropped.
const KEYS: usize = 4096;

/// Questions a second, sustained. At once there may be so many times more of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Of one node.
    pub node: NonZeroU32,
    /// Of one examiner.
    pub person: NonZeroU32,
    /// Of one node for one purpose.
    pub purpose: NonZeroU32,
    /// How many seconds' worth may come at once.
    pub burst: NonZeroU32,
}

const fn number(value: u32) -> NonZeroU32 {
    match NonZeroU32::new(value) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            node: number(1000),
            person: number(200),
            purpose: number(1000),
            burst: number(10),
        }
    }
}

/// The runtime's clock: who holds its time holds budgets too, and a machine's clock that is put back takes nobody's budget.
#[derive(Clone, Debug)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

type Limiter<K> = RateLimiter<K, DefaultKeyedStateStore<K>, RuntimeClock, NoOpMiddleware<Nanos>>;

pub(crate) struct Budgets {
    nodes: Limiter<DivisionCode>,
    /// By a hash of node and staff number: no staff number is kept.
    people: Limiter<u64>,
    purposes: Limiter<u64>,
}

/// The budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UsedUp(pub(crate) &'static str);

fn key(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

impl Budgets {
    pub(crate) fn new(limits: &Limits) -> Self {
        let quota = |rate: NonZeroU32| Quota::per_second(rate).allow_burst(rate.saturating_mul(limits.burst));
        let clock = RuntimeClock(Instant::now());
        let by_hash = |rate| RateLimiter::new(quota(rate), DefaultKeyedStateStore::default(), clock.clone());
        Self {
            nodes: RateLimiter::new(quota(limits.node), DefaultKeyedStateStore::default(), clock.clone()),
            people: by_hash(limits.person),
            purposes: by_hash(limits.purpose),
        }
    }

    /// Takes one question from its asker's three budgets.
    ///
    /// # Errors
    /// The first that is used up.
    pub(crate) fn charge(&self, asker: DivisionCode, entry: &QueryEntry, body: &QueryBody) -> Result<(), UsedUp> {
        self.take(asker, &body.examiner.staff_number, entry.purpose.as_str())
    }

    fn take(&self, asker: DivisionCode, staff_number: &str, purpose: &str) -> Result<(), UsedUp> {
        self.fade();
        let person = key(&(asker, staff_number));
        let purpose = key(&(asker, purpose));
        let used_up = [
            (self.nodes.check_key(&asker).is_err(), "node"),
            (self.people.check_key(&person).is_err(), "person"),
            (self.purposes.check_key(&purpose).is_err(), "purpose"),
        ];
        match used_up.into_iter().find(|(used_up, _)| *used_up) {
            Some((_, whose)) => {
                metrics::counter!("sanku_questions_shed_total", "budget" => whose).increment(1);
                Err(UsedUp(whose))
            }
            None => Ok(()),
        }
    }

    /// How many nodes, people and purposes asked so lately that their budgets are not full again.
    pub(crate) fn remembered(&self) -> [(&'static str, usize); 3] {
        for keys in [&self.people, &self.purposes] {
            keys.retain_recent();
        }
        self.nodes.retain_recent();
        [
            ("node", self.nodes.len()),
            ("person", self.people.len()),
            ("purpose", self.purposes.len()),
        ]
    }

    fn fade(&self) {
        for keys in [&self.people, &self.purposes] {
            if keys.len() > KEYS {
                keys.retain_recent();
                keys.shrink_to_fit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_people_leave_a_bounded_trace_that_fades() {
        let budgets = Budgets::new(&Limits::default());
        let asker = DivisionCode::try_from(421_002).unwrap();
        let mut most = 0;
        for person in 0..100_000 {
            // The node's own budget is used up on the way; the people's are counted all the same.
            let _ = budgets.take(asker, &person.to_string(), "minimum_living_allowance");
            most = most.max(budgets.people.len());
        }
        assert!(most <= 2 * KEYS, "{most} people at once");
        std::thread::sleep(std::time::Duration::from_millis(50));
        let people = budgets.remembered()[1];
        assert_eq!(people, ("person", 0), "a question fades within 5 ms");
    }
}
