//! What this node says about questions: logged first, one call of the sequencer for one run's worth, then handed over.

use sanku_federation_protocol::entry::{Draft, Said};
use sanku_federation_protocol::statement::{LONGEST_RUN, VerifiedRun};
use sanku_store::{Effect, Part, Urgency, key_name};
use tokio::sync::mpsc;

use crate::accept::{Accepted, Asking, Question};
use crate::network::Network;
use crate::{Caller, Exchange, ExchangeError, fair};

/// Who hears what comes of what was accepted.
pub(crate) struct Listener<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) asked: &'a Accepted,
    pub(crate) runs: &'a mpsc::Sender<VerifiedRun>,
}

impl<N: Network> Exchange<N> {
    /// Logs what this node says about many questions, in runs of at most 256 statements that are written together.
    pub(crate) async fn say(&self, asked: &Accepted, parts: Vec<Part>) -> Result<Vec<VerifiedRun>, ExchangeError> {
        let mut calls: Vec<Vec<Part>> = Vec::new();
        let mut statements = LONGEST_RUN;
        for mut part in parts {
            statements += part.drafts.len();
            if statements > LONGEST_RUN {
                calls.push(Vec::new());
                statements = part.drafts.len();
                if asked.asker() != self.here() {
                    part.effects.push(Effect::Holds(Box::new(asked.run.clone())));
                }
            }
            if let Some(call) = calls.last_mut() {
                call.push(part);
            }
        }
        let urgency = if asked.is_batch() {
            Urgency::Batch
        } else {
            Urgency::Person
        };
        let said = calls.into_iter().map(|parts| self.store.say(parts, urgency));
        let said = futures_util::future::try_join_all(said).await?;
        Ok(said.into_iter().map(|committed| committed.run).collect())
    }

    /// What is said about one question, as the log takes it. A withdrawal takes effect with the first.
    pub(crate) fn part(
        &self,
        asked: &Accepted,
        question: &Question,
        drafts: Vec<Draft>,
        mut effects: Vec<Effect>,
    ) -> Part {
        effects.push(Effect::Said {
            origin: asked.origin.clone(),
            id: question.id,
            leaf: Some(question.leaf),
            expires: asked.expires,
        });
        if let Some(mandate) = question.mandate()
            && drafts.iter().any(|draft| matches!(draft.said, Said::Answer(_)))
        {
            effects.push(Effect::Under {
                asker: asked.asker(),
                mandate,
            });
        }
        if let Asking::Withdrawal(entry) = &question.asking {
            effects.push(Effect::Withdrawn {
                asker: asked.asker(),
                mandate: entry.mandate_id,
                until: entry.expires,
            });
        }
        Part {
            key_name: key_name(&asked.origin, question.id),
            drafts,
            effects,
        }
    }

    /// Logs what this node says about one question: durable before it leaves.
    pub(crate) async fn append(
        &self,
        asked: &Accepted,
        question: &Question,
        drafts: Vec<Draft>,
        effects: Vec<Effect>,
    ) -> Result<(), ExchangeError> {
        let part = self.part(asked, question, drafts, effects);
        self.say(asked, vec![part]).await.map(drop)
    }

    /// Sends a run of our own: sealed to the asker unless the caller is the asker itself.
    pub(crate) async fn hand_over(&self, to: &Listener<'_>, run: &VerifiedRun) -> Result<(), ExchangeError> {
        let Listener { caller, asked, runs } = to;
        let to_asker = match caller {
            Caller::Socket => true,
            Caller::Peer(peer) => *peer == asked.asker(),
        };
        let run = if to_asker {
            run.clone()
        } else {
            // The asker's clock may be ahead of ours, and its newest key younger than that.
            let now = self.clock.now().max(asked.time());
            let key = self
                .trust
                .load()
                .sealing_key(asked.asker(), now)
                .ok_or(ExchangeError::NoSealingKey)?;
            let mut statements = Vec::with_capacity(run.statements.len());
            for statement in &run.statements {
                statements.push(statement.sealed_to(&key)?);
                fair::pause(statements.len()).await;
            }
            VerifiedRun {
                statements,
                ..run.clone()
            }
        };
        // A reader that went away is no failure of ours: what was said is in the log.
        let _ = runs.send(run).await;
        Ok(())
    }
}
