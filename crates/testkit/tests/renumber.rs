//! A new log number (F38, G9): a node whose newest database is lost, or whose key is rotated, goes on under the next number;
//! what was said before counts as far as anybody knew of it, and what was lost is listed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sanku_exchange::Asked;
use sanku_exchange::links::Waits;
use sanku_federation_protocol::acts::{LogClose, LogOpen, Public};
use sanku_federation_protocol::entry::{Entry, Said};
use sanku_federation_protocol::evidence::{self, Fault, NoEvidence, Report};
use sanku_federation_protocol::names::{Origin, Outcome, StatementId};
use sanku_federation_protocol::statement::{LogKeys as _, RunError};
use sanku_federation_protocol::stream::write_run;
use sanku_store::Store;
use sanku_testkit::{Fault as Broken, Federation, HEAD, code, notes, outcome};
use sanku_tlog::Checkpoint;
use sanku_values::Clock as _;

const PROVINCE: u32 = 420_000;
const CITY: u32 = 421_000;
const HERE: u32 = 421_002;
const THERE: u32 = 421_003;
const ALL: [u32; 4] = [PROVINCE, CITY, HERE, THERE];
const EMPTY: &str = "sqlite::memory:";
const MINUTE: Duration = Duration::from_secs(60);

fn log(of: u32, number: u32) -> Origin {
    format!("hubei.example/node/{of}/{number}").parse().unwrap()
}

async fn witness(federation: &Federation, of: u32) -> bool {
    federation.node(of).witness_round(&mut BTreeMap::new()).await.unwrap()
}

/// What the superior of a node saw of its log.
async fn seen(federation: &Federation, by: u32, log: &Origin) -> Checkpoint {
    federation
        .node(by)
        .store()
        .seen(&log.to_string())
        .await
        .unwrap()
        .unwrap()
        .0
}

/// What a log's entry says to everybody.
async fn public(store: &Store, index: u64) -> Public {
    let line = store.entries(index, 1).await.unwrap().pop().unwrap();
    match Entry::parse(&line).unwrap().said {
        Said::Act(act) => *act.public.unwrap(),
        other => panic!("an act, not {}", other.kind()),
    }
}

/// The node's log gets the next number; the one before is closed at this size, if any. The node starts anew.
async fn renumber(federation: &mut Federation, of: u32, final_size: Option<u64>) {
    federation.later(MINUTE);
    let now = federation.clock.now();
    federation.notary.renumber(code(of), final_size, now);
    federation.publish().await;
    federation.restart(of).await.unwrap();
    federation.node(of).ask_what_was_seen().await;
}

/// A question's evidence, as a file.
async fn exported(federation: &Federation, of: u32, id: StatementId) -> String {
    let node = federation.node(of);
    let (runs, covers, merged) = node.evidence(id).await.unwrap();
    let trust = node.trust();
    let notes: Vec<_> = trust.all().map(|(_, held)| held.bytes.to_string()).collect();
    evidence::write(notes.iter().map(String::as_bytes), &runs, &covers, &merged)
}

/// The same, judged with the registry as it stands now.
fn judged(federation: &Federation, file: &str) -> Result<Report, NoEvidence> {
    let newest = federation.node(CITY).trust();
    let newest: Vec<_> = newest.all().map(|(_, held)| held.bytes.as_bytes().to_vec()).collect();
    evidence::verify(file.as_bytes(), notes::fingerprint(), &newest, federation.clock.now())
}

fn ends(asked: &Asked) -> BTreeSet<Outcome> {
    asked.merged.outcomes.values().map(|end| end.outcome).collect()
}

#[tokio::test]
async fn f38_a_node_whose_newest_database_is_lost_goes_on_under_a_new_number() {
    let mut federation = Federation::of(&ALL).await;
    federation.ask(HERE, federation.case()).await;
    assert!(witness(&federation, HERE).await);
    let lost = seen(&federation, CITY, &log(HERE, 1)).await;
    federation.put_back(HERE, EMPTY).await;
    federation.node(HERE).ask_what_was_seen().await;
    assert_eq!(federation.node(HERE).store().recovering().unwrap().word(), "behind");

    // The registry closes the log: the process that works under its number says nothing more.
    federation.later(MINUTE);
    let now = federation.clock.now();
    federation.notary.renumber(code(HERE), Some(lost.size), now);
    federation.publish().await;
    federation.node(HERE).look_at_ground().await;
    assert_eq!(federation.node(HERE).store().recovering().unwrap().word(), "closed");
    // The next is opened once a witness said that nobody has seen it.
    federation.restart(HERE).await.unwrap();
    federation.wires.spoil(HERE, CITY, Broken::Down);
    federation.node(HERE).ask_what_was_seen().await;
    assert_eq!(federation.node(HERE).store().recovering().unwrap().word(), "not_opened");
    assert!(federation.try_ask(HERE, federation.case()).await.is_err());
    federation.wires.mend();
    federation.node(HERE).look_at_ground().await;
    let store = federation.node(HERE).store();
    assert_eq!(store.recovering(), None);
    assert_eq!(*store.origin(), log(HERE, 2));
    let first = Public::Open(LogOpen {
        before: log(HERE, 1),
        size: lost.size,
        root: lost.root,
    });
    assert_eq!(public(store, 0).await, first);

    // It asks and answers, and is witnessed, under its new keys.
    federation.hold(HERE, &HEAD, "鄂D9").await;
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(ends(&asked), BTreeSet::from([Outcome::Answered]));
    let asked = federation.ask(THERE, federation.case()).await;
    assert_eq!(ends(&asked), BTreeSet::from([Outcome::Answered]));
    assert!(witness(&federation, HERE).await);
    assert_eq!(
        seen(&federation, CITY, &log(HERE, 2)).await.size,
        federation.log_size(HERE).await
    );
    assert_eq!(
        seen(&federation, CITY, &log(HERE, 1)).await,
        lost,
        "the old one goes no further"
    );

    // An older database under the new number is behind, and opens nothing a second time.
    federation.put_back(HERE, EMPTY).await;
    federation.node(HERE).ask_what_was_seen().await;
    assert_eq!(federation.node(HERE).store().recovering().unwrap().word(), "behind");
    federation.node(HERE).look_at_ground().await;
    assert_eq!(federation.node(HERE).store().checkpoint().await.unwrap().0.size, 0);
}

#[tokio::test]
async fn a_planned_rotation_loses_nothing_late_answers_join_and_evidence_from_before_holds() {
    let mut federation = Federation::of(&ALL).await;
    federation.hold(THERE, &HEAD, "鄂D1").await;
    let whole = federation.ask(HERE, federation.case()).await;
    let before = exported(&federation, HERE, whole.id).await;
    federation.wires.spoil(CITY, THERE, Broken::Down);
    let late = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&late, THERE), Outcome::Unreachable);
    let size = federation.log_size(HERE).await;

    renumber(&mut federation, HERE, None).await;
    let store = federation.node(HERE).store().clone();
    assert_eq!(store.recovering(), None);
    let earlier = store.earlier().await.unwrap();
    let key = store.verifier().clone();
    let next = log(HERE, 2);
    assert_eq!(public(&earlier[0], size).await, Public::Close(LogClose { next, key }));
    let end = earlier[0].checkpoint().await.unwrap().0;
    let opened = Public::Open(LogOpen {
        before: log(HERE, 1),
        size: end.size,
        root: end.root,
    });
    assert_eq!((end.size, public(&store, 0).await), (size + 1, opened));
    // Its end is cosigned like everything before it.
    assert!(federation.node(HERE).witness_earlier().await.unwrap());
    assert_eq!(seen(&federation, CITY, &log(HERE, 1)).await, end);
    federation.notary.close(code(HERE), 1, end.size, federation.clock.now());
    federation.publish().await;

    // What was asked under the old number goes on under the new one.
    federation.wires.mend();
    assert_eq!(federation.node(HERE).queue_length().await.unwrap(), 1);
    federation.later(MINUTE);
    assert_eq!(federation.node(HERE).ask_due().await.unwrap(), 1);
    let now = federation.node(HERE).known_now(late.id).await.unwrap();
    assert_eq!(ends(&now), BTreeSet::from([Outcome::Answered]));
    assert_eq!(federation.node(HERE).queue_length().await.unwrap(), 0);
    let said = store.said(&log(HERE, 1), late.id).await.unwrap();
    assert_eq!(
        (said.first().unwrap().origin.number, said.last().unwrap().origin.number),
        (1, 2)
    );

    // Evidence from before, and from after, verifies offline; everything held of the old log is linked.
    for file in [
        before,
        exported(&federation, HERE, whole.id).await,
        exported(&federation, HERE, late.id).await,
    ] {
        judged(&federation, &file).unwrap();
    }
    for of in ALL {
        witness(&federation, of).await;
    }
    for of in ALL {
        federation.node(of).link_round(&mut Waits::new()).await.unwrap();
        assert_eq!(federation.node(of).store().open_logs().await.unwrap(), [], "{of}");
    }
    let file = exported(&federation, HERE, late.id).await;
    assert_eq!(judged(&federation, &file).unwrap().unwitnessed().count(), 0);
}

#[tokio::test]
async fn g5_what_was_answered_under_the_old_number_is_said_again_and_not_searched_twice() {
    let mut federation = Federation::of(&ALL).await;
    federation.hold(HERE, &HEAD, "鄂D1").await;
    let asked = federation.ask(THERE, federation.case()).await;
    renumber(&mut federation, HERE, None).await;
    let (run, _) = federation.node(THERE).known(asked.id).await.unwrap();
    let size = federation.log_size(HERE).await;
    let parts = federation
        .hand_in(CITY, HERE, write_run(&run).as_bytes())
        .await
        .unwrap();
    let lines: String = parts.into_iter().map(|part| part.0).collect();
    assert!(
        lines.contains(r#""kind":"answer""#) && !lines.contains("/421002/2"),
        "{lines}"
    );
    assert_eq!(federation.log_size(HERE).await, size);
    // A withdrawal binds whatever number the question was asked under.
    federation.later(MINUTE);
    renumber(&mut federation, THERE, None).await;
    let Said::Query(query) = &run.statements[0].entry.said else {
        panic!("a question")
    };
    let told = federation
        .node(THERE)
        .withdraw(query.mandate_id, "test", 10 * MINUTE)
        .await
        .unwrap();
    assert!(told.iter().all(|(_, end)| *end == Outcome::Answered), "{told:?}");
    let store = federation.node(HERE).store();
    let now = federation.clock.now();
    assert!(store.is_withdrawn(code(THERE), query.mandate_id, now).await.unwrap());
}

/// HERE answered the city and a district, then lost everything behind what was cosigned before; the district's result was
/// cosigned before the closing, the province's was not.
async fn with_a_lost_tail() -> (Federation, u64, Asked, Asked) {
    let mut federation = Federation::of(&ALL).await;
    federation.hold(HERE, &HEAD, "鄂D1").await;
    assert!(witness(&federation, HERE).await);
    let known = federation.log_size(HERE).await;
    let named = federation.ask(THERE, federation.case()).await;
    let unnamed = federation.ask(PROVINCE, federation.case()).await;
    assert!(witness(&federation, THERE).await);
    federation.put_back(HERE, EMPTY).await;
    (federation, known, named, unnamed)
}

#[tokio::test]
async fn above_the_final_size_counts_what_a_witnessed_result_named_before_the_closing_and_nothing_else() {
    let (mut federation, known, named, unnamed) = with_a_lost_tail().await;
    assert!(ends(&named).len() == 1 && ends(&unnamed).len() == 1);
    let before = exported(&federation, PROVINCE, unnamed.id).await;
    judged(&federation, &before).unwrap();
    renumber(&mut federation, HERE, Some(known)).await;
    // Cosignatures that come later change nothing of what was named in time.
    federation.later(MINUTE);
    for of in [THERE, PROVINCE, CITY] {
        federation.ask(of, federation.case()).await;
        witness(&federation, of).await;
    }
    let now = federation.node(THERE).known_now(named.id).await.unwrap();
    assert_eq!(outcome(&now, HERE), Outcome::Answered);
    judged(&federation, &exported(&federation, THERE, named.id).await).unwrap();
    let now = federation.node(PROVINCE).known_now(unnamed.id).await.unwrap();
    assert_ne!(outcome(&now, HERE), Outcome::Answered);
    let refused = judged(&federation, &before).unwrap_err();
    assert_eq!(refused.fault, Fault::Run(RunError::NotTrusted("closed")));
    // It is asked again, and answers under its new number.
    federation.hold(HERE, &HEAD, "鄂D1").await;
    let again = federation.again(PROVINCE, &unnamed).await;
    assert_eq!(outcome(&again, HERE), Outcome::Answered);
    judged(&federation, &exported(&federation, PROVINCE, unnamed.id).await).unwrap();
}

#[tokio::test]
async fn whoever_holds_more_says_so_and_the_final_size_rises_to_it() {
    let (mut federation, known, named, unnamed) = with_a_lost_tail().await;
    renumber(&mut federation, HERE, Some(known)).await;
    for holder in [THERE, PROVINCE] {
        let cut = federation.node(holder).cut_short().await.unwrap();
        assert_eq!((cut.len(), &cut[0].0, cut[0].1), (1, &log(HERE, 1), known));
        assert!(cut[0].2 > known);
    }
    let more = federation.node(PROVINCE).cut_short().await.unwrap()[0].2;
    federation.notary.close(code(HERE), 1, more, federation.clock.now());
    federation.publish().await;
    assert_eq!(federation.node(PROVINCE).cut_short().await.unwrap(), []);
    for (of, asked) in [(THERE, named), (PROVINCE, unnamed)] {
        let now = federation.node(of).known_now(asked.id).await.unwrap();
        assert_eq!(outcome(&now, HERE), Outcome::Answered, "{of}");
        judged(&federation, &exported(&federation, of, asked.id).await).unwrap();
    }
}

#[tokio::test]
async fn f38_a_neighbour_tells_what_it_holds_beyond_what_it_cosigned() {
    let mut federation = Federation::of(&ALL).await;
    assert!(witness(&federation, HERE).await);
    let cosigned = federation.log_size(HERE).await;
    federation.ask(CITY, federation.case()).await;
    let size = federation.log_size(HERE).await;
    assert!(size > cosigned);
    federation.put_back(HERE, EMPTY).await;
    federation.node(HERE).ask_what_was_seen().await;
    assert_eq!(federation.node(HERE).store().recovering().unwrap().missing(), cosigned);
    let told = federation.node(HERE).store().remembered();
    assert_eq!(told.iter().map(|one| one.checkpoint.size).max(), Some(size));
}

#[tokio::test]
async fn what_was_lost_is_listed_from_wherever_it_is_held_and_given_to_its_own_node_alone() {
    let (mut federation, known, named, _) = with_a_lost_tail().await;
    renumber(&mut federation, HERE, Some(known)).await;
    let node = federation.node(HERE);
    let mut found = Vec::new();
    let holders = node.lost(&log(HERE, 1), |lost| found.push(lost)).await.unwrap();
    assert!(holders.iter().all(|holder| holder.failed.is_none()), "{holders:?}");
    assert_eq!(holders.len(), 3);
    // The two askers hold its answers; what they are about is named, and bodies are sealed to it.
    let by: BTreeSet<_> = found.iter().map(|lost| lost.holder.number()).collect();
    assert_eq!(by, BTreeSet::from([PROVINCE, THERE]));
    let answers = found.iter().flat_map(|lost| &lost.run.statements);
    let answers = answers.filter(|statement| matches!(statement.entry.said, Said::Answer(_)));
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len(), 4, "two people, two askers");
    assert!(answers.iter().all(|answer| answer.open_body().is_none()));
    assert!(
        found
            .iter()
            .any(|lost| lost.about.question == named.id && lost.about.asker == log(THERE, 1))
    );
    // Nobody else gets it, and not through another neighbour.
    let cursor = sanku_exchange::lost::Cursor {
        from: 0,
        at: 0,
        after: StatementId::generate(federation.clock.now()),
    };
    for asks in [PROVINCE, THERE] {
        let given = federation
            .node(CITY)
            .held_of(&log(HERE, 1), code(PROVINCE), cursor, code(asks))
            .await;
        assert_eq!(given.unwrap(), None);
    }
    // Somebody who cannot be reached is named.
    federation.wires.spoil(CITY, THERE, Broken::Down);
    let holders = federation.node(HERE).lost(&log(HERE, 1), |_| ()).await.unwrap();
    let failed: Vec<_> = holders
        .iter()
        .filter(|holder| holder.failed.is_some())
        .map(|holder| holder.code)
        .collect();
    assert_eq!(failed, [code(THERE)]);
}

#[tokio::test]
async fn what_others_answered_to_a_lost_question_is_listed() {
    let mut federation = Federation::of(&ALL).await;
    let lost = federation.ask(HERE, federation.case()).await;
    assert!(witness(&federation, HERE).await);
    let size = federation.log_size(HERE).await;
    federation.put_back(HERE, EMPTY).await;
    renumber(&mut federation, HERE, Some(size)).await;
    let mut found = Vec::new();
    federation
        .node(HERE)
        .lost(&log(HERE, 1), |lost| found.push(lost))
        .await
        .unwrap();
    assert!(found.iter().all(|found| found.about.question == lost.id));
    let by: BTreeSet<_> = found.iter().map(|lost| lost.holder.number()).collect();
    assert_eq!(by, BTreeSet::from([PROVINCE, CITY, THERE]));
    // A question that the database knows is not lost.
    let asked = federation.ask(HERE, federation.case()).await;
    let mut none = Vec::new();
    federation
        .node(HERE)
        .lost(&log(HERE, 2), |lost| none.push(lost))
        .await
        .unwrap();
    assert_eq!(none.len(), 0, "{:?}", asked.id);
}

#[tokio::test]
async fn f40_a_fork_under_the_old_number_is_found_after_the_new_one_was_opened() {
    let mut federation = Federation::of(&ALL).await;
    federation.ask(HERE, federation.case()).await;
    assert!(witness(&federation, HERE).await);
    let size = federation.log_size(HERE).await;
    federation.put_back(HERE, EMPTY).await;
    // It was not told, and signed another history, longer than the one that was cosigned; a district holds some of it.
    federation.node(HERE).store().ask_first(false);
    while federation.log_size(HERE).await <= size {
        federation.ask(HERE, federation.case()).await;
    }
    let asked = federation.ask(THERE, federation.case()).await;
    assert_eq!(outcome(&asked, HERE), Outcome::Answered);
    renumber(&mut federation, HERE, Some(size)).await;
    assert_eq!(federation.node(HERE).store().recovering(), None);
    assert!(!federation.node(HERE).store().earlier().await.unwrap()[0].stands());
    // The city held both histories, and compares them.
    federation.later(MINUTE);
    federation.node(CITY).link_round(&mut Waits::new()).await.unwrap();
    let forks = federation.node(CITY).store().forks().await.unwrap();
    assert_eq!(
        forks.iter().map(|fork| fork.subject.clone()).collect::<Vec<_>>(),
        [log(HERE, 1).to_string()]
    );
    // Of the new log everything counts.
    let asked = federation.ask(CITY, federation.case()).await;
    assert_eq!(outcome(&asked, HERE), Outcome::Answered);
}

#[tokio::test]
async fn the_provinces_log_is_opened_once_more_than_half_of_its_subordinates_were_heard() {
    let all = [PROVINCE, CITY, 422_000, 423_000];
    let mut federation = Federation::of(&all).await;
    for of in all {
        let _ = witness(&federation, of).await;
    }
    for other in [422_000, 423_000] {
        federation.wires.spoil(PROVINCE, other, Broken::Down);
    }
    renumber(&mut federation, PROVINCE, None).await;
    assert_eq!(
        federation.node(PROVINCE).store().recovering().unwrap().word(),
        "not_opened"
    );
    federation.wires.mend();
    federation.node(PROVINCE).look_at_ground().await;
    assert_eq!(federation.node(PROVINCE).store().recovering(), None);
    let asked = federation.ask(PROVINCE, federation.case()).await;
    assert_eq!(ends(&asked), BTreeSet::from([Outcome::Answered]));
}

#[tokio::test]
async fn a_log_opened_a_moment_ago_counts_where_its_note_had_not_come_yet() {
    let mut federation = Federation::of(&ALL).await;
    for of in ALL {
        let _ = witness(&federation, of).await;
    }
    federation.later(MINUTE);
    let now = federation.clock.now();
    federation.notary.renumber(code(PROVINCE), None, now);
    // The province alone has the note, and cannot push it.
    federation.wires.spoil(PROVINCE, CITY, Broken::Down);
    let note = federation.notary.registry_note(now);
    federation.node(PROVINCE).take_notes(vec![note], None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    federation.wires.mend();
    federation.restart(PROVINCE).await.unwrap();
    federation.node(PROVINCE).ask_what_was_seen().await;
    for of in [CITY, HERE] {
        assert!(federation.node(of).trust().log_key(&log(PROVINCE, 2)).is_err());
    }
    let asked = federation.ask(HERE, federation.case()).await;
    assert_eq!(outcome(&asked, PROVINCE), Outcome::Answered);
    assert_eq!(federation.node(PROVINCE).store().origin(), &log(PROVINCE, 2));
}

#[tokio::test]
async fn notes_that_one_process_accepted_reach_the_other_through_the_database() {
    let federation = Federation::of(&ALL).await;
    let (one, other) = (federation.node(HERE), federation.twin(HERE).await.unwrap());
    assert!(!other.learn_notes().await.unwrap(), "nothing new");
    federation.later(MINUTE);
    let note = federation
        .notary
        .suspension_note(federation.clock.now(), &[code(THERE)]);
    one.take_notes(vec![note], None).await.unwrap();
    assert_ne!(one.trust().digest(), other.trust().digest());
    assert!(other.learn_notes().await.unwrap());
    assert_eq!(one.trust().digest(), other.trust().digest());
    assert!(!other.learn_notes().await.unwrap());
}
