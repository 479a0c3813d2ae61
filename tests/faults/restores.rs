//! F38 on PostgreSQL: backups that come back into a server's database, and into the other kind.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::database_server::on_postgres;
use crate::rig::{Rig, json_of, outcome, run};
use crate::{answers, status, until};

const HERE: u32 = 421_003;

/// A key pair for backups: its public half, and the file of its secret one.
fn recipient(rig: &Rig) -> (String, String) {
    let file = rig.place.path().join("identity").display().to_string();
    let made = run(&["backup", "keygen", "--out", &file, "--json"]);
    (json_of(&made)["recipient"].as_str().unwrap().to_owned(), file)
}

fn backup(rig: &Rig, name: &str, to: &str) -> String {
    let file = rig.place.path().join(name).display().to_string();
    let made = rig.node(HERE, &["backup", "create", "--out", &file, "--to", to, "--json"]);
    assert_eq!(made.status.code(), Some(0), "{made:?}");
    file
}

/// Asks, and everybody answers; the question's id.
fn ask(rig: &Rig) -> String {
    let (code, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!((code, outcome(&result, HERE).as_str()), (0, "answered"), "{result:#}");
    result["query"].as_str().unwrap().to_owned()
}

/// Starts the node, which works, knows its old questions, and answers a new one.
fn works(rig: &mut Rig, entries: u64, id: &str) {
    assert_eq!(rig.entries(HERE), entries);
    rig.serve(HERE);
    until("working", Duration::from_secs(30), || {
        status(rig, HERE)["state"] == "working"
    });
    let again = json_of(&rig.node(421_002, &["query", "--again", id, "--json"]));
    assert_eq!(again["complete"], true, "{again:#}");
    assert_eq!(answers(rig, id).len(), 4);
    ask(rig);
    let held = rig.node(
        HERE,
        &[
            "records",
            "show",
            "--identity",
            crate::rig::NUMBER,
            "--purpose",
            "测试",
            "--json",
        ],
    );
    assert_eq!(json_of(&held)["records"].as_array().unwrap().len(), 1);
    rig.kill(HERE);
}

#[test]
fn f38_a_backup_comes_back_into_postgresql_and_from_either_kind_of_database_into_the_other() {
    let cluster = Cluster::start();
    let mut rig = on_postgres(&cluster, HERE);
    let (to, key) = recipient(&rig);
    let older = backup(&rig, "older", &to);
    let id = ask(&rig);
    std::thread::sleep(Duration::from_millis(1500));
    let right = backup(&rig, "right", &to);
    let entries = rig.entries(HERE);
    let restore = |rig: &Rig, file: &str| rig.node(HERE, &["restore", file, "--identity", &key, "--json"]);
    assert_eq!(
        restore(&rig, &right).status.code(),
        Some(1),
        "not under a node that runs"
    );
    rig.kill(HERE);

    // Of another node, or changed: refused, and the live schema is as it was, with nothing beside it.
    let schemas = "SELECT string_agg(nspname, ' ' ORDER BY nspname) FROM pg_namespace WHERE nspname !~ '^pg_'";
    let before = (cluster.value(schemas), cluster.value("SELECT checkpoint FROM head"));
    let mut bytes = std::fs::read(&right).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let spoilt = rig.place.path().join("spoilt").display().to_string();
    std::fs::write(&spoilt, bytes).unwrap();
    let refused = restore(&rig, &spoilt);
    assert_eq!(refused.status.code(), Some(1));
    assert!(!refused.stderr.is_empty());
    assert_eq!(
        (cluster.value(schemas), cluster.value("SELECT checkpoint FROM head")),
        before
    );

    // Older: in its place, said to be older, and it signs nothing.
    let restored = restore(&rig, &older);
    let document = json_of(&restored);
    assert_eq!(restored.status.code(), Some(3), "{document:#}");
    assert_eq!(
        document["entries"].as_u64().unwrap() + document["missing"].as_u64().unwrap(),
        entries
    );
    let kept = document["old_database"].as_str().unwrap();
    assert_eq!(
        cluster.value(&format!("SELECT size FROM {kept}.head")),
        entries.to_string(),
        "the old one is kept"
    );
    rig.serve(HERE);
    until("recovering", Duration::from_secs(30), || {
        status(&rig, HERE)["state"] == "recovering"
    });
    let (code, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_ne!((code, outcome(&result, HERE).as_str()), (0, "answered"));
    rig.kill(HERE);

    // The right one, from PostgreSQL into PostgreSQL.
    let restored = restore(&rig, &right);
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    works(&mut rig, entries, &id);
    // From PostgreSQL into SQLite.
    let newer = {
        rig.serve(HERE);
        backup(&rig, "from-postgresql", &to)
    };
    rig.kill(HERE);
    let entries = rig.entries(HERE);
    rig.configure(HERE, &cluster.url(), "sqlite:node.db");
    let restored = restore(&rig, &newer);
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    works(&mut rig, entries, &id);
    // From SQLite into a PostgreSQL that held nothing.
    rig.serve(HERE);
    let newest = backup(&rig, "from-sqlite", &to);
    rig.kill(HERE);
    let entries = rig.entries(HERE);
    cluster.value("CREATE DATABASE other");
    rig.configure(HERE, "sqlite:node.db", &cluster.url().replace("/postgres?", "/other?"));
    let restored = restore(&rig, &newest);
    assert_eq!(restored.status.code(), Some(0), "{restored:?}");
    works(&mut rig, entries, &id);
}
