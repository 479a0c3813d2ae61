//! One suite for both databases: SQLite in a temporary file, and a throwaway PostgreSQL.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly and say what it skipped"
)]

mod postgres;
mod promises {
    pub(crate) mod later;
    pub(crate) mod log;
    pub(crate) mod questions;
    pub(crate) mod records;
    pub(crate) mod recovery;
}

use std::sync::Arc;
use std::time::Duration;

use promises::{later, log, questions, records, recovery};
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
    log::appends_are_proven_and_the_log_verifies(url).await;
    log::two_handles_keep_one_log(url).await;
    records::g05_an_import_has_one_effect(url).await;
    questions::what_was_said_is_said_again(url).await;
    questions::other_bytes_under_one_id_write_nothing(url).await;
    questions::what_was_received_is_kept_as_it_came(url).await;
    log::g03_what_is_acknowledged_stands_in_the_database(url).await;
    questions::effects_without_a_statement_are_refused(url).await;
    questions::a_withdrawal_is_remembered_until_the_mandate_ends(url).await;
    questions::g04_nothing_is_said_under_a_mandate_that_anybody_withdrew(url).await;
    questions::g05_of_two_that_answer_the_same_question_at_once_one_alone_does(url).await;
    records::a_row_under_another_number_is_not_served(url).await;
    log::the_tables_refuse_update_and_delete(url).await;
    questions::what_is_due_is_claimed_once(url).await;
    questions::a_lease_runs_out_and_an_end_is_an_end(url).await;
    log::its_standing_is_counted_and_a_held_log_takes_nothing(url).await;
    recovery::s30_what_is_remembered_outside_the_database_binds(url).await;
    recovery::f39_a_dump_under_writing_is_one_moment_and_comes_back_whole(url).await;
    log::a_person_does_not_wait_behind_a_batch(url).await;
    questions::a_line_of_a_file_is_one_question_until_it_expires(url).await;
    questions::what_is_held_is_covered_once_and_forks_are_kept(url).await;
    questions::c13_an_order_is_executed_once_whoever_tries(url).await;
    log::proofs_hold_with_and_without_the_roots_of_sixteen(url).await;
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
    later::a_later_log_takes_over_from_the_one_before(&cluster.url().replace("/postgres?", "/later?")).await;
}
