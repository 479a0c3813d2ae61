//! The asker's side: a case becomes a question, goes the one path with this node's own socket as caller, and what comes
//! back is merged and logged as a result.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sanku_catalogue::Catalogue;
use sanku_federation_protocol::body::{Body, Mandate, Person, QueryBody, ResultBody, Salt, Subject};
use sanku_federation_protocol::entry::{Draft, QueryEntry, ResultEntry, Said};
use sanku_federation_protocol::gather::Gathered;
use sanku_federation_protocol::merge::{Merged, merge};
use sanku_federation_protocol::names::StatementId;
use sanku_federation_protocol::outcomes::outcomes;
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_federation_protocol::stream::{Event, Reader};
use sanku_store::{Effect, key_name};
use sanku_tlog::Hash;
use sanku_values::DivisionCode;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::accept::{self, Accepted, Asking};
use crate::authorise::{Circumstances, stop};
use crate::case::Case;
use crate::network::{Hop, Network};
use crate::{Caller, Exchange, ExchangeError};

/// What the person sees while it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The question is in the log; so many targets.
    Asked(StatementId, usize),
    /// A node said something.
    Heard(DivisionCode),
}

/// What came of a question.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The question's id.
    pub id: StatementId,
    /// The question itself.
    pub question: VerifiedRun,
    /// The merged result.
    pub merged: Merged,
    /// Origins of logs whose runs it rests on, with the number of runs: unwitnessed until a cosignature that counts covers them.
    pub unwitnessed: Vec<(String, usize)>,
}

impl<N: Network> Exchange<N> {
    /// Asks about a household. Checks everything on itself first; nothing is logged if a rule forbids it.
    pub async fn ask(self: &Arc<Self>, case: Case, progress: impl Fn(Progress) + Send) -> Result<Asked, ExchangeError> {
        let now = self.clock.now();
        let trust = self.trust.load_full();
        let (reference, registry, tree) = trust.registry().ok_or(ExchangeError::NoRegistry)?;
        let (scope, targets) = case.scope.parts();
        let count = tree
            .targets(self.here(), scope, targets.as_deref())
            .map_err(|error| ExchangeError::Case(error.to_string()))?
            .len();
        let subjects: Vec<_> = case
            .subjects
            .iter()
            .map(|subject| Subject {
                number: subject.number.clone(),
                kind: subject.number.kind(),
                name: subject.name.clone(),
                role: subject.role.clone(),
            })
            .collect();
        let person = |staff: &crate::case::Staff| Person {
            name: staff.name.clone(),
            staff_number: staff.staff_number.clone(),
            time: now,
        };
        let entry = QueryEntry {
            purpose: case.purpose.clone(),
            case: self.store.pseudonym("case", &case.case),
            subjects: u32::try_from(subjects.len()).unwrap_or(u32::MAX),
            categories: case.categories.clone(),
            scope,
            registry: reference,
            catalogue: Catalogue::current().version(),
            targets,
            priority: case.priority,
            expires: now.plus(Duration::from_secs(u64::from(case.expires_days) * 24 * 3600)),
            mandate_id: case.mandate.id,
        };
        let mandate = Mandate {
            signatories: case.mandate.signatories.clone(),
            subjects: case.mandate.subjects.clone(),
            categories: case.mandate.categories.clone(),
            purpose: case.mandate.purpose.clone(),
            valid_from: case.mandate.valid_from,
            valid_until: case.mandate.valid_until,
            letter: case.mandate.letter,
        };
        let body = QueryBody {
            salt: Salt::generate()?,
            requester: case.requester.clone(),
            examiner: person(&case.examiner),
            approver: person(&case.approver),
            mandate,
            subjects,
        };
        let withdrawn = self.store.is_withdrawn(self.here(), entry.mandate_id, now).await?;
        let known = Circumstances {
            asked: now,
            now,
            withdrawn,
            registry: now <= registry.grace_until,
        };
        if let Some(rule) = stop(&entry, &body, known)
            .or_else(|| self.policy.judge(crate::authorise::Relation::Own, &entry.purpose).err())
        {
            return Err(ExchangeError::Refused(rule));
        }
        let id = StatementId::generate(now);
        let line = body.line()?;
        let expires = entry.expires;
        let draft = Draft {
            id,
            said: Said::Query(entry),
            body: line,
        };
        let origin = self.store.origin().clone();
        let effect = Effect::Said {
            origin: origin.clone(),
            id,
            leaf: None,
            expires,
        };
        let run = self
            .store
            .append(key_name(&origin, id), vec![draft], vec![effect])
            .await?
            .run;
        progress(Progress::Asked(id, count));
        let hop = self.hop(Duration::from_millis(case.budget_ms), None, 1);
        self.go(run, hop, true, &progress).await
    }

    /// Asks an earlier question again: whoever has not answered, or could not search everything.
    pub async fn ask_again(
        self: &Arc<Self>,
        id: StatementId,
        budget: Duration,
        progress: impl Fn(Progress) + Send,
    ) -> Result<Asked, ExchangeError> {
        let (run, known) = self.known(id).await?;
        let missing: Vec<_> = known
            .targets
            .iter()
            .copied()
            .filter(|target| !settled(&known, *target))
            .collect();
        progress(Progress::Asked(id, missing.len()));
        let attempt = known
            .accounts
            .get(&self.here())
            .map_or(1, |account| account.says.attempt)
            .saturating_add(1);
        self.go(run, self.hop(budget, Some(missing), attempt), false, &progress)
            .await
    }

    /// The question's own run, and everything that is known of it.
    pub async fn known(&self, id: StatementId) -> Result<(VerifiedRun, Gathered), ExchangeError> {
        let recalled = self.recall(id).await?;
        Ok((recalled.run, recalled.known))
    }

    /// Everything that the store holds of a question of ours.
    async fn recall(&self, id: StatementId) -> Result<Recalled, ExchangeError> {
        let said = self.store.said(self.store.origin(), id).await?;
        let run = said.first().ok_or(ExchangeError::NoSuchQuestion)?.clone();
        let time = run
            .statements
            .first()
            .map_or_else(|| self.clock.now(), |statement| statement.entry.time);
        let trust = self.trust.load_full();
        let asked = accept::judge(self.here(), run.clone(), &Caller::Socket, &trust, time)?;
        let mut recalled = Recalled::new(run, &asked)?;
        for run in &said[1..] {
            recalled.add(run, &asked);
        }
        for run in self.received(id).await? {
            recalled.add(&run, &asked);
        }
        Ok(recalled)
    }

    /// Runs of other nodes about a question of ours, verified again.
    pub async fn received(&self, id: StatementId) -> Result<Vec<VerifiedRun>, ExchangeError> {
        let trust = self.trust.load_full();
        let mut runs = Vec::new();
        for wire in self.store.received(self.store.origin(), id).await? {
            let mut reader = Reader::new();
            reader.push(&wire);
            while let Ok(Some(event)) = reader.next_event() {
                if let Event::Run(run) = event {
                    match run.verify(&*trust) {
                        Ok(run) => runs.push(run),
                        Err(error) => tracing::warn!(%error, "a stored run counts no more"),
                    }
                }
            }
        }
        Ok(runs)
    }

    /// Everything a question's evidence holds: this node's runs in order, then what it received.
    pub async fn evidence(
        &self,
        id: StatementId,
    ) -> Result<(Vec<VerifiedRun>, Vec<VerifiedRun>, Merged), ExchangeError> {
        let said = self.store.said(self.store.origin(), id).await?;
        let received = self.received(id).await?;
        let (run, known) = self.known(id).await?;
        let merged = self.merged(&run, &known)?;
        Ok((said, received, merged))
    }

    fn merged(&self, run: &VerifiedRun, known: &Gathered) -> Result<Merged, ExchangeError> {
        let trust = self.trust.load_full();
        let time = run
            .statements
            .first()
            .map_or_else(|| self.clock.now(), |statement| statement.entry.time);
        let asked = accept::judge(self.here(), run.clone(), &Caller::Socket, &trust, time)?;
        Ok(self.merged_of(&asked, known))
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

    fn hop(&self, budget: Duration, only: Option<Vec<DivisionCode>>, attempt: u32) -> Hop {
        Hop {
            budget,
            only,
            attempt,
            traceparent: crate::trace::current().to_string(),
        }
    }

    /// The one path, with this node's own socket as caller; then merge and result. Of a new question everything is at hand;
    /// of an older one the store is asked what it holds.
    async fn go(
        self: &Arc<Self>,
        run: VerifiedRun,
        hop: Hop,
        new: bool,
        progress: &(impl Fn(Progress) + Send),
    ) -> Result<Asked, ExchangeError> {
        let began = Instant::now();
        let trust = self.trust.load_full();
        let asked = accept::judge(self.here(), run.clone(), &Caller::Socket, &trust, self.clock.now())?;
        let (sender, mut runs) = mpsc::channel(64);
        let mut heard = Vec::new();
        let caller = Caller::Socket;
        let seat = if new {
            Some(self.seat_of_new(&asked).await)
        } else {
            None
        };
        let work = self.answer(&caller, &asked, seat, &hop, began, sender);
        let hear = async {
            while let Some(run) = runs.recv().await {
                if run.origin.node != self.here() {
                    progress(Progress::Heard(run.origin.node));
                }
                heard.push(run);
            }
        };
        let (worked, ()) = tokio::join!(work, hear);
        worked?;
        let recalled = if new {
            Recalled::new(run, &asked)?
        } else {
            self.recall(asked.id).await?
        };
        self.conclude(&asked, recalled, heard, new).await
    }

    /// Keeps what was received, merges everything that is known, logs the result.
    async fn conclude(
        &self,
        asked: &Accepted,
        mut recalled: Recalled,
        heard: Vec<VerifiedRun>,
        new: bool,
    ) -> Result<Asked, ExchangeError> {
        let mut effects = Vec::new();
        for run in heard {
            let ours = run.origin.node == self.here();
            if new || !ours {
                recalled.add(&run, asked);
            }
            if !ours {
                effects.push(Effect::Received {
                    origin: asked.origin.clone(),
                    id: asked.id,
                    run: Box::new(run),
                });
            }
        }
        let merged = self.merged_of(asked, &recalled.known);
        let body = ResultBody {
            salt: Salt::generate()?,
            merged: recalled.known.leaves().into_iter().collect(),
            digest: merged.digest(),
            supersedes: recalled.result,
        };
        let draft = Draft {
            id: StatementId::generate(self.clock.now()),
            said: Said::Result(ResultEntry {
                re: asked.leaf,
                complete: merged.complete,
            }),
            body: body.line()?,
        };
        self.append(asked, vec![draft], effects).await?;
        let complete = if merged.complete { "true" } else { "false" };
        metrics::counter!("sanku_results_total", "complete" => complete).increment(1);
        tracing::info!(question = %asked.id, complete, "a question of ours has its result");
        let mut unwitnessed = std::collections::BTreeMap::new();
        for (log, _, _) in &recalled.runs {
            *unwitnessed.entry(log.clone()).or_insert(0) += 1;
        }
        Ok(Asked {
            id: asked.id,
            question: recalled.run,
            merged,
            unwitnessed: unwitnessed.into_iter().collect(),
        })
    }
}

/// What is known of a question of ours.
struct Recalled {
    run: VerifiedRun,
    known: Gathered,
    /// The newest result.
    result: Option<Hash>,
    /// Every run it rests on: log, first index, how many.
    runs: BTreeSet<(String, u64, usize)>,
}

impl Recalled {
    fn new(run: VerifiedRun, asked: &Accepted) -> Result<Self, ExchangeError> {
        let Asking::Query(entry, _) = &asked.asking else {
            return Err(ExchangeError::NoSuchQuestion);
        };
        let known = Gathered::new(asked.leaf, entry, asked.targets.clone());
        let runs = BTreeSet::from([(run.origin.to_string(), run.first, run.statements.len())]);
        Ok(Self {
            run,
            known,
            result: None,
            runs,
        })
    }

    fn add(&mut self, run: &VerifiedRun, asked: &Accepted) {
        self.runs
            .insert((run.origin.to_string(), run.first, run.statements.len()));
        if is_result(run) {
            self.result = run.statements.last().map(|statement| statement.leaf).or(self.result);
            return;
        }
        let on_way = asked.tree.nodes().collect();
        if let Err(unfit) = self.known.insert(run, &on_way) {
            tracing::warn!(node = %run.origin.node, %unfit, "a run contributes nothing");
        }
    }
}

/// Whether a target need not be asked again: it refused, or answered everything.
fn settled(known: &Gathered, target: DivisionCode) -> bool {
    use sanku_federation_protocol::names::Status;
    if known.refusals.contains_key(&target) {
        return true;
    }
    (0..known.subjects).all(|subject| {
        known.answers.get(&(target, subject)).is_some_and(|word| {
            word.says
                .categories
                .iter()
                .all(|answer| answer.status != Status::Unavailable)
        })
    })
}

fn is_result(run: &VerifiedRun) -> bool {
    run.statements
        .iter()
        .all(|statement| matches!(statement.entry.said, Said::Result(_)))
}
