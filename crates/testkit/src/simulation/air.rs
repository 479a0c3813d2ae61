//! The simulated network: each line has a latency, and spells during which it does something wrong. Whatever leaves a node is
//! held against that node's log at the moment when it leaves.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use sanku_exchange::{AskFailure, Hop, Reply};
use sanku_federation_protocol::names::Outcome;
use sanku_tlog::Hash;
use sanku_values::DivisionCode;
use tokio::time::{Instant, sleep};

use super::ledger::Ledger;
use super::lies;
use crate::network::{Part, Wires, held};

/// So long a call that began in a spell may go on after it.
const DATABASE_LAGS: Duration = Duration::from_secs(10);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Nobody is there.
    Down,
    /// Nothing arrives, and nobody says so.
    Hang,
    /// The question arrives, the answer does not.
    HalfOpen,
    /// The response comes line by line, each after this wait.
    Drip(Duration),
    /// The question arrives twice.
    Duplicate,
    /// The runs before the last come in another order.
    Reorder,
    /// The response breaks off after so many bytes.
    CutAfter(usize),
    /// One byte of the response is another.
    Flip(usize),
    /// Everything takes this much longer.
    Slow(Duration),
    /// Whoever is asked lies about the others: drops, repeats, swaps or replays runs, or signs with another's name.
    Lies,
    /// Whoever asks changes what is said beside the question: codes, budget, attempt.
    Headers,
    /// Of a database: calls fail before they take effect, or their answers are lost, or neither.
    Flaky,
}

/// Where it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// From the one who asks to the one who is asked.
    Line(DivisionCode, DivisionCode),
    /// Between these two, in both directions.
    Between(DivisionCode, DivisionCode),
    /// Everything that goes to this node.
    To(DivisionCode),
    /// This node's database: down, slow or flaky.
    Database(DivisionCode),
}

impl Where {
    fn holds(self, from: DivisionCode, to: DivisionCode) -> bool {
        match self {
            Self::Line(asks, asked) => (asks, asked) == (from, to),
            Self::Between(one, other) => (one, other) == (from, to) || (other, one) == (from, to),
            Self::To(node) => node == to,
            Self::Database(_) => false,
        }
    }
}

/// A trouble with its place and time, counted from the simulation's beginning.
#[derive(Clone, Copy, Debug)]
pub struct Spell {
    /// Its beginning.
    pub from: Duration,
    /// Its end.
    pub until: Duration,
    /// Where.
    pub at: Where,
    /// What.
    pub trouble: Trouble,
}

/// All lines of a simulated federation.
pub struct Air {
    seed: u64,
    began: OnceLock<Instant>,
    spells: Vec<Spell>,
    ledger: Arc<Ledger>,
    draws: Mutex<BTreeMap<(DivisionCode, DivisionCode), u64>>,
    old: Mutex<BTreeMap<(DivisionCode, DivisionCode), Vec<Part>>>,
}

impl Air {
    /// A network whose latencies follow from the seed.
    pub fn new(seed: u64, spells: Vec<Spell>) -> Arc<Self> {
        Arc::new(Self {
            seed,
            began: OnceLock::new(),
            spells,
            ledger: Arc::default(),
            draws: Mutex::default(),
            old: Mutex::default(),
        })
    }

    /// The spells' time begins now; until then all is well.
    pub fn begin(&self) {
        let _ = self.began.set(Instant::now());
    }

    /// How long the simulation has run.
    pub fn elapsed(&self) -> Duration {
        self.began.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// What left the nodes.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// How many questions went over all lines.
    pub fn passed(&self) -> u64 {
        held(&self.draws).values().sum()
    }

    fn now(&self) -> impl Iterator<Item = &Spell> {
        let now = self.began.get().map(Instant::elapsed);
        let spells = self.spells.iter();
        spells.filter(move |spell| now.is_some_and(|now| spell.from <= now && now < spell.until))
    }

    fn trouble(&self, from: DivisionCode, to: DivisionCode) -> Option<Trouble> {
        let spell = self.now().find(|spell| spell.at.holds(from, to));
        spell.map(|spell| spell.trouble)
    }

    /// What is wrong with a node's database now.
    pub(super) fn of_database(&self, of: DivisionCode) -> Option<Trouble> {
        let spell = self.now().find(|spell| spell.at == Where::Database(of));
        spell.map(|spell| spell.trouble)
    }

    /// Whether something was wrong with a node's database during this time, or a moment before.
    pub(super) fn was_troubled(&self, of: DivisionCode, from: Duration, until: Duration) -> bool {
        let mut spells = self.spells.iter();
        spells
            .any(|spell| spell.at == Where::Database(of) && spell.from <= until && from <= spell.until + DATABASE_LAGS)
    }

    pub(super) fn draw(&self, from: DivisionCode, to: DivisionCode) -> fastrand::Rng {
        let mut draws = held(&self.draws);
        let nth = draws.entry((from, to)).or_default();
        *nth += 1;
        let hash = Hash::of(format!("{} {from} {to} {nth}", self.seed).as_bytes());
        let bytes = hash.bytes().first_chunk().copied().unwrap_or_default();
        fastrand::Rng::with_seed(u64::from_le_bytes(bytes))
    }

    /// A trip over a line, or what becomes of it.
    pub(crate) async fn pass(&self, from: DivisionCode, to: DivisionCode) -> Result<fastrand::Rng, AskFailure> {
        let mut draw = self.draw(from, to);
        // Lines differ, and so do trips.
        let base = 1 + u64::from(from.number() ^ to.number()) % 15;
        sleep(Duration::from_millis(base + draw.u64(0..10))).await;
        match self.trouble(from, to) {
            Some(Trouble::Down) => return Err(AskFailure::new(Outcome::Unreachable, "nobody is there")),
            Some(Trouble::Hang) => std::future::pending().await,
            Some(Trouble::Slow(by)) => sleep(by).await,
            _ => {}
        }
        Ok(draw)
    }

    pub(crate) async fn ask(
        self: &Arc<Self>,
        wires: &Arc<Wires>,
        from: DivisionCode,
        to: DivisionCode,
        mut hop: Hop,
        body: Bytes,
    ) -> Result<Reply, AskFailure> {
        self.ledger.leaves(from, &body).await;
        let mut draw = self.pass(from, to).await?;
        let node = wires
            .node(to)
            .ok_or_else(|| AskFailure::new(Outcome::Unreachable, "nobody is there"))?;
        let mut life = wires.life(to);
        life.mark_unchanged();
        let trouble = self.trouble(from, to);
        if trouble == Some(Trouble::Headers) {
            hop = lies::of_hop(hop, &mut draw);
        }
        if trouble == Some(Trouble::Duplicate) {
            let (node, hop, body) = (Arc::clone(&node), hop.clone(), body.clone());
            tokio::spawn(async move {
                if let Ok(mut lines) = node.question(from, hop, body.to_vec()).await {
                    while lines.recv().await.is_some() {}
                }
            });
        }
        let died = || AskFailure::new(Outcome::PeerError, "it broke off");
        let lines = tokio::select! {
            biased;
            _ = life.changed() => return Err(died()),
            lines = node.question(from, hop, body.to_vec()) => lines?,
        };
        let notes = Some(node.trust().digest());
        drop(node);
        if trouble == Some(Trouble::HalfOpen) {
            // The connection stays, nobody reads.
            let _kept = lines;
            std::future::pending::<()>().await;
            return Err(died());
        }
        let ledger = Arc::clone(&self.ledger);
        let coming = stream::unfold(
            (lines, life, ledger, false),
            move |(mut lines, mut life, ledger, over)| async move {
                if over {
                    return None;
                }
                tokio::select! {
                    biased;
                    _ = life.changed() => Some((Err(died()), (lines, life, ledger, true))),
                    bytes = lines.recv() => {
                        let bytes = bytes?;
                        ledger.leaves(to, &bytes).await;
                        Some((Ok(bytes), (lines, life, ledger, false)))
                    }
                }
            },
        );
        let body: sanku_exchange::ByteStream = match trouble {
            Some(Trouble::Drip(wait)) => Box::pin(coming.flat_map(move |bytes| {
                let lines: Vec<_> = match bytes {
                    Ok(bytes) => bytes
                        .split_inclusive(|byte| *byte == b'\n')
                        .map(|line| Ok(Bytes::copy_from_slice(line)))
                        .collect(),
                    Err(failure) => vec![Err(failure)],
                };
                stream::iter(lines).then(move |line| async move {
                    sleep(wait).await;
                    line
                })
            })),
            Some(Trouble::CutAfter(_) | Trouble::Flip(_) | Trouble::Reorder | Trouble::Lies) => {
                let parts: Vec<_> = coming.collect().await;
                let mut end = Vec::new();
                let mut whole = Vec::new();
                for part in parts {
                    match part {
                        Ok(bytes) => whole.extend_from_slice(&bytes),
                        Err(failure) => end.push(Err(failure)),
                    }
                }
                match trouble {
                    Some(Trouble::CutAfter(bytes)) if bytes < whole.len() => {
                        whole.truncate(bytes);
                        end.push(Err(died()));
                    }
                    Some(Trouble::Flip(place)) => {
                        let place = place % whole.len().max(1);
                        if let Some(byte) = whole.get_mut(place) {
                            *byte ^= 1;
                        }
                    }
                    Some(Trouble::Reorder) => {
                        let mut runs = Part::parse(&String::from_utf8_lossy(&whole));
                        let last = runs.pop();
                        draw.shuffle(&mut runs);
                        runs.extend(last);
                        whole = runs.into_iter().flat_map(|Part(text)| text.into_bytes()).collect();
                    }
                    Some(Trouble::Lies) => {
                        let runs = Part::parse(&String::from_utf8_lossy(&whole));
                        let old = held(&self.old).insert((from, to), runs.clone()).unwrap_or_default();
                        let runs = lies::of_runs(runs, &old, &mut draw);
                        whole = runs.into_iter().flat_map(|Part(text)| text.into_bytes()).collect();
                    }
                    _ => {}
                }
                Box::pin(stream::iter(std::iter::once(Ok(Bytes::from(whole))).chain(end)))
            }
            _ => Box::pin(coming),
        };
        Ok(Reply { notes, body })
    }
}
