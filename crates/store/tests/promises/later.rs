//! A later log number takes over from the one before.

use crate::*;

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

pub(crate) async fn a_later_log_takes_over_from_the_one_before(url: &str) {
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
