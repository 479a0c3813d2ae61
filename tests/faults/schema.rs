//! F42: a migration that is killed half-way, a database of the first schema, a database of a newer program.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::rig::{NUMBER, Rig, json_of, sanku};
use crate::sabotage::{Act, SYNC, Sabotage, WRITE};

/// Runs a few lines of Python over a node's database: the standard library speaks SQLite.
fn python(database: &Path, lines: &str) {
    let program = format!("import sqlite3, hashlib, sys\ndb = sqlite3.connect(sys.argv[1])\n{lines}\ndb.commit()\n");
    let output = Command::new("python3")
        .args(["-c", &program])
        .arg(database)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn f42_a_database_of_a_newer_program_is_refused_by_name_and_left_alone() {
    let rig = Rig::found();
    rig.fill(421_003);
    let database = rig.folder(421_003).join("node.db");
    python(
        &database,
        "db.execute(\"INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 0)\")",
    );
    let before = std::fs::read(&database).unwrap();
    let output = rig.node(421_003, &["serve"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("较新的程序") && said.contains("newer program"), "{said}");
    assert!(said.contains("9999"), "{said}");
    assert!(std::fs::read(&database).unwrap() == before, "nothing was changed");
}

#[test]
fn f42_a_database_of_the_first_schema_is_brought_up_to_date() {
    let mut rig = Rig::found();
    let first = include_str!("../../crates/store/migrations/0001.sqlite.sql");
    let script = rig.place.path().join("first.sql");
    std::fs::write(&script, first).unwrap();
    let lines = format!(
        "sql = open({:?}, 'rb').read()\n\
         db.executescript(sql.decode())\n\
         db.execute('CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL, checksum BLOB NOT NULL, execution_time BIGINT NOT NULL)')\n\
         db.execute('INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (1, ?, 1, ?, 0)', ('first', hashlib.sha384(sql).digest()))",
        script.display().to_string()
    );
    python(&rig.folder(421_003).join("node.db"), &lines);
    for code in crate::rig::CODES {
        rig.fill(code);
        rig.serve(code);
    }
    let (code, result) = rig.ask(&rig.case("case.json", |_| {}));
    assert_eq!(code, 0, "{result:#}");
}

#[test]
fn f42_a_migration_that_is_killed_at_any_write_is_taken_up_again() {
    let rig = Rig::found();
    let config = rig.folder(421_003).join("node.toml").display().to_string();
    let database = rig.folder(421_003).join("node.db");
    let mut kills = 0;
    for act in [Act::KillBefore, Act::Tear] {
        for at in (1..).step_by(9) {
            for suffix in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
            }
            let sabotage = Sabotage::of_files(rig.place.path(), &database);
            sabotage.arm(WRITE | SYNC, at, act, 0);
            sanku()
                .envs(sabotage.dress.environment.clone())
                .args(["--config", &config, "log", "verify", "--json"])
                .stderr(Stdio::null())
                .output()
                .unwrap();
            let verified = rig.node(421_003, &["log", "verify", "--json"]);
            assert_eq!(json_of(&verified)["ok"], true, "{act:?} at {at}");
            if sabotage.hurt() == 0 {
                break;
            }
            kills += 1;
        }
    }
    println!("F42: a migration was killed {kills} times");
    assert!(kills > 6);
    rig.fill(421_003);
    let shown = rig.node(
        421_003,
        &["records", "show", "--identity", NUMBER, "--purpose", "测试", "--json"],
    );
    assert_eq!(json_of(&shown)["records"].as_array().unwrap().len(), 1);
}
