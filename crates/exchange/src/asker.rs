//! The asker's side: a case becomes a question, goes the one path with this node's own socket as caller, and what comes
//! back is gathered. What it comes to stands in `result`.

use std::sync::Arc;
use std::time::Duration;

use sanku_catalogue::Catalogue;
use sanku_federation_protocol::body::{Body, Mandate, Person, QueryBody, Salt, Subject};
use sanku_federation_protocol::entry::{Draft, QueryEntry, Said};
use sanku_federation_protocol::evidence::Covers;
use sanku_federation_protocol::gather::Gathered;
use sanku_federation_protocol::merge::Merged;
use sanku_federation_protocol::names::{Priority, StatementId};
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_federation_protocol::stream::{Event, Reader};
use sanku_store::{AskedKind, Effect, Part, Unwitnessed, Urgency, key_name};
use sanku_tlog::{Checkpoint, Hash};
use sanku_values::{DivisionCode, Time};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::accept;
use crate::authorise::{Circumstances, stop};
use crate::case::Case;
use crate::network::{Hop, Network};
use crate::result::{missing, until_result};
use crate::{Caller, Exchange, ExchangeError, queue};

/// What the person sees while it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The question is in the log; so many targets.
    Asked(StatementId, usize),
    /// A node said something.
    Heard(DivisionCode),
}

/// A question that may be asked.
pub(crate) struct Posed {
    pub(crate) id: StatementId,
    pub(crate) entry: QueryEntry,
    pub(crate) body: QueryBody,
    /// How many targets it has.
    pub(crate) targets: usize,
    /// How long the answer may take.
    pub(crate) budget: Duration,
    /// The line of a batch's file that it comes from.
    pub(crate) line: Option<Hash>,
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
    /// SHA-256 of its bytes.
    pub digest: Hash,
    /// When it is asked again by itself; nothing at its end.
    pub again: Option<Time>,
    /// Of which logs it rests on runs that no cosignature that counts covers yet, how many and since when.
    pub unwitnessed: Vec<Unwitnessed>,
}

impl<N: Network> Exchange<N> {
    /// Asks about a household. Checks everything on itself first; nothing is logged if a rule forbids it.
    pub async fn ask(self: &Arc<Self>, case: Case, progress: impl Fn(Progress) + Send) -> Result<Asked, ExchangeError> {
        self.store.may_speak().await?;
        let posed = self.prepare(&case, None, self.clock.now()).await?;
        let _places = self.admit_own(case.priority == Priority::Batch).await?;
        self.charge_own(&posed.entry, &posed.body).await?;
        let (id, count, budget) = (posed.id, posed.targets, posed.budget);
        let run = self.pose(vec![posed], Urgency::Person).await?;
        progress(Progress::Asked(id, count));
        let asked = self.go(run, self.hop(budget, None, 1), true, &progress).await?;
        asked.into_iter().next().ok_or(ExchangeError::NoSuchQuestion)
    }

    /// A case as a question that may be asked, not yet logged.
    ///
    /// # Errors
    /// The rule that forbids it, or what is wrong with it.
    pub(crate) async fn prepare(&self, case: &Case, line: Option<Hash>, now: Time) -> Result<Posed, ExchangeError> {
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
        Ok(Posed {
            id: StatementId::generate(now),
            entry,
            body,
            targets: count,
            budget: Duration::from_millis(case.budget_ms),
            line,
        })
    }

    /// Logs questions as one run; each is in the queue from then on.
    pub(crate) async fn pose(&self, posed: Vec<Posed>, urgency: Urgency) -> Result<VerifiedRun, ExchangeError> {
        let origin = self.store.origin().clone();
        let now = self.clock.now();
        let mut parts = Vec::new();
        for Posed {
            id,
            entry,
            body,
            budget,
            line,
            ..
        } in posed
        {
            let (expires, mandate) = (entry.expires, entry.mandate_id);
            let said = Effect::Said {
                origin: origin.clone(),
                id,
                leaf: None,
                expires,
            };
            let queued = Effect::Asked {
                id,
                kind: AskedKind::Query,
                mandate,
                expires,
                leased: now.plus(queue::lease(budget)),
                line,
            };
            let draft = Draft {
                id,
                said: Said::Query(entry),
                body: body.line()?,
            };
            parts.push(Part {
                key_name: key_name(&origin, id),
                drafts: vec![draft],
                effects: vec![said, queued],
            });
        }
        Ok(self.store.say(parts, urgency).await?.run)
    }

    /// Asks an earlier question again: whoever has not answered, or could not search everything. Nobody is asked when nothing
    /// is missing, or the question has expired. Waits while the queue asks it.
    pub async fn ask_again(
        self: &Arc<Self>,
        id: StatementId,
        budget: Duration,
        progress: impl Fn(Progress) + Send,
    ) -> Result<Asked, ExchangeError> {
        self.store.may_speak().await?;
        let (_, known) = self.known(id).await?;
        let attempt = match self.claim_by_hand(id, budget).await? {
            Some(claimed) => claimed.attempt,
            None => known
                .accounts
                .get(&self.here())
                .map_or(1, |account| account.says.attempt)
                .saturating_add(1),
        };
        self.ask_missing(id, budget, attempt, &progress).await
    }

    /// Asks for what is missing, and says what is known then.
    pub(crate) async fn ask_missing(
        self: &Arc<Self>,
        id: StatementId,
        budget: Duration,
        attempt: u32,
        progress: &(impl Fn(Progress) + Send),
    ) -> Result<Asked, ExchangeError> {
        let (run, known) = self.known(id).await?;
        let missing = missing(&known, &self.merged(&run, &known)?);
        progress(Progress::Asked(id, missing.len()));
        if missing.is_empty() || self.clock.now() >= known.expires {
            self.store.ask_again_at(id, None).await?;
            return self.known_now(id).await;
        }
        let asked = self
            .go(run, self.hop(budget, Some(missing), attempt), false, progress)
            .await?;
        asked.into_iter().next().ok_or(ExchangeError::NoSuchQuestion)
    }

    /// The question's own run, and everything that is known of it as of its newest result.
    pub async fn known(&self, id: StatementId) -> Result<(VerifiedRun, Gathered), ExchangeError> {
        let said = self.store.said(self.store.origin(), id).await?;
        let recalled = self.recall(id, &until_result(said)).await?;
        Ok((recalled.run, recalled.known))
    }

    /// Runs of other nodes about a question of ours, verified again: their logs' keys are good now, or were when the cosignature
    /// that counts was made.
    pub async fn received(&self, id: StatementId) -> Result<Vec<VerifiedRun>, ExchangeError> {
        let trust = self.trust.load_full();
        let mut runs = Vec::new();
        let mut covers = None;
        for wire in self.store.received(self.store.origin(), id).await? {
            let mut reader = Reader::new();
            reader.push(&wire);
            while let Ok(Some(event)) = reader.next_event() {
                if let Event::Run(run) = event {
                    let error = match run.clone().verify(&*trust) {
                        Ok(run) => {
                            runs.push(run);
                            continue;
                        }
                        Err(error) => error,
                    };
                    if covers.is_none() {
                        covers = Some(self.store.covers_of(self.store.origin(), id).await?);
                    }
                    let named = Checkpoint::parse(run.checkpoint.text()).ok();
                    let witnessed = covers.iter().flatten().find(|cover| {
                        named
                            .as_ref()
                            .is_some_and(|named| named.origin == cover.0 && named.root == cover.1)
                    });
                    match witnessed.map(|cover| run.verify(&trust.when_witnessed(cover.2))) {
                        Some(Ok(run)) => runs.push(run),
                        _ => tracing::warn!(%error, "a stored run counts no more"),
                    }
                }
            }
        }
        Ok(runs)
    }

    /// Everything a question's evidence holds as of its newest result: this node's runs in order, under the cosigned checkpoint
    /// where it holds them, then what it received; and what covers that.
    pub async fn evidence(&self, id: StatementId) -> Result<(Vec<VerifiedRun>, Covers, Merged), ExchangeError> {
        loop {
            let said = until_result(self.store.said(self.store.origin(), id).await?);
            let received = self.received(id).await?;
            let (run, known) = self.known(id).await?;
            // A result that came meanwhile rests on more than was read before it.
            let now = until_result(self.store.said(self.store.origin(), id).await?);
            if now.len() == said.len() {
                let merged = self.merged(&run, &known)?;
                let mut runs = Vec::new();
                let cosigned = self.store.cosigned().await?;
                for run in said {
                    let count = run.statements.len() as u64;
                    runs.push(match &cosigned {
                        Some(cosigned) if cosigned.0.size >= run.first + count => {
                            self.store.run_under(cosigned.clone(), run.first, count).await?
                        }
                        _ => run,
                    });
                }
                runs.extend(received);
                let covers = self.store.covers_of(self.store.origin(), id).await?.into_iter();
                let covers = covers.map(|(log, root, _, cover, proof)| ((log, root), (cover, proof)));
                return Ok((runs, covers.collect(), merged));
            }
        }
    }

    pub(crate) fn hop(&self, budget: Duration, only: Option<Vec<DivisionCode>>, attempt: u32) -> Hop {
        Hop {
            budget,
            only,
            attempt,
            traceparent: crate::trace::current().to_string(),
        }
    }

    /// The one path, with this node's own socket as caller; then merge and result. Of a new question everything is at hand;
    /// of an older one the store is asked what it holds.
    pub(crate) async fn go(
        self: &Arc<Self>,
        run: VerifiedRun,
        hop: Hop,
        new: bool,
        progress: &(impl Fn(Progress) + Send),
    ) -> Result<Vec<Asked>, ExchangeError> {
        let began = Instant::now();
        let trust = self.trust.load_full();
        let asked = accept::judge(self.here(), run, &Caller::Socket, &trust, self.clock.now())?;
        let (sender, mut runs) = mpsc::channel(64);
        let mut heard = Vec::new();
        let caller = Caller::Socket;
        let seats = if new {
            Some(self.seats_of_new(&asked).await)
        } else {
            None
        };
        let work = self.answer(&caller, &asked, seats, &hop, began, sender);
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
        self.conclude(&asked, heard, new, hop.attempt).await
    }
}
