//! Accepting what comes in: bytes become a verified question or withdrawal on its path, or a problem.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sanku_federation_protocol::body::QueryBody;
use sanku_federation_protocol::entry::{NoteRef, QueryEntry, Said, WithdrawalEntry};
use sanku_federation_protocol::names::{Origin, Priority, ScopeLabel, StatementId};
use sanku_federation_protocol::notes::Registry;
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::statement::{Statement, VerifiedRun};
use sanku_federation_protocol::stream::{Event, Reader, StreamError};
use sanku_federation_protocol::tree::Tree;
use sanku_federation_protocol::trust::Trust;
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, Time};

use crate::Caller;
use crate::authorise::REPLACED_FOR;

/// Clocks may differ by this much.
const SKEW: Duration = Duration::from_secs(15 * 60);
/// A question lives at most this long.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// What is asked: a question with its body, or the withdrawal of a mandate.
#[derive(Clone, Debug)]
pub(crate) enum Asking {
    Query(QueryEntry, Box<QueryBody>),
    Withdrawal(WithdrawalEntry),
}

/// One question, or one withdrawal, among those that were accepted together.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) asking: Asking,
    pub(crate) id: StatementId,
    pub(crate) leaf: Hash,
    pub(crate) time: Time,
    /// Whether the registry that it names was good when it was asked.
    pub(crate) registry_good: bool,
}

impl Question {
    /// How many people it is about.
    pub(crate) fn subjects(&self) -> usize {
        match &self.asking {
            Asking::Query(_, body) => body.subjects.len(),
            Asking::Withdrawal(_) => 0,
        }
    }

    /// The mandate that a question rests on.
    pub(crate) fn mandate(&self) -> Option<StatementId> {
        match &self.asking {
            Asking::Query(entry, _) => Some(entry.mandate_id),
            Asking::Withdrawal(_) => None,
        }
    }
}

/// What was accepted: questions of one asker that go the same way, with all that follows from them. A person's is a batch of one.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    /// The asker's run, which holds the questions and nothing else.
    pub(crate) run: VerifiedRun,
    /// In the order of the run.
    pub(crate) questions: Vec<Arc<Question>>,
    pub(crate) origin: Origin,
    pub(crate) expires: Time,
    /// The registry that they name, and the tree that routes them.
    pub(crate) registry: Arc<Registry>,
    pub(crate) tree: Arc<Tree>,
    pub(crate) targets: BTreeSet<DivisionCode>,
}

impl Accepted {
    pub(crate) const fn asker(&self) -> DivisionCode {
        self.origin.node
    }

    /// When the newest was asked.
    pub(crate) fn time(&self) -> Time {
        let times = self.questions.iter().map(|question| question.time);
        times.max().unwrap_or(self.expires)
    }

    /// Whether nobody waits for it.
    pub(crate) fn is_batch(&self) -> bool {
        self.questions
            .iter()
            .any(|question| matches!(&question.asking, Asking::Query(entry, _) if entry.priority == Priority::Batch))
    }

    /// The questions that are kept, in runs as long as they stand together: each with the place of its first question.
    pub(crate) fn stretches(&self, keep: impl Fn(usize) -> bool) -> Vec<(usize, Self)> {
        let mut cuts: Vec<(usize, usize)> = Vec::new();
        for place in (0..self.questions.len()).filter(|place| keep(*place)) {
            match cuts.last_mut() {
                Some((first, count)) if *first + *count == place => *count += 1,
                _ => cuts.push((place, 1)),
            }
        }
        let runs = self.run.cut_into(&cuts).unwrap_or_default();
        let stretch = |((first, count), run): ((usize, usize), VerifiedRun)| {
            let questions = self.questions[first..first + count].to_vec();
            let stretch = Self {
                run,
                questions,
                ..self.clone()
            };
            (first, stretch)
        };
        cuts.into_iter().zip(runs).map(stretch).collect()
    }

    /// The asker's statements, each as a run of its own.
    pub(crate) fn alone(&self) -> Vec<VerifiedRun> {
        let cuts: Vec<_> = (0..self.questions.len()).map(|place| (place, 1)).collect();
        self.run.cut_into(&cuts).unwrap_or_default()
    }
}

/// Reads a request: one run.
pub(crate) fn read(bytes: &[u8], trust: &Trust) -> Result<VerifiedRun, Problem> {
    let malformed = |why: String| Problem::new(ProblemKind::Malformed, why);
    let unread = |error: StreamError| match error {
        StreamError::Version { .. } => Problem::new(ProblemKind::Version, error.to_string()),
        _ => malformed(error.to_string()),
    };
    let mut reader = Reader::new();
    reader.push(bytes);
    let mut runs = Vec::new();
    while let Some(event) = reader.next_event().map_err(unread)? {
        match event {
            Event::Run(run) => runs.push(run),
            Event::Heartbeat => {}
            _ => return Err(malformed("a request holds one run".to_owned())),
        }
    }
    reader.finish().map_err(|error| malformed(error.to_string()))?;
    let [run] = <[_; 1]>::try_from(runs).map_err(|_| malformed("a request holds one run".to_owned()))?;
    run.verify(trust)
        .map_err(|error| Problem::new(ProblemKind::BadProof, error.to_string()))
}

/// What all questions of one run have in common: where they go, on what they rest, until when.
#[derive(Clone, PartialEq, Eq)]
struct Common {
    registry: NoteRef,
    scope: ScopeLabel,
    codes: Option<Vec<DivisionCode>>,
    expires: Time,
}

/// Judges a verified run: kinds, what they have in common, registry, targets, path, time.
pub(crate) fn judge(
    here: DivisionCode,
    run: VerifiedRun,
    from: &Caller,
    trust: &Trust,
    now: Time,
) -> Result<Accepted, Problem> {
    let malformed = |why: &str| Problem::new(ProblemKind::Malformed, why);
    let mut common = None;
    let mut questions = Vec::new();
    let mut ids = BTreeSet::new();
    for statement in &run.statements {
        let (of_this, asking) = asking_of(statement)?;
        let together = matches!(&asking, Asking::Query(entry, _) if entry.priority == Priority::Batch);
        if run.statements.len() > 1 && !together {
            return Err(malformed("only questions of priority batch are asked together"));
        }
        if *common.get_or_insert_with(|| of_this.clone()) != of_this {
            return Err(malformed(
                "questions of one request have one scope, one registry and one end",
            ));
        }
        if !ids.insert(statement.entry.id) {
            return Err(malformed("two questions of one id"));
        }
        let time = statement.entry.time;
        if time > now.plus(SKEW) {
            return Err(Problem::new(
                ProblemKind::Clock,
                "its time lies more than 15 minutes ahead",
            ));
        }
        if matches!(asking, Asking::Query(..)) && of_this.expires > time.plus(LONGEST_LIFE) {
            return Err(malformed("it expires more than 30 days on"));
        }
        questions.push((asking, statement.entry.id, statement.leaf, time));
    }
    let Common {
        registry,
        scope,
        codes,
        expires,
    } = common.ok_or_else(|| malformed("a request holds at least one question"))?;
    if now > expires.plus(SKEW) {
        return Err(Problem::new(ProblemKind::Clock, "it expired more than 15 minutes ago"));
    }
    let named = trust.registry_by(registry);
    if named.is_none()
        && trust
            .registry()
            .is_none_or(|(newest, _, _)| newest.number < registry.number)
    {
        // It is on its way to us: nothing is refused for good on the strength of what we do not know yet.
        return Err(Problem::new(
            ProblemKind::Unavailable,
            "the registry that it names has not come here yet",
        ));
    }
    // Without the registry that it names there is no path to judge by; the newest one's stands in for the refusal.
    let newest = || trust.registry().map(|(_, registry, tree)| (registry, tree));
    let Some((held, tree)) = named.or_else(newest) else {
        return Err(Problem::new(ProblemKind::Unavailable, "no registry is at hand"));
    };
    let asker = run.origin.node;
    if let Caller::Peer(peer) = from {
        for who in [*peer, asker] {
            trust
                .judge_member(who)
                .map_err(|kind| Problem::new(kind, format!("said of {who}")))?;
        }
    }
    if let Caller::Peer(peer) = from
        && tree.next_hop(here, asker) != Some(*peer)
    {
        return Err(Problem::new(
            ProblemKind::NotOnPath,
            "the question did not come from the neighbour on the path to its asker",
        ));
    }
    let targets = tree
        .targets(asker, scope, codes.as_deref())
        .map_err(|error| Problem::new(ProblemKind::NotOnPath, error.to_string()))?;
    let questions = questions.into_iter().map(|(asking, id, leaf, time)| {
        Arc::new(Question {
            asking,
            id,
            leaf,
            time,
            registry_good: named.is_some() && registry_counts(trust, registry, held, time),
        })
    });
    Ok(Accepted {
        questions: questions.collect(),
        registry: Arc::clone(held),
        tree: Arc::clone(tree),
        origin: run.origin.clone(),
        expires,
        targets,
        run,
    })
}

/// What a statement asks, and what it must have in common with the others of its run.
fn asking_of(statement: &Statement) -> Result<(Common, Asking), Problem> {
    let malformed = |why: &str| Problem::new(ProblemKind::Malformed, why);
    match &statement.entry.said {
        Said::Query(entry) => {
            let body: QueryBody = statement.body_as().map_err(|error| malformed(&error.to_string()))?;
            if usize::try_from(entry.subjects) != Ok(body.subjects.len()) {
                return Err(malformed("the number of subjects is not the body's"));
            }
            if sanku_catalogue::Catalogue::by_version(entry.catalogue).is_none() {
                return Err(Problem::new(ProblemKind::Version, "another version of the catalogue"));
            }
            let common = Common {
                registry: entry.registry,
                scope: entry.scope,
                codes: entry.targets.clone(),
                expires: entry.expires,
            };
            Ok((common, Asking::Query(entry.clone(), Box::new(body))))
        }
        Said::Withdrawal(entry) => {
            let common = Common {
                registry: entry.registry,
                scope: entry.scope,
                codes: entry.targets.clone(),
                expires: entry.expires,
            };
            Ok((common, Asking::Withdrawal(entry.clone())))
        }
        _ => Err(malformed("only questions and withdrawals are asked")),
    }
}

/// A registry counts until 24 h after it was replaced, and until its grace is over.
fn registry_counts(trust: &Trust, reference: NoteRef, registry: &Registry, asked: Time) -> bool {
    let replaced = trust
        .replaced_at(reference)
        .is_some_and(|at| asked > at.plus(REPLACED_FOR));
    !replaced && asked <= registry.grace_until
}
