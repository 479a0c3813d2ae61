//! Sanku beside what a user would take instead, in one run, alternating: the targets of speed with their ratios.
//!
//! `cargo bench -p sanku` (needs root or a `postgres` user, and Debian's `postgresql`). `SANKU_BENCH_SECONDS` (8) is the
//! length of a measurement, `SANKU_BENCH_ROUNDS` (5) how often each is repeated, `SANKU_BENCH_PERSONS` (100000) how many
//! people stand in each of the three databases, ten records each. `SANKU_BENCH_BATCH=1` measures batches (T4) alone. `SANKU_BENCH_PROFILE=1` runs ours alone at 32 clients, for a
//! profiler beside it. Nothing is switched off to win.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark may fail loudly, and prints"
)]

#[path = "../../crates/store/tests/postgres/mod.rs"]
#[allow(dead_code, reason = "the benchmark searches no files")]
mod postgres;

mod alternative;
mod batch;
mod federation;
mod load;
mod log;

use alternative::Alternative;
use federation::Bench;
use load::Measured;

/// A number from the environment.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The median over the rounds of one figure's ratio to the alternative's of the same round.
fn ratio(ours: &[Measured], theirs: &[Measured], figure: impl Fn(&Measured) -> f64) -> f64 {
    median(
        ours.iter()
            .zip(theirs)
            .map(|(ours, theirs)| figure(ours) / figure(theirs))
            .collect(),
    )
}

fn range(all: &[Measured]) -> String {
    let rates: Vec<_> = all.iter().map(|one| one.per_second).collect();
    let low = rates.iter().copied().fold(f64::INFINITY, f64::min);
    let high = rates.iter().copied().fold(0.0, f64::max);
    format!(
        "{low:.0}–{high:.0}/s, p50 {:.2} ms, p99 {:.1} ms",
        median(all.iter().map(|one| one.p50).collect()),
        median(all.iter().map(|one| one.p99).collect())
    )
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seconds = setting("SANKU_BENCH_SECONDS", 8);
    let rounds = setting("SANKU_BENCH_ROUNDS", 5);
    let persons = setting("SANKU_BENCH_PERSONS", 100_000);
    println!("machine: {}", machine());
    println!("{persons} persons, 10 records each at each of three tiers; {rounds} rounds of {seconds} s, alternating");

    if setting("SANKU_BENCH_PROFILE", 0) == 1 {
        let ours = Bench::start(persons, None);
        println!("started: {}", ours.said);
        println!("{}", range(&[ours.measure(32, seconds)]));
        return;
    }
    let alternative = Alternative::start(persons);
    println!("the alternative is up: three PostgreSQL clusters, postgres_fdw over mutual TLS, one durable audit row");
    let sqlite = Bench::start(persons, None);
    println!("three nodes on SQLite: {}", sqlite.said);
    batch::measure(&sqlite, &alternative, rounds);
    if setting("SANKU_BENCH_BATCH", 0) == 1 {
        return;
    }
    let clusters = [0; 3].map(|_| postgres::Cluster::start().expect("Debian's postgresql"));
    let on_postgres = Bench::start(persons, Some(&clusters));
    println!("three nodes on PostgreSQL: {}", on_postgres.said);

    println!("\n| no. | clients | Sanku | A+audit | ratio of throughput | ratio of p50 | ratio of p99 |");
    println!("|---|---|---|---|---|---|---|");
    for (number, bench, clients) in [
        ("T1", &sqlite, 32),
        ("T2", &sqlite, 8),
        ("T2", &sqlite, 1),
        ("T3", &on_postgres, 32),
        ("T3", &on_postgres, 8),
    ] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let mut measure = |is_ours: bool| {
                if is_ours {
                    ours.push(bench.measure(clients, seconds));
                } else {
                    theirs.push(alternative.measure(clients, seconds));
                }
            };
            measure(round % 2 == 0);
            measure(round % 2 == 1);
        }
        println!(
            "| {number} | {clients} | {} | {} | {:.2} | {:.2} | {:.2} |",
            range(&ours),
            range(&theirs),
            ratio(&ours, &theirs, |one| one.per_second),
            ratio(&ours, &theirs, |one| one.p50),
            ratio(&ours, &theirs, |one| one.p99)
        );
    }
    drop((on_postgres, clusters, alternative));
    println!("\nT9: {}", sqlite.start_and_memory());
    log::measure();
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(": ")
                .map(|(_, name)| name.to_owned())
        })
        .unwrap_or_else(|| "unknown processor".to_owned());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{cores} cores, {model}, load before {}",
        load.split(' ').next().unwrap_or("?")
    )
}
