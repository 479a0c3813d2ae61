//! The cosignature that counts: the superior's; for the province, those of more than half of its direct subordinates, or
//! the root's. By the registry in force when it was made (PROTOCOL.md §9); of any other node none of its own subtree counts.

use std::collections::BTreeSet;

use sanku_tlog::checkpoint::verify_cosignature;
use sanku_tlog::{NoteSignature, SignedNote};
use sanku_values::{DivisionCode, Time};

use crate::trust::Trust;

/// When the cosignature that counts was made on this very checkpoint; nothing if there is none.
pub fn cosigned(trust: &Trust, node: DivisionCode, checkpoint: &SignedNote) -> Option<Time> {
    let mut made: Vec<_> = checkpoint
        .signatures()
        .iter()
        .filter_map(|line| registered(trust, checkpoint, line))
        .collect();
    made.sort();
    let counts = |at: Time| {
        let Some((_, tree)) = trust.registry_at(within(at)) else {
            return false;
        };
        let by = |witness: &DivisionCode| made.iter().any(|(time, code)| *time <= at && code == witness);
        match tree.superior(node) {
            Some(superior) => by(&superior),
            None => {
                let below: BTreeSet<_> = tree.subordinates(node).collect();
                tree.contains(node) && below.iter().filter(|code| by(code)).count() * 2 > below.len()
            }
        }
    };
    let by_neighbours = made.iter().map(|(at, _)| *at).find(|at| counts(*at));
    by_neighbours.or_else(|| {
        let (_, _, tree) = trust.registry()?;
        let root = &trust.root()?.witness;
        let seconds = verify_cosignature(checkpoint, root).ok()?;
        (tree.contains(node) && tree.superior(node).is_none()).then(|| time(seconds))?
    })
}

/// Who made a cosignature and when, if the registry of that time has the key for that node and the key was not revoked by then.
fn registered(trust: &Trust, checkpoint: &SignedNote, line: &NoteSignature) -> Option<(Time, DivisionCode)> {
    let seconds = line.claimed_time()?;
    let at = time(seconds)?;
    let code = line
        .name()
        .strip_prefix(trust.federation().as_str())?
        .strip_prefix("/witness/")?
        .parse()
        .ok()?;
    let (registry, _) = trust.registry_at(within(at))?;
    let keys = &registry.node(code)?.witness_keys;
    let good = keys.iter().any(|row| {
        row.from <= within(at)
            && at <= row.until
            && !trust.was_revoked_key(code, &row.key.to_string(), at)
            && verify_cosignature(checkpoint, &row.key) == Ok(seconds)
    });
    good.then_some((at, code))
}

fn time(seconds: u64) -> Option<Time> {
    Some(Time::from_millis(i64::try_from(seconds).ok()?.checked_mul(1000)?))
}

/// Cosignatures count seconds, notes milliseconds: what began within the second had begun.
fn within(second: Time) -> Time {
    Time::from_millis(second.millis() + 999)
}
