//! The network as the exchange sees it: ask a neighbour, give and take notes. Real over mutual TLS, simulated in tests.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use sanku_federation_protocol::names::{Origin, Outcome};
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::trace::Trace;
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, Time};

use crate::log_files::LogFile;
use crate::lost::Cursor;

/// What travels beside a statement from node to node, rewritten at each hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// How long the answer may take.
    pub budget: Duration,
    /// The codes still missing; nothing means all.
    pub only: Option<Vec<DivisionCode>>,
    /// Which attempt of the asker this is, from 1.
    pub attempt: u32,
    /// W3C trace context.
    pub traceparent: String,
}

impl Hop {
    /// What is left for the next hop after `used`: less a reserve of max(20 ms, 5 %). The trace goes on one step.
    pub fn onward(&self, used: Duration) -> Option<Self> {
        let left = self.budget.checked_sub(used)?;
        let reserve = Duration::from_millis(20).max(left / 20);
        let budget = left.checked_sub(reserve).filter(|budget| !budget.is_zero())?;
        let traceparent = Trace::received(&self.traceparent).child().to_string();
        Some(Self {
            budget,
            traceparent,
            ..self.clone()
        })
    }
}

/// Bytes as they come.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, AskFailure>> + Send>>;

/// A neighbour's response.
pub struct Reply {
    /// The digest over its notes.
    pub notes: Option<Hash>,
    /// Its stream.
    pub body: ByteStream,
}

/// Why a neighbour gave no response, or broke it off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskFailure {
    /// What is observed of it.
    pub outcome: Outcome,
    /// For the log of operations: no personal data.
    pub why: String,
    /// The problem with which it answered, if it did.
    pub problem: Option<ProblemKind>,
}

impl AskFailure {
    /// A failure.
    pub fn new(outcome: Outcome, why: impl Into<String>) -> Self {
        Self {
            outcome,
            why: why.into(),
            problem: None,
        }
    }
}

impl From<Problem> for AskFailure {
    fn from(problem: Problem) -> Self {
        Self {
            outcome: problem.known().outcome(),
            problem: Some(problem.known()),
            why: problem.kind,
        }
    }
}

/// What a witness answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witnessed {
    /// The lines of its cosignatures.
    Cosigned(String),
    /// It knows the log at another size.
    Knows(u64),
}

/// What a neighbour says of itself, and of us.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct PeerStatus {
    /// Its present, by its own clock.
    pub time: Time,
    /// The newest checkpoints of the reader's logs that it has seen, as they were signed.
    #[serde(default)]
    pub seen: Vec<String>,
    /// The digest over its notes, which travels beside.
    #[serde(skip)]
    pub notes: Option<Hash>,
}

/// The way to neighbours.
pub trait Network: Send + Sync + 'static {
    /// Hands a stream of statements to a neighbour.
    fn ask(&self, to: DivisionCode, hop: Hop, body: Bytes) -> impl Future<Output = Result<Reply, AskFailure>> + Send;

    /// A neighbour's present, by its own clock, and what it has seen of this node's logs.
    fn status_of(&self, from: DivisionCode) -> impl Future<Output = Result<PeerStatus, AskFailure>> + Send {
        let nobody = AskFailure::new(Outcome::Unreachable, format!("{from} says nothing of itself"));
        std::future::ready(Err(nobody))
    }

    /// Hands a checkpoint to a neighbour for cosigning (C2SP tlog-witness).
    fn add_checkpoint(
        &self,
        to: DivisionCode,
        body: String,
    ) -> impl Future<Output = Result<Witnessed, AskFailure>> + Send;

    /// A file of a log, a neighbour's own or one beyond it; nothing if there is none.
    fn log_file(
        &self,
        from: DivisionCode,
        log: &Origin,
        file: LogFile,
    ) -> impl Future<Output = Result<Option<Bytes>, AskFailure>> + Send;

    /// A page of what a node at or behind a neighbour holds of a log of this node; nothing if it gives none.
    fn held_of(
        &self,
        from: DivisionCode,
        log: &Origin,
        holder: DivisionCode,
        cursor: Cursor,
    ) -> impl Future<Output = Result<Option<Bytes>, AskFailure>> + Send {
        let _ = (log, holder, cursor);
        let nobody = AskFailure::new(Outcome::Unreachable, format!("{from} gives nothing of this log"));
        std::future::ready(Err(nobody))
    }

    /// The newest notes that a neighbour has, and all of the roots and of people: each of those rests on the one before. What
    /// is at hand with the same text is left out.
    fn notes_of(
        &self,
        from: DivisionCode,
        at_hand: &Trust,
    ) -> impl Future<Output = Result<Vec<String>, AskFailure>> + Send;

    /// Gives a neighbour a note.
    fn give_note(&self, to: DivisionCode, note: String) -> impl Future<Output = Result<(), AskFailure>> + Send;
}

/// How long a neighbour may take over what is no question: a note, a checkpoint. Whoever waits for ever for one neighbour does
/// nothing for the others.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a neighbour gives in time.
pub(crate) async fn in_time<T>(asking: impl Future<Output = Result<T, AskFailure>>) -> Result<T, AskFailure> {
    let late = |_| AskFailure::new(Outcome::Late, "it did not answer in time");
    tokio::time::timeout(PATIENCE, asking).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_hop_never_gives_more_than_it_has(budget in 0_u64..200_000, used in 0_u64..200_000) {
            let (budget, used) = (Duration::from_millis(budget), Duration::from_millis(used));
            let hop = Hop { budget, only: None, attempt: 1, traceparent: String::new() };
            if let Some(onward) = hop.onward(used) {
                prop_assert!(onward.budget + used + Duration::from_millis(20) <= budget);
            }
        }
    }

    #[test]
    fn the_budget_shrinks_at_each_hop() {
        let hop = Hop {
            budget: Duration::from_millis(1000),
            only: None,
            attempt: 1,
            traceparent: String::new(),
        };
        assert_eq!(
            hop.onward(Duration::from_millis(200)).unwrap().budget,
            Duration::from_millis(760)
        );
        assert_eq!(
            hop.onward(Duration::from_millis(900)).unwrap().budget,
            Duration::from_millis(80)
        );
        assert_eq!(hop.onward(Duration::from_millis(985)), None);
        assert_eq!(hop.onward(Duration::from_millis(1001)), None);
    }
}
