//! What this node takes on (接纳): places for questions in hand, of each neighbour and altogether, and the askers' budgets.
//! Whoever finds no place in 100 ms, or has asked too much, is told so before anything is searched.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sanku_federation_protocol::names::Priority;
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_values::DivisionCode;
use tokio::time::Instant;

use crate::accept::{Accepted, Asking, Question};
use crate::authorise::Policy;
use crate::budgets::Budgets;
use crate::network::Network;
use crate::slots::{Slot, Slots};
use crate::{Exchange, ExchangeError};

/// Questions of one neighbour in hand at once.
const OF_A_PEER: usize = 32;
/// Questions in hand at once, this node's own among them.
const OF_THE_NODE: usize = 1024;

/// How long a batch waits before it looks again whether its budgets are filled.
const REFILL: Duration = Duration::from_millis(20);

pub(crate) struct Admission {
    peers: Mutex<BTreeMap<DivisionCode, Arc<Slots>>>,
    node: Slots,
    budgets: Budgets,
}

/// The places that a question has, until they are dropped.
#[derive(Debug)]
pub(crate) struct Places(#[expect(dead_code, reason = "held for its drop")] Vec<Slot>);

impl Admission {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            peers: Mutex::default(),
            node: Slots::of(OF_THE_NODE),
            budgets: Budgets::new(&policy.budgets),
        }
    }

    /// The keys are neighbours, which were judged before: there are as many as the registry has.
    fn of(&self, peer: DivisionCode) -> Arc<Slots> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(peers.entry(peer).or_insert_with(|| Arc::new(Slots::of(OF_A_PEER))))
    }
}

impl<N: Network> Exchange<N> {
    /// Takes on a question that a neighbour handed in.
    ///
    /// # Errors
    /// `unavailable` (503) without a place, `too_many` (429) when one of its asker's budgets is used up.
    pub(crate) async fn admit(
        &self,
        from: DivisionCode,
        asked: &Accepted,
        patience: Duration,
    ) -> Result<Places, Problem> {
        let full = || Problem::new(ProblemKind::Unavailable, "too many questions in hand");
        let batch = asked.is_batch();
        let of_peer = self.admission.of(from).take_soon(batch).await.ok_or_else(full)?;
        let of_node = self.admission.node.take_soon(batch).await.ok_or_else(full)?;
        let until = Instant::now() + patience;
        for question in &asked.questions {
            // Nobody waits for a batch: it waits until its asker's budgets are filled again.
            while let Err(whose) = self.charge(asked.asker(), question) {
                if !batch || Instant::now() >= until {
                    let why = format!("the {whose}'s budget of questions is used up");
                    return Err(Problem::new(ProblemKind::TooMany, why));
                }
                tokio::time::sleep(REFILL).await;
            }
        }
        Ok(Places(vec![of_peer, of_node]))
    }

    /// Takes on a question of this node's own.
    pub(crate) async fn admit_own(&self, batch: bool) -> Result<Places, ExchangeError> {
        let place = self.admission.node.take_soon(batch).await;
        Ok(Places(vec![place.ok_or(ExchangeError::Busy)?]))
    }

    /// Takes a question from its asker's budgets. Withdrawals cost nothing: nobody may be kept from withdrawing.
    pub(crate) fn charge(&self, asker: DivisionCode, question: &Question) -> Result<(), &'static str> {
        let Asking::Query(entry, body) = &question.asking else {
            return Ok(());
        };
        let budgets = &self.admission.budgets;
        budgets.charge(asker, entry, body).map_err(|used_up| used_up.0)
    }

    /// How many nodes, people and purposes have used of their budgets lately.
    pub fn budgets_in_use(&self) -> [(&'static str, usize); 3] {
        self.admission.budgets.remembered()
    }

    /// The same for a question that this node is about to say. A batch waits for it.
    pub(crate) async fn charge_own(
        &self,
        entry: &sanku_federation_protocol::entry::QueryEntry,
        body: &sanku_federation_protocol::body::QueryBody,
    ) -> Result<(), ExchangeError> {
        loop {
            match self.admission.budgets.charge(self.here(), entry, body) {
                Err(_) if entry.priority == Priority::Batch => tokio::time::sleep(REFILL).await,
                charged => return charged.map_err(|used_up| ExchangeError::TooMany(used_up.0)),
            }
        }
    }
}
