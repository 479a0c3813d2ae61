//! Federations on simulated time, drawn from seeds. A seed that fails prints the command that replays it:
//! `SANKU_SEEDS=17..18 SANKU_SIZE=small cargo test -p sanku-testkit --test simulation g1_to_g6 -- --nocapture`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly, and says what it ran"
)]

use std::sync::Arc;
use std::time::Duration;

use sanku_exchange::Policy;
use sanku_federation_protocol::names::Outcome;
use sanku_store::Pace;
use sanku_testkit::simulation::{Air, Plan, Report, Size, Spell, Trouble, Where, run};
use sanku_testkit::time::{Stillness, TrueTime};
use sanku_testkit::{Federation, code, morning, outcome};

fn on_paused_time<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(work)
}

/// Runs a plan and says what came of it, or how to see its failure again.
fn runs(name: &str, seed: u64, plan: Plan) -> Report {
    let began = std::time::Instant::now();
    match on_paused_time(run(plan)) {
        Ok(report) => {
            println!(
                "{name} seed {seed}: {} events, {} questions, {} complete at once, {} withdrawals, {:?} simulated in {:?}, {} database calls, {} trips, trace {}",
                report.events,
                report.questions,
                report.at_once,
                report.withdrawals,
                report.simulated,
                began.elapsed(),
                report.calls,
                report.trips,
                report.hash(),
            );
            report
        }
        Err(why) => panic!("{name} seed {seed}: {why}"),
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |number| number.parse().unwrap())
}

fn seed(seed: u64, size: Size) -> Result<Report, String> {
    let name = if size == Size::FULL { "full" } else { "small" };
    let plan = Plan::of(seed, size);
    std::panic::catch_unwind(|| runs(name, seed, plan)).map_err(|_| {
        format!(
            "SANKU_SEEDS={seed}..{} SANKU_SIZE={name} cargo test -p sanku-testkit --test simulation g1_to_g6 -- --nocapture",
            seed + 1
        )
    })
}

#[test]
fn g1_to_g6_hold_under_faults_drawn_from_seeds() {
    let size = match std::env::var("SANKU_SIZE").as_deref() {
        Ok("full") => Size::FULL,
        _ => Size::SMALL,
    };
    let seeds = std::env::var("SANKU_SEEDS").unwrap_or_else(|_| "0..8".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    let (mut all, mut failed) = (Vec::new(), Vec::new());
    for number in from.parse().unwrap()..to.parse().unwrap() {
        match seed(number, size) {
            Ok(report) => all.push(report),
            Err(replay) => failed.push(replay),
        }
    }
    println!(
        "{} seeds held, {} events, {} questions, {} withdrawals, {:?} simulated",
        all.len(),
        all.iter().map(|report| report.events).sum::<usize>(),
        all.iter().map(|report| report.questions).sum::<usize>(),
        all.iter().map(|report| report.withdrawals).sum::<usize>(),
        all.iter().map(|report| report.simulated).sum::<Duration>(),
    );
    assert!(
        failed.is_empty(),
        "{} failed; replay:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn the_same_seed_goes_the_same_way() {
    let trace = || runs("small", 7, Plan::of(7, Size::SMALL)).trace;
    assert_eq!(trace(), trace());
}

/// `SANKU_DAY_HOURS=24 SANKU_DAY_QUESTIONS=288 SANKU_SIZE=full` is the whole day of a province.
#[test]
fn every_question_of_a_day_with_faults_ends_and_every_late_answer_arrives() {
    let size = match std::env::var("SANKU_SIZE").as_deref() {
        Ok("full") => Size::FULL,
        _ => Size::SMALL,
    };
    let (hours, questions) = (number("SANKU_DAY_HOURS", 3), number("SANKU_DAY_QUESTIONS", 24));
    let plan = Plan::day(1, size, hours, usize::try_from(questions).unwrap());
    let report = runs("day", 1, plan);
    assert!(
        report.questions > usize::try_from(questions).unwrap() / 2,
        "{}",
        report.questions
    );
    assert!(report.simulated >= Duration::from_secs(hours * 3600));
}

/// A full federation with these spells, and an asker's question of a budget of 3 s.
async fn asked_in(spells: Vec<Spell>) -> (Federation, sanku_exchange::Asked, Duration) {
    asked_of(Size::FULL, spells, 3000).await
}

async fn asked_of(size: Size, spells: Vec<Spell>, budget: u64) -> (Federation, sanku_exchange::Asked, Duration) {
    let pace: Arc<dyn Pace> = Arc::new(Stillness::default());
    let codes = size.codes();
    let clock = TrueTime::flowing(morning());
    let federation = Federation::under(
        &codes,
        |_| Policy::default(),
        |_| "sqlite::memory:".to_owned(),
        clock,
        Box::new(move |_, _| Some(Arc::clone(&pace))),
    )
    .await;
    let air = Air::new(1, spells);
    air.begin();
    federation.wires.through(air);
    let mut case = federation.case();
    case["budget_ms"] = budget.into();
    let began = tokio::time::Instant::now();
    let asked = federation.ask(420_102, case).await;
    let took = began.elapsed();
    (federation, asked, took)
}

fn hangs(node: u32, until: Duration) -> Spell {
    Spell {
        from: Duration::ZERO,
        until,
        at: Where::To(code(node)),
        trouble: Trouble::Hang,
    }
}

#[test]
fn hung_peers_cost_at_most_the_budget_and_fifty_milliseconds_and_all_others_answer() {
    let districts: Vec<_> = Size::FULL.codes().into_iter().filter(|code| code % 100 > 2).collect();
    for hung in [1, 50] {
        let spells = districts[..hung]
            .iter()
            .map(|node| hangs(*node, Duration::from_secs(3600)));
        let (_federation, asked, took) = on_paused_time(asked_in(spells.collect()));
        println!("{hung} hung: {took:?} simulated");
        assert!(took <= Duration::from_millis(3050), "{took:?}");
        for target in Size::FULL.codes() {
            let expected = if districts[..hung].contains(&target) {
                Outcome::Late
            } else {
                Outcome::Answered
            };
            assert_eq!(outcome(&asked, target), expected, "{target} with {hung} hung");
        }
    }
}

#[test]
fn a_cut_of_three_hours_between_tiers_heals_without_a_hand() {
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    let spells = Size::FULL
        .codes()
        .into_iter()
        .filter(|code| code % 100 == 0 && *code != 420_000);
    let spells = spells.map(|city| Spell {
        from: Duration::ZERO,
        until: hours(3),
        at: Where::Between(code(city), code(420_000)),
        trouble: Trouble::Down,
    });
    on_paused_time(async {
        let began = tokio::time::Instant::now();
        let (federation, asked, _) = asked_in(spells.collect()).await;
        assert!(!asked.merged.complete);
        assert_eq!(outcome(&asked, 420_100), Outcome::Answered, "its own tier goes on");
        // The queue's own loop looks each second, which is most of the work of hours without news; it runs in the seeds.
        // Here what is due is asked when it is due.
        let node = federation.node(420_102);
        while let Some(due) = node.store().next_due().await.unwrap() {
            tokio::time::sleep(due.since(node.now())).await;
            node.ask_due().await.unwrap();
            assert!(began.elapsed() < hours(4), "it heals within the longest wait");
        }
        let known = node.known_now(asked.id).await.unwrap();
        assert!(known.merged.complete, "{:?}", known.merged.outcomes);
        println!("complete after {:?} simulated", began.elapsed());
    });
}

/// Kilobytes of memory that this process held at most.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// `SANKU_NODES=3000` is what a whole country's question would be; each node with its own database, log and keys.
#[test]
fn one_question_reaches_every_node_of_a_large_federation() {
    let nodes = usize::try_from(number("SANKU_NODES", 200)).unwrap();
    let cities = u32::try_from(nodes.div_ceil(98)).unwrap();
    let size = Size {
        cities,
        districts: nodes - 1 - usize::try_from(cities).unwrap(),
    };
    let began = std::time::Instant::now();
    on_paused_time(async {
        let (federation, asked, took) = asked_of(size, Vec::new(), 60_000).await;
        println!(
            "{nodes} nodes: {took:?} simulated, built and asked in {:?}, {} kB at most",
            began.elapsed(),
            peak()
        );
        assert_eq!(asked.merged.outcomes.len(), nodes);
        let answered = asked
            .merged
            .outcomes
            .values()
            .filter(|end| end.outcome == Outcome::Answered)
            .count();
        assert_eq!(answered, nodes, "everybody answers");
        assert!(asked.merged.complete);
        assert!(took < Duration::from_secs(61), "{took:?}");
        drop(federation);
    });
}
