//! Withdrawals (撤回): a mandate of this node's own questions is withdrawn here and at every target of theirs, by the same
//! path as a question. Each target's account is its acknowledgement.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use sanku_federation_protocol::body::{Body, QueryBody, Salt, WithdrawalBody};
use sanku_federation_protocol::entry::{Draft, Said, WithdrawalEntry};
use sanku_federation_protocol::names::{Outcome, StatementId};
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_store::{Effect, key_name};
use sanku_values::DivisionCode;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::accept;
use crate::network::{Hop, Network};
use crate::{Caller, Exchange, ExchangeError};

impl<N: Network> Exchange<N> {
    /// Withdraws a mandate: every target of its questions is told once; from then on it is refused here and there.
    ///
    /// Gives for each target whether it acknowledged.
    pub async fn withdraw(
        self: &Arc<Self>,
        mandate: StatementId,
        reason: &str,
        budget: Duration,
    ) -> Result<Vec<(DivisionCode, Outcome)>, ExchangeError> {
        let now = self.clock.now();
        let mut sets = BTreeMap::new();
        let mut until = now;
        for id in self.store.own_questions().await? {
            let said = self.store.said(self.store.origin(), id).await?;
            let Some(statement) = said.first().and_then(|run| run.statements.first()) else {
                continue;
            };
            if let Said::Query(entry) = &statement.entry.said
                && entry.mandate_id == mandate
            {
                let body: QueryBody = statement.body_as()?;
                until = until.max(body.mandate.valid_until);
                sets.insert(
                    (entry.scope.as_str(), entry.targets.clone(), entry.registry),
                    entry.scope,
                );
            }
        }
        if sets.is_empty() {
            return Err(ExchangeError::NoSuchMandate);
        }
        let mut told = BTreeMap::new();
        for ((_, targets, registry), scope) in sets {
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
            ];
            let draft = Draft {
                id,
                said: Said::Withdrawal(entry),
                body,
            };
            let run = self
                .store
                .append(key_name(&origin, id), vec![draft], effects)
                .await?
                .run;
            let asked = accept::judge(
                self.here(),
                run,
                &Caller::Socket,
                &self.trust.load_full(),
                self.clock.now(),
            )?;
            let hop = Hop {
                budget,
                only: None,
                attempt: 1,
                traceparent: crate::trace::current().to_string(),
            };
            let (sender, mut runs) = mpsc::channel::<VerifiedRun>(64);
            let mut acknowledged: BTreeSet<_> = [self.here()].into();
            let caller = Caller::Socket;
            let hear = async {
                while let Some(run) = runs.recv().await {
                    if run.statements.iter().any(
                        |statement| matches!(&statement.entry.said, Said::Account(account) if account.re == asked.leaf),
                    ) {
                        acknowledged.insert(run.origin.node);
                    }
                }
            };
            let (worked, ()) = tokio::join!(self.answer(&caller, &asked, None, &hop, Instant::now(), sender), hear);
            worked?;
            for target in &asked.targets {
                let outcome = if acknowledged.contains(target) {
                    Outcome::Answered
                } else {
                    Outcome::Pending
                };
                told.insert(*target, outcome);
            }
        }
        Ok(told.into_iter().collect())
    }
}
