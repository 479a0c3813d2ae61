//! The cosignature that counts: the superior's; for the province, those of more than half of its direct subordinates, or
//! the root's. By the registry in force when it was made, and directly on the checkpoint (PROTOCOL.md §9).

use sanku_tlog::checkpoint::verify_cosignature;
use sanku_tlog::{SignedNote, VerifierKey};
use sanku_values::{DivisionCode, Time};

use crate::trust::Trust;

/// When the cosignature that counts was made; nothing if there is none.
pub fn cosigned(trust: &Trust, node: DivisionCode, checkpoint: &SignedNote) -> Option<Time> {
    let (_, newest, tree) = trust.registry()?;
    let by = |witness: DivisionCode| {
        let keys = newest.node(witness).into_iter().flat_map(|row| &row.witness_keys);
        keys.filter_map(|row| {
            let made = time_of(checkpoint, &row.key)?;
            let good = row.from <= made && made <= row.until && !trust.is_revoked_key(witness, &row.key.to_string());
            let (_, tree) = trust.registry_at(made)?;
            (good && tree.neighbours(node).contains(&witness)).then_some(made)
        })
        .min()
    };
    if let Some(superior) = tree.superior(node) {
        return by(superior);
    }
    let subordinates: Vec<_> = tree.subordinates(node).collect();
    let mut made: Vec<_> = subordinates.iter().filter_map(|below| by(*below)).collect();
    made.sort();
    let majority = made
        .get(subordinates.len() / 2)
        .copied()
        .filter(|_| !subordinates.is_empty());
    let root = trust.root().and_then(|root| time_of(checkpoint, &root.witness));
    majority.or(root)
}

fn time_of(checkpoint: &SignedNote, key: &VerifierKey) -> Option<Time> {
    let seconds = verify_cosignature(checkpoint, key).ok()?;
    Some(Time::from_millis(i64::try_from(seconds).ok()?.checked_mul(1000)?))
}
