//! What granted requests make of a node's row in the registry. The publisher writes it; every row names the order behind it.

use std::time::Duration;

use sanku_federation_protocol::acts::Public;
use sanku_federation_protocol::notes::{Delegate, LogRow, NodeRow, NodeState, Registry, SealingRow};
use sanku_values::{DivisionCode, Time};

use super::{Grant, Received, RequestRefused};

/// Life of log, witness and sealing keys.
const KEY_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clocks that are a little behind must not refuse what was just made.
const EARLIER: Duration = Duration::from_secs(60);
/// Most keys of one kind in a row, old ones among them: ten years of keys of a year's life, each renewed early.
const MOST_KEYS: usize = 32;

/// The row of a node whose enrolment was granted; of one that comes back, with its old logs and keys, which end here.
///
/// # Errors
/// [`RequestRefused::Form`] if the grant is of no enrolment.
pub fn newcomer_row(grant: &Grant, before: Option<&NodeRow>, now: Time) -> Result<NodeRow, RequestRefused> {
    let node = grant.newcomer().ok_or(RequestRefused::Form)?;
    let (from, until) = (now.minus(EARLIER), now.plus(KEY_LIFE));
    let (mut logs, mut witness_keys, mut sealing_keys) = before.map_or_else(Default::default, |row| {
        (row.logs.clone(), row.witness_keys.clone(), row.sealing_keys.clone())
    });
    // The old machine's keys say nothing new.
    logs.iter_mut().for_each(|log| log.until = log.until.min(from));
    witness_keys.iter_mut().for_each(|key| key.until = key.until.min(from));
    sealing_keys.iter_mut().for_each(|key| key.until = key.until.min(from));
    logs.push(LogRow {
        number: grant.log().number,
        key: node.log.clone(),
        from,
        until,
        final_size: None,
    });
    witness_keys.push(Delegate {
        key: node.witness.clone(),
        from,
        until,
    });
    sealing_keys.push(SealingRow {
        key: node.sealing,
        from,
        until,
    });
    Ok(NodeRow {
        code: grant.code(),
        name: node.name.clone(),
        state: NodeState::Active,
        endpoints: node.endpoints.clone(),
        logs,
        witness_keys,
        sealing_keys,
        categories: node.categories.clone(),
        formats: node.formats.clone(),
        order: grant.order(),
    })
}

/// A member's row after a request that needs nobody's order: another sealing or witness key, other addresses or categories.
/// `publisher` is the code of the centre that publishes the registry.
///
/// # Errors
/// If the request is of another kind, not timely, of no active node, or a key stands in the registry already.
pub fn revised_row(
    registry: &Registry,
    received: &Received,
    publisher: DivisionCode,
    now: Time,
) -> Result<NodeRow, RequestRefused> {
    received.timely(publisher, now)?;
    let row = registry.node(received.log.node);
    let row = row.filter(|row| row.state == NodeState::Active);
    let mut row = row.ok_or(RequestRefused::NotMember)?.clone();
    let (from, until) = (now.minus(EARLIER), now.plus(KEY_LIFE));
    let unused = |key: &[u8; 32], held: usize| {
        if registry.raw_keys().any(|known| known == *key) {
            Err(RequestRefused::KeyUsed)
        } else if held >= MOST_KEYS {
            Err(RequestRefused::TooManyKeys)
        } else {
            Ok(())
        }
    };
    match &received.asked {
        Public::Sealing(request) => {
            unused(request.sealing.bytes(), row.sealing_keys.len())?;
            row.sealing_keys.push(SealingRow {
                key: request.sealing,
                from,
                until,
            });
        }
        Public::Witness(request) => {
            unused(request.witness.public(), row.witness_keys.len())?;
            row.witness_keys.push(Delegate {
                key: request.witness.clone(),
                from,
                until,
            });
        }
        Public::Endpoints(request) => row.endpoints.clone_from(&request.endpoints),
        Public::Categories(request) => row.categories.clone_from(&request.categories),
        _ => return Err(RequestRefused::Form),
    }
    Ok(row)
}
