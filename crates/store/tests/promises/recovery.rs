//! A database that is not what was signed, what binds it from outside, and dumps.

use crate::*;

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
pub(crate) async fn s30_what_is_remembered_outside_the_database_binds(url: &str) {
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
pub(crate) async fn f39_a_dump_under_writing_is_one_moment_and_comes_back_whole(url: &str) {
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
