//! Accepting what comes in: bytes become a verified question or withdrawal on its path, or a problem.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use sanku_federation_protocol::body::QueryBody;
use sanku_federation_protocol::entry::{NoteRef, QueryEntry, Said, WithdrawalEntry};
use sanku_federation_protocol::names::{Origin, Priority, StatementId};
use sanku_federation_protocol::notes::Registry;
use sanku_federation_protocol::problem::{Problem, ProblemKind};
use sanku_federation_protocol::statement::VerifiedRun;
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

/// A statement that was accepted, with all that follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    /// The asker's run of one.
    pub(crate) run: VerifiedRun,
    pub(crate) asking: Asking,
    pub(crate) origin: Origin,
    pub(crate) id: StatementId,
    pub(crate) leaf: Hash,
    pub(crate) time: Time,
    pub(crate) expires: Time,
    /// The registry that it names, and the tree that routes it.
    pub(crate) registry: Arc<Registry>,
    pub(crate) tree: Arc<Tree>,
    /// Whether that registry was good when it was asked.
    pub(crate) registry_good: bool,
    pub(crate) targets: BTreeSet<DivisionCode>,
}

impl Accepted {
    pub(crate) const fn asker(&self) -> DivisionCode {
        self.origin.node
    }

    /// Whether nobody waits for it.
    pub(crate) fn is_batch(&self) -> bool {
        matches!(&self.asking, Asking::Query(entry, _) if entry.priority == Priority::Batch)
    }
}

/// Reads a request: one run with one statement.
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
    if run.statements.len() != 1 {
        return Err(malformed("one statement a request".to_owned()));
    }
    run.verify(trust)
        .map_err(|error| Problem::new(ProblemKind::BadProof, error.to_string()))
}

/// Judges a verified run: kind, registry, targets, path, time.
pub(crate) fn judge(
    here: DivisionCode,
    run: VerifiedRun,
    from: &Caller,
    trust: &Trust,
    now: Time,
) -> Result<Accepted, Problem> {
    let malformed = |why: &str| Problem::new(ProblemKind::Malformed, why);
    let statement = run
        .statements
        .first()
        .ok_or_else(|| malformed("one statement a request"))?
        .clone();
    let (registry, scope, codes, expires, asking) = match &statement.entry.said {
        Said::Query(entry) => {
            let body: QueryBody = statement
                .body_as()
                .map_err(|error| Problem::new(ProblemKind::Malformed, error.to_string()))?;
            if usize::try_from(entry.subjects) != Ok(body.subjects.len()) {
                return Err(malformed("the number of subjects is not the body's"));
            }
            if sanku_catalogue::Catalogue::by_version(entry.catalogue).is_none() {
                return Err(Problem::new(ProblemKind::Version, "another version of the catalogue"));
            }
            (
                entry.registry,
                entry.scope,
                entry.targets.clone(),
                entry.expires,
                Asking::Query(entry.clone(), Box::new(body)),
            )
        }
        Said::Withdrawal(entry) => (
            entry.registry,
            entry.scope,
            entry.targets.clone(),
            entry.expires,
            Asking::Withdrawal(entry.clone()),
        ),
        _ => return Err(malformed("only questions and withdrawals are asked")),
    };
    let time = statement.entry.time;
    if time > now.plus(SKEW) {
        return Err(Problem::new(
            ProblemKind::Clock,
            "its time lies more than 15 minutes ahead",
        ));
    }
    let is_query = matches!(asking, Asking::Query(..));
    if is_query && expires > time.plus(LONGEST_LIFE) {
        return Err(malformed("it expires more than 30 days on"));
    }
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
    Ok(Accepted {
        registry_good: named.is_some() && registry_counts(trust, registry, held, time),
        registry: Arc::clone(held),
        tree: Arc::clone(tree),
        origin: run.origin.clone(),
        id: statement.entry.id,
        leaf: statement.leaf,
        time,
        expires,
        targets,
        asking,
        run,
    })
}

/// A registry counts until 24 h after it was replaced, and until its grace is over.
fn registry_counts(trust: &Trust, reference: NoteRef, registry: &Registry, asked: Time) -> bool {
    let replaced = trust
        .replaced_at(reference)
        .is_some_and(|at| asked > at.plus(REPLACED_FOR));
    !replaced && asked <= registry.grace_until
}
