//! The engine: the way of a question through a node, and the spreading of notes.
//!
//! `question` is the path, read from top to bottom; `accept`, `once`, `authorise`, `search`, `neighbours` and `account` are
//! its steps; `asker`, `result` and `withdraw` are the side of the person who asks, `queue` asks again by itself. Knows no HTTP and no SQL: the network comes in as a trait.

mod accept;
mod account;
mod admission;
mod asker;
pub mod authorise;
mod batch;
mod breaker;
mod budgets;
pub mod case;
pub mod clock;
mod conduct;
mod fair;
mod follow;
pub mod links;
mod log_files;
mod neighbours;
pub mod network;
mod once;
mod pace;
mod peers;
mod question;
mod queue;
mod recovery;
mod result;
mod say;
mod search;
mod slots;
mod spreading;
pub mod standing;
pub mod trace;

mod turn;
mod withdraw;
mod witness;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
pub use asker::{Asked, Progress};
pub use authorise::Policy;
pub use batch::{CASES, Line};
pub use breaker::BreakerState;
pub use budgets::Limits;
pub use case::Case;
pub use conduct::Misbehaved;
pub use log_files::LogFile;
pub use network::{AskFailure, ByteStream, Hop, Network, PeerStatus, Reply, Witnessed};
pub use question::Lines;
use sanku_federation_protocol::json::NotALine;
use sanku_federation_protocol::names::Rule;
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::seal::{SealError, SealingKey};
use sanku_federation_protocol::trust::Trust;
use sanku_store::{Store, StoreError};
use sanku_tlog::SigningKey;
use sanku_values::{Clock, DivisionCode, Time};
use tokio::time::Instant;
pub use witness::WitnessAnswer;

/// The keys that the exchange itself uses; the log's key is the store's.
#[derive(Debug)]
pub struct OwnKeys {
    /// Opens what was sealed to this node.
    pub sealing: SealingKey,
    /// Cosigns neighbours' checkpoints.
    pub witness: SigningKey,
}

/// Who hands in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A person at this node, over its own socket.
    Socket,
    /// A neighbour.
    Peer(DivisionCode),
}

/// Why a question cannot be asked or answered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The database.
    #[error(transparent)]
    Store(StoreError),
    /// What was to be said cannot be.
    #[error(transparent)]
    Line(#[from] NotALine),
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A problem of the protocol.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// A rule forbids the question; nothing was asked.
    #[error("按规则 {0} 不能查询 rule {0} forbids it: {zh} {en}", zh = authorise::words(*.0).0, en = authorise::words(*.0).1)]
    Refused(Rule),
    /// The case cannot be asked.
    #[error("{0}")]
    Case(String),
    /// Other bytes under an id that was used.
    #[error("编号已用于别的内容 other bytes came under this id before")]
    Conflict,
    /// A budget is used up.
    #[error("查询过多，请稍后再试 too many questions for now ({0}); ask again in a few seconds")]
    TooMany(&'static str),
    /// Too much is in hand.
    #[error("本节点繁忙，请稍后再试 this node has too many questions in hand; ask again in a few seconds")]
    Busy,
    /// No registry is at hand.
    #[error("没有登记公告 no registry is at hand; copy the federation's notes to this node")]
    NoRegistry,
    /// The asker has no sealing key.
    #[error("提问节点没有可用的密封密钥 the asker has no sealing key that is good now")]
    NoSealingKey,
    /// This node never asked such a question.
    #[error("本节点没有这个查询 this node never asked such a question")]
    NoSuchQuestion,
    /// No question of this node rests on such a mandate.
    #[error("没有以此授权书提出的查询 no question of this node rests on such a mandate")]
    NoSuchMandate,
}

impl From<StoreError> for ExchangeError {
    fn from(error: StoreError) -> Self {
        match error {
            // Another process wrote other bytes under the id since this one looked.
            StoreError::Different => Self::Conflict,
            error => Self::Store(error),
        }
    }
}

impl From<Problem> for ExchangeError {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl ExchangeError {
    /// What a neighbour is told of it.
    fn problem(&self) -> Problem {
        match self {
            // Sizes of a log are no secret from those who witness it.
            Self::Store(StoreError::Recovering(why)) => {
                Problem::new(ProblemKind::Unavailable, format!("recovering: {why}"))
            }
            _ => Problem::new(self.kind_for_strangers(), self.for_strangers()),
        }
    }

    /// The problem that a neighbour is told of.
    const fn kind_for_strangers(&self) -> ProblemKind {
        match self {
            Self::Conflict => ProblemKind::Conflict,
            Self::Store(StoreError::Clock) => ProblemKind::Clock,
            Self::Store(_) | Self::Busy => ProblemKind::Unavailable,
            Self::TooMany(_) => ProblemKind::TooMany,
            _ => ProblemKind::Internal,
        }
    }

    /// What a neighbour may know of it.
    const fn for_strangers(&self) -> &'static str {
        match self {
            Self::Store(StoreError::Clock) => "this node's clock cannot be trusted now",
            Self::Store(StoreError::Full) => "this node's disk is full, nothing is said",
            Self::Store(_) => "the database does not answer",
            Self::Conflict => "other bytes under this id",
            Self::NoSealingKey => "the asker has no sealing key",
            _ => "it could not be answered to its end",
        }
    }
}

/// What a node asks and answers with. Built once.
pub struct Exchange<N> {
    code: DivisionCode,
    store: Store,
    trust: Arc<ArcSwap<Trust>>,
    network: N,
    policy: Policy,
    sealing: SealingKey,
    witness: SigningKey,
    clock: Arc<dyn Clock>,
    seats: once::Seats,
    conclusions: once::Seats,
    changes: tokio::sync::watch::Sender<u64>,
    queue: queue::Bell,
    peers: peers::Peers,
    admission: admission::Admission,
    posing: tokio::sync::Mutex<()>,
    note_turn: tokio::sync::Mutex<()>,
    log_files: log_files::LogFiles,
    fruitless: std::sync::Mutex<HashMap<DivisionCode, Instant>>,
    readings: clock::Readings,
    observed: standing::Observations,
    conduct: conduct::Conduct,
}

impl<N: Network> Exchange<N> {
    /// An exchange over a store, the notes, and a network.
    pub fn new(
        code: DivisionCode,
        store: Store,
        trust: Arc<ArcSwap<Trust>>,
        network: N,
        policy: Policy,
        keys: OwnKeys,
        clock: Arc<dyn Clock>,
    ) -> Arc<Self> {
        Arc::new(Self {
            code,
            store,
            trust,
            network,
            sealing: keys.sealing,
            witness: keys.witness,
            clock,
            seats: once::Seats::default(),
            conclusions: once::Seats::default(),
            changes: tokio::sync::watch::Sender::default(),
            queue: queue::Bell::default(),
            peers: peers::Peers::default(),
            admission: admission::Admission::new(&policy),
            policy,
            posing: tokio::sync::Mutex::new(()),
            note_turn: tokio::sync::Mutex::new(()),
            log_files: log_files::LogFiles::default(),
            fruitless: std::sync::Mutex::default(),
            readings: clock::Readings::default(),
            observed: standing::Observations::default(),
            conduct: conduct::Conduct::default(),
        })
    }

    /// This node's code.
    pub const fn here(&self) -> DivisionCode {
        self.code
    }

    /// The present, by this node's clock.
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The nodes beside this one in the tree.
    pub fn neighbours(&self) -> Vec<DivisionCode> {
        let trust = self.trust.load();
        let tree = trust.registry().map(|(_, _, tree)| tree.neighbours(self.here()));
        tree.into_iter().flatten().collect()
    }

    /// The notes as they count now.
    pub fn trust(&self) -> Arc<Trust> {
        self.trust.load_full()
    }

    /// The store.
    pub const fn store(&self) -> &Store {
        &self.store
    }
}
