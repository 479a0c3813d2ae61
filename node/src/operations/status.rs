//! `sanku status`: everything an administrator asks first, as one document.

use sanku_values::Time;
use serde_json::{Value, json};

use crate::operations::ready::look;
use crate::operations::{PATIENCE, Running, machine};

/// The document that the socket's `/status` gives.
pub(crate) async fn document(node: &Running) -> Value {
    let (exchange, config) = (&node.exchange, &node.loaded.node);
    let (trust, now) = (exchange.trust(), exchange.now());
    let look = look(node).await;
    let counts = async {
        (
            exchange.store().unwitnessed_since().await,
            exchange.store().waiting().await,
            exchange.store().open_logs().await,
            exchange.store().forks().await,
        )
    };
    let (unwitnessed, waiting, open, forks) = match tokio::time::timeout(PATIENCE, counts).await {
        Ok((unwitnessed, waiting, open, forks)) => (unwitnessed.ok().flatten(), waiting.ok(), open.ok(), forks.ok()),
        Err(_) => (None, None, None, None),
    };
    let held = open.map(|open| {
        let since = open.iter().map(|open| open.since).min();
        json!({ "checkpoints": open.iter().map(|open| open.checkpoints).sum::<u64>(), "logs": open.len(), "since": since, "alarm": since.is_some_and(|since| exchange.is_alarm(since)) })
    });
    let forks: Vec<_> = forks
        .into_iter()
        .flatten()
        .map(|fork| json!({ "subject": fork.subject, "found": fork.found }))
        .collect();
    let age = |since: Time| (now.millis() - since.millis()).max(0) / 1000;
    let notes: Vec<_> = trust
        .list()
        .map(|(name, held)| {
            let number = held.reference.number;
            let issued = Time::from_millis(i64::try_from(number).unwrap_or(i64::MAX));
            json!({ "name": name, "number": number, "issued": issued, "age_seconds": age(issued) })
        })
        .collect();
    let name_of = |code| {
        let row = trust
            .registry()
            .and_then(|(_, registry, _)| registry.node(code).cloned());
        row.map(|row| row.name)
    };
    let neighbours: Vec<_> = exchange
        .standing()
        .into_iter()
        .map(|neighbour| {
            json!({
                "node": neighbour.code,
                "name": name_of(neighbour.code),
                "breaker": neighbour.breaker.as_str(),
                "outcome": neighbour.last.map(|last| last.outcome),
                "asked": neighbour.last.map(|last| last.asked),
                "milliseconds": neighbour.last.map(|last| last.milliseconds),
                "clock_lead_ms": neighbour.clock,
            })
        })
        .collect();
    let misbehaved: Vec<_> = exchange
        .conduct()
        .into_iter()
        .map(|peer| json!({ "node": peer.code, "faults": peer.faults, "last": peer.last, "at": peer.at, "flagged_since": peer.flagged }))
        .collect();
    let budgets: serde_json::Map<_, _> = exchange
        .budgets_in_use()
        .into_iter()
        .map(|(whose, count)| (whose.to_owned(), count.into()))
        .collect();
    let registry = trust.registry().map(|(_, registry, _)| {
        json!({ "nodes": registry.nodes.len(), "not_after": registry.not_after, "grace_until": registry.grace_until })
    });
    let clocks = exchange.clocks();
    let room = exchange.store().room();
    json!({
        "node": config.code,
        "name": config.name,
        "federation": config.federation,
        "state": look.state(),
        "missing": look.missing,
        "recovering": exchange.store().recovering().map(|recovering| json!({
            "why": recovering.word(),
            "holds": recovering.holds,
            "missing": recovering.missing(),
            "remembered": recovering.remembered().map(|remembered| json!({ "size": remembered.checkpoint.size, "root": remembered.checkpoint.root, "by": remembered.teller.to_string() })),
            "cure": recovering.cure(),
        })),
        "time": now,
        "process": {
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": node.uptime().as_secs(),
            "memory_bytes": machine::memory(),
            "open_files": machine::files().map(|(open, _)| open),
            "in_hand": node.work.count(),
        },
        "listeners": {
            "peers": config.listen.peers,
            "socket": config.listen.socket,
            "operations": config.operations.listen,
        },
        "certificate": { "not_after": node.certificate(), "days_left": (node.certificate().millis() - now.millis()) / 86_400_000 },
        "registry": registry,
        "notes": notes,
        "log": {
            "origin": exchange.store().origin(),
            "entries": look.standing.as_ref().map(|standing| standing.entries),
            "newest": look.standing.as_ref().and_then(|standing| standing.newest),
            "unwitnessed_since": unwitnessed,
            "alarm": unwitnessed.is_some_and(|since| exchange.is_alarm(since)),
        },
        "held_unwitnessed": held,
        "forks": forks,
        "imports": look.standing.as_ref().map(|standing| json!({ "count": standing.imports, "rows": standing.records })),
        "queue": { "waiting": waiting },
        "clock": { "state": clocks.as_str(), "lead_ms": clocks.lead() },
        "disk": room.map(|room| json!({ "free_bytes": room.free, "size_bytes": room.size, "used_percent": room.used() })),
        "budgets_in_use": budgets,
        "neighbours": neighbours,
        "misbehaved": misbehaved,
    })
}
