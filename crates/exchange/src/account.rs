//! Accounts (交代): whom this node had to ask, and what it observed. Cumulative: who was not asked this time keeps the last observation.

use std::collections::{BTreeMap, BTreeSet};

use sanku_federation_protocol::body::{AccountBody, Body, Observed, Rejected, Salt};
use sanku_federation_protocol::entry::{AccountEntry, Draft, Said};
use sanku_federation_protocol::names::StatementId;
use sanku_federation_protocol::statement::VerifiedRun;
use sanku_tlog::Hash;
use sanku_values::{DivisionCode, Time};

use crate::ExchangeError;
use crate::network::Hop;

/// The newest account among runs of this node.
pub(crate) fn last(said: &[VerifiedRun]) -> Option<AccountBody> {
    let mut accounts = said
        .iter()
        .flat_map(|run| &run.statements)
        .filter(|statement| matches!(statement.entry.said, Said::Account(_)));
    accounts.next_back().and_then(|statement| statement.body_as().ok())
}

/// Where the run with the newest account stands.
pub(crate) fn place(said: &[VerifiedRun]) -> Option<usize> {
    said.iter().rposition(|run| {
        run.statements
            .iter()
            .any(|statement| matches!(statement.entry.said, Said::Account(_)))
    })
}

/// The account that is due now. `behind_asked` says whether a node lies behind those who were asked this time: of the
/// others the last word stays.
pub(crate) fn due(
    before: Option<&AccountBody>,
    observed: Vec<Observed>,
    rejected: Vec<Rejected>,
    behind_asked: impl Fn(DivisionCode, &BTreeSet<DivisionCode>) -> bool,
    hop: &Hop,
) -> Result<AccountBody, ExchangeError> {
    let mut neighbours: BTreeMap<DivisionCode, Observed> = before
        .iter()
        .flat_map(|account| &account.neighbours)
        .map(|observed| (observed.node, observed.clone()))
        .collect();
    let asked_now: BTreeSet<_> = observed.iter().map(|observed| observed.node).collect();
    neighbours.extend(observed.into_iter().map(|observed| (observed.node, observed)));
    let mut all: BTreeSet<Rejected> = rejected.into_iter().collect();
    let kept = before.iter().flat_map(|account| &account.rejected);
    all.extend(
        kept.filter(|rejected| !behind_asked(rejected.node, &asked_now))
            .cloned(),
    );
    let only = match (before.map(|account| &account.only), &hop.only) {
        (None, Some(only)) => Some(only.iter().copied().collect::<BTreeSet<_>>()),
        (Some(Some(before)), Some(only)) => Some(before.iter().chain(only).copied().collect()),
        _ => None,
    };
    Ok(AccountBody {
        salt: Salt::generate()?,
        neighbours: neighbours.into_values().collect(),
        rejected: all.into_iter().collect(),
        only: only.map(|only| only.into_iter().collect()),
        budget_ms: u64::try_from(hop.budget.as_millis()).unwrap_or(u64::MAX),
        attempt: hop.attempt,
    })
}

/// Whether two accounts say the same but for times and the way they were asked: then the stored one is sent again.
pub(crate) fn same(a: &AccountBody, b: &AccountBody) -> bool {
    let seen = |account: &AccountBody| {
        account
            .neighbours
            .iter()
            .map(|observed| (observed.node, observed.outcome))
            .collect::<Vec<_>>()
    };
    seen(a) == seen(b) && a.rejected == b.rejected && a.only == b.only
}

/// The account as a statement to be said.
pub(crate) fn draft(leaf: Hash, body: &AccountBody, now: Time) -> Result<Draft, ExchangeError> {
    Ok(Draft {
        id: StatementId::generate(now),
        said: Said::Account(AccountEntry { re: leaf }),
        body: body.line()?,
    })
}
