//! The metrics (指标): what each means, and the gauges that are read when somebody asks. Labels are bounded: neighbours'
//! codes, closed words, names of notes.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use sanku_exchange::BreakerState;
use sanku_values::Time;

use crate::operations::ready::look;
use crate::operations::{PATIENCE, Running, machine};

/// Says what each metric means.
pub(crate) fn describe() {
    describe_counter!(
        "sanku_asked_total",
        "Questions put to each neighbour, by what came of them"
    );
    describe_histogram!(
        "sanku_ask_seconds",
        Unit::Seconds,
        "How long each neighbour took to answer to the end"
    );
    describe_counter!(
        "sanku_served_total",
        "Requests of each neighbour, by the status they were answered with"
    );
    describe_histogram!(
        "sanku_serve_seconds",
        Unit::Seconds,
        "How long it took until a response to each neighbour began"
    );
    describe_counter!(
        "sanku_budget_refused_total",
        "Requests beyond a neighbour's budget (429)"
    );
    describe_counter!(
        "sanku_requests_shed_total",
        "Requests refused since as much is in hand as may be, of one peer or of the whole node (503)"
    );
    describe_counter!(
        "sanku_readers_cut_off_total",
        "Responses of which each peer took nothing for 10 s"
    );
    describe_counter!("sanku_peer_faults_total", "What each peer said that no good node says");
    describe_gauge!(
        "sanku_peer_flagged",
        "1 while a peer is flagged, since it did so twenty times within ten minutes"
    );
    describe_gauge!(
        "sanku_budget_keys",
        "Nodes, examiners and purposes whose budgets are not full"
    );
    describe_counter!(
        "sanku_failovers_total",
        "Calls that went on to a neighbour's next address"
    );
    describe_counter!("sanku_hedges_total", "Calls that went to two addresses of a neighbour");
    describe_counter!(
        "sanku_connections_shed_total",
        "Connections beyond those that one address may have in their handshake"
    );
    describe_counter!(
        "sanku_results_total",
        "Results of this node's own questions, complete or not"
    );
    describe_counter!(
        "sanku_signatures_total",
        "Signatures of checkpoints, cosignatures and notes that were made and judged; TLS has its own"
    );
    describe_counter!("sanku_panics_total", "Panics that ended a task");
    describe_gauge!("sanku_ready", "1 if the node can do its work");
    describe_gauge!("sanku_missing", "1 for each thing without which it cannot");
    describe_gauge!("sanku_in_hand", "Requests that are being answered");
    describe_gauge!("sanku_log_entries", "Entries of the log");
    describe_gauge!(
        "sanku_log_newest_timestamp_seconds",
        Unit::Seconds,
        "When the newest entry was said"
    );
    describe_gauge!(
        "sanku_unwitnessed_seconds",
        Unit::Seconds,
        "Age of the oldest entry without a cosignature that counts"
    );
    describe_gauge!(
        "sanku_held_unwitnessed",
        "Checkpoints of other logs that this node holds something under and nothing covers yet"
    );
    describe_gauge!(
        "sanku_held_unwitnessed_seconds",
        Unit::Seconds,
        "Age of the oldest of them"
    );
    describe_gauge!("sanku_forks", "Logs and notes that say two things");
    describe_counter!(
        "sanku_bad_cosignatures_total",
        "Cosignatures of each witness that did not hold"
    );
    describe_counter!("sanku_forks_found_total", "Forks that this process found");
    describe_gauge!("sanku_imports", "Imports of departments' files");
    describe_gauge!("sanku_imported_rows", "Rows that imports brought");
    describe_gauge!("sanku_queue_length", "Own questions that wait to be asked again");
    describe_gauge!(
        "sanku_note_number",
        "The number of each note, its issue time in Unix milliseconds"
    );
    describe_gauge!("sanku_note_age_seconds", Unit::Seconds, "The age of each note");
    describe_gauge!(
        "sanku_registry_not_after_timestamp_seconds",
        Unit::Seconds,
        "Until when the registry is good"
    );
    describe_gauge!(
        "sanku_certificate_not_after_timestamp_seconds",
        Unit::Seconds,
        "When this node's certificate expires"
    );
    describe_gauge!(
        "sanku_clock_lead_seconds",
        Unit::Seconds,
        "Each neighbour's clock's lead over ours"
    );
    describe_gauge!(
        "sanku_breaker_open",
        "1 while a neighbour is not asked, since it failed too often"
    );
    describe_gauge!(
        "sanku_clock_held",
        "1 while nothing is appended since the clock is too far off"
    );
    describe_gauge!(
        "sanku_disk_free_bytes",
        Unit::Bytes,
        "Room left where the database lies"
    );
    describe_gauge!("sanku_disk_size_bytes", Unit::Bytes, "All room where the database lies");
    describe_gauge!("sanku_build_info", "1, with the version");
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Resident memory");
    describe_gauge!("process_open_fds", "Open files");
    describe_gauge!("process_max_fds", "How many files may be open");
    describe_gauge!("process_uptime_seconds", Unit::Seconds, "How long the process runs");
}

fn seconds(time: Time) -> f64 {
    time.millis() as f64 / 1000.0
}

fn set(name: &'static str, value: f64) {
    gauge!(name).set(value);
}

/// Reads everything that is not counted where it happens.
pub(crate) async fn refresh(node: &Running) {
    let (exchange, now) = (&node.exchange, node.exchange.now());
    let age = |since: Time| (now.millis() - since.millis()).max(0) as f64 / 1000.0;
    let flag = |set: bool| f64::from(u8::from(set));

    let look = look(node).await;
    set("sanku_ready", flag(look.missing.is_empty()));
    for what in [
        "stopping",
        "recovering",
        "database",
        "disk",
        "registry",
        "member",
        "certificate",
        "clock",
    ] {
        let lacks = look.missing.iter().any(|missing| missing.what == what);
        gauge!("sanku_missing", "what" => what).set(flag(lacks));
    }
    set("sanku_in_hand", node.work.count() as f64);
    if let Some(standing) = &look.standing {
        set("sanku_log_entries", standing.entries as f64);
        set("sanku_imports", standing.imports as f64);
        set("sanku_imported_rows", standing.records as f64);
        set(
            "sanku_log_newest_timestamp_seconds",
            standing.newest.map_or(0.0, seconds),
        );
        let store = exchange.store();
        let counts = async { (store.unwitnessed_since().await, exchange.queue_length().await) };
        if let Ok((unwitnessed, waiting)) = tokio::time::timeout(PATIENCE, counts).await {
            if let Ok(since) = unwitnessed {
                set("sanku_unwitnessed_seconds", since.map_or(0.0, age));
            }
            if let (Ok(open), Ok(forks)) = (store.open_logs().await, store.forks().await) {
                let since = open.iter().map(|open| open.since).min();
                let held: u64 = open.iter().map(|open| open.checkpoints).sum();
                set("sanku_held_unwitnessed", held as f64);
                set("sanku_held_unwitnessed_seconds", since.map_or(0.0, age));
                set("sanku_forks", forks.len() as f64);
            }
            if let Ok(waiting) = waiting {
                set("sanku_queue_length", waiting as f64);
            }
        }
    }

    let trust = exchange.trust();
    let prefix = format!("{}/", trust.federation());
    for (name, held) in trust.list() {
        let (number, note) = (held.reference.number, name.trim_start_matches(&prefix).to_owned());
        gauge!("sanku_note_number", "note" => note.clone()).set(number as f64);
        let issued = Time::from_millis(i64::try_from(number).unwrap_or(i64::MAX));
        gauge!("sanku_note_age_seconds", "note" => note).set(age(issued));
    }
    if let Some((_, registry, _)) = trust.registry() {
        set(
            "sanku_registry_not_after_timestamp_seconds",
            seconds(registry.not_after),
        );
    }
    set(
        "sanku_certificate_not_after_timestamp_seconds",
        seconds(node.certificate()),
    );

    for neighbour in exchange.standing() {
        let peer = neighbour.code.to_string();
        // Counters that nothing raised yet are there from the start, so that a rate over them is known.
        counter!("sanku_asked_total", "peer" => peer.clone(), "outcome" => "answered").increment(0);
        counter!("sanku_served_total", "peer" => peer.clone(), "status" => "200").increment(0);
        counter!("sanku_budget_refused_total", "peer" => peer.clone()).increment(0);
        counter!("sanku_readers_cut_off_total", "peer" => peer.clone()).increment(0);
        gauge!("sanku_peer_flagged", "peer" => peer.clone()).set(0.0);
        let open = matches!(neighbour.breaker, BreakerState::Open { .. });
        gauge!("sanku_breaker_open", "peer" => peer.clone()).set(flag(open));
        if let Some(lead) = neighbour.clock {
            gauge!("sanku_clock_lead_seconds", "peer" => peer).set(lead as f64 / 1000.0);
        }
    }
    for peer in exchange.conduct() {
        gauge!("sanku_peer_flagged", "peer" => peer.code.to_string()).set(flag(peer.flagged.is_some()));
    }
    for (whose, count) in exchange.budgets_in_use() {
        gauge!("sanku_budget_keys", "budget" => whose).set(count as f64);
    }
    for complete in ["true", "false"] {
        counter!("sanku_results_total", "complete" => complete).increment(0);
    }
    for whose in ["peer", "node"] {
        counter!("sanku_requests_shed_total", "whose" => whose).increment(0);
    }
    let (made, judged) = sanku_tlog::signatures();
    counter!("sanku_signatures_total", "what" => "made").absolute(made);
    counter!("sanku_signatures_total", "what" => "judged").absolute(judged);
    counter!("sanku_panics_total").increment(0);
    counter!("sanku_forks_found_total").increment(0);
    set("sanku_clock_held", flag(exchange.store().is_held()));

    if let Some(room) = exchange.store().room() {
        set("sanku_disk_free_bytes", room.free as f64);
        set("sanku_disk_size_bytes", room.size as f64);
    }
    if let Some(memory) = machine::memory() {
        set("process_resident_memory_bytes", memory as f64);
    }
    if let Some((open, most)) = machine::files() {
        set("process_open_fds", open as f64);
        set("process_max_fds", most as f64);
    }
    set("process_uptime_seconds", node.uptime().as_secs_f64());
    gauge!("sanku_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
}
