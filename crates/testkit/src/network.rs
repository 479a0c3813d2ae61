//! The network between simulated nodes: what a line does wrong, and what went over it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sanku_exchange::lost::Cursor;
use sanku_exchange::{AskFailure, Hop, LogFile, Network, PeerStatus, Reply, WitnessAnswer, Witnessed};
use sanku_federation_protocol::names::{Origin, Outcome};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::NotCosigned;
use sanku_values::DivisionCode;
use tokio::sync::watch;

use crate::Node;
use crate::simulation::Air;

/// What a line does wrong, in one direction.
#[derive(Clone)]
pub enum Fault {
    /// Nobody is there.
    Down,
    /// Nobody is there for so many tries; then it is good.
    DownFor(usize),
    /// It takes the question and never says anything.
    Hang,
    /// It waits before it asks.
    Slow(Duration),
    /// It gives the first runs and breaks off.
    CutAfter(usize),
    /// It gives the first runs and half a run, and breaks off.
    CutWithin(usize),
    /// It refuses with this problem.
    Problem(ProblemKind),
    /// Whoever answers changes the runs of the response.
    Tamper(Arc<dyn Fn(Vec<Part>) -> Vec<Part> + Send + Sync>),
    /// Whoever asks changes what is said beside the question.
    Hop(Arc<dyn Fn(Hop) -> Hop + Send + Sync>),
}

/// The lines of one run, its checkpoint's among them; or what stands between runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part(pub String);

impl Part {
    /// Whose run it is.
    pub fn node(&self) -> Option<DivisionCode> {
        let proof = self.0.lines().find_map(|line| line.strip_prefix("P "))?;
        proof.split(' ').next()?.split('/').nth(2)?.parse().ok()
    }

    /// Whether a statement of this kind stands in it.
    pub fn says(&self, kind: &str) -> bool {
        self.0.contains(&format!("\"kind\":\"{kind}\""))
    }

    /// The runs of a response.
    pub fn parse(response: &str) -> Vec<Self> {
        let mut parts = vec![String::new()];
        for line in response.split_inclusive('\n') {
            if let Some(part) = parts.last_mut() {
                part.push_str(line);
            }
            if line.starts_with("P ") {
                parts.push(String::new());
            }
        }
        parts.into_iter().filter(|part| !part.is_empty()).map(Self).collect()
    }
}

/// One question that went over a line.
#[derive(Clone, Debug)]
pub struct Passed {
    /// Who asked.
    pub from: DivisionCode,
    /// Who was asked.
    pub to: DivisionCode,
    /// What was said beside it.
    pub hop: Hop,
    /// The request.
    pub request: Bytes,
}

/// All lines of a federation.
#[derive(Default)]
pub struct Wires {
    nodes: Mutex<BTreeMap<DivisionCode, Weak<Node>>>,
    faults: Mutex<BTreeMap<(DivisionCode, DivisionCode), Fault>>,
    passed: Mutex<Vec<Passed>>,
    tried: Mutex<BTreeMap<(DivisionCode, DivisionCode), usize>>,
    under_way: Mutex<BTreeMap<(DivisionCode, DivisionCode), (usize, usize)>>,
    of_one: Mutex<BTreeMap<DivisionCode, (usize, usize)>>,
    heard: Mutex<Vec<(DivisionCode, DivisionCode, Part)>>,
    air: Mutex<Option<Arc<Air>>>,
    lives: Mutex<BTreeMap<DivisionCode, watch::Sender<u64>>>,
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wires {
    pub(crate) fn plug(&self, code: DivisionCode, node: &Arc<Node>) {
        held(&self.nodes).insert(code, Arc::downgrade(node));
    }

    /// A node's process ends: nobody reaches it, whatever it was sending breaks off, and it reaches nobody itself.
    pub(crate) fn end(&self, code: DivisionCode) {
        held(&self.nodes).remove(&code);
        let mut lives = held(&self.lives);
        lives.entry(code).or_default().send_modify(|life| *life += 1);
    }

    /// Tells which of a node's processes lives, counted from nought, and when it ends.
    pub(crate) fn life(&self, of: DivisionCode) -> watch::Receiver<u64> {
        held(&self.lives).entry(of).or_default().subscribe()
    }

    /// From now on everything goes through simulated air.
    pub fn through(&self, air: Arc<Air>) {
        *held(&self.air) = Some(air);
    }

    fn air(&self) -> Option<Arc<Air>> {
        held(&self.air).clone()
    }

    /// From now on this line, from the one who asks to the one who is asked, does this wrong.
    pub fn spoil(&self, from: u32, to: u32, fault: Fault) {
        held(&self.faults).insert((crate::code(from), crate::code(to)), fault);
    }

    /// The relay at `to` changes what it answers to `from`.
    pub fn tamper(&self, from: u32, to: u32, change: impl Fn(Vec<Part>) -> Vec<Part> + Send + Sync + 'static) {
        self.spoil(from, to, Fault::Tamper(Arc::new(change)));
    }

    /// All lines are good again.
    pub fn mend(&self) {
        held(&self.faults).clear();
    }

    /// Everything that was asked so far.
    pub fn passed(&self) -> Vec<Passed> {
        held(&self.passed).clone()
    }

    /// Whom each question went to so far, and forgets it.
    pub fn asked(&self) -> Vec<(u32, u32)> {
        let passed = std::mem::take(&mut *held(&self.passed));
        passed
            .iter()
            .map(|passed| (passed.from.number(), passed.to.number()))
            .collect()
    }

    /// How often a line was tried so far, whether or not anybody was there.
    pub fn tries(&self, from: u32, to: u32) -> usize {
        let line = (crate::code(from), crate::code(to));
        held(&self.tried).get(&line).copied().unwrap_or_default()
    }

    /// The most questions that were under way on a line at once.
    pub fn peak(&self, from: u32, to: u32) -> usize {
        let line = (crate::code(from), crate::code(to));
        held(&self.under_way).get(&line).map_or(0, |(_, peak)| *peak)
    }

    /// The most questions that one node had under way at once, to whomever.
    pub fn peak_of(&self, from: u32) -> usize {
        held(&self.of_one).get(&crate::code(from)).map_or(0, |(_, peak)| *peak)
    }

    /// The runs that `to` answered `from` so far, before anybody changed them.
    pub fn heard(&self, from: u32, to: u32) -> Vec<Part> {
        let line = (crate::code(from), crate::code(to));
        let heard = held(&self.heard);
        let runs = heard.iter().filter(|(from, to, _)| (*from, *to) == line);
        runs.map(|(_, _, part)| part.clone()).collect()
    }

    pub(crate) fn node(&self, code: DivisionCode) -> Option<Arc<Node>> {
        held(&self.nodes).get(&code).and_then(Weak::upgrade)
    }

    fn fault(&self, from: DivisionCode, to: DivisionCode) -> Option<Fault> {
        held(&self.faults).get(&(from, to)).cloned()
    }
}

/// A question under way on a line, until it is dropped.
struct UnderWay(Arc<Wires>, (DivisionCode, DivisionCode));

impl UnderWay {
    fn begins(wires: &Arc<Wires>, line: (DivisionCode, DivisionCode)) -> Self {
        let mut of_line = held(&wires.under_way);
        let (now, peak) = of_line.entry(line).or_default();
        *now += 1;
        *peak = (*peak).max(*now);
        let mut of_one = held(&wires.of_one);
        let (now, peak) = of_one.entry(line.0).or_default();
        *now += 1;
        *peak = (*peak).max(*now);
        Self(Arc::clone(wires), line)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        held(&self.0.under_way).entry(self.1).or_default().0 -= 1;
        held(&self.0.of_one).entry(self.1.0).or_default().0 -= 1;
    }
}

/// A node's way out.
#[derive(Clone)]
pub struct Line {
    from: DivisionCode,
    wires: Arc<Wires>,
    process: Process,
}

/// One of a node's processes.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    life: watch::Receiver<u64>,
    number: u64,
}

impl Process {
    /// The one that lives now.
    pub(crate) fn now(of: DivisionCode, wires: &Wires) -> Self {
        let life = wires.life(of);
        let number = *life.borrow();
        Self { life, number }
    }

    /// What a dead process was about to do it never does.
    pub(crate) async fn lives(&self) {
        if *self.life.borrow() != self.number {
            std::future::pending::<()>().await;
        }
    }
}

impl Line {
    pub(crate) fn new(from: DivisionCode, wires: Arc<Wires>) -> Self {
        let process = Process::now(from, &wires);
        Self { from, wires, process }
    }

    fn reach(&self, to: DivisionCode) -> Result<Arc<Node>, AskFailure> {
        let nobody = || AskFailure::new(Outcome::Unreachable, "nobody is there");
        if matches!(self.wires.fault(self.from, to), Some(Fault::Down)) {
            return Err(nobody());
        }
        self.wires.node(to).ok_or_else(nobody)
    }
}

impl Network for Line {
    async fn ask(&self, to: DivisionCode, hop: Hop, body: Bytes) -> Result<Reply, AskFailure> {
        self.process.lives().await;
        if let Some(air) = self.wires.air() {
            return air.ask(&self.wires, self.from, to, hop, body).await;
        }
        let line = (self.from, to);
        *held(&self.wires.tried).entry(line).or_default() += 1;
        if let Some(Fault::DownFor(left)) = held(&self.wires.faults).get_mut(&line)
            && *left > 0
        {
            *left -= 1;
            return Err(AskFailure::new(Outcome::Unreachable, "nobody is there"));
        }
        let node = self.reach(to)?;
        let under_way = UnderWay::begins(&self.wires, line);
        let fault = self.wires.fault(self.from, to);
        let hop = match &fault {
            Some(Fault::Hop(change)) => change(hop),
            _ => hop,
        };
        held(&self.wires.passed).push(Passed {
            from: self.from,
            to,
            hop: hop.clone(),
            request: body.clone(),
        });
        match &fault {
            Some(Fault::Hang) => std::future::pending::<()>().await,
            Some(Fault::Slow(by)) => tokio::time::sleep(*by).await,
            Some(Fault::Problem(kind)) => return Err(Problem::new(*kind, "test").of(to).into()),
            _ => {}
        }
        let mut lines = node.question(self.from, hop, body.to_vec()).await?;
        let notes = Some(node.trust().digest());
        let (from, wires) = (self.from, Arc::clone(&self.wires));
        // Without a fault the lines pass as they come; to be changed, the response must be whole.
        let stream: sanku_exchange::ByteStream = match fault {
            None | Some(Fault::Slow(_) | Fault::Hop(_) | Fault::DownFor(_)) => {
                let lines = stream::unfold(lines, |mut lines| async move { Some((lines.recv().await?, lines)) });
                Box::pin(lines.map(move |bytes| {
                    let _ = &under_way;
                    let parts = Part::parse(&String::from_utf8_lossy(&bytes));
                    held(&wires.heard).extend(parts.into_iter().map(|part| (from, to, part)));
                    Ok(bytes)
                }))
            }
            Some(fault) => {
                let mut whole = String::new();
                while let Some(bytes) = lines.recv().await {
                    whole.push_str(&String::from_utf8_lossy(&bytes));
                }
                let parts = Part::parse(&whole);
                held(&wires.heard).extend(parts.iter().map(|part| (from, to, part.clone())));
                let broken = || vec![Err(AskFailure::new(Outcome::PeerError, "cut"))];
                let (parts, end) = match fault {
                    Fault::Tamper(change) => (change(parts), Vec::new()),
                    Fault::CutAfter(count) => (parts.into_iter().take(count).collect(), broken()),
                    Fault::CutWithin(count) => {
                        let half = |(place, Part(text)): (usize, Part)| match place {
                            place if place < count => Some(Part(text)),
                            place if place == count => {
                                Some(Part(text.chars().take(text.chars().count() / 2).collect()))
                            }
                            _ => None,
                        };
                        (parts.into_iter().enumerate().filter_map(half).collect(), broken())
                    }
                    _ => (parts, Vec::new()),
                };
                let parts = parts.into_iter().map(|Part(text)| Ok(Bytes::from(text)));
                Box::pin(stream::iter(parts.chain(end).collect::<Vec<_>>()))
            }
        };
        Ok(Reply { notes, body: stream })
    }

    async fn add_checkpoint(&self, to: DivisionCode, body: String) -> Result<Witnessed, AskFailure> {
        self.process.lives().await;
        if let Some(air) = self.wires.air() {
            air.pass(self.from, to).await?;
        }
        let node = self.reach(to)?;
        match node.add_checkpoint(&body).await {
            Ok(WitnessAnswer::Cosigned(lines)) => Ok(Witnessed::Cosigned(lines)),
            Ok(WitnessAnswer::Refused(NotCosigned::Conflict(size))) => Ok(Witnessed::Knows(size)),
            other => Err(AskFailure::new(Outcome::PeerError, format!("{other:?}"))),
        }
    }

    async fn log_file(&self, from: DivisionCode, log: &Origin, file: LogFile) -> Result<Option<Bytes>, AskFailure> {
        self.process.lives().await;
        if let Some(air) = self.wires.air() {
            air.pass(self.from, from).await?;
        }
        let node = self.reach(from)?;
        let found = node.log_file(log, file, Some(self.from)).await;
        found.map_err(|error| AskFailure::new(Outcome::PeerError, error.to_string()))
    }

    async fn held_of(
        &self,
        from: DivisionCode,
        log: &Origin,
        holder: DivisionCode,
        cursor: Cursor,
    ) -> Result<Option<Bytes>, AskFailure> {
        self.process.lives().await;
        if let Some(air) = self.wires.air() {
            air.pass(self.from, from).await?;
        }
        let node = self.reach(from)?;
        let found = node.held_of(log, holder, cursor, self.from).await;
        found.map_err(|error| AskFailure::new(Outcome::PeerError, error.to_string()))
    }

    async fn status_of(&self, from: DivisionCode) -> Result<PeerStatus, AskFailure> {
        self.process.lives().await;
        if let Some(air) = self.wires.air() {
            air.pass(self.from, from).await?;
        }
        let node = self.reach(from)?;
        let seen = node.seen_of(self.from).await;
        Ok(PeerStatus {
            time: node.now(),
            seen: seen.map_err(|error| AskFailure::new(Outcome::PeerError, error.to_string()))?,
            notes: Some(node.trust().digest()),
        })
    }

    async fn notes_of(&self, from: DivisionCode, at_hand: &Trust) -> Result<Vec<String>, AskFailure> {
        self.process.lives().await;
        if let Some(air) = self.wires.air() {
            air.pass(self.from, from).await?;
        }
        let node = self.reach(from)?;
        let trust = node.trust();
        let new = trust.all().filter(|(name, held)| !at_hand.holds(name, held.reference));
        Ok(new.map(|(_, held)| held.bytes.to_string()).collect())
    }

    async fn give_note(&self, to: DivisionCode, note: String) -> Result<(), AskFailure> {
        self.process.lives().await;
        if let Some(air) = self.wires.air() {
            air.pass(self.from, to).await?;
        }
        let node = self.reach(to)?;
        node.take_note(note, self.from)
            .await
            .map(drop)
            .map_err(|error| AskFailure::new(Outcome::PeerError, error.to_string()))
    }
}

/// The nodes that answered in these runs.
pub fn nodes_of(parts: &[Part]) -> BTreeSet<u32> {
    parts.iter().filter_map(Part::node).map(DivisionCode::number).collect()
}
