//! Withdrawals (撤回): a mandate of this node's own questions is withdrawn here at once and at every target of theirs, by the
//! same path as a question and as durably. Each target's account is its acknowledgement; whoever gave none is told again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sanku_federation_protocol::body::{Body, QueryBody, Salt, WithdrawalBody};
use sanku_federation_protocol::entry::{Draft, NoteRef, Said, WithdrawalEntry};
use sanku_federation_protocol::names::{Outcome, ScopeLabel, StatementId};
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_store::{AskedKind, Effect, key_name};
use sanku_values::{DivisionCode, Time};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::accept::{self, Accepted};
use crate::network::{Hop, Network};
use crate::{Caller, Exchange, ExchangeError, queue};

/// Whom one withdrawal goes to: scope, codes, registry.
type Set = (&'static str, Option<Vec<DivisionCode>>, NoteRef);

/// What was asked under a mandate, and what was withdrawn of it.
struct OfMandate {
    /// Every set of targets, with its scope.
    sets: BTreeMap<Set, ScopeLabel>,
    /// Withdrawals that were said before, by their set.
    said: BTreeMap<Set, StatementId>,
    /// The mandate's end.
    until: Time,
}

/// Who acknowledged a withdrawal, and who did not.
pub(crate) struct Told {
    pub(crate) targets: BTreeSet<DivisionCode>,
    pub(crate) acknowledged: BTreeSet<DivisionCode>,
    /// When the others are told again.
    pub(crate) again: Option<Time>,
}

impl<N: Network> Exchange<N> {
    /// Withdraws a mandate: from now on it is refused here, and every target of its questions is told until it acknowledged
    /// or the mandate ends. Done a second time it tells whoever did not acknowledge, at once.
    ///
    /// Gives for each target whether it acknowledged.
    pub async fn withdraw(
        self: &Arc<Self>,
        mandate: StatementId,
        reason: &str,
        budget: Duration,
    ) -> Result<Vec<(DivisionCode, Outcome)>, ExchangeError> {
        self.store.may_speak().await?;
        let OfMandate { sets, said, until } = self.of_mandate(mandate).await?;
        if sets.is_empty() {
            return Err(ExchangeError::NoSuchMandate);
        }
        let mut withdrawals = Vec::new();
        // All are in the log, and bind here, before anybody is told.
        for (set, scope) in sets {
            withdrawals.push(match said.get(&set) {
                Some(id) => (*id, false),
                None => {
                    let leased = self.clock.now().plus(queue::lease(budget));
                    let id = self.say_withdrawal(mandate, set, scope, until, reason, leased);
                    (id.await?, true)
                }
            });
        }
        let mut ends = BTreeMap::new();
        for (id, fresh) in withdrawals {
            let claimed = if fresh {
                None
            } else {
                self.claim_by_hand(id, budget).await?
            };
            let attempt = claimed.map_or(1, |claimed| claimed.attempt);
            let told = self.tell(id, budget, attempt).await?;
            for target in told.targets {
                let acknowledged = told.acknowledged.contains(&target);
                let outcome = if acknowledged {
                    Outcome::Answered
                } else {
                    Outcome::Pending
                };
                // Whoever still owes one acknowledgement has not acknowledged.
                let end = ends.entry(target).or_insert(outcome);
                if !acknowledged {
                    *end = outcome;
                }
            }
        }
        Ok(ends.into_iter().collect())
    }

    /// Everything of this node's own that rests on a mandate.
    async fn of_mandate(&self, mandate: StatementId) -> Result<OfMandate, ExchangeError> {
        let mut found = OfMandate {
            sets: BTreeMap::new(),
            said: BTreeMap::new(),
            until: self.clock.now(),
        };
        for id in self.store.own_of_mandate(mandate).await? {
            let said = self.store.said(self.store.origin(), id).await?;
            let Some(statement) = said.first().and_then(|run| run.statements.first()) else {
                continue;
            };
            match &statement.entry.said {
                Said::Query(entry) if entry.mandate_id == mandate => {
                    let body: QueryBody = statement.body_as()?;
                    found.until = found.until.max(body.mandate.valid_until);
                    let set = (entry.scope.as_str(), entry.targets.clone(), entry.registry);
                    found.sets.insert(set, entry.scope);
                }
                Said::Withdrawal(entry) if entry.mandate_id == mandate => {
                    let set = (entry.scope.as_str(), entry.targets.clone(), entry.registry);
                    found.said.insert(set, id);
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// Logs the withdrawal for one set of targets. From then on it binds here, and the queue tells whoever is not told.
    async fn say_withdrawal(
        &self,
        mandate: StatementId,
        (_, targets, registry): Set,
        scope: ScopeLabel,
        until: Time,
        reason: &str,
        leased: Time,
    ) -> Result<StatementId, ExchangeError> {
        let now = self.clock.now();
        let id = StatementId::generate(now);
        let entry = WithdrawalEntry {
            mandate_id: mandate,
            registry,
            scope,
            targets,
            expires: until,
        };
        let body = WithdrawalBody {
            salt: Salt::generate()?,
            reason: reason.to_owned(),
        }
        .line()?;
        let origin = self.store.origin().clone();
        let effects = vec![
            Effect::Said {
                origin: origin.clone(),
                id,
                leaf: None,
                expires: until,
            },
            Effect::Withdrawn {
                asker: self.here(),
                mandate,
                until,
            },
            Effect::Asked {
                id,
                kind: AskedKind::Withdrawal,
                mandate,
                expires: until,
                leased,
                line: None,
            },
        ];
        let draft = Draft {
            id,
            said: Said::Withdrawal(entry),
            body,
        };
        self.store.append(key_name(&origin, id), vec![draft], effects).await?;
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        Ok(id)
    }

    /// Tells whoever did not acknowledge a withdrawal yet.
    pub(crate) async fn tell(
        self: &Arc<Self>,
        id: StatementId,
        budget: Duration,
        attempt: u32,
    ) -> Result<Told, ExchangeError> {
        let origin = self.store.origin().clone();
        let said = self.store.said(&origin, id).await?;
        let run = said.first().ok_or(ExchangeError::NoSuchQuestion)?.clone();
        let trust = self.trust.load_full();
        let asked = accept::judge(self.here(), run, &Caller::Socket, &trust, self.clock.now())?;
        let mut acknowledged: BTreeSet<_> = [self.here()].into();
        for run in self.received(id).await? {
            acknowledges(&asked, &run, &mut acknowledged);
        }
        let open: Vec<_> = asked.targets.difference(&acknowledged).copied().collect();
        if !open.is_empty() {
            let hop = Hop {
                budget,
                only: (attempt > 1).then_some(open),
                attempt,
                traceparent: crate::trace::current().to_string(),
            };
            let (sender, mut runs) = mpsc::channel::<VerifiedRun>(64);
            let mut heard = Vec::new();
            let caller = Caller::Socket;
            let hear = async {
                while let Some(run) = runs.recv().await {
                    if run.origin.node != self.here() && acknowledges(&asked, &run, &mut acknowledged) {
                        heard.push(run);
                    }
                }
            };
            let (worked, ()) = tokio::join!(self.answer(&caller, &asked, None, &hop, Instant::now(), sender), hear);
            worked?;
            self.store.keep(&origin, id, &heard, self.clock.now()).await?;
        }
        let due = self.clock.now().plus(queue::wait(attempt));
        let all = asked.targets.is_subset(&acknowledged);
        let again = (!all && due < asked.expires).then_some(due);
        self.store.ask_again_at(id, again).await?;
        self.queue.ring();
        Ok(Told {
            targets: asked.targets,
            acknowledged,
            again,
        })
    }
}

/// Whether a run holds an account of this withdrawal: then its node acknowledged it.
fn acknowledges(asked: &Accepted, run: &VerifiedRun, acknowledged: &mut BTreeSet<DivisionCode>) -> bool {
    let mut statements = run.statements.iter();
    let account =
        statements.any(|statement| matches!(&statement.entry.said, Said::Account(account) if asked.questions.iter().any(|question| question.leaf == account.re)));
    if account {
        acknowledged.insert(run.origin.node);
    }
    account
}
