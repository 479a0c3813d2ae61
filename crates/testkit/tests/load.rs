//! Load: breakers, retries, places and budgets; one that hangs among a hundred; a log that cannot be written.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sanku_exchange::authorise::Policy;
use sanku_exchange::{BreakerState, ExchangeError, Hop, Limits};
use sanku_federation_protocol::names::Outcome;
use sanku_federation_protocol::problem::ProblemKind;
use sanku_federation_protocol::stream::write_run;
use sanku_store::Pace;
use sanku_testkit::time::{Stillness, TrueTime};
use sanku_testkit::{Fault, Federation, HEAD, Wires, code, morning, outcome, plates};
use sqlx::Connection;
use tokio::time::Instant;

const PROVINCE: u32 = 420_000;
const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [PROVINCE, CITY, HERE, THERE];

/// How the breaker of `to` stands at `from`.
fn breaker(federation: &Federation, from: u32, to: u32) -> BreakerState {
    let standing = federation.node(from).standing();
    let mut found = standing.into_iter().filter(|neighbour| neighbour.code == code(to));
    found.next().unwrap().breaker
}

fn hop(budget: Duration) -> Hop {
    Hop {
        budget,
        only: None,
        attempt: 1,
        traceparent: String::new(),
    }
}

#[tokio::test]
async fn f01_a_dead_neighbour_is_left_alone_and_everything_joins_when_it_is_back() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation.wires.spoil(HERE, CITY, Fault::Down);
    let mut asked = Vec::new();
    for _ in 0..5 {
        assert_eq!(breaker(&federation, HERE, CITY), BreakerState::Closed);
        asked.push(federation.ask(HERE, federation.case()).await);
    }
    let opened = sanku_values::Clock::now(&*federation.clock);
    assert!(matches!(breaker(&federation, HERE, CITY), BreakerState::Open { since, .. } if since == opened));
    let tries = federation.wires.tries(HERE, CITY);
    assert!(
        (6..=7).contains(&tries),
        "five questions and retries of at most a tenth, one at least: {tries}"
    );

    federation.later(Duration::from_secs(4));
    asked.push(federation.ask(HERE, federation.case()).await);
    assert_eq!(federation.wires.tries(HERE, CITY), tries, "unreachable at once");
    let (_, known) = federation.node(HERE).known(asked[5].id).await.unwrap();
    let account = &known.accounts[&code(HERE)].says;
    assert_eq!(
        (account.neighbours[0].outcome, account.neighbours[0].since),
        (Outcome::Unreachable, opened)
    );

    federation.wires.mend();
    for _ in 0..4 {
        federation.later(Duration::from_secs(60));
        federation.node(HERE).ask_due().await.unwrap();
    }
    assert_eq!(breaker(&federation, HERE, CITY), BreakerState::Closed);
    assert_eq!(federation.node(HERE).queue_length().await.unwrap(), 0);
    for asked in asked {
        let known = federation.node(HERE).known_now(asked.id).await.unwrap();
        assert!(known.merged.complete);
        assert_eq!(plates(&known, 0), [("鄂D1".to_owned(), vec![THERE])]);
    }
}

#[tokio::test]
async fn what_fails_before_the_first_byte_is_tried_once_more_by_the_hop_that_saw_it() {
    let federation = Federation::of(&ALL).await;
    federation.wires.spoil(CITY, THERE, Fault::DownFor(1));
    let asked = federation.ask(HERE, federation.case()).await;
    assert!(asked.merged.complete);
    assert_eq!(federation.wires.tries(CITY, THERE), 2);
    let passed = federation.wires.passed();
    let attempt = |from, to| {
        let mut hops = passed
            .iter()
            .filter(|passed| (passed.from, passed.to) == (code(from), code(to)));
        hops.next().unwrap().hop.attempt
    };
    assert_eq!(
        (attempt(HERE, CITY), attempt(CITY, THERE)),
        (1, 2),
        "deeper hops see it"
    );

    // A cut after the first byte, a problem, and a question that is a repeat itself are not tried again.
    for fault in [Fault::CutAfter(0), Fault::Problem(ProblemKind::Unavailable)] {
        let before = federation.wires.tries(CITY, THERE);
        federation.wires.spoil(CITY, THERE, fault);
        federation.ask(HERE, federation.case()).await;
        assert_eq!(federation.wires.tries(CITY, THERE), before + 1);
    }
    federation.wires.spoil(CITY, THERE, Fault::DownFor(1));
    let before = federation.wires.tries(CITY, THERE);
    federation.later(Duration::from_secs(5));
    assert_eq!(federation.node(HERE).ask_due().await.unwrap(), 2);
    assert_eq!(federation.wires.tries(CITY, THERE), before + 2, "each once");
}

#[tokio::test]
async fn f34_five_hundred_at_once_go_in_turn_and_all_come_to_their_end() {
    let federation = Arc::new(Federation::of(&[PROVINCE, CITY, HERE]).await);
    federation.hold(PROVINCE, &HEAD, "鄂D1").await;
    let mut case = federation.case();
    case["budget_ms"] = 120_000.into();
    let asking: Vec<_> = (0..500)
        .map(|_| {
            let (federation, case) = (Arc::clone(&federation), case.clone());
            tokio::spawn(async move { federation.ask(HERE, case).await })
        })
        .collect();
    for asked in asking {
        let asked = asked.await.unwrap();
        assert!(asked.merged.complete);
        assert_eq!(plates(&asked, 0), [("鄂D1".to_owned(), vec![PROVINCE])]);
    }
    for (from, to) in [(HERE, CITY), (CITY, PROVINCE)] {
        let peak = federation.wires.peak(from, to);
        assert!((2..=32).contains(&peak), "{peak} under way at once");
        assert_eq!(federation.wires.tries(from, to), 500, "no storm of retries");
    }
}

#[tokio::test]
async fn a_neighbour_has_32_places_and_whoever_finds_none_is_told_so() {
    let federation = Federation::of(&ALL).await;
    let like = federation.ask(HERE, federation.case()).await;
    federation.wires.spoil(CITY, THERE, Fault::Hang);
    let mut open = Vec::new();
    for _ in 0..32 {
        let run = federation.forge(HERE, &like, |_, _| ()).await;
        let lines =
            federation
                .node(CITY)
                .question(code(HERE), hop(Duration::from_secs(60)), write_run(&run).into_bytes());
        open.push(lines.await.unwrap());
    }
    let run = federation.forge(HERE, &like, |_, _| ()).await;
    let request = || write_run(&run).into_bytes();
    let began = std::time::Instant::now();
    let shed = federation
        .node(CITY)
        .question(code(HERE), hop(Duration::from_secs(60)), request())
        .await;
    let problem = shed.map(drop).unwrap_err();
    assert_eq!((problem.known(), problem.status), (ProblemKind::Unavailable, 503));
    assert!(began.elapsed() >= Duration::from_millis(100), "it waited for a place");
    let from_above = federation
        .forge(
            PROVINCE,
            &federation.ask(PROVINCE, lineage(&federation)).await,
            |_, _| (),
        )
        .await;
    assert!(
        federation
            .hand_in(PROVINCE, CITY, write_run(&from_above).as_bytes())
            .await
            .is_ok(),
        "another neighbour has places of its own"
    );
    drop(open.pop());
    for _ in 0..50 {
        let again = federation
            .node(CITY)
            .question(code(HERE), hop(Duration::from_secs(60)), request())
            .await;
        if again.is_ok() {
            return;
        }
    }
    panic!("the place was not given back");
}

/// A case about whoever stands above and below.
fn lineage(federation: &Federation) -> serde_json::Value {
    let mut case = federation.case();
    case["scope"] = serde_json::json!({ "codes": [code(PROVINCE), code(CITY)] });
    case
}

/// A policy under which one examiner may ask twice.
fn twice() -> Policy {
    let number = |number| NonZeroU32::new(number).unwrap();
    Policy {
        budgets: Limits {
            person: number(1),
            burst: number(2),
            ..Limits::default()
        },
        ..Policy::default()
    }
}

/// A budget of two seconds, and what may come on top of it.
const AT_MOST: Duration = Duration::from_millis(2050);

/// Budgets refill by the second: on simulated time no slow machine refills them.
async fn on_simulated_time(codes: &[u32], policy: impl Fn(u32) -> Policy) -> Federation {
    let url = |_| "sqlite::memory:".to_owned();
    let still: Arc<dyn Pace> = Arc::new(Stillness::default());
    let pace = Box::new(move |_, _: &Arc<Wires>| Some(Arc::clone(&still)));
    Federation::under(codes, policy, url, TrueTime::at(morning()), pace).await
}

#[tokio::test(start_paused = true)]
async fn an_examiner_who_asked_too_much_is_told_so_before_anything_is_logged() {
    let federation = on_simulated_time(&ALL, |node| if node == HERE { twice() } else { Policy::default() }).await;
    for _ in 0..2 {
        assert!(federation.ask(HERE, federation.case()).await.merged.complete);
    }
    let size = federation.log_size(HERE).await;
    let refused = federation.try_ask(HERE, federation.case()).await.unwrap_err();
    assert!(matches!(refused, ExchangeError::TooMany("person")), "{refused}");
    assert_eq!(federation.log_size(HERE).await, size);
    let mut colleague = federation.case();
    colleague["examiner"]["staff_number"] = "1003".into();
    assert!(federation.ask(HERE, colleague).await.merged.complete);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(
        federation.ask(HERE, federation.case()).await.merged.complete,
        "a second is one question"
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_keeps_budgets_of_its_own_and_refusals_count_double() {
    let closed = Policy {
        other: Vec::new(),
        ..twice()
    };
    let federation = on_simulated_time(&ALL, |node| {
        if node == THERE {
            closed.clone()
        } else {
            Policy::default()
        }
    })
    .await;
    let first = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&first, THERE), Outcome::Refused);
    let second = federation.ask(HERE, federation.case()).await;
    assert_eq!(
        outcome(&second, THERE),
        Outcome::Overloaded,
        "the refusal took the second"
    );
    assert_eq!(outcome(&second, PROVINCE), Outcome::Answered);
}

#[tokio::test]
async fn g4_whoever_cannot_write_its_log_says_nothing_and_answers_when_it_can() {
    let place = tempfile::tempdir().unwrap();
    let url = |node| format!("sqlite:{}", place.path().join(format!("{node}.db")).display());
    let federation = Federation::stored(&ALL, |_| Policy::default(), url).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let mut database = sqlx::SqliteConnection::connect(&url(THERE)).await.unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'full'); END";
    sqlx::query(full).execute(&mut database).await.unwrap();
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Overloaded);
    assert!(plates(&asked, 0).is_empty());
    assert_eq!(federation.wires.heard(CITY, THERE), [], "not a line left");
    sqlx::query("DROP TRIGGER full").execute(&mut database).await.unwrap();
    federation.later(Duration::from_secs(5));
    federation.node(HERE).ask_due().await.unwrap();
    let known = federation.node(HERE).known_now(asked.id).await.unwrap();
    assert_eq!(plates(&known, 0), [("鄂D1".to_owned(), vec![THERE])]);

    // The asker's own log: nothing is asked.
    let mut own = sqlx::SqliteConnection::connect(&url(HERE)).await.unwrap();
    sqlx::query(full).execute(&mut own).await.unwrap();
    federation.wires.asked();
    let failed = federation.try_ask(HERE, federation.case()).await.unwrap_err();
    assert!(matches!(failed, ExchangeError::Store(_)), "{failed}");
    assert!(federation.wires.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn g6_one_that_hangs_among_a_hundred_costs_at_most_the_budget_and_50_ms() {
    let codes: Vec<u32> = std::iter::once(PROVINCE)
        .chain((1..100).map(|city| PROVINCE + city * 100))
        .collect();
    let hung = codes[50];
    let federation = on_simulated_time(&codes, |_| Policy::default()).await;
    federation.wires.spoil(PROVINCE, hung, Fault::Hang);
    let mut case = federation.case();
    case["budget_ms"] = 2000.into();
    let began = Instant::now();
    let asked = federation.ask(PROVINCE, case).await;
    assert!(
        began.elapsed() <= AT_MOST,
        "the budget and 50 ms: {:?}",
        began.elapsed()
    );
    for code in codes {
        let expected = if code == hung { Outcome::Late } else { Outcome::Answered };
        assert_eq!(outcome(&asked, code), expected, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_neighbours_seventy_hang_and_the_healthy_are_asked_all_the_same() {
    let codes: Vec<u32> = (0..100).map(|city| PROVINCE + city * 100).collect();
    // Those that hang come first in every order, and are more than there are places.
    let hung: Vec<u32> = codes[1..=70].to_vec();
    let healthy = codes.len() - 1 - hung.len();
    let federation = Arc::new(on_simulated_time(&codes, |_| Policy::default()).await);
    for code in &hung {
        federation.wires.spoil(PROVINCE, *code, Fault::Hang);
    }
    for first in [true, false] {
        let mut case = federation.case();
        case["budget_ms"] = 2000.into();
        let began = Instant::now();
        let asking = {
            let federation = Arc::clone(&federation);
            tokio::spawn(async move { federation.ask(PROVINCE, case).await })
        };
        if !first {
            // Whoever hung before is asked last: the healthy need not wait for any of them.
            let answered = || {
                let heard = |code: &&u32| federation.wires.heard(PROVINCE, **code).len() >= 2;
                codes.iter().filter(heard).count()
            };
            while answered() < healthy && began.elapsed() < AT_MOST {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            assert!(began.elapsed() <= Duration::from_millis(100), "{:?}", began.elapsed());
        }
        let asked = asking.await.unwrap();
        assert!(
            began.elapsed() <= AT_MOST,
            "the budget and 50 ms: {:?}",
            began.elapsed()
        );
        for code in &codes {
            let expected = if hung.contains(code) {
                Outcome::Late
            } else {
                Outcome::Answered
            };
            assert_eq!(outcome(&asked, *code), expected, "{code}");
        }
        assert!(federation.wires.peak_of(PROVINCE) <= 64, "64 places of a question");
    }
}
