//! The way of a question through a node, from top to bottom, the same for the person at this node and for a neighbour.
//!
//! What goes this way is always a batch: of one question where a person waits, of up to 256 where nobody does.
//!
//! `accept` → `admission` → `once` → `authorise` → ask neighbours while searching here → verify → log → `account`. No step calls back
//! into the path. What leaves are only `Verified` runs of others and `Committed` runs of our own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sanku_federation_protocol::body::{AccountBody, Body, RefusalBody, Salt, Subject};
use sanku_federation_protocol::entry::{Draft, RefusalEntry, Said};
use sanku_federation_protocol::names::{Outcome, Rule, StatementId};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::statement::{LONGEST_RUN, VerifiedRun};
use sanku_federation_protocol::stream::{HEARTBEAT, write_problem, write_run};
use sanku_federation_protocol::trace::Trace;
use sanku_federation_protocol::trust::Trust;
use sanku_store::{Effect, Part, StoreError, Urgency, key_name};
use sanku_values::DivisionCode;
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};
use tokio::time::Instant;

use crate::accept::{self, Accepted, Asking, Question};
use crate::authorise::{Circumstances, Leave, authorise, words};
use crate::network::{Hop, Network};
use crate::once::{Seat, answered, discloses, only_accounts, refused};
use crate::slots::Slots;
use crate::{Caller, Exchange, ExchangeError, account, neighbours, search, turns};

/// The most codes that a request names as still missing.
const ONLY_AT_MOST: usize = 1_000;
/// Neighbours that one question is on its way to at once.
const OF_A_QUESTION: usize = 64;
/// Runs of a response that wait for the reader.
const WAITING: usize = 64;
/// The same of a batch, whose runs are full.
const WAITING_OF_A_BATCH: usize = 4;
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
            .admit(from, &asked, hop.budget / 2)
            .await
            .map_err(|problem| problem.of(self.here()))?;
        let seats = self
            .seats_at_once(&asked)
            .await
            .map_err(|error| error.problem().of(self.here()))?;
        let waiting = if asked.is_batch() { WAITING_OF_A_BATCH } else { WAITING };
        let (runs, mut said) = mpsc::channel(waiting);
        let (lines, response) = mpsc::channel(waiting);
        let (start, started) = oneshot::channel();
        let node = Arc::clone(self);
        // A client that goes away cancels what is still asked for it; what was said by then is in the log.
        let answering = async move {
            let _places = places;
            let work = node.answer(&caller, &asked, seats, &hop, began, runs);
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
                tracing::info!(peer = %from, asker = %asked.asker(), question = %asked.questions[0].id, milliseconds, "a question was answered");
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
            Ok(asked) => asked.questions.iter().any(|question| !question.registry_good),
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
        seats: Option<Vec<Seat>>,
        hop: &Hop,
        began: Instant,
        runs: mpsc::Sender<VerifiedRun>,
    ) -> Result<(), ExchangeError> {
        let here = self.here();
        let seats = match seats {
            Some(seats) => seats,
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
        let onward = neighbours::onward(here, asked, &wanted);
        let mut guards = Vec::new();
        let mut turns = Vec::new();
        let leaves = self.leave(asked).await?;
        for ((question, seat), leave) in asked.questions.iter().zip(seats).zip(leaves) {
            let stopped = matches!(leave, Leave::Stop(_));
            turns.push(Turn {
                question,
                before: account::last(&seat.said),
                alone: stopped || onward.is_empty(),
                wanted: stopped || wanted.contains(&here),
                said: seat.said,
                leave,
            });
            guards.push(seat.guard);
        }
        if let [turn] = turns.as_slice()
            && matches!(turn.question.asking, Asking::Withdrawal(_))
            && turn.said.is_empty()
            && !turn.alone
        {
            // It binds here before anybody behind is waited for.
            let body = account::due(None, Vec::new(), Vec::new(), |_, _| false, hop)?;
            let draft = account::draft(turn.question.leaf, &body, self.clock.now())?;
            self.append(asked, turn.question, vec![draft], Vec::new()).await?;
        }
        // Whoever was stopped is passed on to nobody; the others go on as they stand together.
        let stretches = if onward.is_empty() {
            Vec::new()
        } else {
            asked.stretches(|place| !turns[place].alone)
        };
        let to = Listener {
            caller,
            asked,
            runs: &runs,
        };
        let elsewhere = self.ask_neighbours(&stretches, hop, began, onward, &runs);
        let local = self.say_here(&to, &mut turns, guards, hop, began);
        let (heard, local) = tokio::join!(elsewhere, local);
        local?;
        self.account_for(&to, &turns, heard, hop).await
    }

    /// What this node itself says, portion by portion, so that a batch of any size is held in bounded memory: answers, refusals,
    /// or what it said before. Where nobody was asked the account stands in the same run.
    async fn say_here(
        &self,
        to: &Listener<'_>,
        turns: &mut [Turn<'_>],
        guards: Vec<OwnedMutexGuard<()>>,
        hop: &Hop,
        began: Instant,
    ) -> Result<(), ExchangeError> {
        let mut guards = guards.into_iter();
        let mut rest = turns;
        while !rest.is_empty() {
            let (portion, others) = rest.split_at_mut(portion(rest));
            rest = others;
            let (said_now, at_last) = self.say_portion(to.asked, portion, hop, began).await?;
            // Whoever repeats the question now finds what was said.
            drop(guards.by_ref().take(portion.len()).collect::<Vec<_>>());
            for (turn, last) in portion.iter().zip(&at_last) {
                for (place, run) in turn.said.iter().enumerate() {
                    if Some(place) != *last && !only_accounts(run) && (!turn.withdrawn() || !discloses(run)) {
                        self.hand_over(to, run).await?;
                    }
                }
            }
            for run in &said_now {
                self.hand_over(to, run).await?;
            }
            for (turn, last) in portion.iter().zip(at_last) {
                if let Some(place) = last {
                    self.hand_over(to, &turn.said[place]).await?;
                }
            }
        }
        Ok(())
    }

    /// Logs what this node says about one run's worth of questions. Beside it: of each question the run of an account that
    /// stands as it was said before, which is handed over at last.
    async fn say_portion(
        &self,
        asked: &Accepted,
        portion: &mut [Turn<'_>],
        hop: &Hop,
        began: Instant,
    ) -> Result<(Vec<VerifiedRun>, Vec<Option<usize>>), ExchangeError> {
        let mut drafts = self.drafts(asked, portion, began + hop.budget).await?;
        loop {
            let (mut parts, mut at_last) = (Vec::new(), Vec::new());
            for (turn, drafts) in portion.iter().zip(&drafts) {
                let mut drafts = drafts.clone();
                let mut last = account::place(&turn.said).filter(|_| turn.alone);
                if turn.alone {
                    // Nobody was asked: the account stands in the run of the answers.
                    let body = account::due(turn.before.as_ref(), Vec::new(), Vec::new(), |_, _| false, hop)?;
                    let stands = turn.before.as_ref().is_some_and(|before| account::same(before, &body));
                    let sendable = last.is_some_and(|place| !turn.withdrawn() || !discloses(&turn.said[place]));
                    if !drafts.is_empty() || !stands || !sendable {
                        drafts.push(account::draft(turn.question.leaf, &body, self.clock.now())?);
                        last = None;
                    }
                }
                at_last.push(last);
                if !drafts.is_empty() {
                    parts.push(self.part(asked, turn.question, drafts, Vec::new()));
                }
            }
            match self.say(asked, parts).await {
                // A withdrawal came while we searched: what was found is not said.
                Err(ExchangeError::Store(StoreError::Withdrawn)) => {
                    self.withdraw_from(asked, portion, &mut drafts).await?
                }
                said => return Ok((said?, at_last)),
            }
        }
    }

    /// Answers under mandates that are withdrawn by now become refusals.
    ///
    /// # Errors
    /// `Withdrawn` if there are none, so that nobody tries the same again without end.
    async fn withdraw_from(
        &self,
        asked: &Accepted,
        portion: &mut [Turn<'_>],
        drafts: &mut [Vec<Draft>],
    ) -> Result<(), ExchangeError> {
        let withdrawn = self.withdrawn(asked).await?;
        let mut found = false;
        for (turn, drafts) in portion.iter_mut().zip(drafts) {
            if turn.mandate().is_some_and(|mandate| withdrawn.contains(&mandate)) && !turn.withdrawn() {
                turn.leave = Leave::Stop(Rule::MandateWithdrawn);
                *drafts = self.refusal(asked, turn, Rule::MandateWithdrawn)?;
                found = true;
            }
        }
        if found {
            Ok(())
        } else {
            Err(StoreError::Withdrawn.into())
        }
    }

    /// Accounts of the questions for which neighbours were asked: in runs of many questions, each always last about its question.
    async fn account_for(
        &self,
        to: &Listener<'_>,
        turns: &[Turn<'_>],
        heard: Vec<(usize, neighbours::Heard)>,
        hop: &Hop,
    ) -> Result<(), ExchangeError> {
        let (here, asked) = (self.here(), to.asked);
        let mut observed = vec![Vec::new(); turns.len()];
        let mut rejected = vec![Vec::new(); turns.len()];
        for (first, heard) in heard {
            for (place, (seen, wrong)) in (first..).zip(heard.observed.into_iter().zip(heard.rejected)) {
                observed[place].push(seen);
                rejected[place].extend(wrong);
            }
        }
        let behind = |node, neighbours: &BTreeSet<_>| {
            asked
                .tree
                .next_hop(here, node)
                .is_some_and(|hop| neighbours.contains(&hop))
        };
        let mut parts = Vec::new();
        for ((turn, observed), rejected) in turns
            .iter()
            .zip(observed)
            .zip(rejected)
            .filter(|((turn, _), _)| !turn.alone)
        {
            let before = turn.before.as_ref();
            let body = account::due(before, observed, rejected, behind, hop)?;
            let stored = account::place(&turn.said)
                .map(|place| &turn.said[place])
                .filter(|run| before.is_some_and(|before| account::same(before, &body)) && only_accounts(run));
            match stored {
                Some(run) => self.hand_over(to, run).await?,
                None => {
                    let draft = account::draft(turn.question.leaf, &body, self.clock.now())?;
                    parts.push(self.part(asked, turn.question, vec![draft], Vec::new()));
                }
            }
        }
        for run in self.say(asked, parts).await? {
            self.hand_over(to, &run).await?;
        }
        Ok(())
    }

    /// This node's decision about each question. Withdrawals need none: they are the asker's own.
    pub(crate) async fn leave(&self, asked: &Accepted) -> Result<Vec<Leave>, ExchangeError> {
        let now = self.clock.now();
        let withdrawn = self.withdrawn(asked).await?;
        let leave = |question: &Arc<Question>| {
            let Asking::Query(entry, body) = &question.asking else {
                return Leave::Refuse(Rule::Purpose);
            };
            let known = Circumstances {
                asked: question.time,
                now,
                withdrawn: withdrawn.contains(&entry.mandate_id),
                registry: question.registry_good,
            };
            authorise(self.here(), asked.asker(), entry, body, &self.policy, known)
        };
        Ok(asked.questions.iter().map(leave).collect())
    }

    /// Those of the questions' mandates that are withdrawn now.
    async fn withdrawn(&self, asked: &Accepted) -> Result<BTreeSet<StatementId>, ExchangeError> {
        let mandates: Vec<_> = asked
            .questions
            .iter()
            .filter_map(|question| question.mandate())
            .collect();
        Ok(self.store.withdrawn(asked.asker(), &mandates, self.clock.now()).await?)
    }

    /// What is to be said here now about each question: answers, a refusal, or nothing where it was said before.
    async fn drafts(
        &self,
        asked: &Accepted,
        turns: &[Turn<'_>],
        until: Instant,
    ) -> Result<Vec<Vec<Draft>>, ExchangeError> {
        let to_search: Vec<_> = turns.iter().map(Turn::search).collect();
        let now = self.clock.now();
        let mut found = search::search(&self.store, to_search.iter().flatten(), now, until)
            .await?
            .into_iter();
        let mut all = Vec::new();
        for (turn, searched) in turns.iter().zip(&to_search) {
            all.push(match turn.leave {
                _ if searched.is_some() => found.next().unwrap_or_default(),
                Leave::Refuse(rule) | Leave::Stop(rule) if turn.wanted => self.refusal(asked, turn, rule)?,
                _ => Vec::new(),
            });
        }
        Ok(all)
    }

    /// The refusal that is to be said, or nothing where it was said before.
    fn refusal(&self, asked: &Accepted, turn: &Turn<'_>, rule: Rule) -> Result<Vec<Draft>, ExchangeError> {
        let is_query = matches!(turn.question.asking, Asking::Query(..));
        // What was answered for good stays answered when the question or its mandate runs out later.
        let stays = rule != Rule::MandateWithdrawn && turn.left().is_empty();
        if !is_query || stays || refused(&turn.said, rule) {
            return Ok(Vec::new());
        }
        // A refusal counts double, whether or not the budget has as much.
        let _ = self.charge(asked.asker(), turn.question);
        let (zh, en) = words(rule);
        let body = RefusalBody {
            salt: Salt::generate()?,
            zh: zh.to_owned(),
            en: en.to_owned(),
        };
        Ok(vec![Draft {
            id: StatementId::generate(self.clock.now()),
            said: Said::Refusal(RefusalEntry {
                re: turn.question.leaf,
                rule,
            }),
            body: body.line()?,
        }])
    }

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
    async fn hand_over(&self, to: &Listener<'_>, run: &VerifiedRun) -> Result<(), ExchangeError> {
        let Listener { caller, asked, runs } = to;
        let to_asker = match caller {
            Caller::Socket => true,
            Caller::Peer(peer) => *peer == asked.asker(),
        };
        let run = if to_asker {
            run.clone()
        } else {
            let key = self
                .trust
                .load()
                .sealing_key(asked.asker(), self.clock.now())
                .ok_or(ExchangeError::NoSealingKey)?;
            let mut statements = Vec::with_capacity(run.statements.len());
            for statement in &run.statements {
                statements.push(statement.sealed_to(&key)?);
                turns::give(statements.len()).await;
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

    /// Asks every neighbour behind which targets lie, all at once. What came of each stretch is given with the place of its first question.
    async fn ask_neighbours(
        self: &Arc<Self>,
        stretches: &[(usize, Accepted)],
        hop: &Hop,
        began: Instant,
        onward: Vec<(DivisionCode, BTreeSet<DivisionCode>)>,
        runs: &mpsc::Sender<VerifiedRun>,
    ) -> Vec<(usize, neighbours::Heard)> {
        let trust = self.trust.load_full();
        let places = Slots::of(OF_A_QUESTION);
        // Whoever fared badly last time is asked last: should there be more neighbours than places, the others do not wait for it.
        let mut onward = onward;
        onward.sort_by_key(|(neighbour, _)| self.fared_badly(*neighbour));
        let at_once = if stretches.iter().any(|(_, asked)| asked.is_batch()) {
            OF_A_QUESTION / 2
        } else {
            OF_A_QUESTION
        };
        let rounds = u32::try_from(onward.len().div_ceil(at_once)).unwrap_or(u32::MAX);
        let left = hop.budget.saturating_sub(began.elapsed());
        let share = neighbours::SILENCE.min(left / rounds.max(1));
        let each = onward.into_iter().flat_map(|(neighbour, behind)| {
            let stretches = stretches.iter();
            stretches.map(move |(first, asked)| (neighbour, behind.clone(), *first, asked))
        });
        let asks = each.map(|(neighbour, behind, first, asked)| {
            let (trust, places) = (Arc::clone(&trust), &places);
            async move {
                let Some(hop) = neighbours::left(hop, began) else {
                    let late = neighbours::not_asked(neighbour, Outcome::Late, self.clock.now());
                    return (first, neighbours::Heard::nothing(late, asked.questions.len()));
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
                if let Some(observed) = heard.observed.last() {
                    self.observe(observed);
                }
                if let Some(what) = heard.fault {
                    self.misbehaved(neighbour, what);
                }
                if let Some(digest) = heard.notes
                    && digest != self.trust.load().digest()
                {
                    let node = Arc::clone(self);
                    tokio::spawn(async move { node.pull_notes(neighbour).await });
                }
                (first, heard)
            }
        });
        futures_util::future::join_all(asks).await
    }
}

/// Who hears what comes of what was accepted.
struct Listener<'a> {
    caller: &'a Caller,
    asked: &'a Accepted,
    runs: &'a mpsc::Sender<VerifiedRun>,
}

/// One question's turn here.
struct Turn<'a> {
    question: &'a Question,
    /// What was said before.
    said: Vec<VerifiedRun>,
    leave: Leave,
    /// The account that was given before.
    before: Option<AccountBody>,
    /// No neighbour is asked.
    alone: bool,
    /// This node is asked itself, or stops it.
    wanted: bool,
}

impl Turn<'_> {
    const fn withdrawn(&self) -> bool {
        matches!(self.leave, Leave::Stop(Rule::MandateWithdrawn))
    }

    fn mandate(&self) -> Option<StatementId> {
        self.question.mandate()
    }

    /// Subjects that are left to be searched, by index. A second disclosure would be one too many: only of whom something was
    /// unavailable is searched again.
    fn left(&self) -> Vec<(u32, &Subject)> {
        let Asking::Query(_, body) = &self.question.asking else {
            return Vec::new();
        };
        let answered = answered(&self.said);
        let subjects = (0..).zip(&body.subjects);
        subjects.filter(|(subject, _)| !answered.contains(subject)).collect()
    }

    /// What is searched here.
    fn search(&self) -> Option<search::Leaf<'_>> {
        let (Leave::Search(permit), Asking::Query(entry, _)) = (&self.leave, &self.question.asking) else {
            return None;
        };
        let left = self.left();
        (self.wanted && !left.is_empty()).then_some(search::Leaf {
            permit,
            leaf: self.question.leaf,
            entry,
            subjects: left,
        })
    }
}

/// How many of these are searched and said together: one run's worth of statements, one question at least.
fn portion(turns: &[Turn<'_>]) -> usize {
    let mut statements = 0;
    let fit = turns.iter().take_while(|turn| {
        statements += turn.question.subjects() + 1;
        statements <= LONGEST_RUN
    });
    fit.count().max(1)
}
