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
use futures_util::future::BoxFuture;
use sanku_federation_protocol::names::{Outcome, Rule};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_federation_protocol::stream::{HEARTBEAT, write_problem, write_run};
use sanku_federation_protocol::trace::Trace;
use sanku_federation_protocol::trust::Trust;
use sanku_values::DivisionCode;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::accept::{self, Accepted, Asking, Question};
use crate::authorise::{Circumstances, Leave, authorise};
use crate::network::{Hop, Network};
use crate::once::{Seat, discloses, only_accounts};
use crate::say::Listener;
use crate::slots::Slots;
use crate::turn::{self, Turn};
use crate::{Caller, Exchange, ExchangeError, account, neighbours};

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
        let leaves = self.leave(asked).await?;
        let turn = |((question, seat), leave)| {
            let (question, seat): (&Arc<Question>, Seat) = (question, seat);
            let stopped = matches!(leave, Leave::Stop(_));
            let alone = stopped || onward.is_empty();
            Turn {
                question,
                before: account::last(&seat.said),
                alone,
                wanted: stopped || wanted.contains(&here),
                // The person at this node is told of everything at the end; a neighbour has it at once.
                at_the_end: !alone && *caller == Caller::Socket,
                said: seat.said,
                guard: Some(seat.guard),
                leave,
                drafts: Vec::new(),
            }
        };
        let mut turns: Vec<_> = asked.questions.iter().zip(seats).zip(leaves).map(turn).collect();
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
        let local = self.say_here(&to, &mut turns, hop, began);
        let (heard, local) = tokio::join!(elsewhere, local);
        local?;
        self.account_for(&to, &mut turns, heard, hop).await
    }

    /// What this node itself says, portion by portion, so that a batch of any size is held in bounded memory: answers, refusals,
    /// or what it said before. Where nobody was asked the account stands in the same run.
    async fn say_here(
        &self,
        to: &Listener<'_>,
        turns: &mut [Turn<'_>],
        hop: &Hop,
        began: Instant,
    ) -> Result<(), ExchangeError> {
        let mut rest = turns;
        while !rest.is_empty() {
            let count = turn::portion(rest, |turn| turn.question.subjects() + 1);
            let (portion, others) = rest.split_at_mut(count);
            rest = others;
            self.draft(to.asked, portion, began + hop.budget).await?;
            let account = |_, turn: &Turn<'_>| turn.account_alone(hop, self.clock.now());
            let said_now = self
                .say_turns(to.asked, portion, |turn| turn.at_the_end, account)
                .await?;
            for turn in portion.iter_mut().filter(|turn| !turn.at_the_end) {
                // Whoever repeats the question now finds what was said.
                (turn.drafts, turn.guard) = (Vec::new(), None);
            }
            // Where the account stands as it was said before, the run that holds it comes last.
            let spoken = said_now.iter().flat_map(|run| &run.statements);
            let spoken: BTreeSet<_> = spoken.filter_map(|statement| statement.entry.said.re()).collect();
            let last = |turn: &Turn<'_>| {
                let stands = turn.alone && !spoken.contains(&turn.question.leaf);
                account::place(&turn.said).filter(|_| stands)
            };
            for turn in portion.iter() {
                for (place, run) in turn.said.iter().enumerate() {
                    if Some(place) != last(turn) && !only_accounts(run) && (!turn.withdrawn() || !discloses(run)) {
                        self.hand_over(to, run).await?;
                    }
                }
            }
            for run in &said_now {
                self.hand_over(to, run).await?;
            }
            for turn in portion.iter() {
                if let Some(place) = last(turn) {
                    self.hand_over(to, &turn.said[place]).await?;
                }
            }
        }
        Ok(())
    }

    /// Accounts of the questions for which neighbours were asked: in runs of many questions, each always last about its question.
    async fn account_for(
        &self,
        to: &Listener<'_>,
        turns: &mut [Turn<'_>],
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
        let mut due = Vec::new();
        for ((turn, observed), rejected) in turns.iter().zip(observed).zip(rejected) {
            let before = turn.before.as_ref();
            let body = account::due(before, observed, rejected, behind, hop)?;
            let stored = account::place(&turn.said)
                .filter(|_| before.is_some_and(|before| account::same(before, &body)))
                // A neighbour's response ends with the account alone; at the asker it may stand beside the answers.
                .filter(|place| *to.caller == Caller::Socket || only_accounts(&turn.said[*place]));
            due.push((body, stored.filter(|_| turn.drafts.is_empty())));
        }
        let (mut rest, mut due) = (turns, due.as_slice());
        while !rest.is_empty() {
            let count = turn::portion(rest, |turn| turn.drafts.len() + 1);
            let (portion, others) = rest.split_at_mut(count);
            let (accounts, others_due) = due.split_at(count);
            (rest, due) = (others, others_due);
            for (turn, (_, stored)) in portion.iter().zip(accounts) {
                if let Some(place) = stored.filter(|_| !turn.alone) {
                    self.hand_over(to, &turn.said[place]).await?;
                }
            }
            let account = |place: usize, turn: &Turn<'_>| match &accounts[place] {
                (_, Some(_)) => Ok(None),
                (body, None) => account::draft(turn.question.leaf, body, self.clock.now()).map(Some),
            };
            for run in self.say_turns(asked, portion, |turn| turn.alone, account).await? {
                self.hand_over(to, &run).await?;
            }
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
        let newer = |from| -> BoxFuture<'_, Arc<Trust>> {
            Box::pin(async move {
                self.pull_notes(from).await;
                self.trust.load_full()
            })
        };
        let newer: &neighbours::Newer<'_> = &newer;
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
                    trust,
                    newer,
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
