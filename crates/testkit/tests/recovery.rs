//! No fork by accident (F38, F40, G9): a node whose database is not what its neighbours saw signs and answers nothing.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use std::collections::BTreeMap;

use sanku_exchange::ExchangeError;
use sanku_federation_protocol::names::Outcome;
use sanku_store::StoreError;
use sanku_testkit::{Fault, Federation, detail, outcome};

const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [420_000, CITY, HERE, THERE];
const EMPTY: &str = "sqlite::memory:";

/// A federation in which the city has cosigned the log of `HERE`.
async fn witnessed() -> Federation {
    let federation = Federation::of(&ALL).await;
    federation.ask(HERE, federation.case()).await;
    assert!(federation.node(HERE).witness_round(&mut BTreeMap::new()).await.unwrap());
    federation
}

fn is_recovering(error: &ExchangeError) -> bool {
    matches!(error, ExchangeError::Store(StoreError::Recovering(_)))
}

#[tokio::test]
async fn f38_an_older_database_signs_and_answers_nothing_once_a_neighbour_was_asked() {
    let mut federation = witnessed().await;
    let size = federation.log_size(HERE).await;
    federation.put_back(HERE, EMPTY).await;
    let node = federation.node(HERE);
    node.store().ask_first(true);
    // Whoever asks before the neighbours were heard waits for them.
    let (refused, ()) = tokio::join!(federation.try_ask(HERE, federation.case()), node.ask_what_was_seen());
    assert!(is_recovering(&refused.unwrap_err()));
    let recovering = node.store().recovering().unwrap();
    assert_eq!(
        (recovering.word(), recovering.holds, recovering.missing()),
        ("behind", 0, size)
    );
    assert!(
        recovering.to_string().contains("421000"),
        "it says who remembers: {recovering}"
    );
    // It witnesses nobody: what it saw itself may be lost.
    let (_, checkpoint) = federation.node(CITY).store().checkpoint().await.unwrap();
    let request = sanku_tlog::AddCheckpoint {
        old: 0,
        proof: Vec::new(),
        checkpoint,
    };
    assert!(is_recovering(&node.add_checkpoint(&request.text()).await.unwrap_err()));
    // Others get a problem that says so, and the rest of the answers.
    let asked = federation.ask(THERE, federation.case()).await;
    assert_eq!(
        (outcome(&asked, HERE), outcome(&asked, CITY)),
        (Outcome::Overloaded, Outcome::Answered)
    );
    assert_eq!(federation.log_size(HERE).await, 0, "nothing was signed");
    // It does not leave this state by itself, whatever is restarted.
    node.look_at_ground().await;
    federation.restart(HERE).await.unwrap();
    federation.node(HERE).ask_what_was_seen().await;
    assert!(federation.node(HERE).store().recovering().is_some());
}

#[tokio::test]
async fn f38_a_node_that_reached_nobody_at_its_start_stops_as_soon_as_its_witness_answers() {
    let mut federation = witnessed().await;
    federation.put_back(HERE, EMPTY).await;
    for other in [CITY, THERE] {
        federation.wires.spoil(HERE, other, Fault::Down);
    }
    federation.node(HERE).ask_what_was_seen().await;
    assert_eq!(federation.node(HERE).store().recovering(), None, "nobody could tell");
    federation.ask(HERE, federation.case()).await;
    federation.wires.mend();
    assert!(!federation.node(HERE).witness_round(&mut BTreeMap::new()).await.unwrap());
    let word = federation
        .node(HERE)
        .store()
        .recovering()
        .map(|recovering| recovering.word());
    assert!(matches!(word, Some("behind" | "beside")), "{word:?}");
    assert!(is_recovering(
        &federation.try_ask(HERE, federation.case()).await.unwrap_err()
    ));
}

#[tokio::test]
async fn f40_a_log_that_was_rewritten_at_its_size_is_beside_what_the_witness_saw() {
    let mut federation = witnessed().await;
    let size = federation.log_size(HERE).await;
    federation.put_back(HERE, EMPTY).await;
    // The forger has the log's key, and makes the log as long as it was, and longer.
    while federation.log_size(HERE).await <= size {
        federation.ask(HERE, federation.case()).await;
    }
    assert!(!federation.node(HERE).witness_round(&mut BTreeMap::new()).await.unwrap());
    assert_eq!(federation.node(HERE).store().recovering().unwrap().word(), "beside");
    let asked = federation.ask(THERE, federation.case()).await;
    assert_eq!(outcome(&asked, HERE), Outcome::Overloaded, "{}", detail(&asked, HERE));
}

#[tokio::test]
async fn the_right_database_put_back_ends_it_without_a_hand() {
    let place = tempfile::tempdir().unwrap();
    let url = |number: u32| format!("sqlite:{}", place.path().join(format!("{number}.db")).display());
    let mut federation = Federation::stored(&ALL, |_| sanku_exchange::Policy::default(), url).await;
    federation.ask(HERE, federation.case()).await;
    assert!(federation.node(HERE).witness_round(&mut BTreeMap::new()).await.unwrap());
    federation.put_back(HERE, EMPTY).await;
    federation.node(HERE).ask_what_was_seen().await;
    assert!(federation.node(HERE).store().recovering().is_some());
    federation.put_back(HERE, &url(HERE)).await;
    federation.node(HERE).ask_what_was_seen().await;
    assert_eq!(federation.node(HERE).store().recovering(), None);
    let asked = federation.ask(THERE, federation.case()).await;
    assert_eq!(outcome(&asked, HERE), Outcome::Answered);
}
