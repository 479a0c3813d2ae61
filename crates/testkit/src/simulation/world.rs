//! Runs a plan; the promises are checked after every event, after every question's end, and when all is calm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sanku_exchange::{Asked, Case, Policy, Progress};
use sanku_federation_protocol::names::StatementId;
use sanku_store::{Pace, StoreError};
use sanku_tlog::Hash;
use sanku_values::Clock;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use super::air::Air;
use super::files::CaseFile;
use super::machine::Machine;
use super::plan::{Event, Plan};
use super::promises::{Known, Logs, complete, stands_in_both};
use crate::network::{Wires, held};
use crate::time::{Stillness, TrueTime};
use crate::{CHILD, Federation, HEAD, Node, code, morning};

/// So long after the last fault everything has healed by itself.
const CALM: Duration = Duration::from_secs(3000);
/// A process that cannot start is started again after this time.
/// The numbers of the questions of one file differ by this.
const LINE: usize = 1000;
const START_AGAIN: Duration = Duration::from_secs(2);
/// What a node does besides its queue.
const WITNESS_EACH: Duration = Duration::from_secs(15);
const CLOCKS_EACH: Duration = Duration::from_secs(60);

/// What came of a plan.
#[derive(Clone, Debug)]
pub struct Report {
    /// Everything that happened, in order, without what is random by nature (salts, ids).
    pub trace: Vec<String>,
    /// Events that happened; each was followed by a check.
    pub events: usize,
    /// Questions that came into a log.
    pub questions: usize,
    /// Withdrawals that came into a log.
    pub withdrawals: usize,
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

/// A question of the simulation.
struct Question {
    asker: u32,
    scope: &'static str,
    budget: Duration,
    mandate: StatementId,
    began: Duration,
    /// Its id, once the asker was told that it is in the log.
    id: Arc<Mutex<Option<StatementId>>>,
    task: JoinHandle<(Duration, Duration, Result<Asked, String>)>,
    over: bool,
    at_once: bool,
}

struct World {
    federation: Federation,
    air: Arc<Air>,
    known: Known,
    began: Instant,
    patient: bool,
    questions: BTreeMap<usize, Question>,
    imports: Vec<(u32, u32, String)>,
    loops: BTreeMap<u32, Vec<JoinHandle<()>>>,
    files: BTreeMap<usize, CaseFile>,
    down: BTreeSet<u32>,
    trace: Vec<String>,
    events: usize,
}

/// Runs a plan to its end, on a runtime whose clock is paused.
///
/// # Errors
/// The first promise that was not kept.
pub async fn run(plan: Plan) -> Result<Report, String> {
    fastrand::seed(plan.seed);
    let still = Stillness::default();
    let air = Air::new(plan.seed, plan.spells.clone());
    let mut world = World::build(&plan, &air, &still).await?;
    let (questions, withdrawals) = match world.runs(plan).await {
        Ok(ended) => ended,
        Err(why) => return Err(format!("{why}\n{}", world.trace.join("\n"))),
    };
    Ok(Report {
        at_once: world.questions.values().filter(|question| question.at_once).count(),
        trace: world.trace,
        events: world.events,
        questions,
        withdrawals,
        simulated: world.began.elapsed(),
        calls: still.calls(),
        trips: air.passed(),
    })
}

impl World {
    async fn build(plan: &Plan, air: &Arc<Air>, still: &Stillness) -> Result<Self, String> {
        let paces = {
            let (air, still) = (Arc::clone(air), still.clone());
            move |node, wires: &Arc<Wires>| Some(Arc::new(Machine::new(node, wires, &air, &still)) as Arc<dyn Pace>)
        };
        let url = |_| "sqlite::memory:".to_owned();
        let clock = TrueTime::flowing(morning());
        let federation = Federation::under(&plan.codes, |_| Policy::default(), url, clock, Box::new(paces)).await;
        let mut known = Known {
            codes: plan.codes.clone(),
            ..Known::default()
        };
        for node in &plan.codes {
            let pace: Arc<dyn Pace> = Arc::new(still.clone());
            let clock = Arc::clone(&federation.clock) as Arc<dyn Clock>;
            let store = federation.node(*node).store();
            let watched = store
                .another(crate::notes::log_key(code(*node)), clock, Some(pace))
                .await;
            air.ledger()
                .watch(code(*node), watched.map_err(|error| error.to_string())?);
        }
        for (node, subject, plate) in &plan.planted {
            let owner = [&HEAD, &CHILD][*subject as usize];
            federation.hold(*node, owner, plate).await;
            known.sure.insert((*subject, plate.clone(), *node));
        }
        known.ever.clone_from(&known.sure);
        federation.wires.through(Arc::clone(air));
        let mut world = Self {
            federation,
            air: Arc::clone(air),
            known,
            began: Instant::now(),
            patient: plan.patient,
            questions: BTreeMap::new(),
            imports: Vec::new(),
            loops: BTreeMap::new(),
            files: BTreeMap::new(),
            down: BTreeSet::new(),
            trace: Vec::new(),
            events: 0,
        };
        for node in &plan.codes {
            world.works(*node);
        }
        Ok(world)
    }

    /// Event by event; then all must be well. Gives how many questions and withdrawals came into a log.
    async fn runs(&mut self, plan: Plan) -> Result<(usize, usize), String> {
        let numbered = plan.events.into_iter().enumerate();
        let mut events: BTreeMap<_, _> = numbered.map(|(number, (at, event))| ((at, number), event)).collect();
        self.air.begin();
        self.began = Instant::now();
        while let Some(((at, number), event)) = events.pop_first() {
            self.until(self.began + at).await?;
            if let Some((again, event)) = self.happens(event).await? {
                events.insert((at + again, number), event);
            }
            self.check().await?;
        }
        self.until(self.began + plan.storm).await?;
        self.calm(plan.storm).await?;
        self.in_the_end().await
    }

    /// A process begins what it does by itself.
    fn works(&mut self, node: u32) {
        let process = self.federation.node(node);
        let asks = self.questions.values().any(|question| question.asker == node);
        let mut loops = vec![
            tokio::spawn(be_witnessed(Arc::clone(process))),
            tokio::spawn(compare_clocks(Arc::clone(process))),
            tokio::spawn(ask_for_notes(Arc::clone(process))),
        ];
        loops.extend(asks.then(|| tokio::spawn(keep_asking(Arc::clone(process), self.patient))));
        self.loops.insert(node, loops);
    }

    /// Goes on until this instant; each question is judged as soon as it ends.
    async fn until(&mut self, at: Instant) -> Result<(), String> {
        loop {
            let next = at.min(Instant::now() + Duration::from_secs(1));
            sleep_until(next).await;
            self.judge_ended().await?;
            if next == at {
                return Ok(());
            }
        }
    }

    async fn happens(&mut self, event: Event) -> Result<Option<(Duration, Event)>, String> {
        self.events += 1;
        let elapsed = self.began.elapsed();
        let at = elapsed.as_millis();
        match event {
            Event::Ask(_, asker, ..) if self.down.contains(&asker) => {}
            Event::Ask(number, asker, scope, budget) => {
                self.trace.push(format!("{at} {asker} asks {scope} {budget}"));
                let first = self.is_first_of(asker);
                let question = self.ask(asker, scope, budget)?;
                self.questions.insert(number, question);
                if first {
                    self.keeps_asking(asker);
                }
            }
            Event::AskLines(_, _, asker, ..) if self.down.contains(&asker) => {}
            Event::AskLines(number, lines, asker, scope, budget) => {
                self.trace
                    .push(format!("{at} {asker} asks {lines} lines {scope} {budget}"));
                let first = self.is_first_of(asker);
                self.ask_lines(number, lines, asker, scope, budget)?;
                if first {
                    self.keeps_asking(asker);
                }
            }
            Event::AskLinesAgain(number) => {
                if let Some(file) = self.files.get_mut(&number)
                    && !self.down.contains(&file.asker)
                {
                    self.trace
                        .push(format!("{at} {} asks the lines of {number} again", file.asker));
                    file.again(self.federation.node(file.asker));
                }
            }
            Event::Withdraw(number) => {
                let questions = self.questions.get(&number);
                if let Some(question) = questions.filter(|question| !self.down.contains(&question.asker)) {
                    self.trace.push(format!("{at} {} withdraws {number}", question.asker));
                    let (node, mandate) = (Arc::clone(self.federation.node(question.asker)), question.mandate);
                    tokio::spawn(async move { node.withdraw(mandate, "撤回", Duration::from_secs(2)).await });
                }
            }
            Event::Import(node, subject, plate) => {
                self.trace.push(format!("{at} {node} imports"));
                self.known.ever.insert((subject, plate.clone(), node));
                let owner = [&HEAD, &CHILD][subject as usize];
                for _ in 0..2 {
                    tokio::spawn(self.federation.import(node, owner, &plate));
                }
                self.imports.push((node, subject, plate));
            }
            Event::Kill(node) => {
                self.trace.push(format!("{at} {node} dies"));
                self.dies(node);
            }
            Event::Start(node) if self.down.contains(&node) => {
                self.trace.push(format!("{at} {node} starts"));
                if self.federation.restart(node).await.is_err() {
                    return Ok(Some((START_AGAIN, Event::Start(node))));
                }
                self.down.remove(&node);
                self.works(node);
            }
            Event::Start(_) => {}
            Event::Watch(node, lead) => {
                self.trace.push(format!("{at} the clock of {node} is put to {lead}"));
                self.federation.watches[&code(node)].put(lead);
            }
            Event::Notes(node) => {
                let note = self.federation.notary.registry_note(self.federation.clock.now());
                self.give(node, note);
            }
            Event::Suspend(node) => {
                self.trace.push(format!("{at} {node:?} is suspended"));
                let nodes: Vec<_> = node.into_iter().map(code).collect();
                let note = self
                    .federation
                    .notary
                    .suspension_note(self.federation.clock.now(), &nodes);
                self.give(420_000, note);
            }
        }
        Ok(None)
    }

    /// An administrator hands a note in, again until it is kept.
    fn give(&self, node: u32, note: String) {
        let wires = Arc::clone(&self.federation.wires);
        tokio::spawn(async move {
            loop {
                if let Some(node) = wires.node(code(node))
                    && node.take_notes(vec![note.clone()], None).await.is_ok()
                {
                    return;
                }
                sleep(START_AGAIN).await;
            }
        });
    }

    fn dies(&mut self, node: u32) {
        self.federation.stop(node);
        self.down.insert(node);
        for task in self.loops.remove(&node).into_iter().flatten() {
            task.abort();
        }
        for file in self.files.values_mut().filter(|file| file.asker == node) {
            file.asking.drain(..).for_each(|asking| asking.abort());
        }
        for question in self.questions.values_mut().filter(|question| question.asker == node) {
            // Whoever asked is told nothing more.
            question.over |= !question.task.is_finished();
            question.task.abort();
        }
    }

    fn is_first_of(&self, asker: u32) -> bool {
        !self.questions.values().any(|question| question.asker == asker)
    }

    fn keeps_asking(&mut self, asker: u32) {
        if let Some(loops) = self.loops.get_mut(&asker) {
            let node = Arc::clone(self.federation.node(asker));
            loops.push(tokio::spawn(keep_asking(node, self.patient)));
        }
    }

    fn case(&self, scope: &'static str, budget: u64) -> Result<Case, String> {
        let mut case = self.federation.case();
        case["scope"] = scope.into();
        case["budget_ms"] = budget.into();
        Case::parse(case.to_string().as_bytes()).map_err(|error| format!("{error:?}"))
    }

    /// Many cases at once, each a question of its own: its end is told as it is known.
    fn ask_lines(
        &mut self,
        number: usize,
        lines: usize,
        asker: u32,
        scope: &'static str,
        budget: u64,
    ) -> Result<(), String> {
        let (began, start) = (self.began, Instant::now());
        let (mut cases, mut tellers) = (Vec::new(), Vec::new());
        for place in 0..lines {
            let case = self.case(scope, budget)?;
            let (tell, told) = oneshot::channel();
            let id = Arc::new(Mutex::new(None));
            let question = Question {
                asker,
                scope,
                budget: Duration::from_millis(budget),
                mandate: case.mandate.id,
                began: began.elapsed(),
                id: Arc::clone(&id),
                task: tokio::spawn(async move {
                    let asked = told.await.unwrap_or_else(|_| Err("it broke off".to_owned()));
                    if let Ok(Asked { id: known, .. }) = &asked {
                        *held(&id) = Some(*known);
                    }
                    (start.elapsed(), began.elapsed(), asked)
                }),
                over: false,
                at_once: false,
            };
            self.questions.insert(number + place * LINE, question);
            cases.push(case);
            tellers.push(Mutex::new(Some(tell)));
        }
        let mut file = CaseFile::new(asker, cases);
        let node = Arc::clone(self.federation.node(asker));
        file.ask(node, move |place, came| {
            if let Some(tell) = held(&tellers[place]).take() {
                let _ = tell.send(came.map_err(|error| error.to_string()));
            }
        });
        self.files.insert(number, file);
        Ok(())
    }

    fn ask(&self, asker: u32, scope: &'static str, budget: u64) -> Result<Question, String> {
        let case = self.case(scope, budget)?;
        let mandate = case.mandate.id;
        let node = Arc::clone(self.federation.node(asker));
        let id = Arc::new(Mutex::new(None));
        let (known, began) = (Arc::clone(&id), self.began);
        let task = tokio::spawn(async move {
            let start = Instant::now();
            let progress = move |step| {
                if let Progress::Asked(id, _) = step {
                    *held(&known) = Some(id);
                }
            };
            let asked = node.ask(case, progress).await.map_err(|error| error.to_string());
            (start.elapsed(), began.elapsed(), asked)
        });
        Ok(Question {
            asker,
            scope,
            budget: Duration::from_millis(budget),
            mandate,
            began: self.began.elapsed(),
            id,
            task,
            over: false,
            at_once: false,
        })
    }

    /// Takes in the questions that came to an end, and checks what was promised of them.
    async fn judge_ended(&mut self) -> Result<(), String> {
        for (number, question) in &mut self.questions {
            // Where the asker's own database is slow or fails nothing can be said in time: it ends, and later it is complete.
            let now = self.began.elapsed();
            let troubled = self.air.was_troubled(code(question.asker), question.began, now);
            let limit = question.budget + Duration::from_secs(1);
            if question.over {
                continue;
            }
            if !question.task.is_finished() {
                if !troubled && now > question.began + limit {
                    return Err(format!("G6: question {number} of {} does not end", question.asker));
                }
                continue;
            }
            question.over = true;
            let ended = (&mut question.task).await;
            let (took, at, asked) = ended.map_err(|error| format!("question {number}: {error}"))?;
            if took > limit && !troubled {
                return Err(format!("G6: question {number} took {took:?} of {:?}", question.budget));
            }
            let asked = match asked {
                Ok(asked) => asked,
                Err(why) if troubled => {
                    self.trace
                        .push(format!("{} question {number} fails: {why}", at.as_millis()));
                    continue;
                }
                Err(why) => return Err(format!("question {number} of {} failed: {why}", question.asker)),
            };
            let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
            for end in asked.merged.outcomes.values() {
                *ends.entry(end.outcome.as_str()).or_default() += 1;
            }
            let held = self.known.holds(question.asker, question.scope, &asked);
            held.map_err(|why| format!("question {number}: {why}"))?;
            stands_in_both(self.air.ledger(), question.asker, &asked).await?;
            self.trace
                .push(format!("{} question {number} after {took:?}: {ends:?}", at.as_millis()));
            question.at_once = asked.merged.complete;
        }
        Ok(())
    }

    /// What holds at every instant.
    async fn check(&mut self) -> Result<(), String> {
        self.judge_ended().await?;
        self.air.ledger().holds()?;
        for asker in self.askers() {
            let store = self.air.ledger().store(code(asker))?;
            let waiting = store.waiting().await.map_err(|error| error.to_string())?.unwrap_or(0);
            let most = self
                .questions
                .values()
                .filter(|question| question.asker == asker)
                .count()
                * 2;
            if waiting > most as u64 {
                return Err(format!("G6: {waiting} wait at {asker}, which asked {most} at most"));
            }
        }
        Ok(())
    }

    fn askers(&self) -> BTreeSet<u32> {
        self.questions.values().map(|question| question.asker).collect()
    }

    /// Faults are over: waits until nothing is asked again any more and every log is witnessed.
    async fn calm(&mut self, storm: Duration) -> Result<(), String> {
        for node in std::mem::take(&mut self.down) {
            self.federation.restart(node).await.map_err(|error| error.to_string())?;
            self.works(node);
        }
        // Whoever had a file asks it once more: what is known is told, what is missing is asked.
        for file in self.files.values_mut() {
            file.again(self.federation.node(file.asker));
        }
        loop {
            self.check().await?;
            let mut waiting = 0;
            for asker in self.askers() {
                let store = self.air.ledger().store(code(asker))?;
                waiting += store.waiting().await.map_err(|error| error.to_string())?.unwrap_or(0);
            }
            let files = self.files.values().flat_map(|file| &file.asking);
            let open = self.questions.values().filter(|question| !question.over).count()
                + files.filter(|asking| !asking.is_finished()).count();
            if waiting == 0 && open == 0 && self.unwitnessed().await?.is_empty() {
                return Ok(());
            }
            if self.began.elapsed() > storm + CALM {
                let unwitnessed = self.unwitnessed().await?;
                self.says_what_is_missing().await;
                return Err(format!(
                    "{CALM:?} after the last fault {waiting} questions wait, {open} have not ended, {unwitnessed:?} are unwitnessed"
                ));
            }
            sleep(Duration::from_secs(10)).await;
        }
    }

    /// For whoever reads a failure: the outcomes that still stand in the way.
    async fn says_what_is_missing(&mut self) {
        for (number, question) in &self.questions {
            let Some(id) = *held(&question.id) else { continue };
            let known = self.federation.node(question.asker).known_now(id).await;
            let missing: Vec<_> = known.map_or_else(
                |error| vec![error.to_string()],
                |known| {
                    let ends = known.merged.outcomes.iter();
                    let open = ends.filter(|(_, end)| end.outcome.as_str() != "answered");
                    open.map(|(node, end)| format!("{node} {} {}", end.outcome, end.detail))
                        .collect()
                },
            );
            self.trace
                .push(format!("question {number} of {} waits for {missing:?}", question.asker));
        }
    }

    async fn unwitnessed(&self) -> Result<Vec<u32>, String> {
        let mut nodes = Vec::new();
        for node in &self.known.codes {
            let store = self.air.ledger().store(code(*node))?;
            let since = store.unwitnessed_since().await.map_err(|error| error.to_string())?;
            nodes.extend(since.map(|_| *node));
        }
        Ok(nodes)
    }

    /// Whatever stands in a log was brought to its end. Says how many questions and withdrawals do.
    async fn in_the_end(&mut self) -> Result<(usize, usize), String> {
        let (ledger, federation) = (self.air.ledger(), &self.federation);
        for (node, subject, plate) in &self.imports {
            let owner = [&HEAD, &CHILD][*subject as usize];
            match federation.import(*node, owner, plate).await {
                Ok(_) | Err(StoreError::AlreadyImported { .. }) => {}
                Err(error) => return Err(format!("an import at {node}: {error}")),
            }
        }
        let logs = Logs::read(ledger, &self.known.codes).await?;
        for (node, subject, plate) in &self.imports {
            let owner = [&HEAD, &CHILD][*subject as usize];
            logs.imports_once(*node, federation.import_object(*node, owner, plate))?;
        }
        let (mut questions, mut withdrawals) = (0, 0);
        for asker in self.askers() {
            let asked = logs.asked_by(code(asker));
            let acknowledged = self.questions.values().filter(|question| question.asker == asker);
            for id in acknowledged.filter_map(|question| *held(&question.id)) {
                if !asked.iter().any(|(logged, ..)| *logged == id) {
                    return Err(format!("G3: {asker} was told of a question that its log does not hold"));
                }
            }
            let node = federation.node(asker);
            withdrawals += asked.iter().filter(|(.., withdrawal)| *withdrawal).count();
            for (id, leaf, mandate, _) in asked.iter().filter(|(.., withdrawal)| !withdrawal) {
                questions += 1;
                let end = node.known_now(*id).await.map_err(|error| error.to_string())?;
                let same = asked
                    .iter()
                    .filter(|(_, _, of, withdrawal)| !withdrawal && of == mandate);
                if same.count() > 1 {
                    return Err(format!("G5: {asker} asked one case twice, at last as {id}"));
                }
                let of_it = self.questions.values().find(|question| question.mandate == *mandate);
                let scope = of_it.map_or("federation", |question| question.scope);
                let named = |why| format!("question {id} of {asker}: {why}");
                self.known.holds(asker, scope, &end).map_err(named)?;
                let mut told = asked
                    .iter()
                    .filter(|(_, _, of, withdrawal)| *withdrawal && of == mandate);
                if let Some((_, withdrawal, ..)) = told.next() {
                    let targets = end.merged.outcomes.keys().copied();
                    logs.withdrawn(targets, *leaf, *withdrawal, code(asker))
                        .map_err(named)?;
                } else {
                    complete(ledger, node, &end).await.map_err(named)?;
                }
                self.trace.push(format!("{asker} ends"));
            }
        }
        ledger.holds()?;
        ledger.holds_in_the_end().await?;
        Ok((questions, withdrawals))
    }
}

/// The node's own loop; or, for hours in which little happens, one that looks when something is due.
async fn keep_asking(node: Arc<Node>, patient: bool) {
    if !patient {
        return node.keep_asking().await;
    }
    loop {
        let due = node.store().next_due().await.ok().flatten();
        let wait = due.map_or(Duration::MAX, |due| due.since(node.now()));
        sleep(wait.clamp(Duration::from_millis(50), Duration::from_secs(20))).await;
        let _ = node.ask_due().await;
    }
}

async fn be_witnessed(node: Arc<Node>) {
    let mut sizes = BTreeMap::new();
    loop {
        sleep(WITNESS_EACH).await;
        let _ = node.witness_round(&mut sizes).await;
    }
}

async fn compare_clocks(node: Arc<Node>) {
    node.ask_what_was_seen().await;
    loop {
        sleep(CLOCKS_EACH).await;
        node.compare_clocks().await;
    }
}

async fn ask_for_notes(node: Arc<Node>) {
    for neighbour in node.neighbours() {
        node.pull_notes(neighbour).await;
    }
}
