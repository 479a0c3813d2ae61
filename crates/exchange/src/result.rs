//! What a question of this node's own comes to: everything known of it merged, and logged as a result that names the one it
//! supersedes. What is missing then is asked again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sanku_federation_protocol::body::{Body, ResultBody, Salt};
use sanku_federation_protocol::entry::{Draft, ResultEntry, Said};
use sanku_federation_protocol::gather::Gathered;
use sanku_federation_protocol::merge::{Merged, merge};
use sanku_federation_protocol::names::{Outcome, StatementId, Status};
use sanku_federation_protocol::outcomes::outcomes;
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_store::{Effect, Unwitnessed};
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, Time};

use crate::accept::{self, Accepted, Asking, Question};
use crate::asker::Asked;
use crate::authorise::Leave;
use crate::network::Network;
use crate::{Caller, Exchange, ExchangeError, fair, queue};

impl<N: Network> Exchange<N> {
    /// Everything that is known of a question as it stands in the log, without asking anybody.
    pub async fn known_now(&self, id: StatementId) -> Result<Asked, ExchangeError> {
        let said = self.store.said(self.store.origin(), id).await?;
        let recalled = self.recall(id, &until_result(said)).await?;
        let merged = self.merged(&recalled.run, &recalled.known)?;
        let again = self.store.due(id).await?;
        let unwitnessed = self.unwitnessed(id, &recalled).await?;
        let digest = merged.digest();
        Ok(recalled.asked(id, (merged, digest), again, unwitnessed))
    }

    /// What a question of ours rests on that no cosignature that counts covers.
    async fn unwitnessed(&self, id: StatementId, recalled: &Recalled) -> Result<Vec<Unwitnessed>, ExchangeError> {
        let mut unwitnessed = self.store.unwitnessed_of(self.store.origin(), id).await?;
        let covered = self
            .store
            .cosigned()
            .await?
            .map_or(0, |(checkpoint, _)| checkpoint.size);
        let own = self.store.origin().to_string();
        let open = recalled
            .runs
            .iter()
            .filter(|(log, _, end)| *log == own && *end > covered);
        let runs = open.count() as u64;
        if runs > 0 {
            let since = self
                .store
                .unwitnessed_since()
                .await?
                .unwrap_or_else(|| self.clock.now());
            unwitnessed.push(Unwitnessed { log: own, runs, since });
        }
        Ok(unwitnessed)
    }

    /// What this node's runs and those received say of a question of ours.
    pub(crate) async fn recall(&self, id: StatementId, said: &[VerifiedRun]) -> Result<Recalled, ExchangeError> {
        let run = said.first().ok_or(ExchangeError::NoSuchQuestion)?.clone();
        let asked = self.asked_then(run.clone())?;
        let mut recalled = Recalled::new(run, &asked, &asked.questions[0])?;
        for run in &said[1..] {
            recalled.add(run, &asked)?;
        }
        for run in self.received(id).await? {
            recalled.add(&run, &asked)?;
        }
        Ok(recalled)
    }

    /// A question of ours, judged at the time when it was asked.
    fn asked_then(&self, run: VerifiedRun) -> Result<Accepted, ExchangeError> {
        let time = run
            .statements
            .first()
            .map_or_else(|| self.clock.now(), |statement| statement.entry.time);
        let trust = self.trust.load_full();
        Ok(accept::judge(self.here(), run, &Caller::Socket, &trust, time)?)
    }

    pub(crate) fn merged(&self, run: &VerifiedRun, known: &Gathered) -> Result<Merged, ExchangeError> {
        Ok(self.merged_of(&self.asked_then(run.clone())?, known))
    }

    fn merged_of(&self, asked: &Accepted, known: &Gathered) -> Merged {
        let trust = self.trust.load();
        let suspended: BTreeSet<_> = asked
            .targets
            .iter()
            .copied()
            .filter(|target| trust.judge_member(*target) == Err(ProblemKind::Suspended))
            .collect();
        let ends = outcomes(self.here(), &asked.tree, &suspended, known);
        merge(known, ends, &asked.registry)
    }

    /// Keeps what was received about each question, merges everything that is known, logs the results that say anything new, and
    /// says when what is missing is asked again. Of one question one conclusion is drawn at a time.
    pub(crate) async fn conclude(
        &self,
        asked: &Accepted,
        heard: Vec<VerifiedRun>,
        new: bool,
        attempt: u32,
    ) -> Result<Vec<Asked>, ExchangeError> {
        let mut order: Vec<_> = asked.questions.iter().map(|question| question.id).collect();
        order.sort_unstable();
        let mut alone = Vec::new();
        for id in order {
            let turn = self.conclusions.place((asked.origin.clone(), id));
            alone.push(turn.lock_owned().await);
        }
        let mut about: HashMap<Hash, Vec<VerifiedRun>> = HashMap::new();
        for run in heard {
            for (re, part) in run.by_question() {
                about
                    .entry(re.unwrap_or(asked.questions[0].leaf))
                    .or_default()
                    .push(part);
            }
        }
        let leaves = self.leave(asked).await?;
        // What is missing of a batch is asked again together.
        let due = self.clock.now().plus(queue::wait(attempt));
        let (mut parts, mut unchanged, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for ((question, run), leave) in asked.questions.iter().zip(asked.alone()).zip(leaves) {
            let mut recalled = if new {
                Recalled::new(run, asked, question)?
            } else {
                let said = self.store.said(&asked.origin, question.id).await?;
                self.recall(question.id, &said).await?
            };
            let mut effects = Vec::new();
            for run in about.remove(&question.leaf).unwrap_or_default() {
                let ours = run.origin.node == self.here();
                if new || !ours {
                    recalled.add(&run, asked)?;
                }
                if !ours {
                    effects.push(Effect::Received {
                        origin: asked.origin.clone(),
                        id: question.id,
                        run: Box::new(run),
                    });
                }
            }
            let merged = self.merged_of(asked, &recalled.known);
            let over = merged.complete
                || missing(&recalled.known, &merged).is_empty()
                || matches!(leave, Leave::Stop(_))
                || due >= asked.expires;
            let again = (!over).then_some(due);
            let digest = merged.digest();
            let leaves: Vec<_> = recalled.known.leaves().into_iter().collect();
            let before = recalled.result.take();
            // The same again is no news. Whatever came is known already: statements count by their leaf hashes.
            if before
                .as_ref()
                .is_some_and(|(_, before)| before.merged == leaves && before.digest == digest)
            {
                unchanged.push((question.id, again));
            } else {
                let body = ResultBody {
                    salt: Salt::generate()?,
                    merged: leaves,
                    digest,
                    supersedes: before.map(|(leaf, _)| leaf),
                };
                effects.push(Effect::AskAgain {
                    id: question.id,
                    due: again,
                });
                let draft = Draft {
                    id: StatementId::generate(self.clock.now()),
                    said: Said::Result(ResultEntry {
                        re: question.leaf,
                        complete: merged.complete,
                    }),
                    body: body.line()?,
                };
                parts.push(self.part(asked, question, vec![draft], effects));
                let complete = if merged.complete { "true" } else { "false" };
                metrics::counter!("sanku_results_total", "complete" => complete).increment(1);
                tracing::info!(question = %question.id, complete, attempt, "a question of ours has its result");
            }
            all.push((question.id, recalled, (merged, digest), again));
            fair::pause(all.len()).await;
        }
        self.say(asked, parts).await?;
        for (id, again) in unchanged {
            self.store.ask_again_at(id, again).await?;
        }
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
        if all.iter().any(|(_, _, _, again)| again.is_some()) {
            self.queue.ring();
        }
        let mut concluded = Vec::new();
        for (id, recalled, merged, again) in all {
            let unwitnessed = if new {
                recalled.all_unwitnessed(self.clock.now())
            } else {
                self.unwitnessed(id, &recalled).await?
            };
            concluded.push(recalled.asked(id, merged, again, unwitnessed));
        }
        Ok(concluded)
    }
}

/// What is known of a question of ours.
pub(crate) struct Recalled {
    pub(crate) run: VerifiedRun,
    pub(crate) known: Gathered,
    /// The newest result, and its leaf hash.
    result: Option<(Hash, ResultBody)>,
    /// Every run it rests on: log, first index, the index behind its last.
    runs: BTreeSet<(String, u64, u64)>,
}

impl Recalled {
    fn new(run: VerifiedRun, asked: &Accepted, question: &Question) -> Result<Self, ExchangeError> {
        let Asking::Query(entry, _) = &question.asking else {
            return Err(ExchangeError::NoSuchQuestion);
        };
        let known = Gathered::new(question.leaf, entry, asked.targets.clone());
        let runs = BTreeSet::from([place_of(&run)]);
        Ok(Self {
            run,
            known,
            result: None,
            runs,
        })
    }

    fn add(&mut self, run: &VerifiedRun, asked: &Accepted) -> Result<(), ExchangeError> {
        self.runs.insert(place_of(run));
        if is_result(run) {
            if let Some(statement) = run.statements.last() {
                self.result = Some((statement.leaf, statement.body_as()?));
            }
            return Ok(());
        }
        let on_way = asked.tree.nodes().collect();
        if let Err(unfit) = self.known.insert(run, &on_way) {
            tracing::warn!(node = %run.origin.node, %unfit, "a run contributes nothing");
        }
        Ok(())
    }

    /// Of a question that was answered this moment nothing is covered yet.
    fn all_unwitnessed(&self, since: Time) -> Vec<Unwitnessed> {
        let mut logs = BTreeMap::new();
        for (log, _, _) in &self.runs {
            *logs.entry(log.clone()).or_insert(0) += 1;
        }
        let unwitnessed = |(log, runs)| Unwitnessed { log, runs, since };
        logs.into_iter().map(unwitnessed).collect()
    }

    fn asked(
        self,
        id: StatementId,
        (merged, digest): (Merged, Hash),
        again: Option<Time>,
        unwitnessed: Vec<Unwitnessed>,
    ) -> Asked {
        Asked {
            id,
            question: self.run,
            merged,
            digest,
            again,
            unwitnessed,
        }
    }
}

/// A run's log, first index, and the index behind its last.
fn place_of(run: &VerifiedRun) -> (String, u64, u64) {
    let end = run.first + run.statements.len() as u64;
    (run.origin.to_string(), run.first, end)
}

/// The targets to ask again: whoever neither refused nor was cut off for good, and has not answered everything.
pub(crate) fn missing(known: &Gathered, merged: &Merged) -> Vec<DivisionCode> {
    let ends = merged.outcomes.iter();
    ends.filter(|(target, end)| match end.outcome {
        Outcome::Answered => !searched_everything(known, **target),
        Outcome::Refused | Outcome::RefusedOnWay | Outcome::UnknownNode => false,
        _ => true,
    })
    .map(|(target, _)| *target)
    .collect()
}

/// Whether nothing of a target's answers was unavailable.
fn searched_everything(known: &Gathered, target: DivisionCode) -> bool {
    (0..known.subjects).all(|subject| {
        known.answers.get(&(target, subject)).is_some_and(|word| {
            word.says
                .categories
                .iter()
                .all(|answer| answer.status != Status::Unavailable)
        })
    })
}

/// This node's runs up to its newest result. An account after it belongs to a question that is being asked again: what it rests
/// on is not kept before the next result.
pub(crate) fn until_result(mut said: Vec<VerifiedRun>) -> Vec<VerifiedRun> {
    if let Some(newest) = said.iter().rposition(is_result) {
        said.truncate(newest + 1);
    }
    said
}

pub(crate) fn is_result(run: &VerifiedRun) -> bool {
    run.statements
        .iter()
        .all(|statement| matches!(statement.entry.said, Said::Result(_)))
}
