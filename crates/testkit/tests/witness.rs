//! Witnesses: neighbours cosign each other's logs, in whatever state the rest of the federation is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;

use sanku_exchange::WitnessAnswer;
use sanku_federation_protocol::witness::cosigned;
use sanku_testkit::{Fault, Federation, HEAD, code};
use sanku_tlog::{AddCheckpoint, Checkpoint, Hash, NotCosigned};

const PROVINCE: u32 = 420_000;
const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [PROVINCE, CITY, HERE, THERE];

#[tokio::test]
async fn every_log_gets_the_cosignature_that_counts() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation.ask(HERE, federation.case()).await;
    for of in ALL {
        let node = federation.node(of);
        assert!(node.store().unwitnessed_since().await.unwrap().is_some(), "{of}");
        assert!(node.witness_round(&mut BTreeMap::new()).await.unwrap(), "{of}");
        let (checkpoint, note) = node.store().cosigned().await.unwrap().unwrap();
        assert_eq!(checkpoint.size, federation.log_size(of).await);
        assert!(cosigned(&node.trust(), code(of), &note).is_some());
        assert_eq!(node.store().unwitnessed_since().await.unwrap(), None);
    }
    // More is said: only what is new is unwitnessed, and the next round covers it.
    federation.ask(HERE, federation.case()).await;
    let node = federation.node(HERE);
    let mut sizes = BTreeMap::new();
    assert!(node.store().unwitnessed_since().await.unwrap().is_some());
    assert!(node.witness_round(&mut sizes).await.unwrap());
    assert_eq!(node.store().unwitnessed_since().await.unwrap(), None);
    assert_eq!(sizes[&code(CITY)], federation.log_size(HERE).await);
}

#[tokio::test]
async fn f41_a_witness_that_is_down_stops_no_work_and_cosigns_when_it_is_back() {
    let federation = Federation::of(&ALL).await;
    federation.wires.spoil(HERE, CITY, Fault::Down);
    federation.ask(HERE, federation.case()).await;
    let node = federation.node(HERE);
    let mut sizes = BTreeMap::new();
    assert!(!node.witness_round(&mut sizes).await.unwrap());
    assert!(node.store().unwitnessed_since().await.unwrap().is_some());
    federation.wires.mend();
    assert!(node.witness_round(&mut sizes).await.unwrap());
    assert_eq!(node.store().unwitnessed_since().await.unwrap(), None);
}

#[tokio::test]
async fn the_province_needs_more_than_half_of_its_subordinates() {
    let federation = Federation::of(&[PROVINCE, 421_000, 422_000, 423_000]).await;
    federation.ask(PROVINCE, federation.case()).await;
    let node = federation.node(PROVINCE);
    let mut sizes = BTreeMap::new();
    federation.wires.spoil(PROVINCE, 421_000, Fault::Down);
    federation.wires.spoil(PROVINCE, 422_000, Fault::Down);
    assert!(
        !node.witness_round(&mut sizes).await.unwrap(),
        "one of three is not enough"
    );
    federation.wires.mend();
    federation.wires.spoil(PROVINCE, 421_000, Fault::Down);
    assert!(node.witness_round(&mut sizes).await.unwrap(), "two of three are");
}

#[tokio::test]
async fn f40_a_rewritten_log_and_a_strangers_log_are_not_cosigned() {
    let federation = Federation::of(&ALL).await;
    federation.ask(HERE, federation.case()).await;
    let (node, witness) = (federation.node(HERE), federation.node(CITY));
    assert!(node.witness_round(&mut BTreeMap::new()).await.unwrap());
    let (known, _) = node.store().checkpoint().await.unwrap();
    let hand_in = async |request: AddCheckpoint| witness.add_checkpoint(&request.text()).await.unwrap();
    let key = sanku_testkit::notes::log_key(code(HERE));
    let forged = |size: u64, root: &[u8]| {
        let checkpoint = Checkpoint {
            size,
            root: Hash::of(root),
            ..known.clone()
        };
        checkpoint.sign(&key).unwrap()
    };
    let request = |old: u64, proof: Vec<Hash>, checkpoint| AddCheckpoint { old, proof, checkpoint };
    assert_eq!(
        hand_in(request(
            known.size,
            vec![Hash::of(b"1")],
            forged(known.size + 1, b"other")
        ))
        .await,
        WitnessAnswer::Refused(NotCosigned::BadProof)
    );
    // A smaller log under the same key: what a database that was put back would say.
    assert_eq!(
        hand_in(request(0, Vec::new(), forged(1, b"other"))).await,
        WitnessAnswer::Refused(NotCosigned::Conflict(known.size))
    );
    // Two checkpoints of one size prove a fork at once: from then on this log is cosigned no more.
    let (_, true_note) = node.store().checkpoint().await.unwrap();
    let twice = request(known.size, Vec::new(), forged(known.size, b"other"));
    assert_eq!(
        hand_in(twice).await,
        WitnessAnswer::Refused(NotCosigned::Conflict(known.size))
    );
    assert_eq!(
        hand_in(request(known.size, Vec::new(), true_note)).await,
        WitnessAnswer::Unknown
    );
    // The city's log is no neighbour's of the district THERE's sibling; a stranger's is nobody's.
    let (_, note) = node.store().checkpoint().await.unwrap();
    let answer = federation
        .node(THERE)
        .add_checkpoint(&request(0, Vec::new(), note).text())
        .await
        .unwrap();
    assert_eq!(answer, WitnessAnswer::Unknown);
    // Nothing of this changed what the witness knows.
    let (seen, _) = witness.store().seen(&known.origin).await.unwrap().unwrap();
    assert_eq!(seen, known);
}
