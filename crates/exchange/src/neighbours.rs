//! Asking neighbours: concurrently, each under its own limit, every run verified before it goes anywhere.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use sanku_federation_protocol::body::{Observed, Rejected};
use sanku_federation_protocol::entry::Said;
use sanku_federation_protocol::gather::Gathered;
use sanku_federation_protocol::names::Outcome;
use sanku_federation_protocol::seal::SealingKey;
use sanku_federation_protocol::statement::{BodyPart, LogKeys, RunError, UnverifiedRun, VerifiedRun};
use sanku_federation_protocol::stream::{Event, Reader, StreamError, write_run};
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::Hash;
use sanku_values::{Clock, DivisionCode, Time};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::accept::{Accepted, Asking};
use crate::authorise::stops;
use crate::breaker::Verdict;
use crate::fair;
use crate::network::{AskFailure, Hop, Network, Reply};
use crate::pace::Pace;
use crate::peers::Peers;
use crate::slots::Slots;

/// The longest pause before a retry.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Longer than the time between two signs of life: whoever is silent for so long does not work.
pub(crate) const SILENCE: Duration = Duration::from_secs(3);

/// What came of asking one neighbour.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Of each question that it was asked.
    pub(crate) observed: Vec<Observed>,
    /// Whose statements about each question did not hold.
    pub(crate) rejected: Vec<Vec<Rejected>>,
    /// The digest over its notes, if it said one.
    pub(crate) notes: Option<Hash>,
    /// What it said that no good node says.
    pub(crate) fault: Option<&'static str>,
}

impl Heard {
    /// Nobody was asked these questions.
    pub(crate) fn nothing(observed: Observed, questions: usize) -> Self {
        Self {
            rejected: vec![Vec::new(); questions],
            observed: vec![observed; questions],
            notes: None,
            fault: None,
        }
    }
}

/// The neighbours to ask, and for each the codes behind it that are wanted.
pub(crate) fn onward(
    here: DivisionCode,
    asked: &Accepted,
    wanted: &BTreeSet<DivisionCode>,
) -> Vec<(DivisionCode, BTreeSet<DivisionCode>)> {
    let towards_asker = asked.tree.next_hop(here, asked.asker());
    let mut behind: BTreeMap<DivisionCode, BTreeSet<DivisionCode>> = BTreeMap::new();
    for target in wanted.iter().filter(|target| **target != here) {
        if let Some(hop) = asked
            .tree
            .next_hop(here, *target)
            .filter(|hop| Some(*hop) != towards_asker)
        {
            behind.entry(hop).or_default().insert(*target);
        }
    }
    behind.into_iter().collect()
}

/// What counts once a neighbour's notes were fetched.
pub(crate) type Newer<'a> = dyn Fn(DivisionCode) -> BoxFuture<'a, Arc<Trust>> + Send + Sync + 'a;

/// What asking a neighbour rests on.
pub(crate) struct Way<'a, N> {
    pub(crate) network: &'a N,
    pub(crate) trust: Arc<Trust>,
    /// Fetches a neighbour's notes: what counts then.
    pub(crate) newer: &'a Newer<'a>,
    pub(crate) clock: &'a dyn Clock,
    /// Opens what is sealed to this node.
    pub(crate) sealing: &'a SealingKey,
    /// What is remembered of asking each neighbour.
    pub(crate) peers: &'a Peers,
    /// Places of this question on the way.
    pub(crate) places: &'a Slots,
    /// How long a neighbour may be silent at first while others wait for a place.
    pub(crate) share: Duration,
    pub(crate) here: DivisionCode,
    pub(crate) asked: &'a Accepted,
}

/// Asks one neighbour and hands on every run that holds; at the asker, opened.
pub(crate) async fn ask<N: Network>(
    way: Way<'_, N>,
    neighbour: DivisionCode,
    behind: BTreeSet<DivisionCode>,
    hop: Hop,
    runs: mpsc::Sender<VerifiedRun>,
) -> Heard {
    let began = Instant::now();
    let since = way.clock.now();
    let count = way.asked.questions.len();
    if let Err(kind) = way.trust.judge_member(neighbour) {
        tracing::warn!(%neighbour, %kind, "a neighbour is not asked");
        return Heard::nothing(not_asked(neighbour, Outcome::NotTrusted, since), count);
    }
    if way
        .trust
        .registry()
        .and_then(|(_, registry, _)| registry.node(neighbour))
        .is_some_and(|row| !row.reads_ours())
    {
        tracing::warn!(%neighbour, "a neighbour reads no version that is written here");
        return Heard::nothing(not_asked(neighbour, Outcome::Incompatible, since), count);
    }
    let turn = match way.peers.pass(neighbour, since) {
        Ok(turn) => turn,
        // Its breaker is open: it is unreachable at once, and since when.
        Err(since) => return Heard::nothing(not_asked(neighbour, Outcome::Unreachable, since), count),
    };
    let limit = hop.budget;
    let body = Bytes::from(write_run(&way.asked.run));
    let mut reading = Reading {
        trust: Arc::clone(&way.trust),
        newer: Some(way.newer),
        asked: way.asked,
        here: way.here,
        sealing: (way.here == way.asked.asker()).then_some(way.sealing),
        neighbour,
        behind,
        since: None,
        alive: false,
        heard: 0,
        places: (0..)
            .zip(&way.asked.questions)
            .map(|(place, question)| (question.leaf, place))
            .collect(),
        ends: vec![End::default(); count],
        notes: None,
        fault: None,
    };
    let batch = way.asked.is_batch();
    let asking = async {
        // Waiting for a turn is this node's own time: the neighbour has what is left of it.
        let _place = way.places.take(batch).await;
        let first = async {
            let turn = turn.take(batch).await;
            let budget = limit.saturating_sub(began.elapsed());
            reading.since = Some(Instant::now());
            (turn, reply(&way, neighbour, Hop { budget, ..hop }, body).await)
        };
        let gives_way = async {
            tokio::time::sleep(way.share).await;
            way.places.somebody_waits().await;
        };
        let (_turn, reply) = tokio::select! {
            biased;
            first = first => first,
            () = gives_way => return None,
        };
        Some(match reply {
            Ok(reply) => reading.through(reply, &runs).await,
            Err(failure) => Err(failure),
        })
    };
    let end = tokio::time::timeout(limit, asking).await.ok().flatten();
    way.peers
        .ended(neighbour, reading.verdict(end.as_ref()), way.clock.now());
    let failed = match end {
        Some(Ok(())) => None,
        Some(Err(failure)) => {
            tracing::info!(%neighbour, outcome = %failure.outcome, why = %failure.why, "a neighbour failed");
            Some(failure.outcome)
        }
        None => Some(Outcome::Late),
    };
    let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let observed = reading.ends.iter().map(|end| Observed {
        node: neighbour,
        outcome: reading.outcome(end, failed),
        since,
        milliseconds,
    });
    let observed = observed.collect();
    // What did not hold of the neighbour itself is its own outcome; the others are named beside it.
    let others = |end: End| {
        let rejected = end.rejected.into_iter();
        rejected.filter(|rejected| rejected.node != neighbour).collect()
    };
    Heard {
        observed,
        rejected: std::mem::take(&mut reading.ends).into_iter().map(others).collect(),
        notes: reading.notes,
        fault: reading.fault,
    }
}

/// The neighbour's response. What fails before its first byte is tried once more, after a moment and within the budget, by this
/// hop alone, and only while retries are few.
async fn reply<N: Network>(way: &Way<'_, N>, to: DivisionCode, hop: Hop, body: Bytes) -> Result<Reply, AskFailure> {
    let began = Instant::now();
    let first = way.network.ask(to, hop.clone(), body.clone()).await;
    // A second try needs as much time as the first took.
    let has_time = began.elapsed() < hop.budget / 2;
    match first {
        Err(failure) if has_time && failure.may_pass() && hop.attempt == 1 && way.peers.may_retry(to) => {
            tracing::info!(neighbour = %to, why = %failure.why, "a neighbour is tried once more");
            metrics::counter!("sanku_retries_total", "peer" => to.to_string()).increment(1);
            tokio::time::sleep(LONGEST_PAUSE.min(hop.budget / 4).mul_f64(fastrand::f64())).await;
            let hop = Hop {
                budget: hop.budget.saturating_sub(began.elapsed()),
                attempt: hop.attempt + 1,
                ..hop
            };
            way.network.ask(to, hop, body).await
        }
        first => first,
    }
}

impl AskFailure {
    /// Whether the same question might pass a moment later: the connection failed, before any word.
    fn may_pass(&self) -> bool {
        self.problem.is_none() && matches!(self.outcome, Outcome::Unreachable | Outcome::PeerError)
    }

    /// What it says of the neighbour.
    fn verdict(&self) -> Verdict {
        match (self.outcome, self.problem) {
            (Outcome::Overloaded, _) => Verdict::Fails,
            (_, Some(kind)) if kind.status() < 500 => Verdict::Works,
            (Outcome::Unreachable | Outcome::PeerError, _) => Verdict::Fails,
            // It fell silent in the middle of its answer.
            (Outcome::Late, None) => Verdict::Fails,
            _ => Verdict::Unknown,
        }
    }
}

/// What a neighbour's response comes to for one question.
#[derive(Clone, Default)]
struct End {
    /// The last statement about it so far is the neighbour's own account: what it says of this question is whole.
    account: bool,
    /// The neighbour stopped the question.
    refused: bool,
    rejected: BTreeSet<Rejected>,
}

struct Reading<'a> {
    trust: Arc<Trust>,
    /// Until it was needed once.
    newer: Option<&'a Newer<'a>>,
    asked: &'a Accepted,
    here: DivisionCode,
    /// At the asker: the key that opens what is sealed to it.
    sealing: Option<&'a SealingKey>,
    neighbour: DivisionCode,
    behind: BTreeSet<DivisionCode>,
    /// When it was its turn.
    since: Option<Instant>,
    /// It said something, if only that it lives.
    alive: bool,
    heard: usize,
    /// Each question's place, by its leaf hash.
    places: HashMap<Hash, usize>,
    /// How each question stands.
    ends: Vec<End>,
    notes: Option<Hash>,
    fault: Option<&'static str>,
}

impl Reading<'_> {
    async fn through(&mut self, reply: Reply, runs: &mpsc::Sender<VerifiedRun>) -> Result<(), AskFailure> {
        self.alive = true;
        self.notes = reply.notes;
        let mut stream = reply.body;
        let mut reader = Reader::new();
        let mut pace = Pace::new(Instant::now());
        let too_slow = |_| AskFailure::new(Outcome::Late, "its answer came to a halt");
        while let Some(bytes) = tokio::time::timeout_at(pace.until(), stream.next())
            .await
            .map_err(too_slow)?
        {
            let bytes = bytes?;
            pace.heard(&bytes, Instant::now());
            reader.push(&bytes);
            while let Some(event) = reader.next_event().map_err(|error| self.unread(&error))? {
                match event {
                    Event::Heartbeat => {}
                    Event::Problem(problem) => return Err(AskFailure::new(Outcome::PeerError, problem.kind)),
                    Event::Run(run) => {
                        self.heard += run.statements.len();
                        if self.heard > self.most() {
                            return Err(self.malformed(&"more statements than the question has room for"));
                        }
                        self.run(*run, runs).await;
                        // Waiting for our own reader is not the neighbour's time.
                        pace.rests(Instant::now());
                    }
                    Event::Note(_) | Event::Merged(_) | Event::Consistency(_) | Event::Fork(..) => {
                        return Err(self.malformed(&"a line that belongs in no response"));
                    }
                }
            }
        }
        // A stream that was cut is no fault of its words.
        reader
            .finish()
            .map_err(|error| AskFailure::new(Outcome::PeerError, error.to_string()))
    }

    fn unread(&mut self, error: &StreamError) -> AskFailure {
        match error {
            // It speaks well, and we do not understand it.
            StreamError::Version { .. } => AskFailure::new(Outcome::Incompatible, error.to_string()),
            _ => self.malformed(error),
        }
    }

    fn malformed(&mut self, error: &dyn std::fmt::Display) -> AskFailure {
        self.fault = Some("malformed");
        AskFailure::new(Outcome::PeerError, error.to_string())
    }

    /// Targets × (subjects + 2).
    fn most(&self) -> usize {
        let nodes = self.asked.targets.len().max(self.asked.tree.nodes().count());
        let of_each = self.asked.questions.iter().map(|question| question.subjects() + 2);
        nodes.saturating_mul(of_each.sum())
    }

    /// Verifies a run and hands it on; what does not hold contributes nothing and is named.
    async fn run(&mut self, run: UnverifiedRun, runs: &mpsc::Sender<VerifiedRun>) {
        // Who claims to be somebody that cannot be behind it has spoken for itself.
        let claimed = run.origin.node;
        let node = if self.is_behind(claimed) {
            claimed
        } else {
            self.neighbour
        };
        // What does not hold is held against the questions that it names; against all if it names none.
        let mut about: BTreeSet<_> = run
            .statements
            .iter()
            .filter_map(|said| self.place(&said.entry.said))
            .collect();
        if about.is_empty() {
            about = (0..self.ends.len()).collect();
        }
        // A log that was opened a moment ago: its note is on its way, and the neighbour that gives us its run has it.
        if self.trust.log_key(&run.origin).is_err()
            && let Some(newer) = self.newer.take()
        {
            self.trust = newer(self.neighbour).await;
        }
        let verified = match run.verify(&*self.trust) {
            Ok(run) => self.fitting(run).await,
            Err(error) => Err(error),
        };
        match verified {
            Ok(parts) => {
                for statement in parts.iter().flat_map(|part| &part.statements) {
                    let Some(place) = self.place(&statement.entry.said) else {
                        continue;
                    };
                    let own = node == self.neighbour;
                    let end = &mut self.ends[place];
                    end.account = own && matches!(statement.entry.said, Said::Account(_));
                    end.refused |=
                        own && matches!(&statement.entry.said, Said::Refusal(refusal) if stops(refusal.rule));
                }
                // Whoever listens may have gone; the response is read to its end all the same.
                for part in parts {
                    let _ = runs.send(part).await;
                }
            }
            Err(error) => {
                tracing::warn!(%node, neighbour = %self.neighbour, %error, "a run does not hold");
                let (outcome, why) = match error {
                    RunError::NotTrusted(word) => (Outcome::NotTrusted, word),
                    RunError::BadProof(_) => {
                        if node == self.neighbour {
                            self.fault = Some("bad_proof");
                        }
                        (Outcome::BadProof, "bad_proof")
                    }
                };
                for place in about {
                    let end = &mut self.ends[place];
                    if let Ok(why) = why.parse() {
                        end.rejected.insert(Rejected { node, outcome, why });
                    }
                    end.account = false;
                }
            }
        }
    }

    /// The question that a statement responds to.
    fn place(&self, said: &Said) -> Option<usize> {
        self.places.get(&said.re()?).copied()
    }

    fn is_behind(&self, node: DivisionCode) -> bool {
        self.asked.tree.next_hop(self.here, node) == Some(self.neighbour)
    }

    /// A verified run that belongs in this response. At the asker it comes out opened, in parts that each fit their question to
    /// the body.
    async fn fitting(&self, mut run: VerifiedRun) -> Result<Vec<VerifiedRun>, RunError> {
        let node = run.origin.node;
        if !self.is_behind(node) {
            return Err(RunError::BadProof("a node that does not lie behind this neighbour"));
        }
        for statement in &run.statements {
            match &statement.entry.said {
                Said::Answer(_) | Said::Refusal(_) | Said::Account(_) => {}
                _ => return Err(RunError::BadProof("a statement that belongs in no response")),
            }
            if self.place(&statement.entry.said).is_none() {
                return Err(RunError::BadProof("bound to another question"));
            }
            // Answers are open between the target and the asker alone; accounts are open to all.
            let is_account = matches!(statement.entry.said, Said::Account(_));
            let may_be_open = is_account || (self.sealing.is_some() && node == self.neighbour);
            match (statement.open_body().is_some(), may_be_open) {
                (true, false) => return Err(RunError::BadProof("an open body from behind a relay")),
                (false, _) if is_account => return Err(RunError::BadProof("a sealed account")),
                _ => {}
            }
        }
        let Some(sealing) = self.sealing else {
            return Ok(vec![run]);
        };
        // The seal does not cover the recipient's hint: a changed one would open all the same.
        let hint = sealing.public().map(|key| key.hint());
        if run
            .statements
            .iter()
            .any(|statement| matches!(&statement.body, BodyPart::Sealed(body) if Ok(&body.recipient) != hint.as_ref()))
        {
            return Err(RunError::BadProof("sealed to somebody else"));
        }
        for statement in std::mem::take(&mut run.statements) {
            run.statements.push(statement.opened(sealing)?);
            fair::pause(run.statements.len()).await;
        }
        let on_way = self.asked.tree.nodes().collect();
        let mut parts = Vec::new();
        for (re, part) in run.by_question() {
            let question = re.and_then(|re| self.asked.questions.get(*self.places.get(&re)?));
            if let Some(question) = question
                && let Asking::Query(entry, _) = &question.asking
            {
                Gathered::new(question.leaf, entry, self.asked.targets.clone())
                    .insert(&part, &on_way)
                    .map_err(|_| RunError::BadProof("it does not answer what was asked"))?;
            }
            parts.push(part);
            fair::pause(parts.len()).await;
        }
        Ok(parts)
    }

    /// What the end says of the neighbour itself.
    fn verdict(&self, end: Option<&Result<(), AskFailure>>) -> Verdict {
        match end {
            Some(Ok(())) => Verdict::Works,
            Some(Err(failure)) => failure.verdict(),
            // Whoever says nothing at all for longer than between two signs of life hangs. A shorter time tells nothing.
            None if !self.alive && self.since.is_some_and(|since| since.elapsed() >= SILENCE) => Verdict::Fails,
            None => Verdict::Unknown,
        }
    }

    /// What is observed of the neighbour for one question. What came whole before a failure counts.
    fn outcome(&self, end: &End, failed: Option<Outcome>) -> Outcome {
        match (
            end.rejected.iter().find(|rejected| rejected.node == self.neighbour),
            failed,
        ) {
            (_, Some(failed)) if !end.account => failed,
            (Some(own), _) => own.outcome,
            (None, _) if !end.account => Outcome::PeerError,
            (None, _) if end.refused && self.behind.iter().any(|target| *target != self.neighbour) => {
                Outcome::RefusedOnWay
            }
            (None, _) => Outcome::Answered,
        }
    }
}

/// What is left of a budget at the hop that asks.
pub(crate) fn left(hop: &Hop, began: Instant) -> Option<Hop> {
    hop.onward(began.elapsed())
}

/// For accounts: the present, so that `since` of neighbours nobody could ask is said too.
pub(crate) fn not_asked(node: DivisionCode, outcome: Outcome, since: Time) -> Observed {
    Observed {
        node,
        outcome,
        since,
        milliseconds: 0,
    }
}
