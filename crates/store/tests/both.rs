//! One suite for both databases: SQLite in a temporary file, and a throwaway PostgreSQL.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly and say what it skipped"
)]

mod postgres;

use std::sync::Arc;
use std::time::Duration;

use sanku_catalogue::{Catalogue, CategoryId, Value};
use sanku_federation_protocol::acts::{LogClose, LogOpen, Public};
use sanku_federation_protocol::body::{ActBody, Body, Salt};
use sanku_federation_protocol::entry::{ActEntry, Draft, Entry, Said};
use sanku_federation_protocol::names::{Origin, StatementId};
use sanku_store::{
    AskedKind, Before, Claim, Claimed, Effect, ImportRow, ImportRows, Opening, Part, Scratch, StorageKeys, Store,
    StoreError, Teller, Urgency, key_name,
};
use sanku_tlog::{Checkpoint, Hash, KeyType, SigningKey};
use sanku_values::{Date, FixedClock, IdentityNumber, PersonName, Time};
use sqlx::Connection;

const NUMBER: &str = "11010519491231002X";
const NAME: &str = "金丝雀";
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn now() -> Time {
    "2026-11-24T08:00:00.000Z".parse().unwrap()
}

fn origin() -> Origin {
    "hubei.example/node/421002/1".parse().unwrap()
}

/// The key of the node's log of this number.
fn log_key(number: u32) -> SigningKey {
    let seed = u8::try_from(4 + number).unwrap();
    SigningKey::from_seed(&numbered(number).to_string(), KeyType::Ed25519, [seed; 32]).unwrap()
}

fn numbered(number: u32) -> Origin {
    Origin { number, ..origin() }
}

async fn open(url: &str) -> Store {
    open_log(url, 1).await
}

async fn open_log(url: &str, number: u32) -> Store {
    Store::open(
        url,
        StorageKeys::new([1; 32], [2; 32]),
        numbered(number),
        log_key(number),
        Arc::new(FixedClock::at(now())),
    )
    .await
    .unwrap()
}

fn act(what: &str) -> Draft {
    let body = ActBody {
        salt: Salt::generate().unwrap(),
        who: NAME.to_owned(),
        what: what.to_owned(),
        purpose: None,
        digest: None,
        about: None,
    };
    let entry = ActEntry {
        action: "look".parse().unwrap(),
        object: Hash::of(what.as_bytes()),
        to: None,
        public: None,
    };
    Draft {
        id: StatementId::generate(now()),
        said: Said::Act(entry),
        body: body.line().unwrap(),
    }
}

fn import(digest: &str) -> ImportRows {
    let category: CategoryId = "vehicle".parse().unwrap();
    let about = Catalogue::current().category(&category).unwrap();
    let row = |ordinal: i64, plate: &str| ImportRow {
        ordinal,
        number: NUMBER.parse().unwrap(),
        name: PersonName::parse(NAME).unwrap(),
        as_of: "2026-11-01".parse().unwrap(),
        fields: about
            .fields_of([("plate".to_owned(), Value::Text(plate.to_owned()))])
            .unwrap(),
        sheet: "一".to_owned(),
        row: 3,
    };
    ImportRows {
        category,
        source: "公安".to_owned(),
        as_of: "2026-11-01".parse().unwrap(),
        file: format!("{NAME}.xlsx"),
        digest: Hash::of(digest.as_bytes()),
        rows: vec![row(0, "鄂D00001"), row(1, "鄂D00002")],
    }
}

/// Everything the store promises, on whichever database the URL names.
async fn suite(url: &str) {
    appends_are_proven_and_the_log_verifies(url).await;
    two_handles_keep_one_log(url).await;
    g05_an_import_has_one_effect(url).await;
    what_was_said_is_said_again(url).await;
    other_bytes_under_one_id_write_nothing(url).await;
    what_was_received_is_kept_as_it_came(url).await;
    g03_what_is_acknowledged_stands_in_the_database(url).await;
    effects_without_a_statement_are_refused(url).await;
    a_withdrawal_is_remembered_until_the_mandate_ends(url).await;
    g04_nothing_is_said_under_a_mandate_that_anybody_withdrew(url).await;
    g05_of_two_that_answer_the_same_question_at_once_one_alone_does(url).await;
    a_row_under_another_number_is_not_served(url).await;
    the_tables_refuse_update_and_delete(url).await;
    what_is_due_is_claimed_once(url).await;
    a_lease_runs_out_and_an_end_is_an_end(url).await;
    its_standing_is_counted_and_a_held_log_takes_nothing(url).await;
    s30_what_is_remembered_outside_the_database_binds(url).await;
    f39_a_dump_under_writing_is_one_moment_and_comes_back_whole(url).await;
    a_person_does_not_wait_behind_a_batch(url).await;
    a_line_of_a_file_is_one_question_until_it_expires(url).await;
    what_is_held_is_covered_once_and_forks_are_kept(url).await;
    c13_an_order_is_executed_once_whoever_tries(url).await;
    proofs_hold_with_and_without_the_roots_of_sixteen(url).await;
}

async fn what_is_held_is_covered_once_and_forks_are_kept(url: &str) {
    let store = open(url).await;
    let log = "hubei.example/node/421003/1";
    let key = SigningKey::from_seed(log, KeyType::Ed25519, [6; 32]).unwrap();
    let at = |size: u64| Checkpoint {
        origin: log.to_owned(),
        size,
        root: Hash::of(&size.to_be_bytes()),
    };
    let signed = |size: u64| at(size).sign(&key).unwrap();
    for (size, kept) in [(2, false), (3, true), (3, true), (9, false)] {
        let root = at(size).root;
        store
            .hold_checkpoint(log, size, root, &signed(size), kept, now())
            .await
            .unwrap();
    }
    let open_logs = store.open_logs().await.unwrap();
    let of_log = open_logs.iter().find(|open| open.log == log).unwrap();
    assert_eq!((of_log.checkpoints, of_log.since), (3, now()));
    let sizes =
        |held: Vec<sanku_store::HeldCheckpoint>| held.iter().map(|held| held.checkpoint.size).collect::<Vec<_>>();
    assert_eq!(sizes(store.open_checkpoints(log, 10).await.unwrap()), [2, 3, 9]);
    let cover = sanku_store::Cover {
        checkpoint: at(5),
        note: signed(5),
        at: now().plus(HOUR),
    };
    store.keep_cover(log, &cover).await.unwrap();
    assert_eq!(store.cover(log).await.unwrap().unwrap(), cover);
    for size in [2, 3] {
        store.covered(&at(size), &cover, &[Hash::of(b"proof")]).await.unwrap();
    }
    store.disagrees(&at(9)).await.unwrap();
    assert_eq!(sizes(store.open_checkpoints(log, 10).await.unwrap()), Vec::<u64>::new());
    // A newer one covers from now on; the older stays as long as a received run rests on it.
    let newer = sanku_store::Cover {
        checkpoint: at(12),
        note: signed(12),
        at: now().plus(DAY),
    };
    store.keep_cover(log, &newer).await.unwrap();
    store.forget_covered(log, 12).await.unwrap();
    assert_eq!(store.cover(log).await.unwrap().unwrap(), newer);
    assert!(store.keep_fork(log, now(), "proof").await.unwrap());
    assert!(!store.keep_fork(log, now(), "another").await.unwrap());
    let forks = store.forks().await.unwrap();
    assert_eq!((forks[0].subject.as_str(), forks[0].proof.as_str()), (log, "proof"));
    store.ask_again_who_heard(log, now()).await.unwrap();
    assert_eq!(
        store
            .unwitnessed_of(&origin(), StatementId::generate(now()))
            .await
            .unwrap(),
        []
    );
    assert!(
        store
            .covers_of(&origin(), StatementId::generate(now()))
            .await
            .unwrap()
            .is_empty()
    );
}

/// Something of this node's own comes into the queue, leased to nobody.
async fn queued(store: &Store, kind: AskedKind, mandate: StatementId) -> StatementId {
    let id = StatementId::generate(now());
    let effects = vec![
        Effect::Said {
            origin: origin(),
            id,
            leaf: None,
            expires: now().plus(DAY),
        },
        Effect::Asked {
            id,
            kind,
            mandate,
            expires: now().plus(DAY),
            leased: now(),
            line: None,
        },
    ];
    store
        .append(key_name(&origin(), id), vec![act("asked")], effects)
        .await
        .unwrap();
    id
}

async fn what_is_due_is_claimed_once(url: &str) {
    let (one, other) = (open(url).await, open(url).await);
    let mandate = StatementId::generate(now());
    for _ in 0..40 {
        queued(&one, AskedKind::Query, mandate).await;
    }
    assert_eq!(one.waiting().await.unwrap(), Some(40));
    let claims = (0..16).map(|place| {
        let store = if place % 2 == 0 { one.clone() } else { other.clone() };
        tokio::spawn(async move { store.claim(now(), HOUR, 5).await.unwrap() })
    });
    let mut claimed = Vec::new();
    for claim in claims.collect::<Vec<_>>() {
        claimed.extend(claim.await.unwrap());
    }
    // Of rows that somebody else holds at that moment some may be passed over: they are due still.
    claimed.extend(one.claim(now(), HOUR, 40).await.unwrap());
    assert!(
        claimed
            .iter()
            .all(|claimed| claimed.attempt == 2 && claimed.kind == AskedKind::Query)
    );
    let mut ids: Vec<_> = claimed.iter().map(|claimed| claimed.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((claimed.len(), ids.len()), (40, 40), "each once");
    assert_eq!(other.claim(now(), HOUR, 40).await.unwrap(), []);
    let withdrawn = Effect::Withdrawn {
        asker: origin().node,
        mandate,
        until: now().plus(DAY),
    };
    one.append("acts".to_owned(), vec![act("withdrawn")], vec![withdrawn])
        .await
        .unwrap();
    assert_eq!(
        other.waiting().await.unwrap(),
        Some(0),
        "a withdrawal ends the questions of its mandate"
    );
    assert!(other.own_of_mandate(mandate).await.unwrap().len() >= 40);
}

async fn a_lease_runs_out_and_an_end_is_an_end(url: &str) {
    let store = open(url).await;
    let id = queued(&store, AskedKind::Withdrawal, StatementId::generate(now())).await;
    let claimed = |claim| matches!(claim, Claim::Ours(Claimed { attempt, .. }) if attempt > 1);
    assert!(claimed(store.claim_one(id, now(), HOUR).await.unwrap()));
    assert_eq!(store.claim_one(id, now(), HOUR).await.unwrap(), Claim::Held);
    assert_eq!(store.next_due().await.unwrap(), Some(now().plus(HOUR)));
    let dead = store.claim(now().plus(HOUR), HOUR, 9).await.unwrap();
    assert_eq!(
        dead.iter()
            .map(|claimed| (claimed.id, claimed.attempt))
            .collect::<Vec<_>>(),
        [(id, 3)]
    );
    store.ask_again_at(id, Some(now().plus(HOUR))).await.unwrap();
    assert_eq!(store.due(id).await.unwrap(), Some(now().plus(HOUR)));
    assert_eq!(store.claim(now(), HOUR, 9).await.unwrap(), []);
    assert_eq!(store.claim(now().plus(DAY), HOUR, 9).await.unwrap(), [], "it expired");
    store.forget(now().plus(DAY)).await.unwrap();
    assert_eq!(
        (store.waiting().await.unwrap(), store.next_due().await.unwrap()),
        (Some(0), None)
    );
    let unknown = StatementId::generate(now());
    assert_eq!(store.claim_one(unknown, now(), HOUR).await.unwrap(), Claim::Unknown);
}

async fn its_standing_is_counted_and_a_held_log_takes_nothing(url: &str) {
    let store = open(url).await;
    let before = store.standing().await.unwrap();
    assert_eq!(before.newest, Some(now()));
    assert_eq!(store.unwitnessed_since().await.unwrap(), Some(now()));
    store.import(act("standing"), import("standing")).await.unwrap();
    let after = store.standing().await.unwrap();
    assert_eq!(
        (after.entries, after.imports, after.records),
        (before.entries + 1, before.imports + 1, before.records + 2)
    );

    let (apart, day) = (Duration::from_secs(15 * 60), Duration::from_secs(24 * 3600));
    store.keep_within(apart, Some(now().plus(day)));
    let refused = store.append("acts".to_owned(), vec![act("held")], Vec::new()).await;
    assert!(matches!(refused, Err(StoreError::Clock)), "{refused:?}");
    assert!(matches!(
        store.import(act("held"), import("held")).await,
        Err(StoreError::Clock)
    ));
    assert_eq!(store.standing().await.unwrap(), after, "what is held writes nothing");
    store.keep_within(apart, Some(now().plus(apart / 2)));
    store
        .append("acts".to_owned(), vec![act("held")], Vec::new())
        .await
        .unwrap();
}

async fn appends_are_proven_and_the_log_verifies(url: &str) {
    let store = open(url).await;
    for round in 0..3 {
        let drafts = (0..200).map(|index| act(&format!("{round} {index}"))).collect();
        let run = store.append("acts".to_owned(), drafts, Vec::new()).await.unwrap().run;
        assert_eq!(run.statements.len(), 200);
    }
    let checkpoint = store.verify(|_, _| {}).await.unwrap();
    assert!(checkpoint.size >= 600);
    for index in [0, 255, 256, 599] {
        let (proof, entry) = store.prove(index).await.unwrap();
        assert_eq!(proof.verify(&entry, store.verifier()).unwrap().size, checkpoint.size);
    }
    let run = store.run(250, 20).await.unwrap();
    assert_eq!(run.statements.len(), 20);
    let (proof, _) = store.consistency(300).await.unwrap();
    assert!(!proof.is_empty());
    assert!(matches!(
        store.prove(checkpoint.size).await,
        Err(StoreError::NoSuchEntry { .. })
    ));
}

async fn proofs_hold_with_and_without_the_roots_of_sixteen(url: &str) {
    let store = open(url).await;
    let size = store.verify(|_, _| {}).await.unwrap().size;
    let all_hold = || async {
        for index in 0..size {
            let (proof, entry) = store.prove(index).await.unwrap();
            assert_eq!(proof.verify(&entry, store.verifier()).unwrap().size, size);
        }
        for (first, count) in [(0, 1), (3, 14), (15, 2), (64, 64), (100, 200), (size - 17, 17)] {
            assert_eq!(store.run(first, count).await.unwrap().statements.len() as u64, count);
        }
    };
    all_hold().await;
    // An older version wrote in between: some of them are missing.
    let sqlite = url.starts_with("sqlite");
    let unguarded = |sql: &str| {
        if sqlite {
            format!("DROP TRIGGER IF EXISTS roots_no_delete; DROP TRIGGER IF EXISTS roots_no_update; {sql}")
        } else {
            format!(
                "ALTER TABLE roots DISABLE TRIGGER append_only; {sql}; ALTER TABLE roots ENABLE TRIGGER append_only"
            )
        }
    };
    let gaps = unguarded("DELETE FROM roots WHERE level <= 0 AND (idx = 3 OR idx = 16 OR idx > 30)");
    run_raw(url, &gaps).await.unwrap();
    all_hold().await;
    store.verify(|_, _| {}).await.unwrap();
    // One that was changed is found, and by its place.
    let changed = if sqlite {
        "zeroblob(32)"
    } else {
        "decode(repeat('00', 32), 'hex')"
    };
    run_raw(
        url,
        &unguarded(&format!(
            "UPDATE roots SET hash = {changed} WHERE level = 0 AND idx = 20"
        )),
    )
    .await
    .unwrap();
    let found = store.verify(|_, _| {}).await;
    assert!(matches!(found, Err(StoreError::Broken { index: 320, .. })), "{found:?}");
}

async fn two_handles_keep_one_log(url: &str) {
    let (one, other) = (open(url).await, open(url).await);
    let before = one.checkpoint().await.unwrap().0.size;
    let append = |store: Store, who: &'static str| async move {
        for index in 0..30 {
            store
                .append("acts".to_owned(), vec![act(&format!("{who} {index}"))], Vec::new())
                .await
                .unwrap();
        }
    };
    tokio::join!(append(one.clone(), "one"), append(other, "other"));
    assert_eq!(one.verify(|_, _| {}).await.unwrap().size, before + 60);
}

async fn g05_an_import_has_one_effect(url: &str) {
    let (one, other) = (open(url).await, open(url).await);
    let (first, second) = tokio::join!(
        one.import(act("import"), import("a")),
        other.import(act("import"), import("a"))
    );
    let good = [&first, &second].into_iter().filter(|result| result.is_ok()).count();
    assert_eq!(good, 1, "{first:?} {second:?}");
    assert!(matches!(
        one.import(act("again"), import("a")).await,
        Err(StoreError::AlreadyImported { .. })
    ));
    let found = one
        .find(&NUMBER.parse().unwrap(), &["vehicle".parse().unwrap()])
        .await
        .unwrap();
    assert_eq!(found.current().len(), 2);
    assert!(found.corrupt.is_empty());
    assert_eq!(
        one.import_file(found.records[0].import).await.unwrap(),
        format!("{NAME}.xlsx")
    );
    // A newer import of the same source supersedes what has the same natural key and takes nothing away.
    let mut newer = import("b");
    newer.as_of = "2026-11-20".parse::<Date>().unwrap();
    newer.rows.truncate(1);
    one.import(act("newer"), newer).await.unwrap();
    let found = one
        .find(&NUMBER.parse().unwrap(), &["vehicle".parse().unwrap()])
        .await
        .unwrap();
    assert_eq!((found.records.len(), found.current().len()), (3, 2));
}

async fn what_was_said_is_said_again(url: &str) {
    let store = open(url).await;
    let id = StatementId::generate(now());
    let said = Effect::Said {
        origin: origin(),
        id,
        leaf: Some(Hash::of(b"question")),
        expires: now(),
    };
    let run = store
        .append(key_name(&origin(), id), vec![act("answer"), act("account")], vec![said])
        .await
        .unwrap()
        .run;
    assert_eq!(
        store.question(&origin(), id).await.unwrap().unwrap().leaf,
        Hash::of(b"question")
    );
    let again = store.said(&origin(), id).await.unwrap();
    let lines = |run: &sanku_federation_protocol::statement::VerifiedRun| {
        run.statements
            .iter()
            .map(|statement| statement.line.to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(again.iter().map(lines).collect::<Vec<_>>(), vec![lines(&run)]);
    assert!(
        store
            .question(&origin(), StatementId::generate(now()))
            .await
            .unwrap()
            .is_none()
    );
}

async fn other_bytes_under_one_id_write_nothing(url: &str) {
    let (one, other) = (open(url).await, open(url).await);
    let id = StatementId::generate(now());
    let said = |leaf: &[u8]| {
        vec![Effect::Said {
            origin: origin(),
            id,
            leaf: Some(Hash::of(leaf)),
            expires: now(),
        }]
    };
    // Two processes whose look-ups both found nothing: the first to write has the id.
    let (first, second) = tokio::join!(
        one.append(key_name(&origin(), id), vec![act("a")], said(b"a")),
        other.append(key_name(&origin(), id), vec![act("b")], said(b"b"))
    );
    let refused = [first, second]
        .into_iter()
        .filter(|result| matches!(result, Err(StoreError::Different)))
        .count();
    assert_eq!(refused, 1);
    assert_eq!(one.said(&origin(), id).await.unwrap().len(), 1);
}

async fn what_was_received_is_kept_as_it_came(url: &str) {
    let store = open(url).await;
    let id = StatementId::generate(now());
    let (short, whole) = (store.run(0, 1).await.unwrap(), store.run(0, 3).await.unwrap());
    // The same run twice is kept once; a longer one from the same place is another.
    for run in [&short, &short, &whole] {
        let effect = Effect::Received {
            origin: origin(),
            id,
            run: Box::new(run.clone()),
        };
        let name = key_name(&origin(), id);
        store.append(name, vec![act("received")], vec![effect]).await.unwrap();
    }
    let written = [&short, &whole].map(sanku_federation_protocol::stream::write_run);
    let kept = store.received(&origin(), id).await.unwrap();
    assert_eq!(kept, written.map(|lines| lines.as_bytes().to_vec()));
}

async fn g03_what_is_acknowledged_stands_in_the_database(url: &str) {
    let store = open(url).await;
    let run = store
        .append("acts".to_owned(), vec![act("durable")], Vec::new())
        .await
        .unwrap()
        .run;
    // Seen by somebody who shares nothing with the writer but the database.
    let lines = open(url).await.entries(run.first, 1).await.unwrap();
    assert_eq!(lines, vec![run.statements[0].line.to_vec()]);
}

async fn effects_without_a_statement_are_refused(url: &str) {
    let store = open(url).await;
    let (asker, mandate) = ("421003".parse().unwrap(), StatementId::generate(now()));
    let until = now().plus(std::time::Duration::from_secs(60));
    let effects = vec![Effect::Withdrawn { asker, mandate, until }];
    assert!(store.append("acts".to_owned(), Vec::new(), effects).await.is_err());
    assert!(!store.is_withdrawn(asker, mandate, now()).await.unwrap());
}

async fn a_withdrawal_is_remembered_until_the_mandate_ends(url: &str) {
    let store = open(url).await;
    let (asker, mandate) = ("421003".parse().unwrap(), StatementId::generate(now()));
    let until = now().plus(std::time::Duration::from_secs(60));
    store
        .append(
            "acts".to_owned(),
            vec![act("withdrawn")],
            vec![Effect::Withdrawn { asker, mandate, until }],
        )
        .await
        .unwrap();
    assert!(store.is_withdrawn(asker, mandate, now()).await.unwrap());
    assert!(
        !store
            .is_withdrawn(asker, mandate, until.plus(std::time::Duration::from_secs(1)))
            .await
            .unwrap()
    );
    assert!(
        !store
            .is_withdrawn("421002".parse().unwrap(), mandate, now())
            .await
            .unwrap()
    );
}

async fn g04_nothing_is_said_under_a_mandate_that_anybody_withdrew(url: &str) {
    let (one, other) = (open(url).await, open(url).await);
    let asker = "421003".parse().unwrap();
    let [theirs, ours, good] = [(); 3].map(|()| StatementId::generate(now()));
    let until = now().plus(HOUR);
    let says = |store: &Store, mandate| {
        let effects = vec![Effect::Under { asker, mandate }];
        let (store, draft) = (store.clone(), act("answer"));
        async move { store.append("acts".to_owned(), vec![draft], effects).await }
    };
    let withdraws = |store: &Store, mandate| {
        let effects = vec![Effect::Withdrawn { asker, mandate, until }];
        let (store, draft) = (store.clone(), act("withdrawn"));
        async move { store.append("acts".to_owned(), vec![draft], effects).await }
    };
    let is_withdrawn = |said: &Result<_, _>| matches!(said, Err(StoreError::Withdrawn));
    // This process wrote last and would not look again: another one took the withdrawal, as its last word.
    says(&one, theirs).await.unwrap();
    withdraws(&other, theirs).await.unwrap();
    let before = other.checkpoint().await.unwrap().0.size;
    assert!(is_withdrawn(&says(&one, theirs).await));
    // It knows the log now, and of this withdrawal nothing but what the database holds.
    says(&one, good).await.unwrap();
    let (bad, fine) = tokio::join!(says(&one, theirs), says(&one, good));
    assert!(is_withdrawn(&bad) && fine.is_ok());
    // In one group: whoever comes after the withdrawal is refused, whoever came before it is not.
    let calls = tokio::join!(
        says(&one, ours),
        withdraws(&one, ours),
        says(&one, ours),
        says(&one, good)
    );
    assert!(calls.0.is_ok() && calls.1.is_ok() && calls.3.is_ok());
    assert!(is_withdrawn(&calls.2));
    assert_eq!(one.checkpoint().await.unwrap().0.size, before + 5);
}

async fn g05_of_two_that_answer_the_same_question_at_once_one_alone_does(url: &str) {
    let (one, other) = (open(url).await, open(url).await);
    let id = StatementId::generate(now());
    let says = |store: &Store, what: &str, after: Option<Option<u64>>| {
        let (origin, store, draft) = (origin(), store.clone(), act(what));
        let mut effects = vec![Effect::Said {
            origin: origin.clone(),
            id,
            leaf: Some(Hash::of(b"question")),
            expires: now().plus(HOUR),
        }];
        effects.extend(after.map(|after| Effect::Once {
            origin: origin.clone(),
            id,
            after,
        }));
        async move { store.append(key_name(&origin, id), vec![draft], effects).await }
    };
    let is_late = |said: &Result<_, _>| matches!(said, Err(StoreError::SaidMeanwhile));
    // Both looked before either spoke: from two processes, then in one group.
    let (a, b) = tokio::join!(says(&one, "a", Some(None)), says(&other, "b", Some(None)));
    assert_eq!([&a, &b].map(is_late).iter().filter(|late| **late).count(), 1);
    let first = a.or(b).unwrap().run.first;
    assert!(is_late(&says(&one, "a", Some(None)).await) && is_late(&says(&other, "b", Some(None)).await));
    let group = tokio::join!(says(&one, "a", Some(Some(first))), says(&one, "b", Some(Some(first))));
    assert!(group.0.is_ok() && is_late(&group.1));
    // Whoever knows it may go on; what commits without this condition, an account, is not held up.
    let second = group.0.unwrap().run.first;
    says(&other, "account", None).await.unwrap();
    assert!(is_late(&says(&one, "c", Some(Some(second))).await));
    let (_, third) = other.newest_said(&origin(), id).await.unwrap().unwrap();
    // This process wrote last and would not look again: another one said something, as its last word.
    says(&one, "other", None).await.unwrap();
    assert!(is_late(&says(&one, "c", Some(Some(third))).await));
    assert_eq!(one.said(&origin(), id).await.unwrap().len(), 4);
}

async fn a_row_under_another_number_is_not_served(url: &str) {
    let store = open(url).await;
    let other = IdentityNumber::completing("42100219800101001", "2026-11-24".parse().unwrap()).unwrap();
    assert!(
        store
            .find(&other, &["vehicle".parse().unwrap()])
            .await
            .unwrap()
            .records
            .is_empty()
    );
}

async fn the_tables_refuse_update_and_delete(url: &str) {
    for table in ["log", "roots", "said", "received", "imports", "records"] {
        let column = match table {
            "log" | "roots" | "said" => "number = number",
            "imports" => "source = source",
            "records" => "row = row",
            _ => "log = log",
        };
        for sql in [format!("UPDATE {table} SET {column}"), format!("DELETE FROM {table}")] {
            assert!(run_raw(url, &sql).await.is_err(), "{sql}");
        }
    }
}

async fn run_raw(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    if url.starts_with("sqlite") {
        let mut connection = sqlx::SqliteConnection::connect(url).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .map(drop)
    } else {
        let mut connection = sqlx::PgConnection::connect(url).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&mut connection)
            .await
            .map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_every_promise() {
    let place = tempfile::tempdir().unwrap();
    suite(&format!("sqlite:{}", place.path().join("node.db").display())).await;
    // Names and numbers stand in no file of the database, its write-ahead log included. An open store keeps that log in place.
    let store = open(&format!("sqlite:{}", place.path().join("node.db").display())).await;
    store
        .append("acts".to_owned(), vec![act("last")], Vec::new())
        .await
        .unwrap();
    let mut scanned = 0;
    for entry in std::fs::read_dir(place.path()).unwrap() {
        let path = entry.unwrap().path();
        // The files of a closing connection may just be going.
        let Ok(bytes) = std::fs::read(&path) else { continue };
        scanned += bytes.len();
        for secret in [NUMBER, NAME, "鄂D00001"] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
                "{secret} stands in {}",
                path.display()
            );
        }
    }
    assert!(scanned > 100_000, "only {scanned} bytes were scanned");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_every_promise() {
    let Some(cluster) = postgres::Cluster::start() else {
        return;
    };
    suite(&cluster.url()).await;
    run_raw(&cluster.url(), "CHECKPOINT").await.unwrap();
    assert!(
        cluster.files_hold("hubei.example/node/421002/1"),
        "the scan sees what is written openly"
    );
    for secret in [NUMBER, NAME, "鄂D00001"] {
        assert!(!cluster.files_hold(secret), "{secret} stands in the cluster's files");
    }
    // The suite ends with a log that it spoilt.
    run_raw(&cluster.url(), "CREATE DATABASE later").await.unwrap();
    a_later_log_takes_over_from_the_one_before(&cluster.url().replace("/postgres?", "/later?")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_opens_a_later_log() {
    let place = tempfile::tempdir().unwrap();
    a_later_log_takes_over_from_the_one_before(&format!("sqlite:{}", place.path().join("node.db").display())).await;
}

/// An act of a log's beginning or end.
fn said_to_all(public: Public) -> Draft {
    let draft = act(public.action());
    Draft {
        said: Said::Act(public.entry(origin().node, None)),
        ..draft
    }
}

fn first_of(before: &Before) -> Result<Draft, StoreError> {
    Ok(said_to_all(Public::Open(LogOpen {
        before: before.origin.clone(),
        size: before.size,
        root: before.root,
    })))
}

async fn begin(store: &Store, last: bool) -> Result<Option<Before>, StoreError> {
    let number = store.origin().number;
    let (keys, before) = ([log_key(number - 1).verifier().clone()], log_key(number - 1));
    let close = Public::Close(LogClose {
        next: numbered(number),
        key: log_key(number).verifier().clone(),
    });
    let opening = Opening {
        keys: &keys,
        last: last.then(|| (&before, said_to_all(close))),
        first: &first_of,
        now: now(),
    };
    store.open_log(opening).await
}

async fn kinds(store: &Store, first: u64, count: u64) -> Vec<String> {
    let lines = store.entries(first, count).await.unwrap();
    let action = |line: &Vec<u8>| match Entry::parse(line).unwrap().said {
        Said::Act(act) => act.action.to_string(),
        other => other.kind().to_owned(),
    };
    lines.iter().map(action).collect()
}

async fn a_later_log_takes_over_from_the_one_before(url: &str) {
    let old = open(url).await;
    let mandate = StatementId::generate(now());
    let asked = queued(&old, AskedKind::Query, mandate).await;
    let (end, note) = old.checkpoint().await.unwrap();

    // Nobody writes in a log that is not open.
    let next = open_log(url, 2).await;
    assert_eq!(next.recovering().unwrap().word(), "not_opened");
    let early = next.append("acts".to_owned(), vec![act("early")], Vec::new()).await;
    assert!(matches!(early, Err(StoreError::Recovering(_))), "{early:?}");
    // One that lacks what somebody remembers of it gets no last entry.
    let more = Checkpoint {
        size: end.size + 3,
        root: Hash::of(b"lost"),
        ..end.clone()
    };
    let planned = next
        .another(log_key(2), Arc::new(FixedClock::at(now())), None)
        .await
        .unwrap();
    let teller = Teller::Neighbour(origin().node);
    next.remember_earlier(more.clone(), &more.sign(&log_key(1)).unwrap(), teller);
    let refused = begin(&next, true).await.unwrap_err();
    assert!(
        matches!(&refused, StoreError::Recovering(why) if why.word() == "behind"),
        "{refused}"
    );
    assert_eq!(old.checkpoint().await.unwrap().0, end, "nothing was written");

    // As planned: the last entry of the one names the next, the first entry of the next names the one.
    planned.remember_earlier(end.clone(), &note, teller);
    let before = begin(&planned, true).await.unwrap().unwrap();
    assert_eq!((before.origin.clone(), before.size), (origin(), end.size + 1));
    assert_eq!(begin(&planned, true).await.unwrap(), None, "once");
    assert_eq!(planned.recovering(), None);
    assert_eq!(kinds(&planned, 0, 9).await, ["log.open"]);
    let said = planned
        .append("acts".to_owned(), vec![act("goes on")], Vec::new())
        .await
        .unwrap();
    assert_eq!((said.run.origin.number, said.run.first), (2, 1));
    assert_eq!(planned.verify(|_, _| {}).await.unwrap().size, 2);
    let earlier = planned.earlier().await.unwrap();
    let [log] = earlier.as_slice() else {
        panic!("one earlier log")
    };
    assert_eq!(log.verify(|_, _| {}).await.unwrap().root, before.root);
    assert_eq!(kinds(log, end.size, 9).await, ["log.close"]);
    assert!(
        log.append("acts".to_owned(), vec![act("never")], Vec::new())
            .await
            .is_err()
    );
    // A process that still works under the old number says nothing more.
    assert!(
        old.append("acts".to_owned(), vec![act("late")], Vec::new())
            .await
            .is_err()
    );
    assert_eq!(old.recovering().unwrap().word(), "other_log");

    // What was asked under the old number is asked again, and what was said about it is found.
    assert_eq!(planned.own_origin(asked).await.unwrap(), origin());
    assert_eq!(planned.said(&origin(), asked).await.unwrap()[0].origin, origin());
    let claimed = planned.claim(now(), HOUR, 100).await.unwrap();
    assert!(claimed.iter().any(|claimed| claimed.id == asked), "{claimed:?}");
    assert!(planned.own_of_mandate(mandate).await.unwrap().contains(&asked));
    planned.ask_again_at(asked, None).await.unwrap();
    assert_eq!(planned.due(asked).await.unwrap(), None);

    // What is cosigned is kept, one in ten minutes for good.
    let (checkpoint, note) = planned.checkpoint().await.unwrap();
    for (size, minutes) in [(1, 0), (2, 5)] {
        let at = now().plus(Duration::from_secs(60 * minutes));
        let checkpoint = Checkpoint {
            size,
            ..checkpoint.clone()
        };
        planned.keep_cosigned(&checkpoint, &note, at).await.unwrap();
    }
    assert_eq!(planned.first_witnessed(1).await.unwrap().unwrap().0, now());
    assert!(planned.first_witnessed(2).await.unwrap().is_none());

    // A third, whose database lost the end of the second: it is opened without a last entry, and the gap is named. What
    // somebody has seen of the third already is never opened again.
    let third = open_log(url, 3).await;
    let lost = Checkpoint {
        size: 9,
        root: Hash::of(b"lost"),
        ..planned.checkpoint().await.unwrap().0
    };
    third.remember_earlier(lost.clone(), &lost.sign(&log_key(2)).unwrap(), teller);
    let again = third
        .another(log_key(3), Arc::new(FixedClock::at(now())), None)
        .await
        .unwrap();
    let seen = Checkpoint {
        origin: numbered(3).to_string(),
        size: 4,
        root: Hash::of(b"seen"),
    };
    assert!(again.remember(&seen.sign(&log_key(3)).unwrap(), teller));
    assert!(begin(&again, false).await.is_err());
    let _ = again.look().await;
    assert_eq!(again.recovering().unwrap().word(), "behind");
    let before = begin(&third, false).await.unwrap().unwrap();
    assert_eq!((before.origin.number, before.size, before.root), (2, 9, lost.root));
    assert_eq!(third.earlier().await.unwrap().len(), 2);
    assert_eq!(third.own_origin(asked).await.unwrap(), origin());
}

#[tokio::test]
async fn a_database_of_other_entries_than_were_seen_gives_none_of_them_away() {
    let store = open("sqlite::memory:").await;
    let asked = queued(&store, AskedKind::Query, StatementId::generate(now())).await;
    let (end, _) = store.checkpoint().await.unwrap();
    let next = store
        .another(log_key(2), Arc::new(FixedClock::at(now())), None)
        .await
        .unwrap();
    let other = Checkpoint {
        root: Hash::of(b"another"),
        ..end
    };
    next.remember_earlier(other.clone(), &other.sign(&log_key(1)).unwrap(), Teller::File);
    assert!(
        begin(&next, true).await.is_err(),
        "no last entry where the log is another"
    );
    let before = begin(&next, false).await.unwrap().unwrap();
    assert_eq!(before.root, other.root);
    assert!(!next.earlier().await.unwrap()[0].stands());
    assert_eq!(next.said(&origin(), asked).await.unwrap().len(), 0);
    next.append("acts".to_owned(), vec![act("goes on")], Vec::new())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_database_in_memory_keeps_a_log() {
    let store = open("sqlite::memory:").await;
    for what in ["one", "two"] {
        store
            .append("acts".to_owned(), vec![act(what)], Vec::new())
            .await
            .unwrap();
    }
    assert_eq!(store.verify(|_, _| {}).await.unwrap().size, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_a_flipped_byte_is_withheld_and_found() {
    let place = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", place.path().join("node.db").display());
    let store = open(&url).await;
    store.import(act("import"), import("a")).await.unwrap();
    store
        .append(
            "acts".to_owned(),
            (0..10).map(|index| act(&format!("{index}"))).collect(),
            Vec::new(),
        )
        .await
        .unwrap();
    // Whoever edits the file itself goes around the triggers.
    run_raw(&url, "DROP TRIGGER records_no_update; UPDATE records SET sealed = substr(sealed, 1, 20) || x'00' || substr(sealed, 22) WHERE row = 0").await.unwrap();
    let found = store
        .find(&NUMBER.parse().unwrap(), &["vehicle".parse().unwrap()])
        .await
        .unwrap();
    assert_eq!(found.corrupt.len(), 1, "the row is withheld and its category named");
    run_raw(&url, "DROP TRIGGER log_no_update; UPDATE log SET entry = CAST(replace(CAST(entry AS TEXT), 'look', 'lock') AS BLOB) WHERE idx = 5").await.unwrap();
    assert_eq!(first_bad(&store).await, 5);
    run_raw(
        &url,
        "UPDATE log SET body = substr(body, 1, 20) || x'00' || substr(body, 22) WHERE idx = 3",
    )
    .await
    .unwrap();
    assert_eq!(first_bad(&store).await, 3);
    run_raw(&url, "DROP TRIGGER log_no_delete; DELETE FROM log WHERE idx = 2")
        .await
        .unwrap();
    assert_eq!(first_bad(&store).await, 2);
}

/// Where verification stops.
async fn first_bad(store: &Store) -> u64 {
    match store.verify(|_, _| {}).await {
        Err(StoreError::Broken { index, .. }) => index,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f28_an_edited_date_of_an_import_withholds_its_rows() {
    let place = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", place.path().join("node.db").display());
    let store = open(&url).await;
    store.import(act("import"), import("a")).await.unwrap();
    run_raw(
        &url,
        "DROP TRIGGER imports_no_update; UPDATE imports SET as_of = '2026-11-23'",
    )
    .await
    .unwrap();
    let vehicle: CategoryId = "vehicle".parse().unwrap();
    let found = store
        .find(&NUMBER.parse().unwrap(), std::slice::from_ref(&vehicle))
        .await
        .unwrap();
    assert_eq!((found.records.len(), found.corrupt), (0, vec![vehicle]));
}

#[tokio::test(flavor = "multi_thread")]
async fn f27_a_key_that_does_not_open_withholds_its_category_alone() {
    let place = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", place.path().join("node.db").display());
    let store = open(&url).await;
    store.import(act("import"), import("a")).await.unwrap();
    run_raw(&url, "UPDATE keys SET wrapped = x'00' WHERE name = 'import 1'")
        .await
        .unwrap();
    let vehicle: CategoryId = "vehicle".parse().unwrap();
    let found = store
        .find(&NUMBER.parse().unwrap(), std::slice::from_ref(&vehicle))
        .await
        .unwrap();
    assert_eq!((found.records.len(), found.corrupt), (0, vec![vehicle]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a06_a_destroyed_key_leaves_the_log_whole_and_its_body_unreadable() {
    let place = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", place.path().join("node.db").display());
    let store = open(&url).await;
    for name in ["question one", "question two"] {
        store
            .append(name.to_owned(), vec![act(name)], Vec::new())
            .await
            .unwrap();
    }
    run_raw(&url, "DELETE FROM keys WHERE name = 'question one'")
        .await
        .unwrap();
    assert_eq!(store.verify(|_, _| {}).await.unwrap().size, 2);
    assert!(matches!(store.run(0, 1).await, Err(StoreError::Destroyed)));
    assert_eq!(store.run(1, 1).await.unwrap().statements.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_ever_signed_beside_what_this_process_signed() {
    let place = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", place.path().join("node.db").display());
    let store = open(&url).await;
    let say = |what: &'static str| store.append("acts".to_owned(), vec![act(what)], Vec::new());
    say("one").await.unwrap();
    run_raw(&url, "CREATE TABLE kept AS SELECT * FROM head").await.unwrap();
    say("two").await.unwrap();
    // An older copy is put back under the running process, consistent in itself.
    run_raw(&url, "DROP TRIGGER log_no_delete; DELETE FROM log WHERE idx >= 1; DELETE FROM head; INSERT INTO head SELECT * FROM kept").await.unwrap();
    for _ in 0..3 {
        assert!(matches!(say("three").await, Err(StoreError::Recovering(_))));
    }
    // Another process makes the log as long again, with another entry at the same place.
    let other = open(&url).await;
    for what in ["else", "more"] {
        other
            .append("acts".to_owned(), vec![act(what)], Vec::new())
            .await
            .unwrap();
        assert!(matches!(say("four").await, Err(StoreError::Recovering(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_what_its_checkpoint_says_takes_nothing() {
    let keys = || StorageKeys::new([1; 32], [2; 32]);
    for damage in [
        "DROP TRIGGER log_no_delete; DELETE FROM log WHERE idx = 2",
        "DROP TRIGGER log_no_update; UPDATE log SET entry = (SELECT entry FROM log WHERE idx = 0) WHERE idx = 2",
        "CREATE TABLE kept AS SELECT * FROM head; DELETE FROM head; INSERT INTO head SELECT one, number, 0, 0, (SELECT checkpoint FROM older) FROM kept",
    ] {
        let place = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", place.path().join("node.db").display());
        let store = open(&url).await;
        run_raw(&url, "CREATE TABLE older AS SELECT * FROM head").await.unwrap();
        store
            .append("acts".to_owned(), vec![act("0"), act("1"), act("2")], Vec::new())
            .await
            .unwrap();
        drop(store);
        run_raw(&url, damage).await.unwrap();
        let signing = SigningKey::from_seed(&origin().to_string(), KeyType::Ed25519, [5; 32]).unwrap();
        let opened = Store::open(&url, keys(), origin(), signing, Arc::new(FixedClock::at(now())))
            .await
            .unwrap();
        assert_eq!(opened.recovering().unwrap().word(), "broken", "{damage}");
        let said = opened.append("acts".to_owned(), vec![act("more")], Vec::new()).await;
        assert!(matches!(said, Err(StoreError::Recovering(_))), "{damage}: {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_put_back_is_recovering() {
    let place = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", place.path().join("node.db").display());
    let store = open(&url).await;
    store
        .append("acts".to_owned(), vec![act("one"), act("two")], Vec::new())
        .await
        .unwrap();
    // The head says less than this process signed.
    run_raw(&url, "UPDATE head SET size = 1").await.unwrap();
    assert!(
        store
            .append("acts".to_owned(), vec![act("three")], Vec::new())
            .await
            .is_err()
    );
    let signing = SigningKey::from_seed("hubei.example/node/421002/2", KeyType::Ed25519, [6; 32]).unwrap();
    let another = Store::open(
        &url,
        StorageKeys::new([1; 32], [2; 32]),
        "hubei.example/node/421002/2".parse().unwrap(),
        signing,
        Arc::new(FixedClock::at(now())),
    )
    .await
    .unwrap();
    assert_eq!(another.recovering().unwrap().word(), "not_opened");
}

/// What a neighbour or a file remembers binds, on whichever database.
async fn s30_what_is_remembered_outside_the_database_binds(url: &str) {
    let store = open(url).await;
    let say = |store: &Store, what: &str| {
        let (store, said) = (store.clone(), vec![act(what)]);
        async move { store.append("acts".to_owned(), said, Vec::new()).await }
    };
    say(&store, "held").await.unwrap();
    let (held, _) = store.checkpoint().await.unwrap();
    let key = SigningKey::from_seed(&origin().to_string(), KeyType::Ed25519, [5; 32]).unwrap();
    let more = sanku_tlog::Checkpoint {
        size: held.size + 5,
        root: Hash::of(b"lost"),
        ..held.clone()
    };
    // A stranger's word, and what the database holds, stop nothing.
    let stranger = SigningKey::from_seed(&origin().to_string(), KeyType::Ed25519, [9; 32]).unwrap();
    assert!(!store.remember(&more.sign(&stranger).unwrap(), Teller::File));
    assert!(store.remember(&held.sign(&key).unwrap(), Teller::File));
    say(&store, "goes on").await.unwrap();

    assert!(store.remember(&more.sign(&key).unwrap(), Teller::Neighbour(origin().node)));
    let refused = say(&store, "behind").await.unwrap_err();
    assert!(matches!(refused, StoreError::Recovering(_)), "{refused}");
    let recovering = store.recovering().unwrap();
    assert_eq!(
        (recovering.word(), recovering.holds, recovering.missing()),
        ("behind", held.size + 1, 4)
    );
    assert!(store.may_speak().await.is_err());
    // A log of other entries does not become that one by growing.
    let beside = open(url).await;
    for what in 0..4 {
        say(&beside, &what.to_string()).await.unwrap();
    }
    assert!(store.look().await.is_err());
    assert_eq!(store.recovering().unwrap().word(), "beside");
    assert!(say(&store, "never").await.is_err());

    // One that was only behind goes on by itself when the database has caught up.
    let waits = open(url).await;
    let ahead = open(url).await;
    say(&ahead, "ahead").await.unwrap();
    let (_, note) = ahead.checkpoint().await.unwrap();
    assert!(waits.remember(&note, Teller::File));
    say(&waits, "caught up").await.unwrap();
    assert_eq!(waits.recovering(), None);
}

/// A backup taken while others write is one moment of the log, and holds every table.
async fn f39_a_dump_under_writing_is_one_moment_and_comes_back_whole(url: &str) {
    let store = open(url).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writing = tokio::spawn({
        let store = store.clone();
        async move {
            let mut slowest = Duration::ZERO;
            for place in 0.. {
                let began = std::time::Instant::now();
                store
                    .append("acts".to_owned(), vec![act(&format!("meanwhile {place}"))], Vec::new())
                    .await
                    .unwrap();
                slowest = slowest.max(began.elapsed());
                if *stopped.borrow() {
                    break;
                }
            }
            slowest
        }
    });
    let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
    let dumping = tokio::spawn({
        let store = store.clone();
        async move { store.dump(sender).await }
    });
    let mut lines = Vec::new();
    while let Some(line) = receiver.recv().await {
        lines.push(line);
        // Whoever keeps it is slow.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    dumping.await.unwrap().unwrap();
    stop.send(true).unwrap();
    assert!(
        writing.await.unwrap() < Duration::from_secs(1),
        "nobody who writes stalls"
    );
    for table in [
        "head",
        "log",
        "keys",
        "roots",
        "questions",
        "said",
        "received",
        "imports",
        "records",
        "asked",
        "withdrawals",
    ] {
        let begins = format!("{table} ");
        assert!(
            table == "roots" || lines.iter().any(|line| line.starts_with(&begins)),
            "{table}"
        );
    }
    assert!(!lines.concat().contains(NAME) && !lines.concat().contains(NUMBER));

    let scratch = Scratch::beside(url, 7).await.unwrap();
    let (sender, receiver) = tokio::sync::mpsc::channel(lines.len());
    for line in &lines {
        sender.send(line.clone()).await.unwrap();
    }
    drop(sender);
    assert_eq!(scratch.fill(receiver).await.unwrap(), lines.len() as u64);
    let again = open(&scratch.url().unwrap()).await;
    assert_eq!(again.recovering(), None);
    let moment = again.verify(|_, _| {}).await.unwrap();
    let now = store.verify(|_, _| {}).await.unwrap();
    assert!(
        moment.size < now.size && moment.size > 0,
        "{} of {}",
        moment.size,
        now.size
    );
    assert!(
        again
            .find(&NUMBER.parse().unwrap(), &["vehicle".parse().unwrap()])
            .await
            .unwrap()
            .records
            .len()
            > 1
    );
    drop(again);
    for bad in ["log [1,2]", "nothing [1]", "log", "keys [\"a\",\"%\"]"] {
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        sender.send(bad.to_owned()).await.unwrap();
        drop(sender);
        assert!(scratch.fill(receiver).await.is_err(), "{bad}");
    }
    scratch.put_in_place(8).await.unwrap().unwrap();
    // A process that ran on says nothing beside what it signed; one that starts sees the moment.
    assert!(
        store
            .append("acts".to_owned(), vec![act("after")], Vec::new())
            .await
            .is_err()
    );
    assert_eq!(open(url).await.verify(|_, _| {}).await.unwrap(), moment);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_the_schema_is_in_a_dump() {
    let place = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", place.path().join("node.db").display());
    let store = open(&url).await;
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let rows = sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_sqlx%' ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name")
        .fetch_all(&mut connection).await.unwrap();
    let names: Vec<String> = rows.iter().map(|row| sqlx::Row::try_get(row, 0).unwrap()).collect();
    let mut dumped: Vec<_> = sanku_store::tables().map(str::to_owned).collect();
    dumped.sort();
    assert_eq!(dumped, names);
    drop(store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_replaced_under_the_process_takes_nothing_until_it_is_back() {
    let place = tempfile::tempdir().unwrap();
    let (file, away) = (place.path().join("node.db"), place.path().join("away.db"));
    let store = open(&format!("sqlite:{}", file.display())).await;
    let say = |what: &'static str| store.append("acts".to_owned(), vec![act(what)], Vec::new());
    say("one").await.unwrap();
    std::fs::rename(&file, &away).unwrap();
    std::fs::write(&file, b"").unwrap();
    assert!(matches!(say("into nothing").await, Err(StoreError::Recovering(_))));
    assert_eq!(store.recovering().unwrap().word(), "replaced");
    std::fs::rename(&away, &file).unwrap();
    assert_eq!(say("two").await.unwrap().run.size, 2);
}

#[test]
fn many_processes_open_one_file_at_the_same_moment() {
    let place = tempfile::tempdir().unwrap();
    for round in 0..12 {
        let url = format!("sqlite:{}", place.path().join(format!("{}.db", round / 3)).display());
        let openers: Vec<_> = (0..6)
            .map(|opener| {
                let url = url.clone();
                std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        let store = open(&url).await;
                        let said = vec![act(&format!("{round} {opener}"))];
                        store.append("acts".to_owned(), said, Vec::new()).await.unwrap();
                    });
                })
            })
            .collect();
        for opener in openers {
            opener.join().unwrap();
        }
    }
}

/// Sixteen calls of a batch stand in line before a person's: it is written before most of them.
async fn a_person_does_not_wait_behind_a_batch(url: &str) {
    let store = open(url).await;
    let mut batches = tokio::task::JoinSet::new();
    for number in 0..16 {
        let parts = (0..256).map(|statement| Part {
            key_name: "acts".to_owned(),
            drafts: vec![act(&format!("{number} {statement}"))],
            effects: Vec::new(),
        });
        let (store, parts) = (store.clone(), parts.collect());
        batches.spawn(async move { store.say(parts, Urgency::Batch).await.unwrap().run.first });
    }
    tokio::task::yield_now().await;
    let person = store.append("acts".to_owned(), vec![act("person")], Vec::new()).await;
    let person = person.unwrap().run.first;
    let behind = batches
        .join_all()
        .await
        .into_iter()
        .filter(|first| *first > person)
        .count();
    assert!(behind >= 8, "{behind} of 16 were written after the person's");
}

/// A question of this node's own that comes from a line of a batch's file.
fn of_line(id: StatementId, line: Hash, what: &str) -> Part {
    let expires = now().plus(DAY);
    Part {
        key_name: key_name(&origin(), id),
        drafts: vec![act(what)],
        effects: vec![
            Effect::Said {
                origin: origin(),
                id,
                leaf: None,
                expires,
            },
            Effect::Asked {
                id,
                kind: AskedKind::Query,
                mandate: id,
                expires,
                leased: now(),
                line: Some(line),
            },
        ],
    }
}

async fn a_line_of_a_file_is_one_question_until_it_expires(url: &str) {
    let (one, other) = (open(url).await, open(url).await);
    let (a, b) = (Hash::of(url.as_bytes()), Hash::of(b"b"));
    let ids = [0; 4].map(|_| StatementId::generate(now()));
    let parts = vec![of_line(ids[0], a, "a"), of_line(ids[1], b, "b")];
    one.say(parts, Urgency::Batch).await.unwrap();
    let lines = one.of_lines(&[a, b, Hash::of(b"c")], now()).await.unwrap();
    assert_eq!((lines.len(), lines[&a], lines[&b]), (2, ids[0], ids[1]));
    // Whoever poses one of them again, from whichever process, poses nothing of that call.
    let parts = vec![of_line(ids[2], Hash::of(b"c"), "c"), of_line(ids[3], b, "b")];
    let refused = other.say(parts, Urgency::Batch).await;
    assert!(matches!(refused, Err(StoreError::Different)));
    assert_eq!(other.of_lines(&[Hash::of(b"c")], now()).await.unwrap().len(), 0);
    assert_eq!(other.of_lines(&[a], now().plus(DAY)).await.unwrap().len(), 0);
}

/// An order's act and the row that remembers it are one; nobody writes either twice.
async fn c13_an_order_is_executed_once_whoever_tries(url: &str) {
    let (store, other) = (open(url).await, open(url).await);
    let order = Hash::of(b"an order");
    let executed = |order: Hash| {
        let action = "node.suspend".to_owned();
        vec![Effect::Executed { order, action }]
    };
    let said = |store: &Store, order: Hash| {
        let store = store.clone();
        async move {
            store
                .append("acts".to_owned(), vec![act("an order")], executed(order))
                .await
        }
    };
    assert_eq!(store.executed_order(&order).await.unwrap(), None);
    let committed = said(&store, order).await.unwrap();
    let size = store.checkpoint().await.unwrap().0.size;
    let kept = store.executed_order(&order).await.unwrap().unwrap();
    assert_eq!(
        (kept.entry, kept.action.as_str(), kept.done),
        ((1, committed.run.first), "node.suspend", false)
    );
    assert!(matches!(said(&store, order).await, Err(StoreError::Executed)));
    assert!(matches!(said(&other, order).await, Err(StoreError::Executed)));
    assert_eq!(
        store.checkpoint().await.unwrap().0.size,
        size,
        "what is refused is no act"
    );
    store.order_is_done(&order).await.unwrap();
    assert!(other.executed_order(&order).await.unwrap().unwrap().done);
    // Twice in one group, and by two processes at one moment: one of them, and the others are told.
    let at_once = Hash::of(b"another order");
    let all = tokio::join!(
        said(&store, at_once),
        said(&store, at_once),
        said(&other, at_once),
        said(&other, at_once)
    );
    let results = [all.0, all.1, all.2, all.3];
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    let told = |result: &&Result<_, StoreError>| matches!(result, Err(StoreError::Executed));
    assert_eq!(results.iter().filter(told).count(), 3, "{results:?}");
    assert_eq!(store.executed_orders().await.unwrap().len(), 2);
    store.verify(|_, _| {}).await.unwrap();
}
