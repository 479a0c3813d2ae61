//! How much each asker may ask (配额): budgets of nodes, of people and of purposes. A refusal costs as much as a question on
//! top of it, so that guessing is dear. Their state fades by itself: what was not used lately is not remembered.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU32;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use sanku_federation_protocol::body::QueryBody;
use sanku_federation_protocol::entry::QueryEntry;
use sanku_values::DivisionCode;
use serde::Deserialize;

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

pub(crate) struct Budgets {
    nodes: DefaultKeyedRateLimiter<DivisionCode>,
    /// By a hash of node and staff number: no staff number is kept.
    people: DefaultKeyedRateLimiter<u64>,
    purposes: DefaultKeyedRateLimiter<u64>,
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
        Self {
            nodes: RateLimiter::keyed(quota(limits.node)),
            people: RateLimiter::keyed(quota(limits.person)),
            purposes: RateLimiter::keyed(quota(limits.purpose)),
        }
    }

    /// Takes one question from its asker's three budgets.
    ///
    /// # Errors
    /// The first that is used up.
    pub(crate) fn charge(&self, asker: DivisionCode, entry: &QueryEntry, body: &QueryBody) -> Result<(), UsedUp> {
        self.fade();
        let person = key(&(asker, &body.examiner.staff_number));
        let purpose = key(&(asker, entry.purpose.as_str()));
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

    fn fade(&self) {
        for keys in [&self.people, &self.purposes] {
            if keys.len() > KEYS {
                keys.retain_recent();
                keys.shrink_to_fit();
            }
        }
    }
}
