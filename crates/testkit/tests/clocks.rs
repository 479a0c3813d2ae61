//! A node beside its neighbours' clocks (F11): a little apart it works and says so, far apart it appends nothing.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use sanku_exchange::ExchangeError;
use sanku_exchange::clock::Clocks;
use sanku_federation_protocol::names::Outcome;
use sanku_store::StoreError;
use sanku_testkit::{Fault, Federation, code, outcome};

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
