//! The log: proofs, one log from many hands, append-only tables, who is written first.

use crate::*;

pub(crate) async fn its_standing_is_counted_and_a_held_log_takes_nothing(url: &str) {
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

pub(crate) async fn appends_are_proven_and_the_log_verifies(url: &str) {
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

pub(crate) async fn proofs_hold_with_and_without_the_roots_of_sixteen(url: &str) {
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

pub(crate) async fn two_handles_keep_one_log(url: &str) {
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

pub(crate) async fn g03_what_is_acknowledged_stands_in_the_database(url: &str) {
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

pub(crate) async fn the_tables_refuse_update_and_delete(url: &str) {
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
pub(crate) async fn a_person_does_not_wait_behind_a_batch(url: &str) {
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
