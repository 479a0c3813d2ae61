//! Linking: what a node holds of another log is unwitnessed until consistency leads to the cosignature that counts; a log that
//! says two things is found by whoever holds both, and believed no more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail loudly"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use sanku_exchange::LogFile;
use sanku_exchange::links::Waits;
use sanku_federation_protocol::evidence;
use sanku_federation_protocol::forks::{self, Forked};
use sanku_federation_protocol::names::Outcome;
use sanku_federation_protocol::stream::write_note;
use sanku_testkit::{Fault, Federation, HEAD, code, morning, notes, outcome};
use sanku_tlog::tiles::Tile;
use sanku_tlog::{AddCheckpoint, Checkpoint, Frontier, Hash, leaf_hash};

const PROVINCE: u32 = 420_000;
const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [PROVINCE, CITY, HERE, THERE];

/// Every log is cosigned, and every node links what it holds.
async fn settle(federation: &Federation) {
    for of in ALL {
        let _ = federation.node(of).witness_round(&mut BTreeMap::new()).await.unwrap();
    }
    for of in ALL {
        federation.node(of).link_round(&mut Waits::new()).await.unwrap();
    }
}

#[tokio::test]
async fn everything_that_is_held_is_witnessed_and_evidence_shows_it() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(
        asked.unwitnessed.len(),
        4,
        "nothing is covered at the moment of the answer"
    );
    assert!(asked.unwitnessed.iter().all(|open| open.since >= morning()));
    settle(&federation).await;
    for of in ALL {
        assert_eq!(federation.node(of).store().open_logs().await.unwrap(), [], "{of}");
    }
    let node = federation.node(HERE);
    assert_eq!(node.known_now(asked.id).await.unwrap().unwitnessed, []);
    let (runs, covers, merged) = node.evidence(asked.id).await.unwrap();
    let trust = node.trust();
    let notes: Vec<_> = trust.all().map(|(_, held)| held.bytes.to_string()).collect();
    let file = evidence::write(notes.iter().map(String::as_bytes), &runs, &covers, &merged);
    let report = evidence::verify(file.as_bytes(), notes::fingerprint(), &[], morning()).unwrap();
    assert_eq!(report.unwitnessed().count(), 0);
    // A hash of one of the proofs changed: it is no evidence any more.
    let proof = file
        .lines()
        .find(|line| line.starts_with("K ") && line.split(' ').count() > 3);
    let proof = proof.expect("some run stands under an older checkpoint");
    let (before, last) = proof.rsplit_once(' ').unwrap();
    assert_ne!(last, Hash::of(b"other").to_base64());
    let bent = file.replace(proof, &format!("{before} {}", Hash::of(b"other").to_base64()));
    assert!(evidence::verify(bent.as_bytes(), notes::fingerprint(), &[], morning()).is_err());
}

#[tokio::test]
async fn one_checkpoint_covers_many_runs_and_a_restart_forgets_nothing() {
    let mut federation = Federation::of(&ALL).await;
    for _ in 0..3 {
        federation.ask(HERE, federation.case()).await;
    }
    let before = federation.node(HERE).store().open_logs().await.unwrap();
    assert_eq!(before.len(), 3);
    federation.restart(HERE).await.unwrap();
    settle(&federation).await;
    assert_eq!(federation.node(HERE).store().open_logs().await.unwrap(), []);
}

#[tokio::test]
async fn f41_what_no_witness_covers_is_said_and_is_an_alarm_after_72_hours() {
    let federation = Federation::of(&ALL).await;
    federation.wires.spoil(THERE, CITY, Fault::Down);
    let asked = federation.ask(HERE, federation.case()).await;
    settle(&federation).await;
    let node = federation.node(HERE);
    let open = node.known_now(asked.id).await.unwrap().unwitnessed;
    assert_eq!(open.len(), 1);
    assert!(open[0].log.contains(&THERE.to_string()) && !node.is_alarm(open[0].since));
    federation.later(Duration::from_secs(72 * 3600));
    assert!(node.is_alarm(open[0].since));
    assert_eq!(node.unwitnessed_since().await.unwrap(), Some(open[0].since));
    federation.wires.mend();
    // What was read of the log a moment ago is read again only when it is older than half a second.
    tokio::time::sleep(Duration::from_millis(600)).await;
    settle(&federation).await;
    assert_eq!(node.known_now(asked.id).await.unwrap().unwitnessed, []);
}

#[tokio::test]
async fn logs_beyond_a_neighbour_are_read_through_it_and_never_back() {
    let federation = Federation::of(&ALL).await;
    federation.ask(HERE, federation.case()).await;
    let there = federation.node(THERE).store();
    let (checkpoint, _) = there.checkpoint().await.unwrap();
    let tile = LogFile::Tile(Tile::in_log(0, 0, checkpoint.size).unwrap());
    let read = federation
        .node(HERE)
        .log_file(there.origin(), tile, None)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read.len() as u64, checkpoint.size * 32);
    let entry = there.entries(0, 1).await.unwrap().pop().unwrap();
    assert_eq!(read[..32], *leaf_hash(&entry).bytes());
    // Whoever lies on the way to the log has it nearer: it is not sent back.
    let back = federation
        .node(HERE)
        .log_file(there.origin(), tile, Some(code(CITY)))
        .await;
    assert_eq!(back.unwrap(), None);
    let beyond = LogFile::Tile(Tile {
        level: 0,
        index: 9,
        width: 256,
    });
    assert_eq!(
        federation
            .node(HERE)
            .log_file(there.origin(), beyond, None)
            .await
            .unwrap(),
        None
    );
}

/// THERE's key signs another log of so many entries.
fn forged(federation: &Federation, size: u64) -> (Checkpoint, sanku_tlog::SignedNote) {
    let mut frontier = Frontier::default();
    for index in 0..size {
        frontier.push(leaf_hash(&index.to_be_bytes()), |_, _, _| {});
    }
    let checkpoint = Checkpoint {
        origin: federation.node(THERE).store().origin().to_string(),
        size,
        root: frontier.root(),
    };
    let note = checkpoint.sign(&notes::log_key(code(THERE))).unwrap();
    (checkpoint, note)
}

#[tokio::test]
async fn f40_a_log_that_says_two_things_is_proven_and_believed_no_more() {
    let federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    federation.ask(HERE, federation.case()).await;
    settle(&federation).await;
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, THERE), Outcome::Answered);
    // The other view comes to HERE before the second answers were covered.
    let node = federation.node(HERE);
    let (fake, note) = forged(&federation, 2);
    let store = node.store();
    store
        .hold_checkpoint(&fake.origin, 2, fake.root, &note, false, federation.node(HERE).now())
        .await
        .unwrap();
    node.link_round(&mut Waits::new()).await.unwrap();
    let forks_found = store.forks().await.unwrap();
    assert_eq!(forks_found.len(), 1);
    assert_eq!(forks_found[0].subject, fake.origin);
    // Anybody is convinced by the file alone, and by nothing less.
    let trust = node.trust();
    let lines: String = trust.all().map(|(_, held)| write_note(held.bytes.as_bytes())).collect();
    let file = lines.clone() + &forks_found[0].proof;
    let judged = forks::verify(file.as_bytes(), notes::fingerprint(), morning()).unwrap();
    assert!(matches!(judged, Forked::Log(origin, ..) if origin.node == code(THERE)));
    assert!(forks::verify(file.as_bytes(), Hash::of(b"other"), morning()).is_err());
    assert!(forks::verify(lines.as_bytes(), notes::fingerprint(), morning()).is_err());
    // What was witnessed before stays; what was not, and all that is new, is not trusted.
    let again = federation.again(HERE, &asked).await;
    assert_eq!(outcome(&again, THERE), Outcome::NotTrusted);
    let new = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&new, THERE), Outcome::NotTrusted);
    assert_eq!(outcome(&new, CITY), Outcome::Answered);
}

#[tokio::test]
async fn f40_a_witness_that_is_shown_both_views_keeps_the_proof() {
    let federation = Federation::of(&ALL).await;
    federation.ask(HERE, federation.case()).await;
    settle(&federation).await;
    let witness = federation.node(CITY);
    let origin = federation.node(THERE).store().origin().to_string();
    let (seen, _) = witness.store().seen(&origin).await.unwrap().unwrap();
    let (_, note) = forged(&federation, seen.size);
    let request = AddCheckpoint {
        old: seen.size,
        proof: Vec::new(),
        checkpoint: note,
    };
    witness.add_checkpoint(&request.text()).await.unwrap();
    let found = witness.store().forks().await.unwrap();
    assert_eq!(found.len(), 1, "same size, another root");
    assert!(witness.trust().forked_logs().iter().any(|log| log.node == code(THERE)));
}

#[tokio::test]
async fn a04_of_two_branches_that_race_a_witness_cosigns_one() {
    let federation = Federation::of(&ALL).await;
    federation.ask(HERE, federation.case()).await;
    let witness = federation.node(PROVINCE);
    let key = notes::log_key(code(CITY));
    let origin = federation.node(CITY).store().origin().to_string();
    let branch = |salt: &str| {
        let mut frontier = Frontier::default();
        frontier.push(leaf_hash(salt.as_bytes()), |_, _, _| {});
        let checkpoint = Checkpoint {
            origin: origin.clone(),
            size: 1,
            root: frontier.root(),
        };
        AddCheckpoint {
            old: 0,
            proof: Vec::new(),
            checkpoint: checkpoint.sign(&key).unwrap(),
        }
        .text()
    };
    let (a, b) = (branch("a"), branch("b"));
    let (one, other) = tokio::join!(witness.add_checkpoint(&a), witness.add_checkpoint(&b));
    let cosigned = [one.unwrap(), other.unwrap()]
        .into_iter()
        .filter(|answer| matches!(answer, sanku_exchange::WitnessAnswer::Cosigned(_)));
    assert_eq!(cosigned.count(), 1);
}
