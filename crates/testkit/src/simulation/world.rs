//! One seed: a federation, its faults and questions; the promises checked after every question and at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sanku_exchange::{Asked, Case, Progress};
use sanku_federation_protocol::entry::Said;
use sanku_federation_protocol::names::{Outcome, StatementId};
use sanku_store::Pace;
use sanku_tlog::Hash;
use sanku_values::DivisionCode;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::air::{Air, Spell, Trouble, Where};
use crate::network::held;
use crate::time::{Stillness, TrueTime};
use crate::{CHILD, Federation, HEAD, Node, code, morning, plates};

/// During this time things go wrong.
const STORM: Duration = Duration::from_secs(10 * 60);
/// By then everything has healed by itself.
const CALM: Duration = Duration::from_secs(3600);

/// How large a federation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 1 province, 2 cities, 6 districts.
    Small,
    /// 1 province, 13 cities, 103 districts.
    Full,
}

impl Size {
    /// The nodes' codes, superiors first.
    pub fn codes(self) -> Vec<u32> {
        let (cities, districts) = match self {
            Self::Small => (2, 6),
            Self::Full => (13, 103),
        };
        let cities: Vec<_> = (1..=cities).map(|city| 420_000 + city * 100).collect();
        let mut codes = vec![420_000];
        codes.extend(&cities);
        let mut place = 2;
        'all: loop {
            for city in &cities {
                if codes.len() == 1 + cities.len() + districts {
                    break 'all;
                }
                codes.push(city + place);
            }
            place += 1;
        }
        codes
    }
}

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Everything that happened, in order, without what is random by nature (salts, ids).
    pub trace: Vec<String>,
    /// Questions asked.
    pub questions: usize,
    /// Questions that were complete at once.
    pub at_once: usize,
    /// Simulated time.
    pub simulated: Duration,
    /// Calls of databases.
    pub calls: u64,
    /// Trips over lines.
    pub trips: u64,
}

impl Report {
    /// A digest of everything that happened.
    pub fn hash(&self) -> Hash {
        Hash::of(self.trace.join("\n").as_bytes())
    }
}

/// Who holds what: subject, plate, node.
type Truth = BTreeSet<(u32, String, u32)>;

/// What happens at an instant.
enum Event {
    Ask(u32, &'static str, u64),
    Kill(u32),
    Start(u32),
    Watch(u32, i64),
    Notes(u32),
}

/// A question of the simulation.
struct Question {
    asker: u32,
    scope: &'static str,
    budget: Duration,
    id: Arc<Mutex<Option<StatementId>>>,
    task: JoinHandle<Result<(Duration, Duration, Asked), String>>,
    first: Option<Asked>,
    lost: bool,
}

/// Runs a seed to its end, on a runtime whose clock is paused.
///
/// # Errors
/// The first promise that was not kept.
pub async fn run(seed: u64, size: Size) -> Result<Report, String> {
    fastrand::seed(seed);
    let mut draw = fastrand::Rng::with_seed(seed);
    let codes = size.codes();
    let stillness = Stillness::default();
    let pace: Arc<dyn Pace> = Arc::new(stillness.clone());
    let clock = TrueTime::flowing(morning());
    let mut federation = Federation::under(
        &codes,
        |_| sanku_exchange::Policy::default(),
        |_| "sqlite::memory:".to_owned(),
        clock,
        Some(pace),
    )
    .await;
    let truth = plant(&federation, &codes, &mut draw).await;
    let (spells, mut events) = draw_plan(&codes, &mut draw);
    events.sort_by_key(|(at, _)| *at);
    let air = Air::new(seed, spells);
    federation.wires.through(Arc::clone(&air));
    let began = Instant::now();
    let mut trace = Vec::new();
    let mut questions: Vec<Question> = Vec::new();
    let mut asking: BTreeMap<u32, JoinHandle<()>> = BTreeMap::new();
    let mut down = BTreeSet::new();
    for (at, event) in events {
        sleep_until(began + at).await;
        finish(&mut questions, &mut trace, &truth, &codes, false).await?;
        match event {
            Event::Ask(asker, ..) if down.contains(&asker) => {}
            Event::Ask(asker, scope, budget) => {
                let node = federation.node(asker);
                asking.entry(asker).or_insert_with(|| keep_asking(node));
                trace.push(format!("{} {asker} asks {scope} {budget}", at.as_millis()));
                questions.push(ask(&federation, began, asker, scope, budget)?);
            }
            Event::Kill(node) => {
                trace.push(format!("{} {node} dies", at.as_millis()));
                federation.stop(node);
                air.kill(code(node));
                down.insert(node);
                if let Some(task) = asking.remove(&node) {
                    task.abort();
                }
                for question in questions.iter_mut().filter(|question| question.asker == node) {
                    if question.first.is_none() && !question.task.is_finished() {
                        question.task.abort();
                        question.lost = true;
                    }
                }
            }
            Event::Start(node) => {
                trace.push(format!("{} {node} starts", at.as_millis()));
                federation.restart(node);
                down.remove(&node);
                if questions.iter().any(|question| question.asker == node) {
                    asking.insert(node, keep_asking(federation.node(node)));
                }
            }
            Event::Watch(node, lead) => federation.watches[&code(node)].put(lead),
            Event::Notes(node) => {
                let note = federation
                    .notary
                    .registry_note(sanku_values::Clock::now(&*federation.clock));
                let _ = federation.node(node).take_notes(vec![note], None).await;
            }
        }
    }
    sleep_until(began + STORM).await;
    finish(&mut questions, &mut trace, &truth, &codes, true).await?;
    for node in down {
        federation.restart(node);
        if questions.iter().any(|question| question.asker == node) {
            asking.insert(node, keep_asking(federation.node(node)));
        }
    }
    settle(&federation, &questions, began).await?;
    for task in asking.into_values() {
        task.abort();
    }
    let mut at_once = 0;
    for (number, question) in questions.iter().enumerate() {
        at_once += usize::from(question.first.as_ref().is_some_and(|asked| asked.merged.complete));
        let Some(id) = *held(&question.id) else { continue };
        let end = in_the_end(&federation, question, id, &truth, &codes).await;
        end.map_err(|why| format!("question {number} of {}: {why}", question.asker))?;
        trace.push(format!("{number} ends complete"));
    }
    Ok(Report {
        trace,
        questions: questions.len(),
        at_once,
        simulated: began.elapsed(),
        calls: stillness.calls(),
        trips: air.passed(),
    })
}

async fn plant(federation: &Federation, codes: &[u32], draw: &mut fastrand::Rng) -> Truth {
    let mut truth = Truth::new();
    for number in 0..draw.u32(2..8) {
        let (node, subject) = (codes[draw.usize(..codes.len())], draw.u32(0..2));
        let plate = format!("鄂S{number}");
        let owner = [&HEAD, &CHILD][subject as usize];
        federation.hold(node, owner, &plate).await;
        truth.insert((subject, plate, node));
    }
    truth
}

fn superior(of: u32) -> u32 {
    if of.is_multiple_of(100) {
        420_000
    } else {
        of / 100 * 100
    }
}

fn draw_plan(codes: &[u32], draw: &mut fastrand::Rng) -> (Vec<Spell>, Vec<(Duration, Event)>) {
    let below: Vec<_> = codes.iter().copied().filter(|code| *code != 420_000).collect();
    let mut spells = Vec::new();
    for _ in 0..draw.usize(codes.len() / 3..codes.len()) {
        let one = below[draw.usize(..below.len())];
        let (one, other) = (code(one), code(superior(one)));
        let at = match draw.u8(0..5) {
            0 => Where::Line(one, other),
            1 | 2 => Where::Line(other, one),
            3 => Where::Between(one, other),
            _ => Where::To(one),
        };
        let trouble = match draw.u8(0..9) {
            0 => Trouble::Down,
            1 => Trouble::Hang,
            2 => Trouble::HalfOpen,
            3 => Trouble::Drip(Duration::from_millis(draw.u64(1..400))),
            4 => Trouble::Duplicate,
            5 => Trouble::Reorder,
            6 => Trouble::CutAfter(draw.usize(0..20_000)),
            7 => Trouble::Flip(draw.usize(0..100_000)),
            _ => Trouble::Slow(Duration::from_millis(draw.u64(50..5_000))),
        };
        let from = Duration::from_millis(draw.u64(0..500_000));
        let until = (from + Duration::from_millis(draw.u64(1_000..300_000))).min(STORM);
        spells.push(Spell {
            from,
            until,
            at,
            trouble,
        });
    }
    let mut events = Vec::new();
    let moment = |draw: &mut fastrand::Rng, until: u64| Duration::from_millis(draw.u64(1_000..until));
    for _ in 0..draw.usize(0..4) {
        let node = codes[draw.usize(..codes.len())];
        let at = moment(draw, 450_000);
        events.push((at, Event::Kill(node)));
        events.push((at + moment(draw, 100_000), Event::Start(node)));
    }
    for _ in 0..draw.usize(0..3) {
        let lead = draw.i64(-600_000..=600_000);
        events.push((
            moment(draw, 500_000),
            Event::Watch(codes[draw.usize(..codes.len())], lead),
        ));
    }
    if draw.bool() {
        events.push((moment(draw, 500_000), Event::Notes(codes[draw.usize(..codes.len())])));
    }
    let askers: Vec<_> = (0..2).map(|_| codes[draw.usize(..codes.len())]).collect();
    for _ in 0..draw.usize(2..6) {
        let scope = ["federation", "lineage"][usize::from(draw.u8(0..4) == 0)];
        let budget = draw.u64(300..10_000);
        let asker = askers[draw.usize(..askers.len())];
        events.push((moment(draw, 550_000), Event::Ask(asker, scope, budget)));
    }
    (spells, events)
}

fn keep_asking(node: &Arc<Node>) -> JoinHandle<()> {
    let node = Arc::clone(node);
    tokio::spawn(async move { node.keep_asking().await })
}

fn ask(
    federation: &Federation,
    began: Instant,
    asker: u32,
    scope: &'static str,
    budget: u64,
) -> Result<Question, String> {
    let mut case = federation.case();
    case["scope"] = scope.into();
    case["budget_ms"] = budget.into();
    let case = Case::parse(case.to_string().as_bytes()).map_err(|error| format!("{error:?}"))?;
    let node = Arc::clone(federation.node(asker));
    let id = Arc::new(Mutex::new(None));
    let known = Arc::clone(&id);
    let task = tokio::spawn(async move {
        let start = Instant::now();
        let progress = move |step| {
            if let Progress::Asked(id, _) = step {
                *held(&known) = Some(id);
            }
        };
        let asked = node.ask(case, progress).await.map_err(|error| error.to_string())?;
        Ok((start.elapsed(), began.elapsed(), asked))
    });
    Ok(Question {
        asker,
        scope,
        budget: Duration::from_millis(budget),
        id,
        task,
        first: None,
        lost: false,
    })
}

/// Takes in the questions that came to an end, and checks what was promised of them.
async fn finish(
    questions: &mut [Question],
    trace: &mut Vec<String>,
    truth: &Truth,
    codes: &[u32],
    all: bool,
) -> Result<(), String> {
    for (number, question) in questions.iter_mut().enumerate() {
        if question.first.is_some() || question.lost || !(all || question.task.is_finished()) {
            continue;
        }
        let limit = question.budget + Duration::from_secs(1);
        let patience = if all { limit } else { Duration::from_secs(1) };
        let ended = tokio::time::timeout(patience, &mut question.task)
            .await
            .map_err(|_| format!("G6: question {number} of {} does not end", question.asker))?;
        let (took, at, asked) = ended
            .map_err(|error| format!("question {number}: {error}"))?
            .map_err(|error| format!("question {number} of {} failed: {error}", question.asker))?;
        if took > limit {
            return Err(format!("G6: question {number} took {took:?} of {:?}", question.budget));
        }
        let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
        for end in asked.merged.outcomes.values() {
            *ends.entry(end.outcome.as_str()).or_default() += 1;
        }
        holds(question, &asked, truth, codes).map_err(|why| format!("question {number}: {why}"))?;
        trace.push(format!("{} question {number} after {took:?}: {ends:?}", at.as_millis()));
        question.first = Some(asked);
    }
    Ok(())
}

/// G1 and G2: every target has its outcome, and what was merged is what the nodes that answered hold.
fn holds(question: &Question, asked: &Asked, truth: &Truth, codes: &[u32]) -> Result<(), String> {
    let targets: BTreeSet<_> = asked.merged.outcomes.keys().map(|code| code.number()).collect();
    let wanted: BTreeSet<_> = codes
        .iter()
        .copied()
        .filter(|target| question.scope == "federation" || in_lineage(question.asker, *target))
        .collect();
    if targets != wanted {
        return Err(format!("G1: outcomes of {targets:?}, asked were {wanted:?}"));
    }
    let ends = asked.merged.outcomes.iter();
    let answered: BTreeSet<_> = ends
        .filter(|(_, end)| end.outcome == Outcome::Answered)
        .map(|(node, _)| node.number())
        .collect();
    let told: Truth = (0..2)
        .flat_map(|subject| plates(asked, subject).into_iter().map(move |told| (subject, told)))
        .flat_map(|(subject, (plate, nodes))| nodes.into_iter().map(move |node| (subject, plate.clone(), node)))
        .collect();
    let expected: Truth = truth
        .iter()
        .filter(|(_, _, node)| answered.contains(node))
        .cloned()
        .collect();
    if !told.is_subset(truth) || !expected.is_subset(&told) {
        return Err(format!("G2: told {told:?}, true is {expected:?}"));
    }
    let everybody = answered == wanted && asked.merged.gaps.is_empty();
    if asked.merged.complete != everybody {
        return Err(format!(
            "G1: complete is {}, answered {answered:?}",
            asked.merged.complete
        ));
    }
    Ok(())
}

fn in_lineage(asker: u32, target: u32) -> bool {
    let above = |mut node: u32, top: u32| loop {
        if node == top {
            return true;
        }
        if node == 420_000 {
            return false;
        }
        node = superior(node);
    };
    above(asker, target) || above(target, asker)
}

/// Waits until nothing is asked again any more.
async fn settle(federation: &Federation, questions: &[Question], began: Instant) -> Result<(), String> {
    let askers: BTreeSet<_> = questions.iter().map(|question| question.asker).collect();
    loop {
        let mut waiting = 0;
        for asker in &askers {
            waiting += federation
                .node(*asker)
                .queue_length()
                .await
                .map_err(|error| error.to_string())?;
        }
        if waiting == 0 {
            return Ok(());
        }
        if began.elapsed() > CALM {
            return Err(format!("after {CALM:?} there are still {waiting} questions that wait"));
        }
        sleep(Duration::from_secs(10)).await;
    }
}

/// Everything is known, and each node answered once, in its own log and in the asker's.
async fn in_the_end(
    federation: &Federation,
    question: &Question,
    id: StatementId,
    truth: &Truth,
    codes: &[u32],
) -> Result<(), String> {
    let asker = federation.node(question.asker);
    let asked = asker.known_now(id).await.map_err(|error| error.to_string())?;
    holds(question, &asked, truth, codes)?;
    if !asked.merged.complete {
        let ends = asked.merged.outcomes.iter();
        let missing: Vec<_> = ends.filter(|(_, end)| end.outcome != Outcome::Answered).collect();
        return Err(format!(
            "a late answer never arrived: {missing:?}, gaps {:?}",
            asked.merged.gaps
        ));
    }
    let (_, known) = asker.known(id).await.map_err(|error| error.to_string())?;
    let leaves = known.leaves();
    for target in asked.merged.outcomes.keys() {
        let said = answers(federation, *target, asker.store().origin(), id).await?;
        let mut of: BTreeMap<u32, usize> = BTreeMap::new();
        for (subject, leaf) in &said {
            *of.entry(*subject).or_default() += 1;
            if !leaves.contains(leaf) {
                return Err(format!("G4: an answer of {target} that the asker's log does not name"));
            }
        }
        if of != BTreeMap::from([(0, 1), (1, 1)]) {
            return Err(format!("G5: {target} disclosed {of:?}"));
        }
    }
    Ok(())
}

/// What a node's log says that it answered.
async fn answers(
    federation: &Federation,
    node: DivisionCode,
    origin: &sanku_federation_protocol::names::Origin,
    id: StatementId,
) -> Result<Vec<(u32, Hash)>, String> {
    let store = federation.node(node.number()).store();
    let said = store.said(origin, id).await.map_err(|error| error.to_string())?;
    let statements = said.iter().flat_map(|run| &run.statements);
    Ok(statements
        .filter_map(|statement| match &statement.entry.said {
            Said::Answer(answer) => Some((answer.subject, statement.leaf)),
            _ => None,
        })
        .collect())
}
