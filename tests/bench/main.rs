//! Sanku beside what a user would take instead, in one run, alternating: every target of speed with its figure, its ratio and
//! whether it was met.
//!
//! `cargo bench -p sanku` (needs root or a `postgres` user, and Debian's `postgresql`). `SANKU_BENCH_ONLY=T1,T9` measures
//! these alone. `SANKU_BENCH_SECONDS` (8) is the length of a measurement, `SANKU_BENCH_ROUNDS` (5) how often each is repeated,
//! `SANKU_BENCH_PERSONS` (100000) how many people stand in each of the three databases, ten records each.
//! `SANKU_BENCH_RECORDS` (10000000) is the large node of T7, `SANKU_BENCH_LOG` (10000000) the long log of T12; both are made once
//! in the directory `SANKU_BENCH_DATA` (some 12 GB, a quarter of an hour) and found there again; without it they are made anew and
//! go with the run. `SANKU_BENCH_PROFILE=1` runs ours alone at 32 clients, for a profiler beside it. Nothing is switched off to
//! win.

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
mod asking;
mod batch;
mod federation;
mod hung;
mod load;
mod log;
mod nodes;
mod records;
mod table;

use std::path::{Path, PathBuf};

use alternative::Alternative;
use federation::Bench;
use load::Measured;
use records::Alone;
use table::{Target, say, unmeasured};

/// A number from the environment.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// Whether one of these is to be measured.
fn wanted(numbers: &[&str]) -> bool {
    let only = std::env::var("SANKU_BENCH_ONLY").unwrap_or_default();
    only.is_empty() || numbers.iter().any(|number| only.split(',').any(|one| one == *number))
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

/// How long and how often everything is measured.
#[derive(Clone, Copy)]
struct Rounds {
    seconds: u64,
    rounds: u64,
    persons: u64,
}

fn main() {
    // `cargo test --benches` only wants to know that it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let rounds = Rounds {
        seconds: setting("SANKU_BENCH_SECONDS", 8),
        rounds: setting("SANKU_BENCH_ROUNDS", 5),
        persons: setting("SANKU_BENCH_PERSONS", 100_000),
    };
    let Rounds {
        seconds,
        rounds: times,
        persons,
    } = rounds;
    if setting("SANKU_BENCH_PROFILE", 0) == 1 {
        let ours = Bench::start(persons, None);
        println!("started: {}", ours.said);
        println!("{}", range(&[ours.measure(32, seconds)]));
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let data = std::env::var_os("SANKU_BENCH_DATA").map_or_else(|| temporary.path().into(), PathBuf::from);
    std::fs::create_dir_all(&data).unwrap();
    println!("machine: {}", machine());
    println!(
        "switched on at ours: mutual TLS 1.3, a durable log entry for each question, answer, account and result, signatures, proofs, sealed rows, witnesses, budgets, metrics, log of operations"
    );
    println!("{persons} persons, 10 records each at each of three tiers; {times} rounds of {seconds} s, alternating\n");
    table::head();
    three_tiers(rounds);
    if wanted(&["T5"]) {
        unmeasured(
            "T5",
            "log and signatures on beside both off, 32 clients",
            "≥ 0.65 ×",
            "a statement exists only as an entry of a log; what answers without one is another program",
        );
    }
    if wanted(&["T7"]) {
        many_records(&data, rounds);
    }
    if wanted(&["T8"]) {
        import();
    }
    if wanted(&["T10"]) {
        hung_peer();
    }
    if wanted(&["T12"]) {
        long_log(&data);
    }
    println!("\nload after: {}", load());
}

/// What is asked of three tiers: T1, T2, T3, T4, T6, T9 and F06.
fn three_tiers(rounds: Rounds) {
    let Rounds { seconds, persons, .. } = rounds;
    if !wanted(&["T1", "T2", "T3", "T4", "T6", "T9", "F06"]) {
        return;
    }
    let alternative = wanted(&["T1", "T2", "T3", "T4"]).then(|| Alternative::start(persons));
    if wanted(&["T1", "T2", "T4", "T6", "T9", "F06"]) {
        let sqlite = Bench::start(persons, None);
        if let Some(alternative) = &alternative {
            for (number, clients, throughput, p50, p99) in [
                ("T1", 32, Some(2.0), None, Some(0.3)),
                ("T2", 8, Some(1.2), None, None),
                ("T2", 1, None, Some(1.1), None),
            ] {
                if wanted(&[number]) {
                    beside(
                        number,
                        "SQLite",
                        (&sqlite, alternative),
                        clients,
                        rounds,
                        [throughput, p50, p99],
                    );
                }
            }
        }
        if let Some(alternative) = alternative.as_ref().filter(|_| wanted(&["T4"])) {
            batch::measure(&sqlite, alternative, rounds.rounds);
        }
        if wanted(&["T6"]) {
            let signatures = sqlite.signatures(32, seconds);
            say(&Target {
                number: "T6",
                what: "signatures made and judged by all nodes for each question, 32 clients",
                ours: format!("{signatures:.2}"),
                theirs: String::new(),
                ratio: String::new(),
                target: "≤ 1.5".to_owned(),
                met: signatures <= 1.5,
            });
        }
        if wanted(&["F06"]) {
            let failed = sqlite.failed_of(10_000);
            say(&Target {
                number: "F06",
                what: "failed of 10,000 lookups over kept connections",
                ours: failed.to_string(),
                theirs: String::new(),
                ratio: String::new(),
                target: "0".to_owned(),
                met: failed == 0,
            });
        }
        if wanted(&["T9"]) {
            let [start, after, most] = sqlite.start_and_memory();
            say(&Target {
                number: "T9",
                what: "a node on SQLite: listens after kill -9 (median of 7); memory after its start; at most with 1,000 lookups in flight",
                ours: format!("{start:.1} ms; {after:.0} MB; {most:.0} MB"),
                theirs: String::new(),
                ratio: String::new(),
                target: "≤ 15 ms; ≤ 40 MB; ≤ 150 MB".to_owned(),
                met: start <= 15.0 && after <= 40.0 && most <= 150.0,
            });
        }
    }
    if let Some(alternative) = alternative.filter(|_| wanted(&["T3"])) {
        let clusters = [0; 3].map(|_| postgres::Cluster::start().expect("Debian's postgresql"));
        let bench = Bench::start(persons, Some(&clusters));
        beside(
            "T3",
            "PostgreSQL",
            (&bench, &alternative),
            32,
            rounds,
            [Some(1.2), None, None],
        );
        beside(
            "T3",
            "PostgreSQL",
            (&bench, &alternative),
            8,
            rounds,
            [Some(1.0), None, None],
        );
    }
}

/// Ours and the alternative in turn. The bounds are of the ratios of throughput (at least), p50 and p99 (at most).
fn beside(
    number: &'static str,
    store: &str,
    (bench, alternative): (&Bench, &Alternative),
    clients: u32,
    rounds: Rounds,
    bounds: [Option<f64>; 3],
) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..rounds.rounds {
        let mut measure = |is_ours: bool| {
            if is_ours {
                ours.push(bench.measure(clients, rounds.seconds));
            } else {
                theirs.push(alternative.measure(clients, rounds.seconds));
            }
        };
        measure(round % 2 == 0);
        measure(round % 2 == 1);
    }
    let ratios = [
        ratio(&ours, &theirs, |one| one.per_second),
        ratio(&ours, &theirs, |one| one.p50),
        ratio(&ours, &theirs, |one| one.p99),
    ];
    let [throughput, p50, p99] = bounds;
    let bound = |sign: &str, what: &str, bound: Option<f64>| bound.map(|bound| format!("{what} {sign} {bound:.1} ×"));
    let target = [
        bound("≥", "throughput", throughput),
        bound("≤", "p50", p50),
        bound("≤", "p99", p99),
    ];
    say(&Target {
        number,
        what: &format!("three tiers, {store}, {clients} clients, beside postgres_fdw with an audit row"),
        ours: range(&ours),
        theirs: range(&theirs),
        ratio: format!(
            "throughput {:.2} ×, p50 {:.2} ×, p99 {:.2} ×",
            ratios[0], ratios[1], ratios[2]
        ),
        target: target.into_iter().flatten().collect::<Vec<_>>().join(", "),
        met: throughput.is_none_or(|bound| ratios[0] >= bound)
            && p50.is_none_or(|bound| ratios[1] <= bound)
            && p99.is_none_or(|bound| ratios[2] <= bound),
    });
}

fn many_records(data: &Path, rounds: Rounds) {
    let many = setting("SANKU_BENCH_RECORDS", 10_000_000);
    let (large, small) = (Alone::with(data, many), Alone::with(data, 100_000));
    let (mut of_large, mut of_small) = (Vec::new(), Vec::new());
    for _ in 0..rounds.rounds {
        of_large.push(large.measure(rounds.seconds / 2 + 1));
        of_small.push(small.measure(rounds.seconds / 2 + 1));
    }
    let ratio = ratio(&of_large, &of_small, |one| one.p50);
    say(&Target {
        number: "T7",
        what: &format!("a lookup in one node with {many} records beside one with 100,000, one client"),
        ours: range(&of_large),
        theirs: range(&of_small),
        ratio: format!("p50 {ratio:.2} ×"),
        target: "p50 ≤ 1.3 ×".to_owned(),
        met: ratio <= 1.3,
    });
}

fn import() {
    let [ours, theirs] = records::imports(1_000_000);
    say(&Target {
        number: "T8",
        what: "import of a million rows, sealed, beside COPY into an indexed table",
        ours: format!("{ours:.1} s"),
        theirs: format!("{theirs:.1} s"),
        ratio: format!("{:.2} ×", ours / theirs),
        target: "≤ 4 ×".to_owned(),
        met: ours <= 4.0 * theirs,
    });
}

fn hung_peer() {
    let seen = hung::measure(10);
    let most = seen.beyond.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let fewest = seen.answered.iter().copied().min().unwrap_or(0);
    say(&Target {
        number: "T10",
        what: "one of 100 nodes in two tiers hangs (SIGSTOP), budget 2 s, ten questions: fewest answered, latest end beyond the budget",
        ours: format!("{fewest} of 99; {most:+.0} ms (median {:+.0} ms)", median(seen.beyond)),
        theirs: String::new(),
        ratio: String::new(),
        target: "99; ≤ 50 ms".to_owned(),
        met: fewest == 99 && most <= 50.0,
    });
}

fn long_log(data: &Path) {
    let logs = log::measure(data, setting("SANKU_BENCH_LOG", 10_000_000));
    let (proof, start) = (logs.long.proof / logs.short.proof, logs.long.opens / logs.short.opens);
    say(&Target {
        number: "T12",
        what: &format!(
            "a fresh proof, and the opening of a store, in a log of {} entries beside one of {}",
            logs.long.entries, logs.short.entries
        ),
        ours: format!("{:.0} µs; {:.2} ms", logs.long.proof, logs.long.opens),
        theirs: format!("{:.0} µs; {:.2} ms", logs.short.proof, logs.short.opens),
        ratio: format!("{proof:.2} ×; {start:.2} ×"),
        target: "≤ 1.2 ×; ≤ 1.5 ×".to_owned(),
        met: proof <= 1.2 && start <= 1.5,
    });
    let [single, of_many] = logs.weights;
    say(&Target {
        number: "T12",
        what: "bytes of a stream for each answer beyond its body, alone and in a run of 250",
        ours: format!("{single:.0}; {of_many:.0}"),
        theirs: String::new(),
        ratio: String::new(),
        target: "≤ 2,048; ≤ 410".to_owned(),
        met: single <= 2048.0 && of_many <= 410.0,
    });
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("?").to_owned()
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
    format!("{cores} cores, {model}, load before {}", load())
}
