//! In-process federations for tests: real exchanges over real stores (SQLite in memory), real keys and notes, and a
//! network and a clock that a test holds in its hand.
//!
//! ```no_run
//! # async fn sample() {
//! let federation = sanku_testkit::Federation::of(&[420_000, 421_000, 421_002, 421_003]).await;
//! let asked = federation.ask(421_002, federation.case()).await;
//! # }
//! ```
//! No TLS and no HTTP here: those are tried by the package `tests`, with processes.

#![expect(
    clippy::unwrap_used,
    reason = "a world for tests that cannot be built fails its test at once"
)]

pub mod network;
pub mod notes;
pub mod people;
pub mod simulation;
pub mod time;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
pub use network::{Fault, Line, Part, Wires};
use notes::Notary;
pub use people::{CHILD, HEAD, Human, STRANGER};
use sanku_catalogue::{Catalogue, Value};
use sanku_exchange::authorise::Policy;
use sanku_exchange::{Asked, Case, Exchange, ExchangeError, Hop, OwnKeys};
use sanku_federation_protocol::body::{ActBody, Body, QueryBody, Salt};
use sanku_federation_protocol::entry::{ActEntry, Draft, QueryEntry, Said};
use sanku_federation_protocol::names::{Origin, Outcome, StatementId};
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_federation_protocol::trust::Trust;
use sanku_store::{Effect, ImportRow, ImportRows, Pace, StorageKeys, Store, StoreError, key_name};
use sanku_tlog::Hash;
use sanku_values::{Clock, Date, DivisionCode, Time};
use time::TrueTime;

/// A node of a simulated federation.
pub type Node = Exchange<Line>;

/// The instant at which every simulated federation begins.
pub fn morning() -> Time {
    Time::from_millis(1_790_000_000_000)
}

/// A division code from its number.
pub fn code(number: u32) -> DivisionCode {
    number.try_into().unwrap()
}

/// A node's own clock: the federation's, put forward or back.
pub struct Watch {
    true_time: Arc<TrueTime>,
    lead: AtomicI64,
}

impl Watch {
    /// From now on it shows so many milliseconds more than the federation's clock, or less.
    pub fn put(&self, lead: i64) {
        self.lead.store(lead, Ordering::SeqCst);
    }
}

impl Clock for Watch {
    fn now(&self) -> Time {
        Time::from_millis(self.true_time.now().millis() + self.lead.load(Ordering::SeqCst))
    }
}

/// A node's process: an exchange over its store.
fn process(
    here: DivisionCode,
    store: Store,
    trust: Trust,
    wires: &Arc<Wires>,
    policy: Policy,
    watch: Arc<Watch>,
) -> Arc<Node> {
    Exchange::new(
        here,
        store,
        Arc::new(ArcSwap::from_pointee(trust)),
        Line::new(here, Arc::clone(wires)),
        policy,
        OwnKeys {
            sealing: notes::sealing_key(here),
            witness: notes::witness_key(here),
        },
        watch,
    )
}

/// A whole federation in one process.
pub struct Federation {
    /// The nodes.
    pub nodes: BTreeMap<DivisionCode, Arc<Node>>,
    /// The network between them.
    pub wires: Arc<Wires>,
    /// The clock that all of them read.
    pub clock: Arc<TrueTime>,
    /// Each node's own, which shows the same until a test puts it forward or back.
    pub watches: BTreeMap<DivisionCode, Arc<Watch>>,
    /// Who signs what the federation agrees on.
    pub notary: Notary,
    policies: BTreeMap<DivisionCode, Policy>,
    paces: Paces,
}

/// The pace of a node's database, for each of its processes.
pub type Paces = Box<dyn Fn(DivisionCode, &Arc<Wires>) -> Option<Arc<dyn Pace>> + Send + Sync>;

impl Federation {
    /// Nodes that answer every purpose; each holds vehicles, one of them a stranger's.
    pub async fn of(codes: &[u32]) -> Self {
        Self::with_policies(codes, |_| Policy::default()).await
    }

    /// Nodes with policies of their own.
    pub async fn with_policies(codes: &[u32], policy: impl Fn(u32) -> Policy) -> Self {
        Self::stored(codes, policy, |_| "sqlite::memory:".to_owned()).await
    }

    /// Nodes with policies and databases of their own.
    pub async fn stored(codes: &[u32], policy: impl Fn(u32) -> Policy, url: impl Fn(u32) -> String) -> Self {
        Self::under(codes, policy, url, TrueTime::at(morning()), Box::new(|_, _| None)).await
    }

    /// The same, under a clock and paces of their databases.
    pub async fn under(
        codes: &[u32],
        policy: impl Fn(u32) -> Policy,
        url: impl Fn(u32) -> String,
        clock: TrueTime,
        paces: Paces,
    ) -> Self {
        let clock = Arc::new(clock);
        let wires = Arc::new(Wires::default());
        let notary = Notary::of(codes.iter().copied().map(code));
        let notes = notary.notes();
        let (trust, refused) = Trust::from_notes(
            notes::federation(),
            notes::fingerprint(),
            notes.iter().map(String::as_bytes),
            morning(),
        );
        assert_eq!(refused, []);
        let (mut nodes, mut watches, mut policies) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for number in codes {
            let here = code(*number);
            let watch = Arc::new(Watch {
                true_time: Arc::clone(&clock),
                lead: AtomicI64::new(0),
            });
            watches.insert(here, Arc::clone(&watch));
            let origin = Origin {
                federation: notes::federation(),
                node: here,
                number: 1,
            };
            let store = Store::open_paced(
                &url(*number),
                StorageKeys::new(*notes::seed("storage", here), *notes::seed("index", here)),
                origin,
                notes::log_key(here),
                Arc::clone(&watch) as Arc<dyn Clock>,
                paces(here, &wires),
            )
            .await
            .unwrap();
            policies.insert(here, policy(*number));
            let node = process(here, store, trust.clone(), &wires, policies[&here].clone(), watch);
            wires.plug(here, &node);
            nodes.insert(here, node);
        }
        let federation = Self {
            nodes,
            wires,
            clock,
            watches,
            notary,
            policies,
            paces,
        };
        for number in codes {
            federation
                .hold(*number, &STRANGER, &format!("鄂A{}", number % 100_000))
                .await;
        }
        federation
    }

    /// A node.
    pub fn node(&self, number: u32) -> &Arc<Node> {
        &self.nodes[&code(number)]
    }

    /// A second process of a node, on the same database; nobody's question reaches it over the wires.
    ///
    /// # Errors
    /// If the database does not let it start.
    pub async fn twin(&self, number: u32) -> Result<Arc<Node>, StoreError> {
        let (here, node) = (code(number), self.node(number));
        let watch = Arc::clone(&self.watches[&here]);
        let clock = Arc::clone(&watch) as Arc<dyn Clock>;
        let pace = (self.paces)(here, &self.wires);
        let store = node.store().another(notes::log_key(here), clock, pace).await?;
        let (trust, policy) = (Trust::clone(&node.trust()), self.policies[&here].clone());
        Ok(process(here, store, trust, &self.wires, policy, watch))
    }

    /// A node's process ends and another takes its place: what was not in the database is gone.
    ///
    /// # Errors
    /// If the database does not let it start.
    pub async fn restart(&mut self, number: u32) -> Result<(), StoreError> {
        self.stop(number);
        let node = self.twin(number).await?;
        self.wires.plug(code(number), &node);
        self.nodes.insert(code(number), node);
        Ok(())
    }

    /// A node's process ends and another takes its place on another database: what a node with a database that was put back
    /// comes to.
    pub async fn put_back(&mut self, number: u32, url: &str) {
        let here = code(number);
        let old = self.node(number);
        let watch = Arc::clone(&self.watches[&here]);
        let store = Store::open(
            url,
            StorageKeys::new(*notes::seed("storage", here), *notes::seed("index", here)),
            old.store().origin().clone(),
            notes::log_key(here),
            Arc::clone(&watch) as Arc<dyn Clock>,
        );
        let trust = Trust::clone(&old.trust());
        let policy = self.policies[&here].clone();
        let node = process(here, store.await.unwrap(), trust, &self.wires, policy, watch);
        self.wires.plug(here, &node);
        self.nodes.insert(here, node);
    }

    /// A node's process ends.
    pub fn stop(&self, number: u32) {
        self.wires.end(code(number));
    }

    /// Time goes on, for everybody.
    pub fn later(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// A node comes to hold a vehicle.
    pub async fn hold(&self, number: u32, owner: &Human, plate: &str) {
        self.import(number, owner, plate).await.unwrap();
    }

    /// The same, or why not; begun before it is polled.
    pub fn import(
        &self,
        number: u32,
        owner: &Human,
        plate: &str,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send + use<> {
        let store = self.node(number).store().clone();
        let catalogue = Catalogue::current();
        let category = catalogue.category(&"vehicle".parse().unwrap()).unwrap();
        let text = |text: &str| Value::Text(text.to_owned());
        let fields = category
            .fields_of([
                ("plate".to_owned(), text(plate)),
                ("plate_type".to_owned(), text("小型汽车")),
            ])
            .unwrap();
        let as_of = Date::in_china(self.clock.now());
        let row = ImportRow {
            ordinal: 0,
            number: owner.number(),
            name: owner.name(),
            as_of,
            fields,
            sheet: String::new(),
            row: 2,
        };
        let digest = file_digest(number, owner, plate);
        let act = self.act(number, "import", digest);
        let rows = ImportRows {
            category: category.id.clone(),
            source: "车管所".to_owned(),
            as_of,
            file: "vehicles.csv".to_owned(),
            digest,
            rows: vec![row],
        };
        async move { store.import(act, rows).await }
    }

    /// What the log calls the file of that vehicle.
    pub fn import_object(&self, number: u32, owner: &Human, plate: &str) -> Hash {
        let digest = file_digest(number, owner, plate);
        self.node(number).store().pseudonym("import", &digest.to_string())
    }

    fn act(&self, number: u32, action: &str, digest: Hash) -> Draft {
        let body = ActBody {
            salt: Salt::generate().unwrap(),
            who: "test".to_owned(),
            what: action.to_owned(),
            purpose: None,
            digest: Some(digest),
            about: None,
        };
        Draft {
            id: StatementId::generate(self.clock.now()),
            said: Said::Act(ActEntry {
                action: action.parse().unwrap(),
                object: self.node(number).store().pseudonym(action, &digest.to_string()),
                to: None,
                public: None,
            }),
            body: body.line().unwrap(),
        }
    }

    /// A node comes to know that a mandate of an asker is withdrawn, and nobody else does.
    pub async fn remember_withdrawal(&self, number: u32, asker: u32, mandate: StatementId) {
        let effect = Effect::Withdrawn {
            asker: code(asker),
            mandate,
            until: self.clock.now().plus(Duration::from_secs(24 * 3600)),
        };
        let act = self.act(number, "withdrawal", Hash::of(b"withdrawal"));
        let store = self.node(number).store();
        store.append("acts".to_owned(), vec![act], vec![effect]).await.unwrap();
    }

    /// The planted household's case: two people, vehicles, everybody asked, two seconds.
    pub fn case(&self) -> serde_json::Value {
        let now = self.clock.now();
        serde_json::json!({
            "purpose": "minimum_living_allowance",
            "case": "沙市低保 2026-0001",
            "requester": "沙市区民政局",
            "examiner": {"name": "王一", "staff_number": "1001"},
            "approver": {"name": "李二", "staff_number": "1002"},
            "mandate": {
                "id": StatementId::generate(now),
                "signatories": [HEAD.name],
                "subjects": [HEAD.number, CHILD.number],
                "categories": ["vehicle"],
                "purpose": "minimum_living_allowance",
                "valid_from": now.minus(Duration::from_secs(24 * 3600)),
                "valid_until": now.plus(Duration::from_secs(20 * 24 * 3600)),
                "letter": Hash::of(b"letter"),
            },
            "subjects": [
                {"number": HEAD.number, "kind": "resident", "name": HEAD.name, "role": "applicant"},
                {"number": CHILD.number, "kind": "resident", "name": CHILD.name, "role": "child"},
            ],
            "categories": ["vehicle"],
            "scope": "federation",
            "budget_ms": 2000,
            "expires_days": 10,
        })
    }

    /// Asks, or says why not.
    pub async fn try_ask(&self, number: u32, case: serde_json::Value) -> Result<Asked, ExchangeError> {
        let case = Case::parse(case.to_string().as_bytes()).unwrap();
        self.node(number).ask(case, |_| {}).await
    }

    /// Asks.
    pub async fn ask(&self, number: u32, case: serde_json::Value) -> Asked {
        self.try_ask(number, case).await.unwrap()
    }

    /// Asks again for what is missing.
    pub async fn again(&self, number: u32, asked: &Asked) -> Asked {
        let budget = Duration::from_secs(2);
        self.node(number).ask_again(asked.id, budget, |_| {}).await.unwrap()
    }

    /// Logs a question at a node that its own checks would have stopped: an earlier one, changed.
    pub async fn forge(
        &self,
        number: u32,
        like: &Asked,
        change: impl FnOnce(&mut QueryEntry, &mut QueryBody),
    ) -> VerifiedRun {
        let node = self.node(number);
        let (run, _) = node.known(like.id).await.unwrap();
        let statement = run.statements.first().unwrap();
        let Said::Query(mut entry) = statement.entry.said.clone() else {
            return run;
        };
        let mut body: QueryBody = statement.body_as().unwrap();
        change(&mut entry, &mut body);
        let id = StatementId::generate(self.clock.now());
        let origin = node.store().origin().clone();
        let effect = Effect::Said {
            origin: origin.clone(),
            id,
            leaf: None,
            expires: entry.expires,
        };
        let draft = Draft {
            id,
            said: Said::Query(entry),
            body: body.line().unwrap(),
        };
        let committed = node.store().append(key_name(&origin, id), vec![draft], vec![effect]);
        committed.await.unwrap().run
    }

    /// Hands bytes in at a node as if they came from a neighbour; the whole response, run by run.
    pub async fn hand_in(&self, from: u32, to: u32, request: &[u8]) -> Result<Vec<Part>, ProblemKind> {
        let hop = Hop {
            budget: Duration::from_secs(2),
            only: None,
            attempt: 1,
            traceparent: String::new(),
        };
        let lines = self.node(to).question(code(from), hop, request.to_vec()).await;
        let mut lines = lines.map_err(|problem| problem.known())?;
        let mut whole = String::new();
        while let Some(bytes) = lines.recv().await {
            whole.push_str(&String::from_utf8_lossy(&bytes));
        }
        Ok(Part::parse(&whole))
    }

    /// The size of a node's log.
    pub async fn log_size(&self, number: u32) -> u64 {
        self.node(number).store().verify(|_, _| ()).await.unwrap().size
    }
}

fn file_digest(node: u32, owner: &Human, plate: &str) -> Hash {
    Hash::of(format!("{node} {} {plate}", owner.number).as_bytes())
}

/// A target's outcome.
pub fn outcome(asked: &Asked, number: u32) -> Outcome {
    asked.merged.outcomes[&code(number)].outcome
}

/// A target's outcome with its detail.
pub fn detail(asked: &Asked, number: u32) -> String {
    asked.merged.outcomes[&code(number)].detail.clone()
}

/// Plates of the facts of one subject, with the nodes that told them.
pub fn plates(asked: &Asked, subject: u32) -> Vec<(String, Vec<u32>)> {
    let facts = asked.merged.facts.iter().filter(|fact| fact.subject == subject);
    facts
        .flat_map(|fact| &fact.rows)
        .map(|row| {
            let plate = match row.fields.get("plate") {
                Value::Text(plate) => plate.clone(),
                _ => String::new(),
            };
            let mut nodes: Vec<_> = row.sources.iter().map(|source| source.node.number()).collect();
            nodes.sort_unstable();
            (plate, nodes)
        })
        .collect()
}
