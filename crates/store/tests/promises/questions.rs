//! Questions: what was said and received about them, each once; the queue; withdrawals; what is held of other logs; orders.

use crate::*;

pub(crate) async fn what_is_held_is_covered_once_and_forks_are_kept(url: &str) {
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

pub(crate) async fn what_is_due_is_claimed_once(url: &str) {
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

pub(crate) async fn a_lease_runs_out_and_an_end_is_an_end(url: &str) {
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

pub(crate) async fn what_was_said_is_said_again(url: &str) {
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

pub(crate) async fn other_bytes_under_one_id_write_nothing(url: &str) {
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

pub(crate) async fn what_was_received_is_kept_as_it_came(url: &str) {
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

pub(crate) async fn effects_without_a_statement_are_refused(url: &str) {
    let store = open(url).await;
    let (asker, mandate) = ("421003".parse().unwrap(), StatementId::generate(now()));
    let until = now().plus(std::time::Duration::from_secs(60));
    let effects = vec![Effect::Withdrawn { asker, mandate, until }];
    assert!(store.append("acts".to_owned(), Vec::new(), effects).await.is_err());
    assert!(!store.is_withdrawn(asker, mandate, now()).await.unwrap());
}

pub(crate) async fn a_withdrawal_is_remembered_until_the_mandate_ends(url: &str) {
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

pub(crate) async fn g04_nothing_is_said_under_a_mandate_that_anybody_withdrew(url: &str) {
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

pub(crate) async fn g05_of_two_that_answer_the_same_question_at_once_one_alone_does(url: &str) {
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

pub(crate) async fn a_line_of_a_file_is_one_question_until_it_expires(url: &str) {
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
pub(crate) async fn c13_an_order_is_executed_once_whoever_tries(url: &str) {
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
