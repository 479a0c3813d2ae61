//! The way of a question through a node, from top to bottom, the same for the person at this node and for a neighbour.
//!
//! `accept` → `admission` → `once` → `authorise` → ask neighbours while searching here → verify → log → `account`. No step calls back
//! into the path. What leaves are only `Verified` runs of others and `Committed` runs of our own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sanku_federation_protocol::body::{Body, RefusalBody, Salt};
use sanku_federation_protocol::entry::{Draft, RefusalEntry, Said};
use sanku_federation_protocol::names::{Outcome, Rule, StatementId};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_federation_protocol::stream::{HEARTBEAT, write_problem, write_run};
use sanku_federation_protocol::trace::Trace;
use sanku_federation_protocol::trust::Trust;
use sanku_store::{Effect, StoreError, key_name};
use sanku_values::DivisionCode;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::accept::{self, Accepted, Asking};
use crate::authorise::{Circumstances, Leave, authorise, words};
use crate::network::{Hop, Network};
use crate::once::{Seat, answered, discloses, only_accounts, refused};
use crate::slots::Slots;
use crate::{Caller, Exchange, ExchangeError, account, neighbours, search};

/// The most codes that a request names as still missing.
const ONLY_AT_MOST: usize = 1_000;
/// Neighbours that one question is on its way to at once.
const OF_A_QUESTION: usize = 64;
/// Runs of a response that wait for the reader.
const WAITING: usize = 64;
/// How long a reader may take nothing while something waits for it.
const LISTENING: Duration = Duration::from_secs(10);
/// A sign of life while nothing else comes.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);

/// The lines of a response, as they come.
pub type Lines = mpsc::Receiver<Bytes>;

impl<N: Network> Exchange<N> {
    /// A neighbour hands in a statement. The response's lines come as they are known; the last run ends with our account.
    ///
    /// # Errors
    /// A problem document, before anything was said.
    pub async fn question(self: &Arc<Self>, from: DivisionCode, hop: Hop, request: Vec<u8>) -> Result<Lines, Problem> {
        let began = Instant::now();
        let caller = Caller::Peer(from);
        let trace = Trace::received(&hop.traceparent);
        let hop = Hop {
            traceparent: trace.to_string(),
            ..hop
        };
        // Where nothing may be said nothing is searched, and what was said before may not be all.
        let may_speak = self.store.may_speak().await;
        may_speak.map_err(|error| ExchangeError::from(error).problem().of(self.here()))?;
        let asked = self
            .accept(&caller, request)
            .await
            .map_err(|problem| problem.of(self.here()))?;
        let places = self
            .admit(from, &asked)
            .await
            .map_err(|problem| problem.of(self.here()))?;
        let seat = self
            .seat_at_once(&asked)
            .await
            .map_err(|error| error.problem().of(self.here()))?;
        let (runs, mut said) = mpsc::channel(WAITING);
        let (lines, response) = mpsc::channel(WAITING);
        let (start, started) = oneshot::channel();
        let node = Arc::clone(self);
        // A client that goes away cancels what is still asked for it; what was said by then is in the log.
        let answering = async move {
            let _places = places;
            let work = node.answer(&caller, &asked, seat, &hop, began, runs);
            tokio::pin!(work);
            let mut done = None;
            let mut start = Some(start);
            let mut alive = tokio::time::interval_at(Instant::now() + HEARTBEAT_EVERY, HEARTBEAT_EVERY);
            loop {
                let line = tokio::select! {
                    biased;
                    run = said.recv() => match run {
                        Some(run) => Bytes::from(write_run(&run)),
                        None => break,
                    },
                    end = &mut work, if done.is_none() => { done = Some(end); continue }
                    () = lines.closed() => return,
                    _ = alive.tick() => Bytes::from_static(HEARTBEAT.as_bytes()),
                };
                start.take().map(|start| start.send(Ok(())));
                // Whoever asks and does not listen gives its places back.
                let sending = tokio::time::timeout(LISTENING, lines.send(line));
                tokio::pin!(sending);
                let sent = loop {
                    tokio::select! {
                        biased;
                        sent = &mut sending => break sent,
                        // It goes on meanwhile: it may hold a connection of the database, for which others wait.
                        end = &mut work, if done.is_none() => done = Some(end),
                    }
                };
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
            if let Some(Err(error)) = done {
                tracing::error!(%error, "a question could not be answered to its end");
                let problem = error.problem().of(node.here()).in_trace(&trace);
                match start.take() {
                    Some(start) => drop(start.send(Err(problem))),
                    None => drop(lines.send(Bytes::from(write_problem(&problem))).await),
                }
            } else {
                let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(peer = %from, asker = %asked.asker(), question = %asked.id, milliseconds, "a question was answered");
            }
        };
        tokio::spawn(crate::trace::within(trace, answering));
        // What fails before anything was said is a problem with its own status, not a response that breaks off.
        started.await.unwrap_or(Ok(()))?;
        Ok(response)
    }

    /// Bytes in; a verified statement on its path, or a problem. What newer notes could cure is judged again once after a pull.
    async fn accept(self: &Arc<Self>, caller: &Caller, request: Vec<u8>) -> Result<Accepted, Problem> {
        let judged = |trust: &Trust| -> Result<Accepted, Problem> {
            let run = accept::read(&request, trust)?;
            accept::judge(self.here(), run, caller, trust, self.clock.now())
        };
        let first = judged(&self.trust.load());
        let curable = match &first {
            Ok(asked) => !asked.registry_good,
            Err(problem) => matches!(
                problem.known(),
                ProblemKind::BadProof
                    | ProblemKind::NotOnPath
                    | ProblemKind::Unavailable
                    | ProblemKind::NotMember
                    | ProblemKind::Revoked
                    | ProblemKind::Suspended
            ),
        };
        match caller {
            Caller::Peer(peer) if curable && self.pull_notes(*peer).await => judged(&self.trust.load()),
            _ => first,
        }
    }

    /// Answers what was accepted: searches here, asks neighbours, says what came of it. Runs go out as they are known.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        caller: &Caller,
        asked: &Accepted,
        seat: Option<Seat>,
        hop: &Hop,
        began: Instant,
        runs: mpsc::Sender<VerifiedRun>,
    ) -> Result<(), ExchangeError> {
        let here = self.here();
        let Seat {
            said: said_before,
            guard,
        } = match seat {
            Some(seat) => seat,
            None => self.seat(asked).await?,
        };
        let wanted: BTreeSet<_> = match &hop.only {
            Some(only) => only
                .iter()
                .copied()
                .filter(|code| asked.targets.contains(code))
                .collect(),
            None => asked.targets.clone(),
        };
        let leave = self.leave(asked).await?;
        let before = account::last(&said_before);

        let onward = if matches!(leave, Leave::Stop(_)) {
            Vec::new()
        } else {
            neighbours::onward(here, asked, &wanted)
        };
        if matches!(asked.asking, Asking::Withdrawal(_)) && said_before.is_empty() && !onward.is_empty() {
            // It binds here before anybody behind is waited for.
            let body = account::due(None, Vec::new(), Vec::new(), |_, _| false, hop)?;
            let draft = account::draft(asked.leaf, &body, self.clock.now())?;
            self.append(asked, vec![draft], Vec::new()).await?;
        }
        let alone = onward.is_empty();
        let withdrawn = matches!(leave, Leave::Stop(Rule::MandateWithdrawn));
        let elsewhere = self.ask_neighbours(asked, hop, began, onward, &runs);

        let local = async {
            let mut said_before = said_before;
            let mut drafts = if wanted.contains(&here) || matches!(leave, Leave::Stop(_)) {
                self.say_here(asked, &leave, &said_before, began + hop.budget).await?
            } else {
                Vec::new()
            };
            let mut last = account::place(&said_before);
            if alone {
                // Nobody was asked: the account stands in the run of the answers.
                let body = account::due(before.as_ref(), Vec::new(), Vec::new(), |_, _| false, hop)?;
                let stands = before.as_ref().is_some_and(|before| account::same(before, &body));
                let sendable = last.is_some_and(|place| !withdrawn || !discloses(&said_before[place]));
                if !drafts.is_empty() || !stands || !sendable {
                    drafts.push(account::draft(asked.leaf, &body, self.clock.now())?);
                    last = None;
                }
            } else {
                last = None;
            }
            // The person at this node is told of everything at the end: what is found here commits with the account. A
            // neighbour has it at once.
            let at_the_end = !alone && *caller == Caller::Socket;
            let (drafts, kept) = if at_the_end {
                (Vec::new(), drafts)
            } else {
                (drafts, Vec::new())
            };
            let known = said_before.len();
            let (said_now, withdrawn_now) = self.say_found(asked, drafts, &mut said_before).await?;
            let withdrawn = withdrawn || withdrawn_now;
            if said_before.len() > known {
                // Another process said it: where nobody else is asked its account ends the response, if ours does not.
                last = account::place(&said_before).filter(|_| alone && said_now.is_empty());
            }
            // Whoever repeats the question now finds what was said.
            let guard = at_the_end.then_some(guard);
            let once_more = said_before
                .iter()
                .enumerate()
                .filter(|(place, run)| Some(*place) != last && !only_accounts(run) && (!withdrawn || !discloses(run)));
            let at_last = last.map(|place| &said_before[place]);
            for run in once_more.map(|(_, run)| run).chain(&said_now).chain(at_last) {
                self.hand_over(caller, asked, run, &runs).await?;
            }
            Ok::<_, ExchangeError>((kept, guard, said_before))
        };
        let (heard, local) = tokio::join!(elsewhere, local);
        let (mut drafts, _guard, mut said_before) = local?;
        if alone {
            return Ok(());
        }

        let (observed, rejected) =
            heard
                .into_iter()
                .fold((Vec::new(), Vec::new()), |(mut observed, mut rejected), heard| {
                    observed.push(heard.observed);
                    rejected.extend(heard.rejected);
                    (observed, rejected)
                });
        let behind = |node, neighbours: &BTreeSet<_>| {
            asked
                .tree
                .next_hop(here, node)
                .is_some_and(|hop| neighbours.contains(&hop))
        };
        let body = account::due(before.as_ref(), observed, rejected, behind, hop)?;
        let stored = account::place(&said_before)
            .filter(|_| before.is_some_and(|before| account::same(&before, &body)))
            // A neighbour's response ends with the account alone; at the asker it may stand beside the answers.
            .filter(|place| *caller == Caller::Socket || only_accounts(&said_before[*place]));
        if stored.is_none() || !drafts.is_empty() {
            drafts.push(account::draft(asked.leaf, &body, self.clock.now())?);
        }
        let known = said_before.len();
        let (said_now, _) = self.say_found(asked, drafts, &mut said_before).await?;
        let meanwhile = said_before[known..].iter().filter(|run| discloses(run));
        let stored = stored.filter(|_| said_now.is_empty()).map(|place| &said_before[place]);
        for run in meanwhile.chain(&said_now).chain(stored) {
            self.hand_over(caller, asked, run, &runs).await?;
        }
        Ok(())
    }

    /// This node's decision about a question. Withdrawals need none: they are the asker's own.
    pub(crate) async fn leave(&self, asked: &Accepted) -> Result<Leave, ExchangeError> {
        let Asking::Query(entry, body) = &asked.asking else {
            return Ok(Leave::Refuse(Rule::Purpose));
        };
        let now = self.clock.now();
        let withdrawn = self.store.is_withdrawn(asked.asker(), entry.mandate_id, now).await?;
        let known = Circumstances {
            asked: asked.time,
            now,
            withdrawn,
            registry: asked.registry_good,
        };
        Ok(authorise(self.here(), asked.asker(), entry, body, &self.policy, known))
    }

    /// What is to be said here now: answers, a refusal, or nothing where it was said before.
    async fn say_here(
        &self,
        asked: &Accepted,
        leave: &Leave,
        said: &[VerifiedRun],
        until: Instant,
    ) -> Result<Vec<Draft>, ExchangeError> {
        let Asking::Query(entry, body) = &asked.asking else {
            return Ok(Vec::new());
        };
        let now = self.clock.now();
        let answered = answered(said);
        let all_answered = (0..entry.subjects).all(|subject| answered.contains(&subject));
        match leave {
            // A second disclosure would be one too many: only of whom something was unavailable is searched again.
            Leave::Search(_) if all_answered => Ok(Vec::new()),
            Leave::Search(permit) => {
                let subjects = (0..).zip(&body.subjects);
                let left = subjects.filter(|(subject, _)| !answered.contains(subject));
                search::search(&self.store, permit, asked.leaf, entry, left, now, until).await
            }
            Leave::Refuse(rule) | Leave::Stop(rule) if refused(said, *rule) => Ok(Vec::new()),
            // What was answered for good stays answered when the question or its mandate runs out later.
            Leave::Refuse(rule) | Leave::Stop(rule) if *rule != Rule::MandateWithdrawn && all_answered => {
                Ok(Vec::new())
            }
            Leave::Refuse(rule) | Leave::Stop(rule) => {
                // A refusal counts double, whether or not the budget has as much.
                let _ = self.charge(asked);
                let (zh, en) = words(*rule);
                let body = RefusalBody {
                    salt: Salt::generate()?,
                    zh: zh.to_owned(),
                    en: en.to_owned(),
                }
                .line()?;
                Ok(vec![Draft {
                    id: StatementId::generate(now),
                    said: Said::Refusal(RefusalEntry {
                        re: asked.leaf,
                        rule: *rule,
                    }),
                    body,
                }])
            }
        }
    }

    /// Logs what was found here. A withdrawal that came while we searched makes it a refusal; says whether one did. What another
    /// process of this node said meanwhile counts, and joins what was said before: it is not said again.
    async fn say_found(
        &self,
        asked: &Accepted,
        mut drafts: Vec<Draft>,
        said_before: &mut Vec<VerifiedRun>,
    ) -> Result<(Vec<VerifiedRun>, bool), ExchangeError> {
        let mut withdrawn = false;
        loop {
            match self.say(asked, drafts.clone(), said_before).await {
                Err(ExchangeError::Store(StoreError::SaidMeanwhile)) => {
                    *said_before = self.store.said(&asked.origin, asked.id).await?;
                    let answered = answered(said_before);
                    drafts.retain(|draft| match &draft.said {
                        Said::Answer(answer) => !answered.contains(&answer.subject),
                        Said::Refusal(refusal) => !refused(said_before, refusal.rule),
                        _ => true,
                    });
                }
                Err(ExchangeError::Store(StoreError::Withdrawn)) if !withdrawn => {
                    withdrawn = true;
                    drafts.retain(|draft| !matches!(draft.said, Said::Answer(_)));
                    let stop = Leave::Stop(Rule::MandateWithdrawn);
                    let mut refusal = self.say_here(asked, &stop, said_before, Instant::now()).await?;
                    refusal.append(&mut drafts);
                    drafts = refusal;
                }
                said => return Ok((said?, withdrawn)),
            }
        }
    }

    /// Logs what this node says, in runs of at most 256 statements, on top of what it said before. A withdrawal takes effect with
    /// the first.
    async fn say(
        &self,
        asked: &Accepted,
        drafts: Vec<Draft>,
        said_before: &[VerifiedRun],
    ) -> Result<Vec<VerifiedRun>, ExchangeError> {
        let mut runs: Vec<VerifiedRun> = Vec::new();
        let mut drafts = drafts.into_iter().peekable();
        while drafts.peek().is_some() {
            let part: Vec<_> = drafts.by_ref().take(256).collect();
            let decides = |draft: &Draft| matches!(draft.said, Said::Answer(_) | Said::Refusal(_));
            let mut effects = Vec::new();
            if part.iter().any(decides) {
                // The asker's own question is the first that was said about it.
                let own = (asked.origin == *self.store.origin()).then_some(&asked.run);
                let known = said_before.iter().chain(&runs).chain(own);
                effects.push(Effect::Once {
                    origin: asked.origin.clone(),
                    id: asked.id,
                    after: known.map(|run| run.first).max(),
                });
            }
            runs.push(self.append(asked, part, effects).await?);
        }
        Ok(runs)
    }

    /// The one place where this node's statements about a question are logged: durable before they leave.
    pub(crate) async fn append(
        &self,
        asked: &Accepted,
        drafts: Vec<Draft>,
        mut effects: Vec<Effect>,
    ) -> Result<VerifiedRun, ExchangeError> {
        effects.push(Effect::Said {
            origin: asked.origin.clone(),
            id: asked.id,
            leaf: Some(asked.leaf),
            expires: asked.expires,
        });
        if asked.asker() != self.here() {
            effects.push(Effect::Holds(Box::new(asked.run.clone())));
        }
        if let Asking::Query(entry, _) = &asked.asking
            && drafts.iter().any(|draft| matches!(draft.said, Said::Answer(_)))
        {
            effects.push(Effect::Under {
                asker: asked.asker(),
                mandate: entry.mandate_id,
            });
        }
        if let Asking::Withdrawal(entry) = &asked.asking {
            effects.push(Effect::Withdrawn {
                asker: asked.asker(),
                mandate: entry.mandate_id,
                until: entry.expires,
            });
        }
        Ok(self
            .store
            .append(key_name(&asked.origin, asked.id), drafts, effects)
            .await?
            .run)
    }

    /// Sends a run of our own: sealed to the asker unless the caller is the asker itself.
    async fn hand_over(
        &self,
        caller: &Caller,
        asked: &Accepted,
        run: &VerifiedRun,
        runs: &mpsc::Sender<VerifiedRun>,
    ) -> Result<(), ExchangeError> {
        let to_asker = match caller {
            Caller::Socket => true,
            Caller::Peer(peer) => *peer == asked.asker(),
        };
        let run = if to_asker {
            run.clone()
        } else {
            // The asker's clock may be ahead of ours, and its newest key younger than that.
            let now = self.clock.now().max(asked.time);
            let key = self
                .trust
                .load()
                .sealing_key(asked.asker(), now)
                .ok_or(ExchangeError::NoSealingKey)?;
            run.sealed_to(&key)?
        };
        // A reader that went away is no failure of ours: what was said is in the log.
        let _ = runs.send(run).await;
        Ok(())
    }

    /// Asks every neighbour behind which targets lie, all at once.
    async fn ask_neighbours(
        self: &Arc<Self>,
        asked: &Accepted,
        hop: &Hop,
        began: Instant,
        onward: Vec<(DivisionCode, BTreeSet<DivisionCode>)>,
        runs: &mpsc::Sender<VerifiedRun>,
    ) -> Vec<neighbours::Heard> {
        let trust = self.trust.load_full();
        let places = Slots::of(OF_A_QUESTION);
        // Whoever fared badly last time is asked last: should there be more neighbours than places, the others do not wait for it.
        let mut onward = onward;
        onward.sort_by_key(|(neighbour, _)| self.fared_badly(*neighbour));
        let at_once = if asked.is_batch() {
            OF_A_QUESTION / 2
        } else {
            OF_A_QUESTION
        };
        let rounds = u32::try_from(onward.len().div_ceil(at_once)).unwrap_or(u32::MAX);
        let left = hop.budget.saturating_sub(began.elapsed());
        let share = neighbours::SILENCE.min(left / rounds.max(1));
        let asks = onward.into_iter().map(|(neighbour, behind)| {
            let (trust, places) = (Arc::clone(&trust), &places);
            async move {
                let Some(hop) = neighbours::left(hop, began) else {
                    let late = neighbours::not_asked(neighbour, Outcome::Late, self.clock.now());
                    return neighbours::Heard::nothing(late);
                };
                // More codes than a request may name: then all are asked, and who answered before repeats it.
                let only = hop.only.as_ref().filter(|_| behind.len() <= ONLY_AT_MOST);
                let hop = Hop {
                    only: only.map(|_| behind.iter().copied().collect()),
                    ..hop
                };
                let way = neighbours::Way {
                    network: &self.network,
                    trust: &trust,
                    clock: &*self.clock,
                    sealing: &self.sealing,
                    peers: &self.peers,
                    places,
                    share,
                    here: self.here(),
                    asked,
                };
                let heard = neighbours::ask(way, neighbour, behind, hop, runs.clone()).await;
                self.observe(&heard.observed);
                if let Some(what) = heard.fault {
                    self.misbehaved(neighbour, what);
                }
                if let Some(digest) = heard.notes
                    && digest != self.trust.load().digest()
                {
                    let node = Arc::clone(self);
                    tokio::spawn(async move { node.pull_notes(neighbour).await });
                }
                heard
            }
        });
        futures_util::future::join_all(asks).await
    }
}
