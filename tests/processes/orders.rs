//! Orders of two persons, as files: the commands of the handbook as they stand there, and what they refuse.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::rig::{json_of, run};

fn shell(place: &Path, script: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_sanku")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    Command::new("bash")
        .args(["-euc", script])
        .current_dir(place)
        .env("PATH", path)
        .env_remove("SANKU_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Everything that the handbook does up to its orders, in a fresh place.
fn ceremony() -> tempfile::TempDir {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let handbook = std::fs::read_to_string(top.join("docs/certificates.md")).unwrap();
    let blocks: Vec<_> = handbook
        .split("```sh\n")
        .skip(1)
        .map(|part| part.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 6, "{}", blocks.len());
    let place = tempfile::tempdir().unwrap();
    for block in blocks {
        let output = shell(place.path(), block);
        assert!(output.status.success(), "{block}{}", said(&output));
    }
    place
}

#[test]
fn c13_the_handbooks_ceremony_ends_with_orders_that_two_people_signed() {
    let place = ceremony();
    let path = |name: &str| place.path().join(name).display().to_string();
    let root = std::fs::read_to_string(path("root.txt")).unwrap().trim().to_owned();
    let show = |order: &str| {
        let output = run(&[
            "certs",
            "show",
            &path(order),
            "--notes",
            &path("notes"),
            "--root",
            &root,
            "--json",
        ]);
        (output.status.code(), json_of(&output))
    };
    let (code, document) = show("suspend.order");
    assert_eq!(
        (code, document["verdict"].as_str()),
        (Some(0), Some("approved")),
        "{document:#}"
    );
    assert_eq!(document["signers"], serde_json::json!(["a1", "a2"]));
    assert_eq!(document["order"]["act"]["action"], "node.suspend");
    // The people note that the handbook's two administrators signed admits a third.
    let people = std::fs::read_to_string(path("notes/people-420000-2.note")).unwrap();
    assert!(people.contains("hubei.example/person/420000/m2"), "{people}");

    // One signature; a changed byte; somebody of another role; the same person again.
    let sign = |arguments: &[&str], person: &str| {
        let (key, passphrase) = (path(&format!("{person}.key")), path(&format!("{person}.txt")));
        run(&[arguments, &["--as", &key, "--passphrase-file", &passphrase]].concat())
    };
    let alone = path("alone.order");
    let (key, passphrase) = (path("a1.key"), path("a1.txt"));
    let options = [
        "--as",
        &key,
        "--passphrase-file",
        &passphrase,
        "--reason",
        "试验",
        "--out",
        &alone,
    ];
    let proposed = run(&[&["certs", "order"], &options[..], &["resume", "421003"]].concat());
    assert!(proposed.status.success(), "{}", said(&proposed));
    assert_eq!(show("alone.order").1["verdict"], "order_one_person");
    let again = sign(&["certs", "approve", &alone], "a1");
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("another person approves it"), "{}", said(&again));
    let wrong = sign(&["certs", "approve", &alone], "m1");
    assert!(wrong.status.success());
    assert_eq!(show("alone.order").1["verdict"], "order_role");
    let text = std::fs::read_to_string(path("suspend.order")).unwrap();
    std::fs::write(path("changed.order"), text.replace("421003", "421002")).unwrap();
    assert_eq!(show("changed.order").1["verdict"], "order_signature");
    let elsewhere = run(&[
        "certs",
        "show",
        &path("suspend.order"),
        "--notes",
        &path("notes"),
        "--root",
        &"00".repeat(32),
    ]);
    assert_eq!(elsewhere.status.code(), Some(2), "{}", said(&elsewhere));
}

#[test]
fn keys_and_passphrases_stay_where_they_are() {
    let place = ceremony();
    let path = |name: &str| place.path().join(name).display().to_string();
    let wrong = run(&[
        "certs",
        "person",
        "passphrase",
        &path("a1.key"),
        "--passphrase-file",
        &path("a2.txt"),
        "--new-passphrase-file",
        &path("a2.txt"),
    ]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(said(&wrong).contains("口令不对"), "{}", said(&wrong));
    let again = run(&[
        "certs",
        "person",
        "new",
        "--federation",
        "hubei.example",
        "--centre",
        "420000",
        "--id",
        "a1",
        "--out",
        &path("a1.key"),
    ]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    // No terminal: it says what to do instead of waiting.
    let asked = Command::new("setsid")
        .args([
            env!("CARGO_BIN_EXE_sanku"),
            "certs",
            "approve",
            &path("suspend.order"),
            "--as",
            &path("a2.key"),
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(asked.status.code(), Some(1));
    assert!(said(&asked).contains("there is no terminal"), "{}", said(&asked));
    let open = run(&["certs", "person", "show", &path("a1.txt")]);
    assert_eq!(open.status.code(), Some(1), "a passphrase is no key");
    let mut secrets = Vec::new();
    for name in ["chen", "li", "wang", "a1", "a2", "m1", "m2"] {
        let file = path(&format!("{name}.txt"));
        secrets.push(std::fs::read_to_string(file).unwrap().trim().to_owned());
    }
    let mut pending = vec![place.path().to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap().path();
            if entry.is_dir() {
                pending.push(entry);
                continue;
            }
            if entry.extension().is_some_and(|extension| extension == "txt") {
                continue;
            }
            let text = String::from_utf8_lossy(&std::fs::read(&entry).unwrap()).into_owned();
            assert!(
                secrets.iter().all(|secret| !text.contains(secret)),
                "{}",
                entry.display()
            );
        }
    }
}
