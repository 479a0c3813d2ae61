//! A node beside its neighbours' clocks (F11): a little apart it works and says so, far apart it appends nothing.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::sync::Arc;
use std::time::Duration;

use sanku_exchange::ExchangeError;
use sanku_exchange::authorise::Policy;
use sanku_exchange::clock::Clocks;
use sanku_federation_protocol::names::Outcome;
use sanku_store::{Pace, StoreError};
use sanku_testkit::time::{Stillness, TrueTime};
use sanku_testkit::{Fault, Federation, code, morning, outcome};
use sanku_values::Clock;

const MINUTE: i64 = 60_000;
const TREE: [u32; 4] = [420_000, 421_000, 421_002, 421_003];

#[tokio::test]
async fn f11_five_minutes_apart_it_works_and_a_day_apart_it_appends_nothing() {
    let federation = Federation::of(&TREE).await;
    let district = federation.node(421_002);
    assert_eq!(district.clocks(), Clocks::Alone, "nobody was asked yet");
    let near = district.compare_clocks().await;
    assert!(matches!(near, Clocks::Together(lead) if lead.abs() < 1000), "{near:?}");

    let watch = &federation.watches[&code(421_002)];
    watch.put(5 * MINUTE);
    let apart = district.compare_clocks().await;
    assert!(
        matches!(apart, Clocks::Apart(lead) if (lead + 5 * MINUTE).abs() < 1000),
        "{apart:?}"
    );
    assert_eq!(
        outcome(&federation.ask(421_002, federation.case()).await, 421_000),
        Outcome::Answered
    );

    for day in [24 * 60 * MINUTE, -24 * 60 * MINUTE] {
        watch.put(day);
        let far = district.compare_clocks().await;
        assert!(
            matches!(far, Clocks::TooFar(lead) if (lead + day).abs() < 1000),
            "{far:?}"
        );
        let before = federation.log_size(421_002).await;
        let refused = federation.try_ask(421_002, federation.case()).await;
        assert!(
            matches!(refused, Err(ExchangeError::Store(StoreError::Clock))),
            "{refused:?}"
        );
        assert_eq!(federation.log_size(421_002).await, before);
    }

    watch.put(0);
    district.compare_clocks().await;
    federation.ask(421_002, federation.case()).await;
    // Times in the log never decrease, whatever the clock did: the log verifies.
    federation.log_size(421_002).await;
}

#[tokio::test]
async fn f11_not_even_the_first_statement_after_a_jump_bears_the_wrong_time() {
    let federation = Federation::of(&TREE).await;
    let (district, watch) = (federation.node(421_002), &federation.watches[&code(421_002)]);
    district.compare_clocks().await;
    for day in [24 * 60 * MINUTE, -24 * 60 * MINUTE] {
        // Nobody compared since: a statement a day ahead would hold all later ones to that day.
        watch.put(day);
        let before = federation.log_size(421_002).await;
        let refused = federation.try_ask(421_002, federation.case()).await;
        assert!(
            matches!(refused, Err(ExchangeError::Store(StoreError::Clock))),
            "{refused:?}"
        );
        watch.put(0);
        assert_eq!(federation.log_size(421_002).await, before);
        let asked = federation.ask(421_002, federation.case()).await;
        assert_eq!(outcome(&asked, 421_000), Outcome::Answered);
    }
}

#[tokio::test]
async fn f11_whoever_is_asked_with_a_wrong_clock_says_so_and_searches_nothing() {
    let federation = Federation::of(&TREE).await;
    federation.watches[&code(421_003)].put(20 * MINUTE);
    federation.node(421_003).compare_clocks().await;
    let before = federation.log_size(421_003).await;
    let asked = federation.ask(421_002, federation.case()).await;
    assert_eq!(outcome(&asked, 421_003), Outcome::PeerError, "the problem `clock`");
    assert_eq!(federation.log_size(421_003).await, before);
    federation.watches[&code(421_003)].put(0);
    federation.node(421_003).compare_clocks().await;
    assert_eq!(
        outcome(&federation.again(421_002, &asked).await, 421_003),
        Outcome::Answered
    );
}

#[tokio::test]
async fn f11_the_median_of_the_neighbours_counts_and_a_jump_is_seen_without_them() {
    let federation = Federation::of(&TREE).await;
    // The city has three neighbours; one of them being wrong stops nobody but itself.
    federation.watches[&code(421_003)].put(60 * MINUTE);
    let city = federation.node(421_000);
    assert!(matches!(city.compare_clocks().await, Clocks::Together(_)));
    let leads: Vec<_> = city
        .standing()
        .into_iter()
        .map(|neighbour| neighbour.clock.unwrap() / MINUTE)
        .collect();
    assert_eq!(leads, [0, 0, 60]);

    for neighbour in [420_000, 421_002, 421_003] {
        federation.wires.spoil(421_000, neighbour, Fault::Down);
    }
    federation.watches[&code(421_000)].put(-30 * MINUTE);
    assert!(
        matches!(city.compare_clocks().await, Clocks::TooFar(_)),
        "what they said before still counts"
    );
}

#[tokio::test]
async fn notes_that_a_cut_kept_away_come_with_the_next_comparison_even_to_whoever_asks_nothing() {
    let federation = Federation::of(&TREE).await;
    federation.wires.spoil(420_000, 421_000, Fault::Down);
    let later = sanku_values::Clock::now(&*federation.clock).plus(std::time::Duration::from_secs(1));
    let note = federation.notary.suspension_note(later, &[code(421_003)]);
    let (province, city) = (federation.node(420_000), federation.node(421_000));
    province.take_notes(vec![note], None).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_ne!(
        province.trust().digest(),
        city.trust().digest(),
        "the push did not arrive"
    );
    federation.wires.mend();
    city.compare_clocks().await;
    for _ in 0..100 {
        if province.trust().digest() == city.trust().digest() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("the city never fetched them");
}

#[tokio::test]
async fn f11_a_clock_that_lags_seals_to_a_key_that_is_younger_than_the_lag() {
    let mut federation = Federation::of(&TREE).await;
    let now = federation.clock.now();
    // A minute ago the asker got the one key it has.
    let rows = &mut federation.notary.registry.nodes;
    let asker = rows.iter_mut().find(|row| row.code == code(421_002)).unwrap();
    asker.sealing_keys[0].from = now.minus(Duration::from_secs(60));
    let note = federation.notary.registry_note(now);
    for number in TREE {
        let node = federation.node(number);
        node.take_notes(vec![note.clone()], None).await.unwrap();
    }
    for lead in [-5 * MINUTE, 5 * MINUTE] {
        federation.watches[&code(421_003)].put(lead);
        federation.node(421_003).compare_clocks().await;
        let asked = federation.ask(421_002, federation.case()).await;
        assert_eq!(outcome(&asked, 421_003), Outcome::Answered, "{lead}");
    }
}

#[tokio::test(start_paused = true)]
async fn f11_a_wrong_clock_that_keeps_its_node_from_everybody_goes_on_holding_the_log() {
    let still: Arc<dyn Pace> = Arc::new(Stillness::default());
    let federation = Federation::under(
        &TREE,
        |_| Policy::default(),
        |_| "sqlite::memory:".to_owned(),
        TrueTime::flowing(morning()),
        Box::new(move |_, _| Some(Arc::clone(&still))),
    )
    .await;
    let (district, watch) = (federation.node(421_002), &federation.watches[&code(421_002)]);
    assert!(matches!(district.compare_clocks().await, Clocks::Together(_)));
    // A day back no certificate is valid yet: no neighbour can be called.
    watch.put(-24 * 60 * MINUTE);
    federation.wires.spoil(421_002, 421_000, Fault::Down);
    for _ in 0..10 {
        assert!(matches!(district.compare_clocks().await, Clocks::TooFar(_)));
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    let refused = federation.try_ask(421_002, federation.case()).await;
    assert!(
        matches!(refused, Err(ExchangeError::Store(StoreError::Clock))),
        "{refused:?}"
    );
    // The right time heals it at once, even before anybody is reached; after that old words count no more.
    watch.put(0);
    federation.ask(421_002, federation.case()).await;
    assert_eq!(district.compare_clocks().await, Clocks::Alone);
}
