//! Imports and records: one effect, and what was changed behind our back is withheld.

use crate::*;

pub(crate) async fn g05_an_import_has_one_effect(url: &str) {
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

pub(crate) async fn a_row_under_another_number_is_not_served(url: &str) {
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
