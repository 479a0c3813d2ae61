//! Federations on simulated time, drawn from seeds. A seed that fails prints the command that replays it:
//! `SANKU_SEEDS=17..18 SANKU_SIZE=small cargo test -p sanku-testkit --test simulation seeds -- --nocapture`.

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
use sanku_testkit::simulation::{Air, Report, Size, Spell, Trouble, Where, run};
use sanku_testkit::time::{Stillness, TrueTime};
use sanku_testkit::{Federation, code, morning, outcome};

fn on_paused_time<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().start_paused(true).build().unwrap().block_on(work)
}

fn seed(seed: u64, size: Size) -> Report {
    let began = std::time::Instant::now();
    let name = if size == Size::Full { "full" } else { "small" };
    match on_paused_time(run(seed, size)) {
        Ok(report) => {
            println!(
                "seed {seed} {name}: {} questions, {} complete at once, {:?} simulated in {:?}, {} database calls, {} trips, trace {}",
                report.questions,
                report.at_once,
                report.simulated,
                began.elapsed(),
                report.calls,
                report.trips,
                report.hash(),
            );
            report
        }
        Err(why) => panic!(
            "seed {seed}: {why}\nreplay: SANKU_SEEDS={seed}..{} SANKU_SIZE={name} cargo test -p sanku-testkit --test simulation seeds -- --nocapture",
            seed + 1
        ),
    }
}

#[test]
fn g1_to_g6_hold_under_faults_drawn_from_seeds() {
    let size = match std::env::var("SANKU_SIZE").as_deref() {
        Ok("full") => Size::Full,
        _ => Size::Small,
    };
    let seeds = std::env::var("SANKU_SEEDS").unwrap_or_else(|_| "0..4".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    for number in from.parse().unwrap()..to.parse().unwrap() {
        seed(number, size);
    }
}

#[test]
fn the_same_seed_goes_the_same_way() {
    assert_eq!(seed(7, Size::Small).trace, seed(7, Size::Small).trace);
}

/// A full federation with these spells, and an asker's question of a budget of 3 s.
async fn asked_in(spells: Vec<Spell>) -> (Federation, sanku_exchange::Asked, Duration) {
    let pace: Arc<dyn Pace> = Arc::new(Stillness::default());
    let codes = Size::Full.codes();
    let clock = TrueTime::flowing(morning());
    let federation = Federation::under(
        &codes,
        |_| Policy::default(),
        |_| "sqlite::memory:".to_owned(),
        clock,
        Some(pace),
    )
    .await;
    federation.wires.through(Air::new(1, spells));
    let mut case = federation.case();
    case["budget_ms"] = 3000.into();
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
    let districts: Vec<_> = Size::Full.codes().into_iter().filter(|code| code % 100 > 2).collect();
    for hung in [1, 50] {
        let spells = districts[..hung]
            .iter()
            .map(|node| hangs(*node, Duration::from_secs(3600)));
        let (_federation, asked, took) = on_paused_time(asked_in(spells.collect()));
        println!("{hung} hung: {took:?} simulated");
        assert!(took <= Duration::from_millis(3050), "{took:?}");
        for target in Size::Full.codes() {
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
    let spells = Size::Full
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
